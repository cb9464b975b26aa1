"""Honest rtol and atol for a user's own test: what a grade promises, as |observed - expected| <= atol + rtol |expected|.

The bounds of `stable` (row_errors.py, entrywise.py) are evaluated from the gaps of a row; here is their supremum over all
rows of a domain: at most K classes, gaps d_i = max x - x_i of at most G between finite logits (-inf is free), class
weights of at most 1 in all, no temperature, softcap or z-loss, a cotangent of at most 1. Symbols as in row_errors.py. What
replaces a sum over the row, with c = expm1(u G)/G the slope of the chord of expm1(u d) on [0, G]:

    sum p_i expm1(u d_i) <= c min(G, log K)     its weights p_i: sum p_i d_i <= log K - log S
    S <= K,  d_i <= L_i
    D_i <= A + B L_i                            affine, since every step of D_i is
    p_i D_i <= A + B/e,  sum p_i D_i <= A + B log K     p log(1/p) <= 1/e, and the entropy is at most log K

Relative errors are kept relative where the value has nothing to cancel (loss, log_softmax, softmax, logsumexp). The
gradient, Hessian and product have entries near 0 beside terms of size 1, so `stable` bounds their error absolutely.
`componentwise` is in relative.py. `accurate` is ACCURATE_ULPS ulps of the scale of an entry and what underflow costs
(entrywise.py), `faithful` one ulp, `correct` half of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from reference.arithmetic import Arithmetic
from reference.bounds.domain import Domain, OverDomain
from reference.bounds.entrywise import (
    COMPOSITE_ROUNDINGS,
    PLAIN_ROUNDINGS,
    SECOND_ORDER_ROUNDINGS,
    SMOOTHED_ROUNDINGS,
)
from reference.bounds.relative import LargestRelative
from reference.bounds.running import growth, growth_of, inverse_error
from reference.floating_state import in_default_state
from reference.grades import ACCURATE_ULPS, FAITHFUL_ULPS, Grade, grade_named
from reference.quantity import BLOCK_PRODUCTS, OF_SOME_PROBLEMS, Quantity, quantity_named
from reference.reduction import Reduction

COMPARING = 8
"""Units of roundoff by which a comparison that is itself computed in the format may be off, relative to what is allowed."""

WITHOUT_TOLERANCE = (*OF_SOME_PROBLEMS, *BLOCK_PRODUCTS, Quantity.ENTROPY)
"""Quantities whose errors are bounded entry by entry alone, by `reference.bounds.entrywise`."""

DIGITS = 2
"""Significant digits of a tolerance; it is rounded up."""

_COMPOSITE = COMPOSITE_ROUNDINGS + SMOOTHED_ROUNDINGS
"""Roundings with whatever labels, weights and smoothing a domain allows."""

_SLACK = 1.0 + 2.0**-29
"""Covers the rounding of this file's own float64 arithmetic, and that of entrywise.py."""


class Tolerance(NamedTuple):
    """What |observed - expected| <= atol + rtol |expected| allows; the order of numpy.testing.assert_allclose."""

    rtol: float
    atol: float

    @in_default_state
    def allows(self, observed: float, expected: float) -> bool:
        """True if the observed number passes."""
        return abs(observed - expected) <= self.atol + self.rtol * abs(expected)


