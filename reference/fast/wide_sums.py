"""The powers of a row and their sum in double-double, each with an exponent of its own: siblings of `sums` for any format.

With m = x_c the largest logit and x_s the second largest, E_j = exp(x_j - x_s) <= 1 for j <> c, F = exp(x_s - m):

    R = F Q,  Q = sum of E_j, 1 <= Q <= K - 1        S = 1 + R        p_j = E_j F / S        1 - p_c = R / S

so nothing underflows before it is scaled, however small R is. Relative errors, u = 2^-53, EXP = 2^-93 (`wide.EXP_ERROR`):

    E_j, F     the differences are exact in two parts: EXP
    Q          EXP, and 3 u^2 for each of at most 40 levels of pairwise sums of positive numbers; powers below 2^-900 are
               left out: K 2^-900. Together EXP + 2^-99.
    R          2 EXP + 2^-99 + 5 u^2
    1 / S      2 EXP + 2^-98, where R < 2^-900 counts as 0
    F / S      3 EXP + 2^-98;  E_j F / S and R F^0 / S: 4 EXP + 2^-97 < VALUE_ERROR = 2^-89

VALUE_ERROR leaves room for an exact factor in two parts (6 u^2), and for (1 + (R - R_t)) / S, whose numerator is at least
S / 2 and so off by at most 2 (2 EXP + 2^-98) + 2 EXP.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reference.fast.compiled import compiled, inlined
from reference.fast.double_double import Pair, add, add_float, invert, multiply, two_sum
from reference.fast.machine import BIAS, float_of
from reference.fast.wide import exp_alone, exp_scaled
from reference.formats import Floats, Integers

VALUE_ERROR = 2.0**-89
"""Relative error of a probability, of a complement R / S and of their products with a factor, at most."""

FARTHEST = -1400.0
"""Powers of less count as 0: exp(-1400) < 2^-2019, far below the smallest number of any format."""

LOWEST = -900
"""Binary exponent below which a power adds nothing to a sum of at least 1."""


class Scratch(NamedTuple):
    """Room for one row: the powers (h + l) 2^k, and their partial sums."""

    h: Floats
    low: Floats
    k: Integers
    sum_h: Floats
    sum_low: Floats


class Total(NamedTuple):
    """A row's F / S, R and 1 / S in double-double; F / S and R are to be scaled by 2^k."""

    share_h: float
    share_l: float
    rest_h: float
    rest_l: float
    inverse_h: float
    inverse_l: float
    k: int


@compiled
def scratch_for(classes: int) -> Scratch:
    """Room for rows of that many classes."""
    half = (classes + 1) // 2
    integers = np.empty(classes, dtype=np.int64)
    return Scratch(np.empty(classes), np.empty(classes), integers, np.empty(half), np.empty(half))


@inlined
def power_of_two(k: int) -> float:
    """2^k, and 0 for k below LOWEST; k <= 1000."""
    power = float_of((max(k, LOWEST) + BIAS) << 52)
    return power if k >= LOWEST else 0.0


@compiled
def fill_wide(x: Floats, top: int, second: int, room: Scratch) -> None:
    """E_j for every class but `top`; 0 for it, for masked classes and beyond FARTHEST."""
    base = x[second]
    for j in range(x.size):
        sh, sl = two_sum(x[j], -base)
        # Also true of a class above x_s and of -inf: exp_scaled holds for |s| < 1400 alone.
        far = not (FARTHEST < sh <= 0.0)
        h, low, k = exp_scaled(0.0 if far else sh, 0.0 if far else sl)
        room.h[j] = 0.0 if far else h
        room.low[j] = 0.0 if far else low
        room.k[j] = k
    room.h[top], room.low[top] = 0.0, 0.0


@compiled
def pairwise(n: int, room: Scratch) -> Pair:
    """The sum of the first n partial sums, which it overwrites."""
    h, low = room.sum_h, room.sum_low
    while n > 1:
        half = (n + 1) // 2
        for j in range(n - half):
            h[j], low[j] = add(h[j], low[j], h[j + half], low[j + half])
        n = half
    return h[0], low[0]


@compiled
def sum_wide(room: Scratch) -> Pair:
    """Q = sum of E_j in two parts, pairwise: at most 40 levels."""
    n = room.h.size
    half = (n + 1) // 2
    for j in range(n - half):
        a, b = power_of_two(room.k[j]), power_of_two(room.k[j + half])
        room.sum_h[j], room.sum_low[j] = add(a * room.h[j], a * room.low[j], b * room.h[j + half], b * room.low[j + half])
    if n % 2 == 1:
        a = power_of_two(room.k[half - 1])
        room.sum_h[half - 1], room.sum_low[half - 1] = a * room.h[half - 1], a * room.low[half - 1]
    return pairwise(half, room)


@compiled
def extremes_of(x: Floats) -> tuple[int, int]:
    """The first of the largest classes and the largest of the others; -1 where the row is not for this tier."""
    top, second = -1, -1
    for j in range(x.size):
        # NaN fails the comparison too.
        if not x[j] < np.inf:
            return -1, -1
        if top < 0 or x[j] > x[top]:
            top, second = j, top
        elif second < 0 or x[j] > x[second]:
            second = j
    if second < 0 or not x[second] - x[top] > FARTHEST:
        return -1, -1
    return top, second


@compiled
def total_of(x: Floats, top: int, second: int, room: Scratch) -> Total:
    """The row's sums, its powers left in `room`; `second` is not farther than FARTHEST from `top`."""
    fill_wide(x, top, second, room)
    qh, ql = sum_wide(room)
    sh, sl = two_sum(x[second], -x[top])
    fh, fl, k = exp_alone(sh, sl)
    rh, rl = multiply(fh, fl, qh, ql)
    power = power_of_two(k)
    ih, il = add_float(power * rh, power * rl, 1.0)
    ih, il = invert(ih, il)
    gh, gl = multiply(fh, fl, ih, il)
    return Total(gh, gl, rh, rl, ih, il, k)
