"""The error bounds of the grades 'stable' and 'accurate', per entry, evaluated from the exact gaps of each row.

Nothing here is fitted. Symbols: x a row divided by the temperature, m its maximum, d_i = x_i - m <= 0, E_i = exp(d_i),
S = sum E, p = E/S, L_i = log S - d_i (the loss of class i), u the unit roundoff of the working format, u_o of a store
into a narrower format, alpha = 2 exp_ulps and lambda = 2 log_ulps (an error of mu ulps is at most 2 mu u relative),
h the depth of the sum, omega the absolute error of an underflowing exp.

Derivation of `stable` (the max-shifted algorithm, every operation rounded; not first order in u):
  eps_i = (1 + alpha u) exp(|d_i| u) - 1      the subtraction x_i - m moves d_i by |d_i| u, exp by alpha u; 0 at gap 0
  eta   = sum p_i ((1 + eps_i)(1 + u)^h - 1) + K omega/S   relative error of the computed S
                                              (Higham, ASNA, section 4.2: each summand meets at most h roundings)
          where the sum is stored in a narrower format: eta += u_o (1 + eta)
  tau   = -log(1 - eta);  tau += lambda u (log S + tau)    absolute error of log S (monotone log of a relative error)
          where the sum is stored: tau += u_o (log S + tau)
  D_i   = tau + u |d_i|;  D_i += u (L_i + D_i);  D_i += u_o (L_i + D_i)    error of log_softmax_i, subtracted and stored
  dp_i  = p_i (exp(D_i)(1 + alpha u) - 1)      error of p_i taken as exp of the stored log_softmax, or, if larger,
          p_i ((1 + eps_i)(1 + eta/(1-eta))(1 + u) - 1)    taken as E_i / S
The loss, gradient, Hessian and product are sums and products of these; every product, every sum over classes (depth h)
and every store into the storage format on the way adds its rounding (`_growth`). Blanchard, Higham and Higham (IMA J.
Numer. Anal. 41(4), 2021, Theorems 4.2 and 4.3) bound lse and softmax with a term u (x_max - x_min); the weights p_i in
eta replace it by the entropy, at most log K (their sum over |d_i| p_i is at most log K - log S). Deep sums: Higham and
Mary, SIAM J. Sci. Comput. 41(5), 2019.
The common offset m enters nowhere: an algorithm that subtracts x_t from a rounded lse is not stable.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reference.arithmetic import Arithmetic
from reference.evaluation import Expected
from reference.formats import Floats
from reference.grades import ACCURATE_ULPS
from reference.problem import Problem
from reference.quantity import BUILDING_BLOCKS, Quantity
from reference.weights import class_weights

_SLACK = 1.0 + 2.0**-30
"""Covers the rounding of this file's own float64 arithmetic: far below one part in 10^9, errors of fewer than 1000 u."""

PLAIN_ROUNDINGS = 2
"""Rounded products and stores from log_softmax to the gradient of class indices: the cotangent's product, the result."""

COMPOSITE_ROUNDINGS = 4
"""With probabilities, weights or smoothing: label times weight, times log-probability, times s/K, and their sum."""

SECOND_ORDER_ROUNDINGS = 6
"""A second pass through the same graph: two more products and two more stores than the first derivative's four."""


