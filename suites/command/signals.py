"""Ends a run that is told to end: SIGTERM and SIGHUP interrupt it as Ctrl-C does, so that its report is written."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

import pytest

_SIGNALS = ("SIGTERM", "SIGHUP")


def end_at_signals(config: pytest.Config) -> None:
    """From now on until pytest ends, the signals interrupt the run; nothing, where only the main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        return
    for name in _SIGNALS:
        if (number := getattr(signal, name, None)) is not None:  # Windows has no SIGHUP
            config.add_cleanup(_restored(number, signal.signal(number, _interrupt)))


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


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(f"ended by {signal.Signals(number).name}")
