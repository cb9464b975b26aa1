"""The compiled judge of a sweep against the exact tier and `Measurement`: values, radii, bounds, grades and classes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from adapters.operation import Operation
from reference.arithmetic import Arithmetic, Order, Summation
from reference.bounds.entrywise import componentwise_bound, stable_bound
from reference.evaluation import evaluate
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FORMATS, Floats, Format
from reference.grades import Grade
from reference.problem import Problem
from suites.judging.measurement import Measurement
from suites.sweep.compiled.batch import Batch, SweptQuantity, expected_of, gaps_of, sign_of
from suites.sweep.compiled.bound import GRADIENT, HESSIAN, LOSS, Below, Entry, gap_bound, least_bound
from suites.sweep.compiled.careful import careful_bound
from suites.sweep.compiled.constants import declared_of, format_constants
from suites.sweep.compiled.entry import (
    ACCURATE,
    BELOW_ACCURATE,
    FAITHFUL,
    UNDECIDED,
    ExpectedEntry,
    JudgedEntry,
    below_accurate,
    judge_entry,
)
from suites.sweep.compiled.passes import _second_look, judge_batch
from suites.sweep.compiled.tally import QUANTITIES, SweepTally, empty_tally
from suites.sweep.settle import Undecided, measured, settle

SWEPT = (FLOAT32, FLOAT16, BFLOAT16)


def arithmetic_in(fmt: Format, **more: Any) -> Arithmetic:
    return Arithmetic(fmt, FLOAT32, summation=Summation(Order.LANES, 16), stores_sum=True, **more)


def operation_in(fmt: Format, **more: Any) -> Operation:
    return Operation("op", "op(x)", None, {fmt.name: arithmetic_in(fmt, **more)})


def pairs(fmt: Format, seed: int, count: int) -> Floats:
    """Ties, powers of two, gaps of every size, midpoints, numbers that vanish beside each other, and the format's ends."""
    random = np.random.default_rng(seed)
    ends = [0.0, fmt.min_subnormal, fmt.min_normal, 1.0, fmt.largest, -fmt.largest, 2.0 ** (fmt.emax - 1)]
    fixed = [(a, b) for a in ends for b in ends]
    steps = 2.0 ** random.integers(-40, 10, count)
    near = np.stack([random.normal(0, 4, count), random.normal(0, 4, count)], axis=1) * steps[:, None]
    with np.errstate(over="ignore"):
        wide = random.choice([-1.0, 1.0], (count, 2)) * 2.0 ** random.uniform(fmt.emin, fmt.emax, (count, 2))
    gaps = np.zeros((count, 2))
    gaps[:, 1] = random.choice([-1.0, 1.0], count) * random.uniform(0.0, 120.0, count)
    ties = np.full((count, 2), 1.0)
    ties[:, 1] += 2.0 ** (1 - fmt.precision) * random.integers(-(2**12), 2**12, count)
    whole = random.integers(-4 * 2**fmt.precision, 4 * 2**fmt.precision, (count, 2)) * 2.0**-4
    rows = fmt.round(np.concatenate([np.array(fixed), near, wide, gaps, whole, ties]))
    return rows[np.isfinite(rows).all(axis=1)]


def batch_of(rows: Floats) -> Batch:
    x = np.ascontiguousarray(rows.T.astype(np.float32))
    return Batch(x, gaps_of(x), np.array([0, len(rows)]), np.array([0]))


def triples(fmt: Format, seed: int, count: int) -> Floats:
    """A third logit beside `pairs`, before, between or after: equal to one, within steps of it, far off, or anything."""
    rows, random = pairs(fmt, seed, count), np.random.default_rng(seed)
    near = rows[:, 0] + random.choice([0.0, 1.0, -1.0, 11.0, -40.0, -700.0], len(rows)) * 2.0 ** random.integers(
        -12, 1, len(rows)
    )
    half = rows[:, 0] + np.log(np.abs(np.expm1(-np.abs(np.minimum(rows[:, 0] - rows[:, 1], 1.0)))) + 1e-9)
    anything = random.permutation(rows[:, 1])
    chosen = random.integers(0, 4, len(rows))
    third = fmt.round(np.select([chosen == 0, chosen == 1, chosen == 2], [rows[:, 0], near, half], anything))
    table = random.permuted(np.column_stack([rows, third]), axis=1)
    return table[np.isfinite(table).all(axis=1)]


ROWS = {2: pairs, 3: triples}