@in_default_state
def tolerance(
    quantity: Quantity | str, grade: Grade | str, arithmetic: Arithmetic, domain: Domain, share: float = 1.0
) -> Tolerance:
    """Smallest rtol and atol, to two digits, that no answer of a grade misses on a domain.

    Arguments:
      quantity: of softmax cross-entropy, or one of its building blocks; or its name.
      grade: what the operation promises, `stable` or more; or its name.
      arithmetic: what it declares; `storage` is the format of the result. `Arithmetic("float32", "float32")` is that of
        a kernel that computes in float32 with faithful functions and pairwise sums.
      domain: the inputs.
      share: the part of the bound that an operation was seen to use, where that is what the tolerance is to be of.

    The expected value may be exact or rounded to the format once, and the comparison may be computed in the format: both are
    allowed for. Where no entry is relative to its value, rtol is what those two cost. It holds for numbers: NaN, infinities
    and a value that overflows are for the grade alone.

    Raises:
      ValueError: a name is not known, the grade bounds no error, the quantity is one of `WITHOUT_TOLERANCE`, or the arithmetic
        is too coarse for the domain: a bound of 100% of the sum.

    >>> float32, domain = Arithmetic("float32", "float32"), Domain(classes=1000, gap=20.0)
    >>> tolerance("loss", "stable", float32, domain)
    Tolerance(rtol=5.4e-07, atol=2e-06)
    >>> tolerance(Quantity.LOSS, Grade.ACCURATE, float32, domain)
    Tolerance(rtol=5.4e-07, atol=7.1e-43)
    """
    quantity, grade = quantity_named(quantity), grade_named(grade)
    if grade < Grade.STABLE:
        raise ValueError(f"grade is {grade.label!r}, which bounds no error; allowed: stable and more")
    if quantity in WITHOUT_TOLERANCE:
        having = ", ".join(q for q in Quantity if q not in WITHOUT_TOLERANCE)
        raise ValueError(f"quantity is {str(quantity)!r}; allowed: {having}")
    fmt = arithmetic.storage
    if grade >= Grade.FAITHFUL:
        ulps = FAITHFUL_ULPS if grade is Grade.FAITHFUL else 0.5
        return _for_users(Tolerance(2 * ulps * fmt.unit_roundoff, ulps * fmt.min_subnormal), arithmetic, share)
    allowed = _accurate(quantity, arithmetic, domain)
    if grade is Grade.COMPONENTWISE:
        allowed = _componentwise(quantity, arithmetic, domain, allowed)
    if grade is Grade.STABLE:
        largest = max(1.0, 2 * domain.tangent if quantity is Quantity.HVP else 0.0)
        allowed = _larger(_Supremum(arithmetic, domain).of(quantity), allowed, largest)
    return _for_users(allowed, arithmetic, share)


def _for_users(bound: Tolerance, arithmetic: Arithmetic, share: float) -> Tolerance:
    """With the rounding of the expected value and of the comparison, rounded up."""
    u, floor = arithmetic.storage.unit_roundoff, arithmetic.storage.min_subnormal
    compared = 1 + COMPARING * u
    rtol, atol = (share * bound.rtol + u) / (1 - u), share * bound.atol + floor
    return Tolerance(_rounded_up(rtol * compared), _rounded_up(atol * compared))


def _larger(bound: Tolerance, other: Tolerance, largest: float) -> Tolerance:
    """One that allows all that either allows; where the bound is absolute, of values of at most `largest`, so is it."""
    if bound.rtol == 0:
        return Tolerance(0.0, max(bound.atol, other.rtol * largest + other.atol))
    return Tolerance(max(bound.rtol, other.rtol), max(bound.atol, other.atol))


def _rounded_up(value: float) -> float:
    """To `DIGITS` significant digits, never down."""
    if value == 0 or not math.isfinite(value):
        return value
    digits = DIGITS - 1 - math.floor(math.log10(value))
    nearest = float(f"{value:.{DIGITS - 1}e}")
    return nearest if nearest >= value else float(f"{nearest + 10.0**-digits:.{DIGITS - 1}e}")


def _componentwise(quantity: Quantity, arithmetic: Arithmetic, domain: Domain, accurate: Tolerance) -> Tolerance:
    """As `_accurate`, with the relative error of relative.py in the place of ACCURATE_ULPS; never below it."""
    found = LargestRelative(arithmetic, domain)
    relative = found.of(quantity) * _SLACK
    return Tolerance(
        max(relative, accurate.rtol), max(relative * _beyond(quantity, domain) + found.lost(quantity), accurate.atol)
    )


def _beyond(quantity: Quantity, domain: Domain) -> float:
    """By how much the terms of an entry may be larger than itself: where they cancel, by 2, 2 V (a product) or 2 log K."""
    if quantity is Quantity.GRADIENT and not domain.plain:
        return 2.0
    return {Quantity.HVP: 2 * domain.tangent, Quantity.LOGSUMEXP: 2 * math.log(domain.classes)}.get(quantity, 0.0)


def _accurate(quantity: Quantity, arithmetic: Arithmetic, domain: Domain) -> Tolerance:
    """ACCURATE_ULPS ulps of the scale, K powers lost to underflow, and a flushed result; see `bounds.accurate_bound`."""
    fmt = arithmetic.storage
    relative = 2 * ACCURATE_ULPS * fmt.unit_roundoff
    summed = domain.rows if quantity is Quantity.LOSS and domain.reduction is Reduction.SUM else 1
    amplitude = summed * (1 + domain.tangent if quantity is Quantity.HVP else 1)
    flushed = fmt.min_normal if arithmetic.flush_to_zero else 0.0
    lost = domain.classes * arithmetic.rounding_underflow * amplitude
    return Tolerance(relative, relative * _beyond(quantity, domain) + ACCURATE_ULPS * fmt.min_subnormal + lost + flushed)


