"""The gradient by the target: its special values, that a loss is linear in its labels, and planted kernels of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.adapter import Call, Result
from adapters.numpy.backend import NumpyAdapter
from adapters.operation import OF_PROBABILITIES, Operation
from adapters.question import Question
from reference import FLOAT32, FLOAT64, Problem, Quantity, evaluate, tolerance
from reference.arithmetic import Arithmetic
from reference.bounds.domain import Domain
from reference.formats import Floats
from reference.grades import Grade
from reference.special_values import Requirement
from suites.judging.claims import Claim, Claims, Scope
from suites.judging.effort import EFFORTS
from suites.judging.failure import JudgeFailed
from suites.judging.judge import Judge, Plan
from suites.test_gradient import test_gradient as hazards
from suites.test_loss import HAZARDS
from suites.test_pairs import test_sizes as sizes

LOSS, BY_TARGET = Quantity.LOSS, Quantity.TARGET_GRADIENT
INF, NAN = np.inf, np.nan
MUST, LIMIT, REPORTED = Requirement.MUST, Requirement.LIMIT_OR_NAN, Requirement.UNSPECIFIED

SPECIAL: list[tuple[str, list[float], dict[str, Any], list[float], list[Requirement]]] = [
    ("one class", [3.0], {}, [0.0], [MUST]),
    ("masked", [0.0, -INF], {}, [0.0, INF], [MUST] * 2),
    ("masked, below 0", [0.0, -INF], {"cotangent": [-2.0]}, [0.0, -INF], [MUST] * 2),
    ("masked, of no weight", [0.0, -INF], {"class_weights": [1.0, 0.0]}, [0.0, 0.0], [MUST, LIMIT]),
    ("masked, smoothed away", [0.0, -INF], {"label_smoothing": 1.0}, [0.0, 0.0], [MUST, LIMIT]),
    ("masked, in a row of no weight", [0.0, -INF], {"row_weights": [0.0]}, [0.0, 0.0], [MUST, LIMIT]),
    ("masked behind a softcap", [INF, -INF], {"logit_softcap": 400.0}, [0.0, 800.0], [MUST] * 2),
    ("NaN", [0.0, NAN], {}, [NAN, NAN], [MUST] * 2),
    ("infinite", [INF, 0.0], {}, [0.0, INF], [LIMIT] * 2),
    ("nothing", [-INF, -INF], {}, [NAN, NAN], [REPORTED] * 2),
    ("no labels", [0.0, -800.0], {"label": 0.0}, [0.0, 800.0], [MUST] * 2),
]


@pytest.mark.parametrize("case", SPECIAL, ids=lambda case: case[0])
def test_special_values(case: tuple[str, list[float], dict[str, Any], list[float], list[Requirement]]) -> None:
    _, logits, given_options, owed, requirement = case
    options = dict(given_options)
    label = options.pop("label", 1.0)
    found = evaluate(Problem([logits], [[label] * len(logits)], FLOAT32, **options), [BY_TARGET])[BY_TARGET]
    np.testing.assert_array_equal(found.values.rounded(FLOAT32)[0], [owed])
    assert found.requirement.tolist() == [requirement]


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (
            Problem([[0.0, 1.0]], [0], FLOAT32),
            "target_gradient of cross_entropy of class indices; allowed: cross_entropy of prob",
        ),
        (
            Problem([[0.0, 1.0]], [[0.5, 0.5]], FLOAT32, loss="kl_divergence"),
            "target_gradient of kl_divergence of probabilities",
        ),
    ],
    ids=["indices", "another loss"],
)
def test_it_is_refused_where_it_is_not_defined(problem: Problem, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        evaluate(problem, [BY_TARGET])


def test_it_has_no_recommended_tolerance() -> None:
    with pytest.raises(ValueError, match="quantity is 'target_gradient'; allowed: loss, gradient, hessian"):
        tolerance(BY_TARGET, Grade.STABLE, Arithmetic(FLOAT32, FLOAT32), Domain(classes=10, gap=10.0))


@st.composite
def soft_problems(draw: st.DrawFn) -> Problem:
    """A few classes with labels, weights and all that multiplies a row."""
    classes, rows = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    numbers = st.integers(-40, 40).map(lambda n: n / 4)
    table = st.lists(st.lists(numbers, min_size=classes, max_size=classes), min_size=rows, max_size=rows)
    shares = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    labels = draw(st.lists(st.lists(shares, min_size=classes, max_size=classes), min_size=rows, max_size=rows))
    options: dict[str, Any] = {
        "reduction": draw(st.sampled_from(["none", "sum", "mean"])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.25])),
        "class_weights": draw(st.none() | st.lists(shares, min_size=classes, max_size=classes)),
        "row_weights": draw(st.none() | st.lists(shares, min_size=rows, max_size=rows)),
        "normaliser": draw(st.none() | st.just(3.0)),
        "temperature": draw(st.sampled_from([1.0, 0.75])),
        "z_loss": draw(st.sampled_from([0.0, 0.5])),
        "logit_softcap": draw(st.none() | st.just(5.0)),
    }
    return Problem(draw(table), labels, FLOAT64, **options)


@given(soft_problems())
def test_the_loss_is_linear_in_the_labels(problem: Problem) -> None:
    """A label that is 1 larger changes the loss by the derivative: by another route, that of the loss."""
    slopes = evaluate(problem, [BY_TARGET])[BY_TARGET].values.approximate()
    for row, column in np.ndindex(problem.target.shape):
        moved = problem.target.copy()
        moved[row, column] += 1.0
        before, after = (evaluate(p, [LOSS])[LOSS].values.approximate().sum() for p in (problem, problem.replace(target=moved)))
        assert abs(after - before - slopes[row, column]) <= 2.0**-46 * (1 + abs(after))


# ---------------------------------------------------------------------------------------------------------------------
# Planted kernels.

Backward = Callable[[Floats, Floats, Floats], Floats]
"""(log-probabilities, labels, cotangent (N, 1)) -> the gradient by the labels."""

PLANTED: dict[str, Backward] = {
    "of the other sign": lambda logs, q, u: u * logs,
    "without the cotangent": lambda logs, q, u: -logs + 0 * u,
    "the first row's cotangent": lambda logs, q, u: -u[:1] * logs,
    "nothing at a label of 0": lambda logs, q, u: np.where(q == 0, 0.0, -u * logs),
    "the loss's terms": lambda logs, q, u: -u * q * logs,
    "probabilities in the place of their logarithms": lambda logs, q, u: u * np.exp(logs),
    "centred": lambda logs, q, u: -u * (logs - logs.mean(axis=1, keepdims=True)),
    "as if the labels added up to 1": lambda logs, q, u: -u * (logs - logs[:, :1]),
    "cut off": lambda logs, q, u: u * np.minimum(-logs, 100.0),
}


class Labelled(NumpyAdapter):
    """A loss that is right, by float64, with a gradient by the labels of ours."""

    main = ("ours",)

    def __init__(self, backward: Backward) -> None:
        super().__init__()
        self.backward = backward
        arithmetic = {"float32": Arithmetic(FLOAT32, FLOAT32)}
        self.listed = (Operation("ours", "ours", None, arithmetic, quantities=OF_PROBABILITIES, probabilities=True),)

    def operations(self) -> tuple[Operation, ...]:
        return self.listed

    def call(self, question: Question) -> Call:
        problem = question.problem
        expected = evaluate(problem, question.quantities)
        values = {q: each.values.rounded(FLOAT32)[0] for q, each in expected.items()}
        if BY_TARGET in values:
            shifted = problem.logits - problem.logits.max(axis=1, keepdims=True)
            logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            upstream = np.broadcast_to(problem.upstream, (problem.num_rows,))[:, None]
            values[BY_TARGET] = FLOAT32.round(self.backward(logs, problem.target, upstream))
        return Call({q: Result(value, "float32", "cpu") for q, value in values.items()})


def judged(backward: Backward) -> tuple[Judge, Operation]:
    adapter = Labelled(backward)
    claim = Claim(
        Scope(("ours",), ("float32",)), {LOSS: Grade.STABLE, Quantity.GRADIENT: Grade.STABLE, BY_TARGET: Grade.STABLE}
    )
    plan = Plan(adapter, adapter.listed, (FLOAT32,), tuple(HAZARDS), (), Claims((claim,)), EFFORTS["quick"], 0, "")
    return Judge(plan), adapter.listed[0]


def search(backward: Backward) -> None:
    """By extreme rows, then by the pairs of sizes, targets and cotangents.

    Raises:
      JudgeFailed: something was found.
    """
    judge, operation = judged(backward)
    with np.errstate(all="ignore"):
        hazards(judge, operation, FLOAT32)
        sizes(judge, operation, FLOAT32)


def test_an_honest_gradient_by_the_target_is_stable() -> None:
    search(lambda logs, _, u: -u * logs)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_gradient_by_the_target_is_rejected(name: str) -> None:
    with pytest.raises(JudgeFailed, match="target_gradient"):
        search(PLANTED[name])
