"""Candidates for KernelBench's cross-entropy problem, by its own check and by the suites: which each lets pass.

Each is a module in the form of the benchmark, `candidates/NAME.py`. Its first line is its story. RIGHT ones must pass both
checks. All others pass the benchmark's, at least by the tolerance of its first versions, and must fail the suites.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

CANDIDATES = Path(__file__).parent / "candidates"
RIGHT = ("framework", "no_gradient", "right")

ROWS, CLASSES = 32768, 4096
"""The benchmark's problem 95 of level 1: `torch.rand(ROWS, CLASSES)`, and labels that are drawn uniformly."""

TOLERANCES = (1e-2, 1e-4)
"""rtol and atol of its allclose in float32: in its versions 0 and 0.1, and since (`get_tolerance_for_precision`)."""

SEED = 42


@dataclass(frozen=True)
class Allowed:
    """The tolerances at which a candidate passes the benchmark's check; empty where it passes at none."""

    at: tuple[float, ...]


def names() -> tuple[str, ...]:
    """All candidates, in alphabetical order."""
    return tuple(sorted(path.stem for path in CANDIDATES.glob("*.py")))


def story(name: str) -> str:
    """The first line of a candidate's file."""
    return (CANDIDATES / f"{name}.py").read_text().splitlines()[0].strip('"')


def model_of(name: str) -> Any:
    """A candidate as the benchmark makes it."""
    spec = importlib.util.spec_from_file_location(f"candidate_{name}", CANDIDATES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ModelNew()


def inputs(rows: int = ROWS) -> tuple[torch.Tensor, torch.Tensor]:
    """What the benchmark asks; of fewer rows the same distribution."""
    torch.manual_seed(SEED)
    seed = int(torch.randint(0, 2**32 - 1, (1,)).item())
    torch.manual_seed(seed)
    return torch.rand(rows, CLASSES), torch.randint(0, CLASSES, (rows,))


def allowed(name: str, given: tuple[torch.Tensor, torch.Tensor]) -> Allowed:
    """What the benchmark's check says: `run_and_check_correctness` of src/kernelbench/eval.py, at one trial as by default."""
    with torch.no_grad():
        expected = F.cross_entropy(*given)
        observed = model_of(name)(*given)
    alike = observed.shape == expected.shape
    return Allowed(tuple(t for t in TOLERANCES if alike and torch.allclose(expected, observed, atol=t, rtol=t)))
