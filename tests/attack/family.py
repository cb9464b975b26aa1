"""Textbook algorithms of the losses beside cross-entropy, with softcap and z-loss, in any arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from reference.loss import Loss
from reference.problem import Problem
from reference.quantity import Quantity
from reference.weights import tangent_of
from tests.attack.algorithms import (
    LAYER,
    Algorithm,
    at_target,
    finished,
    log_softmax,
    logsumexp,
    number,
    reduced,
    saturation,
    weights,
)
from tests.attack.computers import Computer


@dataclass(frozen=True)
class Parts:
    """What a row's losses are made of; every result is stored."""

    c: Computer[Any]
    problem: Problem

    @cached_property
    def log_losses(self) -> Any:
        """L of every class."""
        return -log_softmax(self.c, self.problem)

    @cached_property
    def p(self) -> Any:
        """exp of the stored log_softmax."""
        return self.c.store(self.c.exp(-self.log_losses))

    @cached_property
    def labels(self) -> Any:
        """Effective weights; of a sigmoid loss (w y, 1 - y)."""
        if not self.problem.is_binary:
            return weights(self.c, self.problem)
        y = self.c.exact(self.problem.target)
        return self.c.joined([self.c.scaled(self.problem.positive_weight, y), self.minus(number(self.c, 1.0), y)])

    @cached_property
    def lse(self) -> Any:
        """(N, 1)."""
        return logsumexp(self.c, self.problem)[..., None]

    def plus(self, left: Any, right: Any) -> Any:
        """The stored sum."""
        return self.c.store(self.c.add(left, right))

    def minus(self, left: Any, right: Any) -> Any:
        """The stored difference."""
        return self.c.store(self.c.subtract(left, right))

    def times(self, left: Any, right: Any) -> Any:
        """The stored product."""
        return self.c.store(self.c.multiply(left, right))

    def scaled(self, factor: float, values: Any) -> Any:
        """The stored product with an exact number."""
        return self.times(values, number(self.c, factor))

    def mean(self, p: Any, values: Any) -> Any:
        """<p, values>, stored."""
        return self.c.store(self.c.total(self.times(p, values)))

    def moved(self, v: Any) -> Any:
        """p (v - <p, v>)."""
        return self.times(self.p, self.minus(v, self.mean(self.p, v)))


Product = Callable[[Any], Any]
"""The Hessian in y along v."""


@dataclass(frozen=True)
class Formula:
    """A loss (N, 1), its gradient in y, and its Hessian's product."""

    loss: Callable[[Parts], Any]
    slope: Callable[[Parts], Any]
    product: Callable[[Parts, Any], Any]


def _weighted_loss(t: Parts) -> Any:
    picked = t.c.store(t.c.total(t.times(t.labels, t.log_losses)))
    z = t.problem.z_loss
    return t.plus(picked, t.scaled(z, t.times(t.lse, t.lse))) if z else picked


def _weighted_slope(t: Parts) -> Any:
    slope = t.minus(t.times(t.c.total(t.labels), t.p), t.labels)
    z = t.problem.z_loss
    return t.plus(slope, t.times(t.scaled(2 * z, t.lse), t.p)) if z else slope


def _weighted_product(t: Parts, v: Any) -> Any:
    moved, z = t.moved(v), t.problem.z_loss
    result = t.times(t.c.total(t.labels), moved)
    if not z:
        return result
    pulled = t.plus(result, t.times(t.scaled(2 * z, t.lse), moved))
    return t.plus(pulled, t.times(t.scaled(2 * z, t.mean(t.p, v)), t.p))


def _divergence(t: Parts) -> Any:
    q = t.problem.target
    logs = t.c.store(t.c.log(t.c.exact(np.where(q > 0, q, 1.0))))
    labels = t.c.exact(q)
    return t.c.store(t.c.total(t.plus(t.times(labels, logs), t.times(labels, t.log_losses))))


def _residual(t: Parts) -> Any:
    return t.minus(t.p, t.labels)


def _squared_loss(t: Parts) -> Any:
    r = _residual(t)
    return t.c.store(t.c.total(t.times(r, r)))


def _squared_slope(t: Parts) -> Any:
    twice = t.scaled(2.0, _residual(t))
    return t.times(t.p, t.minus(twice, t.mean(t.p, twice)))


def _squared_product(t: Parts, v: Any) -> Any:
    twice, moved = t.scaled(2.0, _residual(t)), t.moved(v)
    inner, bent = t.minus(twice, t.mean(t.p, twice)), t.scaled(2.0, moved)
    outer = t.minus(t.minus(bent, t.mean(moved, twice)), t.mean(t.p, bent))
    return t.plus(t.times(moved, inner), t.times(t.p, outer))


def _power(t: Parts, exponent: float) -> Any:
    miss = t.minus(number(t.c, 1.0), at_target(t.c, t.problem, t.p))
    return t.c.store(t.c.power(miss, exponent))


def _focal_loss(t: Parts) -> Any:
    return t.times(_power(t, t.problem.focusing), at_target(t.c, t.problem, t.log_losses))


