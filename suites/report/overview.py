"""Published reports side by side, as the README of their folder, which a code host shows: grades, labels, deviations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from reference.formats import FORMATS
from suites.report.markdown import NOT_RUN, answered, deviation_cells
from suites.report.markup import code, plain, table
from suites.report.schema import Report, Result
from suites.report.wording import (
    LAYER_COLUMNS,
    LOSS_COLUMNS,
    TABLES,
    blocks,
    by_name,
    by_role,
    cell,
    layers,
    limits,
    losses,
    run_again,
    seen_deviations,
    short_name,
    verdict_line,
)

Reports = Mapping[str, Report]
"""Published reports by the name of their file, without its ending."""

MAIN = {
    "Class indices": {
        "jax": "softmax_cross_entropy_with_integer_labels",
        "numpy": "scipy_log_softmax",
        "tensorflow": "sparse_softmax_cross_entropy_with_logits",
        "torch": "cross_entropy",
    },
    "Probabilities": {
        "jax": "softmax_cross_entropy",
        "numpy": "absorption_free_probabilities",
        "tensorflow": "softmax_cross_entropy_with_logits",
        "torch": "cross_entropy_probabilities",
    },
}
"""By what the targets are: the operation of each backend, without its mode, that stands beside those of the others."""

_HEAD = """\
One report for each backend and mode that CI runs, of the versions that `ci/constraints.txt` pins. A cell has the grade reached
and the worst error in units in the last place (ulp) of the format that is returned, as found in problems that no known
deviation leaves out: a lower bound of the true maximum. Beyond 2^p ulp nothing of the value is left. `hvp` is the
Hessian-vector product. The [README](../../README.md) defines the grades."""
_PROCESSORS = """A framework chooses its code by the processor, so these tables hold on the one that they name, as
`cpu capability`. The head of each file in `ci/claims/` lists the processors on which its deviations were seen."""

_TESTS = "What is known to deviate, and did, is `xfailed`."
_LABELS = """\
What an operation does that is asked for a class that is not there, or for a row of no classes. It should raise. The label 3
stands for the number of classes; `out_of_range_labels` of the JSON has all operations and dtypes."""
_SWEEPS = "Where every input of a kind is tried, the worst error is the true maximum."
_DEVIATIONS = """\
Where an operation is known to miss a grade. Each is asked for strictly: one that no longer shows fails the run. The last column
counts the stored cases that showed it, by mode, and names their files in `suites/cases/`. Operations and dtypes of a deviation
are in `ci/claims/`, the names of its cases under `seen_at` of the JSON."""
_IDENTIFIERS = """\
An identifier is the hash of all that a report says of results and of what they depend on. The command makes the report again;
with the same versions on the same kind of processor it has the same identifier."""
_USE = """\
As a page, a report has pictures of the errors over the gap and the number of classes, operation by hazard, the input of each
worst error with the command that runs it alone, and tolerances for your own tests. CI keeps the pages of all reports as its
artefact `published-pages`. To build them in a folder `pages`:

```sh
python ci/publish.py --pages pages
```

To show, check and cite a report, and to compare it with one of yours:

```sh
python -m suites.report show ci/reports/NAME.json
python -m suites.report validate ci/reports/NAME.json
python -m suites.report cite ci/reports/NAME.json
python -m suites.report compare ci/reports/NAME.json reports/NAME/report.json
```

