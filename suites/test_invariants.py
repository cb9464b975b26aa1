"""What must hold without any reference value: shifts, permutations, sums of zero, symmetry, curvature, repeatability.

How far an invariant may be missed is not a number of this file: it is the sum of the a priori bounds of the values that
enter it, so only operations that claim at least `stable` are held to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from adapters.operation import LOSS_QUANTITIES, Operation
from reference.formats import Floats, Format
from reference.grades import Grade
from reference.problem import Problem
from reference.quantity import Quantity
from suites.judge import Judge
from suites.measurement import Measurement
from suites.problems import Ask, problems

HAZARDS = ("moderate", "absorption", "underflow", "ties", "long_tail")
SMALL = ("moderate", "absorption", "underflow", "ties")


def _search(
    judge: Judge,
    operation: Operation,
    ask: Ask,
    quantity: Quantity,
    holds: Callable[[Problem, Measurement], str | None],
) -> None:
    """Search for a problem at which an invariant of one quantity fails; `holds` returns what is wrong, or None."""
    if judge.plan.claims.claimed(operation, ask.format.name, quantity) < Grade.STABLE:
        pytest.skip(f"{operation.name} claims no bound for {quantity}")

    def check(problem: Problem) -> None:
        if judge.plan.claims.required(operation, quantity, problem) < Grade.STABLE:
            return
        wrong = holds(problem, _measured(judge, operation, problem, quantity))
        if wrong:
            pytest.fail(f"what   : {operation.name}, {ask.format.name}: {wrong}\ninput  : {problem!r}", pytrace=False)

    strategy = problems(judge.narrowed(operation, ask))
    judge.search(f"invariant {quantity}", strategy, check, max(2, judge.plan.effort.examples // 2))


def _measured(judge: Judge, operation: Operation, problem: Problem, quantity: Quantity) -> Measurement:
    (measurement,) = judge.measure(operation, problem, (quantity,))
    if measurement.error is not None:
        pytest.fail(f"what   : {operation.name}: {measurement.error}", pytrace=False)
    return measurement


def _row_sums(values: Floats) -> Floats:
    """Sums over the last axis, rounded once (math.fsum), so that a sum adds no error of its own."""
    return np.apply_along_axis(math.fsum, -1, values)


def _exceeds(difference: Floats, allowed: Floats) -> bool:
    """True where a difference is certainly more than is allowed; one float64 rounding of it is far below 2^-40."""
    return bool((np.abs(difference) > allowed * (1 + 2.0**-40)).any())


@pytest.mark.asks(Quantity.LOSS)
def test_loss_is_not_negative(judge: Judge, operation: Operation, fmt: Format) -> None:
    def holds(_: Problem, loss: Measurement) -> str | None:
        return (
            f"the loss {loss.observed.tolist()} is negative"
            if _exceeds(np.minimum(loss.observed, 0), loss.stable_bound)
            else None
        )

    _search(judge, operation, Ask(fmt, HAZARDS, max_rows=2), Quantity.LOSS, holds)


@pytest.mark.asks(Quantity.LOSS)
def test_loss_is_shift_invariant(judge: Judge, operation: Operation, fmt: Format) -> None:
    def holds(problem: Problem, loss: Measurement) -> str | None:
        shifted = problem.logits + 8.0
        if not (fmt.contains(shifted).all() and (shifted - 8.0 == problem.logits).all()):
            return None
        moved = _measured(judge, operation, problem.replace(logits=shifted), Quantity.LOSS)
        apart = moved.observed - loss.observed
        return (
            f"adding 8 to all logits changes the loss by {apart.tolist()}" if _exceeds(apart, 2 * loss.stable_bound) else None
        )

    _search(judge, operation, Ask(fmt, HAZARDS, max_rows=2), Quantity.LOSS, holds)


@pytest.mark.asks(Quantity.GRADIENT)
def test_gradient_follows_a_permutation(judge: Judge, operation: Operation, fmt: Format) -> None:
    def holds(problem: Problem, gradient: Measurement) -> str | None:
        order = np.roll(np.arange(problem.num_classes), 1)[::-1]
        target = problem.target[:, order] if problem.has_probabilities else np.argsort(order)[problem.target]
        permuted = problem.replace(logits=problem.logits[:, order], target=target)
        moved = _measured(judge, operation, permuted, Quantity.GRADIENT)
        allowed = gradient.stable_bound[:, order] + moved.stable_bound
        wrong = _exceeds(moved.observed - gradient.observed[:, order], allowed)
        return "permuting the classes does not permute the gradient" if wrong else None

    _search(judge, operation, Ask(fmt, HAZARDS, max_rows=2), Quantity.GRADIENT, holds)


@pytest.mark.asks(Quantity.GRADIENT)
def test_gradient_sums_to_zero(judge: Judge, operation: Operation, fmt: Format) -> None:
    def holds(_: Problem, gradient: Measurement) -> str | None:
        total = _row_sums(gradient.observed)
        wrong = _exceeds(total, gradient.stable_bound.sum(axis=1))
        return f"the rows of the gradient sum to {total.tolist()}" if wrong else None

    _search(judge, operation, Ask(fmt, HAZARDS, max_rows=2), Quantity.GRADIENT, holds)


@pytest.mark.asks(Quantity.HESSIAN)
def test_hessian_is_symmetric_with_zero_row_sums(judge: Judge, operation: Operation, fmt: Format) -> None:
    def holds(_: Problem, hessian: Measurement) -> str | None:
        values, bound = hessian.observed, hessian.stable_bound
        if _exceeds(values - values.swapaxes(1, 2), bound + bound.swapaxes(1, 2)):
            return "the Hessian is not symmetric"
        total = _row_sums(values)
        return f"the rows of the Hessian sum to {total.tolist()}" if _exceeds(total, bound.sum(axis=2)) else None

    _search(judge, operation, Ask(fmt, SMALL, max_rows=2), Quantity.HESSIAN, holds)


@pytest.mark.asks(Quantity.HESSIAN)
def test_loss_is_convex(judge: Judge, operation: Operation, fmt: Format) -> None:
    """The Hessian under a positive cotangent is positive semidefinite, up to the norm of its error (Weyl)."""

    def holds(problem: Problem, hessian: Measurement) -> str | None:
        if problem.cotangent is not None and (problem.cotangent < 0).any():
            return None
        symmetric = (hessian.observed + hessian.observed.swapaxes(1, 2)) / 2
        lowest = np.linalg.eigvalsh(symmetric)[:, 0]
        allowed = hessian.stable_bound.sum(axis=2).max(axis=1) + np.abs(symmetric).sum(axis=2).max(axis=1) * 2.0**-40
        return f"the Hessian has eigenvalue {lowest.tolist()}" if _exceeds(np.minimum(lowest, 0), allowed) else None

    _search(judge, operation, Ask(fmt, SMALL, max_rows=2), Quantity.HESSIAN, holds)


@pytest.mark.asks(Quantity.LOSS)
def test_two_runs_give_the_same_bits(judge: Judge, operation: Operation, fmt: Format) -> None:
    ask = judge.narrowed(operation, Ask(fmt, HAZARDS, directions=True))

    def check(problem: Problem) -> None:
        quantities = tuple(q for q in operation.asked(problem, LOSS_QUANTITIES) if q is not Quantity.HESSIAN)
        first, second = (judge.plan.adapter.observe(operation, problem, quantities) for _ in range(2))
        for quantity, values in first.values.items():
            if not np.array_equal(values, second.values[quantity], equal_nan=True):
                pytest.fail(f"what   : two runs of {operation.name} differ in {quantity}\ninput  : {problem!r}", pytrace=False)

    judge.search("two runs", problems(ask), check, max(2, judge.plan.effort.examples // 4))
