"""The bounds of the family of losses, against textbook algorithms in which every operation is rounded."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import reference.bounds.analysis
import reference.bounds.family
from reference.arithmetic import PAIRWISE, RECURSIVE, Arithmetic, Summation
from reference.bounds.analysis import Analysis
from reference.bounds.entrywise import accurate_bound, stable_bound
from reference.bounds.family import (
    amplitude_of,
    family_gradient,
    family_loss,
    family_product,
    power,
)
from reference.bounds.row_errors import RowErrors
from reference.bounds.running import Running
from reference.evaluation import evaluate
from reference.expected import Expected
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, Floats, Format
from reference.grades import Grade
from reference.loss import Loss
from reference.problem import Problem
from reference.quantity import LAYER_GRADIENTS, OF_SOME_PROBLEMS, SUMMED_GRADIENTS, Quantity
from suites.judging.measurement import Measurement
from tests.layers import picking
from tests.test_bounds import EXP_ULPS, rounded_sum

DERIVED = (Quantity.LOSS, Quantity.GRADIENT, Quantity.HESSIAN, Quantity.HVP)


@dataclass(frozen=True)
class Rounding:
    """Arithmetic of a format: float64 operations, each rounded to `working` and stored; sums are stored at their end."""

    fmt: Format
    working: Format
    summation: Summation = RECURSIVE

    def __call__(self, values: Floats) -> Floats:
        return self.fmt.round(self.working.round(values))

    def sum(self, terms: Floats) -> Floats:
        return self(rounded_sum(terms, self.working, self.summation)[..., None])

    @property
    def inside(self) -> Rounding:
        """Of a kernel that stores nothing."""
        return Rounding(self.working, self.working, self.summation)

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
        return self.r(np.tanh(self.r(self.scaled(self.x) / self.problem.logit_softcap)))

    def scaled(self, values: Floats) -> Floats:
        """Times the scale, a number of the format."""
        scale = self.problem.logit_scale
        return values if scale == 1.0 else self.r(scale * values)

    @property
    def y(self) -> Floats:
        """Behind the softcap, where there is one over T; without one the shift comes before scale and temperature."""
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
        gaps, s, t = self.r.inside(self.y - self.top), self.problem.logit_scale, self.problem.temperature
        if self.problem.logit_softcap is not None:
            return gaps
        gaps = gaps if s == 1.0 else self.r.inside(gaps * s)
        return gaps if t == 1.0 else self.r.inside(gaps / t)

    @property
    def log_sum(self) -> Floats:
        r = self.r.inside
        return r(np.log(r.sum(r(np.exp(self.gaps)))))

    @property
    def log_p(self) -> Floats:
        return self.r(self.gaps - self.log_sum)

    @property
    def p(self) -> Floats:
        return self.r(np.exp(self.log_p))

    @property
    def lse(self) -> Floats:
        capped = self.problem.logit_softcap is not None
        return self.r((self.top if capped else self.r(self.scaled(self.top) / self.problem.temperature)) + self.log_sum)

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


def textbook(t: Textbook) -> dict[Quantity, Floats]:
    """Every quantity without reduction or cotangent, each operation rounded."""
    problem, r = t.problem, t.r
    loss, slope, product = TEXTBOOKS[problem.loss](t)
    cap, temperature = problem.logit_softcap, problem.temperature

    def chained(v: Floats) -> Floats:
        if cap is None:
            inner = product(v)
        else:
            rate = r(1 - r(t.tanh * t.tanh))
            bend = r(r(2 * temperature / cap * t.tanh) * rate)
            inner = r(r(rate * product(r(rate * v))) - r(r(slope * bend) * v))
        return t.scaled(t.scaled(inner if temperature == 1.0 else r(inner / temperature**2)))

    gradient = slope if cap is None else r(slope * r(1 - r(t.tanh * t.tanh)))
    gradient = t.scaled(gradient if temperature == 1.0 else r(gradient / temperature))
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


KINDS = [
    Kind("z-loss", {"z_loss": 0.25}, "indices"),
    Kind("z-loss-temperature", {"z_loss": 0.5, "temperature": 0.7}, "probabilities"),
    Kind("softcap", {"logit_softcap": 5.0}, "indices"),
    Kind("scale", {"logit_scale": 0.375, "z_loss": 0.25}, "indices"),
    Kind("scale-softcap", {"logit_scale": 1.5, "logit_softcap": 5.0}, "indices"),
    Kind(
        "scale-softcap-temperature",
        {"logit_scale": 0.4375, "logit_softcap": 3.0, "temperature": 0.7},
        "indices",
    ),
    Kind("softcap-temperature-z", {"logit_softcap": 8.0, "temperature": 1.5, "z_loss": 0.125}, "probabilities"),
    Kind("kl", {"loss": Loss.KL_DIVERGENCE}, "probabilities"),
    Kind("squared", {"loss": Loss.SQUARED_ERROR}, "probabilities"),
    Kind("squared-one-hot", {"loss": Loss.SQUARED_ERROR}, "one-hot"),
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
        "one-hot": lambda: np.eye(classes)[rng.integers(0, classes, shape[0])],
        "binary": lambda: fmt.round(rng.random(shape)),
        "classes": lambda: rng.integers(0, 2, shape).astype(np.float64),
    }[kind.target]()
    tangent = fmt.round(rng.normal(size=shape))
    return Problem(logits, target, fmt, tangent=tangent, **kind.options)


SHAPES = [(2, 1.0), (2, 6.0), (3, 3.0), (10, 1.0), (10, 8.0), (33, 2.0)]


def worst_ratios(kind: Kind, arithmetic: Arithmetic) -> dict[Quantity, float]:
    """Largest error over bound of the textbook algorithm, over all shapes."""
    fmt, worst = arithmetic.storage, dict.fromkeys(DERIVED, 0.0)
    for seed, (classes, scale) in enumerate(SHAPES):
        problem = drawn(kind, fmt, classes, scale, seed)
        wanted = [q for q in DERIVED if q is not Quantity.HESSIAN or classes <= 10]
        expected = evaluate(problem, wanted)
        with np.errstate(all="ignore"):
            values = textbook(Textbook(problem, Rounding(fmt, arithmetic.working, arithmetic.summation)))
        for quantity in wanted:
            ratio = ratio_of(problem, quantity, arithmetic, expected[quantity], values[quantity])
            assert ratio <= 1.0, (quantity, classes, scale, ratio)
            worst[quantity] = max(worst[quantity], ratio)
    return worst


def ratio_of(problem: Problem, quantity: Quantity, arithmetic: Arithmetic, expected: Expected, values: Floats) -> float:
    """Largest error over bound of values, where they are numbers: a power of a rounded 0 may be none."""
    found = Measurement(problem, quantity, arithmetic, expected, values)
    bound = stable_bound(problem, quantity, arithmetic)
    assert bound.shape == values.shape
    return float((found.least_error / bound)[np.isfinite(values)].max(initial=0.0))


def declared(storage: Format, working: Format | None = None, summation: Summation = PAIRWISE, **ulps: float) -> Arithmetic:
    """float64 functions, rounded once more, unless declared otherwise."""
    errors = {"exp_ulps": EXP_ULPS, "log_ulps": EXP_ULPS, "tanh_ulps": EXP_ULPS} | ulps
    return Arithmetic(storage, working or storage, summation=summation, **errors)


@pytest.mark.parametrize("fmt", [FLOAT32, FLOAT16, BFLOAT16], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_textbook_algorithm_stays_within_the_bound_and_uses_it(kind: Kind, fmt: Format) -> None:
    worst = worst_ratios(kind, declared(fmt))
    assert all(ratio > 0.1 for ratio in worst.values()), worst


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_recursive_sum_stays_within_its_own_bound(kind: Kind) -> None:
    worst_ratios(kind, declared(FLOAT32, summation=RECURSIVE))


@pytest.mark.parametrize("fmt", [FLOAT16, BFLOAT16], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_store_of_a_narrow_format_counts(kind: Kind, fmt: Format) -> None:
    """float32 inside, each result stored; without the stores the bound would be thousands of times smaller."""
    worst = worst_ratios(kind, declared(fmt, FLOAT32))
    assert all(ratio > 0.1 for ratio in worst.values()), worst


# ---------------------------------------------------------------------------------------------------------------------
# One term at a time: where it is the largest, the bound is not exceeded with it and would be without it.


def exact_values(problem: Problem, quantity: Quantity) -> Floats:
    return evaluate(problem, [quantity])[quantity].values.approximate()


def test_the_offset_enters_a_z_loss_through_lse_squared() -> None:
    """2 |lse| times the rounding of lse; cross-entropy alone does not see the offset."""
    problem = Problem([[0.0, -3.0, -8.0]], [1], FLOAT32, z_loss=0.5)
    shifted = problem.replace(logits=problem.logits + 2.0**12)
    arithmetic, u = declared(FLOAT32), FLOAT32.unit_roundoff
    size = float(exact_values(shifted, Quantity.LOGSUMEXP)[0])
    bound = float(stable_bound(shifted, Quantity.LOSS, arithmetic)[0])
    assert 0.5 * 2 * size * size * u < bound < 0.5 * 8 * size * size * u
    slope = 2 * 0.5 * size * exact_values(shifted, Quantity.SOFTMAX)
    assert (stable_bound(shifted, Quantity.GRADIENT, arithmetic) > u * slope).all()
    assert (stable_bound(problem, Quantity.GRADIENT, arithmetic) < u * slope).all()


@dataclass(frozen=True)
class PlantedTanh(Textbook):
    """A tanh off by 200 ulps, of alternating sign."""

    @property
    def tanh(self) -> Floats:
        off = 200 * self.r.fmt.unit_roundoff * np.array([1.0, -1.0, 1.0])
        return self.r(np.tanh(self.x / self.problem.logit_softcap) * (1 + off))


@pytest.mark.parametrize("quantity", DERIVED)
def test_a_worse_tanh_is_allowed_what_it_declares(quantity: Quantity) -> None:
    problem = Problem([[1.0, -2.0, 0.5]], [0], FLOAT32, logit_softcap=2.0, tangent=[[1.0, -1.0, 0.5]])
    values = textbook(PlantedTanh(problem, Rounding(FLOAT32, FLOAT32)))[quantity]
    expected = evaluate(problem, [quantity])[quantity]
    assert ratio_of(problem, quantity, declared(FLOAT32, tanh_ulps=200.0), expected, values) <= 1.0
    assert ratio_of(problem, quantity, declared(FLOAT32), expected, values) > 1.0


def test_a_worse_log_is_allowed_in_the_entropy() -> None:
    """q log q with a log off by 200 ulps, in a row whose log_softmax is exact."""
    problem = Problem([[0.0]], np.array([[2.0**-10]]), FLOAT32, loss=Loss.KL_DIVERGENCE)
    values = FLOAT32.round(exact_values(problem, Quantity.LOSS) * (1 + 200 * FLOAT32.unit_roundoff))
    expected = evaluate(problem, [Quantity.LOSS])[Quantity.LOSS]
    assert ratio_of(problem, Quantity.LOSS, declared(FLOAT32, log_ulps=200.0), expected, values) <= 1.0
    assert ratio_of(problem, Quantity.LOSS, declared(FLOAT32, log_ulps=20.0), expected, values) > 1.0


@pytest.mark.parametrize("exponent", [-1.5, -0.5, 0.5, 2.0, 3.5])
def test_a_power_is_allowed_its_logarithm_its_exponential_and_its_base(exponent: float) -> None:
    """w^e as exp(e log w): log off by 200 ulps, exp by 100, w by its error; each way up and each way down."""
    arithmetic, u = declared(FLOAT32, log_ulps=200.0, exp_ulps=100.0), FLOAT32.unit_roundoff
    w = np.array([1e-3, 0.25, 0.999])
    base = Running(w, 1e-5 * w, arithmetic)
    bound = power(base, exponent)
    for sign in (1.0, -1.0):
        turn = sign * np.sign(exponent)
        logarithm = np.log(w * (1 + turn * 1e-5)) * (1 - turn * 2 * 200 * u)
        result = np.exp(exponent * logarithm) * (1 + sign * 2 * 100 * u)
        ratio = np.abs(result - w**exponent) / bound.error
        assert ratio.max() <= 1.0
        assert ratio.min() > 0.2
    narrow = [Running(w, 0 * w, arithmetic), Running(w, 1e-5 * w, declared(FLOAT32, log_ulps=200.0))]
    narrow.append(Running(w, 1e-5 * w, declared(FLOAT32, exp_ulps=100.0)))
    assert all((power(part, exponent).error < bound.error).all() for part in narrow)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_reductions_and_cotangents_scale_the_bounds(kind: Kind, reduction: str) -> None:
    """A sum has the bounds of its rows and its own roundings; derivatives have those of the rows times the factor."""
    single = drawn(kind, FLOAT32, 3, 3.0, 5)
    arithmetic, share = declared(FLOAT32), 1 / single.num_rows if reduction == "mean" else 1.0
    reduced = single.replace(reduction=reduction, cotangent=-8.0)
    rows, total = (stable_bound(problem, Quantity.LOSS, arithmetic) for problem in (single, reduced))
    losses = evaluate(reduced, [Quantity.LOSS])[Quantity.LOSS].values.approximate()
    depth = arithmetic.summation.depth(single.num_rows)
    assert total >= rows.sum() * share + losses * depth * FLOAT32.unit_roundoff
    assert total < 20 * rows.sum() * share
    for quantity in DERIVED[1:]:
        before, after = (stable_bound(problem, quantity, arithmetic) for problem in (single, reduced))
        ratio = after / before / (8 * share)
        assert ratio.min() > 0.99
        assert ratio.max() < 4.0


def test_ignored_rows_have_no_error() -> None:
    common: dict[str, Any] = {"logits": [[3.0, 1.0]], "target": [-100], "format": FLOAT32}
    options: list[dict[str, Any]] = [
        {"loss": Loss.FOCAL, "focusing": 2.0},
        {"z_loss": 0.5},
        {"z_loss": 0.5, "logit_softcap": 3.0},
    ]
    for problem in (Problem(**common, **given) for given in options):
        assert stable_bound(problem, Quantity.LOSS, declared(FLOAT32))[0] == 0
        assert stable_bound(problem, Quantity.GRADIENT, declared(FLOAT32)).max() < FLOAT32.min_normal


@pytest.mark.parametrize("summation", [RECURSIVE, PAIRWISE], ids=str)
@pytest.mark.parametrize("options", [{}, {"z_loss": 0.5}], ids=str)
def test_the_linear_layer(summation: Summation, options: dict[str, float]) -> None:
    """Gradients of 60 rows, summed with every addition rounded."""
    rng, rows = np.random.default_rng(2), 60
    logits, feature = FLOAT16.round(rng.normal(size=(rows, 3))), FLOAT16.round(rng.uniform(1, 2, rows))
    given: dict[str, Any] = {"tangent": np.zeros((rows, 3)), **options}
    problem, alone = picking(logits, [0] * rows, FLOAT16, feature, **given), Problem(logits, [0] * rows, FLOAT16, **given)
    arithmetic, r = declared(FLOAT16, summation=summation), Rounding(FLOAT16, FLOAT16, summation)
    gradient = textbook(Textbook(problem, r))[Quantity.GRADIENT]
    last = r.sum(r(gradient * feature[:, None]).T)
    values = {Quantity.WEIGHT_GRADIENT: np.hstack([gradient.T, last]), Quantity.BIAS_GRADIENT: r.sum(gradient.T)[:, 0]}
    for quantity, expected in evaluate(problem, SUMMED_GRADIENTS).items():
        assert ratio_of(problem, quantity, arithmetic, expected, values[quantity]) <= 1.0
    # What a sum of 60 rows may lose, if every addition rounds up, and what its terms lost before.
    size, u, depth = np.abs(gradient).sum(axis=0), FLOAT16.unit_roundoff, summation.depth(rows)
    parts = stable_bound(alone, Quantity.GRADIENT, arithmetic)
    assert (stable_bound(problem, Quantity.BIAS_GRADIENT, arithmetic) > parts.sum(axis=0) + 0.9 * depth * u * size).all()
    weight = stable_bound(problem, Quantity.WEIGHT_GRADIENT, arithmetic)
    assert (weight[:, -1] > feature @ parts + 0.9 * depth * u * (feature @ np.abs(gradient))).all()
    assert (weight[:, :-1] > parts.T + 0.9 * u * np.abs(gradient.T)).all()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("fmt", [FLOAT64, FLOAT16], ids=lambda fmt: fmt.name)
def test_the_correctly_rounded_values_are_correct(kind: Kind, fmt: Format) -> None:
    problem = drawn(kind, fmt, 3, 3.0, 7)
    wanted = [q for q in Quantity if q not in OF_SOME_PROBLEMS]
    for quantity, expected in evaluate(problem, wanted).items():
        values, _ = expected.values.rounded(fmt)
        found = Measurement(problem, quantity, Arithmetic(fmt, fmt), expected, values)
        assert found.grade is Grade.CORRECT, quantity
        assert found.stable_bound.shape == found.accurate_bound.shape == values.shape
        assert (found.accurate_bound > 0).all()
        flushing = accurate_bound(problem, quantity, Arithmetic(fmt, fmt, flush_to_zero=True), expected)
        assert (flushing >= found.accurate_bound).all()
        assert (flushing >= fmt.min_normal).all()


@pytest.mark.parametrize(
    "logits",
    [[709.78, -FLOAT64.largest], [2.0**600, 0.0], [-FLOAT64.largest, -FLOAT64.largest]],
    ids=["far class", "lse^2", "all low"],
)
def test_a_correct_z_loss_is_correct_where_squares_of_its_logits_overflow(logits: list[float]) -> None:
    """Its amplitude is 1 + 6 z (1 + |lse|): of the first row 1.43, since lse is the maximum."""
    problem = Problem([logits], [0], FLOAT64, z_loss=1e-4, tangent=[[1.0, 2.0]])
    assert (amplitude_of(problem, Arithmetic(FLOAT64, FLOAT64), 1) < 1.43).all() == (logits[0] == 709.78)
    for quantity, expected in evaluate(problem, DERIVED).items():
        values, _ = expected.values.rounded(FLOAT64)
        assert Measurement(problem, quantity, Arithmetic(FLOAT64, FLOAT64), expected, values).grade is Grade.CORRECT, quantity


@pytest.mark.parametrize("quantity", LAYER_GRADIENTS)
def test_a_correct_gradient_of_the_layer_is_correct(quantity: Quantity) -> None:
    problem = picking([[20.0, 0.0], [1.0, 2.0]], [0, 1], FLOAT32, [3.0, -1.0])
    expected = evaluate(problem, [quantity])[quantity]
    values, _ = expected.values.rounded(FLOAT32)
    found = Measurement(problem, quantity, Arithmetic(FLOAT32, FLOAT32), expected, values)
    assert found.grade is Grade.CORRECT
    assert found.accurate_bound.shape == values.shape


LOSING = [
    kind for kind in KINDS if kind.target in ("indices", "probabilities", "one-hot") and "logit_softcap" not in kind.options
]


@pytest.mark.parametrize(
    ("gap", "arithmetic"),
    [(16.0, Arithmetic(FLOAT16, FLOAT16)), (9.8, Arithmetic(FLOAT16, FLOAT16, flush_to_zero=True))],
    ids=["lost", "flushed"],
)
@pytest.mark.parametrize("spread", [3.0, 12.0], ids=["near", "peaked"])
@pytest.mark.parametrize("kind", [*LOSING, Kind("large-z-loss", {"z_loss": 64.0}, "indices")], ids=lambda kind: kind.name)
def test_a_lost_power_changes_nothing_by_more_than_its_amplitude(
    kind: Kind, spread: float, gap: float, arithmetic: Arithmetic
) -> None:
    """A class far below, of label 0, and the same row without it: S loses a power, which float16 may lose, and nothing else."""
    problem, lost = drawn(kind, FLOAT64, 3, spread, 11), np.exp(-gap)
    unit = problem.temperature / problem.logit_scale
    far = problem.logits.max(axis=1, keepdims=True) - gap * unit
    target = np.pad(problem.target, ((0, 0), (0, 1))) if problem.has_probabilities else problem.target
    present = problem.replace(logits=np.hstack([problem.logits, far]), target=target, tangent=None)
    absent = present.replace(logits=np.hstack([problem.logits, np.full_like(far, -np.inf)]))
    for order, quantity in enumerate(DERIVED[:3]):
        values, without = (exact_values(p, quantity) for p in (present, absent))
        change = np.abs(values - without).reshape(problem.num_rows, -1).max(axis=1)
        allowed = amplitude_of(problem, arithmetic, order)[:, 0] / unit**order * lost
        rounding = 2.0**-50 * np.abs(values).reshape(problem.num_rows, -1).max(axis=1)
        assert (change <= allowed + rounding).all(), quantity


# ---------------------------------------------------------------------------------------------------------------------
# The algebra itself.


def random_running(rng: np.random.Generator, shape: tuple[int, ...], arithmetic: Arithmetic) -> tuple[Floats, Floats, Running]:
    """Exact numbers, computed ones off by up to their error, and their running bound."""
    exact = rng.normal(size=shape)
    error = np.abs(rng.normal(size=shape)) * 2.0**-6
    computed = arithmetic.storage.round(exact + error * rng.uniform(-0.9, 0.9, shape))
    return exact, computed, Running(np.abs(exact), np.maximum(error, np.abs(computed - exact)), arithmetic)


@pytest.mark.parametrize("summation", [RECURSIVE, PAIRWISE], ids=str)
def test_the_running_error_of_each_operation_holds_and_is_used(summation: Summation) -> None:
    rng, arithmetic = np.random.default_rng(0), declared(BFLOAT16, summation=summation)
    r = Rounding(BFLOAT16, BFLOAT16, summation)
    (x, x_hat, left), (y, y_hat, right) = (random_running(rng, (4000, 4), arithmetic) for _ in range(2))
    outcomes = {
        "plus": (x + y, r(x_hat + y_hat), left.plus(right)),
        "times": (x * y, r(x_hat * y_hat), left.times(right)),
        "scaled": (3 * x, r(3 * x_hat), left.scaled(3.0)),
        "summed": (x.sum(-1, keepdims=True), r.sum(x_hat), left.summed()),
        "smaller": (x - y, r(x_hat - y_hat), left.plus(right, np.abs(x - y))),
    }
    for name, (exact, computed, bound) in outcomes.items():
        ratio = np.abs(computed - exact) / bound.error
        assert ratio.max() <= 1.0, name
        assert ratio.max() > 0.5, name
        assert (np.abs(exact) <= bound.size * (1 + 2.0**-50)).all(), name


def test_underflow_and_flushes_are_allowed() -> None:
    """What underflows to 0 is lost whole: half a subnormal, or under flush-to-zero a normal number, in a sum at each term."""
    tiny = np.full((1, 3), FLOAT32.min_subnormal)
    gradual, flushing = (Arithmetic(FLOAT32, FLOAT32, flush_to_zero=flush) for flush in (False, True))
    assert Running.exact(tiny, gradual).scaled(0.25).error.min() >= FLOAT32.min_subnormal / 4
    assert Running.exact(tiny, flushing).scaled(1.0).error.min() >= FLOAT32.min_normal
    assert Running.exact(tiny, flushing).summed().error.min() >= 3 * FLOAT32.min_normal


def test_a_number_that_is_exactly_zero_stays_zero() -> None:
    arithmetic = declared(FLOAT32)
    zero, infinite = Running.exact(np.zeros(1), arithmetic), Running(np.ones(1), np.full(1, np.inf), arithmetic)
    assert zero.times(infinite).error < FLOAT32.min_normal


def test_a_product_of_wrong_numbers_is_as_wrong_as_it_can_be() -> None:
    """(1 + 1/2)(1 + 1/2) - 1: the errors multiply too."""
    wrong = Running(np.ones(1), np.full(1, 0.5), declared(FLOAT64))
    assert wrong.times(wrong).error >= 1.25


# ---------------------------------------------------------------------------------------------------------------------
# How errors of p, log p and lse spread: exact arithmetic on wrong numbers, each off by as much as it may, either way.


@dataclass(frozen=True)
class Perturbed(Textbook):
    """Probabilities, their logarithms and lse, moved."""

    moved: tuple[Floats, Floats, Floats] = (np.zeros(1), np.zeros(1), np.zeros(1))

    @property
    def p(self) -> Floats:
        return np.exp(super().log_p) + self.moved[0]

    @property
    def log_p(self) -> Floats:
        return super().log_p + self.moved[1]

    @property
    def lse(self) -> Floats:
        return super().lse + self.moved[2]


SPREADING = [
    Problem([[0.0]], [0], FLOAT64, z_loss=100.0, tangent=[[1.0]]),
    Problem([[0.5, -1.0, 1.0]], [1], FLOAT64, z_loss=0.5, tangent=[[1.0, -1.0, 2.0]]),
    *[
        Problem([[0.5, -1.0, 1.0]], [t], FLOAT64, loss=Loss.FOCAL, focusing=g, tangent=[[1.0, -1.0, 2.0]])
        for g in (0.5, 2.0, 20.0)
        for t in (0, 2)
    ],
    Problem([[0.5, -1.0, 1.0]], np.array([[0.5, 0.25, 0.25]]), FLOAT64, loss=Loss.SQUARED_ERROR, tangent=[[1.0, -1.0, 2.0]]),
    Problem([[0.5, 0.5]], np.array([[0.5, 0.5]]), FLOAT64, loss=Loss.SQUARED_ERROR, tangent=[[1.0, -1.0]]),
    Problem([[0.5, -1.0, 1.0]], np.array([[0.5, 0.25, 0.0]]), FLOAT64, loss=Loss.KL_DIVERGENCE, tangent=[[1.0, -1.0, 2.0]]),
]


@pytest.mark.parametrize("problem", SPREADING, ids=range(len(SPREADING)))
@pytest.mark.parametrize("size", [2.0**-30, 2.0**-5])
@pytest.mark.parametrize("lse", [True, False], ids=["lse", "without lse"])
def test_wrong_probabilities_spread_as_far_as_the_bound_says(problem: Problem, size: float, lse: bool) -> None:
    classes = problem.num_classes
    rows = RowErrors(problem, declared(FLOAT64))
    error = np.full((1, classes), size) * rows.probabilities
    rows.__dict__.update(
        probability_error=error, log_error=np.full((1, classes), size), log_sum_error=np.full((1, 1), size * lse)
    )
    bounds = {
        Quantity.LOSS: family_loss(Analysis(rows))[0],
        Quantity.GRADIENT: family_gradient(Analysis(rows)).error if problem.loss is not Loss.KL_DIVERGENCE else None,
        Quantity.HESSIAN: family_product(Analysis(rows, lift=True)).error if problem.loss is not Loss.KL_DIVERGENCE else None,
    }
    worst = dict.fromkeys(bounds, 0.0)
    for signs in itertools.product([-1.0, 1.0], repeat=classes + 2):
        turn = np.array([signs[:classes]])
        moved = (error * turn, np.full((1, classes), size * signs[-2]), np.full((1, 1), size * lse * signs[-1]))
        with np.errstate(all="ignore"):
            found = textbook(Perturbed(problem, Rounding(FLOAT64, FLOAT64), moved))
        for quantity, bound in bounds.items():
            if bound is not None:
                ratio = float((np.abs(found[quantity] - exact_values(problem, quantity)) / bound).max())
                worst[quantity] = max(worst[quantity], ratio)
    assert max(worst.values()) <= 1.0, worst
    assert all(worst[q] > 0.1 for q, bound in bounds.items() if bound is not None and classes > 1), worst


def test_the_quotient_in_front_of_tanh_is_rounded() -> None:
    """With a perfect tanh, its argument is off by one rounding."""
    problem = Problem([[1.0, 0.3125, 4.0]], [0], FLOAT32, logit_softcap=1.0)
    u, x = FLOAT32.unit_roundoff, problem.logits
    found = RowErrors(problem, declared(FLOAT32, tanh_ulps=0.0)).saturation
    assert (found.error >= u * np.tanh(x) + 0.99 * (np.tanh(x * (1 + u)) - np.tanh(x))).all()


def test_a_capped_row_is_shifted_by_a_wrong_maximum() -> None:
    """The shift cancels in a probability; it stays in the size of log S and in what the powers are lost against."""
    capped = Problem([[1.0, -2.0]], [0], FLOAT16, logit_softcap=30.0)
    rows, plain = (RowErrors(p, declared(FLOAT16)) for p in (capped, capped.replace(logit_softcap=None)))
    assert rows.shift_error.min() > FLOAT16.unit_roundoff
    np.testing.assert_array_equal(rows.log_sum, np.log(rows.total) + rows.shift_error)
    np.testing.assert_array_equal(plain.log_sum, np.log(plain.total))
    assert (rows.gap_error >= rows.logit_error).all()


def test_a_scale_rounds_each_product_in_front_of_the_softcap() -> None:
    """u r more in the ratio r, which tanh flattens by its slope."""
    scaled = Problem([[2.0, -4.0, 1.0]], [0], FLOAT32, logit_scale=1.5, logit_softcap=3.0)
    plain = Problem([[3.0, -6.0, 1.5]], [0], FLOAT32, logit_softcap=3.0)
    with_scale, without = (RowErrors(problem, declared(FLOAT32)).saturation.error for problem in (scaled, plain))
    ratio = np.array([[1.0, 2.0, 0.5]])
    owed = FLOAT32.unit_roundoff * ratio / np.cosh(ratio) ** 2
    assert (with_scale - without > 0.99 * owed).all()
    assert (with_scale - without < 1.01 * owed).all()


def test_a_scale_rounds_the_gap_once_more() -> None:
    """Two numbers, s and T, are two roundings beside the shift's."""
    problem = Problem([[3.0, 0.0]], [0], FLOAT32, logit_scale=1.5, temperature=0.75)
    error = RowErrors(problem, declared(FLOAT32)).gap_error[0, 1]
    assert error == pytest.approx(3 * 6.0 * FLOAT32.unit_roundoff, rel=1e-6)


