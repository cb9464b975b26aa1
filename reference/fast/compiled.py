"""The decorator of compiled functions: numba's njit without the lock of Python, cached for just these sources.

Numba looks for a cached function by the file that it is in, not by those that it calls into: with its own cache a changed
polynomial would go unnoticed by the callers that have it inlined. Here the cache is a folder named by a digest of numba's
version, all sources of the compiled tier and those of the function's own folder; where it cannot be written, or others may
write into it, nothing is cached.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from reference.installing import extra

try:
    import numba
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        f"compiled functions need the package 'numba', which is not installed; get it with: {extra('fast')}",
        name="numba",
    ) from None

from reference.fast.cache import RepairingCache, is_own

F = TypeVar("F", bound=Callable[..., Any])


def _sources_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))


_FOLDER = Path(__file__).parent
_SOURCES = _sources_in(_FOLDER)
_SETTINGS: Any = numba.config
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
"""Division by 0 is that of IEEE, not an exception of Python, whose test would keep loops from being vectorised."""


def compiled(function: F) -> F:
    """Compile at the first call, for each set of argument types, with nothing contracted or reordered."""
    return _cached(function, _OPTIONS)


def inlined(function: F) -> F:
    """Compile as `compiled` does, put into its callers before they are compiled, so that loops around it are vectorised."""
    return _cached(function, _OPTIONS | {"inline": "always"})


def reordered(function: F) -> F:
    """Compile as `compiled` does, with sums in whatever order is fastest; its error bounds have to hold in any."""
    return _cached(function, _OPTIONS | {"fastmath": {"reassoc"}})


def cache_of(file: Path) -> Path:
    """The folder of cached functions of a file."""
    own = b"" if file.parent == _FOLDER else _sources_in(file.parent)
    digest = hashlib.sha256(numba.__version__.encode() + _SOURCES + own).hexdigest()
    return file.parent / "__pycache__" / f"compiled-{digest[:16]}"


def _cached(function: F, options: dict[str, Any]) -> F:
    source = Path(inspect.getfile(function))
    folder, before = cache_of(source), _SETTINGS.CACHE_DIR
    wrapped: Any = numba.njit(**options)(function)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _SETTINGS.CACHE_DIR = str(folder)
        if os.access(folder, os.W_OK) and is_own(folder, source):
            cache = RepairingCache(function)
            if is_own(Path(cache.cache_path), source):
                wrapped._cache = cache  # as enable_caching() does
    except OSError:
        pass
    finally:
        _SETTINGS.CACHE_DIR = before
    return wrapped
