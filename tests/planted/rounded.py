"""Backends that return the reference's own values, correctly or faithfully rounded: whoever rejects them cries wolf.

Backend and judge may share what is owed (`tests.planted.shared`): what is on trial is the judging, not the oracle.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from adapters.adapter import Adapter, Call, Result
from adapters.operation import LOSS_QUANTITIES, OF_PROBABILITIES, Operation, building_block, differentiable
from adapters.question import Question
from reference.arithmetic import Arithmetic
from reference.enclosure import Enclosure
from reference.formats import FORMATS, Floats, Format
from reference.loss import Loss
from reference.options import OPTIONS
from reference.quantity import BUILDING_BLOCKS, LAYER_GRADIENTS, Quantity
from tests.planted.shared import evaluated

_ARITHMETIC = {fmt.name: Arithmetic(fmt, fmt) for fmt in FORMATS.values()}


def _of_loss(loss: Loss) -> list[Operation]:
    """An operation for each kind of target of a loss, with every option that it has."""
    kinds = [False] * loss.spec.takes_indices + [True] * loss.spec.takes_probabilities
    return [
        Operation(
            f"{loss}_{'probabilities' if probabilities else 'indices'}",
            "the reference's own value",
            None,
            _ARITHMETIC,
            quantities=OF_PROBABILITIES if probabilities and loss.spec.is_log_probability else LOSS_QUANTITIES,
            probabilities=probabilities,
            loss=loss,
            options=frozenset(name for name, option in OPTIONS.items() if option.is_taken_by(loss)),
        )
        for probabilities in kinds
    ]


class CorrectlyRounded(Adapter):
    """The number nearest to the true value."""

    name = "correctly_rounded"

    def devices(self) -> tuple[str, ...]:
        return ("cpu",)

    def versions(self) -> dict[str, str]:
        return {self.name: "1"}

    def operations(self) -> tuple[Operation, ...]:
        losses = [operation for loss in Loss for operation in _of_loss(loss)]
        blocks = [
            differentiable(building_block(quantity, "the reference's own value", None, _ARITHMETIC))
            for quantity in BUILDING_BLOCKS
        ]
        layer = Operation("layer", "the reference's own value", None, _ARITHMETIC, quantities=LAYER_GRADIENTS)
        diagonal = replace(
            _of_loss(Loss.CROSS_ENTROPY)[0], name="diagonal", quantities=(Quantity.LOSS, Quantity.HESSIAN_DIAGONAL)
        )
        return (*losses, *blocks, layer, diagonal)

    def call(self, question: Question) -> Call:
        problem = question.problem
        problem.replace()  # validated anew: labels out of range and rows of no classes raise
        results = {}
        for quantity, expected in evaluated(problem, question.quantities).items():
            # Undecided are a midpoint and a tail too small to see: either neighbour is as right as can be told.
            values, _ = expected.values.rounded(problem.format)
            results[quantity] = Result(self.returned(values, expected.values, problem.format), problem.format.name, "cpu")
        return Call(results)

    def returned(self, rounded: Floats, true: Enclosure, fmt: Format) -> Floats:
        return rounded


class FaithfullyRounded(CorrectlyRounded):
    """The number on the other side of the true value; the nearest where that is 0, infinite or the value itself.

    So is it where the enclosure reaches from one side of the nearest number to the other.
    """

    name = "faithfully_rounded"

    def returned(self, rounded: Floats, true: Enclosure, fmt: Format) -> Floats:
        finite = np.isfinite(rounded) & np.isfinite(true.hi)
        nearest = np.where(finite, rounded, 1.0)
        with np.errstate(over="ignore", under="ignore"):
            apart = np.where(finite, (true.hi - np.ldexp(nearest, -true.exponent.astype(np.int32))) + true.lo, 0.0)
        is_open = (np.abs(apart) <= true.radius) & (np.sign(apart) * true.side <= 0)
        side = np.where(apart == 0, true.side, np.where(is_open, 0, np.sign(apart)))
        other = np.where(side > 0, fmt.next_up(nearest), np.where(side < 0, fmt.next_down(nearest), nearest))
        return np.where(finite & np.isfinite(other) & (other != 0) & (rounded != 0), other, rounded)


class BothWays(CorrectlyRounded):
    """Both as modes of each operation, nearest and neighbour: what is generated and owed serves the two."""

    name = "both_ways"

    def __init__(self, device: str = "cpu") -> None:
        super().__init__(device)
        self.modes = {"nearest": CorrectlyRounded(device), "neighbour": FaithfullyRounded(device)}

    def operations(self) -> tuple[Operation, ...]:
        return tuple(replace(operation, mode=mode) for operation in super().operations() for mode in self.modes)

    def call(self, question: Question) -> Call:
        return self.modes[question.operation.mode].call(question)
