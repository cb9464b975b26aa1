"""The error bounds of the grades 'stable', 'componentwise' and 'accurate', per entry, from the exact gaps of each row.

Nothing here is fitted. Symbols: x a row, scaled and over the temperature, m its maximum, d_i = x_i - m <= 0, E_i = exp(d_i),
S = sum E, p = E/S, L_i = log S - d_i (the loss of class i), u the unit roundoff of the working format, u_o of a store
into a narrower format, alpha = 2 exp_ulps and lambda = 2 log_ulps (an error of mu ulps is at most 2 mu u relative),
h the depth of the sum, omega the absolute error of an underflowing exp.

The errors of log_softmax and softmax, D_i and dp_i, are derived in row_errors.py.
The loss, gradient, Hessian and product are sums and products of these; every product, every sum over classes (depth h)
and every store into the storage format on the way adds its rounding (`growth_of`). Blanchard, Higham and Higham (IMA J.
Numer. Anal. 41(4), 2021, Theorems 4.2 and 4.3) bound lse and softmax with a term u (x_max - x_min); the weights p_i in
eta replace it by the entropy, at most log K (their sum over |d_i| p_i is at most log K - log S). Deep sums: Higham and
Mary, SIAM J. Sci. Comput. 41(5), 2019.
Where only the result is stored (`Arithmetic.stores_once`), all of this holds with the working format as the storage format,
and the one store adds u_o (|value| + error) + omega_o: it rounds what was computed, whatever terms cancelled before.
The common offset m enters nowhere: an algorithm that subtracts x_t from a rounded lse is not stable, and neither is one
that divides the logits by T before it shifts them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reference.arithmetic import Arithmetic
from reference.bounds.analysis import analysis_of
from reference.bounds.block_products import block_product
from reference.bounds.componentwise import componentwise_errors
from reference.bounds.family import (
    amplitude_of,
    enlarged,
    family_gradient,
    family_loss,
    family_product,
    inverses_error,
    reduced,
    target_gradient_error,
)
from reference.bounds.layer import layer_gradient
from reference.bounds.row_errors import RowErrors, rows_of
from reference.bounds.running import Running, growth, growth_of, product
from reference.bounds.softplus import softplus_error
from reference.evaluation import evaluate
from reference.expected import Expected
from reference.formats import Floats
from reference.grades import ACCURATE_ULPS
from reference.problem import Problem, layer_of
from reference.quantity import (
    BLOCK_PRODUCTS,
    LAYER_GRADIENTS,
    OF_LOGITS,
    ROW_BLOCKS,
    ROW_PRODUCTS,
    SECOND_ORDER,
    Quantity,
    quantity_named,
)
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

SLACK = 1.0 + 2.0**-30
"""Covers the rounding of this file's own float64 arithmetic: far below one part in 10^9, errors of fewer than 1000 u."""

LESS_THAN_ALL = 1.0 - 2.0**-20
"""Of an entry's size: what an error must not exceed; the entry itself is known far better than that."""

PLAIN_ROUNDINGS = 2
"""Rounded products and stores from log_softmax to the gradient of class indices: the result, and one of `_factors`."""

COMPOSITE_ROUNDINGS = 4
"""With probabilities, weights or smoothing: label times weight, times log-probability, times s/K, and their sum."""

SMOOTHED_ROUNDINGS = 3
"""With smoothing, beyond those: 1 - s, its product and the sum with s/K, less the label's own; and that of a class weight."""

SECOND_ORDER_ROUNDINGS = 6
"""A second pass through the same graph: two more products and two more stores than the first derivative's four."""


def _label_roundings(problem: Problem) -> int:
    """Roundings of a label beyond the one that COMPOSITE_ROUNDINGS has for it."""
    if problem.label_smoothing == 0.0:
        return 0
    return SMOOTHED_ROUNDINGS if problem.class_weights is not None else SMOOTHED_ROUNDINGS - 1


def _scalings(problem: Problem) -> int:
    """Numbers of the unit T/s that are not 1: each multiplies or divides a derivative once an order."""
    return (problem.temperature != 1.0) + (problem.logit_scale != 1.0)


def _factors(problem: Problem) -> int:
    """Numbers that a gradient is multiplied with or divided by one after the other; second derivatives have room for them."""
    given = (problem.cotangent, problem.row_weights)
    return sum(one is not None for one in given) + problem.is_divided + _scalings(problem)


_ORDERS = {PLAIN_ROUNDINGS: 1, SECOND_ORDER_ROUNDINGS: 2}
"""How often a derivative with so many roundings is divided by the temperature, and multiplied by the scale."""


