"""Amounts of error: exact fractions, how they add up, and how they are told."""

from __future__ import annotations

import math
from fractions import Fraction

UNIT = Fraction(1, 2**53)
"""u, the unit roundoff of float64."""


def as_text(value: Fraction) -> str:
    """A dyadic fraction as Gappa writes it."""
    exponent = value.denominator.bit_length() - 1
    if value.denominator != 1 << exponent:
        raise ValueError(f"{value} is not a dyadic fraction")
    return f"{value.numerator}b-{exponent}"


def chained(*errors: Fraction) -> Fraction:
    """The relative error of a product of factors with these, or of one approximation of another."""
    product = Fraction(1)
    for error in errors:
        product *= 1 + error
    return rounded_up(product - 1)


def rounded_up(value: Fraction, bits: int = 200) -> Fraction:
    """A dyadic fraction that is no less, of at most `bits` binary places."""
    return Fraction(-((-value.numerator << bits) // value.denominator), 1 << bits)


def exponential(error: Fraction) -> Fraction:
    """How far off exp is, relatively, where its argument is off by `error` <= 1: e^d - 1 <= d + d^2."""
    return rounded_up(error + error**2)


def decimal(value: Fraction) -> str:
    """That to four places, rounded up; what is a little above a whole number, as that and the rest."""
    whole = round(value)
    if abs(value - whole) * 10**6 < value:
        return str(whole) if value <= whole else f"{whole} (1 + {power(value / whole - 1)})"
    return f"{math.ceil(value * 10**4) / 10**4:.4f}"


def power(value: Fraction) -> str:
    """As a power of two, rounded up in its second place; 0 as it is."""
    if value == 0:
        return "0"
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    rest = math.log2(value / Fraction(2) ** exponent)
    found = math.ceil((exponent + rest) * 100 - 1e-9) / 100
    return f"2^{found:g}"
