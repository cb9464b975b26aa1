"""The floating-point state of a thread: whether subnormal numbers are flushed to zero, and which way results are rounded.

A library that is linked with -ffast-math, or a call such as torch.set_flush_denormal(True), changes the state of the thread
that loads or calls it. Every number after that is another one: 2^-149 in float32 is 0, and a sum is rounded upward. So what
this project computes is computed in the default state of IEEE 754 (round to nearest, subnormal numbers kept), and what was
there before is put back. The state is that of C's <fenv.h>; x86-64 has it in MXCSR, AArch64 in FPCR.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_LEAST, _LEAST_NORMAL, _HALF, _LARGE, _SMALL = 2.0**-1074, 2.0**-1022, 0.5, 2.0**100, 2.0**-60
"""Powers of two for the probe: variables, so that nothing of it is computed before it runs."""

_BYTES = 256
"""Room for an fenv_t: 32 bytes on x86-64 Linux, 16 on AArch64 and on macOS."""


class StateError(RuntimeError):
    """The state is not the default one and cannot be set."""


def is_default() -> bool:
    """True if this thread computes in the default state, seen by arithmetic."""
    keeps = _LEAST * _LARGE != 0.0 and _LEAST_NORMAL * _HALF * _LARGE != 0.0
    return keeps and 1.0 + _SMALL == 1.0 and 1.0 - _SMALL == 1.0 and -1.0 - _SMALL == -1.0


def changes() -> tuple[str, ...]:
    """What differs from the default state in this thread, seen by arithmetic; empty in the default state.

    >>> changes()
    ()
    """
    up, down = 1.0 + _SMALL > 1.0, -1.0 - _SMALL < -1.0
    towards_zero = not up and not down and 1.0 - _SMALL < 1.0
    seen = {
        "denormals are zero": _LEAST * _LARGE == 0.0,
        # By its bits: where denormals are zero a comparison takes any of them for 0.
        "flush to zero": struct.pack("d", _LEAST_NORMAL * _HALF) == bytes(8),
        "rounding upward": up,
        "rounding downward": down,
        "rounding toward zero": towards_zero,
    }
    return tuple(name for name, is_seen in seen.items() if is_seen)


def state() -> bytes:
    """The state of this thread, for `set_state`; empty where the system does not say."""
    if _FENV is None:
        return b""
    buffer = ctypes.create_string_buffer(_BYTES)
    _FENV.fegetenv(buffer)
    return buffer.raw


def set_state(saved: bytes) -> None:
    """Give this thread a state that `state` returned; nothing where the system did not say."""
    if _FENV is not None and saved:
        _FENV.fesetenv(ctypes.create_string_buffer(saved, _BYTES))


def set_default_state() -> None:
    """Give this thread the default state.

    Raises:
      StateError: it still differs, or this system cannot set it.
    """
    if _FENV is not None:
        _FENV.fesetenv(_DEFAULT)
    if differs := changes():
        raise StateError(
            f"this thread computes with {', '.join(differs)}, which cannot be changed on {sys.platform}; allowed: rounding to "
            "nearest, with subnormal numbers; find what sets it, such as a library built with -ffast-math"
        )


@contextmanager
def default_state() -> Iterator[None]:
    """The default state within a block; what was there before is put back, if it was another.

    Raises:
      StateError: see `set_default_state`.
    """
    if is_default():
        yield
        return
    before = state()
    set_default_state()
    try:
        yield
    finally:
        set_state(before)


def in_default_state(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: a function that computes in the default state, whatever that of its caller is."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if is_default():
            return function(*args, **kwargs)
        with default_state():
            return function(*args, **kwargs)

    return run


def _fenv() -> tuple[Any, Any]:
    """The C library's <fenv.h>, and its FE_DFL_ENV; None where there is none."""
    try:
        library = ctypes.CDLL(None)
        library.fesetenv.argtypes = (ctypes.c_void_p,)
        if sys.platform == "darwin":
            return library, ctypes.addressof(ctypes.c_char.in_dll(library, "_FE_DFL_ENV"))
        return library, ctypes.c_void_p(-1)  # ((const fenv_t *) -1) in glibc and musl
    except (OSError, AttributeError, TypeError, ValueError):
        return None, None


_FENV, _DEFAULT = _fenv()
