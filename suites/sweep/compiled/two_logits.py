"""What is expected to a row of two logits, compiled and certified: loss, gradient and Hessian as functions of the gap alone.

With d = |x_0 - x_1|, e = exp(-d), at the larger logit ("top") and at the other:

    loss      top: log1p(e)        other: d + log1p(e)
    gradient  top: -+e/(1 + e)     other: -+1/(1 + e)          (minus at the target)
    Hessian   +-e/(1 + e)^2                                    (plus on the diagonal)

Errors, in units of u = 2^-53. TwoSum gives d + r exactly; exp(-(d + r)) = exp(-d)(1 - r + r^2/2 - ...) and |r| <= u d with
d <= 650 where exp(-d) is computed, so the product with 1 - r leaves r^2 < u/2^33 and 2 roundings.

    e         EXP_ERROR + 2.01                                   = 4.01
    log1p(e)  LOG1P_ERROR, and that of e times its condition e/((1 + e) log1p(e)) <= 1          < 10.1
    e/(1+e)   that of e times 1/(1 + e) <= 1, a sum, a quotient                                 < 6.1
    1/(1+e)   that of e times e/(1 + e) <= 1/2, a sum, a quotient                               < 4.1
    e/(1+e)^2 that of e times |1 - e|/(1 + e) <= 1, two sums in a product, a product, a quotient  < 8.1

ERROR = 16 u covers each and the terms of order u^2. Three places need more than a radius, since frameworks return round
numbers there and a rounding or a binade turns on the sign of a tail that float64 does not hold (`lo`; its sign is proved):

    loss, other  d + (r + log1p(e)), the bracket positive where r = 0; where r and log1p(e) have opposite signs and the sum is
                 within its own error of 0 the sign is not known: no tail, and the radius says so.
    d < 2^-14    e/(1+e) = 1/2 - d/4 + d^3/48 - d^5/480 + ..., 1/(1+e) = 1 - that, e/(1+e)^2 = 1/4 - d^2/16 + d^4/96 - ...
                 Where 1/2 -+ d/4 is a float64, which may be a midpoint, the tail is d^3/48 -+ r/4, within 2^-28 of its terms;
                 else it is d/4, within d^2/12 of itself. That of the Hessian is d^2/16, within d^2/6 of itself. From 2^-14
                 on, ERROR is less than d^3/48 > 2^-48, so a midpoint 1/2 -+ d/4 is told from the value.
    e < 2^-20    1/(1+e) = 1 - e/(1+e).

Beyond the reach of exp_minus e is taken as 0; it lies in (0, 2^-937): the tail is positive, and a radius of that size is far
below an ulp of every format up to float32. At d = 0 all but the losses are exact. float64 results need more digits than
this has: they are judged by the exact tier.
"""

from __future__ import annotations

from typing import NamedTuple

from reference.fast.compiled import inlined
from reference.fast.elementary import EXP_ERROR, LOG1P_ERROR, UNIT, exp_minus, log1p_unit
from suites.sweep.compiled.entry import ExpectedEntry

ERROR = 16 * UNIT
"""Relative error of every value of this file at most, or of its tail."""

assert EXP_ERROR + LOG1P_ERROR <= 8 * UNIT

_NEAR = 2.0**-14
ONE = 2.0**-20
"""Below this, what is lacking to 1 is a tail."""

VANISHED = 2.0**-937
"""More than any power that `exp_minus` does not reach."""


class Gap(NamedTuple):
    """The gap d + r of a row, e = exp(-(d + r)) and log1p(e)."""

    gap: float
    rest: float
    power: float
    log: float


@inlined
def gap_of(x0: float, x1: float) -> Gap:
    """Of finite logits whose difference does not overflow float64."""
    top, other = max(x0, x1), min(x0, x1)
    gap = top - other
    virtual = gap - top
    rest = (top - (gap - virtual)) - (other + virtual)
    power = exp_minus(gap) * (1.0 - rest)
    return Gap(gap, rest, power, log1p_unit(power))


@inlined
def expected_loss(g: Gap, at_top: bool) -> ExpectedEntry:
    """The loss of a target at the larger logit, or at the other."""
    tail = g.rest + g.log
    error = ERROR * (g.log + abs(tail))
    sign_known = abs(tail) > error
    lo = (tail if sign_known else 0.0) if g.power > 0.0 else (g.rest if g.rest != 0.0 else VANISHED)
    radius = (error if sign_known else 2 * error) if g.power > 0.0 else VANISHED
    top = ExpectedEntry(g.log, 0.0 if g.power > 0.0 else VANISHED, ERROR * g.log if g.power > 0.0 else VANISHED)
    return ExpectedEntry(top.hi if at_top else g.gap, top.lo if at_top else lo, top.radius if at_top else radius)


@inlined
def _near_half(g: Gap, side: float) -> ExpectedEntry:
    """1/2 + side (d + r)/4 - side d^3/48: the two probabilities of a gap below _NEAR."""
    quarter, cube = 0.25 * g.gap, g.gap * g.gap * g.gap * (1.0 / 48.0)
    hi = 0.5 + side * quarter
    splits = ((hi - 0.5) == side * quarter) & (g.gap > 0.0)
    tail = side * (0.25 * g.rest - cube)
    error = 2.0**-28 * (cube + abs(g.rest))
    known = abs(tail) > error
    fine = ExpectedEntry(hi, tail if known else 0.0, error if known else 2 * error)
    coarse = ExpectedEntry(0.5, side * quarter, ERROR * quarter + quarter * g.gap * g.gap)
    return ExpectedEntry(
        fine.hi if splits else coarse.hi, fine.lo if splits else coarse.lo, fine.radius if splits else coarse.radius
    )


@inlined
def expected_small(g: Gap) -> ExpectedEntry:
    """e/(1+e): the size of the gradient's entries where the target is the larger logit."""
    is_near, near = g.gap < _NEAR, _near_half(g, -1.0)
    value = g.power / (1.0 + g.power)
    radius = ERROR * value if g.power > 0.0 else VANISHED
    lo = 0.0 if g.power > 0.0 else VANISHED
    return ExpectedEntry(near.hi if is_near else value, near.lo if is_near else lo, near.radius if is_near else radius)


@inlined
def expected_large(g: Gap) -> ExpectedEntry:
    """1/(1+e): the size of the gradient's entries where the target is the other logit."""
    is_near, is_one, near = g.gap < _NEAR, g.power < ONE, _near_half(g, 1.0)
    value = 1.0 / (1.0 + g.power)
    rest = g.power * value if g.power > 0.0 else VANISHED
    radius = ERROR * (rest if is_one else value) if g.power > 0.0 else VANISHED
    hi, lo = 1.0 if is_one else value, -rest if is_one else 0.0
    return ExpectedEntry(near.hi if is_near else hi, near.lo if is_near else lo, near.radius if is_near else radius)


@inlined
def expected_curvature(g: Gap) -> ExpectedEntry:
    """e/(1+e)^2: the size of the Hessian's entries."""
    is_near, tail = g.gap < _NEAR, 0.0625 * g.gap * g.gap
    whole = 1.0 + g.power
    value = g.power / (whole * whole)
    lo = -tail if is_near else (0.0 if g.power > 0.0 else VANISHED)
    radius = ERROR * tail + tail * g.gap * g.gap if is_near else (ERROR * value if g.power > 0.0 else VANISHED)
    return ExpectedEntry(0.25 if is_near else value, lo, radius)
