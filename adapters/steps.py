"""Calls that are made of a kernel while it is loaded. Who waits for this process is told of each, so that each has its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_told: list[Callable[[str], None]] = []


def step(what: str) -> None:
    """Say what is about to be called; nothing where nobody waits."""
    for tell in _told:
        tell(what)


@contextmanager
def told_by(tell: Callable[[str], None]) -> Iterator[None]:
    """Have each step told to somebody meanwhile."""
    _told.append(tell)
    try:
        yield
    finally:
        _told.remove(tell)
