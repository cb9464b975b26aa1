"""Evaluates problems: every row by its formula or its line of the special-value table, as precisely as rounding asks for.

The working precision doubles (Ziv's strategy) until every rounding into the problem's format is decided; only the rows that
are still open are computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from flint import arb, ctx, fmpq
from numpy.typing import NDArray

from reference.enclosure import Enclosure, Entry, special
from reference.exact import Softmax, Term, gradient_entries, hessian_entries, hvp_entries, loss_term
from reference.formats import Bools, Floats, Format
from reference.problem import Problem
from reference.quantity import BUILDING_BLOCKS, Quantity
from reference.row import Row, rows_of
from reference.special_values import VERDICTS, RowKind, Verdict
from reference.weights import mean_denominator, rational, row_factors

PRECISIONS = (128, 256, 512, 1024, 2048)
"""Working precisions in bits, tried in turn (Ziv's strategy)."""

MAX_HESSIAN_CLASSES = 128
"""Largest K for which a Hessian of K^2 entries a row is formed."""

_NARROW = 2.0**-20
"""Largest radius, in ulps of the format, with which an ulp error is measured."""

_ZERO = fmpq(0)


@dataclass(frozen=True)
class Expected:
    """What is owed: certified values, the scale of each entry's condition, and the verdict class.

    `scale` >= |value| is the size of the terms whose difference the entry is; where nothing cancels it is |value|.
    Relative errors are judged against it, because no algorithm that rounds its terms can do better.
    """

    values: Enclosure
    scale: Floats
    verdict: NDArray[np.int8]


@dataclass(frozen=True)
class _Evaluator:
    """Evaluates the rows of one problem at the precision of the current context; softmaxes are kept per precision."""

    problem: Problem
    rows: list[Row]
    factors: list[fmpq] | None
    kept: dict[tuple[int, int], Softmax]

    def softmax(self, row: Row) -> Softmax:
        key = (row.index, ctx.prec)
        if key not in self.kept:
            self.kept[key] = Softmax(row)
        return self.kept[key]

    def derivative_factor(self, row: Row, order: int) -> fmpq | None:
        """F / T^order of a row; None where the mean divides by zero."""
        if self.factors is None:
            return None
        return self.factors[row.index] / rational(self.problem.temperature) ** order

    def row_values(self, quantity: Quantity, row: Row) -> tuple[Enclosure, Floats | None]:
        """Values of one row and, where terms cancel, their scale."""
        if quantity not in BUILDING_BLOCKS:
            if row.ignored and self.factors is not None:
                return _filled(quantity, row, 0.0), None
            if self.factors is None and quantity is not Quantity.LOSS:
                return _filled(quantity, row, np.nan), None
        if row.kind is not RowKind.REGULAR:
            return _special_row(self, quantity, row), None
        return _REGULAR[quantity](self, row)


def _filled(quantity: Quantity, row: Row, value: float) -> Enclosure:
    shape = _row_shape(quantity, row.problem.num_classes)
    return Enclosure.of([special(value)], (1,))[np.zeros(shape, dtype=np.intp)]


def _row_shape(quantity: Quantity, classes: int) -> tuple[int, ...]:
    if quantity in (Quantity.LOSS, Quantity.LOGSUMEXP):
        return ()
    return (classes, classes) if quantity is Quantity.HESSIAN else (classes,)


def _spread(row: Row, entries: list[Entry]) -> Enclosure:
    """Entries of the distinct classes, handed to every class of the row."""
    return Enclosure.of(entries, (len(entries),))[row.inverse]


def _regular_loss(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, None]:
    term = loss_term(row, evaluator.softmax(row))
    return Enclosure.of([term.entry() if isinstance(term, Term) else special(term)], ()), None


def _regular_gradient(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, Floats]:
    factor = evaluator.derivative_factor(row, 1)
    assert factor is not None
    entries, scales = gradient_entries(row, evaluator.softmax(row), factor)
    return _spread(row, entries), np.array(scales)[row.inverse]


def _regular_hvp(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, Floats]:
    factor = evaluator.derivative_factor(row, 2)
    assert factor is not None
    entries, scales = hvp_entries(row, evaluator.softmax(row), factor)
    return _spread(row, entries), np.array(scales)[row.inverse]


def _regular_hessian(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, None]:
    factor = evaluator.derivative_factor(row, 2)
    assert factor is not None
    diagonal, pairs = hessian_entries(row, evaluator.softmax(row), factor)
    distinct, classes = len(diagonal), row.problem.num_classes
    both = Enclosure.of(pairs + diagonal, (distinct * (distinct + 1),))
    where = row.inverse[:, None] * distinct + row.inverse[None, :]
    where[np.arange(classes), np.arange(classes)] = distinct * distinct + row.inverse
    return both[where], None


def _regular_logsumexp(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, Floats]:
    softmax = evaluator.softmax(row)
    term = Term(softmax.top, softmax.tail.ball, softmax.tail.sign)
    return Enclosure.of([term.entry()], ()), np.array(abs(float(arb(softmax.top))) + float(softmax.tail.ball))


def _regular_log_softmax(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, None]:
    softmax = evaluator.softmax(row)
    tail = softmax.tail.scaled(fmpq(-1))
    entries = [special(-np.inf) if gap is None else Term(-gap, tail.ball, tail.sign).entry() for gap in softmax.gaps]
    return _spread(row, entries), None


def _regular_softmax(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, None]:
    softmax = evaluator.softmax(row)
    return _spread(row, [softmax.probability_term(i).entry() for i in range(len(row.count))]), None


_REGULAR: dict[Quantity, Callable[[_Evaluator, Row], tuple[Enclosure, Floats | None]]] = {
    Quantity.LOSS: _regular_loss,
    Quantity.GRADIENT: _regular_gradient,
    Quantity.HESSIAN: _regular_hessian,
    Quantity.HVP: _regular_hvp,
    Quantity.LOGSUMEXP: _regular_logsumexp,
    Quantity.LOG_SOFTMAX: _regular_log_softmax,
    Quantity.SOFTMAX: _regular_softmax,
}


def _special_row(evaluator: _Evaluator, quantity: Quantity, row: Row) -> Enclosure:
    """A row with NaN, +inf or nothing but -inf: the lines of the table in special_values.py."""
    if quantity not in BUILDING_BLOCKS and row.total_weight == 0:
        return _filled(quantity, row, 0.0)
    if quantity is Quantity.LOGSUMEXP and row.kind is not RowKind.NAN:
        return _filled(quantity, row, -np.inf if row.kind is RowKind.ALL_MASKED else np.inf)
    if row.kind is not RowKind.ONE_POSITIVE_INFINITY:
        return _filled(quantity, row, np.nan)
    at = row.logits.index(np.inf)
    hit = [i == at for i in range(len(row.count))]
    if quantity is Quantity.LOSS:
        off = any(a != 0 for a, one in zip(row.weights, hit, strict=True) if not one)
        return _filled(quantity, row, np.inf if off else 0.0)
    if quantity is Quantity.GRADIENT:
        factor = evaluator.derivative_factor(row, 1)
        assert factor is not None
        limits = [(row.total_weight * one - a) * factor for a, one in zip(row.weights, hit, strict=True)]
        return _spread(row, [Term(exact=limit).entry() for limit in limits])
    if quantity in (Quantity.HESSIAN, Quantity.HVP):
        return _filled(quantity, row, 0.0)
    there, elsewhere = (1.0, 0.0) if quantity is Quantity.SOFTMAX else (0.0, -np.inf)
    return _spread(row, [Term(exact=rational(there)).entry() if one else special(elsewhere) for one in hit])


def _settled(values: Enclosure, fmt: Format) -> Bools:
    """True where the rounding is decided and the radius is small enough to measure ulps.

    A number beyond the range of float64 has no observation near it: there the rounding alone is asked for.
    """
    _, decided = values.rounded(fmt)
    nearest = values.approximate()
    _, uncertainty = values.ulps_from(nearest, fmt)
    return decided & ~((uncertainty > _NARROW) & np.isfinite(nearest))


def _refine(compute: Callable[[], Enclosure], fmt: Format, precisions: Iterable[int]) -> Enclosure:
    """Ziv's loop: the first enclosure that is settled, or the last."""
    for precision in precisions:
        with ctx.workprec(precision):
            values = compute()
        if _settled(values, fmt).all():
            break
    return values


def _row_verdict(problem: Problem, quantity: Quantity, row: Row, undefined_mean: bool) -> Verdict:
    if quantity in BUILDING_BLOCKS:
        if quantity is Quantity.LOGSUMEXP and row.kind is RowKind.ALL_MASKED:
            return Verdict.LIMIT_OR_NAN
        return VERDICTS[row.kind]
    if row.ignored and not undefined_mean:
        return Verdict.MUST
    finite = bool(np.isfinite(problem.logits[row.index]).all())
    if undefined_mean or (row.total_weight == 0 and not finite):
        return Verdict.UNSPECIFIED
    return VERDICTS[row.kind]


def _reduced_loss(evaluator: _Evaluator) -> Expected:
    """Sum or mean of the losses of the rows that count."""
    problem = evaluator.problem
    counting = [row for row in evaluator.rows if not row.ignored]
    denominator = mean_denominator(problem) if problem.reduction == "mean" else fmpq(1)
    verdict = max((_row_verdict(problem, Quantity.LOSS, row, False) for row in counting), default=Verdict.MUST)
    special_rows = [row for row in counting if row.kind is not RowKind.REGULAR]
    regular = [row for row in counting if row.kind is RowKind.REGULAR]

    def compute() -> Enclosure:
        terms = [loss_term(row, evaluator.softmax(row)) for row in regular]
        values = [float(_special_row(evaluator, Quantity.LOSS, row).hi) for row in special_rows]
        values += [term for term in terms if isinstance(term, float)]
        infinite = float(np.sum(values)) if values else 0.0
        if denominator == 0:
            return Enclosure.of([special(np.nan)], ())
        if infinite != 0.0:
            return Enclosure.of([special(infinite)], ())
        return Enclosure.of([_mean_of([t for t in terms if isinstance(t, Term)], denominator).entry()], ())

    values = _refine(compute, problem.format, PRECISIONS)
    return _expected(values, None, np.array(verdict, dtype=np.int8))


def _mean_of(terms: list[Term], denominator: fmpq) -> Term:
    exact = sum((term.exact for term in terms), _ZERO)
    ball = sum((term.ball for term in terms), arb(0))
    return Term(exact, ball, max((term.sign for term in terms), default=0)).scaled(1 / denominator)


def _expected(values: Enclosure, scale: Floats | None, verdict: NDArray[np.int8]) -> Expected:
    size = np.abs(values.approximate())
    return Expected(values, size if scale is None else np.maximum(size, scale), verdict)


def _per_row(evaluator: _Evaluator, quantity: Quantity) -> Expected:
    problem = evaluator.problem
    shape = (problem.num_rows, *_row_shape(quantity, problem.num_classes))
    with ctx.workprec(PRECISIONS[0]):
        parts = [evaluator.row_values(quantity, row) for row in evaluator.rows]
    values = _stacked([part for part, _ in parts], shape)
    settled = _settled(values, problem.format)
    open_rows = np.flatnonzero(~settled.all(axis=tuple(range(1, settled.ndim))))
    for index in open_rows.tolist():
        refined = _refine(partial(_row_enclosure, evaluator, quantity, evaluator.rows[index]), problem.format, PRECISIONS[1:])
        parts[index] = (refined, parts[index][1])
    if open_rows.size:
        values = _stacked([part for part, _ in parts], shape)
    scale = np.zeros(shape)
    verdict = np.zeros(shape, dtype=np.int8)
    for row, (_, row_scale) in zip(evaluator.rows, parts, strict=True):
        if row_scale is not None:
            scale[row.index] = row_scale
        verdict[row.index] = _row_verdict(problem, quantity, row, evaluator.factors is None)
    return _expected(values, scale, verdict)


def _row_enclosure(evaluator: _Evaluator, quantity: Quantity, row: Row) -> Enclosure:
    return evaluator.row_values(quantity, row)[0]


def _stacked(parts: list[Enclosure], shape: tuple[int, ...]) -> Enclosure:
    if not parts:
        return Enclosure.of([], shape)
    columns = [np.stack([getattr(part, name) for part in parts]) for name in ("hi", "lo", "radius", "exponent", "side")]
    return Enclosure(*columns)


def evaluate(problem: Problem, quantities: Iterable[Quantity]) -> dict[Quantity, Expected]:
    """Certified values of the quantities; see `Quantity` for their formulas and shapes, special_values.py for edges.

    Raises:
      ValueError: a Hessian of more than MAX_HESSIAN_CLASSES classes, or a Hessian-vector product without a tangent.

    >>> from reference.formats import FLOAT32
    >>> loss = evaluate(Problem([[20.0, 0.0]], [0], FLOAT32), [Quantity.LOSS])[Quantity.LOSS]
    >>> float(loss.values.approximate()[0])
    2.061153620314381e-09
    """
    wanted = tuple(quantities)
    if Quantity.HESSIAN in wanted and problem.num_classes > MAX_HESSIAN_CLASSES:
        raise ValueError(f"a Hessian of K = {problem.num_classes} classes; allowed: K <= {MAX_HESSIAN_CLASSES}")
    if Quantity.HVP in wanted and problem.tangent is None:
        raise ValueError("a Hessian-vector product without a direction; give the problem a tangent of shape (N, K)")
    evaluator = _Evaluator(problem, rows_of(problem), row_factors(problem), {})
    reduced = problem.reduction != "none"
    return {
        quantity: _reduced_loss(evaluator) if quantity is Quantity.LOSS and reduced else _per_row(evaluator, quantity)
        for quantity in wanted
    }
