"""Pairs of values: which met is counted, what is refused is not, and a run that lacks one does not CONFORM."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from adapters.adapter import ROLES
from reference.formats import FLOAT32
from reference.grades import Grade
from reference.problem import Problem
from reference.quantity import Quantity
from reference.reduction import Reduction
from suites.inputs.pairs import pairs_there_are, problems_in_pairs
from suites.inputs.problems import Ask
from suites.judging.claims import Claim, Claims, Scope
from suites.judging.judge import Judge
from suites.judging.meeting import Pairs
from suites.judging.refusals import PassedOver
from suites.report.build import build_report
from suites.report.markdown import markdown
from suites.report.terminal import summary_lines
from tests.reports import ending
from tests.test_judge import Refusing, judge_of, operation

ASK = Ask(FLOAT32, ("moderate", "masked"), options=frozenset({"reduction"}))
SMOOTHED_MEAN = {"label_smoothing": 0.1, "reduction": Reduction.MEAN}


def asked_in_pairs(when: Callable[[Problem], bool], role: str = "main") -> Judge:
    """A judge that has asked an operation problems in pairs, which refuses those that `when` holds for; nothing is claimed."""
    asked = replace(operation(FLOAT32, {}), options=frozenset({"reduction"}))
    adapter = Refusing(when)
    adapter.role = lambda _: role  # type: ignore[method-assign]
    claims = Claims((Claim(Scope(("*",), ("float32",)), {Quantity.LOSS: Grade.NONE}),))
    judge = Judge(replace(judge_of(adapter, asked).plan, claims=claims, hazards=ASK.hazards, formats=(FLOAT32,)))
    with contextlib.suppress(pytest.skip.Exception):
        judge.search_all(problems_in_pairs, asked, ASK, (Quantity.LOSS,))
    return judge


def test_all_pairs_meet_where_nothing_is_refused() -> None:
    judge = asked_in_pairs(lambda _: False)
    (pairs,) = judge.recorder.pairs.values()
    assert (pairs.met, pairs.missing) == (len(pairs_there_are(ASK)), [])
    report = build_report(judge, ending(passed=3))
    assert report["verdict"] == "CONFORMS"
    assert report["pairs"] == [{"operation": "fixed", "dtype": "float32", "met": pairs.met, "of": pairs.met, "all_must": True}]
    said = f"that met: {pairs.met} of {pairs.met}"
    assert said in markdown(report)
    assert any(said in line for line in summary_lines(report))


@pytest.mark.filterwarnings("ignore::suites.judging.refusals.PassedOverWarning")
def test_a_pair_that_was_refused_reduces_the_run() -> None:
    judge = asked_in_pairs(lambda problem: problem.reduction is Reduction.MEAN and problem.num_classes > 1000)
    (pairs,) = judge.recorder.pairs.values()
    assert "reduction mean with size thousands of classes" in pairs.missing
    report = build_report(judge, ending(passed=3))
    assert report["verdict"] == "REDUCED"
    said = f"{len(pairs.missing)} pairs of values that did not meet (fixed float32: {pairs.missing[0]})"
    assert report["run"]["reduced_by"] == [said]


def test_of_other_operations_a_part_is_asked_and_told() -> None:
    report = build_report(asked_in_pairs(lambda _: False, ROLES[1]), ending(passed=3))
    (row,) = report["pairs"]
    assert report["verdict"] == "CONFORMS"
    assert row["met"] < row["of"]
    assert not row["all_must"]
    assert f"{row['met']} of {row['of']} where one problem in six is asked" in markdown(report)


def test_a_pair_meets_when_it_is_answered_or_fails() -> None:
    pairs, pick = Pairs({frozenset(SMOOTHED_MEAN.items())}), SMOOTHED_MEAN
    with pytest.raises(PassedOver), pairs.meeting(pick):
        raise PassedOver("no")
    assert pairs.met == 0
    with pytest.raises(ZeroDivisionError), pairs.meeting(pick):
        raise ZeroDivisionError
    assert pairs.met == 1


def test_no_more_is_told_of_a_run_without_pairs() -> None:
    report = build_report(Judge(asked_in_pairs(lambda _: False).plan), ending(passed=3))
    assert "pairs" not in report
    assert "that met" not in markdown(report)
