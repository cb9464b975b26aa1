"""Compares reports: one row for each operation, dtype and quantity, differences first, and what became worse.

The first report is the baseline. A row is the same in two reports if operation, dtype and quantity are; the mode counts too
where one of the reports has several, so that a compiled run can be held beside an eager one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from reference.formats import FORMATS
from reference.quantity import Quantity
from suites.report.schema import Report, Result
from suites.report.verdict import CONFORMS, FAILS, INTERRUPTED, NOTHING_RAN, REDUCED
from suites.report.wording import is_below_claim, limits, reached, seen_deviations, short_name

UNLIKE = "Seeds, efforts or versions of Hypothesis differ: the runs searched other problems, so grades and errors may differ"

_RANKS = {CONFORMS: 2, REDUCED: 1, FAILS: 0, NOTHING_RAN: 0, INTERRUPTED: 0}
"""Verdicts, the worst first; of what fails none is worse than another."""

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
    """One operation, dtype and quantity with its result in each report; None where a report has none."""

    key: Key
    results: tuple[Result | None, ...]

    @cached_property
    def change(self) -> Change:
        """The gravest difference between the results of the row."""
        first, *later = self.results
        present = [result for result in self.results if result is not None]
        if first is not None and any(result is not None and _regressions(first, result) for result in later):
            return Change.REGRESSION
        if len({(result["reached"], result["claimed"]) for result in present}) > 1:
            return Change.GRADE
        if len({result["worst_ulps"] for result in present}) > 1:
            return Change.ERROR
        return Change.ONLY if len(present) < len(self.results) else Change.SAME


@dataclass(frozen=True)
class Regression:
    """Something that is worse in a later report than in the first; `report` counts from 0."""

    report: int
    text: str


@dataclass(frozen=True)
class ReportComparison:
    """Two or more reports beside each other, row by row, the first of them the baseline."""

    reports: tuple[Report, ...]
    rows: tuple[ReportRow, ...]
    regressions: tuple[Regression, ...]

    @property
    def searched_alike(self) -> bool:
        """True if all runs searched the same problems: one seed, one effort, one version of Hypothesis."""
        runs = {
            (report["run"]["seed"], report["run"]["effort"], report["environment"]["packages"].get("hypothesis"))
            for report in self.reports
        }
        return len(runs) == 1


def compare(reports: Sequence[Report]) -> ReportComparison:
    """The comparison of two or more reports of any backends.

    Regressions are looked for where a report and the first are of one backend: grades that are lower, claims that fail and
    did not, deviations seen that were not, limits declared that were not, and a worse verdict. A larger worst error is a
    difference and no regression: it is the largest that a search found.
    """
    tables = [_by_key(report) for report in reports]
    keys = sorted({key for table in tables for key in table}, key=_order)
    rows = [ReportRow(key, tuple(table.get(key) for table in tables)) for key in keys]
    regressions = [
        Regression(number, text)
        for number, report in enumerate(reports)
        if number and report["environment"]["backend"] == reports[0]["environment"]["backend"]
        for text in _all_regressions(reports, rows, number)
    ]
    return ReportComparison(tuple(reports), tuple(sorted(rows, key=lambda row: row.change)), tuple(regressions))


def _by_key(report: Report) -> dict[Key, Result]:
    return {(short_name(report, r["operation"]), r["dtype"], r["quantity"]): r for r in report["results"]}


def _order(key: Key) -> tuple[str, int, int]:
    operation, dtype, quantity = key
    return operation, list(FORMATS).index(dtype), list(Quantity).index(Quantity(quantity))


def _all_regressions(reports: Sequence[Report], rows: Sequence[ReportRow], number: int) -> Iterator[str]:
    before, after = reports[0]["verdict"], reports[number]["verdict"]
    if _RANKS[after] < _RANKS[before]:
        yield f"verdict: {after}, was {before}"
    for row in rows:
        first, later = row.results[0], row.results[number]
        if first is not None and later is not None:
            yield from (f"{' '.join(row.key)}: {text}" for text in _regressions(first, later))
    known = {deviation["id"] for deviation in seen_deviations(reports[0])}
    for limit, operations in limits(reports[number]).items():
        if new := sorted(set(operations) - set(limits(reports[0]).get(limit, []))):
            yield f"limit of {', '.join(new)} is new: {limit}"
    for deviation in seen_deviations(reports[number]):
        if deviation["id"] not in known:
            yield f"deviation {deviation['id']} is new: {deviation['reason']}"


def _regressions(first: Result, later: Result) -> list[str]:
    found = []
    if reached(later) < reached(first):
        found.append(f"reaches {later['reached']}, was {first['reached']}")
    if is_below_claim(later) and not is_below_claim(first):
        found.append(f"claim {later['claimed']} fails: reaches {later['reached']}")
    return found
