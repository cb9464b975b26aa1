"""Right numpy kernels that do something to their process, or to their inputs, where the first row's gap is above 30."""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
import warnings
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
def calls_xfail(_: Array) -> None:
    import pytest  # here: no other kernel needs it in its process

    pytest.xfail("it is known")


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


def write(data: bytes) -> None:
    """Into the connection, wherever it is."""
    for fd in range(3, 64):
        with suppress(OSError):
            os.write(fd, data)


def head(number: int, text: int, arrays: int = 0) -> bytes:
    """That of an answer; see `adapters.line`. The first call of a process is number 2."""
    return struct.pack("!QQQ", number, text, arrays)


@planted
def writes_into_the_connection(_: Array) -> None:
    write(b"\0\0\0\1.")


@planted
def writes_a_part(_: Array) -> None:
    write(b"\0\0")
    while True:
        pass


@planted
def drips(_: Array) -> None:
    while True:
        write(b"\0")
        time.sleep(0.1)


@planted
def floods(_: Array) -> None:
    """With what the losses of a hundred million rows would take."""
    write(head(2, 0, 2**30))
    while True:
        write(bytes(2**20))


@planted
def stops(_: Array) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@planted
def stops_afterwards(_: Array) -> None:
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGSTOP)).start()


@planted
def answers_another_call(_: Array) -> None:
    write(head(1, 4) + b"null")


@planted
def answers_too_much(_: Array) -> None:
    write(head(2, 2**62))


@planted
def answers_in_another_language(_: Array) -> None:
    write(head(2, 4) + b"\x80\x04N.")


def said(**changes: Any) -> bytes:
    """What a worker says of a call that returned nothing, with changes."""
    nothing: dict[str, Any] = {"values": {}, "violations": [], "dtypes": {}, "changed": [], "error": None, "seconds": None}
    return json.dumps(nothing | {"ended": False, "malformed": False} | changes).encode()


@planted
def answers_with_nothing(_: Array) -> None:
    write(head(2, len(said())) + said())


@planted
def answers_and_writes_on(_: Array) -> None:
    """All at once: the rest is there when the answer is read."""
    raised = said(error="raised")
    write(head(2, len(raised)) + raised + b"more")


class Bomb:
    """Where its pickle is loaded, a folder is made."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (os.environ["PLANTED_MARK"],)


@planted
def answers_with_a_pickle(_: Array) -> None:
    bomb = pickle.dumps(Bomb())
    write(struct.pack("!i", len(bomb)) + bomb)


@planted
def answers_with_a_framed_pickle(_: Array) -> None:
    bomb = pickle.dumps(Bomb())
    write(head(2, len(bomb)) + bomb)


@planted
def forks(_: Array) -> None:
    """Both go on, and the child answers later."""
    if os.fork() == 0:
        time.sleep(0.2)


@planted
def leaves_a_session(_: Array) -> None:
    """A process in a session of its own, whose parent has ended, and then a crash."""
    orphan = "import os, time; open(os.environ['PLANTED_MARK'], 'w').write(str(os.getpid())); time.sleep(100)"
    command = f'setsid {sys.executable} -c "{orphan}" &'
    subprocess.run(command, shell=True, check=True)
    while not (os.path.exists(os.environ["PLANTED_MARK"]) and os.path.getsize(os.environ["PLANTED_MARK"])):
        time.sleep(0.01)
    ctypes.string_at(0)


@planted
def signals_its_group(_: Array) -> None:
    """A process in a session of its own, and then a signal to its own group, as a cleaner of child processes sends it."""
    orphan = subprocess.Popen(["sleep", "100"], start_new_session=True)
    with open(os.environ["PLANTED_MARK"], "w") as mark:
        mark.write(str(orphan.pid))
    os.killpg(0, signal.SIGKILL)


@planted
def says(_: Array) -> None:
    """By Python, by C code and by another process, what a terminal or a CI job would obey."""
    print("::error::of Python\r\x1b[31m", end="\n\n")
    print("::error::of stderr", file=sys.stderr)
    ctypes.CDLL(None).puts(b"::error::of C code")
    subprocess.run(["echo", "::error::of a child"], check=True)
    warnings.warn("::error::warned\n::error::again", stacklevel=1)
    raise RuntimeError("said\n::error::raised \x1b[31m")


@planted
def says_and_ends(_: Array) -> None:
    os.write(2, b"::error::just before\n")
    os.abort()


@planted
def pours(_: Array) -> None:
    """Half a gigabyte, and a last word."""
    for _each in range(512):
        os.write(1, bytes(2**20))
    print("\nthe last")


@planted
def pours_without_end(_: Array) -> None:
    while True:
        os.write(2, bytes(2**16))


@planted
def leaves_a_writer(_: Array) -> None:
    """A process in a session of its own that holds the output open, and says something later."""
    subprocess.run("setsid sh -c 'sleep 0.3; echo later; sleep 100' &", shell=True, check=True)


@planted
def closes_its_output(_: Array) -> None:
    os.close(1)
    os.close(2)


def leaks(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Keeps 16 MiB of every call."""
    KEPT.append(np.ones(2**21))
    return right(logits, labels)


def hangs_always(logits: Array, labels: Array) -> tuple[Array, Array]:
    while True:
        pass
