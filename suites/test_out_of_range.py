"""Questions that have no answer: class indices and labels out of range, and rows of no classes. An operation must raise.

Where it cannot (on an accelerator, compiled by XLA), NaN is the alternative; of no classes an empty sum is an answer too, and
the building blocks of a backend agree: all of them answer, or all raise. What is known to do otherwise is an [[out_of_range]]
entry of the claims file, and as strict as a deviation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from adapters.adapter import Observed
from adapters.operation import Operation
from reference.formats import Floats, Format
from reference.problem import Problem
from reference.quantity import BUILDING_BLOCKS, Quantity
from suites.judging.claims import NO_CLASSES, Label
from suites.judging.judge import Judge
from suites.judging.reproducer import miss_of_label

EMPTY_SUMS: dict[Quantity, Floats] = {
    Quantity.LOSS: np.zeros(1),
    Quantity.LOGSUMEXP: np.array([-np.inf]),
    Quantity.LOG_SOFTMAX: np.zeros((1, 0)),
    Quantity.SOFTMAX: np.zeros((1, 0)),
}
"""What a row of no classes adds up to: a loss of probabilities is 0, log 0 = -inf, and there is nothing to normalise."""


@dataclass(frozen=True)
class Unanswerable:
    """A problem without an answer: its label in claims and reports, in words, and what is taken for an answer all the same.

    `answered_by` names another operation that answers it, so that to raise is wrong; it is empty where there is none.
    """

    problem: Problem
    label: Label
    said: str
    spared: Floats | None = None
    answered_by: str = ""


@pytest.mark.asks(Quantity.LOSS)
@pytest.mark.parametrize("label", [-1, 3, 2**31])
def test_out_of_range_label(judge: Judge, operation: Operation, fmt: Format, label: int) -> None:
    """An index outside [0, K)."""
    if operation.probabilities:
        pytest.skip(f"{operation.name} takes no class indices")
    # The fewest classes from 3 on that the operation takes; the label 3 stands for K.
    classes = -(-3 // operation.classes_multiple) * operation.classes_multiple
    index = classes if label == 3 else label
    problem = Problem(np.resize([1.0, 2.0, 3.0], (1, classes)), np.array([0]), fmt, loss=operation.loss).with_unchecked_target(
        [index]
    )
    _hold(judge, operation, Unanswerable(problem, index, f"the class index {index} of {classes} classes"))


@pytest.mark.asks(Quantity.LOSS)
@pytest.mark.parametrize("label", [-0.5, 1.5])
def test_out_of_range_binary_label(judge: Judge, operation: Operation, fmt: Format, label: float) -> None:
    """A label of a sigmoid loss outside [0, 1]."""
    if not operation.loss.spec.binary:
        pytest.skip(f"{operation.name} is no loss of a sigmoid")
    problem = Problem(np.array([[0.5]]), np.zeros((1, 1)), fmt, loss=operation.loss).with_unchecked_target([[label]])
    _hold(judge, operation, Unanswerable(problem, label, f"the label {label}"))


@pytest.mark.asks(Quantity.LOSS, *BUILDING_BLOCKS)
def test_no_classes(judge: Judge, operation: Operation, fmt: Format) -> None:
    """A row of no logits, of which no class index is one; it must not end the process either."""
    if operation.loss.spec.binary:
        pytest.skip(f"{operation.name} is a loss of one logit")
    named = operation.has_loss and not operation.probabilities
    target = np.zeros(1, dtype=np.int64) if named else np.ones((1, 1))
    problem = Problem(np.ones((1, 1)), target, fmt, loss=operation.loss).without_classes()
    spared = None if named else EMPTY_SUMS[operation.quantities[0]]
    answered_by = _answered_by(judge, operation, problem) if operation.name in BUILDING_BLOCKS else ""
    _hold(judge, operation, Unanswerable(problem, NO_CLASSES, "a row of no classes", spared, answered_by))


def _answered_by(judge: Judge, operation: Operation, problem: Problem) -> str:
    """The first other building block of the backend and mode that answers.

    Those are meant that are named for what they are: what comes out of a loss (`log_prob` of ONNX) may refuse the label.
    """
    blocks = (op for op in judge.plan.adapter.operations() if op.mode == operation.mode and op.name in BUILDING_BLOCKS)
    others = (op for op in blocks if op.name != operation.name and problem.format.name in op.arithmetic)
    return next((op.label for op in others if _answers(judge, op, problem)), "")


def _answers(judge: Judge, operation: Operation, problem: Problem) -> bool:
    try:
        return judge.observe(operation, problem, operation.quantities[:1]).error is None
    except (pytest.skip.Exception, pytest.fail.Exception):  # refused, or the end of its process: told by its own test
        return False


def _hold(judge: Judge, operation: Operation, question: Unanswerable) -> None:
    """Record what an operation does; fail unless it is right, or what the claims file says."""
    dtype, quantity = question.problem.format.name, operation.quantities[0]
    observed = judge.observe(operation, question.problem, (quantity,))
    outcome = judge.recorder.out_of_range[operation.label, dtype, question.label] = _outcome(observed)
    good = _is_right(judge, operation, question, observed)
    known = judge.plan.claims.out_of_range_at(operation, dtype, question.label)
    if known is not None and good:
        pytest.fail(f"stale entry {known.id!r}: {operation.label} {outcome} for {question.said}", pytrace=False)
    if good:
        return
    name, story = (known.id, f"Cause: {known.reason}.") if known else ("", f"Asked for {question.said}.")
    miss = miss_of_label(name, story, operation, question.problem, observed)
    judge.failure = miss
    if known is not None:
        judge.deviations_seen.setdefault(known.id, miss)
        pytest.xfail(f"out of range, {known.id}: {known.reason}")
    right = f"{question.answered_by} answers: all answer, or all raise" if observed.error else "what is out of range must raise"
    pytest.fail(f"what   : {operation.label} {outcome} for {question.said}; {right}", pytrace=False)


def _outcome(observed: Observed) -> str:
    """What it did; of an exception the kind alone, since messages name generated files and numbered functions."""
    if observed.error:
        return f"raised {observed.error.partition(':')[0]}"
    (values,) = observed.values.values()
    return f"returned {values.tolist()}"


def _is_right(judge: Judge, operation: Operation, question: Unanswerable, observed: Observed) -> bool:
    """True if it raised as all others do, returned NaN because it cannot raise, or an empty sum."""
    if observed.error is not None:
        return not question.answered_by
    (values,) = observed.values.values()
    can_raise = operation.can_raise and judge.plan.adapter.device == "cpu"
    is_nan = values.size > 0 and bool(np.isnan(values).all())
    return (not can_raise and is_nan) or (question.spared is not None and np.array_equal(values, question.spared))
