"""Class weights, label smoothing, ignored rows, reductions, temperature; and class indices that are out of range."""

from __future__ import annotations

import numpy as np
import pytest

from adapters.operation import OPTIONS, Operation
from reference.formats import Format
from reference.grades import Grade
from reference.problem import Problem
from reference.quantity import Quantity
from suites.judge import Judge
from suites.problems import Ask

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
    """An index outside [0, K) must raise; on an accelerator, where it cannot, NaN is the documented alternative."""
    if operation.probabilities:
        pytest.skip(f"{operation.name} takes probabilities")
    if judge.plan.claims.claimed(operation.name, fmt.name, Quantity.LOSS) is Grade.NONE:
        pytest.skip(f"{operation.name} claims nothing")
    problem = Problem(np.array([[1.0, 2.0, 3.0]]), np.array([0]), fmt).with_unchecked_target([label])
    observed = judge.plan.adapter.observe(operation, problem, (Quantity.LOSS,))
    outcome = observed.error or f"returned {observed.values[Quantity.LOSS].tolist()}"
    judge.recorder.out_of_range[operation.name, fmt.name] = outcome
    spared = judge.plan.adapter.device != "cpu" and bool(np.isnan(observed.values.get(Quantity.LOSS, 0.0)).all())
    if observed.error is None and not spared:
        pytest.fail(
            f"what   : {operation.name} {outcome} for the class index {label} of 3 classes; an index out of range must raise",
            pytrace=False,
        )
