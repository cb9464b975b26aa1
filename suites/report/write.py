"""Writes a report into a folder: JSON for programs, Markdown for text, HTML for reading."""

from __future__ import annotations

import json
from pathlib import Path

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


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write report.json, report.md and report.html into a folder, which is made if it is not there; the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {"report.json": as_json(report), "report.md": markdown(report), "report.html": page(report)}
    for name, text in written.items():
        (folder / name).write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    return [folder / name for name in written]
