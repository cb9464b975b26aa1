"""The grade between stable and accurate: plain float32 reaches it if it absorbs nothing, and what absorbs does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.numpy.backend import NumpyAdapter
from adapters.question import Question
from reference import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, FORMATS, Format, Grade, Problem, Quantity
from reference.arithmetic import RECURSIVE, Arithmetic
from reference.bounds.componentwise import combined, sums_of_others
from reference.bounds.entrywise import componentwise_bound
from reference.evaluation import evaluate
from reference.formats import Floats
from reference.quantity import BLOCK_PRODUCTS
from suites.judging.measurement import Measurement

SINGLE = Arithmetic(FLOAT32, FLOAT32)
DERIVED = (Quantity.LOSS, Quantity.GRADIENT, Quantity.HESSIAN, Quantity.HVP)


def graded(problem: Problem, quantity: Quantity, observed: Floats, arithmetic: Arithmetic = SINGLE) -> Grade:
    expected = evaluate(problem, [quantity])[quantity]
    return Measurement(problem, quantity, arithmetic, expected, np.asarray(observed, dtype=np.float64)).grade


def grades_of(name: str, problem: Problem) -> dict[Quantity, Grade]:
    """What an operation of the numpy backend reaches at a problem."""
    adapter = NumpyAdapter()
    operation = next(o for o in adapter.operations() if o.name == name)
    observed = adapter.observe(Question(operation, problem, operation.quantities))
    return {q: graded(problem, q, observed.values[q], operation.arithmetic_of(q, problem.format)) for q in operation.quantities}


@st.composite
def rows(draw: st.DrawFn, fmt: Format) -> Problem:
    """Gaps from 0 to where powers underflow, at an offset that makes them round, with ties and masked classes."""
    classes = draw(st.integers(1, 12))
    each = st.one_of(st.sampled_from([0.0, -np.inf]), st.floats(-130.0, 0.0, width=16))
    row = np.array(draw(st.lists(each, min_size=classes, max_size=classes)))
    row[draw(st.integers(0, classes - 1))] = 0.0
    tangent = draw(st.lists(st.sampled_from([1.0, -1.0, 0.25, 0.0]), min_size=classes, max_size=classes))
    target = draw(st.sampled_from(np.flatnonzero(np.isfinite(row)).tolist()))
    return Problem(fmt.round(row + draw(st.sampled_from([0.0, 0.1, -7.3])))[None], [target], fmt, tangent=[tangent])


@given(st.data())
@settings(max_examples=80, deadline=None, derandomize=True, database=None)
def test_plain_arithmetic_reaches_it(data: st.DataObject) -> None:
    problem = data.draw(rows(data.draw(st.sampled_from(list(FORMATS.values())))))
    assert {q: g.label for q, g in grades_of("componentwise", problem).items() if g < Grade.COMPONENTWISE} == {}


@pytest.mark.parametrize("gap", [17.0, 30.0, 80.0])
@pytest.mark.parametrize("name", ["scipy_log_softmax", "scipy_logsumexp", "naive", "log_of_softmax"])
def test_a_softmax_that_subtracts_from_1_does_not(name: str, gap: float) -> None:
    found = grades_of(name, Problem([[gap, 0.0, -1.0]], [0], FLOAT32, tangent=[[1.0, 0.0, 0.0]]))
    assert max(found[q] for q in DERIVED) <= Grade.STABLE


@pytest.mark.parametrize("gap", [1.0, 20.0, 80.0])
def test_its_bound_is_the_gap_in_units_of_roundoff_and_a_few_more(gap: float) -> None:
    """By hand: the gap u, 2 u of exp, 2 u of log1p, the rounded sum of one term, the rounded result; a few for the gradient."""
    problem = Problem([[gap, 0.0]], [0], FLOAT32)
    for quantity, roundings in ((Quantity.LOSS, 6.5), (Quantity.GRADIENT, 16.5)):
        expected = evaluate(problem, [quantity])[quantity]
        bound = componentwise_bound(problem, quantity, SINGLE, expected)
        relative = bound / np.abs(expected.values.approximate()) / FLOAT32.unit_roundoff
        assert (relative > gap + 2).all()
        assert (relative < gap + roundings).all()


def test_an_error_within_it_passes_and_one_of_twice_the_size_does_not() -> None:
    problem = Problem([[80.0, 0.0]], [0], FLOAT32)
    right = evaluate(problem, [Quantity.LOSS])[Quantity.LOSS].values.approximate()
    ulps = {
        steps: graded(problem, Quantity.LOSS, right * (1 + steps * FLOAT32.unit_roundoff)) for steps in (80, -80, 180, -180)
    }
    assert [grade.label for grade in ulps.values()] == ["componentwise", "componentwise", "stable", "stable"]


def test_one_lane_that_absorbs_is_seen() -> None:
    """PyTorch's float32 loss of 128256 classes is an eighth low at such a gap; here of 9 classes."""
    problem = Problem([[16.75] + [0.0] * 8], [0], FLOAT32)
    right = evaluate(problem, [Quantity.LOSS])[Quantity.LOSS].values.approximate()
    assert graded(problem, Quantity.LOSS, right * 7 / 8) is Grade.STABLE


