"""Every hazard at every size, and all pairs of options, sizes and targets: rows that differ, many classes, large batches."""

from __future__ import annotations

import pytest

from adapters.operation import Operation
from reference.formats import Format
from reference.options import OPTIONS
from reference.quantity import OF_LOGITS, Quantity
from suites.inputs.pairs import plain_problems, problems_in_pairs
from suites.inputs.problems import Ask
from suites.inputs.tables import FILLERS
from suites.judging.judge import Judge

ASKED = (Quantity.LOSS, Quantity.GRADIENT, Quantity.TARGET_GRADIENT, Quantity.HVP, *OF_LOGITS)
"""All but Hessians, of which rows of many classes have millions of entries: a product needs none."""


def _ask(fmt: Format) -> Ask:
    return Ask(fmt, tuple(FILLERS), options=frozenset(OPTIONS), directions=True)


@pytest.mark.asks(*ASKED)
def test_sizes(judge: Judge, operation: Operation, fmt: Format) -> None:
    judge.search_all(plain_problems, operation, _ask(fmt), ASKED)


@pytest.mark.asks(Quantity.LOSS)
def test_the_loss_alone(judge: Judge, operation: Operation, fmt: Format) -> None:
    """As inference takes it: a kernel may go another way where no gradient is asked; a framework's own operations do not."""
    if judge.plan.subject is None:
        pytest.skip("asked of a user's own kernels and backends")
    judge.search_all(plain_problems, operation, _ask(fmt), (Quantity.LOSS,))


@pytest.mark.asks(Quantity.LOSS)
def test_pairs(judge: Judge, operation: Operation, fmt: Format) -> None:
    if not operation.options:
        pytest.skip(f"{operation.name} has no options")
    judge.search_all(problems_in_pairs, operation, _ask(fmt), ASKED)
