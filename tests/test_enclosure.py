"""Checks enclosures, their correct rounding and their ulps against integer arithmetic on fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from flint import arb, ctx, fmpq
from hypothesis import given
from hypothesis import strategies as st

from reference.enclosure import TINY_EXPONENT, Enclosure, Entry, enclose, special
from reference.evaluation import evaluate
from reference.formats import BFLOAT16, FLOAT8_E4M3FN, FLOAT16, FLOAT32, FLOAT64, FORMATS, Format
from reference.problem import Problem
from reference.quantity import Quantity

ALL = pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda fmt: fmt.name)
HALF = Fraction(1, 2)


def two(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


def ulp_exponent(fmt: Format, size: Fraction) -> int:
    """Exponent of ulp(size): by the binade of size > 0, not below that of the smallest normal number."""
    binade = size.numerator.bit_length() - size.denominator.bit_length()
    binade -= size < two(binade)
    return max(binade, 1 - fmt.emax) - fmt.precision + 1


def round_fraction(fmt: Format, value: Fraction, side: int = 0) -> float:
    """Round `value` plus an infinitesimal of sign `side` to nearest, ties to even."""
    if value == 0:
        return 0.0
    inward = side * (-1 if value < 0 else 1)
    size = abs(value)
    step = two(ulp_exponent(fmt, size))
    whole, rest = divmod(size / step, 1)
    tie_up = inward > 0 or (inward == 0 and whole % 2 == 1)
    whole += rest > HALF or (rest == HALF and tie_up)
    result = whole * step
    number = math.inf if result >= two(fmt.emax + 1) else float(result)
    return -number if value < 0 else number


def of(value: Fraction, ball: arb | None = None, sign: int = 0, precision: int = 128) -> Enclosure:
    with ctx.workprec(precision):
        entry = enclose(fmpq(value.numerator, value.denominator), arb(0) if ball is None else ball, sign)
    return Enclosure.of([entry], ())


def whisper(sign: int) -> arb:
    """A ball of known sign far below any working precision: sign e^-(10^30)."""
    with ctx.workprec(128):
        return (-(arb(10) ** 30)).exp() * sign


def middle(values: Enclosure) -> Fraction:
    return (Fraction(float(values.hi)) + Fraction(float(values.lo))) * two(int(values.exponent))


def radius(values: Enclosure) -> Fraction:
    return Fraction(float(values.radius)) * two(int(values.exponent))


@st.composite
def rationals(draw: st.DrawFn, fmt: Format) -> Fraction:
    """Rationals around the whole range of a format, on both sides of its limits."""
    numerator = draw(st.integers(1, 2**70))
    denominator = draw(st.integers(1, 2**70))
    exponent = draw(st.integers(fmt.min_subnormal_exponent - 6, fmt.emax + 3))
    scaled = Fraction(numerator, denominator)
    scaled *= two(exponent - numerator.bit_length() + denominator.bit_length())
    return scaled * draw(st.sampled_from([1, -1]))


@st.composite
def grid_points(draw: st.DrawFn, fmt: Format) -> Fraction:
    """Members of a format, midpoints and quarters between them: everything that a rounding turns on."""
    step = draw(st.integers(fmt.min_subnormal_exponent, fmt.emax - fmt.precision + 1))
    low = 0 if step == fmt.min_subnormal_exponent else 2 ** (fmt.precision - 1)
    quarters = draw(
        st.integers(4 * low, 4 * 2**fmt.precision)
        | st.integers(4 * low, 4 * low + 9)
        | st.integers(4 * 2**fmt.precision - 9, 4 * 2**fmt.precision)
    )
    return Fraction(quarters, 4) * two(step) * draw(st.sampled_from([1, -1]))


@ALL
@given(data=st.data())
def test_an_enclosure_contains_its_rational(fmt: Format, data: st.DataObject) -> None:
    value = data.draw(rationals(fmt) | grid_points(fmt))
    values = of(value)
    assert abs(middle(values) - value) <= radius(values) <= abs(value) * two(-100)
    assert (value - middle(values)) * int(values.side) >= 0


@ALL
@given(data=st.data())
def test_rounded_is_the_rounding_of_fractions(fmt: Format, data: st.DataObject) -> None:
    value = data.draw(rationals(fmt) | grid_points(fmt))
    rounded, decided = of(value).rounded(fmt)
    assert bool(decided)
    assert float(rounded) == round_fraction(fmt, value)


@ALL
@given(data=st.data(), side=st.sampled_from([-1, 1]))
def test_the_sign_of_a_tail_breaks_ties(fmt: Format, data: st.DataObject, side: int) -> None:
    value = data.draw(grid_points(fmt).filter(bool))
    values = of(value, whisper(side), side)
    rounded, decided = values.rounded(fmt)
    assert int(values.side) == side
    assert bool(decided)
    assert float(rounded) == round_fraction(fmt, value, side)


@ALL
@given(data=st.data(), side=st.sampled_from([-1, 1]), below=st.integers(54, 400))
def test_tails_within_reach_of_the_precision(fmt: Format, data: st.DataObject, side: int, below: int) -> None:
    """A tail of any size between the format's last bit and far below the working precision."""
    value = data.draw(grid_points(fmt).filter(bool))
    tail = abs(value) * two(-below) * Fraction(3, 4) * side
    with ctx.workprec(128):
        ball = arb(fmpq(tail.numerator, tail.denominator))
    values = of(value, ball, side)
    rounded, decided = values.rounded(fmt)
    assert abs(middle(values) - value - tail) <= radius(values)
    assert (value + tail - middle(values)) * int(values.side) >= 0
    assert bool(decided)
    assert float(rounded) == round_fraction(fmt, value + tail)


