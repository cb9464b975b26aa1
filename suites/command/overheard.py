"""Keeps what a kernel writes, raises or warns of from being taken for something else: by a terminal, a CI job, or a reader.

Each line of it begins with `kernel: `, so that none begins with a command such as `::error::`, and control characters are
spelt out. What is written while a kernel is loaded and probed is kept back, and shown if that fails.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from warnings import WarningMessage

import pytest

from adapters.output import MOST_KEPT
from suites.report.escape import one_line, printable

SECTION = "stdout and stderr of the worker"
"""What pytest shows the output of a worker as, beside "stdout" and "stderr" of this process."""

_MOST_SHOWN = MOST_KEPT + 100
"""Characters of a section: those of a worker are all of them shown, with what it says is left out of them."""


def attributed(text: str) -> str:
    """Lines that a kernel wrote, the last of them if they are many, marked as its own.

    >>> print(attributed("red\\x1b[31m\\n::error::forged\\n"))
    kernel: red\\x1b[31m
    kernel: ::error::forged
    """
    left_out = len(text) - _MOST_SHOWN
    before = [f"[{left_out} characters before this are left out]"] if left_out > 0 else []
    return "\n".join(one_line(f"kernel: {line}") for line in [*before, *text[-_MOST_SHOWN:].splitlines()])


def make_harmless(report: pytest.TestReport) -> None:
    """Escape what a report says of a test: what was captured, why it failed or was skipped, and what is known of it."""
    report.sections = [(name, attributed(text)) for name, text in report.sections]
    if hasattr(report, "wasxfail"):
        report.wasxfail = one_line(report.wasxfail)
    told = report.longrepr
    if isinstance(told, tuple):
        path, line, reason = told
        report.longrepr = path, line, one_line(reason)
    elif told is not None and str(told) != (safe := printable(str(told))):
        report.longrepr = safe


def make_one_line(warning: WarningMessage) -> None:
    """Put a warning into one line, without the line of code: its text, and the file that it names, may be any."""
    warning.message = Warning(one_line(str(warning.message)))
    warning.filename, warning.line = one_line(warning.filename), ""


@contextmanager
def kept_back(config: pytest.Config) -> Iterator[None]:
    """Show what is written meanwhile only if this fails; with --capture=no it is not kept back."""
    capture = config.pluginmanager.get_plugin("capturemanager")
    if capture is None:  # -p no:capture
        yield
        return
    capture.resume_global_capture()
    failed = True
    try:
        yield
        failed = False
    finally:
        capture.suspend_global_capture()
        text = "".join(capture.read_global_capture())
        if failed and text:
            print(attributed(text), file=sys.stderr)
