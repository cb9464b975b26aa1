"""Tests of the end of a run under faults: signals, a full disk, a crash of our own. None may look like a verdict."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from suites.command import folder as folders
from suites.command.folder import ReportFolder
from suites.report import write
from suites.report.build import build_report
from suites.report.load import load_report
from suites.report.schema import Report
from tests.command import ROOT, run_here, run_suites
from tests.reports import report

ONE = ("--operation=scipy_log_softmax", "--dtype=float32", "--case=absorption/gap-20")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_run_that_is_told_to_end_writes_its_report(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "suites/", "--operation=scipy_log_softmax", f"--report={tmp_path}", "-v"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        next(line for line in run.stdout if "PASSED" in line)
        run.send_signal(number)
        printed = run.stdout.read()
    assert run.returncode == 2
    made = load_report(tmp_path)
    assert made["verdict"] == "INTERRUPTED"
    said = "stopped by Ctrl-C" if number is signal.SIGINT else f"ended by {number.name}"
    assert printed.splitlines()[-1].startswith(f"INTERRUPTED: {said} after ")


SWALLOWING = """
import os
import re
import signal
import time

from tests.planted.processes import right

calls = []


class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)


def kernel(logits, labels):
    calls.append(None)
    if len(calls) == 90:
        Last()
    return right(logits, labels)
"""


def test_an_interrupt_that_python_ignores_ends_the_run_all_the_same(tmp_path: Path) -> None:
    """In a finaliser or a callback of the garbage collector it is ignored, and the run went on to its end, status 0."""
    (tmp_path / "kernel.py").write_text(SWALLOWING)
    kernel = f"--implementation={tmp_path / 'kernel.py'}:kernel"
    ended = run_suites(kernel, "--dtype=float32", "--claim=stable", "-k", "test_case", cwd=ROOT)
    assert ended.returncode == 2, ended.stdout
    assert re.match(r"INTERRUPTED: stopped by Ctrl-C after \d+ of \d+ tests", ended.stdout.splitlines()[-1])


def test_a_signal_while_the_report_is_written_does_not_cost_it(tmp_path: Path) -> None:
    def signalled(*given: object) -> Report:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        return build_report(*given)  # type: ignore[arg-type]

    with patch("suites.command.ending.build_report", signalled):
        status, printed = run_here(*ONE, f"--report={tmp_path}")
    assert status == 0, printed
    assert load_report(tmp_path)["verdict"] == "REDUCED"


class Impatient:
    """Tells a run to end, and again as soon as it does."""

    def pytest_runtest_logreport(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def pytest_keyboard_interrupt(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_that_is_told_to_end_twice_writes_its_report(tmp_path: Path) -> None:
    status, printed = run_here(*ONE, f"--report={tmp_path}", plugins=(Impatient(),))
    assert (status, load_report(tmp_path)["verdict"]) == (2, "INTERRUPTED")
    assert "INTERRUPTED: ended by SIGTERM after " in printed


def test_the_signals_are_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    assert run_here(*ONE)[0] == 0
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before


def test_a_full_disk_costs_the_report_and_says_so(tmp_path: Path) -> None:
    assert run_here(*ONE, f"--report={tmp_path}")[0] == 0
    before = {path.name: path.read_bytes() for path in tmp_path.glob("report*")}

    def full(_: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "report.html")

    with patch.dict(write.FORMS, {"html": full}):
        status, printed = run_here(*ONE, f"--report={tmp_path}")
    assert status == 3
    assert "REDUCED: " in printed, "the verdict is told all the same"
    assert "--report: report.html: No space left on device; no report was written" in printed
    assert {path.name: path.read_bytes() for path in tmp_path.glob("report*")} == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_what_pytest_cannot_write_costs_neither_report_nor_verdict(tmp_path: Path) -> None:
    """Its traceback ended Python with 1, which says that a test failed."""
    status, printed = run_here(*ONE, f"--report={tmp_path}", "--junitxml=/dev/full")
    assert status == 3
    assert "REDUCED: " in printed
    assert "pytest failed at the end of the run: OSError: [Errno 28] No space left on device" in printed
    assert load_report(tmp_path)["verdict"] == "REDUCED"


def test_a_crash_of_our_own_is_no_verdict(tmp_path: Path) -> None:
    with patch("suites.command.ending.build_report", side_effect=KeyError("a fault")):
        status, printed = run_here(*ONE, f"--report={tmp_path}")
    assert status == 3
    assert "the suite itself failed at the end of the run: KeyError: 'a fault'" in printed
    assert not list(tmp_path.glob("report*"))


def test_what_would_cost_the_report_is_found_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(ValueError, match=r"report\.html' is a directory; remove it"):
        ReportFolder(tmp_path).claim()
    (tmp_path / "report.html").rmdir()
    monkeypatch.setattr(folders, "LEAST_FREE", 2**70)
    with pytest.raises(ValueError, match="MiB left; allowed: .* MiB or more"):
        ReportFolder(tmp_path).claim()


@pytest.mark.parametrize("name", [".softmax-ce.lock", "reproducers", "cases"])
def test_a_link_out_of_the_folder_is_found_before_the_run(name: str, tmp_path: Path) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (folder := tmp_path / "out").mkdir()
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(ValueError, match=rf"--report: '.*{name}' is a link; remove it, or give another folder"):
        ReportFolder(folder).claim()
    (folder / name).unlink()
    ReportFolder(folder).claim()


def test_links_in_the_place_of_files_are_replaced_and_not_followed(tmp_path: Path) -> None:
    (mine := tmp_path / "mine").write_text("mine")
    (folder := tmp_path / "out").mkdir()
    names = [f"report.{ending}{aside}" for ending in write.FORMS for aside in ("", ".new")]
    for name in names:
        (folder / name).symlink_to(mine)
    for path in write.write_report(report(), folder):
        assert path.is_file()
        assert not path.is_symlink()
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"report.{ending}" for ending in write.FORMS)
    assert mine.read_text() == "mine"


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    paths = write.write_report(report(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)
