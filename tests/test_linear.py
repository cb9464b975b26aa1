"""The linear layer: its exact output, its gradients by hand, which sums round nothing, and the bound of what a sum rounds."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.operation import OF_LAYER, Operation
from reference import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, Arithmetic, Problem, Quantity, evaluate
from reference.bounds.layer import layer_logits
from reference.formats import Floats
from reference.linear import Layer
from reference.quantity import LAYER_GRADIENTS
from reference.special_values import Requirement
from suites.command.selection import Asked
from suites.judging.measurement import Measurement
from tests.oracles.agreement import check_problem

FEATURE, WEIGHT, BIAS = LAYER_GRADIENTS


def layer(features: Any, weight: Any, bias: Any = None, target: Any = (0,), **options: Any) -> Problem:
    """A layer in float32."""
    parts = {"features": features, "weight": weight} | ({} if bias is None else {"bias": bias})
    return Problem.of_layer(parts, list(target), options.pop("fmt", FLOAT32), **options)


def values(problem: Problem, quantity: Quantity) -> list[Any]:
    """What is expected of a quantity, to the nearest float64."""
    return evaluate(problem, [quantity])[quantity].values.approximate().tolist()


def test_ties_by_hand() -> None:
    """z = [2, 2], p = 1/2: g = [-1/2, 1/2], and what both classes weigh alike has no slope at all."""
    problem = layer([[2.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]])
    assert values(problem, Quantity.LOSS) == [np.log(2.0)]
    assert values(problem, FEATURE) == [[0.0, 0.0]]
    assert values(problem, WEIGHT) == [[-1.0, -0.5], [1.0, 0.5]]
    assert values(problem, BIAS) == [-0.5, 0.5]


@pytest.mark.parametrize("quantities", [OF_LAYER, LAYER_GRADIENTS])
def test_an_operation_of_a_layer_is_asked_problems_of_a_layer_alone(quantities: tuple[Quantity, ...]) -> None:
    """Whether or not it returns its loss; nothing of logits is asked of it, by no test and by no sweep."""
    operation = Operation("fused", "fused(h, W, index)", None, {"float32": Arithmetic(FLOAT32, FLOAT32)}, quantities)
    assert operation.refusal(layer([[2.0]], [[1.0], [1.0]])) is None
    assert operation.refusal(Problem([[2.0, 2.0]], [0], FLOAT32)) == "fused asks for a linear layer: the problem has none"
    assert Asked(layer=True).of(operation)
    assert not Asked().of(operation)
    assert not operation.is_of_indices


def test_rows_by_hand() -> None:
    """W = 0: p = 1/3 everywhere, so the mean of two rows has g = (1/3 - [t])/2, dL/dW = g^T h and dL/dh = 0."""
    problem = layer([[3.0], [-6.0]], [[0.0]] * 3, target=(0, 2), reduction="mean")
    np.testing.assert_allclose(values(problem, WEIGHT), [[-2.0], [-0.5], [2.5]], rtol=1e-15)
    np.testing.assert_allclose(values(problem, BIAS), [-1 / 6, 1 / 3, -1 / 6], rtol=1e-15)
    assert values(problem, FEATURE) == [[0.0], [0.0]]


def test_features_by_hand() -> None:
    """z = [1, 0]: g = [-q, q], q = 1/(1 + e), and dL/dh = q (W_1 - W_0)."""
    problem = layer([[1.0, 0.0]], [[1.0, 2.0], [0.0, -1.0]])
    q = 1.0 / (1.0 + np.e)
    np.testing.assert_allclose(values(problem, FEATURE), [[-q, -3 * q]], rtol=1e-15)


def test_what_cancels_in_a_product_is_kept() -> None:
    """1e8 x - 1e8 + x: float32 sums lose x, and float64 sums the 2^-60 beside 1."""
    x = 2.0**-10
    assert layer([[1e8, 1.0, -1e8]], [[1.0, x, 1.0], [0.0, 0.0, 0.0]]).logits.tolist() == [[x, 0.0]]
    tiny = layer([[1.0, 2.0**-60]], [[1.0, 1.0], [1.0, 0.0]], fmt=FLOAT64)
    assert tiny.logits.tolist() == [[1.0, 1.0]]
    assert tiny.layer_logits is not None
    loss = evaluate(tiny, ["loss"])[Quantity.LOSS].values
    assert (loss.hi + loss.lo)[0] * 2.0 ** loss.exponent[0] == np.log(2.0)
    check_problem(tiny, (Quantity.LOSS, Quantity.GRADIENT, *LAYER_GRADIENTS))


def test_a_logit_beyond_float64_is_finite() -> None:
    largest = FLOAT64.largest
    problem = layer([[largest]], [[2.0], [largest], [0.0]], fmt=FLOAT64, target=(1,))
    assert problem.logits.tolist() == [[largest, largest, 0.0]]
    assert values(problem, Quantity.LOSS) == [0.0]
    assert values(problem.replace(target=[0]), Quantity.LOSS) == [np.inf]


def test_a_feature_that_is_no_number_makes_its_row_none() -> None:
    problem = layer([[np.nan, 1.0], [1.0, 1.0]], [[1.0, 2.0], [0.0, 1.0]], target=(0, 1))
    assert np.isnan(problem.logits[0]).all()
    assert np.isnan(values(problem, WEIGHT)).all()
    assert np.isnan(values(problem, FEATURE)[0]).all()
    assert np.isfinite(values(problem, FEATURE)[1]).all()


def test_an_ignored_row_contributes_nothing_whatever_its_features_are() -> None:
    """Their gradient is 0; 0 times NaN may make NaN of the column of the weights that has it, and of no other."""
    kept = layer([[1.0, 1.0]], [[1.0, 2.0], [0.0, 1.0]], target=(1,), reduction="mean")
    problem = kept.replace(features=[[1.0, 1.0], [np.nan, 7.0]], target=[1, -100])
    for quantity in (Quantity.LOSS, WEIGHT, BIAS):
        assert values(problem, quantity) == values(kept, quantity)
    assert values(problem, FEATURE) == [*values(kept, FEATURE), [0.0, 0.0]]
    owed = evaluate(problem, [WEIGHT])[WEIGHT].requirement
    assert owed.tolist() == [[Requirement.LIMIT_OR_NAN, Requirement.MUST]] * 2


def test_a_bias_of_minus_infinity_masks_its_class() -> None:
    problem = layer([[2.0]], [[1.0], [3.0], [1.0]], [0.0, -np.inf, 0.0])
    assert values(problem, Quantity.LOSS) == [np.log(2.0)]
    assert values(problem, WEIGHT) == [[-1.0], [0.0], [1.0]]
    assert values(problem.replace(target=[1]), Quantity.LOSS) == [np.inf]


def test_many_classes_of_a_few_kinds_are_merged() -> None:
    """Classes that differ below float64 are not."""
    weight = np.resize([[1.0, 1.0], [1.0, 0.0], [2.0, 1.0]], (48, 2))
    problem = layer([[1.0, 2.0**-70], [1.0, -1.0]], weight, fmt=FLOAT64, target=(0, 5))
    assert problem.logits[0, 0] == problem.logits[0, 1]
    check_problem(problem, (Quantity.LOSS, Quantity.GRADIENT, *LAYER_GRADIENTS))
    gradient = np.array(evaluate(problem, ["gradient"])[Quantity.GRADIENT].values.lo)[0]
    assert gradient[3] != gradient[1]


NUMBERS = st.lists(st.integers(-40, 40).map(lambda n: n / 8.0), min_size=6, max_size=6)


@given(NUMBERS, NUMBERS, st.permutations(range(7)))
def test_sums_that_need_no_more_digits_are_exact_in_every_order(h: list[float], w: list[float], order: list[int]) -> None:
    terms = [FLOAT16.round(np.array(a * b)) for a, b in zip(h, w, strict=True)] + [np.array(2.5)]
    exact = Fraction(5, 2) + sum(Fraction(a) * Fraction(b) for a, b in zip(h, w, strict=True))
    total = np.zeros(())
    for place in order:
        total = FLOAT16.round(total + terms[place])
    if Layer(np.array([h]), np.array([w]), np.array([2.5])).sums_exactly(FLOAT16)[0, 0]:
        assert total == float(exact)


def test_an_exact_layer_has_no_error_and_another_has() -> None:
    arithmetic = Arithmetic(FLOAT32, FLOAT32)
    integers = layer([[3.0, -2.0]], [[5.0, 7.0], [1.0, 0.0]])
    assert not layer_logits(integers, arithmetic).error.any()
    thirds = FLOAT32.round(np.array([[1 / 3, 2 / 3]]))
    assert layer_logits(layer(thirds, [[5.0, 7.0], [0.0, 0.0]]), arithmetic).error[0, 0] > 2.0**-24
    stored = layer([[2049.0, 1.0]], [[1.0, 1.0], [2.0, 0.0]], fmt=FLOAT32)
    assert not layer_logits(stored, arithmetic).error.any()
    # float32 holds 2050.5, which float16 does not: where the logits are stored, that is an error.
    odd = layer([[2048.0, 2.5]], [[1.0, 1.0], [1.0, 0.0]], fmt=FLOAT16)
    assert layer_logits(odd, Arithmetic(FLOAT16, FLOAT32)).error[0, 0] > 0.9


def test_logits_that_are_stored_before_a_wider_loss_are_declared() -> None:
    """A loss of float32, and logits that are what bfloat16 holds of them, off by half an ulp of it perhaps."""
    problem = layer([[1.0, 1.0]], [[256.0, 1.0], [256.0, 0.0]])
    stored = [float(np.log(2.0))]
    wide = Arithmetic(FLOAT32, FLOAT32)
    assert layer_logits(problem, wide).error.max() < 1e-4
    assert graded(problem, Quantity.LOSS, wide, stored).grade.label == "finite"
    declared = replace(wide, layer_logits=BFLOAT16)
    assert layer_logits(problem, declared).error[0, 0] >= 1.0
    assert graded(problem, Quantity.LOSS, declared, stored).grade.label == "stable"
    assert graded(problem, Quantity.LOSS, declared, [stored[0] + 8.0]).grade.label == "finite"
    # What is not rounded is not excused: the logits of a layer that picks them are members of the format.
    picked = layer([[1.0, 0.0]], [[256.0, 1.0], [255.0, 0.0]])
    assert not layer_logits(picked, declared).error.any()


def chunked(problem: Problem, rows: int) -> Floats:
    """The mean loss of a layer whose running total over chunks of rows is kept in the format of the problem."""
    total = np.zeros(())
    for start in range(0, problem.num_rows, rows):
        part = problem.replace(
            features=problem.layer.features[start : start + rows],  # type: ignore[union-attr]
            target=problem.target[start : start + rows],
            reduction="sum",
        )
        total = problem.format.round(total + evaluate(part, ["loss"])[Quantity.LOSS].values.approximate() / problem.num_rows)
    return total


def test_a_total_kept_in_a_narrow_format_is_found_out() -> None:
    """1024 equal losses, log 4 / 1024 each: in float16, added up in chunks of one, they saturate."""
    problem = layer(np.zeros((4096, 1)), np.zeros((4, 1)), fmt=FLOAT16, target=[0] * 4096, reduction="mean")
    arithmetic, expected = Arithmetic(FLOAT16, FLOAT32), evaluate(problem, ["loss"])[Quantity.LOSS]
    found = {rows: Measurement(problem, Quantity.LOSS, arithmetic, expected, chunked(problem, rows)) for rows in (1, 4096)}
    assert found[1].grade.label == "finite"
    assert found[4096].grade.label == "correct"


def graded(problem: Problem, quantity: Quantity, arithmetic: Arithmetic, observed: Any) -> Measurement:
    """What was observed, against what is expected."""
    return Measurement(problem, quantity, arithmetic, evaluate(problem, [quantity])[quantity], np.array(observed))


HALF = Arithmetic(BFLOAT16, FLOAT32)


@pytest.mark.parametrize(
    ("quantity", "wrong"),
    [(FEATURE, [[-0.546875], [1000.0]]), (WEIGHT, [[300.0], [-500.0]]), (BIAS, [300.0, -500.0])],
    ids=["features", "weight", "bias"],
)
def test_a_padded_row_of_large_logits_spares_no_other(quantity: Quantity, wrong: Any) -> None:
    """Its own error is unbounded, and it counts 0 times."""
    problem = layer([[1.0], [32.0]], [[16.0], [15.0]], [0.3125, 1.5], (0, -100), fmt=BFLOAT16, reduction="mean")
    assert np.isfinite(graded(problem, quantity, HALF, wrong).stable_bound).all()
    assert graded(problem, quantity, HALF, wrong).grade.label == "finite"


def test_logits_that_may_shift_by_much_leave_the_loss_bounded() -> None:
    """By 2 in either direction: a computed loss is not off by 1e30."""
    problem = layer([[32.0]], [[16.0], [16.0], [15.0]], [0.5, -1.5, 2.0], fmt=BFLOAT16)
    assert layer_logits(problem, HALF).error.max() > 1.9
    assert graded(problem, Quantity.LOSS, HALF, [1e30]).grade.label == "finite"
    assert graded(problem, Quantity.LOSS, HALF, [3.0]).grade.label == "stable"


def from_left_to_right(problem: Problem) -> Floats:
    """(N, K): the logits in float32, a feature at a time."""
    assert problem.layer is not None
    total = np.zeros((problem.num_rows, problem.num_classes), dtype=np.float32)
    for column in range(problem.weight.shape[1]):  # type: ignore[union-attr]
        h, w = (part[:, column].astype(np.float32) for part in (problem.layer.features, problem.layer.weight))
        total = total + h[:, None] * w
    return total.astype(np.float64)


def test_a_softcap_of_logits_of_either_sign_is_bounded() -> None:
    """What cancels in the products leaves 8 for 1 and -8 for -1: tanh moves by nearly 2."""

    def row(s: float) -> list[float]:
        return [s * 1e8, s * 5.0, s * 5.0, s * 5.0, -s * (1e8 + 16.0)]

    problem = layer([[1.0] * 5], [row(1.0)] + [row(-1.0)] * 49, logit_softcap=2.0**-4)
    capped = 2.0**-4 * np.tanh(from_left_to_right(problem) * 16.0)
    loss = np.log(np.exp(capped).sum()) - capped[0, 0]
    assert abs(loss - values(problem, Quantity.LOSS)[0]) > 0.2
    assert graded(problem, Quantity.LOSS, Arithmetic(FLOAT32, FLOAT32), [loss]).grade.label != "finite"


@pytest.mark.parametrize("option", [{"logit_softcap": 2.0**-10}, {"z_loss": 0.5}], ids=str)
def test_what_a_layer_rounds_is_componentwise(option: dict[str, float]) -> None:
    """All else in float64: the error of the logits enters the rate of a softcap, and the maximum of a z-loss."""
    weight = [[1000.1, 0.3003, -1000.4 if "logit_softcap" in option else -990.4], [-20.0, 0.0, 0.0]]
    problem = layer([[1.0] * 3], FLOAT32.round(np.array(weight)), **option)
    z = from_left_to_right(problem)[0]
    x = z if "z_loss" in option else 2.0**-10 * np.tanh(z * 2.0**10)
    lse = np.log(np.exp(x - x.max()).sum()) + x.max()
    loss = FLOAT32.round(np.array([lse - x[0] + option.get("z_loss", 0.0) * lse**2]))
    assert graded(problem, Quantity.LOSS, Arithmetic(FLOAT32, FLOAT32), loss).grade.label in ("componentwise", "accurate")


def test_a_row_that_is_no_number_goes_before_one_without_a_limit() -> None:
    problem = layer([[np.nan], [np.inf]], [[1.0], [-1.0]], target=(0, 0), reduction="sum")
    for quantity in (WEIGHT, BIAS):
        assert (evaluate(problem, [quantity])[quantity].requirement == Requirement.MUST).all()


def test_sums_that_overflow_are_not_exact_and_have_no_bound() -> None:
    problem = layer([[2.0**100] * 4], [[2.0**27, 2.0**27, -(2.0**27), -(2.0**27)], [0.0] * 4])
    assert layer_logits(problem, Arithmetic(FLOAT32, FLOAT32)).error.tolist() == [[np.inf, 0.0]]


def test_a_product_that_is_stored_before_its_bias_is_bounded() -> None:
    """256 + 1 is stored as 256 in bfloat16; less 1 it is 255, and 256 is right."""
    problem = layer([[1.0, 1.0]], [[256.0, 1.0], [256.0, 0.0]], [-1.0, 0.0], fmt=BFLOAT16)
    assert problem.logits.tolist() == [[256.0, 256.0]]
    assert layer_logits(problem, HALF).error[0, 0] >= 1.0
    assert graded(problem, Quantity.LOSS, HALF, [float(np.log(1.0 + np.e))]).grade.label == "stable"
