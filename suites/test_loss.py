"""The loss, and log_softmax, softmax and logsumexp, on logits of every hazard that leaves them finite."""

from __future__ import annotations

import pytest

from adapters.operation import Operation
from reference.formats import Format
from reference.quantity import BUILDING_BLOCKS, Quantity
from suites.inputs.problems import Ask
from suites.judging.judge import Judge

HAZARDS = (
    "moderate",
    "absorption",
    "overflow",
    "underflow",
    "offset",
    "ties",
    "long_tail",
    "subnormal",
    "bit_patterns",
)


@pytest.mark.asks(Quantity.LOSS)
def test_loss(judge: Judge, operation: Operation, fmt: Format) -> None:
    judge.search_claims("loss", operation, Ask(fmt, HAZARDS), (Quantity.LOSS,))


@pytest.mark.asks(*BUILDING_BLOCKS)
def test_building_blocks(judge: Judge, operation: Operation, fmt: Format) -> None:
    judge.search_claims("building blocks", operation, Ask(fmt, (*HAZARDS, "masked")), BUILDING_BLOCKS)
