"""The oracle: every quantity enclosed by ball arithmetic (Arb), from the definition, with no cancellation.

For a row x with maximum m at the classes of gap 0, g_i = (m - x_i)/T, E_i = exp(-g_i) and one maximum left out,

    R = sum of all E but one maximum      S = 1 + R          lse = m/T + log1p(R)
    loss = sum_c a_c g_c + A log1p(R)     p_i = E_i / S      1 - p_i = R_i / S,  R_i = S - E_i (R at a maximum)
    gradient_i = A p_i - a_i, taken as (A - a_i) - A R/S at a maximum that stands alone
    Hessian_ii = A p_i R_i / S            Hessian_ij = -A p_i p_j
    (Hessian v)_i = A p_i (w_i - sum_j p_j w_j),  w = v - v_c at one maximum c (the Hessian's rows sum to 0)

(Blanchard, Higham and Higham, IMA J. Numer. Anal. 41(4), 2021, Algorithm 4.1, for lse; the rest are the same sums kept
apart.) Each value is an exact rational part plus a ball of known sign, so it is never rounded before it is judged.
The working precision doubles until the rounding into the problem's format is decided. It always is: by the theorem of
Lindemann and Weierstrass no result is a floating-point number or a midpoint, unless all finite logits are equal (then
everything but logarithms is computed in exact rationals) or the exact part is one (then the sign of the ball decides).
The one exception is harmless: tangents that cancel over equal logits make an entry of Hv exactly 0, which is then enclosed
within 2^-2000 of 0, and every format rounds that to 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from flint import arb, ctx, fmpq
from numpy.typing import NDArray

from reference.enclosure import Enclosure, Entry, enclose, special
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
_NO_BALL = arb(0)

Number = fmpq | arb


@dataclass(frozen=True)
class Term:
    """A real number exact + ball, the ball of known strict sign (0: unknown, or no ball)."""

    exact: fmpq = _ZERO
    ball: arb = _NO_BALL
    sign: int = 0

    def scaled(self, factor: fmpq) -> Term:
        """Factor * self."""
        turn = 1 if factor > 0 else -1 if factor < 0 else 0
        return Term(self.exact * factor, self.ball * factor, self.sign * turn)

    def entry(self) -> Entry:
        """The certified entry of this number."""
        return enclose(self.exact, self.ball, self.sign)


@dataclass(frozen=True)
class Expected:
    """What is owed: certified values, the scale of each entry's condition, and the verdict class.

    `scale` >= |value| is the size of the terms whose difference the entry is; where nothing cancels it is |value|.
    Relative errors are judged against it, because no algorithm that rounds its terms can do better.
    """

    values: Enclosure
    scale: Floats
    verdict: NDArray[np.int8]


class Softmax:
    """E, R, S of a row with a finite logit; exact rationals wherever E is rational (gap 0, or -inf)."""

    def __init__(self, row: Row) -> None:
        temperature = rational(row.problem.temperature)
        finite = [x for x in row.logits if x != -np.inf]
        self.count = row.count
        self.top = rational(max(finite)) / temperature
        self.gaps = [None if x == -np.inf else self.top - rational(x) / temperature for x in row.logits]
        self.powers: list[Number] = [self._power(gap) for gap in self.gaps]
        self.alone = sum(n for n, gap in zip(row.count, self.gaps, strict=True) if gap == 0) == 1
        self.one = self.gaps.index(_ZERO)
        self.rest = self._rest()
        self.total = self.rest + 1
        self.tail = Term() if self.rest == 0 else Term(ball=arb(self.rest).log1p(), sign=1)

    @staticmethod
    def _power(gap: fmpq | None) -> Number:
        if gap is None:
            return _ZERO
        return fmpq(1) if gap == 0 else arb(-gap).exp()

    def _rest(self) -> Number:
        """R: the maximum left out is never added, so a tiny R keeps its relative accuracy."""
        left = enumerate(zip(self.count, self.powers, strict=True))
        return sum(((n - (i == self.one)) * power for i, (n, power) in left), _ZERO)

    def probability(self, i: int) -> Number:
        """p_i, an exact 0 where it is 0: 0 divided by a ball would be a ball, which `_term` takes to be positive."""
        return _ZERO if self.gaps[i] is None else self.powers[i] / self.total

    def complement(self, i: int) -> Number:
        """1 - p_i, without the subtraction from 1."""
        others = self.rest if self.gaps[i] == 0 else self.total - self.powers[i]
        return others / self.total

    def probability_term(self, i: int) -> Term:
        """p_i, as 1 - R/S where it is near 1."""
        if self.gaps[i] == 0 and self.alone and self.rest != 0:
            return Term(fmpq(1), arb(-self.rest / self.total), -1)
        return _term(self.probability(i), 1)


def _term(value: Number, sign: int) -> Term:
    """A product without exact part: an exact rational stays one."""
    return Term(exact=value) if isinstance(value, fmpq) else Term(ball=value, sign=sign)


def _sign(value: fmpq) -> int:
    return 1 if value > 0 else -1 if value < 0 else 0


def _loss_term(row: Row, softmax: Softmax) -> Term | float:
    """The loss of a regular row; +inf where weight lies on a masked class."""
    gaps = zip(row.count, row.weights, softmax.gaps, strict=True)
    exact = _ZERO
    for n, a, gap in gaps:
        if a == 0:
            continue
        if gap is None:
            return np.inf
        exact += n * a * gap
    tail = softmax.tail.scaled(row.total_weight)
    return Term(exact, tail.ball, tail.sign)


def _gradient_terms(row: Row, softmax: Softmax, factor: fmpq) -> tuple[list[Entry], list[float]]:
    entries, scales = [], []
    for i, a in enumerate(row.weights):
        p = softmax.probability_term(i).scaled(row.total_weight * factor)
        entries.append(Term(p.exact - factor * a, p.ball, p.sign).entry())
        near = arb(row.total_weight - a + row.total_weight * softmax.complement(i))
        far = arb(a + row.total_weight * softmax.probability(i))
        # Multiplied before it is converted: factor alone may overflow float64, and inf * 0 is NaN.
        scales.append(float(min(near, far) * abs(factor)))
    return entries, scales


def _hessian_entries(row: Row, softmax: Softmax, factor: fmpq) -> tuple[list[Entry], list[Entry]]:
    """Diagonal entries of the distinct classes, and off-diagonal entries of each pair of them (row-major)."""
    scale = row.total_weight * factor
    p = [softmax.probability(i) for i in range(len(row.count))]
    diagonal = [_term(scale * p_i * softmax.complement(i), _sign(scale)).entry() for i, p_i in enumerate(p)]
    pairs = [[_ZERO_ENTRY] * len(p) for _ in p]
    for i, p_i in enumerate(p):
        for j in range(i + 1):
            pairs[i][j] = pairs[j][i] = _term(-scale * p_i * p[j], -_sign(scale)).entry()
    return diagonal, [entry for line in pairs for entry in line]


_ZERO_ENTRY = special(0.0)


def _hvp_entries(row: Row, softmax: Softmax, factor: fmpq) -> tuple[list[Entry], list[float]]:
    scale = row.total_weight * factor
    tangent = [rational(v) for v in row.tangent]
    w = [v - tangent[softmax.one] for v in tangent]
    p = [softmax.probability(i) for i in range(len(w))]
    mean = sum((n * p_i * w_i for n, p_i, w_i in zip(row.count, p, w, strict=True)), _ZERO)
    size = sum((n * p_i * abs(w_i) for n, p_i, w_i in zip(row.count, p, w, strict=True)), _ZERO)
    entries = [_term(scale * p_i * (w_i - mean), 0).entry() for p_i, w_i in zip(p, w, strict=True)]
    scales = [float(arb(abs(scale) * p_i * (abs(w_i) + size))) for p_i, w_i in zip(p, w, strict=True)]
    return entries, scales


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
    term = _loss_term(row, evaluator.softmax(row))
    return Enclosure.of([term.entry() if isinstance(term, Term) else special(term)], ()), None


def _regular_gradient(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, Floats]:
    factor = evaluator.derivative_factor(row, 1)
    assert factor is not None
    entries, scales = _gradient_terms(row, evaluator.softmax(row), factor)
    return _spread(row, entries), np.array(scales)[row.inverse]


def _regular_hvp(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, Floats]:
    factor = evaluator.derivative_factor(row, 2)
    assert factor is not None
    entries, scales = _hvp_entries(row, evaluator.softmax(row), factor)
    return _spread(row, entries), np.array(scales)[row.inverse]


def _regular_hessian(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, None]:
    factor = evaluator.derivative_factor(row, 2)
    assert factor is not None
    diagonal, pairs = _hessian_entries(row, evaluator.softmax(row), factor)
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
    """True where the rounding is decided and the radius is small enough to measure ulps."""
    _, decided = values.rounded(fmt)
    _, uncertainty = values.ulps_from(values.approximate(), fmt)
    return decided & ~(uncertainty > _NARROW)


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
        terms = [_loss_term(row, evaluator.softmax(row)) for row in regular]
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
    ball = sum((term.ball for term in terms), _NO_BALL)
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
