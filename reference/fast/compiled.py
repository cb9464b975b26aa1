"""The decorator of compiled functions: numba's njit without the lock of Python, cached for just these sources.

Numba looks for a cached function by the file that it is in, not by those that it calls into: with its own cache a changed
polynomial would go unnoticed by the callers that have it inlined. Here the cache is a folder named by a digest of all
sources of the compiled tier and of the function's own file; where it cannot be written, nothing is cached.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])

_FOLDER = Path(__file__).parent
_SOURCES = b"".join(path.read_bytes() for path in sorted(_FOLDER.glob("*.py")))
_SETTINGS: Any = numba.config


def compiled(function: F) -> F:
    """Compile at the first call, for each set of argument types, with nothing contracted or reordered."""
    return _cached(function, {"nogil": True})


def inlined(function: F) -> F:
    """The same, put into its callers before they are compiled, so that loops around it are vectorised."""
    return _cached(function, {"nogil": True, "inline": "always"})


def reordered(function: F) -> F:
    """The same, with sums in whatever order is fastest; its error bounds have to hold in any."""
    return _cached(function, {"nogil": True, "fastmath": {"reassoc"}})


def cache_of(file: Path) -> Path:
    """The folder of cached functions of a file."""
    own = b"" if file.parent == _FOLDER else file.read_bytes()
    digest = hashlib.sha256(_SOURCES + own).hexdigest()
    return file.parent / "__pycache__" / f"compiled-{digest[:16]}"


def _cached(function: F, options: dict[str, Any]) -> F:
    folder = cache_of(Path(inspect.getfile(function)))
    before = _SETTINGS.CACHE_DIR
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _SETTINGS.CACHE_DIR = str(folder)
        wrapped: F = numba.njit(cache=os.access(folder, os.W_OK), **options)(function)
    except OSError:
        wrapped = numba.njit(**options)(function)
    finally:
        _SETTINGS.CACHE_DIR = before
    return wrapped
