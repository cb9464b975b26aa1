"""A kernel that is right in its first rows alone fails, whatever options and derivatives it takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.command import run_here

KERNEL = """
import numpy as np

from tests.planted.processes import right


def kernel(logits, labels):
    loss, gradient = right(logits, labels)
    AFTERWARDS
    return loss, gradient
"""
ASKED = ("--claim=stable", "--dtype=float32", "--effort=quick")
LOST = {
    "loss[16:] = 0": 17,
    "gradient[256:] = 0": 257,
    "loss[64:] = np.roll(loss[64:], 1)": 129,
    "gradient[32:] = np.resize(gradient, gradient[32:].shape)": 33,
}
"""Rows behind a tile that are not written, or written in another place; by the number of rows that shows it."""


def run(folder: Path, afterwards: str, *options: str) -> tuple[int, str]:
    (folder / "kernel.py").write_text(KERNEL.replace("AFTERWARDS", afterwards))
    return run_here(f"--implementation={folder / 'kernel.py'}:kernel", *ASKED, *options)


@pytest.mark.parametrize("defect", LOST)
def test_a_kernel_that_is_right_in_its_first_rows_alone_fails(defect: str, tmp_path: Path) -> None:
    status, output = run(tmp_path, defect)
    assert status == 1
    assert re.search(r"\(.*test_many_rows 1", output)
    status, output = run(tmp_path, defect, "-k", "test_many_rows")
    assert status == 1
    assert f"; float32, N={LOST[defect]}, K=7, " in output


def test_a_kernel_that_is_right_in_all_rows_passes(tmp_path: Path) -> None:
    assert run(tmp_path, "pass")[0] == 0
