"""Runs the suites as a user does: a process of its own, plain output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
_IN_CI = {"CI", "BUILD_NUMBER"}
"""Variables by which pytest knows CI, where its summary repeats each message whole."""


def run_suites(*options: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """`pytest suites/` with options; the exit status and what it printed, standard error included."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST") and k not in _IN_CI}
    environment["COLUMNS"] = "100"
    return subprocess.run(
        [sys.executable, "-m", "pytest", str(ROOT / "suites"), "-q", "-p", "no:cacheprovider", *options],
        cwd=cwd,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
    )
