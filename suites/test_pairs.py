"""Sizes, hazards, targets, cotangents and options, all pairs of them: a batch, a vocabulary and an option at once."""

from __future__ import annotations

import pytest

from adapters.operation import Operation
from reference.formats import Format
from reference.options import OPTIONS
from reference.quantity import BUILDING_BLOCKS, Quantity
from suites.inputs.problems import Ask
from suites.inputs.tables import FILLERS
from suites.judging.judge import Judge

ASKED = (Quantity.LOSS, Quantity.GRADIENT, Quantity.HVP, *BUILDING_BLOCKS)


def _ask(fmt: Format) -> Ask:
    return Ask(fmt, tuple(FILLERS), options=frozenset(OPTIONS), directions=True)


@pytest.mark.asks(*ASKED)
def test_pairs(judge: Judge, operation: Operation, fmt: Format) -> None:
    """All but Hessians, of which rows of many classes would have millions of entries: a product needs none."""
    judge.search_pairs(operation, _ask(fmt), ASKED)


@pytest.mark.asks(Quantity.LOSS)
def test_the_loss_alone(judge: Judge, operation: Operation, fmt: Format) -> None:
    """As inference takes it: a kernel may go another way where no gradient is asked; a framework's own operations do not."""
    if judge.plan.subject is None:
        pytest.skip("asked of a user's own kernels and backends")
    judge.search_pairs(operation, _ask(fmt), (Quantity.LOSS,), slice(None, None, 2))