def question(operation: Operation, fmt: Format, quantity: int, target: int, classes: int = 2) -> SweptQuantity:
    arithmetic = operation.arithmetic[fmt.name]
    limits = format_constants(fmt, arithmetic, classes, QUANTITIES[quantity])
    return SweptQuantity(quantity, target, limits, declared_of(arithmetic, classes))


TINY = 2.0**-149
EDGES = [
    (0.5 + 2.0**-24, ExpectedEntry(0.5, 0.0, 0.0), ACCURATE),
    (0.5 + 2.0**-24, ExpectedEntry(0.5, 2.0**-90, 0.0), FAITHFUL),
    (0.0, ExpectedEntry(0.75 * TINY, 0.0, 0.0), FAITHFUL),
    (0.0, ExpectedEntry(TINY, -(2.0**-230), 0.0), FAITHFUL),
    (0.0, ExpectedEntry(TINY, 0.0, 0.0), BELOW_ACCURATE),
    (0.0, ExpectedEntry(TINY, 0.0, 2.0**-230), UNDECIDED),
    (-TINY, ExpectedEntry(2 * TINY, 0.0, 0.0), BELOW_ACCURATE),
    (-TINY, ExpectedEntry(0.5 * TINY, 2.0**-230, 0.0), BELOW_ACCURATE),
    (-TINY, ExpectedEntry(0.5 * TINY, 0.0, 2.0**-230), UNDECIDED),
    (-TINY, ExpectedEntry(0.5 * TINY, 0.0, 0.0), ACCURATE),
]
"""What is returned for a number of float32, and its grade: 1 ulp is not faithful, 0 is only below the least subnormal, and a
negative number is accurate where the value rounds to 0."""


@pytest.mark.parametrize(("observed", "expected", "grade"), EDGES)
def test_the_edges_of_the_grades(observed: float, expected: ExpectedEntry, grade: int) -> None:
    judged = judge_entry(observed, expected, format_constants(FLOAT32, arithmetic_in(FLOAT32), 2, QUANTITIES[LOSS]))
    assert judged.grade == grade
    assert judged.is_zero == (observed == 0 and grade == BELOW_ACCURATE)


def returned_by(measurement: Measurement, fmt: Format, seed: int) -> Floats:
    """Correct, a few ulps off, far off, zero, infinite, NaN and of the wrong sign."""
    random = np.random.default_rng(seed)
    right = measurement.rounded
    with np.errstate(over="ignore", invalid="ignore"):
        moved = right + random.integers(-6, 7, right.shape) * fmt.ulp(right)
        scaled = fmt.round(right * 2.0 ** random.uniform(-3, 3, right.shape))
    odd = random.choice([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, 0.5, -0.5, fmt.largest, fmt.min_subnormal], right.shape)
    chosen = random.choice(5, right.shape)
    values = np.select([chosen == 0, chosen == 1, chosen == 2, chosen == 3], [right, fmt.round(moved), scaled, odd], -right)
    return np.asarray(values, dtype=np.float64)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("fmt", SWEPT, ids=lambda f: f.name)
