"""Compares reports: one row for each operation, dtype and quantity, differences first, and what became worse.

The first report is the baseline. A row is the same in two reports if operation, dtype and quantity are; the mode counts too
where one of the reports has several, so that a compiled run can be held beside an eager one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from reference.formats import FORMATS
from reference.quantity import Quantity
from suites.report.pair import Pair
from suites.report.regressions import Regression, regressions_of
from suites.report.row import lower, worse
from suites.report.schema import Report, Result
from suites.report.wording import short_name

Key = tuple[str, str, str]
"""What a result is of: operation, dtype and quantity."""


class Change(IntEnum):
    """How the results of a row differ, the gravest first; `label` has each in words."""

    REGRESSION = 0
    GRADE = 1
    ERROR = 2
    ONLY = 3
    SAME = 4

    @property
    def label(self) -> str:
        """The difference in words, as the table of a comparison has it."""
        return ("worse", "grade or claim", "worst error", "not in all", "same")[self]


@dataclass(frozen=True)
class ReportRow:
    """One operation, dtype and quantity with its result in each report, None where a report has none, and what is worse."""

    key: Key
    results: tuple[Result | None, ...]
    worse: tuple[list[str], ...] = ()
    """What is worse in each later report than in the first."""

    @cached_property
    def change(self) -> Change:
        """The gravest difference between the results of the row."""
        present = [result for result in self.results if result is not None]
        if any(self.worse):
            return Change.REGRESSION
        if len({(result["reached"], result["claimed"]) for result in present}) > 1:
            return Change.GRADE
        if len({result["worst_ulps"] for result in present}) > 1:
            return Change.ERROR
        return Change.ONLY if len(present) < len(self.results) else Change.SAME


@dataclass(frozen=True)
class ReportComparison:
    """Two or more reports beside each other, row by row, the first of them the baseline.

    `notes` say what the reports do not have in common and may explain a difference.
    """

    reports: tuple[Report, ...]
    rows: tuple[ReportRow, ...]
    regressions: tuple[Regression, ...]
    notes: tuple[str, ...]


def compare(reports: Sequence[Report]) -> ReportComparison:
    """The comparison of two or more reports of anything on trial.

    Regressions are looked for where a report and the first are of one thing (`Pair.is_of_one`): what is worse as a whole
    (`suites.report.regressions`), and what is worse in a row (`suites.report.row`).
    """
    tables = [_by_key(report) for report in reports]
    pairs = [Pair(reports[0], later) for later in reports[1:]]
    keys = sorted({key for table in tables for key in table}, key=_order)
    rows = [_row(key, [table.get(key) for table in tables], pairs) for key in keys]
    regressions = [
        regression
        for number, pair in enumerate(pairs, start=1)
        if pair.is_of_one
        for regression in (*regressions_of(pair, number), *_of_rows(rows, number))
    ]
    notes = dict.fromkeys(note for pair in pairs for note in pair.notes())
    return ReportComparison(tuple(reports), tuple(sorted(rows, key=lambda row: row.change)), tuple(regressions), tuple(notes))


def _by_key(report: Report) -> dict[Key, Result]:
    return {(short_name(report, r["operation"]), r["dtype"], r["quantity"]): r for r in report["results"]}


def _order(key: Key) -> tuple[str, int, int]:
    operation, dtype, quantity = key
    return operation, list(FORMATS).index(dtype), list(Quantity).index(Quantity(quantity))


def _row(key: Key, results: Sequence[Result | None], pairs: Sequence[Pair]) -> ReportRow:
    """A row; of what are not of one thing only grades and claims are held against each other."""
    first, *others = results
    found = (
        worse(first, later, pair.asked_alike(key[0])) if pair.is_of_one else lower(first, later)
        for pair, later in zip(pairs, others, strict=True)
    )
    return ReportRow(key, tuple(results), tuple(found))


def _of_rows(rows: Sequence[ReportRow], number: int) -> list[Regression]:
    return [
        Regression(number, f"{' '.join(row.key)}: {'; '.join(row.worse[number - 1])}") for row in rows if row.worse[number - 1]
    ]
