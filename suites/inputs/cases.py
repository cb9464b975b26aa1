"""Stored cases: named inputs with exact bits, provenance and hazard, read from suites/cases/*.toml.

A case is one problem in each of its dtypes, with numbers as `exact_text` has them; `rows` repeats its row. A linear layer
stands in the place of logits: its features, the columns of its weight, and its bias. What a case may say is in `case_schema`,
and what that cannot say is checked here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.formats import FORMATS, Floats, Format
from reference.names import nearest
from reference.options import ARGUMENTS, LOSS, Array, Option
from reference.problem import Problem
from reference.validation import INT64, check, shown, validator
from suites.inputs.case_schema import STORED, WEIGHT_COLUMNS
from suites.inputs.exact_text import LARGEST_PROBLEM, check_size, format_row, parse_number, parse_row, parse_table

CASES_FOLDER = Path(__file__).parents[1] / "cases"
_STORED = validator(STORED)
_ARGUMENTS = sorted(ARGUMENTS, key=lambda argument: isinstance(argument.kind, Array))
"""Arrays are told last."""


class CaseError(Exception):
    """A case that is not known or is malformed; one line."""


@dataclass(frozen=True)
class Case:
    """One named problem in one dtype.

    `name` is shared by all dtypes (claims refer to it); `id` is name[dtype] and unique.
    """

    name: str
    hazard: str
    story: str
    provenance: str
    problem: Problem

    @property
    def id(self) -> str:
        """Unique name: --case takes it."""
        return f"{self.name}[{self.problem.format.name}]"


def problem_from(entry: Mapping[str, Any], fmt: Format) -> Problem:
    """The problem that a case describes, in a format.

    Raises:
      ValueError: it is malformed (see `Problem`).
    """
    if "features" in entry:
        kind, given = "features", _layer(entry)
        rows, classes = given["features"], len(given["weight"])
    else:
        kind, rows = "logits", _logits(entry)
        given, classes = {"logits": rows}, rows.shape[1]
    check_size(len(rows) * classes)
    given["target"] = _target(entry, (len(rows), classes))
    if "rows" in entry:
        times = _repeated(entry, len(rows), kind)
        check_size(times * max(rows.size, classes))
        given |= {name: np.repeat(given[name], times, axis=0) for name in (kind, "target")}
    options = {argument.name: _read(argument, entry[argument.name]) for argument in _ARGUMENTS if argument.name in entry}
    if entry.get("tangent") == [] and not rows.size:
        options["tangent"] = np.zeros((len(rows), classes))
    whole = {"logits": None, "format": fmt} | options | given
    return Problem(**whole)


def _layer(entry: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Features and weight of a linear layer, which a case gives by its columns."""
    if clash := [name for name in ("logits", "classes") if name in entry]:
        raise ValueError(f"{clash[0]} and features are both given; allowed: one of them: the output of a layer is its logits")
    if WEIGHT_COLUMNS not in entry:
        raise ValueError(f"{WEIGHT_COLUMNS} is missing; needed with features: the column of W for each of them")
    if not entry[WEIGHT_COLUMNS]:
        raise ValueError(f"{WEIGHT_COLUMNS} is []; allowed: a list of numbers for each feature")
    weight = parse_table(entry[WEIGHT_COLUMNS], WEIGHT_COLUMNS).T
    features = parse_table(entry["features"], "features")
    return {"features": features.reshape(0, weight.shape[1]) if entry["features"] == [] else features, "weight": weight}


def _logits(entry: Mapping[str, Any]) -> NDArray[np.float64]:
    """Rows of logits; of no rows `classes` says how long they would be."""
    if WEIGHT_COLUMNS in entry:
        raise ValueError(f"{WEIGHT_COLUMNS} is given without features; allowed: both, in the place of logits, or neither")
    if "logits" not in entry:
        raise ValueError(f"'logits' is missing; needed: logits, or features and {WEIGHT_COLUMNS} of a linear layer")
    logits = parse_table(entry["logits"], "logits")
    if entry["logits"] == []:
        return logits.reshape(0, whole_number("classes", entry.get("classes", 1)))
    if "classes" in entry:
        raise ValueError(f"classes is {shown(entry['classes'])} and logits has rows; allowed: with logits of no rows")
    return logits


