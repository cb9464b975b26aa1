"""Reproducers: a miss as a script in the framework's own code, which needs neither this project nor pytest.

A script prints expected and observed; it exits with 1 while the defect stands, with 0 once it is gone, and with 2 where an
exception that is not the defect leaves it open. The framework's part
is what `Adapter.script` says; story, certified values and requirement are added here. Values are compared as exact fractions.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np

from adapters.adapter import Adapter, Observed
from adapters.layout import LABEL_DTYPE, Layout
from adapters.operation import Operation
from adapters.question import Question
from adapters.script import short_hex
from adapters.usage import Usage
from reference.enclosure import Enclosure, special
from reference.expected import Expected
from reference.grades import Grade
from reference.problem import Problem
from reference.quantity import Quantity
from reference.special_values import Requirement
from suites.inputs.cases import Case
from suites.inputs.own_file import write_anew
from suites.judging.claims import Deviation
from suites.judging.measurement import Measurement
from suites.report.escape import printable

MOST_ENTRIES = 8
"""Entries that a script looks at: all where there are no more, else the worst of those that miss the grade."""

GONE, STANDS, UNTOLD = 0, 1, 2
"""Exit statuses: the defect is gone; it stands; something else went wrong, so it cannot be told."""

_DIGITS = 30
REPRODUCERS = "reproducers"
"""Folder of the scripts, in that of the report."""

Index = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Miss:
    """A measurement that misses a grade, and what a script says about it: its name and the lines of its story."""

    name: str
    operation: Operation
    measurement: Measurement
    missed: Grade
    story: tuple[str, ...]
    layout: Layout = Layout.CONTIGUOUS
    usage: Usage = Usage.PLAIN
    label_dtype: str = LABEL_DTYPE
    should_raise: bool = False
    """True if an exception is what is expected."""

    @property
    def question(self) -> Question:
        """What was asked, of this quantity alone."""
        asked = self.measurement
        return Question(self.operation, asked.problem, (asked.quantity,), self.layout, self.usage, self.label_dtype)

    @property
    def error(self) -> str | None:
        """What the operation raised, or returned in the wrong dtype: what a script can see of this quantity alone."""
        wrong = (self.measurement.error or "").split("; ")
        others = tuple(f"returned {q} " for q in Quantity if q is not self.measurement.quantity)
        unseen = ("changed its input ", f"returned {self.measurement.quantity} on ", *others)
        return "; ".join(part for part in wrong if not part.startswith(unseen)) or None

    @property
    def file_name(self) -> str:
        """The script's file name."""
        return file_name_of(self.name)

    def script(self, adapter: Adapter) -> str | None:
        """The script; see `reproducer`."""
        return reproducer(self, adapter)


def miss_of_deviation(deviation: Deviation, case: Case, operation: Operation, measurement: Measurement) -> Miss:
    """A published deviation at one of its cases."""
    story = (f"Cause: {deviation.reason}.", f"Case {case.name}: {case.story}.")
    link = (f"Thread: {deviation.link}",) if deviation.link else ()
    return Miss(deviation.id, operation, measurement, deviation.misses, story + link)


def miss_of_label(name: str, story: str, operation: Operation, problem: Problem, observed: Observed) -> Miss:
    """A label out of range, or a row of no classes, that an operation took: it must raise, or return NaN where it cannot."""
    quantity = operation.quantities[0]
    values = observed.values.get(quantity, np.zeros(0))
    nan = Enclosure.of([special(np.nan)] * values.size, values.shape)
    expected = Expected(nan, np.zeros(values.shape), np.full(values.shape, Requirement.MUST, dtype=np.int8))
    arithmetic = operation.arithmetic[problem.format.name]
    measurement = Measurement(problem, quantity, arithmetic, expected, values, ended=observed.ended)
    return Miss(name, operation, measurement, Grade.FINITE, (story,), should_raise=True)


def reproducer(miss: Miss, adapter: Adapter) -> str | None:
    """The script of a miss.

    None if the backend has no words for the operation, if no entry has an expected value, or of rows without classes. None
    too if it is not seen in values: a changed input, another device, or the end of the process, which would be the script's.
    """
    if miss.measurement.ended or miss.measurement.problem.num_classes == 0:
        return None
    entries = entries_of(miss)
    script = adapter.script(miss.question)
    if script is None or not (miss.error or (entries and miss.measurement.error is None)):
        return None
    return _TEMPLATE.format(
        docstring=_docstring(miss, adapter),
        imports="\n".join(script.imports),
        inputs="\n".join(script.inputs),
        functions="\n\n\n".join(script.functions),
        expected=_expected(miss, entries),
        check=_check(miss, entries),
        environment=script.environment,
        raised=_status_of_exception(miss),
        quantity=miss.measurement.quantity,
        dtype=miss.measurement.judged.format.name,
        shape=miss.measurement.observed.shape,
    )


