"""Masked (-inf), infinite and NaN logits: numbers, infinities and NaN where the special-value table says, row by row."""

from __future__ import annotations

import pytest

from adapters.operation import LOSS_QUANTITIES, Operation
from reference.formats import Format
from reference.quantity import Quantity
from suites.inputs.problems import Ask
from suites.judging.judge import Judge


@pytest.mark.asks(Quantity.LOSS)
def test_masked(judge: Judge, operation: Operation, fmt: Format) -> None:
    judge.search_claims("masked", operation, Ask(fmt, ("masked",), directions=True), LOSS_QUANTITIES)


def test_nonfinite(judge: Judge, operation: Operation, fmt: Format) -> None:
    judge.search_claims("nonfinite", operation, Ask(fmt, ("nonfinite",), directions=True), tuple(Quantity))
