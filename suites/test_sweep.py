"""A reduced sweep of all pairs: what no generated problem reaches by chance is passed over in steps of one size.

At --effort=thorough alone; `python -m suites.sweep` runs whole sweeps.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from typing import Any, NoReturn

import numpy as np
import pytest

from adapters.operation import Operation
from adapters.question import Question
from reference.formats import Format
from reference.grades import Grade
from reference.installing import extra
from reference.problem import Problem
from reference.quantity import Quantity
from suites.judging.failure import Finding
from suites.judging.judge import Judge

STEPS = {"float16": 64, "bfloat16": 64, "float32": 2**12}
"""Every how many numbers: about two million questions in each dtype."""

_PROBES = 16
"""Numbers on an axis, about, at which the claims are asked what a pair is held to."""


def test_pairs(judge: Judge, request: pytest.FixtureRequest) -> None:
    if judge.plan.effort.name != "thorough":
        pytest.skip("a reduced sweep runs at --effort=thorough; python -m suites.sweep runs a whole one")
    if importlib.util.find_spec("numba") is None:
        pytest.skip(f"a sweep needs numba: {extra('fast')}")
    swept = [found for operation, fmt in _on_trial(judge) for found in _sweep(judge, operation, fmt)]
    _tell(request.config, [found.line for found in swept])
    for found in swept:
        if not found.holds:
            _fail(judge, found)


@dataclass(frozen=True)
class Swept:
    """What a sweep showed of a quantity of an operation: what was reached and needed, and the pair of the worst error."""

    operation: Operation
    quantity: Quantity
    reached: Grade
    needed: Grade
    worst_ulps: float
    worst: Problem
    left_out: str | None

    @property
    def holds(self) -> bool:
        """True if enough was reached."""
        return self.reached >= self.needed

    @property
    def line(self) -> str:
        """What was reached, over what, and whether that is enough."""
        return (
            f"{self.operation.label}, {self.worst.format.name}, {self.quantity}: {self.reached.label}, worst "
            f"{self.worst_ulps:.6g} ulp, REDUCED ({self.left_out}), needs {self.needed.label}: "
            f"{'holds' if self.holds else 'FAILS'}"
        )


def _fail(judge: Judge, found: Swept) -> NoReturn:
    """Fail at the pair of the worst error, or for the whole sweep if that pair, asked alone, is good enough."""
    judge.check(Question(found.operation, found.worst, (found.quantity,)))
    values = f"expected {found.needed.label}; observed {found.reached.label} of pairs together, more of the worst alone"
    judge.fail(Finding(f"sweep of pairs: {found.line}", values, found.operation, found.worst), whole=True)


def _tell(config: pytest.Config, lines: list[str]) -> None:
    """Show lines whether the test passes or not."""
    terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        for line in lines:
            terminal.write_line(f"\nsweep of pairs: {line}")


def _on_trial(judge: Judge) -> Iterator[tuple[Operation, Format]]:
    formats = [fmt for fmt in judge.plan.formats if fmt.name in STEPS]
    for operation in judge.plan.operations:
        if operation.is_of_indices and Quantity.LOSS in operation.quantities:
            yield from ((operation, fmt) for fmt in formats if fmt.name in operation.arithmetic)


def _sweep(judge: Judge, operation: Operation, fmt: Format) -> Iterator[Swept]:
    """What every quantity showed."""
    from suites.sweep.chunk import Job, judged
    from suites.sweep.compiled.tally import QUANTITIES
    from suites.sweep.outcome import Outcome
    from suites.sweep.space import Gaps, Pairs

    space = Gaps(fmt.name, STEPS[fmt.name]) if fmt.bits == 32 else Pairs(fmt.name, STEPS[fmt.name])
    asked = tuple(q for q, quantity in enumerate(QUANTITIES[:2]) if quantity in operation.quantities)
    job = Job(judge.plan.adapter.name, judge.plan.adapter.device, operation.label, asked, space)
    total = Outcome()
    for chunk in range(space.chunks):
        total = total.plus(judged(job, chunk, judge.plan.adapter, operation))
    pairs, tally = list(probes(fmt)), total.tally
    for q in asked:
        reached = next(grade for grade in Grade if tally.grades[q, grade])
        needed = min(judge.plan.claims.required(operation, QUANTITIES[q], problem) for problem in pairs)
        target = np.maximum(tally.worst_place[q, :1], 0)
        worst = Problem(np.nan_to_num(tally.worst_logits[q : q + 1]), target, fmt)
        yield Swept(operation, QUANTITIES[q], reached, needed, float(tally.worst[q]), worst, space.left_out)


def probes(fmt: Format) -> Iterator[Problem]:
    """Pairs all over the plane, each alone: what a sweep is held to is what deviations leave of the claim at one of them.

    A deviation of options, reductions or many classes leaves all of it: no pair is in its region.
    """
    from suites.sweep.space import count_of, lattice

    values = lattice(fmt, count_of(fmt) // _PROBES).astype(np.float64)
    for first, second in product(values, repeat=2):
        yield Problem(np.array([[first, second]]), np.array([0]), fmt)
