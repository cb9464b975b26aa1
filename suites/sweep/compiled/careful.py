"""The bound of `componentwise` for two or three logits, compiled; the sibling of bound.py for what absorbs nothing.

The formulas are those of `reference.bounds` (componentwise.py, analysis.py, running.py), written out for a class index and no
option. Symbols are as there. tests/test_sweep_judge.py holds the two to each other.
"""

from __future__ import annotations

from math import exp, inf, isnan, log1p
from sys import float_info
from typing import NamedTuple

from reference.bounds.entrywise import SLACK
from reference.fast.compiled import compiled, inlined
from suites.sweep.compiled.bound import GRADIENT, LOSS, Below, Entry, power_error
from suites.sweep.compiled.constants import Declared

LARGEST = float_info.max
"""In the place of an infinite bound: times 0 it is no NaN."""


class _Part(NamedTuple):
    """A number of at most `size`, computed with an error of at most `error`."""

    size: float
    error: float


class _Sums(NamedTuple):
    """Of a row: R and its absolute error, S = 1 + R and its relative error, and what a quotient by S adds."""

    others: float
    others_error: float
    total: float
    sum_error: float
    divided: float


@inlined
def _combined(one: float, other: float) -> float:
    return one + other + one * other


@inlined
def _rounded(part: _Part, c: Declared) -> _Part:
    return _Part(part.size, part.error + (part.size + part.error) * c.unit + c.working_underflow * (1 + c.unit))


@inlined
def _times(one: _Part, other: _Part, c: Declared) -> _Part:
    error = one.error * (other.size + other.error) + one.size * other.error
    return _rounded(_Part(one.size * other.size, error), c)


@compiled
def _sums_of(row: Below, c: Declared) -> _Sums:
    others, error = 0.0, c.omega_sum
    for gap in (row.gap, row.far):
        power, rescaled = exp(-gap), 2 if gap > row.gap else 1
        others += power
        error += power * _combined(power_error(gap, rescaled, c), c.grown) if power > 0.0 else 0.0
    total = 1.0 + others
    eta = (error + max(c.grown, c.unit) * (total + error)) / total
    divided = _combined(eta / (1 - eta), c.unit) if eta < 1 else inf
    inverted = c.inverse + c.lost_inverse * (total * (1 + eta))
    return _Sums(others, error, total, eta, _combined(divided, inverted))


@compiled
def _loss_error(sums: _Sums, own: float, c: Declared) -> float:
    tail, moved = log1p(sums.others), sums.others_error / sums.total
    error = -log1p(-moved) if moved < 1 else inf
    error += c.lambda_ * (tail + error)
    error += c.unit * own
    return error + c.unit * (own + tail) + c.unit * error + c.working_underflow


@compiled
def _probability(sums: _Sums, own: float, c: Declared) -> _Part:
    size = exp(-own) / sums.total
    error = size * _combined(power_error(own, 1, c), sums.divided) if size > 0.0 else 0.0
    return _rounded(_Part(size, error + _lost(own, c)), c)


@inlined
def _lost(own: float, c: Declared) -> float:
    """What a quotient of a power by S loses to underflow."""
    return 2 * c.omega + (c.omega_rescaled if own > 0.0 else 0.0) + c.working_underflow


@compiled
def _complement(sums: _Sums, own: float, is_alone: bool, c: Declared) -> _Part:
    """1 - p, by the sum of the others; `is_alone` at a maximum without its equal."""
    power = exp(-own)
    rest = sums.others if own == 0.0 else sums.total - power
    error = sums.sum_error * sums.total + (power * power_error(own, 1, c) if power > 0.0 else 0.0)
    error += c.unit * (rest + error)
    if is_alone:
        error = sums.others_error
    error = (error + (rest + error) * sums.divided) / sums.total + _lost(own, c)
    return _rounded(_Part(rest / sums.total, error), c)


@inlined
def _finished(part: _Part, c: Declared) -> float:
    """The error behind the cotangent, which is 1, and another order of the factors."""
    given = _rounded(part, c)
    lost = c.extra * c.working_underflow * (1 + c.finished)
    return given.error + (given.size + given.error) * c.finished + lost


@compiled
def careful_bound(quantity: int, row: Below, entry: Entry, value: float, c: Declared) -> float:
    """Largest absolute error that `componentwise` allows an entry whose value is `value` > 0."""
    sums, alone = _sums_of(row, c), entry.own == 0.0 and row.gap > 0.0
    if quantity == LOSS:
        error = _loss_error(sums, entry.own, c)
    elif quantity == GRADIENT:
        part = _complement(sums, entry.own, alone, c) if entry.at else _probability(sums, entry.own, c)
        part = _rounded(part, c)
        error = _finished(_rounded(_Part(part.size, part.error + c.working_underflow * (1 + c.unit)), c), c)
    else:
        # Along the unit vector of the entry's row: its own part of the deviation, times the probability of the column.
        along = _complement(sums, entry.own, alone, c) if entry.at else _probability(sums, entry.own, c)
        product = _times(_probability(sums, entry.other, c), _rounded(along, c), c)
        error = _finished(_rounded(product, c), c)
    bound = LARGEST if isnan(error) else min(error * SLACK, LARGEST)
    return bound + c.last_store * value + c.last_store * bound + c.last_underflow
