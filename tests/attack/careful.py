"""The algorithm that the bound of `componentwise` is of, for one row: the maximum is left out of the sum.

The formulas are those of reference/bounds/componentwise.py, in any arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from reference.loss import Loss
from reference.problem import Problem
from reference.quantity import Quantity
from reference.weights import tangent_of, upstream_of, weights_of
from tests.attack.algorithms import Algorithm, at_target, finished, gaps_of, number, pulled, reduced, weights
from tests.attack.computers import Computer


@dataclass(frozen=True)
class _Row:
    """The parts that the quantities share."""

    c: Computer[Any]
    problem: Problem

    @cached_property
    def top(self) -> int:
        """The class of the maximum."""
        return int(np.argmax(self.problem.logits[0]))

    def others(self, values: Any, place: int) -> Any:
        """(1, 1): the sum of all but one."""
        kept = np.arange(self.problem.num_classes) != place
        return self.c.total(values[:, kept])

    @cached_property
    def gaps(self) -> Any:
        """The gaps d."""
        return gaps_of(self.c, self.problem)

    @cached_property
    def powers(self) -> Any:
        """The powers E."""
        return self.c.exp(self.gaps)

    @cached_property
    def rest(self) -> Any:
        """R."""
        return self.others(self.powers, self.top)

    @cached_property
    def total(self) -> Any:
        """S = 1 + R."""
        return self.c.add(number(self.c, 1.0), self.rest)

    @cached_property
    def p(self) -> Any:
        """The probabilities."""
        return self.c.divide(self.powers, self.total)

    @cached_property
    def complements(self) -> Any:
        """1 - p."""
        less = self.c.subtract(self.total, self.powers)
        parts = [self.rest if i == self.top else less[:, i : i + 1] for i in range(self.problem.num_classes)]
        return self.c.divide(self.c.joined(parts), self.total)

    @cached_property
    def tail(self) -> Any:
        """log1p(R)."""
        return self.c.log1p(self.rest)

    @cached_property
    def losses(self) -> Any:
        """L."""
        return self.c.subtract(self.tail, self.gaps)

    @property
    def moved(self) -> Any:
        """p (w - <p, w>) with w = v - v_c, of the tangent v."""
        c, v = self.c, tangent_of(self.problem)
        w = c.subtract(c.exact(v), c.exact(v[:, self.top : self.top + 1]))
        return c.multiply(self.p, c.subtract(w, c.total(c.multiply(self.p, w))))


def _loss(c: Computer[Any], problem: Problem) -> Any:
    losses = _Row(c, problem).losses
    if problem.is_plain:
        return reduced(c, problem, at_target(c, problem, losses))
    return reduced(c, problem, c.total(c.multiply(weights(c, problem), losses)))


def _gradient(c: Computer[Any], problem: Problem) -> Any:
    row, given = _Row(c, problem), weights(c, problem)
    # The sum of a one-hot row without one of its classes is 0 or 1, exactly.
    if problem.is_plain:
        others = c.exact(1.0 - weights_of(problem))
    else:
        others = c.joined([row.others(given, i) for i in range(problem.num_classes)])
    return finished(c, problem, c.subtract(c.multiply(row.p, others), c.multiply(given, row.complements)), 1)


def _weighted(c: Computer[Any], problem: Problem, result: Any) -> Any:
    return finished(c, problem, result if problem.is_plain else c.multiply(c.total(weights(c, problem)), result), 2)


def _diagonal(c: Computer[Any], problem: Problem) -> Any:
    row = _Row(c, problem)
    return _weighted(c, problem, c.multiply(row.p, row.complements))


def _product(c: Computer[Any], problem: Problem) -> Any:
    return _weighted(c, problem, _Row(c, problem).moved)


def _chosen(row: _Row, at_top: Any, elsewhere: Any) -> Any:
    """The columns of the second, and of the first at the maximum."""
    parts = [(at_top if i == row.top else elsewhere)[:, i : i + 1] for i in range(row.problem.num_classes)]
    return row.c.joined(parts)


def _less_share(c: Computer[Any], problem: Problem) -> Any:
    """u_i (1 - p_i) - p_i times the others' u at the maximum, u_i - p_i times all of them elsewhere."""
    row, u = _Row(c, problem), c.exact(tangent_of(problem))
    others = row.others(u, row.top)
    at_top = c.subtract(c.multiply(u, row.complements), c.multiply(row.p, others))
    less = c.subtract(u, c.multiply(row.p, c.add(u[:, row.top : row.top + 1], others)))
    return pulled(c, problem, _chosen(row, at_top, less))


