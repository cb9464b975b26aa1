"""Tests of the comparator: which grade an observation reaches, what counts as a wrong class, and what has no ulp number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reference.arithmetic import Arithmetic
from reference.enclosure import Enclosure
from reference.evaluation import evaluate
from reference.expected import Expected
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, FORMATS, Floats, Format
from reference.grades import Grade
from reference.problem import Problem
from reference.quantity import OF_SOME_PROBLEMS, Quantity
from suites.judging.measurement import Measurement
from tests.layers import picking

TAIL = Problem([[20.0, 0.0]], [0], FLOAT32)
"""True loss 2.06e-09: lost by absorption."""
PLAIN = Problem([[1.0, 2.0, 3.0]], [0], FLOAT32)
"""True loss 2.4076."""


def measure(problem: Problem, observed: object, quantity: Quantity = Quantity.LOSS) -> Measurement:
    expected = evaluate(problem, [quantity])[quantity]
    values = np.asarray(observed, dtype=np.float64)
    return Measurement(problem, quantity, Arithmetic(problem.format, problem.format), expected, values)


def correct(problem: Problem, quantity: Quantity = Quantity.LOSS) -> Floats:
    return evaluate(problem, [quantity])[quantity].values.rounded(problem.format)[0]


def steps_from(problem: Problem, steps: float) -> Floats:
    """The correctly rounded loss, moved by a number of ulps."""
    value = correct(problem)
    return value + steps * problem.format.ulp(value)


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("quantity", [q for q in Quantity if q not in OF_SOME_PROBLEMS])
def test_the_correctly_rounded_value_is_correct(fmt: Format, quantity: Quantity) -> None:
    problem = Problem([[1.0, 2.0, 3.0], [8.0, 0.0, 8.0]], [0, 2], fmt, tangent=[[1.0, 0.5, -2.0], [3.0, 1.0, 1.0]])
    found = measure(problem, correct(problem, quantity), quantity)
    assert found.grade is Grade.CORRECT
    assert found.ulps.max() <= 0.5


@pytest.mark.parametrize(
    ("steps", "grades"),
    [
        (0, {Grade.CORRECT}),
        (1, {Grade.FAITHFUL, Grade.ACCURATE}),
        (-1, {Grade.FAITHFUL, Grade.ACCURATE}),
        (3, {Grade.ACCURATE}),
        (-3, {Grade.ACCURATE}),
        (5, {Grade.FINITE}),  # the bound of `stable` for three classes is 2.6 ulp here, below what `accurate` allows
        (1000, {Grade.FINITE}),
    ],
)
def test_a_number_of_ulps_away(steps: int, grades: set[Grade]) -> None:
    found = measure(PLAIN, steps_from(PLAIN, steps))
    assert found.grade in grades
    assert abs(found.ulps[0] - abs(steps)) <= 0.5


def test_one_neighbour_is_faithful_and_the_other_is_not() -> None:
    grades = sorted(measure(PLAIN, steps_from(PLAIN, steps)).grade for steps in (-1, 0, 1))
    assert grades == [Grade.ACCURATE, Grade.FAITHFUL, Grade.CORRECT]


def test_a_lost_value_is_stable_at_best() -> None:
    """An absolute error of 2e-9 is far within the bound, and all of the value."""
    found = measure(TAIL, [0.0])
    assert found.grade is Grade.STABLE
    assert found.returned_zero.all()
    assert found.ulps[0] > 2**23


def test_a_few_subnormal_steps_are_accurate_unless_nothing_is_left() -> None:
    problem = Problem([[0.0, -102.25]], [0], FLOAT32)
    tiny = FLOAT32.min_subnormal
    assert correct(problem) == 3 * tiny
    assert measure(problem, [tiny]).grade is Grade.ACCURATE
    assert measure(problem, [0.0]).grade < Grade.ACCURATE


def test_zero_is_right_where_the_value_rounds_to_zero() -> None:
    problem = Problem([[0.0, -110.0]], [0], FLOAT32)
    assert measure(problem, [0.0]).grade is Grade.CORRECT
    assert measure(problem, [-0.0]).grade is Grade.CORRECT


def test_the_sign_counts() -> None:
    assert measure(PLAIN, -correct(PLAIN)).grade is Grade.FINITE


HALVES = Problem([[0.0, 0.0]], [[0.5 + 2.0**-24, 0.5 - 2.0**-25]], FLOAT32)
"""The gradient is -+2^-24.4, a difference of two numbers near 1/2."""
HALF_LOG = Problem([[float(FLOAT32.round(-np.log(2.0)))] * 2], [0], FLOAT32)
"""The logsumexp is -1.9e-9, a difference of two numbers near log 2."""


@pytest.mark.parametrize(
    ("problem", "quantity", "times"), [(HALVES, Quantity.GRADIENT, -4.0), (HALF_LOG, Quantity.LOGSUMEXP, -200.0)]
)
def test_a_wrong_sign_is_not_accurate_where_terms_cancel(problem: Problem, quantity: Quantity, times: float) -> None:
    value = correct(problem, quantity)
    assert measure(problem, times * value, quantity).grade < Grade.ACCURATE
    assert measure(problem, value * abs(times), quantity).grade is Grade.ACCURATE


def test_a_sign_that_is_not_known_is_not_judged() -> None:
    values = Enclosure.of([(0.5, 0.0, 0.75, -24, 0)], (1,))
    expected = Expected(values, np.array([1.0]), np.zeros(1, dtype=np.int8))
    arithmetic = Arithmetic(FLOAT32, FLOAT32)
    found = Measurement(PLAIN, Quantity.LOSS, arithmetic, expected, np.array([-(2.0**-25)]))
    assert found.grade >= Grade.ACCURATE


def test_the_sign_of_what_rounds_to_zero_is_not_judged() -> None:
    problem = Problem([[0.0, -110.0]], [0], FLOAT32)
    assert measure(problem, [-FLOAT32.min_subnormal]).grade is Grade.ACCURATE


@pytest.mark.parametrize("tier", ["exact", "fast"])
def test_zero_is_a_neighbour_of_what_is_below_the_least_subnormal(tier: str) -> None:
    """exp(-103.625) is 0.699 of the least subnormal of float32, exp(-103.25) is 1.02 of it."""
    for logit, grade in ((-103.625, Grade.FAITHFUL), (-103.25, Grade.COMPONENTWISE)):
        problem = Problem([[0.0, logit]], [0], FLOAT32)
        expected = evaluate(problem, ["loss"], tier)[Quantity.LOSS]
        found = Measurement(problem, Quantity.LOSS, Arithmetic(FLOAT32, FLOAT32), expected, np.zeros(1))
        assert found.rounded == FLOAT32.min_subnormal
        assert (found.grade, bool(found.returned_zero[0])) == (grade, grade is Grade.COMPONENTWISE)


def test_zero_for_the_least_subnormal_itself_is_lost() -> None:
    expected = Expected(Enclosure.of([(0.5, 0.0, 0.0, -148, 0)], (1,)), np.array([2.0**-149]), np.zeros(1, dtype=np.int8))
    found = Measurement(PLAIN, Quantity.LOSS, Arithmetic(FLOAT32, FLOAT32), expected, np.zeros(1))
    assert found.returned_zero.all()
    assert found.grade < Grade.ACCURATE


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_nan_and_infinities_where_a_number_is_owed_are_nothing(wrong: float) -> None:
    found = measure(PLAIN, [wrong])
    assert found.grade is Grade.NONE
    assert not found.right_class.any()


def test_a_number_where_infinity_is_owed_is_nothing() -> None:
    masked = Problem([[-np.inf, 0.0]], [0], FLOAT32)
    assert measure(masked, [np.inf]).grade is Grade.CORRECT
    for wrong in (1e30, -np.inf, np.nan):
        assert measure(masked, [wrong]).grade is Grade.NONE


def test_a_number_where_nan_is_owed_is_nothing() -> None:
    poisoned = Problem([[np.nan, 0.0]], [0], FLOAT32)
    assert measure(poisoned, [np.nan]).grade is Grade.CORRECT
    assert measure(poisoned, [0.0]).grade is Grade.NONE


def test_the_limit_or_nan_passes_for_one_infinite_logit() -> None:
    infinite = Problem([[np.inf, 0.0]], [0], FLOAT32)
    assert measure(infinite, [0.0]).grade is Grade.CORRECT
    assert measure(infinite, [np.nan]).grade is Grade.CORRECT
    assert measure(infinite, [np.inf]).grade is Grade.NONE
    assert measure(infinite, [1.0]).grade < Grade.STABLE


@pytest.mark.parametrize("anything", [np.nan, 0.0, np.inf])
def test_nothing_is_owed_for_a_row_of_masked_classes(anything: float) -> None:
    assert measure(Problem([[-np.inf, -np.inf]], [0], FLOAT32), [anything]).grade is Grade.CORRECT


UNDEFINED = Problem([[1.0, 0.0], [-np.inf, -np.inf]], [1, 0], FLOAT32, reduction="sum")
"""A row whose loss is 1.3133 and one whose loss depends on the path."""


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("bad", [-np.inf, np.inf])
def test_a_sum_with_an_undefined_row_is_no_number_or_that_of_the_others(reduction: str, bad: float) -> None:
    problem = UNDEFINED.replace(logits=[[1.0, 0.0], [bad, bad]], reduction=reduction)
    rest = correct(problem)
    for right in (np.nan, np.inf, -np.inf, rest):
        assert measure(problem, right).grade is Grade.CORRECT
    for wrong in (123.0, 0.0, -rest, rest * 2):
        assert measure(problem, wrong).grade is Grade.NONE
    assert measure(problem, rest + 2 * FLOAT32.ulp(rest)).grade is Grade.ACCURATE
    assert measure(problem, 123.0).compared == 1


def test_nothing_but_nan_or_infinity_is_owed_beside_an_infinite_loss() -> None:
    problem = UNDEFINED.replace(logits=[[-np.inf, 0.0], [np.inf, np.inf]], target=[0, 0])
    assert measure(problem, -np.inf).grade is Grade.CORRECT
    assert measure(problem, 123.0).grade is Grade.NONE


def test_the_sums_of_a_mean_of_nothing_are_zero_or_no_number() -> None:
    problem = picking([[1.0, 0.0]], [-100], FLOAT32, [2.0], reduction="mean")
    for right in (np.nan, np.inf, 0.0):
        assert measure(problem, [right, 0.0], Quantity.BIAS_GRADIENT).grade is Grade.CORRECT
    assert measure(problem, [123.0, 0.0], Quantity.BIAS_GRADIENT).grade is Grade.NONE
    assert measure(problem, [[np.nan, 0.0], [np.inf, 0.0]], Quantity.WEIGHT_GRADIENT).grade is Grade.CORRECT
    assert measure(problem, [[123.0, 0.0], [0.0, 0.0]], Quantity.WEIGHT_GRADIENT).grade is Grade.NONE
    assert measure(problem, [[123.0, -7.0]], Quantity.FEATURE_GRADIENT).grade is Grade.CORRECT


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda fmt: fmt.name)
def test_an_overflow_is_right_where_the_value_rounds_to_infinity(fmt: Format) -> None:
    problem = Problem([[fmt.largest, -fmt.largest]], [1], fmt)
    found = measure(problem, [np.inf])
    assert found.grade is Grade.CORRECT
    assert not found.measurable.any()
    assert measure(problem, [fmt.largest]).grade is Grade.NONE


def test_an_overflow_one_step_beyond_the_largest_number_is_an_error_of_one_step() -> None:
    """The loss is 65504 and a tail: infinity is its upper neighbour, and the faithful roundings are the two neighbours."""
    problem = Problem([[FLOAT16.largest, 0.0]], [1], FLOAT16)
    found = measure(problem, [np.inf])
    assert found.ulps[0] == 1.0
    assert found.grade is Grade.FAITHFUL


def test_the_worst_entry_is_the_one_of_lowest_grade() -> None:
    gradient = correct(PLAIN, Quantity.GRADIENT)
    gradient[0, 1] = 0.0
    gradient[0, 2] += 3 * FLOAT32.ulp(gradient[0, 2])
    found = measure(PLAIN, gradient, Quantity.GRADIENT)
    assert found.worst() == (0, 1)
    assert found.grade is Grade.FINITE


def test_a_product_that_is_exactly_zero_has_no_ulp() -> None:
    problem = Problem([[1.0, 2.0, 3.0]], [0], FLOAT32, tangent=np.ones((1, 3)))
    found = measure(problem, [[1e-9, 0.0, 0.0]], Quantity.HVP)
    assert found.returned_nonzero.tolist() == [[True, False, False]]
    assert not found.measurable[0, 0]
    assert found.grade is Grade.STABLE


def test_cancelling_terms_are_measured_in_ulps_of_the_terms() -> None:
    """q - p nearly cancels: an error of one ulp of p is many ulps of the difference, and still accurate."""
    third = float(FLOAT32.round(1 / 3))
    problem = Problem([[0.0, 0.0, 0.0]], [[third, third, third]], FLOAT32)
    exact = correct(problem, Quantity.GRADIENT)
    found = measure(problem, exact + FLOAT32.ulp(third), Quantity.GRADIENT)
    assert found.ulps.min() > 1000
    assert found.scaled_ulps.max() <= 1.0
    assert found.grade is Grade.ACCURATE


def test_a_failed_operation_reaches_nothing_even_without_entries() -> None:
    empty = Problem(np.zeros((0, 3)), [], FLOAT64)
    expected = evaluate(empty, [Quantity.LOSS])[Quantity.LOSS]
    arithmetic = Arithmetic(FLOAT64, FLOAT64)
    assert Measurement(empty, Quantity.LOSS, arithmetic, expected, np.zeros(0)).grade is Grade.CORRECT
    assert Measurement(empty, Quantity.LOSS, arithmetic, expected, np.zeros(0)).worst() is None
    assert Measurement(empty, Quantity.LOSS, arithmetic, expected, np.zeros(0), "raised").grade is Grade.NONE


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"loss has shape \(2,\); allowed: \(1,\)"):
        measure(PLAIN, [0.0, 1.0])


def test_of_the_two_neighbours_of_a_midpoint_one_is_correct() -> None:
    """The loss is 2049 + exp(-2049): just above the midpoint of 2048 and 2050, so far that half an ulp is both distances."""
    problem = Problem([[1.0, 2050.0]], [0], FLOAT16)
    assert measure(problem, [2050.0]).grade is Grade.CORRECT
    assert measure(problem, [2048.0]).grade is Grade.FAITHFUL


ONE_ULP_OFF: list[tuple[Problem, Quantity, list[float]]] = [
    (Problem([[0.0, 0.0]], [0], FLOAT32), Quantity.SOFTMAX, [0.5 + 2.0**-24, 0.5]),
    (Problem([[0.0, 0.0]], [0], FLOAT32), Quantity.GRADIENT, [-0.5 - 2.0**-24, 0.5]),
    (Problem([[3.0]], [0], FLOAT32), Quantity.LOSS, [2.0**-149]),
    (Problem([[3.0]], [0], FLOAT64), Quantity.GRADIENT, [2.0**-1074]),
    (Problem([[0.0, 0.0]], [0], FLOAT64), Quantity.SOFTMAX, [0.5 + 2.0**-53, 0.5]),
]
"""Values that are numbers of the format, and what lies exactly 1 ulp away from one of them."""


@pytest.mark.parametrize("tier", ["exact", "fast", "auto"])
@pytest.mark.parametrize(("problem", "quantity", "off"), ONE_ULP_OFF)
def test_a_whole_ulp_is_not_faithful(problem: Problem, quantity: Quantity, off: list[float], tier: str) -> None:
    if tier == "fast" and quantity not in (Quantity.LOSS, Quantity.GRADIENT):
        pytest.skip("the compiled tier has none")
    expected, arithmetic = evaluate(problem, [quantity], tier)[quantity], Arithmetic(problem.format, problem.format)
    observed = np.reshape(off, expected.values.shape)
    found = Measurement(problem, quantity, arithmetic, expected, observed)
    assert found.ulps.flat[0] == 1.0
    assert found.grade is Grade.ACCURATE
    right = Measurement(problem, quantity, arithmetic, expected, expected.values.approximate())
    assert right.grade is Grade.CORRECT


def test_what_is_kept_is_of_the_same_values_and_arithmetic() -> None:
    """Bounds are shared by all operations of an arithmetic; in another they would be wrong, and a verdict with them."""
    found = measure(PLAIN, correct(PLAIN))
    again = replace(found, observed=found.observed + 1.0)
    assert again.stable_bound is found.stable_bound
    assert (found.grade, again.grade) == (Grade.CORRECT, Grade.FINITE)
    others: list[dict[str, Any]] = [
        {"expected": measure(PLAIN, correct(PLAIN)).expected},
        {"arithmetic": Arithmetic(BFLOAT16, FLOAT32)},
    ]
    for other in others:
        with pytest.raises(ValueError, match="kept is of other expected values, or of another arithmetic"):
            replace(found, **other)
        assert replace(found, **other, kept={}).stable_bound is not found.stable_bound
