"""The journal of a sweep: an append-only file of finished chunks, from which an interrupted sweep goes on.

Each line is `CRC32 JSON`, written whole and synchronised to the disk. The first is the header: what is swept, by which code
and versions. A last line that is not whole is what a killed process leaves, and is cut off; any other damage is refused.
One process at a time holds the journal (flock). A chunk counts once, however often it was run. A checksum finds damage and
no forgery: every entry must be valid by journal_schema.json, and its counts must add up.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reference.validation import check, shown, validator
from suites.inputs.strict_json import json_of
from suites.sweep.chunk import SweepError
from suites.sweep.compiled.tally import empty_tally
from suites.sweep.outcome import Outcome, outcome_from

LARGEST_JOURNAL = 2**30
"""Bytes; a large sweep writes a tenth of it."""

_ENTRY = validator(json.loads((Path(__file__).parent / "journal_schema.json").read_text()))
_AWAY = "move the file away to start anew"


class JournalError(SweepError):
    """A journal that cannot be used, and what to do about it; nothing was overwritten."""


class Journal:
    """An open journal: which chunks are `finished`, and their `total`."""

    def __init__(self, path: Path, descriptor: int, header: dict[str, Any], empty: Outcome) -> None:
        self.path = path
        self.finished: set[int] = set()
        self.total = empty
        self._descriptor = descriptor
        self._classes = empty.tally.worst_logits.shape[1]
        self._end = 0
        self._read(header)

    def _read(self, header: dict[str, Any]) -> None:
        content = os.pread(self._descriptor, LARGEST_JOURNAL, 0)
        lines = content.split(b"\n")
        torn = len(lines.pop())
        texts: list[bytes] = []
        for number, line in enumerate(lines, 1):
            text = _checked(line)
            if text is None and number == len(lines) and not torn:
                # A crash of the machine can lose a part of the last line and keep its end.
                torn = len(line) + 1
            elif text is None:
                raise JournalError(f"{self.path}: line {number} is damaged; restore the file or move it away to start anew")
            else:
                texts.append(text)
        self._end = len(content) - torn
        if not texts:
            if not encoded(header).startswith(content):
                raise JournalError(f"{self.path} is not the journal of a sweep; give another --report or move it away")
            self._append(header)
            return
        self._check_header(texts[0], header)
        self._take(texts[1:], header["chunks"])

    def _check_header(self, text: bytes, wanted: dict[str, Any]) -> None:
        found = self._parsed(1, text)
        if not isinstance(found, dict):
            raise JournalError(f"{self.path}: line 1 is {shown(found)}; allowed: the header of a sweep; {_AWAY}")
        wanted = json.loads(json.dumps(wanted))
        different = [name for name in sorted({*found, *wanted}) if _text_of(found, name) != _text_of(wanted, name)]
        if different:
            name = different[0]
            raise JournalError(
                f"{self.path} is of another sweep: {shown(name)[1:-1]} was {_told(found, name)} and is {_told(wanted, name)}"
                f"{f' (and {len(different) - 1} more)' if len(different) > 1 else ''}; give another --report or move it away"
            )

    def _take(self, texts: list[bytes], chunks: int) -> None:
        """Count the chunks of some lines; one that stands there twice counts once, if it is the same."""
        lines: dict[int, int] = {}
        for number, text in enumerate(texts, 2):
            entry = self._parsed(number, text)
            try:
                check(_ENTRY, entry)
                chunk = entry["chunk"]
                if chunk >= chunks:
                    raise ValueError(f"chunk is {chunk}; allowed: 0 to {chunks - 1}")
                if text != texts[lines.setdefault(chunk, number) - 2]:
                    raise ValueError(f"chunk {chunk} stands in line {lines[chunk]} too, with another outcome")
                outcome = outcome_from(entry["outcome"], self._classes)
            except ValueError as error:
                raise JournalError(f"{self.path}: line {number} is no chunk of this sweep: {error}; {_AWAY}") from None
            self._count(chunk, outcome)

    def _parsed(self, number: int, text: bytes) -> Any:
        try:
            return json_of(text.decode("ascii"))
        except ValueError as error:
            raise JournalError(f"{self.path}: line {number}: {error}; {_AWAY}") from None

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
        line = encoded(entry)
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
    descriptor = _opened(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalError(f"{path}: another sweep is writing it; wait for it, or give another --report") from None
        yield Journal(path, descriptor, header, Outcome(tally=empty_tally(classes)))
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    """The descriptor of a journal, which is no link, pipe or device: those lead elsewhere, or hang."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except OSError as error:
        said = "it is a link; allowed: a regular file" if error.errno == errno.ELOOP else error.strerror
        raise JournalError(f"{path}: cannot be opened: {said}; give a folder that can be written to") from None
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST_JOURNAL:
        return descriptor
    os.close(descriptor)
    raise JournalError(f"{path}: it is a pipe or a device, or larger than {LARGEST_JOURNAL} bytes; {_AWAY}")


def encoded(entry: dict[str, Any]) -> bytes:
    """The line of an entry, or of the header."""
    text = json.dumps(entry, separators=(",", ":"), sort_keys=True).encode("ascii")
    return f"{zlib.crc32(text):08x} ".encode("ascii") + text + b"\n"


def _checked(line: bytes) -> bytes | None:
    """The JSON of a line; None if it is damaged."""
    check_sum, _, text = line.partition(b" ")
    return text if check_sum == f"{zlib.crc32(text):08x}".encode("ascii") else None


def _told(header: dict[str, Any], name: str) -> str:
    """A value in a message."""
    return shown(header[name]) if name in header else "not there"


def _text_of(header: dict[str, Any], name: str) -> str:
    """A value as JSON, which tells 1 from true and from 1.0; empty if there is none."""
    return json.dumps(header[name], sort_keys=True) if name in header else ""
