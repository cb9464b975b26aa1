"""Reads a claims file: what its schema and its own words refuse is told by the file, the entry and what is allowed."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from adapters.adapter import Adapter
from adapters.arithmetic import declaration_of
from adapters.limits import DEVICES, limit_of
from adapters.loading import backend_names
from reference.formats import FORMATS
from reference.grades import grade_named
from reference.quantity import Quantity
from reference.validation import first_error, sentence, validator
from suites.inputs.user_file import text_of
from suites.judging.claims import (
    Applicability,
    Claim,
    Claims,
    Computing,
    Deviation,
    Limited,
    OutOfRange,
    Region,
    Scope,
    Setting,
    setting_of,
)
from suites.judging.claims_schema import LONGEST_NAME, SCHEMA, TABLES

CLAIMS_FOLDER = Path(__file__).parents[2] / "ci" / "claims"
LARGEST_FILE = 2**22
"""Bytes; eighty times those of the largest file here."""

_DEVICES = (*DEVICES, *(f"cuda:{index}" for index in range(1024)))
_STRICT = validator(SCHEMA)


class ClaimsError(Exception):
    """A claims file that is missing or malformed; one line that names the file, the entry and what is allowed."""


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
      path: a TOML file of [[claim]], [[deviation]], [[out_of_range]], [[limit]] and [[arithmetic]] entries.
      setting: the framework's version, the device and the processor.

    Raises:
      ClaimsError: the file cannot be read, is not TOML, or an entry is malformed.
    """
    try:
        document = _document(path)
        return _claims(document, setting)
    except OSError as error:
        raise ClaimsError(f"claims file {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ClaimsError(f"claims file {path}: {error}") from None


def _document(path: Path) -> dict[str, Any]:
    """The tables of a file, valid by the schema."""
    document = _parsed(text_of(path, LARGEST_FILE))
    error = first_error(_STRICT, document)
    if error is None:
        return document
    place = list(error.absolute_path)
    if len(place) < 2 or place[0] not in TABLES:
        raise ValueError(sentence(error))
    name, i = place[:2]
    raise ValueError(f"{_where(name, i, document[name][i])}: {sentence(error, skip=2)}")


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply; allowed: tables as suites/README.md has them") from None
    except ValueError as error:  # tomllib lets through that of an integer of too many digits
        raise ValueError(f"it is not TOML: {error}") from None


def _where(name: str, i: int, entry: Any) -> str:
    """Where an entry stands, by its id if it has one that can be told, and else by its number."""
    given = entry.get("id") if isinstance(entry, dict) else None
    told = isinstance(given, str) and given.isprintable() and 0 < len(given) <= LONGEST_NAME
    return f"[[{name}]] {given if told else i + 1}"


def _claims(document: dict[str, Any], setting: Setting) -> Claims:
    seen = tuple(document.get("processors", ()))
    Applicability(processors=seen).seen_on(setting.processor)
    claims, deviations, out_of_range, limits, arithmetic = (_entries(document, name) for name in TABLES)
    _check_ids([*deviations, *out_of_range])
    return Claims(
        tuple(claim for claim in claims if _is_seen(claim, setting)),
        _in_setting(deviations, setting, seen),
        _in_setting(out_of_range, setting, seen),
        tuple(limits),
        tuple(arithmetic),
    )


def _entries(document: dict[str, Any], name: str) -> list[Any]:
    """The entries of a table, each of which knows where it stands."""
    entries = []
    for i, entry in enumerate(document.get(name, [])):
        where = _where(name, i, entry)
        with _of(where):
            entries.append(_KINDS[name](entry, where))
    return entries


@contextmanager
def _of(where: str) -> Iterator[None]:
    """Says of which entry an error is."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _check_ids(entries: list[Deviation | OutOfRange]) -> None:
    first: dict[str, str] = {}
    for entry in entries:
        if entry.id in first:
            raise ValueError(f"{entry.scope.entry}: id {entry.id!r} is taken by {first[entry.id]}; allowed: an id once")
        first[entry.id] = entry.scope.entry


def _is_seen(claim: Claim, setting: Setting) -> bool:
    with _of(claim.scope.entry):
        return claim.applies.seen_on(setting.processor)


E = TypeVar("E", Deviation, OutOfRange)


def _in_setting(entries: list[E], setting: Setting, seen: tuple[str, ...]) -> tuple[E, ...]:
    """Those that hold there, strict or not; `seen` are the processors of the file, for entries that name none."""
    held = []
    for entry in entries:
        applies = entry.applies if entry.applies.processors else replace(entry.applies, processors=seen)
        with _of(entry.scope.entry):
            if applies.holds(setting):
                held.append(replace(entry, applies=applies, strict=applies.seen_on(setting.processor)))
    return tuple(held)


def _claim(entry: dict[str, Any], where: str) -> Claim:
    grades = {Quantity(quantity): grade_named(grade) for quantity, grade in entry["grades"].items()}
    return Claim(_scope(entry, where), grades, _applies(entry))


def _deviation(entry: dict[str, Any], where: str) -> Deviation:
    misses, reaches = grade_named(entry["misses"]), grade_named(entry.get("reaches", "none"))
    if reaches >= misses:
        raise ValueError(f"reaches is {reaches.label!r}; allowed: a grade below {misses.label!r}, which it misses")
    return Deviation(
        id=entry["id"],
        scope=_scope(entry, where),
        quantities=tuple(map(Quantity, entry["quantities"])),
        cases=tuple(entry["cases"]),
        misses=misses,
        reaches=reaches,
        reason=entry["reason"],
        link=entry.get("link", ""),
        region=_region(entry["region"]) if "region" in entry else None,
        applies=_applies(entry),
    )


def _region(entry: dict[str, Any]) -> Region:
    keys: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Region(**keys)


def _out_of_range(entry: dict[str, Any], where: str) -> OutOfRange:
    known = entry["id"], _scope(entry, where), tuple(entry["labels"]), entry["reason"]
    return OutOfRange(*known, link=entry.get("link", ""), applies=_applies(entry))


def _limited(entry: dict[str, Any], where: str) -> Limited:
    """Its `dtypes` and `devices` are those that are left, not those for which the entry holds."""
    keys = {key: value for key, value in entry.items() if key not in ("operations", "modes")}
    return Limited(_scope(entry | {"dtypes": FORMATS}, where), limit_of(keys))


def _computing(entry: dict[str, Any], where: str) -> Computing:
    keys = {key: value for key, value in entry.items() if key not in ("operations", "modes")}
    return Computing(_scope({"dtypes": FORMATS, **entry}, where), declaration_of(keys))


def _scope(entry: dict[str, Any], where: str) -> Scope:
    return Scope(tuple(entry["operations"]), tuple(entry["dtypes"]), tuple(entry.get("modes", ("*",))), where)


def _applies(entry: dict[str, Any]) -> Applicability:
    versions = entry.get("versions", "")
    try:
        SpecifierSet(versions)
    except InvalidSpecifier:
        raise ValueError(f"versions is {versions!r}; allowed: specifiers, such as '>=2.0,<3'") from None
    devices = tuple(entry.get("devices", ()))
    for device in devices:
        if not any(fnmatchcase(there, device) for there in _DEVICES):
            raise ValueError(f"device {device!r} matches none; allowed: {', '.join(DEVICES)}, cuda:INDEX, or globs")
    return Applicability(versions, devices, tuple(entry.get("processors", ())))


_KINDS = {"claim": _claim, "deviation": _deviation, "out_of_range": _out_of_range, "limit": _limited, "arithmetic": _computing}