def test_the_temperature_rounds_the_maximum_in_lse() -> None:
    """x/T of T = 1/2 and x of twice the size are one row; the division may round, once, whatever lse is."""
    divided = Problem([[512.0, 500.0]], [1], FLOAT32, z_loss=1.0, temperature=0.5)
    whole = Problem([[1024.0, 1000.0]], [1], FLOAT32, z_loss=1.0)
    more, less = (stable_bound(problem, Quantity.LOSS, declared(FLOAT32))[0] for problem in (divided, whole))
    assert more - less > 1.9 * 1024.0**2 * FLOAT32.unit_roundoff


@pytest.mark.parametrize(("constant", "loss"), [("LABEL_ROUNDINGS", 1.0), ("EXTRA_ROUNDINGS", 0.0)])
def test_labels_and_other_orders_of_the_factors_are_allowed_for(constant: str, loss: float) -> None:
    """Rounded products that the emulation does not make: weight times label, and the order of cotangent and mean."""
    problem, u = Problem([[0.0, 0.0]], [0], FLOAT32, z_loss=2.0**-60, class_weights=[3.0, 1.0]), FLOAT32.unit_roundoff
    counted = [stable_bound(problem, quantity, declared(FLOAT32))[0] for quantity in DERIVED[:2]]
    module = reference.bounds.analysis if loss else reference.bounds.family
    rounded = getattr(module, constant)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, constant, 0)
        bare = [stable_bound(problem.replace(), quantity, declared(FLOAT32))[0] for quantity in DERIVED[:2]]
    assert counted[0] - bare[0] >= 0.99 * loss * rounded * u * 3 * np.log(2)
    assert (counted[1] - bare[1]).min() >= 0.99 * rounded * u * 1.5


