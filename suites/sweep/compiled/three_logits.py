"""What is expected to a row of three logits, compiled and certified: loss, gradient and Hessian as functions of its two gaps.

With d_1 <= d_2 the distances of the others from the largest logit ("top"), e_i = exp(-d_i), e_0 = 1 and S = 1 + e_1 + e_2:

    loss      d_t + log1p(e_1 + e_2)
    gradient  e_c/S; at the target minus the sum of the other two over S
    Hessian   e_c (S - e_c)/S^2 on the diagonal, minus e_i e_j/S^2 off it

Errors, in units of u = 2^-53, with e_i within 4.01 (`two_logits`): a sum of two powers within 5.02, of 1 and a power
within 3.1, so a share a/(a + b) within 9.2 (its condition in a and in -b is b/(a + b) <= 1; a sum, a quotient), log1p of
a sum within 11.1, a product of two over S^2 within 8.1 + 2 * 5.1 + 4. ERROR = 16 u covers the first two, TWICE = 32 u
the third.

Where frameworks return round numbers the sign of a tail is needed beside a radius (ExpectedEntry.lo; its sign is proved):

    loss      that of two logits, for its tail rest + log1p(e) takes log1p of any sum of powers.
    near 1    1 - b/(a + b), b/(a + b) < 2^-20.
    near 1/2  a/(a + b) = 1/2 + (a - b)/(2 S), with a - b = 1 - e_1 - e_2 at the top and -(1 - e_1 + e_2) at the next; the third
              is 1/3 at most. 1 - e_1 is d_1 - d_1^2/2 + d_1^3/6 below 2^-14, within 2^-44 of itself; else within 8 u.
    near 1/4  q (1 - q) = 1/4 - (q - 1/2)^2;  e_1/S^2 = 1/4 - (q_2 (2 - q_2) + ((1 - e_1)/S)^2)/4, q_2 = e_2/S.

1/3 and 2/9 are no round numbers. A power beyond the reach of exp_minus is taken as 0 and lies in (0, 2^-937.7): whatever
is below 2^-937 is a positive tail of 0, as two such powers are in (0, 2^-936), and every radius has 2^-937 more.
"""

from __future__ import annotations

from typing import NamedTuple

from reference.fast.compiled import inlined
from reference.fast.elementary import UNIT, log1p_unit
from suites.sweep.compiled.entry import ExpectedEntry
from suites.sweep.compiled.two_logits import ERROR, ONE, VANISHED, Gap, expected_loss, gap_of

TWICE = 2 * ERROR
"""Relative error of the Hessian's entries at most, or of their tails."""

_NEAR = 2.0**-14
_ROUND = 2.0**-13
_TAIL = 2.0**-20


class Three(NamedTuple):
    """The gaps d_1 + rest and d_2 + far_rest of a row, the powers of the two, and log1p of their sum."""

    gap: float
    far: float
    rest: float
    far_rest: float
    power: float
    far_power: float
    log: float


class Split(NamedTuple):
    """The power of a class, the sum of the two others, and how far the class is ahead of that sum, with its error.

    `ahead` is -1 at the last class, which is behind by 1 at least.
    """

    part: float
    other: float
    ahead: float
    error: float


@inlined
def three_of(x0: float, x1: float, x2: float) -> Three:
    """Of finite logits whose differences do not overflow float64."""
    larger, smaller = max(x0, x1), min(x0, x1)
    top, low, middle = max(larger, x2), min(smaller, x2), max(smaller, min(larger, x2))
    near, far = gap_of(top, middle), gap_of(top, low)
    return Three(near.gap, far.gap, near.rest, far.rest, near.power, far.power, log1p_unit(near.power + far.power))


@inlined
def _fall(t: Three) -> float:
    """1 - e_1, which cancels where the gap is small: there by its series."""
    d = t.gap
    return d - d * d * (0.5 - d * (1.0 / 6.0)) if d < _NEAR else 1.0 - t.power


