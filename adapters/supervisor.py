"""A small process above a worker, which outlives it and ends all that it has started, in whatever session that is.

On Linux it is a subreaper (prctl(2)): a process below it whose parent ends becomes its child, so that none leaves its tree.
Elsewhere nobody says who started whom, and what a worker has started ends with its process group alone.

Started by `adapters.process`, never by hand.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_MOST_SECONDS = 2.0
"""After which a tree that grows as fast as it is cut is left to itself."""


def run() -> None:
    """The process: its argument is the file descriptor of the connection, which its child, the worker, answers over."""
    fd = int(sys.argv[1])
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if worker := os.fork():
        os.close(fd)
        _outlive(worker)
    if sys.platform == "linux":  # elsewhere the group is how a worker is ended
        os.setpgid(0, 0)  # a kernel that signals its own group spares what cleans up after it
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    from adapters.worker import serve  # here: the supervisor stays small

    serve(fd)


def end_below(root: int) -> None:
    """Kill all processes below one, until there are none.

    One look does not tell: it misses a child whose parent was listed before it forked, and read once it had ended. Two looks
    tell, if both find nothing that lives and the same that is dead.
    """
    deadline, before = time.monotonic() + _MOST_SECONDS, None
    while (seen := _below(root)) != before or seen.living:
        if time.monotonic() > deadline:
            return
        for pid in seen.living:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        before = seen
        time.sleep(0.002)


def _outlive(worker: int) -> NoReturn:
    """Wait for the end of the worker, end what it has left behind, and end in the same way."""
    signal.signal(signal.SIGTERM, lambda *_: _leave(1))
    while (ended := os.wait())[0] != worker:
        pass
    _leave(os.waitstatus_to_exitcode(ended[1]))


def _leave(code: int) -> NoReturn:
    end_below(os.getpid())
    if code < 0:
        _die_by(-code)
    os._exit(code)


def _die_by(number: int) -> None:
    """End by a signal, without the core dump that the worker may have left already."""
    import resource  # here: there is none on Windows, where this file is imported too

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # SIGKILL has no handler
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


@dataclass(frozen=True)
class _Seen:
    """What one look at the processes finds."""

    living: frozenset[int]
    dead: frozenset[int]
    """Those that have ended and that nobody has waited for."""


def _below(root: int) -> _Seen:
    """The processes below one, as /proc has them."""
    parents, dead = {}, set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
            parents[int(stat.parent.name)] = int(parent)
            if state in "ZX":
                dead.add(int(stat.parent.name))
    below: frozenset[int] = frozenset()
    found = {root}
    while found := {pid for pid, parent in parents.items() if parent in found}:
        below |= found
    return _Seen(below - dead, below & dead)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)