@dataclass(frozen=True, eq=False)
class _Rows:
    """The error analysis of log_softmax and softmax for all rows of a problem; masked classes have p = 0 and no error."""

    problem: Problem
    arithmetic: Arithmetic

    @cached_property
    def finite(self) -> np.ndarray:
        return np.isfinite(self.problem.logits)

    @cached_property
    def gaps(self) -> Floats:
        """|d_i|; 0 at masked classes."""
        x = np.where(self.finite, self.problem.logits, -np.inf)
        with np.errstate(invalid="ignore", over="ignore"):
            gap = (x.max(axis=1, keepdims=True) - x) / self.problem.temperature
        return np.where(self.finite, np.minimum(gap, np.finfo(np.float64).max), 0.0)

    @cached_property
    def powers(self) -> Floats:
        return np.where(self.finite, np.exp(-self.gaps), 0.0)

    @cached_property
    def total(self) -> Floats:
        """S, (N, 1); 1 in a row without a finite logit."""
        return np.maximum(self.powers.sum(axis=1, keepdims=True), 1.0)

    @cached_property
    def probabilities(self) -> Floats:
        return self.powers / self.total

    @cached_property
    def losses(self) -> Floats:
        """L_i >= 0."""
        return self.gaps + np.log(self.total)

    @cached_property
    def depth(self) -> int:
        return self.arithmetic.summation.depth(self.problem.num_classes)

    @cached_property
    def power_error(self) -> Floats:
        """eps_i."""
        u = self.arithmetic.working.unit_roundoff
        moved = self.gaps * (u if self.problem.temperature == 1.0 else 2 * u)
        with np.errstate(over="ignore"):
            error = np.expm1(moved) + 2 * self.arithmetic.exp_ulps * u * np.exp(moved)
        return np.where(self.gaps == 0, 0.0, error)

    @cached_property
    def sum_error(self) -> Floats:
        """eta, (N, 1)."""
        grown = _growth(self.arithmetic.working.unit_roundoff, self.depth)
        with np.errstate(invalid="ignore"):
            terms = np.where(self.probabilities > 0, self.probabilities * (self.power_error * (1 + grown) + grown), 0.0)
        lost = self.problem.num_classes * self.arithmetic.underflow / self.total
        error = terms.sum(axis=1, keepdims=True) + lost
        return error + self._sum_store * (1 + error)

    @property
    def _sum_store(self) -> float:
        return self.arithmetic.storage_roundoff if self.arithmetic.stores_sum else 0.0

    @cached_property
    def log_error(self) -> Floats:
        """D_i."""
        u, log_sum = self.arithmetic.working.unit_roundoff, np.log(self.total)
        with np.errstate(divide="ignore", invalid="ignore"):
            tau = np.where(self.sum_error < 1, -np.log1p(-np.minimum(self.sum_error, 1.0)), np.inf)
        tau = tau + 2 * self.arithmetic.log_ulps * u * (log_sum + tau)
        tau = tau + self._sum_store * (log_sum + tau)
        error = tau + (u if self.problem.temperature == 1.0 else 2 * u) * self.gaps
        # u L + u D, not u (L + D): the loss may be the largest number.
        error = error + u * self.losses + u * error
        stored = self.arithmetic.storage_roundoff
        return error + stored * self.losses + stored * error + self.arithmetic.storage_underflow

    @cached_property
    def probability_error(self) -> Floats:
        """dp_i, the larger of the two ways to a probability."""
        u, eta = self.arithmetic.working.unit_roundoff, self.sum_error
        alpha = 2 * self.arithmetic.exp_ulps * u
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            near = self.probabilities * (np.expm1(self.log_error) * (1 + alpha) + alpha)
            far = np.exp(self.log_error - self.losses) * (1 + alpha)
            quotient = self.probabilities * ((1 + self.power_error) * (1 + eta / np.maximum(1 - eta, 0)) * (1 + u) - 1)
        logarithmic = np.where(self.log_error < 1.0, near, far)
        error = np.fmax(logarithmic, np.where(self.probabilities > 0, quotient, 0.0))
        return np.where(self.finite, error + 2 * self.arithmetic.underflow + self.arithmetic.storage_underflow, 0.0)


def _growth(unit: float, roundings: int) -> float:
    """(1 + unit)^roundings - 1."""
    return float(np.expm1(roundings * np.log1p(unit)))


def _roundings(arithmetic: Arithmetic, stores: int, working: int) -> float:
    """Relative growth of `stores` roundings to storage and `working` roundings in the working format."""
    stored, computed = _growth(arithmetic.storage_roundoff, stores), _growth(arithmetic.working.unit_roundoff, working)
    return stored + computed + stored * computed


