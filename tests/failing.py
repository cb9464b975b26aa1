"""A backend that fails every test of the suites, by an operation for each way to fail."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from adapters.adapter import Call, Observed, Result
from adapters.bulk import Bulk
from adapters.operation import LOSS_QUANTITIES, Operation, building_block, differentiable
from adapters.question import Question, shape_of
from adapters.usage import PLAIN_ONLY, Usage
from reference.arithmetic import Arithmetic
from reference.formats import FORMATS, Floats
from reference.loss import Loss
from reference.problem import Problem
from reference.quantity import LAYER_GRADIENTS, Quantity
from tests.planted.rounded import CorrectlyRounded

_ARITHMETIC = {fmt.name: Arithmetic(fmt, fmt) for fmt in FORMATS.values()}
_FIRST_ORDER = (Quantity.LOSS, Quantity.GRADIENT)


def _named(name: str, quantities: tuple[Quantity, ...] = LOSS_QUANTITIES) -> Operation:
    return Operation(name, f"{name}(x, index)", None, _ARITHMETIC, quantities, options=frozenset({"reduction"}))


OPERATIONS = (
    replace(_named("wrong"), label_dtypes=("int64", "int32")),
    replace(_named("wrong_sigmoid"), loss=Loss.SIGMOID, probabilities=True),
    differentiable(building_block(Quantity.LOG_SOFTMAX, "wrong", None, _ARITHMETIC, "wrong_block")),
    _named("wrong_layer", LAYER_GRADIENTS),
    *(_named(name) for name in ("changing", "right")),
    *(_named(name, _FIRST_ORDER) for name in ("refusing", "ending", "raising", "misshapen", "at_once", "forgetful")),
)


def _loss(x: Floats) -> Floats:
    """Negative, and another one when all logits are shifted."""
    return -7.0 - np.nan_to_num(x, posinf=0.0, neginf=0.0)[:, :1].sum(axis=1)


def _gradient(x: Floats) -> Floats:
    """Of places and of the number of rows; it sums to less than 0."""
    return np.broadcast_to(-3.0 - np.arange(x.shape[1]) - len(x), x.shape)


def _hessian(x: Floats) -> Floats:
    """Neither symmetric nor positive."""
    j = np.arange(x.shape[1])
    return np.broadcast_to(j[:, None] - 2.0 * j - 5.0, (len(x), x.shape[1], x.shape[1]))


WRONG: dict[Quantity, Callable[[Floats], Floats]] = {
    Quantity.LOSS: _loss,
    Quantity.GRADIENT: _gradient,
    Quantity.HESSIAN: _hessian,
    Quantity.HVP: _gradient,
    Quantity.LOG_SOFTMAX: _gradient,
    Quantity.LOG_SOFTMAX_VJP: _gradient,
}


class Failing(CorrectlyRounded):
    """Each does what its name says; `at_once` is wrong of many rows asked together, `forgetful` where results are kept."""

    name = "failing"

    def __init__(self, device: str = "cpu") -> None:
        super().__init__(device)
        self.calls = 0

    def operations(self) -> tuple[Operation, ...]:
        return OPERATIONS

    def usages(self, operation: Operation) -> tuple[Usage, ...]:
        return (Usage.PLAIN, Usage.KEPT) if operation.name in ("forgetful", "wrong_layer") else PLAIN_ONLY

    def call(self, question: Question) -> Call:
        operation, problem = question.operation, question.problem
        self.calls += 1
        if operation.name == "raising" and self.calls % 2:
            raise ValueError("not\nnow")
        if operation.name == "ending":
            sys.exit(3)
        if operation.name == "refusing" and (problem.logits > 0).any():
            raise NotImplementedError("too hard")
        if operation.name == "forgetful" and question.usage is Usage.PLAIN:
            return super().call(question)
        if operation.name in ("right", "raising", "refusing", "at_once"):
            return super().call(question)
        return Call({q: Result(self.wrong(operation, problem, q), problem.format.name, "cpu") for q in question.quantities})

    def wrong(self, operation: Operation, problem: Problem, quantity: Quantity) -> Floats:
        if quantity in LAYER_GRADIENTS:
            return np.full(shape_of(quantity, problem), 9.0)
        values = WRONG[quantity](problem.logits)
        if quantity is Quantity.LOSS:
            values = values - self.calls % 2 if operation.name == "changing" else values
            values = values[:, None] if operation.name == "misshapen" else values
            values = values if problem.reduction == "none" else values.sum()
        return problem.format.round(values)

    def observe_bulk(self, operation: Operation, bulk: Bulk, quantities: tuple[Quantity, ...]) -> Observed:
        x = bulk.logits.astype(np.float64)
        return Observed({quantity: bulk.format.round(WRONG[quantity](x)) for quantity in quantities})