def test_a_tail_below_a_midpoint_that_ties_away() -> None:
    """At 128 bits Arb rounds midpoint - tail to just inside the midpoint; no precision decides it then, only the sign."""
    tie = Fraction(2051)
    assert float(of(tie).rounded(FLOAT16)[0]) == 2052.0
    rounded, decided = of(tie, whisper(-1), -1).rounded(FLOAT16)
    assert (float(rounded), bool(decided)) == (2050.0, True)


@ALL
@pytest.mark.parametrize("side", [-1, 0, 1])
def test_the_overflow_boundary(fmt: Format, side: int) -> None:
    boundary = two(fmt.emax + 1) - two(fmt.emax - fmt.precision)
    values = of(boundary, whisper(side) if side else None, side)
    rounded, decided = values.rounded(fmt)
    assert bool(decided)
    assert float(rounded) == (fmt.largest if side < 0 else math.inf)
    assert float(of(-boundary).rounded(fmt)[0]) == -math.inf
    assert float(of(Fraction(fmt.largest)).rounded(fmt)[0]) == fmt.largest
    assert float(of(Fraction(fmt.largest), whisper(1), 1).rounded(fmt)[0]) == fmt.largest
    assert float(of(two(20000)).rounded(fmt)[0]) == math.inf


def test_without_infinity_an_overflow_is_nan() -> None:
    halfway = Fraction(464)
    assert float(of(halfway).rounded(FLOAT8_E4M3FN)[0]) == FLOAT8_E4M3FN.largest
    above, decided = of(halfway, whisper(1), 1).rounded(FLOAT8_E4M3FN)
    assert math.isnan(float(above))
    assert bool(decided)


@ALL
@pytest.mark.parametrize("side", [-1, 0, 1])
def test_half_of_the_smallest_subnormal(fmt: Format, side: int) -> None:
    half = two(fmt.min_subnormal_exponent - 1)
    rounded, decided = of(half, whisper(side) if side else None, side).rounded(fmt)
    assert bool(decided)
    assert float(rounded) == (fmt.min_subnormal if side > 0 else 0.0)


