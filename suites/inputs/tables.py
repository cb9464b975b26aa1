"""Logits of a hazard for many rows and classes at once: tables filled with random numbers, of which no two rows are alike.

The strategies of hazards.py draw entry by entry, and so shrink to the smallest problem; a thousand entries are too many for
that. Here a hazard is filled at any size, and a failure is narrowed to fewer rows and classes afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.random import Generator

from reference.formats import Bools, Floats, Format, Integers
from reference.thresholds import Thresholds, thresholds

_TILE = 32
"""Classes of a run that is unlike the others, at most: a tile of a kernel has as many or more."""


@dataclass(frozen=True)
class Table:
    """A table to fill with members of a format, and what the numbers are drawn from.

    Rows take turns: of what a hazard can be, each row is another kind, so that a few rows have all.
    """

    format: Format
    rows: int
    classes: int
    random: Generator

    @cached_property
    def _first(self) -> int:
        return int(self.random.integers(2**16))

    def turns(self, kinds: int) -> Integers:
        """(N,): the kind of each row, one after another from any on."""
        return (np.arange(self.rows) + self._first) % kinds

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

    def run(self) -> Bools:
        """(N, K): True in a run of columns around the place of the maximum, a tile of the row at most."""
        start = self.places[:, None] - self.random.integers(0, _TILE, (self.rows, 1))
        column = np.arange(self.classes)
        return (column >= start) & (column < start + min(_TILE, self.classes))

    def either(self, one: Floats, other: Floats) -> Floats:
        """(N, K): rows that are all of one, rows that are but for a run around the maximum, and rows that mix both."""
        kind = self.turns(3)[:, None]
        apart = np.where(kind == 1, self.run(), self.random.random(self.shape) < 0.5)
        return np.where((kind != 0) & apart, other, one)

    def levels(self, gaps: Floats, tops: Floats) -> Floats:
        """Rows of which one class, anywhere, is the maximum, and the others lie their gaps below."""
        gaps = gaps.copy()
        gaps[np.arange(self.rows), self.places] = 0.0
        with np.errstate(over="ignore"):
            values = tops[:, None] - gaps
        return self.format.round(np.clip(values, -self.format.largest, self.format.largest))

    @cached_property
    def places(self) -> Integers:
        """(N,): the column of each maximum: the last, one in the last tile, the first, or any."""
        last = self.classes - 1
        anywhere = self.random.integers(0, self.classes, self.rows)
        in_tail = self.random.integers(max(0, last - last % _TILE), self.classes, self.rows)
        return np.choose(self.turns(4), [np.full(self.rows, last), in_tail, anywhere, np.zeros(self.rows, dtype=np.int64)])

    def signs(self) -> Floats:
        """(N,): 1 and -1 in turn, two rows each."""
        return np.where(self.turns(4) < 2, 1.0, -1.0)


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
    tops = table.signs() * table.each_of([most, 1.5 * most, 2 * most, largest, largest / 2], (table.rows,))
    return table.levels(table.either(table.each_of([2 * most, largest / 4, largest, 1.9 * largest]), table.small()), tops)


def underflow(table: Table) -> Floats:
    """Powers that are subnormal, and those that round to 0: here and there, or in all of a row but its maximum."""
    t = table.thresholds
    edges = table.near([t.underflow_gap, t.subnormal_gap, t.vanishing_gap])
    level = table.each_of([t.subnormal_gap, t.vanishing_gap, 1.5 * t.vanishing_gap], (table.rows, 1)) + table.small()
    lost = np.where(table.turns(2)[:, None] == 0, edges, level)
    return table.levels(table.either(lost, table.small()), table.modest())


def offset(table: Table) -> Floats:
    """Maxima whose ulp is at least 1/32, and gaps of a few halves of it."""
    precision, emax = table.format.precision, table.format.emax
    least, most = max(precision - 5, 1), min(precision + 8, emax - 1)
    tops = table.signs() * 2.0 ** table.random.integers(least, most + 1, table.rows)
    return table.levels(table.random.integers(0, 9, table.shape) * table.format.ulp(tops)[:, None] / 2, tops)


def ties(table: Table) -> Floats:
    """The maximum several times, the first and the last class among them."""
    rows = table.levels(table.each_of([0.0, 0.0, 1.0, table.thresholds.absorption_gap]), table.modest())
    rows[:, -1] = rows[:, 0] = rows.max(axis=1)
    return rows


def _marked(table: Table) -> Bools:
    """(N, K): entries here and there, or a run of them as long as a tile, in some of the rows; one at least."""
    chosen = np.where(table.turns(2)[:, None] == 0, table.run(), table.random.random(table.shape) < 0.2)
    chosen &= table.random.random((table.rows, 1)) < 0.8
    chosen[np.arange(table.rows), table.places] &= table.random.random(table.rows) < 0.5
    chosen.flat[table.random.integers(chosen.size)] = True
    return chosen


def masked(table: Table) -> Floats:
    """-inf here and there, or in a whole tile."""
    return np.where(_marked(table), -np.inf, moderate(table))


def nonfinite(table: Table) -> Floats:
    """Rows with a NaN, rows with +inf, and rows with neither."""
    rows, kind = moderate(table), (table.turns(3) + 1) % 3
    kind[0] = kind[0] or 1
    for row in np.flatnonzero(kind):
        rows[row, table.random.integers(table.classes)] = np.nan if kind[row] == 1 else np.inf
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
    """Any finite members whose gaps are finite too: those that overflow are a hazard of their own."""
    values = table.format.from_bits(table.random.integers(0, 2**table.format.bits, table.shape, dtype=np.uint64))
    return np.where(np.abs(values) <= table.format.largest / 4, values, 1.0)


_FINITE = (moderate, absorption, overflow, underflow, offset, ties, long_tail, subnormal, bit_patterns)


def mixed(table: Table, hazards: tuple[str, ...]) -> Floats:
    """Rows of those of the hazards that are finite, in turn."""
    asked = [filler for filler in _FINITE if filler.__name__ in hazards] or [moderate]
    rows, kind = np.empty(table.shape), table.turns(len(asked))
    for place, filler in enumerate(asked):
        rows[kind == place] = filler(table)[kind == place]
    return rows


FILLERS: dict[str, Callable[[Table], Floats]] = {filler.__name__: filler for filler in (*_FINITE, masked, nonfinite)}
"""By the name of the hazard."""