def _row_roundings(rows: RowErrors, plain: int) -> float:
    """Relative growth on the way from log_softmax to a derivative or a loss of a row."""
    count = plain + _label_roundings(rows.problem)
    if not rows.problem.is_plain:
        count += COMPOSITE_ROUNDINGS - PLAIN_ROUNDINGS
    if plain == PLAIN_ROUNDINGS:
        count += max(_factors(rows.problem) - 1, 0)
    else:
        count += _ORDERS[plain] * max(_scalings(rows.problem) - 1, 0) + (rows.problem.row_weights is not None)
    working = count if rows.problem.is_plain else count + rows.depth
    if rows.problem.reduction is Reduction.MEAN:
        working += 1 + rows.arithmetic.summation.depth(rows.problem.num_rows)
    grown = growth_of(rows.arithmetic, count, working)
    return grown + (1 + grown) * inverses_error(rows, _ORDERS[plain])


def _loss(rows: RowErrors) -> Floats:
    weighted = rows.problem.is_weighted and not rows.problem.loss.spec.adds_label_entropy
    return reduced(rows, *(_weighted_loss(rows) if weighted else family_loss(analysis_of(rows))))


def _weighted_loss(rows: RowErrors) -> tuple[Floats, Floats]:
    """(N,): the error of sum a_c L_c, and the largest number that it is computed as."""
    problem, arithmetic = rows.problem, rows.arithmetic
    weights = weights_of(problem)
    counted = weights > 0
    error = np.where(counted, weights * rows.log_error, 0.0).sum(axis=1)
    size = np.where(counted, weights * rows.losses, 0.0).sum(axis=1)
    if not problem.is_plain:
        largest = np.minimum(size + error, np.finfo(np.float64).max)  # a loss beyond float64 is infinite in every format
        count = COMPOSITE_ROUNDINGS + _label_roundings(problem)
        error = error + largest * growth_of(arithmetic, count, count + rows.depth)
        error = error + (COMPOSITE_ROUNDINGS + rows.logits.shape[1]) * arithmetic.storage_underflow
    if problem.is_binary and arithmetic.softplus and problem.positive_weight == 1.0:
        error = np.maximum(error, softplus_error(rows, size))
    return error, size + error


def _gradient(rows: RowErrors) -> Running:
    if not rows.problem.is_weighted:
        return family_gradient(analysis_of(rows))
    weights, factors = weights_of(rows.problem), factors_of(rows.problem) / unit_of(rows.problem)
    total = weights.sum(axis=1, keepdims=True)
    grown = _row_roundings(rows, PLAIN_ROUNDINGS)
    size = total * rows.probabilities + weights
    error = product(total, rows.probability_error) * (1 + grown) + size * grown
    return Running(factors * size, product(factors, error) + _floor(rows, total, 1), rows.arithmetic)


def _layer_gradient(quantity: Quantity) -> Callable[[RowErrors], Floats]:
    return lambda rows: layer_gradient(rows.problem, _gradient(rows), quantity)


def _hessian(rows: RowErrors) -> Floats:
    if not rows.problem.is_weighted:
        return family_product(analysis_of(rows, True)).error
    total = weights_of(rows.problem).sum(axis=1, keepdims=True)
    scale = (total * factors_of(rows.problem))[:, :, None]
    grown = _row_roundings(rows, SECOND_ORDER_ROUNDINGS)
    p, dp = rows.probabilities, rows.probability_error
    moved = p[:, :, None] * dp[:, None, :] + dp[:, :, None] * (p + dp)[:, None, :]
    pairs = moved * (1 + grown) + p[:, :, None] * p[:, None, :] * grown
    single = dp * (1 + grown) + p * grown
    pairs = pairs + single[:, :, None] * np.eye(rows.logits.shape[1])
    return scale / unit_of(rows.problem) ** 2 * pairs + 4 * _floor(rows, total, 2)[:, :, None]


def _diagonal(rows: RowErrors) -> Floats:
    """(N, K): the bound of the diagonal of the Hessian alone; other losses than cross-entropy form all entries."""
    if not rows.problem.is_weighted:
        return np.diagonal(family_product(analysis_of(rows, True)).error, axis1=1, axis2=2)
    total = weights_of(rows.problem).sum(axis=1, keepdims=True)
    scale = total * factors_of(rows.problem)
    grown = _row_roundings(rows, SECOND_ORDER_ROUNDINGS)
    p, dp = rows.probabilities, rows.probability_error
    error = (p * dp + dp * (p + dp) + dp) * (1 + grown) + (p * p + p) * grown
    return scale / unit_of(rows.problem) ** 2 * error + 4 * _floor(rows, total, 2)


