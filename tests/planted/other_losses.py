"""Backends that are wrong in one loss beside plain cross-entropy: the reference's own values, or those of another question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from adapters.adapter import Call, Result
from adapters.operation import Operation
from adapters.question import Question
from reference.arithmetic import Arithmetic
from reference.evaluation import evaluate
from reference.formats import BFLOAT16, FLOAT32, FLOAT64, FORMATS, Floats
from reference.problem import Problem, layer_of
from reference.quantity import BUILDING_BLOCKS, Quantity
from tests.planted.kernel import Defect
from tests.planted.rounded import CorrectlyRounded

Kind = TypeVar("Kind", bound="WrongBackend")

_ARITHMETIC = {fmt.name: Arithmetic(fmt, FLOAT64 if fmt == FLOAT64 else FLOAT32) for fmt in FORMATS.values()}
"""Half precision in float32, as accelerators compute it."""


class WrongBackend(CorrectlyRounded):
    """One operation, for which one of the two methods at the end is not the right one."""

    defect: Defect
    operation = "sigmoid_probabilities"
    options: frozenset[str] = frozenset()

    def operations(self) -> tuple[Operation, ...]:
        return tuple(
            replace(operation, options=self.options, arithmetic=_ARITHMETIC)
            for operation in super().operations()
            if operation.name == self.operation
        )

    def call(self, question: Question) -> Call:
        results, problem = {}, question.problem
        for quantity in question.quantities:
            asked = replace(question, problem=self.asked(problem, quantity), quantities=(quantity,))
            right = super().call(asked).results[quantity]
            with np.errstate(all="ignore"):
                values = problem.format.round(self.answer(problem, quantity, right.values))
            results[quantity] = Result(values, right.dtype, right.device)
        return Call(results)

    def asked(self, problem: Problem, quantity: Quantity) -> Problem:
        """The problem that is solved."""
        return problem

    def answer(self, problem: Problem, quantity: Quantity, right: Floats) -> Floats:
        """What is returned in the place of the right values."""
        return right


def planted(category: str, story: str, test: str, says: str = "", **more: str) -> Callable[[type[Kind]], type[Kind]]:
    """Makes a class a backend on trial; the arguments are those of Defect."""

    def plant(kind: type[Kind]) -> type[Kind]:
        kind.defect = Defect(category, story, test, says, **more)
        return kind

    return plant


@planted(
    "gradient",
    "a z-loss adds to the loss and has no gradient",
    "test_options or test_case",
    link="https://github.com/Dao-AILab/flash-attention/issues/1817",
)
class ZLossWithoutGradient(WrongBackend):
    operation = "cross_entropy_indices"
    options = frozenset({"z_loss"})

    def asked(self, problem: Problem, quantity: Quantity) -> Problem:
        return problem if quantity is Quantity.LOSS else problem.replace(z_loss=0.0)


@planted(
    "tiles",
    "a softcap is applied to lanes beyond the row, which it lifts from -inf to -c",
    "test_options or test_case",
    link="https://github.com/unslothai/unsloth/pull/10616",
)
class CapsPadding(WrongBackend):
    operation = "cross_entropy_indices"
    options = frozenset({"logit_softcap"})

    def asked(self, problem: Problem, quantity: Quantity) -> Problem:
        if quantity is not Quantity.LOSS or problem.logit_softcap is None:
            return problem
        padding = np.full((problem.num_rows, -problem.num_classes % 4), -problem.format.largest)
        return problem.replace(logits=np.hstack([problem.logits, padding]), tangent=None)


@planted("scale", "the softcap comes first, and what it leaves is scaled", "test_options or test_case")
class CapsBeforeTheScale(WrongBackend):
    operation = "cross_entropy_indices"
    options = frozenset({"logit_scale", "logit_softcap"})

    def asked(self, problem: Problem, quantity: Quantity) -> Problem:
        if problem.logit_softcap is None:
            return problem
        return problem.replace(logit_scale=1.0, temperature=1.0 / problem.logit_scale)


@planted("scale", "the backward pass forgets the scale of the logits", "test_options or test_case")
class ScaleWithoutGradient(WrongBackend):
    operation = "cross_entropy_indices"
    options = frozenset({"logit_scale"})

    def answer(self, problem: Problem, quantity: Quantity, right: Floats) -> Floats:
        return right / problem.logit_scale if quantity is Quantity.GRADIENT else right


@planted(
    "shards", "the last layer forgets its bias", "test_linear_layer", link="https://github.com/apple/ml-cross-entropy/issues/52"
)
class DropsBias(WrongBackend):
    operation = "layer"

    def asked(self, problem: Problem, quantity: Quantity) -> Problem:
        return problem.replace(bias=None)


@planted(
    "half",
    "the gradient of the layer's weights is added up over chunks of rows in bfloat16",
    "test_case",
    dtype="bfloat16",
    link="https://github.com/axolotl-ai-cloud/axolotl/pull/1601",
)
class AddsChunksInBfloat16(WrongBackend):
    operation = "layer"

    def answer(self, problem: Problem, quantity: Quantity, right: Floats) -> Floats:
        gradient = evaluate(problem, (Quantity.GRADIENT,))[Quantity.GRADIENT].values.approximate()
        if quantity is Quantity.FEATURE_GRADIENT:
            return right
        features = layer_of(problem).features if quantity is Quantity.WEIGHT_GRADIENT else np.ones((problem.num_rows, 1))
        total = np.zeros((problem.num_classes, features.shape[1]))
        for row, feature in zip(gradient, features, strict=True):
            total = BFLOAT16.round(total + np.outer(row, feature))
        return total.reshape(right.shape)


@planted(
    "sigmoid",
    "log(sigmoid(x)) and log(1 - sigmoid(x)): infinite, or 0, for large logits",
    "test_loss or test_absorption",
    link="https://github.com/huggingface/candle/issues/2561",
)
class LogOfSigmoid(WrongBackend):
    def answer(self, problem: Problem, quantity: Quantity, right: Floats) -> Floats:
        if quantity is not Quantity.LOSS:
            return right
        x, y = problem.logits, problem.target
        p = 1 / (1 + np.exp(-x))
        return (np.where(y == 0, 0.0, -y * np.log(p)) - np.where(y == 1, 0.0, (1 - y) * np.log(1 - p)))[:, 0]


@planted(
    "sigmoid",
    "the gradient is exp(-x) / (1 + exp(-x)): inf / inf for a logit far below 0",
    "test_gradient or test_absorption",
    dtype="float64",
    link="https://github.com/scikit-learn/scikit-learn/issues/28046",
)
class QuotientOverflows(WrongBackend):
    def answer(self, problem: Problem, quantity: Quantity, right: Floats) -> Floats:
        overflows = np.isinf(np.exp(-problem.logits)) & np.isfinite(problem.logits)
        return np.where(overflows, np.nan, right) if quantity is Quantity.GRADIENT else right


@planted(
    "sigmoid",
    "|x| and max(x, 0) have a derivative of 0 at 0: the gradient there is -y",
    "test_case",
    link="https://github.com/pytorch/pytorch/pull/1792",
)
class NoSlopeAtZero(WrongBackend):
    def answer(self, problem: Problem, quantity: Quantity, right: Floats) -> Floats:
        at_zero = problem.logits == 0
        return np.where(at_zero, -problem.target * problem.upstream[:, None], right) if quantity is Quantity.GRADIENT else right


@planted(
    "no classes",
    "softmax and log_softmax of no logits raise, and logsumexp of none is -inf",
    "test_no_classes",
    "logsumexp answers: all answer, or all raise",
    link="https://github.com/scipy/scipy/issues/20399",
)
class RefusesNoClasses(WrongBackend):
    def operations(self) -> tuple[Operation, ...]:
        return tuple(op for op in CorrectlyRounded.operations(self) if op.quantities[0] in BUILDING_BLOCKS)

    def call(self, question: Question) -> Call:
        if question.quantities == (Quantity.LOGSUMEXP,) and not question.problem.num_classes:
            return Call({Quantity.LOGSUMEXP: Result(np.array([-np.inf]), question.problem.format.name, "cpu")})
        return super().call(question)
