"""Where 1 + exp(-gap) rounds to 1 and where exp(-gap) underflows: all quantities, the target at the maximum and away."""

from __future__ import annotations

import pytest

from adapters.operation import LOSS_QUANTITIES, Operation
from reference.formats import Format
from reference.quantity import Quantity
from suites.inputs.problems import Ask
from suites.judging.judge import Judge


@pytest.mark.asks(Quantity.LOSS)
def test_absorption(judge: Judge, operation: Operation, fmt: Format) -> None:
    ask = Ask(fmt, ("absorption", "underflow"), directions=True, max_rows=2)
    judge.search_claims("absorption", operation, ask, LOSS_QUANTITIES)