class Reproducible(Protocol):
    """What may have a script."""

    @property
    def name(self) -> str:
        """What it is told by."""

    @property
    def file_name(self) -> str:
        """The script's file name."""

    def script(self, adapter: Adapter) -> str | None:
        """The script; None if there is none."""


_PLAIN = re.compile(r"[a-z0-9_@](?:[a-z0-9_.@-]{0,118}[a-z0-9_@])?")
"""Names that are file names of their own on every system, but for `_DEVICES`."""

_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?")
"""What Windows takes for a device, whatever follows a dot."""


def file_name_of(name: str) -> str:
    """A file name for a script, which no other name has: the name where it is plain, else what is plain of it, and its hash.

    >>> file_name_of("scipy-absorption-loss"), file_name_of("a/b"), file_name_of("a b")
    ('scipy-absorption-loss.py', 'a-b~c14cddc033f6.py', 'a-b~c8687a08aa5d.py')
    """
    if _PLAIN.fullmatch(name) and not _DEVICES.fullmatch(name):
        return f"{name}.py"
    stem = re.sub(r"[^a-z0-9_@]+", "-", name.lower()).strip("-")[:100] or "script"
    return f"{stem}~{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:12]}.py"


def write_reproducers(misses: Sequence[Reproducible], adapter: Adapter, folder: Path) -> dict[str, Path]:
    """Write the scripts of the misses that have one into the folder `reproducers` of a report; their paths by name."""
    written: dict[str, Path] = {}
    for miss in misses:
        text = miss.script(adapter)
        if text is not None:
            path = folder / REPRODUCERS / miss.file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_anew(path, text)
            written[miss.name] = path
    return written


def _status_of_exception(miss: Miss) -> int:
    """What an exception says: it is the defect, or what is expected, or neither."""
    if miss.should_raise:
        return GONE
    return STANDS if miss.error is not None and not miss.error.startswith("returned ") else UNTOLD


def entries_of(miss: Miss) -> list[Index]:
    """The entries that a script looks at; those of which nothing is expected never are."""
    measurement = miss.measurement
    judged = measurement.expected.requirement != Requirement.UNSPECIFIED
    if np.count_nonzero(judged) > MOST_ENTRIES:
        judged &= measurement.grades < miss.missed if measurement.error is None else True
    grades = np.where(judged, measurement.grades, np.int8(127)).ravel()
    error = np.nan_to_num(measurement.ulps, nan=np.inf).ravel()
    order = np.lexsort((-error, grades))[: min(MOST_ENTRIES, np.count_nonzero(judged))]
    return [tuple(int(i) for i in np.unravel_index(flat, judged.shape)) for flat in sorted(order.tolist())]


_TEMPLATE = '''"""{docstring}"""

import math
import sys
from fractions import Fraction

{imports}

h = float.fromhex

{inputs}


{functions}


{expected}


{check}


def main():
    print({environment})
    try:
        observed = observe()
    except Exception as error:
        print(f"{quantity} expected; observed {{type(error).__name__}}: {{error}}")
        return {raised}
    dtype = str(observed.dtype).removeprefix("torch.")
    if (dtype, tuple(observed.shape)) != ("{dtype}", {shape}):
        print(f"{quantity} expected as {dtype} of shape {shape}; observed {{dtype}} of shape {{tuple(observed.shape)}}")
        return 1
    wrong = 0
    for index, rounded, *expected in EXPECTED:
        value = float(observed[index])
        right = is_right(value, rounded, *expected)
        wrong += not right
        print(f"{quantity}{{list(index)}}: expected {{rounded.hex()}} ({{expected[0]}})")
        print(f"    observed {{value.hex()}} ({{value!r}}): {{'right' if right else 'WRONG'}}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
'''

_DISTANCE = "abs(Fraction(observed) - Fraction(exact))"
_CHECKS = {
    Grade.FINITE: ("", "return True"),
    Grade.STABLE: (", allowed", f"return {_DISTANCE} <= Fraction(allowed)"),
    Grade.COMPONENTWISE: (", allowed", f"return {_DISTANCE} <= Fraction(allowed)"),
    Grade.ACCURATE: (", allowed", f"return (kept or rounded == 0) and {_DISTANCE} <= Fraction(allowed)"),
    Grade.FAITHFUL: (", allowed", f"return {_DISTANCE} < Fraction(allowed)"),
    Grade.CORRECT: ("", "return observed == rounded"),
}
"""Parameters and the last line of is_right(observed, rounded, exact, ...), where both are numbers."""

_KEPT = "    kept = (observed > 0) == (rounded > 0) if observed else abs(Fraction(exact)) < Fraction(2) ** {least}\n"
"""What `accurate` asks for beside a small error: the sign, and no 0 for what is at least the least subnormal, 2^least."""

_MEANINGS = {
    Grade.FINITE: "a number where a number is expected",
    Grade.STABLE: "the largest error of a max-shifted log-sum-exp in {arithmetic}",
    Grade.COMPONENTWISE: "the largest error of max-shifted {arithmetic} that absorbs nothing",
    Grade.ACCURATE: "its few ulps and what underflow alone costs; the sign is kept, and no value lost to 0",
    Grade.FAITHFUL: "the error must be below 1 ulp",
    Grade.CORRECT: "the correctly rounded value is asked for",
}

