"""Compiled exp, expm1 and log(1 + r) in double-double, with proved relative errors; siblings of `elementary` for float64.

u = 2^-53; errors below are relative unless called absolute.

reduce: s = k ln 2 + t, k = rint(s log2 e), |k| <= 2^11, |t| < 0.3467. ln 2 = A + B + C + eps, A, B of 42 bits, |eps| < 2^-140.

    k A is exact, and so is sh - k A: for k <> 0 both are multiples of 2^-54 and their difference is below 1/2. k B is
    exact; TwoSum takes it off without an error. |sl| <= 2^-43 and |k C| < 2^-75 are added to the error of that TwoSum,
    at most 2^-54: two roundings of numbers below 2^-42.9: absolutely 2^-95 together, plus k eps; where t is smaller than
    that, FastTwoSum loses another 2^-96. Where k = 0, t = s exactly.

expm1_reduced: r = t / 16, |r| < 0.0217; e = expm1(r) = r (1 + r (1/2 + r (1/6 + ... ))) to r^13 / 13!.

    truncation   r^13 / 14! 1.01 < 2^-108.
    tail         the terms from r^7 / 5040 on are computed in float64: together below 2^-45.4 e, off by less than 12 u of
                 themselves (six FMAs, and r for rh + rl): 2^-94.8.
    head         five products and sums in double-double, each off by 5 u^2 + 3 u^2 (1.03 / 0.97) of a number that enters
                 with a factor below 0.011, but for the last: 10 u^2; the product by r: 5 u^2. Below 2^-101 together.
    e -> 2 e + e^2, four times, gives expm1(t): an error rho becomes (1 + e) / (1 + e/2) rho <= 1.15 rho, plus that of the
                 square (5 u^2 |e| / (2 + e)) and of the sum (3 u^2 (2 + |e|) / (2 + e) <= 4.3 u^2): below 1.8 rho + 2^-101.

    So expm1(t) is off by less than 1.8 * 2^-94.7 + 2^-101 < 2^-93.8.

exp_scaled: exp(s) = 2^k (1 + expm1(t)): 2^-93.8 * 0.415, the 2^-95 + 2^-96 of t and 2 u^2: below EXP_ERROR = 2^-93.

log1p_wide, for 0 < r <= 2^52 of which no part underflows: one step of Newton from y = log1p_unit(r), which is off by 6 u:
log(1 + r) = y + log(1 + d), d = (r - expm1(y)) / exp(y). |d| <= 7 u min(y, 1): d - d^2/2 leaves less than 2^-150 y, and in
float64 it is off by 8 u of itself: 2^-100 y. expm1(y) is off by 2^-93.8 where k = 0, and absolutely by 2^-93 exp(y)
elsewhere, where y > 0.34; divided by exp(y) and y: below 2^-91.4; the difference adds 6 u^2. LOG1P_ERROR = 2^-91.

tests/proofs/ proves both bounds of the code as it stands, by Sollya and Gappa.
"""

from __future__ import annotations

from math import factorial

from reference.fast.compiled import compiled, inlined
from reference.fast.double_double import Pair, add, add_float, fast_two_sum, multiply, two_sum
from reference.fast.elementary import EXPONENT_ONE, LOG2_E, ROUNDER, ROUNDER_BITS, log1p_unit
from reference.fast.machine import bits_of, float_of, fma

EXP_ERROR = 2.0**-93
"""Relative error of `exp_scaled` at most."""

LOG1P_ERROR = 2.0**-91
"""Relative error of `log1p_wide` at most."""

LN2_A = float.fromhex("0x1.62e42fefa3800p-1")
LN2_B = float.fromhex("0x1.ef35793c76000p-45")
LN2_C = float.fromhex("0x1.cc01f97b57a08p-87")
_HALVINGS = 2.0**-4
_C3, _C3_LOW = 1.0 / 6, float.fromhex("0x1.5555555555555p-57")
_C4, _C4_LOW = 1.0 / 24, float.fromhex("0x1.5555555555555p-59")
_C5, _C5_LOW = 1.0 / 120, float.fromhex("0x1.1111111111111p-63")
_C6, _C6_LOW = 1.0 / 720, float.fromhex("-0x1.f49f49f49f49fp-65")
_C7, _C8, _C9, _C10, _C11, _C12, _C13 = (1.0 / factorial(n) for n in range(7, 14))


