"""Rows in bulk: the grid that they fill, a judgement that is that of the exact tier, and a defect that nothing else shows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from adapters.adapter import Call, Result
from adapters.loading import load_adapter, operations_on_trial
from adapters.question import Question
from reference.enclosure import Enclosure
from reference.evaluation import enclose, evaluate
from reference.formats import FLOAT32, FORMATS, Format
from reference.grades import Grade
from reference.problem import Problem
from reference.quantity import Quantity
from reference.tiers import Tier
from suites.inputs.bulk import BANDS, SHARES, band_of, bins_of, bulk_problems
from suites.inputs.hazards import HAZARDS, Spread
from suites.inputs.pairs import plain_problems
from suites.inputs.problems import Ask
from suites.inputs.tables import FILLERS
from suites.judging import screening
from suites.judging.claims import Claims
from suites.judging.effort import EFFORTS
from suites.judging.judge import OTHERS_IN_BULK, Judge, Plan
from suites.judging.measurement import Measurement
from suites.judging.profile import class_edges, gap_edges
from suites.test_loss import HAZARDS as HAZARDS_OF_LOSSES
from tests.command import ROOT
from tests.planted.rounded import CorrectlyRounded

ASKED = (Quantity.LOSS, Quantity.GRADIENT)
FEWEST = 1000
ROWS = 10**6
EVERY_FORMAT = pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda fmt: fmt.name)


def ask_of(fmt: Format) -> Ask:
    return Ask(fmt, ("moderate",))


@EVERY_FORMAT
def test_a_million_rows_leave_no_bin_with_less_than_a_thousand(fmt: Format) -> None:
    gaps, classes, rows = Counter[int](), Counter[int](), 0
    for problem in bulk_problems(ask_of(fmt), 0, ROWS):
        rows += problem.num_rows
        gaps.update((np.searchsorted(gap_edges(fmt), Spread(problem).margin, "right") - 1).tolist())
        classes[int(np.searchsorted(class_edges(fmt), problem.num_classes, "right"))] += problem.num_rows
    assert rows >= ROWS
    assert set(gaps) == set(range(len(gap_edges(fmt))))
    assert len(classes) == len(SHARES) - 1  # 2 and 3 are of one bin
    assert min(gaps.values()) >= FEWEST
    assert min(classes.values()) >= FEWEST


@EVERY_FORMAT
def test_bands_keep_regions_apart(fmt: Format) -> None:
    """No row of a band lies in the region of a hazard that another band is for."""
    seen: dict[str, set[str]] = {name: set() for name in BANDS}
    for problem in bulk_problems(ask_of(fmt), 0, 10**5):
        held = {name for name in ("overflow", "underflow") if HAZARDS[name].holds(problem)}
        (band,) = [name for name, told in (("offset", "overflow"), ("underflow", "underflow")) if told in held][:1] or [
            "normal"
        ]
        seen[band] |= held
    assert seen["normal"] == set()
    assert seen["underflow"] == {"underflow"}
    assert "overflow" in seen["offset"]


def test_bins_meet() -> None:
    bins = bins_of(band_of("offset", FLOAT32), FLOAT32)
    assert (bins[1:, 0] == bins[:-1, 1]).all()
    assert (bins[:, 0] < bins[:, 1]).all()


def test_the_same_seed_gives_the_same_rows_and_another_gives_others() -> None:
    first, again, other = (list(bulk_problems(ask_of(FLOAT32), seed, 3000)) for seed in (0, 0, 1))
    assert all(np.array_equal(a.logits, b.logits) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a.logits, b.logits) for a, b in zip(first, other, strict=True))


def test_few_shapes_are_asked_where_every_shape_is_compiled() -> None:
    for rows in (400, 10**5):
        shapes = {problem.logits.shape for problem in bulk_problems(replace(ask_of(FLOAT32), few_shapes=True), 0, rows)}
        assert len(shapes) == 2


def test_limits_of_an_operation_are_kept() -> None:
    given = list(bulk_problems(replace(ask_of(FLOAT32), classes_multiple=8, max_classes=100), 0, 3000))
    assert {problem.num_classes % 8 for problem in given} == {0}
    assert max(problem.num_classes for problem in given) <= 100


def measurements(problem: Problem, exact: bool) -> list[Measurement]:
    """Of PyTorch's cross_entropy, which absorbs and rounds wrongly."""
    adapter = load_adapter("torch", "cpu")
    operation = adapter.operations()[0]
    expected = evaluate(problem, ASKED, Tier.EXACT) if exact else enclose(problem, ASKED)
    seen = adapter.observe(Question(operation, problem, ASKED)).values
    fmt = problem.format
    return [Measurement(problem, q, operation.arithmetic_of(q, fmt), expected[q], seen[q]) for q in ASKED]


