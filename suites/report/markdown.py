"""A report as Markdown: verdict, answers, grades, worst errors with their inputs, deviations, and how to run it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from suites.report.answer import answers
from suites.report.compare import Change, ReportComparison
from suites.report.markup import code, link, plain, table
from suites.report.schema import Report, Result
from suites.report.terminal import MOST_REGRESSIONS, TABLE_HEADING, comparison_head, comparison_table
from suites.report.wording import (
    MOST_NAMES,
    NOT_SEEN,
    SEARCHED,
    TOLERANCES,
    by_adapter,
    by_role,
    counted,
    environment_line,
    https,
    input_of,
    is_below_claim,
    left_out,
    limits,
    not_seen,
    pairs_line,
    platform_line,
    processor,
    run_again,
    seen_deviations,
    share,
    shared,
    shared_line,
    subject,
    vacuous,
    vacuous_line,
    verdict_line,
    worst_ulps,
)

_LONGEST_INPUT = 300
NOT_RUN = "not run"
"""Said of a deviation that no stored case showed."""


def markdown(report: Report) -> str:
    """The report for people who read text; `suites.report.page` has the pictures."""
    parts = [
        f"# Softmax cross-entropy tolerance report: {plain(subject(report))}",
        f"**{plain(verdict_line(report))}**",
        _failures(report),
        answered(report),
        _made_with(report),
        SEARCHED,
        _pairs(report),
        _vacuous(report),
        _results(report),
        _worst(report),
        _tolerances(report),
        _limits(report),
        _deviations(report),
        _not_seen(report),
        _shared(report),
        _unspecified(report),
        _out_of_range(report),
        f"Run again: {code(run_again(report))}",
    ]
    return "\n\n".join(part for part in parts if part)


def summary_markdown(report: Report) -> str:
    """The report in short, as the summary of a CI job: verdict, answers, grades, limits and deviations, without inputs."""
    header = ["operation", "dtype", "quantity", "claimed", "reached", "worst ulp", *_BASIS]
    seen = report | {"deviations": seen_deviations(report)}
    parts = [
        f"# Softmax cross-entropy conformance: {plain(subject(report))}",
        f"**{plain(verdict_line(report))}**",
        _failures(report),
        answered(report),
        _made_with(report),
        _grouped(report, report["results"], header, _graded),
        _limits(report),
        _deviations(seen),
        _not_seen(report),
        _shared(report),
    ]
    return "\n\n".join(part for part in parts if part)


def answered(report: Report) -> str:
    """The answers, an item each."""
    return "\n".join(f"- {code(answer.name)}, {plain(answer.text)}" for answer in answers(report))


def _made_with(report: Report) -> str:
    return f"{plain(environment_line(report))}, {plain(platform_line(report))}. Identifier: `{report['identifier']}`"


def _grouped(report: Report, entries: list[dict[str, Any]], header: list[str], row: Callable[[Any], list[str]]) -> str:
    """A table for each group of operations, under its title."""
    groups = by_role(report, entries).items()
    return "\n\n".join(f"**{title}**\n\n" * bool(title) + table(header, list(map(row, found))) for title, found in groups)


def _headed(heading: str, tables: str) -> str:
    """Tables under a heading, or nothing."""
    return f"{heading}\n\n{tables}" if tables else ""


def _graded(r: Result) -> list[str]:
    reached = f"**{r['reached']}**, below the claim" if is_below_claim(r) else r["reached"]
    return [code(r["operation"]), r["dtype"], r["quantity"], r["claimed"], reached, worst_ulps(r), *_basis(r)]


_BASIS = ("entries", "problems", "left out")


def _basis(r: Result) -> list[str]:
    """What a row rests on."""
    return [str(r["entries"]), str(r["problems"]), left_out([r])]


def _failures(report: Report) -> str:
    """The causes of failures: what failed in which tests, and the smallest input."""
    if not report["failures"]:
        return ""
    return "\n\n".join([f"## Failed tests: {counted(len(report['failures']), 'cause')}", *map(_failure, report["failures"])])


def _failure(cause: dict[str, Any]) -> str:
    lines = [f"- {name}: {code(line) if name == 'repro' else plain(line)}" for name, line in cause["lines"].items()]
    script = [f"- script: {code(cause['script'])}"] if cause["script"] else []
    folded = [f"<details><summary>{counted(len(cause['tests']), 'test')}</summary>", ", ".join(map(code, cause["tests"]))]
    return "\n\n".join([f"### {plain(cause['cause'])}", "\n".join([*lines, *script]), *folded, "</details>"])


def comparison_markdown(comparison: ReportComparison, names: Sequence[str]) -> str:
    """A comparison in short: the reports, what became worse, and the rows that differ."""
    changed = [row for row in comparison.rows if row.change is not Change.SAME]
    header, rows = comparison_table(replace(comparison, rows=tuple(changed)))
    same = len(comparison.rows) - len(changed)
    head = [plain(line.strip()) for line in comparison_head(comparison, names) if line]
    parts = ["# Compared", "\n".join(f"- {line}" for line in head), *_folded(comparison), f"{TABLE_HEADING}:"]
    return "\n\n".join(
        [*parts, table(list(map(plain, header)), [list(map(plain, row)) for row in rows]), f"{same} rows are the same."]
    )


def _folded(comparison: ReportComparison) -> list[str]:
    """Whole lists of what became worse, where the head names the first only."""
    worse = comparison.regressions
    lists = [(f"{r.report + 1}: {r.text}", list(map(code, r.names))) for r in worse if len(r.names) > MOST_NAMES]
    if rest := worse[MOST_REGRESSIONS:]:
        lists.append((f"{len(rest)} more", [plain(f"{r.report + 1}: {r.text}") for r in rest]))
    return [
        "\n".join([f"<details><summary>{plain(said)}</summary>", "", *(f"- {item}" for item in items), "", "</details>"])
        for said, items in lists
    ]


def _pairs(report: Report) -> str:
    said = pairs_line(report)
    return f"Pairs of options, sizes, targets and hazards that met: {plain(said)}." if said else ""


def _vacuous(report: Report) -> str:
    said = vacuous_line(report)
    return f"Entries judged vacuously: {plain(said)}." if said else ""


def _results(report: Report) -> str:
    header = [
        "operation",
        "dtype",
        "quantity",
        "claimed",
        "reached",
        "worst ulp",
        *_BASIS,
        "vacuous",
        "error/stable bound",
        "lost to 0",
    ]
    return _headed("## Grades", _grouped(report, report["results"], [*header, "not 0", "bound"], _result))


def _result(r: Result) -> list[str]:
    return [
        code(r["operation"]),
        r["dtype"],
        r["quantity"],
        r["claimed"],
        r["reached"],
        worst_ulps(r),
        *_basis(r),
        share(found, r["entries"]) if (found := vacuous(r)) else "-",
        f"{r['worst_error_over_stable_bound']:.2g}",
        str(r["returned_zero"]),
        str(r["returned_nonzero"]),
        plain(r["bound"]),
    ]


def _worst(report: Report) -> str:
    header = ["operation", "dtype", "quantity", "ulp", "absolute", "expected (rounded)", "observed", "input"]
    found = [r for r in report["results"] if r["worst"] is not None]
    return _headed("## Worst errors", _grouped(report, found, header, _worst_error))


def _worst_error(r: Result) -> list[str]:
    worst, given = r["worst"], input_of(r)
    return [
        code(r["operation"]),
        r["dtype"],
        f"{r['quantity']}{worst['index'] or ''}",
        worst_ulps(r),
        "overflows" if worst["absolute_error"] is None else f"{worst['absolute_error']:.3g}",
        worst["correctly_rounded"],
        worst["observed"],
        code(given) if len(given) <= _LONGEST_INPUT else "in the JSON report",
    ]


def _tolerances(report: Report) -> str:
    header = ["operation", "dtype", "quantity", "grade", "classes", "rtol", "atol", "measured rtol", "measured atol"]
    tables = _grouped(report, report["tolerances"], [*header, "blind from"], _tolerance)
    return _headed(f"## Tolerances for your own tests\n\n{TOLERANCES}", tables)


def _tolerance(t: dict[str, Any]) -> list[str]:
    numbers = [f"{t[number]:.2g}" for number in ("rtol", "atol", "measured_rtol", "measured_atol")]
    blind = "-" if t["blind_from"] is None else f"{t['blind_from']:.1f}"
    return [code(t["operation"]), t["dtype"], t["quantity"], t["grade"], str(t["classes"]), *numbers, blind]


def _limits(report: Report) -> str:
    rows = [[plain(text), ", ".join(map(code, operations))] for text, operations in limits(report).items()]
    return "## Declared limits\n\nNot asked.\n\n" + table(["limit", "operations"], rows) if rows else ""


def _deviations(report: Report) -> str:
    if not report["deviations"]:
        return ""
    header = ["deviation", "misses", "operations", "dtypes", "quantities", "reason", "seen at"]
    rows = [[*deviation_cells(d), ", ".join(map(code, d["seen_at"])) or NOT_RUN] for d in report["deviations"]]
    return "## Deviations\n\n" + table(header, rows)


def deviation_cells(d: dict[str, Any]) -> list[str]:
    """Name with its link, grade missed, operations, dtypes, quantities and reason of a deviation."""
    name, place = plain(d["id"]), https(d["link"])
    return [
        link(name, place) if place else name,
        d["misses"],
        ", ".join(map(code, d["operations"])),
        ", ".join(d["dtypes"]),
        ", ".join(d["quantities"]),
        plain(d["reason"]),
    ]


def _not_seen(report: Report) -> str:
    rows = [[plain(name), ", ".join(map(code, places))] for name, places in not_seen(report).items()]
    said = f"It is {code(processor(report))}. They were seen on others, and are neither stale nor confirmed here."
    head = f"## Deviations {NOT_SEEN}\n\n{said}\n\n"
    return head + table(["deviation", "asked for at"], rows) if rows else ""


def _shared(report: Report) -> str:
    rows = [
        [
            link(plain(s["deviation"]), place) if (place := https(s["link"])) else plain(s["deviation"]),
            code(s["operation"]),
            plain(f"{s['reason']}{by_adapter(s)}"),
            ", ".join(map(code, s["tests"])),
        ]
        for s in shared(report)
    ]
    head = f"## Shared with the framework\n\n{plain(shared_line(report))}.\n\n"
    return head + table(["deviation", "operation", "reason", "tests"], rows) if rows else ""


def _unspecified(report: Report) -> str:
    found = [case for case in report["cases"] if case["where_nothing_is_owed"]]
    tables = _grouped(report, found, ["case", "operation", "dtype", "quantity", "returned"], _owed_nothing)
    said = "Reported, not judged: see `reference/special_values.py`."
    return _headed(f"## What is returned where no single value is expected\n\n{said}", tables)


def _owed_nothing(case: dict[str, Any]) -> list[str]:
    returned = plain(", ".join(case["where_nothing_is_owed"]))
    return [code(case["case"]), code(case["operation"]), case["dtype"], case["quantity"], returned]


def _out_of_range(report: Report) -> str:
    tables = _grouped(report, report["out_of_range_labels"], ["operation", "dtype", "label", "outcome"], _label)
    return _headed("## Labels out of range: class indices, labels of two classes, and rows of no classes", tables)


def _label(asked: dict[str, Any]) -> list[str]:
    return [code(asked["operation"]), asked["dtype"], str(asked["label"]), plain(asked["outcome"])]
