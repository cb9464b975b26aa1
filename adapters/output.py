"""What a worker and what it has started write to standard output and error: read as it comes, the last of it kept.

A pipe is read whenever the parent waits for the worker. So a kernel that writes is not held up, and costs its parent a few
kilobytes however much it writes. Nobody waits for the end of the pipe: a child that outlives the worker may hold it open.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO

MOST_KEPT = 2**14
"""Bytes that are kept: the last ones, which are nearest to a crash."""

_PART = 2**16
_MOST_READ = 2**20
"""Bytes that are read before the clock is looked at: a process may write as fast as it is read."""


@dataclass
class Tail:
    """The last bytes of what was written, and how many came before them."""

    kept: bytes = b""
    lost: int = 0

    def add(self, data: bytes) -> None:
        """Take in what was written next."""
        whole = self.kept + data
        self.kept = whole[-MOST_KEPT:]
        self.lost += len(whole) - len(self.kept)

    def take(self) -> str:
        """All of it as text, as it was written: whoever shows it escapes it. Nothing of it is left."""
        before = f"[{self.lost} bytes before this are left out]\n" if self.lost else ""
        text = before + self.kept.decode(errors="replace")
        self.kept, self.lost = b"", 0
        return text


class Output:
    """The parent's end of the pipe.

    Arguments:
      pipe: the end itself.
      tail: takes in what is read; another may be put in its place.
    """

    def __init__(self, pipe: IO[bytes], tail: Tail) -> None:
        os.set_blocking(pipe.fileno(), False)
        self._pipe, self.tail = pipe, tail

    @property
    def fds(self) -> tuple[int, ...]:
        """The file descriptor to wait for; none once there is nobody left who could write."""
        return () if self._pipe.closed else (self._pipe.fileno(),)

    def read(self) -> None:
        """Take in what is there."""
        left = _MOST_READ
        while left > 0 and self.fds:
            try:
                data = os.read(self._pipe.fileno(), _PART)
            except BlockingIOError:
                return
            if not data:
                self._pipe.close()
            self.tail.add(data)
            left -= len(data)

    def close(self) -> None:
        """Read what is left, and close this end."""
        self.read()
        self._pipe.close()
