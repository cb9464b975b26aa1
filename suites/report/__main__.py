"""`python -m suites.report`: shows, compares, checks and cites stored reports, and makes badges of them."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import RenderableType

from suites.report.badge import badge_json
from suites.report.cite import cited_as_bibtex, cited_as_text
from suites.report.compare import compare
from suites.report.escape import one_line, printable
from suites.report.load import PathError, ReportError, load_report
from suites.report.markdown import comparison_markdown, summary_markdown
from suites.report.page import comparison_page
from suites.report.pair import on_trial
from suites.report.terminal import (
    comparison_lines,
    comparison_tables,
    is_interactive,
    rendered,
    summary_lines,
    summary_tables,
)

GOOD, WORSE, USAGE = 0, 1, 2
"""Exit statuses: all is well; a report is not valid or became worse; what was given cannot be used."""

_COMPARE = """\
One row for each operation, dtype and quantity, and one column for each report. Differences come first: what is worse than in
the first report, then other differences of grade or claim, then of the worst error, then rows that not all reports have, then
rows that are the same. The mode is part of an operation's name only where a report has several modes.

A regression is, against the first report and of one thing on trial:
  - a worse verdict (CONFORMS, REDUCED, FAILS), a lower effort, an option that newly narrows the run;
  - a test that fails and did not, that is gone or skipped now, or that newly shows what is declared;
  - a stored case that is gone, or that reaches less than it did and than `accurate` or what was claimed;
  - a row that is gone or not measured any more, a lower grade, a claim that fails and did not;
  - a row that is worse below its claim too, as said below;
  - a deviation that is seen and was not, a limit that is declared and was not.
The reverse of each is none.

A row is worse in itself if
  - it rests on fewer problems or entries, or known deviations leave more problems out of it or reach less in them;
  - its worst error is more than twice what it was, and above 1 ulp or above the bound of `stable`. An error beyond 2^p ulp
    counts as 2^p: nothing of the value is left;
  - there are numbers where 0 is exact, where none were; or zeros for numbers that are not 0, where none were and no error was
    as large. These, and the worst error, do not count where something was mended: where the grade rose, the worst error is
    less than half of what it was, or the next number is smaller;
  - more values are NaN, infinite or numbers where they do not belong;
  - in a hazard, a bin of gaps or a bin of K it reaches less than it did and than was claimed.

Numbers are held against each other only where both runs searched the same problems: with one seed, effort, set of hazards,
version of the suite and version of Hypothesis. Where they did not, that is said. So are another processor and another name of
a kernel; neither is a regression. A test that failed before hides what else fails in it, unless a row shows that."""
_EPILOG = """\
exit status: 0; 1 if a report is not valid (validate) or became worse (compare --fail-on-regression); 2 if what was given
cannot be used. Reports are read, never executed; nothing is fetched."""


PROGRAM = "python -m suites.report"


def parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """The command line: a command and its options; `program` is how it was called."""
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog=program,
        description="Work with the report.json files that 'pytest suites/ --report=DIR' writes.",
        epilog=_EPILOG,
        formatter_class=raw,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    about = {
        "show": "print a report: grades, worst errors, deviations seen, verdict",
        "compare": "put two or more reports in one table, differences first",
        "validate": "check that files are reports of this schema, unchanged since they were written",
        "cite": "print how to cite a report: a sentence and a BibTeX entry",
        "badge": "print the JSON from which shields.io draws a badge of a report",
    }
    made = {
        name: commands.add_parser(name, help=text, description=_COMPARE if name == "compare" else text, formatter_class=raw)
        for name, text in about.items()
    }
    for name in ("show", "cite", "badge"):
        made[name].add_argument("report", type=Path, metavar="REPORT", help="a report.json, or its folder")
    made["compare"].add_argument(
        "reports", type=Path, nargs="+", metavar="REPORT", help="report.json files or their folders, the baseline first"
    )
    made["compare"].add_argument("--fail-on-regression", action="store_true", help="exit with 1 if there is a regression")
    for name in ("show", "compare"):
        made[name].add_argument("--markdown", action="store_true", help="as Markdown, in short: the summary of a CI job")
    made["compare"].add_argument("--html", type=Path, metavar="FILE", help="write the comparison as a page too")
    made["validate"].add_argument("reports", type=Path, nargs="+", metavar="REPORT", help="report.json files")
    made["cite"].add_argument(
        "--format", choices=("both", "text", "bibtex"), default="both", help="what to print (default: both)"
    )
    return top


def show(options: argparse.Namespace) -> int:
    """Print a report as tables, or in short as Markdown; the exit status."""
    report = load_report(options.report)
    if options.markdown:
        print(printable(summary_markdown(report)))
    else:
        _print(summary_lines(report), summary_tables(report))
    return GOOD


def compare_reports(options: argparse.Namespace) -> int:
    """Print a comparison; the status says whether something became worse, if that was asked."""
    if len(options.reports) < 2:
        raise ReportError("compare: one report was given; give two or more")
    reports = [load_report(path) for path in options.reports]
    trials = sorted({on_trial(report) for report in reports})
    if options.fail_on_regression and len(trials) > 1:
        raise ReportError(
            f"--fail-on-regression: the reports are of {', '.join(trials)}; allowed: reports of one backend, or of one's own "
            "kernels for it; give a baseline of what is judged now"
        )
    comparison = compare(reports)
    names = [str(path) for path in options.reports]
    if options.markdown:
        print(printable(comparison_markdown(comparison, names)))
    else:
        _print(comparison_lines(comparison, names), comparison_tables(comparison, names))
    if options.html:
        _write(options.html, comparison_page(comparison, names))
    return WORSE if options.fail_on_regression and comparison.regressions else GOOD


def validate(options: argparse.Namespace) -> int:
    """Check each report and say what is wrong with it."""
    status = GOOD
    for path in options.reports:
        try:
            report = load_report(path)
        except PathError:
            raise
        except ReportError as error:
            print(one_line(str(error)))
            status = WORSE
        else:
            print(one_line(f"{path}: valid, {report['schema']}, {report['identifier']}"))
    return status


def cite(options: argparse.Namespace) -> int:
    """Print how to cite a report, as a sentence, as BibTeX or as both; the exit status."""
    report = load_report(options.report)
    texts = {"text": cited_as_text(report), "bibtex": cited_as_bibtex(report)}
    wanted = list(texts) if options.format == "both" else [options.format]
    print(printable("\n\n".join(texts[name] for name in wanted)))
    return GOOD


def print_badge(options: argparse.Namespace) -> int:
    """Print the badge of a report; the exit status."""
    print(badge_json(load_report(options.report)))
    return GOOD


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise PathError(
            f"--html: {path}: {error.strerror or error}; give the name of a file in a folder that is there"
        ) from None
    print(one_line(f"wrote {path}"))


def _print(lines: list[str], tables: RenderableType) -> None:
    if is_interactive(sys.stdout):
        print(rendered(tables, shutil.get_terminal_size().columns))
    else:
        print("\n".join(lines))


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run a command; the exit status."""
    options = parser(program).parse_args(arguments)
    run = {"show": show, "compare": compare_reports, "validate": validate, "cite": cite, "badge": print_badge}[options.command]
    try:
        status = run(options)
        sys.stdout.flush()
    except ReportError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:
        # The reader, such as head, has seen enough; what is still to be written goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return GOOD
    return status


if __name__ == "__main__":
    sys.exit(main())