@dataclass(frozen=True)
class _Supremum(OverDomain):
    """The bounds of `stable` over a domain; names as in row_errors.py."""

    def of(self, quantity: Quantity) -> Tolerance:
        """The bound of a quantity."""
        bounds = {
            Quantity.LOSS: self._loss,
            Quantity.GRADIENT: self._gradient,
            Quantity.HESSIAN: self._hessian,
            Quantity.HESSIAN_DIAGONAL: self._hessian,
            Quantity.HVP: self._product,
            Quantity.LOG_SOFTMAX: lambda: self._logarithm,
            Quantity.SOFTMAX: self._softmax,
            Quantity.LOGSUMEXP: self._logsumexp,
        }
        rtol, atol = bounds[quantity]()
        if self.declared.stores_once:
            stored = self.declared.storage_roundoff
            rtol, atol = rtol + stored * (1 + rtol), atol * (1 + stored) + self.declared.storage_underflow
        return Tolerance(rtol * _SLACK, atol * _SLACK)

    @cached_property
    def _log_classes(self) -> float:
        return math.log(self.domain.classes)

    @cached_property
    def _sum_store(self) -> float:
        return self.arithmetic.storage_roundoff if self.arithmetic.stores_sum else 0.0

    @cached_property
    def _chord(self) -> float:
        """c = expm1(u G) / G, the slope of the chord."""
        reach = self._exponent_unit * self.domain.gap
        if reach > 1:
            raise ValueError(f"gap is {self.domain.gap:g}, more than 1/u: a rounded gap may be off by more than 1")
        return math.expm1(reach) / self.domain.gap if reach else self._exponent_unit

    @cached_property
    def _sum_error(self) -> float:
        """The largest eta, the relative error of S."""
        rescaled, classes = self._rescalings, self.domain.classes
        moved = self._chord * min(self.domain.gap, self._log_classes)
        grown = self._sum_growth
        powers = moved + self._stretched(rescaled) * (1 + moved)
        lost = classes * self.arithmetic.underflow * (1 + grown)
        if rescaled:
            lost *= 3 * math.exp(rescaled * (self._alpha + self._u))
        eta = powers * (1 + grown) + grown + lost
        eta += self._sum_store * (1 + eta)
        # As in row_errors.py: from 100% on the sum may be 0.
        if eta >= 1:
            raise ValueError(f"a sum of {self.domain.classes} classes may be off by 100%: nothing is bounded")
        return eta

    @cached_property
    def _logarithm(self) -> Tolerance:
        """B (relative) and A (absolute) of D_i <= A + B L_i, the error of log_softmax."""
        (rtol, atol), stored = self._unstored_logarithm, self.arithmetic.storage_roundoff
        return Tolerance(rtol * (1 + stored) + stored, atol * (1 + stored) + self.arithmetic.storage_underflow)

    @cached_property
    def _unstored_logarithm(self) -> Tolerance:
        """B and A of log_softmax before it is stored."""
        tau, lambda_ = -math.log1p(-self._sum_error), 2 * self.arithmetic.log_ulps * self._u
        tau += (lambda_ + (1 + lambda_) * self._scaled) * (self._log_classes + tau)
        tau += self._sum_store * (self._log_classes + tau)
        return Tolerance(self._u * (1 + self._u) + self._u, tau * (1 + self._u))

    def _probability_error(self, loss: float, gap: float) -> float:
        """The largest sum of dp_i = p_i (dp_i / p_i), underflow apart, of some classes of a row.

        `loss` and `gap` bound the sum of p_i L_i and of p_i d_i: by 1/e for one class, by log K for a row. With the largest
        L_i and d_i instead, it is dp_i / p_i of any class.
        """
        # A divisor that is off by eta moves the quotient by eta / (1 - eta), more than eta.
        powers, eta = 1 + self._stretched(min(self._rescalings, 1)), self._sum_error
        inverted = inverse_error(self.arithmetic, self.domain.classes * (1 + eta))
        factor = powers * (1 + eta / (1 - eta)) * (1 + self._u) * (1 + inverted)
        quotient = factor - 1 + factor * self._chord * gap
        entering = self._logarithm if self.arithmetic.stores_log_probability else self._unstored_logarithm
        rtol, atol = (part * (1 + self._scaled) for part in entering)
        rtol, atol = rtol + self._scaled, atol + (self.arithmetic.rounding_underflow if self.arithmetic.base_2 else 0.0)
        largest = atol + rtol * (self.domain.gap + self._log_classes)
        if largest >= 1:
            return max(quotient, math.exp(min(largest, 700.0)) * (1 + self._alpha))
        # expm1 is convex: its chord on [0, largest] bounds it, so that the affine bound of D_i can be summed.
        logarithmic = math.expm1(largest) / largest * (atol + rtol * loss) * (1 + self._alpha) + self._alpha
        return max(quotient, logarithmic)

    @property
    def _underflow(self) -> float:
        return (2 + 2 * min(self._rescalings, 1)) * self.arithmetic.underflow + self.arithmetic.storage_underflow

    def _growth(self, plain: int) -> float:
        """Relative growth from log_softmax to a derivative; `entrywise._row_roundings` of the domain."""
        count = plain if self.domain.plain else plain + _COMPOSITE - PLAIN_ROUNDINGS
        working = count if self.domain.plain else count + self._depth
        if self.domain.reduction is Reduction.MEAN:
            count, working = count + 1, working + 2 + self.arithmetic.summation.depth(self.domain.rows)
        grown = growth_of(self.arithmetic, count, working)
        return grown + (1 + grown) * self._mean_inverse

    def _loss(self) -> Tolerance:
        (rtol, atol), floor = self._logarithm, self.arithmetic.storage_underflow
        if not self.domain.plain:
            grown = growth_of(self.arithmetic, _COMPOSITE, _COMPOSITE + self._depth)
            rtol, atol = rtol + (1 + rtol) * grown, atol * (1 + grown) + (COMPOSITE_ROUNDINGS + self.domain.classes) * floor
        if self.domain.reduction is Reduction.NONE:
            return Tolerance(rtol, atol)
        grown = growth_of(self.arithmetic, 1, 2 * self.arithmetic.summation.depth(self.domain.rows) + 2)
        grown += (1 + grown) * self._mean_inverse
        rows = self.domain.rows if self.domain.reduction is Reduction.SUM else 1
        return Tolerance(rtol + (1 + rtol) * grown, rows * atol * (1 + grown) + floor)

    def _entry_error(self) -> float:
        """The largest dp_i: the absolute error of one probability, underflow included."""
        return self._probability_error(1 / math.e, 1 / math.e) + self._underflow

    def _gradient(self) -> Tolerance:
        grown = self._growth(PLAIN_ROUNDINGS)
        return self._shared(self._entry_error() * (1 + grown) + 2 * grown)

    def _hessian(self) -> Tolerance:
        grown, dp = self._growth(SECOND_ORDER_ROUNDINGS), self._entry_error()
        return self._shared((3 + dp) * dp * (1 + grown) + 2 * grown)

    def _product(self) -> Tolerance:
        grown, dp, classes, v = (
            self._growth(SECOND_ORDER_ROUNDINGS),
            self._entry_error(),
            self.domain.classes,
            self.domain.tangent,
        )
        row = self._probability_error(self._log_classes, min(self.domain.gap, self._log_classes)) + classes * self._underflow
        row += (1 + row) * growth(self._u, self._depth)  # <p, v> is a sum over the classes of its own
        return self._shared(v * ((dp * (2 + row) + row) * (1 + grown) + 2 * grown), 1 + v + classes * v)

    def _shared(self, error: float, stores: float = 1.0) -> Tolerance:
        """Of a derivative: its share of a mean, and underflowing stores."""
        share = 1 / self.domain.rows if self.domain.reduction is Reduction.MEAN else 1.0
        return Tolerance(0.0, share * error + 8 * self.arithmetic.storage_underflow * stores)

    def _softmax(self) -> Tolerance:
        relative = self._probability_error(self.domain.gap + self._log_classes, self.domain.gap)
        stored = 1 + self.arithmetic.storage_roundoff
        return Tolerance(relative * stored + stored - 1, self._underflow * stored + self.arithmetic.storage_underflow)

    def _logsumexp(self) -> Tolerance:
        (rtol, atol), rounded = self._logarithm, self._u + self.arithmetic.storage_roundoff
        tau = atol + rtol * self._log_classes
        return Tolerance(rounded * (1 + self._u), tau * (1 + rounded) * (1 + self._u) + self.arithmetic.storage_underflow)