def _hvp(rows: RowErrors) -> Floats:
    if not rows.problem.is_weighted:
        return family_product(analysis_of(rows)).error
    total = weights_of(rows.problem).sum(axis=1, keepdims=True)
    scale = total * factors_of(rows.problem)
    grown = _row_roundings(rows, SECOND_ORDER_ROUNDINGS)
    p, dp, v = rows.probabilities, rows.probability_error, np.abs(tangent_of(rows.problem))
    mean, moved = (p * v).sum(axis=1, keepdims=True), (dp * v).sum(axis=1, keepdims=True)
    # <p, v> is a sum over the classes of its own, whatever else is plain.
    moved = moved + (mean + moved) * growth(rows.arithmetic.working.unit_roundoff, rows.depth)
    error = (dp * (v + mean + moved) + p * moved) * (1 + grown) + p * (v + mean) * grown
    floor = 4 * _floor(rows, total, 2) * (1 + v + v.sum(axis=1, keepdims=True))
    return scale / unit_of(rows.problem) ** 2 * error + floor


def _floor(rows: RowErrors, total: Floats, order: int) -> Floats:
    """What underflow alone costs a derivative: one store of the result, one of a product, and one of each number before.

    What a row is multiplied with (cotangent, 1/N, s/K) may underflow in its own store; the weights then enlarge what it lost.
    """
    problem = rows.problem
    stores = _factors(problem) + (0 if problem.is_plain else COMPOSITE_ROUNDINGS)
    each = total / unit_of(problem) ** order
    lost = rows.arithmetic.storage_underflow
    return lost * (1 + each * (factors_of(problem) + stores)) + each * enlarged(problem, lost)


def _logsumexp(rows: RowErrors) -> Floats:
    """lse = s m/T + log S: the offset enters only through the rounding of the result, and of s m/T where s or T is not 1."""
    u = rows.arithmetic.working.unit_roundoff
    top = rows.top[:, 0]
    size = np.abs(top + np.log(rows.total[:, 0]))
    # The class at the maximum has no gap to be off by: the smallest D_i is that of log S, and a little more.
    tau = rows.log_error.min(axis=1)
    stored = rows.arithmetic.storage_roundoff
    divided = rows.unit_error * np.abs(top)
    return (tau + divided + (u + stored) * (size + tau + divided)) * (1 + u) + rows.arithmetic.storage_underflow


def _entropy(rows: RowErrors) -> Floats:
    return analysis_of(rows).entropy.stored().error[:, 0]


def _block_product(quantity: Quantity) -> Callable[[RowErrors], Floats]:
    return lambda rows: block_product(analysis_of(rows), quantity).error


def _softmax(rows: RowErrors) -> Floats:
    """(N, K): the error of softmax itself: the probabilities, stored."""
    return Running(rows.probabilities, rows.probability_error, rows.arithmetic).stored().error


_STABLE = {
    Quantity.LOSS: _loss,
    Quantity.GRADIENT: lambda rows: _gradient(rows).error,
    Quantity.HESSIAN: _hessian,
    Quantity.HVP: _hvp,
    Quantity.HESSIAN_DIAGONAL: _diagonal,
    Quantity.LOG_SOFTMAX: lambda rows: rows.log_error,
    Quantity.SOFTMAX: _softmax,
    Quantity.LOGSUMEXP: _logsumexp,
    Quantity.ENTROPY: _entropy,
    Quantity.TARGET_GRADIENT: lambda rows: target_gradient_error(analysis_of(rows)),
    **{quantity: _block_product(quantity) for quantity in BLOCK_PRODUCTS},
    **{quantity: _layer_gradient(quantity) for quantity in LAYER_GRADIENTS},
}

_ONE_LOGIT = {Quantity.HESSIAN: (slice(None), slice(1), slice(1)), **dict.fromkeys((Quantity.LOSS, *ROW_BLOCKS), (...,))}
"""What a sigmoid loss keeps of the bounds of the row [x, 0]; of any other quantity the first column."""


_SHIFTED = (Quantity.HVP, Quantity.SOFTMAX_VJP, Quantity.LOG_SOFTMAX_VJP)
"""Products along a direction, of which the algorithm of componentwise.py treats the maximum apart: it is as stable."""

_DERIVATIVES = {Quantity.LOSS: 0, Quantity.TARGET_GRADIENT: 0} | dict.fromkeys(SECOND_ORDER, 2)
"""How often a quantity of a loss is differentiated by the logits; once where it is not listed."""


