"""What each operation claims, and the deviations known: ci/claims/BACKEND.toml, read, checked and looked up.

A claim says which grade operations meet, per quantity and dtype. A deviation names stored cases at which operations miss
a grade, with the reason; it is strict: a case that passes makes it stale. Its `region`, where given, is the part of the
input space in which generated problems are held to `reaches` instead of the claim, because the same defect shows there.

A processor chooses a framework's kernels, so what was seen on one need not show on another. `processors` says where an entry
was seen, in the framework's own words (`Adapter.processor`); at the head of the file it speaks for every deviation and every
label out of range that does not say itself. There the entry is strict. Elsewhere a case that passes is told ("not seen on this
processor") and fails nothing, and one that does not is expected all the same; regions hold everywhere.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from adapters.adapter import Adapter
from adapters.limits import DEVICES, Limit, limit_of, names_among
from adapters.loading import backend_names
from adapters.operation import Operation, options_used
from reference.formats import FORMATS
from reference.grades import Grade, grade_named
from reference.names import nearest
from reference.options import OPTIONS
from reference.problem import Problem
from reference.quantity import Quantity
from reference.reduction import Reduction
from suites.inputs.cases import Case
from suites.inputs.hazards import HAZARDS

CLAIMS_FOLDER = Path(__file__).parents[2] / "ci" / "claims"
UNCLAIMED = Grade.ACCURATE
"""What an operation without a claim is held to."""

_CLAIM_KEYS = {"operations", "dtypes", "modes", "processors", "grades"}
_DEVIATION_KEYS = {
    "id",
    "operations",
    "dtypes",
    "modes",
    "quantities",
    "cases",
    "misses",
    "reaches",
    "region",
    "reason",
    "link",
} | {
    "versions",
    "devices",
    "processors",
}
_OUT_OF_RANGE_KEYS = {"id", "operations", "dtypes", "modes", "labels", "reason", "link", "versions", "devices", "processors"}
_REGION_KEYS = {"hazards", "max_rows", "min_classes", "options", "reductions"}


class ClaimsError(Exception):
    """A claims file that is missing or malformed; one line that names the file, the entry and what is allowed."""


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
        """True if it holds for the framework's version on the device."""
        right_version = SpecifierSet(self.versions, prereleases=True).contains(setting.version.partition("+")[0])
        return right_version and (not self.devices or any(fnmatchcase(setting.device, d) for d in self.devices))

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
    max_rows: int | None = None

    def contains(self, problem: Problem) -> bool:
        """True if the problem meets every condition."""
        return (
            problem.num_classes >= self.min_classes
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
    return -(-3 // operation.classes_multiple) * operation.classes_multiple


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
class Claims:
    """All claims and deviations of a backend that apply to the setting at hand."""

    claims: tuple[Claim, ...] = ()
    deviations: tuple[Deviation, ...] = ()
    out_of_range: tuple[OutOfRange, ...] = ()
    limits: tuple[Limited, ...] = ()
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
            if deviation.region is not None
            and deviation.concerns(operation, problem.format.name, quantity)
            and deviation.region.contains(problem)
        )
        return min(regions, default=grade) if grade > Grade.NONE else grade

    def deviations_at(self, operation: Operation, quantity: Quantity, case: Case) -> tuple[Deviation, ...]:
        """The deviations that list this case."""
        return tuple(d for d in self.deviations if d.concerns(operation, case.problem.format.name, quantity) and d.names(case))

    def declared_limits(self, operation: Operation) -> tuple[Limit, ...]:
        """The limits declared of an operation."""
        return tuple(entry.limit for entry in self.limits if entry.scope.speaks_of(operation))

    def out_of_range_at(self, operation: Operation, dtype: str, label: Label) -> OutOfRange | None:
        """The entry that says that the operation takes this label; None if there is none."""
        return next((o for o in self.out_of_range if label in o.labels and o.scope.covers(operation, dtype)), None)


def setting_of(adapter: Adapter) -> Setting:
    """Where an adapter runs."""
    return Setting(next(iter(adapter.versions().values())), adapter.device, adapter.processor)


def claims_path(backend: str, implementation: str | None = None, given: str | None = None) -> Path | None:
    """The claims file of what is on trial: the one that was given, or else the one that this project ships for a backend.

    That is `CLAIMS_FOLDER`/NAME.toml of a backend of this project that was asked for by its name. None for the user's own
    callable or backend (file.py:Class, module:Class, or of an installed package), whatever name the class gives itself.
    """
    if given:
        return Path(given)
    shipped = CLAIMS_FOLDER / f"{backend}.toml"
    own = implementation is None and backend in backend_names()
    return shipped if own and shipped.exists() else None


def claims_of(adapter: Adapter, path: Path | None) -> Claims:
    """The claims of a file for an adapter where it runs; nothing is claimed if there is no file.

    Raises:
      ClaimsError: see `load_claims`.
    """
    return Claims() if path is None else load_claims(path, setting_of(adapter))


def load_claims(path: Path, setting: Setting) -> Claims:
    """The claims of a file that speak of a setting; a deviation is strict if it was seen on the processor of that.

    Arguments:
      path: a TOML file of [[claim]], [[deviation]], [[out_of_range]] and [[limit]] entries.
      setting: the framework's version, the device and the processor.

    Raises:
      ClaimsError: the file cannot be read, is not TOML, or an entry is malformed.
    """
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise ClaimsError(f"claims file {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ClaimsError(f"claims file {path} is not TOML: {error}") from None
    if unknown := set(table) - {*_TABLES, "processors"}:
        allowed = ", ".join(["processors", *(f"[[{name}]]" for name in _TABLES)])
        near = nearest(min(unknown), _TABLES)
        raise ClaimsError(f"claims file {path}: unknown tables {sorted(unknown)}; allowed: {allowed}{near}")
    seen = _parsed(_processors, table, f"{path}")
    claims, deviations, out_of_range, declared = (_entries(path, table, name) for name in _TABLES)
    _at(path, _check_ids, [*deviations, *out_of_range])
    return Claims(
        tuple(c for c in claims if _at(path, c.applies.seen_on, setting.processor)),
        tuple(_at(path, _in_setting, d, setting, seen) for d in deviations if d.applies.holds(setting)),
        tuple(_at(path, _in_setting, o, setting, seen) for o in out_of_range if o.applies.holds(setting)),
        tuple(declared),
    )


def _entries(path: Path, table: dict[str, Any], name: str) -> list[Any]:
    """The entries of a table, each of which knows where it stands."""
    given = table.get(name, [])
    if not isinstance(given, list) or not all(isinstance(entry, dict) for entry in given):
        raise ClaimsError(f"claims file {path}: {name} is no list of entries; allowed: [[{name}]], in double brackets")
    parsed = []
    for i, entry in enumerate(given):
        where = f"[[{name}]] {entry.get('id', i + 1)}"
        found = _parsed(_TABLES[name], entry, f"{path}: {where}")
        parsed.append(replace(found, scope=replace(found.scope, entry=where)))
    return parsed


def _check_ids(entries: list[Deviation | OutOfRange]) -> None:
    ids = [entry.id for entry in entries]
    if twice := [entry for entry in entries if ids.count(entry.id) > 1]:
        raise ValueError(f"{twice[1].scope.entry}: id {twice[1].id!r} is taken by {twice[0].scope.entry}; allowed: an id once")


E = TypeVar("E", Deviation, OutOfRange)
T = TypeVar("T")


def _in_setting(entry: E, setting: Setting, seen: tuple[str, ...]) -> E:
    """The entry, strict or not; `seen` are the processors of the file, for entries that name none."""
    applies = entry.applies if entry.applies.processors else replace(entry.applies, processors=seen)
    return replace(entry, applies=applies, strict=applies.seen_on(setting.processor))


def _at(path: Path, function: Callable[..., T], *arguments: Any) -> T:
    """What a function returns; an entry that it refuses is one of this file."""
    try:
        return function(*arguments)
    except ValueError as error:
        raise ClaimsError(f"{path}: {error}") from None


def _parsed(parse: Any, entry: Any, where: str) -> Any:
    try:
        return parse(entry)
    except KeyError as error:
        raise ClaimsError(f"{where}: {error.args[0]!r} is missing") from None
    except (AttributeError, InvalidSpecifier, TypeError, ValueError) as error:
        raise ClaimsError(f"{where}: {error}") from None


def _check_keys(entry: dict[str, Any], allowed: set[str]) -> None:
    if unknown := set(entry) - allowed:
        raise ValueError(f"unknown keys {sorted(unknown)}; allowed: {sorted(allowed)}{nearest(min(unknown), allowed)}")


def _scope(entry: dict[str, Any], dtypes: Any) -> Scope:
    modes = _patterns(entry["modes"], "modes") if "modes" in entry else ("*",)
    return Scope(_patterns(entry["operations"], "operations"), names_among(dtypes, FORMATS, "dtype"), modes)


def _patterns(given: Any, what: str) -> tuple[str, ...]:
    """Names or globs; a string in the place of a list would be a list of its letters."""
    if not (isinstance(given, list) and given and all(isinstance(name, str) and name for name in given)):
        raise ValueError(f"{what} is {given!r}; allowed: a list of names or globs")
    return tuple(given)


def _text(entry: dict[str, Any], key: str) -> str:
    """A text; what is left out is empty."""
    given = entry.get(key, "")
    if not isinstance(given, str):
        raise ValueError(f"{key} is {given!r}; allowed: a text")
    return given


def _needed_text(entry: dict[str, Any], key: str) -> str:
    if not isinstance(given := entry[key], str) or not given.strip():
        raise ValueError(f"{key} is {given!r}; allowed: a text that is not empty")
    return given


def _applies(entry: dict[str, Any]) -> Applicability:
    versions = _text(entry, "versions")
    try:
        SpecifierSet(versions)
    except InvalidSpecifier:
        raise ValueError(f"versions is {versions!r}; allowed: specifiers, such as '>=2.0,<3'") from None
    devices = _patterns(entry["devices"], "devices") if "devices" in entry else ()
    for device in devices:
        if not any(fnmatchcase(kind, device.partition(":")[0]) for kind in DEVICES):
            raise ValueError(f"device {device!r} matches none; allowed: {', '.join(DEVICES)}, cuda:INDEX, or globs")
    return Applicability(versions, devices, _processors(entry))


def _processors(entry: dict[str, Any]) -> tuple[str, ...]:
    given = entry.get("processors", [])
    if not isinstance(given, list) or not all(isinstance(name, str) and name and name == name.strip() for name in given):
        raise ValueError(f"processors = {given!r}; allowed: a list of names or globs, as the header of a run prints them")
    return tuple(given)


def _claim(entry: dict[str, Any]) -> Claim:
    _check_keys(entry, _CLAIM_KEYS)
    if not isinstance(entry["grades"], dict) or not entry["grades"]:
        raise ValueError(f'grades is {entry["grades"]!r}; allowed: a table, such as {{ loss = "stable" }}')
    quantities = names_among(list(entry["grades"]), [str(q) for q in Quantity], "quantity")
    return Claim(
        _scope(entry, entry["dtypes"]), {Quantity(q): grade_named(entry["grades"][q]) for q in quantities}, _applies(entry)
    )


def _deviation(entry: dict[str, Any]) -> Deviation:
    _check_keys(entry, _DEVIATION_KEYS)
    return Deviation(
        id=_needed_text(entry, "id"),
        scope=_scope(entry, entry["dtypes"]),
        quantities=tuple(Quantity(q) for q in names_among(entry["quantities"], [str(q) for q in Quantity], "quantity")),
        cases=_patterns(entry["cases"], "cases"),
        misses=grade_named(entry["misses"]),
        reaches=grade_named(entry.get("reaches", "none")),
        reason=_needed_text(entry, "reason"),
        link=_text(entry, "link"),
        region=_region(entry["region"]) if "region" in entry else None,
        applies=_applies(entry),
    )


def _out_of_range(entry: dict[str, Any]) -> OutOfRange:
    _check_keys(entry, _OUT_OF_RANGE_KEYS)
    if not isinstance(entry["labels"], list) or not entry["labels"]:
        raise ValueError(f"labels is {entry['labels']!r}; allowed: a list of numbers, or of {NO_CLASSES!r}")
    labels, scope = tuple(_label(label) for label in entry["labels"]), _scope(entry, entry["dtypes"])
    return OutOfRange(
        _needed_text(entry, "id"), scope, labels, _needed_text(entry, "reason"), _text(entry, "link"), _applies(entry)
    )


def _label(given: Any) -> Label:
    if (isinstance(given, int | float) and not isinstance(given, bool)) or given == NO_CLASSES:
        return given
    raise ValueError(f"label {given!r}; allowed: numbers, or {NO_CLASSES!r}")


def _region(entry: dict[str, Any]) -> Region:
    if not isinstance(entry, dict) or not entry:
        raise ValueError(f"region is {entry!r}; allowed: a table of {', '.join(sorted(_REGION_KEYS))}")
    _check_keys(entry, _REGION_KEYS)
    hazards = names_among(entry.get("hazards", []), HAZARDS, "hazard")
    return Region(
        hazards,
        _whole(entry, "min_classes", 0),
        names_among(entry.get("options", []), OPTIONS, "option"),
        names_among(entry.get("reductions", []), Reduction, "reduction"),
        _whole(entry, "max_rows", None),
    )


def _whole(entry: dict[str, Any], key: str, default: T) -> int | T:
    """A whole number from 0 on, or the default where the key is left out."""
    given = entry.get(key)
    if given is None:
        return default
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise ValueError(f"{key} is {given!r}; allowed: a whole number from 0 on")
    return given


def _limited(entry: dict[str, Any]) -> Limited:
    """Its `dtypes` and `devices` are those that are left, not those for which the entry holds."""
    keys = {key: value for key, value in entry.items() if key not in ("operations", "modes")}
    return Limited(_scope(entry, list(FORMATS)), limit_of(keys))


_TABLES = {"claim": _claim, "deviation": _deviation, "out_of_range": _out_of_range, "limit": _limited}
