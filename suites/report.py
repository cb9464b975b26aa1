"""The tolerance report: one dictionary with a schema, written as report.json and report.md, and the terminal summary."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema

from reference.formats import FORMATS
from reference.grades import Grade
from reference.quantity import Quantity
from suites.claims import Deviation
from suites.judge import Judge, Plan
from suites.recorder import Key, Record, order_of, worst_entry

SCHEMA_NAME = "softmax-ce-report/1"
SCHEMA: dict[str, Any] = json.loads((Path(__file__).parent / "report.schema.json").read_text())
PACKAGES = ("hypothesis", "ml_dtypes", "numpy", "pytest", "python-flint", "scipy")
"""Packages of the suite itself whose versions a report names."""

_LOSS_COLUMNS = (Quantity.LOSS, Quantity.GRADIENT, Quantity.HESSIAN, Quantity.HVP)
Report = dict[str, Any]


def build_report(judge: Judge, counts: dict[str, int], exit_status: int) -> Report:
    """The report of a finished run, valid by the schema."""
    plan = judge.plan
    report = {
        "schema": SCHEMA_NAME,
        "verdict": _verdict(plan, counts, exit_status),
        "environment": _environment(plan),
        "run": {
            "command": plan.command,
            "seed": plan.seed,
            "effort": plan.effort.name,
            "reduced_by": list(plan.reductions),
        },
        "tests": counts,
        "results": [_result(judge, key) for key in sorted(judge.recorder.records, key=order_of)],
        "deviations": [_deviation(judge, deviation) for deviation in plan.claims.deviations],
        "cases": [
            {
                "case": o.case,
                "operation": o.operation,
                "dtype": o.dtype,
                "quantity": str(o.quantity),
                "claimed": o.claimed.label,
                "reached": o.reached.label,
                "deviations": list(o.deviations),
                "where_nothing_is_owed": list(o.unspecified),
            }
            for o in judge.recorder.outcomes
        ],
        "out_of_range_labels": [
            {"operation": operation, "dtype": dtype, "label": label, "outcome": outcome}
            for (operation, dtype, label), outcome in sorted(judge.recorder.out_of_range.items())
        ],
    }
    jsonschema.validate(report, SCHEMA)
    return report


def _verdict(plan: Plan, counts: dict[str, int], exit_status: int) -> str:
    if exit_status != 0 or counts["failed"] or counts["error"]:
        return "FAILS"
    return "REDUCED" if plan.reductions or not counts["passed"] else "CONFORMS"


def _environment(plan: Plan) -> dict[str, Any]:
    return {
        "backend": plan.adapter.name,
        "versions": plan.adapter.versions(),
        "device": plan.adapter.device,
        "modes": list(plan.modes),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: version(name) for name in PACKAGES},
    }


def _result(judge: Judge, key: Key) -> dict[str, Any]:
    label, dtype, quantity = key
    record: Record = judge.recorder.records[key]
    operation = next(op for op in judge.plan.operations if op.label == label)
    return {
        "operation": label,
        "formula": operation.formula,
        "mode": operation.mode,
        "dtype": dtype,
        "returned_dtype": operation.returned(quantity, FORMATS[dtype]).name,
        "quantity": str(quantity),
        "claimed": judge.plan.claims.claimed(operation, dtype, quantity).label,
        "reached": record.reached.label,
        "method": "searched",
        "problems": record.problems,
        "entries": record.entries,
        "returned_zero": record.returned_zero,
        "returned_nonzero": record.returned_nonzero,
        "wrong_class": record.wrong_class,
        "worst_ulps": record.worst_ulps,
        "worst_error_over_stable_bound": min(record.worst_ratio, 1e300),
        "bound": record.bound,
        "worst": None if record.worst is None else worst_entry(record.worst),
    }


def _deviation(judge: Judge, deviation: Deviation) -> dict[str, Any]:
    seen = sorted({f"{o.case}[{o.dtype}]" for o in judge.recorder.outcomes if deviation.id in o.deviations})
    return {
        "id": deviation.id,
        "misses": deviation.misses.label,
        "reason": deviation.reason,
        "link": deviation.link,
        "operations": list(deviation.scope.operations),
        "dtypes": list(deviation.scope.dtypes),
        "modes": list(deviation.scope.modes),
        "quantities": [str(q) for q in deviation.quantities],
        "seen_at": seen,
    }


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write report.json and report.md into a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {
        folder / "report.json": json.dumps(report, indent=1, allow_nan=False),
        folder / "report.md": markdown(report),
    }
    for path, text in written.items():
        path.write_text(text + "\n")
    return list(written)


def summary_lines(report: Report) -> list[str]:
    """The terminal summary, at most 100 columns: verdict, grades reached with worst errors, deviations seen."""
    lines = ["reached grade and worst error in ulp, over what was searched; ! below the claim", ""]
    lines += _loss_table(report) + _block_table(report)
    seen = [d for d in report["deviations"] if d["seen_at"]]
    lines += ["", f"{len(seen)} known deviations seen:"] if seen else []
    lines += [_cut(f"  {d['id']} ({len(d['seen_at'])} cases): {d['reason']}") for d in seen]
    reasons = f" ({', '.join(report['run']['reduced_by'])})" if report["run"]["reduced_by"] else ""
    return [*lines, "", _cut(f"{report['verdict']}{reasons}: {_environment_line(report)}")]


def _environment_line(report: Report) -> str:
    environment = report["environment"]
    versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items())
    return f"{versions}; {environment['device']}, {', '.join(environment['modes'])}; seed {report['run']['seed']}"


def _cut(line: str, width: int = 100) -> str:
    return line if len(line) <= width else line[: width - 3] + "..."


def _cell(result: dict[str, Any] | None) -> str:
    if result is None:
        return "-"
    below = Grade[result["reached"].upper()] < Grade[result["claimed"].upper()]
    return f"{result['reached']} {_short(result)}{' !' if below else ''}"


def _short(result: dict[str, Any]) -> str:
    """The worst error in ulps; beyond 2^p ulps nothing of the value is left, and how far beyond says no more."""
    ulps, precision = result["worst_ulps"], FORMATS[result["returned_dtype"]].precision
    if ulps > 2.0**precision:
        return f">2^{precision}"
    return f"{ulps:.2f}" if ulps < 1000 else f"{ulps:.1e}".replace("e+0", "e").replace("e+", "e")


def _by_operation(report: Report) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    table: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for result in report["results"]:
        table.setdefault((result["operation"], result["dtype"]), {})[result["quantity"]] = result
    return table


def _loss_table(report: Report) -> list[str]:
    rows = {key: cells for key, cells in _by_operation(report).items() if "loss" in cells or "gradient" in cells}
    if not rows:
        return []
    lines = [_line("operation", "dtype", [str(q) for q in _LOSS_COLUMNS])]
    for (operation, dtype), cells in rows.items():
        lines.append(_line(operation, dtype, [_cell(cells.get(q)) for q in _LOSS_COLUMNS]))
    return lines


def _block_table(report: Report) -> list[str]:
    blocks = [r for r in report["results"] if r["quantity"] not in _LOSS_COLUMNS]
    if not blocks:
        return []
    columns = list(FORMATS)
    lines = ["", _line("building block", "", columns)]
    for name, quantity in dict.fromkeys((r["operation"], r["quantity"]) for r in blocks):
        found = {r["dtype"]: r for r in blocks if (r["operation"], r["quantity"]) == (name, quantity)}
        title = name if name == quantity else f"{name}.{quantity}"
        lines.append(_line(title, "", [_cell(found.get(dtype)) for dtype in columns]))
    return lines


def _line(operation: str, dtype: str, cells: list[str]) -> str:
    return f"{operation[:28]:28} {dtype:8} " + "".join(f"{cell:16}" for cell in cells[:-1]) + cells[-1]


def markdown(report: Report) -> str:
    """The report for people: verdict, table of grades, worst errors with their inputs, deviations, how to run it again."""
    parts = [
        f"# Softmax cross-entropy tolerance report: {report['environment']['backend']}",
        f"**{report['verdict']}** - {_environment_line(report)}, {_platform_line(report)}.",
        _SEARCHED,
        _markdown_results(report),
        _markdown_worst(report),
        _markdown_deviations(report),
        _markdown_unspecified(report),
        _markdown_out_of_range(report),
        f"Run again: `{report['run']['command']} --hypothesis-seed={report['run']['seed']}` {_how_much(report)}.",
    ]
    return "\n\n".join(part for part in parts if part)


_SEARCHED = (
    "Worst errors are maxima over generated problems (`searched`): lower bounds of the true maxima. A grade is reached "
    "if no generated problem outside the regions of the deviations below missed it. `lost to 0` counts zeros returned where "
    "the correctly rounded value is not 0, `not 0` numbers returned where the value is exactly 0."
)


def _platform_line(report: Report) -> str:
    return f"Python {report['environment']['python']}, {report['environment']['platform']}"


def _how_much(report: Report) -> str:
    reduced = ", ".join(report["run"]["reduced_by"])
    return f"(effort {report['run']['effort']}{', reduced by ' + reduced if reduced else ''})"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)


def _markdown_results(report: Report) -> str:
    header = [
        "operation",
        "dtype",
        "quantity",
        "claimed",
        "reached",
        "worst ulp",
        "error/stable bound",
        "lost to 0",
        "not 0",
        "bound",
    ]
    rows = [
        [
            f"`{r['operation']}`",
            r["dtype"],
            r["quantity"],
            r["claimed"],
            r["reached"],
            _short(r),
            f"{r['worst_error_over_stable_bound']:.2g}",
            str(r["returned_zero"]),
            str(r["returned_nonzero"]),
            r["bound"],
        ]
        for r in report["results"]
    ]
    return "## Grades\n\n" + _table(header, rows)


def _markdown_worst(report: Report) -> str:
    header = ["operation", "dtype", "quantity", "ulp", "absolute", "expected (rounded)", "observed", "input"]
    rows = []
    for r in report["results"]:
        worst = r["worst"]
        if worst is None:
            continue
        problem = json.dumps(worst["problem"], separators=(",", ":"))
        shown = f"`{problem}`" if len(problem) <= 300 else "in report.json"
        error = "overflows" if worst["absolute_error"] is None else f"{worst['absolute_error']:.3g}"
        rows.append(
            [
                f"`{r['operation']}`",
                r["dtype"],
                f"{r['quantity']}{worst['index'] or ''}",
                _short(r),
                error,
                worst["correctly_rounded"],
                worst["observed"],
                shown,
            ]
        )
    return "## Worst errors\n\n" + _table(header, rows)


def _markdown_deviations(report: Report) -> str:
    if not report["deviations"]:
        return ""
    header = ["deviation", "misses", "operations", "dtypes", "quantities", "reason", "seen at"]
    rows = [
        [
            f"[{d['id']}]({d['link']})" if d["link"] else d["id"],
            d["misses"],
            ", ".join(f"`{name}`" for name in d["operations"]),
            ", ".join(d["dtypes"]),
            ", ".join(d["quantities"]),
            d["reason"],
            ", ".join(f"`{case}`" for case in d["seen_at"]) or "not run",
        ]
        for d in report["deviations"]
    ]
    return "## Deviations\n\n" + _table(header, rows)


def _markdown_unspecified(report: Report) -> str:
    rows = [
        [f"`{o['case']}`", f"`{o['operation']}`", o["dtype"], o["quantity"], ", ".join(o["where_nothing_is_owed"])]
        for o in report["cases"]
        if o["where_nothing_is_owed"]
    ]
    if not rows:
        return ""
    head = "## What is returned where no single value is owed\n\nReported, not judged: see `reference/special_values.py`.\n\n"
    return head + _table(["case", "operation", "dtype", "quantity", "returned"], rows)


def _markdown_out_of_range(report: Report) -> str:
    outcomes = report["out_of_range_labels"]
    if not outcomes:
        return ""
    rows = [[f"`{o['operation']}`", o["dtype"], str(o["label"]), o["outcome"]] for o in outcomes]
    return "## Class indices out of range, of 3 classes\n\n" + _table(["operation", "dtype", "index", "outcome"], rows)