def test_powers_are_lost_against_a_sum_that_a_wrong_maximum_made_smaller() -> None:
    rows = RowErrors(Problem([[1.0, -2.0]], [0], FLOAT16, logit_softcap=30.0), declared(FLOAT16))
    rows.__dict__.update(shift_error=np.full((1, 1), 5.0), power_error=np.zeros((1, 2)), probabilities=np.zeros((1, 2)))
    assert rows.sum_error.min() >= 2 * rows.arithmetic.underflow * np.exp(5.0) / rows.total.min()


def test_behind_a_saturated_softcap_the_error_of_the_softmax_is_gone() -> None:
    problem = Problem([[60.0, 62.0]], [0], FLOAT32, logit_softcap=2.0)
    rough, fine = (stable_bound(problem, Quantity.GRADIENT, declared(FLOAT32, exp_ulps=ulps)) for ulps in (1000.0, 1.0))
    assert (rough < 1.01 * fine).all()


def one_hot_squares(gap: float) -> Problem:
    """One row whose target lies by a gap above the others, or below one of them: all its derivatives are small."""
    logits = [[gap, 0.0, -1.0] if gap > 0 else [gap, 0.0, gap - 1.0]]
    return Problem(logits, [[1.0, 0.0, 0.0]], FLOAT32, loss="squared_error", tangent=[[0.5, 1.0, -1.0]])


