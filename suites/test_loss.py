"""The loss, and log_softmax, softmax and logsumexp with their backward passes, on finite logits of every hazard."""

from __future__ import annotations

import pytest

from adapters.operation import Operation
from reference.formats import Format
from reference.quantity import BLOCK_PRODUCTS, BUILDING_BLOCKS, Quantity
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


@pytest.mark.asks(*BLOCK_PRODUCTS)
def test_derivatives_of_building_blocks(judge: Judge, operation: Operation, fmt: Format) -> None:
    ask = Ask(fmt, (*HAZARDS, "masked"), directions=True)
    judge.search_claims("derivatives of building blocks", operation, ask, BLOCK_PRODUCTS)
