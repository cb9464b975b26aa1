"""Loss, gradient, Hessian and product of single rows in double-double, written as certified entries (`reference.enclosure`).

For class indices: loss = g_t + log1p(R), gradient = f (p - e_t), Hessian = f (diag(p) - p p^T), product = f p (w - <p, w>)
with w = v - v_c, where f is an exact factor of the row in two parts and c its largest class. p, R and S are those of
`wide_sums`; an entry that is 1 - q is f less f q, from q. An entry's radius, absolute and scaled like its value:

    f p_j, f R / S, f (1 + (R - R_t)) / S      VALUE_ERROR
    f - f q, q <= 1/4                          VALUE_ERROR f q, and 4 u of the second parts, which are rounded twice
    loss       log1p(R), or R itself below 2^_LINEAR, within LOG1P_ERROR and R's own error; g_t is exact in two parts, and
               what is added to its second part is rounded twice: 4 u of the parts there; below _TINY_TAIL g_t of g_t
               alone, above which the loss lies by less than 2 R
    f p_i p_j, f p_i (1 - p_i)                 2 VALUE_ERROR + 5 u^2 < 3 VALUE_ERROR
    <p, w>     M = sum E_j w_j, |M| <= W = sum E_j |w_j|: EXP, 5 u^2 for the product, 3 u^2 (1 + 2^-50) for each of 40 levels of
               sums of either sign, 2^-850 for what is left out: 2 VALUE_ERROR of W with the share F / S
    product    VALUE_ERROR |p_i (w_i - <p, w>)|, and p_i (2 VALUE_ERROR + 3 u^2 (|w_i| + W')), W' = W F / S

Every entry is scaled to hi in [1/2, 1) at the end, which is exact, and its radius rounded up to float32: 23 bytes an entry.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reference.fast.compiled import compiled
from reference.fast.double_double import Pair, add, fast_two_sum, multiply, two_sum
from reference.fast.elementary import UNIT
from reference.fast.machine import BIAS, EXPONENT, bits_of, float_of
from reference.fast.wide import LOG1P_ERROR, log1p_wide
from reference.fast.wide_sums import (
    LOWEST,
    VALUE_ERROR,
    Scratch,
    Total,
    extremes_of,
    pairwise,
    power_of_two,
    scratch_for,
    total_of,
)
from reference.formats import Bools, Floats, Integers

_FAR_EXPONENT = -2000
"""exp(FARTHEST) < 2^-2019: what lies beyond is less than 2^_FAR_EXPONENT times the factor."""

_DIRECTIONS = 502
"""|w_j - <p, w>| < 2^_DIRECTIONS, as long as no component of v reaches `tiers.LARGEST_DIRECTION`."""

_UNDERFLOWN = 2.0**-1000
"""More than the parts of M and of w - <p, w> lose where they are subnormal: 2^-1073 each, for K < 2^70."""

_LEFT_OUT = 2.0**-760
"""Times max |w_j| it is more than K 2^LOWEST max |w_j| is to VALUE_ERROR: K 2^-900 < 2 * 2^-89 * 2^-760 for K < 2^50."""

_LARGEST_GAP = 2.0**1000
"""A loss from it on is for the next tier: its binade cannot be scaled in float64."""

_UPWARD = 1.0 + 2.0**-22
"""A normal number times it, rounded to float32, is not below that number."""

_SMALLEST_RADIUS = 2.0**-126
"""The smallest normal number of float32, in which radii are stored."""

_TINY_TAIL = 2.0**-110
"""A log1p(R) smaller than this part of g_t is told as its sign and a bound: a radius of float32 could be larger than it."""

_LINEAR = -300
"""Binary exponent of R below which log1p(R) is R, within R/2 < 2^-279 for K < 2^20."""


class Columns(NamedTuple):
    """The five parts of the entries of a row; see `reference.enclosure`. Exponents are within +-2^13, as two factors' are."""

    hi: Floats
    low: Floats
    radius: NDArray[np.float32]
    exponent: NDArray[np.int16]
    side: NDArray[np.int8]


class Factor(NamedTuple):
    """A factor in two parts, 1/2 <= |h| < 1, its exponent, and the relative error of the two parts (0 or 2^-104)."""

    h: float
    low: float
    k: int
    error: float


