"""Where the errors of a quantity lie: the worst one in each bin of the gap, in each bin of K, and for each hazard.

Bins count every problem, those that known deviations leave out too: they show where an operation goes wrong, whatever it
claims. A hazard has what counts and what is left out apart, as a row of a report has. Bins begin and end where hazards do, so
that what changes at a threshold changes between two bins.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from reference.formats import Format, Integers
from reference.grades import Grade
from reference.problem import Problem
from reference.quantity import SUMMED_GRADIENTS, Quantity
from reference.reduction import Reduction
from reference.thresholds import thresholds
from suites.inputs.hazards import Spread, hazards_of
from suites.judging.basis import Basis
from suites.judging.measurement import Measurement


@cache
def gap_edges(fmt: Format) -> tuple[float, ...]:
    """Lower ends of the bins of gaps, in nats: 0, two an octave from 1/16 to 1024, and the thresholds of a format.

    >>> from reference.formats import FLOAT32
    >>> gap_edges(FLOAT32)[:4], any(16.6 < edge < 16.7 for edge in gap_edges(FLOAT32))
    ((0.0, 0.0625, 0.08838834764831845, 0.125), True)
    """
    t = thresholds(fmt)
    octaves = {2.0 ** (half / 2) for half in range(-8, 21)}
    return tuple(sorted({0.0} | octaves | {t.absorption_gap, t.underflow_gap, t.vanishing_gap, t.overflow_logit}))


@cache
def class_edges(fmt: Format) -> tuple[int, ...]:
    """Lower ends of the bins of K: powers of two, and the count at which a sum of ones overflows in a format."""
    overflow = thresholds(fmt).overflow_count
    return tuple(sorted({2**power for power in range(20)} | ({overflow} if overflow else set())))


@dataclass
class Tally:
    """What a bin showed: entries measured, the worst error in ulps, values lost, and the lowest grade.

    `returned_zero` counts zeros for numbers of at least the least subnormal, `wrong_class` NaN, infinities and numbers where
    they do not belong.
    """

    values: int = 0
    worst_ulps: float = 0.0
    returned_zero: int = 0
    wrong_class: int = 0
    reached: Grade = Grade.CORRECT

    def add(self, other: Tally) -> None:
        """Take in what another showed."""
        self.values += other.values
        self.worst_ulps = max(self.worst_ulps, other.worst_ulps)
        self.returned_zero += other.returned_zero
        self.wrong_class += other.wrong_class
        self.reached = min(self.reached, other.reached)

    def as_json(self) -> dict[str, Any]:
        """The fields as the report has them."""
        return vars(self) | {"reached": self.reached.label}


def tally(measurement: Measurement, rows: Any = ...) -> Tally:
    """What a measurement showed, or some of its rows."""
    measurable = measurement.measurable[rows]
    grade = int(measurement.grades[rows].min(initial=int(Grade.CORRECT)))
    return Tally(
        values=int(np.count_nonzero(measurable)),
        worst_ulps=float(measurement.scaled_ulps[rows].max(where=measurable, initial=0.0)),
        returned_zero=int(np.count_nonzero(measurement.returned_zero[rows])),
        wrong_class=int(np.count_nonzero(~measurement.right_class[rows])),
        reached=Grade.NONE if measurement.error is not None else Grade(grade),
    )


@dataclass
class Share:
    """What some problems showed, all of a row of a report or those of a hazard.

    `counts` is what the grade rests on. `left_out` is what a known deviation, at its cases and in its region, holds to less
    than the claim. The worst error is of what counts. Numbers of what went wrong are of both.
    """

    counts: Basis = field(default_factory=Basis)
    left_out: Basis = field(default_factory=Basis)
    worst_ulps: float = 0.0
    returned_zero: int = 0
    wrong_class: int = 0

    def add(self, measurement: Measurement, shown: Tally, counts: bool) -> None:
        """Take in a measurement and its tally; `counts` is False where the operation is known to deviate."""
        (self.counts if counts else self.left_out).add(measurement)
        self.returned_zero += shown.returned_zero
        self.wrong_class += shown.wrong_class + (measurement.error is not None)
        if counts:
            self.worst_ulps = max(self.worst_ulps, shown.worst_ulps)

    def take(self, other: Share) -> None:
        """Take in what other problems showed, which were asked later."""
        self.counts.take(other.counts)
        self.left_out.take(other.left_out)
        self.worst_ulps = max(self.worst_ulps, other.worst_ulps)
        self.returned_zero += other.returned_zero
        self.wrong_class += other.wrong_class

    def as_json(self) -> dict[str, Any]:
        """The fields as a report has them; what is left out only where something is."""
        left = {"left_out": self.left_out.as_json()} if self.left_out.problems else {}
        wrong = {"returned_zero": self.returned_zero, "wrong_class": self.wrong_class}
        return {**self.counts.as_json(), "worst_ulps": self.worst_ulps, **wrong, **left}

    def as_properties(self) -> list[tuple[str, object]]:
        """What JUnit has of a test: nothing, if nothing was measured."""
        if not (self.counts.problems or self.left_out.problems):
            return []
        rests = [("problems", self.counts.problems), ("entries", self.counts.entries)]
        left = [("left_out", self.left_out.label), ("left_out_problems", self.left_out.problems)]
        return [("grade", self.counts.label), ("worst_ulps", self.worst_ulps), *rests, *left]


NO_GAP = -1
"""The bin of a row that has no gap."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where a problem lies: its hazards, its bin of K, and each row's bin of the gap between its two largest logits."""

    hazards: tuple[str, ...]
    classes: int
    gaps: Integers
    """(N,); NO_GAP where a row has none to speak of."""


