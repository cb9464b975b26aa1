"""Binary floating-point formats: their limits, their ulp, their neighbours and correct rounding into them.

Values of every format are carried as float64 arrays: all of them are subsets of float64, so the carrier is exact and
numpy arithmetic on it needs no special dtype. The limits of a format with the encodings of IEEE 754 follow from its
precision p and its largest exponent emax (IEEE 754-2019, section 3.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reference.floating_state import in_default_state
from reference.names import named

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Format:
    """A binary format: its precision, its range and how it is stored.

    Arguments:
      name: what users call it.
      precision: number p of significand bits, the hidden one included.
      emin: exponent of the smallest normal number.
      largest: the largest finite number.
      bits: width of an encoding.
      dtype: the numpy dtype that stores it, as `module.name`; the module is imported when it is first needed.
      has_infinity: True if a number that rounds beyond `largest` becomes an infinity, False if there is none: it is NaN then.

    >>> FLOAT32.unit_roundoff == 2.0**-24, FLOAT16.largest, BFLOAT16.min_subnormal == 2.0**-133
    (True, 65504.0, True)
    """

    name: str
    precision: int
    emin: int
    largest: float
    bits: int
    dtype: str
    has_infinity: bool = True

    @property
    def emax(self) -> int:
        """Exponent of the largest finite number."""
        _, exponent = np.frexp(self.largest)
        return int(exponent) - 1

    @property
    def overflow(self) -> float:
        """What a positive number becomes that rounds beyond `largest`: +inf, or NaN where there is no infinity."""
        return np.inf if self.has_infinity else np.nan

    @property
    @in_default_state
    def unit_roundoff(self) -> float:
        """u = 2^-p: the largest relative error of rounding to nearest, half the spacing just above 1."""
        return 2.0**-self.precision

    @property
    @in_default_state
    def min_normal(self) -> float:
        """Smallest positive normal number, 2^emin."""
        return float(np.ldexp(1.0, self.emin))

    @property
    def min_subnormal_exponent(self) -> int:
        """Exponent of the smallest positive subnormal number: the floor of every ulp exponent."""
        return self.emin - self.precision + 1

    @property
    @in_default_state
    def min_subnormal(self) -> float:
        """Smallest positive number, 2^(emin - p + 1)."""
        return float(np.ldexp(1.0, self.min_subnormal_exponent))

    @in_default_state
    def round(self, values: ArrayLike) -> Floats:
        """Round float64 values to nearest, ties to even, once, with gradual underflow and overflow to `overflow`.

        An infinity overflows as well: it is NaN in a format that has none.

        >>> FLOAT16.round([65519.0, 65520.0, 2.0**-25, 1.0 + 2.0**-11])
        array([6.5504e+04,        inf, 0.0000e+00, 1.0000e+00])
        """
        x = np.asarray(values, dtype=np.float64)
        if self.precision == 53:
            return x.copy()
        step = self.ulp_exponent(x)
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = np.ldexp(np.rint(np.ldexp(x, -step)), step)
        return np.where(np.abs(rounded) > self.largest, np.copysign(self.overflow, rounded), rounded)

    @in_default_state
    def ulp_exponent(self, values: ArrayLike) -> Integers:
        """Exponent of ulp(x) = 2^(max(floor(log2 |x|), emin) - p + 1), Goldberg's ulp with the subnormal floor.

        Zero, infinities and NaN get the floor: they have no binade of their own.
        """
        x = np.asarray(values, dtype=np.float64)
        regular = np.isfinite(x) & (x != 0)
        _, exponent = np.frexp(np.where(regular, x, 1.0))
        binade = np.where(regular, exponent.astype(np.int64) - 1, self.emin)
        return np.maximum(binade, self.emin) - self.precision + 1

    @in_default_state
    def ulp(self, values: ArrayLike) -> Floats:
        """The unit in the last place, 2 to the `ulp_exponent`.

        >>> FLOAT32.ulp([1.0, 0.0]) / [2.0**-23, 2.0**-149]
        array([1., 1.])
        """
        return np.ldexp(1.0, self.ulp_exponent(values))

    @in_default_state
    def contains(self, values: ArrayLike) -> Bools:
        """True where a value is a member of the format; NaN is one, and so are infinities where there are any."""
        x = np.asarray(values, dtype=np.float64)
        return np.isnan(x) | (self.round(x) == x)

    @in_default_state
    def next_up(self, values: ArrayLike) -> Floats:
        """Smallest member greater than each finite member; `largest` goes to `overflow`.

        >>> FLOAT16.next_up([1.0, 65504.0, 0.0]) - [1.0, 0.0, 0.0]
        array([9.76562500e-04,            inf, 5.96046448e-08])
        """
        x = np.asarray(values, dtype=np.float64)
        spacing = self.ulp(x)
        # Going towards zero from a power of two enters the binade below, where the spacing is half as wide.
        mantissa, _ = np.frexp(x)
        inward = (mantissa == -0.5) & (np.abs(x) > self.min_normal)
        with np.errstate(over="ignore"):
            return self.round(x + np.where(inward, spacing / 2, spacing))

    def next_down(self, values: ArrayLike) -> Floats:
        """Largest member less than each finite member; the mirror image of `next_up`."""
        return -self.next_up(-np.asarray(values, dtype=np.float64))

    def to_bits(self, values: ArrayLike) -> NDArray[np.uint64]:
        """Encodings of members as unsigned integers.

        >>> [hex(b) for b in FLOAT32.to_bits([1.0, -0.0]).tolist()]
        ['0x3f800000', '0x80000000']
        """
        return self.cast(values).view(f"uint{self.bits}").astype(np.uint64)

    @in_default_state
    def from_bits(self, encodings: ArrayLike) -> Floats:
        """Members with the given encodings, every NaN payload included.

        >>> FLOAT64.from_bits([2**63, 1]).tolist()
        [-0.0, 5e-324]
        """
        raw = np.asarray(encodings, dtype=np.uint64).astype(f"uint{self.bits}")
        # ml_dtypes raises the invalid flag for the signalling NaN of bfloat16.
        with np.errstate(invalid="ignore"):
            return raw.view(self.numpy_dtype).astype(np.float64)

    @property
    def numpy_dtype(self) -> np.dtype:
        """The numpy dtype that stores this format."""
        module, _, name = self.dtype.partition(".")
        return np.dtype(getattr(import_module(module), name))

    @in_default_state
    def cast(self, values: ArrayLike) -> NDArray[Any]:
        """Members as an array of `numpy_dtype`; the cast is exact, since only members are accepted.

        Raises:
          ValueError: a value is not a member.
        """
        x = np.asarray(values, dtype=np.float64)
        inside = self.contains(x)
        if not inside.all():
            first = float(x[~inside].flat[0])
            raise ValueError(f"{first!r} ({first.hex()}) is not a {self.name} number; round it first")
        return x.astype(self.numpy_dtype)


def _ieee(name: str, precision: int, emax: int, dtype: str) -> Format:
    """The format with the encodings of IEEE 754-2019, section 3.4, where emin = 1 - emax (section 3.3).

    A sign, the exponent with a field for subnormals and one for infinities and NaN, and p - 1 bits of the significand.
    """
    largest = float(np.ldexp(2.0 - 2.0 ** (1 - precision), emax))
    bits = precision + (2 * emax + 1).bit_length()
    return Format(name, precision, emin=1 - emax, largest=largest, bits=bits, dtype=dtype)


# IEEE 754-2019, table 3.5: binary16, binary32, binary64. bfloat16 is binary32 without its last 16 bits.
FLOAT16 = _ieee("float16", precision=11, emax=15, dtype="numpy.float16")
BFLOAT16 = _ieee("bfloat16", precision=8, emax=127, dtype="ml_dtypes.bfloat16")
FLOAT32 = _ieee("float32", precision=24, emax=127, dtype="numpy.float32")
FLOAT64 = _ieee("float64", precision=53, emax=1023, dtype="numpy.float64")

FLOAT8_E5M2 = _ieee("float8_e5m2", precision=3, emax=15, dtype="ml_dtypes.float8_e5m2")
"""E5M2 of the OCP 8-bit floating point specification (OFP8), revision 1.0, 2023: its encodings are those of IEEE 754."""

FLOAT8_E4M3FN = Format("float8_e4m3fn", 4, emin=-6, largest=448.0, bits=8, dtype="ml_dtypes.float8_e4m3fn", has_infinity=False)
"""E4M3 of OFP8, revision 1.0, 2023: it has no infinity, and NaN is the encodings 0x7f and 0xff alone.

The largest exponent field holds numbers, but for its last significand, which is NaN: 448 = 1.75 2^8 is the largest number.
The specification lets a conversion saturate or not. Here it does not, as in ml_dtypes: what rounds beyond 448 is NaN.
464 is halfway to the 480 that would follow; such a tie goes to 448, whose significand is even.
"""

FORMATS: dict[str, Format] = {f.name: f for f in (FLOAT64, FLOAT32, FLOAT16, BFLOAT16)}
"""The formats that the suites run, by name."""

DESCRIBED: dict[str, Format] = {f.name: f for f in (FLOAT8_E4M3FN, FLOAT8_E5M2)}
"""Formats that are known here and that no backend claims yet, by name."""


def format_named(given: Format | str, known: Mapping[str, Format] = FORMATS | DESCRIBED) -> Format:
    """A format, or the one of that name among those that are known; the suites know `FORMATS` alone.

    Raises:
      ValueError: there is none; the message lists those there are.

    >>> format_named("float32") is format_named(FLOAT32)
    True
    """
    return named(Format, given, known)
