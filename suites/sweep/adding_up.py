"""Whether the counts of a tally agree with one another, as those of every honest sweep do: a journal may be forged."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from reference.grades import Grade
from suites.sweep.compiled.tally import FAILURES, OVER, QUANTITIES, WRONG, SweepTally


def fault_of(tally: SweepTally, rows: int, undecided: int) -> str:
    """What does not add up in a tally of so many questions, in words; empty if all does."""
    return next(_faults(tally, rows, undecided), "")


def _faults(tally: SweepTally, rows: int, undecided: int) -> Iterator[str]:
    entries = tally.grades.sum(axis=1)
    if undecided > entries.sum():
        yield f"{undecided} entries were undecided, and there are {entries.sum()}"
    for q, name in enumerate(QUANTITIES):
        asked = rows * entries_of(q, tally.worst_logits.shape[1])
        if entries[q] not in (0, asked):
            yield f"grades of {name} add up to {entries[q]}; allowed: {asked} for {rows} rows, or 0"
        yield from (f"{name}: {fault}" for fault in (*_failures(tally, q, int(entries[q])), *_worst(tally, q)))


def entries_of(quantity: int, classes: int) -> int:
    """How many numbers one question has of a quantity: the loss is one, a gradient has one a class, a Hessian a pair."""
    return int(classes**quantity)


def _failures(tally: SweepTally, q: int, entries: int) -> Iterator[str]:
    """What is wrong with the kinds of failure of a quantity, and with their boxes and bins."""
    failing, grades = tally.failing[q], tally.grades[q]
    if (failing > entries).any():
        yield f"more entries fail ({failing.max()}) than there are ({entries})"
    for which, grade in ((WRONG, Grade.NONE), (OVER, Grade.FINITE)):
        if failing[which] != grades[grade]:
            yield f"{failing[which]} entries are {FAILURES[which]} and {grades[grade]} reach {grade.label}; allowed: as many"
    if (tally.seen[q] >> len(FAILURES)).any():
        yield "a bin has a kind of failure that there is not"
    for which, kind in enumerate(FAILURES):
        if bool(failing[which]) != bool(((tally.seen[q] >> which) & 1).any()):
            yield f"{failing[which]} entries are {kind}, and the map says otherwise"
        if not _is_box(tally.box[q, which], bool(failing[which])):
            yield f"the region of {kind} has no least and largest"


def _is_box(box: NDArray[np.float64], is_filled: bool) -> bool:
    """True if the ends of each number are those of some rows, or of none."""
    low, high = box[:, 0], box[:, 1]
    if is_filled:
        return bool(np.isfinite(box).all() and (low <= high).all())
    return bool((low == np.inf).all() and (high == -np.inf).all())


def _worst(tally: SweepTally, q: int) -> Iterator[str]:
    """What is wrong with the worst error of a quantity, its place and the map of errors."""
    worst, (target, entry), logits = tally.worst[q], tally.worst_place[q], tally.worst_logits[q]
    if not (worst >= 0 or worst == -1):
        yield f"the worst error is {worst}; allowed: ulps, or -1 for none"
    if tally.map[q].max() != np.float32(worst) or not ((tally.map[q] >= 0) | (tally.map[q] == -1)).all():
        yield f"the worst error is {worst}, and that of the map {tally.map[q].max()}"
    if worst >= 0 and not (0 <= target < len(logits) and 0 <= entry < entries_of(q, len(logits)) and np.isfinite(logits).all()):
        yield f"the worst error has no place: target {target}, entry {entry}, logits {logits.tolist()}"
    if worst == -1 and not (target == entry == -1 and np.isnan(logits).all()):
        yield f"there is no worst error, and it has a place: target {target}, entry {entry}, logits {logits.tolist()}"
