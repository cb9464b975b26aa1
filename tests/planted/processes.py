"""Right numpy kernels that do something to their process, or to their inputs, where the first row's gap is above 30."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Kernel = Callable[[Array, Array], tuple[Array, Array]]

KEPT: list[Array] = []


def right(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Losses and gradients, computed in float64."""
    rows = np.arange(len(labels))
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True, initial=-np.inf)
    powers = np.exp(shifted)
    sums = powers.sum(axis=1)
    gradient = powers / sums[:, None]
    gradient[rows, labels] -= 1
    return (np.log(sums) - shifted[rows, labels]).astype(logits.dtype), gradient.astype(logits.dtype)


def is_offending(logits: Array) -> bool:
    """True if the gap of the first row is above 30 and finite."""
    wide = logits[:1].astype(np.float64)
    return bool((np.ptp(wide, axis=1) > 30).any() and np.isfinite(wide).all())


def planted(act: Callable[[Array], object]) -> Kernel:
    """The right kernel, after the act where the input is offending."""

    def kernel(logits: Array, labels: Array) -> tuple[Array, Array]:
        result = right(logits, labels)
        if is_offending(logits):
            act(logits)
        return result

    kernel.__name__ = act.__name__
    return kernel


@planted
def raises(_: Array) -> NoReturn:
    raise RuntimeError("an offending input")


@planted
def segfaults(_: Array) -> None:
    ctypes.string_at(0)


@planted
def hangs(_: Array) -> None:
    while True:
        pass


@planted
def exits(_: Array) -> None:
    os._exit(0)


@planted
def calls_sys_exit(_: Array) -> None:
    sys.exit(3)


@planted
def writes_its_input(logits: Array) -> None:
    logits[0, 0] = 7


@planted
def allocates(_: Array) -> None:
    while True:
        KEPT.append(np.ones(2**22))


@planted
def closes_the_connection(_: Array) -> None:
    os.closerange(3, 64)
    while True:
        pass


@planted
def writes_into_the_connection(_: Array) -> None:
    for fd in range(3, 64):
        with suppress(OSError):
            os.write(fd, b"\0\0\0\1.")


def leaks(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Keeps 16 MiB of every call."""
    KEPT.append(np.ones(2**21))
    return right(logits, labels)


def hangs_always(logits: Array, labels: Array) -> tuple[Array, Array]:
    while True:
        pass