@ALL
@pytest.mark.parametrize("exponent", [-3, 0, 7])
def test_just_below_a_power_of_two(fmt: Format, exponent: int) -> None:
    """The ulp is that of the binade below, and the value may round up to the power or to the number before it."""
    power = two(exponent)
    inside = of(power, whisper(-1), -1)
    assert int(inside.ulp_exponent(fmt)) == exponent - fmt.precision
    assert int(of(power).ulp_exponent(fmt)) == exponent - fmt.precision + 1
    assert int(of(power, whisper(1), 1).ulp_exponent(fmt)) == exponent - fmt.precision + 1
    assert float(inside.rounded(fmt)[0]) == float(power)
    for share in (Fraction(1, 8), Fraction(1, 4), Fraction(3, 8), HALF, Fraction(5, 8)):
        value = power * (1 - share * two(1 - fmt.precision))
        assert float(of(value).rounded(fmt)[0]) == round_fraction(fmt, value)
        assert float(of(-value).rounded(fmt)[0]) == round_fraction(fmt, -value)


def enclosure(hi: float, lo: float, spread: float, exponent: int = 0, side: int = 0) -> Enclosure:
    return Enclosure.of([(hi, lo, spread, exponent, side)], ())


@ALL
def test_a_radius_that_straddles_a_midpoint_is_undecided(fmt: Format) -> None:
    """Either the ball is on one side of the midpoint, or nothing is said."""
    u = fmt.unit_roundoff
    if fmt is FLOAT64:
        hi, offset = 0.5, u / 2
    else:
        hi, offset = 0.5 + u / 2, 0.0
    assert not bool(enclosure(hi, offset, u / 64).rounded(fmt)[1])
    near = u / 100
    assert not bool(enclosure(hi, offset + near, u / 64).rounded(fmt)[1])
    assert not bool(enclosure(hi, offset - near, u / 64).rounded(fmt)[1])
    assert not bool(enclosure(hi, offset - near, u / 64, side=1).rounded(fmt)[1])
    for away, expected in ((u / 32, 0.5 + u), (-u / 32, 0.5)):
        rounded, decided = enclosure(hi, offset + away, u / 64).rounded(fmt)
        assert (float(rounded), bool(decided)) == (expected, True)
        rounded, decided = enclosure(hi, offset + away / 8, u / 64, side=1 if away > 0 else -1).rounded(fmt)
        assert (float(rounded), bool(decided)) == (expected, True)


@ALL
def test_a_wide_radius_is_never_decided(fmt: Format) -> None:
    u = fmt.unit_roundoff
    for side in (-1, 0, 1):
        assert not bool(enclosure(0.75, 0.0, u, side=side).rounded(fmt)[1])


@ALL
@given(data=st.data(), width=st.integers(-70, -1), inside=st.fractions(-1, 1))
def test_what_is_decided_is_right_anywhere_in_the_ball(fmt: Format, data: st.DataObject, width: int, inside: Fraction) -> None:
    point = data.draw(grid_points(fmt).filter(bool))
    values = of(point)
    spread = np.abs(values.hi) * 2.0**width
    ball = Enclosure(values.hi, values.lo, np.asarray(spread), values.exponent, values.side)
    rounded, decided = ball.rounded(fmt)
    if bool(decided):
        truth = point + inside * radius(ball)
        assert float(rounded) == round_fraction(fmt, truth)


@ALL
@given(data=st.data())
def test_ulps_from_is_the_distance_of_fractions(fmt: Format, data: st.DataObject) -> None:
    value = data.draw(rationals(fmt))
    observed = float(fmt.round(data.draw(st.floats(-4, 4)) * float(fmt.ulp(fmt.largest / 8)) + fmt.largest / 8))
    if data.draw(st.booleans()):
        near = round_fraction(fmt, value)
        observed = near if math.isinf(near) else float(fmt.next_up(near))
    step = two(ulp_exponent(fmt, abs(value)))
    position = Fraction(math.copysign(1, observed)) * two(fmt.emax + 1) if math.isinf(observed) else Fraction(observed)
    exact = abs(position - value) / step
    distance, uncertainty = of(value).ulps_from(np.asarray(observed), fmt)
    if float(distance) == np.finfo(np.float64).max:
        assert exact >= Fraction(float(distance)) * (1 - two(-40))
        return
    assert abs(Fraction(float(distance)) - exact) <= Fraction(float(uncertainty))
    assert float(uncertainty) <= 2.0**-40 * max(1.0, float(distance))


