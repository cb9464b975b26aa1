"""What a badge says of a report: its verdict and the lowest grade, as the JSON that shields.io takes from an endpoint."""

from __future__ import annotations

import json
from typing import Any

from reference.grades import NOT_MEASURED, grade_named
from suites.report.schema import Report
from suites.report.verdict import CONFORMS, FAILS, REDUCED

_COLOURS = {CONFORMS: "brightgreen", REDUCED: "green", FAILS: "red"}
_LABEL = "softmax cross-entropy"


def badge(report: Report) -> dict[str, Any]:
    """The badge of a report; its grade is what every main operation, or the kernel, reaches for all that was asked.

    The form is that of https://shields.io/badges/endpoint-badge.
    """
    verdict, grade = report["verdict"], _lowest_grade(report)
    reached = f"{grade}, " if grade and verdict in (CONFORMS, REDUCED) else ""
    message = f"{reached}{verdict.lower()}"
    return {"schemaVersion": 1, "label": _LABEL, "message": message, "color": _COLOURS.get(verdict, "lightgrey")}


def _lowest_grade(report: Report) -> str | None:
    """The grade that all measured rows of what the report is about reach; None if none was measured."""
    main = [row for row in report["results"] if row["role"] == "main"] or report["results"]
    reached = [grade_named(row["reached"]) for row in main if row["reached"] != NOT_MEASURED]
    return min(reached).label if reached else None


def badge_json(report: Report) -> str:
    """The same as one line of JSON."""
    return json.dumps(badge(report))