@inlined
def reduce(sh: float, sl: float) -> tuple[float, float, int]:
    """t in two parts and k, with s = k ln 2 + t and |t| < 0.3467."""
    shifted = fma(sh, LOG2_E, ROUNDER)
    k = shifted - ROUNDER
    # k A and k B are exact (42 bits times 11), and so is sh - k A; what rounds is below 2^-42.9.
    first, rest = two_sum(fma(-k, LN2_A, sh), -k * LN2_B)
    th, tl = fast_two_sum(first, rest + fma(-k, LN2_C, sl))
    return th, tl, bits_of(shifted) - ROUNDER_BITS


@inlined
def _doubled(eh: float, el: float) -> Pair:
    """2 e + e^2 in two parts: expm1(2 r), from e = expm1(r)."""
    qh, ql = multiply(eh, el, eh, el)
    return add(2.0 * eh, 2.0 * el, qh, ql)


@inlined
def expm1_reduced(th: float, tl: float) -> Pair:
    """exp(t) - 1 for |t| < 0.3467."""
    rh, rl = th * _HALVINGS, tl * _HALVINGS
    q = fma(_C13, rh, _C12)
    q = fma(q, rh, _C11)
    q = fma(q, rh, _C10)
    q = fma(q, rh, _C9)
    q = fma(q, rh, _C8)
    q = fma(q, rh, _C7)
    yh, yl = multiply(rh, rl, q, 0.0)
    yh, yl = add(_C6, _C6_LOW, yh, yl)
    yh, yl = multiply(rh, rl, yh, yl)
    yh, yl = add(_C5, _C5_LOW, yh, yl)
    yh, yl = multiply(rh, rl, yh, yl)
    yh, yl = add(_C4, _C4_LOW, yh, yl)
    yh, yl = multiply(rh, rl, yh, yl)
    yh, yl = add(_C3, _C3_LOW, yh, yl)
    yh, yl = multiply(rh, rl, yh, yl)
    yh, yl = add_float(yh, yl, 0.5)
    yh, yl = multiply(rh, rl, yh, yl)
    yh, yl = add_float(yh, yl, 1.0)
    eh, el = multiply(rh, rl, yh, yl)
    # r = t / 16: four doublings lead back to t.
    eh, el = _doubled(eh, el)
    eh, el = _doubled(eh, el)
    eh, el = _doubled(eh, el)
    return _doubled(eh, el)


@inlined
def exp_scaled(sh: float, sl: float) -> tuple[float, float, int]:
    """(h, l, k) with exp(s) = 2^k (h + l) within EXP_ERROR, h in [0.7, 1.42]; for |s| < 1400."""
    th, tl, k = reduce(sh, sl)
    eh, el = expm1_reduced(th, tl)
    h, low = add_float(eh, el, 1.0)
    return h, low, k


@compiled
def exp_alone(sh: float, sl: float) -> tuple[float, float, int]:
    """`exp_scaled` as a function of its own: compiled once, for use outside of loops."""
    return exp_scaled(sh, sl)


@compiled
def log1p_wide(rh: float, rl: float) -> Pair:
    """log(1 + r) within LOG1P_ERROR, for 0 < r <= 2^52 of which no part underflows."""
    y = log1p_unit(rh)
    th, tl, k = reduce(y, 0.0)
    eh, el = expm1_reduced(th, tl)
    if k != 0:
        power = float_of(EXPONENT_ONE + (k << 52))
        eh, el = add_float(power * eh, power * el, power - 1.0)
    dh, dl = add(rh, rl, -eh, -el)
    d = (dh + dl) / (1.0 + eh)
    return fast_two_sum(y, d - 0.5 * d * d)