@inlined
def expected_three_loss(t: Three, rank: int) -> ExpectedEntry:
    """The loss of a target of a rank."""
    gap = 0.0 if rank == 0 else t.gap if rank == 1 else t.far
    rest = 0.0 if rank == 0 else t.rest if rank == 1 else t.far_rest
    y = expected_loss(Gap(gap, rest, t.power + t.far_power, t.log), gap == 0.0)
    # A tail as large as this tells no midpoint, and the binade is that of the sum.
    is_part = abs(y.lo) > _TAIL * y.hi
    is_tail = (y.hi == 0.0) | (not is_part)
    value = y.hi + y.lo
    radius = y.radius + VANISHED
    return ExpectedEntry(y.hi if is_tail else value, y.lo if is_tail else 0.0, radius if is_tail else radius + 2 * UNIT * value)


@inlined
def split_of(t: Three, rank: int) -> Split:
    """The share of the class of a rank (0 the largest) of a row, split into its power and those of the others."""
    fall, third = _fall(t), max(t.far_power, VANISHED)
    part = 1.0 if rank == 0 else t.power if rank == 1 else t.far_power
    other = t.power + t.far_power if rank == 0 else 1.0 + (t.far_power if rank == 1 else t.power)
    ahead = fall - third if rank == 0 else -(fall + third) if rank == 1 else -1.0
    return Split(part, other, ahead, (2.0**-44 * fall if t.gap < _NEAR else 8 * UNIT) + ERROR * third)


@inlined
def expected_share(s: Split, turned: bool) -> ExpectedEntry:
    """The probability of the class or, turned, of the others."""
    part, other = (s.other if turned else s.part), (s.part if turned else s.other)
    total = part + other
    value, lacking = part / total, max(other, VANISHED) / total
    half = 0.5 * (-s.ahead if turned else s.ahead) / total
    error = 0.5 * s.error / total + ERROR * abs(half)
    is_one, is_half, is_known, is_none = lacking < ONE, abs(s.ahead) < _ROUND, abs(half) > error, value < VANISHED
    hi = 1.0 if is_one else 0.5 if is_half else 0.0 if is_none else value
    lo = -lacking if is_one else (half if is_known else 0.0) if is_half else VANISHED if is_none else 0.0
    radius = ERROR * lacking if is_one else 2 * error if is_half else ERROR * value
    return ExpectedEntry(hi, lo, radius + VANISHED)


@inlined
def expected_product(s: Split) -> ExpectedEntry:
    """The Hessian's entry on the diagonal of the class."""
    total = s.part + s.other
    value, half = s.part * s.other / (total * total), 0.5 * s.ahead / total
    error = 0.5 * s.error / total + ERROR * abs(half)
    is_half, is_none, square = abs(s.ahead) < _ROUND, value < VANISHED, half * half
    hi = 0.25 if is_half else 0.0 if is_none else value
    lo = -max(square, VANISHED) if is_half else VANISHED if is_none else 0.0
    radius = error * (2 * abs(half) + error) + ERROR * square if is_half else TWICE * value
    return ExpectedEntry(hi, lo, radius + VANISHED)


@inlined
def expected_pair(t: Three, left_out: int) -> ExpectedEntry:
    """The size of the Hessian's entry of two classes, the third being that of rank `left_out`."""
    total, fall = 1.0 + (t.power + t.far_power), _fall(t)
    powers = t.power if left_out == 2 else t.far_power if left_out == 1 else t.power * t.far_power
    value = powers / (total * total)
    third, tilt = max(t.far_power, VANISHED) / total, fall / total
    tail = 0.25 * (third * (2.0 - third) + tilt * tilt)
    is_quarter, is_none = (left_out == 2) & (fall < _ROUND) & (t.far_power < _ROUND), value < VANISHED
    hi = 0.25 if is_quarter else 0.0 if is_none else value
    lo = -tail if is_quarter else VANISHED if is_none else 0.0
    return ExpectedEntry(hi, lo, (2.0**-34 * tail if is_quarter else TWICE * value) + VANISHED)
