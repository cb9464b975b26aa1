"""Rows of a thousand to a quarter of a million classes: sums that stagnate, overflow or lose lanes."""

from __future__ import annotations

from adapters.operation import Operation
from reference.formats import Format
from reference.quantity import BUILDING_BLOCKS, Quantity
from suites.inputs.problems import Ask
from suites.judging.judge import Judge


def test_large_vocabulary(judge: Judge, operation: Operation, fmt: Format) -> None:
    wanted = (Quantity.LOSS, Quantity.GRADIENT, *BUILDING_BLOCKS)
    ask = Ask(fmt, ("large_vocabulary",))
    judge.search_claims("large vocabulary", operation, ask, wanted, examples=judge.plan.effort.large)
