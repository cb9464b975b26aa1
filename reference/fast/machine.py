"""What compiled code needs from the processor and Python does not offer: a fused multiply-add and the bits of a float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core.typing.templates import Signature
from numba.extending import intrinsic

BIAS = 1023
"""Added to the exponent of a float64 in its encoding, above 52 bits of fraction."""

EXPONENT = 0x7FF
"""The bits of the exponent, once the fraction is shifted out; the sign is above them."""

FRACTION = (1 << 52) - 1
"""The bits of the fraction."""

_DOUBLE = ir.DoubleType()
_INT64 = ir.IntType(64)


@intrinsic
def _fma(_typing: Any, _a: Any, _b: Any, _c: Any) -> tuple[Signature, Any]:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), generate


@intrinsic
def _bits_of(_typing: Any, _x: Any) -> tuple[Signature, Any]:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], _INT64)

    return types.int64(types.float64), generate


@intrinsic
def _float_of(_typing: Any, _encoding: Any) -> tuple[Signature, Any]:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], _DOUBLE)

    return types.float64(types.int64), generate


fma = cast(Callable[[float, float, float], float], _fma)
"""a b + c, rounded once (IEEE 754-2019, 5.4.1): LLVM's llvm.fma, never contracted from or split into other operations."""

bits_of = cast(Callable[[float], int], _bits_of)
"""The encoding of a float64 as an int64."""

float_of = cast(Callable[[int], float], _float_of)
"""The float64 of an encoding."""
