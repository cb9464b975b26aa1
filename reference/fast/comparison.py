"""Compares what an operation returned for a batch of rows with the certified softmax, row by row, in one compiled pass.

For formats up to float32, class indices, reduction 'none' or 'sum' and a cotangent of 1: the loss g_t + log1p(R) and the
gradient p - e_t (R, S = 1 + R as in `reference.fast.sums`). An error in ulps is |observed - y| / ulp(y), as
`reference.enclosure.Enclosure.ulps_from` has it; nothing is rounded to decide whether a result is correctly rounded: it
is, exactly where its error is below half an ulp.

Relative errors in units of u = 2^-53 (rho = R_ROUNDINGS + log((K - 1) / R), `reference.fast.sums`):

    S            rho R / S + 1                       1 / S, one more
    p_j          2 + g_j + rho min(R, 1) + 3         and g_j <= -log p_j <= -log2(p_j) log 2
    1 - p_top    as 1 - R/S; R/S is off by rho + 3   the difference is taken from the observation, whose error it is
    1 - p_t      as 1 - p_t, or (1 + (R - E_t)) / S where p_t > 1/4: 2 rho + 8
    loss         log1p(R): rho + 6; g_t = m - x_t is exact in two parts

Per row the largest of these, for a p_j in the normal range of the format (below it the ulp no longer shrinks with p_j, its
error does), is the uncertainty of all its errors in ulps: 2^precision u (...). What lies within it of half an ulp
gets a second look in double-double; what that leaves open, and what lies so near to a power of two that its ulp is not
known, is counted as undecided: the next tier has to decide it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reference.fast.compiled import compiled
from reference.fast.double_double import multiply, two_sum
from reference.fast.elementary import LOG1P_ERROR, UNIT, log1p_unit
from reference.fast.machine import BIAS, EXPONENT, FRACTION, bits_of, float_of
from reference.fast.sums import LN2_ABOVE, Frame, Rounded, frame_of
from reference.fast.wide_sums import extremes_of, power_of_two, scratch_for, total_of
from reference.formats import Floats, Integers

_PIECE = 256
"""Classes between two looks at the worst error so far."""

_SECOND_LOOK = 2.0**-50
"""Uncertainty in ulps of an error near 1/2 of a double-double probability: 2^24 VALUE_ERROR, and the rounding of the error."""

_INFINITE_BITS = 0x7FF0000000000000


class ComparedRows(NamedTuple):
    """What is compared: logits (N, K), class indices (N,), returned losses (N,) and gradients (N, K), and their format."""

    logits: Rounded
    target: Integers
    loss: Rounded
    gradient: Rounded
    precision: int
    emin: int


class Ruler(NamedTuple):
    """How ulps of one row are measured: the format, the row's 1/S, its uncertainty in ulps and in last bits of a float64."""

    precision: int
    emin: int
    inverse: float
    uncertainty: float
    width: int


class Seen(NamedTuple):
    """What a scan saw: encoding and class of the worst error, entries beyond half an ulp, undecided, and absorbed ones."""

    worst: int
    place: int
    wrong: int
    undecided: int
    absorbed: int


@compiled
def _scale_of(value: float, precision: int, emin: int) -> float:
    """1 / ulp(value) in the format, exactly: a power of two that float64 holds."""
    binade = max(((bits_of(value) >> 52) & EXPONENT) - BIAS, emin)
    return float_of((BIAS + precision - 1 - binade) << 52)


@compiled
def _error_of(value: float, observed: float, ruler: Ruler) -> float:
    """|observed - value| / ulp(value)."""
    return abs(observed - value) * _scale_of(value, ruler.precision, ruler.emin)


@compiled
def _is_ambiguous(value: float, error: float, ruler: Ruler) -> bool:
    """True where the value may lie on the other side of a power of two, and where that matters."""
    near = ((bits_of(value) + ruler.width) & FRACTION) < 2 * ruler.width
    # Below a power of two the ulp is half of that above: an error up to 1/4 is at most 1/2 in either.
    return near and error > 0.25