def _target(entry: Mapping[str, Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Class indices, or probabilities where there are lists; of no rows the loss decides."""
    target = entry["target"]
    if not target and not shape[0] and not LOSS.checked(entry.get("loss", LOSS.default)).spec.takes_indices:
        return np.zeros(shape)
    return parse_table(target, "target") if target and isinstance(target[0], list) else parse_indices(target)


def parse_indices(target: list[Any]) -> NDArray[np.int64]:
    """Class indices; what is no whole number is refused, since a cast would cut it off.

    Raises:
      ValueError: one is no whole number of 64 bits.
    """
    for index in target:
        if not isinstance(index, int) or isinstance(index, bool) or not INT64[0] <= index <= INT64[1]:
            raise ValueError(f"target has {shown(index)}; allowed: class indices, or a list of probabilities for each row")
    return np.array(target, dtype=np.int64)


def _repeated(entry: Mapping[str, Any], rows: int, kind: str) -> int:
    """How often the row, of logits or of features, is repeated."""
    if rows != 1:
        raise ValueError(f"rows is {shown(entry['rows'])} and {kind} has {rows} rows; allowed: with one row, which is repeated")
    return whole_number("rows", entry["rows"])


def whole_number(name: str, value: Any) -> int:
    """A size.

    Raises:
      ValueError: it is no whole number, or too large.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST_PROBLEM:
        raise ValueError(f"{name} is {shown(value)}; allowed: a whole number from 1 to {LARGEST_PROBLEM}")
    return value


def _read(argument: Option, value: Any) -> Any:
    """The value of an argument that a case gives."""
    if not isinstance(argument.kind, Array):
        return value
    if not isinstance(value, list):
        return np.array(parse_number(value))
    nested = bool(value) and isinstance(value[0], list)
    return parse_table(value, argument.name) if nested else np.array(parse_row(value))


def describe_problem(problem: Problem) -> dict[str, Any]:
    """A problem as the JSON object that --case takes: exact, and short where rows repeat numbers."""
    soft = problem.has_probabilities
    entry: dict[str, Any] = {
        "dtype": problem.format.name,
        "logits": _written(problem.logits),
        "target": _written(problem.target) if soft else problem.target.tolist(),
    }
    given = {argument.name: getattr(problem, argument.name) for argument in _ARGUMENTS if problem.gives(argument)}
    if problem.layer is not None:
        del entry["logits"]
        given[WEIGHT_COLUMNS] = given.pop("weight").T
    elif problem.num_rows == 0:
        entry["classes"] = problem.num_classes
    return entry | {name: _written(value) if isinstance(value, np.ndarray) else value for name, value in given.items()}


def _written(array: Floats) -> Any:
    if array.ndim == 2:
        return [format_row(row) for row in array]
    return format_row(array) if array.ndim else float(array).hex()


@cache
def stored_cases() -> tuple[Case, ...]:
    """All stored cases, in the order of their files.

    Raises:
      CaseError: a file is malformed; the message names the file and the case.
    """
    cases: list[Case] = []
    for path in sorted(CASES_FOLDER.glob("*.toml")):
        for entry in tomllib.loads(path.read_text())["case"]:
            cases += _cases_of(entry, path)
    return tuple(cases)


def _cases_of(entry: dict[str, Any], path: Path) -> list[Case]:
    try:
        check(_STORED, entry)
        name = f"{path.stem}/{entry['id']}"
        return [
            Case(name, entry["hazard"], entry["story"], entry["provenance"], problem_from(entry, FORMATS[dtype]))
            for dtype in entry["dtypes"]
        ]
    except ValueError as error:
        raise CaseError(f"{path.name}: case {shown(entry.get('id'))}: {error}") from None


def cases_matching(pattern: str) -> tuple[Case, ...]:
    """The stored cases that --case names: an id, a name, or either with * for any part of it.

    Raises:
      CaseError: nothing matches.
    """
    wanted = [case for case in stored_cases() if _matches(case, pattern)]
    if not wanted:
        names = sorted({case.name for case in stored_cases()})
        near = [name for name in names if pattern.split("/")[0] in name] or names
        there_is = f"{', '.join(near[:12])}{' ...' if len(near) > 12 else ''}"
        raise CaseError(f"case {pattern!r} is not known; there is: {there_is}{nearest(pattern, names)}")
    return tuple(wanted)


def _matches(case: Case, pattern: str) -> bool:
    """Globs with * alone: the brackets of an id are not a character class."""
    glob = pattern.replace("[", "[[]").replace("?", "[?]")
    return any(fnmatchcase(text, glob) for text in (case.id, case.name))
