"""Writes a report into a folder: JSON for programs, Markdown for text, HTML for reading."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from suites.inputs.own_file import write_anew
from suites.report.markdown import markdown
from suites.report.page import page
from suites.report.schema import Report


def as_json(report: Report) -> str:
    """The report as JSON with one result, case or deviation a line: short, and differences between reports are lines.

    >>> print(as_json({"schema": "x", "tests": {"passed": 1}, "cases": [{"case": "a"}, {"case": "b"}]}))
    {
    "schema": "x",
    "tests": {"passed": 1},
    "cases": [
    {"case": "a"},
    {"case": "b"}
    ]
    }
    """
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {_lines(value)}" for key, value in report.items()) + "\n}"


def _lines(value: object) -> str:
    if not isinstance(value, list) or not value:
        return json.dumps(value, allow_nan=False)
    return "[\n" + ",\n".join(json.dumps(item, allow_nan=False) for item in value) + "\n]"


def as_one_line(report: Report) -> str:
    """The report as JSON without a line end or a space that says nothing: for storage, since a line of digits is not read.

    >>> print(as_one_line({"schema": "x", "tests": {"passed": 1}}))
    {"schema":"x","tests":{"passed":1}}
    """
    return json.dumps(report, separators=(",", ":"), allow_nan=False)


def write_report(report: Report, folder: Path, stem: str = "report") -> list[Path]:
    """Write the report in every form into a folder, which is made if it is not there; the paths written.

    All are written aside and then renamed: where the disk is full, what was there before is left as it was.

    Raises:
      OSError: they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = files_of(folder, stem)
    aside = {path: path.with_name(f"{path.name}.new") for path in paths}
    try:
        for path, form in paths.items():
            write_anew(aside[path], form(report).rstrip("\n") + "\n")
        for path, written in aside.items():
            written.replace(path)
    finally:
        for written in aside.values():
            written.unlink(missing_ok=True)
    return list(paths)


def files_of(folder: Path, stem: str) -> dict[Path, Callable[[Report], str]]:
    """The files of a report, each with what writes it."""
    return {folder / f"{stem}.{ending}": form for ending, form in FORMS.items()}


FORMS: dict[str, Callable[[Report], str]] = {"json": as_json, "md": markdown, "html": page}
"""Endings of the files, and what writes them."""