@pytest.mark.parametrize("quantity", [Quantity.LOSS, Quantity.GRADIENT, Quantity.HESSIAN])
def test_zero_is_none_of_its_numbers_however_coarse_the_arithmetic(quantity: Quantity) -> None:
    """In bfloat16 a gap of 80 is off by 80/256 of a nat and more: the bound alone would let anything pass."""
    coarse = Arithmetic(BFLOAT16, BFLOAT16, exp_ulps=4.0, summation=RECURSIVE)
    problem = Problem([[80.0, 0.0]], [0], BFLOAT16)
    value = evaluate(problem, [quantity])[quantity].values.rounded(BFLOAT16)[0]
    assert graded(problem, quantity, 0 * value, coarse) <= Grade.STABLE
    assert graded(problem, quantity, value, coarse) is Grade.CORRECT


def test_zero_is_allowed_where_underflow_alone_gives_it() -> None:
    """exp(-103.25) is 1.03 of the least subnormal of float32; exp(-100) is 27 of them, and no plain kernel loses those."""
    near, far = (Problem([[0.0, -gap]], [0], FLOAT32) for gap in (103.25, 100.0))
    assert graded(near, Quantity.LOSS, [0.0]) is Grade.COMPONENTWISE
    assert graded(far, Quantity.LOSS, [0.0]) is Grade.STABLE


def test_what_underflow_may_cost_a_sum_of_many_classes_excuses_no_lost_probability() -> None:
    """A float16 sum of 70000 ones overflows, and every probability is 0: 240 times the least subnormal is lost."""
    problem, half = Problem(np.zeros((1, 70000)), [0], FLOAT16), Arithmetic(FLOAT16, FLOAT16)
    assert graded(problem, Quantity.SOFTMAX, np.zeros((1, 70000)), half) < Grade.COMPONENTWISE


def test_a_wrong_complement_is_seen_in_the_derivatives() -> None:
    """1 - p of a probability that rounds to 1, in an otherwise exact gradient, Hessian and product."""
    problem = Problem([[18.0, 0.0, -2.0]], [0], FLOAT32, tangent=[[1.0, 0.0, 0.0]])
    for quantity, lost in ((Quantity.GRADIENT, (0, 0)), (Quantity.HESSIAN, (0, 0, 0)), (Quantity.HVP, (0, 0))):
        right = evaluate(problem, [quantity])[quantity].values.rounded(FLOAT32)[0]
        wrong = right.copy()
        wrong[lost] = 0.0
        assert graded(problem, quantity, right) is Grade.CORRECT
        assert graded(problem, quantity, wrong) is Grade.STABLE


