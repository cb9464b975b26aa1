"""Calls in sequences, as training makes them: what a kernel keeps between two calls shows in neither of them alone."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import numpy as np

from adapters.operation import Operation
from adapters.question import Question
from adapters.usage import Usage
from reference.formats import Format
from reference.problem import Problem
from suites.inputs.problems import Ask
from suites.judging.judge import Judge
from suites.judging.refusals import PassedOver

FEWEST, FEWEST_COMPILED = 3, 2
"""Generated problems of a usage at the least effort: a kernel with state fails at most of them."""


def test_usage(judge: Judge, operation: Operation, fmt: Format, usage: Usage) -> None:
    """The values count, not the calls around them."""
    options = frozenset({"row_weights", "normaliser"}) | (set() if usage is Usage.SUMMED else {"reduction"})
    ask = judge.narrowed(operation, Ask(fmt, ("moderate", "absorption"), options=options))

    def check(problem: Problem) -> None:
        asked = problem.replace(cotangent=None) if usage is Usage.SUMMED else problem
        judge.check(Question(operation, asked, usage.quantities, usage=usage))

    with suppress(PassedOver):
        check(judge.in_place_of(_unlike_rows(ask)))
    fewest = FEWEST_COMPILED if operation.few_shapes else FEWEST
    judge.search("usage", operation, ask, check, max(fewest, judge.plan.effort.examples * fewest // 20))


def _unlike_rows(ask: Ask) -> Problem:
    """A small batch whose logits, targets and cotangents differ from row to row, and from those of the other batch."""
    rows = min(3, ask.max_rows)
    classes = 1 if ask.loss.spec.binary else ask.classes_multiple * math.ceil(6 / ask.classes_multiple)
    labels = np.arange(4, 4 - rows, -1) % classes
    target: Any = labels
    if ask.loss.spec.binary:
        target = np.resize([1.0, 0.0], (rows, 1))
    elif ask.probabilities:
        target = (np.eye(classes)[labels] + np.eye(classes)[labels - 1]) / 2
    logits = np.resize([0.75, -1.5, 2.25, 0.5, -3.0, 1.25, -0.125], (rows, classes))
    return Problem(logits, target, ask.format, loss=ask.loss, cotangent=np.array([2.0, -0.5, 3.0])[:rows])
