"""The one way to fail: what is wrong by how much, expected and observed, the input, and how to run it again, in four lines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapters.operation import Operation
from reference.arithmetic import Arithmetic
from reference.grades import ACCURATE_ULPS, Grade
from reference.problem import Problem
from suites.judging.measurement import Measurement


@dataclass(frozen=True, eq=False)
class Finding:
    """What is wrong with an operation at a problem, and in the words of `values` what was expected and observed.

    `arithmetic` is that of the result, where it is not that of the operation in the format of the problem; `note` a comment
    on the command.
    """

    what: str
    values: str
    operation: Operation
    problem: Problem
    arithmetic: Arithmetic | None = None
    note: str = ""

    def text(self, where: str, repro: str) -> str:
        """Four lines; `where` names backend, device and mode, `repro` is the command (to store its case: suites/README.md)."""
        declared = self.arithmetic or self.operation.whole.arithmetic[self.problem.format.name]
        described = f"{describe_input(self.problem)}; {declared.describe()}"
        return "\n".join(
            [
                f"what   : {_one_line(self.what)}",
                f"values : {_one_line(self.values)}",
                f"input  : {self.operation.formula}, {where}; {described}",
                f"repro  : {repro}{f'  # {self.note}' if self.note else ''}",
            ]
        )


def _one_line(text: str) -> str:
    """Messages of exceptions may have line breaks."""
    return " ".join(text.splitlines())


def describe_input(problem: Problem) -> str:
    """dtype, N, K and the reduction, in words; the numbers are in the command, exactly."""
    kind = "probabilities" if problem.has_probabilities else "indices"
    return f"{problem.format.name}, N={problem.num_rows}, K={problem.num_classes}, {kind}, reduction={problem.reduction}"


def finding_of(measurement: Measurement, operation: Operation, required: Grade) -> Finding:
    """A measurement that misses the grade that is required of it."""
    index = measurement.worst()
    if measurement.error is not None or index is None:
        what = f"{measurement.quantity}: {measurement.error}; claim {required.label!r}"
    else:
        failing = int(np.count_nonzero(measurement.grades < required))
        more = f"; {failing} of {measurement.observed.size} entries" if failing > 1 else ""
        claim = f"claim {required.label!r} {_allows(measurement, index, required)}"
        what = f"{_place(measurement, index)} {_error(measurement, index)}; {claim}{more}"
    return Finding(what, values_of(measurement), operation, measurement.problem, measurement.arithmetic)


def values_of(measurement: Measurement) -> str:
    """Expected and observed at the worst entry."""
    index = measurement.worst()
    if index is None:
        return f"expected no entries; observed {measurement.error or 'none'}"
    expected = _expected(measurement, index)
    if measurement.error is not None:
        return f"expected {_place(measurement, index)} = {expected}; observed {measurement.error}"
    return f"expected {expected}; observed {exact(float(measurement.observed[index]))}"


def exact(value: float) -> str:
    """A number in hexadecimal, and in decimal to nine digits."""
    return f"{value.hex()} ({value:.9g})" if np.isfinite(value) else str(value)


def _place(measurement: Measurement, index: tuple[int, ...]) -> str:
    return f"{measurement.quantity}{list(index) if index else ''}"


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
    value = float(measurement.expected.values.approximate()[index])
    return f"{exact(rounded)} (exactly {value!r}...)" if np.isfinite(value) else exact(value)
