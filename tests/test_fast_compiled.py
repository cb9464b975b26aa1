"""Compiled functions are cached, for just the sources that they were compiled from."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

from tests.command import ROOT

PROGRAM = """
import numpy as np
from reference.fast.sums import fill_powers
powers = np.empty(2)
fill_powers(np.array([1.0, 0.0]), 0, powers)
print(powers[1], sum(fill_powers.stats.cache_hits.values()))
"""


def _power_and_hits(folder: Path) -> tuple[float, int]:
    """exp(-1), and how often compiled code was found in the cache."""
    result = subprocess.run([sys.executable, "-c", PROGRAM], cwd=folder, capture_output=True, text=True, check=True)
    power, hits = result.stdout.split()
    return float(power), int(hits)


def test_a_change_of_a_function_that_is_called_is_not_missed(tmp_path: Path) -> None:
    """The polynomial is in another file than the loop that has it inlined."""
    shutil.copytree(ROOT / "reference", tmp_path / "reference", ignore=shutil.ignore_patterns("__pycache__"))
    power, hits = _power_and_hits(tmp_path)
    assert hits == 0
    assert _power_and_hits(tmp_path) == (power, 1)
    source = tmp_path / "reference" / "fast" / "elementary.py"
    changed = source.read_text().replace(
        "(1.0 / factorial(n) for n in range(2, 14))", "(2.0 / factorial(n) for n in range(2, 14))"
    )
    source.write_text(changed)
    assert _power_and_hits(tmp_path)[0] > 1.05 * power
