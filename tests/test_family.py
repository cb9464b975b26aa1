"""The losses of the family against answers derived by hand, and the special values they add to the table.

Closed forms are evaluated with `decimal` and `fractions`, without any code of this repository.
"""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from reference import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, FORMATS, Format, Loss, Problem, Quantity, evaluate
from reference.expected import Expected
from reference.problem import layer_of
from reference.quantity import BUILDING_BLOCKS, LAYER_GRADIENTS, OF_SOME_PROBLEMS, SUMMED_GRADIENTS
from reference.special_values import Requirement
from tests.layers import picking
from tests.oracles.agreement import check_problem
from tests.oracles.finite_differences import (
    ACCURACY,
    DIGITS,
    gradient_by_differences,
    hessian_by_differences,
    hvp_by_differences,
)
from tests.oracles.mpmath_oracle import MP, ROW_RESULTS, oracle_row
from tests.test_known_answers import (
    DECIMAL_ERROR,
    Known,
    exactly,
    exp,
    ln,
    log1p_exp,
    minus,
    plus,
    round_to,
    sigmoid_of_minus,
    times,
)

LOSS, GRADIENT, HESSIAN, HVP = Quantity.LOSS, Quantity.GRADIENT, Quantity.HESSIAN, Quantity.HVP
DERIVED = (LOSS, GRADIENT, HESSIAN, HVP)
ROWS = tuple(q for q in Quantity if q not in OF_SOME_PROBLEMS)
INF, NAN = math.inf, math.nan
KL, SQUARED, FOCAL = Loss.KL_DIVERGENCE, Loss.SQUARED_ERROR, Loss.FOCAL
SIGMOID, SIGMOID_FOCAL = Loss.SIGMOID, Loss.SIGMOID_FOCAL

PAIR = Problem([[20.0, 0.0]], [0], FLOAT32, loss=FOCAL, focusing=2.0)
SURE, TAIL = log1p_exp(20), sigmoid_of_minus(20)
HALF = Problem([[0.0, 0.0]], [1], FLOAT64, loss=FOCAL, focusing=2.0)
EVEN = Problem(np.zeros((1, 4)), np.array([[1.0, 0.0, 0.0, 0.0]]), FLOAT32, loss=SQUARED)
ONE = Problem([[1.5]], [0], FLOAT32, z_loss=0.25, tangent=[[3.0]])
COIN = Problem([[0.0]], [[0.25]], FLOAT64, loss=SIGMOID, positive_weight=3.0)
QUARTER, HALVED = Decimal("0.25"), Decimal("0.5")
EIGHTH_OF = times(plus(1, times(2, ln(2))), Decimal("0.125"))
SIXTEENTH_OF = times(plus(5, times(2, ln(2))), Decimal("0.0625"))
FLAT_ONE = Problem([[7.0]], [0], FLOAT32, loss=FOCAL, focusing=0.5)
EQUAL_CAPPED = Problem([[0.0, 0.0]], [1], FLOAT64, logit_softcap=0.5)
TWO_ZEROS = Problem([[0.0, 0.0]], [0], FLOAT64, z_loss=2.0)
CAPPED = Problem([[INF, -INF]], [1], FLOAT64, logit_softcap=10.0)


def soft(logits: Any, target: Any, loss: Loss, fmt: Format = FLOAT64, **options: Any) -> Problem:
    return Problem(np.array(logits), np.array(target), fmt, loss=loss, **options)