def _block_deviation(c: Computer[Any], problem: Problem) -> Any:
    return pulled(c, problem, _Row(c, problem).moved)


def _all_moved(c: Computer[Any], problem: Problem) -> Any:
    return pulled(c, problem, c.multiply(_Row(c, problem).p, c.exact(upstream_of(problem))))


def _by_target(c: Computer[Any], problem: Problem) -> Any:
    return finished(c, problem, _Row(c, problem).losses, 0)


def _logsumexp(c: Computer[Any], problem: Problem) -> Any:
    row, top = _Row(c, problem), number(c, float(problem.logits.max()))
    if problem.temperature != 1.0:
        top = c.divide(top, number(c, problem.temperature))
    return c.add(top, row.tail)[..., 0]


def _entropy(c: Computer[Any], problem: Problem) -> Any:
    """log1p(R) + <p, |d|>."""
    row = _Row(c, problem)
    return c.subtract(row.tail, c.total(c.multiply(row.p, row.gaps)))[..., 0]


def _entropy_slope(c: Computer[Any], problem: Problem) -> Any:
    """u p (|d| - <p, |d|>)."""
    row = _Row(c, problem)
    slope = c.multiply(row.p, c.subtract(c.total(c.multiply(row.p, row.gaps)), row.gaps))
    return pulled(c, problem, c.multiply(slope, c.exact(upstream_of(problem))))


def _residual(row: _Row) -> Any:
    """p - q, as p (1 - q) - q (1 - p)."""
    c, labels = row.c, weights(row.c, row.problem)
    rest = c.subtract(number(c, 1.0), labels)
    return c.subtract(c.multiply(row.p, rest), c.multiply(labels, row.complements))


def _centred(row: _Row, values: Any) -> Any:
    """v - <p, v>; at the maximum (1 - p) v less what the others weigh."""
    c, shares = row.c, row.c.multiply(row.p, values)
    at_top = c.subtract(c.multiply(row.complements, values), row.others(shares, row.top))
    return _chosen(row, at_top, c.subtract(values, c.total(shares)))


def _squared_loss(c: Computer[Any], problem: Problem) -> Any:
    r = _residual(_Row(c, problem))
    return reduced(c, problem, c.total(c.multiply(r, r)))


def _squared_gradient(c: Computer[Any], problem: Problem) -> Any:
    row = _Row(c, problem)
    return finished(c, problem, c.multiply(row.p, _centred(row, _twice(c, _residual(row)))), 1)


def _squared_product(c: Computer[Any], problem: Problem) -> Any:
    row = _Row(c, problem)
    twice, moved = _twice(c, _residual(row)), row.moved
    outer = c.subtract(_centred(row, _twice(c, moved)), c.total(c.multiply(moved, twice)))
    bent = c.add(c.multiply(moved, _centred(row, twice)), c.multiply(row.p, outer))
    return finished(c, problem, bent, 2)


def _twice(c: Computer[Any], values: Any) -> Any:
    return c.multiply(values, number(c, 2.0))


CAREFUL: dict[Loss, dict[Quantity, Algorithm]] = {
    Loss.CROSS_ENTROPY: {
        Quantity.LOG_SOFTMAX: lambda c, problem: -_Row(c, problem).losses,
        Quantity.SOFTMAX: lambda c, problem: _Row(c, problem).p,
        Quantity.LOGSUMEXP: _logsumexp,
        Quantity.ENTROPY: _entropy,
        Quantity.LOSS: _loss,
        Quantity.TARGET_GRADIENT: _by_target,
        Quantity.GRADIENT: _gradient,
        Quantity.HESSIAN_DIAGONAL: _diagonal,
        Quantity.HVP: _product,
        Quantity.LOG_SOFTMAX_VJP: _less_share,
        Quantity.SOFTMAX_VJP: _block_deviation,
        Quantity.LOGSUMEXP_VJP: _all_moved,
        Quantity.ENTROPY_VJP: _entropy_slope,
    },
    Loss.SQUARED_ERROR: {
        Quantity.LOSS: _squared_loss,
        Quantity.GRADIENT: _squared_gradient,
        Quantity.HVP: _squared_product,
    },
}
"""By loss and quantity."""
