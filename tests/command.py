"""Runs the suites as a user does, with plain output: in a process of its own, or in this one, where imports cost nothing."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import pytest

ROOT = Path(__file__).parent.parent
_IN_CI = {"CI", "BUILD_NUMBER"}
"""Variables by which pytest knows CI, where its summary repeats each message whole."""

QUICKLY = ("-p", "no:cacheprovider", "-p", "no:unraisableexception")
"""Without ten collections of all garbage at the end of each run, which take longer than most kernels."""


def _environment() -> dict[str, str]:
    """That of this process without what pytest and CI add."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST") and k not in _IN_CI}
    return kept | {"COLUMNS": "100"}


def _arguments(options: tuple[str, ...]) -> list[str]:
    return [str(ROOT / "suites"), "-q", "-p", "no:cacheprovider", *options]


def run_suites(*options: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """`pytest suites/` with options; the exit status and what it printed, standard error included."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", *_arguments(options)],
        cwd=cwd,
        env=_environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
    )


def run_here(*options: str, plugins: tuple[object, ...] = (), cwd: Path = ROOT) -> tuple[int, str]:
    """The same in this process: for many short runs, each of which would take seconds to import a framework."""
    printed = io.StringIO()
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        patch.dict(os.environ, _environment(), clear=True),
    ):
        status = pytest.main(_arguments(options), plugins=list(plugins))
    return int(status), printed.getvalue()


@dataclass
class _Failures:
    """A pytest plugin that keeps the first message of each failed test function, and asks such a function no more."""

    failed: dict[str, str] = field(default_factory=dict)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if _function(item.nodeid) in self.failed:
            pytest.skip("it has failed before")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.setdefault(_function(report.nodeid), str(report.longrepr))


def _function(nodeid: str) -> str:
    return nodeid.split("::")[-1].partition("[")[0]


def first_failures(*options: str) -> tuple[int, dict[str, str]]:
    """A run of the suite in this process: exit status, and the first message of each test function that failed."""
    failures = _Failures()
    status, _ = run_here(*QUICKLY, *options, plugins=(failures,))
    return status, failures.failed