TABLE = [
    Known("focal-sure", PAIR, LOSS, (0,), times(TAIL, TAIL, SURE), "(1 - p)^2 ln(1 + e^-20)"),
    Known("focal-half", HALF, LOSS, (0,), times(QUARTER, ln(2)), "ln 2 / 4"),
    Known("focal-half-gradient", HALF, GRADIENT, (0, 0), EIGHTH_OF, "f'/2, f' = 1/4 + 2 1/2 1/2 ln 2"),
    Known("focal-half-hessian", HALF, HESSIAN, (0, 0, 0), SIXTEENTH_OF, "f'/4 + f''/4, f'' = 1 + ln 2 / 2 - ln 2 / 2"),
    Known("focal-one-class", FLAT_ONE, LOSS, (0,), 0.0, "w = 0"),
    Known("focal-one-class-gradient", FLAT_ONE, GRADIENT, (0, 0), 0.0, "f' = 0"),
    Known("squared-uniform", EVEN, LOSS, (0,), Fraction(3, 4), "(3/4)^2 + 3 (1/4)^2"),
    Known("squared-gradient", EVEN, GRADIENT, (0, 0), Fraction(-3, 8), "2 1/4 (-3/4 - 0)"),
    Known("squared-gradient-other", EVEN, GRADIENT, (0, 3), Fraction(1, 8), "2 1/4 (1/4 - 0)"),
    Known("squared-hessian", EVEN, HESSIAN, (0, 0, 0), Fraction(-3, 32), "2/4 k_0 - 2/16 (2 k_0 - 1/4), k_0 = -1/2"),
    Known("squared-diagonal", EVEN, Quantity.HESSIAN_DIAGONAL, (0, 0), Fraction(-3, 32), "the Hessian's entry"),
    Known("squared-hessian-off", EVEN, HESSIAN, (0, 1, 2), Fraction(-3, 32), "-2/16 (1/2 + 1/2 - 1/4)"),
    Known("squared-one-class", soft([[3.0]], [[0.5]], SQUARED), LOSS, (0,), Fraction(1, 4), "(1 - 1/2)^2"),
    Known("squared-one-class-flat", soft([[3.0]], [[0.5]], SQUARED), HESSIAN, (0, 0, 0), 0.0, "p is constant"),
    Known("kl-same", soft([[0.0]], [[1.0]], KL), LOSS, (0,), 0.0, "p = q = 1"),
    Known("kl-sure", soft([[20.0, 0.0]], [[1.0, 0.0]], KL), LOSS, (0,), SURE, "0 log 0 = 0"),
    Known("kl-halves", soft([[20.0, 0.0]], [[0.5, 0.5]], KL), LOSS, (0,), plus(10, SURE, minus(ln(2))), "-ln 2 + 10 + tail"),
    Known(
        "kl-quarter",
        soft([[0.0, 0.0]], [[0.25, 0.0]], KL),
        LOSS,
        (0,),
        minus(times(QUARTER, ln(2))),
        "1/4 (ln 1/4 + ln 2): labels as they are",
    ),
    Known("kl-gradient", soft([[0.0, 0.0]], [[0.25, 0.0]], KL), GRADIENT, (0, 0), Fraction(-1, 8), "1/4 1/2 - 1/4"),
    Known("sigmoid-coin", COIN, LOSS, (0,), times(3, HALVED, ln(2)), "3/4 ln 2 + 3/4 ln 2"),
    Known("sigmoid-coin-gradient", COIN, GRADIENT, (0, 0), 0.0, "3/2 1/2 - 3/4"),
    Known("sigmoid-coin-hessian", COIN, HESSIAN, (0, 0, 0), Fraction(3, 8), "3/2 1/4"),
    Known("sigmoid-sure", soft([[20.0]], [[1.0]], SIGMOID), LOSS, (0,), SURE, "softplus(-20)"),
    Known("sigmoid-wrong", soft([[-20.0]], [[1.0]], SIGMOID), LOSS, (0,), plus(20, SURE), "softplus(20)"),
    Known("softplus", soft([[20.0]], [[1.0]], SIGMOID), Quantity.LOGSUMEXP, (0,), plus(20, SURE), "log(e^20 + 1)"),
    Known("coin-entropy", soft([[0.0]], [[1.0]], SIGMOID), Quantity.ENTROPY, (0,), ln(2), "of a fair coin"),
    Known("log-sigmoid", soft([[20.0]], [[1.0]], SIGMOID), Quantity.LOG_SOFTMAX, (0, 0), minus(SURE), "-softplus(-20)"),
    Known("sigmoid", soft([[-20.0]], [[1.0]], SIGMOID), Quantity.SOFTMAX, (0, 0), TAIL, "1 / (1 + e^20)"),
    Known(
        "sigmoid-focal", soft([[-20.0]], [[0.0]], SIGMOID_FOCAL, focusing=1.0), LOSS, (0,), times(TAIL, SURE), "p softplus(-20)"
    ),
    Known("z-one-class", ONE, LOSS, (0,), Fraction(9, 16), "lse = x, so z x^2"),
    Known("z-one-class-gradient", ONE, GRADIENT, (0, 0), Fraction(3, 4), "2 z x"),
    Known("z-one-class-hessian", ONE, HESSIAN, (0, 0, 0), Fraction(1, 2), "2 z"),
    Known("z-one-class-hvp", ONE, HVP, (0, 0), Fraction(3, 2), "2 z v"),
    Known("z-temperature", ONE.replace(temperature=0.5), GRADIENT, (0, 0), Fraction(3), "2 z (x/T) / T"),
    Known("z-zero", TWO_ZEROS, LOSS, (0,), plus(ln(2), times(2, ln(2), ln(2))), "lse = ln 2"),
    Known(
        "z-without-class-weights",
        TWO_ZEROS.replace(class_weights=[0.0, 0.0]),
        LOSS,
        (0,),
        times(2, ln(2), ln(2)),
        "class weights do not multiply it",
    ),
    Known(
        "z-mean",
        Problem([[2.0], [5.0], [2.0]], [0, -100, 0], FLOAT64, z_loss=1.0, reduction="mean", class_weights=[4.0]),
        LOSS,
        (),
        Fraction(1),
        "(4 + 4) / (4 + 4): the ignored row adds nothing, the denominator is that of the losses",
    ),
    Known("cap-infinite", CAPPED, LOSS, (0,), plus(20, SURE), "logits 10 and -10"),
    Known("cap-infinite-flat", CAPPED, GRADIENT, (0, 0), 0.0, "tanh is flat at infinity"),
    Known("cap-infinite-p", CAPPED, Quantity.SOFTMAX, (0, 1), TAIL, "of the capped row"),
    Known("cap-infinite-lse", CAPPED, Quantity.LOGSUMEXP, (0,), plus(10, SURE), "of the capped row"),
    Known("cap-temperature", CAPPED.replace(temperature=2.0), LOSS, (0,), plus(10, log1p_exp(10)), "capped, then divided"),
    Known("cap-zero-gradient", EQUAL_CAPPED, GRADIENT, (0, 0), Fraction(1, 2), "s = 1"),
    Known("z-scale", ONE.replace(logit_scale=2.0), GRADIENT, (0, 0), Fraction(3), "2 z (s x) s"),
    Known("z-scale-hessian", ONE.replace(logit_scale=3.0), HESSIAN, (0, 0, 0), Fraction(9, 2), "2 z s^2"),
    Known("cap-scale", CAPPED.replace(logit_scale=0.5), LOSS, (0,), plus(20, SURE), "logits 10 and -10: the cap comes last"),
    Known("cap-scale-gradient", EQUAL_CAPPED.replace(logit_scale=3.0), GRADIENT, (0, 0), Fraction(3, 2), "s/2"),
    Known("cap-scale-hessian", EQUAL_CAPPED.replace(logit_scale=3.0), HESSIAN, (0, 0, 1), Fraction(-9, 4), "-s^2/4"),
    Known(
        "scale-temperature",
        TWO_ZEROS.replace(z_loss=0.0, logit_scale=3.0, temperature=2.0),
        HESSIAN,
        (0, 0, 0),
        Fraction(9, 16),
        "(3/2)^2/4",
    ),
    Known("cap-zero-hessian", EQUAL_CAPPED, HESSIAN, (0, 0, 1), Fraction(-1, 4), "s = 1"),
]