@compiled
def _scan_piece(e: Floats, observed: Rounded, ruler: Ruler) -> Seen:
    """The errors of probabilities E_j / S; `place` is not looked for."""
    worst, wrong, undecided, absorbed = 0, 0, 0, 0
    for j in range(e.size):
        p = e[j] * ruler.inverse
        seen = np.float64(observed[j])
        error = _error_of(p, seen, ruler)
        worst = max(worst, bits_of(error))
        wrong += error > 0.5
        undecided += (abs(error - 0.5) <= ruler.uncertainty) | _is_ambiguous(p, error, ruler)
        absorbed += (seen == 0.0) & (error > 0.5)
    return Seen(worst, -1, wrong, undecided, absorbed)


@compiled
def _merged(a: Seen, b: Seen) -> Seen:
    first = a if a.worst >= b.worst else b
    return Seen(first.worst, first.place, a.wrong + b.wrong, a.undecided + b.undecided, a.absorbed + b.absorbed)


@compiled
def _scan(e: Floats, observed: Rounded, ruler: Ruler) -> Seen:
    """The errors of all probabilities E_j / S."""
    seen = Seen(0, 0, 0, 0, 0)
    for start in range(0, e.size, _PIECE):
        part = _scan_piece(e[start : start + _PIECE], observed[start : start + _PIECE], ruler)
        seen = _merged(seen, Seen(part.worst, start, part.wrong, part.undecided, part.absorbed))
    for j in range(seen.place, e.size):
        if bits_of(_error_of(e[j] * ruler.inverse, np.float64(observed[j]), ruler)) == seen.worst:
            return Seen(seen.worst, j, seen.wrong, seen.undecided, seen.absorbed)
    return seen


@compiled
def _judged(value: float, error: float, seen: float, index: int, ruler: Ruler) -> Seen:
    """One entry with its error in ulps."""
    undecided = abs(error - 0.5) <= ruler.uncertainty or _is_ambiguous(value, error, ruler)
    return Seen(bits_of(error), index, int(error > 0.5), int(undecided), int(seen == 0.0 and error > 0.5))


@compiled
def _judge_complement(q: float, value: float, seen: float, index: int, ruler: Ruler) -> Seen:
    """An entry 1 - q: from q where that is small, else from `value`."""
    if q > 0.25:
        return _judged(value, _error_of(value, seen, ruler), seen, index, ruler)
    # 1 - q is at least 3/4 and below 1, whatever float64 makes of it.
    return _judged(0.75, abs((seen - 1.0) + q) * _scale_of(0.75, ruler.precision, ruler.emin), seen, index, ruler)


@compiled
def _ruler_of(frame: Frame, precision: int, emin: int) -> Ruler:
    """How the row is measured; the head of this file has the terms."""
    smallest = LN2_ABOVE * (1 - emin)
    # The lines "p_j" and "1 - p_t" of the head, each with one to spare; the larger holds for every entry.
    roundings = max(2.0 + smallest + frame.rho * min(frame.rest, 1.0) + 4.0, 2.0 * frame.rho + 9.0)
    return Ruler(precision, emin, 1.0 / (1.0 + frame.rest), roundings * UNIT * 2.0**precision, int(roundings) + 2)


@compiled
def _settled(x: Rounded, e: Floats, observed: Rounded, ruler: Ruler, seen: Seen) -> Seen:
    """What a scan has seen, after a second look, in double-double, at the probabilities whose error is nearly half an ulp."""
    row = np.empty(x.size)
    row[:] = x
    top, second = extremes_of(row)
    if top < 0:
        return seen
    room = scratch_for(x.size)
    total = total_of(row, top, second, room)
    wrong, undecided, absorbed = seen.wrong, 0, seen.absorbed
    for j in range(x.size):
        p, found = e[j] * ruler.inverse, np.float64(observed[j])
        error = _error_of(p, found, ruler)
        if _is_ambiguous(p, error, ruler):
            undecided += 1
        elif abs(error - 0.5) <= ruler.uncertainty:
            h, low = multiply(room.h[j], room.low[j], total.share_h, total.share_l)
            power = power_of_two(room.k[j] + total.k)
            nearer = abs((found - power * h) - power * low) * _scale_of(p, ruler.precision, ruler.emin)
            change = int(nearer > 0.5) - int(error > 0.5)
            wrong += change
            absorbed += change if found == 0.0 else 0
            undecided += int(abs(nearer - 0.5) <= _SECOND_LOOK)
    return Seen(seen.worst, seen.place, wrong, undecided, absorbed)


