"""Compiled exp(-gap) and log(1 + r) with proved relative errors, written without branches so that LLVM vectorises them.

u = 2^-53. Every operation below is one IEEE operation rounded to nearest; nothing is contracted or reordered.

exp_minus(g), 0 <= g <= LARGEST_GAP. With k = rint(g log2 e) and s = k ln 2 - g, exp(-g) = 2^-k exp(s), |s| < 0.3466.

    reduction    ln 2 = L + l + eps, L of 29 bits, l a float64, |eps| < 2^-84. k < 2^10, so k L is exact; for k >= 1,
                 g > 1/4 is a multiple of 2^-54, as is k L, and |g - k L| < 1/2: the first difference is exact. Adding k l
                 rounds once, by at most 2^-55, and k |eps| < 2^-74: s is off by 0.26 u, exp(s) by as much relatively.
    truncation   exp(s) = 1 + s + s^2 q(s), q of degree 11 (Taylor): the rest is below 0.3466^14 / 14! 1.05 < 0.05 u.
    q            Horner with FMA: |error| <= u sum_i |s|^i (|q_i| + |c_i|), q_i the i-th partial value: below 1.3 u;
                 times s^2 <= 0.1202: 0.16 u. The rounding of s^2: 0.1202 * 0.57 u < 0.07 u.
    s + s^2 q    is below 0.415 < 1/2: rounded by at most 2^-55 = 0.25 u.
    1 + ...      lies in [0.707, 1.415]: rounded by u where it is above 1, by u/2 where it is below.

Relative to a result above 1: 0.26 + 0.05 + 0.16 + 0.07 + 0.25 + 1 < 1.8; below 1: 0.26 + (0.53 + 0.5) / 0.707 < 1.8.
Terms of order u^2 do not reach the 0.2 that EXP_ERROR = 2 u leaves. The scaling by 2^-k is exact: 2^-k exp(s) > 2^-938.

log1p_unit(r), r = 0 or 2^-1000 <= r <= 2^52 (so z is not subnormal).

    r <= 0.4142  log(1 + r) = 2 atanh(z), z = r / (2 + r) <= 0.1716: 2 z + 2 z z^2 a(z^2), a of degree 9 (1/3, 1/5, ...): the
                 rest is below z^22 / 23 1.04 < 0.02 u relatively. z is off by 2 u (a sum and a quotient), the second
                 summand, at most 0.0101 of the first, by less than 10 u of itself, and the last FMA by u: 3.2 u.
    r > 0.4142   1 + r = w + c exactly (TwoSum), w = 2^k (1 + f), 1 + f in [0.707, 1.415), k >= 1:
                 k L + (2 atanh(f / (2 + f)) + (k l + c / w)). f is exact (Sterbenz), so the first bracket is off by 3.2 u of
                 at most 0.3466 and by 0.25 u as it is added to the second, which is below 1.1 u + 53 * 2^-29 and off by
                 less than 2^-76; log(1 + c/w) - c/w is below u^2. k L is exact and the last sum rounds by u of the result,
                 which is at least 0.3465: (1.11 + 0.25 + 0.01) / 0.3465 + 1 < 5.

LOG1P_ERROR = 6 u covers both. tests/proofs/ proves both bounds of the code as it stands, by Sollya and Gappa. Sources of the
schemes: Cody and Waite, Software Manual for the Elementary Functions, 1980, chapter 6; Tang, ACM TOMS 15(2), 1989, and
16(4), 1990.
"""

from __future__ import annotations

from math import factorial

from reference.fast.compiled import inlined
from reference.fast.machine import bits_of, float_of, fma

UNIT = 2.0**-53
"""u, the unit roundoff of float64."""

EXP_ERROR = 2 * UNIT
"""Relative error of `exp_minus` at most."""

LOG1P_ERROR = 6 * UNIT
"""Relative error of `log1p_unit` at most."""

LARGEST_GAP = 650.0
"""Beyond this gap `exp_minus` returns 0: exp(-650) > 2^-938, so neither a result nor its quotient by a sum is subnormal."""

LN2_HIGH = float.fromhex("0x1.62e42fep-1")
LN2_LOW = float.fromhex("0x1.f473de6af278fp-30")
LOG2_E = float.fromhex("0x1.71547652b82fep+0")
ROUNDER = 1.5 * 2.0**52
"""Added to a number below 2^51 in size it leaves its nearest integer in the last bits of the encoding."""

ROUNDER_BITS = 0x4338000000000000
_E2, _E3, _E4, _E5, _E6, _E7, _E8, _E9, _E10, _E11, _E12, _E13 = (1.0 / factorial(n) for n in range(2, 14))
_A1, _A2, _A3, _A4, _A5, _A6, _A7, _A8, _A9, _A10 = (1.0 / (2 * n + 1) for n in range(1, 11))
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
EXPONENT_ONE = 0x3FF0000000000000
_SMALL = 0.4142


@inlined
def exp_minus(gap: float) -> float:
    """exp(-gap) within EXP_ERROR, for gap >= 0 or +inf; 0 beyond LARGEST_GAP."""
    kept = min(gap, LARGEST_GAP)
    shifted = fma(kept, LOG2_E, ROUNDER)
    k = shifted - ROUNDER
    # In this order: k L and its difference from the gap are exact, so that only the small k l rounds.
    s = fma(k, LN2_LOW, fma(k, LN2_HIGH, -kept))
    q = fma(_E13, s, _E12)
    q = fma(q, s, _E11)
    q = fma(q, s, _E10)
    q = fma(q, s, _E9)
    q = fma(q, s, _E8)
    q = fma(q, s, _E7)
    q = fma(q, s, _E6)
    q = fma(q, s, _E5)
    q = fma(q, s, _E4)
    q = fma(q, s, _E3)
    q = fma(q, s, _E2)
    # 2^-k by its encoding: normal, since k <= 938 for gaps up to LARGEST_GAP.
    power = float_of(EXPONENT_ONE - ((bits_of(shifted) - ROUNDER_BITS) << 52))
    value = (1.0 + fma(s * s, q, s)) * power
    return value if gap <= LARGEST_GAP else 0.0


@inlined
def _double_atanh(z: float) -> float:
    """2 atanh(z) for |z| <= 0.1716."""
    y = z * z
    a = fma(_A10, y, _A9)
    a = fma(a, y, _A8)
    a = fma(a, y, _A7)
    a = fma(a, y, _A6)
    a = fma(a, y, _A5)
    a = fma(a, y, _A4)
    a = fma(a, y, _A3)
    a = fma(a, y, _A2)
    a = fma(a, y, _A1)
    twice = 2.0 * z
    return fma(twice * y, a, twice)


@inlined
def log1p_unit(r: float) -> float:
    """log(1 + r) within LOG1P_ERROR, for r = 0 or 2^-1000 <= r <= 2^52."""
    w = 1.0 + r
    # Fast TwoSum takes from the larger summand first: w + c is 1 + r exactly.
    c = (1.0 - (w - r)) if r > 1.0 else (r - (w - 1.0))
    small = r <= _SMALL
    encoding = bits_of(w)
    # Counted from sqrt(1/2), not from 1: f then lies about 0 and f = (1 + f) - 1 is exact.
    k = (encoding - _SQRT_HALF_BITS) >> 52
    f = float_of(encoding - (k << 52)) - 1.0
    top = r if small else f
    part = _double_atanh(top / (2.0 + top))
    e = float(k)
    large = fma(e, LN2_HIGH, part + fma(e, LN2_LOW, c / w))
    return part if small else large
