"""Runs the suites as a user does, with plain output: in a process of its own, or in this one, where imports cost nothing."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

ROOT = Path(__file__).parent.parent
_IN_CI = {"CI", "BUILD_NUMBER"}
"""Variables by which pytest knows CI, where its summary repeats each message whole."""


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


def run_here(*options: str, plugins: tuple[object, ...] = ()) -> tuple[int, str]:
    """The same in this process: for many short runs, each of which would take seconds to import a framework."""
    printed = io.StringIO()
    with (
        contextlib.chdir(ROOT),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        patch.dict(os.environ, _environment(), clear=True),
    ):
        status = pytest.main(_arguments(options), plugins=list(plugins))
    return int(status), printed.getvalue()
