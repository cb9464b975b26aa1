"""A report in a terminal: plain lines of at most a hundred columns, or rich tables where a person reads them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import StringIO
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from reference.formats import FORMATS
from suites.report.compare import UNLIKE, Change, ReportComparison
from suites.report.schema import Report, Result
from suites.report.wording import (
    LOSS_COLUMNS,
    NOT_SEEN,
    blocks,
    cell,
    environment_line,
    is_below_claim,
    limits,
    losses,
    not_seen,
    processor,
    seen_deviations,
    verdict_line,
    worst_ulps,
)

HEADING = "reached grade and worst error in ulp, over what was searched; ! below the claim"
TABLE_HEADING = "grade reached/claimed and worst error in ulp"
CHANGE_STYLES = {
    Change.REGRESSION: "red",
    Change.GRADE: "yellow",
    Change.ERROR: "default",
    Change.ONLY: "default",
    Change.SAME: "dim",
}
STYLES = {
    "none": "red",
    "finite": "dark_orange",
    "stable": "yellow",
    "accurate": "green",
    "faithful": "green",
    "correct": "cyan",
    "CONFORMS": "bold green",
    "REDUCED": "bold yellow",
    "FAILS": "bold red",
}


def is_interactive(stream: TextIO) -> bool:
    """True if a person reads the stream: a terminal, not a dumb one, and not in CI."""
    return stream.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


def printable(text: str) -> str:
    """Text without what a terminal obeys: control and formatting characters are spelt out, line ends stay.

    >>> printable("\\x1b[31mred")
    '\\\\x1b[31mred'
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def rendered(content: RenderableType, width: int) -> str:
    """Rich content as text with colours."""
    console = Console(file=StringIO(), force_terminal=True, width=width, highlight=False)
    console.print(content)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().rstrip("\n")


def summary_lines(report: Report) -> list[str]:
    """The report in plain lines: grades reached with worst errors, deviations seen, identifier, verdict."""
    tables = (_loss_lines, _block_lines, _limit_lines, _deviation_lines, _not_seen_lines)
    lines = [HEADING, "", *(line for table in tables for line in table(report))]
    lines += ["", f"identifier {report['identifier']}"]
    return [printable(line) for line in [*lines, _cut(f"{verdict_line(report)}: {environment_line(report)}")]]


def _cut(line: str, width: int = 100) -> str:
    return line if len(line) <= width else line[: width - 3] + "..."


def _line(operation: str, dtype: str, cells: list[str]) -> str:
    return f"{operation[:28]:28} {dtype:8} " + "".join(f"{cell:16}" for cell in cells[:-1]) + cells[-1]


def _loss_lines(report: Report) -> list[str]:
    rows = [
        _line(operation, dtype, [cell(cells.get(q)) for q in LOSS_COLUMNS])
        for (operation, dtype), cells in losses(report).items()
    ]
    return [_line("operation", "dtype", [str(q) for q in LOSS_COLUMNS]), *rows] if rows else []


def _block_lines(report: Report) -> list[str]:
    rows = [_line(title, "", [cell(found.get(dtype)) for dtype in FORMATS]) for title, found in blocks(report).items()]
    return ["", _line("building block", "", list(FORMATS)), *rows] if rows else []


def _limit_lines(report: Report) -> list[str]:
    lines = [_cut(f"  {', '.join(operations)}: {text}") for text, operations in limits(report).items()]
    return ["", f"{len(lines)} declared limits, not asked:", *lines] if lines else []


def _deviation_lines(report: Report) -> list[str]:
    seen = seen_deviations(report)
    lines = [_cut(f"  {d['id']} ({len(d['seen_at'])} cases): {d['reason']}") for d in seen]
    return ["", f"{len(seen)} known deviations seen:", *lines] if seen else []


def _not_seen_lines(report: Report) -> list[str]:
    lines = [_cut(f"  {name} ({len(places)} cases)") for name, places in not_seen(report).items()]
    return ["", f"{len(lines)} known deviations {NOT_SEEN} ({processor(report)}):", *lines] if lines else []


