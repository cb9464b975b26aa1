"""The `stable` bound for two or three logits, compiled: a function of the gaps, the target and the entry.

The formulas are those of `reference.bounds` (row_errors.py, entrywise.py), written out for a class index and no option. Symbols
are as there, index 0 is the largest logit. tests/test_sweep_judge.py holds the two to each other.
"""

from __future__ import annotations

from math import exp, expm1, inf, isnan, log1p
from typing import NamedTuple

from reference.bounds.entrywise import SLACK
from reference.fast.compiled import compiled, inlined
from suites.sweep.compiled.constants import Declared

LOSS, GRADIENT, HESSIAN = 0, 1, 2
"""Quantities, as compiled code numbers them."""


class Below(NamedTuple):
    """A row: how far the other logits lie below the largest; `far` is infinite where there are but two."""

    gap: float
    far: float


class Entry(NamedTuple):
    """One entry: how far its class lies below the largest logit, and that of its column in the Hessian.

    The class of a loss is the target. `at` is True for the gradient's entry at the target and for the Hessian's diagonal.
    """

    own: float
    other: float
    at: bool


class _Class(NamedTuple):
    """One class of the row: its probability and its loss, the error of its log-probability, and that of its probability."""

    probability: float
    loss: float
    log_error: float
    probability_error: float


@inlined
def _exponent_error(error: float, size: float, c: Declared) -> float:
    """In base 2 an exponent is multiplied by a rounded log2 e."""
    return error + c.scaled * size + c.scaled * error


@compiled
def power_error(gap: float, rescaled: int, c: Declared) -> float:
    """eps of a class that lies `gap` below the largest logit; it meets so many rescalings, or as many as there are."""
    if gap == 0.0:
        return 0.0
    moved = _exponent_error(c.unit * gap, gap, c) + (1 + min(rescaled, c.rescalings)) * c.lost_exponent
    stretched = c.rescaled_twice if rescaled > 1 else c.rescaled_once
    return expm1(moved) + stretched * exp(moved)


@compiled
def _moved(gap: float, row: Below, total: float, c: Declared) -> float:
    """A term of eta; all classes above rescale it."""
    power, rescaled = exp(-gap), 2 if gap > row.gap else 1
    return power / total * (power_error(gap, rescaled, c) * (1 + c.grown) + c.grown) if power > 0.0 else 0.0


@compiled
def _class_errors(row: Below, own: float, c: Declared) -> _Class:
    """Of the class that lies `own` below the largest logit."""
    others = exp(-row.gap) + exp(-row.far)
    total = 1.0 + others
    eta = c.grown / total + _moved(row.gap, row, total, c) + _moved(row.far, row, total, c) + c.omega_sum / total
    eta += c.sum_stored * (1 + eta)
    log_sum = log1p(others)
    tau = -log1p(-eta) if eta < 1 else inf
    tau += c.lambda_ * (log_sum + tau)
    tau += c.sum_stored * (log_sum + tau)
    loss = own + log_sum
    error = tau + c.unit * own
    error += c.unit * loss + c.unit * error
    entering = error + (c.log_stored * loss + c.log_stored * error + c.log_underflow)
    error += c.stored * loss + c.stored * error + c.storage_underflow
    probability = exp(-own) / total
    divided = (1 + c.unit) * (1 + c.inverse + c.lost_inverse * (total * (1 + eta)))
    quotient = probability * ((1 + power_error(own, 1, c)) * (1 + eta / max(1 - eta, 0.0)) * divided - 1)
    exponent = _exponent_error(entering, loss, c) + c.lost_exponent
    near = probability * (expm1(exponent) * (1 + c.alpha) + c.alpha)
    logarithmic = near if exponent < 1.0 else exp(exponent - loss) * (1 + c.alpha)
    larger = max(logarithmic, quotient) if probability > 0.0 else logarithmic
    lost = 2 * c.omega + (c.omega_rescaled if own > 0.0 else 0.0)
    return _Class(probability, loss, error, larger + lost + c.storage_underflow)


@compiled
def _stored_once(value: float, bound: float, c: Declared) -> float:
    """With the one store of a result; the bound as it is where every step was stored."""
    if not c.stores_once:
        return bound
    stored = c.last_store * (value + bound) if c.last_store > 0.0 else 0.0  # 0 times infinity would be no bound
    return (bound + stored + c.last_underflow) * SLACK


@inlined
def least_bound(quantity: int, probability: float, entry: Entry, c: Declared) -> float:
    """A number that `gap_bound` is never below, for a hundredth of its cost.

    Every term of the analysis is nonnegative, so D >= tau + (u + u_o) own and tau >= eta >= the store of the sum;
    dp >= p (exp(D) - 1) >= p D. 1 - 2^-30 covers the rounding of both, and that of the probability.
    """
    if quantity == LOSS:
        bound = c.sum_stored + (c.unit + c.stored) * entry.own
    elif quantity == GRADIENT:
        bound = probability * c.sum_stored + (probability + (1.0 if entry.at else 0.0)) * c.first_order
    else:
        bound = probability * (c.sum_stored + c.second_order) if entry.at else 0.0
    return bound * (1.0 - 2.0**-30)


@compiled
def gap_bound(quantity: int, row: Below, entry: Entry, c: Declared) -> float:
    """Largest absolute error that `stable` allows an entry."""
    at, one = entry.at, _class_errors(row, entry.own, c)
    if quantity == LOSS:
        bound, value = one.log_error, one.loss
    elif quantity == GRADIENT:
        size = one.probability + (1.0 if at else 0.0)
        bound = one.probability_error * (1 + c.first_order) + size * c.first_order + 2 * c.storage_underflow
        value = abs(one.probability - (1.0 if at else 0.0))
    else:
        other = one if at else _class_errors(row, entry.other, c)
        p, dp, q, dq = one.probability, one.probability_error, other.probability, other.probability_error
        bound = (p * dq + dp * (q + dq)) * (1 + c.second_order) + p * q * c.second_order
        bound += dp * (1 + c.second_order) + p * c.second_order if at else 0.0
        bound += 8 * c.storage_underflow
        value = p * abs((1.0 if at else 0.0) - q)
    bound = _stored_once(value, bound * SLACK, c)
    return inf if isnan(bound) else bound
