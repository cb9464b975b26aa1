"""What each operation claims, and the deviations known: what an entry of a claims file is, and how it is looked up.

A claim says which grade operations meet, per quantity and dtype. A deviation names stored cases at which operations miss
a grade, with the reason; it is strict: a case that passes makes it stale. Its `region`, where given, is the part of the
input space in which generated problems are held to `reaches` instead of the claim, because the same defect shows there.

A processor chooses a framework's kernels, so what was seen on one need not show on another. `processors` says where an entry
was seen, in the framework's own words (`Adapter.processor`); at the head of the file it speaks for every deviation and every
label out of range that does not say itself. There the entry is strict. Elsewhere a case that passes is told ("not seen on this
processor") and fails nothing, and one that does not is expected all the same; regions hold everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from adapters.adapter import Adapter
from adapters.arithmetic import DeclaredArithmetic
from adapters.limits import Limit
from adapters.operation import Operation, options_used
from reference.grades import Grade
from reference.problem import Problem
from reference.quantity import Quantity
from suites.inputs.cases import Case
from suites.inputs.hazards import HAZARDS

UNCLAIMED = Grade.ACCURATE
"""What an operation without a claim is held to."""


@dataclass(frozen=True)
class Scope:
    """Which operations, dtypes and modes an entry speaks of; operations and modes may be globs."""

    operations: tuple[str, ...]
    dtypes: tuple[str, ...]
    modes: tuple[str, ...] = ("*",)
    entry: str = ""
    """Where the entry stands in its file, in words."""

    def covers(self, operation: Operation, dtype: str) -> bool:
        """True if the entry speaks of this operation, in its mode, in this dtype."""
        return dtype in self.dtypes and self.speaks_of(operation)

    def speaks_of(self, operation: Operation) -> bool:
        """True if the entry speaks of this operation, in its mode."""
        return any(fnmatchcase(operation.name, pattern) for pattern in self.operations) and any(
            fnmatchcase(operation.mode, pattern) for pattern in self.modes
        )


@dataclass(frozen=True)
class Setting:
    """Where a run takes place: the framework's version, the device, and the processor in the framework's own words."""

    version: str
    device: str = "cpu"
    processor: str = ""
    """Empty if the framework does not say."""


@dataclass(frozen=True)
class Applicability:
    """Framework versions and devices for which a deviation holds, and processors on which it was seen; empty: all."""

    versions: str = ""
    devices: tuple[str, ...] = ()
    processors: tuple[str, ...] = ()

    def holds(self, setting: Setting) -> bool:
        """True if it holds for the framework's version on the device.

        Raises:
          ValueError: it is of some versions, and the framework's cannot be compared with them.
        """
        return self._is_of_version(setting.version) and (
            not self.devices or any(fnmatchcase(setting.device, pattern) for pattern in self.devices)
        )

    def _is_of_version(self, given: str) -> bool:
        if not self.versions:
            return True
        try:
            version = Version(given.partition("+")[0])
        except InvalidVersion:
            raise ValueError(
                f"versions is {self.versions!r}, with which the backend's version {given!r} cannot be compared; "
                "allowed: a version such as '2.13.0' of the backend, or leave versions out"
            ) from None
        return SpecifierSet(self.versions, prereleases=True).contains(version)

    def seen_on(self, processor: str) -> bool:
        """True if it was seen on the processor; names or globs.

        Raises:
          ValueError: a name is the processor's but for upper and lower case, which would be another processor silently.
        """
        if not self.processors or any(fnmatchcase(processor, pattern) for pattern in self.processors):
            return True
        if near := [name for name in self.processors if fnmatchcase(processor.casefold(), name.casefold())]:
            raise ValueError(f"processors names {near[0]!r}; allowed: {processor!r}, as the framework spells it")
        return False


@dataclass(frozen=True)
class Claim:
    """The grades that operations claim to meet, by quantity, on some processors."""

    scope: Scope
    grades: dict[Quantity, Grade]
    applies: Applicability = Applicability()


@dataclass(frozen=True)
class Region:
    """A part of the input space; an empty condition does not restrict."""

    hazards: tuple[str, ...] = ()
    min_classes: int = 0
    options: tuple[str, ...] = ()
    reductions: tuple[str, ...] = ()
    min_rows: int = 0
    max_rows: int | None = None

    def contains(self, problem: Problem) -> bool:
        """True if the problem meets every condition."""
        return (
            problem.num_classes >= self.min_classes
            and problem.num_rows >= self.min_rows
            and (self.max_rows is None or problem.num_rows <= self.max_rows)
            and (not self.reductions or problem.reduction in self.reductions)
            and (not self.options or bool(options_used(problem) & set(self.options)))
            and (not self.hazards or any(HAZARDS[name].holds(problem) for name in self.hazards))
        )


@dataclass(frozen=True)
class Deviation:
    """A known miss: at `cases` the operations miss the grade `misses` (and reach at least `reaches`)."""

    id: str
    scope: Scope
    quantities: tuple[Quantity, ...]
    cases: tuple[str, ...]
    misses: Grade
    reaches: Grade
    reason: str
    link: str
    region: Region | None = None
    applies: Applicability = Applicability()
    strict: bool = True
    """False on a processor on which it was never seen: a case that passes is told there."""

    def concerns(self, operation: Operation, dtype: str, quantity: Quantity) -> bool:
        """True if it speaks of this quantity of this operation in this dtype."""
        return quantity in self.quantities and self.scope.covers(operation, dtype)

    def reaches_to(self, problem: Problem) -> bool:
        """True if the problem lies in its region."""
        return self.region is not None and self.region.contains(problem)

    def names(self, case: Case) -> bool:
        """True if it lists this case."""
        return any(fnmatchcase(case.name, pattern) for pattern in self.cases)


Label = float | str
"""A class index, the label of a binary loss, or NO_CLASSES."""

NO_CLASSES = "no classes"

INDEX_LABELS = (-1, 3, 2**31)
"""Class indices out of range that are asked of three classes, or of the fewest from 3 on that an operation takes."""

BINARY_LABELS = (-0.5, 1.5)


def fewest_classes(operation: Operation) -> int:
    """The fewest classes from 3 on that an operation takes."""
    return operation.classes_from(3)


def index_label(operation: Operation, label: int) -> int:
    """The class index that is asked; 3 stands for the number of classes."""
    return fewest_classes(operation) if label == 3 else label


@dataclass(frozen=True)
class OutOfRange:
    """Labels out of range, or rows of no classes, that operations take without raising: as strict as a deviation."""

    id: str
    scope: Scope
    labels: tuple[Label, ...]
    reason: str
    link: str
    applies: Applicability = Applicability()
    strict: bool = True


@dataclass(frozen=True)
class Limited:
    """A limit that operations are declared to have: what it takes away is not asked of them."""

    scope: Scope
    limit: Limit


@dataclass(frozen=True)
class Computing:
    """The arithmetic that kernels of the user's are declared to have."""

    scope: Scope
    declared: DeclaredArithmetic