def place_of(problem: Problem) -> Place:
    """The place of a problem; a row without two finite logits, or behind a softcap, has no gap to speak of."""
    spread = Spread(problem)
    edges, margin = gap_edges(problem.format), spread.margin
    spoken = ~np.isnan(margin) & (problem.logit_softcap is None)
    return Place(
        hazards=hazards_of(problem),
        classes=bisect_right(class_edges(problem.format), spread.logits.shape[1]) - 1,
        gaps=np.where(spoken, np.searchsorted(edges, np.where(spoken, margin, 0.0), "right") - 1, NO_GAP),
    )


@dataclass
class Places:
    """The places of problems, for as long as the problems live: every operation is asked the same ones."""

    _kept: WeakKeyDictionary[Problem, Place] = field(default_factory=WeakKeyDictionary, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process the problems are others."""
        return Places, ()

    def of(self, problem: Problem) -> Place:
        """The place of a problem."""
        if problem not in self._kept:
            self._kept[problem] = place_of(problem)
        return self._kept[problem]


@dataclass
class Profile:
    """Where one quantity of one operation in one dtype goes wrong; bins by the number of their lower end."""

    by_gap: dict[int, Tally] = field(default_factory=dict)
    by_classes: dict[int, Tally] = field(default_factory=dict)
    by_hazard: dict[str, Share] = field(default_factory=dict)

    def add(self, measurement: Measurement, place: Place, counts: bool) -> Tally:
        """Take in a measurement of a problem that lies there; what it showed as a whole."""
        whole = tally(measurement)
        self.by_classes.setdefault(place.classes, Tally()).add(whole)
        for hazard in place.hazards:
            self.by_hazard.setdefault(hazard, Share()).add(measurement, whole, counts)
        for rows, gap in _rows(measurement, place):
            shown = whole if len(place.gaps) == 1 else tally(measurement, rows)
            self.by_gap.setdefault(gap, Tally()).add(shown)
        return whole

    def take(self, other: Profile) -> None:
        """Take in where it goes wrong in other problems."""
        for tallies, others in ((self.by_gap, other.by_gap), (self.by_classes, other.by_classes)):
            for place, shown in others.items():
                tallies.setdefault(place, Tally()).add(shown)
        for hazard, share in other.by_hazard.items():
            self.by_hazard.setdefault(hazard, Share()).take(share)


def _rows(measurement: Measurement, place: Place) -> Iterator[tuple[Integers, int]]:
    """Rows whose gaps are of one bin, and that bin; none where rows are summed, since several gaps enter then."""
    problem = measurement.problem
    summed = measurement.quantity in SUMMED_GRADIENTS or (
        measurement.quantity is Quantity.LOSS and problem.reduction is not Reduction.NONE
    )
    if summed and len(place.gaps) > 1:
        return
    for gap in np.unique(place.gaps).tolist():
        if gap != NO_GAP:
            yield np.flatnonzero(place.gaps == gap), gap


def binned(tallies: dict[int, Tally], edges: tuple[float, ...]) -> list[dict[str, Any]]:
    """Tallies by bin as the report has them: `from` an edge `to` the next, which is outside; the last has no end."""
    ends = (*edges[1:], None)
    return [{"from": edges[i], "to": ends[i], **tallies[i].as_json()} for i in sorted(tallies)]
