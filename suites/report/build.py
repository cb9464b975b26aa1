"""Builds the report of a finished run: what was measured, claimed, seen and on which software."""

from __future__ import annotations

import math
import platform
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jsonschema

from adapters.adapter import ROLES
from reference.formats import FORMATS
from suites.inputs.hazards import HAZARDS
from suites.judging.beside import told_beside
from suites.judging.claims import Deviation, Label
from suites.judging.judge import Judge, Plan
from suites.judging.outcomes import Cause, Ending
from suites.judging.profile import Profile, binned, class_edges, gap_edges
from suites.judging.recorder import CaseOutcome, Key, Record, order_of, worst_entry
from suites.judging.sharing import Shared
from suites.report.recommended import Recommendation, recommendations
from suites.report.schema import SCHEMA, SCHEMA_NAME, Report, identifier
from suites.report.verdict import verdict_of
from suites.report.wording import counted

PACKAGES = ("hypothesis", "ml_dtypes", "numpy", "pytest", "python-flint", "scipy")
"""Packages of the suite itself whose versions a report names."""


def build_report(judge: Judge, ending: Ending, scripts: Mapping[str, str] = MappingProxyType({})) -> Report:
    """The report of a run that has ended, valid by the schema.

    `scripts` are paths of reproducers: of deviations by their id, of failures by the test with the smallest input.
    """
    plan = judge.plan
    unmet = () if plan.selects_tests else (*ending.reduced_by, *_unmet(judge))
    reduced_by = (*plan.reduced_by, *unmet)
    verdict, reason = verdict_of(ending, reduced_by)
    report: Report = {
        "schema": SCHEMA_NAME,
        "identifier": "",
        "suite": _suite(),
        "verdict": verdict,
        "reason": reason,
        "environment": _environment(plan),
        "run": {
            "command": plan.command,
            "seed": plan.seed,
            "effort": plan.effort.name,
            "reduced_by": list(reduced_by),
        },
        "tests": ending.outcomes.counts,
        "failures": [_failure(judge, cause, scripts) for cause in ending.outcomes.by_size],
        "results": [_result(judge, key) for key in _keys(judge)],
        "tolerances": [_tolerance(recommendation) for recommendation in recommendations(judge)],
        "deviations": [
            _deviation(judge, deviation) | {"reproducer": scripts.get(deviation.id)} for deviation in plan.claims.deviations
        ],
        "outcomes": ending.outcomes.by_function(),
        "cases": [_case(outcome) for outcome in judge.recorder.outcomes],
        "out_of_range_labels": [
            {"operation": operation, "dtype": dtype, "label": label, "outcome": outcome}
            for (operation, dtype, label), outcome in sorted(judge.recorder.out_of_range.items(), key=_by_label)
        ],
    }
    if limits := _limits(plan):
        report["limits"] = limits
    if pairs := _pairs(judge):
        report["pairs"] = pairs
    if judge.recorder.not_seen:
        report["not_seen_on_this_processor"] = [{"deviation": name, "at": at} for name, at in sorted(judge.recorder.not_seen)]
    if ending.outcomes.shared:
        report["shared_with_the_framework"] = [_shared(shared, tests) for shared, tests in ending.outcomes.shared.items()]
    report["identifier"] = identifier(report)
    jsonschema.validate(report, SCHEMA)
    return report


def _pairs(judge: Judge) -> list[dict[str, Any]]:
    """How many pairs of values met, by operation and dtype."""
    foremost = {operation.label for operation in judge.plan.operations if judge.is_foremost(operation)}
    return [
        {"operation": label, "dtype": dtype, "met": pairs.met, "of": len(pairs.owed), "all_must": label in foremost}
        for (label, dtype), pairs in judge.recorder.pairs.items()
        if pairs.owed
    ]


def _unmet(judge: Judge) -> tuple[str, ...]:
    """Why a run is REDUCED whose foremost operations were not asked every pair: the first of those that are missing."""
    known = judge.recorder.pairs
    short = [(row["operation"], row["dtype"]) for row in _pairs(judge) if row["all_must"] and row["met"] < row["of"]]
    missing = [f"{label} {dtype}: {pair}" for label, dtype in short for pair in known[label, dtype].missing]
    return (f"{counted(len(missing), 'pair')} of values that did not meet ({missing[0]})",) if missing else ()


def _shared(shared: Shared, tests: list[str]) -> dict[str, Any]:
    """A known deviation of the framework that the kernel has too, and the tests that failed for it."""
    entry = shared.entry
    known = {"deviation": entry.id, "reason": entry.reason, "link": entry.link}
    return {"framework": shared.framework, "operation": shared.operation, **known, "adapter": shared.reduced, "tests": tests}


def _limits(plan: Plan) -> list[dict[str, Any]]:
    """The declared limits of each operation: the keys that restrict, and all of it in words."""
    return [
        {"operation": operation.label, "text": limit.text, "declared": limit.as_json()}
        for operation in plan.operations
        for limit in operation.limits
    ]


