"""The bounds of the family of losses, against textbook algorithms in which every operation is rounded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from reference.arithmetic import PAIRWISE, RECURSIVE, Arithmetic, Summation
from reference.bounds import stable_bound
from reference.evaluation import evaluate
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, Floats, Format
from reference.loss import Loss
from reference.problem import Problem
from reference.quantity import Quantity
from suites.measurement import Measurement
from tests.test_bounds import EXP_ULPS, rounded_sum

DERIVED = (Quantity.LOSS, Quantity.GRADIENT, Quantity.HESSIAN, Quantity.HVP)


@dataclass(frozen=True)
class Rounding:
    """Arithmetic of a format: float64 operations, each rounded."""

    fmt: Format
    summation: Summation = RECURSIVE

    def __call__(self, values: Floats) -> Floats:
        return self.fmt.round(values)

    def sum(self, terms: Floats) -> Floats:
        return rounded_sum(terms, self.fmt, self.summation)[..., None]

    def mean(self, p: Floats, values: Floats) -> Floats:
        """<p, values> over the last axis."""
        return self.sum(self(p * values))

    def deviation(self, p: Floats, v: Floats) -> Floats:
        """p (v - <p, v>): the derivative of the softmax along v."""
        return self(p * self(v - self.mean(p, v)))


@dataclass(frozen=True)
class Textbook:
    """Rounded rows: log_softmax, softmax, lse and what they are made of."""

    problem: Problem
    r: Rounding

    @property
    def x(self) -> Floats:
        given = self.problem.logits
        return np.hstack([given, 0 * given]) if self.problem.is_binary else given

    @property
    def tanh(self) -> Floats:
        return self.r(np.tanh(self.r(self.x / self.problem.logit_softcap)))

    @property
    def y(self) -> Floats:
        """Behind the softcap, where there is one over T; without one the shift comes before the temperature."""
        cap, t = self.problem.logit_softcap, self.problem.temperature
        if cap is None:
            return self.x
        capped = self.r(cap * self.tanh)
        return capped if t == 1.0 else self.r(capped / t)

    @property
    def top(self) -> Floats:
        return self.y.max(axis=1, keepdims=True)

    @property
    def gaps(self) -> Floats:
        gaps, t = self.r(self.y - self.top), self.problem.temperature
        return gaps if t == 1.0 or self.problem.logit_softcap is not None else self.r(gaps / t)

    @property
    def log_sum(self) -> Floats:
        return self.r(np.log(self.r.sum(self.r(np.exp(self.gaps)))))

    @property
    def log_p(self) -> Floats:
        return self.r(self.gaps - self.log_sum)

    @property
    def p(self) -> Floats:
        return self.r(np.exp(self.log_p))

    @property
    def lse(self) -> Floats:
        capped = self.problem.logit_softcap is not None
        return self.r((self.top if capped else self.r(self.top / self.problem.temperature)) + self.log_sum)

    @property
    def labels(self) -> Floats:
        q = self.problem.target
        if self.problem.is_binary:
            return np.hstack([self.r(self.problem.positive_weight * q), self.r(1 - q)])
        return q if self.problem.has_probabilities else np.eye(self.problem.num_classes)[q]


Values = tuple[Floats, Floats, Callable[[Floats], Floats]]
"""Losses (N, 1), gradients in y, and the Hessian in y along v."""


def regularised(t: Textbook) -> Values:
    """Weighted cross-entropy plus z lse^2."""
    r, a, z, p = t.r, t.labels, t.problem.z_loss, t.p
    mass = r.sum(a)
    loss = r(r.sum(r(a * -t.log_p)) + r(z * r(t.lse * t.lse)))
    pull = r(2 * z * t.lse)
    slope = r(r(r(mass * p) - a) + r(pull * p))

    def product(v: Floats) -> Floats:
        moved = r.deviation(p, v)
        return r(r(r(mass * moved) + r(pull * moved)) + r(r(2 * z * r.mean(p, v)) * p))

    return loss, slope, product


def divergence(t: Textbook) -> Values:
    r, q = t.r, t.labels
    logs = r(np.log(np.where(q > 0, q, 1.0)))
    _, slope, product = regularised(t)
    return r.sum(r(r(q * logs) - r(q * t.log_p))), slope, product


def squared(t: Textbook) -> Values:
    r, p = t.r, t.p
    residual = r(p - t.labels)
    twice = 2 * residual

    def product(v: Floats) -> Floats:
        moved = r.deviation(p, v)
        inner, bent = r(twice - r.mean(p, twice)), 2 * moved
        return r(r(moved * inner) + r(p * r(r(bent - r.mean(moved, twice)) - r.mean(p, bent))))

    return r.sum(r(residual * residual)), r(p * r(twice - r.mean(p, twice))), product


def focal(t: Textbook) -> Values:
    r, hot, g, p = t.r, t.labels, t.problem.focusing, t.p
    log_loss, p_t = (np.where(hot > 0, part, 0.0).sum(1, keepdims=True) for part in (-t.log_p, p))
    w = r(1 - p_t)
    power = lambda exponent: r(w**exponent)  # noqa: E731
    once = r(r(g * power(g - 1)) * p_t)
    twice = r(r(r(r(g * (g - 1)) * power(g - 2)) * r(p_t * p_t)) * log_loss)
    first = r(power(g) + r(once * log_loss))
    second = r(r(2 * once + twice) - r(once * log_loss))
    offset = r(p - hot)

    def product(v: Floats) -> Floats:
        return r(r(first * r.deviation(p, v)) + r(r(second * offset) * r.sum(r(offset * v))))

    return r(power(g) * log_loss), r(first * offset), product


TEXTBOOKS: dict[Loss, Callable[[Textbook], Values]] = {
    Loss.CROSS_ENTROPY: regularised,
    Loss.SIGMOID: regularised,
    Loss.KL_DIVERGENCE: divergence,
    Loss.SQUARED_ERROR: squared,
    Loss.FOCAL: focal,
    Loss.SIGMOID_FOCAL: focal,
}


def textbook(problem: Problem, summation: Summation) -> dict[Quantity, Floats]:
    """Every quantity without reduction or cotangent, each operation rounded."""
    r = Rounding(problem.format, summation)
    t = Textbook(problem, r)
    loss, slope, product = TEXTBOOKS[problem.loss](t)
    cap, temperature = problem.logit_softcap, problem.temperature

    def chained(v: Floats) -> Floats:
        if cap is None:
            inner = product(v)
        else:
            rate = r(1 - r(t.tanh * t.tanh))
            bend = r(r(2 * temperature / cap * t.tanh) * rate)
            inner = r(r(rate * product(r(rate * v))) - r(r(slope * bend) * v))
        return inner if temperature == 1.0 else r(inner / temperature**2)

    gradient = slope if cap is None else r(slope * r(1 - r(t.tanh * t.tanh)))
    gradient = gradient if temperature == 1.0 else r(gradient / temperature)
    assert problem.tangent is not None
    tangent = np.hstack([problem.tangent, 0 * problem.tangent]) if problem.is_binary else problem.tangent
    units = np.eye(t.x.shape[1])
    hessian = np.stack([chained(np.broadcast_to(unit, t.x.shape)) for unit in units], axis=1)
    k = problem.num_classes
    return {
        Quantity.LOSS: loss[:, 0],
        Quantity.GRADIENT: gradient[:, :k],
        Quantity.HESSIAN: hessian[:, :k, :k],
        Quantity.HVP: chained(tangent)[:, :k],
    }


@dataclass(frozen=True)
class Kind:
    """A loss with its options; `target` draws one for logits of a shape."""

    name: str
    options: dict[str, Any]
    target: str
    smallest: float = 0.1


KINDS = [
    Kind("z-loss", {"z_loss": 0.25}, "indices"),
    Kind("z-loss-temperature", {"z_loss": 0.5, "temperature": 0.7}, "probabilities"),
    Kind("softcap", {"logit_softcap": 5.0}, "indices"),
    Kind("softcap-temperature-z", {"logit_softcap": 8.0, "temperature": 1.5, "z_loss": 0.125}, "probabilities"),
    Kind("kl", {"loss": Loss.KL_DIVERGENCE}, "probabilities"),
    Kind("squared", {"loss": Loss.SQUARED_ERROR}, "probabilities"),
    Kind("focal-0.5", {"loss": Loss.FOCAL, "focusing": 0.5}, "indices"),
    Kind("focal-1", {"loss": Loss.FOCAL, "focusing": 1.0}, "indices"),
    Kind("focal-2", {"loss": Loss.FOCAL, "focusing": 2.0}, "indices"),
    Kind("focal-3.5", {"loss": Loss.FOCAL, "focusing": 3.5}, "indices"),
    Kind("sigmoid", {"loss": Loss.SIGMOID, "positive_weight": 3.0}, "binary"),
    Kind("sigmoid-focal", {"loss": Loss.SIGMOID_FOCAL, "focusing": 2.0}, "classes"),
]


def drawn(kind: Kind, fmt: Format, classes: int, scale: float, seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    binary = kind.target in ("binary", "classes")
    shape = (40 if classes <= 10 else 8, 1 if binary else classes)
    logits = fmt.round(rng.normal(size=shape) * scale)
    target: Any = {
        "indices": lambda: rng.integers(0, classes, shape[0]),
        "probabilities": lambda: fmt.round(rng.dirichlet(np.ones(classes), size=shape[0])),
        "binary": lambda: fmt.round(rng.random(shape)),
        "classes": lambda: rng.integers(0, 2, shape).astype(np.float64),
    }[kind.target]()
    tangent = fmt.round(rng.normal(size=shape))
    return Problem(logits, target, fmt, tangent=tangent, **kind.options)


SHAPES = [(2, 1.0), (2, 6.0), (3, 3.0), (10, 1.0), (10, 8.0), (33, 2.0)]


def worst_ratios(kind: Kind, fmt: Format, summation: Summation) -> dict[Quantity, float]:
    """Largest error over bound of the textbook algorithm, over all shapes."""
    arithmetic = Arithmetic(fmt, fmt, exp_ulps=EXP_ULPS, log_ulps=EXP_ULPS, summation=summation, tanh_ulps=EXP_ULPS)
    worst = dict.fromkeys(DERIVED, 0.0)
    for seed, (classes, scale) in enumerate(SHAPES):
        problem = drawn(kind, fmt, classes, scale, seed)
        wanted = [q for q in DERIVED if q is not Quantity.HESSIAN or classes <= 10]
        expected = evaluate(problem, wanted)
        with np.errstate(all="ignore"):
            values = textbook(problem, summation)
        for quantity in wanted:
            found = Measurement(problem, quantity, arithmetic, expected[quantity], values[quantity])
            bound = stable_bound(problem, quantity, arithmetic)
            assert bound.shape == values[quantity].shape
            known = np.isfinite(values[quantity])
            ratio = (found.least_error / bound)[known]
            assert ratio.max(initial=0.0) <= 1.0, (quantity, classes, scale, ratio.max())
            worst[quantity] = max(worst[quantity], float(ratio.max(initial=0.0)))
    return worst


@pytest.mark.parametrize("fmt", [FLOAT32, FLOAT16, BFLOAT16], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_textbook_algorithm_stays_within_the_bound_and_uses_it(kind: Kind, fmt: Format) -> None:
    worst = worst_ratios(kind, fmt, PAIRWISE)
    print(kind.name, fmt.name, {str(q): round(v, 3) for q, v in worst.items()})
    assert all(ratio > kind.smallest for ratio in worst.values()), worst
