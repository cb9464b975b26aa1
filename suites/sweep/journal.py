"""The journal of a sweep: an append-only file of finished chunks, from which an interrupted sweep goes on.

Each line is `CRC32 JSON`, written whole and synchronised to the disk. The first is the header: what is swept, by which code
and versions. A last line that is not whole is what a killed process leaves, and is cut off; any other damage is refused.
One process at a time holds the journal (flock). A chunk counts once, however often it was run.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suites.sweep.chunk import SweepError
from suites.sweep.compiled.tally import empty_tally
from suites.sweep.outcome import Outcome, outcome_from


class JournalError(SweepError):
    """A journal that cannot be used, and what to do about it; nothing was overwritten."""


class Journal:
    """An open journal: which chunks are `finished`, and their `total`."""

    def __init__(self, path: Path, descriptor: int, header: dict[str, Any], empty: Outcome) -> None:
        self.path = path
        self.finished: set[int] = set()
        self.total = empty
        self._descriptor = descriptor
        self._end = 0
        self._read(header)

    def _read(self, header: dict[str, Any]) -> None:
        content = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        lines = content.split(b"\n")
        torn = len(lines.pop())
        entries = []
        for number, line in enumerate(lines, 1):
            entry = _decoded(line)
            if entry is None and number == len(lines) and not torn:
                # A crash of the machine can lose a part of the last line and keep its end.
                torn = len(line) + 1
            elif entry is None:
                raise JournalError(f"{self.path}: line {number} is damaged; restore the file or move it away to start anew")
            else:
                entries.append(entry)
        self._end = len(content) - torn
        if not entries:
            if not _encoded(header).startswith(content):
                raise JournalError(f"{self.path} is not the journal of a sweep; give another --report or move it away")
            self._append(header)
            return
        _check_header(self.path, entries[0], header)
        for entry in entries[1:]:
            self._take(entry)

    def _take(self, entry: dict[str, Any]) -> None:
        try:
            chunk, outcome = int(entry["chunk"]), outcome_from(entry["outcome"])
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise JournalError(f"{self.path}: an entry is not a chunk ({error!r}); move the file away to start anew") from None
        self._count(chunk, outcome)

    def add(self, chunk: int, outcome: Outcome) -> None:
        """Write a finished chunk to the disk; one that is there already is left as it is.

        Raises:
          JournalError: it cannot be written; what was there before still is.
        """
        if chunk not in self.finished:
            self._append({"chunk": chunk, "outcome": outcome.as_json()})
            self._count(chunk, outcome)

    def _count(self, chunk: int, outcome: Outcome) -> None:
        if chunk not in self.finished:
            self.finished.add(chunk)
            self.total = self.total.plus(outcome)

    def _append(self, entry: dict[str, Any]) -> None:
        line = _encoded(entry)
        try:
            written = 0
            while written < len(line):
                written += os.pwrite(self._descriptor, line[written:], self._end + written)
            os.ftruncate(self._descriptor, self._end + len(line))
            os.fsync(self._descriptor)
        except OSError as error:
            raise JournalError(
                f"{self.path}: cannot be written: {error.strerror}; the chunks in it are safe: make room and start again"
            ) from None
        self._end += len(line)


@contextmanager
def open_journal(path: Path, header: dict[str, Any], classes: int = 2) -> Iterator[Journal]:
    """A new journal of rows of so many logits with this header, or the one that is there if its header is the same.

    Raises:
      JournalError: another process has it, it is damaged, it is of another sweep, or it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise JournalError(f"{path}: cannot be opened: {error.strerror}; give a folder that can be written to") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalError(f"{path}: another sweep is writing it; wait for it, or give another --report") from None
        yield Journal(path, descriptor, header, Outcome(tally=empty_tally(classes)))
    finally:
        os.close(descriptor)


def _encoded(entry: dict[str, Any]) -> bytes:
    text = json.dumps(entry, separators=(",", ":"), sort_keys=True).encode("ascii")
    return f"{zlib.crc32(text):08x} ".encode("ascii") + text + b"\n"


def _decoded(line: bytes) -> dict[str, Any] | None:
    """The entry of a line; None if it is damaged."""
    check, _, text = line.partition(b" ")
    if check != f"{zlib.crc32(text):08x}".encode("ascii"):
        return None
    return json.loads(text)


def _check_header(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    wanted = json.loads(json.dumps(wanted))
    different = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    if different:
        name = different[0]
        raise JournalError(
            f"{path} is of another sweep: {name} was {found.get(name)!r} and is {wanted.get(name)!r}"
            f"{f' (and {len(different) - 1} more)' if len(different) > 1 else ''}; give another --report or move it away"
        )
