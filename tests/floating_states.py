"""Floating-point states for tests: the default one, and each of those that a library or a call may have left."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from reference.floating_state import changes, set_state, state

_ROUNDING = {
    "x86_64": (13, {"downward": 1, "upward": 2, "toward zero": 3}),
    "aarch64": (22, {"upward": 1, "downward": 2, "toward zero": 3}),
}
"""By machine: the lowest bit of the rounding mode in the control word, and the values of the modes."""
_FLUSHES = {"x86_64": {"flush to zero": 1 << 15, "denormals are zero": 1 << 6}, "aarch64": {"flush to zero": 1 << 24}}
_WORD = {"x86_64": 28, "aarch64": 0}
"""Where the control word is in an fenv_t of Linux: MXCSR, FPCR."""

MACHINE = platform.machine()


def _bits() -> dict[str, int]:
    if MACHINE not in _WORD or platform.system() != "Linux":
        return {}
    low, modes = _ROUNDING[MACHINE]
    return _FLUSHES[MACHINE] | {f"rounding {name}": value << low for name, value in modes.items()}


BENT = _bits()
"""Bits of the control word by what they change."""


def bent_states() -> pytest.MarkDecorator:
    """Parameters: every state that is not the default one."""
    return pytest.mark.parametrize(
        "bent", BENT or [pytest.param("", marks=pytest.mark.skip(reason=f"no states for {MACHINE}"))]
    )


@contextmanager
def computing_with(bent: str) -> Iterator[None]:
    """Put this thread into one of the states `BENT` within a block."""
    before = state()
    try:
        leave(bent)
        yield
    finally:
        set_state(before)


def leave(bent: str) -> None:
    """Put this thread into a state and leave it there, as a library that is built with -ffast-math does."""
    before, word = state(), _WORD[MACHINE]
    changed = int.from_bytes(before[word : word + 4], "little") | BENT[bent]
    set_state(before[:word] + changed.to_bytes(4, "little") + before[word + 4 :])
    assert bent in changes(), "the state is another"
