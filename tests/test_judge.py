"""Tests of how observed meets expected: the format a result is returned in, and questions that have no answer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adapters.adapter import Call, Result
from adapters.numpy.backend import NumpyAdapter
from adapters.operation import Operation
from adapters.question import Question
from reference import BFLOAT16, FLOAT32, Format, Problem, Quantity
from reference.arithmetic import Arithmetic
from reference.grades import Grade
from reference.loss import Loss
from suites.inputs.cases import Case
from suites.inputs.problems import Ask
from suites.judging.claims import NO_CLASSES, Claim, Claims, Deviation, OutOfRange, Scope
from suites.judging.effort import EFFORTS
from suites.judging.judge import Judge, Plan
from suites.judging.refusals import PassedOverWarning
from suites.test_invariants import test_loss_lies_above_its_tangents as tangents
from suites.test_invariants import test_two_runs_give_the_same_bits as two_runs
from suites.test_out_of_range import EMPTY_SUMS
from suites.test_out_of_range import test_no_classes as no_classes
from suites.test_out_of_range import test_out_of_range_binary_label as binary_label
from suites.test_out_of_range import test_out_of_range_label as out_of_range_label

THIRD = Problem([[0.0, 0.0, 0.0]], [0], BFLOAT16)
LOG_3 = np.float64(np.float32(np.log(3.0)))


class Fixed(NumpyAdapter):
    """Returns one loss in one dtype, whatever it is asked."""

    name = "fixed"

    def __init__(self, loss: float, dtype: str, device: str = "cpu") -> None:
        super().__init__()
        self.device = device
        self.result = Result(np.array([loss]), dtype, device)

    def call(self, *_: Any) -> Call:
        return Call({Quantity.LOSS: self.result})


class Raising(NumpyAdapter):
    """Raises, whatever it is asked."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error or ValueError("no")

    def call(self, *_: Any) -> Call:
        raise self.error


class RaisingInTurn(Fixed):
    """Raises at every second call: the `first`, third, or second, fourth."""

    def __init__(self, first: bool) -> None:
        super().__init__(0.0, "float32")
        self.raises = not first

    def call(self, *_: Any) -> Call:
        self.raises = not self.raises
        if self.raises:
            raise ValueError("not now")
        return super().call()


def operation(fmt: Format, returns: Mapping[str, Mapping[Quantity, Format]], can_raise: bool = True) -> Operation:
    arithmetic = {fmt.name: Arithmetic(fmt, FLOAT32)}
    return Operation("fixed", "f(x)", None, arithmetic, (Quantity.LOSS,), returns=returns, can_raise=can_raise)


def judge_of(adapter: NumpyAdapter, asked: Operation) -> Judge:
    return Judge(Plan(adapter, (asked,), (BFLOAT16,), (), (), Claims(), EFFORTS["quick"], 0, "pytest suites/"))


def test_a_result_is_judged_in_the_format_that_it_is_declared_to_have() -> None:
    wide = operation(BFLOAT16, {"bfloat16": {Quantity.LOSS: FLOAT32}})
    (measurement,) = judge_of(Fixed(float(LOG_3), "float32"), wide).measure(Question(wide, THIRD, (Quantity.LOSS,)))
    assert measurement.grade is Grade.CORRECT
    assert measurement.judged.format == measurement.arithmetic.storage == FLOAT32
    assert measurement.problem is THIRD
    rounded = float(BFLOAT16.round(LOG_3))
    (coarse,) = judge_of(Fixed(rounded, "float32"), wide).measure(Question(wide, THIRD, (Quantity.LOSS,)))
    assert coarse.grade < Grade.STABLE


def test_a_result_in_another_format_than_declared_reaches_nothing() -> None:
    plain = operation(BFLOAT16, {})
    (measurement,) = judge_of(Fixed(float(LOG_3), "float32"), plain).measure(Question(plain, THIRD, (Quantity.LOSS,)))
    assert (
        measurement.error
        == 'returned loss as float32, asked for bfloat16; if that is meant so, declare returns={"loss": "float32"}'
    )
    assert measurement.grade is Grade.NONE


