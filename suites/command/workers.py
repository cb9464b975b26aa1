"""Splits a run among processes (`-n`, pytest-xdist): each judges some of the tests, and one puts together what they showed.

A worker packs what each test has shown into the report of its teardown. The process of the run takes all of that in, in the
order of the tests, whenever and from whichever worker it came: records, causes and verdict are those of a run in one process.
A test during which its worker ends is an error, as pytest-xdist tells it.
"""

from __future__ import annotations

import io
import pickle
import zlib
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from xdist.dsession import Interrupted

from adapters.operation import Operation
from suites.judging.judge import Judge, Plan
from suites.judging.outcomes import Outcomes, failed_test
from suites.judging.recorder import Key, Recorder
from suites.judging.reproducer import Miss

PART = "softmax_ce_part"
"""The attribute of a report that has what its test has shown."""

COUNTS = "softmax_ce_counts"
"""What a worker says at its end: how many tests it has collected, and how many were left out."""


def is_worker(config: pytest.Config) -> bool:
    """True in a process that judges a part of the tests."""
    return hasattr(config, "workerinput")


@dataclass(eq=False)
class Part:
    """What a test has shown: what it measured, how it ended, and the files that its failure names."""

    recorder: Recorder
    deviations: dict[str, Miss]
    outcomes: Outcomes
    written: list[Path]
    states: tuple[str, ...] = ()
    """What is told of the floating-point states of the backend's code."""


class _Packer(pickle.Pickler):
    """Operations are functions of a framework: they travel as their labels."""

    def persistent_id(self, obj: Any) -> str | None:
        return obj.label if isinstance(obj, Operation) else None


class _Unpacker(pickle.Unpickler):
    def __init__(self, packed: bytes, plan: Plan) -> None:
        super().__init__(io.BytesIO(zlib.decompress(packed)))
        self._operations = {operation.label: operation for operation in (*plan.adapter.operations(), *plan.operations)}

    def persistent_load(self, pid: str) -> Operation:
        return self._operations[pid]


def _packed(part: Part) -> bytes:
    packed = io.BytesIO()
    _Packer(packed).dump(part)
    return zlib.compress(packed.getvalue(), 1)


@dataclass(eq=False)
class Noting:
    """A pytest plugin that notes how tests end, and how many are left out."""

    judge: Judge
    outcomes: Outcomes = field(default_factory=Outcomes)
    deselected: int = 0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note how a test ended, and why it failed."""
        report = yield
        failure = None if call.excinfo is None else call.excinfo.value
        self.outcomes.add(item.name, report, failure)
        if report.failed:
            self.outcomes.add_failure(failed_test(item.name, failure, str(report.longrepr)))
            self.judge.repro.write(str(report.longrepr))
        self.noted(item, report)
        return report

    def noted(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """What else is to be done with a report that was noted."""

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Count the tests that an option or a plugin leaves out."""
        self.deselected += len(items)


@dataclass(eq=False)
class Worker(Noting):
    """A pytest plugin of a process that judges a part of the tests, and sends what each has shown."""

    _seen: set[str] = field(default_factory=set)
    """Deviations of which a miss was sent: the first is told, and each weighs as much as its problem."""
    _worst: dict[Key, float] = field(default_factory=dict)
    """The largest errors that were sent: a smaller one is not told, and needs no input."""

    def noted(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Send what a test has shown with the last of its reports."""
        if report.when == "teardown":
            setattr(report, PART, (item.session.items.index(item), _packed(self._part())))

    def _part(self) -> Part:
        judge, outcomes = self.judge, self.outcomes
        deviations = {name: miss for name, miss in judge.deviations_seen.items() if name not in self._seen}
        self._seen |= deviations.keys()
        part = Part(
            self._telling(judge.recorder.taken()),
            deviations,
            outcomes,
            [*judge.repro.written],
            tuple(judge.plan.adapter.foreign.told),
        )
        judge.deviations_seen.clear()
        judge.repro.written.clear()
        self.outcomes = Outcomes()
        return part

    def _telling(self, recorder: Recorder) -> Recorder:
        """A recorder without the inputs of errors that are smaller than what was sent before."""
        for key, record in recorder.records.items():
            if record.worst is not None and record.worst_ulps < self._worst.get(key, 0.0):
                record.worst = None
            self._worst[key] = max(record.worst_ulps, self._worst.get(key, 0.0))
        return recorder

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Say how many tests there are."""
        session.config.workeroutput[COUNTS] = (session.testscollected, self.deselected)  # type: ignore[attr-defined]


def is_enough(stopped: BaseException) -> bool:
    """True of how pytest-xdist ends a run of which so many tests have failed as -x or --maxfail allows: it fails."""
    return isinstance(stopped, Interrupted) and str(stopped).startswith("stopping after ")


@dataclass(eq=False)
class Gathered:
    """What the workers of a run have sent so far."""

    parts: dict[int, bytes] = field(default_factory=dict)
    lost: list[pytest.TestReport] = field(default_factory=list)
    """Reports of tests during which a worker ended."""
    counts: tuple[int, int] = (0, 0)

    def hear(self, report: pytest.TestReport) -> None:
        """Keep what a report carries; the last phase of a test has all."""
        if (sent := report.__dict__.pop(PART, None)) is not None:
            self.parts[sent[0]] = sent[1]
        elif report.failed and report.when not in ("setup", "call", "teardown"):
            self.lost.append(report)

    def put_together(self, judge: Judge, outcomes: Outcomes) -> None:
        """Give a judge and its outcomes what all tests have shown, in the order of the tests."""
        for index in sorted(self.parts):
            part: Part = _Unpacker(self.parts[index], judge.plan).load()
            judge.recorder.take(part.recorder)
            for name, miss in part.deviations.items():
                judge.deviations_seen.setdefault(name, miss)
            outcomes.take(part.outcomes)
            judge.repro.written.extend(part.written)
            judge.plan.adapter.foreign.hear(part.states)
        for report in self.lost:
            name = report.nodeid.partition("::")[2]
            outcomes.add(name, report)
            outcomes.add_failure(failed_test(name, None, f"{report.longrepr}; with --isolate the failure tells the input"))