This file is written by `ci/publish.py`."""


@dataclass(frozen=True)
class Picture:
    """A picture in the folder of the reports, and what it shows in words."""

    file: str
    told: str

    @property
    def shown(self) -> str:
        """As a code host shows it beside text."""
        return f'<img src="{escape(self.file)}" alt="{escape(self.told)}" width="510">'


@dataclass(frozen=True)
class Sweeps:
    """Reports of sweeps by the name of their file in sweeps/, and the maps that some have."""

    reports: Reports
    maps: tuple[Picture, ...] = ()


def overview(published: Reports, sweeps: Sweeps, picture: Picture) -> str:
    """The README of the folder that has the reports; `picture` shows the errors of one."""
    reports = {name: _short(report) for name, report in published.items()}
    parts = [
        "# Published tolerance reports",
        _HEAD,
        picture.shown,
        _answers(published),
        _summary(reports),
        _environments(reports),
        *(_compared(reports, title, operations) for title, operations in MAIN.items()),
        _layers(reports),
        _blocks(reports),
        _out_of_range(reports),
        _limits(reports),
        _sweeps(sweeps),
        _every_operation(reports),
        _deviations(reports),
        _identifiers(reports),
        _use(next(iter(reports))),
    ]
    return "\n\n".join(part for part in parts if part)


def _label(report: Report) -> str:
    """Backend and mode."""
    return plain(" ".join([report["environment"]["backend"], *report["environment"]["modes"]]))


def _short(report: Report) -> Report:
    """The report with short names of operations: the mode is in its label."""
    named = ("results", "out_of_range_labels", "limits")
    return report | {
        key: [entry | {"operation": short_name(report, entry["operation"])} for entry in report[key]]
        for key in named
        if key in report
    }


def _folded(title: str, *parts: str) -> str:
    """Parts that a click opens."""
    return "\n\n".join([f"<details><summary>{title}</summary>", *parts, "</details>"])


def _summary(reports: Reports) -> str:
    rows = [
        [
            f"[{_label(report)}]({name}.json)",
            plain(verdict_line(report)),
            ", ".join(f"{count} {outcome}" for outcome, count in report["tests"].items() if count),
            f"{len(seen_deviations(report))} of {len(report['deviations'])}",
        ]
        for name, report in reports.items()
    ]
    return f"## Verdicts\n\n{_TESTS}\n\n" + table(["report, as JSON", "verdict", "tests", "known deviations seen"], rows)


def _answers(reports: Reports) -> str:
    """What each report says of its main operations."""
    found = [f"{_label(report)}:\n\n{said}" for report in reports.values() if (said := answered(report))]
    return "\n\n".join(["## The losses in short", *found])


def _environments(reports: Reports) -> str:
    """What the reports were made with: what all have alike as a list, the rest as a table."""
    found = [_facts(report) for report in reports.values()]
    keys = list(dict.fromkeys(key for facts in found for key in facts))
    said = {key: [facts.get(key, "-") for facts in found] for key in keys}
    alike = [key for key in keys if len(set(said[key])) == 1]
    other = [key for key in keys if key not in alike]
    rows = [list(row) for row in zip(map(_label, reports.values()), *(said[key] for key in other), strict=True)]
    shared = "\n".join(f"- {key}: {said[key][0]}" for key in alike)
    return "\n\n".join(["## Made with", table(["report", *other], rows), _PROCESSORS, "All of them:", shared])


def _facts(report: Report) -> dict[str, str]:
    """Whatever a report's environment names, but for backend and mode, which stand in its label; suite, seed and effort."""
    suite, run = report["suite"], report["run"]
    named = {key: value for key, value in report["environment"].items() if key not in ("backend", "modes")}
    said = {key: _said(value) for key, value in named.items()}
    suite_said = plain(f"{suite['name']} {suite['version']}, {report['schema']}")
    return {**said, "suite": suite_said, "seed": str(run["seed"]), "effort": plain(run["effort"])}


def _said(value: object) -> str:
    """A value of an environment in words: names with their values, or as it is.

    >>> _said({"torch": "2.13.0", "threads": "2"}), _said("cpu")
    ('torch 2.13.0, threads 2', 'cpu')
    """
    if isinstance(value, Mapping):
        return plain(", ".join(f"{name} {said}" for name, said in value.items()))
    return plain(str(value))


def _compared(reports: Reports, title: str, operations: Mapping[str, str]) -> str:
    """The reports side by side in one operation of each backend: a table for each dtype."""
    main = [(report, operations.get(report["environment"]["backend"])) for report in reports.values()]
    told = "\n".join(f"- {backend}: {code(name)}" for backend, name in operations.items())
    tables = []
    for dtype in FORMATS:
        rows = [
            [_label(report), *map(cell, map(cells.get, LOSS_COLUMNS))]
            for report, name in main
            for (operation, of), cells in losses(report["results"]).items()
            if (operation, of) == (name, dtype)
        ]
        tables += [table([dtype, *LOSS_COLUMNS], rows)] if rows else []
    return "\n\n".join([f"## {title}: loss and derivatives", told, *tables]) if tables else ""


def _layers(reports: Reports) -> str:
    """Linear layers and their losses, of all reports, a table for each dtype."""
    tables = []
    for dtype in FORMATS:
        rows = [
            [_label(report), code(operation), *map(cell, map(cells.get, LAYER_COLUMNS))]
            for report in reports.values()
            for (operation, of), cells in layers(report["results"]).items()
            if of == dtype
        ]
        tables += [table(["report", dtype, *LAYER_COLUMNS], rows)] if rows else []
    return "\n\n".join(["## Linear layers and their losses", *tables]) if tables else ""


def _blocks(reports: Reports) -> str:
    """Building blocks that more than one report has, a table for each; negative controls last."""
    found: dict[tuple[str, str], list[list[str]]] = {}
    for report in reports.values():
        for group, results in by_role(report, report["results"]).items():
            for title, row in _block_rows(results).items():
                found.setdefault((group, title), []).append([_label(report), *row])
    groups: dict[str, list[str]] = {}
    for (group, title), rows in sorted(found.items()):
        if len(rows) > 1:
            groups.setdefault(group, []).append(table([code(title), *FORMATS], rows))
    tables = [part for group, of_group in groups.items() for part in ([f"{group}:"] if group else []) + of_group]
    return "\n\n".join(["## Building blocks", *tables]) if tables else ""


def _block_rows(results: list[Result]) -> dict[str, list[str]]:
    """A cell for each dtype, by the title of the block."""
    return {title: [cell(cells.get(dtype)) for dtype in FORMATS] for title, cells in blocks(results).items()}


def _out_of_range(reports: Reports) -> str:
    tables = [_labels(reports, operations) for operations in MAIN.values()]
    told = [f"{title}:\n\n{rows}" for title, rows in zip(MAIN, tables, strict=True) if rows]
    return "\n\n".join(["## Class labels out of range", _LABELS, *told]) if told else ""


