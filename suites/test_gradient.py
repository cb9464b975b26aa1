"""The gradient, entry by entry, under cotangents that differ from row to row."""

from __future__ import annotations

import pytest

from adapters.operation import Operation
from reference.formats import Format
from reference.quantity import Quantity
from suites.inputs.problems import Ask
from suites.judging.judge import Judge
from suites.test_loss import HAZARDS


@pytest.mark.asks(Quantity.GRADIENT)
def test_gradient(judge: Judge, operation: Operation, fmt: Format) -> None:
    judge.search_claims("gradient", operation, Ask(fmt, HAZARDS), (Quantity.LOSS, Quantity.GRADIENT, Quantity.TARGET_GRADIENT))
