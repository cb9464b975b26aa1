"""The compiled passes over a batch of rows of two or three logits: every returned entry judged, what is undecided listed.

The first look is free of branches, so that LLVM vectorises it. It settles the entries that are accurate for certain, most of
them; the second looks at the others one by one and in full.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reference.bounds.entrywise import LESS_THAN_ALL
from reference.fast.compiled import compiled, inlined
from reference.fast.elementary import UNIT
from reference.fast.machine import FRACTION, bits_of, float_of
from reference.grades import FAITHFUL_ULPS
from suites.sweep.compiled.batch import BLOCK, Batch, Spot, SweptQuantity, expected_of, fill_expected, sign_of, spot_of
from suites.sweep.compiled.bound import gap_bound, least_bound
from suites.sweep.compiled.careful import careful_bound
from suites.sweep.compiled.constants import FormatConstants
from suites.sweep.compiled.entry import (
    ACCURATE,
    BELOW_ACCURATE,
    CORRECT,
    FAITHFUL,
    FINITE,
    MARGIN,
    NONE,
    STABLE,
    UNDECIDED,
    ExpectedEntry,
    JudgedEntry,
    absorbs_nothing,
    accurate_error,
    below_accurate,
    judge_entry,
)
from suites.sweep.compiled.tally import INF, NAN, OVER, WRONG, ZERO, SweepTally

_BELOW_ONE = 1 - 2.0**-40


@compiled
def _fill_ulps(
    observed: NDArray[np.float32],
    sign: float,
    expected: NDArray[np.float64],
    limits: FormatConstants,
    ulps: NDArray[np.float64],
) -> None:
    """Write the errors in ulps of a block; infinity where an entry may not be accurate, or a grade is not decided.

    The cases of `judge_entry`, without its branches.
    """
    hi, lo, radius = expected[0], expected[1], expected[2]
    emin, shift, most = limits.emin, 1022 + limits.precision, limits.overflow * _BELOW_ONE
    half, least = limits.half_subnormal * _BELOW_ONE, 2 * limits.half_subnormal * _BELOW_ONE
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
        kept = (number > 0.0) | (value < half) | ((number == 0.0) & (value < least))
        settled &= (value < most) & kept & (distance + slack < limits.accurate)
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
def _first_look(batch: Batch, observed: NDArray[np.float32], question: SweptQuantity, tally: SweepTally) -> NDArray[np.int64]:
    """Counts the settled entries of `observed` (E, N); the others are returned, as entry N + row."""
    classes, (entries, rows) = batch.x.shape[0], observed.shape
    quantity, limits = question.quantity, question.limits
    grades, worst_map, worst = tally.grades[quantity], tally.map[quantity], tally.worst
    expected, ulps = np.empty((3, BLOCK)), np.empty(BLOCK)
    found, count = np.empty(BLOCK + observed.size // 8, dtype=np.int64), 0
    for run in range(batch.cells.size):
        for first in range(batch.starts[run], batch.starts[run + 1], BLOCK):
            size = min(BLOCK, batch.starts[run + 1] - first)
            for k in range(entries):
                if k == 0 or classes > 2:
                    fill_expected(question, batch, first, k, expected[:, :size])
                _fill_ulps(observed[k, first : first + size], sign_of(question, k, classes), expected, limits, ulps[:size])
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
                        tally.worst_logits[quantity] = batch.x[:, first + i]
    return found[:count]


@inlined
def _graded(spot: Spot, question: SweptQuantity, expected: ExpectedEntry, judged: JudgedEntry) -> int:
    """The grade of an entry that is BELOW_ACCURATE: the bound decides, if it must."""
    q, declared = question.quantity, question.declared
    bound = least_bound(q, spot.probability, spot.entry, declared)
    if judged.error + judged.uncertainty > bound * _BELOW_ONE:
        bound = gap_bound(q, spot.row, spot.entry, declared)
    accurate = accurate_error(expected, question.limits)
    grade = below_accurate(judged, bound, accurate)
    if grade != STABLE:
        return grade
    value = expected.hi + expected.lo
    careful = careful_bound(q, spot.row, spot.entry, value, declared)
    return absorbs_nothing(judged, careful, accurate, value * LESS_THAN_ALL if value > declared.lost else np.inf)


@compiled
def _second_look(
    batch: Batch, observed: NDArray[np.float32], question: SweptQuantity, places: NDArray[np.int64], tally: SweepTally
) -> NDArray[np.int64]:
    """Counts entries (as `_first_look` lists them) with their classes, regions and errors; returns the undecided ones."""
    q, classes, rows, count = question.quantity, batch.x.shape[0], observed.shape[1], 0
    grades, worst_map, worst, failing, seen = tally.grades[q], tally.map[q], tally.worst, tally.failing[q], tally.seen[q]
    holds, box, x, gaps = np.zeros(5, dtype=np.bool_), tally.box[q], batch.x, batch.gaps
    for place in places:
        k, i = place // rows, place % rows
        value, expected = np.float64(observed[k, i]), expected_of(x, gaps, i, question, k)
        judged = judge_entry(value * sign_of(question, k, classes), expected, question.limits)
        grade = judged.grade
        if grade == BELOW_ACCURATE:
            grade = _graded(spot_of(x, gaps, i, k, question), question, expected, judged)
        if grade == UNDECIDED:
            places[count] = place
            count += 1
            continue
        grades[grade] += 1
        cell = batch.cells[np.searchsorted(batch.starts, i, "right") - 1]
        if grade > NONE and judged.ulps >= 0.0:
            worst_map[cell] = max(worst_map[cell], np.float32(judged.ulps))
            if judged.ulps > worst[q]:
                worst[q] = judged.ulps
                tally.worst_place[q, 0], tally.worst_place[q, 1] = question.target, k
                tally.worst_logits[q] = batch.x[:, i]
        holds[ZERO], holds[NAN] = judged.is_zero, value != value
        holds[INF] = abs(value) == np.inf and judged.kind_differs
        holds[WRONG], holds[OVER] = grade == NONE, grade == FINITE
        for which in range(5):
            if holds[which]:
                failing[which] += 1
                seen[cell] |= np.uint8(1 << which)
                _widen(box[which], x, gaps, i)
    return places[:count]


@inlined
def _widen(box: NDArray[np.float64], x: NDArray[np.float32], gaps: NDArray[np.float64], row: int) -> None:
    """Have the box of a kind of failure take in a row: its logits, and the gap between the two largest."""
    for n in range(box.shape[0]):
        number = np.float64(x[n, row]) if n < x.shape[0] else gaps[0, row]
        box[n, 0], box[n, 1] = min(box[n, 0], number), max(box[n, 1], number)


def judge_batch(batch: Batch, observed: NDArray[np.float32], question: SweptQuantity, tally: SweepTally) -> NDArray[np.int64]:
    """Judge all entries (E, N) of a quantity; returns the undecided ones, as entry N + row."""
    return _second_look(batch, observed, question, _first_look(batch, observed, question, tally), tally)
