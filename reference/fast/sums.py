"""The powers exp(x_j - m) of a row of at most float32's precision, and their sum, with its running error.

m = x_c is the largest logit. In units of u = 2^-53, relative to the value, to first order:

    gap          m - x_j is rounded: by g_j u at most, which exp carries over as a relative error of g_j.
    power        EXP_ERROR = 2 more: 2 + g_j. A gap beyond LARGEST_GAP counts as exp = 0: see below.
    block        32 powers are added in any order: 31 (Higham, Accuracy and Stability, 2nd ed., section 4.2).
    blocks       their sums are added by TwoSum and a sum of its errors: 1, and n^2 u for n blocks.
    all          the sum R over the n = K - 1 classes but c: 2 + 31 + 1 + sum_j q_j g_j with q_j = E_j / R, and since
                 g_j = -log(q_j R) the last term is the entropy of q less log R: at most log(n / R).

So R is off by at most R_ROUNDINGS + log(n / R), R_ROUNDINGS = 35; the last 1 covers the second order (each term is below
2^11, a product of two below 2^-31) and the powers beyond LARGEST_GAP, which count as 0: they add up to less than K 2^-937,
which is below 2^-100 R where R >= SMALLEST_REST. Rows with a smaller R > 0 are for the next tier.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reference.fast.compiled import compiled, reordered
from reference.fast.double_double import two_sum
from reference.fast.elementary import exp_minus
from reference.fast.machine import BIAS, bits_of
from reference.formats import Floats

Rounded = NDArray[np.floating[Any]]
"""Members of a format up to float32, in a dtype that the compiler has: float32 or float64."""

LN2_ABOVE = 0.6931471805599454
"""A float64 above log 2."""

BLOCK = 32
"""Powers that are added in any order."""

R_ROUNDINGS = 2.0 + (BLOCK - 1) + 1.0 + 1.0
"""Roundings of the sum R, besides log(n / R)."""

SMALLEST_REST = 2.0**-800
"""Smallest R to which the powers that were left out add nothing of note."""


@reordered
def _block_sum(e: Floats, start: int, stop: int) -> float:
    """The sum of e[start:stop] in whatever order is fastest."""
    total = 0.0
    for j in range(start, stop):
        total += e[j]
    return total


@compiled
def fill_powers(x: Rounded, top: int, e: Floats) -> None:
    """e_j = exp(x_j - x_top) for every class but `top`, which gets 0."""
    largest = np.float64(x[top])
    for j in range(x.size):
        e[j] = exp_minus(largest - np.float64(x[j]))
    e[top] = 0.0


@compiled
def sum_of(e: Floats) -> float:
    """The sum of nonnegative numbers in blocks, within the error that the head of this file derives."""
    total, lost = 0.0, 0.0
    whole = e.size - e.size % BLOCK
    for start in range(0, whole, BLOCK):
        # Only a block is added in any order; between blocks TwoSum keeps what a rounding loses.
        total, left = two_sum(total, _block_sum(e, start, start + BLOCK))
        lost += left
    total, left = two_sum(total, _block_sum(e, whole, e.size))
    return total + (lost + left)


class Frame(NamedTuple):
    """A row's largest class and target, its R, and rho, the error of R in units of u."""

    top: int
    target: int
    rest: float
    rho: float


@compiled
def _log_above(value: float) -> float:
    """An upper bound of log(value), from the binade of value > 0."""
    # By the end of the binade: up to log 2 more than need be.
    return LN2_ABOVE * ((bits_of(value) >> 52) - BIAS + 1)


@compiled
def error_of(rest: float, classes: float) -> float:
    """rho: the error of R in units of u."""
    return R_ROUNDINGS + max(_log_above(classes) + _log_above(1.0 / rest), 0.0)


@compiled
def frame_of(x: Rounded, top: int, target: int, e: Floats) -> Frame:
    """The row's frame, E_j left in e; R is 0 where the row is not for this tier."""
    usable = np.isfinite(x[top]) and 0 <= target < x.size and x[target] != -np.inf
    if not usable:
        return Frame(top, target, 0.0, 0.0)
    fill_powers(x, top, e)
    rest = sum_of(e)
    # Also 0, where nothing but the largest class counts, or where all gaps are beyond LARGEST_GAP.
    if rest < SMALLEST_REST:
        return Frame(top, target, 0.0, 0.0)
    return Frame(top, target, rest, error_of(rest, float(x.size)))
