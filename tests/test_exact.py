"""Checks the evaluation of problems: the special-value table line by line, Ziv's loop, merged classes and batches.

What the numbers of regular rows are is checked against a second oracle and against answers derived by hand elsewhere; here
it is what surrounds them: which line of the table applies, which requirement it carries, and that how a problem is evaluated
(in a batch, merged, at which precision) never shows in the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from flint import ctx
from numpy.typing import ArrayLike

import reference.evaluation
import reference.exact.row
from reference.evaluation import MAX_HESSIAN_CLASSES, PRECISIONS, evaluate
from reference.expected import Expected
from reference.formats import FLOAT16, FLOAT32, FLOAT64, FORMATS, Format
from reference.problem import Problem
from reference.quantity import BLOCK_PRODUCTS, BUILDING_BLOCKS, OF_LOGITS, OF_SOME_PROBLEMS, Quantity
from reference.special_values import Requirement
from tests.oracles.agreement import FAMILIES, check_values, random_problem

LOSS, GRADIENT, HESSIAN, HVP = Quantity.LOSS, Quantity.GRADIENT, Quantity.HESSIAN, Quantity.HVP
DIAGONAL = Quantity.HESSIAN_DIAGONAL
LOG_SOFTMAX, SOFTMAX, LOGSUMEXP, ENTROPY = BUILDING_BLOCKS
LOG_SOFTMAX_VJP, SOFTMAX_VJP, LOGSUMEXP_VJP, ENTROPY_VJP = BLOCK_PRODUCTS
EVERYTHING = tuple(q for q in Quantity if q not in OF_SOME_PROBLEMS)
OF_THE_TARGET = tuple(q for q in EVERYTHING if q not in OF_LOGITS)
INF, NAN = math.inf, math.nan
MUST, LIMIT, REPORTED = Requirement.MUST, Requirement.LIMIT_OR_NAN, Requirement.UNSPECIFIED
REST = Requirement.REST_OR_NOT_FINITE

ALL = pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda fmt: fmt.name)
LN2 = float(np.float32(math.log(2)))
"""ln 2 as a float32; the double nearest to ln 2 is not near a midpoint of float32."""


def rounded(expected: Expected, fmt: Format) -> np.ndarray:
    """The correctly rounded values, all of which must be decided."""
    values, decided = expected.values.rounded(fmt)
    assert decided.all()
    return values


def assert_same(left: Expected, right: Expected, fmt: Format) -> None:
    """Equal roundings and requirements."""
    np.testing.assert_array_equal(rounded(left, fmt), rounded(right, fmt))
    np.testing.assert_array_equal(left.requirement, right.requirement)


# ---------------------------------------------------------------------------------------------------------------------
# The special-value table. Every line has one row of three classes, and the direction (1, 2, 4).


@dataclass(frozen=True)
class Line:
    """A row of logits with a target, and what every quantity of it is (a number fills the shape)."""

    name: str
    logits: list[float]
    target: Any
    requirement: Requirement
    owed: dict[Quantity, ArrayLike]
    options: dict[str, Any] = field(default_factory=dict)
    block_requirement: Requirement | None = None
    lse_requirement: Requirement | None = None

    def problem(self) -> Problem:
        """One row, float32."""
        return Problem([self.logits], [self.target], FLOAT32, tangent=[[1.0, 2.0, 4.0]], **self.options)

    def requirement_of(self, quantity: Quantity) -> Requirement:
        """The requirement of a quantity: the mean of nothing is owed as a loss, and no target enters the building blocks."""
        if quantity is LOSS and self.options.get("reduction") == "mean":
            return MUST
        if quantity is LOGSUMEXP and self.lse_requirement is not None:
            return self.lse_requirement
        return self.block_requirement if quantity in OF_LOGITS and self.block_requirement is not None else self.requirement


def nothing(value: float) -> dict[Quantity, ArrayLike]:
    """The same value in every entry of the loss and its derivatives."""
    return dict.fromkeys(OF_THE_TARGET, value)


HALVES = [[0.25, 0.0, -0.25], [0.0, 0.0, 0.0], [-0.25, 0.0, 0.25]]
"""diag(p) - p p^T of p = (1/2, 0, 1/2)."""

CURVED: dict[Quantity, ArrayLike] = {HESSIAN: HALVES, HVP: [-0.75, 0.0, 0.75], DIAGONAL: [0.25, 0.0, 0.25]}
MASKED_BLOCKS: dict[Quantity, ArrayLike] = {
    LOG_SOFTMAX: [-LN2, -INF, -LN2],
    SOFTMAX: [0.5, 0.0, 0.5],
    LOGSUMEXP: LN2,
    LOG_SOFTMAX_VJP: [-2.5, 2.0, 0.5],
    SOFTMAX_VJP: [-0.75, 0.0, 0.75],
    LOGSUMEXP_VJP: [0.5, 0.0, 0.5],
    ENTROPY: LN2,
    ENTROPY_VJP: 0.0,
}
MASKED: dict[Quantity, ArrayLike] = CURVED | MASKED_BLOCKS
FLAT: dict[Quantity, ArrayLike] = {HESSIAN: 0.0, HVP: 0.0, DIAGONAL: 0.0}
HIGH_BLOCKS: dict[Quantity, ArrayLike] = {
    LOG_SOFTMAX: [-INF, 0.0, -INF],
    SOFTMAX: [0.0, 1.0, 0.0],
    LOGSUMEXP: INF,
    LOG_SOFTMAX_VJP: [1.0, -5.0, 4.0],
    SOFTMAX_VJP: 0.0,
    LOGSUMEXP_VJP: [0.0, 1.0, 0.0],
    ENTROPY: 0.0,
    ENTROPY_VJP: 0.0,
}
HIGH: dict[Quantity, ArrayLike] = FLAT | HIGH_BLOCKS
NAN_BLOCKS: dict[Quantity, ArrayLike] = dict.fromkeys(OF_LOGITS, NAN)

NAN_ROW = [0.0, NAN, INF]
MASKED_ROW = [0.0, -INF, 0.0]
HIGH_ROW = [0.0, INF, -INF]
EMPTY_ROW = [-INF, -INF, -INF]
TWO_HIGH = [INF, 0.0, INF]
UNEVEN = {"class_weights": [1.0, 3.0, 1.0]}
WEIGHTLESS = {"class_weights": [1.0, 0.0, 1.0]}
WEIGHTLESS_MEAN = WEIGHTLESS | {"reduction": "mean"}

KINDS: list[tuple[str, list[float], dict[Quantity, ArrayLike], Requirement, Requirement]] = [
    ("nan", NAN_ROW, NAN_BLOCKS, MUST, MUST),
    ("masked", MASKED_ROW, MASKED_BLOCKS, MUST, MUST),
    ("one-high", HIGH_ROW, HIGH_BLOCKS, LIMIT, LIMIT),
    ("all-masked", EMPTY_ROW, NAN_BLOCKS | {LOGSUMEXP: -INF}, REPORTED, LIMIT),
    ("two-high", TWO_HIGH, NAN_BLOCKS | {LOGSUMEXP: INF}, REPORTED, LIMIT),
]
"""Name, logits, building blocks, their requirement and that of logsumexp."""

LINES = [
    Line("masked-other", MASKED_ROW, 0, MUST, MASKED | {LOSS: LN2, GRADIENT: [-0.5, 0.0, 0.5]}),
    Line("masked-target", MASKED_ROW, 1, MUST, MASKED | {LOSS: INF, GRADIENT: [0.5, -1.0, 0.5]}),
    Line("masked-label-0", MASKED_ROW, [0.5, 0.0, 0.5], MUST, MASKED | {LOSS: LN2, GRADIENT: 0.0}),
    Line("masked-label", MASKED_ROW, [0.5, 0.25, 0.25], MUST, MASKED | {LOSS: INF, GRADIENT: [0.0, -0.25, 0.25]}),
    Line(
        "masked-smoothed",
        MASKED_ROW,
        0,
        MUST,
        # a = (1 - 3/4) e_0 + (3/4)/3: 1/2, 1/4, 1/4
        MASKED | {LOSS: INF, GRADIENT: [0.0, -0.25, 0.25]},
        {"label_smoothing": 0.75},
    ),
    Line(
        "masked-smoothed-without-weight",
        MASKED_ROW,
        0,
        MUST,
        # a = 1/2, 0, 1/4: no weight lies on the masked class, and A = 3/4
        {LOSS: float(np.float32(0.75 * math.log(2))), GRADIENT: [-0.125, 0.0, 0.125], **MASKED_BLOCKS}
        | {HESSIAN: 0.75 * np.array(HALVES), HVP: [-0.5625, 0.0, 0.5625], DIAGONAL: [0.1875, 0.0, 0.1875]},
        {"label_smoothing": 0.75} | WEIGHTLESS,
    ),
    Line("masked-but-target", [-INF, 2.0, -INF], 1, MUST, nothing(0.0) | HIGH_BLOCKS | {LOGSUMEXP: 2.0}),
    Line("high-target", HIGH_ROW, 1, LIMIT, HIGH | {LOSS: 0.0, GRADIENT: 0.0}),
    Line("high-other", HIGH_ROW, 0, LIMIT, HIGH | {LOSS: INF, GRADIENT: [-1.0, 1.0, 0.0]}),
    Line("high-and-masked-target", HIGH_ROW, 2, LIMIT, HIGH | {LOSS: INF, GRADIENT: [0.0, 1.0, -1.0]}),
    Line("high-label", HIGH_ROW, [0.25, 0.5, 0.0], LIMIT, HIGH | {LOSS: INF, GRADIENT: [-0.25, 0.25, 0.0]}),
    Line("high-label-alone", HIGH_ROW, [0.0, 0.5, 0.0], LIMIT, HIGH | {LOSS: 0.0, GRADIENT: 0.0}),
    Line("high-weighted", HIGH_ROW, [0.5, 0.5, 0.0], LIMIT, HIGH | {LOSS: INF, GRADIENT: [-0.5, 0.5, 0.0]}, UNEVEN),
    Line("nan", NAN_ROW, 0, MUST, nothing(NAN) | NAN_BLOCKS),
    Line("nan-target", [0.0, NAN, 1.0], 1, MUST, nothing(NAN) | NAN_BLOCKS),
    Line("all-masked", EMPTY_ROW, 1, REPORTED, nothing(NAN) | NAN_BLOCKS | {LOGSUMEXP: -INF}, lse_requirement=LIMIT),
    Line("two-high", TWO_HIGH, 1, REPORTED, nothing(NAN) | NAN_BLOCKS | {LOGSUMEXP: INF}, lse_requirement=LIMIT),
    Line("two-high-target", TWO_HIGH, 0, REPORTED, nothing(NAN) | NAN_BLOCKS | {LOGSUMEXP: INF}, lse_requirement=LIMIT),
    Line("no-weight-finite", [0.0, 0.0, 0.0], 1, MUST, nothing(0.0), WEIGHTLESS),
    Line("no-label-finite", [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], MUST, nothing(0.0)),
    Line("mean-of-no-weight", [0.0, 0.0, 0.0], 1, REPORTED, nothing(NAN), WEIGHTLESS_MEAN, block_requirement=MUST),
]
for _name, _logits, _blocks, _requirement, _lse in KINDS:
    _ignored = {"ignore_index": 1}
    _rest = {"block_requirement": _requirement, "lse_requirement": _lse}
    LINES += [
        Line(f"ignored-{_name}", _logits, 1, MUST, nothing(0.0) | _blocks, _ignored, **_rest),
        Line(f"no-weight-{_name}", _logits, 1, REPORTED, nothing(0.0) | _blocks, WEIGHTLESS, **_rest),
        Line(f"no-label-{_name}", _logits, [0.0, 0.0, 0.0], REPORTED, nothing(0.0) | _blocks, **_rest),
        Line(f"mean-{_name}", _logits, 1, REPORTED, nothing(NAN) | _blocks, _ignored | {"reduction": "mean"}, **_rest),
    ]


ENTRIES = [pytest.param(line, quantity, id=f"{line.name}-{quantity}") for line in LINES for quantity in line.owed]
"""The building blocks of a row of finite logits are no entry of the table."""


@pytest.mark.parametrize(("line", "quantity"), ENTRIES)
def test_special_value(line: Line, quantity: Quantity) -> None:
    expected = evaluate(line.problem(), [quantity])[quantity]
    values = rounded(expected, FLOAT32)
    np.testing.assert_array_equal(values, np.broadcast_to(line.owed[quantity], values.shape))
    assert (expected.requirement == line.requirement_of(quantity)).all()


def test_every_kind_of_row_has_its_lines() -> None:
    assert len({line.name for line in LINES}) == len(LINES)
    for name, *_ in KINDS:
        assert sum(name in line.name for line in LINES) >= 4


LEFT, RIGHT = [0.0, 0.0], [3.0, 3.0]
REDUCED: list[tuple[str, list[list[float]], list[int], float, Requirement]] = [
    ("infinite-loss", [LEFT, [0.0, -INF]], [0, 1], INF, MUST),
    ("nan", [LEFT, [NAN, 0.0]], [0, 1], NAN, MUST),
    ("nan-beside-infinity", [[NAN, 0.0], [0.0, -INF]], [0, 1], NAN, MUST),
    ("ignored-nan", [LEFT, [NAN, 0.0]], [0, -100], LN2, MUST),
    ("limit-0", [LEFT, [INF, 0.0]], [0, 0], LN2, LIMIT),
    ("limit-infinite", [LEFT, [INF, 0.0]], [0, 1], INF, LIMIT),
    ("undefined", [LEFT, [INF, INF]], [0, 1], LN2, REST),
    ("nan-beside-undefined", [[INF, INF], [NAN, 0.0]], [0, 1], NAN, MUST),
    ("nan-beside-all-masked", [[NAN, 0.0], [-INF, -INF], [INF, 0.0]], [0, 1, 0], NAN, MUST),
    ("undefined-alone", [[INF, INF]], [0], 0.0, REST),
    ("undefined-beside-a-limit", [LEFT, [INF, INF], [INF, 0.0]], [0, 1, 0], LN2, REST),
    ("undefined-beside-infinite-loss", [[INF, INF], [0.0, -INF]], [0, 1], INF, REST),
    ("ignored-nan-beside-undefined", [[INF, INF], [NAN, 0.0]], [0, -100], 0.0, REST),
    ("all-masked", [RIGHT, [-INF, -INF]], [0, 1], LN2, REST),
]


@pytest.mark.parametrize("row", REDUCED, ids=lambda row: row[0])
def test_special_rows_in_a_sum(row: tuple[str, list[list[float]], list[int], float, Requirement]) -> None:
    _, logits, target, owed, requirement = row
    loss = evaluate(Problem(logits, target, FLOAT32, reduction="sum"), [LOSS])[LOSS]
    np.testing.assert_array_equal(rounded(loss, FLOAT32), owed)
    assert loss.requirement == requirement


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("bad", [[INF, INF, 0.0], [-INF, -INF, -INF]], ids=str)
@pytest.mark.parametrize("tier", ["exact", "fast"])
def test_a_sum_with_an_undefined_row_is_that_of_the_others(reduction: str, bad: list[float], tier: str) -> None:
    """By the other oracle, which leaves out a row whose powers add up to 0 or to infinity."""
    weights = [0.5, 1.0, 3.0]
    problem = Problem(
        [[1.0, 0.0, -7.0], bad, [20.0, 3.0, -INF]], [1, 0, 1], FLOAT32, reduction=reduction, class_weights=weights
    )
    loss = evaluate(problem, [LOSS], tier)[LOSS]
    check_values(problem, {LOSS: loss.values})
    assert loss.requirement == REST
    assert loss.scale > 0


WEIGHTLESS_TARGETS: list[tuple[list[list[float]], dict[str, Any], float, Requirement]] = [
    ([LEFT], {}, NAN, MUST),
    ([LEFT], {"label_smoothing": 0.25}, INF, LIMIT),
    ([LEFT, RIGHT], {"label_smoothing": 1.0}, INF, LIMIT),
    ([[0.0, -INF]], {}, NAN, REST),
    ([[0.0, -INF]], {"label_smoothing": 0.25}, INF, LIMIT),
    ([LEFT, [0.0, NAN]], {"label_smoothing": 0.25}, NAN, MUST),
    ([LEFT, [INF, INF]], {"label_smoothing": 0.25}, INF, REST),
]


@pytest.mark.parametrize(("logits", "options", "owed", "requirement"), WEIGHTLESS_TARGETS)
def test_a_mean_over_targets_without_weight_grows_or_is_that_of_nothing(
    logits: list[list[float]], options: dict[str, Any], owed: float, requirement: Requirement
) -> None:
    target = [0] * len(logits)
    problem = Problem(logits, target, FLOAT32, reduction="mean", class_weights=[0.0, 1.0], **options)
    loss = evaluate(problem, [LOSS])[LOSS]
    np.testing.assert_array_equal(rounded(loss, FLOAT32), owed)
    assert loss.requirement == requirement


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("bad", [[NAN, 0.0, 1.0], [INF, INF, 0.0], [-INF, -INF, -INF], [INF, 0.0, 1.0]], ids=str)
def test_a_special_row_leaves_the_derivatives_of_the_others_alone(bad: list[float], reduction: str) -> None:
    rows = [[1.0, 2.0, 3.0], bad, [0.5, 0.0, -7.0]]
    common: dict[str, Any] = {"reduction": reduction, "tangent": [[1.0, 2.0, 4.0]] * 3}
    with_it = evaluate(Problem(rows, [0, 1, 2], FLOAT32, **common), EVERYTHING)
    without = evaluate(Problem([rows[0], [0.0] * 3, rows[2]], [0, 1, 2], FLOAT32, **common), EVERYTHING)
    for quantity in set(EVERYTHING) - {LOSS}:
        for index in (0, 2):
            np.testing.assert_array_equal(
                rounded(with_it[quantity], FLOAT32)[index], rounded(without[quantity], FLOAT32)[index]
            )


# ---------------------------------------------------------------------------------------------------------------------
# Ziv's loop.


def everything_settled(problem: Problem) -> None:
    """Every rounding decided, every ulp measurable, every scale a bound of its value."""
    before = ctx.prec
    for quantity, expected in evaluate(problem, EVERYTHING).items():
        values, decided = expected.values.rounded(problem.format)
        assert decided.all(), (quantity, problem)
        _, uncertainty = expected.values.ulps_from(values, problem.format)
        assert not (uncertainty[np.isfinite(values)] > 2.0**-19).any(), (quantity, problem)
        size = np.abs(expected.values.approximate())
        assert (np.isnan(size) | (expected.scale >= size)).all(), (quantity, problem)
    assert ctx.prec == before, "the precision of the caller is restored"


@ALL
@pytest.mark.parametrize("family", FAMILIES)
def test_every_rounding_is_decided(family: str, fmt: Format) -> None:
    rng = np.random.default_rng(list(FAMILIES).index(family))
    seen = 0
    while seen < 3:
        problem = random_problem(rng, 6, family)
        if problem.format is fmt:
            everything_settled(problem)
            seen += 1


def hardest(fmt: Format) -> Iterable[Problem]:
    """The largest gaps, offsets and temperatures of a format, and labels that cancel the softmax as far as they can."""
    top, small = fmt.largest, fmt.min_subnormal
    common: dict[str, Any] = {"format": fmt, "tangent": [[1.0, -1.0, 0.5]]}
    for row in ([top, -top, 0.0], [top, top, -top], [-top, -top, -top], [small, -small, 0.0], [top, -INF, small]):
        for target in ([0], [1], [[0.25, 0.25, 0.5]]):
            yield Problem([row], np.array(target), **common)
    for temperature in (5e-324, 1e-300, 1e300, 1.7976931348623157e308):
        yield Problem([[top, -top, 1.0]], [1], temperature=temperature, **common)
    x = np.array([0.0, 1.0, -2.0])
    p = fmt.round(np.exp(x) / np.exp(x).sum())
    yield Problem([x], p[None, :], **common)


@ALL
def test_the_hardest_rows_are_decided(fmt: Format) -> None:
    for problem in hardest(fmt):
        everything_settled(problem)


@ALL
def test_more_precision_changes_no_rounding(fmt: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 64 bits, too few to settle a float64, and from 512 bits: the answers are those from 128 bits."""
    rng = np.random.default_rng(7)
    families = list(FAMILIES)
    problems = [random_problem(rng, 4, family).replace() for family in families]
    problems = [p for p in problems if p.format is fmt] + list(hardest(fmt))
    usual = [evaluate(problem, EVERYTHING) for problem in problems]
    for start in (64, 512):
        monkeypatch.setattr(reference.evaluation, "PRECISIONS", (start, *(p for p in PRECISIONS if p > start)))
        for problem, answers in zip(problems, usual, strict=True):
            for quantity, expected in evaluate(problem, EVERYTHING).items():
                assert_same(expected, answers[quantity], fmt)


