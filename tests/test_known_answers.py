"""Checks the oracle against answers derived by hand: closed forms, evaluated without any code of this repository.

Each row of the table carries its own expected value, computed with `decimal` or `fractions`. Two things must hold: the
certified enclosure contains it, and its correct rounding, done here in integer arithmetic, is what the oracle rounds to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest

from reference import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, FORMATS, Format, Problem, Quantity, evaluate
from reference.quantity import BLOCK_PRODUCTS, BUILDING_BLOCKS

LOSS, GRADIENT, HESSIAN, HVP = Quantity.LOSS, Quantity.GRADIENT, Quantity.HESSIAN, Quantity.HVP
DIAGONAL = Quantity.HESSIAN_DIAGONAL
LOG_SOFTMAX, SOFTMAX, LOGSUMEXP, ENTROPY = BUILDING_BLOCKS
TARGET_GRADIENT = Quantity.TARGET_GRADIENT
LOG_SOFTMAX_VJP, SOFTMAX_VJP, LOGSUMEXP_VJP, ENTROPY_VJP = BLOCK_PRODUCTS
INF, NAN = math.inf, math.nan

DIGITS = 60
DECIMAL_ERROR = Fraction(1, 10**55)
"""Relative error of a closed form of a few operations with 60 digits."""

# ---------------------------------------------------------------------------------------------------------------------
# Closed forms. Positive terms only, or one subtraction that does not cancel.


def exp(x: Decimal | int) -> Decimal:
    with localcontext(prec=DIGITS):
        return Decimal(x).exp()


def ln(x: Decimal | int) -> Decimal:
    with localcontext(prec=DIGITS):
        return Decimal(x).ln()


def log1p_exp(gap: Decimal | int) -> Decimal:
    """ln(1 + e^-gap), by its series where the logarithm of 1 + e^-gap would cancel."""
    with localcontext(prec=3 * DIGITS):
        power = (-Decimal(gap)).exp()
        if power < Decimal(10) ** (-DIGITS):
            return power - power * power / 2
        with localcontext(prec=4 * DIGITS):
            return (1 + power).ln()


def sigmoid_of_minus(gap: Decimal | int) -> Decimal:
    """1 / (1 + e^gap)."""
    with localcontext(prec=DIGITS):
        return 1 / (1 + Decimal(gap).exp())


def times(*factors: Decimal | int) -> Decimal:
    with localcontext(prec=DIGITS):
        return math.prod(map(Decimal, factors))


def plus(*terms: Decimal | int, digits: int = DIGITS) -> Decimal:
    with localcontext(prec=digits):
        return sum(map(Decimal, terms), Decimal(0))


def minus(value: Decimal) -> Decimal:
    """-value; unary minus would round it to the current context."""
    return value.copy_negate()


def below(value: Decimal, exponent: int) -> Fraction:
    """Largest multiple of 2^exponent that is not above value."""
    step = Fraction(2) ** exponent
    return math.floor(Fraction(value) / step) * step


def as_decimal(value: Fraction) -> Decimal:
    """A dyadic rational as a decimal, exactly."""
    with localcontext(prec=2000):
        return Decimal(value.numerator) / Decimal(value.denominator)


# ---------------------------------------------------------------------------------------------------------------------
# Correct rounding of a rational in integer arithmetic.


def round_to(fmt: Format, value: Fraction, above: bool = False) -> float:
    """Round to nearest, ties to even; `above`: the number is `value` > 0 plus something positive below every precision."""
    if value == 0:
        return 0.0
    sign, size = (-1 if value < 0 else 1), abs(value)
    binade = size.numerator.bit_length() - size.denominator.bit_length()
    binade -= size < Fraction(2) ** binade
    step = max(binade, 1 - fmt.emax) - fmt.precision + 1
    whole, rest = divmod(size / Fraction(2) ** step, 1)
    tie = rest == Fraction(1, 2)
    whole += rest > Fraction(1, 2) or (tie and (above or whole % 2 == 1))
    result = Fraction(whole) * Fraction(2) ** step
    return sign * (INF if result >= Fraction(2) ** (fmt.emax + 1) else float(result))


# ---------------------------------------------------------------------------------------------------------------------
# The table.


@dataclass(frozen=True)
class Known:
    """One known answer; `above`: the true value exceeds `expected` by less than 10^-800, too little for decimals."""

    name: str
    problem: Problem
    quantity: Quantity
    index: tuple[int, ...]
    expected: Decimal | Fraction | float
    why: str
    above: bool = False


PAIR = Problem([[20.0, 0.0]], [0], FLOAT32)
SOFT_PAIR = Problem([[20.0, 0.0]], [[1.0, 0.0]], FLOAT32)
SURE = log1p_exp(20)
TAIL = sigmoid_of_minus(20)
SLOPE = times(TAIL, TAIL, exp(20))
"""sigma'(20) = e^20 / (1 + e^20)^2."""
SLOWER = times(sigmoid_of_minus(5), sigmoid_of_minus(5), exp(5), Decimal("0.0625"))
"""sigma'(5) / 16."""