def _labels(reports: Reports, operations: Mapping[str, str]) -> str:
    """What one operation of each backend does with labels out of range; where dtypes differ, all that they do."""
    asked: dict[str, dict[Any, list[str]]] = {}
    for report in reports.values():
        for entry in report["out_of_range_labels"]:
            if entry["operation"] == operations.get(report["environment"]["backend"]):
                outcomes = asked.setdefault(_label(report), {}).setdefault(entry["label"], [])
                outcomes.append(entry["outcome"])
    labels = sorted({label for found in asked.values() for label in found}, key=lambda label: (isinstance(label, str), label))
    rows = [
        [name, *(plain("; ".join(dict.fromkeys(found.get(label, ["-"])))) for label in labels)] for name, found in asked.items()
    ]
    return table(["report", *map(str, labels)], rows) if rows else ""


def _limits(reports: Reports) -> str:
    rows = [
        [_label(report), plain(text), ", ".join(map(code, operations))]
        for report in reports.values()
        for text, operations in limits(report).items()
    ]
    return "## Declared limits\n\nNot asked.\n\n" + table(["report", "limit", "operations"], rows) if rows else ""


def _sweeps(sweeps: Sweeps) -> str:
    rows = [
        [
            f"[{plain(sweep['backend'])} {code(sweep['operation'])}](sweeps/{name}.json)",
            plain(f"{sweep['space']}: {sweep['coverage']}"),
            str(sweep["questions"]),
            ", ".join(f"{result['quantity']} {cell(result)}" for result in sweep["results"]),
        ]
        for name, sweep in sweeps.reports.items()
    ]
    header = ["report, as JSON", "inputs", "questions", "reached"]
    maps = [_folded("Maps of the errors", *(made.shown for made in sweeps.maps))] if sweeps.maps else []
    return "\n\n".join(["## Sweeps", _SWEEPS, table(header, rows), *maps]) if rows else ""


def _every_operation(reports: Reports) -> str:
    """All that was measured, folded by report."""
    return "\n\n".join(["## Every operation", *map(_measured, reports.values())])


def _measured(report: Report) -> str:
    groups = by_role(report, report["results"]).items()
    parts = [part for title, results in groups for part in ([f"{title}:"] if title else []) + _measured_tables(results)]
    return _folded(f"{_label(report)}: {len(by_name(report['results']))} operations", *parts)


def _measured_tables(results: list[Result]) -> list[str]:
    """All grades of some results: losses, linear layers, then building blocks."""
    graded = [
        (
            [name, "dtype", *columns],
            [[code(op), dtype, *map(cell, map(cells.get, columns))] for (op, dtype), cells in chosen(results).items()],
        )
        for name, columns, chosen in TABLES
    ]
    of_blocks = [[code(title), *row] for title, row in _block_rows(results).items()]
    return [table(header, rows) for header, rows in (*graded, (["building block", *FORMATS], of_blocks)) if rows]


def _deviations(reports: Reports) -> str:
    """By backend: each deviation with its reason and link, and in which modes how many stored cases showed it."""
    grouped: dict[str, list[Report]] = {}
    for report in reports.values():
        grouped.setdefault(report["environment"]["backend"], []).append(report)
    return "\n\n".join(["## Deviations", _DEVIATIONS, *(_of_backend(backend, made) for backend, made in grouped.items())])


def _of_backend(backend: str, reports: list[Report]) -> str:
    known: dict[str, dict[str, Any]] = {}
    seen: dict[str, dict[str, list[str]]] = {}
    for report in reports:
        for deviation in report["deviations"]:
            known[deviation["id"]] = deviation
            seen.setdefault(deviation["id"], {})[", ".join(report["environment"]["modes"])] = deviation["seen_at"]
    rows = []
    for name, deviation in known.items():
        linked, misses, _, _, quantities, reason = deviation_cells(deviation)
        rows.append([linked, f"{misses} in {quantities}", reason, _seen(seen[name])])
    return _folded(f"{plain(backend)}: {len(rows)} deviations", table(["deviation", "misses", "reason", "seen"], rows))


def _seen(cases: Mapping[str, list[str]]) -> str:
    """How many cases of each mode showed a deviation, and their files.

    >>> _seen({"eager": ["offset/1e4[float32]", "offset/1e8[float32]"], "xla": []})
    'eager 2: `offset`'
    """
    counts = ", ".join(f"{mode} {len(found)}" for mode, found in cases.items() if found)
    files = sorted({case.partition("/")[0] for found in cases.values() for case in found})
    return f"{plain(counts)}: {', '.join(map(code, files))}" if counts else NOT_RUN


def _identifiers(reports: Reports) -> str:
    rows = [[_label(report), f"{code(report['identifier'])}<br>{code(run_again(report))}"] for report in reports.values()]
    return f"## Identifiers, and how to repeat\n\n{_IDENTIFIERS}\n\n" + table(["report", "identifier and command"], rows)


def _use(name: str) -> str:
    """How to read, check, compare and cite; `name` is of one of the reports."""
    return "## Read, check and cite\n\n" + _USE.replace("NAME", name)
