"""The certified reference against mpmath: two formulas, two libraries, and finite differences of the definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reference.enclosure import Enclosure
from reference.evaluation import evaluate
from reference.formats import FLOAT16, FLOAT32, FLOAT64, FORMATS, Format
from reference.problem import Problem
from reference.quantity import OF_LOGITS, PRODUCT_OF, Quantity
from suites.inputs.problems import Ask, problems
from tests.oracles.agreement import (
    ALWAYS,
    FAMILIES,
    SOMETIMES,
    agreement_rows,
    check_problem,
    check_values,
    main,
    random_problem,
)
from tests.oracles.finite_differences import (
    ACCURACY,
    DIGITS,
    block_product_by_differences,
    gradient_by_differences,
    hessian_by_differences,
    hvp_by_differences,
)
from tests.oracles.mpmath_oracle import MP, ROW_RESULTS, Real, oracle_row

EVERYTHING = ALWAYS + SOMETIMES
CHEAP_GAP = 2100.0
HAZARDS = ("moderate", "absorption", "offset", "ties", "underflow", "long_tail", "masked", "subnormal")


def test_generated_rows_agree() -> None:
    assert agreement_rows(3000, seed=1) == 3000


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rows", "40", "--seed", "3"]) == 0
    assert "40 rows agreed" in capsys.readouterr().out


def _is_cheap(problem: Problem) -> bool:
    """Rows that the mpmath oracle takes: finite or -inf, one finite, gaps and size moderate."""
    x = np.where(problem.logits == -np.inf, np.nan, problem.logits)
    if not np.isfinite(x).any(axis=1).all() or np.isinf(x).any() or (np.isnan(problem.logits)).any():
        return False
    return bool((np.nanmax(x, axis=1) - np.nanmin(x, axis=1) <= CHEAP_GAP * problem.temperature / problem.logit_scale).all())


def _asks(fmt: Format, probabilities: bool) -> Ask:
    options = {"reduction", "label_smoothing", "class_weights", "temperature"}
    options |= set() if probabilities else {"ignore_index"}
    return Ask(fmt, HAZARDS, probabilities=probabilities, options=frozenset(options), directions=True)


ANY_PROBLEM = st.tuples(st.sampled_from(list(FORMATS.values())), st.booleans()).flatmap(lambda a: problems(_asks(*a)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(ANY_PROBLEM.filter(_is_cheap))
def test_problems_of_the_suites_agree(problem: Problem) -> None:
    check_problem(problem, EVERYTHING)


DIFFERENTIATED = [
    Problem([[0.5, -1.25, 2.0]], [1], FLOAT64, tangent=[[1.0, -2.0, 0.5]]),
    Problem([[0.5, -1.25, 2.0]], [2], FLOAT64, tangent=[[1.0, 0.0, 0.0]], temperature=0.3, label_smoothing=0.1),
    Problem([[3.0, 3.0]], [0], FLOAT16, tangent=[[1.0, 0.0]], cotangent=[-7.0]),
    Problem([[4.0]], [0], FLOAT32, tangent=[[3.0]]),
    Problem([[20.0, 0.0, 1.0, -5.0]], [0], FLOAT32, tangent=[[1.0, 2.0, 3.0, 4.0]], class_weights=[0.5, 2.0, 0.0, 1.0]),
    Problem(
        [[1.0, 0.0, 1.0], [0.5, 0.25, -3.0]],
        [2, 1],
        FLOAT64,
        tangent=[[1.0, 1.0, 0.0], [0.0, 1.0, 2.0]],
        class_weights=[0.5, 2.0, 1.5],
        label_smoothing=0.25,
        reduction="mean",
        cotangent=np.array(3.0),
    ),
    Problem(
        np.array([[1.0, 0.0, 1.0], [0.5, 0.25, -3.0]]),
        np.array([[0.25, 0.5, 0.125], [0.0, 1.0, 0.0]]),
        FLOAT64,
        tangent=[[1.0, 1.0, 0.0], [0.0, 1.0, 2.0]],
        class_weights=[0.5, 2.0, 1.5],
        label_smoothing=0.25,
        reduction="mean",
        temperature=2.0,
    ),
    Problem([[0.0, 1.0], [2.0, 0.0], [9.0, 8.5]], [0, -100, 1], FLOAT64, tangent=[[1.0, 2.0]] * 3, reduction="mean"),
    Problem([[100.0, 101.0, 99.5, 100.0]], [3], FLOAT64, tangent=[[0.0, 1.0, 0.0, -1.0]], reduction="sum"),
]
"""A dozen rows of moderate size."""


def _assert_close(given: list[Real], wanted: list[Real], accuracy: Real) -> None:
    for left, right in zip(given, wanted, strict=True):
        assert abs(left - right) <= accuracy, (MP.nstr(left, 30), MP.nstr(right, 30))


@pytest.mark.parametrize("masked", [0.0, -np.inf])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.25])
def test_means_over_targets_without_weight_agree(masked: float, label_smoothing: float) -> None:
    logits, weights = [[0.0, 1.0], [3.0, masked]], [0.0, 1.0]
    given = Problem(logits, [0, 0], FLOAT32, class_weights=weights, label_smoothing=label_smoothing, reduction="mean")
    check_problem(given, (Quantity.LOSS, Quantity.GRADIENT))


@pytest.mark.parametrize("problem", DIFFERENTIATED, ids=range(len(DIFFERENTIATED)))
def test_derivatives_are_those_of_finite_differences(problem: Problem) -> None:
    check_problem(problem, EVERYTHING)
    for index in range(problem.num_rows):
        with MP.workdps(DIGITS):
            row = oracle_row(problem, index)
            accuracy = MP.mpf(ACCURACY)
            _assert_close(gradient_by_differences(row), ROW_RESULTS[Quantity.GRADIENT](row).values, accuracy)
            _assert_close(hessian_by_differences(row), ROW_RESULTS[Quantity.HESSIAN](row).values, accuracy)
            _assert_close(hvp_by_differences(row), ROW_RESULTS[Quantity.HVP](row).values, accuracy)
            for block, product in PRODUCT_OF.items():
                _assert_close(block_product_by_differences(row, block), ROW_RESULTS[product](row).values, accuracy)


def _flat_places(values: Enclosure) -> list[int]:
    """Entries that are numbers with a midpoint to move."""
    return np.flatnonzero(np.isfinite(values.hi) & (values.hi != 0)).tolist()


def _perturbed(values: Enclosure, place: int) -> Enclosure:
    """The enclosure with one entry moved by 2^-40 of itself."""
    hi = values.hi.copy()
    hi.flat[place] *= 1 + 2.0**-40
    return replace(values, hi=hi)


@pytest.mark.parametrize("quantity", EVERYTHING)
def test_a_value_off_by_2_to_the_minus_40_is_noticed(quantity: Quantity) -> None:
    logits = [[0.5, -1.25, 2.0, 2.0], [30.0, 0.0, -700.0, 1.0], [1e6, 1e6 - 3, 1e6 - 60, 1e6 - 1]]
    tangent = [[1.0, 2.0, -0.5, 3.0]] * 3
    problem = Problem(logits, [1, 0, 2], FLOAT64, tangent=tangent, label_smoothing=0.125)
    values = evaluate(problem, [quantity])[quantity].values
    check_values(problem, {quantity: values})
    places = _flat_places(values)
    assert len(places) >= values.hi.size - 1
    for place in places:
        with pytest.raises(AssertionError, match=r"(?s)entry .* mpmath .*logits \[\['0x1\.0"):
            check_values(problem, {quantity: _perturbed(values, place)})


def test_a_wrong_side_is_noticed() -> None:
    problem = Problem([[600.0, 0.0]], [1], FLOAT64)
    values = evaluate(problem, [Quantity.LOSS])[Quantity.LOSS].values
    assert values.side.tolist() == [1]
    check_values(problem, {Quantity.LOSS: values})
    with pytest.raises(AssertionError, match="loss"):
        check_values(problem, {Quantity.LOSS: replace(values, side=-values.side)})


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_rows_that_the_oracle_takes(family: str) -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        assert _is_cheap(random_problem(rng, 8, family))


@pytest.mark.parametrize("classes", range(33, 41))
@pytest.mark.parametrize("repeated", [False, True], ids=["distinct", "repeated"])
def test_merged_classes_keep_their_order(classes: int, repeated: bool) -> None:
    """From 33 classes on equal classes are merged; the order of the distinct ones was once lost."""
    rng = np.random.default_rng(classes)
    drawn = rng.permutation(classes) / 4.0 - rng.random(classes) / 16
    logits = FLOAT32.round([np.round(drawn) if repeated else drawn])
    tangent = FLOAT32.round(rng.standard_normal((1, classes)))
    problem = Problem(logits, [classes // 2], FLOAT32, tangent=np.sign(tangent) if repeated else tangent)
    check_problem(problem, (Quantity.LOSS, Quantity.GRADIENT, Quantity.HVP, *OF_LOGITS))


def test_merged_classes_of_every_kind() -> None:
    """Weights, labels and masks tell classes of equal logits apart."""
    classes = 36
    rng = np.random.default_rng(0)
    logits = rng.choice([0.0, 1.0, 2.5, -np.inf], size=(3, classes))
    common = {"class_weights": rng.choice([0.5, 1.0], size=classes), "tangent": rng.choice([1.0, -1.0], size=(3, classes))}
    soft = rng.choice([0.0, 0.0625], size=(3, classes))
    for target in (soft, np.array([1, -100, 3])):
        check_problem(Problem(logits, target, FLOAT32, label_smoothing=0.1, **common), EVERYTHING)
