"""The report of a search: the worst inputs found, judged by the exact tier; `searched`, so lower bounds."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.formats import FORMATS, format_named
from suites.judging.recorder import worst_entry
from suites.sweep.chunk import SweepError, made_with
from suites.sweep.compiled.tally import QUANTITIES
from suites.sweep.request import Request, operation_of, quantities_of
from suites.sweep.run import SCHEMA
from suites.sweep.worst_case import Hunt, search

MOST_CLASSES = 64
"""Of a search: a Hessian of a generation has to fit into memory."""


def search_report(request: Request, classes: int, seconds: float) -> dict[str, Any]:
    """Search each quantity for its share of the time; JSON.

    Raises:
      SweepError: an option is wrong, or nothing could be measured.
      AdapterError: the backend, device or implementation is not there.
      ClaimsError: the claims file is not there, or is malformed.
    """
    if not 2 <= classes <= MOST_CLASSES or not seconds > 0:
        raise SweepError(f"--classes={classes} --seconds={seconds:g}: allowed: 2 to {MOST_CLASSES} classes, a time above 0")
    try:
        fmt = format_named(request.dtype, FORMATS)
    except ValueError as error:
        raise SweepError(f"--dtype: {error}") from None
    quantities = quantities_of(request.quantities)
    adapter, operation = operation_of(request, quantities, classes)
    results = []
    for q in quantities:
        hunt = Hunt(adapter, operation, fmt, q, classes, request.seed)
        measurement, pack = search(hunt, seconds / len(quantities))
        ulps = float(np.where(measurement.measurable, measurement.scaled_ulps, -1.0).max())
        results.append(
            {
                "quantity": str(QUANTITIES[q]),
                "worst_ulps": ulps,
                "worst": worst_entry(measurement),
                "reached": measurement.grade.label,
                "asked": pack.asked,
                "history": pack.history,
            }
        )
    return {
        "schema": SCHEMA,
        "coverage": "searched",
        "backend": request.backend,
        "operation": operation.label,
        "device": adapter.device,
        "made_with": dict(made_with(adapter)),
        "dtype": fmt.name,
        "space": f"rows of {classes} finite {fmt.name} numbers, seed {request.seed}, {seconds:g} s",
        "results": results,
    }


def search_lines(report: dict[str, Any]) -> list[str]:
    """The report in words."""
    lines = [f"{report['operation']}, {report['dtype']}: searched {report['space']}"]
    for result in report["results"]:
        problem = result["worst"]["problem"]
        lines.append(
            f"{result['quantity']}: at least {result['worst_ulps']:.6g} ulp, in {result['asked']} rows, "
            f"at {problem['logits'][0]}, target {problem['target'][0]}"
        )
    return lines
