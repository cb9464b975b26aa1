"""Tolerances: no answer of a grade misses them, they are not much larger than that needs, and where they are blind."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.numpy.backend import NumpyAdapter
from reference import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, FORMATS, Arithmetic, Domain, Grade, Problem, Quantity, Tolerance
from reference.arithmetic import RECURSIVE, Order, Summation
from reference.bounds.blindness import ASSERT_CLOSE, blind_from, why_blind
from reference.bounds.entrywise import accurate_bound, componentwise_bound, stable_bound
from reference.bounds.tolerances import WITHOUT_TOLERANCE, tolerance
from reference.evaluation import evaluate
from reference.formats import Floats
from reference.thresholds import thresholds
from suites.judging.basis import Basis
from suites.judging.claims import Claims
from suites.judging.effort import EFFORTS
from suites.judging.judge import Judge, Plan
from suites.judging.recorder import Record, Spot
from suites.report.recommended import recommendations

QUANTITIES = tuple(q for q in Quantity if q not in WITHOUT_TOLERANCE)
KINDS = (
    Arithmetic(FLOAT32, FLOAT32),
    Arithmetic(FLOAT64, FLOAT64, exp_ulps=2.0, summation=RECURSIVE),
    Arithmetic(FLOAT16, FLOAT32, stores_sum=True),
    Arithmetic(BFLOAT16, FLOAT32, summation=Summation(Order.LANES, 8)),
    Arithmetic(BFLOAT16, BFLOAT16, flush_to_zero=True),
    Arithmetic(FLOAT16, FLOAT16),
    Arithmetic(BFLOAT16, FLOAT32, stores_log_probability=False),
    Arithmetic(FLOAT16, FLOAT32).storing_once(),
    Arithmetic(FLOAT32, FLOAT32, summation=Summation(Order.RECURSIVE, tile=1)),
    Arithmetic(FLOAT16, FLOAT16, summation=Summation(Order.PAIRWISE, tile=8), base_2=True),
    Arithmetic(FLOAT32, FLOAT32, reciprocals=True, base_2=True),
    Arithmetic(FLOAT16, FLOAT16, reciprocals=True, flush_to_zero=True),
    Arithmetic(FLOAT64, FLOAT64, summation=Summation(Order.LANES, 4, tile=3)),
)


@st.composite
def asked(draw: st.DrawFn) -> tuple[Problem, Domain, Arithmetic]:
    """A problem on a domain whose limits it reaches."""
    arithmetic = draw(st.sampled_from(KINDS))
    fmt, classes = arithmetic.storage, draw(st.integers(1, 40))
    gap = draw(st.sampled_from([0.0, 0.5, 2.0, 8.0, 20.0, 90.0, 1000.0]))
    rows, plain = draw(st.integers(1, 3)), draw(st.booleans())
    drawn = st.sampled_from([0.0, gap, min(gap, math.log(classes)), gap / 3])
    gaps = np.array(draw(st.lists(st.lists(drawn, min_size=classes, max_size=classes), min_size=rows, max_size=rows)))
    gaps[np.arange(rows), gaps.argmin(axis=1)] = 0.0
    logits = fmt.round(draw(st.sampled_from([0.0, 64.0])) - gaps)
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    tangent = np.resize(draw(st.lists(st.sampled_from([1.0, -1.0, 0.25]), min_size=1, max_size=5)), logits.shape)
    reduction = draw(st.sampled_from(["none", "sum", "mean"]))
    target = np.array(labels) if plain else np.eye(classes)[labels]
    problem = Problem(logits, target, fmt, tangent=tangent, reduction=reduction)
    largest = float((logits.max(axis=1, keepdims=True) - logits).max())
    return problem, Domain(classes, max(largest, gap), rows, reduction, plain), arithmetic


def allowed_over_owed(found: Tolerance, bound: Floats, values: Floats) -> float:
    """Largest ratio of what a grade allows to what the tolerance allows."""
    return float((bound / (found.atol + found.rtol * np.abs(values))).max())


@given(asked())
@settings(max_examples=120, deadline=None, derandomize=True, database=None)
def test_no_answer_of_a_grade_misses_its_tolerance(given: tuple[Problem, Domain, Arithmetic]) -> None:
    problem, domain, arithmetic = given
    expected = evaluate(problem, QUANTITIES)
    for quantity in QUANTITIES:
        values = expected[quantity].values.approximate()
        accurate = accurate_bound(problem, quantity, arithmetic, expected[quantity])
        stable = np.maximum(stable_bound(problem, quantity, arithmetic), accurate)
        ulp = np.ldexp(1.0, expected[quantity].values.ulp_exponent(problem.format))
        careful = np.maximum(componentwise_bound(problem, quantity, arithmetic, expected[quantity]), accurate)
        bounds = {
            Grade.STABLE: stable,
            Grade.COMPONENTWISE: careful,
            Grade.ACCURATE: accurate,
            Grade.FAITHFUL: ulp,
            Grade.CORRECT: ulp / 2,
        }
        for grade, bound in bounds.items():
            try:
                found = tolerance(quantity, grade, arithmetic, domain)
            except ValueError:
                assert grade in (Grade.STABLE, Grade.COMPONENTWISE)
                continue
            rounding = problem.format.ulp(values) / 2  # of an expected value that is rounded
            assert allowed_over_owed(found, np.where(np.isfinite(values), bound, 0.0), values) <= 1, (quantity, grade)
            rounded = problem.format.round(values)
            finite = np.isfinite(rounded)
            assert allowed_over_owed(found, np.where(finite, bound + rounding, 0.0), np.where(finite, rounded, 0.0)) <= 1


@pytest.mark.parametrize("arithmetic", KINDS[:4] + KINDS[6:7] + KINDS[8:9], ids=Arithmetic.describe)
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_a_tolerance_is_not_much_larger_than_a_stable_answer_needs(quantity: Quantity, arithmetic: Arithmetic) -> None:
    fmt, gap = arithmetic.storage, 20.0
    count = 30
    near = min(gap, math.log(count))
    equal, far, tail = [0.0] * count, [0.0] + [-gap] * (count - 1), [0.0] + [-near] * (count - 1)
    rows = np.array([equal, far, tail, [0.0, -gap] * (count // 2), [-near] * count])
    problem = Problem(fmt.round(rows), [0] * 5, fmt, tangent=np.resize([1.0, -1.0], rows.shape))
    expected = evaluate(problem, [quantity])[quantity]
    bound = np.maximum(stable_bound(problem, quantity, arithmetic), accurate_bound(problem, quantity, arithmetic, expected))
    found = tolerance(quantity, Grade.STABLE, arithmetic, Domain(count, 20.1))
    assert allowed_over_owed(found, bound, expected.values.approximate()) > 0.2


def test_known_tolerances() -> None:
    """One ulp of float32 is at most 2^-23 relative; the rounding of the expected value adds half of one."""
    single = Arithmetic(FLOAT32, FLOAT32)
    assert tolerance(Quantity.LOSS, Grade.FAITHFUL, single, Domain(2, 1.0)).rtol == 1.8e-07  # 3 * 2^-24 = 1.788e-7
    assert tolerance(Quantity.LOSS, Grade.CORRECT, single, Domain(2, 1.0)).rtol == 1.2e-07  # 2 * 2^-24 = 1.192e-7
    assert tolerance(Quantity.LOSS, Grade.ACCURATE, single, Domain(2, 1.0)).rtol == 5.4e-07  # 9 * 2^-24 = 5.364e-7


def test_a_share_of_a_bound_keeps_the_rounding_of_the_expected_value() -> None:
    single, domain = Arithmetic(FLOAT32, FLOAT32), Domain(1000, 20.0)
    whole, none = (tolerance(Quantity.LOSS, Grade.STABLE, single, domain, share) for share in (1.0, 0.0))
    assert none.rtol == 6.0e-08  # 2^-24 = 5.96e-8
    assert none.atol < whole.atol


def test_more_classes_wider_gaps_and_deeper_sums_allow_more() -> None:
    single = Arithmetic(FLOAT32, FLOAT32)
    base = tolerance(Quantity.GRADIENT, Grade.STABLE, single, Domain(10, 20.0))
    assert tolerance(Quantity.GRADIENT, Grade.STABLE, single, Domain(10000, 20.0)).atol > base.atol
    assert tolerance(Quantity.GRADIENT, Grade.STABLE, replace(single, summation=RECURSIVE), Domain(1000, 20.0)).atol > base.atol
    assert tolerance(Quantity.SOFTMAX, Grade.STABLE, single, Domain(10, 80.0)).rtol > 1e-6


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: tolerance(Quantity.LOSS, Grade.FINITE, KINDS[0], Domain(2, 1.0)), "grade is 'finite', which bounds no error"),
        (lambda: tolerance(Quantity.BIAS_GRADIENT, Grade.STABLE, KINDS[0], Domain(2, 1.0)), "quantity is 'bias_gradient'"),
        (lambda: tolerance(Quantity.LOSS, Grade.STABLE, KINDS[4], Domain(2, 1e4)), "more than 1/u"),
        (
            lambda: tolerance(Quantity.LOSS, Grade.STABLE, replace(KINDS[4], summation=RECURSIVE), Domain(1000, 1.0)),
            "may be off by 100%",
        ),
        (lambda: Domain(0, 1.0), "classes is 0"),
        (lambda: Domain(2, math.inf), "gap is inf"),
        (lambda: Domain(2, 1.0, reduction="median"), "reduction is 'median'; allowed: 'none', 'sum', 'mean'"),
        (lambda: blind_from(Tolerance(0.0, 1e-5), Quantity.HVP), "quantity is 'hvp'"),
    ],
)
def test_what_has_no_tolerance_says_why(call: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()  # type: ignore[operator]


def test_blind_from_by_hand() -> None:
    """-log(1e-5) = 11.512925, less 5e-6; with a thousand classes at the gap log(1000) more; 1 - p = 1/4 is a gap of log 3."""
    assert blind_from(Tolerance(0.0, 1e-5)) == pytest.approx(11.512920, abs=1e-6)
    assert blind_from(Tolerance(0.0, 1e-5), classes=1001) == pytest.approx(11.512920 + 6.907755, abs=1e-6)
    assert blind_from(Tolerance(0.0, 0.25), Quantity.GRADIENT) == pytest.approx(math.log(3))
    assert blind_from(Tolerance(0.0, 0.1875), Quantity.HESSIAN) == pytest.approx(math.log(3))  # 3/4 * 1/4
    assert blind_from(Tolerance(0.5, 0.125), Quantity.GRADIENT) == pytest.approx(math.log(3))
    assert blind_from(Tolerance(0.0, math.log(2))) == pytest.approx(0.0)
    assert blind_from(Tolerance(0.0, 0.0)) == math.inf
    assert [blind_from(Tolerance(1.0, 1e-5), q) for q in (Quantity.LOSS, Quantity.GRADIENT, Quantity.HESSIAN)] == [0.0] * 3


@given(st.floats(1e-12, 0.2), st.floats(0.0, 0.5), st.integers(2, 1000))
@settings(derandomize=True, database=None)
def test_a_zero_passes_beyond_that_gap_and_not_before(atol: float, rtol: float, classes: int) -> None:
    allowed = Tolerance(rtol, atol)
    from_there = blind_from(allowed, classes=classes)
    for gap, passes in ((from_there + 1e-3, True), (from_there - 1e-3, False)):
        if from_there > 0:
            assert allowed.allows(0.0, math.log1p((classes - 1) * math.exp(-gap))) == passes


def test_the_defaults_are_torchs_and_what_is_said_of_them_holds() -> None:
    torch = pytest.importorskip("torch")
    for name, (rtol, atol) in ASSERT_CLOSE.items():
        fmt, dtype = FORMATS[name], getattr(torch, name)
        blind = blind_from(ASSERT_CLOSE[name])
        for gap, passes in ((blind + 0.1, True), (blind - 0.1, False)):
            owed = torch.tensor([math.log1p(math.exp(-gap))], dtype=torch.float64).to(dtype)
            assert torch.allclose(torch.zeros_like(owed), owed, rtol, atol) == passes
            try:
                torch.testing.assert_close(torch.zeros_like(owed), owed)
            except AssertionError:
                assert not passes
            else:
                assert passes
        assert ("every absorbed loss passes" in why_blind(fmt)) == (blind <= thresholds(fmt).absorption_gap)


def test_torch_meets_the_tolerance_that_it_is_told_and_a_halved_sum_does_not() -> None:
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(0)
    logits = FLOAT32.round(generator.normal(size=(50, 1000)) * 3)
    labels = generator.integers(0, 1000, 50)
    owed = evaluate(Problem(logits, labels, FLOAT32), [Quantity.LOSS])[Quantity.LOSS].values.approximate()
    x, t, expected = torch.tensor(logits, dtype=torch.float32), torch.tensor(labels), torch.tensor(owed, dtype=torch.float32)
    rtol, atol = tolerance(Quantity.LOSS, Grade.STABLE, Arithmetic(FLOAT32, FLOAT32), Domain(1000, 30.0))
    losses = torch.nn.functional.cross_entropy(x, t, reduction="none")
    torch.testing.assert_close(losses, expected, rtol=rtol, atol=atol)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(losses + 3e-5, expected, rtol=rtol, atol=atol)


def test_a_run_recommends_what_is_promised_and_what_was_needed() -> None:
    adapter = NumpyAdapter()
    judge = Judge(Plan(adapter, adapter.operations(), (), (), (), Claims(lowered_to=Grade.STABLE), EFFORTS["quick"], 0, ""))
    used = Record(Basis(5, 5, Grade.ACCURATE), worst_ratio=0.25, worst_ulps=1e6)
    records = judge.recorder.records
    records["scipy_log_softmax", "float32", Quantity.LOSS] = used
    records["naive", "float32", Quantity.LOSS] = replace(used, counts=Basis(5, 5, Grade.FINITE))
    records["squared_error", "float32", Quantity.LOSS] = used
    records["scipy_log_softmax", "float16", Quantity.LOSS] = Record()
    found = list(recommendations(judge, classes=(10, 1000)))
    assert [(r.operation, r.domain.classes) for r in found] == [("scipy_log_softmax", 10), ("scipy_log_softmax", 1000)]
    for recommendation in found:
        assert recommendation.grade is Grade.STABLE
        assert recommendation.promised.atol > recommendation.measured.atol > recommendation.promised.atol / 5
        assert recommendation.blind_from == pytest.approx(-math.log(recommendation.promised.atol), abs=1e-3)
    used.left_out_at.update({Spot(100, 3.0, Grade.FINITE), Spot(2, 50.0, Grade.NONE), Spot(2, 1.0, Grade.STABLE)})
    assert [r.domain.classes for r in recommendations(judge, classes=(10, 1000))] == [10], "a deviation of 100 classes"