@ALL
@given(data=st.data())
def test_ulp_exponent_is_that_of_fractions(fmt: Format, data: st.DataObject) -> None:
    value = data.draw(rationals(fmt) | grid_points(fmt).filter(bool))
    assert int(of(value).ulp_exponent(fmt)) == ulp_exponent(fmt, abs(value))


@ALL
def test_an_infinite_observation_follows_the_largest_number(fmt: Format) -> None:
    distance, _ = of(Fraction(fmt.largest)).ulps_from(np.asarray(np.inf), fmt)
    assert float(distance) == 1.0
    distance, _ = of(-Fraction(fmt.largest)).ulps_from(np.asarray(-np.inf), fmt)
    assert float(distance) == 1.0
    distance, _ = of(-Fraction(fmt.largest)).ulps_from(np.asarray(np.inf), fmt)
    assert float(distance) == 2.0 ** (fmt.precision + 1) - 1
    distance, _ = of(Fraction(1)).ulps_from(np.asarray(np.inf), fmt)
    assert float(distance) == pytest.approx(2.0 ** min(fmt.emax + fmt.precision, 1023.999999), rel=0.01)


def test_ulps_at_zero_are_those_of_the_smallest_subnormal() -> None:
    zero = of(Fraction(0))
    assert float(zero.ulps_from(np.asarray(3 * FLOAT16.min_subnormal), FLOAT16)[0]) == 3.0
    assert float(zero.ulps_from(np.asarray(-0.0), FLOAT16)[0]) == 0.0
    assert (float(zero.rounded(FLOAT16)[0]), bool(zero.rounded(FLOAT16)[1])) == (0.0, True)


@ALL
@pytest.mark.parametrize("sign", [-1, 1])
def test_tiny_entries_keep_only_their_sign(fmt: Format, sign: int) -> None:
    for values in (of(Fraction(0), whisper(sign), sign), of(sign * two(TINY_EXPONENT - 50))):
        assert float(values.hi) == 0.0
        assert radius(values) <= two(TINY_EXPONENT)
        rounded, decided = values.rounded(fmt)
        assert bool(decided)
        assert float(rounded) == 0.0
        assert float(values.approximate()) == 0.0
        assert int(values.ulp_exponent(fmt)) == fmt.min_subnormal_exponent
        distance, uncertainty = values.ulps_from(np.asarray(fmt.min_subnormal), fmt)
        assert abs(float(distance) - 1) <= float(uncertainty) < 1e-12
    known = of(Fraction(0), whisper(sign), sign)
    assert int(known.side) == sign
    assert math.copysign(1.0, float(known.rounded(fmt)[0])) == sign


def test_a_tiny_entry_of_unknown_sign_is_zero_plus_a_radius() -> None:
    with ctx.workprec(128):
        ball = arb(0, arb(2) ** -5000)
    values = of(Fraction(0), ball, 0)
    assert (float(values.hi), int(values.side)) == (0.0, 0)
    assert float(values.radius) > 0


def test_a_sign_is_told_only_where_all_of_an_entry_has_it() -> None:
    entries: dict[Entry, int] = {
        (0.5, 0.0, 0.25, 0, 0): 1,
        (-0.5, 2.0**-54, 0.25, 0, 0): -1,
        (-0.5, 0.0, 0.5, 0, -1): -1,
        (0.5, 0.0, 0.5, 0, -1): 0,
        (0.5, 0.0, 0.5, 0, 0): 0,
        (0.0, 0.0, 1.0, TINY_EXPONENT, 1): 1,
        (0.0, 0.0, 1.0, TINY_EXPONENT, 0): 0,
        special(0.0): 0,
        special(math.nan): 0,
    }
    assert Enclosure.of(list(entries), (len(entries),)).sign.tolist() == list(entries.values())


SPECIALS: list[Entry] = [special(v) for v in (math.inf, -math.inf, math.nan, 0.0)]