def test_owed_values_contain_the_exact_ones(fmt: Format, classes: int) -> None:
    rows, operation = ROWS[classes](fmt, 1, 60), operation_in(fmt)
    batch = batch_of(rows)
    for target in range(classes):
        exact = evaluate(Problem(rows, np.full(len(rows), target), fmt), QUANTITIES)
        for q, quantity in enumerate(QUANTITIES):
            asked, values = question(operation, fmt, q, target, classes), exact[quantity].values
            hi, lo, exponent, radius = (
                np.asarray(part).reshape(len(rows), -1) for part in (values.hi, values.lo, values.exponent, values.radius)
            )
            for i, k in np.ndindex(hi.shape):
                y, scale = expected_of(batch.x, batch.gaps, i, asked, k), Fraction(2) ** int(exponent[i, k])
                value = (Fraction(hi[i, k]) + Fraction(lo[i, k])) * scale * int(sign_of(asked, k, classes))
                slack = Fraction(radius[i, k]) * scale
                where = (quantity, rows[i].tolist(), target, k, y)
                assert abs(value - Fraction(y.hi) - Fraction(y.lo)) <= Fraction(y.radius) + slack, where
                if y.lo and not slack:
                    assert (value - Fraction(y.hi) > 0) == (y.lo > 0), where


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("quantity", [LOSS, GRADIENT, HESSIAN], ids=[str(q) for q in QUANTITIES])
@pytest.mark.parametrize("fmt", SWEPT, ids=lambda f: f.name)
@pytest.mark.parametrize("once", [False, True], ids=["stores every step", "stores once"])
def test_every_entry_is_judged_as_a_measurement_judges_it(once: bool, fmt: Format, quantity: int, classes: int) -> None:
    declared = arithmetic_in(fmt)
    operation = Operation("op", "op(x)", None, {fmt.name: declared.storing_once() if once else declared})
    rows = ROWS[classes](fmt, 2, 150 if classes == 2 else 50)
    undecided = 0
    for target in range(classes):
        shape = (len(rows),) + (classes,) * quantity
        observed = returned_by(measured(operation, fmt, rows, target, quantity, np.zeros(shape)), fmt, target)
        truth = measured(operation, fmt, rows, target, quantity, observed)
        asked = question(operation, fmt, quantity, target, classes)
        seen = np.ascontiguousarray(observed.reshape(len(rows), -1).T, dtype=np.float32)
        tallies = [judged_alone(batch_of(rows), seen, asked, place) for place in range(seen.size)]
        for place, tally in enumerate(tallies):
            if tally is None:
                undecided += 1
            else:
                check_entry(tally, quantity, truth, place % len(rows), place // len(rows))
        check_sum(tallies, batch_of(rows), seen, asked)
    assert undecided <= 0.01 * len(rows) * classes ** (quantity + 1), undecided


def judged_alone(batch: Batch, seen: Any, asked: SweptQuantity, place: int) -> SweepTally | None:
    """One entry through the second look; None if it is undecided."""
    tally = empty_tally(len(batch.x), cells=1)
    return None if _second_look(batch, seen, asked, np.array([place]), tally).size else tally


def check_entry(tally: SweepTally, q: int, truth: Measurement, row: int, entry: int) -> None:
    """Grade, kinds of failure and error of one entry are the measurement's.

    A measurement grants the better grade where the error is within 2^-50 of a limit, and takes the upper binade where its
    enclosure touches a power of two: there this judge, which knows the side, may be the stricter.
    """

    def at(table: Any) -> Any:
        return table[row].reshape(-1)[entry]

    values = truth.expected.values
    grade, ulps, seen = int(np.argmax(tally.grades[q])), float(at(truth.ulps)), float(at(truth.observed))
    where = (q, truth.problem.logits[row].tolist(), entry, seen.hex(), ulps, grade, int(at(truth.grades)))
    limits = (
        0.5,
        1.0,
        *(
            np.ldexp(at(bound), -at(values.ulp_exponent(truth.problem.format)))
            for bound in (truth.accurate_bound, truth.componentwise_bound, truth.stable_bound)
        ),
    )
    on_edge = any(abs(ulps - limit) <= 2.0**-40 * limit for limit in limits)
    touches = not at(values.binade_known)
    assert grade <= at(truth.grades), where
    assert grade == at(truth.grades) or on_edge or touches, where
    classes = [at(truth.returned_zero), np.isnan(seen), np.isinf(seen) and seen != at(truth.rounded), grade == 0, grade == 1]
    assert [bool(n) for n in tally.failing[q]] == [bool(c) for c in classes], where
    if at(truth.measurable) and grade > 0 and not touches:
        assert tally.worst[q] == pytest.approx(ulps, rel=1e-7, abs=2.0 ** (truth.problem.format.precision - 48)), where


def check_sum(tallies: list[SweepTally | None], batch: Batch, seen: Any, asked: SweptQuantity) -> None:
    """The two looks at a batch count what the second look counts at each entry alone."""
    whole = empty_tally(len(batch.x), cells=1)
    judge_batch(batch, seen, asked, whole)
    alone = [tally for tally in tallies if tally is not None]
    assert np.array_equal(whole.grades, sum(tally.grades for tally in alone))
    assert np.array_equal(whole.failing, sum(tally.failing for tally in alone))
    assert whole.worst[asked.quantity] == max(tally.worst[asked.quantity] for tally in alone)
    assert np.array_equal(whole.seen[:, 0], np.bitwise_or.reduce([tally.seen[:, 0] for tally in alone]))


DECLARED: dict[str, dict[str, Any]] = {
    "a stored sum": {"stores_sum": True},
    "flush": {"stores_sum": True, "flush_to_zero": True},
    "no log-probability": {"stores_log_probability": False},
    "stored once": {"stores_log_probability": False, "stores_once": True},
    "online": {"summation": Summation(Order.RECURSIVE, tile=1)},
    "tiles": {"summation": Summation(Order.PAIRWISE, tile=2), "flush_to_zero": True},
    "base 2": {"base_2": True},
    "all": {"summation": Summation(Order.RECURSIVE, tile=1), "base_2": True, "reciprocals": True, "softplus": True},
}


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda f: f.name)
@pytest.mark.parametrize("more", DECLARED.values(), ids=DECLARED)
def test_the_bounds_are_those_of_the_reference(fmt: Format, more: dict[str, Any], classes: int) -> None:
    working = fmt if fmt.bits > 16 else FLOAT32
    arithmetic = Arithmetic(fmt, working, exp_ulps=1.5, **more)
    random = np.random.default_rng(0)
    gaps = fmt.round(
        np.concatenate([[0.0], 10 ** random.uniform(-6, 3, 200 if classes == 2 else 60), [fmt.largest, fmt.largest / 2]])
    )
    below = np.sort(np.stack([gaps, random.permutation(gaps)][: classes - 1], axis=1), axis=1)
    rows = np.column_stack([np.zeros_like(gaps), -below])
    c = declared_of(arithmetic, classes)
    for target in range(classes):
        problem = Problem(rows, np.full(len(gaps), target), fmt)
        expected = evaluate(problem, QUANTITIES)
        values = {q: np.abs(e.values.approximate()).reshape(len(gaps), -1) for q, e in expected.items()}
        for q, quantity in enumerate(QUANTITIES):
            bound = stable_bound(problem, quantity, arithmetic).reshape(len(gaps), -1)
            careful = componentwise_bound(problem, quantity, arithmetic, expected[quantity]).reshape(len(gaps), -1)
            for i, k in np.ndindex(bound.shape):
                index = target if q == LOSS else k if q == GRADIENT else k // classes
                column = k % classes if q == HESSIAN else index
                row = Below(-rows[i, 1], np.inf if classes == 2 else -rows[i, 2])
                entry = Entry(-rows[i, index], -rows[i, column], index == target if q == GRADIENT else index == column)
                assert gap_bound(q, row, entry, c) == pytest.approx(bound[i, k], rel=1e-12), (q, row, entry)
                value = float(values[quantity][i, k])
                assert careful_bound(q, row, entry, value, c) == pytest.approx(careful[i, k], rel=1e-11), (q, row, entry)
                probability = np.exp(-entry.own) / (1.0 + np.exp(-row.gap) + np.exp(-row.far))
                assert least_bound(q, probability, entry, c) <= bound[i, k] * (1 + 1e-12)