@pytest.mark.parametrize(("device", "can_raise"), [("moon", True), ("cpu", False)])
def test_nan_is_spared_where_an_index_out_of_range_cannot_raise(device: str, can_raise: bool) -> None:
    asked = operation(BFLOAT16, {}, can_raise)
    out_of_range_label(judge_of(Fixed(np.nan, "bfloat16", device), asked), asked, BFLOAT16, 3)
    with pytest.raises(pytest.fail.Exception, match="what is out of range must raise"):
        out_of_range_label(judge_of(Fixed(1.0, "bfloat16", device), asked), asked, BFLOAT16, 3)


def test_nan_is_not_spared_on_the_cpu() -> None:
    asked = operation(BFLOAT16, {})
    with pytest.raises(pytest.fail.Exception, match="what is out of range must raise"):
        out_of_range_label(judge_of(Fixed(np.nan, "bfloat16"), asked), asked, BFLOAT16, 3)


@pytest.mark.parametrize(("probabilities", "loss", "good"), [(True, 0.0, True), (True, -np.inf, False), (False, 0.0, False)])
def test_of_no_classes_an_empty_sum_is_taken_but_for_an_index(probabilities: bool, loss: float, good: bool) -> None:
    asked = replace(operation(BFLOAT16, {}), probabilities=probabilities)
    judge = judge_of(Fixed(loss, "bfloat16"), asked)
    if good:
        no_classes(judge, asked, BFLOAT16)
    else:
        with pytest.raises(pytest.fail.Exception, match="for a row of no classes; what is out of range must raise"):
            no_classes(judge, asked, BFLOAT16)
    assert judge.recorder.out_of_range == {("fixed", "bfloat16", NO_CLASSES): f"returned [{loss}]"}


class Blocks(NumpyAdapter):
    """Building blocks of which those named raise, and the others return an empty sum."""

    def __init__(self, raising: str) -> None:
        super().__init__()
        self.raising = raising.split()

    def call(self, question: Question) -> Call:
        if question.operation.name in self.raising:
            raise ValueError("nothing to normalise")
        return Call({q: Result(EMPTY_SUMS[q], question.problem.format.name, "cpu") for q in question.quantities})


@pytest.mark.parametrize(
    ("raising", "asked", "says"),
    [
        ("softmax log_softmax logsumexp entropy", "softmax", None),
        ("", "softmax", None),
        ("softmax log_softmax entropy", "logsumexp", None),
        ("softmax log_softmax", "log_softmax", "log_softmax raised ValueError for a row of no classes; logsumexp answers"),
        ("logsumexp", "logsumexp", "logsumexp raised ValueError for a row of no classes; log_softmax answers"),
    ],
)
def test_of_no_classes_all_building_blocks_answer_or_all_raise(raising: str, asked: str, says: str | None) -> None:
    adapter = Blocks(raising)
    operation = next(op for op in adapter.operations() if op.name == asked)
    judge = judge_of(adapter, operation)
    if says is None:
        no_classes(judge, operation, FLOAT32)
    else:
        with pytest.raises(pytest.fail.Exception, match=says):
            no_classes(judge, operation, FLOAT32)
    known = OutOfRange("known", Scope((asked,), ("float32",)), (NO_CLASSES,), "why", "")
    ends = pytest.fail.Exception if says is None else pytest.xfail.Exception
    with pytest.raises(ends, match="stale entry 'known'" if says is None else "known: why"):
        no_classes(Judge(replace(judge.plan, claims=Claims(out_of_range=(known,)))), operation, FLOAT32)


