"""What must hold without any reference value: shifts, permutations, rows, sums of zero, symmetry, curvature, repeatability.

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
from reference.loss import Loss
from reference.problem import Problem
from reference.quantity import Quantity
from suites.inputs.problems import Ask
from suites.judging.judge import Judge
from suites.judging.measurement import Measurement

SHIFT_INVARIANT = tuple(loss for loss in Loss if loss.spec.shift_invariant)
NOT_NEGATIVE = tuple(loss for loss in Loss if loss.spec.nonnegative)
OF_CLASSES = tuple(loss for loss in Loss if not loss.spec.binary)
"""Losses of rows whose classes may be permuted."""

CONVEX = tuple(loss for loss in OF_CLASSES if loss.spec.convex)
"""Losses that are searched for a lack of convexity; those of one logit are not."""

HAZARDS = ("moderate", "absorption", "underflow", "ties", "long_tail")
SMALL = ("moderate", "absorption", "underflow", "ties")


def _search(
    judge: Judge,
    operation: Operation,
    ask: Ask,
    quantities: tuple[Quantity, ...],
    losses: tuple[Loss, ...],
    holds: Callable[[Problem, Measurement], str | None],
) -> None:
    """Search for a problem at which an invariant of the first quantity fails; `holds` returns what is wrong, or None.

    It holds of the losses, and bears on all the quantities: an operation that claims no bound of one, anywhere or at this
    problem, is held to none.
    """
    if operation.loss not in losses:
        pytest.skip(f"it does not hold of {operation.loss}")
    for quantity in quantities:
        if quantity not in operation.quantities:
            pytest.skip(f"{operation.name} has no {quantity}")
        if judge.plan.claims.claimed(operation, ask.format.name, quantity) < Grade.STABLE:
            pytest.skip(f"{operation.name} claims no bound for {quantity}")

    def check(problem: Problem) -> None:
        if not all(_is_bounded(judge, operation, problem, quantity) for quantity in quantities):
            return
        wrong = holds(problem, _measured(judge, operation, problem, quantities[0]))
        if wrong:
            pytest.fail(f"what   : {operation.name}, {ask.format.name}: {wrong}\ninput  : {problem!r}", pytrace=False)

    narrowed = judge.narrowed(operation, ask)
    judge.search(f"invariant {quantities[0]}", narrowed, check, max(2, judge.plan.effort.examples // 2))


def _is_bounded(judge: Judge, operation: Operation, problem: Problem, quantity: Quantity) -> bool:
    return judge.plan.claims.required(operation, quantity, problem) >= Grade.STABLE


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

    _search(judge, operation, Ask(fmt, HAZARDS, max_rows=2), (Quantity.LOSS,), NOT_NEGATIVE, holds)


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

    _search(judge, operation, Ask(fmt, HAZARDS, max_rows=2), (Quantity.LOSS,), SHIFT_INVARIANT, holds)


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

    _search(judge, operation, Ask(fmt, HAZARDS, max_rows=2), (Quantity.GRADIENT,), OF_CLASSES, holds)


@pytest.mark.asks(Quantity.GRADIENT)
def test_rows_do_not_depend_on_each_other(judge: Judge, operation: Operation, fmt: Format) -> None:
    """A row alone, and behind a row of NaN, has the gradient that it has in its batch."""

    def holds(problem: Problem, gradient: Measurement) -> str | None:
        cotangent = None if problem.cotangent is None else problem.cotangent[-1:]
        alone = problem.replace(logits=problem.logits[-1:], target=problem.target[-1:], cotangent=cotangent)
        behind = alone.replace(
            logits=np.concatenate([np.full_like(alone.logits, np.nan), alone.logits]),
            target=np.repeat(alone.target, 2, axis=0),
            cotangent=None if cotangent is None else np.repeat(cotangent, 2),
        )
        for name, other in (("alone", alone), ("behind a row of NaN", behind)):
            if not _is_bounded(judge, operation, other, Quantity.GRADIENT):
                continue
            found = _measured(judge, operation, other, Quantity.GRADIENT)
            apart = found.observed[-1] - gradient.observed[-1]
            if np.isnan(apart).any() or _exceeds(apart, found.stable_bound[-1] + gradient.stable_bound[-1]):
                return f"the last row {name} has another gradient than in its batch, by {apart.tolist()}"
        return None

    _search(judge, operation, Ask(fmt, HAZARDS), (Quantity.GRADIENT,), tuple(Loss), holds)


@pytest.mark.asks(Quantity.GRADIENT)
def test_gradient_sums_to_zero(judge: Judge, operation: Operation, fmt: Format) -> None:
    def holds(_: Problem, gradient: Measurement) -> str | None:
        total = _row_sums(gradient.observed)
        wrong = _exceeds(total, gradient.stable_bound.sum(axis=1))
        return f"the rows of the gradient sum to {total.tolist()}" if wrong else None

    _search(judge, operation, Ask(fmt, HAZARDS, max_rows=2), (Quantity.GRADIENT,), SHIFT_INVARIANT, holds)


@pytest.mark.asks(Quantity.HESSIAN)
def test_hessian_is_symmetric_with_zero_row_sums(judge: Judge, operation: Operation, fmt: Format) -> None:
    def holds(_: Problem, hessian: Measurement) -> str | None:
        values, bound = hessian.observed, hessian.stable_bound
        if _exceeds(values - values.swapaxes(1, 2), bound + bound.swapaxes(1, 2)):
            return "the Hessian is not symmetric"
        total = _row_sums(values)
        return f"the rows of the Hessian sum to {total.tolist()}" if _exceeds(total, bound.sum(axis=2)) else None

    _search(judge, operation, Ask(fmt, SMALL, max_rows=2), (Quantity.HESSIAN,), SHIFT_INVARIANT, holds)


@pytest.mark.asks(Quantity.HESSIAN)
def test_loss_is_convex(judge: Judge, operation: Operation, fmt: Format) -> None:
    """The Hessian under a positive cotangent is positive semidefinite, up to the norm of its error (Weyl)."""

    def holds(problem: Problem, hessian: Measurement) -> str | None:
        if problem.cotangent is not None and (problem.cotangent < 0).any():
            return None
        if not np.isfinite(hessian.observed).all():
            return "the Hessian has entries that are not numbers"
        symmetric = (hessian.observed + hessian.observed.swapaxes(1, 2)) / 2
        lowest = np.linalg.eigvalsh(symmetric)[:, 0]
        allowed = hessian.stable_bound.sum(axis=2).max(axis=1) + np.abs(symmetric).sum(axis=2).max(axis=1) * 2.0**-40
        return f"the Hessian has eigenvalue {lowest.tolist()}" if _exceeds(np.minimum(lowest, 0), allowed) else None

    _search(judge, operation, Ask(fmt, SMALL, max_rows=2), (Quantity.HESSIAN,), CONVEX, holds)


@pytest.mark.asks(Quantity.GRADIENT)
def test_loss_lies_above_its_tangents(judge: Judge, operation: Operation, fmt: Format) -> None:
    """Convexity along a line: loss(x + v) >= loss(x) + <gradient(x), v>, for steps v that are exact."""

    def holds(problem: Problem, _: Measurement) -> str | None:
        step = np.resize([1.0, -2.0, 0.0, 4.0], problem.logits.shape)
        stepped = problem.logits + step
        if not (fmt.contains(stepped).all() and (stepped - step == problem.logits).all()):
            return None
        plain = problem.replace(cotangent=None)
        here, there, slope = (
            _measured(judge, operation, asked, quantity)
            for asked, quantity in (
                (plain, Quantity.LOSS),
                (plain.replace(logits=stepped), Quantity.LOSS),
                (plain, Quantity.GRADIENT),
            )
        )
        above = there.observed - here.observed - _row_sums(slope.observed * step)
        allowed = there.stable_bound + here.stable_bound + _row_sums(slope.stable_bound * np.abs(step))
        below = _exceeds(np.minimum(above, 0), allowed + 2.0**-40 * np.abs(there.observed))
        return f"the loss is below its tangent by {above.tolist()}" if below else None

    _search(judge, operation, Ask(fmt, SMALL, max_rows=2), (Quantity.GRADIENT, Quantity.LOSS), CONVEX, holds)


@pytest.mark.asks(Quantity.LOSS)
def test_two_runs_give_the_same_bits(judge: Judge, operation: Operation, fmt: Format) -> None:
    _search_two_runs(judge, operation, Ask(fmt, HAZARDS, directions=True), judge.plan.effort.examples)


@pytest.mark.asks(Quantity.LOSS)
def test_two_runs_of_a_large_vocabulary_give_the_same_bits(judge: Judge, operation: Operation, fmt: Format) -> None:
    """There threads share a row."""
    _search_two_runs(judge, operation, Ask(fmt, ("large_vocabulary",)), judge.plan.effort.large)


def _search_two_runs(judge: Judge, operation: Operation, ask: Ask, examples: int) -> None:
    def check(problem: Problem) -> None:
        quantities = tuple(q for q in operation.asked(problem, LOSS_QUANTITIES) if q is not Quantity.HESSIAN)
        first, second = (judge.observe(operation, problem, quantities) for _ in range(2))
        if first.error is not None and second.error is not None:
            # Nothing to compare: where it claims a value, an exception is no answer however often it comes.
            judge.check(operation, problem, quantities)
            return
        if first.error is not None or second.error is not None:
            told = f"what   : one of two runs of {operation.name}: {first.error or second.error}\ninput  : {problem!r}"
            pytest.fail(told, pytrace=False)
        for quantity, values in first.values.items():
            if not np.array_equal(values, second.values[quantity], equal_nan=True):
                pytest.fail(f"what   : two runs of {operation.name} differ in {quantity}\ninput  : {problem!r}", pytrace=False)

    judge.search("two runs", judge.narrowed(operation, ask), check, max(2, examples // 4))
