"""What a statement about an operation rests on: how many problems and entries, and the lowest grade among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reference.grades import NOT_MEASURED, Grade
from suites.judging.measurement import Measurement


@dataclass
class Basis:
    """What a statement rests on: problems that were asked, entries that were compared, and the lowest grade among them.

    An entry is compared where a value came back and the special-value table expects one. Nothing is reached of no problems.
    """

    problems: int = 0
    entries: int = 0
    reached: Grade | None = None

    def add(self, measurement: Measurement) -> None:
        """Take in a measurement."""
        self.problems += 1
        self.entries += measurement.compared
        self.reached = measurement.grade if self.reached is None else min(self.reached, measurement.grade)

    def take(self, other: Basis) -> None:
        """Take in what another statement rests on."""
        self.problems += other.problems
        self.entries += other.entries
        self.reached = min((grade for grade in (self.reached, other.reached) if grade is not None), default=None)

    def reaches(self, grade: Grade) -> bool:
        """True if anything was asked, and all of it reaches the grade."""
        return self.reached is not None and self.reached >= grade

    @property
    def label(self) -> str:
        """The grade in words."""
        return NOT_MEASURED if self.reached is None else self.reached.label

    def as_json(self) -> dict[str, Any]:
        """The fields as the report has them."""
        return {"reached": self.label, "problems": self.problems, "entries": self.entries}
