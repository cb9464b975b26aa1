"""The Hessian, entry by entry, its product with a direction, and its diagonal, where that is all there is."""

from __future__ import annotations

import pytest

from adapters.operation import Operation
from reference.formats import Format
from reference.quantity import SECOND_ORDER
from suites.inputs.problems import Ask
from suites.judging.judge import Judge

HAZARDS = ("moderate", "absorption", "overflow", "underflow", "offset", "ties", "subnormal", "bit_patterns")


@pytest.mark.asks(*SECOND_ORDER)
def test_hessian(judge: Judge, operation: Operation, fmt: Format) -> None:
    ask = Ask(fmt, HAZARDS, directions=True, max_rows=2)
    judge.search_claims("hessian", operation, ask, SECOND_ORDER)
