"""The compiled tier of the reference against the exact one: enclosures, hard roundings, batches, and when it is asked."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace

import mpmath
import numpy as np
import pytest

pytest.importorskip("numba")

from reference.batch import compare_batch
from reference.evaluation import evaluate
from reference.fast import wide_rows
from reference.fast.elementary import UNIT
from reference.fast.evaluate import _columns, evaluate_fast
from reference.fast.sums import frame_of
from reference.fast.wide_rows import Number
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, FORMATS, Floats, Format
from reference.problem import Problem
from reference.quantity import Quantity
from reference.tiers import Tier, takes, uses_fast
from tests.command import ROOT
from tests.oracles import fast_agreement
from tests.oracles.agreement import FAMILIES

ORDERS = (Quantity.LOSS, Quantity.GRADIENT)


def test_generated_rows_agree() -> None:
    tally = sum((fast_agreement.compare(problem) for problem in fast_agreement.batches(3000, seed=1)), fast_agreement.Tally())
    assert tally.rows == 4 * 3000
    assert tally.left < 0.2 * tally.rows


def test_disagreement_is_seen() -> None:
    """An enclosure that is off by a little more than its radius does not overlap, one on the wrong side is not true."""
    problem = next(fast_agreement.batches(64, seed=2))
    exact = evaluate(problem, [Quantity.GRADIENT], Tier.EXACT)[Quantity.GRADIENT].values
    numbers = exact.hi != 0
    assert fast_agreement.overlaps(exact, exact).all()
    moved = replace(exact, lo=exact.lo + 2.0**-80)
    assert not fast_agreement.overlaps(moved, exact)[numbers].any()
    moved = replace(exact, side=-exact.side)
    assert not fast_agreement.true_of_itself(moved, exact, problem.format)[exact.side != 0].any()


@pytest.mark.parametrize(
    ("row", "fmt"),
    [([47.59473800659180, -38.81605529785156], FLOAT32), ([-88.72280883789062, 40.42119598388672], FLOAT32)],
    ids=["a tail of exp(-86)", "a tail of exp(-129)"],
)
def test_a_gap_on_a_midpoint_is_decided_by_the_sign_of_a_tail_below_the_radii_of_float32(row: list[float], fmt: Format) -> None:
    problem = Problem(fmt.round(np.array([row])), [int(np.argmin(row))], fmt)
    values = evaluate_fast(problem, (Quantity.LOSS,)).values[Quantity.LOSS]
    rounded, decided = values.rounded(fmt)
    assert decided.all()
    assert rounded == evaluate(problem, [Quantity.LOSS], Tier.EXACT)[Quantity.LOSS].values.rounded(fmt)[0]


def _row_near(midpoint: mpmath.mpf, fmt: Format, levels: int) -> Floats:
    """Logits of which the second has nearly the probability `midpoint`, more nearly with every level.

    Its gap is set so that its probability is just above; each further class is given the power that would bring it down to
    the midpoint, rounded down: what is left is a part 2^-precision of that.
    """
    gaps = [float(fmt.next_down(fmt.round(float(mpmath.log((1 - midpoint) / midpoint)))))]
    for _ in range(levels):
        powers = [mpmath.exp(-mpmath.mpf(gap)) for gap in gaps]
        missing = powers[0] / midpoint - 1 - sum(powers)
        gaps.append(float(fmt.next_up(fmt.round(float(-mpmath.log(missing))))))
    return np.array([0.0, *(-gap for gap in gaps)])


@pytest.mark.parametrize(
    ("fmt", "levels"), [(FLOAT64, 3), (FLOAT32, 6), (FLOAT16, 18), (BFLOAT16, 30)], ids=lambda value: getattr(value, "name", "")
)
def test_roundings_next_to_a_midpoint_are_those_of_the_exact_tier(fmt: Format, levels: int) -> None:
    """Down to 2^-150 beside a midpoint, where the compiled tier is undecided and says so."""
    undecided = 0
    for value in fmt.round([0.3, 0.01, 0.123, 0.4999]):
        for level in range(levels + 1):
            with mpmath.workprec(1000):
                logits = _row_near(mpmath.mpf(float(value)) + mpmath.mpf(float(fmt.ulp(value))) / 2, fmt, level)
            problem = Problem(np.vstack([logits, logits]), [0, 1], fmt)
            fast, exact = (evaluate(problem, ORDERS, tier) for tier in (Tier.FAST, Tier.EXACT))
            for quantity in ORDERS:
                ours, decided = fast[quantity].values.rounded(fmt)
                assert decided.all()
                np.testing.assert_array_equal(ours, exact[quantity].values.rounded(fmt)[0])
            alone = evaluate_fast(problem, (Quantity.GRADIENT,)).values[Quantity.GRADIENT]
            undecided += int((~alone.rounded(fmt)[1]).sum())
    assert undecided >= 4


@pytest.mark.parametrize(("fmt", "levels"), [(FLOAT32, 6), (FLOAT16, 18)], ids=["float32", "float16"])
def test_batches_next_to_a_midpoint_are_judged_right(fmt: Format, levels: int) -> None:
    """Of the two neighbours of a value next to a midpoint one is correct, however near the midpoint is."""
    for value in fmt.round([0.3, 0.01, 0.123, 0.0623]):
        for level in range(1, levels + 1):
            with mpmath.workprec(1000):
                logits = _row_near(mpmath.mpf(float(value)) + mpmath.mpf(float(fmt.ulp(value))) / 2, fmt, level)
            problem = Problem(np.vstack([logits, logits]), [0, 0], fmt)
            expected = {q: e.values.rounded(fmt)[0] for q, e in evaluate(problem, ORDERS, Tier.EXACT).items()}
            gradient = expected[Quantity.GRADIENT].copy()
            gradient[:, 1] = [value, fmt.next_up(value)]
            found = compare_batch(fmt, problem.logits, problem.target, expected[Quantity.LOSS], gradient)
            assert sorted(found.gradient.incorrect.tolist()) == [0, 1]
            assert found.gradient.incorrect[int(expected[Quantity.GRADIENT][0, 1] != value)] == 0


def _observed(problem: Problem, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rounded values, some of them moved by a few ulps, or replaced by 0, NaN or infinity."""
    fmt = problem.format
    expected = evaluate(problem, ORDERS, Tier.EXACT)
    moved = []
    for quantity in ORDERS:
        values = expected[quantity].values.rounded(fmt)[0]
        with np.errstate(invalid="ignore"):
            moved.append(fmt.round(values + fmt.ulp(values) * rng.choice([0.0, 0.0, 1.0, -2.0, 37.0], values.shape)))
        moved[-1] = np.where(rng.random(values.shape) < 0.05, rng.choice([0.0, np.nan, np.inf], values.shape), moved[-1])
    return moved[0], moved[1]


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("family", FAMILIES)
def test_batches_are_compared_as_single_problems_are(fmt, family) -> None:
    rng = np.random.default_rng(5)
    carrier = np.float64 if fmt is FLOAT64 else np.float32
    logits = FAMILIES[family](rng, fmt, (60, 5), 1.0)
    logits[0, 0], logits[1, 1], logits[2] = np.nan, np.inf, -np.inf
    problem = Problem(logits, rng.integers(0, 5, 60), fmt)
    loss, gradient = _observed(problem, rng)
    found = compare_batch(
        fmt, *(a.astype(carrier) for a in (problem.logits,)), problem.target, loss.astype(carrier), gradient.astype(carrier)
    )
    expected = evaluate(problem, ORDERS, Tier.EXACT)
    for quantity, seen, errors in ((Quantity.LOSS, loss, found.loss), (Quantity.GRADIENT, gradient, found.gradient)):
        values = expected[quantity].values
        rounded = values.rounded(fmt)[0]
        same = (seen == rounded) | (np.isnan(seen) & np.isnan(rounded))
        measured = [np.where(same & ~np.isfinite(seen), 0.0, part).reshape(60, -1) for part in values.ulps_from(seen, fmt)]
        worst, uncertainty = (np.where(np.isnan(part), np.inf, part).max(axis=1) for part in measured)
        ours = np.where(np.isnan(errors.worst), np.inf, errors.worst)
        with np.errstate(invalid="ignore"):
            near = np.abs(ours - worst) <= errors.uncertainty + uncertainty
        assert (near | (ours == worst)).all()
        np.testing.assert_array_equal(errors.incorrect, (~same).reshape(60, -1).sum(axis=1))
        absorbed = (seen == 0) & ~same & np.isfinite(rounded)
        np.testing.assert_array_equal(errors.absorbed, absorbed.reshape(60, -1).sum(axis=1))


