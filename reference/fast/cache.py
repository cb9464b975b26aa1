"""A cache of compiled functions that repairs itself: a file that is not as it was written is dropped, and compiled anew.

Numba's own raises whatever its pickles raise, at every run, and runs machine code of which a bit has flipped. A pickle is code
too: a folder in which others than the owner of the sources may write is not used.
"""

from __future__ import annotations

import glob
import hashlib
import os
import pickle
import stat
import warnings
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile

_DIGEST = hashlib.sha256().digest_size
_WARNED_OF: set[str] = set()


class BrokenError(Exception):
    """A file of compiled code is not as it was written, or cannot be read."""


class _CheckedFiles(IndexDataCacheFile):
    """Numba's files, each with a digest at its head; they are those of one version of numba, which their folder is of."""

    def _save_index(self, overloads: dict[Any, str]) -> None:
        self._write(self._index_path, (self._source_stamp, overloads))

    def _load_index(self) -> dict[Any, str]:
        try:
            stamp, overloads = _read(self._index_path)
        except FileNotFoundError:
            return {}
        return overloads if stamp == self._source_stamp else {}

    def _save_data(self, name: str, data: Any) -> None:
        self._write(self._data_path(name), data)

    def _load_data(self, name: str) -> Any:
        return _read(self._data_path(name))

    def _write(self, path: str, data: Any) -> None:
        dumped = self._dump(data)
        with self._open_for_write(path) as file:
            file.write(hashlib.sha256(dumped).digest() + dumped)


def _read(path: str) -> Any:
    try:
        read = Path(path).read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:  # which numba takes for a file that is not there
        raise BrokenError(str(error)) from error
    digest, dumped = read[:_DIGEST], read[_DIGEST:]
    if hashlib.sha256(dumped).digest() != digest:
        raise BrokenError(f"{Path(path).name} is not as it was written")
    return pickle.loads(dumped)


class RepairingCache(FunctionCache):
    """The cache of one function."""

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        base = self._impl.filename_base
        self._files = glob.escape(os.path.join(self._cache_path, base)) + ".*"
        self._cache_file = _CheckedFiles(self._cache_path, base, self._impl.locator.get_source_stamp())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What is cached; None if nothing is, or it is broken."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # a pickle that was cut may raise anything
            _warn(self._cache_path, f"has a broken file, which is compiled anew ({type(error).__name__}: {error})")
            self._drop()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Cache what was compiled, if it can be."""
        try:
            super().save_overload(sig, data)
        except (OSError, BrokenError) as error:
            _warn(self._cache_path, f"cannot be written ({error})")

    def _drop(self) -> None:
        """Remove the files of this function; where that is not allowed, it is not cached."""
        try:
            for path in glob.glob(self._files):
                Path(path).unlink(missing_ok=True)
        except OSError:
            self.disable()


def is_own(folder: Path, source: Path) -> bool:
    """True if nobody else writes into a folder but who may change the source, or is who runs it.

    Its group may have the right to, as a umask gives it, within a folder that the group may not enter.
    """
    if os.name != "posix":
        return True
    status = folder.stat()
    others = stat.S_IWOTH | (stat.S_IWGRP if folder.parent.stat().st_mode & stat.S_IXGRP else 0)
    trusted = status.st_uid in (os.getuid(), source.stat().st_uid) and not status.st_mode & others
    if not trusted:
        _warn(str(folder), "is not used, since other users may write into it")
    return trusted


def _warn(folder: str, what: str) -> None:
    """Once for a folder: what broke one file broke others."""
    if folder in _WARNED_OF:
        return
    _WARNED_OF.add(folder)
    warnings.warn(
        f"the cache of compiled functions {what}: {folder}; delete this folder if it is told again",
        RuntimeWarning,
        stacklevel=2,
    )