@pytest.mark.parametrize("known", [pytest.param(row, id=row.name) for row in TABLE])
def test_known_answer(known: Known) -> None:
    values = evaluate(known.problem, [known.quantity])[known.quantity].values[known.index]
    rounded, decided = values.rounded(known.problem.format)
    assert bool(decided), known.why
    exact = Fraction(known.expected)
    middle = exactly(float(values.hi), float(values.lo), int(values.exponent))
    radius = Fraction(float(values.radius)) * Fraction(2) ** int(values.exponent)
    slack = DECIMAL_ERROR * max(abs(exact), 1) * 100 if not isinstance(known.expected, Fraction | float) else Fraction(0)
    assert abs(middle - exact) <= radius + slack, known.why
    assert float(rounded) == round_to(known.problem.format, exact), known.why
    assert exact != 0 or values.radius == 0, "a known zero is an exact one"


def test_kl_of_equal_distributions_encloses_zero() -> None:
    values = evaluate(soft([[0.0, 0.0]], [[0.5, 0.5]], KL), [LOSS])[LOSS].values
    assert values.hi == 0
    assert float(values.radius[0]) * 2.0 ** int(values.exponent[0]) < 2.0**-1000 or int(values.exponent[0]) < -1900
    assert values.rounded(FLOAT64) == (0.0, True)


# ---------------------------------------------------------------------------------------------------------------------
# Losses that are another loss.


def assert_equal(left: Expected, right: Expected, fmt: Format, where: Any = ...) -> None:
    np.testing.assert_array_equal(left.values.rounded(fmt)[0], right.values.rounded(fmt)[0][where])
    np.testing.assert_array_equal(left.requirement, right.requirement[where])


ENTRY_0 = {LOSS: ..., Quantity.LOGSUMEXP: ..., Quantity.ENTROPY: ..., HESSIAN: np.s_[:, :1, :1]}
LOGITS = [0.5, -2.0, 30.0, -745.0, 0.0, -INF, INF, NAN]


@pytest.mark.parametrize("quantity", ROWS)
@pytest.mark.parametrize("y", [0.0, 0.25, 1.0])
def test_a_sigmoid_is_the_softmax_of_two_classes(quantity: Quantity, y: float) -> None:
    """The row [x, 0] with weights (w y, 1 - y), special values included."""
    column, rows = np.array(LOGITS)[:, None], len(LOGITS)
    one = Problem(column, np.full((rows, 1), y), FLOAT64, loss=SIGMOID, positive_weight=2.0, tangent=np.full((rows, 1), 3.0))
    target = np.tile([2 * y, 1 - y], (rows, 1))
    two = Problem(np.hstack([column, 0 * np.ones_like(column)]), target, FLOAT64, tangent=np.tile([3.0, 0.0], (rows, 1)))
    left, right = evaluate(one, [quantity])[quantity], evaluate(two, [quantity])[quantity]
    assert_equal(left, right, FLOAT64, ENTRY_0.get(quantity, np.s_[:, :1]))