class Number(NamedTuple):
    """A real number: (h + low) 2^k up to radius 2^k, its error; h + low is a double-double."""

    h: float
    low: float
    radius: float
    k: int


State = tuple[Scratch, Total, Factor]
"""What a row's entries are computed from."""


@compiled
def _put(columns: Columns, j: int, value: Number) -> None:
    """Store a number that is not 0, scaled to hi in [1/2, 1)."""
    shift = ((bits_of(value.h) >> 52) & EXPONENT) - BIAS + 1
    scale = float_of((BIAS - shift) << 52)
    columns.hi[j], columns.low[j] = scale * value.h, scale * value.low
    columns.radius[j] = np.float32(scale * value.radius * _UPWARD + _SMALLEST_RADIUS)
    columns.exponent[j], columns.side[j] = value.k + shift, 0


@compiled
def _put_tiny(columns: Columns, j: int, masked: bool, factor: Factor) -> None:
    """Store an exact 0, or a number of known sign too small to be computed."""
    columns.hi[j] = columns.low[j] = 0.0
    columns.radius[j] = 0.0 if masked else 1.0
    columns.exponent[j] = 0 if masked else _FAR_EXPONENT + factor.k
    columns.side[j] = 0 if masked else int(np.sign(factor.h))


@compiled
def _scaled(h: float, low: float, factor: Factor) -> Number:
    """f (h + low), known within VALUE_ERROR."""
    ph, pl = multiply(h, low, factor.h, factor.low)
    return Number(ph, pl, VALUE_ERROR * abs(ph), factor.k)


@compiled
def _put_complement(columns: Columns, j: int, q: Number, plain: Pair, factor: Factor) -> None:
    """Store f (1 - q): from q where it is small, else from the value `plain` that 1 - q is known to be."""
    power = power_of_two(q.k)
    # Up to 1/4 the difference is at least 3/4 and cancels nothing; beyond, `plain` was computed without a subtraction from 1.
    if power * q.h > 0.25:
        _put(columns, j, _scaled(plain[0], plain[1], factor))
        return
    ph, pl = multiply(power * q.h, power * q.low, factor.h, factor.low)
    first, rest = two_sum(factor.h, -ph)
    h, low = fast_two_sum(first, (factor.low - pl) + rest)
    rounded = 4.0 * UNIT * (abs(rest) + abs(pl) + abs(factor.low)) + factor.error * abs(factor.h)
    _put(columns, j, Number(h, low, VALUE_ERROR * abs(ph) + rounded + 2.0 * power_of_two(LOWEST), factor.k))
    # A q below 2^LOWEST leaves exactly f, which may be a midpoint: the value lies on the side of 0.
    if power == 0.0 and rounded == 0.0:
        columns.side[j] = -int(np.sign(factor.h))


@compiled
def _probability(j: int, top: int, state: State) -> Number:
    """p_j, not 0, within VALUE_ERROR, without the factor."""
    room, total, _ = state
    if j == top:
        return Number(total.inverse_h, total.inverse_l, 0.0, 0)
    qh, ql = multiply(room.h[j], room.low[j], total.share_h, total.share_l)
    return Number(qh, ql, 0.0, room.k[j] + total.k)


@compiled
def _rest_over_total(total: Total) -> Number:
    """R / S = 1 - p_c, to be scaled by 2^k, within VALUE_ERROR."""
    qh, ql = multiply(total.rest_h, total.rest_l, total.inverse_h, total.inverse_l)
    return Number(qh, ql, 0.0, total.k)


@compiled
def _others(q: Number, total: Total) -> Pair:
    """1 - p_j = 1/S + R/S - p_j for a class j <> c, whose p_j = q is at most 1/2."""
    r = _rest_over_total(total)
    a, b = power_of_two(r.k), power_of_two(q.k)
    nh, nl = add(total.inverse_h, total.inverse_l, a * r.h, a * r.low)
    return add(nh, nl, -b * q.h, -b * q.low)