@pytest.mark.parametrize("label", [-0.5, 1.5])
def test_a_binary_label_that_is_taken_fails_unless_it_is_known(label: float) -> None:
    asked = replace(operation(BFLOAT16, {}), probabilities=True, loss=Loss.SIGMOID)
    judge = judge_of(Fixed(1.0, "bfloat16"), asked)
    with pytest.raises(pytest.fail.Exception, match=f"for the label {label}; what is out of range must raise"):
        binary_label(judge, asked, BFLOAT16, label)
    known = OutOfRange("taken", Scope(("*",), ("bfloat16",)), (label,), "why", "")
    judge = Judge(replace(judge.plan, claims=Claims(out_of_range=(known,))))
    with pytest.raises(pytest.xfail.Exception, match="taken: why"):
        binary_label(judge, asked, BFLOAT16, label)
    raising = Judge(replace(judge.plan, adapter=Raising()))
    with pytest.raises(pytest.fail.Exception, match="stale entry 'taken'"):
        binary_label(raising, asked, BFLOAT16, label)
    elsewhere = Judge(replace(raising.plan, claims=Claims(out_of_range=(replace(known, strict=False),))))
    with no_failure_expected():
        binary_label(elsewhere, asked, BFLOAT16, label)
    assert elsewhere.recorder.not_seen == [("taken", f"{label!r} in bfloat16, fixed")]


@contextlib.contextmanager
def no_failure_expected() -> Iterator[None]:
    """Fails where the judge expects a failure: its xfail, let through, would be that of the test, which then passes."""
    try:
        yield
    except pytest.xfail.Exception as expected:
        pytest.fail(f"expected to fail: {expected}")


LOST = Problem([[20.0, 0.0]], [0], FLOAT32)
CASE = Case("absorption/lost", "absorption", "the loss is lost", "made for this test", LOST)
MISSES_ACCURATE = Deviation(
    "lost", Scope(("*",), ("float32",)), (Quantity.LOSS,), ("absorption/*",), Grade.ACCURATE, Grade.STABLE, "why", ""
)


def judged(loss: float, claimed: Grade, *deviations: Deviation) -> tuple[Judge, Operation]:
    """A judge of an operation that returns this loss, and claims that grade with these deviations."""
    asked = operation(FLOAT32, {})
    claims = Claims((Claim(Scope(("*",), ("float32",)), {Quantity.LOSS: claimed}),), deviations)
    judge = judge_of(Fixed(loss, "float32"), asked)
    return Judge(replace(judge.plan, claims=claims)), asked


def test_a_generated_problem_is_held_to_the_claim() -> None:
    judge, asked = judged(0.0, Grade.STABLE)
    judge.check(Question(asked, LOST, (Quantity.LOSS,)))
    judge, asked = judged(0.0, Grade.ACCURATE)
    with pytest.raises(pytest.fail.Exception, match="returned as 0"):
        judge.check(Question(asked, LOST, (Quantity.LOSS,)))


def test_a_deviation_that_shows_is_expected_and_one_that_does_not_is_stale() -> None:
    judge, asked = judged(0.0, Grade.ACCURATE, MISSES_ACCURATE)
    with pytest.raises(pytest.xfail.Exception, match="deviation lost: why"):
        judge.check_case(CASE, asked, Quantity.LOSS)
    judge, asked = judged(float(np.float32(2.0611536e-9)), Grade.ACCURATE, MISSES_ACCURATE)
    with pytest.raises(pytest.fail.Exception, match="stale deviation 'lost'"):
        judge.check_case(CASE, asked, Quantity.LOSS)