CONFIDENT = [
    Known("confident-loss", PAIR, LOSS, (0,), SURE, "ln(1 + e^-20), where 1 + e^-20 is 1 in float32"),
    Known("confident-gradient-target", PAIR, GRADIENT, (0, 0), minus(TAIL), "p - 1 = -1/(1 + e^20)"),
    Known("confident-gradient-other", PAIR, GRADIENT, (0, 1), TAIL, "p = 1/(1 + e^20)"),
    Known("confident-hessian", PAIR, HESSIAN, (0, 0, 0), SLOPE, "sigma'(20)"),
    Known("confident-diagonal", PAIR, DIAGONAL, (0, 0), SLOPE, "sigma'(20), where 1 - p is 0 in float32"),
    Known("tempered-diagonal", PAIR.replace(temperature=4.0), DIAGONAL, (0, 1), SLOWER, "sigma'(5) / 4^2"),
    Known("weighted-diagonal", PAIR.replace(cotangent=[-4.0]), DIAGONAL, (0, 0), times(-4, SLOPE), "-4 sigma'(20)"),
    Known("confident-hessian-off", PAIR, HESSIAN, (0, 0, 1), minus(SLOPE), "-sigma'(20)"),
    Known("confident-wrong", PAIR.replace(target=[1]), LOSS, (0,), plus(20, SURE), "20 + ln(1 + e^-20)"),
    Known("confident-log-softmax", PAIR, LOG_SOFTMAX, (0, 0), minus(SURE), "minus the loss"),
    Known("confident-hvp", PAIR.replace(tangent=[[1.0, 0.0]]), HVP, (0, 1), minus(SLOPE), "the Hessian's first column"),
    Known("hvp-along-ones", PAIR.replace(tangent=[[3.0, 3.0]]), HVP, (0, 0), 0.0, "the Hessian's rows sum to 0"),
    Known("row-weight", PAIR.replace(row_weights=[3.0]), LOSS, (0,), times(3, SURE), "three times the loss"),
    Known("no-row-weight", PAIR.replace(row_weights=[0.0]), GRADIENT, (0, 1), 0.0, "nothing"),
    Known(
        "divided", PAIR.replace(row_weights=[3.0], normaliser=4.0), LOSS, (0,), times(Decimal("0.75"), SURE), "3/4 of the loss"
    ),
    Known(
        "divided-gradient",
        PAIR.replace(row_weights=[3.0], normaliser=4.0, cotangent=[-2.0]),
        GRADIENT,
        (0, 1),
        times(Decimal("-1.5"), TAIL),
        "-2 3/4 p_2",
    ),
    Known(
        "divided-hessian",
        PAIR.replace(row_weights=[3.0], normaliser=4.0),
        HESSIAN,
        (0, 0, 1),
        times(Decimal("-0.75"), SLOPE),
        "-3/4 sigma'(20)",
    ),
    Known(
        "micro-batch-mean",
        Problem([[20.0, 0.0]] * 3, [0] * 3, FLOAT32, reduction="mean", normaliser=4.0),
        LOSS,
        (),
        times(Decimal("0.75"), SURE),
        "three losses over four: no 1/3",
    ),
    Known("scale-loss", PAIR.replace(logit_scale=0.5), LOSS, (0,), log1p_exp(10), "the row is x/2"),
    Known("by-label", SOFT_PAIR, TARGET_GRADIENT, (0, 0), SURE, "the loss of the class, of which its label is a factor"),
    Known("by-label-far", SOFT_PAIR, TARGET_GRADIENT, (0, 1), plus(20, SURE), "the loss of the other class, whose label is 0"),
    Known(
        "by-label-weighted",
        SOFT_PAIR.replace(class_weights=[1.0, 3.0], label_smoothing=0.25, cotangent=[-2.0]),
        TARGET_GRADIENT,
        (0, 0),
        times(Decimal("-1.5"), SURE),
        "-2 (1 - 1/4)",
    ),
    Known("pulled-log-softmax", PAIR.replace(tangent=[[1.0, 0.0]]), LOG_SOFTMAX_VJP, (0, 0), TAIL, "1 - p = p_2"),
    Known("pulled-log-softmax-other", PAIR.replace(tangent=[[1.0, 0.0]]), LOG_SOFTMAX_VJP, (0, 1), minus(TAIL), "-p_2"),
    Known(
        "pulled-log-softmax-both", PAIR.replace(tangent=[[1.0, -1.0]]), LOG_SOFTMAX_VJP, (0, 0), 1.0, "u sums to 0: u itself"
    ),
    Known(
        "pulled-softmax", PAIR.replace(tangent=[[1.0, 0.0]]), SOFTMAX_VJP, (0, 0), SLOPE, "p_1 p_2, where p_1 is 1 in float32"
    ),
    Known(
        "pulled-softmax-along-ones", PAIR.replace(tangent=[[3.0, 3.0]]), SOFTMAX_VJP, (0, 1), 0.0, "probabilities add up to 1"
    ),
    Known(
        "pulled-logsumexp", PAIR.replace(cotangent=[-4.0]), LOGSUMEXP_VJP, (0, 1), times(-4, TAIL), "u p, whatever the target"
    ),
    Known("entropy", PAIR, ENTROPY, (0,), plus(SURE, times(20, TAIL)), "ln(1 + e^-20) + 20 p_2"),
    Known("entropy-slope", PAIR, ENTROPY_VJP, (0, 1), times(20, SLOPE), "p_1 p_2 gap: more of the other class, less sure"),
    Known("entropy-slope-at-maximum", PAIR.replace(cotangent=[3.0]), ENTROPY_VJP, (0, 0), times(-60, SLOPE), "-u p_1 p_2 gap"),
    Known("entropy-slope-tempered", PAIR.replace(temperature=4.0), ENTROPY_VJP, (0, 1), times(20, SLOWER), "p_1 p_2 (gap/T)/T"),
    Known(
        "pulled-softmax-tempered",
        PAIR.replace(temperature=4.0, tangent=[[1.0, 0.0]]),
        SOFTMAX_VJP,
        (0, 1),
        times(-4, SLOWER),
        "the row is x/4, and 1/4",
    ),
    Known("temperature-loss", PAIR.replace(temperature=2.0), LOSS, (0,), log1p_exp(10), "the row is x/2"),
    Known(
        "temperature-gradient",
        PAIR.replace(temperature=2.0),
        GRADIENT,
        (0, 1),
        times(Decimal("0.5"), sigmoid_of_minus(10)),
        "one factor 1/T",
    ),
    Known(
        "temperature-hessian",
        PAIR.replace(temperature=2.0),
        HESSIAN,
        (0, 1, 1),
        times(Decimal("0.25"), sigmoid_of_minus(10), sigmoid_of_minus(10), exp(10)),
        "two factors 1/T",
    ),
    Known("cotangent", PAIR.replace(cotangent=[-3.0]), GRADIENT, (0, 1), times(-3, TAIL), "the upstream gradient multiplies"),
]


