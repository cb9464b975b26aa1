"""Certified real numbers: a value in two float64 parts with its own exponent, a rigorous radius, and correct rounding.

An entry stands for a real number y with  y = (hi + lo) 2^exponent + side * r  for some 0 <= r <= radius 2^exponent.
With side = 0 the remainder has either sign; with side = +1 or -1 it is strictly positive or negative. That one bit is the
sticky bit of a rounding: a loss whose exact part is a midpoint of the format plus a positive tail of exp(-1e30) is decided
by it, where no working precision would do (theory: Lindemann-Weierstrass makes the tail nonzero; only its sign is needed).

Infinities and NaN are entries with hi infinite or NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from flint import arb, fmpq
from numpy.typing import NDArray

from reference.floating_state import in_default_state
from reference.formats import Bools, Floats, Format, Integers, format_named

TINY_EXPONENT = -4000
"""Below 2^-4000 only the sign of an entry is kept: the smallest float64 subnormal is 2^-1074."""

_PARTS = 160
"""Bits of a midpoint that are split into hi and lo; the rest goes into the radius."""

_NEGLIGIBLE = fmpq(1, 2**100)
"""A ball of known sign that is smaller than this part of the exact part is kept as its sign and a radius alone."""

Entry = tuple[float, float, float, int, int]


def special(value: float) -> Entry:
    """The entry of an infinity, of NaN or of an exact zero."""
    return (value, 0.0, 0.0, 0, 0)


def enclose(exact: fmpq, ball: arb, sign: int) -> Entry:
    """The entry of `exact + ball`, where `ball` is known to be a real number of the given strict sign (0: unknown).

    The sum is never rounded before it is split: what hi and lo leave over is computed again from the exact part, so the
    sign of the remainder is known whenever the sign of the ball is.
    """
    has_exact = exact != 0
    total = ball + exact if has_exact else ball
    # The sum of a midpoint and a tiny ball of the other sign is rounded to just inside it: keep the midpoint instead.
    centre = arb(exact) if sign and has_exact and abs(ball) < abs(exact) * _NEGLIGIBLE else total
    mantissa, exponent = map(int, centre.mid().man_exp())
    length = abs(mantissa).bit_length()
    if mantissa == 0 or length + exponent < TINY_EXPONENT:
        return _enclose_tiny(total, 0 if has_exact else sign)
    if length > _PARTS:
        # To nearest: cut off, a number just below a midpoint would keep a remainder that reaches up to the midpoint.
        excess = length - _PARTS
        mantissa = (mantissa + (1 << (excess - 1))) >> excess
        exponent += excess
    hi = float(mantissa)
    lo = float(mantissa - int(hi))
    rest, side = _remainder(exact, ball, sign, (int(hi) + int(lo), exponent))
    fraction, shift = math.frexp(hi)
    return (fraction, math.ldexp(lo, -shift), _radius(rest, shift + exponent), shift + exponent, side)


def _remainder(exact: fmpq, ball: arb, sign: int, kept: tuple[int, int]) -> tuple[arb, int]:
    """What exact + ball has beyond the dyadic number kept = (mantissa, exponent), and its sign (0: unknown)."""
    if exact == 0:
        rest = ball - arb(kept)
    else:
        mantissa, exponent = kept
        power = fmpq(2) ** exponent
        left = exact - mantissa * power
        rest = ball + left
        if left * sign >= 0 and sign:
            return rest, sign
    return rest, 1 if rest > 0 else -1 if rest < 0 else 0


def _enclose_tiny(total: arb, side: int) -> Entry:
    """An entry whose midpoint is 0 or below 2^TINY_EXPONENT: zero plus a radius, with the sign where it is known."""
    if total.is_zero():
        return special(0.0)
    upper = total.abs_upper()
    mantissa, exponent = (int(part) for part in upper.man_exp())
    scale = max(mantissa.bit_length() + exponent, TINY_EXPONENT)
    return (0.0, 0.0, _radius(upper, scale), scale, side)


def _radius(rest: arb, scale: int) -> float:
    """Upper bound of |rest| 2^-scale as a float64, rounded up."""
    mantissa, exponent = map(int, rest.abs_upper().man_exp())
    if mantissa == 0:
        return 0.0
    excess = max(mantissa.bit_length() - 53, 0)
    top, shift = (mantissa >> excess) + (1 if excess else 0), exponent + excess - scale
    if top.bit_length() + shift > 1024:  # beyond float64, where `math.ldexp` raises
        return math.inf
    return max(math.ldexp(top, max(shift, -2000)), 2.0**-1000)


@dataclass(frozen=True)
class Enclosure:
    """An array of certified real numbers; see the head of this file for what the five parts mean.

    Radii may be of float32, exponents and sides of any signed integers: the compiled tier stores them so.
    """

    hi: Floats
    lo: Floats
    radius: NDArray[np.floating[Any]]
    exponent: NDArray[np.signedinteger[Any]]
    side: NDArray[np.signedinteger[Any]]

    @classmethod
    def of(cls, entries: Sequence[Entry], shape: tuple[int, ...]) -> Enclosure:
        """The array of `entries`, in row-major order."""
        columns = zip(*entries, strict=True) if entries else ((),) * 5
        hi, lo, radius, exponent, side = (np.array(column).reshape(shape) for column in columns)
        return cls(
            hi.astype(np.float64),
            lo.astype(np.float64),
            radius.astype(np.float64),
            exponent.astype(np.int64),
            side.astype(np.int64),
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.hi.shape

    def __getitem__(self, index: Any) -> Enclosure:
        return Enclosure(*(np.asarray(getattr(self, f.name)[index]) for f in fields(self)))

    def overwrite_rows(self, indices: Sequence[int], rows: Enclosure) -> None:
        """Overwrite the entries at these first indices, in place: a copy of a large vocabulary would double the memory."""
        for part in fields(self):
            given, kept = getattr(rows, part.name), getattr(self, part.name)
            # A radius of a narrower type is still one if it is rounded up.
            kept[indices] = _rounded_up(given, kept.dtype) if part.name == "radius" else given

    def transposed(self) -> Enclosure:
        """The array with its axes reversed."""
        return Enclosure(*(getattr(self, f.name).T for f in fields(self)))

    @property
    def is_finite(self) -> Bools:
        """True where the entry is a real number."""
        return np.isfinite(self.hi)

    @property
    def sign(self) -> Integers:
        """1 or -1 where all of the entry is on that side of 0; 0 where it may be 0 or of either sign, or is no number."""
        sign = np.where(self.hi == 0, self.side, np.sign(np.where(self.is_finite, self.hi, 0.0)))
        certain = (np.abs(self.hi) - np.abs(self.lo) > self.radius) | (self.side * sign > 0)
        return np.where(certain, sign, 0).astype(np.int64)

    @in_default_state
    def approximate(self) -> Floats:
        """The float64 nearest to the midpoint (to print, to plot, to scale bounds; not to judge)."""
        with np.errstate(over="ignore", under="ignore"):
            return np.ldexp(self.hi + self.lo, np.clip(self.exponent, -5000, 5000).astype(np.int32))

    def rounded(self, fmt: Format | str) -> tuple[Floats, Bools]:
        """Correct rounding (to nearest, ties to even) into a format, given or named, and whether it is decided.

        Where it is not decided the value is only the rounding of the midpoint: never use it as a correct rounding.

        >>> midpoint = Enclosure.of([enclose(fmpq(2049), arb(0), 0), enclose(fmpq(2049), arb("1e-99999").exp() - 1, 1)], (2,))
        >>> midpoint.rounded("float16")[0]
        array([2048., 2050.])
        """
        return self.in_ulps(fmt).rounded()

    def ulps_from(self, observed: Floats, fmt: Format | str) -> tuple[Floats, Floats]:
        """How far numbers are from the values, in ulps of a format, and the uncertainty of that: `InUlps.distance`."""
        return self.in_ulps(fmt).distance(observed)

    @in_default_state
    def ulp_exponent(self, fmt: Format | str) -> Integers:
        """Exponent of ulp(y); a y just below a power of two belongs to the binade below, whatever hi says.

        Where that is not known, of the binade above: an error is never told larger than it is.
        """
        fmt = format_named(fmt)
        inward = self.lo * np.sign(self.hi)
        inward = np.where(inward == 0, self.side * np.sign(self.hi), inward)
        below = (np.abs(self.hi) == 0.5) & (inward < 0) & self.binade_known
        binade = self.exponent - 1 - below
        return np.maximum(np.where(self.hi == 0, TINY_EXPONENT, binade), fmt.emin) - fmt.precision + 1

    @property
    def binade_known(self) -> Bools:
        """False where the entry may lie on either side of a power of two: its ulp is then one of two."""
        turns_back = (self.side == 0) | (self.side * self.lo < 0)
        unsided = turns_back & (self.radius > 0) & (np.abs(self.lo) <= self.radius)
        return ~(unsided & (np.abs(self.hi) == 0.5))

    @in_default_state
    def in_ulps(self, fmt: Format | str) -> InUlps:
        """The values in ulps of a format, given or named."""
        fmt = format_named(fmt)
        sign = np.where(self.hi == 0, np.where(self.side < 0, -1.0, 1.0), np.sign(self.hi))
        finite = self.is_finite
        sign = np.where(finite, sign, 1.0)
        exponent = self.ulp_exponent(fmt)
        shift = np.clip(self.exponent - exponent, -5000, 5000).astype(np.int32)
        with np.errstate(over="ignore", under="ignore"):
            size = Enclosure(
                np.where(finite, np.ldexp(np.abs(np.where(finite, self.hi, 0.0)), shift), 0.0),
                np.ldexp(self.lo * sign, shift),
                np.ldexp(self.radius.astype(np.float64), shift),
                np.zeros_like(self.exponent),
                (self.side * sign).astype(np.int64),
            )
        return InUlps(self, fmt, sign, exponent, size)


@dataclass(frozen=True, eq=False)
class InUlps:
    """Certified numbers in ulps of a format: all that they are rounded and measured by, whatever was observed.

    y = sign * size * 2^exponent; 2^exponent is the ulp of y in the format, and `size` an enclosure without an exponent.
    """

    values: Enclosure
    format: Format
    sign: Floats
    exponent: Integers
    size: Enclosure

    @in_default_state
    def rounded(self) -> tuple[Floats, Bools]:
        """As `Enclosure.rounded`."""
        size, fmt = self.size, self.format
        whole = np.floor(size.hi)
        # A whole hi with a negative lo lies in the interval below, which may be beyond that interval's midpoint.
        whole = whole - ((size.hi == whole) & (size.lo < 0))
        above_half = (size.hi - whole - 0.5) + size.lo
        tie = (above_half == 0) & (size.side == 0) & (size.radius == 0)
        up = (above_half > 0) | ((above_half == 0) & (size.side > 0)) | (tie & (whole % 2 == 1))
        one_sided = (np.sign(above_half) * size.side > 0) | ((above_half == 0) & (size.side != 0))
        decided = tie | ((one_sided | (np.abs(above_half) > size.radius)) & (size.radius < 0.25))
        with np.errstate(over="ignore", invalid="ignore"):
            value = np.ldexp(whole + up, self.exponent)
        value = np.where(value > fmt.largest, fmt.overflow, value)
        value = np.where(self.values.is_finite, np.copysign(value, self.sign), self.values.hi)
        return value, decided | ~self.values.is_finite

    @in_default_state
    def distance(self, observed: Floats) -> tuple[Floats, Floats]:
        """|observed - y| / ulp(y), ulp by the binade of y with the subnormal floor, and the uncertainty of that number.

        An infinite observation of a finite y counts as 2^(emax + 1), which would follow the largest number, so that an overflow
        within a bound can be told from one beyond it. NaN on either side, or an infinite y, gives NaN. The uncertainty is 0
        where y is known exactly and the number is computed without a rounding: an error of 1 ulp is then not less.
        """
        size = self.size
        with np.errstate(over="ignore", invalid="ignore"):
            beyond = np.copysign(np.ldexp(1.0, self.format.emax + 1 - self.exponent), observed * self.sign)
            position = np.where(np.isinf(observed), beyond, np.ldexp(observed * self.sign, -self.exponent))
            from_hi = position - size.hi
            # A tail too small for float64 may make a distance of 1 less than that: only without one is it 1.
            exact = (self.values.radius == 0) & (size.lo == 0) & (_rounding_of_difference(position, size.hi, from_hi) == 0)
            distance = np.abs(from_hi - size.lo)
        distance = np.minimum(distance, np.finfo(np.float64).max)
        known = self.values.is_finite & ~np.isnan(observed)
        uncertainty = size.radius + np.where(exact, 0.0, 2.0**-50 * distance)
        return np.where(known, distance, np.nan), np.where(known, uncertainty, np.nan)


def _rounded_up(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The smallest members of a floating-point type that are not below the values."""
    cast = values.astype(dtype)
    return np.where(cast < values, np.nextafter(cast, np.asarray(np.inf, dtype=dtype)), cast)


def _rounding_of_difference(a: Floats, b: Floats, difference: Floats) -> Floats:
    """What the rounded difference a - b is off by, exactly (Knuth's two-sum); NaN where one of them is not finite."""
    shifted = difference - a
    return (a - (difference - shifted)) - (b + shifted)
