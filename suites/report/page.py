"""A report, or a comparison of reports, as one HTML page: no script, nothing fetched, every text escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from reference.bounds.blindness import why_blind
from reference.formats import FORMATS
from reference.grades import Grade
from suites.report import plots
from suites.report import wording as shown
from suites.report.answer import answers
from suites.report.cite import cited_as_bibtex, cited_as_text, title
from suites.report.compare import ReportComparison
from suites.report.escape import one_line
from suites.report.gallery import figures, heat_maps, lead, opened
from suites.report.schema import Report, Result
from suites.report.terminal import MOST_REGRESSIONS
from suites.report.verdict import VERDICTS


def page(report: Report) -> str:
    """The report as a page: verdict, answers, grades, pictures, worst errors, deviations, environment, how to repeat it."""
    template = _environment().get_template("report.html.jinja")
    pictures = figures(report)
    return template.render(
        report=report,
        title=title(report),
        answers=[(answer, lead(pictures, answer.operation)) for answer in answers(report)],
        meaning=VERDICTS[report["verdict"]],
        tables=_tables(report),
        figures=pictures,
        opened=opened(pictures),
        heat_maps=heat_maps(report),
        why_blind=[why_blind(FORMATS[dtype]) for dtype in FORMATS if dtype in {r["dtype"] for r in report["tolerances"]}],
        unspecified=[outcome for outcome in report["cases"] if outcome["where_nothing_is_owed"]],
        facts=_facts(report),
        citation=cited_as_text(report),
        bibtex=Markup(escape(cited_as_bibtex(report))),
    )


def _tables(report: Report) -> tuple[tuple[str, list[str], dict[str, dict[str, list[Any]]]], ...]:
    """Heading, columns and groups of the tables of grades: by the group's title, then by a name, rows of results."""
    groups = shown.by_role(report, report["results"])
    graded = (
        (
            f"{name} and dtype",
            ["dtype", *columns],
            {title: rows for title, results in groups.items() if (rows := _rows(columns, chosen(results)))},
        )
        for name, columns, chosen in shown.TABLES
    )
    blocks = {title: {"": built} for title, results in groups.items() if (built := _blocks(results))}
    return (*(table for table in graded if table[2]), ("building block", ["building block", *FORMATS], blocks))


def _rows(columns: Sequence[str], found: dict[tuple[str, str], dict[str, Result]]) -> dict[str, list[Any]]:
    """By operation: a dtype, and what it has of each column."""
    rows: dict[str, list[Any]] = {}
    for (operation, dtype), cells in found.items():
        rows.setdefault(operation, []).append((dtype, [cells.get(quantity) for quantity in columns]))
    return rows


def _blocks(results: list[Result]) -> list[Any]:
    """The title of a building block, and what it has of each format."""
    return [(name, [cells.get(dtype) for dtype in FORMATS]) for name, cells in shown.blocks(results).items()]


def _facts(report: Report) -> list[tuple[str, str]]:
    """What the run was made with."""
    environment, run, suite = report["environment"], report["run"], report["suite"]
    versions, own = environment["versions"] | environment["packages"], environment["implementation"]
    counts = ", ".join(f"{count} {name}" for name, count in report["tests"].items())
    return [
        ("suite", f"{suite['name']} {suite['version']}, {report['schema']}"),
        *([("on trial", shown.subject_in_full(own))] if own else []),
        (
            "judged beside" if own else "backend",
            f"{environment['backend']}; {environment['device']}; {', '.join(environment['modes'])}",
        ),
        ("versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
        ("platform", shown.platform_line(report)),
        *[("floating-point state", told) for told in environment.get("floating_point_states", ())],
        ("seed and effort", f"{run['seed']}, {run['effort']}"),
        ("tests", counts),
    ]


def index_page(reports: Mapping[str, Report]) -> str:
    """Reports side by side, each with links to its own page and JSON in the same folder; by name."""
    entries = [
        {"name": name, "report": report, "answers": answers(report), "tables": _tables(report)}
        for name, report in reports.items()
    ]
    heading = "Softmax cross-entropy tolerance reports"
    return _environment().get_template("index.html.jinja").render(entries=entries, title=heading)


def picture(report: Report, operation: str, dtype: str) -> str:
    """An operation's errors over the gap in a dtype, as an SVG file of its own.

    Raises:
      ValueError: the report has no such picture.
    """
    for figure in figures(report):
        for panel in figure.gap_panels:
            if (figure.operation, panel.dtype) == (operation, dtype):
                return _environment().get_template("picture.svg.jinja").render(panel=panel).strip()
    raise ValueError(f"no picture of {operation!r} in {dtype!r}; give an operation and a dtype that the report measured")


def comparison_page(comparison: ReportComparison, names: Sequence[str]) -> str:
    """The comparison as a page; `names` are where the reports came from."""
    template = _environment().get_template("compare.html.jinja")
    heading = "Softmax cross-entropy tolerance reports compared"
    return template.render(comparison=comparison, names=names, title=heading, most=MOST_REGRESSIONS)


def _spelt_out(value: Any) -> Any:
    """What a template prints: markup as it is, any other text as one line without characters that a browser would obey."""
    return one_line(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_spelt_out,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["below_claim"] = shown.is_below_claim
    environment.globals |= {"shown": shown, "plots": plots, "grades": [g.label for g in Grade]}
    return environment