def test_batches_say_what_does_not_fit() -> None:
    x, t = np.zeros((2, 3), np.float32), np.array([0, 1])
    with pytest.raises(ValueError, match=r"gradient has shape \(2, 2\); allowed: \(2, 3\)"):
        compare_batch(FLOAT32, x, t, np.zeros(2), np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"target\[1\] is 3; allowed: a class index in \[0, 3\)"):
        compare_batch(FLOAT32, x, np.array([0, 3]), np.zeros(2), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="logits has dtype float16; allowed: float32 or float64; cast it, that is exact"):
        compare_batch(FLOAT16, x.astype(np.float16), t, np.zeros(2), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"logits has shape \(2,\)"):
        compare_batch(FLOAT32, x[:, 0], t, np.zeros(2), np.zeros((2, 3)))


def test_an_empty_batch() -> None:
    found = compare_batch(BFLOAT16, np.zeros((0, 3), np.float32), np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 3)))
    assert found.gradient.worst.shape == (0,)


def test_the_worst_entry_is_found_wherever_it_is() -> None:
    """In the first, in a middle and in the last piece of a scan, at the largest class and at the target."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(1, 700)).astype(np.float32)
    top, target = int(logits.argmax()), 17
    problem = Problem(logits, [target], FLOAT32)
    right = {q: e.values.rounded(FLOAT32)[0].astype(np.float32) for q, e in evaluate(problem, ORDERS, Tier.EXACT).items()}
    for place in (0, 255, 256, 699, top, target):
        gradient = right[Quantity.GRADIENT].copy()
        gradient[0, place] *= 1 + 2.0**-20
        found = compare_batch(FLOAT32, logits, np.array([target]), right[Quantity.LOSS], gradient)
        assert (found.gradient.place[0], found.gradient.incorrect[0]) == (place, 1)
        assert 4 < found.gradient.worst[0] < 17


def test_stored_radii_are_rounded_up() -> None:
    """By 2^-21 at most, whatever the binades of the value and of its radius; never to 0."""
    rng = np.random.default_rng(4)
    values, radii = (np.ldexp(rng.random(2000) + 0.5, rng.integers(-900, low, 2000)) for low in (900, -200))
    columns = wide_rows._line(_columns(1, (2000,)), 0)
    for j, (value, relative) in enumerate(zip(values, np.ldexp(radii, 150), strict=True)):
        wide_rows._put(columns, j, Number(value, 0.0, value * min(relative, 1.0), 3))
    assert (np.ldexp(columns.hi, columns.exponent.astype(np.int32) - 3) == values).all()
    asked = np.ldexp(values * np.minimum(np.ldexp(radii, 150), 1.0), 3 - columns.exponent)
    assert (columns.radius >= asked).all()
    assert (columns.radius <= asked * (1 + 2.0**-21) + 2.0**-125).all()


def test_enclosures_take_three_times_the_memory_of_the_logits() -> None:
    problem = Problem(np.random.default_rng(0).normal(size=(4, 500)), [0] * 4, FLOAT64)
    values = evaluate_fast(problem, ORDERS).values
    assert sum(getattr(each, part.name).nbytes for each in values.values() for part in fields(each)) < 3 * problem.logits.nbytes


@pytest.mark.parametrize("classes", [2, 3, 40, 700])
@pytest.mark.parametrize("fmt", [FLOAT32, FLOAT16, BFLOAT16], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("family", FAMILIES)
def test_sums_of_powers_are_within_their_errors(fmt: Format, family: str, classes: int) -> None:
    """R and rho of `sums.frame_of`, on which every bound of `compare_batch` rests."""
    rng = np.random.default_rng(6)
    logits = FAMILIES[family](rng, fmt, (24, classes), 1.0)
    powers, taken = np.empty(classes), 0
    for row in logits.astype(np.float64):
        top = int(row.argmax())
        frame = frame_of(row, top, top, powers)
        if frame.rest > 0:
            taken += 1
            with mpmath.workprec(200):
                exact = mpmath.fsum(mpmath.exp(mpmath.mpf(x) - row[top]) for j, x in enumerate(row) if j != top)
                assert abs(frame.rest - exact) <= frame.rho * UNIT * exact
                assert frame.rho >= 34 + max(0, mpmath.log((classes - 1) / exact))
    assert taken >= (4 if family in ("extreme", "masked") else 12)


def test_rows_that_have_no_sum_are_left_to_the_next_tier() -> None:
    logits = np.array([[0.0, np.nan], [np.inf, 0.0], [-np.inf, -np.inf], [0.0, -np.inf], [0.0, -600.0], [0.0, -500.0]])
    for rows in (logits, np.hstack([logits, logits[:, 1:]])):
        rests = [frame_of(row, int(row.argmax()), i % 2, np.empty(row.size)).rest for i, row in enumerate(rows)]
        assert [rest > 0 for rest in rests] == [False] * 5 + [True]


def test_an_error_just_below_a_power_of_two_is_one_of_the_smaller_ulps() -> None:
    """Four ties and a power of exp(-40): each has a little less than 1/4, which float64 does not tell from 1/4."""
    logits = np.array([[0.0, 0.0, 0.0, 0.0, -40.0]], dtype=np.float32)
    gradient = np.array([[0.25, 0.25 - 3 * 2.0**-26, 0.25, -0.75, 1.0620885e-18]], dtype=np.float32)
    found = compare_batch(FLOAT32, logits, np.array([3]), np.full(1, np.log(4.0), np.float32), gradient)
    assert found.gradient.worst[0] == pytest.approx(3.0)


def test_what_the_tier_takes() -> None:
    plain = Problem(np.zeros((2, 3)), [0, 1], FLOAT16, tangent=np.ones((2, 3)))
    assert takes(plain, Quantity.HVP)
    assert not takes(plain, Quantity.SOFTMAX)
    assert not takes(plain.replace(temperature=2.0), Quantity.LOSS)
    assert not takes(plain.replace(reduction="mean"), Quantity.LOSS)
    assert takes(plain.replace(reduction="mean"), Quantity.GRADIENT)
    assert not takes(plain.replace(class_weights=np.ones(3)), Quantity.GRADIENT)


def test_which_tier_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large batches of distinct logits; not small ones, nor large ones of few distinct logits, which are cheap."""
    large = np.random.default_rng(0).normal(size=(64, 4096)).astype(np.float32)
    asked = {"large": large, "small": large[:8], "equal": np.round(large)}
    problems = {name: Problem(x, np.zeros(len(x), np.int64), FLOAT32) for name, x in asked.items()}
    assert [uses_fast(problem, ORDERS, Tier.AUTO) for problem in problems.values()] == [True, False, False]
    assert uses_fast(problems["small"], ORDERS, Tier.FAST)
    assert not uses_fast(problems["large"], ORDERS, Tier.EXACT)
    monkeypatch.setattr("reference.tiers.find_spec", lambda name: None)
    assert not uses_fast(problems["large"], ORDERS, Tier.AUTO)
    with pytest.raises(ValueError, match=r"numba is not installed; get it with: pip install -e '.\[fast\]'"):
        uses_fast(problems["small"], ORDERS, Tier.FAST)