@pytest.mark.parametrize("quantity", ROWS)
def test_a_sigmoid_focal_loss_is_the_focal_loss_of_two_classes(quantity: Quantity) -> None:
    column, rows = np.array(LOGITS)[:, None], len(LOGITS)
    y = np.arange(rows)[:, None] % 3 % 2 * 1.0
    one = Problem(column, y, FLOAT32, loss=SIGMOID_FOCAL, focusing=1.5, tangent=np.full((rows, 1), 3.0))
    pair = np.hstack([column, 0 * np.ones_like(column)])
    target = 1 - y[:, 0].astype(np.int64)
    two = Problem(pair, target, FLOAT32, loss=FOCAL, focusing=1.5, tangent=np.tile([3.0, 0.0], (rows, 1)))
    left, right = evaluate(one, [quantity])[quantity], evaluate(two, [quantity])[quantity]
    assert_equal(left, right, FLOAT32, ENTRY_0.get(quantity, np.s_[:, :1]))


ROWS_OF_ALL_KINDS = [
    [0.5, -1.25, 2.0],
    [0.0, 0.0, 0.0],
    [9.0, -INF, 0.0],
    [-INF, 1.0, 2.0],
    [5.0, -INF, -INF],
    [INF, 0.0, 1.0],
    [0.0, INF, 1.0],
    [INF, INF, 0.0],
    [-INF, -INF, -INF],
    [NAN, 0.0, 1.0],
]
TANGENT = np.tile([1.0, -2.0, 0.5], (len(ROWS_OF_ALL_KINDS), 1))


@pytest.mark.parametrize("quantity", DERIVED)
def test_a_focal_loss_without_focusing_is_cross_entropy(quantity: Quantity) -> None:
    focal = Problem(ROWS_OF_ALL_KINDS, [0] * 10, FLOAT64, loss=FOCAL, tangent=TANGENT)
    left, right = (evaluate(problem, [quantity])[quantity] for problem in (focal, focal.replace(loss=Loss.CROSS_ENTROPY)))
    assert_equal(left, right, FLOAT64)


@pytest.mark.parametrize("focusing", [0.5, 1.0, 2.0, 3.5])
def test_a_focal_row_with_a_masked_target_is_that_of_cross_entropy(focusing: float) -> None:
    focal = Problem([[-INF, 1.0, 3.0]], [0], FLOAT64, loss=FOCAL, focusing=focusing, tangent=[[1.0, 2.0, 3.0]])
    plain = focal.replace(loss=Loss.CROSS_ENTROPY, focusing=0.0)
    for quantity in DERIVED:
        left, right = (evaluate(problem, [quantity])[quantity] for problem in (focal, plain))
        assert_equal(left, right, FLOAT64)


@pytest.mark.parametrize("quantity", [GRADIENT, HESSIAN, HVP, *BUILDING_BLOCKS])
def test_the_derivatives_of_a_divergence_are_those_of_cross_entropy(quantity: Quantity) -> None:
    target = np.tile([0.5, 0.0, 0.25], (10, 1))
    divergence = Problem(ROWS_OF_ALL_KINDS, target, FLOAT64, loss=KL, tangent=TANGENT, temperature=0.75)
    left, right = (
        evaluate(problem, [quantity])[quantity] for problem in (divergence, divergence.replace(loss=Loss.CROSS_ENTROPY))
    )
    assert_equal(left, right, FLOAT64)


# ---------------------------------------------------------------------------------------------------------------------
# Special values that the table of cross-entropy does not have.

