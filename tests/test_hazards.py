"""Proof that the strategies reach every hazard in every format, shrink to small logits, and vary what they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, seed, settings

from reference.formats import FORMATS, Format
from reference.problem import Problem
from suites.inputs.hazards import HAZARDS
from suites.inputs.problems import Ask, problems

EXAMPLES = 40
SETTINGS = settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def generated(ask: Ask, examples: int = EXAMPLES) -> list[Problem]:
    """Problems of one seeded search."""
    found: list[Problem] = []

    @seed(0)
    @settings(SETTINGS, max_examples=examples)
    @given(problems(ask))
    def collect(problem: Problem) -> None:
        found.append(problem)

    collect()
    return found


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=str)
@pytest.mark.parametrize("name", HAZARDS)
def test_a_hazard_is_reached(name: str, fmt: Format) -> None:
    """Most of what a hazard generates lies in it (a few members of a neighbouring edge are welcome)."""
    examples = 10 if name == "large_vocabulary" else EXAMPLES
    inside = [HAZARDS[name].holds(problem) for problem in generated(Ask(fmt, (name,)), examples)]
    assert sum(inside) >= 0.6 * len(inside)


def test_moderate_logits_lie_in_no_extreme_hazard() -> None:
    extreme = ("absorption", "overflow", "underflow", "offset", "masked", "nonfinite", "large_vocabulary")
    for problem in generated(Ask(FORMATS["float64"], ("moderate",))):
        assert not any(HAZARDS[name].holds(problem) for name in extreme)


@pytest.mark.parametrize(
    ("logits", "hazards"),
    [
        ([0.0, -16.0], {"absorption": False, "ties": False, "underflow": False}),
        ([0.0, -17.0], {"absorption": True, "underflow": False, "overflow": False}),
        ([0.0, -103.0], {"absorption": True, "underflow": True}),
        ([0.0, -104.5], {"absorption": False, "underflow": True}),
        ([1.0, 1.0], {"ties": True, "moderate": True}),
        ([1.0, 2.0], {"ties": False, "offset": False, "masked": False}),
        ([89.0, 0.0], {"overflow": True}),
        ([2.0**18, 0.0], {"offset": True}),
        ([2.0**17, 0.0], {"offset": False}),
    ],
)
def test_where_hazards_begin_and_end_in_float32(logits: list[float], hazards: dict[str, bool]) -> None:
    """Absorption from ln 2^24 = 16.64, underflow from 87.3, nothing left from ln 2^150 = 103.97; ulp 1/32 from 2^18 on."""
    problem = Problem([logits], [0], FORMATS["float32"])
    assert {name: HAZARDS[name].holds(problem) for name in hazards} == hazards


def test_subnormal_rows_have_zeros_of_both_signs() -> None:
    rows = np.concatenate([p.logits.ravel() for p in generated(Ask(FORMATS["float32"], ("subnormal",)), 100)])
    zeros = np.signbit(rows[rows == 0])
    assert zeros.any()
    assert not zeros.all()


def test_vocabularies_go_up_to_a_quarter_of_a_million() -> None:
    sizes = {p.num_classes for p in generated(Ask(FORMATS["float16"], ("large_vocabulary",)), 60)}
    assert max(sizes) == 262144
    assert any(65520 < size < 2**17 for size in sizes)


def test_few_shapes_are_few() -> None:
    def shapes(few: bool) -> set[tuple[int, ...]]:
        ask = Ask(FORMATS["float32"], ("moderate", "bit_patterns", "long_tail"), few_shapes=few)
        return {problem.logits.shape for problem in generated(ask, 200)}

    assert {classes for _, classes in shapes(few=True)} == {2, 6, 12, 64}
    assert {rows for rows, _ in shapes(few=True)} == {1, 3}
    assert len(shapes(few=False)) > len(shapes(few=True))


def test_options_targets_and_cotangents_vary() -> None:
    options = frozenset({"class_weights", "label_smoothing", "ignore_index", "reduction", "temperature"})
    found = generated(Ask(FORMATS["float32"], ("moderate",), options=options, directions=True), 200)
    assert {p.reduction for p in found} == {"none", "sum", "mean"}
    assert {p.label_smoothing == 0 for p in found} == {True, False}
    assert {p.class_weights is None for p in found} == {True, False}
    assert {bool(p.ignored.any()) for p in found} == {True, False}
    assert any(p.cotangent is not None and p.cotangent.size > 1 and np.ptp(p.cotangent) > 0 for p in found)
    assert any(np.argmax(p.logits[0]) == p.target[0] for p in found)
    assert any(np.argmax(p.logits[0]) != p.target[0] for p in found)


def test_failures_shrink_to_small_logits() -> None:
    """The smallest problem in which another class is absorbed: one row, two classes."""
    smallest = find(
        problems(Ask(FORMATS["float32"], ("moderate", "absorption"))),
        HAZARDS["absorption"].holds,
        settings=settings(SETTINGS, max_examples=500),
    )
    assert smallest.logits.shape == (1, 2)
    assert smallest.cotangent is None