@compiled
def _judge_gradient(x: Rounded, e: Floats, observed: Rounded, frame: Frame, ruler: Ruler) -> Seen:
    """All entries of the row: first the probabilities, then the entries of the largest class and of the target."""
    top, target = frame.top, frame.target
    p_target = e[target] * ruler.inverse
    others = (1.0 + (frame.rest - e[target])) * ruler.inverse
    # In the scan, which has no branches, these two agree with what was observed, whatever it is.
    e[top], e[target] = observed[top] / ruler.inverse, observed[target] / ruler.inverse
    seen = _scan(e, observed, ruler)
    if seen.undecided > 0:
        seen = _settled(x, e, observed, ruler, seen)
    q = frame.rest * ruler.inverse
    if top == target:
        value = -np.float64(observed[top])
        return _merged(seen, _judged(q, _error_of(q, value, ruler), value, top, ruler))
    seen = _merged(seen, _judge_complement(q, ruler.inverse, np.float64(observed[top]), top, ruler))
    return _merged(seen, _judge_complement(p_target, others, -np.float64(observed[target]), target, ruler))


@compiled
def _judge_loss(x: Rounded, observed: float, frame: Frame, ruler: Ruler) -> tuple[Seen, float]:
    """The loss g_t + log1p(R), and the uncertainty of its error in ulps."""
    largest, other = np.float64(x[frame.top]), np.float64(x[frame.target])
    gap, lost = two_sum(largest, -other)
    tail = log1p_unit(frame.rest)
    value = gap + tail
    scale = _scale_of(value, ruler.precision, ruler.emin)
    # In this order: observed - gap is small and loses little, observed - value would lose what the tail has below the gap.
    error = abs((observed - gap) - (lost + tail)) * scale
    rounded = (frame.rho + LOG1P_ERROR / UNIT + 2.0) * tail + 2.0 * (abs(observed - gap) + abs(lost))
    uncertainty = UNIT * rounded * scale
    own = Ruler(ruler.precision, ruler.emin, ruler.inverse, uncertainty, ruler.width)
    return _judged(value, error, observed, frame.target, own), uncertainty


@compiled
def compare_rows(batch: ComparedRows, tops: Integers, span: tuple[int, int], numbers: Floats, counts: Integers) -> None:
    """Compare the rows of a span, whose largest classes are `tops`; a row that is not for this file keeps its zeros.

    Numbers: worst error of the gradient and its uncertainty, the same of the loss. Counts: 1 for a row that was compared, then
    of the gradient the class of the worst error and entries that are not correct, undecided and absorbed; the same of the loss.
    """
    powers = np.empty(batch.logits.shape[1])
    for i in range(span[0], span[1]):
        x = batch.logits[i]
        frame = frame_of(x, tops[i], batch.target[i], powers)
        if frame.rest == 0.0:
            continue
        ruler = _ruler_of(frame, batch.precision, batch.emin)
        gradient = _judge_gradient(x, powers, batch.gradient[i], frame, ruler)
        loss, uncertainty = _judge_loss(x, np.float64(batch.loss[i]), frame, ruler)
        for k, number in enumerate((float_of(gradient.worst), ruler.uncertainty, float_of(loss.worst), uncertainty)):
            numbers[i, k] = number
        done = int(gradient.worst < _INFINITE_BITS and loss.worst < _INFINITE_BITS)
        found = (gradient.place, gradient.wrong, gradient.undecided, gradient.absorbed)
        for k, count in enumerate((done, *found, loss.wrong, loss.undecided, loss.absorbed)):
            counts[i, k] = count
