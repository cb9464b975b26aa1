"""Keeps what a run measured: per operation, dtype and quantity the grade reached, the worst error and its input."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from adapters.operation import options_used
from reference.formats import FORMATS
from reference.grades import Grade
from reference.problem import Problem
from reference.quantity import Quantity
from reference.reduction import Reduction
from reference.special_values import Requirement
from suites.inputs.cases import describe_problem
from suites.judging.claims import Label
from suites.judging.measurement import Measurement
from suites.judging.meeting import Pairs
from suites.judging.profile import Places, Profile, Share, Tally
from suites.judging.screening import one_row

Key = tuple[str, str, Quantity]
"""Operation label, dtype name, quantity."""


MOST_TOLD = 2**14
"""Logits of the largest problem of rows in bulk whose input is told whole."""


class Spot(NamedTuple):
    """Where a problem was left out: its number of classes, the largest difference of two logits of a row, the grade."""

    classes: int
    gap: float
    reached: Grade


def is_plain(problem: Problem) -> bool:
    """True if the logits are finite and no option but the reduction is used."""
    return bool(np.isfinite(problem.logits).all()) and options_used(problem) <= {"reduction"}


@dataclass
class Record(Share):
    """What a run showed of one quantity of one operation in one dtype, in generated problems and stored cases alike.

    Errors are in ulps of the entry's scale, and maxima over what was searched: lower bounds of the true maxima. Where a value
    is exactly 0 (the Hessian times a constant) it has no ulp to measure in: a nonzero answer there is counted, not measured.
    """

    left_out_at: set[Spot] = field(default_factory=set)
    """Where plain problems were left out, whose logits are finite and whose options are at their defaults."""
    returned_nonzero: int = 0
    vacuous: int = 0
    """Entries that counted, and were held to what would let 0 or twice the value pass."""
    unbounded: int = 0
    """Those of them without any bound."""
    worst_ratio: float = 0.0
    bound: str = ""
    worst: Measurement | None = field(default=None, repr=False)
    profile: Profile = field(default_factory=Profile, repr=False)

    def add(self, measurement: Measurement, shown: Tally, counts: bool) -> None:
        """Take in a measurement and its tally; `counts` is False where the operation is known to deviate."""
        self.returned_nonzero += int(np.count_nonzero(measurement.returned_nonzero))
        if counts:
            self._measure(measurement, shown)
        elif is_plain(measurement.problem):
            gaps = np.ptp(measurement.problem.logits, axis=1)
            self.left_out_at.add(Spot(measurement.problem.num_classes, float(gaps.max(initial=0.0)), measurement.grade))
        super().add(measurement, shown, counts)

    def take(self, other: Record) -> None:  # type: ignore[override]
        """Take in what other problems showed, which were asked later."""
        self.left_out_at |= other.left_out_at
        self.returned_nonzero += other.returned_nonzero
        self.vacuous += other.vacuous
        self.unbounded += other.unbounded
        self.worst_ratio = max(self.worst_ratio, other.worst_ratio)
        self.bound = other.bound or self.bound
        if other.worst is not None and (self.worst is None or other.worst_ulps > self.worst_ulps):
            self.worst = other.worst
        self.profile.take(other.profile)
        super().take(other)

    def _measure(self, measurement: Measurement, shown: Tally) -> None:
        """The worst error, if there is one to measure."""
        self.bound = measurement.arithmetic.describe()
        if not shown.values:
            return
        with np.errstate(invalid="ignore"):
            ratio = float(np.nan_to_num(measurement.least_error / measurement.stable_bound)[measurement.measurable].max())
        self.worst_ratio = max(self.worst_ratio, ratio)
        if self.worst is None or shown.worst_ulps > self.worst_ulps:
            self.worst = _told(measurement)


@dataclass(frozen=True)
class CaseOutcome:
    """What a stored case showed of one quantity of one operation, which is named by its label."""

    case: str
    operation: str
    dtype: str
    quantity: Quantity
    claimed: Grade
    reached: Grade
    deviations: tuple[str, ...]
    unspecified: tuple[str, ...] = ()
    """What was returned where the special-value table owes nothing, or a limit or NaN."""


def unspecified_outcomes(measurement: Measurement) -> tuple[str, ...]:
    """Kinds of values returned at entries where no single value is expected: NaN, inf, -inf, 0, -0 or number."""
    if measurement.error is not None:
        return (measurement.error,)
    values = measurement.observed[measurement.expected.requirement != Requirement.MUST]
    return tuple(sorted({_kind(value) for value in values.ravel().tolist()}))


def _kind(value: float) -> str:
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return str(value)
    return "number" if value else ("-0" if np.signbit(value) else "0")


@dataclass
class Recorder:
    """All records and case outcomes of a run, and what operations did where nothing is expected."""

    records: dict[Key, Record] = field(default_factory=dict)
    outcomes: list[CaseOutcome] = field(default_factory=list)
    out_of_range: dict[tuple[str, str, Label], str] = field(default_factory=dict)
    """What an operation (by label) did in a dtype with a class index or label out of range, or with no classes."""
    not_seen: list[tuple[str, str]] = field(default_factory=list)
    """Deviations, by id, that did not show on a processor on which they were never seen, and where they were asked for."""
    test: Share = field(default_factory=Share)
    """What the test that runs, or ran last, has measured."""
    pairs: dict[tuple[str, str], Pairs] = field(default_factory=dict)
    """The pairs of values that an operation (by label) was asked in a dtype."""
    is_paused: bool = False
    _places: Places = field(default_factory=Places, repr=False)

    def pairs_of(self, operation: str, dtype: str) -> Pairs:
        """The pairs of an operation, by its label, in a dtype."""
        return self.pairs.setdefault((operation, dtype), Pairs())

    def add(
        self, operation: str, dtype: str, measurement: Measurement, counts: bool = True, claimed: Grade = Grade.ACCURATE
    ) -> None:
        """Take in a measurement of a generated problem; `dtype` is that of its logits."""
        if self.is_paused:
            return
        self._take((operation, dtype, measurement.quantity), measurement, counts, claimed)

    def add_case(self, outcome: CaseOutcome, measurement: Measurement, counts: bool) -> None:
        """Take in what a stored case showed; `counts` is False if a deviation that it shows holds it to less than the claim."""
        self.outcomes.append(outcome)
        self._take((outcome.operation, outcome.dtype, outcome.quantity), measurement, counts, outcome.claimed)

    def _take(self, key: Key, measurement: Measurement, counts: bool, claimed: Grade) -> None:
        record = self.records.setdefault(key, Record())
        if counts:
            vacuous = measurement.vacuous_at(claimed)
            record.vacuous += int(np.count_nonzero(vacuous))
            record.unbounded += int(np.count_nonzero(vacuous & np.isinf(measurement.stable_bound)))
        shown = record.profile.add(measurement, self._places.of(measurement.problem), counts)
        for taking in (record, self.test):
            taking.add(measurement, shown, counts)

    def take(self, other: Recorder) -> None:
        """Take in what later tests have measured, in another process."""
        for key, record in other.records.items():
            self.records.setdefault(key, Record()).take(record)
        self.outcomes += other.outcomes
        self.out_of_range |= other.out_of_range
        self.not_seen += other.not_seen
        for asked, pairs in other.pairs.items():
            own = self.pairs_of(*asked)
            own.owed |= pairs.owed
            own.asked |= pairs.asked

    def taken(self) -> Recorder:
        """What was measured so far, which is then this recorder's no more."""
        taken = Recorder(self.records, self.outcomes, self.out_of_range, self.not_seen, pairs=self.pairs)
        self.records, self.outcomes, self.out_of_range, self.not_seen, self.pairs = {}, [], {}, [], {}
        return taken

    def begin_test(self) -> None:
        """From now on, `test` is about the next test."""
        self.test = Share()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Within it no measurement of a generated problem is taken in: a failure that shrinks is asked again and again."""
        self.is_paused = True
        try:
            yield
        finally:
            self.is_paused = False


def _told(measurement: Measurement) -> Measurement:
    """A measurement whose input can be told: of many plain rows, the one of the largest error alone."""
    problem = measurement.problem
    together = problem.reduction is not Reduction.NONE or problem.cotangent is not None or problem.tangent is not None
    if problem.logits.size <= MOST_TOLD or problem.num_rows == 1 or together or options_used(problem):
        return measurement
    errors = np.where(measurement.measurable, measurement.scaled_ulps, -1.0)
    return one_row(measurement, int(np.unravel_index(int(np.argmax(errors)), errors.shape)[0]))


def worst_entry(measurement: Measurement) -> dict[str, Any]:
    """The entry with the largest error in ulps: where, expected, observed, and the whole input; JSON.

    `absolute_error` is None where it overflows float64.
    """
    ulps = np.where(measurement.measurable, measurement.scaled_ulps, -1.0)
    index = np.unravel_index(int(np.argmax(ulps)), ulps.shape)
    value = float(measurement.expected.values.approximate()[index])
    observed = float(measurement.observed[index])
    error = abs(observed - value)
    return {
        "index": [int(i) for i in index],
        "expected": value.hex(),
        "correctly_rounded": float(measurement.rounded[index]).hex(),
        "observed": observed.hex(),
        "absolute_error": error if np.isfinite(error) else None,
        "problem": describe_problem(measurement.problem),
    }


def order_of(key: Key) -> tuple[str, int, int]:
    """Sorts records by operation, then format, then quantity."""
    operation, dtype, quantity = key
    return operation, list(FORMATS).index(dtype), list(Quantity).index(quantity)
