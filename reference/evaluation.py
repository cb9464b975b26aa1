"""Evaluates problems: every row by its formula or its line of the special-value table, as precisely as rounding asks for.

The working precision doubles (Ziv's strategy) until every rounding into the problem's format is decided; only the rows that
are still open are computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from flint import arb, ctx, fmpq
from numpy.typing import NDArray

from reference.enclosure import Enclosure, special
from reference.exact.formulas import block_product_of, diagonal_of, gradient_of, hessian_of, loss_of, product_of, row_softmax
from reference.exact.layer import RowGradient, over_classes, over_rows, total_of
from reference.exact.row import Row, rows_of
from reference.exact.softmax import Softmax, Term, entropy_term, shifted_term, target_gradient_entries
from reference.exact.special_rows import filled, row_shape, special_loss, special_row, spread
from reference.expected import Expected
from reference.floating_state import in_default_state
from reference.formats import Bools, Floats, Format
from reference.problem import Problem, layer_of
from reference.quantity import (
    ALONG_A_TANGENT,
    BLOCK_PRODUCTS,
    LAYER_GRADIENTS,
    OF_LOGITS,
    WITHOUT_LABELS,
    Quantity,
    quantity_named,
)
from reference.reduction import Reduction
from reference.special_values import REQUIREMENTS, Requirement, RowKind
from reference.tiers import Tier, takes, tier_named, uses_fast
from reference.weights import divisor, row_factors, unit

if TYPE_CHECKING:
    from reference.fast.evaluate import FastRows

PRECISIONS = (128, 256, 512, 1024, 2048)
"""Working precisions in bits, tried in turn (Ziv's strategy)."""

MAX_HESSIAN_CLASSES = 128
"""Largest K for which a Hessian of K^2 entries a row is formed."""

_NARROW = 2.0**-20
"""Largest radius, in ulps of the format, with which an ulp error is measured."""


@dataclass(frozen=True)
class _Evaluator:
    """Evaluates the rows of one problem at the precision of the current context; softmaxes are kept per precision."""

    problem: Problem
    fast: FastRows | None = None
    kept: dict[tuple[int, int], Softmax] = field(default_factory=dict)
    gradients: dict[tuple[int, int], tuple[RowGradient, list[float]]] = field(default_factory=dict)
    """Of a linear layer, whose three gradients are made of them."""

    @cached_property
    def factors(self) -> list[fmpq] | None:
        """F of each row; None where the mean divides by zero."""
        return row_factors(self.problem)

    @cached_property
    def undefined_mean(self) -> bool:
        """True if the mean divides by zero."""
        return self.divisor == 0

    @cached_property
    def divisor(self) -> fmpq:
        """What the losses are divided by."""
        return divisor(self.problem)

    @cached_property
    def rows(self) -> list[Row]:
        """All rows; to merge the equal classes of one costs a sort."""
        return rows_of(self.problem)

    def softmax(self, row: Row) -> Softmax:
        key = (row.index, ctx.prec)
        if key not in self.kept:
            self.kept[key] = row_softmax(row)
        return self.kept[key]

    def gradient(self, row: Row) -> tuple[RowGradient, list[float]]:
        """The gradient of a regular row by its logits, and the sizes of its terms, at the distinct classes."""
        key = (row.index, ctx.prec)
        if key not in self.gradients:
            terms, sizes = gradient_of(row, self.softmax(row), self.derivative_factor(row, 1))
            self.gradients[key] = RowGradient(row, terms), sizes
        return self.gradients[key]

    def derivative_factor(self, row: Row, order: int) -> fmpq:
        """F / (T/s)^order of a row, where the mean does not divide by zero."""
        assert self.factors is not None
        return self.factors[row.index] / unit(self.problem) ** order

    def loss(self, row: Row) -> tuple[Term | float, float]:
        """The loss of a row before it is divided, and the size of its terms; a float is infinite or NaN."""
        return loss_of(row, self.softmax(row)) if row.kind is RowKind.REGULAR else (special_loss(row), 0.0)

    def over_divisor(self, loss: Term | float, *sizes: float) -> tuple[Enclosure, Floats]:
        """A loss over what the losses are divided by, which is not 0, and the size of its terms, which may overflow before."""
        entry = special(loss) if isinstance(loss, float) else loss.scaled(1 / self.divisor).entry()
        by = float(arb(self.divisor))
        return Enclosure.of([entry], ()), np.array(sum(size / by for size in sizes))

    def row_values(self, quantity: Quantity, row: Row) -> tuple[Enclosure, Floats | None]:
        """Values of one row and, where terms cancel, their scale."""
        if quantity not in OF_LOGITS:
            if row.ignored and not self.undefined_mean:
                return filled(quantity, row, 0.0), None
            if self.undefined_mean and quantity is not Quantity.LOSS:
                return filled(quantity, row, np.nan), None
        if quantity is Quantity.LOSS:
            return self.over_divisor(*self.loss(row))
        if row.kind is not RowKind.REGULAR:
            return special_row(quantity, row, partial(self.derivative_factor, row)), None
        return _REGULAR[quantity](self, row)


def _regular_gradient(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, Floats]:
    terms, scales = gradient_of(row, evaluator.softmax(row), evaluator.derivative_factor(row, 1))
    return spread(row, [term.entry() for term in terms]), np.array(scales)[row.inverse]


def _regular_hvp(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, Floats]:
    entries, scales = product_of(row, evaluator.softmax(row), evaluator.derivative_factor(row, 2))
    return spread(row, entries), np.array(scales)[row.inverse]


def _regular_hessian(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, Floats]:
    entries, scales = hessian_of(row, evaluator.softmax(row), evaluator.derivative_factor(row, 2))
    distinct, classes = len(row.count), row.problem.num_classes
    both = Enclosure.of(entries, (distinct * (distinct + 1),))
    where = row.inverse[:, None] * distinct + row.inverse[None, :]
    where[np.arange(classes), np.arange(classes)] = distinct * distinct + row.inverse
    return both[where], np.array(scales)[where]


def _regular_diagonal(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, Floats]:
    entries, scales = diagonal_of(row, evaluator.softmax(row), evaluator.derivative_factor(row, 2))
    return spread(row, entries), np.array(scales)[row.inverse]


def _regular_logsumexp(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, Floats]:
    softmax = evaluator.softmax(row)
    term = shifted_term(softmax.top, softmax.tail)
    return Enclosure.of([term.entry()], ()), np.array(abs(float(arb(softmax.top))) + float(softmax.tail.ball))


def _regular_entropy(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, None]:
    return Enclosure.of([entropy_term(row, evaluator.softmax(row)).entry()], ()), None


def _regular_log_softmax(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, None]:
    softmax = evaluator.softmax(row)
    tail = softmax.tail.scaled(fmpq(-1))
    entries = [special(-np.inf) if gap is None else shifted_term(-gap, tail).entry() for gap in softmax.gaps]
    return spread(row, entries), None


def _regular_softmax(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, None]:
    softmax = evaluator.softmax(row)
    return spread(row, [softmax.probability_term(i).entry() for i in range(len(row.count))]), None


def _regular_target_gradient(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, None]:
    return spread(row, target_gradient_entries(row, evaluator.softmax(row), evaluator.derivative_factor(row, 0))), None


def _regular_block_product(quantity: Quantity) -> Callable[[_Evaluator, Row], tuple[Enclosure, Floats]]:
    def regular(evaluator: _Evaluator, row: Row) -> tuple[Enclosure, Floats]:
        entries, scales = block_product_of(quantity, row, evaluator.softmax(row))
        return spread(row, entries), np.array(scales)[row.inverse]

    return regular


_REGULAR: dict[Quantity, Callable[[_Evaluator, Row], tuple[Enclosure, Floats | None]]] = {
    Quantity.GRADIENT: _regular_gradient,
    Quantity.HESSIAN: _regular_hessian,
    Quantity.HVP: _regular_hvp,
    Quantity.HESSIAN_DIAGONAL: _regular_diagonal,
    Quantity.LOGSUMEXP: _regular_logsumexp,
    Quantity.ENTROPY: _regular_entropy,
    Quantity.LOG_SOFTMAX: _regular_log_softmax,
    Quantity.SOFTMAX: _regular_softmax,
    Quantity.TARGET_GRADIENT: _regular_target_gradient,
    **{quantity: _regular_block_product(quantity) for quantity in BLOCK_PRODUCTS},
}


def _settled(values: Enclosure, fmt: Format) -> Bools:
    """True where the rounding into a format is decided, the ulp is known, and the radius is small enough to measure in it.

    A number beyond the range of float64 has no observation near it: there the rounding alone is asked for.
    """
    in_ulps, nearest = values.in_ulps(fmt), values.approximate()
    _, decided = in_ulps.rounded()
    _, uncertainty = in_ulps.distance(nearest)
    return decided & values.binade_known & ~((uncertainty > _NARROW) & np.isfinite(nearest))


def _refine(compute: Callable[[], Enclosure], fmt: Format, precisions: Iterable[int]) -> Enclosure:
    """Ziv's loop: the first enclosure that is settled, or the last."""
    for precision in precisions:
        with ctx.workprec(precision):
            values = compute()
        if _settled(values, fmt).all():
            break
    return values


def _row_requirement(problem: Problem, quantity: Quantity, row: Row, undefined_mean: bool) -> Requirement:
    if quantity in WITHOUT_LABELS:
        if quantity is Quantity.LOGSUMEXP and row.kind in (RowKind.ALL_MASKED, RowKind.MANY_POSITIVE_INFINITIES):
            return Requirement.LIMIT_OR_NAN
        return REQUIREMENTS[row.kind]
    if row.ignored and not undefined_mean:
        return Requirement.MUST
    finite = row.kind is RowKind.REGULAR and (problem.logit_softcap is not None or -np.inf not in row.logits)
    if undefined_mean or (row.weightless and not finite):
        return Requirement.UNSPECIFIED
    return REQUIREMENTS[row.kind]


def _reduced_requirement(counting: list[Row], each: list[Requirement]) -> Requirement:
    """That of the row of which least is expected; but a NaN makes NaN of the whole, whatever the others give."""
    if any(row.kind is RowKind.NAN and not row.weightless for row in counting):
        return Requirement.MUST
    return min(max(each, default=Requirement.MUST), Requirement.REST_OR_NOT_FINITE)


def _reduced_loss(evaluator: _Evaluator) -> Expected:
    """Sum or mean of the losses of the rows that count and are defined."""
    problem = evaluator.problem
    counting = [row for row in evaluator.rows if not row.ignored]
    each = [_row_requirement(problem, Quantity.LOSS, row, False) for row in counting]
    requirement = _reduced_requirement(counting, each)
    defined = [row for row, one in zip(counting, each, strict=True) if one is not Requirement.UNSPECIFIED]

    def reduced() -> tuple[Enclosure, Floats]:
        losses = [evaluator.loss(row) for row in defined]
        total = _total([loss for loss, _ in losses])
        if evaluator.undefined_mean:
            return Enclosure.of([special(_over_zero(total))], ()), np.zeros(())
        return evaluator.over_divisor(total, *(size for _, size in losses))

    with ctx.workprec(PRECISIONS[0]):
        scale = reduced()[1]
    values = _refine(lambda: reduced()[0], problem.format, PRECISIONS)
    if evaluator.undefined_mean and np.isinf(values.approximate()):
        requirement = max(requirement, Requirement.LIMIT_OR_NAN)
    return _expected(values, scale, np.array(requirement, dtype=np.int8))


def _over_zero(total: Term | float) -> float:
    """A sum of losses, which is not negative, over 0: +inf, or NaN if there is no loss."""
    nothing = isinstance(total, Term) and total.exact == 0 and total.ball.is_zero()
    return np.nan if nothing or (isinstance(total, float) and np.isnan(total)) else np.inf


def _total(losses: list[Term | float]) -> Term | float:
    """The sum; a float if one of them is."""
    if unbounded := [one for one in losses if isinstance(one, float)]:
        return float(np.sum(unbounded))
    return total_of([one for one in losses if isinstance(one, Term)])


def _expected(values: Enclosure, scale: Floats | None, requirement: NDArray[np.int8]) -> Expected:
    size = np.abs(values.approximate())
    if scale is not None:
        # Terms beyond float64 are at least as large as its largest number, whose ulp is that of their difference.
        size = np.maximum(size, np.minimum(scale, np.finfo(np.float64).max))
    return Expected(values, size, requirement)


def _per_row(evaluator: _Evaluator, quantity: Quantity) -> Expected:
    problem = evaluator.problem
    shape = (problem.num_rows, *row_shape(quantity, problem.num_classes))
    values, scale, open_rows = _fast_values(evaluator, quantity, shape)
    exact, row_scales = _exact_rows(evaluator, quantity, open_rows)
    if len(open_rows) == problem.num_rows:
        values = exact
    else:
        values.overwrite_rows(open_rows, exact)
    requirement = np.zeros(shape, dtype=np.int8)
    for index, row_scale in zip(open_rows, row_scales, strict=True):
        if row_scale is not None:
            scale[index] = row_scale
        requirement[index] = _row_requirement(problem, quantity, evaluator.rows[index], evaluator.undefined_mean)
    if quantity is Quantity.TARGET_GRADIENT:  # 0 times the infinite loss of a masked class is 0, or NaN
        requirement[(values.approximate() == 0) & (problem.logits == -np.inf)] = Requirement.LIMIT_OR_NAN
    return _expected(values, scale, requirement)


def _fast_values(evaluator: _Evaluator, quantity: Quantity, shape: tuple[int, ...]) -> tuple[Enclosure, Floats, list[int]]:
    """What the compiled tier has settled, the scale of its entries, and the rows that are left to the exact tier."""
    fast = evaluator.fast
    if fast is None or quantity not in fast.values:
        return Enclosure.of([], (0,)), np.zeros(shape), list(range(shape[0]))
    values = fast.values[quantity]
    settled = _settled(values, evaluator.problem.format).all(axis=tuple(range(1, len(shape))))
    return values, fast.scales.get(quantity, np.zeros(shape)), np.flatnonzero(~(settled & fast.taken)).tolist()


def _exact_rows(evaluator: _Evaluator, quantity: Quantity, indices: list[int]) -> tuple[Enclosure, list[Floats | None]]:
    """Values of the rows with these indices, and their scales."""
    fmt, shape = evaluator.problem.format, (len(indices), *row_shape(quantity, evaluator.problem.num_classes))
    with ctx.workprec(PRECISIONS[0]):
        parts = [evaluator.row_values(quantity, evaluator.rows[index]) for index in indices]
    rows = [part for part, _ in parts]
    settled = _settled(_stacked(rows, shape), fmt).all(axis=tuple(range(1, len(shape))))
    for place in np.flatnonzero(~settled).tolist():
        compute = partial(_row_enclosure, evaluator, quantity, evaluator.rows[indices[place]])
        rows[place] = _refine(compute, fmt, PRECISIONS[1:])
    return _stacked(rows, shape), [scale for _, scale in parts]


def _row_enclosure(evaluator: _Evaluator, quantity: Quantity, row: Row) -> Enclosure:
    return evaluator.row_values(quantity, row)[0]


def _stacked(parts: list[Enclosure], shape: tuple[int, ...]) -> Enclosure:
    if not parts:
        return Enclosure.of([], shape)
    columns = [np.stack([getattr(part, name) for part in parts]) for name in ("hi", "lo", "radius", "exponent", "side")]
    return Enclosure(*columns)


def _layer_gradient(evaluator: _Evaluator, quantity: Quantity) -> Expected:
    """A gradient of the linear layer: its weight's and its bias's are sums over the rows, its features' over the classes."""
    layer, size, fmt = layer_of(evaluator.problem), _gradient_sizes(evaluator), evaluator.problem.format
    if quantity is Quantity.FEATURE_GRADIENT:
        values = _refine(partial(_features_of_rows, evaluator, layer.weight), fmt, PRECISIONS)
        owed = np.array([_row_of_features(evaluator, row) for row in evaluator.rows], dtype=np.int8)
        return _expected(values, _sizes_of(size, layer.weight), np.broadcast_to(owed[:, None], values.shape).copy())
    factors = layer.features if quantity is Quantity.WEIGHT_GRADIENT else np.ones((len(size), 1))
    finite = np.where(np.isfinite(factors) & ~evaluator.problem.ignored[:, None], factors, 0.0)
    values = _refine(partial(_summed_rows, evaluator, finite), fmt, PRECISIONS)
    total = _expected(values, _sizes_of(size.T, finite), np.tile(_sums_requirement(evaluator, factors), (len(size.T), 1)))
    return total if quantity is Quantity.WEIGHT_GRADIENT else total.column(0)


def _gradient_sizes(evaluator: _Evaluator) -> Floats:
    """(N, K): the sizes of the terms of the gradient by the logits; 0 in rows that have none."""
    sizes = np.zeros(evaluator.problem.logits.shape)
    with ctx.workprec(PRECISIONS[0]):
        for row in evaluator.rows:
            if row.kind is RowKind.REGULAR and not row.ignored and not evaluator.undefined_mean:
                sizes[row.index] = np.array(evaluator.gradient(row)[1])[row.inverse]
    return np.nan_to_num(sizes, nan=0.0)  # what lies beyond float64, times 0, is 0


def _sizes_of(left: Floats, right: Floats) -> Floats:
    """Those of a matrix product."""
    with np.errstate(over="ignore"):
        return np.asarray(left @ np.abs(right))


def _row_of_features(evaluator: _Evaluator, row: Row) -> Requirement:
    """What is required of a row of the gradient by the features: no limit, for it would be multiplied by the weights."""
    owed = _row_requirement(evaluator.problem, Quantity.GRADIENT, row, evaluator.undefined_mean)
    return Requirement.UNSPECIFIED if owed is Requirement.LIMIT_OR_NAN else owed


def _features_of_rows(evaluator: _Evaluator, weight: Floats) -> Enclosure:
    """(N, D): the gradient by the features."""
    shape = weight.shape[1:]
    rows = []
    for row in evaluator.rows:
        if row.kind is RowKind.REGULAR and not row.ignored and not evaluator.undefined_mean:
            rows.append(over_classes(evaluator.gradient(row)[0], weight))
        else:
            value = 0.0 if (row.ignored or row.weightless) and not evaluator.undefined_mean else np.nan
            rows.append(Enclosure.of([special(value)] * shape[0], shape))
    return _stacked(rows, (len(rows), *shape))


def _summed_rows(evaluator: _Evaluator, factors: Floats) -> Enclosure:
    """(K, D): the gradient's rows that count and are defined, each times its factors, added up; all NaN if one of them is."""
    counting = [] if evaluator.undefined_mean else [row for row in evaluator.rows if not (row.ignored or row.weightless)]
    if any(row.kind is RowKind.NAN for row in counting):
        shape = (evaluator.problem.num_classes, factors.shape[1])
        return Enclosure.of([special(np.nan)], (1,))[np.zeros(shape, dtype=np.intp)]
    rows = [evaluator.gradient(row)[0] for row in counting if row.kind is RowKind.REGULAR]
    return over_rows(rows, factors, evaluator.problem.num_classes)


def _sums_requirement(evaluator: _Evaluator, factors: Floats) -> NDArray[np.int8]:
    """(D,): what is required of sums over the rows. An ignored row gives 0 times its feature, which may be NaN."""
    ignored, width = evaluator.problem.ignored, factors.shape[1]
    if evaluator.undefined_mean:
        return np.full(width, Requirement.REST_OR_NOT_FINITE, dtype=np.int8)
    counting = [row for row in evaluator.rows if not row.ignored]
    if any(row.kind is RowKind.NAN and not row.weightless for row in counting):
        return np.full(width, Requirement.MUST, dtype=np.int8)
    each = [_row_requirement(evaluator.problem, Quantity.GRADIENT, row, False) for row in counting]
    least = _reduced_requirement(counting, each)
    if any(row.kind is not RowKind.REGULAR and not row.weightless for row in counting):
        least = Requirement.UNSPECIFIED
    owed, astray = np.full(width, least, dtype=np.int8), ~np.isfinite(factors)
    owed[astray[ignored].any(axis=0)] = max(least, Requirement.LIMIT_OR_NAN)
    owed[astray[~ignored].any(axis=0)] = Requirement.UNSPECIFIED
    return owed


def _quantity(evaluator: _Evaluator, quantity: Quantity) -> Expected:
    if quantity in LAYER_GRADIENTS:
        return _layer_gradient(evaluator, quantity)
    reduced = evaluator.problem.reduction is not Reduction.NONE
    return _reduced_loss(evaluator) if quantity is Quantity.LOSS and reduced else _per_row(evaluator, quantity)


@in_default_state
def evaluate(problem: Problem, quantities: Iterable[Quantity | str], tier: Tier | str = Tier.AUTO) -> dict[Quantity, Expected]:
    """Certified values of the quantities; see `Quantity` for their formulas and shapes, special_values.py for edges.

    Arguments:
      problem: rows of logits (N, K), their target and the options of the loss.
      quantities: what is asked for: quantities or their names; one alone stands for a list of it.
      tier: how it is computed (`reference.tiers`), or its name; it changes no rounding, only the time and the radii.

    Returns:
      What is expected of each quantity: its entries as enclosures, their scales, and whether a number is required.

    Raises:
      ValueError: a name that is not known, a Hessian of more than MAX_HESSIAN_CLASSES classes, a product without a tangent,
        a gradient of the linear layer without one, one by a target that is no probabilities, or the compiled tier without
        numba.

    >>> expected = evaluate(Problem([[20.0, 0.0]], [0], "float32"), ["loss", "gradient"])
    >>> float(expected["loss"].values.approximate()[0])
    2.061153620314381e-09
    """
    given = (quantities,) if isinstance(quantities, str) else quantities
    wanted, tier = tuple(quantity_named(quantity) for quantity in given), tier_named(tier)
    if Quantity.HESSIAN in wanted and problem.num_classes > MAX_HESSIAN_CLASSES:
        raise ValueError(f"a Hessian of K = {problem.num_classes} classes; allowed: K <= {MAX_HESSIAN_CLASSES}")
    if problem.tangent is None and (along := [quantity for quantity in wanted if quantity in ALONG_A_TANGENT]):
        raise ValueError(f"{along[0]} without a direction; give the problem a tangent of shape (N, K)")
    if set(LAYER_GRADIENTS) & set(wanted):
        layer_of(problem)
    if Quantity.TARGET_GRADIENT in wanted and not problem.has_target_gradient:
        given_target = "probabilities" if problem.has_probabilities else "class indices"
        raise ValueError(f"target_gradient of {problem.loss} of {given_target}; allowed: cross_entropy of probabilities")
    evaluator = _Evaluator(problem)
    if not evaluator.undefined_mean and uses_fast(problem, wanted, tier):
        from reference.fast.evaluate import evaluate_fast

        evaluator = _Evaluator(problem, fast=evaluate_fast(problem, wanted))
    return {quantity: _quantity(evaluator, quantity) for quantity in wanted}


@in_default_state
def enclose(problem: Problem, quantities: Iterable[Quantity]) -> dict[Quantity, Expected]:
    """What the compiled tier alone says of rows of a plain problem, without the exact tier behind it.

    Arguments:
      problem: finite logits, class indices and reduction 'none', for which the compiled tier has formulas.
      quantities: some of those that it has.

    Returns:
      Certified values as of `evaluate`, but a rounding, or on which side of a power of two a value lies, may be left open. Rows
      that the compiled tier does not take are NaN.

    Raises:
      ValueError: the compiled tier has no formulas for it.
    """
    from reference.fast.evaluate import evaluate_fast

    wanted = tuple(quantities)
    if not all(takes(problem, quantity) for quantity in wanted):
        raise ValueError(f"{', '.join(wanted)} of such a problem; allowed: what the compiled tier has formulas for")
    fast = evaluate_fast(problem, wanted)
    for values in fast.values.values():
        values.hi[~fast.taken] = np.nan
    owed = {quantity: np.zeros(values.shape, dtype=np.int8) for quantity, values in fast.values.items()}
    return {quantity: _expected(values, fast.scales.get(quantity), owed[quantity]) for quantity, values in fast.values.items()}