def test_a_tangent_that_cancels_gives_zero() -> None:
    """The third class has the mean of v for its component, since p_0 = p_1; every format rounds that to 0."""
    problem = Problem([[1.0, 1.0, 0.0]], [0], FLOAT64, tangent=[[1.0, -1.0, 0.0]])
    hvp = evaluate(problem, [HVP])[HVP]
    values = rounded(hvp, FLOAT64)[0]
    assert values[2] == 0.0
    assert values[0] == -values[1] > 0.0


TIED = [
    # A p = A (1/2 - D), just inside a midpoint that alone would go outwards, to its even neighbour.
    ("gradient", GRADIENT, (0, 0), 2.0, [0.0, 0.0, 0.0], 1, 1),
    # -A p p = -A (1/4 - p D - D/2).
    ("off-diagonal", HESSIAN, (0, 0, 1), -4.0, [0.0, 0.0, 0.0], 1, 1),
    # A p (1 - p) = A (1/4 - D^2).
    ("diagonal", HESSIAN, (0, 1, 1), 4.0, [0.0, 0.0, 0.0], 1, 1),
    ("diagonal-alone", DIAGONAL, (0, 1), 4.0, [0.0, 0.0, 0.0], 1, 1),
    # The maxima have mean tangent 0, so A p w_0 = A (1/2 - D).
    ("product", HVP, (0, 0), 2.0, [1.0, -1.0, 0.0], 1, 1),
    # w = (1, -1, 3) has the mean 3 p_2 = 6 D: A p (1 - 6 D) is inside, too.
    ("product-inwards", HVP, (0, 0), 2.0, [0.0, -2.0, 2.0], 1, 1),
    # w = (1, -1, -7) has the mean -14 D, which outweighs D: outside a midpoint that alone would go inwards.
    ("product-outwards", HVP, (0, 0), 2.0, [0.0, -2.0, -8.0], 3, 5),
]
"""Name, quantity, entry, cotangent, tangent; A = 1.5 (1 + step ulp) over the cotangent; result 1.5 + whole ulp."""


