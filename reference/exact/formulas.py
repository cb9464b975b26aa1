"""Which formulas a row takes: those of softmax.py for weighted log-probabilities, those of family.py and softcap.py else."""

from __future__ import annotations

from flint import arb, fmpq

from reference.enclosure import Entry
from reference.exact.family import ROW_LOSSES, RowLoss, Sized, entropy_term
from reference.exact.row import Row
from reference.exact.softcap import Capped, CappedSoftmax, rates_of
from reference.exact.softmax import (
    Softmax,
    Term,
    diagonal_entries,
    entropy_slope_terms,
    gradient_terms,
    less_share_terms,
    loss_term,
    pair_entries,
    plain_term,
    product_terms,
    sum_term,
)
from reference.quantity import Quantity
from reference.weights import rational, unit, upstream_of


def row_softmax(row: Row) -> Softmax:
    """The softmax of a regular row."""
    return Softmax(row) if row.problem.logit_softcap is None else CappedSoftmax(row)


def _row_loss(row: Row, softmax: Softmax) -> RowLoss | None:
    """The formulas of a row; None if those of softmax.py hold."""
    if row.problem.is_weighted:
        return None
    formulas = ROW_LOSSES[row.problem.loss](row, softmax)
    return formulas if row.problem.logit_softcap is None else Capped(row, formulas)


def loss_of(row: Row, softmax: Softmax) -> tuple[Term | float, float]:
    """The loss of a regular row and the size of its terms (0 where nothing cancels); +inf where weight is masked."""
    if row.weight == 0:
        return Term(), 0.0
    loss, size = _loss_without_weight(row, softmax)
    return loss if isinstance(loss, float) else loss.scaled(row.weight), size * float(arb(row.weight))


def _loss_without_weight(row: Row, softmax: Softmax) -> tuple[Term | float, float]:
    formulas = _row_loss(row, softmax)
    if formulas is not None:
        return formulas.loss()
    term = loss_term(row, softmax)
    if isinstance(term, float) or not row.problem.loss.spec.adds_label_entropy:
        return term, 0.0
    entropy, size = entropy_term(row)
    if isinstance(entropy, fmpq):
        return term, 0.0
    return sum_term(term.exact, term.ball + entropy), float(arb(term.exact + term.ball + size))


def gradient_of(row: Row, softmax: Softmax, factor: fmpq) -> tuple[list[Term], list[float]]:
    """The gradient of a regular row at its distinct classes, and the sizes of its terms."""
    formulas = _row_loss(row, softmax)
    if formulas is None:
        return gradient_terms(row, softmax, factor)
    entries = [formulas.slope(i).times(factor) for i in range(len(row.count))]
    return [plain_term(entry.value) for entry in entries], _sizes(entries)


def hessian_of(row: Row, softmax: Softmax, factor: fmpq) -> tuple[list[Entry], list[float]]:
    """Entries of each pair of distinct classes (row-major), then the diagonal ones; and the sizes of their terms."""
    formulas = _row_loss(row, softmax)
    diagonal, sizes = _diagonal(row, softmax, formulas, factor)
    if formulas is None:
        pairs = pair_entries(row, softmax, factor)
        return pairs + diagonal, [0.0] * len(pairs) + sizes
    distinct = range(len(row.count))
    entries = [formulas.curvature(i, j, False).times(factor) for i in distinct for j in distinct]
    return [plain_term(entry.value).entry() for entry in entries] + diagonal, _sizes(entries) + sizes


def diagonal_of(row: Row, softmax: Softmax, factor: fmpq) -> tuple[list[Entry], list[float]]:
    """The Hessian's diagonal of a regular row at its distinct classes, and the sizes of its terms."""
    return _diagonal(row, softmax, _row_loss(row, softmax), factor)


def _diagonal(row: Row, softmax: Softmax, formulas: RowLoss | None, factor: fmpq) -> tuple[list[Entry], list[float]]:
    if formulas is None:
        diagonal = diagonal_entries(row, softmax, factor)
        return diagonal, [0.0] * len(diagonal)
    entries = [formulas.curvature(i, i, True).times(factor) for i in range(len(row.count))]
    return [plain_term(entry.value).entry() for entry in entries], _sizes(entries)


def product_of(row: Row, softmax: Softmax, factor: fmpq) -> tuple[list[Entry], list[float]]:
    """The Hessian of a regular row times its tangent at its distinct classes, and the sizes of its terms."""
    formulas = _row_loss(row, softmax)
    if formulas is None:
        terms, sizes = product_terms(row, softmax, row.total_weight * factor)
        return [term.entry() for term in terms], sizes
    entries = [entry.times(factor) for entry in formulas.product([rational(v) for v in row.tangent])]
    return [plain_term(entry.value).entry() for entry in entries], _sizes(entries)


def block_product_of(quantity: Quantity, row: Row, softmax: Softmax) -> tuple[list[Entry], list[float]]:
    """The vector-Jacobian product of a building block at the distinct classes of a row, and the sizes of its terms."""
    terms, sizes = _block_terms(quantity, row, softmax)
    if row.problem.logit_softcap is None:
        return [term.entry() for term in terms], sizes
    rates = rates_of(row)
    capped = [plain_term((term.exact + term.ball) * rate) for term, rate in zip(terms, rates, strict=True)]
    return [term.entry() for term in capped], [size * float(arb(rate)) for size, rate in zip(sizes, rates, strict=True)]


def _block_terms(quantity: Quantity, row: Row, softmax: Softmax) -> tuple[list[Term], list[float]]:
    """By the logits behind a softcap."""
    factor = 1 / unit(row.problem)
    if quantity is Quantity.SOFTMAX_VJP:
        return product_terms(row, softmax, factor)
    if quantity is Quantity.LOG_SOFTMAX_VJP:
        return less_share_terms(row, softmax, factor)
    scale = rational(float(upstream_of(row.problem)[row.index, 0])) * factor
    if quantity is Quantity.ENTROPY_VJP:
        return entropy_slope_terms(row, softmax, scale)
    return [softmax.probability_term(i).scaled(scale) for i in range(len(row.count))], [0.0] * len(row.count)


def _sizes(entries: list[Sized]) -> list[float]:
    return [float(arb(entry.size)) for entry in entries]
