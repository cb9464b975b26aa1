"""A reduced sweep of all pairs: what no generated problem reaches by chance is passed over in steps of one size.

At --effort=thorough alone; `python -m suites.sweep` runs whole sweeps.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import product
from typing import Any

import numpy as np
import pytest

from adapters.operation import Operation
from reference.formats import Format
from reference.grades import Grade
from reference.problem import Problem
from reference.quantity import Quantity
from suites.judging.judge import Judge

STEPS = {"float16": 64, "bfloat16": 64, "float32": 2**12}
"""Every how many numbers: about two million questions in each dtype."""

_PROBES = 16
"""Numbers on an axis, about, at which the claims are asked what a pair is held to."""


def test_pairs(judge: Judge, request: pytest.FixtureRequest) -> None:
    if judge.plan.effort.name != "thorough":
        pytest.skip("a reduced sweep runs at --effort=thorough; python -m suites.sweep runs a whole one")
    if importlib.util.find_spec("numba") is None:
        pytest.skip("a sweep needs numba: pip install -e '.[fast]'")
    told = [line for operation, fmt in _swept(judge) for line in _sweep(judge, operation, fmt)]
    _tell(request.config, told)
    failed = [line for line in told if line.endswith("FAILS")]
    if failed:
        pytest.fail("\n".join(failed), pytrace=False)


def _tell(config: pytest.Config, lines: list[str]) -> None:
    """Show lines whether the test passes or not."""
    terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        for line in lines:
            terminal.write_line(f"\nsweep of pairs: {line}")


def _swept(judge: Judge) -> Iterator[tuple[Operation, Format]]:
    formats = [fmt for fmt in judge.plan.formats if fmt.name in STEPS]
    for operation in judge.plan.operations:
        if operation.loss.spec.is_log_probability and not operation.probabilities and Quantity.LOSS in operation.quantities:
            yield from ((operation, fmt) for fmt in formats if fmt.name in operation.arithmetic)


def _sweep(judge: Judge, operation: Operation, fmt: Format) -> Iterator[str]:
    """A line for each quantity: what was reached, over what, and whether that is enough."""
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
    pairs = list(probes(fmt))
    for q in asked:
        reached = Grade(next(g for g in range(6) if total.tally.grades[q, g]))
        needed = min(judge.plan.claims.required(operation, QUANTITIES[q], problem) for problem in pairs)
        yield (
            f"{operation.label}, {fmt.name}, {QUANTITIES[q]}: {reached.label}, worst {total.tally.worst[q]:.6g} ulp, "
            f"REDUCED ({space.left_out}), needs {needed.label}: {'holds' if reached >= needed else 'FAILS'}"
        )


def probes(fmt: Format) -> Iterator[Problem]:
    """Pairs all over the plane, each alone: what a sweep is held to is what deviations leave of the claim at one of them.

    A deviation of options, reductions or many classes leaves all of it: no pair is in its region.
    """
    from suites.sweep.space import count_of, lattice

    values = lattice(fmt, count_of(fmt) // _PROBES).astype(np.float64)
    for first, second in product(values, repeat=2):
        yield Problem(np.array([[first, second]]), np.array([0]), fmt)
