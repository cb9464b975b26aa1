"""Searches with many seeds for a test that rejects what is right: rounded values, and honest stable kernels.

python -m tests.planted.alarms FOLDER [--seconds N]    (days on a core; what is done is kept in FOLDER, call again)
python -m tests.planted.alarms --write FOLDER          (writes ci/alarms.md of what is done)
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import pytest

from reference.formats import FORMATS
from suites.effort import EFFORTS
from suites.hazards import HAZARDS
from tests.planted.corpus import table
from tests.planted.parts import results, work_through
from tests.planted.trial import FOLDER, QUICKLY, ROOT

PAGE = ROOT / "ci" / "alarms.md"
SEEDS = range(10)
HONEST = ("two_pass", "online", "tiled", "pairwise", "compensated")
NOT_OVERFLOW = ",".join(hazard for hazard in HAZARDS if hazard != "overflow")
"""A gap beyond the largest number is infinite in the honest kernels, and that they are told is right."""

_ROUNDED = {"correct": "CorrectlyRounded", "faithful": "FaithfullyRounded"}
_OPERATIONS = ("cross_entropy_indices", "cross_entropy_probabilities", "log_softmax", "logsumexp", "softmax", "layer")
_LOSSES = ("sigmoid_probabilities", "kl_divergence_probabilities", "squared_error_probabilities", "focal_indices")

_HEAD = """# No false alarm

What is right must be rejected by nothing: values of the reference rounded correctly (held to `correct`) or to the other
neighbour (held to `faithful`), and kernels that add up in the five usual ways (held to `stable`, without `overflow`, where
they are wrong). A search is a test of `suites/` on an operation in a dtype, of {examples} generated problems ({large} of very
many classes; invariants and layouts take a half or a quarter). Of {parts} runs, {failed} tests failed.

Made by `python -m tests.planted.alarms --write`; do not edit.
"""


class Ran(TypedDict):
    """How the tests of a part ended, and how long they took."""

    passed: int
    failed: int
    seconds: float


@dataclass
class _Counts:
    """A pytest plugin that counts how tests end."""

    passed: int = 0
    failed: int = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.when == "call" and report.passed
        self.failed += report.failed


def parts() -> Iterator[str]:
    """All parts, `WHAT.OPERATION.DTYPE.SEED`; of each kind every seed before the next kind."""
    kinds = [
        ("correct", "cross_entropy_indices", "float32"),
        ("faithful", "cross_entropy_indices", "bfloat16"),
        *itertools.product(["honest"], HONEST, ["float32"]),
        *itertools.product(_ROUNDED, (*_OPERATIONS, *_LOSSES), FORMATS),
    ]
    for what, operation, dtype in dict.fromkeys(kinds):
        yield from (f"{what}.{operation}.{dtype}.{seed}" for seed in SEEDS)


def searched(part: str) -> Ran:
    """Every search of the suite, in a part; stored cases do not depend on the seed."""
    what, operation, dtype, seed = part.split(".")
    options = [f"--dtype={dtype}", f"--hypothesis-seed={seed}", "--effort=thorough", "-k", "not test_case"]
    if what == "honest":
        place = f"--implementation={FOLDER / 'honest.py'}:{operation}"
        options += ["--backend=torch", place, "--claim=stable", f"--hazard={NOT_OVERFLOW}"]
    else:
        options += [f"--backend=tests.planted.rounded:{_ROUNDED[what]}"]
        options += [f"--claims={FOLDER / what}.toml", f"--operation={operation}"]
    counts, began = _Counts(), time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main([str(ROOT / "suites"), "-q", *QUICKLY, *options], plugins=[counts])
    return {"passed": counts.passed, "failed": counts.failed, "seconds": round(time.monotonic() - began, 1)}


def page(ran: dict[str, Ran]) -> str:
    """The page: what ran, by operation and dtype, with which seeds."""
    seeds: dict[tuple[str, ...], list[str]] = {}
    for part in ran:
        *kind, seed = part.split(".")
        seeds.setdefault(tuple(kind), []).append(seed)
    rows = [
        (*kind, ", ".join(of), *(f"{sum(ran['.'.join([*kind, seed])][key] for seed in of):.0f}" for key in Ran.__annotations__))
        for kind, of in seeds.items()
    ]
    effort, failed = EFFORTS["thorough"], sum(one["failed"] for one in ran.values())
    head = _HEAD.format(examples=effort.examples, large=effort.large, parts=len(ran), failed=failed or "no")
    return f"{head}\n{table(('held to', 'operation', 'dtype', 'seeds', 'tests passed', 'failed', 'seconds'), rows)}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no part after so long")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.write:
        PAGE.write_text(page(results(given.folder)))
    else:
        work_through(given.folder, parts(), searched, given.seconds)


if __name__ == "__main__":
    main()