def test_small_problems_load_no_compiler() -> None:
    program = (
        "import sys, reference as r\n"
        "r.evaluate(r.Problem([[20.0, 0.0]], [0], r.FLOAT32), list(r.Quantity)[:3])\n"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_rows_that_are_left_are_evaluated_exactly() -> None:
    """Special rows, an ignored one and one with cotangent 0 among others, in one problem."""
    logits = np.array(
        [[0.0, -1.0, np.nan], [np.inf, 0.0, 1.0], [-np.inf] * 3, [1.0, 2.0, 3.0], [5.0, 4.0, -np.inf], [9.0, 9.0, 0.0]]
    )
    problem = Problem(
        logits,
        [0, 0, 1, -100, 1, 2],
        FLOAT32,
        cotangent=[1.0, 1.0, 1.0, 1.0, 0.0, -2.0],
        tangent=np.arange(18.0).reshape(6, 3),
    )
    every = (*ORDERS, Quantity.HVP, Quantity.HESSIAN)
    fast, exact = (evaluate(problem, every, tier) for tier in (Tier.FAST, Tier.EXACT))
    for quantity in every:
        np.testing.assert_array_equal(fast[quantity].values.rounded(FLOAT32)[0], exact[quantity].values.rounded(FLOAT32)[0])
        np.testing.assert_array_equal(fast[quantity].requirement, exact[quantity].requirement)