def test_a_deviation_never_seen_on_this_processor_is_told_and_not_stale() -> None:
    """It may show, and is expected then; where it does not, the case is held to the claim as if there were no entry."""
    elsewhere = replace(MISSES_ACCURATE, strict=False)
    judge, asked = judged(float(np.float32(2.0611536e-9)), Grade.ACCURATE, elsewhere)
    with no_failure_expected():
        judge.check_case(CASE, asked, Quantity.LOSS)
    assert judge.recorder.not_seen == [("lost", f"{CASE.id}, {asked.label}, loss")]
    assert judge.recorder.outcomes[-1].deviations == ()
    judge, asked = judged(0.0, Grade.ACCURATE, elsewhere)
    with pytest.raises(pytest.xfail.Exception, match="deviation lost: why"):
        judge.check_case(CASE, asked, Quantity.LOSS)
    assert not judge.recorder.not_seen
    judge, asked = judged(0.0, Grade.ACCURATE, replace(elsewhere, misses=Grade.FINITE, reaches=Grade.NONE))
    with pytest.raises(pytest.fail.Exception, match="returned as 0"):
        judge.check_case(CASE, asked, Quantity.LOSS)


def test_a_deviation_seen_elsewhere_excuses_no_more_than_one_seen_here() -> None:
    """On this processor the loss was `finite` at its worst; on another it was NaN."""
    here = replace(MISSES_ACCURATE, id="here", misses=Grade.STABLE, reaches=Grade.FINITE)
    elsewhere = replace(MISSES_ACCURATE, id="elsewhere", misses=Grade.STABLE, reaches=Grade.NONE, strict=False)
    judge, asked = judged(np.nan, Grade.STABLE, elsewhere)
    with pytest.raises(pytest.xfail.Exception, match="never seen on this processor before, deviation elsewhere: why"):
        judge.check_case(CASE, asked, Quantity.LOSS)
    judge, asked = judged(np.nan, Grade.STABLE, here, elsewhere)
    with pytest.raises(pytest.fail.Exception, match="claim 'finite'"):
        judge.check_case(CASE, asked, Quantity.LOSS)


def test_a_deviation_from_more_than_is_claimed_lowers_nothing() -> None:
    """A miss of `accurate` that reaches `finite` alone excuses nobody who claims `stable`."""
    judge, asked = judged(1.0, Grade.STABLE, replace(MISSES_ACCURATE, reaches=Grade.FINITE))
    with pytest.raises(pytest.fail.Exception, match="claim 'stable'"):
        judge.check_case(CASE, asked, Quantity.LOSS)


def repeated(adapter: NumpyAdapter, claimed: Grade) -> None:
    """The test of two runs, on an adapter whose operation claims that grade of its loss in float32."""
    asked = operation(FLOAT32, {})
    claims = Claims((Claim(Scope(("*",), ("float32",)), {Quantity.LOSS: claimed}),))
    plan = replace(judge_of(adapter, asked).plan, claims=claims, hazards=("moderate",))
    two_runs(Judge(plan), asked, FLOAT32)


def test_an_operation_without_a_loss_has_no_tangents_below_it() -> None:
    alone = replace(operation(FLOAT32, {}), quantities=(Quantity.GRADIENT,))
    claims = Claims((Claim(Scope(("*",), ("float32",)), {Quantity.GRADIENT: Grade.STABLE}),))
    plan = replace(judge_of(Raising(), alone).plan, claims=claims)
    with pytest.raises(pytest.skip.Exception, match="fixed has no loss"):
        tangents(Judge(plan), alone, FLOAT32)


@pytest.mark.parametrize("first", [True, False])
def test_an_exception_in_one_of_two_runs_fails(first: bool) -> None:
    with pytest.raises(pytest.fail.Exception, match="one of two runs of fixed: ValueError: not now"):
        repeated(RaisingInTurn(first), Grade.NONE)


def test_an_exception_in_both_of_two_runs_fails_where_an_answer_is_claimed() -> None:
    with pytest.raises(
        pytest.fail.Exception, match=r"what   : loss: ValueError: no \(test_judge.py, line \d+\); claim 'finite'"
    ):
        repeated(Raising(), Grade.FINITE)
    repeated(Raising(), Grade.NONE)