@ALL
@pytest.mark.parametrize(
    ("quantity", "index", "factor", "tangent", "step", "whole"), [row[1:] for row in TIED], ids=[row[0] for row in TIED]
)
def test_the_tail_below_tied_maxima_decides_a_midpoint(
    fmt: Format, quantity: Quantity, index: tuple[int, ...], factor: float, tangent: list[float], step: int, whole: int
) -> None:
    """Two maxima and a class far below: p = 1/2 - D, D = e^-8192 / 4 or so, which no working precision sees beside 1/2."""
    ulp = 2.0 ** (1 - fmt.precision)
    problem = Problem(
        [[0.0, 0.0, -8192.0]],
        np.array([[0.0, 0.0, 1.5]]),
        fmt,
        cotangent=[factor * (1 + step * ulp)],
        tangent=[tangent],
    )
    assert rounded(evaluate(problem, [quantity])[quantity], fmt)[index] == 1.5 + whole * ulp


def test_labels_that_cancel_tied_maxima_leave_the_tail() -> None:
    """Gradient p - 1/2 = -e^-700 / 4 or so, whose sign and size must not drown in 1/2."""
    gradient = evaluate(Problem([[0.0, 0.0, -700.0]], [[0.5, 0.5, 0.0]], FLOAT64), [GRADIENT])[GRADIENT]
    assert rounded(gradient, FLOAT64)[0, 0] == pytest.approx(-math.exp(-700.0) / 4, rel=1e-12)