SPECIAL = [
    (
        "kl-limit",
        soft([[INF, 0.0]], [[0.25, 0.0]], KL),
        {LOSS: -0.5 * math.log(2), GRADIENT: [0.0, 0.0]},
        Requirement.LIMIT_OR_NAN,
    ),
    ("kl-masked", soft([[-INF, 0.0]], [[0.25, 0.0]], KL), {LOSS: INF, GRADIENT: [-0.25, 0.25]}, Requirement.MUST),
    (
        "squared-limit",
        soft([[INF, 0.0]], [[0.25, 0.5]], SQUARED),
        {LOSS: 0.8125, GRADIENT: 0.0, HESSIAN: 0.0},
        Requirement.LIMIT_OR_NAN,
    ),
    (
        "squared-masked",
        soft([[-INF, 0.0]], [[0.5, 0.25]], SQUARED),
        {LOSS: 0.8125, GRADIENT: 0.0, HESSIAN: 0.0},
        Requirement.MUST,
    ),
    ("squared-no-labels", soft([[-INF, 0.0]], [[0.0, 0.0]], SQUARED), {LOSS: 1.0, GRADIENT: 0.0}, Requirement.MUST),
    ("squared-nan", soft([[NAN, 0.0]], [[0.0, 0.0]], SQUARED), {LOSS: NAN, GRADIENT: NAN}, Requirement.MUST),
    ("squared-nothing", soft([[-INF, -INF]], [[0.0, 1.0]], SQUARED), {LOSS: NAN}, Requirement.UNSPECIFIED),
    (
        "z-limit",
        Problem([[INF, 0.0]], [1], FLOAT64, z_loss=0.5, cotangent=[-2.0], tangent=[[3.0, 1.0]]),
        {LOSS: INF, GRADIENT: [-INF, 2.0], HESSIAN: [[-2.0, 0.0], [0.0, 0.0]], HVP: [-6.0, 0.0]}
        | {Quantity.HESSIAN_DIAGONAL: [-2.0, 0.0]},
        Requirement.LIMIT_OR_NAN,
    ),
    (
        "z-weightless-nan",
        Problem([[NAN, 0.0]], [1], FLOAT64, z_loss=0.5, class_weights=[0.0, 0.0]),
        {LOSS: NAN, GRADIENT: NAN},
        Requirement.MUST,
    ),
    (
        "z-limit-at-target",
        Problem([[INF, 0.0]], [0], FLOAT64, z_loss=0.5),
        {LOSS: INF, GRADIENT: [INF, 0.0]},
        Requirement.LIMIT_OR_NAN,
    ),
    ("z-ignored", Problem([[NAN, 0.0]], [-100], FLOAT64, z_loss=0.5), {LOSS: 0.0, GRADIENT: 0.0}, Requirement.MUST),
    ("z-masked", Problem([[-INF, 2.0]], [1], FLOAT64, z_loss=0.5), {LOSS: 2.0, GRADIENT: [0.0, 2.0]}, Requirement.MUST),
    ("cap-nan", Problem([[NAN, 0.0]], [1], FLOAT64, logit_softcap=2.0), {LOSS: NAN, GRADIENT: NAN}, Requirement.MUST),
    (
        "cap-weightless",
        Problem([[INF, 0.0]], [1], FLOAT64, logit_softcap=2.0, class_weights=[0.0, 0.0]),
        {LOSS: 0.0, GRADIENT: 0.0},
        Requirement.MUST,
    ),
    (
        "focal-limit",
        Problem([[INF, 0.0]], [0], FLOAT64, loss=FOCAL, focusing=0.5),
        {LOSS: 0.0, GRADIENT: 0.0},
        Requirement.LIMIT_OR_NAN,
    ),
    ("sigmoid-masked", soft([[-INF]], [[1.0]], SIGMOID), {LOSS: INF, GRADIENT: -1.0, HESSIAN: 0.0}, Requirement.MUST),
    ("sigmoid-limit", soft([[INF]], [[0.0]], SIGMOID), {LOSS: INF, GRADIENT: 1.0, HESSIAN: 0.0}, Requirement.LIMIT_OR_NAN),
]


@pytest.mark.parametrize(("problem", "owed", "requirement"), [pytest.param(*rest, id=name) for name, *rest in SPECIAL])
def test_special_values(problem: Problem, owed: dict[Quantity, Any], requirement: Requirement) -> None:
    for quantity, expected in evaluate(problem, owed).items():
        rounded = expected.values.rounded(problem.format)[0]
        wanted = np.broadcast_to(np.asarray(owed[quantity], dtype=np.float64), rounded[0].shape)
        np.testing.assert_array_equal(rounded[0], wanted, err_msg=str(quantity))
        assert (expected.requirement == requirement).all(), quantity


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_limits_enter_a_reduced_loss(reduction: str) -> None:
    """A row at its limit has a number of its own in these losses: it was 0 for cross-entropy only."""
    squared = soft([[INF, 0.0], [0.0, 0.0]], [[0.25, 0.5], [0.5, 0.5]], SQUARED, reduction=reduction)
    value = evaluate(squared, [LOSS])[LOSS]
    assert value.values.approximate() == 0.8125 / (2 if reduction == "mean" else 1)
    assert value.requirement == Requirement.LIMIT_OR_NAN


def test_rows_of_either_sign_add_up() -> None:
    """A divergence of labels that do not sum to 1 may be negative; a shared sign was once taken for granted."""
    divergence = soft([[0.0, 0.0], [0.0, 0.0]], [[0.25, 0.0], [1.0, 0.0]], KL, reduction="sum")
    values = evaluate(divergence, [LOSS])[LOSS].values
    assert float(values.approximate()) == pytest.approx(0.75 * math.log(2), rel=1e-15)
    check_problem(divergence, [LOSS])
    few, many = [[1.0, 0.0]], [[0.0, 0.0]] * 8
    check_problem(soft(few + many, [[0.0, 1.0]] + [[0.25, 0.0]] * 8, KL, reduction="sum"), [LOSS])