def test_infinities_and_nan() -> None:
    values = Enclosure.of(SPECIALS, (4,))
    rounded, decided = values.rounded(FLOAT32)
    np.testing.assert_array_equal(rounded, [np.inf, -np.inf, np.nan, 0.0])
    assert decided.all()
    assert values.is_finite.tolist() == [False, False, False, True]
    distance, uncertainty = values.ulps_from(np.array([np.inf, 1.0, 1.0, np.nan]), FLOAT32)
    assert np.isnan(distance).all()
    assert np.isnan(uncertainty).all()
    np.testing.assert_array_equal(values.approximate(), [np.inf, -np.inf, np.nan, 0.0])


def test_arrays_keep_their_shape_and_order() -> None:
    entries = [enclose(fmpq(i), arb(0), 0) for i in range(6)]
    values = Enclosure.of(entries, (2, 3))
    assert values.shape == (2, 3)
    np.testing.assert_array_equal(values.approximate(), [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(values[1, ::2].approximate(), [3, 5])
    assert values[0, 0].shape == ()
    assert Enclosure.of([], (0, 3)).rounded(FLOAT64)[0].shape == (0, 3)


@pytest.mark.parametrize("side", [1, -1])
def test_a_tail_far_below_a_midpoint_is_decided_though_its_sign_was_not_given(side: int) -> None:
    """2049 is a midpoint of float16; a tail of 2^-440 lies beyond the bits that are kept of the sum."""
    with ctx.workprec(1000):
        entry = enclose(fmpq(0), arb(2049) + side * arb(2) ** -440, 1)
    value, decided = Enclosure.of([entry], ()).rounded(FLOAT16)
    assert decided
    assert value == (2050.0 if side > 0 else 2048.0)


def test_a_ball_around_a_power_of_two_has_no_known_ulp() -> None:
    """Only its side, or a second part beyond its radius, tells in which binade it lies; an exact power of two has its own."""
    around = Enclosure.of(
        [(0.5, 0.0, 2.0**-90, 0, 0), (0.5, -(2.0**-80), 2.0**-90, 0, 0), (0.5, 0.0, 2.0**-90, 0, -1), (-0.5, 0.0, 0.0, 0, 0)],
        (4,),
    )
    assert around.binade_known.tolist() == [False, True, True, True]


def test_a_remainder_that_may_reach_back_over_a_power_of_two_has_no_known_ulp() -> None:
    """1/2 - 2^-80 and up to 2^-70 more may be on either side: the ulp is the larger, and no error is told too large."""
    back = Enclosure.of(
        [(0.5, -(2.0**-80), 2.0**-70, 0, side) for side in (1, -1)] + [(0.5, -(2.0**-70), 2.0**-80, 0, 1)], (3,)
    )
    assert back.binade_known.tolist() == [False, True, True]
    assert back.ulp_exponent(FLOAT16).tolist() == [-11, -12, -12]


def test_a_loss_between_a_power_of_two_and_the_tail_that_a_tie_adds_is_in_the_binade_above() -> None:
    """2^126 - 2^-133 + log 2 is above 2^126: an ulp of bfloat16 is 2^119 there, and was taken to be half of that."""
    problem = Problem(np.array([[2.0**126, 2.0**-133, 2.0**126]]), np.array([1]), BFLOAT16)
    loss = evaluate(problem, (Quantity.LOSS,))[Quantity.LOSS].values
    assert loss.binade_known.all()
    assert loss.ulp_exponent(BFLOAT16).tolist() == [119]


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("given", [0.0, 2.0**-1000, 2.0**-149, 0.1, 1.0, 2.0**-140 * 1.1, 1e300])
def test_a_radius_that_is_kept_in_a_narrower_type_is_rounded_up(given: float) -> None:
    narrow = Enclosure(np.zeros(1), np.zeros(1), np.zeros(1, np.float32), np.zeros(1, np.int16), np.zeros(1, np.int8))
    narrow.overwrite_rows([0], Enclosure.of([(0.5, 0.0, given, 0, 1)], (1,)))
    assert narrow.radius.dtype == np.float32
    kept = float(narrow.radius[0])
    assert kept >= given
    assert given == 0.0 or float(np.nextafter(narrow.radius, np.float32(0.0))[0]) < given, "no wider than need be"