def _focal_slopes(t: Parts) -> tuple[Any, Any]:
    """f' and f''."""
    g, p = t.problem.focusing, at_target(t.c, t.problem, t.p)
    log_loss = at_target(t.c, t.problem, t.log_losses)
    once = t.times(t.scaled(g, _power(t, g - 1)), p)
    bent = t.times(once, log_loss)
    twice = t.times(t.times(t.scaled(g * (g - 1), _power(t, g - 2)), t.times(p, p)), log_loss)
    return t.plus(_power(t, g), bent), t.minus(t.plus(t.scaled(2.0, once), twice), bent)


def _focal_slope(t: Parts) -> Any:
    return t.times(_focal_slopes(t)[0], t.minus(t.p, t.labels))


def _focal_product(t: Parts, v: Any) -> Any:
    (first, second), offset = _focal_slopes(t), t.minus(t.p, t.labels)
    along = t.c.store(t.c.total(t.times(offset, v)))
    return t.plus(t.times(first, t.moved(v)), t.times(t.times(second, offset), along))


_WEIGHTED = Formula(_weighted_loss, _weighted_slope, _weighted_product)
_FOCAL = Formula(_focal_loss, _focal_slope, _focal_product)
FORMULAS = {
    Loss.CROSS_ENTROPY: _WEIGHTED,
    Loss.SIGMOID: _WEIGHTED,
    Loss.KL_DIVERGENCE: Formula(_divergence, _weighted_slope, _weighted_product),
    Loss.SQUARED_ERROR: Formula(_squared_loss, _squared_slope, _squared_product),
    Loss.FOCAL: _FOCAL,
    Loss.SIGMOID_FOCAL: _FOCAL,
}


def _rate(t: Parts) -> tuple[Any, Any]:
    """1 - tanh^2, and T (2/c) tanh times it."""
    tanh = saturation(t.c, t.problem)
    rate = t.minus(number(t.c, 1.0), t.times(tanh, tanh))
    assert t.problem.logit_softcap is not None
    return rate, t.times(t.scaled(2.0 * t.problem.temperature / t.problem.logit_softcap, tanh), rate)


def _kept(problem: Problem, values: Any) -> Any:
    """Of the row [x, 0], what is asked of x."""
    return values[:, : problem.num_classes]


def loss(c: Computer[Any], problem: Problem) -> Any:
    """The loss of each row, reduced."""
    return reduced(c, problem, FORMULAS[problem.loss].loss(Parts(c, problem)))


def gradient(c: Computer[Any], problem: Problem) -> Any:
    """The gradient by the logits."""
    t = Parts(c, problem)
    slope = FORMULAS[problem.loss].slope(t)
    if problem.logit_softcap is not None:
        slope = t.times(slope, _rate(t)[0])
    return _kept(problem, finished(c, problem, slope, 1))


def _along(t: Parts, v: Any) -> Any:
    formula, problem = FORMULAS[t.problem.loss], t.problem
    if problem.logit_softcap is None:
        return finished(t.c, problem, formula.product(t, v), 2)
    rate, bend = _rate(t)
    straight = t.times(rate, formula.product(t, t.times(rate, v)))
    return finished(t.c, problem, t.minus(straight, t.times(t.times(formula.slope(t), bend), v)), 2)


def hvp(c: Computer[Any], problem: Problem) -> Any:
    """The Hessian along the tangent."""
    return _kept(problem, _along(Parts(c, problem), c.exact(tangent_of(problem))))


def hessian(c: Computer[Any], problem: Problem) -> Any:
    """(1, K, K) of one row, column by column."""
    t, classes = Parts(c, problem), 2 if problem.is_binary else problem.num_classes
    columns = [_along(t, c.exact(unit[None]))[..., None] for unit in np.eye(classes)]
    return c.joined(columns)[:, : problem.num_classes, : problem.num_classes]


def softplus(c: Computer[Any], problem: Problem) -> Any:
    """max(x, 0) - x y + log1p(exp(-|x|)), each stored."""
    t, x, y = Parts(c, problem), problem.logits, c.exact(problem.target)
    linear = t.minus(c.exact(np.maximum(x, 0.0)), t.times(c.exact(x), y))
    return t.plus(linear, c.store(c.log1p(c.store(c.exp(c.exact(-np.abs(x)))))))[..., 0]


def slope_of_softplus(c: Computer[Any], problem: Problem) -> Any:
    """[x > 0] - y -+ e / (1 + e), the derivative of softplus by automatic differentiation."""
    t, x, one = Parts(c, problem), problem.logits, number(c, 1.0)
    power = c.store(c.exp(c.exact(-np.abs(x))))
    share = t.times(c.store(c.divide(one, t.plus(one, power))), power)
    linear = t.minus(c.exact((x > 0) * 1.0), c.exact(problem.target))
    return c.store(t.minus(linear, t.times(share, c.exact(np.where(x > 0, 1.0, -1.0)))))


def _of_layer(quantity: Quantity) -> Algorithm:
    return lambda c, problem: LAYER[quantity](c, problem, gradient(c, problem))


FAMILY: dict[Quantity, dict[str, Algorithm]] = {
    Quantity.LOSS: {"textbook": loss, "softplus": softplus},
    Quantity.GRADIENT: {"textbook": gradient, "softplus": slope_of_softplus},
    Quantity.HVP: {"textbook": hvp},
    Quantity.HESSIAN: {"textbook": hessian},
    **{quantity: {"textbook": _of_layer(quantity)} for quantity in LAYER},
}
"""By quantity, the algorithms of other losses."""
