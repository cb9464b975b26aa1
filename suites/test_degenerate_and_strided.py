"""No rows, one class, and logits that are not contiguous in memory."""

from __future__ import annotations

import pytest

from adapters.layout import Layout
from adapters.operation import Operation
from adapters.question import Question
from reference.formats import Format
from reference.quantity import Quantity
from suites.inputs.problems import Ask
from suites.judging.judge import Judge


@pytest.mark.asks(Quantity.LOSS)
def test_degenerate(judge: Judge, operation: Operation, fmt: Format) -> None:
    ask = Ask(fmt, ("degenerate",), options=frozenset({"reduction"}), directions=True)
    judge.search_claims("degenerate", operation, ask, tuple(Quantity))


@pytest.mark.parametrize("layout", [layout for layout in Layout if layout is not Layout.CONTIGUOUS])
def test_layout(judge: Judge, operation: Operation, fmt: Format, layout: Layout) -> None:
    """The values count, not where they lie; what lies between them is NaN (-1 for indices): reading it shows."""
    ask = judge.narrowed(operation, Ask(fmt, ("moderate",), directions=True))
    examples = max(2, judge.plan.effort.examples // 4)

    judge.search("layout", ask, lambda problem: judge.check(Question(operation, problem, tuple(Quantity), layout)), examples)
