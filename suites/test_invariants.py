"""What must hold without any reference value: shifts, permutations, rows, sums of zero, symmetry, curvature, repeatability.

How far an invariant may be missed is not a number of this file: it is the sum of the a priori bounds of the values that
enter it, so only operations that claim at least `stable` are held to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from adapters.operation import LOSS_QUANTITIES, Operation
from adapters.question import Question
from reference.formats import Floats, Format
from reference.grades import Grade
from reference.loss import Loss
from reference.problem import Problem
from reference.quantity import Quantity
from suites.inputs.problems import Ask
from suites.judging.failure import Finding, kind_of_error, values_of
from suites.judging.judge import Judge
from suites.judging.measurement import Measurement
from suites.judging.relation import Relation, Term
from suites.judging.reproducer import Index

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
    broken: Callable[[Problem, Measurement], Relation | None],
) -> None:
    """Search for a problem at which an invariant of the first quantity fails; `broken` returns what is wrong, or None.

    It holds of the losses, and bears on all the quantities: an operation that claims no bound of one, anywhere or at this
    problem, is held to none.
    """
    if operation.reduces is not None:
        pytest.skip(f"{operation.name} returns one {operation.reduces} of all rows")
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
        relation = broken(problem, _measured(judge, operation, problem, quantities[0]))
        if relation is not None:
            judge.fail_relation(relation)

    narrowed = judge.narrowed(operation, ask)
    judge.search(f"invariant {quantities[0]}", operation, narrowed, check, max(2, judge.plan.effort.examples // 2))


def _is_bounded(judge: Judge, operation: Operation, problem: Problem, quantity: Quantity) -> bool:
    return judge.plan.claims.required(operation, quantity, problem) >= Grade.STABLE


def _measured(judge: Judge, operation: Operation, problem: Problem, quantity: Quantity) -> Measurement:
    (measurement,) = judge.measure(Question(operation, problem, (quantity,)))
    if measurement.error is not None:
        what, kind = f"{operation.name}: {measurement.error}", kind_of_error(measurement.error)
        judge.fail(Finding(what, values_of(measurement), operation, problem, measurement.arithmetic, kind=kind))
    return measurement


def _row_sums(values: Floats) -> Floats:
    """Sums over the last axis, rounded once (math.fsum), so that a sum adds no error of its own."""
    return np.apply_along_axis(math.fsum, -1, values)


@dataclass(frozen=True)
class Compared:
    """Numbers that an invariant compares, entry by entry: what was observed, what was expected, what is allowed between."""

    observed: Floats
    expected: Floats
    allowed: Floats
    at_least: bool = False
    """True if what is observed may be more than is expected."""

    def worst(self) -> Index | None:
        """Where the two are most apart of all places where they certainly are more apart than is allowed; None if nowhere.

        One float64 rounding of a difference is far below 2^-40. What is no number is not judged here.
        """
        apart = self.observed - self.expected
        size = np.abs(np.minimum(apart, 0) if self.at_least else apart)
        broken = size > self._limit
        if not broken.any():
            return None
        flat = int(np.argmax(np.where(broken, size, -1.0)))
        return tuple(int(i) for i in np.unravel_index(flat, size.shape))

    @property
    def _limit(self) -> Floats:
        return self.allowed * (1 + 2.0**-40)

    def at(self, index: Index) -> dict[str, Any]:
        """The numbers of an entry, as a relation has them."""
        return {
            "observed": float(self.observed[index]),
            "expected": float(self.expected[index]),
            "allowed": float(np.broadcast_to(self._limit, self.observed.shape)[index]),
            "at_least": self.at_least,
        }


@pytest.mark.asks(Quantity.LOSS)
def test_loss_is_not_negative(judge: Judge, operation: Operation, fmt: Format) -> None:
    def broken(problem: Problem, loss: Measurement) -> Relation | None:
        compared = Compared(loss.observed, np.zeros_like(loss.observed), loss.stable_bound, at_least=True)
        if (at := compared.worst()) is None:
            return None
        asked = ((problem, Quantity.LOSS),)
        return Relation(f"loss{list(at)} is below 0", operation, asked, ((1.0, 0, at),), **compared.at(at))

    _search(judge, operation, Ask(fmt, HAZARDS, max_rows=2), (Quantity.LOSS,), NOT_NEGATIVE, broken)


@pytest.mark.asks(Quantity.LOSS)
def test_loss_is_shift_invariant(judge: Judge, operation: Operation, fmt: Format) -> None:
    def broken(problem: Problem, loss: Measurement) -> Relation | None:
        shifted = problem.logits + 8.0
        if not (fmt.contains(shifted).all() and (shifted - 8.0 == problem.logits).all()):
            return None
        other = problem.replace(logits=shifted)
        moved = _measured(judge, operation, other, Quantity.LOSS)
        compared = Compared(moved.observed, loss.observed, 2 * loss.stable_bound)
        if (at := compared.worst()) is None:
            return None
        asked, terms = ((problem, Quantity.LOSS), (other, Quantity.LOSS)), ((1.0, 1, at), (-1.0, 0, at))
        return Relation(f"adding 8 to all logits changes loss{list(at)}", operation, asked, terms, **compared.at(at))

    _search(judge, operation, Ask(fmt, HAZARDS, max_rows=2), (Quantity.LOSS,), SHIFT_INVARIANT, broken)


@pytest.mark.asks(Quantity.GRADIENT)
def test_gradient_follows_a_permutation(judge: Judge, operation: Operation, fmt: Format) -> None:
    def broken(problem: Problem, gradient: Measurement) -> Relation | None:
        order = np.roll(np.arange(problem.num_classes), 1)[::-1]
        target = problem.target[:, order] if problem.has_probabilities else np.argsort(order)[problem.target]
        permuted = problem.replace(logits=problem.logits[:, order], target=target)
        moved = _measured(judge, operation, permuted, Quantity.GRADIENT)
        allowed = gradient.stable_bound[:, order] + moved.stable_bound
        compared = Compared(moved.observed, gradient.observed[:, order], allowed)
        if (at := compared.worst()) is None:
            return None
        was = (at[0], int(order[at[1]]))
        asked, terms = ((problem, Quantity.GRADIENT), (permuted, Quantity.GRADIENT)), ((1.0, 1, at), (-1.0, 0, was))
        return Relation(f"permuting the classes changes gradient{list(was)}", operation, asked, terms, **compared.at(at))

    _search(judge, operation, Ask(fmt, HAZARDS, max_rows=2), (Quantity.GRADIENT,), OF_CLASSES, broken)


@pytest.mark.asks(Quantity.GRADIENT)
def test_rows_do_not_depend_on_each_other(judge: Judge, operation: Operation, fmt: Format) -> None:
    """A row alone, and behind a row of NaN, has the gradient that it has in its batch."""

    def broken(problem: Problem, gradient: Measurement) -> Relation | None:
        cotangent = None if problem.cotangent is None else problem.cotangent[-1:]
        alone = problem.replace(logits=problem.logits[-1:], target=problem.target[-1:], cotangent=cotangent)
        behind = alone.replace(
            logits=np.concatenate([np.full_like(alone.logits, np.nan), alone.logits]),
            target=np.repeat(alone.target, 2, axis=0),
            cotangent=None if cotangent is None else np.repeat(cotangent, 2),
        )
        for name, other in (("alone", alone), ("behind a row of NaN", behind)):
            if _is_bounded(judge, operation, other, Quantity.GRADIENT):
                found = _measured(judge, operation, other, Quantity.GRADIENT)
                if relation := _unlike_in_its_batch(operation, gradient, found, name):
                    return relation
        return None

    _search(judge, operation, Ask(fmt, HAZARDS), (Quantity.GRADIENT,), tuple(Loss), broken)


def _unlike_in_its_batch(operation: Operation, gradient: Measurement, found: Measurement, name: str) -> Relation | None:
    """What is wrong with the gradient of the last row where it is found otherwise than in its batch."""
    allowed = found.stable_bound[-1] + gradient.stable_bound[-1]
    compared = Compared(found.observed[-1], gradient.observed[-1], allowed)
    is_nan = np.isnan(compared.observed - compared.expected)
    at = (int(np.argmax(is_nan)),) if is_nan.any() else compared.worst()
    if at is None:
        return None
    asked = ((gradient.problem, Quantity.GRADIENT), (found.problem, Quantity.GRADIENT))
    rows = gradient.problem.num_rows - 1, found.problem.num_rows - 1
    terms = ((1.0, 1, (rows[1], *at)), (-1.0, 0, (rows[0], *at)))
    said = f"the last row {name} has another gradient than in its batch, for class {at[0]}"
    return Relation(said, operation, asked, terms, **compared.at(at))


@pytest.mark.asks(Quantity.GRADIENT)
def test_gradient_sums_to_zero(judge: Judge, operation: Operation, fmt: Format) -> None:
    def broken(_: Problem, gradient: Measurement) -> Relation | None:
        return _row_sum_beside_zero(operation, gradient)

    _search(judge, operation, Ask(fmt, HAZARDS, max_rows=2), (Quantity.GRADIENT,), SHIFT_INVARIANT, broken)


def _row_sum_beside_zero(operation: Operation, found: Measurement) -> Relation | None:
    """What is wrong with a quantity whose rows, along the last axis, sum to 0."""
    total = _row_sums(found.observed)
    compared = Compared(total, np.zeros_like(total), found.stable_bound.sum(axis=-1))
    if (at := compared.worst()) is None:
        return None
    terms = tuple((1.0, 0, (*at, j)) for j in range(found.observed.shape[-1]))
    asked = ((found.problem, found.quantity),)
    return Relation(f"the sum of {found.quantity}{list(at)} misses 0", operation, asked, terms, **compared.at(at))


@pytest.mark.asks(Quantity.HESSIAN)
def test_hessian_is_symmetric_with_zero_row_sums(judge: Judge, operation: Operation, fmt: Format) -> None:
    def broken(problem: Problem, hessian: Measurement) -> Relation | None:
        values, bound = hessian.observed, hessian.stable_bound
        compared = Compared(values, values.swapaxes(1, 2), bound + bound.swapaxes(1, 2))
        if (at := compared.worst()) is None:
            return _row_sum_beside_zero(operation, hessian)
        mirrored = (at[0], at[2], at[1])
        said = f"the Hessian is not symmetric: hessian{list(at)} and {list(mirrored)} differ"
        terms = ((1.0, 0, at), (-1.0, 0, mirrored))
        return Relation(said, operation, ((problem, Quantity.HESSIAN),), terms, **compared.at(at))

    _search(judge, operation, Ask(fmt, SMALL, max_rows=2), (Quantity.HESSIAN,), SHIFT_INVARIANT, broken)


@pytest.mark.asks(Quantity.HESSIAN)
def test_loss_is_convex(judge: Judge, operation: Operation, fmt: Format) -> None:
    """The Hessian under a positive cotangent is positive semidefinite, up to the norm of its error (Weyl)."""

    def broken(problem: Problem, hessian: Measurement) -> Relation | None:
        if problem.cotangent is not None and (problem.cotangent < 0).any():
            return None
        asked = ((problem, Quantity.HESSIAN),)
        if not (finite := np.isfinite(hessian.observed)).all():
            entry = tuple(int(i) for i in np.argwhere(~finite)[0])
            value = float(hessian.observed[entry])
            return Relation(f"hessian{list(entry)} is not a number", operation, asked, ((0.0, 0, entry),), value, None, 0.0)
        symmetric = (hessian.observed + hessian.observed.swapaxes(1, 2)) / 2
        lowest = np.asarray(np.linalg.eigvalsh(symmetric)[:, 0], dtype=np.float64)
        allowed = hessian.stable_bound.sum(axis=2).max(axis=1) + np.abs(symmetric).sum(axis=2).max(axis=1) * 2.0**-40
        compared = Compared(lowest, np.zeros_like(lowest), allowed, at_least=True)
        if (at := compared.worst()) is None:
            return None
        terms = _along(np.linalg.eigh(symmetric[at[0]]).eigenvectors[:, 0], at[0])
        return Relation(f"the lowest eigenvalue of hessian{list(at)} is below 0", operation, asked, terms, **compared.at(at))

    _search(judge, operation, Ask(fmt, SMALL, max_rows=2), (Quantity.HESSIAN,), CONVEX, broken)


def _along(direction: Floats, row: int) -> tuple[Term, ...]:
    """The curvature of a row along a direction, as a sum of entries of its Hessian."""
    product = np.outer(direction, direction)
    return tuple((float(product[i, j]), 0, (row, i, j)) for i, j in np.argwhere(product).tolist())


@pytest.mark.asks(Quantity.GRADIENT)
def test_loss_lies_above_its_tangents(judge: Judge, operation: Operation, fmt: Format) -> None:
    """Convexity along a line: loss(x + v) >= loss(x) + <gradient(x), v>, for steps v that are exact."""

    def broken(problem: Problem, _: Measurement) -> Relation | None:
        step = np.resize([1.0, -2.0, 0.0, 4.0], problem.logits.shape)
        stepped = problem.logits + step
        if not (fmt.contains(stepped).all() and (stepped - step == problem.logits).all()):
            return None
        plain = problem.replace(cotangent=None)
        asked = ((plain, Quantity.LOSS), (plain.replace(logits=stepped), Quantity.LOSS), (plain, Quantity.GRADIENT))
        here, there, slope = (_measured(judge, operation, *question) for question in asked)
        allowed = there.stable_bound + here.stable_bound + _row_sums(slope.stable_bound * np.abs(step))
        allowed = allowed + 2.0**-40 * np.abs(there.observed)
        compared = Compared(there.observed - here.observed, _row_sums(slope.observed * step), allowed, at_least=True)
        if (at := compared.worst()) is None:
            return None
        along = tuple((-float(v), 2, (*at, j)) for j, v in enumerate(step[at]))
        said = f"a step changes loss{list(at)} by less than its tangent,"
        return Relation(said, operation, asked, ((1.0, 1, at), (-1.0, 0, at), *along), **compared.at(at))

    _search(judge, operation, Ask(fmt, SMALL, max_rows=2), (Quantity.GRADIENT, Quantity.LOSS), CONVEX, broken)


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
        first, second = (judge.observe(Question(operation, problem, quantities)) for _ in range(2))
        if first.error is not None and second.error is not None:
            # Nothing to compare: where it claims a value, an exception is no answer however often it comes.
            judge.check(Question(operation, problem, quantities))
            return
        if first.error is not None or second.error is not None:
            what = f"one of two runs of {operation.name}: {first.error or second.error}"
            judge.fail(Finding(what, "expected the same twice; observed an exception once", operation, problem))
        for quantity, values in first.values.items():
            relation = _unlike(operation, (problem, quantity), values, second.values[quantity])
            if relation is not None:
                judge.fail_relation(relation)

    judge.search("two runs", operation, judge.narrowed(operation, ask), check, max(2, examples // 4))


def _unlike(operation: Operation, asked: tuple[Problem, Quantity], first: Floats, second: Floats) -> Relation | None:
    """What is wrong with two runs that do not return the same numbers."""
    if np.array_equal(first, second, equal_nan=True):
        return None
    different = (first != second) & ~(np.isnan(first) & np.isnan(second))
    at = tuple(int(i) for i in np.argwhere(different)[0])
    said = f"two runs of {operation.name} differ in {asked[1]}{list(at)}"
    terms = ((1.0, 1, at), (-1.0, 0, at))
    return Relation(said, operation, (asked, asked), terms, float(second[at]), float(first[at]), 0.0)
