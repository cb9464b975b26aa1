"""A linear layer and its cross-entropy: the loss, and its gradients by the layer's features, weight and bias."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from adapters.layout import Layout
from adapters.operation import OF_LAYER, Operation
from adapters.question import Question
from reference.formats import Format
from reference.problem import Problem, layer_of
from reference.reduction import Reduction
from suites.inputs.layers import KINDS, Size, layer_of_kind
from suites.inputs.problems import DENSE, PICKING, Ask, tops
from suites.judging.judge import Judge

HAZARDS = ("moderate", "absorption", "underflow", "offset", "ties", "long_tail")
OPTIONS = frozenset({"reduction", "ignore_index", "class_weights", "label_smoothing"})

SIZES = ((5, 7, 3), (9, 33, 17), (17, 5, 33), (33, 17, 65), (65, 9, 129), (129, 5, 257), (3, 129, 2), (257, 7, 7))
"""Rows, classes and features, each one more than a tile has: a failure is told at the first that shows it."""

IN_A_SUM = 2**10 + 1
"""Rows of a sum and of a mean: a total over chunks that is kept in a half format stops growing at some hundred."""

CLASSES, WIDTH = SIZES[0][1:]


@pytest.mark.asks(*OF_LAYER, layer=True)
def test_linear_layer(judge: Judge, operation: Operation, fmt: Format) -> None:
    """The layer picks the logits of a hazard."""
    judge.search_claims("linear layer", operation, Ask(fmt, HAZARDS, options=OPTIONS, layer=PICKING), OF_LAYER)


@pytest.mark.asks(*OF_LAYER, layer=True)
def test_dense_layer(judge: Judge, operation: Operation, fmt: Format) -> None:
    """The products round; of the hazard only the number of rows and classes is used."""
    judge.search_claims("dense layer", operation, Ask(fmt, ("moderate",), options=OPTIONS, layer=DENSE), OF_LAYER)


@pytest.mark.asks(*OF_LAYER, layer=True)
def test_kinds_of_layers(judge: Judge, operation: Operation, fmt: Format) -> None:
    """Each kind once, whatever is drawn, with a label at the largest logit and two elsewhere."""
    for kind in KINDS:
        judge.check(Question(operation, judge.in_place_of(_of_kind(kind, fmt, operation.has_bias)), OF_LAYER))


@pytest.mark.asks(*OF_LAYER, layer=True)
def test_linear_layer_of_a_large_vocabulary(judge: Judge, operation: Operation, fmt: Format) -> None:
    ask = Ask(fmt, ("large_vocabulary",), layer=PICKING)
    judge.search_claims("large linear layer", operation, ask, OF_LAYER, examples=judge.plan.effort.large)


@pytest.mark.asks(*OF_LAYER, layer=True)
def test_frozen_parts(judge: Judge, operation: Operation, fmt: Format) -> None:
    """Each quantity alone: what is not asked for needs no gradient, and the loss alone is that of inference."""
    for quantity in OF_LAYER:
        judge.check(Question(operation, judge.in_place_of(_plain(fmt, SIZES[0], operation.has_bias)), (quantity,)))


@pytest.mark.asks(*OF_LAYER, layer=True)
def test_layer_layout(judge: Judge, operation: Operation, fmt: Format, layout: Layout) -> None:
    """The values of features and weight count, not where they lie."""
    judge.check(Question(operation, judge.in_place_of(_plain(fmt, SIZES[0], operation.has_bias)), OF_LAYER, layout))


@pytest.mark.asks(*OF_LAYER, layer=True)
def test_layer_of_many_rows(judge: Judge, operation: Operation, fmt: Format) -> None:
    """Many classes and features too; where every shape is compiled, the last size alone."""
    for size in SIZES[-1:] if operation.few_shapes else SIZES:
        judge.check(Question(operation, judge.in_place_of(_plain(fmt, size, operation.has_bias)), OF_LAYER))


@pytest.mark.asks(*OF_LAYER, layer=True)
@pytest.mark.parametrize("reduction", [Reduction.SUM, Reduction.MEAN])
def test_layer_reduced_over_many_rows(judge: Judge, operation: Operation, fmt: Format, reduction: Reduction) -> None:
    """The loss and the gradients by weight and bias are totals over the rows."""
    judge.check(Question(operation, judge.in_place_of(_totalled(fmt, reduction, operation.has_bias)), OF_LAYER))


@lru_cache(maxsize=64)
def _of_kind(kind: str, fmt: Format, bias: bool) -> Problem:
    layer = layer_of_kind(kind, Size(3, CLASSES, 16, fmt), seed=0)
    if not bias:
        del layer["bias"]
    problem = Problem.of_layer(layer, np.zeros(3, dtype=np.int64), fmt, cotangent=[1.0, -0.5, 2.0])
    return problem.replace(target=np.where([True, False, False], tops(problem.stored_logits), [0, 1, 2]))


@lru_cache(maxsize=64)
def _plain(fmt: Format, size: tuple[int, int, int], bias: bool) -> Problem:
    """Plain numbers with all their bits, kept as what is expected of them is.

    No two rows are alike that lie a chunk apart: their periods are primes. Logits are of a few units whatever the width.
    """
    rows, classes, width = size
    row, column, feature = np.arange(rows)[:, None], np.arange(classes)[:, None], np.arange(width)
    layer = {
        "features": fmt.round(((5 * row + 3 * feature) % 11 - 5) / 3.0),
        "weight": fmt.round(((7 * column + 2 * feature) % 13 - 6) / 5.0 / np.sqrt(width)),
    }
    if bias:
        layer["bias"] = fmt.round((column[:, 0] * 3 % 5 - 2) / 3.0)
    return Problem.of_layer(layer, row[:, 0] * 4 % classes, fmt, cotangent=(row[:, 0] % 3 + 1) / 2.0)


@lru_cache(maxsize=16)
def _totalled(fmt: Format, reduction: Reduction, bias: bool) -> Problem:
    """Features of one sign and one label, so that the totals grow from row to row."""
    plain = _plain(fmt, (IN_A_SUM, CLASSES, WIDTH), bias)
    features, target = np.abs(layer_of(plain).features), np.zeros_like(plain.target)
    return plain.replace(logits=None, features=features, target=target, reduction=reduction, cotangent=None)
