"""Calls in sequences, as training makes them: what a kernel keeps between two calls shows in neither of them alone."""

from __future__ import annotations

from adapters.operation import Operation
from adapters.question import Question
from adapters.usage import Usage
from reference.formats import Format
from reference.problem import Problem
from suites.inputs.problems import Ask
from suites.judging.judge import Judge

FEWEST = 4
"""Examples of a usage at the least effort; a kernel with state fails at most problems, so few are enough."""


def test_usage(judge: Judge, operation: Operation, fmt: Format, usage: Usage) -> None:
    """The values count, not the calls around them."""
    options = frozenset() if usage is Usage.SUMMED else frozenset({"reduction"})
    ask = judge.narrowed(operation, Ask(fmt, ("moderate", "absorption"), options=options))

    def check(problem: Problem) -> None:
        asked = problem.replace(cotangent=None) if usage is Usage.SUMMED else problem
        judge.check(Question(operation, asked, usage.quantities, usage=usage))

    judge.search("usage", ask, check, max(FEWEST, judge.plan.effort.examples // 6))
