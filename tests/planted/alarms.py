"""Searches with many seeds for a test that rejects what is right: rounded values, and honest stable kernels.

python -m tests.planted.alarms FOLDER [--seconds N]    (hours on a core; what is done is kept in FOLDER, call again)
python -m tests.planted.alarms --write FOLDER          (writes ci/alarms.md of what is done)
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict
from unittest.mock import patch

import pytest

from adapters.operation import options_used
from reference.formats import FORMATS
from reference.options import OPTIONS
from suites.inputs.hazards import HAZARDS
from suites.judging.effort import EFFORTS, Effort
from suites.judging.measurement import Measurement
from suites.judging.recorder import Recorder
from tests.command import QUICKLY, ROOT, run_here
from tests.planted.corpus import table
from tests.planted.parts import results, work_through
from tests.planted.rounded import CorrectlyRounded
from tests.planted.shared import evaluated
from tests.planted.trial import FOLDER

PAGE = ROOT / "ci" / "alarms.md"
SEEDS = range(10)
NOT_OVERFLOW = ",".join(hazard for hazard in HAZARDS if hazard != "overflow")
"""A gap beyond the largest number is infinite in the honest kernels, and that they are told is right."""

_OPTIONS = {
    "rounded": (
        "--backend=tests.planted.rounded:BothWays",
        f"--claims={FOLDER / 'rounded.toml'}",
        "--mode=nearest,neighbour",
    ),
    "stable": ("--backend=tests.planted.honest:Honest", "--claim=stable", f"--hazard={NOT_OVERFLOW}"),
}
"""What is held to what: rounded values, to `correct` or `faithful`, and the five honest kernels."""

_SEEDLESS = "test_cases or test_sweep or test_out_of_range"
"""Stored cases, the sweep of pairs and questions without an answer are no searches."""

_DEEP = ("test_options", "test_building_blocks", "test_linear_layer")
"""Searches by which alone, in each seed, every quantity of every operation is asked often enough, and with every option."""

_DEEPLY = f"({' or '.join(_DEEP)}) and not large"

_BROAD = Effort("broad", examples=100, large=20, rows=4_000)
"""How hard all others search, whose problems are alike but for their hazards."""

_PACKAGES = ("hypothesis", "numpy", "python-flint", "torch")

_HEAD = """# No false alarm

What is right must be rejected by nothing: values of the reference, *rounded* correctly (held to `correct`) and to the other
neighbour (held to `faithful`), and kernels that add up in the five usual ways (`tests/planted/honest.py`, held to *stable*,
without `overflow`, where they are wrong; one pass up to 128 classes). Every property of `suites/` is searched on each, anew for
each seed: {deep} with {examples} generated problems, the
others with {broad} ({large} of very many classes; invariants and layouts take a half or a quarter).
{parts} of {planned} runs are done, those of the table and no others. Of {tests} tests in {parts} runs, {failed} failed
({versions}).

*Problems* is the least number that any quantity was judged on in one seed, and *options* the least that had any one option of
the operation at another value than its default, of those and of each mode or kernel.