@EVERY_FORMAT
def test_what_is_screened_is_what_the_exact_tier_says(fmt: Format) -> None:
    pytest.importorskip("torch")
    for problem in bulk_problems(ask_of(fmt), 3, 1200):
        if problem.num_classes > 40:
            break
        for exact, compiled in zip(measurements(problem, True), measurements(problem, False), strict=True):
            found = screening.screened(compiled, Grade.STABLE)
            assert (found.grades == exact.grades).all()
            assert (found.returned_zero == exact.returned_zero).all()
            assert np.allclose(found.ulps, exact.ulps, rtol=2.0**-19, atol=0.5)


def judge_of(adapter: Any) -> Judge:
    formats, hazards = (FLOAT32,), tuple(HAZARDS)
    effort = replace(EFFORTS["quick"], rows=2000 * OTHERS_IN_BULK)
    return Judge(Plan(adapter, adapter.operations()[:1], formats, hazards, (), Claims(), effort, 0, "pytest"))


def search(adapter: Any) -> Judge:
    judge = judge_of(adapter)
    judge.search_bulk(bulk_problems, adapter.operations()[0], ask_of(FLOAT32), ASKED)
    return judge


def test_a_compiled_tier_that_is_wrong_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every value is 1/16 too large: nearly every row misses, and the exact tier has the word."""

    def wrong(problem: Problem, quantities: Any) -> Any:
        return {
            q: replace(expected, values=Enclosure(**(vars(expected.values) | {"hi": expected.values.hi * 1.0625})))
            for q, expected in enclose(problem, quantities).items()
        }

    monkeypatch.setattr(screening, "enclose", wrong)
    judge = search(CorrectlyRounded("cpu"))
    assert all(record.counts.reaches(Grade.ACCURATE) for record in judge.recorder.records.values())


def test_entries_that_were_judged_are_counted() -> None:
    judge = search(CorrectlyRounded("cpu"))
    problems = list(bulk_problems(judge.narrowed(CorrectlyRounded("cpu").operations()[0], ask_of(FLOAT32)), 0, 2000))
    counted = {key[2]: record.counts.entries for key, record in judge.recorder.records.items()}
    assert counted == {
        Quantity.LOSS: sum(problem.num_rows for problem in problems),
        Quantity.GRADIENT: sum(problem.logits.size for problem in problems),
    }


class OfBatches(CorrectlyRounded):
    """Wrong in the last of many rows, whatever it is; `once` only the first time."""

    once = False
    asked = 0

    def call(self, question: Question) -> Call:
        call = super().call(question)
        type(self).asked += 1
        if question.problem.num_rows < 100 or (self.once and type(self).asked > 1):
            return call
        values = call.results[Quantity.LOSS].values.copy()
        values[-1] += 1.0
        return replace(call, results={**call.results, Quantity.LOSS: Result(values, "float32", "cpu")})


class Once(OfBatches):
    """Wrong once."""

    once, asked = True, 0


def test_a_defect_of_many_rows_is_narrowed_to_as_many_as_it_needs() -> None:
    with pytest.raises(pytest.fail.Exception, match="N=100,"):
        search(OfBatches("cpu"))


def test_a_defect_that_does_not_come_back_is_told_as_that() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"N=1,.*\n.*the operation is not deterministic"):
        search(Once("cpu"))


def failure_of(kernel: str, test: str = "bulk") -> str:
    """What a kernel of tests/narrow.py fails with, of the rows that `standard` asks; empty if it passes."""
    pytest.importorskip("torch")
    adapter = load_adapter("torch", "cpu")
    operation, *_ = operations_on_trial(adapter, f"{ROOT / 'tests' / 'narrow.py'}:{kernel}")
    operation = Claims().as_declared(operation, "cpu")
    claims = Claims(lowered_to=Grade.STABLE)
    effort = replace(EFFORTS["standard"], rows=EFFORTS["standard"].rows * OTHERS_IN_BULK)
    judge = Judge(Plan(adapter, (operation,), (FLOAT32,), tuple(HAZARDS), (), claims, effort, 0, "pytest"))
    try:
        if test == "bulk":
            judge.search_bulk(bulk_problems, operation, ask_of(FLOAT32), ASKED)
        else:
            judge.search_claims(test, operation, Ask(FLOAT32, HAZARDS_OF_LOSSES), ASKED)
            judge.search_all(plain_problems, operation, Ask(FLOAT32, tuple(FILLERS)), ASKED)
    except pytest.fail.Exception as failure:
        return str(failure)
    return ""


@pytest.mark.parametrize("kernel", ["narrow", "narrow_gradient"])
def test_a_band_of_gaps_that_one_row_in_fifty_thousand_meets_is_found(kernel: str) -> None:
    """It is told of one row, and by the exact tier; small problems do not show it."""
    told = failure_of(kernel)
    assert "float32, N=1, K=2, indices" in told
    assert ("gradient[" in told) == (kernel == "narrow_gradient")
    assert "deterministic" not in told
    assert failure_of(kernel, "gradient") == ""


def test_the_kernel_that_it_is_made_of_passes() -> None:
    assert failure_of("right") == ""
