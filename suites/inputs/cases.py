"""Stored cases: named inputs with exact bits, provenance and hazard, read from suites/cases/*.toml.

A case is one problem in each of its dtypes. Numbers are hexadecimal floating-point strings (exact, no rounding on the
way), 'inf', '-inf' or 'nan'; "0x0p+0 * 70000" repeats an entry, "0x1p+0 0x0p+0 * 50" a
pattern, and `rows` repeats the first row.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.formats import FORMATS, Floats, Format
from reference.loss import Loss
from reference.names import nearest
from reference.options import ARGUMENTS, Array, Option
from reference.problem import Problem

_LONGEST_PATTERN = 12
LARGEST_PROBLEM = 2**26
"""Logits: 512 MiB of them in float64."""
_SHORT_ROW = 24
"""Numbers of a row that a person reads one by one."""

CASES_FOLDER = Path(__file__).parents[1] / "cases"
_KEYS = {"id", "dtypes", "logits", "target", "story", "provenance", "hazard", "rows", "classes"}
_ARGUMENTS = sorted(ARGUMENTS, key=lambda argument: isinstance(argument.kind, Array))
"""Arrays are told last."""

PROBLEM_KEYS = ("dtype", "logits", "target", "classes", "rows", *(argument.name for argument in _ARGUMENTS))
"""What describes a problem."""


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


def parse_number(text: str | float) -> float:
    """The float64 that a hexadecimal string, 'inf', '-inf' or 'nan' names exactly; a number as it is.

    Raises:
      ValueError: a string without 0x, which float.fromhex would read as hexadecimal all the same.
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        return float(text)
    if not isinstance(text, str) or not re.fullmatch(r"[+-]?(0[xX].+|inf|nan)", text):
        raise ValueError(
            f"number {text!r}; allowed: hexadecimal such as '0x1.4p+4', 'inf', '-inf', 'nan', or a number unquoted"
        )
    return float.fromhex(text)


def parse_row(entries: Iterable[str | float]) -> list[float]:
    """A row of numbers; "x * n" stands for n times x, "x y * n" for n times x and y.

    Raises:
      ValueError: an entry is no number, or is repeated too often.

    >>> parse_row(["0x1.4p+4", "0x0p+0 * 3", "-inf", 0.5, "0x1p+0 0x0p+0 * 2"])
    [20.0, 0.0, 0.0, 0.0, -inf, 0.5, 1.0, 0.0, 1.0, 0.0]
    """
    row: list[float] = []
    for entry in entries:
        if not isinstance(entry, str):
            row.append(parse_number(entry))
            continue
        pattern, star, times = entry.partition("*")
        numbers = [parse_number(number) for number in pattern.split()]
        if not numbers or (star and not re.fullmatch(r" *0*[1-9][0-9]{0,8} *", times)):
            raise ValueError(f"entry {entry!r}; allowed: a number, or numbers * n with n from 1 on")
        count = int(times) if star else 1
        _check_size(len(row) + len(numbers) * count)
        row += numbers * count
    return row


def _check_size(numbers: int) -> None:
    if numbers > LARGEST_PROBLEM:
        raise ValueError(f"{numbers} numbers are asked for; allowed: {LARGEST_PROBLEM} in a problem")


def format_row(values: Floats) -> list[str]:
    """The inverse of `parse_row`: what repeats is written once, in long rows patterns of a few numbers too.

    >>> format_row(np.array([20.0, 0.0, 0.0, 0.0, -np.inf]))
    ['0x1.4000000000000p+4', '0x0.0p+0 * 3', '-inf']
    >>> format_row(np.array([1.0, 0.0, 2.0] + [0.0, 1.0] * 50))[2:]
    ['0x1.0000000000000p+1', '0x0.0p+0 0x1.0000000000000p+0 * 50']
    """
    texts = [float(v).hex() for v in values.tolist()]
    entries: list[str] = []
    start = 0
    while start < len(texts):
        period, times = _repetition(texts, start)
        pattern = " ".join(texts[start : start + period])
        entries.append(f"{pattern} * {times}" if times > 1 else pattern)
        start += period * times
    return entries