def uniform(classes: int, fmt: Format, level: float) -> Problem:
    return Problem([[level] * classes], [classes - 1], fmt)


UNIFORM = [
    Known("uniform-10-loss", uniform(10, FLOAT32, 3.0), LOSS, (0,), ln(10), "log K, whatever the common logit"),
    Known("uniform-10-gradient", uniform(10, FLOAT32, 3.0), GRADIENT, (0, 0), Fraction(1, 10), "1/K"),
    Known("uniform-10-target", uniform(10, FLOAT32, 3.0), GRADIENT, (0, 9), Fraction(-9, 10), "1/K - 1"),
    Known("uniform-8-gradient", uniform(8, FLOAT16, -1.0), GRADIENT, (0, 7), Fraction(-7, 8), "exact: 1/8 - 1"),
    Known("three-gradient", uniform(3, FLOAT64, 1e300), GRADIENT, (0, 1), Fraction(1, 3), "three equal logits"),
    Known("three-target", uniform(3, FLOAT64, 1e300), GRADIENT, (0, 2), Fraction(-2, 3), "three equal logits"),
    Known("three-hessian", uniform(3, BFLOAT16, 0.0), HESSIAN, (0, 1, 1), Fraction(2, 9), "1/3 (1 - 1/3)"),
    Known("three-diagonal", uniform(3, BFLOAT16, 0.0), DIAGONAL, (0, 1), Fraction(2, 9), "1/3 (1 - 1/3)"),
    Known("three-hessian-off", uniform(3, BFLOAT16, 0.0), HESSIAN, (0, 0, 2), Fraction(-1, 9), "-1/3 1/3"),
    Known("three-softmax", uniform(3, FLOAT16, 5.0), SOFTMAX, (0, 0), Fraction(1, 3), "1/K"),
    Known("uniform-8-entropy", uniform(8, FLOAT16, -1.0), ENTROPY, (0,), times(3, ln(2)), "ln K"),
    Known("uniform-8-entropy-slope", uniform(8, FLOAT16, -1.0), ENTROPY_VJP, (0, 5), 0.0, "the largest there is"),
    Known("two-logsumexp", uniform(2, FLOAT64, -7.0), LOGSUMEXP, (0,), plus(-7, ln(2)), "c + ln 2"),
    Known("vocabulary", uniform(262144, FLOAT32, 1.5), LOSS, (0,), times(18, ln(2)), "ln 2^18"),
    Known("vocabulary-gradient", uniform(262144, FLOAT32, 1.5), GRADIENT, (0, 4), Fraction(1, 2**18), "2^-18"),
    Known("float16-sum-overflow", uniform(70000, FLOAT16, 0.0), LOSS, (0,), ln(70000), "70000 ones exceed float16's max"),
    Known("one-class-loss", uniform(1, FLOAT32, 88.0), LOSS, (0,), 0.0, "lse(x) - x = 0"),
    Known("one-class-gradient", uniform(1, FLOAT32, 88.0), GRADIENT, (0, 0), 0.0, "1 - 1"),
    Known("one-class-diagonal", uniform(1, FLOAT32, 88.0), DIAGONAL, (0, 0), 0.0, "1 - 1"),
    Known("one-class-hessian", uniform(1, FLOAT32, 88.0), HESSIAN, (0, 0, 0), 0.0, "1 - 1"),
    Known("one-class-softmax", uniform(1, FLOAT32, 88.0), SOFTMAX, (0, 0), Fraction(1), "the only class"),
]