def test_what_is_stored_twice_in_half_precision_does_not_reach_it() -> None:
    """It is one store after float32: an error of two ulps of float16 is none of float32's."""
    problem, arithmetic = Problem([[3.0, 0.0]], [0], FLOAT16), Arithmetic(FLOAT16, FLOAT32, stores_sum=True)
    right = evaluate(problem, [Quantity.LOSS])[Quantity.LOSS].values.rounded(FLOAT16)[0]
    moved = right + 6 * FLOAT16.ulp(right)
    assert graded(problem, Quantity.LOSS, moved, replace(arithmetic, summation=RECURSIVE)) < Grade.COMPONENTWISE


def test_relative_errors_are_combined_without_a_1_that_hides_them() -> None:
    assert float(combined(2.0**-60, 2.0**-60)) == pytest.approx(2.0**-59, rel=1e-15)
    assert float(combined(1.0, 1.0)) == 3.0


def test_the_sum_of_the_others_does_not_cancel() -> None:
    assert sums_of_others(np.array([[1.0, 2.0**-80, 0.0]])).tolist() == [[2.0**-80, 1.0, 1.0]]


@pytest.mark.parametrize("times", [-1.0, 2.5, 0.0])
def test_coarse_arithmetic_excuses_no_other_number(times: float) -> None:
    """The bound of a recursive bfloat16 sum of 400 terms is several times the value."""
    coarse = Arithmetic(BFLOAT16, BFLOAT16, summation=RECURSIVE)
    problem = Problem([[30.0] + [0.0] * 399], [0], BFLOAT16)
    for quantity in (Quantity.LOSS, Quantity.GRADIENT):
        right = evaluate(problem, [quantity])[quantity].values.rounded(BFLOAT16)[0]
        assert graded(problem, quantity, right, coarse) is Grade.CORRECT
        assert graded(problem, quantity, times * right, coarse) < Grade.COMPONENTWISE


def test_a_direction_shifted_by_its_entry_at_the_maximum_is_stable_and_more() -> None:
    """v - v_c cancels to p_c where v is the unit vector of the maximum; a running float32 sum of 600 terms is off by that."""
    logits, v = FLOAT32.round(np.array([[0.0] + [-0.3] * 599])), np.eye(600)[:1]
    problem = Problem(logits, [1], FLOAT32, tangent=v)
    powers = np.exp((logits - 0.0).astype(np.float32))
    p = powers / (np.float32(1) + np.cumsum(powers[0, 1:], dtype=np.float32)[-1])
    w = (v - v[:, :1]).astype(np.float32)
    product = p * (w - np.cumsum((p * w)[0], dtype=np.float32)[-1])
    declared = Arithmetic(FLOAT32, FLOAT32, summation=RECURSIVE)
    assert graded(problem, Quantity.HVP, product, declared) >= Grade.COMPONENTWISE


def test_no_bound_is_wider_than_that_of_the_grade_before() -> None:
    problem = Problem(
        FLOAT32.round(np.array([[-0.093, -0.465, -18.6, -1.86, -0.93]])), [2], FLOAT32, tangent=[[-1.0, 1.0, 0.0, 0.25, 0.0]]
    )
    for quantity, expected in evaluate(problem, (*DERIVED, *BLOCK_PRODUCTS)).items():
        found = Measurement(problem, quantity, SINGLE, expected, expected.values.rounded(FLOAT32)[0])
        assert (found.accurate_bound <= found.componentwise_bound).all()
        assert (found.componentwise_bound <= found.stable_bound).all()


def test_what_a_power_loses_is_multiplied_by_what_comes_later() -> None:
    """A float64 product among subnormals, times a cotangent of 7: 14 of the least for 5."""
    problem = Problem([[0.0, float.fromhex("-0x1.74910d52d3051p+9")]], [0], FLOAT64, tangent=[[-1.0, 0.5]], cotangent=[-7.0])
    assert grades_of("componentwise", problem)[Quantity.HVP] >= Grade.COMPONENTWISE