def _by_label(item: tuple[tuple[str, str, Label], str]) -> tuple[str, str, bool, Label]:
    """A sort key: operation, dtype, then labels, numbers before words."""
    (operation, dtype, label), _ = item
    return operation, dtype, isinstance(label, str), label


@cache
def _suite() -> dict[str, str]:
    """Name and version of the suite, which runs from its checkout."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    return {"name": project["name"], "version": project["version"]}


def _failure(judge: Judge, cause: Cause, scripts: Mapping[str, str]) -> dict[str, Any]:
    """A cause of failures: the tests that failed for it, and what the one with the smallest input says."""
    smallest = cause.smallest
    beside = told_beside(judge, smallest)
    return {
        "cause": cause.name,
        "tests": cause.tests,
        "smallest": smallest.test,
        "lines": smallest.lines | ({"beside": beside} if beside else {}),
        "script": scripts.get(smallest.test),
    }


def _keys(judge: Judge) -> list[Key]:
    """What was measured, and what could have been: what an operation on trial has, in the formats that it takes.

    Main operations come first, negative controls last, and each kind in the order in which the backend lists them.
    """
    asked = {
        (operation.label, fmt.name, quantity)
        for operation in judge.plan.operations
        for fmt in judge.plan.formats
        if fmt.name in operation.arithmetic
        for quantity in operation.quantities
    }
    adapter, labels = judge.plan.adapter, [operation.label for operation in judge.plan.operations]
    ranks = {op.label: (ROLES.index(adapter.role(op)), labels.index(op.label)) for op in judge.plan.operations}
    return sorted(asked | set(judge.recorder.records), key=lambda key: (ranks[key[0]], order_of(key)))


def _environment(plan: Plan) -> dict[str, Any]:
    told = plan.adapter.foreign.told
    states = {"floating_point_states": told} if told else {}
    return {
        "backend": plan.adapter.name,
        "implementation": None if plan.subject is None else asdict(plan.subject),
        "versions": plan.adapter.versions(),
        "device": plan.adapter.device,
        "modes": list(plan.modes),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: version(name) for name in PACKAGES},
        **states,
    }


def _result(judge: Judge, key: Key) -> dict[str, Any]:
    label, dtype, quantity = key
    record = judge.recorder.records.get(key, Record())
    operation = next(op for op in judge.plan.operations if op.label == label)
    return {
        "operation": label,
        "formula": operation.formula,
        "mode": operation.mode,
        "role": judge.plan.adapter.role(operation),
        "dtype": dtype,
        "returned_dtype": operation.returned(quantity, FORMATS[dtype]).name,
        "quantity": str(quantity),
        "claimed": judge.plan.claims.claimed(operation, dtype, quantity).label,
        **record.counts.as_json(),
        "vacuous": {"entries": record.vacuous, "unbounded": record.unbounded},
        "method": "searched",
        "left_out": record.left_out.as_json(),
        "returned_zero": record.returned_zero,
        "returned_nonzero": record.returned_nonzero,
        "wrong_class": record.wrong_class,
        "worst_ulps": record.worst_ulps,
        "worst_error_over_stable_bound": min(record.worst_ratio, 1e300),
        "bound": record.bound,
        "worst": None if record.worst is None else worst_entry(record.worst),
        **_profile(record.profile, dtype),
    }


def _profile(profile: Profile, dtype: str) -> dict[str, Any]:
    fmt = FORMATS[dtype]
    return {
        "by_gap": binned(profile.by_gap, gap_edges(fmt)),
        "by_classes": binned(profile.by_classes, class_edges(fmt)),
        "by_hazard": [{"hazard": name, **profile.by_hazard[name].as_json()} for name in HAZARDS if name in profile.by_hazard],
    }


def _tolerance(recommendation: Recommendation) -> dict[str, Any]:
    promised, measured, blind = recommendation.promised, recommendation.measured, recommendation.blind_from
    return {
        "operation": recommendation.operation,
        "dtype": recommendation.dtype,
        "quantity": str(recommendation.quantity),
        "grade": recommendation.grade.label,
        "classes": recommendation.domain.classes,
        "gap": recommendation.domain.gap,
        "rtol": promised.rtol,
        "atol": promised.atol,
        "measured_rtol": measured.rtol,
        "measured_atol": measured.atol,
        "blind_from": None if blind is None or math.isinf(blind) else blind,
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


def _case(outcome: CaseOutcome) -> dict[str, Any]:
    return {
        "case": outcome.case,
        "operation": outcome.operation,
        "dtype": outcome.dtype,
        "quantity": str(outcome.quantity),
        "claimed": outcome.claimed.label,
        "reached": outcome.reached.label,
        "deviations": list(outcome.deviations),
        "where_nothing_is_owed": list(outcome.unspecified),
    }
