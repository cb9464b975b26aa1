"""Tests of where errors are counted: at the gap of a row, at K, and for the hazards that hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapters.loading import load_adapter
from adapters.question import Question
from reference import FLOAT16, FLOAT32, Problem, Quantity
from reference.formats import FORMATS, Format
from reference.thresholds import thresholds
from suites.inputs.hazards import HAZARDS, UNMARKED, Spread, hazards_of
from suites.judging.claims import Claims
from suites.judging.effort import EFFORTS
from suites.judging.judge import Judge, Plan
from suites.judging.profile import NO_GAP, Profile, Tally, binned, class_edges, gap_edges, place_of

ABSORBED = Problem([[20.0, 0.0]], [0], FLOAT32)


def profile_of(*problems: Problem, quantity: Quantity = Quantity.LOSS, name: str = "scipy_log_softmax") -> Profile:
    """The profile of an operation, unless told otherwise of one that absorbs, over problems."""
    adapter = load_adapter("numpy", "cpu")
    (operation,) = [op for op in adapter.operations() if op.name == name]
    plan = Plan(adapter, (operation,), tuple(FORMATS.values()), tuple(HAZARDS), (), Claims(), EFFORTS["quick"], 0, "pytest")
    profile = Profile()
    for problem in problems:
        for measurement in Judge(plan).measure(Question(operation, problem, (quantity,))):
            profile.add(measurement, place_of(problem), counts=True)
    return profile


def ends(tallies: dict[int, Tally], fmt: Format) -> list[tuple[Any, Any]]:
    return [(entry["from"], entry["to"]) for entry in binned(tallies, gap_edges(fmt))]


def test_a_lost_loss_is_counted_from_the_absorption_gap_on() -> None:
    profile = profile_of(ABSORBED)
    ((low, high),) = ends(profile.by_gap, FLOAT32)
    assert low == thresholds(FLOAT32).absorption_gap <= 20.0 < high
    (tally,) = profile.by_gap.values()
    assert (tally.values, tally.returned_zero, tally.wrong_class) == (1, 1, 0)
    assert tally.worst_ulps > 2**20
    assert list(profile.by_hazard) == ["absorption"]


def test_each_row_is_counted_at_its_own_gap() -> None:
    profile = profile_of(Problem([[20.0, 0.0], [1.0, 0.0]], [0, 0], FLOAT32))
    below, beyond = (profile.by_gap[i] for i in sorted(profile.by_gap))
    assert below.worst_ulps < 4
    assert (below.returned_zero, beyond.returned_zero) == (0, 1)
    (whole,) = profile.by_classes.values()
    assert whole.values == 2


def test_the_worst_error_of_a_bin_is_kept_wherever_it_comes() -> None:
    slight = Problem([[20.0, 0.0]], [1], FLOAT32)
    for problems in ((ABSORBED, slight), (slight, ABSORBED)):
        (tally,) = profile_of(*problems).by_gap.values()
        assert tally.values == 2
        assert tally.worst_ulps > 2**20


def test_rows_that_are_summed_have_no_gap() -> None:
    """A row alone is its own sum."""
    rows = np.array([[20.0, 0.0], [1.0, 0.0]])
    assert len(profile_of(Problem(rows[:1], [0], FLOAT32, reduction="sum"), name="absorption_free").by_gap) == 1
    summed = Problem(rows, [0, 0], FLOAT32, reduction="sum")
    assert not profile_of(summed, name="absorption_free").by_gap
    assert len(profile_of(summed, quantity=Quantity.GRADIENT, name="absorption_free").by_gap) == 2


@pytest.mark.parametrize("logits", [[[1.0]], [[1.0, -np.inf]], [[np.nan, 1.0, 0.0]], [[np.inf, 1.0, 0.0]]])
def test_a_row_without_two_finite_logits_has_no_gap(logits: list[list[float]]) -> None:
    problem = Problem(logits, [0], FLOAT32)
    assert np.isnan(Spread(problem).margin).all()
    assert place_of(problem).gaps.tolist() == [NO_GAP]


def test_the_gap_is_that_of_the_two_largest_over_the_temperature() -> None:
    problem = Problem([[0.0, 8.0, 6.0, -np.inf]], [0], FLOAT32, temperature=2.0)
    assert Spread(problem).margin.tolist() == [1.0]
    assert place_of(Problem([[8.0, 6.0]], [0], FLOAT32, logit_softcap=30.0)).gaps.tolist() == [NO_GAP]


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=str)
def test_bins_begin_where_hazards_do(fmt: Format) -> None:
    t = thresholds(fmt)
    assert {t.absorption_gap, t.underflow_gap, t.vanishing_gap, t.overflow_logit} <= set(gap_edges(fmt))
    assert gap_edges(fmt)[0] == 0
    assert class_edges(fmt)[0] == 1
    assert t.overflow_count is None or t.overflow_count in class_edges(fmt)


def test_every_problem_has_a_hazard() -> None:
    assert hazards_of(Problem([[1.0, 0.0]], [0], FLOAT16)) == ("moderate",)
    assert hazards_of(Problem([[1.0, 1.0]], [0], FLOAT16)) == ("ties",)
    assert set(UNMARKED) < set(HAZARDS)