@compiled
def put_gradient(x: Floats, top: int, target: int, columns: Columns, state: State) -> None:
    """Store the gradient of a row, f (p - e_t), entry by entry."""
    room, total, factor = state
    share = _scaled(total.share_h, total.share_l, factor)
    for j in range(x.size):
        ph, pl = multiply(room.h[j], room.low[j], share.h, share.low)
        _put(columns, j, Number(ph, pl, VALUE_ERROR * abs(ph), room.k[j] + total.k + factor.k))
    for j in range(x.size):
        if room.h[j] == 0.0:
            _put_tiny(columns, j, x[j] == -np.inf, factor)
    minus = Factor(-factor.h, -factor.low, factor.k, factor.error)
    rest = _rest_over_total(total)
    if top == target:
        least = _scaled(rest.h, rest.low, minus)
        _put(columns, top, Number(least.h, least.low, least.radius, least.k + rest.k))
        return
    _put_complement(columns, top, rest, (total.inverse_h, total.inverse_l), factor)
    q = _probability(target, top, state) if room.h[target] != 0.0 else Number(0.0, 0.0, 0.0, LOWEST - 1)
    _put_complement(columns, target, q, _others(q, total), minus)


@compiled
def put_loss(x: Floats, top: int, target: int, columns: Columns, total: Total) -> None:
    """Store the loss of a row, g_t + log1p(R), as entry 0, without a factor."""
    gh, gl = two_sum(x[top], -x[target])
    th, tl, k = total.rest_h, total.rest_l, total.k
    if k > _LINEAR:
        power = power_of_two(k)
        th, tl = log1p_wide(power * th, power * tl)
        k = 0
    radius = (LOG1P_ERROR + VALUE_ERROR) * th
    if gh == 0.0:
        _put(columns, 0, Number(th, tl, radius, k))
        return
    power = power_of_two(k)
    if power * th < _TINY_TAIL * gh:
        # Far below the gap, which is exact in two parts and may be a midpoint, the tail is told as its sign and a bound.
        _put(columns, 0, Number(gh, gl, 2.0 * power * th + 2.0**40 * power_of_two(LOWEST), 0))
        columns.side[0] = 1
        return
    first, rest = two_sum(gh, power * th)
    rounded = 4.0 * UNIT * (abs(gl) + abs(rest) + power * abs(tl))
    h, low = fast_two_sum(first, rest + (gl + power * tl))
    _put(columns, 0, Number(h, low, power * radius + rounded + 2.0**40 * power_of_two(LOWEST), 0))


@compiled
def _weighted_sums(v: Floats, top: int, room: Scratch) -> tuple[float, float, float]:
    """M = sum E_j w_j in two parts, and an upper bound of W = sum E_j |w_j|, what was left out of M included."""
    n = v.size
    half = (n + 1) // 2
    size, largest = 0.0, 0.0
    for j in range(n):
        power = power_of_two(room.k[j])
        wh, wl = two_sum(v[j], -v[top])
        mh, ml = multiply(power * room.h[j], power * room.low[j], wh, wl)
        size += abs(mh)
        largest = max(largest, abs(wh))
        if j < half:
            room.sum_h[j], room.sum_low[j] = mh, ml
        else:
            room.sum_h[j - half], room.sum_low[j - half] = add(room.sum_h[j - half], room.sum_low[j - half], mh, ml)
    mh, ml = pairwise(half, room)
    return mh, ml, size * (1.0 + 2.0**-20) + _LEFT_OUT * largest + (_UNDERFLOWN if largest > 0.0 else 0.0)


@compiled
def put_product(x: Floats, v: Floats, top: int, columns: Columns, state: State) -> None:
    """Store the Hessian-vector product of a row with the tangent v (K,)."""
    room, total, factor = state
    mh, ml, size = _weighted_sums(v, top, room)
    mh, ml = multiply(mh, ml, total.share_h, total.share_l)
    size *= total.share_h * (1.0 + 2.0**-40)
    power = power_of_two(total.k)
    for j in range(x.size):
        if size == 0.0 or x[j] == -np.inf:
            _put_tiny(columns, j, True, factor)
            continue
        if j != top and room.h[j] == 0.0:
            _put_tiny(columns, j, False, factor)
            columns.side[j] = 0
            columns.exponent[j] += _DIRECTIONS
            continue
        q = _probability(j, top, state)
        wh, wl = two_sum(v[j], -v[top])
        # At the largest class w is exactly 0: the difference is -<p, w>, whose power stays apart so that it cannot underflow.
        dh, dl = add(wh, wl, -power * mh, -power * ml) if j != top else (-mh, -ml)
        scale = power if j != top else 1.0
        off = (2.0 * VALUE_ERROR * scale + 2.0**-860) * size + 3.0 * UNIT * UNIT * (abs(wh) + scale * size) + _UNDERFLOWN
        dh, dl = multiply(dh, dl, q.h, q.low)
        value = _scaled(dh, dl, factor)
        radius = 2.0 * value.radius + off * q.h * abs(factor.h) * (1.0 + 2.0**-40)
        _put(columns, j, Number(value.h, value.low, radius, q.k + factor.k + (0 if j != top else total.k)))


