"""Judges rows by the hundred thousand: by the compiled tier where it is sure, by the exact tier where it is not or sees a miss.

The compiled tier alone is asked what is expected. An entry whose rounding it leaves open, or the ulp of its value, is no
matter where what was returned is nearer than a quarter of an ulp: that is the correctly rounded value either way. Any other
goes to the exact tier with its row. So does a row that misses its grade: what the compiled tier says is never a verdict.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reference.evaluation import enclose, evaluate
from reference.expected import Expected
from reference.formats import Bools, Format, Integers
from reference.grades import Grade
from reference.problem import Problem
from reference.quantity import Quantity
from reference.tiers import Tier
from suites.judging.measurement import Measurement

_AT_ONCE = 64
"""Rows that miss, which are judged again together: where one of them misses indeed, the others say no more."""


def enclosed(problem: Problem, quantities: tuple[Quantity, ...], fmt: Format) -> dict[Quantity, Expected]:
    """What the compiled tier alone expects, to be rounded into `fmt`: not to be judged by before it is `screened`."""
    return enclose(problem if fmt == problem.format else problem.replace(format=fmt), quantities)


def screened(measurement: Measurement, needed: Grade) -> Measurement:
    """The measurement with what the exact tier expects of the rows that are undecided, and of those that miss what is needed.

    Of these not all, if there are many: one that misses by the exact tier is enough, and is what `worst_row` gives.
    """
    if measurement.error is not None:
        return measurement
    measurement = _exactly(measurement, np.flatnonzero(_of_rows(measurement.undecided)))
    missing = np.flatnonzero(misses(measurement, needed))
    for start in range(0, len(missing), _AT_ONCE):
        chosen = missing[start : start + _AT_ONCE]
        measurement = _exactly(measurement, chosen)
        if misses(measurement, needed)[chosen].any():
            break
    return measurement


def misses(measurement: Measurement, needed: Grade) -> Bools:
    """(N,): rows with an entry that misses what is needed."""
    return _of_rows(measurement.grades < needed)


def worst_row(measurement: Measurement, needed: Grade) -> Measurement:
    """The first row that misses what is needed, as the exact tier has judged it; the whole of one that failed none."""
    if measurement.error is not None:
        return measurement
    return one_row(measurement, int(misses(measurement, needed).argmax()))


def one_row(measurement: Measurement, row: int) -> Measurement:
    """A row of a measurement, as if it had been asked alone."""
    only, expected = slice(row, row + 1), measurement.expected
    kept = Expected(expected.values[only], expected.scale[only], expected.requirement[only])
    problem = _rows_of(measurement.problem, np.array([row]))
    return replace(measurement, problem=problem, expected=kept, observed=measurement.observed[only], kept={})


def _exactly(measurement: Measurement, rows: Integers) -> Measurement:
    """The measurement with what the exact tier expects of some rows."""
    if not rows.size:
        return measurement
    quantity, expected = measurement.quantity, measurement.expected
    exact = evaluate(_rows_of(measurement.judged, rows), [quantity], Tier.EXACT)[quantity]
    expected.values.overwrite_rows(rows.tolist(), exact.values)
    expected.scale[rows], expected.requirement[rows] = exact.scale, exact.requirement
    return replace(measurement, kept={})


def _rows_of(problem: Problem, rows: Integers) -> Problem:
    """Some rows of a plain problem."""
    return problem.replace(logits=problem.logits[rows], target=problem.target[rows])


def _of_rows(entries: Bools) -> Bools:
    """(N,): True where any entry of a row is."""
    return np.asarray(entries.reshape(len(entries), -1).any(axis=1))
