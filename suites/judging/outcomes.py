"""How the tests of a run ended: each by its name, and those that failed for one cause together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from suites.inputs.given import OF_CASES
from suites.judging.failure import JudgeFailed, without_numbers
from suites.judging.relation import Relation
from suites.judging.reproducer import Miss
from suites.judging.sharing import Shared, SharedFailure

SHARED = "shared"
"""How a test ended that failed as the framework's own operation is known to."""

ENDINGS = ("passed", "failed", "xfailed", "skipped", "error", SHARED)
"""How a test may end; one that fails outside its own call, in a fixture, is an error."""


@dataclass(frozen=True, eq=False)
class FailedTest:
    """A test that failed, and what it said.

    Arguments:
      test: its name with its parameters.
      cause: what it has in common with others that failed alike.
      lines: what was found, by name: the four lines of a failure, or `what` alone.
      size: how many logits its input has.
      shown: what a script shows of it.
    """

    test: str
    cause: str
    lines: dict[str, str]
    size: int = 0
    shown: Miss | Relation | None = None

    @property
    def reproducible(self) -> Miss | Relation | None:
        """What a script shows of it, by the name of the test."""
        return None if self.shown is None else replace(self.shown, name=self.test)


def failed_test(test: str, failure: BaseException | None, message: str) -> FailedTest:
    """A test that ended with an exception; `message` is what pytest says of it."""
    if isinstance(failure, JudgeFailed):
        return FailedTest(test, failure.finding.cause, failure.lines, failure.finding.problem.logits.size, failure.shown)
    said = next((line.strip() for line in reversed(message.splitlines()) if line.strip()), "no message")
    return FailedTest(test, without_numbers(said), {"what": said})


@dataclass
class Cause:
    """Tests that failed alike: their names, and the one with the smallest input."""

    name: str
    tests: list[str]
    smallest: FailedTest

    def add(self, failed: FailedTest) -> None:
        """Take in another."""
        self.tests.append(failed.test)
        if _size(failed) < _size(self.smallest):
            self.smallest = failed

    def take(self, other: Cause) -> None:
        """Take in later tests."""
        self.tests += other.tests
        if _size(other.smallest) < _size(self.smallest):
            self.smallest = other.smallest


def _size(failed: FailedTest) -> tuple[bool, int, int]:
    """The smallest is shown; one without a logit shows least."""
    return failed.size == 0, failed.size, sum(map(len, failed.lines.values()))


@dataclass
class Outcomes:
    """How the tests of a run ended so far."""

    ended: dict[str, list[str]] = field(default_factory=lambda: {ending: [] for ending in ENDINGS})
    causes: dict[str, Cause] = field(default_factory=dict)
    skipped_for: str = ""
    """The reason of the first test that was skipped."""
    shared: dict[Shared, list[str]] = field(default_factory=dict)
    """What was shared with the framework, each with the tests that failed for it."""

    def add(self, test: str, report: pytest.TestReport, raised: BaseException | None = None) -> None:
        """Take in the report of a phase of a test, and what the test raised."""
        ending = ending_of(report)
        if ending == "xfailed" and isinstance(raised, SharedFailure):
            ending = SHARED
            for shared in raised.found:
                self.shared.setdefault(shared, []).append(test)
        if ending is not None:
            self.ended[ending].append(test)
        if ending == "skipped" and not self.skipped_for and isinstance(report.longrepr, tuple):
            self.skipped_for = report.longrepr[2].partition(": ")[2]  # after the name of the exception

    def add_failure(self, failed: FailedTest) -> None:
        """Take in why a test failed."""
        if failed.cause in self.causes:
            self.causes[failed.cause].add(failed)
        else:
            self.causes[failed.cause] = Cause(failed.cause, [failed.test], failed)

    def take(self, other: Outcomes) -> None:
        """Take in how later tests ended."""
        for ending, tests in other.ended.items():
            self.ended[ending] += tests
        for name, cause in other.causes.items():
            if name in self.causes:
                self.causes[name].take(cause)
            else:
                self.causes[name] = cause
        self.skipped_for = self.skipped_for or other.skipped_for
        for shared, tests in other.shared.items():
            self.shared.setdefault(shared, []).extend(tests)

    @property
    def counts(self) -> dict[str, int]:
        """How many tests ended in each way."""
        return {ending: len(tests) for ending, tests in self.ended.items()}

    @property
    def ran(self) -> int:
        """How many tests were run."""
        return sum(len(tests) for ending, tests in self.ended.items() if ending != "skipped")

    @property
    def by_size(self) -> list[Cause]:
        """The causes, those of the most tests first."""
        return sorted(self.causes.values(), key=lambda cause: -len(cause.tests))

    def by_function(self) -> dict[str, dict[str, list[str]]]:
        """What ended how, by test function and ending: the parameters of its tests; without the stored cases that passed."""
        table: dict[str, dict[str, list[str]]] = {}
        for ending, tests in self.ended.items():
            for test in sorted(tests):
                function, _, parameters = test.partition("[")
                if function != OF_CASES or ending in ("failed", "error", SHARED):
                    table.setdefault(function, {}).setdefault(ending, []).append(parameters.removesuffix("]"))
        return dict(sorted(table.items()))


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Arguments:
      exit_status: pytest's.
      collected: how many tests were to run.
      outcomes: how they ended.
      said: why the run was stopped; empty if it was not.
      deselected: how many tests were left out.
    """

    exit_status: int
    collected: int = 0
    outcomes: Outcomes = field(default_factory=Outcomes)
    said: str = ""
    deselected: int = 0

    @property
    def reduced_by(self) -> tuple[str, ...]:
        """What narrowed the run, whatever option or plugin did it."""
        return (f"{self.deselected} tests left out",) if self.deselected else ()


def ending_of(report: pytest.TestReport) -> str | None:
    """How a phase of a test ended the test; None if it goes on, or has been told already."""
    if report.skipped:
        return "xfailed" if hasattr(report, "wasxfail") else "skipped"
    if report.failed:
        return "failed" if report.when == "call" else "error"
    return "passed" if report.when == "call" else None
