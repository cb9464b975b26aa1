"""Options of a loss that weigh, smooth or ignore targets and reduce rows, of few classes, all at once."""

from __future__ import annotations

import pytest

from adapters.operation import Operation
from reference.formats import Format
from reference.options import OPTIONS
from reference.quantity import Quantity
from suites.inputs.problems import Ask
from suites.judging.judge import Judge

FEWEST = 15
"""Problems at the least effort; test_pairs.py covers pairs at every size."""

HAZARDS = ("moderate", "absorption", "overflow", "offset", "ties", "masked")


@pytest.mark.asks(Quantity.LOSS)
def test_options(judge: Judge, operation: Operation, fmt: Format) -> None:
    if not operation.options:
        pytest.skip(f"{operation.name} has no options")
    ask = Ask(fmt, HAZARDS, options=frozenset(OPTIONS), directions=True)
    examples = max(FEWEST, judge.plan.effort.examples // 2)
    judge.search_claims("options", operation, ask, tuple(Quantity), examples=examples)