def absorption_rows(fmt: Format) -> list[Known]:
    """1 + e^-gap is 1 from gap = p ln 2 on; the loss is not 0 there. lse = 1 + ln(1 + e^-gap) has its own tie there."""
    edge = times(fmt.precision, ln(2))
    rows = []
    exponent = math.floor(math.log2(float(edge))) - fmt.precision + 1
    for side, gap in (("below", below(edge, exponent)), ("above", below(edge, exponent) + Fraction(2) ** exponent)):
        pair = Problem([[float(gap), 0.0]], [0], fmt)
        loss = log1p_exp(as_decimal(gap))
        rows.append(Known(f"absorption-{fmt.name}-{side}", pair, LOSS, (0,), loss, "ln(1 + e^-gap), not 0"))
        rows.append(
            Known(
                f"absorption-gradient-{fmt.name}-{side}",
                pair,
                GRADIENT,
                (0, 0),
                minus(sigmoid_of_minus(as_decimal(gap))),
                "p - 1",
            )
        )
        lifted = Problem([[1.0, float(1 - gap)]], [0], fmt)
        answer = plus(1, loss)
        assert (round_to(fmt, Fraction(answer)) == 1.0) == (side == "above")
        rows.append(Known(f"absorption-lse-{fmt.name}-{side}", lifted, LOGSUMEXP, (0,), answer, "1 + ln(1 + e^-gap)"))
    return rows