def test_stable_allows_what_accurate_does() -> None:
    """A zero is not accurate, however near it is; where the bound of `stable` is the narrower one, it is stable still."""
    lost = JudgedEntry(BELOW_ACCURATE, 2.0, 2.0, 0.0, True, False)
    assert below_accurate(lost, 1.0, 4.0) == below_accurate(lost, 4.0, 1.0) == Grade.STABLE
    assert below_accurate(lost, 1.0, 1.0) == Grade.FINITE


@pytest.mark.parametrize("classes", [2, 3])
def test_the_exact_tier_counts_what_is_undecided(classes: int) -> None:
    """All entries given to it: the tallies are those of the compiled pass (no error here is on the edge of a grade)."""
    operation, fmt = operation_in(FLOAT16), FLOAT16
    rows = fmt.round(np.random.default_rng(3).normal(0, 5, (60, classes)))
    for q in (LOSS, GRADIENT, HESSIAN):
        asked = question(operation, fmt, q, 1, classes)
        shape = (len(rows),) + (classes,) * q
        observed = returned_by(measured(operation, fmt, rows, 1, q, np.zeros(shape)), fmt, 5)
        seen = np.ascontiguousarray(observed.reshape(len(rows), -1).T, dtype=np.float32)
        compiled, settled = empty_tally(classes), empty_tally(classes)
        batch = batch_of(rows)
        places = judge_batch(batch, seen, asked, compiled)
        everything = np.arange(seen.size)
        given = [Undecided(q, 1, p, rows, seen, batch.starts, batch.cells) for p in (places, everything)]
        settle(operation, fmt, given[0], compiled)
        settle(operation, fmt, given[1], settled)
        assert_same(compiled, settled)
        assert compiled.worst_place[q, 0] == settled.worst_place[q, 0] == asked.target


def assert_same(one: SweepTally, other: SweepTally) -> None:
    for name in ("grades", "failing", "box", "seen"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    np.testing.assert_allclose(one.worst, other.worst, rtol=1e-9)
    np.testing.assert_allclose(one.map, other.map, rtol=1e-6)
