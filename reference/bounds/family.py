"""Bounds of `stable` for the losses that are not a weighted log-probability, and for softcaps and z-losses.

Each loss is written once more in running-error analysis (running.py) as a framework computes it, starting from the errors
of log_softmax and softmax (row_errors.py). Every product, sum and difference is rounded to the working format and stored.
The gradient is taken in y = s x/T (behind the softcap) and chained; the Hessian is the derivative of the gradient along unit
vectors, as automatic differentiation takes it, so one formula bounds it and its product with the tangent:

  kl_divergence   q log q and q L are stored apart; log q is off by lambda u |log q|
  z_loss          lse = m + log S with log S off by tau, m by its division by T: lse, lse^2, z lse^2, 2 z lse p are products
  focal           w = 1 - p_t is off by dp_t and a rounding, so w^e lies between the powers of w -+ its error (monotone);
                  power adds alpha u, and (2 lambda + 2) u |e log w| where it is exp(e log w);
                  [i = t] - p_i counts with size [i = t] + p_i: softmax's backward pass subtracts it at full size
  squared_error   p - q, its square and the average <p, p - q> as they stand; sizes |p - q|, not p + q
  softcap         s = 1 - tanh^2 by subtraction: an absolute error, whatever s

At the end come the cotangent, the mean's denominator, 1/T and s, and EXTRA_ROUNDINGS for another order of the products.
Where 1 - p_t may be computed as 0, a focal loss with g < 1 (Hessian: g < 2) has no bound: w^(g-1) is infinite there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from reference.arithmetic import Arithmetic
from reference.bounds.analysis import LABEL_ROUNDINGS, Analysis, Direction
from reference.bounds.row_errors import RowErrors, rows_of
from reference.bounds.running import Running, growth_of, inverse_error
from reference.formats import Floats
from reference.loss import Loss
from reference.problem import Problem
from reference.reduction import Reduction
from reference.weights import (
    class_weights,
    divisor_of,
    factors_of,
    row_weights_of,
    tangent_of,
    unit_of,
    upstream_of,
    weights_of,
)

_LARGEST = np.finfo(np.float64).max
"""Beyond it a loss is infinite in every format."""

EXTRA_ROUNDINGS = 4
"""Rounded products and stores that another order of the same factors may have."""

# ---------------------------------------------------------------------------------------------------------------------
# Cross-entropy with a z-loss.


def _regularised_loss(a: Analysis) -> Running:
    if a.rows.problem.z_loss == 0.0:
        return a.weighted_losses
    return a.weighted_losses.plus(a.lse.times(a.lse).scaled(a.rows.problem.z_loss).times(a.counted))


def _pull(a: Analysis) -> Running:
    """(N, 1): 2 z lse, which a z-loss adds to A in the derivatives."""
    return a.lse.scaled(2 * a.rows.problem.z_loss).times(a.counted)


def _regularised_slope(a: Analysis) -> Running:
    return a.pulled(None if a.rows.problem.z_loss == 0.0 else _pull(a))


def _regularised_product(a: Analysis, v: Direction) -> Running:
    moved = a.p.times(a.deviation(v))
    if a.rows.problem.z_loss == 0.0:
        return a.total_weight.times(moved)
    square = a.p.times(a.p.times(v.running).summed()).scaled(2 * a.rows.problem.z_loss).times(a.counted)
    return a.total_weight.plus(_pull(a)).times(moved).plus(square)


# ---------------------------------------------------------------------------------------------------------------------
# Focal loss.


def power(w: Running, exponent: float) -> Running:
    """Powers w^exponent, between the powers of the ends of w's interval, then rounded by pow or by exp(exponent log w)."""
    if exponent == 0.0:
        return Running(np.ones_like(w.size), np.zeros_like(w.size), w.arithmetic)
    low, high = np.maximum(w.size - w.error, 0.0), w.size + w.error
    size, ends = w.size**exponent, (low**exponent, high**exponent)
    # w^e is monotone, so its extremes are at the ends of the interval; at 0 it is infinite for e < 0.
    largest = np.maximum(*ends)
    moved = np.maximum(largest - size, size - np.minimum(*ends))
    u = w.arithmetic.working.unit_roundoff
    stretched = (4 * w.arithmetic.log_ulps + 2) * u * abs(exponent) * largest * _steepest(low, high, exponent)
    return Running(size, moved + stretched + 2 * w.arithmetic.exp_ulps * u * largest, w.arithmetic).rounded()


def _steepest(low: Floats, high: Floats, exponent: float) -> Floats:
    """Largest (v/high)^exponent |log v| for v in [low, high], doubled to cover exp of a product beyond first order.

    For exponent > 0 it is at most |log high| + 1/(e exponent), since (v/high)^a |log(v/high)| <= 1/(e a).
    """
    if exponent < 0:
        return 2 * np.abs(np.log(low))
    return 2 * (np.abs(np.log(np.maximum(high, np.finfo(np.float64).tiny))) + 1.0 / (np.e * exponent))


