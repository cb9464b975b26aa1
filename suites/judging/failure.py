"""The one way to fail: what is wrong by how much, expected and observed, the input, and how to run it again, in four lines."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from _pytest.outcomes import Failed  # `pytest.fail.Exception`, which is no type

from adapters.adapter import ADVICE
from adapters.operation import Operation
from adapters.usage import Usage
from reference.arithmetic import Arithmetic
from reference.grades import Grade
from reference.problem import Problem
from suites.judging.measurement import Measurement


@dataclass(frozen=True, eq=False)
class Finding:
    """What is wrong with an operation at a problem, and in the words of `values` what was expected and observed.

    `arithmetic` is that of the result, where it is not that of the operation in the format of the problem; `advice` what else
    might be declared; `note` a comment on the command; `kind` says what went wrong without numbers, operations and inputs,
    where `what` less its numbers does not. `given` says how the problem was given, if not plainly.
    """

    what: str
    values: str
    operation: Operation
    problem: Problem
    arithmetic: Arithmetic | None = None
    note: str = ""
    kind: str = ""
    advice: str = ""
    given: str = ""

    @property
    def cause(self) -> str:
        """What failures that are alike have in common."""
        return _one_line(self.kind) or without_numbers(_one_line(self.what))

    def in_usage(self, usage: Usage, note: str) -> Finding:
        """The same, which says in which usage it is: one cause whatever the usage, but another than that of plain calls."""
        if usage is Usage.PLAIN:
            return self
        kind = f"{self.cause}, in a sequence of calls"
        return replace(self, what=f"{self.what}; in usage {str(usage)!r}", kind=kind, note=note)

    def input(self, where: str) -> str:
        """Operation, place and problem in words; `where` names backend, device and mode."""
        declared = self.arithmetic or self.operation.whole.arithmetic[self.problem.format.name]
        by_default = f" ({BY_DEFAULT})" if self.operation.has_default_arithmetic(self.problem.format) else ""
        judged = f"{declared.describe()}{by_default}{self.advice}"
        given = f", {self.given}" if self.given else ""
        reduced = f" ({by})" if (by := self.operation.reduced_by_adapter(self.problem)) else ""
        return f"{self.operation.formula}, {where}; {describe_input(self.problem)}{reduced}{given}; {judged}"

    def lines(self, where: str, repro: str) -> dict[str, str]:
        """What is wrong, in four lines by name; `repro` is the command (to store its case: suites/README.md)."""
        return {
            "what": _one_line(self.what),
            "values": _one_line(self.values),
            "input": self.input(where),
            "repro": f"{repro}{f'  # {self.note}' if self.note else ''}",
        }


BY_DEFAULT = "the default for a kernel that declares none"
"""What is said of the arithmetic by which a user's kernel is judged that declares none."""

_NUMBER = r"(?<!, line )(?<![\w.])[-+]?(?:0x)?\d[\w.+-]*"
"""A number, but for that of a line of code: what two lines raise has two causes."""


class JudgeFailed(Failed):
    """A test that failed, with what was found: its message is the four lines.

    Arguments:
      finding: what is wrong.
      lines: the same in four lines by name.
      shown: what a script shows of it; None if there is no more than the message.
    """

    def __init__(self, finding: Finding, lines: dict[str, str], shown: Any = None) -> None:
        super().__init__("\n".join(f"{name:7}: {line}" for name, line in lines.items()), pytrace=False)
        self.finding, self.lines, self.shown = finding, lines, shown

    def noting(self, note: str) -> JudgeFailed:
        """The same failure with a comment on its command, as a cause of its own; no script shows it."""
        finding = replace(self.finding, note=note, kind=f"{self.finding.cause}; {note}")
        return JudgeFailed(finding, self.lines | {"repro": f"{self.lines['repro']}  # {note}"})


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
    kind = _kind(measurement, index, required)
    if measurement.error is not None or index is None:
        what = f"{measurement.quantity}: {measurement.error}; claim {required.label!r}"
    else:
        failing = int(np.count_nonzero(measurement.grades < required))
        more = f"; {failing} of {measurement.observed.size} entries" if failing > 1 else ""
        claim = f"claim {required.label!r} {_allows(measurement, index, required)}"
        what = f"{_place(measurement, index)} {_error(measurement, index)}; {claim}{more}"
    advice = _advice(measurement, operation, required)
    values = values_of(measurement)
    return Finding(what, values, operation, measurement.problem, measurement.arithmetic, kind=kind, advice=advice)


