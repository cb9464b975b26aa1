"""What the compiled passes are given: a batch of rows with the distances between their logits, and what is asked of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reference.fast.compiled import compiled, inlined
from suites.sweep.compiled.bound import GRADIENT, HESSIAN, LOSS, Below, Entry
from suites.sweep.compiled.constants import Declared, FormatConstants
from suites.sweep.compiled.entry import ExpectedEntry
from suites.sweep.compiled.three_logits import (
    Three,
    expected_pair,
    expected_product,
    expected_share,
    expected_three_loss,
    split_of,
    three_of,
)
from suites.sweep.compiled.two_logits import Gap, expected_curvature, expected_large, expected_loss, expected_small, gap_of

BLOCK = 512
"""Rows that are looked at together: their numbers stay in the first-level cache."""


class SweptQuantity(NamedTuple):
    """A quantity, by its number, of rows of one target: the format it is returned in, and the declared arithmetic."""

    quantity: int
    target: int
    limits: FormatConstants
    declared: Declared


class Batch(NamedTuple):
    """Rows (K, N) of two or three logits, their gaps as `gaps_of` writes them, and which lie together in a bin of the map.

    Rows starts[r] to starts[r + 1] lie in the bin cells[r]. The first line of the gaps is the distance of the two largest.
    """

    x: NDArray[np.float32]
    gaps: NDArray[np.float64]
    starts: NDArray[np.int64]
    cells: NDArray[np.int64]


class Spot(NamedTuple):
    """Where an entry lies: its row, its classes, and the probability of the first of them (not certified)."""

    row: Below
    entry: Entry
    probability: float


def gaps_of(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """The fields of `two_logits.Gap` (4, N), or of `three_logits.Three` (7, N), of rows (K, N)."""
    gaps = np.empty((4 if len(x) == 2 else 7, x.shape[1]))
    (_fill_two if len(x) == 2 else _fill_three)(x, gaps)
    return gaps


@compiled
def _fill_two(x: NDArray[np.float32], gaps: NDArray[np.float64]) -> None:
    one, two = np.empty((2, BLOCK)), np.empty((2, BLOCK))
    for first in range(0, x.shape[1], BLOCK):
        size = min(BLOCK, x.shape[1] - first)
        x0, x1 = x[0, first : first + size], x[1, first : first + size]
        # Two loops of few arrays each: LLVM does not vectorise a loop that writes to four.
        for i in range(size):
            g = gap_of(np.float64(x0[i]), np.float64(x1[i]))
            one[0, i], one[1, i] = g.gap, g.rest
        for i in range(size):
            g = gap_of(np.float64(x0[i]), np.float64(x1[i]))
            two[0, i], two[1, i] = g.power, g.log
        gaps[:2, first : first + size], gaps[2:, first : first + size] = one[:, :size], two[:, :size]


@compiled
def _fill_three(x: NDArray[np.float32], gaps: NDArray[np.float64]) -> None:
    one, two, three = np.empty((2, BLOCK)), np.empty((2, BLOCK)), np.empty((3, BLOCK))
    for first in range(0, x.shape[1], BLOCK):
        size = min(BLOCK, x.shape[1] - first)
        x0, x1, x2 = x[0, first : first + size], x[1, first : first + size], x[2, first : first + size]
        for i in range(size):
            t = three_of(np.float64(x0[i]), np.float64(x1[i]), np.float64(x2[i]))
            one[0, i], one[1, i] = t.gap, t.far
        for i in range(size):
            t = three_of(np.float64(x0[i]), np.float64(x1[i]), np.float64(x2[i]))
            two[0, i], two[1, i] = t.rest, t.far_rest
        for i in range(size):
            t = three_of(np.float64(x0[i]), np.float64(x1[i]), np.float64(x2[i]))
            three[0, i], three[1, i], three[2, i] = t.power, t.far_power, t.log
        gaps[:2, first : first + size], gaps[2:4, first : first + size] = one[:, :size], two[:, :size]
        gaps[4:, first : first + size] = three[:, :size]


@inlined
def sign_of(question: SweptQuantity, entry: int, classes: int) -> float:
    """The sign of the true value, 1 or -1: the gradient at the target and the Hessian off its diagonal are negative."""
    if question.quantity == LOSS:
        return 1.0
    if question.quantity == GRADIENT:
        return -1.0 if entry == question.target else 1.0
    return 1.0 if entry // classes == entry % classes else -1.0


@inlined
def rank_of(x: NDArray[np.float32], row: int, column: int) -> int:
    """How many logits of a row (K, N) stand before that of a column: the larger ones, and of equal ones the first."""
    rank = 0
    for other in range(x.shape[0]):
        rank += 1 if (x[other, row] > x[column, row]) | ((x[other, row] == x[column, row]) & (other < column)) else 0
    return rank


@inlined
def spot_of(x: NDArray[np.float32], gaps: NDArray[np.float64], row: int, entry: int, question: SweptQuantity) -> Spot:
    """Where an entry of a row lies."""
    q, target, classes = question.quantity, question.target, x.shape[0]
    index = target if q == LOSS else entry if q == GRADIENT else entry // classes
    column = entry % classes if q == HESSIAN else index
    at = index == target if q == GRADIENT else index == column
    ranks = rank_of(x, row, index), rank_of(x, row, column)
    gap, far = gaps[0, row], (np.inf if classes == 2 else gaps[1, row])
    power, far_power = (gaps[2, row], 0.0) if classes == 2 else (gaps[4, row], gaps[5, row])
    own = 0.0 if ranks[0] == 0 else gap if ranks[0] == 1 else far
    other = 0.0 if ranks[1] == 0 else gap if ranks[1] == 1 else far
    part = 1.0 if ranks[0] == 0 else power if ranks[0] == 1 else far_power
    return Spot(Below(gap, far), Entry(own, other, at), part / (1.0 + power + far_power))


@inlined
def _expected_two(quantity: int, g: Gap, at_top: bool) -> ExpectedEntry:
    """The size of every entry of a quantity of a row whose target is at the larger logit, or not."""
    if quantity == LOSS:
        return expected_loss(g, at_top)
    if quantity == GRADIENT:
        return expected_small(g) if at_top else expected_large(g)
    return expected_curvature(g)


@compiled
def _fill_expected_two(question: SweptQuantity, batch: Batch, first: int, expected: NDArray[np.float64]) -> None:
    size = expected.shape[1]
    x0, x1 = batch.x[0, first : first + size], batch.x[1, first : first + size]
    gap, rest = batch.gaps[0, first : first + size], batch.gaps[1, first : first + size]
    power, log = batch.gaps[2, first : first + size], batch.gaps[3, first : first + size]
    hi, lo, radius = expected[0], expected[1], expected[2]
    is_first, quantity = question.target == 0, question.quantity
    for i in range(size):
        at_top = (gap[i] == 0.0) | ((x0[i] >= x1[i]) == is_first)
        y = _expected_two(quantity, Gap(gap[i], rest[i], power[i], log[i]), at_top)
        hi[i], lo[i], radius[i] = y.hi, y.lo, y.radius


@inlined
def _expected_three(
    question: SweptQuantity, entry: int, x: NDArray[np.float32], gaps: NDArray[np.float64], i: int
) -> ExpectedEntry:
    """The size of an entry of a row of three logits."""
    t = Three(gaps[0, i], gaps[1, i], gaps[2, i], gaps[3, i], gaps[4, i], gaps[5, i], gaps[6, i])
    if question.quantity == LOSS:
        return expected_three_loss(t, rank_of(x, i, question.target))
    if question.quantity == GRADIENT:
        return expected_share(split_of(t, rank_of(x, i, entry)), entry == question.target)
    if entry // 3 == entry % 3:
        return expected_product(split_of(t, rank_of(x, i, entry // 3)))
    return expected_pair(t, rank_of(x, i, 3 - entry // 3 - entry % 3))


@compiled
def _fill_expected_three(question: SweptQuantity, batch: Batch, first: int, entry: int, expected: NDArray[np.float64]) -> None:
    size = expected.shape[1]
    x, gaps = batch.x[:, first : first + size], batch.gaps[:, first : first + size]
    hi, lo, radius = expected[0], expected[1], expected[2]
    for i in range(size):
        y = _expected_three(question, entry, x, gaps, i)
        hi[i], lo[i], radius[i] = y.hi, y.lo, y.radius


@compiled
def fill_expected(question: SweptQuantity, batch: Batch, first: int, entry: int, expected: NDArray[np.float64]) -> None:
    """Write hi, lo and radius of an entry of a block of rows into (3, size); of two logits all entries are of one size."""
    if batch.x.shape[0] == 3:
        _fill_expected_three(question, batch, first, entry, expected)
    else:
        _fill_expected_two(question, batch, first, expected)


@compiled
def expected_of(
    x: NDArray[np.float32], gaps: NDArray[np.float64], row: int, question: SweptQuantity, entry: int
) -> ExpectedEntry:
    """What is expected of one entry of one row; x is (K, N) logits, `gaps` the fields of `gaps_of` for them."""
    if x.shape[0] == 3:
        return _expected_three(question, entry, x, gaps, row)
    g = Gap(gaps[0, row], gaps[1, row], gaps[2, row], gaps[3, row])
    at_top = (g.gap == 0.0) | ((x[0, row] >= x[1, row]) == (question.target == 0))
    return _expected_two(question.quantity, g, at_top)
