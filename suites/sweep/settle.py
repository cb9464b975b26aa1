"""Settles what the compiled pass leaves undecided, by the exact tier and `Measurement`: no rounding is guessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.operation import Operation
from reference.evaluation import evaluate
from reference.formats import Format
from reference.grades import Grade
from reference.problem import Problem
from suites.judging.measurement import Measurement
from suites.sweep.compiled.tally import INF, NAN, OVER, QUANTITIES, WRONG, ZERO, SweepTally

_AT_ONCE = 1024
"""Rows that the exact tier is asked for at once."""


@dataclass(frozen=True, eq=False)
class Undecided:
    """Entries (E of `observed` (E, N) each, as entry N + row) of one quantity of rows of one target."""

    quantity: int
    target: int
    places: NDArray[np.int64]
    logits: NDArray[Any]
    observed: NDArray[np.float32]
    starts: NDArray[np.int64]
    cells: NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """One of them: its row in a measurement, its entry, and its bin."""

    of: Undecided
    row: int
    entry: int
    cell: int


def measured(operation: Operation, fmt: Format, logits: NDArray[Any], target: int, quantity: int, observed: Any) -> Measurement:
    """What the exact tier says of returned numbers (N, ...) of rows of one target."""
    asked = QUANTITIES[quantity]
    returned = operation.returned(asked, fmt)
    rows = np.asarray(logits, dtype=np.float64)
    problem = Problem(rows, np.full(len(rows), target, dtype=np.int64), returned)
    expected = evaluate(problem, (asked,))[asked]
    arithmetic = operation.arithmetic_of(asked, fmt)
    values = np.asarray(observed, dtype=np.float64).reshape(expected.values.shape)
    return Measurement(problem, asked, arithmetic, expected, values)


def settle(operation: Operation, fmt: Format, undecided: Undecided, tally: SweepTally) -> None:
    """Count the undecided entries in the tally, as the exact tier judges them."""
    rows, where = np.unique(undecided.places % undecided.observed.shape[1], return_inverse=True)
    entries = undecided.places // undecided.observed.shape[1]
    cells = undecided.cells[np.searchsorted(undecided.starts, rows, "right") - 1]
    for first in range(0, len(rows), _AT_ONCE):
        part = rows[first : first + _AT_ONCE]
        logits, observed = undecided.logits[part], undecided.observed[:, part].T
        measurement = measured(operation, fmt, logits, undecided.target, undecided.quantity, observed)
        for row, entry in zip(where, entries, strict=True):
            if first <= row < first + len(part):
                _note(tally, Found(undecided, int(row) - first, int(entry), int(cells[row])), measurement)


def _note(tally: SweepTally, found: Found, measurement: Measurement) -> None:
    q, x, cell = found.of.quantity, measurement.problem.logits[found.row], found.cell

    def at(table: NDArray[Any]) -> Any:
        return table.reshape(len(measurement.problem.logits), -1)[found.row, found.entry]

    grade, ulps, value = int(at(measurement.grades)), float(at(measurement.ulps)), float(at(measurement.observed))
    tally.grades[q, grade] += 1
    if at(measurement.measurable):
        tally.map[q, cell] = max(tally.map[q, cell], np.float32(ulps))
        if ulps > tally.worst[q]:
            tally.worst[q] = ulps
            tally.worst_place[q] = found.of.target, found.entry
            tally.worst_logits[q] = x
    holds = {
        ZERO: at(measurement.returned_zero),
        NAN: np.isnan(value),
        INF: np.isinf(value) and value != at(measurement.rounded),
        WRONG: grade == Grade.NONE,
        OVER: grade == Grade.FINITE,
    }
    for which in (which for which, is_so in holds.items() if is_so):
        tally.failing[q, which] += 1
        tally.seen[q, cell] |= np.uint8(1 << which)
        largest, second = np.sort(x)[:-3:-1]
        numbers = np.append(x, largest - second)
        tally.box[q, which, :, 0] = np.minimum(tally.box[q, which, :, 0], numbers)
        tally.box[q, which, :, 1] = np.maximum(tally.box[q, which, :, 1], numbers)