def underflow_rows(fmt: Format) -> list[Known]:
    """e^-gap passes half the smallest subnormal at gap = -ln(min subnormal / 2)."""
    edge = times(fmt.emax + fmt.precision - 1, ln(2))
    exponent = math.floor(math.log2(float(edge))) - fmt.precision + 1
    smallest = 2.0 ** (2 - fmt.emax - fmt.precision)
    rows = []
    for side, gap in (("below", below(edge, exponent)), ("above", below(edge, exponent) + Fraction(2) ** exponent)):
        pair = Problem([[0.0, -float(gap)]], [0], fmt)
        answer = sigmoid_of_minus(as_decimal(gap))
        assert round_to(fmt, Fraction(answer)) == (smallest if side == "below" else 0.0)
        rows.append(Known(f"underflow-{fmt.name}-{side}", pair, GRADIENT, (0, 1), answer, "1/(1 + e^gap)"))
        rows.append(Known(f"underflow-target-{fmt.name}-{side}", pair, GRADIENT, (0, 0), minus(answer), "-1/(1 + e^gap)"))
    return rows


def overflow_rows(fmt: Format) -> list[Known]:
    """A loss of max + half a unit rounds to infinity, anything less to max; the tail e^-max is out of reach of decimals."""
    unit = Fraction(2) ** (fmt.emax - fmt.precision + 1)
    largest = Fraction(2) ** (fmt.emax + 1) - unit
    just_less = unit / 2 * (1 - Fraction(1, 2**fmt.precision))
    rows = []
    for name, low, rounds_to in (
        ("max", Fraction(0), float(largest)),
        ("last", -just_less, float(largest)),
        ("midpoint", -unit / 2, INF),
        ("twice", -largest, INF),
    ):
        pair = Problem([[float(largest), float(low)]], [1], fmt)
        assert round_to(fmt, largest - low, above=True) == rounds_to
        rows.append(Known(f"overflow-{fmt.name}-{name}", pair, LOSS, (0,), largest - low, "gap + e^-gap", above=True))
    return rows


EDGES = [row for fmt in FORMATS.values() for build in (absorption_rows, underflow_rows, overflow_rows) for row in build(fmt)]

NOT_EVEN = Problem([[1000.0, 0.0, 0.0]], [[0.0, 0.5, 3 * 2.0**-12]], FLOAT16)
"""A = 0.5 (1 + 3 2^-11) is a midpoint of float16; the gradient at class 0 is A/(1 + 2 e^-1000), just below it."""


def just_below_midpoint() -> Decimal:
    with localcontext(prec=1000):
        return (Decimal("0.5") + Decimal(3) / 4096) / (1 + 2 * Decimal(-1000).exp())


WEIGHTED = Problem([[1000.0, 0.0]], [1], FLOAT16, class_weights=[1.0, 1.5], cotangent=[1 + 2.0**-10])
"""Weight times cotangent is 1.5 + 3 2^-11, a midpoint of float16; the gradient is that times p_1 - 1."""


def just_inside_product() -> Decimal:
    with localcontext(prec=1000):
        return -(Decimal("1.5") + Decimal(3) / 2048) / (1 + Decimal(-1000).exp())


def just_above(gap: int) -> Decimal:
    with localcontext(prec=1500):
        return gap + Decimal(-gap).exp()


STICKY = [
    Known(
        "sticky-float16",
        Problem([[2048.0, -1.0]], [1], FLOAT16),
        LOSS,
        (0,),
        just_above(2049),
        "2049 is halfway between 2048 and 2050; e^-2049 lifts it to 2050",
    ),
    Known(
        "sticky-float16-log-softmax",
        Problem([[2048.0, -1.0]], [1], FLOAT16),
        LOG_SOFTMAX,
        (0, 1),
        minus(just_above(2049)),
        "the same below zero",
    ),
    Known(
        "sticky-float32",
        Problem([[2.0**-18, -64.0]], [1], FLOAT32),
        LOSS,
        (0,),
        plus(Decimal(2) ** -18, 64, log1p_exp(plus(Decimal(2) ** -18, 64)), digits=120),
        "64 + 2^-18 has 25 bits; the tail is e^-64",
    ),
    Known(
        "sticky-float32-far",
        Problem([[1.0, -(2.0**24)]], [1], FLOAT32),
        LOSS,
        (0,),
        Fraction(2**24 + 1),
        "2^24 + 1 is halfway; the tail is e^-16777217, seven million digits down",
        above=True,
    ),
    Known("sticky-product", WEIGHTED, GRADIENT, (0, 1), just_inside_product(), "a midpoint that ties away from 0, less a tail"),
    Known("sticky-downwards", NOT_EVEN, GRADIENT, (0, 0), just_below_midpoint(), "a midpoint that ties upwards, less a tail"),
]