class Refusing(NumpyAdapter):
    """What `when` holds for is not implemented; of the rest the loss is 0."""

    def __init__(self, when: Callable[[Problem], bool]) -> None:
        super().__init__()
        self.when = when

    def call(self, question: Question) -> Call:
        if self.when(question.problem):
            raise NotImplementedError("too hard")
        return Call({Quantity.LOSS: Result(np.zeros(question.problem.num_rows, np.float32), "float32", "cpu")})


def searched(when: Callable[[Problem], bool], wanted: Grade) -> None:
    """A search for gaps of which the loss is not `wanted`, where what `when` holds for is refused."""
    asked = operation(FLOAT32, {})
    claims = Claims((Claim(Scope(("*",), ("float32",)), {Quantity.LOSS: wanted}),))
    plan = replace(judge_of(Refusing(when), asked).plan, claims=claims, hazards=("absorption",))
    ask = Ask(FLOAT32, ("absorption",))
    Judge(plan).search_claims("search", asked, ask, (Quantity.LOSS,))


def test_what_is_refused_for_its_shape_is_passed_over_and_said() -> None:
    told = r"\d+ of \d+ problems passed over; fixed: not implemented: too hard"
    with pytest.warns(PassedOverWarning, match=told), contextlib.suppress(pytest.skip.Exception):
        searched(lambda problem: problem.num_classes == 2, Grade.NONE)
    with pytest.raises(pytest.skip.Exception, match="fixed: not implemented: too hard"):
        searched(lambda _: True, Grade.ACCURATE)


def test_what_is_refused_hides_no_failure() -> None:
    with pytest.raises(pytest.fail.Exception, match="loss.* returned as 0"):
        searched(lambda problem: problem.num_classes == 2, Grade.ACCURATE)


@pytest.mark.parametrize("hard", [[500.0, 0.0], [0.0, 1.0]])
def test_a_refusal_may_not_depend_on_values(hard: list[float]) -> None:
    """Whichever of the two is asked first."""
    asked = operation(FLOAT32, {})
    judge = judge_of(Refusing(lambda problem: problem.logits.tolist() == [hard]), asked)
    judged = [Problem([logits], [0], FLOAT32) for logits in ([0.0, 1.0], [500.0, 0.0])]
    refused_first = hard == [0.0, 1.0]
    told = "refused a problem .too hard. and answers" if refused_first else "answered a problem and refuses another .too hard."
    with contextlib.suppress(pytest.skip.Exception):
        judge.measure(Question(asked, judged[0], (Quantity.LOSS,)))
    with pytest.raises(pytest.fail.Exception, match=f"fixed {told}.*declare a limit, or answer"):
        judge.measure(Question(asked, judged[1], (Quantity.LOSS,)))


def test_a_refusal_may_depend_on_what_a_limit_may() -> None:
    asked = operation(FLOAT32, {})
    judge = judge_of(Refusing(lambda problem: problem.num_classes == 3 or problem.label_smoothing > 0), asked)
    judge.measure(Question(asked, Problem([[0.0, 1.0]], [0], FLOAT32), (Quantity.LOSS,)))
    for problem in (Problem([[0.0, 1.0, 2.0]], [0], FLOAT32), Problem([[0.0, 1.0]], [0], FLOAT32, label_smoothing=0.5)):
        with pytest.raises(pytest.skip.Exception, match="too hard"):
            judge.measure(Question(asked, problem, (Quantity.LOSS,)))


def test_what_is_not_implemented_is_skipped_and_said() -> None:
    judge, asked = judged(0.0, Grade.FINITE)
    judge = Judge(replace(judge.plan, adapter=Raising(NotImplementedError("of one row alone"))))
    with pytest.raises(pytest.skip.Exception, match="fixed: not implemented: of one row alone"):
        judge.measure(Question(asked, LOST, (Quantity.LOSS,)))
    with pytest.raises(pytest.skip.Exception, match="not implemented"):
        repeated(Raising(NotImplementedError("of one row alone")), Grade.FINITE)