def _repetition(texts: list[str], start: int) -> tuple[int, int]:
    """Period and number of repetitions of the pattern at a place that covers most; (1, 1) where nothing repeats."""
    best = (1, 1)
    for period in range(1, _LONGEST_PATTERN + 1) if len(texts) > _SHORT_ROW else (1,):
        end = start + period
        while end < len(texts) and texts[end] == texts[end - period]:
            end += 1
        times = (end - start) // period
        if times > 1 and times * period > best[0] * best[1]:
            best = (period, times)
    return best


def problem_from(entry: dict[str, Any], fmt: Format) -> Problem:
    """The problem that a case describes, in a format.

    Raises:
      ValueError: it is malformed (see `Problem`).
    """
    logits = _table(entry["logits"], "logits")
    logits = logits if logits.size else logits.reshape(0, _whole("classes", entry.get("classes", 1)))
    target = entry["target"]
    soft = bool(target) and isinstance(target[0], list)
    table: NDArray[Any] = _table(target, "target") if soft else _indices(target)
    if not target and not Loss(entry.get("loss", Loss.CROSS_ENTROPY)).spec.takes_indices:
        table = np.zeros(logits.shape)
    if "rows" in entry:
        rows = _whole("rows", entry["rows"])
        _check_size(rows * logits.size)
        logits, table = np.repeat(logits, entry["rows"], axis=0), np.repeat(table, entry["rows"], axis=0)
    options = {argument.name: _read(argument, entry[argument.name]) for argument in _ARGUMENTS if argument.name in entry}
    if "tangent" in options and not logits.size:
        options["tangent"] = np.zeros(logits.shape)
    return Problem(logits=logits, target=table, format=fmt, **options)


def _table(rows: list[Any], what: str) -> NDArray[np.float64]:
    """Rows of as many numbers each."""
    parsed = [parse_row(row) for row in rows]
    if len(lengths := sorted({len(row) for row in parsed})) > 1:
        raise ValueError(f"{what} has rows of {' and '.join(map(str, lengths))} numbers; allowed: as many in each")
    return np.array(parsed, dtype=np.float64)


def _indices(target: list[Any]) -> NDArray[np.int64]:
    """Class indices; what is no whole number is refused, since a cast would cut it off."""
    for index in target:
        if not isinstance(index, int) or isinstance(index, bool) or not -(2**63) <= index < 2**63:
            raise ValueError(f"target has {index!r}; allowed: class indices, or a list of probabilities for each row")
    return np.array(target, dtype=np.int64)


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST_PROBLEM:
        raise ValueError(f"{name} is {value!r}; allowed: a whole number from 1 to {LARGEST_PROBLEM}")
    return value


def _read(argument: Option, value: Any) -> Any:
    """The value of an argument that a case gives."""
    if not isinstance(argument.kind, Array):
        return value
    if not isinstance(value, list):
        return np.array(parse_number(value))
    nested = bool(value) and isinstance(value[0], list)
    return _table(value, argument.name) if nested else np.array(parse_row(value))


def describe_problem(problem: Problem) -> dict[str, Any]:
    """A problem as the JSON object that --case takes: exact, and short where rows repeat numbers."""
    soft = problem.has_probabilities
    entry: dict[str, Any] = {
        "dtype": problem.format.name,
        "logits": [format_row(row) for row in problem.logits],
        "target": [format_row(row) for row in problem.target] if soft else problem.target.tolist(),
    }
    if problem.num_rows == 0:
        entry["classes"] = problem.num_classes
    given = {argument.name: getattr(problem, argument.name) for argument in _ARGUMENTS if problem.gives(argument)}
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
    allowed = _KEYS | {argument.name for argument in ARGUMENTS}
    if unknown := set(entry) - allowed:
        raise CaseError(f"{path.name}: case {entry.get('id')!r} has unknown keys {sorted(unknown)}; allowed: {sorted(allowed)}")
    name = f"{path.stem}/{entry['id']}"
    try:
        return [
            Case(name, entry["hazard"], entry["story"], entry["provenance"], problem_from(entry, FORMATS[dtype]))
            for dtype in entry["dtypes"]
        ]
    except (KeyError, ValueError) as error:
        raise CaseError(f"{path.name}: case {entry.get('id')!r} is malformed: {error}") from error


def cases_matching(pattern: str) -> tuple[Case, ...]:
    """The stored cases that --case names: an id, a name, or a name with *.

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
    head, star, tail = pattern.partition("*")
    texts = (case.id, case.name)
    return any(t.startswith(head) and t.endswith(tail) if star else t == pattern for t in texts)