def stable_bound(
    problem: Problem, quantity: Quantity | str, arithmetic: Arithmetic, expected: Expected | None = None
) -> Floats:
    """Largest absolute error that `stable` allows each entry; meaningless (not NaN) where the value is not finite.

    Arguments:
      problem: the rows, from whose exact gaps the bound is evaluated.
      quantity: the quantity whose entries are bounded, or its name.
      arithmetic: what the operation declares of its own.
      expected: the certified values, which one store is relative to; they are evaluated if need be.

    Returns:
      An absolute error for each entry, of the shape of the quantity; infinite where nothing is bounded.
    """
    quantity = quantity_named(quantity)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        bound = _STABLE[quantity](rows_of(problem, arithmetic.inside))
        if quantity in _SHIFTED:  # v may be shifted first by its entry at the maximum: as stable, and off elsewhere
            bound = np.maximum(bound, componentwise_errors(problem, quantity, arithmetic))
        bound = _entries(problem, quantity, bound * SLACK)
    if arithmetic.stores_once:
        known = expected or evaluate(problem, [quantity])[quantity]
        bound = _stored_once(known.values.approximate(), bound, arithmetic)
        if quantity in (Quantity.GRADIENT, Quantity.TARGET_GRADIENT) and problem.cotangent is not None:
            # A kernel that is not handed the cotangent stores before it: what underflows there is then enlarged by it.
            bound = bound + np.abs(factors_of(problem)) * arithmetic.storage_underflow / 2
    return np.where(np.isnan(bound), np.inf, bound)


def componentwise_bound(problem: Problem, quantity: Quantity | str, arithmetic: Arithmetic, expected: Expected) -> Floats:
    """Largest absolute error that `componentwise` allows each entry: that of componentwise.py, and one store of the result.

    Arguments and result are those of `accurate_bound`. It holds together with `whole_bound`.
    """
    quantity, size = quantity_named(quantity), _sizes(expected)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        bound = _entries(problem, quantity, componentwise_errors(problem, quantity, arithmetic) * SLACK)
        bound = np.minimum(bound, np.finfo(np.float64).max)
        return bound + arithmetic.storage_roundoff * size + arithmetic.storage_roundoff * bound + arithmetic.storage_underflow


def whole_bound(problem: Problem, quantity: Quantity | str, arithmetic: Arithmetic, expected: Expected) -> Floats:
    """Less than the size of each entry: no 0, no other sign and nothing beyond twice the value is `componentwise`.

    In coarse arithmetic c (1 + |d_i|) u may be more than 1. Infinite where terms cancel, or underflow alone may give a 0.
    """
    size = _sizes(expected)
    # A whole subnormal, of which float64 has no half: what a power is multiplied with comes later.
    each = max(arithmetic.rounding_underflow, arithmetic.working.min_subnormal)
    lost = lost_to_underflow(problem, quantity, arithmetic, expected, each) + arithmetic.storage.min_subnormal
    return np.where((size > lost) & (size >= expected.scale / 2), size * LESS_THAN_ALL, np.inf)


def _sizes(expected: Expected) -> Floats:
    """The sizes of the entries; a finite value may lie beyond float64."""
    return np.nan_to_num(np.abs(expected.values.approximate()), nan=0.0, posinf=np.finfo(np.float64).max)


def _entries(problem: Problem, quantity: Quantity, bound: Floats) -> Floats:
    """The bounds of the entries that a problem has; infinite where nothing is bounded."""
    if problem.is_binary:
        bound = bound[_ONE_LOGIT.get(quantity, (slice(None), slice(1)))]
    return np.where(np.isnan(bound), np.inf, bound)


def _stored_once(values: Floats, error: Floats, arithmetic: Arithmetic) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):
        return Running(np.abs(values), error, arithmetic).stored().error * SLACK


def accurate_bound(problem: Problem, quantity: Quantity | str, arithmetic: Arithmetic, expected: Expected) -> Floats:
    """Largest absolute error that `accurate` allows: ACCURATE_ULPS ulps of the scale, plus K underflowing powers.

    Where the result alone is stored in a narrower format, and nothing multiplies it there, those ulps are of the working
    format, and one of the result comes to them. Each of the K powers may lose omega to underflow; they enter with weight at
    most A |f| (loss, gradient, Hessian; other losses: `amplitude_of`), over T/s for each derivative, and the tangent's size in
    a product; in a sum over the rows, the sum of theirs. Under flush-to-zero a subnormal result may be lost as well.

    Arguments:
      problem: the rows.
      quantity: the quantity whose entries are bounded, or its name.
      arithmetic: what the operation declares of its own.
      expected: the certified values, with the scale that an ulp is taken of.

    Returns:
      An absolute error for each entry, of the shape of the quantity.
    """
    with np.errstate(over="ignore"):
        ulps = ACCURATE_ULPS * problem.format.ulp(expected.scale)
        alone = problem.cotangent is None and problem.reduction is Reduction.NONE
        if alone and stores_last(quantity_named(quantity), arithmetic):
            ulps = problem.format.ulp(_sizes(expected)) + ACCURATE_ULPS * arithmetic.working.ulp(expected.scale)
        return ulps + lost_to_underflow(problem, quantity, arithmetic, expected)