def _advice(measurement: Measurement, operation: Operation, required: Grade) -> str:
    """What to declare of a user's kernel that would be stable in the arithmetic of the backend's own functions."""
    if not operation.composed or measurement.error is not None or not measurement.grade < Grade.STABLE <= required:
        return ""
    composed = replace(operation, arithmetic=operation.composed, beyond=None)
    backend = composed.arithmetic_of(measurement.quantity, measurement.problem.format)
    if replace(measurement, arithmetic=backend, kept={}).grade < Grade.STABLE:
        return ""
    return (
        f"; it would be 'stable' by the arithmetic of the backend's own functions ({backend.describe()}): "
        "declare composed = true if it is made of them"
    )


def _kind(measurement: Measurement, index: tuple[int, ...] | None, required: Grade) -> str:
    """What went wrong at the worst entry, without numbers."""
    if measurement.error is not None or index is None:
        return kind_of_error(measurement.error or "no entry")
    if not measurement.right_class[index]:
        said = "NaN, an infinity or a number where it does not belong"
    elif measurement.returned_zero[index]:
        said = "0 for a number that is not 0"
    else:
        said = f"beyond what {required.label!r} allows"
    return f"{measurement.quantity}: {said}"


def kind_of_error(error: str) -> str:
    """What was raised in which line, without numbers: one cause, whatever quantity was asked, in whatever test.

    >>> kind_of_error("TypeError: 3 classes are no tiles of 8 (kernel.py, line 7)")
    'TypeError: # classes are no tiles of # (kernel.py, line 7)'
    """
    return without_numbers(error.partition(ADVICE)[0])


def without_numbers(said: str) -> str:
    """What is said, with # for each number that may be another at another input.

    >>> without_numbers("loss[3] is 0x1.8p-2 off; float32")
    'loss[#] is # off; float32'
    """
    return re.sub(_NUMBER, "#", said)


def values_of(measurement: Measurement) -> str:
    """Expected and observed at the worst entry."""
    index = measurement.worst()
    if index is None:
        return f"expected no entries; observed {measurement.error or 'none'}"
    expected = _expected(measurement, index)
    if measurement.error is not None:
        return f"expected {_place(measurement, index)} = {expected}; observed nothing that can be compared"
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
    if not value:
        return f"is {error:.3g} off, where exactly 0 is expected"
    return f"is {error / value:.2g} relative, {error:.3g} absolute ({ulps:.1f} ulp) off"


def _allows(measurement: Measurement, index: tuple[int, ...], required: Grade) -> str:
    allowed = float(measurement.allowed(required)[index])
    ulps = np.ldexp(allowed, -measurement.expected.values.ulp_exponent(measurement.judged.format)[index])
    return {
        Grade.STABLE: f"allows {allowed:.3g} absolute",
        Grade.COMPONENTWISE: f"allows {allowed:.3g} absolute, and nothing absorbed",
        Grade.ACCURATE: f"allows {allowed:.3g} absolute ({ulps:.3g} ulp), and no lost value or sign",
        Grade.FINITE: "asks for NaN, infinities and numbers where they belong",
        Grade.FAITHFUL: "allows less than 1 ulp",
        Grade.CORRECT: "asks for the correctly rounded value",
    }[required]


def _expected(measurement: Measurement, index: tuple[int, ...]) -> str:
    rounded = float(measurement.rounded[index])
    value = float(measurement.expected.values.approximate()[index])
    return f"{exact(rounded)} (exactly {value!r}...)" if np.isfinite(value) else exact(value)
