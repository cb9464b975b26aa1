"""The text of a failure: what is wrong by how much, expected and observed, the input, and how to run it again."""

from __future__ import annotations

import json

import numpy as np

from adapters.operation import Operation
from reference.grades import ACCURATE_ULPS, Grade
from suites.inputs.cases import describe_problem
from suites.judging.measurement import Measurement

_LONGEST_REPRO = 1500


def failure_text(measurement: Measurement, operation: Operation, required: Grade, where: str, command: str) -> str:
    """Four lines: what, values, input, repro (see suites/README.md for how to turn the last into a stored case)."""
    if measurement.error is not None:
        return "\n".join(
            [
                f"what   : {measurement.quantity}: {measurement.error}; claim {required.label!r}",
                f"input  : {operation.formula}, {where}; {describe_input(measurement)}",
                f"repro  : {command} --operation={operation.name} {_case(measurement)}",
            ]
        )
    index = measurement.worst()
    assert index is not None
    failing = int(np.count_nonzero(measurement.grades < required))
    more = f"; {failing} of {measurement.observed.size} entries" if failing > 1 else ""
    claim = f"claim {required.label!r} {_allows(measurement, index, required)}"
    place = f"{measurement.quantity}{list(index) if index else ''}"
    return "\n".join(
        [
            f"what   : {place} {_error(measurement, index)}; {claim}{more}",
            f"values : expected {_expected(measurement, index)}; observed {_number(float(measurement.observed[index]))}",
            f"input  : {operation.formula}, {where}; {describe_input(measurement)}",
            f"repro  : {command} --operation={operation.name} {_case(measurement)}",
        ]
    )


def describe_input(measurement: Measurement) -> str:
    """dtype, N, K and the options of the input, in words."""
    problem = measurement.problem
    kind = "probabilities" if problem.has_probabilities else "indices"
    return (
        f"{problem.format.name}, N={problem.num_rows}, K={problem.num_classes}, {kind}, reduction={problem.reduction}; "
        f"{measurement.arithmetic.describe()}"
    )


def _error(measurement: Measurement, index: tuple[int, ...]) -> str:
    if not measurement.right_class[index]:
        return "is not what the special-value table says"
    ulps, value = float(measurement.ulps[index]), abs(float(measurement.expected.values.approximate()[index]))
    if measurement.returned_zero[index]:
        return "was returned as 0"
    error = abs(float(measurement.observed[index]) - float(measurement.expected.values.approximate()[index]))
    return f"is {error / value if value else np.inf:.2g} relative, {error:.3g} absolute ({ulps:.1f} ulp) off"


def _allows(measurement: Measurement, index: tuple[int, ...], required: Grade) -> str:
    if required is Grade.STABLE:
        return f"allows {float(measurement.stable_bound[index]):.3g} absolute"
    if required is Grade.ACCURATE:
        return f"allows {float(measurement.accurate_bound[index]):.3g} absolute ({ACCURATE_ULPS:g} ulp), and no lost value"
    return {
        Grade.FINITE: "asks for NaN, infinities and numbers where they belong",
        Grade.FAITHFUL: "allows less than 1 ulp",
        Grade.CORRECT: "asks for the correctly rounded value",
    }[required]


def _expected(measurement: Measurement, index: tuple[int, ...]) -> str:
    rounded = float(measurement.rounded[index])
    exact = float(measurement.expected.values.approximate()[index])
    return f"{_number(rounded)} (exactly {exact!r}...)" if np.isfinite(exact) else _number(exact)


def _number(value: float) -> str:
    return f"{value.hex()} ({value:.9g})" if np.isfinite(value) else str(value)


def _case(measurement: Measurement) -> str:
    text = json.dumps(describe_problem(measurement.problem), separators=(",", ":"))
    if len(text) > _LONGEST_REPRO:
        return "(the input is too long to print here; --report=DIR writes the worst input of every quantity)"
    return f"--case='{text}'"
