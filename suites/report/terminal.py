"""A report in a terminal: plain lines of at most a hundred columns, or rich tables where a person reads them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from reference.formats import FORMATS
from suites.report.compare import Change, ReportComparison
from suites.report.escape import one_line
from suites.report.schema import Report, Result
from suites.report.wording import (
    NOT_SEEN,
    TABLES,
    Chosen,
    blocks,
    by_adapter,
    cell,
    counted,
    environment_line,
    function_in,
    is_measured,
    left_out,
    limits,
    not_seen,
    pairs_line,
    processor,
    rests_on,
    seen_deviations,
    shared,
    shared_line,
    subject,
    vacuous_line,
    verdict_line,
    worst_ulps,
)

HEADING = (
    "a cell: the grade reached and the worst error in ulp; !: below the claim; hvp: Hessian-vector product",
    "entries: how many numbers a cell rests on; left out: the lowest grade where deviations are known, in how many problems",
)
BASIS = ("entries", "left out")
"""Columns that say what the cells of a row rest on."""
WHOLE_CAUSES = 3
"""Causes of failures that are told whole: a run in three formats then ends within a hundred lines."""
MOST_CAUSES = 10
"""Causes that are told."""
MOST_FUNCTIONS = 3
"""Test functions that are told of a cause: the rest are counted."""
MOST_REGRESSIONS = 30
"""Regressions that are told in lines of their own."""
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
    "componentwise": "green_yellow",
    "accurate": "green",
    "faithful": "green",
    "correct": "cyan",
    "CONFORMS": "bold green",
    "REDUCED": "bold yellow",
    "FAILS": "bold red",
    "NOTHING RAN": "bold red",
    "INTERRUPTED": "bold red",
}


def is_interactive(stream: TextIO) -> bool:
    """True if a person reads the stream: a terminal, not a dumb one, and not in CI."""
    return stream.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


def rendered(content: RenderableType, width: int) -> str:
    """Rich content as text with colours."""
    console = Console(file=StringIO(), force_terminal=True, width=width, highlight=False)
    console.print(content)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().rstrip("\n")


@dataclass(frozen=True)
class Written:
    """What a run has written: the folder of its report, and the files in words."""

    folder: Path | None = None
    said: tuple[str, ...] = ()


def summary_lines(report: Report, written: Written = Written()) -> list[str]:
    """The report in plain lines: grades with worst errors, deviations seen, causes of failures, what was written, verdict."""
    tables = (_grade_lines, _block_lines, _unmeasured_lines, _pairs_lines, _vacuous_lines)
    known = (_limit_lines, _deviation_lines, _not_seen_lines, _shared_lines)
    lines = [
        *HEADING,
        "",
        *(line for table in (*tables, *known) for line in table(report)),
        *cause_lines(report, written.folder),
        "",
    ]
    return [one_line(line) for line in [*lines, *written.said, *_last_lines(report)]]


def _last_lines(report: Report) -> list[str]:
    """What a run ends with; the verdict is the last line, whole."""
    return [f"identifier {report['identifier']}", environment_line(report), verdict_line(report)]


def cause_lines(report: Report, folder: Path | None = None) -> list[str]:
    """The causes of failures: the first three whole, the next in a line each, the others counted."""
    causes = list(enumerate(report["failures"], start=1))
    whole, headlines, rest = causes[:WHOLE_CAUSES], causes[WHOLE_CAUSES:MOST_CAUSES], causes[MOST_CAUSES:]
    lines = [line for number, cause in whole for line in _cause(number, cause, folder)]
    lines += ["", *(_headline(number, cause) for number, cause in headlines)] if headlines else []
    if rest:
        tests = sum(len(cause["tests"]) for _, cause in rest)
        lines.append(f"{counted(len(rest), 'more cause')} of {counted(tests, 'test')}")
    return [*lines, "the report of --report=DIR has every cause whole"] if headlines else lines


def _cause(number: int, cause: dict[str, Any], folder: Path | None) -> list[str]:
    """A cause in seven lines at most, the first of them empty."""
    script = [f"script : python {(folder or Path()) / cause['script']}"] if cause["script"] else []
    return ["", _headline(number, cause), *(f"{name:7}: {line}" for name, line in cause["lines"].items()), *script]


def _headline(number: int, cause: dict[str, Any]) -> str:
    """What failed, in how many tests of which functions."""
    counts = Counter(map(function_in, cause["tests"]))
    named = [f"{name} {count}" for name, count in counts.most_common(MOST_FUNCTIONS)]
    rest = len(counts) - len(named)
    tests = ", ".join([*named, *([f"and {counted(rest, 'more function')}"] if rest else [])])
    return f"cause {number}: {cause['cause']}; {counted(len(cause['tests']), 'test')} ({tests})"


def _cut(line: str, width: int = 100) -> str:
    return line if len(line) <= width else line[: width - 3] + "..."


def _line(operation: str, dtype: str, cells: list[str]) -> str:
    return (f"{operation:28} {dtype:8} " + "".join(f"{cell:21}" for cell in cells)).rstrip()


def _grade_lines(report: Report) -> list[str]:
    """The tables that have a row for each operation and dtype, an empty line between them."""
    lines: list[str] = []
    for name, columns, chosen in TABLES:
        rows = [_line(operation, dtype, cells) for (operation, dtype), cells in _grade_rows(report, columns, chosen)]
        lines += [*([""] if lines and rows else []), *([_line(name, "dtype", [*columns, *BASIS]), *rows] if rows else [])]
    return lines


def _block_lines(report: Report) -> list[str]:
    rows = [_line(title, "", cells) for title, cells in _block_rows(report)]
    return ["", _line("building block", "", [*FORMATS, *BASIS]), *rows] if rows else []


def _grade_rows(report: Report, columns: Sequence[str], chosen: Chosen) -> Iterator[tuple[tuple[str, str], list[str]]]:
    """The rows of one of `TABLES`, by operation and dtype."""
    for key, found in chosen(report["results"]).items():
        cells = [found.get(quantity) for quantity in columns]
        if any(map(is_measured, cells)):
            yield key, _row(cells)


def _block_rows(report: Report) -> Iterator[tuple[str, list[str]]]:
    for title, found in blocks(report["results"]).items():
        cells = [found.get(dtype) for dtype in FORMATS]
        if any(map(is_measured, cells)):
            yield title, _row(cells)


def _row(cells: list[Result | None]) -> list[str]:
    """Results of a row in words, what they rest on and what they leave out."""
    return [*map(cell, cells), rests_on(cells), left_out(cells)]


def _unmeasured_lines(report: Report) -> list[str]:
    missing = [result for result in report["results"] if not is_measured(result)]
    if not missing:
        return []
    return ["", f"not measured: {len(missing)} of {counted(len(report['results']), 'row')} of operation, dtype and quantity"]


def _pairs_lines(report: Report) -> list[str]:
    said = pairs_line(report)
    return ["", f"pairs of options, sizes, targets and hazards that met: {said}"] if said else []


def _vacuous_lines(report: Report) -> list[str]:
    """Where a bound of `stable` says nothing."""
    said = vacuous_line(report)
    return ["", f"entries judged vacuously, 'stable' lets 0 or twice the value pass: {said}"] if said else []


def _limit_lines(report: Report) -> list[str]:
    lines = [f"  {', '.join(operations)}: {text}" for text, operations in limits(report).items()]
    return ["", f"{counted(len(lines), 'declared limit')}:", *lines] if lines else []


def _deviation_lines(report: Report) -> list[str]:
    seen = seen_deviations(report)
    lines = [f"  {d['id']} ({counted(len(d['seen_at']), 'case')}): {_cut(d['reason'])}" for d in seen]
    return ["", f"{counted(len(seen), 'known deviation')} seen:", *lines] if seen else []


def _not_seen_lines(report: Report) -> list[str]:
    lines = [f"  {name} ({counted(len(places), 'case')})" for name, places in not_seen(report).items()]
    return ["", f"{counted(len(lines), 'known deviation')} {NOT_SEEN} ({processor(report)}):", *lines] if lines else []


def _shared_lines(report: Report) -> list[str]:
    """What a kernel misses as the framework's own operation does, in a count of its own."""
    lines = [
        f"  {s['deviation']} of {s['operation']} ({counted(len(s['tests']), 'test')}): {_cut(s['reason'])}{by_adapter(s)}"
        for s in shared(report)
    ]
    return ["", f"{shared_line(report)}:", *lines] if lines else []


