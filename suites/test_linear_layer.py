"""A linear layer and its cross-entropy: the loss, and its gradients by the layer's features, weight and bias."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from adapters.layout import Layout
from adapters.operation import OF_LAYER, Operation
from adapters.question import Question
from adapters.usage import Usage
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
        judge.check(Question(operation, judge.in_place_of(_of_kind(operation, fmt, kind)), OF_LAYER))


@pytest.mark.asks(*OF_LAYER, layer=True)
def test_linear_layer_of_a_large_vocabulary(judge: Judge, operation: Operation, fmt: Format) -> None:
    ask = Ask(fmt, ("large_vocabulary",), layer=PICKING)
    judge.search_claims("large linear layer", operation, ask, OF_LAYER, examples=judge.plan.effort.large)


@pytest.mark.asks(*OF_LAYER, layer=True)
def test_frozen_parts(judge: Judge, operation: Operation, fmt: Format) -> None:
    """Each quantity alone: what is not asked for needs no gradient, and the loss alone is that of inference."""
    for quantity in OF_LAYER:
        judge.check(Question(operation, judge.in_place_of(_plain(operation, fmt, SIZES[0])), (quantity,)))


@pytest.mark.asks(*OF_LAYER, layer=True)
def test_layer_layout(judge: Judge, operation: Operation, fmt: Format, layout: Layout) -> None:
    """The values of features and weight count, not where they lie."""
    judge.check(Question(operation, judge.in_place_of(_plain(operation, fmt, SIZES[0])), OF_LAYER, layout))


@pytest.mark.asks(*OF_LAYER, layer=True)
def test_layer_usage(judge: Judge, operation: Operation, fmt: Format, usage: Usage) -> None:
    """The values count, not the calls around them: what a kernel keeps of a call, a gradient perhaps, shows here."""
    problem = judge.in_place_of(_plain(operation, fmt, SIZES[0]))
    asked = problem.replace(cotangent=None) if usage is Usage.SUMMED else problem
    judge.check(Question(operation, asked, operation.quantities_in(usage), usage=usage))


@pytest.mark.asks(*OF_LAYER, layer=True)
def test_layer_of_many_rows(judge: Judge, operation: Operation, fmt: Format) -> None:
    """Many classes and features too; where every shape is compiled, the last size alone."""
    for size in SIZES[-1:] if operation.few_shapes else SIZES:
        judge.check(Question(operation, judge.in_place_of(_plain(operation, fmt, size)), OF_LAYER))


@pytest.mark.asks(*OF_LAYER, layer=True)
@pytest.mark.parametrize("reduction", [Reduction.SUM, Reduction.MEAN])
def test_layer_reduced_over_many_rows(judge: Judge, operation: Operation, fmt: Format, reduction: Reduction) -> None:
    """The loss and the gradients by weight and bias are totals over the rows: those without a reduction too."""
    if "reduction" not in operation.options:
        if reduction is Reduction.MEAN:
            pytest.skip(f"{operation.name} has no reduction")
        reduction = Reduction.NONE
    judge.check(Question(operation, judge.in_place_of(_totalled(operation, fmt, reduction)), OF_LAYER))


def _of_kind(operation: Operation, fmt: Format, kind: str) -> Problem:
    return _made_of_kind(kind, Size(3, operation.classes_from(CLASSES), 16, fmt), operation.has_bias)


@lru_cache(maxsize=64)
def _made_of_kind(kind: str, size: Size, bias: bool) -> Problem:
    layer = layer_of_kind(kind, size, seed=0)
    if not bias:
        del layer["bias"]
    problem = Problem.of_layer(layer, np.zeros(3, dtype=np.int64), size.format, cotangent=[1.0, -0.5, 2.0])
    return problem.replace(target=np.where([True, False, False], tops(problem.stored_logits), [0, 1, 2]))


def _plain(operation: Operation, fmt: Format, size: tuple[int, int, int]) -> Problem:
    rows, classes, width = size
    return _made(Size(rows, operation.classes_from(classes), width, fmt), operation.has_bias)


@lru_cache(maxsize=64)
def _made(size: Size, bias: bool) -> Problem:
    """Plain numbers with all their bits, kept as what is expected of them is.

    No two rows are alike that lie a chunk apart: their periods are primes. Logits are of a few units whatever the width.
    """
    row, column, feature = np.arange(size.rows)[:, None], np.arange(size.classes)[:, None], np.arange(size.width)
    layer = {
        "features": size.format.round(((5 * row + 3 * feature) % 11 - 5) / 3.0),
        "weight": size.format.round(((7 * column + 2 * feature) % 13 - 6) / 5.0 / np.sqrt(size.width)),
    }
    if bias:
        layer["bias"] = size.format.round((column[:, 0] * 3 % 5 - 2) / 3.0)
    return Problem.of_layer(layer, row[:, 0] * 4 % size.classes, size.format, cotangent=(row[:, 0] % 3 + 1) / 2.0)


def _totalled(operation: Operation, fmt: Format, reduction: Reduction) -> Problem:
    return _made_totalled(Size(IN_A_SUM, operation.classes_from(CLASSES), WIDTH, fmt), operation.has_bias, reduction)


@lru_cache(maxsize=16)
def _made_totalled(size: Size, bias: bool, reduction: Reduction) -> Problem:
    """Features of one sign and one label, so that the totals grow from row to row."""
    plain = _made(size, bias)
    features, target = np.abs(layer_of(plain).features), np.zeros_like(plain.target)
    return plain.replace(logits=None, features=features, target=target, reduction=reduction, cotangent=None)
