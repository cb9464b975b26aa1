"""Searches with many seeds for a test that rejects what is right: rounded values, and honest stable kernels.

python -m tests.planted.alarms FOLDER [--seconds N]    (hours on a core; what is done is kept in FOLDER, call again)
python -m tests.planted.alarms --write FOLDER          (writes ci/alarms.md of what is done)
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict
from unittest.mock import patch

import pytest

from reference.formats import FORMATS
from suites.effort import EFFORTS
from suites.hazards import HAZARDS
from tests.command import ROOT
from tests.planted.corpus import table
from tests.planted.parts import results, work_through
from tests.planted.shared import evaluated
from tests.planted.trial import FOLDER, QUICKLY

PAGE = ROOT / "ci" / "alarms.md"
SEEDS = range(10)
NOT_OVERFLOW = ",".join(hazard for hazard in HAZARDS if hazard != "overflow")
"""A gap beyond the largest number is infinite in the honest kernels, and that they are told is right."""

_OPERATIONS = ("cross_entropy_probabilities", "log_softmax", "logsumexp", "softmax", "layer")
_LOSSES = ("sigmoid_probabilities", "kl_divergence_probabilities", "squared_error_probabilities", "focal_indices")

_OPTIONS = {
    "rounded": (
        "--backend=tests.planted.rounded:BothWays",
        f"--claims={FOLDER / 'rounded.toml'}",
        "--mode=nearest,neighbour",
    ),
    "stable": ("--backend=tests.planted.honest:Honest", "--claim=stable", f"--hazard={NOT_OVERFLOW}"),
}
"""What is held to what: rounded values, to `correct` or `faithful`, and the five honest kernels."""

_SEEDLESS = ("test_cases", "test_sweep", "test_out_of_range")
"""Files without a search: stored cases, the sweep of pairs and questions without an answer do not depend on the seed."""

_SEARCHES = {
    name: path
    for path in sorted((ROOT / "suites").glob("test_*.py"))
    for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    if path.stem not in _SEEDLESS
}
"""Every search of the suite, with its file."""

_NOT_OF_LOSSES = ("test_building_blocks", "test_linear_layer", "test_linear_layer_of_a_large_vocabulary")
"""Searches that ask nothing of the stable kernels."""

_PACKAGES = ("hypothesis", "numpy", "python-flint", "torch")

_HEAD = """# No false alarm

What is right must be rejected by nothing: values of the reference, *rounded* correctly (held to `correct`) and to the other
neighbour (held to `faithful`), and kernels that add up in the five usual ways (`tests/planted/honest.py`, held to *stable*,
without `overflow`, where they are wrong; one pass up to 128 classes). Every property of `suites/` is searched on each, anew for
each seed, with {examples} generated problems ({large} of very many classes; invariants and layouts take a half or a quarter).
{parts} of {planned} runs are done, those of the table and no others. Of {tests} tests in {parts} runs, {failed} failed
({versions}).

Made by `python -m tests.planted.alarms --write`; do not edit.
"""


class Ran(TypedDict):
    """How the tests of a part ended, those that failed by name, and the seconds of a core that they took."""

    passed: int
    skipped: int
    failed: list[str]
    seconds: float


@dataclass
class _Ends:
    """A pytest plugin that notes how tests end."""

    passed: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.when == "call" and report.passed
        self.skipped += report.skipped
        self.failed += [report.nodeid] if report.failed else []


def parts() -> Iterator[str]:
    """All parts, `rounded.OPERATION.DTYPE.SEED` and `stable.TEST.DTYPE.SEED`; two seeds of all come before the others.

    The stable kernels share what is generated and owed, so a part is one test of all of them.
    """
    kinds = [
        *itertools.product(["stable"], (name for name in _SEARCHES if name not in _NOT_OF_LOSSES), ["float32"]),
        *itertools.product(["rounded"], ("cross_entropy_indices", *_OPERATIONS, *_LOSSES), FORMATS),
    ]
    for seeds in (SEEDS[:2], SEEDS[2:]):
        for kind in kinds:
            yield from (".".join([*kind, str(seed)]) for seed in seeds)


def searched(part: str) -> Ran:
    """The searches of a part."""
    what, of, dtype, seed = part.split(".")
    tests = [f"{_SEARCHES[of]}::{of}"] if what == "stable" else [str(path) for path in dict.fromkeys(_SEARCHES.values())]
    options = [*_OPTIONS[what], f"--dtype={dtype}", f"--hypothesis-seed={seed}", "--effort=thorough"]
    options += [] if what == "stable" else [f"--operation={of}"]
    ends, began = _Ends(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), patch("suites.owed.evaluate", evaluated):
        pytest.main([*tests, "-q", *QUICKLY, *options], plugins=[ends])
    seconds = round(time.process_time() - began, 1)
    return {"passed": ends.passed, "skipped": ends.skipped, "failed": ends.failed, "seconds": seconds}


def page(ran: dict[str, Ran]) -> str:
    """The page: what ran, by operation and dtype, with which seeds."""
    seeds: dict[tuple[str, ...], list[str]] = {}
    for part in ran:
        *kind, seed = part.split(".")
        seeds.setdefault(tuple(kind), []).append(seed)
    rows = [(*kind, ", ".join(of), *_totals([ran[".".join([*kind, seed])] for seed in of])) for kind, of in seeds.items()]
    failed = [name for one in ran.values() for name in one["failed"]]
    head = _HEAD.format(
        examples=EFFORTS["thorough"].examples,
        large=EFFORTS["thorough"].large,
        parts=len(ran),
        planned=len(list(parts())),
        tests=sum(one["passed"] for one in ran.values()) + len(failed),
        failed=len(failed) or "none",
        versions=", ".join(f"{package} {version(package)}" for package in _PACKAGES),
    )
    return f"{head}\n{table(('what', 'operation or test', 'dtype', 'seeds', 'passed', 'skipped', 'failed', 'seconds'), rows)}"


def _totals(runs: list[Ran]) -> tuple[str, ...]:
    """The last columns of a row."""
    passed, skipped = (sum(run[key] for run in runs) for key in ("passed", "skipped"))
    failed, seconds = sum(len(run["failed"]) for run in runs), sum(run["seconds"] for run in runs)
    return str(passed), str(skipped), str(failed), f"{seconds:.0f}"


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