def stores_last(quantity: Quantity, arithmetic: Arithmetic) -> bool:
    """True if the last step to a quantity of a row is its one store in a narrower format.

    What differentiates it again, multiplies it by a cotangent or adds it to other rows may work in that format, after the
    store and outside of the kernel.
    """
    return (
        arithmetic.stores_once
        and arithmetic.storage_roundoff > 0.0
        and quantity not in (*SECOND_ORDER, *LAYER_GRADIENTS, *BLOCK_PRODUCTS)
    )


def lost_to_underflow(
    problem: Problem, quantity: Quantity | str, arithmetic: Arithmetic, expected: Expected, each: float | None = None
) -> Floats:
    """What underflow alone costs each entry: `accurate_bound` but for its ulps, with the same arguments.

    `each` is what a power loses; half of the least subnormal if it is not given.
    """
    quantity, each = quantity_named(quantity), arithmetic.rounding_underflow if each is None else each
    amplitude = np.ones((problem.num_rows, 1))
    if quantity in BLOCK_PRODUCTS:
        amplitude = _product_amplitude(problem, quantity)
    if quantity in (Quantity.ENTROPY, Quantity.ENTROPY_VJP):  # a class of probability w that is lost takes w log(1/w) with it
        amplitude = amplitude * (2.0 - np.log(max(each, np.finfo(np.float64).smallest_subnormal)))
    if quantity not in OF_LOGITS:
        shares = row_weights_of(problem) / divisor_of(problem)
        factors = shares if quantity is Quantity.LOSS else factors_of(problem)
        order = _DERIVATIVES.get(quantity, 1)
        amplitude = _amplitude(problem, quantity, arithmetic, order) * factors / unit_of(problem) ** order
    if quantity is Quantity.HVP and problem.tangent is not None:
        amplitude = amplitude * (1 + np.abs(problem.tangent).max(axis=1, keepdims=True, initial=0.0))
    classes = 2 if problem.is_binary else problem.num_classes
    with np.errstate(over="ignore", invalid="ignore"):
        lost = _shaped(problem, quantity, classes * each * amplitude, expected.values.shape)
    # Half the smallest float64 is 0 in float64: times an amplitude that overflows it is no bound, but nothing is lost.
    lost = np.where(np.isnan(lost), 0.0, lost)
    return lost + (arithmetic.storage.min_normal if arithmetic.flush_to_zero else 0.0)


def _amplitude(problem: Problem, quantity: Quantity, arithmetic: Arithmetic, order: int) -> Floats:
    """That of a loss or a derivative by the logits; the loss of a class moves by what log S does, whatever the labels are."""
    if quantity is Quantity.TARGET_GRADIENT:
        return np.full((1, 1), class_weights(problem).max())
    return amplitude_of(problem, arithmetic, order)


def _product_amplitude(problem: Problem, quantity: Quantity) -> Floats:
    """(N, 1): what a building block's product with u multiplies a power with, and the result's own underflow."""
    if quantity in ROW_PRODUCTS:
        return 1 + np.abs(upstream_of(problem)) / unit_of(problem)
    u = np.abs(tangent_of(problem))
    reach = 2 * u.max(axis=1, keepdims=True, initial=0.0) if quantity is Quantity.SOFTMAX_VJP else u.sum(axis=1, keepdims=True)
    return np.asarray(1 + reach / unit_of(problem))


def _shaped(problem: Problem, quantity: Quantity, lost: Floats, shape: tuple[int, ...]) -> Floats:
    """What each row loses, (N, 1), at the entries that it enters."""
    if shape == () or quantity is Quantity.BIAS_GRADIENT:
        return np.broadcast_to(lost.sum(), shape)
    if quantity is Quantity.WEIGHT_GRADIENT:
        return np.broadcast_to(lost.T @ np.abs(layer_of(problem).finite[0]), shape)
    if quantity is Quantity.FEATURE_GRADIENT:
        return np.broadcast_to(lost * np.abs(layer_of(problem).weight).sum(axis=0), shape)
    return lost.reshape((problem.num_rows,) + (1,) * (len(shape) - 1))
