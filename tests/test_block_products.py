"""Backward passes of building blocks with a planted defect are rejected, and an honest one passes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from adapters.adapter import Call, Result
from adapters.numpy.backend import NumpyAdapter
from adapters.operation import Operation, building_block, differentiable
from adapters.question import Question
from reference import FLOAT32, Problem, Quantity
from reference.arithmetic import Arithmetic
from reference.formats import Floats
from reference.grades import Grade
from reference.quantity import PRODUCT_OF, ROW_PRODUCTS
from reference.weights import upstream_of
from suites.judging.claims import Claim, Claims, Scope
from suites.judging.effort import EFFORTS
from suites.judging.failure import JudgeFailed
from suites.judging.judge import Judge, Plan
from suites.test_loss import HAZARDS
from suites.test_loss import test_building_blocks as building_blocks
from suites.test_loss import test_derivatives_of_building_blocks as derivatives

LOG_SOFTMAX, SOFTMAX, LOGSUMEXP, ENTROPY = PRODUCT_OF
Backward = Callable[[Floats, Floats], Floats]
"""(probabilities, cotangent) -> the product: u is (N, K), or (N, 1) for a number a row."""


def surprise(p: Floats) -> Floats:
    """-log p, and 0 in the place of a class of probability 0."""
    return -np.log(np.where(p > 0, p, 1.0))


HONEST: dict[Quantity, Backward] = {
    LOG_SOFTMAX: lambda p, u: u - p * u.sum(1, keepdims=True),
    SOFTMAX: lambda p, u: p * (u - (p * u).sum(1, keepdims=True)),
    LOGSUMEXP: lambda p, u: u * p,
    ENTROPY: lambda p, u: u * p * (surprise(p) - (p * surprise(p)).sum(1, keepdims=True)),
}
PLANTED: list[tuple[str, Quantity, Backward]] = [
    ("hands the cotangent through", LOG_SOFTMAX, lambda p, u: u),
    ("takes the cotangent to sum to 1", LOG_SOFTMAX, lambda p, u: u - p),
    ("the mean in the place of the sum", LOG_SOFTMAX, lambda p, u: u - p * u.mean(1, keepdims=True)),
    ("one label in the place of many", LOG_SOFTMAX, lambda p, u: u - p * u[:, :1]),
    ("no inner product", SOFTMAX, lambda p, u: p * u),
    ("the inner product without probabilities", SOFTMAX, lambda p, u: p * (u - u.sum(1, keepdims=True))),
    ("the diagonal alone", SOFTMAX, lambda p, u: p * (1 - p) * u),
    ("no cotangent", LOGSUMEXP, lambda p, u: p + 0 * u),
    ("the first row's cotangent", LOGSUMEXP, lambda p, u: u[:1] * p),
    ("nothing, as if the entropy were detached", ENTROPY, lambda p, u: 0 * u * p),
    ("NaN at masked classes", ENTROPY, lambda p, u: HONEST[ENTROPY](p, u) + np.where(p > 0, 0, np.nan)),
    ("the logarithm alone", ENTROPY, lambda p, u: u * p * surprise(p)),
    ("the mean logarithm of the classes, not of the softmax", ENTROPY, lambda p, u: u * p * (surprise(p) - surprise(p).mean())),
    ("one with its sign turned", ENTROPY, lambda p, u: -HONEST[ENTROPY](p, u)),
    ("bits in the place of nats", ENTROPY, lambda p, u: HONEST[ENTROPY](p, u) / np.log(2)),
    ("probabilities that are detached", ENTROPY, lambda p, u: -u * (p - p * p.sum(1, keepdims=True))),
]


def probabilities(problem: Problem) -> Floats:
    """(N, K): the softmax, in float64."""
    powers = np.exp(problem.logits - problem.logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


class Blocks(NumpyAdapter):
    """A block whose value is right, by float64, with a backward pass of ours."""

    def __init__(self, block: Quantity, backward: Backward) -> None:
        super().__init__()
        arithmetic = {"float32": Arithmetic(FLOAT32, FLOAT32)}
        self.listed = (differentiable(building_block(block, "ours", None, arithmetic)),)
        self.backward, self.main = backward, (str(block),)

    def operations(self) -> tuple[Operation, ...]:
        return self.listed

    def call(self, question: Question) -> Call:
        problem, (quantity,) = question.problem, question.quantities
        u = upstream_of(problem) if quantity in ROW_PRODUCTS else problem.tangent
        assert u is not None
        product = self.backward(probabilities(problem), u)
        return Call({quantity: Result(FLOAT32.round(product), "float32", "cpu")})


class Entropies(Blocks):
    """An entropy of ours, of probabilities in float64."""

    def __init__(self, value: Callable[[Floats], Floats]) -> None:
        super().__init__(ENTROPY, HONEST[ENTROPY])
        self.value = value

    def call(self, question: Question) -> Call:
        value = self.value(probabilities(question.problem))
        return Call({ENTROPY: Result(FLOAT32.round(value), "float32", "cpu")})


def judged(block: Quantity, backward: Backward) -> tuple[Judge, Operation]:
    return judged_by(Blocks(block, backward), block)


def judged_by(adapter: Blocks, block: Quantity) -> tuple[Judge, Operation]:
    claim = Claim(Scope((str(block),), ("float32",)), {block: Grade.STABLE, PRODUCT_OF[block]: Grade.STABLE})
    plan = Plan(adapter, adapter.listed, (FLOAT32,), tuple(HAZARDS), (), Claims((claim,)), EFFORTS["quick"], 0, "")
    return Judge(plan), adapter.listed[0]


@pytest.mark.parametrize("block", HONEST)
def test_an_honest_backward_pass_is_stable(block: Quantity) -> None:
    derivatives(*judged(block, HONEST[block]), FLOAT32)


@pytest.mark.parametrize(("name", "block", "backward"), PLANTED, ids=lambda given: given if isinstance(given, str) else "")
def test_a_planted_backward_pass_is_rejected(name: str, block: Quantity, backward: Backward) -> None:
    with pytest.raises(JudgeFailed, match=f"{block}_vjp"):
        derivatives(*judged(block, backward), FLOAT32)


def test_an_honest_entropy_is_stable() -> None:
    building_blocks(*judged_by(Entropies(lambda p: (p * surprise(p)).sum(1)), ENTROPY), FLOAT32)


@pytest.mark.parametrize(
    "value",
    [
        lambda p: (p * surprise(p)).sum(1) / np.log(2),
        lambda p: np.where((p > 0).all(1), (p * surprise(p)).sum(1), np.nan),
        lambda p: p.max(1) * surprise(p.max(1)),
        lambda p: (p[:, 1:] * surprise(p[:, 1:])).sum(1),
        lambda p: surprise(p).mean(1),
        lambda p: np.full(len(p), np.log(p.shape[1])),
    ],
    ids=["bits", "NaN of a masked class", "maximum alone", "first class left out", "mean of the classes", "log K"],
)
def test_a_planted_entropy_is_rejected(value: Callable[[Floats], Floats]) -> None:
    with pytest.raises(JudgeFailed, match=r"entropy"):
        building_blocks(*judged_by(Entropies(value), ENTROPY), FLOAT32)


def test_a_log_softmax_that_hands_its_cotangent_through_fails_at_a_plain_row() -> None:
    problem = Problem([[1.0, 2.0, 3.0, 0.0]], [0], FLOAT32, tangent=[[1.0, 0.0, 2.0, 0.0]])
    asked = (Quantity.LOG_SOFTMAX_VJP,)
    judge, operation = judged(LOG_SOFTMAX, HONEST[LOG_SOFTMAX])
    judge.check(Question(operation, problem, asked))
    judge, operation = judged(LOG_SOFTMAX, PLANTED[0][2])
    with pytest.raises(JudgeFailed, match=r"log_softmax_vjp\[0, 2\]"):
        judge.check(Question(operation, problem, asked))