MASKED = Problem([[2.0, -INF, 0.0]], [0], FLOAT32)
HALVES = Problem([[2.0, 0.0, -INF]], [[0.5, 0.5, 0.0]], FLOAT32)

NOT_FINITE = [
    Known("masked-loss", MASKED, LOSS, (0,), log1p_exp(2), "the row without its masked class"),
    Known("masked-gradient", MASKED, GRADIENT, (0, 1), 0.0, "p = 0 and y = 0"),
    Known("masked-gradient-target", MASKED, GRADIENT, (0, 0), minus(sigmoid_of_minus(2)), "p - 1 of the two that are left"),
    Known("masked-target-loss", MASKED.replace(target=[1]), LOSS, (0,), INF, "-log 0"),
    Known("masked-target-gradient", MASKED.replace(target=[1]), GRADIENT, (0, 1), Fraction(-1), "p - y = 0 - 1"),
    Known("masked-target-other", MASKED.replace(target=[1]), GRADIENT, (0, 2), sigmoid_of_minus(2), "p - y = p"),
    Known("masked-log-softmax", MASKED, LOG_SOFTMAX, (0, 1), -INF, "log 0"),
    Known("only-target-left", Problem([[-INF, 5.0, -INF]], [1], FLOAT16), LOSS, (0,), 0.0, "one class is left"),
    Known("only-target-gradient", Problem([[-INF, 5.0, -INF]], [1], FLOAT16), GRADIENT, (0, 1), 0.0, "1 - 1"),
    Known("soft-zero-masked", HALVES, LOSS, (0,), plus(1, log1p_exp(2)), "0 log 0 = 0: 0.5 2 + lse gap"),
    Known("soft-zero-gradient", HALVES, GRADIENT, (0, 2), 0.0, "p - q = 0 - 0"),
    Known("soft-masked", HALVES.replace(target=[[0.5, 0.25, 0.25]]), LOSS, (0,), INF, "weight at probability 0"),
    Known("smoothed-masked", MASKED.replace(label_smoothing=0.5), LOSS, (0,), INF, "smoothing puts s/K on a masked class"),
    Known("infinite-target", Problem([[INF, 0.0]], [0], FLOAT32), LOSS, (0,), 0.0, "the limit: p = 1"),
    Known("infinite-other", Problem([[INF, 0.0]], [1], FLOAT32), LOSS, (0,), INF, "the limit: p = 0"),
    Known("infinite-gradient", Problem([[INF, 0.0]], [1], FLOAT32), GRADIENT, (0, 0), Fraction(1), "p = 1, y = 0"),
    Known("infinite-gradient-target", Problem([[INF, 0.0]], [1], FLOAT32), GRADIENT, (0, 1), Fraction(-1), "p = 0, y = 1"),
    Known("infinite-lse", Problem([[INF, 0.0]], [1], FLOAT32), LOGSUMEXP, (0,), INF, "lse >= max"),
    Known("nan-logit", Problem([[NAN, 0.0]], [1], FLOAT32), LOSS, (0,), NAN, "NaN stays NaN"),
]

SMOOTHED = Problem([[20.0, 0.0]], [0], FLOAT64, class_weights=[1.0, 3.0], label_smoothing=0.25)
"""a_0 = 1 (3/4 + 1/8) = 7/8, a_1 = 3/8, A = 5/4."""

TWO_ROWS = Problem([[20.0, 0.0], [0.0, 0.0]], [0, 1], FLOAT32, class_weights=[1.0, 3.0], reduction="mean")
ONE_OF_TWO = Problem([[20.0, 0.0], [0.0, 0.0]], [0, -100], FLOAT32, reduction="mean")
NONE_OF_TWO = ONE_OF_TWO.replace(target=[-100, -100])
NO_ROWS = Problem(np.zeros((0, 3)), np.zeros(0, dtype=np.int64), FLOAT32)