# ---------------------------------------------------------------------------------------------------------------------
# The linear layer.

OUTPUT = np.array([[20.0, 0.0, 1.0], [1.0, 2.0, -3.0], [0.0, 0.0, 0.0]])
LAYER = picking(OUTPUT, [0, -100, 1], FLOAT32, [3.0, 7.0, -0.5])


@pytest.mark.parametrize("rows", [3, 1])
def test_the_layer_returns_the_logits(rows: int) -> None:
    """Those of a single row by way of the bias."""
    problem = picking(OUTPUT[:rows], LAYER.target[:rows], FLOAT32, [3.0, 7.0, -0.5][:rows])
    features, weight, bias = layer_of(problem).arrays
    assert features.shape == (rows, rows + 1)
    assert weight.shape == (3, rows + 1)
    assert bias.any() == (rows == 1) != weight.any()
    np.testing.assert_array_equal(features @ weight.T + bias, OUTPUT[:rows])
    np.testing.assert_array_equal(problem.logits, OUTPUT[:rows])


def test_the_gradient_of_the_layer_is_the_matrix_product() -> None:
    found = evaluate(LAYER, [GRADIENT, *LAYER_GRADIENTS])
    gradient, (features, given, _) = found[GRADIENT].values.approximate(), layer_of(LAYER).arrays
    feature, weight, bias = (found[q] for q in LAYER_GRADIENTS)
    np.testing.assert_allclose(feature.values.approximate(), gradient @ given, rtol=1e-14)
    np.testing.assert_allclose(feature.scale, found[GRADIENT].scale @ np.abs(given), rtol=1e-15)
    np.testing.assert_allclose(weight.values.approximate(), gradient.T @ features, rtol=1e-15)
    np.testing.assert_allclose(bias.values.approximate(), gradient.sum(axis=0), rtol=1e-15)
    np.testing.assert_allclose(weight.scale, found[GRADIENT].scale.T @ np.abs(features), rtol=1e-15)
    np.testing.assert_allclose(bias.scale, found[GRADIENT].scale.sum(axis=0), rtol=1e-15)
    check_problem(LAYER, LAYER_GRADIENTS)


def test_a_gradient_beyond_float64_times_a_feature_of_zero_adds_nothing_to_the_scale() -> None:
    largest = FLOAT64.largest
    problem = picking([[largest, 0.0], [1.0, 0.0]], [1, 1], FLOAT64, [0.0, 1.0], z_loss=4.0)
    expected = evaluate(problem, [Quantity.WEIGHT_GRADIENT])[Quantity.WEIGHT_GRADIENT]
    assert np.isinf(expected.scale[0, 0])
    assert np.isfinite(expected.scale[:, -1]).all()


@pytest.mark.parametrize("quantity", SUMMED_GRADIENTS)
def test_sums_of_a_layer_without_rows_that_count(quantity: Quantity) -> None:
    nothing = LAYER.replace(target=[-100] * 3, reduction="mean")
    expected = evaluate(nothing, [quantity])[quantity]
    assert not expected.values.approximate().any()
    assert not expected.scale.any()
    assert (expected.requirement == Requirement.REST_OR_NOT_FINITE).all()
    check_problem(nothing, [quantity])


def test_the_features_of_a_mean_of_nothing_owe_nothing() -> None:
    quantity = Quantity.FEATURE_GRADIENT
    expected = evaluate(LAYER.replace(target=[-100] * 3, reduction="mean"), [quantity])[quantity]
    assert np.isnan(expected.values.approximate()).all()
    assert (expected.requirement == Requirement.UNSPECIFIED).all()


@pytest.mark.parametrize("quantity", LAYER_GRADIENTS)
def test_a_layer_without_rows(quantity: Quantity) -> None:
    none = evaluate(LAYER.replace(target=[-100] * 3), [quantity])[quantity]
    assert not none.values.approximate().any()
    assert not none.scale.any()
    empty = picking(np.zeros((0, 3)), [], FLOAT32, [])
    assert evaluate(empty, [quantity])[quantity].values.approximate().shape in ((0, 1), (3, 1), (3,))
    with pytest.raises(ValueError, match=r"without one; give the problem features \(N, D\) and weight \(K, D\)"):
        evaluate(Problem(OUTPUT, LAYER.target, FLOAT32), [quantity])


def test_merged_classes_in_a_layer() -> None:
    classes = 40
    logits = np.array([np.arange(classes) % 3, np.arange(classes) % 2], dtype=np.float64)
    problem = picking(logits, [0, 5], FLOAT32, [2.0, 0.5], z_loss=0.5)
    check_problem(problem, LAYER_GRADIENTS)


