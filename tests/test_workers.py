"""A run on several processes reports the same bytes as in one, whatever fails, and says so where it loses a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites.report.verdict import INTERRUPTED
from tests.command import run_suites

KERNEL = """
import os
import numpy as np


def my_losses(logits, labels):
    {first}
    x = logits - logits.max(axis=1, keepdims=True)
    powers = np.exp(x)
    total = powers.sum(axis=1) + np.float32({added})
    picked = np.arange(len(labels)), labels
    loss, gradient = np.log(total) - x[picked], powers / total[:, None]
    gradient[picked] -= 1
    return loss, gradient
"""
OPTIONS = ("--backend=numpy", "--dtype=float32", "--effort=quick")


def kernel(folder: Path, first: str = "", added: float = 1e-6) -> str:
    path = folder / "my_kernel.py"
    path.write_text(KERNEL.format(first=first or "pass", added=added))
    return f"--implementation={path}:my_losses"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("options", "status", "failed"),
    [
        (("--operation=scipy_log*", "-k", "absorption or cases or out_of_range or invariants"), 0, "0 causes"),
        (("KERNEL", "--claim=stable", "-k", "not bulk and not pairs and not rows"), 1, "causes"),
    ],
    ids=["known deviations", "a kernel that is wrong"],
)
def test_reports_have_the_same_bytes_for_any_number_of_workers(
    options: tuple[str, ...], status: int, failed: str, tmp_path: Path
) -> None:
    given = [kernel(tmp_path) if option == "KERNEL" else option for option in options]
    reports, said = [], []
    for workers in (None, 3):
        folder = tmp_path / f"report{workers}"
        spread = [] if workers is None else ["-n", str(workers)]
        ran = run_suites(*OPTIONS, *given, f"--report={folder}", *spread)
        assert ran.returncode == status, ran.stdout
        assert failed in ran.stdout
        reports.append(files(folder))
        said.append(ran.stdout.splitlines()[-1])
    assert reports[0] == reports[1]
    assert len(reports[0]) > 3
    assert said[0] == said[1]


def test_a_kernel_that_ends_its_worker_fails_and_the_others_are_judged(tmp_path: Path) -> None:
    dies = kernel(tmp_path, "len(labels) == 3 and os._exit(3)", 0.0)
    ran = run_suites(*OPTIONS, dies, "--claim=finite", "-k", "loss_is or degenerate", "-n", "2")
    assert ran.returncode == 1
    lines = ran.stdout.splitlines()
    assert any(line.startswith("what   : worker 'gw") and "--isolate" in line for line in lines), ran.stdout
    assert lines[-1].startswith("FAILS: ")
    assert " passed" in ran.stdout


def test_a_run_that_stops_at_a_failure_fails(tmp_path: Path) -> None:
    ran = run_suites(*OPTIONS, kernel(tmp_path), "--claim=stable", "-k", "test_cases", "-x", "-n", "2")
    assert ran.returncode == 1
    verdict = ran.stdout.splitlines()[-1]
    assert verdict.startswith("FAILS: ")
    assert " not run any more" in verdict
    assert INTERRUPTED not in ran.stdout


def test_a_run_of_nothing_says_so() -> None:
    ran = run_suites(*OPTIONS, "-k", "nothing_of_the_kind", "-n", "2")
    assert ran.returncode == 5
    assert ran.stdout.splitlines()[-1].startswith("NOTHING RAN: no test is left; narrowed by ")


def test_each_test_counts_once() -> None:
    ran = run_suites(*OPTIONS, "-n", "2", "--dist=each")
    assert ran.returncode == 4
    assert "--dist=each: every test would count several times" in ran.stdout
