"""No rows, one class, arrays that are not contiguous in memory, and class indices of other dtypes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from adapters.layout import Layout
from adapters.operation import Operation
from adapters.question import Question
from reference.formats import Format
from reference.loss import Loss
from reference.problem import Problem
from reference.quantity import Quantity
from suites.inputs.problems import Ask
from suites.judging.judge import Judge

ALIKE = 3
"""Rows of a problem of which one stands for all."""

FAR = 300
"""Classes enough for the largest index of 8 bits."""


@pytest.mark.asks(Quantity.LOSS)
def test_degenerate(judge: Judge, operation: Operation, fmt: Format) -> None:
    ask = Ask(fmt, ("degenerate",), options=frozenset({"reduction"}), directions=True)
    judge.search_claims("degenerate", operation, ask, tuple(Quantity))


def test_layout(judge: Judge, operation: Operation, fmt: Format, layout: Layout) -> None:
    """The values count, not where they lie; what lies between them is NaN (-1 for indices): reading it shows."""
    ask = judge.narrowed(operation, Ask(fmt, ("moderate",), directions=True))
    examples = max(2, judge.plan.effort.examples // 8)

    def check(problem: Problem) -> None:
        judge.check(Question(operation, _showing(problem, operation, layout), tuple(Quantity), layout))

    judge.search("layout", operation, ask, check, examples)


@pytest.mark.asks(Quantity.LOSS)
def test_label_dtype(judge: Judge, operation: Operation, fmt: Format, label_dtype: str) -> None:
    """The index counts, not in how many bits it is written; the largest that they hold is asked last."""

    def check(problem: Problem) -> None:
        judge.check(Question(operation, problem, (Quantity.LOSS, Quantity.GRADIENT), label_dtype=label_dtype))

    if not operation.few_shapes:
        judge.search("label dtype", operation, judge.narrowed(operation, Ask(fmt, ("moderate",))), check, 2)
    check(judge.in_place_of(_far(fmt, operation.loss, _classes(operation), label_dtype)))


def _showing(problem: Problem, operation: Operation, layout: Layout) -> Problem:
    """The problem with what shows a layout: rows that are alike where one stands for all, weights where they lie apart."""
    if layout is Layout.EXPANDED:
        return _of_one_row(problem)
    if layout is not Layout.OTHERS_STRIDED:
        return problem
    lengths = {"class_weights": problem.num_classes, "row_weights": problem.num_rows}
    lacking = [name for name in lengths if name in operation.options and getattr(problem, name) is None]
    return problem.replace(**{name: np.resize([0.5, 2.0, 1.0], lengths[name]) for name in lacking})


def _of_one_row(problem: Problem) -> Problem:
    """The first row of logits and its cotangent several times, with the targets, weights and directions that there are."""
    cotangent = None if problem.cotangent is None else problem.cotangent[:1]
    arrays = {"logits": problem.logits[:1], "cotangent": cotangent}
    arrays |= {name: getattr(problem, name) for name in ("target", "row_weights", "tangent")}
    given = {name: values for name, values in arrays.items() if values is not None}
    return problem.replace(**{name: np.resize(values, (ALIKE, *values.shape[1:])) for name, values in given.items()})


def _classes(operation: Operation) -> int:
    """FAR classes, or as many as the operation takes."""
    return operation.classes_from(FAR)


@lru_cache(maxsize=128)
def _far(fmt: Format, loss: Loss, classes: int, label_dtype: str) -> Problem:
    """Two rows, the first of the largest class index that there is. Kept, as what is expected is."""
    largest = min(classes - 1, int(np.iinfo(label_dtype).max))
    logits = np.resize([0.5, -1.0, 1.5, 0.25, -0.75, 2.0, 1.0], (2, classes))
    logits[0, largest] = 3.0
    return Problem(logits, np.array([largest, 1]), fmt, loss=loss, focusing=2.0 if loss.spec.focused else 0.0)
