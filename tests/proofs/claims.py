"""The error bounds that are proved here, read from where the code has them."""

from __future__ import annotations

import re
from fractions import Fraction

from reference.fast import double_double, elementary, sums, wide, wide_sums
from tests.proofs.amounts import UNIT
from tests.proofs.proof import Claim

OPERATIONS = ("add", "add_float", "multiply", "times", "invert")

THIRD_ORDER = Fraction(1, 2**48)
"""Relative room for the terms of order u^3 of a bound that is a theorem of others, which has none."""


def _operation(name: str) -> Claim:
    """The line of the table at the head of double_double.py."""
    found = re.search(rf"^    {name} .*?(\d) u\^2", double_double.__doc__ or "", re.MULTILINE)
    if found is None:
        raise ValueError(f"double_double.py has no line for {name!r} in the table at its head")
    return Claim(name, int(found[1]) * UNIT**2, UNIT**2, "the head of `double_double.py`", THIRD_ORDER)


def claims() -> dict[str, Claim]:
    """By function."""
    one = Fraction(1)
    found = [
        Claim("exp_minus", Fraction(elementary.EXP_ERROR), UNIT, "`EXP_ERROR` of `elementary.py`"),
        Claim("log1p_unit", Fraction(elementary.LOG1P_ERROR), UNIT, "`LOG1P_ERROR` of `elementary.py`"),
        *(_operation(name) for name in OPERATIONS),
        Claim("exp_scaled", Fraction(wide.EXP_ERROR), one, "`EXP_ERROR` of `wide.py`"),
        Claim("log1p_wide", Fraction(wide.LOG1P_ERROR), one, "`LOG1P_ERROR` of `wide.py`"),
        Claim("sum_of", Fraction(sums.R_ROUNDINGS) * UNIT, UNIT, "`R_ROUNDINGS` of `sums.py`"),
        Claim("total_of", Fraction(wide_sums.VALUE_ERROR), one, "`VALUE_ERROR` of `wide_sums.py`"),
    ]
    return {claim.function: claim for claim in found}


def operation_bounds() -> dict[str, Fraction]:
    """What a chain of double-double operations takes for the error of each: with the terms of order u^3."""
    found = claims()
    return {name: found[name].value * (1 + THIRD_ORDER) for name in OPERATIONS}
