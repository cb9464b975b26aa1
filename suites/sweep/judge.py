"""The compiled passes over a batch of rows of two logits: every returned entry judged and counted, what is undecided listed.

The first look is free of branches, so that LLVM vectorises it. It settles the entries that are accurate for certain, most of
them; the second looks at the others one by one and in full.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reference.fast.compiled import compiled, inlined
from reference.fast.elementary import UNIT
from reference.fast.machine import FRACTION, bits_of, float_of
from reference.grades import ACCURATE_ULPS, FAITHFUL_ULPS
from suites.sweep.declared import Declared, Limits
from suites.sweep.entry import (
    ACCURATE,
    BELOW_ACCURATE,
    CORRECT,
    FAITHFUL,
    FINITE,
    MARGIN,
    NONE,
    UNDECIDED,
    Owed,
    accurate_error,
    below_accurate,
    judge_entry,
)
from suites.sweep.gap_bound import GRADIENT, LOSS, gap_bound, least_bound
from suites.sweep.owed import Gap, gap_of, owed_curvature, owed_large, owed_loss, owed_small
from suites.sweep.tally import INF, NAN, OVER, WRONG, ZERO, Tally

_BLOCK = 512
"""Rows that are looked at together: their numbers stay in the first-level cache."""

_BELOW_ONE = 1 - 2.0**-40


class Question(NamedTuple):
    """A quantity, by its number, of rows of one target: the format it is returned in, and the declared arithmetic."""

    quantity: int
    target: int
    limits: Limits
    declared: Declared


class Batch(NamedTuple):
    """Rows (2, N), their gaps as `fill_gaps` writes them, and which of them lie together in a bin of the map.

    Rows starts[r] to starts[r + 1] lie in the bin cells[r].
    """

    x: NDArray[np.float32]
    gaps: NDArray[np.float64]
    starts: NDArray[np.int64]
    cells: NDArray[np.int64]


@compiled
def fill_gaps(x: NDArray[np.float32], gaps: NDArray[np.float64]) -> None:
    """Write gap, rest, power and log of rows (2, N) into (4, N); see `suites.sweep.owed.Gap`."""
    one, two = np.empty((2, _BLOCK)), np.empty((2, _BLOCK))
    for first in range(0, x.shape[1], _BLOCK):
        size = min(_BLOCK, x.shape[1] - first)
        x0, x1 = x[0, first : first + size], x[1, first : first + size]
        # Two loops of few arrays each: LLVM does not vectorise a loop that writes to four.
        for i in range(size):
            g = gap_of(np.float64(x0[i]), np.float64(x1[i]))
            one[0, i], one[1, i] = g.gap, g.rest
        for i in range(size):
            g = gap_of(np.float64(x0[i]), np.float64(x1[i]))
            two[0, i], two[1, i] = g.power, g.log
        gaps[:2, first : first + size], gaps[2:, first : first + size] = one[:, :size], two[:, :size]


@inlined
def _owed(quantity: int, g: Gap, at_top: bool) -> Owed:
    """The size of every entry of a quantity of a row whose target is at the larger logit, or not."""
    if quantity == LOSS:
        return owed_loss(g, at_top)
    if quantity == GRADIENT:
        return owed_small(g) if at_top else owed_large(g)
    return owed_curvature(g)


@inlined
def sign_of(question: Question, entry: int) -> float:
    """That of the true value: the gradient at the target and the Hessian off its diagonal are negative."""
    if question.quantity == LOSS:
        return 1.0
    if question.quantity == GRADIENT:
        return -1.0 if entry == question.target else 1.0
    return -1.0 if entry == 1 or entry == 2 else 1.0


@inlined
def owed_of(batch: Batch, row: int, question: Question) -> Owed:
    """What is owed to the entries of a row."""
    g = Gap(batch.gaps[0, row], batch.gaps[1, row], batch.gaps[2, row], batch.gaps[3, row])
    at_top = (g.gap == 0.0) | ((batch.x[0, row] >= batch.x[1, row]) == (question.target == 0))
    return _owed(question.quantity, g, at_top)


@compiled
def _fill_owed(question: Question, batch: Batch, first: int, owed: NDArray[np.float64]) -> None:
    """Write hi, lo and radius of a block of rows into (3, size)."""
    size = owed.shape[1]
    x0, x1 = batch.x[0, first : first + size], batch.x[1, first : first + size]
    gap, rest = batch.gaps[0, first : first + size], batch.gaps[1, first : first + size]
    power, log = batch.gaps[2, first : first + size], batch.gaps[3, first : first + size]
    hi, lo, radius = owed[0], owed[1], owed[2]
    is_first, quantity = question.target == 0, question.quantity
    for i in range(size):
        at_top = (gap[i] == 0.0) | ((x0[i] >= x1[i]) == is_first)
        y = _owed(quantity, Gap(gap[i], rest[i], power[i], log[i]), at_top)
        hi[i], lo[i], radius[i] = y.hi, y.lo, y.radius


@compiled
def _fill_ulps(
    observed: NDArray[np.float32], sign: float, owed: NDArray[np.float64], limits: Limits, ulps: NDArray[np.float64]
) -> None:
    """Write the errors in ulps of a block; infinity where an entry may not be accurate, or a grade is not decided.

    The cases of `judge_entry`, without its branches.
    """
    hi, lo, radius = owed[0], owed[1], owed[2]
    emin, shift, most = limits.emin, 1022 + limits.precision, limits.overflow * _BELOW_ONE
    half = limits.half_subnormal * _BELOW_ONE
    for i in range(ulps.shape[0]):
        value = hi[i] + lo[i]
        encoding, highest = bits_of(value), bits_of(hi[i])
        fraction = encoding & FRACTION
        at_power = ((highest & FRACTION) == 0) & (lo[i] != 0.0)
        below = at_power & (lo[i] < 0.0) & (value == hi[i])
        exponent = (encoding >> 52) - (1024 if below else 1023)
        settled = at_power | ((fraction >= MARGIN) & (fraction <= FRACTION - MARGIN)) | (exponent < emin - 1)
        scale = float_of((shift - max(exponent, emin)) << 52)
        number = np.float64(observed[i]) * sign
        error = abs((number - hi[i]) - lo[i])
        distance = error * scale
        slack = (radius[i] + 2 * UNIT * error) * scale
        settled &= (value < most) & ((number != 0.0) | (value < half)) & (distance + slack < ACCURATE_ULPS)
        settled &= (abs(distance - 0.5) > slack) & (abs(distance - FAITHFUL_ULPS) > slack)
        ulps[i] = distance if settled else np.inf


@compiled
def _count_settled(ulps: NDArray[np.float64], grades: NDArray[np.int64]) -> float:
    """Count the grades of the settled entries of a block; their largest error in ulps, -1 where there are none."""
    correct, faithful, accurate, worst = 0, 0, 0, -1
    for i in range(ulps.shape[0]):
        encoding = bits_of(ulps[i])
        is_settled = ulps[i] < np.inf
        correct += 1 if ulps[i] < 0.5 else 0
        faithful += 1 if ulps[i] < FAITHFUL_ULPS else 0
        accurate += 1 if is_settled else 0
        # Nonnegative numbers are in the order of their encodings, whose maximum LLVM vectorises.
        worst = max(worst, encoding if is_settled else -1)
    grades[CORRECT] += correct
    grades[FAITHFUL] += faithful - correct
    grades[ACCURATE] += accurate - faithful
    return -1.0 if worst < 0 else float_of(worst)


@compiled
def _first_look(batch: Batch, observed: NDArray[np.float32], question: Question, tally: Tally) -> NDArray[np.int64]:
    """Counts the settled entries of `observed` (E, N); the others are returned, as entry N + row."""
    entries, rows = observed.shape
    quantity, limits = question.quantity, question.limits
    grades, worst_map, worst = tally.grades[quantity], tally.map[quantity], tally.worst
    owed, ulps = np.empty((3, _BLOCK)), np.empty(_BLOCK)
    found, count = np.empty(_BLOCK + observed.size // 8, dtype=np.int64), 0
    for run in range(batch.cells.size):
        for first in range(batch.starts[run], batch.starts[run + 1], _BLOCK):
            size = min(_BLOCK, batch.starts[run + 1] - first)
            _fill_owed(question, batch, first, owed[:, :size])
            for k in range(entries):
                _fill_ulps(observed[k, first : first + size], sign_of(question, k), owed, limits, ulps[:size])
                before = grades[CORRECT] + grades[FAITHFUL] + grades[ACCURATE]
                highest = _count_settled(ulps[:size], grades)
                worst_map[batch.cells[run]] = max(worst_map[batch.cells[run]], np.float32(highest))
                is_new = highest > worst[quantity]
                if not is_new and grades[CORRECT] + grades[FAITHFUL] + grades[ACCURATE] - before == size:
                    continue
                if count + size > found.size:
                    longer = np.empty(2 * found.size, dtype=np.int64)
                    longer[:count] = found[:count]
                    found = longer
                for i in range(size):
                    if ulps[i] == np.inf:
                        found[count] = k * rows + first + i
                        count += 1
                    elif is_new and ulps[i] == highest:
                        worst[quantity] = highest
                        tally.worst_place[quantity, 0], tally.worst_place[quantity, 1] = question.target, k
                        tally.worst_logits[quantity, 0] = batch.x[0, first + i]
                        tally.worst_logits[quantity, 1] = batch.x[1, first + i]
    return found[:count]


@compiled
def _second_look(
    batch: Batch, observed: NDArray[np.float32], question: Question, places: NDArray[np.int64], tally: Tally
) -> NDArray[np.int64]:
    """Counts entries (as `_first_look` lists them) with their classes, regions and errors; returns the undecided ones."""
    q, target, limits, declared = question.quantity, question.target, question.limits, question.declared
    grades, worst_map, worst = tally.grades[q], tally.map[q], tally.worst
    failing, seen, box = tally.failing[q], tally.seen[q], tally.box[q]
    holds = np.zeros(5, dtype=np.bool_)
    rows, count = observed.shape[1], 0
    for place in places:
        k, i = place // rows, place % rows
        x0, x1 = np.float64(batch.x[0, i]), np.float64(batch.x[1, i])
        g = Gap(batch.gaps[0, i], batch.gaps[1, i], batch.gaps[2, i], batch.gaps[3, i])
        top = 0 if x0 >= x1 else 1
        owed = owed_of(batch, i, question)
        value = np.float64(observed[k, i])
        verdict = judge_entry(value * sign_of(question, k), owed, limits)
        grade = verdict.grade
        if grade == BELOW_ACCURATE:
            index = target if q == LOSS else k if q == GRADIENT else k // 2
            own = 0.0 if index == top else g.gap
            at = index == target if q == GRADIENT else k == 0 or k == 3
            probability = (1.0 if index == top else g.power) / (1.0 + g.power)
            bound = least_bound(q, probability, own, at, declared)
            if verdict.error + verdict.uncertainty > bound * _BELOW_ONE:
                bound = gap_bound(q, g.gap, own, at, declared)
            grade = below_accurate(verdict, bound, accurate_error(owed, limits))
        if grade == UNDECIDED:
            places[count] = place
            count += 1
            continue
        grades[grade] += 1
        cell = batch.cells[np.searchsorted(batch.starts, i, "right") - 1]
        if grade > NONE and verdict.ulps >= 0.0:
            worst_map[cell] = max(worst_map[cell], np.float32(verdict.ulps))
            if verdict.ulps > worst[q]:
                worst[q] = verdict.ulps
                tally.worst_place[q, 0], tally.worst_place[q, 1] = target, k
                tally.worst_logits[q, 0], tally.worst_logits[q, 1] = x0, x1
        holds[ZERO], holds[NAN] = verdict.is_zero, value != value
        holds[INF] = abs(value) == np.inf and verdict.class_differs
        holds[WRONG], holds[OVER] = grade == NONE, grade == FINITE
        for which in range(5):
            if holds[which]:
                failing[which] += 1
                seen[cell] |= np.uint8(1 << which)
                box[which, 0, 0], box[which, 0, 1] = min(box[which, 0, 0], x0), max(box[which, 0, 1], x0)
                box[which, 1, 0], box[which, 1, 1] = min(box[which, 1, 0], x1), max(box[which, 1, 1], x1)
                box[which, 2, 0], box[which, 2, 1] = min(box[which, 2, 0], g.gap), max(box[which, 2, 1], g.gap)
    return places[:count]


def judge_pairs(batch: Batch, observed: NDArray[np.float32], question: Question, tally: Tally) -> NDArray[np.int64]:
    """Judge all entries (E, N) of a quantity; returns the undecided ones, as entry N + row."""
    return _second_look(batch, observed, question, _first_look(batch, observed, question, tally), tally)
