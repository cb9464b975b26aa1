"""Ends a run that is told to end: SIGTERM and SIGHUP interrupt it as Ctrl-C does, so that its report is written.

An interrupt may be lost: what is raised in a finaliser or in a callback of the garbage collector is ignored. So what a run was
told is kept, and the next test raises it again.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

import pytest

_SIGNALS = ("SIGTERM", "SIGHUP")


@dataclass
class Told:
    """What a run was told to end by, in words; empty if it was not."""

    words: str = ""

    def interrupt(self, number: int, _: FrameType | None) -> NoReturn:
        """The handler of a signal."""
        name = signal.Signals(number).name
        self.words = "stopped by Ctrl-C" if name == "SIGINT" else f"ended by {name}"
        raise KeyboardInterrupt(self.words)

    def again(self) -> None:
        """Raise KeyboardInterrupt if the run was told to end, and went on."""
        if self.words:
            raise KeyboardInterrupt(self.words)


def end_at_signals(config: pytest.Config) -> Told:
    """From now on until pytest ends, the signals interrupt the run; nothing, where only the main thread may say so."""
    told = Told()
    if threading.current_thread() is not threading.main_thread():
        return told
    for name in (*_SIGNALS, "SIGINT"):
        if (number := getattr(signal, name, None)) is not None:  # Windows has no SIGHUP
            config.add_cleanup(_restored(number, signal.signal(number, told.interrupt)))
    return told


def let_it_end() -> None:
    """From now on until pytest ends, the signals do nothing: what they would have had written is being written. Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        return
    for name in _SIGNALS:
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, lambda *_: None)  # not SIG_IGN, which the processes that are started meanwhile would have too


def _restored(number: int, before: Any) -> Callable[[], None]:
    """What gives a signal its earlier handler again."""

    def restore() -> None:
        signal.signal(number, before)

    return restore
