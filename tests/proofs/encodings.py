"""The few steps that work on the encoding of a float64: checked case by case, for there are not many."""

from __future__ import annotations

import ast
import struct
from typing import Any

from reference.fast import elementary, wide
from tests.proofs.tools import UnprovedError
from tests.proofs.translate import assigned


def bits_of(value: float) -> int:
    """The encoding of a float64, as the compiled function of this name gives it."""
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def float_of(encoding: int) -> float:
    """The float64 of an encoding, as the compiled function of this name gives it."""
    return float(struct.unpack("<d", struct.pack("<q", encoding))[0])


def _value(function: Any, name: str, **names: float) -> Any:
    """What the code assigns to the name, computed in Python."""
    tree = ast.Expression(assigned(function, name))
    known = function.py_func.__globals__ | {"bits_of": bits_of, "float_of": float_of} | names
    return eval(compile(tree, "<code of the compiled tier>", "eval"), known)


def check_exp_minus(largest: int) -> None:
    """That `power` is 2^-k for every k from 0 to the largest, where `shifted` is k + ROUNDER."""
    for k in range(largest + 1):
        if _value(elementary.exp_minus, "power", shifted=elementary.ROUNDER + k) != 2.0**-k:
            raise UnprovedError(f"power is not 2^-{k} in exp_minus where k is {k}")


def check_reduce(largest: int) -> None:
    """That `bits_of(shifted) - ROUNDER_BITS` is k for every |k| up to the largest, where `shifted` is k + ROUNDER."""
    for k in range(-largest, largest + 1):
        if bits_of(elementary.ROUNDER + k) - elementary.ROUNDER_BITS != k:
            raise UnprovedError(f"the encoding of {k} + ROUNDER is not that of ROUNDER and {k}")


def check_log1p_wide(largest: int) -> None:
    """That `power` is 2^k for every k from 1 to the largest."""
    for k in range(1, largest + 1):
        if _value(wide.log1p_wide, "power", k=k) != 2.0**k:
            raise UnprovedError(f"power is not 2^{k} in log1p_wide where k is {k}")


def range_of_f() -> tuple[float, float]:
    """Where 1 + f lies in log1p_unit: k is (encoding - s) >> 52, so that encoding - (k << 52) is in [s, s + 2^52)."""
    start: int = elementary._SQRT_HALF_BITS
    if ast.unparse(assigned(elementary.log1p_unit, "k")) != "encoding - _SQRT_HALF_BITS >> 52":
        raise UnprovedError("log1p_unit does not take k as (encoding - _SQRT_HALF_BITS) >> 52")
    if ast.unparse(assigned(elementary.log1p_unit, "f")) != "float_of(encoding - (k << 52)) - 1.0":
        raise UnprovedError("log1p_unit does not take f as float_of(encoding - (k << 52)) - 1.0")
    return float_of(start), float_of(start + (1 << 52) - 1)
