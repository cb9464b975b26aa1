"""How tests and stored cases ended in two reports: which fail and did not, which are gone, and which cases reach less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from reference.grades import Grade, grade_named
from suites.inputs.given import OF_CASES
from suites.report.pair import Pair
from suites.report.schema import Report
from suites.report.wording import counted

Name = tuple[str, str]
"""A test function and the parameters of the test."""

Group = tuple[str, list[str]]
"""What is said of some tests or cases, and their names."""

_FAILED = ("failed", "error")


def endings(report: Report) -> dict[Name, str]:
    """How each test ended; a stored case that did not fail passed, or showed what is known."""
    table = {(OF_CASES, name): "passed" for name in case_grades(report)}
    for function, ended in report["outcomes"].items():
        for ending, names in ended.items():
            table |= {(function, _short(report, name)): ending for name in names}
    return table


class Graded(NamedTuple):
    """What a stored case reaches and claims."""

    reached: Grade
    claimed: Grade

    @property
    def owed(self) -> Grade:
        """The least that it must reach later not to be worse."""
        return min(self.reached, max(self.claimed, Grade.ACCURATE))


def case_grades(report: Report) -> dict[str, Graded]:
    """What each stored case reaches, by the parameters of its test."""
    return {
        _short(report, f"{case['case']}[{case['dtype']}]-{case['operation']}-{case['quantity']}"): Graded(
            grade_named(case["reached"]), grade_named(case["claimed"])
        )
        for case in report["cases"]
    }


def _short(report: Report, parameters: str) -> str:
    """Parameters without the mode where a report has one mode only, as `wording.short_name`."""
    modes = report["environment"]["modes"]
    return parameters.replace(f"@{modes[0]}-", "-") if len(modes) == 1 else parameters


def worse_endings(pair: Pair) -> Iterator[Group]:
    """Tests that ended worse, by function and by what became of them."""
    before, after = endings(pair.first), endings(pair.later)
    for what, is_worse in _WORSE.items():
        functions: dict[str, list[str]] = {}
        for function, parameters in sorted({**before, **after}):
            name = (function, parameters)
            if is_worse(before.get(name), after.get(name)):
                functions.setdefault(function, []).append(parameters)
        yield from ((f"{function}: {counted(len(names), 'test')} {what}", names) for function, names in functions.items())


_WORSE: dict[str, Callable[[str | None, str | None], bool]] = {
    "newly failing": lambda before, after: after in _FAILED and before not in _FAILED,
    "gone": lambda before, after: before not in (None, "skipped") and after is None,
    "skipped now": lambda before, after: before not in (None, "skipped") and after == "skipped",
    "newly showing what is declared": lambda before, after: before == "passed" and after == "xfailed",
    "newly failing as the framework does": lambda before, after: before in ("passed", "xfailed") and after == "shared",
}
"""What may become of a test, by how it ended before and after; None where it is not in the report."""


def worse_cases(pair: Pair) -> Iterator[Group]:
    """Stored cases that reach less than they did, and than `accurate` or what is claimed.

    Above that it is often the order of a sum that decides a single rounding.
    """
    before, after = case_grades(pair.first), case_grades(pair.later)
    lower = [name for name, case in before.items() if name in after and after[name].reached < case.owed]
    if lower:
        told = [f"{name} ({after[name].reached.label}, was {before[name].reached.label})" for name in lower]
        yield f"{counted(len(lower), 'stored case')} reaching less", told
