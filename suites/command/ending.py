"""Watches how a run ends, and says what it showed: scripts, the report, and as the last line the verdict with its reason."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from suites.command.folder import ReportFolder
from suites.command.signals import Told, let_it_end
from suites.command.workers import COUNTS, Gathered, Noting, is_enough
from suites.judging.judge import Judge
from suites.judging.outcomes import Ending
from suites.judging.reproducer import REPRODUCERS, Reproducible, write_reproducers
from suites.report.build import build_report
from suites.report.escape import one_line
from suites.report.schema import Report
from suites.report.terminal import Written, is_interactive, rendered, summary_lines, summary_tables
from suites.report.verdict import CRASHED, NO_TESTS, NOTHING_RAN
from suites.report.wording import counted
from suites.report.write import write_report


@dataclass(eq=False)
class Run(Noting):
    """A pytest plugin that notes how the tests of a run end, and ends it with its report and verdict."""

    folder: ReportFolder | None = None
    told: Told = field(default_factory=Told)
    said: str = ""
    """Why the run was stopped; empty if it was not."""
    unwritten: str = ""
    """Why the report was not written."""
    gathered: Gathered = field(default_factory=Gathered)
    enough_failed: bool = False
    """True if workers were stopped by -x or --maxfail."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a worker has sent."""
        self.gathered.hear(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Note how many tests a worker had."""
        self.gathered.counts = max(self.gathered.counts, getattr(node, "workeroutput", {}).get(COUNTS, (0, 0)))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """End a run that was told to end while nothing could be raised."""
        self.told.again()

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note why the run is stopped: by Ctrl-C, or by pytest, which says why."""
        let_it_end()
        self.enough_failed = is_enough(excinfo.value)
        if self.enough_failed:
            return
        self.said = str(excinfo.value) or "stopped by Ctrl-C"

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Generator[None, None, None]:
        """After all that pytest says: what the run showed, and its verdict as the last line."""
        let_it_end()
        with self._unfinished():
            yield
        if session.config.option.collectonly:
            return
        if self.enough_failed:
            session.exitstatus = exitstatus = pytest.ExitCode.TESTS_FAILED
        self.gathered.put_together(self.judge, self.outcomes)
        collected, deselected = max((session.testscollected, self.deselected), self.gathered.counts)
        ending = Ending(int(exitstatus), collected, self.outcomes, self.said, deselected)
        try:
            report = self._report(ending, session.config.pluginmanager.get_plugin("terminalreporter"))
        except Exception as error:  # a fault of the suite is no verdict on what it judges
            pytest.exit(f"the suite itself failed at the end of the run: {_told(error)}", CRASHED)
        if report["verdict"] == NOTHING_RAN:
            session.exitstatus = NO_TESTS
        if self.unwritten:
            pytest.exit(one_line(self.unwritten), CRASHED)

    def pytest_unconfigure(self) -> None:
        """Let other runs have the folder."""
        if self.folder is not None:
            self.folder.release()

    @contextmanager
    def _unfinished(self) -> Iterator[None]:
        """What pytest fails at after the tests costs neither report nor verdict, such as --junit-xml on a full disk."""
        try:
            yield
        except pytest.exit.Exception:
            raise
        except Exception as error:  # which would be exit status 1: that a test failed
            self.unwritten = f"pytest failed at the end of the run: {_told(error)}"

    @contextmanager
    def _unwritten(self) -> Iterator[None]:
        """What cannot be written costs the report, not the verdict."""
        try:
            yield
        except OSError as error:
            self.unwritten = (
                f"--report: {error.filename or self.judge.plan.folder}: {error.strerror or error}; no report was written"
            )

    def _report(self, ending: Ending, terminal: Any) -> Report:
        """The report, written into the folder that was asked for, and said."""
        folder = self.folder
        scripts: dict[str, str] = {}
        with self._unwritten():
            scripts = _scripts(self.judge, ending, folder) if folder else {}
        report, written = build_report(self.judge, ending, scripts), Written()
        with self._unwritten():
            written = _write(report, scripts, folder) if folder else Written()
        written = replace(written, said=(*written.said, *_reminder(self.judge.plan.proposed, report)))
        if terminal is not None:
            terminal.section("softmax-ce conformance")
        if terminal is not None and terminal.hasmarkup and is_interactive(sys.stdout):
            lines = [rendered(summary_tables(report, written), shutil.get_terminal_size().columns)]
        else:
            lines = summary_lines(report, written)
        for line in lines:
            print(line) if terminal is None else terminal.write_line(line)
        return report


def _told(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}")


def _reminder(proposed: str, report: Report) -> list[str]:
    """After failures, what the header said of the start-up probe: it stands far above by then."""
    if not proposed or not report["failures"]:
        return []
    return [f"limits that the start-up probe proposes; declare what is meant so: {proposed}"]


def _scripts(judge: Judge, ending: Ending, folder: ReportFolder) -> dict[str, str]:
    """The scripts of the deviations seen and of each cause of failures, by name, as paths from the folder."""
    found: list[Reproducible] = [*judge.deviations_seen.values()]
    found += [named for cause in ending.outcomes.by_size if (named := cause.smallest.reproducible) is not None]
    written = write_reproducers(found, judge.plan.adapter, folder.path)
    folder.clear([*written.values(), *judge.repro.written])
    return {name: f"{REPRODUCERS}/{path.name}" for name, path in written.items()}


def _write(report: Report, scripts: dict[str, str], folder: ReportFolder) -> Written:
    """Write the report; what was written."""
    written = [f"wrote {path}" for path in write_report(report, folder.path, folder.stem)]
    if not scripts:
        return Written(folder.path, tuple(written))
    of_failures = sum(failure["script"] is not None for failure in report["failures"])
    shown = f"{counted(len(scripts) - of_failures, 'deviation')} and {counted(of_failures, 'cause')} of failures"
    return Written(folder.path, (*written, f"wrote scripts of {shown} into {folder.path / REPRODUCERS}"))
