"""Logits of a hazard for many rows and classes at once: tables filled with random numbers, of which no two rows are alike.

The strategies of hazards.py draw entry by entry, and so shrink to the smallest problem; a thousand entries are too many for
that. Here a hazard is filled at any size, and a failure is narrowed to fewer rows and classes afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from reference.formats import Bools, Floats, Format
from reference.thresholds import Thresholds, thresholds


@dataclass(frozen=True)
class Table:
    """A table to fill with members of a format, and what the numbers are drawn from."""

    format: Format
    rows: int
    classes: int
    random: Generator

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K)."""
        return self.rows, self.classes

    @property
    def thresholds(self) -> Thresholds:
        """Hazard thresholds of the format."""
        return thresholds(self.format)

    def each_of(self, values: list[float], shape: tuple[int, ...] | None = None) -> Floats:
        """An array of the values, of the shape of the table unless told otherwise."""
        return np.asarray(self.random.choice(values, self.shape if shape is None else shape), dtype=np.float64)

    def near(self, points: list[float]) -> Floats:
        """(N, K) of numbers a few ulps around the points, none below 0."""
        chosen = self.each_of(points)
        steps = self.random.integers(-4, 5, self.shape)
        return np.maximum(0.0, self.format.round(chosen) + steps * self.format.ulp(chosen))

    def between(self, low: float, high: float) -> Floats:
        """(N, K) of numbers of a range."""
        return self.random.uniform(low, high, self.shape)

    def small(self) -> Floats:
        """(N, K) of gaps up to 4."""
        return self.random.integers(0, 65, self.shape) / 16.0

    def modest(self) -> Floats:
        """(N,) of maxima around 0."""
        return self.random.integers(-8, 9, self.rows).astype(np.float64)

    def either(self, one: Floats, other: Floats) -> Floats:
        """(N, K): in half of the rows one, in the others both, entry by entry."""
        share = self.random.choice([0.5, 1.0], (self.rows, 1))
        return np.where(self.random.random(self.shape) < share, one, other)

    def levels(self, gaps: Floats, tops: Floats) -> Floats:
        """Rows of which one class, anywhere, is the maximum, and the others lie their gaps below."""
        gaps = gaps.copy()
        gaps[np.arange(self.rows), self.places()] = 0.0
        with np.errstate(over="ignore"):
            values = tops[:, None] - gaps
        return self.format.round(np.clip(values, -self.format.largest, self.format.largest))

    def places(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """(N,): a class of each row; one in two is the first, the last or one in the last tile, which loops forget."""
        edges = self.random.choice([0, self.classes - 1, self.classes - self.classes % 32 - 1], self.rows)
        return np.where(
            self.random.random(self.rows) < 0.5, edges % self.classes, self.random.integers(0, self.classes, self.rows)
        )


def moderate(table: Table) -> Floats:
    """Gaps up to 4."""
    return table.levels(table.small(), table.modest())


def absorption(table: Table) -> Floats:
    """Rows in which 1 absorbs all others, and rows in which it absorbs some."""
    t = table.thresholds
    absorbed = np.where(
        table.random.random((table.rows, 1)) < 0.5,
        table.between(t.absorption_gap, t.vanishing_gap),
        table.near([t.absorption_gap]),
    )
    return table.levels(table.either(absorbed, table.small()), table.modest())


def overflow(table: Table) -> Floats:
    """Maxima beyond which an unshifted exp overflows, and gaps that overflow as well."""
    most, largest = table.thresholds.overflow_logit, table.format.largest
    tops = table.each_of([most, -most, 2 * most, largest, largest / 2, 1.5 * most], (table.rows,))
    gaps = table.each_of([2 * most, largest / 4, largest, 1.9 * largest])
    return table.levels(np.where(table.random.random(table.shape) < 0.8, table.small(), gaps), tops)


def underflow(table: Table) -> Floats:
    """Powers that are subnormal, and those that round to 0."""
    t = table.thresholds
    edges = table.near([t.underflow_gap, t.subnormal_gap, t.vanishing_gap])
    lost = np.where(table.random.random(table.shape) < 0.5, edges, table.between(t.underflow_gap, 1.1 * t.vanishing_gap))
    return table.levels(table.either(lost, table.small()), table.modest())


def offset(table: Table) -> Floats:
    """Maxima whose ulp is at least 1/32, and gaps of a few halves of it."""
    precision, emax = table.format.precision, table.format.emax
    least, most = max(precision - 5, 1), min(precision + 8, emax - 1)
    tops = table.each_of([-1.0, 1.0], (table.rows,)) * 2.0 ** table.random.integers(least, most + 1, table.rows)
    return table.levels(table.random.integers(0, 9, table.shape) * table.format.ulp(tops)[:, None] / 2, tops)


def ties(table: Table) -> Floats:
    """The maximum several times, the first and the last class among them."""
    rows = table.levels(table.each_of([0.0, 0.0, 1.0, table.thresholds.absorption_gap]), table.modest())
    rows[:, -1] = rows[:, 0] = rows.max(axis=1)
    return rows


def _marked(table: Table) -> Bools:
    """(N, K): entries here and there, or a run of them as long as a tile, in some of the rows; one at least."""
    start = table.random.integers(0, table.classes, (table.rows, 1))
    start = np.where(table.random.random((table.rows, 1)) < 0.5, 0, start)
    column = np.arange(table.classes)
    run = (column >= start) & (column < start + max(1, min(32, table.classes - 1)))
    chosen = np.where(table.random.random((table.rows, 1)) < 0.5, run, table.random.random(table.shape) < 0.2)
    chosen &= table.random.random((table.rows, 1)) < 0.7
    chosen.flat[table.random.integers(chosen.size)] = True
    return chosen


def masked(table: Table) -> Floats:
    """-inf here and there, or in a whole tile."""
    return np.where(_marked(table), -np.inf, moderate(table))


def nonfinite(table: Table) -> Floats:
    """NaN or +inf in a few entries."""
    rows = moderate(table)
    for _ in range(max(1, table.rows // 4)):
        rows[table.random.integers(table.rows), table.random.integers(table.classes)] = table.random.choice([np.nan, np.inf])
    return rows


def subnormal(table: Table) -> Floats:
    """Subnormal numbers and zeros of both signs."""
    tiny, normal = table.format.min_subnormal, table.format.min_normal
    rows = table.each_of([0.0, -0.0, tiny, -tiny, normal, -normal, normal - tiny, 1.0])
    rows[0, 0] = tiny
    return rows


def long_tail(table: Table) -> Floats:
    """Growing gaps, from class to class or in any order: together the far ones matter."""
    reach = table.random.uniform(2.0, table.thresholds.absorption_gap, (table.rows, 1))
    gaps = reach * np.linspace(0.25, 1.0, table.classes)
    ordered = np.where(table.random.random((table.rows, 1)) < 0.5, gaps, gaps[:, ::-1])
    return table.levels(ordered, table.modest())


def bit_patterns(table: Table) -> Floats:
    """Any finite members."""
    values = table.format.from_bits(table.random.integers(0, 2**table.format.bits, table.shape, dtype=np.uint64))
    return np.where(np.isfinite(values), values, 1.0)


FILLERS: dict[str, Callable[[Table], Floats]] = {
    filler.__name__: filler
    for filler in (
        moderate,
        absorption,
        overflow,
        underflow,
        offset,
        ties,
        long_tail,
        subnormal,
        bit_patterns,
        masked,
        nonfinite,
    )
}
"""By the name of the hazard."""
