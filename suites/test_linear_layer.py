"""The last linear layer: gradients by its weights and bias, entry by entry, of small and of very many classes."""

from __future__ import annotations

import pytest

from adapters.operation import Operation
from reference.formats import Format
from reference.quantity import LAYER_GRADIENTS
from suites.inputs.problems import Ask
from suites.judging.judge import Judge

HAZARDS = ("moderate", "absorption", "underflow", "offset", "ties", "long_tail")


@pytest.mark.asks(*LAYER_GRADIENTS)
def test_linear_layer(judge: Judge, operation: Operation, fmt: Format) -> None:
    options = frozenset({"reduction"})
    judge.search_claims("linear layer", operation, Ask(fmt, HAZARDS, options=options, feature=True), LAYER_GRADIENTS)


@pytest.mark.asks(*LAYER_GRADIENTS)
def test_linear_layer_of_a_large_vocabulary(judge: Judge, operation: Operation, fmt: Format) -> None:
    ask = Ask(fmt, ("large_vocabulary",), feature=True)
    judge.search_claims("large linear layer", operation, ask, LAYER_GRADIENTS, examples=judge.plan.effort.large)