def _weights(problem: Problem) -> Floats:
    """(N, K): effective weights a_c; zero in ignored rows."""
    weights, classes = class_weights(problem), problem.num_classes
    if problem.has_probabilities:
        mass = problem.target
    else:
        counted = np.where(problem.ignored, 0, problem.target)
        mass = np.where(np.arange(classes) == counted[:, None], 1.0, 0.0)
    s = problem.label_smoothing
    return np.where(problem.ignored[:, None], 0.0, weights * ((1 - s) * mass + s / classes))


def _factors(problem: Problem) -> Floats:
    """(N, 1): |cotangent| over the mean's denominator (over infinity where that is 0: nothing is owed there)."""
    cotangent = np.ones(()) if problem.cotangent is None else np.abs(problem.cotangent)
    return np.broadcast_to(cotangent / _denominator(problem), (problem.num_rows,))[:, None]


def _denominator(problem: Problem) -> float:
    if problem.reduction != "mean":
        return 1.0
    if problem.has_probabilities:
        return float(problem.num_rows) or np.inf
    total = float(class_weights(problem)[problem.target[~problem.ignored]].sum())
    return total if total > 0 else np.inf


def _row_roundings(rows: _Rows, plain: int) -> float:
    """Relative growth on the way from log_softmax to a derivative or a loss of a row."""
    count = plain if rows.problem.is_plain else plain + COMPOSITE_ROUNDINGS - PLAIN_ROUNDINGS
    working = count if rows.problem.is_plain else count + rows.depth
    if rows.problem.reduction == "mean":
        working += 1 + rows.arithmetic.summation.depth(rows.problem.num_rows)
    return _roundings(rows.arithmetic, count, working)


def _loss(rows: _Rows) -> Floats:
    problem, arithmetic = rows.problem, rows.arithmetic
    weights = _weights(problem)
    counted = weights > 0
    error = np.where(counted, weights * rows.log_error, 0.0).sum(axis=1)
    size = np.where(counted, weights * rows.losses + weights * rows.log_error, 0.0).sum(axis=1)
    size = np.minimum(size, np.finfo(np.float64).max)  # a loss beyond float64 is infinite in every format
    if not problem.is_plain:
        error = error + size * _roundings(arithmetic, COMPOSITE_ROUNDINGS, COMPOSITE_ROUNDINGS + rows.depth)
        error = error + (COMPOSITE_ROUNDINGS + problem.num_classes) * arithmetic.storage_underflow
    if problem.reduction == "none":
        return error
    depth = arithmetic.summation.depth(problem.num_rows)
    # Divided before it is summed: a mean of large losses must not overflow here.
    share = 1.0 / _denominator(problem)
    total = (error * share).sum() + (size * share).sum() * _roundings(arithmetic, 1, 2 * depth + 2)
    return np.asarray(total + arithmetic.storage_underflow)


def _gradient(rows: _Rows) -> Floats:
    weights, factors = _weights(rows.problem), _factors(rows.problem) / rows.problem.temperature
    total = weights.sum(axis=1, keepdims=True)
    grown = _row_roundings(rows, PLAIN_ROUNDINGS)
    size = total * rows.probabilities + weights
    error = total * rows.probability_error * (1 + grown) + size * grown
    return factors * error + _floor(rows, factors * total)


def _hessian(rows: _Rows) -> Floats:
    scale = (_weights(rows.problem).sum(axis=1, keepdims=True) * _factors(rows.problem))[:, :, None]
    grown = _row_roundings(rows, SECOND_ORDER_ROUNDINGS)
    p, dp = rows.probabilities, rows.probability_error
    moved = p[:, :, None] * dp[:, None, :] + dp[:, :, None] * (p + dp)[:, None, :]
    pairs = moved * (1 + grown) + p[:, :, None] * p[:, None, :] * grown
    single = dp * (1 + grown) + p * grown
    pairs = pairs + single[:, :, None] * np.eye(rows.problem.num_classes)
    return scale / rows.problem.temperature**2 * pairs + 4 * _floor(rows, scale[:, :, 0])[:, :, None]


