"""Searches hand on what they generated, and what is owed is evaluated once: neither may change what is checked."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import suites.judging.expected
from adapters.isolation import HANG
from adapters.loading import load_attribute
from adapters.numpy.backend import NumpyAdapter
from reference.arithmetic import Arithmetic
from reference.bounds.entrywise import componentwise_bound, stable_bound
from reference.bounds.recent import KEPT
from reference.evaluation import evaluate
from reference.formats import BFLOAT16, FLOAT32, Format
from reference.grades import Grade
from reference.problem import Problem
from reference.quantity import Quantity
from suites.inputs.problems import Ask
from suites.judging.expected import ExpectedCache
from suites.judging.failure import Finding, JudgeFailed
from suites.judging.measurement import Measurement
from suites.judging.search import MOST_SPENT, Searches
from suites.judging.store import LARGEST_KEPT, Store

ASK = Ask(FLOAT32, ("moderate", "absorption"))
QUANTITIES = (Quantity.LOSS, Quantity.GRADIENT)


def test_the_next_operation_gets_the_same_problems() -> None:
    searches, first, second, alone = Searches(0), list[Problem](), list[Problem](), list[Problem]()
    searches.run("loss", ASK, first.append, 10)
    searches.run("loss", ASK, second.append, 10)
    Searches(0).run("loss", ASK, alone.append, 10)
    assert [id(p) for p in first] == [id(p) for p in second]
    assert [p.logits.tolist() for p in first] == [p.logits.tolist() for p in alone]


def test_a_part_is_asked_of_what_all_are_asked() -> None:
    searches, first, second = Searches(0), list[Problem](), list[Problem]()
    searches.run("loss", ASK, first.append, 10)
    searches.run("loss", ASK, second.append, 10, 3)
    assert [id(p) for p in second] == [id(p) for p in first[::3]]


@pytest.mark.parametrize("other", [("gradient", ASK, 10), ("loss", Ask(BFLOAT16, ASK.hazards), 10), ("loss", ASK, 11)])
def test_another_question_gets_other_problems(other: tuple[str, Ask, int]) -> None:
    searches, first, second = Searches(0), list[Problem](), list[Problem]()
    searches.run("loss", ASK, first.append, 10)
    name, ask, examples = other
    searches.run(name, ask, second.append, examples)
    assert not {id(p) for p in first} & {id(p) for p in second}


def test_a_failure_among_kept_problems_is_searched_and_shrunk() -> None:
    searches, seen = Searches(0), list[Problem]()
    searches.run("loss", ASK, lambda _: None, 40)

    def check(problem: Problem) -> None:
        seen.append(problem)
        if problem.num_classes > 1:
            pytest.fail("more than one class", pytrace=False)

    with pytest.raises(pytest.fail.Exception, match="more than one class"):
        searches.run("loss", ASK, check, 40)
    assert seen[-1].logits.shape == (1, 2)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(("cost", "most"), [(1, MOST_SPENT), (HANG, 1)], ids=["crash", "hang"])
def test_a_search_stops_when_its_failures_have_ended_enough_processes(cost: int, most: int, kept: bool) -> None:
    """To shrink a hang took a timeout a step, hundreds of times."""
    spent, failed = [1000], list[Problem]()
    searches = Searches(0, lambda: spent[0])
    if kept:
        searches.run("loss", ASK, lambda _: None, 40)

    def check(problem: Problem) -> None:
        if problem.num_rows * problem.num_classes > 1:
            spent[0] += cost
            failed.append(problem)
            pytest.fail(f"ended at {problem.logits.tolist()}", pytrace=False)

    with pytest.raises(pytest.fail.Exception) as told:
        searches.run("loss", ASK, check, 40)
    assert 1 <= len(failed) <= most
    fewest = min(problem.logits.size for problem in failed)
    assert str(told.value) in [f"ended at {p.logits.tolist()}" for p in failed if p.logits.size == fewest]
    assert told.value.__context__ is None


@pytest.mark.parametrize("kept", [True, False])
def test_a_failure_that_does_not_repeat_is_told(kept: bool) -> None:
    searches, calls = Searches(0), list[Problem]()
    if kept:
        searches.run("loss", ASK, lambda _: None, 10)

    def check(problem: Problem) -> None:
        calls.append(problem)
        if len(calls) == 3:
            pytest.fail("what   : off by an ulp", pytrace=False)

    with pytest.raises(pytest.fail.Exception, match=r"off by an ulp  # the same problem .* not deterministic"):
        searches.run("loss", ASK, check, 10)


def test_a_failure_that_does_not_repeat_keeps_its_lines_and_is_a_cause_of_its_own() -> None:
    calls = list[Problem]()
    operation = NumpyAdapter().operations()[0]

    def check(problem: Problem) -> None:
        calls.append(problem)
        if len(calls) == 3:
            finding = Finding("loss[0] is 2 ulp off", "expected 1; observed 2", operation, problem)
            raise JudgeFailed(finding, finding.lines("here", "pytest suites/"))

    with pytest.raises(JudgeFailed) as told:
        Searches(0).run("loss", ASK, check, 10)
    note = "the same problem passed when it was tried again: the operation is not deterministic"
    assert told.value.lines["what"] == "loss[0] is 2 ulp off"
    assert told.value.lines["repro"] == f"pytest suites/  # {note}"
    assert told.value.finding.cause == f"loss[#] is # ulp off; {note}"


def test_a_skip_passes_through() -> None:
    searches = Searches(0)
    searches.run("loss", ASK, lambda _: None, 5)
    with pytest.raises(pytest.skip.Exception):
        searches.run("loss", ASK, lambda _: pytest.skip("not offered"), 5)


def test_all_problems_are_checked_and_recorded_once_whether_they_pass_or_fail() -> None:
    """A failure used to end the search: the row of a wrong kernel rested on the problems where it happened to be right."""
    shrinking, asked = [False], list[tuple[Problem, bool]]()

    @contextlib.contextmanager
    def unrecorded() -> Iterator[None]:
        shrinking[0] = True
        yield
        shrinking[0] = False

    def check(problem: Problem) -> None:
        asked.append((problem, shrinking[0]))
        if problem.num_classes > 2:
            pytest.fail("more than two classes", pytrace=False)

    searches, right = Searches(0, unrecorded=unrecorded), list[Problem]()
    with pytest.raises(pytest.fail.Exception, match="more than two classes"):
        searches.run("loss", ASK, check, 10)
    searches.run("loss", ASK, right.append, 10)
    assert [id(p) for p, unseen in asked if not unseen] == [id(p) for p in right]
    assert len(right) == 10
    assert any(unseen for _, unseen in asked)


def test_what_is_owed_is_evaluated_once_and_is_what_the_reference_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Format, tuple[Quantity, ...]]] = []

    def counting(problem: Problem, quantities: tuple[Quantity, ...]) -> dict:
        asked.append((problem.format, quantities))
        return evaluate(problem, quantities)

    monkeypatch.setattr(suites.judging.expected, "evaluate", counting)
    owed, problem = ExpectedCache(_store=Store(None)), Problem([[20.0, 0.0]], [0], BFLOAT16)
    owed.evaluate(problem, QUANTITIES[:1], BFLOAT16)
    values = owed.evaluate(problem, QUANTITIES, BFLOAT16)
    wider = owed.evaluate(problem, QUANTITIES, FLOAT32)
    owed.evaluate(problem, QUANTITIES, FLOAT32)
    assert asked == [(BFLOAT16, (Quantity.LOSS,)), (BFLOAT16, (Quantity.GRADIENT,)), (FLOAT32, QUANTITIES)]
    for fmt, found in ((BFLOAT16, values), (FLOAT32, wider)):
        fresh = evaluate(problem.replace(format=fmt), QUANTITIES)
        for quantity in QUANTITIES:
            np.testing.assert_array_equal(found[quantity].values.rounded(fmt)[0], fresh[quantity].values.rounded(fmt)[0])


@pytest.mark.parametrize(("classes", "kept"), [(2, 1), (LARGEST_KEPT + 1, 0)])
def test_only_small_problems_are_kept_and_only_while_they_live(classes: int, kept: int) -> None:
    owed, problem, arithmetic = ExpectedCache(), Problem([[0.0] * classes], [0], FLOAT32), Arithmetic(FLOAT32, FLOAT32)
    expected = owed.evaluate(problem, (Quantity.LOSS,), FLOAT32)[Quantity.LOSS]
    bounds = owed.bounds(problem, Quantity.LOSS, FLOAT32, arithmetic)
    assert Measurement(problem, Quantity.LOSS, arithmetic, expected, np.zeros(1), kept=bounds).grade < Grade.STABLE
    assert (owed.bounds(problem, Quantity.LOSS, FLOAT32, arithmetic) is bounds) == kept
    assert len(owed._kept) == len(owed._bounds) == kept
    gone = weakref.ref(problem)
    del problem
    for top in range(KEPT):  # the analyses of the last few are kept whatever becomes of them
        other = Problem([[float(top), 0.0]], [0], FLOAT32)
        stable_bound(other, Quantity.LOSS, arithmetic, expected)
        componentwise_bound(other, Quantity.LOSS, arithmetic, expected)
    gc.collect()
    assert gone() is None
    assert len(owed._kept) == len(owed._bounds) == 0


def test_a_failure_at_many_classes_is_told_at_the_edge_where_it_begins() -> None:
    """A kernel of tiles of 32 classes used to be told with the thousand logits that were drawn."""
    searches, told = Searches(0), list[Problem]()

    def check(problem: Problem) -> None:
        if problem.num_classes > 32:
            told.append(problem)
            pytest.fail(f"K = {problem.num_classes}", pytrace=False)

    ask = Ask(FLOAT32, ("large_vocabulary",), max_rows=2)
    with pytest.raises(pytest.fail.Exception, match="^K = 33$"):
        searches.run("loss", ask, check, 4)
    assert told[-1].logits.shape == (1, 33)
    with pytest.raises(pytest.fail.Exception, match="^K = [0-9]{3,}"):
        searches.run("loss", replace(ask, few_shapes=True), check, 4)


def test_numbers_in_a_kernel_do_not_change_its_problems(tmp_path: Path) -> None:
    """Hypothesis takes numbers from the source of modules; a kernel that is repaired must get the problems that it had."""
    ask, first, second = Ask(FLOAT32, ("bit_patterns",)), list[Problem](), list[Problem]()
    Searches(0).run("loss", ask, first.append, 40)
    kernel = tmp_path / "kernel.py"
    kernel.write_text("NUMBERS = [5123, 61234, 7654321, 81234567, 912345678, 1012345678]\n")
    load_attribute(f"{kernel}:NUMBERS", "--implementation")
    Searches(0).run("loss", ask, second.append, 40)
    assert [p.logits.tolist() for p in first] == [p.logits.tolist() for p in second]
