"""Rows with NaN, +inf or nothing but -inf: the lines of the tables in special_values.py, as entries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from flint import fmpq

from reference.enclosure import Enclosure, Entry, special
from reference.exact.family import entropy_term
from reference.exact.row import Row
from reference.exact.softmax import Term, plain_term
from reference.loss import Loss
from reference.quantity import BUILDING_BLOCKS, SECOND_ORDER, Quantity
from reference.special_values import RowKind
from reference.weights import rational

_ZERO = fmpq(0)


def row_shape(quantity: Quantity, classes: int) -> tuple[int, ...]:
    """Shape of a quantity of one row."""
    if quantity in (Quantity.LOSS, Quantity.LOGSUMEXP):
        return ()
    return (classes, classes) if quantity is Quantity.HESSIAN else (classes,)


def filled(quantity: Quantity, row: Row, value: float) -> Enclosure:
    """One special value in every entry of a row."""
    shape = row_shape(quantity, row.problem.num_classes)
    return Enclosure.of([special(value)], (1,))[np.zeros(shape, dtype=np.intp)]


def spread(row: Row, entries: list[Entry]) -> Enclosure:
    """Entries of the distinct classes, handed to every class of the row."""
    return Enclosure.of(entries, (len(entries),))[row.inverse]


def special_loss(row: Row) -> Term | float:
    """The loss of a row that is not regular; a float is infinite or NaN."""
    if row.weightless:
        return Term()
    if row.kind is not RowKind.ONE_POSITIVE_INFINITY:
        return np.nan
    hit = _hit(row)
    if row.problem.loss is Loss.SQUARED_ERROR:
        parts = zip(row.count, row.weights, hit, strict=True)
        return Term(exact=sum((n * (int(one) - q) * (int(one) - q) for n, q, one in parts), _ZERO))
    off = any(a != 0 for a, one in zip(row.weights, hit, strict=True) if not one)
    if off or row.problem.z_loss > 0:
        return np.inf
    return plain_term(entropy_term(row)[0]) if row.problem.loss is Loss.KL_DIVERGENCE else Term()


def special_row(quantity: Quantity, row: Row, factor: Callable[[int], fmpq]) -> Enclosure:
    """A quantity of a row that is not regular; `factor(k)` multiplies derivatives of order k."""
    if quantity is Quantity.LOSS:
        term = special_loss(row)
        return Enclosure.of([term.entry() if isinstance(term, Term) else special(term)], ())
    if quantity not in BUILDING_BLOCKS and row.weightless:
        return filled(quantity, row, 0.0)
    if quantity is Quantity.LOGSUMEXP and row.kind is not RowKind.NAN:
        return filled(quantity, row, -np.inf if row.kind is RowKind.ALL_MASKED else np.inf)
    if row.kind is not RowKind.ONE_POSITIVE_INFINITY:
        return filled(quantity, row, np.nan)
    if quantity is Quantity.GRADIENT:
        return spread(row, _limit_gradient(row, factor(1)))
    if quantity in SECOND_ORDER:
        return _limit_curvature(quantity, row, 2 * rational(row.problem.z_loss) * factor(2))
    there, elsewhere = (1.0, 0.0) if quantity is Quantity.SOFTMAX else (0.0, -np.inf)
    return spread(row, [Term(exact=rational(there)).entry() if one else special(elsewhere) for one in _hit(row)])


def _hit(row: Row) -> list[bool]:
    """Which distinct class is the one at +inf."""
    return [x == np.inf for x in row.logits]


def _limit_gradient(row: Row, factor: fmpq) -> list[Entry]:
    """A e_j - a; a z-loss grows without bound along j; squared probabilities are flat."""
    if row.problem.loss is Loss.SQUARED_ERROR:
        return [special(0.0)] * len(row.count)
    limits = [(row.total_weight * int(one) - a) * factor for a, one in zip(row.weights, _hit(row), strict=True)]
    entries = [Term(exact=limit).entry() for limit in limits]
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