def _focal_loss(a: Analysis) -> Running:
    return power(a.miss, a.rows.problem.focusing).times(a.at_target(a.log_losses))


def _focal_slopes(a: Analysis) -> tuple[Running, Running]:
    """Bounds of f' and f'' as sums of the products they are."""
    g, w, p, log_loss = a.rows.problem.focusing, a.miss, a.at_target(a.p), a.at_target(a.log_losses)
    first = power(w, g)
    nothing = Running(np.zeros_like(w.size), np.zeros_like(w.size), w.arithmetic)
    if g == 0.0:
        return first, nothing
    once = power(w, g - 1).times(p).scaled(g)
    bent = once.times(log_loss)
    twice = nothing if g == 1.0 else power(w, g - 2).times(p.times(p)).times(log_loss).scaled(g * abs(g - 1))
    return first.plus(bent), once.plus(once).plus(twice).plus(bent)


def _focal_slope(a: Analysis) -> Running:
    return _focal_slopes(a)[0].times(a.offset).times(a.counted)


def _focal_product(a: Analysis, v: Direction) -> Running:
    first, second = _focal_slopes(a)
    result = first.times(a.p.times(a.deviation(v))).plus(second.times(a.offset).times(a.along(v)))
    return result.times(a.counted)


# ---------------------------------------------------------------------------------------------------------------------
# Squared error of the probabilities.


def _squared_loss(a: Analysis) -> Running:
    r = a.residual
    return r.times(r).summed()


def _squared_slope(a: Analysis) -> Running:
    return a.p.times(a.centred(a.residual.scaled(2.0)))


def _squared_product(a: Analysis, v: Direction) -> Running:
    """Sum of dp (2 r - <p, 2 r>) + p (2 dp - <p, 2 dp> - <dp, 2 r>) with dp = p (v - <p, v>)."""
    twice, moved = a.residual.scaled(2.0), a.p.times(a.deviation(v))
    outer = a.centred(moved.scaled(2.0)).plus(moved.times(twice).summed())
    return moved.times(a.centred(twice)).plus(a.p.times(outer))


# ---------------------------------------------------------------------------------------------------------------------
# KL divergence.


def _divergence(a: Analysis) -> Running:
    q = a.rows.problem.target
    with np.errstate(divide="ignore"):
        log_q = np.where(q > 0, np.abs(np.log(np.where(q > 0, q, 1.0))), 0.0)
    off = a.rows.log_rounding * log_q
    labels = a.known(q)
    entropy = labels.times(Running(log_q, off, labels.arithmetic).rounded())
    return entropy.plus(labels.times(a.log_losses)).summed()


# ---------------------------------------------------------------------------------------------------------------------
# How much a loss or a derivative of it may change where powers are lost: by at most the amplitude times what S loses.


def _weighted_amplitude(rows: RowErrors, order: int) -> Floats:  # noqa: ARG001
    """A, and what a z-loss adds: where lse moves by d <= 1, z lse^2 moves by at most z (2 |lse| + 1) d.

    Its gradient 2 z lse p then moves by at most 2 z (|lse| + 1) d, and its Hessian, which has 2 z p p^T beside that, by at
    most 6 z (|lse| + 1) d. |lse| is at most the largest logit in absolute value, and log K more.
    """
    problem = rows.problem
    total = weights_of(problem).sum(axis=1, keepdims=True)
    if problem.z_loss == 0.0:
        return total
    top = np.abs(rows.top)
    with np.errstate(over="ignore"):
        return total + 6.0 * problem.z_loss * (1.0 + top + np.log(rows.logits.shape[1]))


def _focal_amplitude(rows: RowErrors, order: int) -> Floats:
    """Each derivative of w^a p^b L has three terms of its kind with factors of at most g + 2, and one more tells the change.

    A derivative of w = 1 - p_t by a logit has w or p_i <= w as a factor, so w^g stays in all of them, and a lost power, which
    moves w by itself, takes one w off. From g = 1 on the rest is small where w is.
    """
    problem = rows.problem
    terms = (3.0 * (problem.focusing + 2.0)) ** (order + 1)
    others = np.where(weights_of(problem) > 0, 0.0, rows.probabilities).sum(axis=1, keepdims=True)
    left = np.minimum(others + 2.0 * rows.lost, 1.0)
    return terms * left ** max(problem.focusing - 1.0, 0.0)