OPTIONS = [
    Known(
        "smoothed-weighted-loss",
        SMOOTHED,
        LOSS,
        (0,),
        plus(Decimal("7.5"), times(Decimal("1.25"), SURE)),
        "a_1 20 + A ln(1 + e^-20)",
    ),
    Known(
        "smoothed-weighted-gradient",
        SMOOTHED,
        GRADIENT,
        (0, 0),
        plus(Decimal("0.375"), minus(times(Decimal("1.25"), TAIL))),
        "A p_0 - a_0 = 3/8 - 5/4 (1 - p_0)",
    ),
    Known(
        "weighted-mean",
        TWO_ROWS,
        LOSS,
        (),
        times(plus(SURE, times(3, ln(2))), Decimal("0.25")),
        "(1 ln(1 + e^-20) + 3 ln 2)/(1 + 3)",
    ),
    Known("weighted-mean-gradient", TWO_ROWS, GRADIENT, (1, 0), Fraction(3, 8), "3 p / (1 + 3)"),
    Known("weighted-sum", TWO_ROWS.replace(reduction="sum"), LOSS, (), plus(SURE, times(3, ln(2))), "no denominator"),
    Known("mean-ignores", ONE_OF_TWO, LOSS, (), SURE, "the mean over the one row that counts"),
    Known("mean-ignores-gradient", ONE_OF_TWO, GRADIENT, (0, 1), TAIL, "divided by 1, not by 2"),
    Known("ignored-gradient", ONE_OF_TWO, GRADIENT, (1, 0), 0.0, "an ignored row contributes nothing"),
    Known("all-ignored-mean", NONE_OF_TWO, LOSS, (), NAN, "0/0"),
    Known("all-ignored-sum", NONE_OF_TWO.replace(reduction="sum"), LOSS, (), 0.0, "the empty sum"),
    Known("no-rows-sum", NO_ROWS.replace(reduction="sum"), LOSS, (), 0.0, "the empty sum"),
    Known("no-rows-mean", NO_ROWS.replace(reduction="mean"), LOSS, (), NAN, "0/0"),
    Known(
        "soft-mean",
        Problem([[0.0, 0.0], [0.0, 0.0]], [[0.5, 0.5], [1.0, 0.5]], FLOAT32, reduction="mean"),
        LOSS,
        (),
        times(Decimal("1.25"), ln(2)),
        "(1 + 3/2) ln 2 / N; labels that do not sum to 1 count as they stand",
    ),
]

TABLE = CONFIDENT + UNIFORM + EDGES + STICKY + NOT_FINITE + OPTIONS


def exactly(hi: float, lo: float, exponent: int) -> Fraction:
    return (Fraction(hi) + Fraction(lo)) * Fraction(2) ** exponent


@pytest.mark.parametrize("known", [pytest.param(row, id=row.name) for row in TABLE])
def test_known_answer(known: Known) -> None:
    values = evaluate(known.problem, [known.quantity])[known.quantity].values[known.index]
    fmt = known.problem.format
    rounded, decided = values.rounded(fmt)
    assert bool(decided), known.why
    if isinstance(known.expected, float):
        assert np.array_equal(rounded, known.expected, equal_nan=True), known.why
        assert known.expected != 0 or values.radius == 0, "a known zero is an exact one"
        return
    exact = Fraction(known.expected)
    middle = exactly(float(values.hi), float(values.lo), int(values.exponent))
    radius = Fraction(float(values.radius)) * Fraction(2) ** int(values.exponent)
    slack = DECIMAL_ERROR * abs(exact) if isinstance(known.expected, Decimal) or known.above else Fraction(0)
    assert abs(middle - exact) <= radius + slack, known.why
    assert (exact - middle) * int(values.side) >= -slack, "the remainder has the sign that is promised"
    assert float(rounded) == round_to(fmt, exact, known.above), known.why


def test_no_rows_without_reduction_is_empty() -> None:
    loss = evaluate(NO_ROWS, [LOSS, GRADIENT])
    assert loss[LOSS].values.shape == (0,)
    assert loss[GRADIENT].values.shape == (0, 3)


def test_names_are_distinct_and_many() -> None:
    assert len({row.name for row in TABLE}) == len(TABLE) >= 25