Made by `python -m tests.planted.alarms --write`; do not edit.
"""


class Ran(TypedDict):
    """How the tests of a part ended, those that failed by name, and the seconds of a core that they took.

    `problems` is the least number that a quantity of an operation was judged on, `options` the same of an option that it takes.
    """

    passed: int
    skipped: int
    failed: list[str]
    problems: int
    options: int | None
    seconds: float


@dataclass
class _Ends:
    """A pytest plugin that notes how tests end, and counts in place of the recorder what they judge."""

    passed: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)
    problems: Counter[tuple[str, ...]] = field(default_factory=Counter)
    options: Counter[tuple[str, ...]] = field(default_factory=Counter)

    def pytest_runtest_setup(self, item: pytest.Function) -> None:
        """What the operation of a test has and takes is counted from 0: what is never judged must show.

        Probabilities have no index to ignore.
        """
        operation = item.callspec.params["operation"]
        options = operation.options.intersection(OPTIONS) - ({"ignore_index"} if operation.probabilities else set())
        for quantity in operation.quantities:
            self.problems[operation.label, quantity] += 0
            for option in options:
                self.options[operation.label, quantity, option] += 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.when == "call" and report.passed
        self.skipped += report.skipped
        self.failed += [report.nodeid] if report.failed else []

    def count(self, operation: str, dtype: str, measurement: Measurement, *_: object) -> None:
        """As `Recorder.add`, whose profile takes a quarter of the time."""
        of = (operation, measurement.quantity)
        self.problems[of] += 1
        self.options.update((*of, option) for option in options_used(measurement.problem))


def parts() -> Iterator[str]:
    """All parts, `rounded.OPERATION.DTYPE.SEED` and `stable.sums.DTYPE.SEED`; a seed of all comes before the next."""
    kinds = [
        *itertools.product(["rounded"], (operation.name for operation in CorrectlyRounded().operations()), FORMATS),
        *itertools.product(["stable"], ["sums"], FORMATS),
    ]
    for seed in SEEDS:
        yield from (".".join([*kind, str(seed)]) for kind in kinds)


def searched(part: str) -> Ran:
    """The searches of a part."""
    what, of, dtype, seed = part.split(".")
    options = [*_OPTIONS[what], f"--dtype={dtype}", f"--hypothesis-seed={seed}"]
    options += [] if what == "stable" else [f"--operation={of}"]
    ends, began = _Ends(), time.process_time()
    with (
        patch("suites.judging.expected.evaluate", evaluated),
        patch.object(Recorder, "add", ends.count),
        patch.dict(EFFORTS, {_BROAD.name: _BROAD}),
    ):
        for effort, chosen in (("thorough", _DEEPLY), (_BROAD.name, f"not ({_DEEPLY}) and not ({_SEEDLESS})")):
            status, said = run_here(*QUICKLY, *options, f"--effort={effort}", "-k", chosen, plugins=(ends,))
            if status > pytest.ExitCode.TESTS_FAILED:
                raise RuntimeError(said)
    return {
        "passed": ends.passed,
        "skipped": ends.skipped,
        "failed": ends.failed,
        "problems": min(ends.problems.values()),
        "options": min(ends.options.values(), default=None),
        "seconds": round(time.process_time() - began, 1),
    }


def page(ran: dict[str, Ran]) -> str:
    """The page: what ran, by operation and dtype, with which seeds."""
    seeds: dict[tuple[str, ...], list[str]] = {}
    for part in parts():
        if part in ran:
            *kind, seed = part.split(".")
            seeds.setdefault(tuple(kind), []).append(seed)
    rows = [(*kind, ", ".join(of), *_totals([ran[".".join([*kind, seed])] for seed in of])) for kind, of in seeds.items()]
    failed = [name for one in ran.values() for name in one["failed"]]
    head = _HEAD.format(
        deep=", ".join(f"`{name}`" for name in _DEEP),
        examples=EFFORTS["thorough"].examples,
        broad=_BROAD.examples,
        large=_BROAD.large,
        parts=len(ran),
        planned=len(list(parts())),
        tests=sum(one["passed"] for one in ran.values()) + len(failed),
        failed=len(failed) or "none",
        versions=", ".join(f"{package} {version(package)}" for package in _PACKAGES),
    )
    return f"{head}\n{table(_COLUMNS, rows)}"


_COLUMNS = ("what", "operation", "dtype", "seeds", "passed", "skipped", "failed", "problems", "options", "seconds")


def _totals(runs: list[Ran]) -> tuple[str, ...]:
    """The last columns of a row."""
    passed, skipped = (sum(run[key] for run in runs) for key in ("passed", "skipped"))
    failed, seconds = sum(len(run["failed"]) for run in runs), sum(run["seconds"] for run in runs)
    options = [run["options"] for run in runs if run["options"] is not None]
    least = (min(run["problems"] for run in runs), min(options, default="-"))
    return str(passed), str(skipped), str(failed), *map(str, least), f"{seconds:.0f}"


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
