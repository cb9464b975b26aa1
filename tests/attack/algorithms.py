"""The algorithms that the bounds of `stable` are of: the max-shifted softmax and its losses, in any arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference.problem import Problem
from reference.quantity import Quantity
from reference.weights import tangent_of, weights_of
from tests.attack.computers import Computer

Algorithm = Callable[[Computer[Any], Problem], Any]


def _gaps(c: Computer[Any], problem: Problem) -> Any:
    """x - m, divided by the temperature."""
    x = c.exact(problem.logits)
    shifted = c.subtract(x, c.exact(problem.logits.max(axis=1, keepdims=True)))
    return shifted if problem.temperature == 1.0 else c.divide(shifted, c.exact(np.full((1, 1), problem.temperature)))


def _log_sum(c: Computer[Any], gaps: Any) -> Any:
    return c.log(c.total(c.exp(gaps)))


def log_softmax(c: Computer[Any], problem: Problem) -> Any:
    """d - log S, stored."""
    gaps = _gaps(c, problem)
    return c.store(c.subtract(gaps, _log_sum(c, gaps)))


def by_exp(c: Computer[Any], problem: Problem) -> Any:
    """The probabilities as exp of the stored log_softmax."""
    return c.exp(log_softmax(c, problem))


def by_quotient(c: Computer[Any], problem: Problem) -> Any:
    """The probabilities as E / S."""
    powers = c.exp(_gaps(c, problem))
    return c.divide(powers, c.total(powers))


def logsumexp(c: Computer[Any], problem: Problem) -> Any:
    """m + log S, stored."""
    top = c.exact(problem.logits.max(axis=1, keepdims=True))
    if problem.temperature != 1.0:
        top = c.divide(top, c.exact(np.full((1, 1), problem.temperature)))
    return c.store(c.add(top, _log_sum(c, _gaps(c, problem))))[..., 0]


def loss(c: Computer[Any], problem: Problem) -> Any:
    """The log_softmax of the target; of weights, sum a_c L_c."""
    logs = log_softmax(c, problem)
    if problem.is_plain:
        return c.joined([logs[row : row + 1, label] for row, label in enumerate(problem.target)])
    return c.total(c.store(c.multiply(c.exact(weights_of(problem)), logs)))[..., 0]


def _gradient(c: Computer[Any], problem: Problem, p: Any) -> Any:
    weights = c.exact(weights_of(problem))
    if not problem.is_plain:
        p = c.store(c.multiply(c.total(weights), p))
    return _finished(c, problem, c.subtract(p, weights), 1)


def _finished(c: Computer[Any], problem: Problem, derivative: Any, order: int) -> Any:
    """Divided by the temperature, and stored."""
    for _ in range(order if problem.temperature != 1.0 else 0):
        derivative = c.divide(derivative, c.exact(np.full((1, 1), problem.temperature)))
    return c.store(derivative)


def _product(c: Computer[Any], problem: Problem, p: Any) -> Any:
    """p (v - <p, v>)."""
    v = c.exact(tangent_of(problem))
    mean = c.total(c.multiply(p, v))
    result = c.multiply(p, c.subtract(v, mean))
    return _finished(c, problem, result if problem.is_plain else c.multiply(c.total(c.exact(weights_of(problem))), result), 2)


def _product_in_parts(c: Computer[Any], problem: Problem, p: Any) -> Any:
    """p v - p <p, v>."""
    v = c.exact(tangent_of(problem))
    moved = c.multiply(p, v)
    result = c.subtract(moved, c.multiply(p, c.total(moved)))
    return _finished(c, problem, result if problem.is_plain else c.multiply(c.total(c.exact(weights_of(problem))), result), 2)


def _diagonal(c: Computer[Any], problem: Problem, p: Any) -> Any:
    """p - p p."""
    result = c.subtract(p, c.multiply(p, p))
    return _finished(c, problem, result if problem.is_plain else c.multiply(c.total(c.exact(weights_of(problem))), result), 2)


def _of(probabilities: Algorithm, last: Callable[[Computer[Any], Problem, Any], Any]) -> Algorithm:
    return lambda c, problem: last(c, problem, probabilities(c, problem))


WAYS = {"exp": by_exp, "quotient": by_quotient}
"""The two ways to a probability."""

ALGORITHMS: dict[Quantity, dict[str, Algorithm]] = {
    Quantity.LOG_SOFTMAX: {"": log_softmax},
    Quantity.SOFTMAX: {name: _of(way, lambda c, _, p: c.store(p)) for name, way in WAYS.items()},
    Quantity.LOGSUMEXP: {"": logsumexp},
    Quantity.LOSS: {"": loss},
    Quantity.GRADIENT: {name: _of(way, _gradient) for name, way in WAYS.items()},
    Quantity.HESSIAN_DIAGONAL: {name: _of(way, _diagonal) for name, way in WAYS.items()},
    Quantity.HVP: {
        f"{name}, {form}": _of(way, product)
        for name, way in WAYS.items()
        for form, product in (("difference", _product), ("parts", _product_in_parts))
    },
}
"""By quantity, the algorithms that its bound must hold for."""