_SPARED = {
    Requirement.LIMIT_OR_NAN: "    if math.isnan(observed):\n        return True  # the limit is expected, or NaN\n",
    Requirement.REST_OR_NOT_FINITE: (
        "    if not math.isfinite(observed):\n        return True  # what the other rows give is expected, or no number\n"
    ),
}
"""What a script lets pass beside the value."""


def _check(miss: Miss, entries: list[Index]) -> str:
    parameters, last = _CHECKS[miss.missed]
    requirement = miss.measurement.expected.requirement
    least = max((int(requirement[index]) for index in entries), default=Requirement.MUST)
    fmt = miss.measurement.judged.format
    kept = _KEPT.format(least=fmt.min_subnormal_exponent) if miss.missed is Grade.ACCURATE else ""
    spared = _SPARED.get(Requirement(least), "")
    return (
        f"def is_right(observed, rounded, exact{parameters}):\n{spared}"
        "    if not (math.isfinite(observed) and math.isfinite(rounded)):\n"
        "        return observed == rounded or (math.isnan(observed) and math.isnan(rounded))\n"
        f"{kept}    {last}"
    )


def _expected(miss: Miss, entries: list[Index]) -> str:
    """The table of expected values, with what its columns mean."""
    measurement, has_bound = miss.measurement, bool(_CHECKS[miss.missed][0])
    meaning = _MEANINGS[miss.missed].format(arithmetic=measurement.arithmetic.describe())
    bound = ", largest error allowed" if has_bound else ""
    comment = f"Index, correctly rounded value, the value itself{bound}. {miss.missed.label}: {meaning}."
    failing = int(np.count_nonzero(measurement.grades < miss.missed))
    if failing > len(entries):
        comment += f" These are {len(entries)} of {failing} entries that miss it."
    rows = [
        f'    ({index}, h("{short_hex(float(measurement.rounded[index]))}"), {_numbers(miss, index)}),' for index in entries
    ]
    return "\n".join([*textwrap.wrap(comment, 110, initial_indent="# ", subsequent_indent="# "), "EXPECTED = [", *rows, "]"])


def _numbers(miss: Miss, index: Index) -> str:
    digits = f'"{_decimal(miss.measurement, index)}"'
    return f"{digits}, {_allowed(miss, index)!r}" if _CHECKS[miss.missed][0] else digits


def _allowed(miss: Miss, index: Index) -> float:
    """What the missed grade allows an entry."""
    return float(miss.measurement.allowed(miss.missed)[index])


def _decimal(measurement: Measurement, index: Index) -> str:
    """The certified value of an entry, to 30 digits."""
    entry = measurement.expected.values[index]
    if not entry.is_finite:
        return str(float(entry.hi))
    value = (Fraction(float(entry.hi)) + Fraction(float(entry.lo))) * Fraction(2) ** int(entry.exponent)
    with localcontext(prec=_DIGITS):
        return str((Decimal(value.numerator) / Decimal(value.denominator)).normalize())


def small_input(problem: Problem) -> list[str]:
    """Logits and target in decimal, where they are few."""
    if problem.logits.size > MOST_ENTRIES:
        return []
    return [f"Logits {problem.logits.tolist()}, target {problem.target.tolist()}."]


def where_seen(operation: Operation, problem: Problem, adapter: Adapter, returned: str = "") -> str:
    """Mode, dtypes, device and versions."""
    versions = ", ".join(f"{name} {number}" for name, number in adapter.versions().items())
    result = f", returned in {returned}" if returned else ""
    return f"{operation.mode}, {problem.format.name} on {adapter.device}{result}. Seen with {versions}"


def docstring_of(lines: Iterable[str]) -> str:
    """The lines, wrapped, as the inside of a docstring that says them; whatever is not printable is spelt out in it."""
    text = "\n".join("\n".join(textwrap.wrap(part, 115)) for line in lines for part in printable(line).split("\n"))
    return text.replace("\\", "\\\\").replace('"""', r"\"\"\"") + "\n"


def _docstring(miss: Miss, adapter: Adapter) -> str:
    measurement, operation = miss.measurement, miss.operation
    problem = measurement.problem
    return docstring_of(
        [
            f"{miss.name}: {measurement.quantity} of {operation.formula} misses the grade {miss.missed.label!r}.",
            "",
            *miss.story,
            *small_input(problem),
            *([] if miss.question.told == "" else [f"Given: {miss.question.told}."]),
            *([] if miss.usage is Usage.PLAIN else [f"Asked in usage {str(miss.usage)!r}."]),
            f"Run {where_seen(operation, problem, adapter, measurement.judged.format.name)}.",
            "Exits with 1 while the defect stands, 0 once it is gone, 2 if neither can be told. Expected values are certified.",
        ]
    )
