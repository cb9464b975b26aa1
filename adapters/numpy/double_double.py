"""Double-double arithmetic on arrays with a common power of two split off: about 100 bits, from +, * and Dekker's splits.

Used by the absorption-free operation only. The reference does not use it: the operation is on trial too. A number is
(hi + lo) 2^exponent with |lo| <= ulp(hi)/2 and exponent an integer array, so nothing underflows before the one final
rounding. Algorithms: Dekker, Numer. Math. 18, 1971; Joldes, Muller and Popescu, ACM TOMS 44(2), 2017 (relative errors of
a few 2^-104).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from reference.formats import Bools, Floats, Integers

_SPLITTER = 2.0**27 + 1.0
_LN2 = (0.6931471805599453, 2.3190468138462996e-17, 5.707708438416212e-34)
_TERMS = 10
_HALVINGS = 8
_LIMIT = 2.0**20


def two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """s + e = a + b exactly, s the rounded sum (Knuth)."""
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


def two_product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """p + e = a b exactly, p the rounded product (Dekker's split; operands far from overflow)."""
    p = a * b
    a_hi = _SPLITTER * a - (_SPLITTER * a - a)
    b_hi = _SPLITTER * b - (_SPLITTER * b - b)
    a_lo, b_lo = a - a_hi, b - b_hi
    return p, ((a_hi * b_hi - p) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo


@dataclass(frozen=True)
class DoubleDouble:
    """An array of numbers (hi + lo) 2^exponent."""

    hi: Floats
    lo: Floats
    exponent: Integers

    @classmethod
    def of(cls, values: ArrayLike) -> DoubleDouble:
        """Numbers of float64, exactly."""
        return cls.normal(np.asarray(values, dtype=np.float64), np.zeros(np.shape(values)))

    @classmethod
    def normal(cls, hi: Floats, lo: Floats, exponent: Integers | int = 0) -> DoubleDouble:
        """hi + lo scaled so that |hi| is in [0.5, 1), or zero."""
        fraction, shift = np.frexp(hi)
        return cls(fraction, np.ldexp(lo, -shift), np.where(fraction == 0, 0, shift.astype(np.int64) + exponent))

    def __getitem__(self, index: Any) -> DoubleDouble:
        return DoubleDouble(self.hi[index], self.lo[index], self.exponent[index])

    def __neg__(self) -> DoubleDouble:
        return DoubleDouble(-self.hi, -self.lo, self.exponent)

    def __add__(self, other: DoubleDouble) -> DoubleDouble:
        low = -(2**40)
        common = np.maximum(np.where(self.hi == 0, low, self.exponent), np.where(other.hi == 0, low, other.exponent))
        (a, a_lo), (b, b_lo) = self._at(common), other._at(common)
        s, e = two_sum(a, b)
        t, f = two_sum(a_lo, b_lo)
        s, e = two_sum(s, e + t)
        s, e = two_sum(s, e + f)
        return DoubleDouble.normal(s, e, common)

    def __sub__(self, other: DoubleDouble) -> DoubleDouble:
        return self + (-other)

    def __mul__(self, other: DoubleDouble) -> DoubleDouble:
        p, e = two_product(self.hi, other.hi)
        e = e + (self.hi * other.lo + self.lo * other.hi)
        p, e = two_sum(p, e)
        return DoubleDouble.normal(p, e, self.exponent + other.exponent)

    def __truediv__(self, other: DoubleDouble) -> DoubleDouble:
        divisor = DoubleDouble(other.hi, other.lo, np.zeros_like(other.exponent))
        dividend = DoubleDouble(self.hi, self.lo, np.zeros_like(self.exponent))
        first = DoubleDouble.of(dividend.hi / divisor.hi)
        left = dividend - first * divisor
        quotient = first + DoubleDouble.of(left.value() / divisor.hi)
        return DoubleDouble(quotient.hi, quotient.lo, quotient.exponent + self.exponent - other.exponent)

    def _at(self, exponent: Integers) -> tuple[Floats, Floats]:
        shift = np.maximum(np.minimum(self.exponent - exponent, 0), -2000).astype(np.int32)
        return np.ldexp(self.hi, shift), np.ldexp(self.lo, shift)

    def value(self) -> Floats:
        """A float64 less than one ulp away: hi, rounded once more where it is subnormal."""
        with np.errstate(over="ignore", under="ignore"):
            return np.ldexp(self.hi, np.clip(self.exponent, -5000, 5000).astype(np.int32))

    def sum(self, axis: int) -> DoubleDouble:
        """Sum along an axis by halving: a balanced tree."""
        terms = self
        size = self.hi.shape[axis]
        while size > 1:
            half = size // 2
            head, tail = (terms[_part(axis, slice(*cut), terms.hi.ndim)] for cut in ((0, half), (half, 2 * half)))
            added = head + tail
            if size % 2:
                last = terms[_part(axis, slice(size - 1, size), terms.hi.ndim)]
                added = _concatenate(added, last, axis)
            terms, size = added, added.hi.shape[axis]
        return terms if size else DoubleDouble.of(np.zeros(_shape_with(self.hi.shape, axis)))


def _part(axis: int, part: slice, ndim: int) -> tuple[slice, ...]:
    return tuple(part if i == axis % ndim else slice(None) for i in range(ndim))


def _shape_with(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(1 if i == axis % len(shape) else n for i, n in enumerate(shape))


def _concatenate(a: DoubleDouble, b: DoubleDouble, axis: int) -> DoubleDouble:
    parts = [np.concatenate([getattr(a, f.name), getattr(b, f.name)], axis=axis) for f in fields(DoubleDouble)]
    return DoubleDouble(*parts)


_ONE, _TWO = DoubleDouble.of(1.0), DoubleDouble.of(2.0)
_INVERSES = tuple(_ONE / DoubleDouble.of(float(n)) for n in range(_TERMS, 1, -1))
"""1/n of the Taylor sum, the last term first."""


def expm1_small(r: DoubleDouble) -> DoubleDouble:
    """exp(r) - 1 for |r| <= 0.35 by a Taylor sum of r 2^-8 and eight doublings, e <- e (2 + e)."""
    small = DoubleDouble(r.hi, r.lo, r.exponent - _HALVINGS)
    total = _ONE
    for inverse in _INVERSES:
        total = _ONE + small * total * inverse
    e = small * total
    for _ in range(_HALVINGS):
        e = e * (_TWO + e)
    return e


def exp(x: DoubleDouble) -> DoubleDouble:
    """The exponential of finite x; below -2^20 the power of that, far under every format."""
    inside = np.abs(x.value()) <= _LIMIT
    x = select(inside, x, DoubleDouble.of(np.clip(x.value(), -_LIMIT, _LIMIT)))
    n = np.rint(x.value() / _LN2[0])
    for part in _LN2:
        x = x - DoubleDouble.normal(*two_product(n, np.asarray(part)))
    grown = DoubleDouble.of(np.ones_like(n)) + expm1_small(x)
    return DoubleDouble(grown.hi, grown.lo, grown.exponent + n.astype(np.int64))


def log1p(x: DoubleDouble) -> DoubleDouble:
    """log(1 + x) for x >= 0: the float64 value improved by one Newton step; x itself where x < 2^-200."""
    start = np.log1p(x.value())
    one = DoubleDouble.of(np.ones_like(start))
    y = DoubleDouble.of(start)
    # exp(y) - 1 keeps its relative accuracy for small y only where 1 is never added.
    small = start <= 0.34
    power = select(small, expm1_small(DoubleDouble.of(np.where(small, start, 0.0))), exp(y) - one)
    improved = y + (x - power) / (one + x)
    return select((x.hi == 0) | (x.exponent < -200), x, improved)


def select(condition: Bools, a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """a where the condition holds, b elsewhere."""
    return DoubleDouble(*(np.where(condition, getattr(a, f.name), getattr(b, f.name)) for f in fields(DoubleDouble)))