@ALL
def test_a_midpoint_at_a_masked_class_is_a_tie(fmt: Format) -> None:
    """There the gradient is -a exactly, with no tail: a midpoint goes to the even neighbour, not to the one inside."""
    for step in (1, 3):
        weight = 1.0 + step * 2.0 ** (1 - fmt.precision)
        problem = Problem([[0.0, -INF, 1.0]], np.array([[0.0, 1.5, 0.0]]), fmt, class_weights=np.array([1.0, weight, 1.0]))
        gradient = rounded(evaluate(problem, [GRADIENT])[GRADIENT], fmt)[0, 1]
        # 1.5 + 1.5 step in units of the last place: 1.5 goes to 2, 4.5 to 4.
        whole = {1: 2, 3: 4}[step]
        assert gradient == -(1.5 + whole * 2.0 ** (1 - fmt.precision))


def test_the_scale_is_the_value_where_nothing_cancels() -> None:
    problem = Problem([[20.0, 0.0, -3.0], [0.0, 40.0, 1.0]], [0, 0], FLOAT64)
    gradient = evaluate(problem, [GRADIENT])[GRADIENT]
    np.testing.assert_allclose(gradient.scale, np.abs(gradient.values.approximate()), rtol=1e-15)


def test_the_scale_is_that_of_the_terms_where_they_cancel() -> None:
    gradient = evaluate(Problem([[0.0, 0.0]], [[0.5, 0.5]], FLOAT64), [GRADIENT])[GRADIENT]
    np.testing.assert_array_equal(gradient.values.hi, [[0.0, 0.0]])
    np.testing.assert_array_equal(gradient.scale, [[1.0, 1.0]])


