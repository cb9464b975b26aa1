"""Sizes, hazards, targets, cotangents and options, all pairs of them: a batch, a vocabulary and an option at once."""

from __future__ import annotations

import pytest

from adapters.operation import LOSS_QUANTITIES, Operation
from reference.formats import Format
from reference.options import OPTIONS
from reference.quantity import BUILDING_BLOCKS, Quantity
from suites.inputs.problems import Ask
from suites.inputs.tables import FILLERS
from suites.judging.judge import Judge


def _ask(fmt: Format) -> Ask:
    return Ask(fmt, tuple(FILLERS), options=frozenset(OPTIONS), directions=True)


@pytest.mark.asks(Quantity.LOSS, *BUILDING_BLOCKS)
def test_pairs(judge: Judge, operation: Operation, fmt: Format) -> None:
    judge.search_pairs(operation, _ask(fmt), (*LOSS_QUANTITIES, *BUILDING_BLOCKS))


@pytest.mark.asks(Quantity.LOSS)
def test_the_loss_alone(judge: Judge, operation: Operation, fmt: Format) -> None:
    """As inference takes it: a kernel may go another way where no gradient is asked."""
    judge.search_pairs(operation, _ask(fmt), (Quantity.LOSS,), slice(None, None, 2))
