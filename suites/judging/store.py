"""Keeps what is expected of problems between runs, in the folder that SOFTMAX_CE_CACHE names; in none where it names none.

Every backend, mode and kernel is asked the same problems, and the exact tier takes milliseconds for each: a run that is not
the first in a folder is spared them. An entry is of one problem, down to the bit, in one format, and of one state of the
reference's own source and of the libraries under it: a change of any of these finds nothing. An entry that is not as it was
written, or a folder that cannot be used, costs time alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import reference
from reference.enclosure import Enclosure
from reference.expected import Expected
from reference.problem import Problem
from reference.quantity import Quantity

FOLDER = "SOFTMAX_CE_CACHE"
"""The environment variable that names the folder."""

_COLUMNS = ("hi", "lo", "radius", "exponent", "side")
_DIGEST = hashlib.sha256().digest_size
_PATIENCE = 30.0
"""Seconds to wait for another run that writes."""

LARGEST_KEPT = 2**14
"""Logits of the largest problem whose expected values are kept; those of a vocabulary would fill the memory."""

Evaluate = Callable[[Problem, tuple[Quantity, ...]], dict[Quantity, Expected]]


@dataclass
class Store:
    """Expected values by problem, format and quantity, in a file that several runs may use at once; none without a folder."""

    folder: Path | None = field(default_factory=lambda: Path(os.environ[FOLDER]) if os.environ.get(FOLDER) else None)
    _opened: sqlite3.Connection | None = field(default=None, init=False, repr=False)

    def read(self, problem: Problem, quantities: Iterable[Quantity]) -> dict[Quantity, Expected]:
        """What is kept of the quantities of a problem, to be rounded into its format."""
        if self.folder is None:
            return {}
        keys = {key: quantity for quantity, key in _keys(problem, quantities).items()}
        try:
            found = self._file.execute(f"select key, value from expected where key in ({', '.join('?' * len(keys))})", [*keys])
            rows = found.fetchall()
        except (sqlite3.Error, OSError) as error:
            return self._given_up(error)
        return {keys[key]: expected for key, value in rows if (expected := _unpacked(value)) is not None}

    def write(self, problem: Problem, found: Mapping[Quantity, Expected]) -> None:
        """Keep what is expected of a problem."""
        if self.folder is None:
            return
        keys = _keys(problem, found)
        rows = [(keys[quantity], _packed(expected)) for quantity, expected in found.items()]
        try:
            with self._file as file:
                file.executemany("insert or replace into expected values (?, ?)", rows)
        except (sqlite3.Error, OSError) as error:
            self._given_up(error)

    def completed(self, problem: Problem, quantities: tuple[Quantity, ...], evaluate: Evaluate) -> dict[Quantity, Expected]:
        """What earlier runs have kept, and the rest evaluated; it is kept for later ones."""
        if problem.logits.size > LARGEST_KEPT:
            return evaluate(problem, quantities)
        found = self.read(problem, quantities)
        if missing := tuple(quantity for quantity in quantities if quantity not in found):
            new = evaluate(problem, missing)
            self.write(problem, new)
            found |= new
        return found

    @property
    def _file(self) -> sqlite3.Connection:
        if self._opened is None:
            assert self.folder is not None
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._opened = sqlite3.connect(self.folder / "expected.sqlite", timeout=_PATIENCE)
            self._opened.execute("pragma journal_mode = wal")
            self._opened.execute("pragma synchronous = off")  # what a fall of the machine costs is computed again
            self._opened.execute("create table if not exists expected (key blob primary key, value blob) without rowid")
        return self._opened

    def _given_up(self, error: Exception) -> dict[Quantity, Expected]:
        """Nothing, now and for the rest of the run; the first time it is said why."""
        warnings.warn(f"{FOLDER}={self.folder} is not used: {error}", stacklevel=3)
        self.folder = None
        return {}


def _keys(problem: Problem, quantities: Iterable[Quantity]) -> dict[Quantity, bytes]:
    """For each quantity the digest of all that decides what is expected."""
    digest = hashlib.sha256(_state())
    for argument in fields(problem):
        digest.update(argument.name.encode() + _bytes_of(getattr(problem, argument.name)))
    asked = digest.digest()
    return {quantity: hashlib.sha256(asked + quantity.value.encode()).digest() for quantity in quantities}


def _bytes_of(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} ".encode() + value.tobytes()
    return repr(value).encode()


@cache
def _state() -> bytes:
    """A digest of the reference's source and of the versions of what it computes with."""
    folder = Path(str(reference.__file__)).parent
    digest = hashlib.sha256(json.dumps([_version(name) for name in ("numpy", "python-flint", "numba")]).encode())
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.digest()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _packed(expected: Expected) -> bytes:
    """A digest, a line that says what follows, and the numbers."""
    columns = [*(getattr(expected.values, name) for name in _COLUMNS), expected.scale, expected.requirement]
    arrays = [np.asarray(column) for column in columns]
    head = json.dumps([[array.dtype.str, array.shape] for array in arrays])
    packed = head.encode() + b"\n" + b"".join(array.tobytes() for array in arrays)
    return hashlib.sha256(packed).digest() + packed


def _unpacked(value: bytes) -> Expected | None:
    """What was packed; None if it is not as it was written."""
    packed = value[_DIGEST:]
    if hashlib.sha256(packed).digest() != value[:_DIGEST]:
        return None
    head, _, numbers = packed.partition(b"\n")
    arrays, at, writable = [], 0, bytearray(numbers)
    for dtype, shape in json.loads(head):
        count = int(np.prod(shape, dtype=np.int64))
        arrays.append(np.frombuffer(writable, dtype, count, at).reshape(shape))
        at += count * np.dtype(dtype).itemsize
    *columns, scale, requirement = arrays
    return Expected(Enclosure(*columns), scale, requirement)