def _squared_amplitude(rows: RowErrors, order: int) -> Floats:
    """A polynomial in p: what it moves by where the p_i together move by at most 2 d, d what S loses.

    The loss moves by at most 2 max |p - q| times that, and its square. With a = r - <p, r>, r = p - q, the gradient 2 p_i a_i
    moves by 2 |a_i| dp_i, and by 2 p_i times what a_i moves by: (p_i - <p, p>) d and |r| d. |a| is at most 2 max |r|, and
    p_i |p_i - <p, p>| at most l, what the p but the largest add up to. The Hessian is of the same parts (twice V V, of
    entries of at most l, and products of a): each order multiplies the coefficients, which add up to at most 24 and 80.
    """
    p, labels = rows.probabilities, rows.problem.target
    far = np.abs(p - labels).max(axis=1, keepdims=True, initial=0.0)
    if order == 0:
        return 4.0 * (far + rows.lost)
    left = np.sort(p, axis=1)[:, :-1].sum(axis=1, keepdims=True)
    return {1: 24.0, 2: 80.0}[order] * (far + left + rows.lost)


# ---------------------------------------------------------------------------------------------------------------------
# What they share: the table, softcap, factors, reduction.


@dataclass(frozen=True)
class FamilyBounds:
    """The running errors of a loss in y, of its gradient and of its Hessian's product with v, and its amplitude."""

    loss: Callable[[Analysis], Running]
    slope: Callable[[Analysis], Running]
    product: Callable[[Analysis, Direction], Running]
    amplitude: Callable[[RowErrors, int], Floats]


_WEIGHTED = FamilyBounds(_regularised_loss, _regularised_slope, _regularised_product, _weighted_amplitude)
_FOCAL = FamilyBounds(_focal_loss, _focal_slope, _focal_product, _focal_amplitude)

BOUNDS: dict[Loss, FamilyBounds] = {
    Loss.CROSS_ENTROPY: _WEIGHTED,
    Loss.KL_DIVERGENCE: replace(_WEIGHTED, loss=_divergence),
    Loss.SQUARED_ERROR: FamilyBounds(_squared_loss, _squared_slope, _squared_product, _squared_amplitude),
    Loss.FOCAL: _FOCAL,
    Loss.SIGMOID: _WEIGHTED,
    Loss.SIGMOID_FOCAL: _FOCAL,
}
"""What bounds each loss; the derivatives of a weighted log-probability are bounded here behind a softcap and with a z-loss."""


def finished(a: Analysis, given: Running, order: int) -> Running:
    """Times the cotangent and the row's weight, over the divisor and (T/s)^order, in whatever order."""
    problem = a.rows.problem
    factor = factors_of(problem) / unit_of(problem) ** order
    depth = a.rows.arithmetic.summation.depth(problem.num_rows) if problem.reduction is Reduction.MEAN else 0
    weighted = problem.row_weights is not None
    chained = a.running(factor, factor * inverses_error(a.rows, order) + _lost_factors(a, order))
    return given.times(chained).rounded(EXTRA_ROUNDINGS + order * a.rows.is_scaled + weighted, depth)


def _lost_factors(a: Analysis, order: int) -> Floats:
    """(N, 1): what underflow costs the factor of a row, over the unit T/s once an order."""
    return enlarged(a.rows.problem, a.rows.arithmetic.storage_underflow) * max(1.0, unit_of(a.rows.problem) ** -order)


def enlarged(problem: Problem, lost: float) -> Floats:
    """(N, 1): what is lost at the steps of a chain of products, once what comes later enlarges it; 0 without weight and n.

    The factors of a row are its cotangent c, weight r and 1/n. Behind the first step two of them are left at most, then one.
    """
    ones = np.ones((problem.num_rows, 1))
    if problem.row_weights is None and problem.normaliser is None:
        return 0.0 * ones
    c, r, inverse = np.abs(upstream_of(problem)), row_weights_of(problem), ones / divisor_of(problem)
    with np.errstate(over="ignore"):
        one = lost * np.max([c, r, inverse, ones], axis=0)
        return one + np.max([lost * c * r, lost * c * inverse, lost * r * inverse, one], axis=0)


def inverses_error(rows: RowErrors, order: int) -> float:
    """Relative error of the rounded reciprocals by which a derivative is divided: the divisor's, and each order's T and c."""
    problem, arithmetic = rows.problem, rows.arithmetic
    logarithm = np.log1p(inverse_error(arithmetic, problem.temperature)) if problem.temperature != 1.0 else 0.0
    if problem.logit_softcap is not None:
        logarithm += np.log1p(inverse_error(arithmetic, problem.logit_softcap))
    mean = np.log1p(inverse_error(arithmetic, divisor_of(problem))) if problem.is_divided else 0.0
    return float(np.expm1(order * logarithm + mean))


