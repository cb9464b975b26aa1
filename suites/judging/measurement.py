"""Compares what an operation returned with the certified reference, entry by entry, and says which grade it reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from reference.arithmetic import Arithmetic
from reference.bounds.entrywise import accurate_bound, componentwise_bound, stable_bound, whole_bound
from reference.enclosure import InUlps
from reference.expected import Expected
from reference.formats import Bools, Floats, Format, Integers
from reference.grades import FAITHFUL_ULPS, Grade
from reference.problem import Problem
from reference.quantity import Quantity
from reference.special_values import Requirement

_NARROW = 2.0**-20
"""Part of an error, or of an ulp where that is more, within which it is measured."""


T = TypeVar("T")


class _Kept(Generic[T]):
    """A property in which what was observed has no part: evaluated once for all measurements that share their `kept`."""

    def __init__(self, evaluate: Callable[[Any], T]) -> None:
        self.evaluate, self.name, self.__doc__ = evaluate, evaluate.__name__, evaluate.__doc__

    def __get__(self, measurement: Measurement, owner: type) -> T:
        kept = measurement.kept
        if self.name not in kept:
            kept[self.name] = self.evaluate(measurement)
        found: T = kept[self.name]
        return found


@dataclass(frozen=True, eq=False)
class Measurement:
    """One quantity of one problem: observed values against the reference.

    `problem` is as it was put to the operation. `observed` holds members of the returned format in the float64 carrier and
    has the shape of `expected.values`. An operation that raised, or broke the protocol, has an `error` and no values
    (`observed` is NaN); it has `ended` if that was the end of its process. `returned` is the format of the quantity, where it
    is not that of the logits. `kept` has what follows of what is expected and of the arithmetic: measurements that share both
    may share it.

    Raises:
      ValueError: `observed` has another shape than what is expected, or `kept` is of other values or another arithmetic.
    """

    problem: Problem
    quantity: Quantity
    arithmetic: Arithmetic
    expected: Expected
    observed: Floats
    error: str | None = None
    returned: Format | None = None
    ended: bool = False
    kept: dict[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def judged(self) -> Problem:
        """The problem in the format in which the quantity was returned: what is rounded, bounded and measured in."""
        return self.problem if self.returned is None else self.problem.replace(format=self.returned)

    def __post_init__(self) -> None:
        if self.observed.shape != self.expected.values.shape:
            raise ValueError(f"{self.quantity} has shape {self.observed.shape}; allowed: {self.expected.values.shape}")
        expected, *manner = self.kept.setdefault("of", (self.expected, self.arithmetic, self.returned))
        if expected is not self.expected or manner != [self.arithmetic, self.returned]:
            raise ValueError("kept is of other expected values, or of another arithmetic; allowed: what is of the same")

    def __reduce__(self) -> tuple[Any, ...]:
        """Without what follows of the fields."""
        manner = (self.error, self.returned, self.ended)
        return Measurement, (self.problem, self.quantity, self.arithmetic, self.expected, self.observed, *manner)

    @_Kept
    def _in_ulps(self) -> InUlps:
        return self.expected.values.in_ulps(self.judged.format)

    @_Kept
    def _rounding(self) -> tuple[Floats, Bools]:
        return self._in_ulps.rounded()

    @property
    def rounded(self) -> Floats:
        """The correctly rounded values (of the midpoint, where the rounding is undecided)."""
        return self._rounding[0]

    @cached_property
    def _distance(self) -> tuple[Floats, Floats]:
        distance, uncertainty = self._in_ulps.distance(self.observed)
        overflowed = np.isinf(self.observed) & (self.observed == self.rounded)
        return np.where(overflowed, 0.0, distance), np.where(overflowed, 0.0, uncertainty)

    @property
    def ulps(self) -> Floats:
        """Error in ulps of the exact value; 0 where both overflow, NaN where either is NaN or only one value is infinite."""
        return self._distance[0]

    @cached_property
    def scaled_ulps(self) -> Floats:
        """Error in ulps of the entry's scale: of the value itself, unless it is a difference of larger terms."""
        return np.ldexp(self.ulps, -self._wider)

    @property
    def _ulp_exponent(self) -> Integers:
        """The exponent of an ulp of each value."""
        return self._in_ulps.exponent

    @_Kept
    def _wider(self) -> Integers:
        """By how many binades the scale of each entry is larger than its value."""
        wider = self.judged.format.ulp_exponent(self.expected.scale) - self._ulp_exponent
        return np.maximum(wider, 0)

    @cached_property
    def least_error(self) -> Floats:
        """Largest number that is certainly not above the absolute error."""
        distance, uncertainty = self._distance
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            return np.ldexp(np.maximum(distance - uncertainty, 0.0), self._ulp_exponent)

    @_Kept
    def stable_bound(self) -> Floats:
        """Absolute error that `stable` allows; never below that of `accurate`, since grades include those before."""
        bound = stable_bound(self.judged, self.quantity, self.arithmetic, self.expected)
        return np.maximum(bound, self.accurate_bound)

    @_Kept
    def _componentwise_bound(self) -> Floats:
        """What `componentwise` allows beside what `accurate` does."""
        asked = (self.judged, self.quantity, self.arithmetic, self.expected)
        return np.minimum(np.minimum(componentwise_bound(*asked), whole_bound(*asked)), self.stable_bound)

    @cached_property
    def componentwise_bound(self) -> Floats:
        """Absolute error that `componentwise` allows."""
        # A 0 is accurate only as a neighbour of the value: what `accurate` allows for K powers does not excuse it here.
        spared = np.where(self.observed == 0, self.judged.format.min_subnormal, self.accurate_bound)
        return np.maximum(self._componentwise_bound, spared)

    @_Kept
    def accurate_bound(self) -> Floats:
        """Absolute error that `accurate` allows."""
        return accurate_bound(self.judged, self.quantity, self.arithmetic, self.expected)

    def allowed(self, grade: Grade) -> Floats:
        """Absolute error that a grade which bounds it allows: `stable`, `componentwise`, `accurate`, or an ulp and more."""
        bounds = {Grade.STABLE: "stable_bound", Grade.COMPONENTWISE: "componentwise_bound", Grade.ACCURATE: "accurate_bound"}
        if grade in bounds:
            return np.asarray(getattr(self, bounds[grade]))
        return np.ldexp(1.0, self._ulp_exponent)

    @cached_property
    def returned_zero(self) -> Bools:
        """True where a zero was returned for a number of at least the least subnormal: it is lost."""
        return (self.observed == 0) & ~self._is_faithful & np.isfinite(self.rounded)

    @cached_property
    def wrong_sign(self) -> Bools:
        """True where the sign of what was returned is not the certain one of a value that is not zero in the format."""
        sign = self.expected.values.sign
        return (self.rounded != 0) & (sign != 0) & (np.sign(self.observed) == -sign)

    @cached_property
    def _is_faithful(self) -> Bools:
        distance, uncertainty = self._distance
        return distance - uncertainty < FAITHFUL_ULPS

    @property
    def undecided(self) -> Bools:
        """True where what is expected is known too little: the rounding, the ulp, or the error in a millionth of itself.

        Not where less than a quarter of an ulp is missing: what was returned is the nearest number by half of that ulp too.
        """
        distance, uncertainty = self._distance
        near = np.isfinite(self.observed) & (distance + uncertainty < 0.25)
        known = self._rounding[1] & self.expected.values.binade_known & ~np.isnan(self.expected.values.hi)
        return ~near & ~(known & ~(uncertainty > _NARROW * np.maximum(distance, 1.0)))

    @cached_property
    def returned_nonzero(self) -> Bools:
        """True where a nonzero number was returned although the value and all its terms are exactly zero."""
        return np.isfinite(self.observed) & (self.observed != 0) & (self.expected.scale == 0) & self.expected.values.is_finite

    @cached_property
    def measurable(self) -> Bools:
        """True where an error in ulps means something: a number, where a number belongs that is not exactly 0."""
        finite = np.isfinite(self.observed) & np.isfinite(self.ulps)
        return np.asarray(self.right_class & finite & ~self.returned_nonzero)

    @cached_property
    def right_class(self) -> Bools:
        """True where NaN, +inf, -inf and numbers are where they belong; an overflow within the bound belongs.

        Beside an undefined row of a sum only the number that the other rows give belongs, within the bound of `stable`.
        """
        same = np.where(
            np.isfinite(self.rounded),
            np.isfinite(self.observed),
            (self.observed == self.rounded) | (np.isnan(self.observed) & np.isnan(self.rounded)),
        )
        edge = self.expected.values.is_finite & (np.isinf(self.observed) | np.isinf(self.rounded))
        within = ~np.isnan(self.observed) & (self.least_error <= self.stable_bound)
        # Where no number is owed one other number may be: any else is no outcome at all, and not a large error.
        astray = (self.expected.requirement == Requirement.REST_OR_NOT_FINITE) & ~within
        return np.asarray((same & ~astray) | (edge & within) | self._is_spared)

    @cached_property
    def _is_spared(self) -> Bools:
        """True where what was returned passes without being the value: a NaN or an infinity that may be, or anything."""
        requirement = self.expected.requirement
        or_nan = np.isnan(self.observed) & (requirement >= Requirement.LIMIT_OR_NAN)
        or_infinite = np.isinf(self.observed) & (requirement >= Requirement.REST_OR_NOT_FINITE)
        return or_nan | or_infinite | (requirement == Requirement.UNSPECIFIED)

    @cached_property
    def grades(self) -> NDArray[np.int8]:
        """Grade that each entry reaches, as integers of `Grade`."""
        distance, uncertainty = self._distance
        judged = self.expected.values.is_finite & ~np.isnan(self.observed) & ~self._is_spared
        least = np.where(judged, self.least_error, 0.0)
        # Half an ulp away lie two numbers, of which one is correct where the rounding is decided.
        undecided = ~self._rounding[1] & (distance <= 0.5 + uncertainty) & np.isfinite(self.rounded)
        exact = ~judged | (self.observed == self.rounded) | undecided
        faithful = ~judged | self._is_faithful
        accurate = (least <= self.accurate_bound) & ~(judged & (self.returned_zero | self.wrong_sign))
        # What is accurate is componentwise: its bound, the costliest, is evaluated where that does not settle it.
        componentwise = accurate if accurate.all() else least <= self.componentwise_bound
        stable = least <= self.stable_bound
        grade = np.full(self.observed.shape, int(Grade.NONE), dtype=np.int8)
        reached = self.right_class
        ladder = zip(list(Grade)[1:], (True, stable, componentwise, accurate, faithful, exact), strict=True)
        for level, holds in ladder:
            reached = reached & holds
            grade = np.where(reached, np.int8(level), grade)
        return grade

    def vacuous_at(self, needed: Grade) -> Bools:
        """True where a need says nothing: 0, or twice the value, would pass for a value that is not 0.

        Above `stable` a 0 passes only where it may be right, and below no error is bounded: there the need itself says so.
        """
        if needed is not Grade.STABLE or self.error is not None:
            return np.zeros(self.observed.shape, dtype=bool)
        value = np.abs(self.expected.values.approximate())
        told = (self.rounded != 0) & np.isfinite(value) & (self.expected.requirement != Requirement.UNSPECIFIED)
        return np.asarray(told & (self.stable_bound >= value))

    @cached_property
    def compared(self) -> int:
        """The number of entries that were compared: where a value came back, and the special-value table expects one."""
        if self.error is not None:
            return 0
        return int(np.count_nonzero(self.expected.requirement != Requirement.UNSPECIFIED))

    @cached_property
    def grade(self) -> Grade:
        """The grade that all entries reach; an empty quantity reaches every grade, one that failed none."""
        if self.error is not None:
            return Grade.NONE
        return Grade(int(self.grades.min(initial=int(Grade.CORRECT))))

    def worst(self) -> tuple[int, ...] | None:
        """Index of the worst entry: lowest grade, then largest error in ulps; None if there is no entry."""
        if self.observed.size == 0:
            return None
        error = np.where(np.isnan(self.ulps), np.inf, self.ulps)
        failing = self.grades == self.grades.min()
        flat = int(np.argmax(np.where(failing, error, -1.0)))
        return tuple(int(i) for i in np.unravel_index(flat, self.observed.shape))