# ---------------------------------------------------------------------------------------------------------------------
# Merged classes, batches, symmetries.


def repeated_classes(classes: int, fmt: Format, soft: bool, rng: np.random.Generator) -> Problem:
    """Rows with few different logits, weights, labels and tangents, one of them masked and one not finite."""
    shape = (4, classes)
    logits = rng.choice([0.0, 1.0, -2.5, -20.0, -INF], size=shape)
    logits[:, 0] = 1.0
    logits[3, 5] = INF
    if not soft:
        logits[1] = np.maximum(logits[1], -20.0)  # finite, so that smoothing gives merged classes below the maximum weight
    target = rng.choice([0.0, 0.03125], size=shape) if soft else np.array([0, 7, -100, 5])
    return Problem(
        logits,
        target,
        fmt,
        class_weights=rng.choice([1.0, 2.0], size=classes),
        tangent=rng.choice([1.0, -1.0], size=shape),
        label_smoothing=0.0 if soft else 0.125,
    )


@pytest.mark.parametrize("soft", [False, True], ids=["indices", "probabilities"])
@pytest.mark.parametrize("classes", [33, 40, 64])
def test_merging_classes_changes_nothing(classes: int, soft: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = repeated_classes(classes, FLOAT32, soft, np.random.default_rng(classes))
    merged = evaluate(problem, EVERYTHING)
    assert len(reference.exact.row.rows_of(problem)[0].count) < classes
    monkeypatch.setattr(reference.exact.row, "_MERGE_FROM", classes + 1)
    assert len(reference.exact.row.rows_of(problem)[0].count) == classes
    for quantity, expected in evaluate(problem, EVERYTHING).items():
        assert_same(merged[quantity], expected, FLOAT32)
        np.testing.assert_allclose(merged[quantity].scale, expected.scale, rtol=1e-12)


@ALL
def test_rows_of_a_batch_do_not_know_each_other(fmt: Format) -> None:
    rng = np.random.default_rng(11)
    rows = [list(row) for problem in hardest(fmt) for row in problem.logits.tolist()][:12]
    rows += [*FAMILIES["moderate"](rng, fmt, (6, 3), 1.0).tolist(), [NAN, 0.0, 1.0], [INF, 0.0, 1.0], [-INF] * 3]
    target = rng.integers(3, size=len(rows))
    tangent = fmt.round(rng.standard_normal((len(rows), 3)))
    batch = evaluate(Problem(rows, target, fmt, tangent=tangent), EVERYTHING)
    for index, row in enumerate(rows):
        alone = Problem([row], target[index : index + 1], fmt, tangent=tangent[index : index + 1])
        for quantity, expected in evaluate(alone, EVERYTHING).items():
            np.testing.assert_array_equal(rounded(batch[quantity], fmt)[index], rounded(expected, fmt)[0])
            np.testing.assert_array_equal(batch[quantity].scale[index], expected.scale[0])
            np.testing.assert_array_equal(batch[quantity].requirement[index], expected.requirement[0])


@ALL
@pytest.mark.parametrize("classes", [5, 40])
def test_classes_may_be_permuted(fmt: Format, classes: int) -> None:
    rng = np.random.default_rng(13)
    logits = fmt.round(rng.uniform(-30, 0, (2, classes)))
    tangent = fmt.round(rng.standard_normal((2, classes)))
    order = rng.permutation(classes)
    where = np.argsort(order)
    quantities = [q for q in EVERYTHING if q is not HESSIAN]
    straight = evaluate(Problem(logits, [0, 1], fmt, tangent=tangent), quantities)
    turned = evaluate(Problem(logits[:, order], [where[0], where[1]], fmt, tangent=tangent[:, order]), quantities)
    for quantity in quantities:
        values, permuted = rounded(straight[quantity], fmt), rounded(turned[quantity], fmt)
        np.testing.assert_array_equal(values[:, order] if values.ndim == 2 else values, permuted)


@ALL
def test_a_common_offset_does_not_show(fmt: Format) -> None:
    """Multiples of a large power of two, so that the offset rows are members of the format exactly."""
    rng = np.random.default_rng(17)
    logits = -rng.integers(0, 2 ** (fmt.precision - 3), (4, 5)).astype(float)
    offset = 2.0 ** (fmt.precision - 2)
    tangent = fmt.round(rng.standard_normal((4, 5)))
    near = evaluate(Problem(logits, [0, 1, 2, 3], fmt, tangent=tangent), EVERYTHING)
    far = evaluate(Problem(logits + offset, [0, 1, 2, 3], fmt, tangent=tangent), EVERYTHING)
    for quantity in set(EVERYTHING) - {LOGSUMEXP}:
        assert_same(near[quantity], far[quantity], fmt)


@pytest.mark.parametrize("gap", [20.0, 1e4, 1e50, 1e100, 1e200, 1e300])
def test_an_entropy_that_no_number_holds_is_still_positive(gap: float) -> None:
    """It is exactly 0 where one class is left alone: e^-gap is a ball around 0 from some gap on, and never 0 itself."""
    for logits in ([0.0, -gap], [0.0, -gap, -INF]):
        found = evaluate(Problem([logits], [0], FLOAT64), [ENTROPY])[ENTROPY].values
        assert found.sign.tolist() == [1], (gap, found)
    alone = evaluate(Problem([[0.0, -INF]], [0], FLOAT64), [ENTROPY])[ENTROPY].values
    assert (alone.hi.tolist(), alone.radius.tolist(), alone.side.tolist()) == ([0.0], [0.0], [0])


def test_the_loss_grows_with_the_gap() -> None:
    """Of two neighbouring float32 gaps across the whole absorption window the wider never has the larger loss."""
    gaps = np.linspace(0.5, 120.0, 400)
    losses = evaluate(Problem(np.stack([FLOAT32.round(gaps), np.zeros(400)], axis=1), [0] * 400, FLOAT64), [LOSS])[LOSS]
    values = rounded(losses, FLOAT64).tolist()
    assert all(nearer > farther > 0.0 for nearer, farther in pairwise(values))


# ---------------------------------------------------------------------------------------------------------------------
# What is refused, and what is empty.


def test_a_hessian_of_many_classes_is_refused() -> None:
    classes = MAX_HESSIAN_CLASSES + 1
    problem = Problem(np.zeros((1, classes)), [0], FLOAT16)
    with pytest.raises(ValueError, match=rf"a Hessian of K = {classes} classes; allowed: K <= {MAX_HESSIAN_CLASSES}"):
        evaluate(problem, [LOSS, HESSIAN])
    assert evaluate(problem, [LOSS])[LOSS].values.shape == (1,)


def test_a_hessian_of_the_most_classes() -> None:
    classes = MAX_HESSIAN_CLASSES
    hessian = rounded(evaluate(Problem(np.zeros((1, classes)), [0], FLOAT64), [HESSIAN])[HESSIAN], FLOAT64)[0]
    np.testing.assert_array_equal(hessian, np.eye(classes) / classes - 1 / classes**2)


def test_a_product_without_a_direction_is_refused() -> None:
    with pytest.raises(ValueError, match=r"hvp without a direction; give the problem a tangent"):
        evaluate(Problem([[0.0, 1.0]], [0], FLOAT32), [HVP])


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_no_rows(reduction: str) -> None:
    problem = Problem(np.zeros((0, 3)), [], FLOAT32, reduction=reduction, tangent=np.zeros((0, 3)))
    shapes = {q: expected.values.shape for q, expected in evaluate(problem, EVERYTHING).items()}
    loss = (0,) if reduction == "none" else ()
    assert shapes == {
        LOSS: loss,
        GRADIENT: (0, 3),
        HESSIAN: (0, 3, 3),
        HVP: (0, 3),
        DIAGONAL: (0, 3),
        LOG_SOFTMAX: (0, 3),
        SOFTMAX: (0, 3),
        LOGSUMEXP: (0,),
        ENTROPY: (0,),
        **dict.fromkeys(BLOCK_PRODUCTS, (0, 3)),
    }
    if reduction != "none":
        loss_of_nothing = evaluate(problem, [LOSS])[LOSS]
        np.testing.assert_array_equal(rounded(loss_of_nothing, FLOAT32), 0.0 if reduction == "sum" else NAN)
        assert loss_of_nothing.requirement == MUST