def family_loss(a: Analysis) -> tuple[Floats, Floats]:
    """(N,): the error of the loss of every row, and the largest number that it is computed as; 0 where it is ignored."""
    loss, ignored = BOUNDS[a.rows.problem.loss].loss(a), a.rows.problem.ignored
    error = np.where(ignored, 0.0, loss.error[:, 0])
    return error, np.where(ignored, 0.0, loss.size[:, 0]) + error


def family_gradient(a: Analysis) -> Running:
    """(N, K): the gradient by the logits; (N, 2) for the row [x, 0]."""
    problem = a.rows.problem
    slope = BOUNDS[problem.loss].slope(a)
    if problem.logit_softcap is not None:
        slope = slope.times(a.rate).rounded(2)  # the factors c and 1/c of the chain rule
    return finished(a, slope, 1)


def target_gradient_error(a: Analysis) -> Floats:
    """(N, K): that of the gradient by the labels of a weighted log-probability, w (1 - s) L times the factors."""
    kept = class_weights(a.rows.problem) * (1.0 - a.rows.problem.label_smoothing)
    each = a.known(np.broadcast_to(kept, a.rows.logits.shape)).rounded(LABEL_ROUNDINGS)
    error = finished(a, each.times(a.log_losses), 0).error
    # A loss near the end of float64 overflows here before its factors make it smaller; there half of it comes last.
    half = Running(a.log_losses.size / 2, a.log_losses.error / 2, each.arithmetic)
    return np.where(np.isfinite(error), error, 2 * finished(a, each, 0).times(half).error)


def family_product(a: Analysis) -> Running:
    """(N, K): the Hessian's product with the tangent; of a lifted analysis all its entries (N, K, K)."""
    problem, classes = a.rows.problem, a.rows.logits.shape[1]
    values = np.eye(classes)[None] if a.lift else tangent_of(problem)
    v = Direction(values, Running.exact(values, a.rows.arithmetic))
    if problem.logit_softcap is None:
        return finished(a, BOUNDS[problem.loss].product(a, v), 2)
    bend = a.rate.times(a.saturation).scaled(2.0 * problem.temperature / problem.logit_softcap)
    chained = BOUNDS[problem.loss].product(a, v.scaled(a.rate)).times(a.rate).rounded(2)
    return finished(a, chained.plus(BOUNDS[problem.loss].slope(a).times(bend).times(v.running).rounded(2)), 2)


def reduced(rows: RowErrors, error: Floats, computed: Floats) -> Floats:
    """The bound of the loss after weights and reduction, from the errors of the rows' losses and the largest computed ones."""
    problem, arithmetic = rows.problem, rows.arithmetic
    error, size, lost = _times_row_weights(rows, error, np.minimum(computed, _LARGEST))
    is_reduced = problem.reduction is not Reduction.NONE
    if not (is_reduced or problem.is_divided):
        return error + lost
    # Divided before it is summed: a mean of large losses must not overflow here.
    share, depth = 1.0 / divisor_of(problem), arithmetic.summation.depth(problem.num_rows) if is_reduced else 0
    grown = growth_of(arithmetic, 1, 2 * depth + 2)
    grown += (1 + grown) * inverses_error(rows, 0)
    each = error * share + size * share * grown + lost
    return np.asarray((each.sum() if is_reduced else each) + arithmetic.storage_underflow)


def _times_row_weights(rows: RowErrors, error: Floats, size: Floats) -> tuple[Floats, Floats, Floats]:
    """(N,): the errors of the weighted losses, the largest that these are computed as, and what underflow costs in the end.

    r L / n may be (r L)/n, (r/n) L or (L/n) r: what underflows at the first step is then enlarged by the last number. 0 times
    a loss is exact.
    """
    if rows.problem.row_weights is None:
        return error, size, np.zeros_like(error)
    weights, arithmetic = rows.problem.row_weights, rows.arithmetic
    lost = 1.0 / divisor_of(rows.problem) + weights + size if rows.problem.is_divided else np.ones_like(size)
    counted = (weights != 0) & (size != 0)
    lost = np.where(counted, arithmetic.storage_underflow * lost, 0.0)
    error = np.where(counted, weights * error + weights * size * growth_of(arithmetic, 1, 1), 0.0)
    return error, np.minimum(weights * size + error, _LARGEST), lost


def amplitude_of(problem: Problem, arithmetic: Arithmetic, order: int) -> Floats:
    """(N, 1): how much what S loses may change a loss, or a derivative of it in y: at most so many times as much.

    Arguments:
      problem: the rows.
      arithmetic: what the operation declares of its own: it says what a power that underflows may lose.
      order: 0 for the loss, 1 for the gradient, 2 for what is of second order.
    """
    return BOUNDS[problem.loss].amplitude(rows_of(problem, arithmetic), order)