def swollen_at(place: int) -> Callable[[Floats], Floats]:
    """Changes the entry of one class, in a Hessian on its diagonal: 256 times as large."""

    def changed(right: Floats) -> Floats:
        wrong = right.copy()
        wrong[(0,) + (place,) * (right.ndim - 1)] *= 256.0
        return wrong

    return changed


GARBAGE = [
    ("z-loss", Problem([[2.0**76, 0.0]], [1], FLOAT32, z_loss=0.5), Quantity.GRADIENT, lambda right: -right),
    ("z-loss-float64", Problem([[1e160, 0.0]], [1], FLOAT64, z_loss=0.5), Quantity.GRADIENT, lambda right: 2 * right),
    (
        "sigmoid-focal",
        Problem([[4.0]], [[1.0]], FLOAT16, loss="sigmoid_focal", focusing=5.0),
        Quantity.LOSS,
        lambda right: right + 16 * FLOAT16.min_subnormal,
    ),
    (
        "squared-error",
        Problem(np.zeros((1, 1000)), np.full((1, 1000), 2.0**-10), FLOAT16, loss="squared_error"),
        Quantity.LOSS,
        lambda right: right + 2.0**-10,
    ),
    *(
        (f"squared-error-{quantity}-{gap:g}", one_hot_squares(gap), quantity, swollen_at(int(gap < 0)))
        for gap in (30.0, -30.0)
        for quantity in (Quantity.GRADIENT, Quantity.HESSIAN, Quantity.HESSIAN_DIAGONAL, Quantity.HVP)
    ),
]
"""Values that were `accurate` when the amplitude was the same for a loss and all its derivatives, or terms seemed to cancel."""


@pytest.mark.parametrize(("problem", "quantity", "wrong"), [case[1:] for case in GARBAGE], ids=[case[0] for case in GARBAGE])
def test_no_garbage_is_accurate(problem: Problem, quantity: Quantity, wrong: Callable[[Floats], Floats]) -> None:
    expected = evaluate(problem, [quantity])[quantity]
    right, arithmetic = expected.values.rounded(problem.format)[0], Arithmetic(problem.format, problem.format)
    assert Measurement(problem, quantity, arithmetic, expected, right).grade is Grade.CORRECT
    assert Measurement(problem, quantity, arithmetic, expected, wrong(right)).grade < Grade.ACCURATE