# ---------------------------------------------------------------------------------------------------------------------
# Finite differences of the definitions.

T3 = [[1.0, -2.0, 0.5]]
X3 = [[0.5, -1.25, 2.0]]
Q3 = [[0.25, 0.5, 0.125]]
DIFFERENTIATED = [
    Problem(X3, [1], FLOAT64, z_loss=0.3, temperature=2.0, tangent=T3),
    Problem(X3, [1], FLOAT64, logit_softcap=3.0, tangent=T3),
    Problem(X3, [1], FLOAT64, logit_softcap=3.0, z_loss=0.3, temperature=0.7, label_smoothing=0.1, tangent=T3),
    Problem(X3, [1], FLOAT64, logit_scale=0.3, tangent=T3),
    Problem(X3, [1], FLOAT64, logit_scale=1.7, logit_softcap=3.0, z_loss=0.3, temperature=0.7, tangent=T3),
    Problem(X3, [2], FLOAT64, z_loss=0.3, class_weights=[1.0, 2.0, 0.5], cotangent=[-3.0], tangent=T3),
    soft(X3, Q3, KL, tangent=T3, temperature=0.7, reduction="mean"),
    soft(X3, Q3, SQUARED, tangent=T3, cotangent=[3.0]),
    *[Problem(X3, [t], FLOAT64, loss=FOCAL, focusing=g, tangent=T3) for g in (0.0, 0.5, 1.0, 2.0, 3.5) for t in (1, 2)],
    Problem(X3 * 2, [1, -100], FLOAT64, loss=FOCAL, focusing=2.0, tangent=T3 * 2, reduction="mean"),
    soft([[0.75]], [[0.25]], SIGMOID, positive_weight=3.0, tangent=[[2.0]]),
    soft([[0.75]], [[0.0]], SIGMOID_FOCAL, focusing=2.0, tangent=[[2.0]]),
    soft([[0.75]], [[1.0]], SIGMOID_FOCAL, focusing=0.5, tangent=[[2.0]]),
]


@pytest.mark.parametrize("problem", DIFFERENTIATED, ids=range(len(DIFFERENTIATED)))
def test_derivatives_are_those_of_finite_differences(problem: Problem) -> None:
    check_problem(problem, ROWS)
    with MP.workdps(DIGITS):
        row, accuracy = oracle_row(problem, 0), MP.mpf(ACCURACY)
        pairs = [
            (gradient_by_differences(row), ROW_RESULTS[GRADIENT](row).values),
            (hessian_by_differences(row), ROW_RESULTS[HESSIAN](row).values),
            (hvp_by_differences(row)[: problem.num_classes], ROW_RESULTS[HVP](row).values),
        ]
        for given, wanted in pairs:
            assert len(given) == len(wanted)
            assert all(abs(left - right) <= accuracy for left, right in zip(given, wanted, strict=True))


# ---------------------------------------------------------------------------------------------------------------------
# Confident rows and extreme logits: nothing is lost, and zeros are exact.


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda fmt: fmt.name)
def test_masked_classes_have_exact_zeros(fmt: Format) -> None:
    row = [[2.0, -INF, 0.0]]
    soft_target = np.array([[0.5, 0.0, 0.5]])
    problems = [
        Problem(row, [0], fmt, z_loss=0.5, tangent=[[1.0, 2.0, 3.0]]),
        Problem(row, [0], fmt, loss=FOCAL, focusing=1.5, tangent=[[1.0, 2.0, 3.0]]),
        Problem(row, soft_target, fmt, loss=SQUARED, tangent=[[1.0, 2.0, 3.0]]),
        Problem(row, soft_target, fmt, loss=KL, tangent=[[1.0, 2.0, 3.0]]),
    ]
    for problem in problems:
        for quantity in (GRADIENT, HESSIAN, HVP):
            expected = evaluate(problem, [quantity])[quantity]
            entry = expected.values[0, 1]
            assert not np.asarray(entry.hi).any()
            assert not np.asarray(entry.radius).any()
            assert not expected.scale[0, 1].any()


def test_a_product_along_ones_is_exactly_zero() -> None:
    """No loss but the z-loss sees a common shift."""
    for problem in DIFFERENTIATED:
        if problem.z_loss == 0 and problem.logit_softcap is None and not problem.is_binary:
            along = problem.replace(tangent=np.full(problem.logits.shape, 3.0))
            values = evaluate(along, [HVP])[HVP].values
            assert not values.hi.any(), problem.loss
            assert not values.radius.any(), problem.loss


def test_a_huge_logit_behind_a_softcap() -> None:
    """tanh(x/c) is 1 to any precision: the derivative is 0 after rounding, and everything is decided."""
    problem = Problem([[1e300, 2e300, 3.0]], [0], FLOAT64, logit_softcap=2.0, tangent=[[1.0, 2.0, 3.0]])
    for quantity, expected in evaluate(problem, ROWS).items():
        assert expected.values.rounded(FLOAT64)[1].all(), quantity