def _hvp(rows: _Rows) -> Floats:
    assert rows.problem.tangent is not None
    scale = _weights(rows.problem).sum(axis=1, keepdims=True) * _factors(rows.problem)
    grown = _row_roundings(rows, SECOND_ORDER_ROUNDINGS)
    p, dp, v = rows.probabilities, rows.probability_error, np.abs(rows.problem.tangent)
    mean, moved = (p * v).sum(axis=1, keepdims=True), (dp * v).sum(axis=1, keepdims=True)
    error = (dp * (v + mean + moved) + p * moved) * (1 + grown) + p * (v + mean) * grown
    floor = 4 * _floor(rows, scale) * (1 + v + v.sum(axis=1, keepdims=True))
    return scale / rows.problem.temperature**2 * error + floor


def _floor(rows: _Rows, scale: Floats) -> Floats:
    """What underflow alone costs a derivative: one store of the result and one of a factor."""
    return rows.arithmetic.storage_underflow * (1 + scale)


def _logsumexp(rows: _Rows) -> Floats:
    """Lse = m + log S, rounded once: the offset enters only through the rounding of the result itself."""
    problem, u = rows.problem, rows.arithmetic.working.unit_roundoff
    top = np.where(rows.finite, problem.logits, -np.inf).max(axis=1, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0.0) / problem.temperature
    size = np.abs(top + np.log(rows.total[:, 0]))
    tau = rows.log_error.min(axis=1)
    stored = rows.arithmetic.storage_roundoff
    return (tau + (u + stored) * (size + tau)) * (1 + u) + rows.arithmetic.storage_underflow


_STABLE = {
    Quantity.LOSS: _loss,
    Quantity.GRADIENT: _gradient,
    Quantity.HESSIAN: _hessian,
    Quantity.HVP: _hvp,
    Quantity.LOG_SOFTMAX: lambda rows: rows.log_error,
    Quantity.SOFTMAX: lambda rows: rows.probability_error,
    Quantity.LOGSUMEXP: _logsumexp,
}


def stable_bound(problem: Problem, quantity: Quantity, arithmetic: Arithmetic) -> Floats:
    """Largest absolute error that `stable` allows each entry; meaningless (not NaN) where the value is not finite."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        bound = _STABLE[quantity](_Rows(problem, arithmetic)) * _SLACK
    return np.where(np.isnan(bound), np.inf, bound)


def accurate_bound(problem: Problem, quantity: Quantity, arithmetic: Arithmetic, expected: Expected) -> Floats:
    """Largest absolute error that `accurate` allows: ACCURATE_ULPS ulps of the scale, plus K underflowing powers.

    Each of the K powers may lose omega to underflow; they enter with weight at most A |f| (loss, gradient, Hessian), and
    the tangent's size in a product. Under flush-to-zero a subnormal result may be lost as well.
    """
    amplitude = np.ones((problem.num_rows, 1))
    if quantity not in BUILDING_BLOCKS:
        factors = 1.0 / _denominator(problem) if quantity is Quantity.LOSS else _factors(problem)
        amplitude = _weights(problem).sum(axis=1, keepdims=True) * factors
    if quantity is Quantity.HVP and problem.tangent is not None:
        amplitude = amplitude * (1 + np.abs(problem.tangent).max(axis=1, keepdims=True, initial=0.0))
    lost = problem.num_classes * arithmetic.underflow * amplitude
    if expected.values.shape == ():
        lost = lost.sum()
    else:
        lost = lost.reshape((problem.num_rows,) + (1,) * (len(expected.values.shape) - 1))
    result = arithmetic.storage.min_normal if arithmetic.flush_to_zero else 0.0
    with np.errstate(over="ignore"):
        return ACCURATE_ULPS * problem.format.ulp(expected.scale) + lost + result
