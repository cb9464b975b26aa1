"""Checks formats and hazard thresholds against numpy, ml_dtypes and an independent rounding of fractions.

Formats of 8 and 16 bits are checked exhaustively: each of their 256 or 65536 encodings.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.formats import (
    BFLOAT16,
    DESCRIBED,
    FLOAT8_E4M3FN,
    FLOAT8_E5M2,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    FORMATS,
    Format,
    format_named,
)
from reference.thresholds import thresholds

ALL = pytest.mark.parametrize("fmt", [*FORMATS.values(), *DESCRIBED.values()], ids=lambda fmt: fmt.name)
EIGHTHS = pytest.mark.parametrize("fmt", [FLOAT8_E4M3FN, FLOAT8_E5M2], ids=lambda fmt: fmt.name)
SHORT = pytest.mark.parametrize("fmt", [FLOAT16, BFLOAT16, FLOAT8_E4M3FN, FLOAT8_E5M2], ids=lambda fmt: fmt.name)


def round_fraction(fmt: Format, value: Fraction) -> float:
    """Round to nearest, ties to even, in integer arithmetic."""
    if value == 0:
        return 0.0
    size = abs(value)
    binade = size.numerator.bit_length() - size.denominator.bit_length()
    binade -= size < Fraction(2) ** binade
    step = Fraction(2) ** (max(binade, fmt.emin) - fmt.precision + 1)
    result = round(size / step) * step
    following = Fraction(fmt.largest) + Fraction(2) ** (fmt.emax - fmt.precision + 1)
    number = (math.inf if fmt.has_infinity else math.nan) if result >= following else float(result)
    return -number if value < 0 else number


def random_doubles(count: int, exponents: tuple[int, int]) -> np.ndarray:
    """Doubles with random bits and exponents, a third of them within a few bits of a shorter number or a midpoint."""
    generator = np.random.default_rng(20240611)
    exponent = generator.integers(*exponents, count)
    bits = generator.integers(0, 2**52, count, dtype=np.int64)
    keep = generator.choice([0, 7, 8, 10, 11, 12, 23, 24, 25, 52], count)
    short = (bits >> (52 - keep)) << (52 - keep)
    nudge = generator.integers(-1, 2, count)
    mantissa = np.where(generator.random(count) < 0.5, bits, np.maximum(short + nudge, 0))
    return np.ldexp(1.0 + mantissa * 2.0**-52, exponent) * generator.choice([-1.0, 1.0], count)


SPECIALS = np.array([0.0, -0.0, np.inf, -np.inf, 5e-324, 2.0**-25, 2.0**-150, 65519.999, 65520.0, 3.4028235677973366e38])


def finfo(fmt: Format) -> ml_dtypes.finfo:
    return ml_dtypes.finfo(fmt.numpy_dtype)


@ALL
def test_limits_are_those_of_finfo(fmt: Format) -> None:
    info = finfo(fmt)
    assert fmt.largest == float(info.max)
    assert fmt.min_normal == float(info.smallest_normal)
    assert fmt.min_subnormal == float(info.smallest_subnormal)
    assert fmt.unit_roundoff == float(info.eps) / 2
    assert fmt.precision == info.nmant + 1
    assert fmt.emin == info.minexp
    assert fmt.bits == info.bits
    assert fmt.numpy_dtype.itemsize * 8 == fmt.bits


@pytest.mark.parametrize("fmt", [FLOAT16, FLOAT32, FLOAT64], ids=lambda fmt: fmt.name)
def test_limits_are_those_of_numpy(fmt: Format) -> None:
    info = np.finfo(fmt.name)
    found = fmt.largest, fmt.min_normal, fmt.min_subnormal, 2 * fmt.unit_roundoff
    assert found == tuple(float(x) for x in (info.max, info.smallest_normal, info.smallest_subnormal, info.eps))


@pytest.mark.parametrize(("fmt", "exponents"), [(FLOAT32, (-155, 130)), (FLOAT16, (-30, 18))], ids=["float32", "float16"])
def test_round_is_numpys_cast(fmt: Format, exponents: tuple[int, int]) -> None:
    values = np.concatenate([random_doubles(200_000, exponents), SPECIALS, [np.nan]])
    with np.errstate(over="ignore", under="ignore"):
        cast = values.astype(fmt.name).astype(np.float64)
    rounded = fmt.round(values)
    np.testing.assert_array_equal(rounded, cast)
    np.testing.assert_array_equal(np.signbit(rounded[:-1]), np.signbit(cast[:-1]))
    assert np.isinf(rounded[:200_000]).any()
    assert (np.abs(rounded) < fmt.min_normal).any()


def test_round_is_the_identity_of_float64() -> None:
    values = np.concatenate([random_doubles(1000, (-1060, 1023)), SPECIALS])
    np.testing.assert_array_equal(FLOAT64.round(values), values)


@pytest.mark.parametrize(
    ("fmt", "exponents"),
    [
        (BFLOAT16, (-140, 129)),
        (FLOAT16, (-30, 18)),
        (FLOAT32, (-155, 130)),
        (FLOAT8_E4M3FN, (-13, 10)),
        (FLOAT8_E5M2, (-20, 17)),
    ],
    ids=["bfloat16", "float16", "float32", "float8_e4m3fn", "float8_e5m2"],
)
def test_round_is_that_of_fractions(fmt: Format, exponents: tuple[int, int]) -> None:
    values = random_doubles(4000, exponents)
    expected = [round_fraction(fmt, Fraction(v)) for v in values.tolist()]
    np.testing.assert_array_equal(fmt.round(values), expected)


@ALL
@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_round_of_any_double(fmt: Format, value: float) -> None:
    np.testing.assert_array_equal(fmt.round(value), round_fraction(fmt, Fraction(value)))


@pytest.mark.parametrize("fmt", [FLOAT16, BFLOAT16, FLOAT32], ids=lambda fmt: fmt.name)
def test_round_at_the_edges(fmt: Format) -> None:
    half_above = fmt.largest + fmt.largest * fmt.unit_roundoff / (2 - 2 * fmt.unit_roundoff)
    assert Fraction(half_above) == Fraction(2) ** (fmt.emax + 1) * (1 - Fraction(1, 2 ** (fmt.precision + 1)))
    assert float(fmt.round(half_above)) == math.inf
    assert float(fmt.round(math.nextafter(half_above, 0))) == fmt.largest
    assert float(fmt.round(-half_above)) == -math.inf
    assert float(fmt.round(fmt.min_subnormal / 2)) == 0.0
    assert float(fmt.round(math.nextafter(fmt.min_subnormal / 2, 1))) == fmt.min_subnormal
    assert float(fmt.round(1.5 * fmt.min_subnormal)) == 2 * fmt.min_subnormal
    assert math.copysign(1.0, float(fmt.round(-fmt.min_subnormal / 4))) == -1.0
    assert math.isnan(float(fmt.round(math.nan)))


def every_encoding(fmt: Format) -> np.ndarray:
    return fmt.from_bits(np.arange(2**fmt.bits))


def finite_members(fmt: Format) -> np.ndarray:
    """All finite values in order, one zero."""
    values = every_encoding(fmt)
    return np.unique(values[np.isfinite(values)] + 0.0)


@SHORT
@pytest.mark.filterwarnings("error")
def test_every_encoding_decodes_by_its_fields(fmt: Format) -> None:
    fraction_bits, sign = fmt.precision - 1, 2 ** (fmt.bits - 1)
    bits = np.arange(2**fmt.bits)
    field, fraction = bits % sign >> fraction_bits, bits % 2**fraction_bits
    significand = np.where(field > 0, 2**fraction_bits + fraction, fraction)
    size = np.ldexp(significand.astype(float), np.maximum(field, 1) - 1 + fmt.emin - fraction_bits)
    top = field == field.max()
    if fmt.has_infinity:
        size = np.where(top, np.where(fraction == 0, np.inf, np.nan), size)
    else:
        size = np.where(top & (fraction == fraction.max()), np.nan, size)
    np.testing.assert_array_equal(every_encoding(fmt), np.where(bits >= sign, -size, size))


@SHORT
def test_every_encoding_makes_the_round_trip(fmt: Format) -> None:
    values = every_encoding(fmt)
    number = ~np.isnan(values)
    np.testing.assert_array_equal(fmt.to_bits(values)[number], np.arange(2**fmt.bits)[number])
    assert np.isnan(fmt.from_bits(fmt.to_bits(values[~number]))).all()
    assert fmt.contains(values).all()
    np.testing.assert_array_equal(fmt.round(values), values)


@SHORT
def test_every_neighbour(fmt: Format) -> None:
    members = finite_members(fmt)
    beyond = np.inf if fmt.has_infinity else np.nan
    np.testing.assert_array_equal(fmt.next_up(members), np.append(members[1:], beyond))
    np.testing.assert_array_equal(fmt.next_down(members), np.insert(members[:-1], 0, -beyond))


@SHORT
def test_every_ulp(fmt: Format) -> None:
    members = finite_members(fmt)
    positive = members[members > 0]
    spacing = np.append(np.diff(positive), positive[-1] - positive[-2])
    np.testing.assert_array_equal(fmt.ulp(positive), spacing)
    np.testing.assert_array_equal(fmt.ulp(-positive), spacing)
    assert fmt.ulp(0.0) == fmt.min_subnormal


@SHORT
def test_every_midpoint_ties_to_even(fmt: Format) -> None:
    members = finite_members(fmt)
    middle = (members[:-1] + members[1:]) / 2
    even = fmt.to_bits(np.where(members == 0, 0.0, members)) % 2 == 0
    np.testing.assert_array_equal(fmt.round(middle), np.where(even[:-1], members[:-1], members[1:]))
    np.testing.assert_array_equal(fmt.round(np.nextafter(middle, -np.inf)), members[:-1])
    np.testing.assert_array_equal(fmt.round(np.nextafter(middle, np.inf)), members[1:])
    assert not fmt.contains(middle).any()


@EIGHTHS
def test_every_midpoint_rounds_as_ml_dtypes_does(fmt: Format) -> None:
    """Those of all neighbours and that beyond the largest, from float32: ml_dtypes rounds float64 twice, first to float32."""
    members = finite_members(fmt)
    following = fmt.largest + float(fmt.ulp(fmt.largest))
    ladder = np.concatenate([[-following], members, [following]])
    middle = np.float32((ladder[:-1] + ladder[1:]) / 2)
    nearby = [np.nextafter(middle, np.float32(-np.inf)), middle, np.nextafter(middle, np.float32(np.inf))]
    values = np.concatenate([*nearby, np.float32([following, -following, 1e30, np.inf, -np.inf, np.nan])])
    cast = values.astype(fmt.numpy_dtype).astype(np.float64)
    np.testing.assert_array_equal(fmt.round(values), cast)
    np.testing.assert_array_equal(np.signbit(fmt.round(values)), np.signbit(cast))
    assert np.isnan(cast).any()
    assert np.isinf(cast).any() == fmt.has_infinity


def test_the_limits_of_the_eighths() -> None:
    """Those of the tables of OFP8, revision 1.0."""
    limits = [(f.largest, f.min_normal, f.min_subnormal, f.emax) for f in (FLOAT8_E4M3FN, FLOAT8_E5M2)]
    assert limits == [(448.0, 2.0**-6, 2.0**-9, 8), (57344.0, 2.0**-14, 2.0**-16, 15)]
    assert not set(DESCRIBED) & set(FORMATS)


def test_a_format_without_infinity_overflows_to_nan() -> None:
    assert float(FLOAT8_E4M3FN.round(464.0)) == 448.0
    assert np.isnan(FLOAT8_E4M3FN.round([math.nextafter(464.0, 480.0), 480.0, -1e300, np.inf, -np.inf])).all()
    assert FLOAT8_E4M3FN.contains([448.0, np.inf, -np.inf, np.nan]).tolist() == [True, False, False, True]
    assert FLOAT8_E4M3FN.to_bits([448.0, np.nan]).tolist() == [0x7E, 0x7F]
    assert FLOAT8_E5M2.round([math.nextafter(61440.0, 0.0), 61440.0]).tolist() == [57344.0, np.inf]
    with pytest.raises(ValueError, match=r"inf \(inf\) is not a float8_e4m3fn number"):
        FLOAT8_E4M3FN.cast(np.inf)


@pytest.mark.parametrize("fmt", [FLOAT32, FLOAT64], ids=lambda fmt: fmt.name)
def test_neighbours_of_wide_formats(fmt: Format) -> None:
    values = fmt.round(random_doubles(20_000, (-150, 127)))
    edges = [0.0, fmt.min_subnormal, fmt.min_normal, 1.0, fmt.largest]
    values = np.concatenate([values, edges, np.negative(edges)])
    values = values[np.isfinite(values)]
    narrow = fmt.cast(values)
    with np.errstate(over="ignore", under="ignore"):
        np.testing.assert_array_equal(fmt.next_up(values), np.nextafter(narrow, narrow.dtype.type(np.inf)).astype(float))
        np.testing.assert_array_equal(fmt.next_down(values), np.nextafter(narrow, narrow.dtype.type(-np.inf)).astype(float))


@ALL
def test_cast_refuses_what_is_not_a_member(fmt: Format) -> None:
    if fmt is FLOAT64:
        assert fmt.cast(0.1).dtype == np.float64
        return
    with pytest.raises(ValueError, match=rf"0\.1 \(0x1\.999999999999ap-4\) is not a {fmt.name} number"):
        fmt.cast([1.0, 0.1])


def test_format_named() -> None:
    assert [format_named(name, FORMATS).name for name in FORMATS] == ["float64", "float32", "float16", "bfloat16"]
    assert format_named("float8_e5m2") == FLOAT8_E5M2
    for name in ("float8", "float8_e5m2"):
        with pytest.raises(
            ValueError, match=f"format '{name}' is not known; allowed: float64, float32, float16, bfloat16($|;)"
        ):
            format_named(name, FORMATS)


# ---------------------------------------------------------------------------------------------------------------------
# Thresholds: at each of them something changes.


def power(gap: float) -> Fraction:
    """e^-gap of the exact binary gap, to 60 digits."""
    with localcontext(prec=60):
        return Fraction((-Decimal(gap)).exp())


def either_side(gap: float) -> tuple[float, float]:
    """The two doubles around a real number of which `gap` is the nearest double."""
    return math.nextafter(gap, 0), math.nextafter(gap, math.inf)


@ALL
def test_absorption_begins_at_its_gap(fmt: Format) -> None:
    before, after = either_side(thresholds(fmt).absorption_gap)
    assert round_fraction(fmt, 1 + power(before)) == 1 + 2 * fmt.unit_roundoff
    assert round_fraction(fmt, 1 + power(after)) == 1.0


@ALL
def test_underflow_begins_at_its_gaps(fmt: Format) -> None:
    limits = thresholds(fmt)
    before, after = map(power, either_side(limits.underflow_gap))
    assert after < Fraction(fmt.min_normal) < before
    before, after = map(power, either_side(limits.subnormal_gap))
    assert after < Fraction(fmt.min_subnormal) < before
    before, after = map(power, either_side(limits.vanishing_gap))
    assert round_fraction(fmt, before) == fmt.min_subnormal
    assert round_fraction(fmt, after) == 0.0


@ALL
def test_overflow_begins_above_its_logit(fmt: Format) -> None:
    before, after = either_side(thresholds(fmt).overflow_logit)
    assert power(-before) < Fraction(fmt.largest) < power(-after)


def add_ones(dtype: type, count: int) -> float:
    total, one = np.zeros((), dtype), np.ones((), dtype)
    for _ in range(count):
        total = total + one
    return float(total)


@pytest.mark.parametrize(("fmt", "dtype"), [(FLOAT16, np.float16), (BFLOAT16, ml_dtypes.bfloat16)], ids=["float16", "bfloat16"])
def test_a_running_sum_of_ones_stagnates(fmt: Format, dtype: type) -> None:
    count = thresholds(fmt).stagnation_count
    assert add_ones(dtype, count) == count
    assert add_ones(dtype, count + 10) == count
    assert add_ones(dtype, count - 1) == count - 1


@pytest.mark.parametrize("fmt", [FLOAT32, FLOAT64], ids=lambda fmt: fmt.name)
def test_ones_stagnate_in_wide_formats(fmt: Format) -> None:
    count = fmt.numpy_dtype.type(thresholds(fmt).stagnation_count)
    assert count + fmt.numpy_dtype.type(1) == count
    assert (count - fmt.numpy_dtype.type(1)) + fmt.numpy_dtype.type(1) == count


def test_a_sum_of_ones_overflows_float16() -> None:
    count = thresholds(FLOAT16).overflow_count
    assert count is not None
    with np.errstate(over="ignore"):
        assert np.ones(count, np.float16).sum(dtype=np.float32).astype(np.float16) == np.inf
        assert np.ones(count - 1, np.float16).sum(dtype=np.float32).astype(np.float16) == FLOAT16.largest
        assert np.ones(2**16, np.float16).sum() == np.inf


@SHORT
def test_an_overflow_count_is_the_first_that_rounds_beyond_the_largest(fmt: Format) -> None:
    count = thresholds(fmt).overflow_count
    if fmt is BFLOAT16:
        assert count is None
        return
    assert count is not None
    assert not np.isfinite(fmt.round(float(count)))
    assert float(fmt.round(float(count - 1))) == fmt.largest


def test_no_count_of_ones_overflows_the_other_formats() -> None:
    assert [thresholds(fmt).overflow_count for fmt in (BFLOAT16, FLOAT32, FLOAT64)] == [None] * 3
    assert ml_dtypes.finfo(ml_dtypes.bfloat16).max > 2**40
