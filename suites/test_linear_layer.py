"""The last linear layer: gradients by its features, weight and bias, where it picks logits and where its products round."""

from __future__ import annotations

import pytest

from adapters.operation import Operation
from reference.formats import Format
from reference.quantity import LAYER_GRADIENTS
from suites.inputs.problems import DENSE, PICKING, Ask
from suites.judging.judge import Judge

HAZARDS = ("moderate", "absorption", "underflow", "offset", "ties", "long_tail")


@pytest.mark.asks(*LAYER_GRADIENTS)
def test_linear_layer(judge: Judge, operation: Operation, fmt: Format) -> None:
    options = frozenset({"reduction"})
    judge.search_claims("linear layer", operation, Ask(fmt, HAZARDS, options=options, layer=PICKING), LAYER_GRADIENTS)


@pytest.mark.asks(*LAYER_GRADIENTS)
def test_dense_layer(judge: Judge, operation: Operation, fmt: Format) -> None:
    """Of the hazard only the number of rows and classes is used."""
    ask = Ask(fmt, ("moderate",), options=frozenset({"reduction"}), layer=DENSE)
    judge.search_claims("dense layer", operation, ask, LAYER_GRADIENTS)


@pytest.mark.asks(*LAYER_GRADIENTS)
def test_linear_layer_of_a_large_vocabulary(judge: Judge, operation: Operation, fmt: Format) -> None:
    ask = Ask(fmt, ("large_vocabulary",), layer=PICKING)
    judge.search_claims("large linear layer", operation, ask, LAYER_GRADIENTS, examples=judge.plan.effort.large)