@dataclass(frozen=True)
class Claims:
    """All claims and deviations of a backend that apply to the setting at hand."""

    claims: tuple[Claim, ...] = ()
    deviations: tuple[Deviation, ...] = ()
    out_of_range: tuple[OutOfRange, ...] = ()
    limits: tuple[Limited, ...] = ()
    arithmetic: tuple[Computing, ...] = ()
    lowered_to: Grade | None = field(default=None)
    """--claim: no operation is held to more than this."""

    def claimed(self, operation: Operation, dtype: str, quantity: Quantity) -> Grade:
        """The grade claimed; UNCLAIMED if nothing is said. The last entry that speaks of it counts."""
        grade = UNCLAIMED
        for claim in self.claims:
            if quantity in claim.grades and claim.scope.covers(operation, dtype):
                grade = claim.grades[quantity]
        return grade if self.lowered_to is None else min(grade, self.lowered_to)

    def required(self, operation: Operation, quantity: Quantity, problem: Problem) -> Grade:
        """The grade that a generated problem is held to: the claim, or less in the region of a deviation."""
        grade = self.claimed(operation, problem.format.name, quantity)
        regions = (
            deviation.reaches
            for deviation in self.deviations
            if deviation.concerns(operation, problem.format.name, quantity) and deviation.reaches_to(problem)
        )
        return min(regions, default=grade) if grade > Grade.NONE else grade

    def deviations_at(self, operation: Operation, quantity: Quantity, case: Case) -> tuple[Deviation, ...]:
        """The deviations that list this case."""
        return tuple(d for d in self.deviations if d.concerns(operation, case.problem.format.name, quantity) and d.names(case))

    def known_at(
        self, operation: Operation, quantity: Quantity, problem: Problem, case: Case | None = None
    ) -> tuple[Deviation, ...]:
        """The deviations that list a stored case, or in whose region the problem lies."""
        return tuple(
            deviation
            for deviation in self.deviations
            if deviation.concerns(operation, problem.format.name, quantity)
            and ((case is not None and deviation.names(case)) or deviation.reaches_to(problem))
        )

    def as_declared(self, operation: Operation, device: str) -> Operation:
        """An operation in the arithmetic that is declared of it, within its limits on a device.

        Raises:
          ValueError: as of `Operation.computing` and `Operation.within`.
        """
        computing = operation.computing(each.declared for each in self.arithmetic if each.scope.speaks_of(operation))
        limits = tuple(entry.limit for entry in self.limits if entry.scope.speaks_of(operation))
        return computing.within(limits, device)

    def out_of_range_at(self, operation: Operation, dtype: str, label: Label) -> OutOfRange | None:
        """The entry that says that the operation takes this label; None if there is none."""
        return next((o for o in self.out_of_range if label in o.labels and o.scope.covers(operation, dtype)), None)


def setting_of(adapter: Adapter) -> Setting:
    """Where an adapter runs."""
    return Setting(next(iter(adapter.versions().values())), adapter.device, adapter.processor)
