"""Class weights, label smoothing, ignored rows, reductions, temperature; and class indices that are out of range."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adapters.adapter import Observed
from adapters.limits import OPTIONS
from adapters.operation import Operation
from reference.formats import Format
from reference.grades import Grade
from reference.problem import Problem
from reference.quantity import Quantity
from suites.judge import Judge
from suites.problems import Ask
from suites.reproducer import miss_of_label

HAZARDS = ("moderate", "absorption", "overflow", "offset", "ties", "masked")


@pytest.mark.asks(Quantity.LOSS)
def test_options(judge: Judge, operation: Operation, fmt: Format) -> None:
    if not operation.options:
        pytest.skip(f"{operation.name} has no options")
    ask = Ask(fmt, HAZARDS, options=frozenset(OPTIONS), directions=True)
    judge.search_claims("options", operation, ask, tuple(Quantity))


@pytest.mark.asks(Quantity.LOSS)
@pytest.mark.parametrize("label", [-1, 3, 2**31])
def test_out_of_range_label(judge: Judge, operation: Operation, fmt: Format, label: int) -> None:
    """An index outside [0, K) must raise; where it cannot (on an accelerator, compiled by XLA), NaN is the alternative.

    What is known to do neither is an [[out_of_range]] entry of the claims file, and as strict as a deviation.
    """
    if operation.probabilities:
        pytest.skip(f"{operation.name} takes no class indices")
    if judge.plan.claims.claimed(operation, fmt.name, Quantity.LOSS) is Grade.NONE:
        pytest.skip(f"{operation.name} claims nothing")
    problem = _out_of_range(operation, fmt, label)
    classes, label = problem.num_classes, int(problem.target[0])
    observed = judge.observe(operation, problem, (Quantity.LOSS,))
    outcome = _outcome(observed)
    judge.recorder.out_of_range[operation.label, fmt.name, label] = outcome
    good = _is_refused(judge, operation, observed)
    known = judge.plan.claims.out_of_range_at(operation, fmt.name, label)
    if known is not None and good:
        pytest.fail(f"stale entry {known.id!r}: {operation.label} {outcome} for the class index {label}", pytrace=False)
    if not good:
        name, story = (known.id, f"Cause: {known.reason}.") if known else ("", f"Class index {label} of {classes} classes.")
        miss = miss_of_label(name, story, operation, problem, observed.values[Quantity.LOSS])
        judge.failure = miss
    if known is not None:
        judge.deviations_seen.setdefault(known.id, miss)
        pytest.xfail(f"out of range, {known.id}: {known.reason}")
    if not good:
        wrong = f"{operation.label} {outcome} for the class index {label} of {classes} classes"
        pytest.fail(f"what   : {wrong}; an index out of range must raise", pytrace=False)


def _out_of_range(operation: Operation, fmt: Format, label: int) -> Problem:
    """A row of 3 classes, or of the fewest more that the operation takes; the label 3 stands for K."""
    classes = math.ceil(3 / operation.classes_multiple) * operation.classes_multiple
    problem = Problem(np.resize([1.0, 2.0, 3.0], (1, classes)), np.array([0]), fmt, loss=operation.loss)
    return problem.with_unchecked_target([classes if label == 3 else label])


def _outcome(observed: Observed) -> str:
    """What was done: of an exception its kind alone, since messages name generated files and numbered functions."""
    if observed.error is not None:
        return f"raised {observed.error.partition(':')[0]}"
    return f"returned {observed.values[Quantity.LOSS].tolist()}"


def _is_refused(judge: Judge, operation: Operation, observed: Observed) -> bool:
    """True if it raised, or returned NaN where it cannot raise."""
    can_raise = operation.can_raise and judge.plan.adapter.device == "cpu"
    return observed.error is not None or (not can_raise and bool(np.isnan(observed.values[Quantity.LOSS]).all()))