def _filled(header: Sequence[str], rows: list[list[RenderableType]]) -> Table | None:
    """A table with its rows; None if there are none."""
    if not rows:
        return None
    table = _table(*header)
    for row in rows:
        table.add_row(*row)
    return table


def summary_tables(report: Report, written: Written = Written()) -> RenderableType:
    """A report as rich tables, which say what `summary_lines` says: nothing is cut."""
    tables = (
        *(
            _filled(
                [table, "dtype", *columns, *BASIS],
                [[_plain(name), dtype, *map(_styled, cells)] for (name, dtype), cells in _grade_rows(report, columns, chosen)],
            )
            for table, columns, chosen in TABLES
        ),
        _filled(
            ["building block", *FORMATS, *BASIS],
            [[_plain(title), *map(_styled, cells)] for title, cells in _block_rows(report)],
        ),
        _filled(
            ["declared limit", "operations"],
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
        _filled(
            [shared_line(report), "of", "tests", "cause"],
            [
                [_plain(s["deviation"]), _plain(s["operation"]), str(len(s["tests"])), _plain(f"{s['reason']}{by_adapter(s)}")]
                for s in shared(report)
            ],
        ),
    )
    parts: list[RenderableType] = [*map(_plain, HEADING), *(table for table in tables if table is not None)]
    asked = [*_unmeasured_lines(report), *_pairs_lines(report), *_vacuous_lines(report)]
    parts += map(_plain, [*asked, *cause_lines(report, written.folder), "", *written.said, *_last_lines(report)])
    assert isinstance(parts[-1], Text)
    parts[-1].stylize(STYLES[report["verdict"]], 0, len(report["verdict"]))
    return Group(*parts)


def comparison_lines(comparison: ReportComparison, names: Sequence[str]) -> list[str]:
    """A comparison in plain lines: the reports, what became worse, and the table."""
    header, rows = comparison_table(comparison)
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    table = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in [header, *rows]]
    return [one_line(line) for line in [*comparison_head(comparison, names), "", TABLE_HEADING, "", *table]]


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
    worse = comparison.regressions
    notes = ["", *(f"{note}." for note in comparison.notes)] if comparison.notes else []
    count = counted(len(worse), "regression") if worse else "no regressions"
    said = f"{count} against 1, the baseline{':' if worse else ''}"
    told = [f"  {regression.report + 1}: {regression.text}" for regression in worse[:MOST_REGRESSIONS]]
    rest = len(worse) - len(told)
    more = [f"  and {rest} more: --markdown or --html has all of them"] if rest > 0 else []
    return [*lines, *notes, "", said, *told, *more]


def comparison_table(comparison: ReportComparison) -> tuple[list[str], list[list[str]]]:
    """Heading and rows of a comparison: what differs, the key, and for each report grade reached, claim and worst error."""
    columns = [f"{number} {subject(report)}" for number, report in enumerate(comparison.reports, start=1)]
    rows = [[row.change.label, *row.key, *map(_compared, row.results)] for row in comparison.rows]
    return ["differs", "operation", "dtype", "quantity", *columns], rows


def _compared(result: Result | None) -> str:
    return "-" if result is None else f"{result['reached']}/{result['claimed']} {worst_ulps(result)}"


def _table(*columns: str) -> Table:
    table = Table(header_style="bold")
    for column in columns:
        table.add_column(_plain(column), overflow="fold")
    return table


def _plain(text: str) -> Text:
    """Text that is shown as it is: rich markup in a name means nothing."""
    return Text(one_line(text))


def _styled(said: str) -> Text:
    """A cell, in the colour of its grade."""
    style = "bold red" if said.endswith(" !") else STYLES.get(said.partition(" ")[0], "dim")
    return Text(one_line(said), style=style)
