"""Compiled double-double arithmetic with FMA: a number is the unevaluated sum of two float64, |lo| <= u |hi|, u = 2^-53.

Relative errors, proved in Joldes, Muller and Popescu, Tight and rigorous error bounds for basic building blocks of
double-word arithmetic, ACM TOMS 44(2), 2017 (algorithm and theorem numbers are theirs), where nothing under- or overflows:

    add        SloppyDWPlusDW (5)      3 u^2 |x| + 3 u^2 |y|: relative to the sum only where the signs agree
    add_float  DWPlusFP (4)            2 u^2
    multiply   DWTimesDW3 (12)         5 u^2
    times      DWTimesFP3 (9)          2 u^2
    invert     Newton's step from the rounded inverse: 6 u^2, derived at the function

tests/proofs/ proves them again by Gappa, up to terms of order u^3.

The operation `adapters.numpy.absorption_free` has arithmetic of its own (Dekker's splits, no FMA): it is on trial, this is not.
"""

from __future__ import annotations

from reference.fast.compiled import inlined
from reference.fast.machine import fma

Pair = tuple[float, float]


@inlined
def two_sum(a: float, b: float) -> Pair:
    """a + b exactly (Knuth)."""
    s = a + b
    kept = s - a
    return s, (a - (s - kept)) + (b - kept)


@inlined
def fast_two_sum(a: float, b: float) -> Pair:
    """a + b exactly, where |a| >= |b| or a = 0 (Dekker)."""
    s = a + b
    # s - a is exact only because |a| >= |b|.
    return s, b - (s - a)


@inlined
def two_product(a: float, b: float) -> Pair:
    """a b exactly: the rounded product and what its rounding lost, by FMA."""
    p = a * b
    return p, fma(a, b, -p)


@inlined
def add(xh: float, xl: float, yh: float, yl: float) -> Pair:
    """x + y in two parts; see the head of this file for the error where the signs differ."""
    s, e = two_sum(xh, yh)
    return fast_two_sum(s, e + (xl + yl))


@inlined
def add_float(xh: float, xl: float, y: float) -> Pair:
    """x + y in two parts for a float64 y, within 2 u^2 of itself."""
    s, e = two_sum(xh, y)
    return fast_two_sum(s, xl + e)


@inlined
def multiply(xh: float, xl: float, yh: float, yl: float) -> Pair:
    """x y in two parts, within 5 u^2 of itself."""
    p, e = two_product(xh, yh)
    crossed = fma(xh, yl, fma(xl, yh, xl * yl))
    return fast_two_sum(p, e + crossed)


@inlined
def times(xh: float, xl: float, y: float) -> Pair:
    """x y in two parts for a float64 y, within 2 u^2 of itself."""
    p, e = two_product(xh, y)
    return fast_two_sum(p, fma(xl, y, e))


@inlined
def invert(xh: float, xl: float) -> Pair:
    """1 / x.

    With r = fl(1 / xh), |1 - r xh| <= u; d = 1 - r x, |d| <= 2.1 u, is computed within 2 u^2 (xh r by FMA exactly, r xl
    rounded), and 1 / x = r / (1 - d) = r (1 + d + d^2 + ...): r + r d leaves d^2 <= 4.5 u^2, and rounds r d by less than u^2.
    """
    r = 1.0 / xh
    d = fma(-r, xl, fma(-r, xh, 1.0))
    return fast_two_sum(r, r * d)
