"""Batches of more rows than a tile of rows has: a kernel that is right in its first rows may leave out the others."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec

import numpy as np
import pytest

from adapters.operation import Operation
from adapters.question import Question
from reference.formats import Format
from reference.installing import extra
from reference.loss import Loss
from reference.problem import Problem
from reference.quantity import OF_LOGITS, Quantity
from reference.reduction import Reduction
from suites.judging.judge import Judge

ROWS = tuple(2**power + 1 for power in range(2, 9))
"""One row more than a tile has, from 4 to 256 rows: a failure is told at the first that shows it."""

MORE_THAN_A_GRID = 2**16 + 1
"""A CUDA grid has 65535 blocks along its second axis, and 16 bits hold 65535 too."""

IN_A_MEAN = 2**12 + 1
"""Rows of a mean, and one more than four chunks of 1024 have: a loss in chunks adds their means, or takes the mean of them."""

CLASSES = 7
QUANTITIES = (Quantity.LOSS, Quantity.GRADIENT, Quantity.TARGET_GRADIENT, Quantity.HVP, *OF_LOGITS)


@pytest.mark.asks(*QUANTITIES)
def test_many_rows(judge: Judge, operation: Operation, fmt: Format) -> None:
    """Where every shape is compiled, the largest batch alone."""
    classes = _classes(operation, CLASSES)
    for rows in ROWS[-1:] if operation.few_shapes else ROWS:
        batch = judge.in_place_of(_batch(fmt, operation.loss, operation.probabilities, rows, classes))
        judge.check(Question(operation, batch, QUANTITIES))


@pytest.mark.asks(Quantity.LOSS)
def test_more_rows_than_a_grid_has(judge: Judge, operation: Operation, fmt: Format) -> None:
    """Class indices alone, for which the compiled tier has formulas."""
    if operation.probabilities or not judge.is_foremost(operation):
        pytest.skip(f"{operation.name} is no main operation of class indices")
    if find_spec("numba") is None:
        pytest.skip(f"so many rows need numba: {extra('fast')}")
    batch = judge.in_place_of(_batch(fmt, operation.loss, operation.probabilities, MORE_THAN_A_GRID, _classes(operation, 2)))
    judge.check(Question(operation, batch, (Quantity.LOSS, Quantity.GRADIENT)))


@pytest.mark.asks(Quantity.LOSS)
def test_a_mean_of_many_rows(judge: Judge, operation: Operation, fmt: Format) -> None:
    has_mean = "reduction" in operation.options or operation.reduces is Reduction.MEAN
    if not has_mean or not judge.is_foremost(operation):
        pytest.skip(f"{operation.name} is no main operation with reductions")
    batch = _batch(fmt, operation.loss, operation.probabilities, IN_A_MEAN, _classes(operation, 2))
    mean = judge.in_place_of(_mean_of(batch))
    judge.check(Question(operation, mean, (Quantity.LOSS, Quantity.GRADIENT)))


@lru_cache(maxsize=16)
def _mean_of(batch: Problem) -> Problem:
    return batch.replace(reduction=Reduction.MEAN, cotangent=None)


def _classes(operation: Operation, least: int) -> int:
    """The fewest classes from so many on that the operation takes; one of a sigmoid."""
    return 1 if operation.loss.spec.binary else operation.classes_from(least)


@lru_cache(maxsize=128)
def _batch(fmt: Format, loss: Loss, probabilities: bool, rows: int, classes: int) -> Problem:
    """Plain rows, of which no two are alike that lie a tile apart: their periods are primes. Kept, as what is expected is."""
    row, column = np.arange(rows)[:, None], np.arange(classes)
    logits = (5 * row + 3 * column) % 17 / 4.0
    labels = row[:, 0] * 4 % CLASSES % classes  # of two classes too, both are labels
    one_hot = 1.0 * (row % 3 == 0 if loss.spec.binary else column == labels[:, None])
    return Problem(
        logits,
        one_hot if probabilities else labels,
        fmt,
        loss=loss,
        focusing=2.0 if loss.spec.focused else 0.0,
        cotangent=(row[:, 0] % 3 + 1) / 2.0,
        tangent=(row + 2 * column) % 7 / 2.0 - 1.5,
    )
