"""Questions that have no answer: class indices and labels out of range, and rows of no classes. An operation must raise.

Where it cannot (on an accelerator, compiled by XLA), NaN is the alternative; of no classes an empty sum is an answer too, and
the building blocks of a backend agree: all of them answer, or all raise. What is known to do otherwise is an [[out_of_range]]
entry of the claims file, and as strict as a deviation.
"""

from __future__ import annotations

import numpy as np
import pytest

from adapters.operation import Operation
from adapters.question import Question
from reference.formats import Floats, Format
from reference.problem import Problem
from reference.quantity import BUILDING_BLOCKS, Quantity
from suites.judging.claims import BINARY_LABELS, INDEX_LABELS, NO_CLASSES, fewest_classes, index_label
from suites.judging.judge import Judge
from suites.judging.unanswerable import Unanswerable

EMPTY_SUMS: dict[Quantity, Floats] = {
    Quantity.LOSS: np.zeros(1),
    Quantity.LOGSUMEXP: np.array([-np.inf]),
    Quantity.ENTROPY: np.zeros(1),
    Quantity.LOG_SOFTMAX: np.zeros((1, 0)),
    Quantity.SOFTMAX: np.zeros((1, 0)),
}
"""What a row of no classes adds up to: 0 of a loss of probabilities or an entropy, log 0 = -inf, and nothing to normalise."""


@pytest.mark.asks(Quantity.LOSS)
@pytest.mark.parametrize("label", INDEX_LABELS)
def test_out_of_range_label(judge: Judge, operation: Operation, fmt: Format, label: int) -> None:
    """An index outside [0, K)."""
    if operation.probabilities:
        pytest.skip(f"{operation.name} takes no class indices")
    classes, index = fewest_classes(operation), index_label(operation, label)
    problem = Problem(np.resize([1.0, 2.0, 3.0], (1, classes)), np.array([0]), fmt, loss=operation.loss).with_unchecked_target(
        [index]
    )
    said = f"the class index {index} of {classes} classes"
    judge.check_unanswerable(operation, Unanswerable(judge.in_place_of(problem), index, said))


@pytest.mark.asks(Quantity.LOSS)
@pytest.mark.parametrize("label", BINARY_LABELS)
def test_out_of_range_binary_label(judge: Judge, operation: Operation, fmt: Format, label: float) -> None:
    """A label of a sigmoid loss outside [0, 1]."""
    if not operation.loss.spec.binary:
        pytest.skip(f"{operation.name} is no loss of a sigmoid")
    problem = Problem(np.array([[0.5]]), np.zeros((1, 1)), fmt, loss=operation.loss).with_unchecked_target([[label]])
    judge.check_unanswerable(operation, Unanswerable(judge.in_place_of(problem), label, f"the label {label}"))


@pytest.mark.asks(Quantity.LOSS, *BUILDING_BLOCKS)
def test_no_classes(judge: Judge, operation: Operation, fmt: Format) -> None:
    """A row of no logits, of which no class index is one; it must not end the process either."""
    if operation.loss.spec.binary:
        pytest.skip(f"{operation.name} is a loss of one logit")
    named = operation.has_loss and not operation.probabilities
    target = np.zeros(1, dtype=np.int64) if named else np.ones((1, 1))
    problem = judge.in_place_of(Problem(np.ones((1, 1)), target, fmt, loss=operation.loss).without_classes())
    spared = None if named else EMPTY_SUMS[operation.quantities[0]]
    answered_by = _answered_by(judge, operation, problem) if operation.name in BUILDING_BLOCKS else ""
    judge.check_unanswerable(operation, Unanswerable(problem, NO_CLASSES, "a row of no classes", spared, answered_by))


def _answered_by(judge: Judge, operation: Operation, problem: Problem) -> str:
    """The first other building block of the backend and mode that answers.

    Those are meant that are named for what they are: what comes out of a loss (`log_prob` of ONNX) may refuse the label.
    """
    blocks = (op for op in judge.plan.adapter.operations() if op.mode == operation.mode and op.name in BUILDING_BLOCKS)
    others = (op for op in blocks if op.name != operation.name and problem.format.name in op.arithmetic)
    return next((op.label for op in others if _answers(judge, op, problem)), "")


def _answers(judge: Judge, operation: Operation, problem: Problem) -> bool:
    try:
        return judge.observe(Question(operation, problem, operation.quantities[:1])).error is None
    except (pytest.skip.Exception, pytest.fail.Exception):  # refused, or the end of its process: told by its own test
        return False