@compiled
def put_hessian(x: Floats, top: int, columns: Columns, state: State) -> None:
    """Store the Hessian of a row, (i, j) as entry i K + j."""
    room, total, factor = state
    minus = Factor(-factor.h, -factor.low, factor.k, factor.error)
    classes = x.size
    for i in range(classes):
        for j in range(classes):
            place = i * classes + j
            gone = (i != top and room.h[i] == 0.0) or (j != top and room.h[j] == 0.0)
            if gone:
                _put_tiny(columns, place, x[i] == -np.inf or x[j] == -np.inf, factor if i == j else minus)
                continue
            p, q = _probability(i, top, state), _probability(j, top, state)
            if i != j:
                ph, pl = multiply(p.h, p.low, q.h, q.low)
                value, k = _scaled(ph, pl, minus), p.k + q.k
            else:
                rest = _rest_over_total(total)
                other = (rest.h, rest.low) if i == top else _others(q, total)
                ph, pl = multiply(p.h, p.low, other[0], other[1])
                value, k = _scaled(ph, pl, factor), p.k + (rest.k if i == top else 0)
            _put(columns, place, Number(value.h, value.low, 3.0 * value.radius, value.k + k))


class WideRows(NamedTuple):
    """Logits (N, K) with their targets, tangents (no columns if there are none) and factors."""

    logits: Floats
    target: Integers
    tangent: Floats
    factor_h: Floats
    factor_low: Floats
    factor_k: Integers
    factor_error: float


class Span(NamedTuple):
    """Which rows to evaluate, and where to say which of them were for this tier."""

    start: int
    stop: int
    taken: Bools


@compiled
def _line(columns: Columns, i: int) -> Columns:
    return Columns(columns.hi[i], columns.low[i], columns.radius[i], columns.exponent[i], columns.side[i])


@compiled
def _state_of(rows: WideRows, i: int, room: Scratch) -> tuple[int, State]:
    """The largest class of a row, -1 where the row is not for this tier, and what its entries are computed from."""
    x, target = rows.logits[i], rows.target[i]
    factor = Factor(rows.factor_h[i], rows.factor_low[i], rows.factor_k[i], rows.factor_error)
    top, second = extremes_of(x)
    if top < 0 or target < 0 or not (x[target] > -np.inf and x[top] - x[target] < _LARGEST_GAP):
        return -1, (room, Total(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0), factor)
    return top, (room, total_of(x, top, second, room), factor)


@compiled
def first_order(rows: WideRows, span: Span, loss: Columns, gradient: Columns) -> None:
    """Loss and gradient of the rows of a span."""
    room = scratch_for(rows.logits.shape[1])
    for i in range(span.start, span.stop):
        top, state = _state_of(rows, i, room)
        span.taken[i] = top >= 0
        if top >= 0 and loss.hi.shape[0] > 0:
            put_loss(rows.logits[i], top, rows.target[i], _line(loss, i), state[1])
        if top >= 0 and gradient.hi.shape[0] > 0:
            put_gradient(rows.logits[i], top, rows.target[i], _line(gradient, i), state)


@compiled
def second_order(rows: WideRows, span: Span, product: Columns, hessian: Columns) -> None:
    """Hessian-vector product and Hessian of the rows of a span."""
    room = scratch_for(rows.logits.shape[1])
    for i in range(span.start, span.stop):
        top, state = _state_of(rows, i, room)
        span.taken[i] = top >= 0
        if top >= 0 and product.hi.shape[0] > 0:
            put_product(rows.logits[i], rows.tangent[i], top, _line(product, i), state)
        if top >= 0 and hessian.hi.shape[0] > 0:
            put_hessian(rows.logits[i], top, _line(hessian, i), state)
