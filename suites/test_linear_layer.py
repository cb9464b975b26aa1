"""A linear layer and its cross-entropy: the loss, and its gradients by the layer's features, weight and bias."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from adapters.layout import Layout
from adapters.operation import OF_LAYER, Operation
from adapters.question import Question
from reference.formats import Format
from reference.problem import Problem
from reference.reduction import Reduction
from suites.inputs.problems import DENSE, PICKING, Ask
from suites.judging.judge import Judge

HAZARDS = ("moderate", "absorption", "underflow", "offset", "ties", "long_tail")
OPTIONS = frozenset({"reduction", "ignore_index", "class_weights", "label_smoothing"})

ROWS = (5, 9, 17, 33, 65, 129, 257)
"""One row more than a chunk has: a failure is told at the first that shows it."""

IN_A_SUM = 2**10 + 1
"""Rows of a sum and of a mean: a total over chunks that is kept in a half format stops growing at some hundred."""

CLASSES, WIDTH = 7, 3


@pytest.mark.asks(*OF_LAYER, layer=True)
def test_linear_layer(judge: Judge, operation: Operation, fmt: Format) -> None:
    """The layer picks the logits of a hazard."""
    judge.search_claims("linear layer", operation, Ask(fmt, HAZARDS, options=OPTIONS, layer=PICKING), OF_LAYER)


@pytest.mark.asks(*OF_LAYER, layer=True)
def test_dense_layer(judge: Judge, operation: Operation, fmt: Format) -> None:
    """The products round; of the hazard only the number of rows and classes is used."""
    judge.search_claims("dense layer", operation, Ask(fmt, ("moderate",), options=OPTIONS, layer=DENSE), OF_LAYER)


@pytest.mark.asks(*OF_LAYER, layer=True)
def test_linear_layer_of_a_large_vocabulary(judge: Judge, operation: Operation, fmt: Format) -> None:
    ask = Ask(fmt, ("large_vocabulary",), layer=PICKING)
    judge.search_claims("large linear layer", operation, ask, OF_LAYER, examples=judge.plan.effort.large)


@pytest.mark.asks(*OF_LAYER, layer=True)
def test_frozen_parts(judge: Judge, operation: Operation, fmt: Format) -> None:
    """Each quantity alone: what is not asked for needs no gradient, and the loss alone is that of inference."""
    for quantity in OF_LAYER:
        judge.check(Question(operation, judge.in_place_of(_plain(fmt, 5, operation.has_bias)), (quantity,)))


@pytest.mark.asks(*OF_LAYER, layer=True)
def test_layer_layout(judge: Judge, operation: Operation, fmt: Format, layout: Layout) -> None:
    """The values of features and weight count, not where they lie."""
    judge.check(Question(operation, judge.in_place_of(_plain(fmt, 5, operation.has_bias)), OF_LAYER, layout))


@pytest.mark.asks(*OF_LAYER, layer=True)
def test_layer_of_many_rows(judge: Judge, operation: Operation, fmt: Format) -> None:
    """Where every shape is compiled, the largest batch alone."""
    for rows in ROWS[-1:] if operation.few_shapes else ROWS:
        judge.check(Question(operation, judge.in_place_of(_plain(fmt, rows, operation.has_bias)), OF_LAYER))


@pytest.mark.asks(*OF_LAYER, layer=True)
@pytest.mark.parametrize("reduction", [Reduction.SUM, Reduction.MEAN])
def test_layer_reduced_over_many_rows(judge: Judge, operation: Operation, fmt: Format, reduction: Reduction) -> None:
    """The loss and the gradients by weight and bias are totals over the rows."""
    judge.check(Question(operation, judge.in_place_of(_totalled(fmt, reduction, operation.has_bias)), OF_LAYER))


@lru_cache(maxsize=64)
def _plain(fmt: Format, rows: int, bias: bool) -> Problem:
    """Plain rows, of which no two are alike that lie a chunk apart: their periods are primes. Kept, as what is expected is."""
    row, column, feature = np.arange(rows)[:, None], np.arange(CLASSES)[:, None], np.arange(WIDTH)
    layer = {
        "features": (5 * row + 3 * feature) % 11 / 4.0 - 1.25,
        "weight": (7 * column + 2 * feature) % 13 / 4.0 - 1.5,
    }
    if bias:
        layer["bias"] = column[:, 0] * 3 % 5 / 2.0 - 1.0
    return Problem.of_layer(layer, row[:, 0] * 4 % CLASSES, fmt, cotangent=(row[:, 0] % 3 + 1) / 2.0)


@lru_cache(maxsize=16)
def _totalled(fmt: Format, reduction: Reduction, bias: bool) -> Problem:
    return _plain(fmt, IN_A_SUM, bias).replace(reduction=reduction, cotangent=None)
