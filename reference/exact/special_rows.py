"""Rows with NaN, +inf or nothing but -inf: the lines of the tables in special_values.py, as entries.

As one logit grows without bound the others are left behind: the limit of every loss here is its formula where they are masked.
A z-loss has no limit there, and the Hessian is that of the z-loss alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from flint import fmpq

from reference.enclosure import Enclosure, Entry, special
from reference.exact.formulas import block_product_of, gradient_of, loss_of
from reference.exact.row import Row
from reference.exact.softmax import Number, Softmax, Term, target_gradient_entries
from reference.quantity import BLOCK_PRODUCTS, ROW_BLOCKS, SECOND_ORDER, WITHOUT_LABELS, Quantity
from reference.special_values import RowKind
from reference.weights import rational

_ZERO = fmpq(0)


def row_shape(quantity: Quantity, classes: int) -> tuple[int, ...]:
    """Shape of a quantity of one row."""
    if quantity in (Quantity.LOSS, *ROW_BLOCKS):
        return ()
    return (classes, classes) if quantity is Quantity.HESSIAN else (classes,)


def filled(quantity: Quantity, row: Row, value: float) -> Enclosure:
    """One special value in every entry of a row."""
    shape = row_shape(quantity, row.problem.num_classes)
    return Enclosure.of([special(value)], (1,))[np.zeros(shape, dtype=np.intp)]


def spread(row: Row, entries: list[Entry]) -> Enclosure:
    """Entries of the distinct classes, handed to every class of the row."""
    return Enclosure.of(entries, (len(entries),))[row.inverse]


class _LimitSoftmax(Softmax):
    """The softmax of a row in which one logit is +inf: 1 there, and all else masked."""

    @staticmethod
    def _levels(row: Row) -> tuple[Number, list[Number | None]]:
        return _ZERO, [_ZERO if one else None for one in _hit(row)]


def special_loss(row: Row) -> Term | float:
    """The loss of a row that is not regular; a float is infinite or NaN."""
    if row.weightless:
        return Term()
    if row.kind is not RowKind.ONE_POSITIVE_INFINITY:
        return np.nan
    return np.inf if row.problem.z_loss > 0 else loss_of(row, _LimitSoftmax(row))[0]


def special_row(quantity: Quantity, row: Row, factor: Callable[[int], fmpq]) -> Enclosure:
    """A quantity of a row that is not regular, but for its loss; `factor(k)` multiplies derivatives of order k."""
    if quantity not in WITHOUT_LABELS and row.weightless:
        return filled(quantity, row, 0.0)
    if quantity is Quantity.LOGSUMEXP and row.kind is not RowKind.NAN:
        return filled(quantity, row, -np.inf if row.kind is RowKind.ALL_MASKED else np.inf)
    if row.kind is not RowKind.ONE_POSITIVE_INFINITY:
        return filled(quantity, row, np.nan)
    if quantity is Quantity.ENTROPY:
        return filled(quantity, row, 0.0)
    if quantity is Quantity.GRADIENT:
        return spread(row, _limit_gradient(row, factor(1)))
    if quantity is Quantity.TARGET_GRADIENT:
        return spread(row, target_gradient_entries(row, _LimitSoftmax(row), factor(0)))
    if quantity in BLOCK_PRODUCTS:
        return spread(row, block_product_of(quantity, row, _LimitSoftmax(row))[0])
    if quantity in SECOND_ORDER:
        return _limit_curvature(quantity, row, 2 * rational(row.problem.z_loss) * factor(2))
    there, elsewhere = (1.0, 0.0) if quantity is Quantity.SOFTMAX else (0.0, -np.inf)
    return spread(row, [Term(exact=rational(there)).entry() if one else special(elsewhere) for one in _hit(row)])


def _hit(row: Row) -> list[bool]:
    """Which distinct class is the one at +inf."""
    return [x == np.inf for x in row.logits]


def _limit_gradient(row: Row, factor: fmpq) -> list[Entry]:
    """That of the limit; a z-loss grows without bound along j."""
    entries = [term.entry() for term in gradient_of(row, _LimitSoftmax(row), factor)[0]]
    if row.problem.z_loss > 0 and factor != 0:
        entries[row.logits.index(np.inf)] = special(np.inf if factor > 0 else -np.inf)
    return entries


def _limit_curvature(quantity: Quantity, row: Row, curvature: fmpq) -> Enclosure:
    """The softmax is flat; what is left is the square of lse, which is x_j."""
    entry = Term(exact=curvature).entry
    if quantity is Quantity.HVP:
        moved = [curvature * rational(v) if one else _ZERO for v, one in zip(row.tangent, _hit(row), strict=True)]
        return spread(row, [Term(exact=value).entry() for value in moved])
    if quantity is Quantity.HESSIAN_DIAGONAL:
        return spread(row, [entry() if one else special(0.0) for one in _hit(row)])
    hit = np.array(_hit(row))[row.inverse]
    return Enclosure.of([special(0.0), entry()], (2,))[np.outer(hit, hit).astype(np.intp)]
