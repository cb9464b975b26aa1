"""An entry is judged vacuously where what it was held to would have let 0 or twice the value pass; a run says which part."""

from __future__ import annotations

import numpy as np
import pytest

from reference.arithmetic import RECURSIVE, Arithmetic
from reference.evaluation import evaluate
from reference.formats import BFLOAT16, FLOAT32
from reference.grades import Grade
from reference.problem import Problem
from reference.quantity import Quantity
from suites.judging.measurement import Measurement
from suites.judging.recorder import Recorder
from suites.report.answer import answers
from suites.report.markdown import markdown
from suites.report.terminal import summary_lines
from suites.report.wording import vacuous_line, verdict_line
from tests.command import run_here
from tests.reports import report, result


def measured(problem: Problem, arithmetic: Arithmetic, quantity: Quantity = Quantity.LOSS) -> Measurement:
    """The right values."""
    expected = evaluate(problem, [quantity])[quantity]
    return Measurement(problem, quantity, arithmetic, expected, expected.values.rounded(problem.format)[0])


ABSORBED = Problem([[0.0, -20.0], [0.0, -3.0]], [0, 0], FLOAT32)
SINGLE = Arithmetic(FLOAT32, FLOAT32)


def test_a_bound_beyond_the_value_says_nothing() -> None:
    """exp(-20) = 2e-9 is far below one rounding of the sum, 6e-8; exp(-3) is not."""
    found = measured(ABSORBED, SINGLE)
    assert found.vacuous_at(Grade.STABLE).tolist() == [True, False]
    for grade in (Grade.NONE, Grade.FINITE, Grade.ACCURATE, Grade.CORRECT):
        assert not found.vacuous_at(grade).any()


def test_a_value_that_is_0_or_rounds_to_it_may_be_0() -> None:
    problem = Problem([[0.0, -np.inf], [0.0, -200.0]], [0, 0], FLOAT32)
    assert not measured(problem, SINGLE).vacuous_at(Grade.STABLE).any()


def test_what_has_no_bound_and_what_failed() -> None:
    problem = Problem([[0.0] * 400], [0], BFLOAT16)
    found = measured(problem, Arithmetic(BFLOAT16, BFLOAT16, summation=RECURSIVE), Quantity.GRADIENT)
    recorder = Recorder()
    recorder.add("kernel", "bfloat16", found, True, Grade.STABLE)
    recorder.add("kernel", "bfloat16", found, False, Grade.STABLE)
    (record,) = recorder.records.values()
    assert (record.vacuous, record.unbounded, record.counts.entries) == (400, 400, 400)
    raised = Measurement(problem, found.quantity, found.arithmetic, found.expected, found.observed, error="raised")
    assert not raised.vacuous_at(Grade.STABLE).any()


@pytest.mark.parametrize(("unbounded", "more"), [(0, ""), (2, "; without a bound in cross_entropy float32 loss")])
def test_a_report_says_which_part(unbounded: int, more: str) -> None:
    found = report(
        result(entries=6, vacuous={"entries": 2, "unbounded": unbounded}),
        result(quantity="gradient", entries=6, vacuous={"entries": 0, "unbounded": 0}),
    )
    assert vacuous_line(found) == f"17%{more}"
    assert verdict_line(found).endswith("; 17% of the entries judged vacuously")
    assert f"entries judged vacuously, 'stable' lets 0 or twice the value pass: 17%{more}" in summary_lines(found)
    written = markdown(found)
    assert f"Entries judged vacuously: 17%{more}." in written
    assert "| 33% |" in written
    assert "Of 17% of the entries nothing is shown" in answers(found)[0].text


def test_rows_of_which_nothing_is_shown_are_named() -> None:
    found = report(result(entries=6, vacuous={"entries": 6, "unbounded": 0}))
    assert vacuous_line(found) == "100%; all of cross_entropy float32 loss"


def test_a_report_that_counts_none_says_nothing() -> None:
    for found in (report(result()), report(result(vacuous={"entries": 0, "unbounded": 0}))):
        assert vacuous_line(found) == ""
        assert "vacuously" not in "\n".join(summary_lines(found))


def test_a_run_says_it() -> None:
    asked = ("--operation=scipy_log_softmax", "--dtype=float32", "--effort=quick", "--case=absorption/*")
    _, printed = run_here(*asked, "--claim=stable")
    assert printed.rstrip().splitlines()[-1].endswith("of the entries judged vacuously")
    _, printed = run_here(*asked, "--claim=finite")
    assert "vacuously" not in printed
