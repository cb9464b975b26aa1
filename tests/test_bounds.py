"""The bound of `stable`, against an emulation of the textbook algorithm in which every operation is rounded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reference.arithmetic import BLOCKED, PAIRWISE, RECURSIVE, Arithmetic, Order, Summation
from reference.bounds.entrywise import accurate_bound, stable_bound
from reference.evaluation import evaluate
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, Floats, Format
from reference.grades import ACCURATE_ULPS, Grade
from reference.problem import Problem
from reference.quantity import BLOCK_PRODUCTS, Quantity
from suites.judging.measurement import Measurement

DIAGONAL = Quantity.HESSIAN_DIAGONAL
QUANTITIES = (
    Quantity.LOSS,
    Quantity.GRADIENT,
    Quantity.SOFTMAX,
    Quantity.LOG_SOFTMAX,
    Quantity.HESSIAN,
    Quantity.HVP,
    DIAGONAL,
    Quantity.ENTROPY,
    *BLOCK_PRODUCTS,
)
EXP_ULPS = 0.501
"""float64 exp and log, rounded once more into the format."""


def rounded_sum(terms: Floats, fmt: Format, summation: Summation) -> Floats:
    """Sum over the last axis, every addition rounded."""
    if summation.order is Order.RECURSIVE:
        total = terms[..., 0]
        for i in range(1, terms.shape[-1]):
            total = fmt.round(total + terms[..., i])
        return total
    while terms.shape[-1] > 1:
        odd = terms[..., -1:] if terms.shape[-1] % 2 else terms[..., :0]
        even = terms[..., : terms.shape[-1] // 2 * 2]
        terms = np.concatenate([fmt.round(even[..., ::2] + even[..., 1::2]), odd], axis=-1)
    return terms[..., 0]


def textbook(problem: Problem, summation: Summation) -> dict[Quantity, Floats]:
    """Shift by the maximum, exp, sum, log, divide; each result rounded to the format."""
    fmt, x = problem.format, problem.logits
    gaps = fmt.round(x - x.max(axis=1, keepdims=True))
    powers = fmt.round(np.exp(gaps))
    total = rounded_sum(powers, fmt, summation)[:, None]
    log_softmax = fmt.round(gaps - fmt.round(np.log(total)))
    p = fmt.round(powers / total)
    one_hot = np.eye(problem.num_classes)[problem.target]
    outer = fmt.round(p[:, :, None] * p[:, None, :])
    v = np.zeros_like(x) if problem.tangent is None else problem.tangent
    mean = rounded_sum(fmt.round(p * v), fmt, summation)[:, None]
    surprise = rounded_sum(fmt.round(p * -log_softmax), fmt, summation)
    return {
        Quantity.LOSS: -np.take_along_axis(log_softmax, problem.target[:, None], axis=1)[:, 0],
        Quantity.GRADIENT: fmt.round(p - one_hot),
        Quantity.SOFTMAX: p,
        Quantity.LOG_SOFTMAX: log_softmax,
        Quantity.HESSIAN: fmt.round(p[:, :, None] * np.eye(problem.num_classes) - outer),
        Quantity.HVP: fmt.round(p * fmt.round(v - mean)),
        DIAGONAL: fmt.round(p * fmt.round(1 - p)),
        Quantity.LOG_SOFTMAX_VJP: fmt.round(v - fmt.round(p * rounded_sum(v, fmt, summation)[:, None])),
        Quantity.SOFTMAX_VJP: fmt.round(p * fmt.round(v - mean)),
        Quantity.LOGSUMEXP_VJP: p,
        Quantity.ENTROPY: surprise,
        Quantity.ENTROPY_VJP: fmt.round(p * fmt.round(-log_softmax - surprise[:, None])),
    }


def random_problem(fmt: Format, classes: int, scale: float, seed: int) -> Problem:
    generator = np.random.default_rng(seed)
    rows = 60 if classes <= 10 else 12
    logits = fmt.round(generator.normal(size=(rows, classes)) * scale)
    tangent = fmt.round(np.random.default_rng(seed + 100).normal(size=(rows, classes)))
    return Problem(logits, generator.integers(0, classes, rows), fmt, tangent=tangent)


@pytest.mark.parametrize("fmt", [FLOAT32, FLOAT16, BFLOAT16], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("summation", [RECURSIVE, PAIRWISE], ids=str)
def test_the_textbook_algorithm_stays_within_the_bound_and_uses_it(fmt: Format, summation: Summation) -> None:
    arithmetic = Arithmetic(fmt, fmt, exp_ulps=EXP_ULPS, log_ulps=EXP_ULPS, summation=summation)
    worst = dict.fromkeys(QUANTITIES, 0.0)
    for seed, (classes, scale) in enumerate([(2, 1.0), (2, 8.0), (3, 3.0), (10, 1.0), (10, 8.0), (10, 30.0), (60, 2.0)]):
        if summation is RECURSIVE and fmt is BFLOAT16 and classes > 10:
            continue  # h u is near 1/4 there: the bound holds, but says nothing worth a test
        problem = random_problem(fmt, classes, scale, seed)
        expected = evaluate(problem, QUANTITIES)
        for quantity, values in textbook(problem, summation).items():
            found = Measurement(problem, quantity, arithmetic, expected[quantity], values)
            ratio = found.least_error / stable_bound(problem, quantity, arithmetic)
            assert ratio.max() <= 1.0, (quantity, classes, scale, ratio.max())
            worst[quantity] = max(worst[quantity], float(ratio.max()))
    assert all(ratio > 0.1 for ratio in worst.values()), worst
    assert worst[Quantity.LOSS] > 0.5


@pytest.mark.parametrize("classes", [50, 60, 100, 1000])
def test_the_sum_over_the_tangent_has_roundings_of_its_own(classes: int) -> None:
    """One class leads all others by the gap at which they are almost absorbed, and the tangent is 0 there for one alone."""
    row, tangent = np.full(classes, -16.6356), np.full(classes, 1.1)
    row[0], tangent[0], tangent[1] = 0.0, 1.0, 0.0
    problem = Problem(FLOAT32.round([row]), [0], FLOAT32, tangent=FLOAT32.round([tangent]))
    arithmetic = Arithmetic(FLOAT32, FLOAT32, exp_ulps=EXP_ULPS, log_ulps=EXP_ULPS, summation=RECURSIVE)
    expected = evaluate(problem, [Quantity.HVP])[Quantity.HVP]
    found = Measurement(problem, Quantity.HVP, arithmetic, expected, textbook(problem, RECURSIVE)[Quantity.HVP])
    assert 0.1 < (found.least_error / stable_bound(problem, Quantity.HVP, arithmetic)).max() <= 1.0


@pytest.mark.parametrize("quantity", [Quantity.LOSS, Quantity.GRADIENT, Quantity.HESSIAN, Quantity.SOFTMAX])
def test_a_common_offset_does_not_enter(quantity: Quantity) -> None:
    arithmetic = Arithmetic(FLOAT32, FLOAT32)
    problem = Problem([[0.0, -3.0, -8.0]], [1], FLOAT32)
    shifted = problem.replace(logits=problem.logits + 2.0**20)
    np.testing.assert_array_equal(stable_bound(problem, quantity, arithmetic), stable_bound(shifted, quantity, arithmetic))


def test_a_rounded_offset_is_not_stable() -> None:
    """lse - x_t at [1e8, 1e8]: 0 instead of log 2."""
    problem = Problem([[1e8, 1e8]], [0], FLOAT32)
    expected = evaluate(problem, [Quantity.LOSS])[Quantity.LOSS]
    found = Measurement(problem, Quantity.LOSS, Arithmetic(FLOAT32, FLOAT32), expected, np.zeros(1))
    assert found.grade is Grade.FINITE


@pytest.mark.parametrize("fmt", [FLOAT64, FLOAT32, FLOAT16, BFLOAT16], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.5}, {"reduction": "mean"}], ids=str)
def test_the_bound_of_the_largest_losses_is_a_number(fmt: Format, options: dict[str, object]) -> None:
    """It was once infinite in float64, where sums in this file overflowed: anything was stable."""
    large = float(fmt.round(0.75 * fmt.largest))
    problem = Problem([[large, 0.0], [large, 0.0]], [1, 1], fmt, **options)  # type: ignore[arg-type]
    bound = stable_bound(problem, Quantity.LOSS, Arithmetic(fmt, fmt))
    assert (bound < 0.1 * fmt.largest).all()


@pytest.mark.parametrize("fmt", [FLOAT64, FLOAT32, FLOAT16, BFLOAT16], ids=lambda fmt: fmt.name)
def test_the_bound_of_a_mean_with_an_infinite_row_is_a_number(fmt: Format) -> None:
    problem = Problem([[fmt.largest, -fmt.largest], [0.0, 0.0], [0.0, 0.0]], [1, 0, 0], fmt, reduction="mean")
    assert float(stable_bound(problem, Quantity.LOSS, Arithmetic(fmt, fmt))) < 0.1 * fmt.largest


def test_storing_the_sum_costs_a_rounding_of_it() -> None:
    problem = Problem([[0.0, 0.0, 0.0]], [0], FLOAT16)
    kept = stable_bound(problem, Quantity.LOSS, Arithmetic(FLOAT16, FLOAT32))
    stored = stable_bound(problem, Quantity.LOSS, Arithmetic(FLOAT16, FLOAT32, stores_sum=True))
    extra = FLOAT16.unit_roundoff * (1 + np.log(3.0))
    assert (stored - kept)[0] == pytest.approx(extra, rel=0.01)


def test_an_ulp_among_subnormals_is_the_least_of_them() -> None:
    """exp(-100) is 27 of them in float32; an exp that is off by its 6 ulps makes that 33."""
    problem, fmt = Problem([[0.0, -100.0]], [0], FLOAT32), FLOAT32
    arithmetic = Arithmetic(fmt, fmt, exp_ulps=6.0)
    expected = evaluate(problem, [Quantity.SOFTMAX])[Quantity.SOFTMAX]
    values = expected.values.approximate() + [[0.0, 6 * fmt.min_subnormal]]
    found = Measurement(problem, Quantity.SOFTMAX, arithmetic, expected, values)
    assert (found.least_error <= found.stable_bound).all()
    assert found.least_error[0, 1] > stable_bound(problem, Quantity.SOFTMAX, Arithmetic(fmt, fmt))[0, 1]


def test_a_tile_has_terms() -> None:
    with pytest.raises(ValueError, match="tile is 0; allowed: numbers of terms >= 1"):
        Summation(Order.RECURSIVE, tile=0)


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("tile", [1, 3, 8, 200])
def test_a_tile_is_rescaled_at_each_merge_and_no_oftener(order: Order, tile: int) -> None:
    """A sum of one tile is the plain sum; in tiles of one, a power meets as many rescalings as additions."""
    lanes = 8 if order in (Order.LANES, Order.TREE) else 1
    plain, tiled = Summation(order, lanes), Summation(order, lanes, tile=tile)
    for terms in (1, tile, tile + 1, 50, 1000):
        most = tiled.rescalings(terms)
        assert (most == 0) == (terms <= tile)
        assert most <= tiled.depth_of_powers(terms) <= max(terms - 1, 0)
        assert tile > 1 or most == plain.depth(terms) == tiled.depth_of_powers(terms)
        assert terms > tile or tiled.depth_of_powers(terms) == plain.depth(terms)


@pytest.mark.parametrize(
    ("order", "lanes", "says"),
    [
        (Order.TREE, 1, "allowed: numbers >= 2"),
        (Order.LANES, 0, "allowed: numbers >= 1"),
        (Order.PAIRWISE, 32, "lanes is 32 and order is 'pairwise'; allowed: lanes for lanes or tree alone"),
    ],
)
def test_a_sum_without_lanes_is_refused(order: Order, lanes: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Summation(order, lanes)


def test_flush_to_zero_allows_what_it_loses() -> None:
    problem = Problem([[0.0, -95.0]], [0], FLOAT32)
    expected = evaluate(problem, [Quantity.GRADIENT])[Quantity.GRADIENT]
    flushing = Arithmetic(FLOAT32, FLOAT32, flush_to_zero=True)
    assert stable_bound(problem, Quantity.GRADIENT, flushing).min() >= FLOAT32.min_normal
    found = Measurement(problem, Quantity.GRADIENT, flushing, expected, np.zeros((1, 2)))
    assert found.grade is Grade.COMPONENTWISE


@pytest.mark.parametrize(
    ("summation", "terms", "depth"),
    [
        (RECURSIVE, 1, 0),
        (RECURSIVE, 1000, 999),
        (PAIRWISE, 2, 1),
        (PAIRWISE, 1025, 11),
        (Summation(Order.LANES, 8), 4, 3),
        (Summation(Order.LANES, 8), 6, 5),  # torch adds fewer terms than lanes one by one: a tree was once declared
        (Summation(Order.LANES, 8), 128256, 16032 + 7),
        (BLOCKED, 5, 4),
        (BLOCKED, 128 * 8, 19 + 3),
    ],
    ids=str,
)
def test_depths(summation: Summation, terms: int, depth: int) -> None:
    assert summation.depth(terms) == depth


def test_a_declaration_reads_as_a_line() -> None:
    half = Arithmetic(FLOAT16, FLOAT32, summation=Summation(Order.LANES, 8), stores_sum=True, flush_to_zero=True)
    assert half.describe() == "float32 arithmetic, lanes of 8 sum stored in float16, exp 1 ulp, flush to zero"
    assert Arithmetic(FLOAT32, FLOAT32, stores_sum=True).describe() == "float32 arithmetic, pairwise sum, exp 1 ulp"
    every = Arithmetic(FLOAT32, FLOAT32, summation=replace(RECURSIVE, tile=1), base_2=True, reciprocals=True, softplus=True)
    assert every.describe() == (
        "float32 arithmetic, online recursive sum, exp 1 ulp in base 2, rounded reciprocals, cancelling softplus"
    )
    behind = replace(half, layer_logits=FLOAT16)
    assert behind.describe() == half.describe()
    assert replace(behind, storage=FLOAT32).describe().endswith("flush to zero, layer's logits in float16")


@pytest.mark.parametrize("fmt", [FLOAT16, BFLOAT16], ids=lambda fmt: fmt.name)
def test_correctly_rounded_probabilities_are_stable(fmt: Format) -> None:
    """Of numbers near 1 the store is the largest error; it was once left out where results are narrower than arithmetic."""
    problem = Problem(fmt.round(-np.linspace(0, 8, 200)[:, None] * [[0.0, 1.0]]), np.zeros(200, dtype=np.int64), fmt)
    expected = evaluate(problem, [Quantity.SOFTMAX])[Quantity.SOFTMAX].values
    rounded, _ = expected.rounded(fmt)
    off = np.abs(rounded - expected.approximate())
    bound = stable_bound(problem, Quantity.SOFTMAX, Arithmetic(fmt, FLOAT32))
    assert (off <= bound).all()
    assert (off > 0.3 * bound).any()


def test_a_divided_maximum_costs_its_rounding() -> None:
    """lse = m/T + log S rounds twice where m/T is large: once to divide, once to add."""
    tops = FLOAT32.round(1500 + np.random.default_rng(0).random((2000, 1)))
    problem = Problem(np.hstack([tops, tops]), np.zeros(2000, dtype=np.int64), FLOAT32, temperature=1.4375)
    computed = FLOAT32.round(FLOAT32.round(tops[:, 0] / 1.4375) + FLOAT32.round(np.log(2.0)))
    expected = evaluate(problem, [Quantity.LOGSUMEXP])[Quantity.LOGSUMEXP].values.approximate()
    arithmetic = Arithmetic(FLOAT32, FLOAT32, exp_ulps=EXP_ULPS, log_ulps=EXP_ULPS)
    assert (np.abs(computed - expected) <= stable_bound(problem, Quantity.LOGSUMEXP, arithmetic)).all()


@pytest.mark.parametrize(("quantity", "order"), [(Quantity.LOSS, 0), (Quantity.GRADIENT, 1), (Quantity.HESSIAN, 2)], ids=str)
def test_what_underflow_costs_grows_with_each_derivative_by_the_temperature(quantity: Quantity, order: int) -> None:
    cold = Problem([[0.0, -400.0]], [0], FLOAT32, temperature=0.125)
    bounds = [
        accurate_bound(problem, quantity, Arithmetic(FLOAT32, FLOAT32), evaluate(problem, [quantity])[quantity])
        - ACCURATE_ULPS * FLOAT32.min_subnormal
        for problem in (cold, cold.replace(temperature=0.25))
    ]
    assert bounds[0].min() / bounds[1].min() == pytest.approx(2.0**order)


def test_rounding_a_sum_of_weighted_losses_grows_with_its_own_error() -> None:
    """The reduction rounds what was computed, which is off already; a term of second order was once left out."""
    arithmetic = Arithmetic(BFLOAT16, BFLOAT16)
    row = Problem([[0.0] * 3], [0], BFLOAT16, label_smoothing=0.5)
    error, size = float(stable_bound(row, Quantity.LOSS, arithmetic)[0]), np.log(3.0)
    depth = arithmetic.summation.depth(1)
    summed = float(stable_bound(row.replace(reduction="sum"), Quantity.LOSS, arithmetic))
    grown = (1 + BFLOAT16.unit_roundoff) ** (2 * depth + 2) - 1
    assert summed >= error + (size + error) * grown


def test_accurate_is_four_ulps_and_the_powers_that_underflow() -> None:
    """[0, -90]: the loss is 8.19e-40, subnormal, where an ulp is 2^-149; each of the two powers may lose half of one."""
    problem, declared = Problem([[0.0, -90.0]], [0], FLOAT32), Arithmetic(FLOAT32, FLOAT32)
    expected = evaluate(problem, [Quantity.LOSS])[Quantity.LOSS]
    allowed = accurate_bound(problem, Quantity.LOSS, declared, expected)
    assert (allowed / FLOAT32.min_subnormal).tolist() == [5.0]


@pytest.mark.parametrize(
    ("more", "narrow", "working"),
    [({}, 1.0, 4.0), ({"cotangent": [3.0]}, 4.0, 0.0), ({"reduction": "sum"}, 4.0, 0.0)],
    ids=["alone", "times a cotangent", "in a sum"],
)
def test_accurate_is_one_ulp_of_a_format_in_which_the_result_alone_is_stored(
    more: dict[str, Any], narrow: float, working: float
) -> None:
    """[0, 1] in float16: the loss of class 0 is 1.3133, of ulp 2^-10 and 2^-23; times 3, 3.94, twice as much."""
    problem = Problem([[0.0, 1.0]], [0], FLOAT16, **more)
    expected = evaluate(problem, [Quantity.LOSS])[Quantity.LOSS]
    binade = np.exp2(np.floor(np.log2(float(expected.values.approximate().max()))))
    allowed = accurate_bound(problem, Quantity.LOSS, Arithmetic(FLOAT16, FLOAT32).storing_once(), expected)
    assert float(allowed.max()) == pytest.approx((narrow * 2.0**-10 + working * 2.0**-23) * binade, rel=1e-9)
    in_every_step = accurate_bound(problem, Quantity.LOSS, Arithmetic(FLOAT16, FLOAT32), expected)
    assert float(in_every_step.max()) == pytest.approx(4 * 2.0**-10 * binade, rel=1e-9)


def test_an_amplitude_beyond_float64_is_no_bound_where_nothing_underflows() -> None:
    """Half the least subnormal of float64 is 0 in float64; times a cotangent over T that overflows it is not a number."""
    problem = Problem([[0.0, -50.0 / 1024]], [0], FLOAT64, temperature=2.0**-10, cotangent=[2.0**1023])
    expected = evaluate(problem, [Quantity.GRADIENT])[Quantity.GRADIENT]
    allowed = accurate_bound(problem, Quantity.GRADIENT, Arithmetic(FLOAT64, FLOAT64), expected)
    np.testing.assert_array_equal(allowed, 4 * FLOAT64.ulp(expected.scale))


def test_what_a_row_is_multiplied_with_may_underflow_in_its_own_store() -> None:
    """2^-8 over eleven weights of 128, and half of that, are subnormal in float16; weights enlarge what is lost."""
    row = Problem([[0.0, 3.0]] * 11, [0] * 11, FLOAT16, class_weights=[128.0, 128.0], label_smoothing=1.0)
    mean = row.replace(reduction="mean", cotangent=2.0**-8)
    stored, exact = FLOAT16.round(FLOAT16.round(2.0**-8 / (11 * 128)) / 2), 2.0**-9 / (11 * 128)
    slope = 128 * np.abs(2 / (1 + np.exp([3.0, -3.0])) - 1)
    bound = stable_bound(mean, Quantity.GRADIENT, Arithmetic(FLOAT16, FLOAT32))[0]
    assert (np.abs(stored - exact) * slope <= bound).all()


def test_a_gradient_that_is_stored_before_its_cotangent_may_underflow_there() -> None:
    """p is 5.7e-8, and 2^-24 = 6.0e-8 once it is stored in float16: 128 times that is 4.6 ulp off."""
    problem = Problem([[-12.671875, 4.0]], [1], FLOAT16, cotangent=[128.0])
    p = 1 / (1 + np.exp(16.671875))
    stored = 128 * FLOAT16.round(p)
    bound = stable_bound(problem, Quantity.GRADIENT, Arithmetic(FLOAT16, FLOAT32).storing_once())[0, 0]
    assert stored == 2.0**-17
    assert abs(stored - 128 * p) <= bound <= 128 * 2.0**-25 + 3 * 2.0**-24