def _filled(header: Sequence[str], rows: list[list[RenderableType]]) -> Table | None:
    """A table with its rows; None if there are none."""
    if not rows:
        return None
    table = _table(*header)
    for row in rows:
        table.add_row(*row)
    return table


def summary_tables(report: Report) -> RenderableType:
    """A report as rich tables, which say what `summary_lines` says: nothing is cut."""
    parts: list[RenderableType] = [Text(HEADING)]
    tables = (
        _filled(
            ["operation", "dtype", *map(str, LOSS_COLUMNS)],
            [[_plain(name), dtype, *(_styled(c.get(q)) for q in LOSS_COLUMNS)] for (name, dtype), c in losses(report).items()],
        ),
        _filled(
            ["building block", *FORMATS],
            [[_plain(title), *(_styled(cells.get(dtype)) for dtype in FORMATS)] for title, cells in blocks(report).items()],
        ),
        _filled(
            ["declared limit, not asked", "operations"],
            [[_plain(text), _plain(", ".join(operations))] for text, operations in limits(report).items()],
        ),
        _filled(
            ["deviation seen", "cases", "cause"],
            [[_plain(d["id"]), str(len(d["seen_at"])), _plain(d["reason"])] for d in seen_deviations(report)],
        ),
        _filled(
            [f"deviation {NOT_SEEN} ({processor(report)})", "cases"],
            [[_plain(name), str(len(places))] for name, places in not_seen(report).items()],
        ),
    )
    parts += [table for table in tables if table is not None]
    parts.append(_plain(f"identifier {report['identifier']}"))
    verdict = Text(printable(verdict_line(report)), style=STYLES[report["verdict"]])
    return Group(*parts, verdict.append(f": {printable(environment_line(report))}", style="default"))


def comparison_lines(comparison: ReportComparison, names: Sequence[str]) -> list[str]:
    """A comparison in plain lines: the reports, what became worse, and the table."""
    header, rows = comparison_table(comparison)
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    table = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in [header, *rows]]
    return [printable(line) for line in [*comparison_head(comparison, names), "", TABLE_HEADING, "", *table]]


def comparison_tables(comparison: ReportComparison, names: Sequence[str]) -> RenderableType:
    """A comparison as a rich table, which says what `comparison_lines` says."""
    header, rows = comparison_table(comparison)
    table = _table(*header)
    for row, cells in zip(comparison.rows, rows, strict=True):
        table.add_row(*map(_plain, cells), style=CHANGE_STYLES[row.change])
    return Group(*map(_plain, comparison_head(comparison, names)), _plain(TABLE_HEADING), table)


def comparison_head(comparison: ReportComparison, names: Sequence[str]) -> list[str]:
    """The reports by their number, and what became worse."""
    lines = [
        f"{number} {name}: {verdict_line(report)}; {environment_line(report)}; {report['identifier'][:19]}"
        for number, (name, report) in enumerate(zip(names, comparison.reports, strict=True), start=1)
    ]
    worse = [f"  {regression.report + 1}: {regression.text}" for regression in comparison.regressions]
    note = [] if comparison.searched_alike else ["", UNLIKE]
    return [*lines, *note, "", f"{len(worse)} regressions against 1:" if worse else "no regressions against 1", *worse]


def comparison_table(comparison: ReportComparison) -> tuple[list[str], list[list[str]]]:
    """Heading and rows of a comparison: what differs, the key, and for each report grade reached, claim and worst error."""
    columns = [f"{number} {report['environment']['backend']}" for number, report in enumerate(comparison.reports, start=1)]
    rows = [[row.change.label, *row.key, *map(_compared, row.results)] for row in comparison.rows]
    return ["differs", "operation", "dtype", "quantity", *columns], rows


def _compared(result: Result | None) -> str:
    return "-" if result is None else f"{result['reached']}/{result['claimed']} {worst_ulps(result)}"


def _table(*columns: str) -> Table:
    table = Table(header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _plain(text: str) -> Text:
    """Text that is shown as it is: rich markup in a name means nothing."""
    return Text(printable(text))


def _styled(result: Result | None) -> Text:
    style = "dim" if result is None else "bold red" if is_below_claim(result) else STYLES[result["reached"]]
    return Text(printable(cell(result)), style=style)