def test_small_differences_behind_a_softcap_keep_their_accuracy() -> None:
    """tanh(300) - tanh(299.5) is e^-599: the gap is not lost, the loss is that of two equal logits and the gap."""
    check_problem(Problem([[60.0, 59.875]], [0], FLOAT64, logit_softcap=0.5), ROWS[:2])
    check_problem(Problem([[-60.0, -59.875, 1.0]], [0], FLOAT32, logit_softcap=0.5), ROWS[:2])


@pytest.mark.parametrize("fmt", [FLOAT16, BFLOAT16], ids=lambda fmt: fmt.name)
def test_the_scale_of_a_divergence_is_that_of_its_terms(fmt: Format) -> None:
    """Cross-entropy and entropy cancel; each has size ln 2 here."""
    expected = evaluate(soft([[0.0, 0.0]], [[0.5, 0.5]], KL, fmt), [LOSS])[LOSS]
    assert expected.scale[0] == pytest.approx(2 * math.log(2))


def test_the_scale_of_a_mean_whose_terms_add_up_beyond_float64() -> None:
    top = FLOAT64.largest
    problem = Problem([[0.0, -top]] * 4, [[0.5, 0.5]] * 4, FLOAT64, loss=Loss.KL_DIVERGENCE, reduction="mean")
    expected = evaluate(problem, [Quantity.LOSS])[Quantity.LOSS]
    assert expected.scale == pytest.approx(top / 2, rel=1e-12)


def test_scales_of_the_others() -> None:
    squared = evaluate(EVEN, [LOSS, GRADIENT])
    assert squared[LOSS].scale[0] == pytest.approx(0.75 * 0.75 + 3 * 0.25 * 0.25)  # |r| (1 - p), |r| p
    focal = evaluate(HALF, [HESSIAN])[HESSIAN]
    first, terms = 0.25 + 0.5 * math.log(2), 1.0 + 0.5 * math.log(2) + 0.5 * math.log(2)
    np.testing.assert_allclose(focal.scale[0, 0, 0], first / 4 + terms / 4)
    regular = evaluate(TWO_ZEROS, [GRADIENT])[GRADIENT]
    np.testing.assert_allclose(regular.scale[0], [0.5 + 2 * math.log(2)] * 2)
    cancelling = Problem([[-0.6875, -0.6875]], [0], FLOAT64, z_loss=2.0)
    np.testing.assert_allclose(evaluate(cancelling, [LOSS])[LOSS].scale[0], math.log(2) + 2 * (0.6875 + math.log(2)) ** 2)


def test_the_hessian_of_a_sigmoid_is_its_derivative() -> None:
    """e^20 / (1 + e^20)^2 once more, as a sigmoid's Hessian."""
    problem = soft([[20.0]], [[0.5]], SIGMOID, FLOAT32)
    values = evaluate(problem, [HESSIAN])[HESSIAN].values
    assert float(values.rounded(FLOAT32)[0][0, 0, 0]) == round_to(FLOAT32, Fraction(times(TAIL, TAIL, exp(20))))


@pytest.mark.parametrize("turn", [1.0, -1.0])
def test_a_tail_below_a_midpoint_shows_its_side(turn: float) -> None:
    """3/2 + 3/2048, a midpoint of float16, less a multiple of e^-1000: a ball was once cut just inside it."""
    options: dict[str, Any] = {"class_weights": [1.0, 1.5], "cotangent": [turn * (1 + 2.0**-10)], "z_loss": 0.5}
    problem = Problem([[1000.0, 0.0]], [1], FLOAT16, **options)
    rounded, decided = evaluate(problem, [GRADIENT])[GRADIENT].values.rounded(FLOAT16)
    assert decided.all()
    assert rounded[0, 1] == -turn * (1.5 + 2.0**-10)
    check_problem(problem, [GRADIENT])


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("focusing", [0.5, 1.0, 2.0])
def test_a_focal_row_at_the_largest_gap_is_evaluated(fmt: Format, focusing: float) -> None:
    """Powers of a ball that holds 0 are not finite: it once ended in an exception. Above all others the loss is 0."""
    top = 709.0 if fmt is FLOAT64 else 8.0
    problem = Problem([[top, -fmt.largest]] * 2, [0, 1], fmt, loss=FOCAL, focusing=focusing, tangent=[[1.0, -1.0]] * 2)
    found = {quantity: expected.values.rounded(fmt)[0] for quantity, expected in evaluate(problem, DERIVED).items()}
    np.testing.assert_array_equal(found[LOSS], [0.0, fmt.round(fmt.largest + top)])
    np.testing.assert_array_equal(found[GRADIENT], [[0.0, 0.0], [1.0, -1.0]])
