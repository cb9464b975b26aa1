"""The decorator of compiled functions: numba with IEEE division, released lock, and a cache that knows all of its sources.

numba's own cache looks at the file of a function alone: after a change of a function or constant that it uses, from another
file, the old code would run on. So the folder of the cache is named by a hash of every file that compiled code may use.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, cast

import reference

try:
    import numba
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "suites.sweep needs the package 'numba', which is not installed; get it with: pip install -e '.[fast]'", name="numba"
    ) from None

_Function = TypeVar("_Function", bound=Callable[..., Any])


JUDGING = (
    "chunk",
    "compiled",
    "declared",
    "entry",
    "gap_bound",
    "outcome",
    "owed",
    "pairs",
    "settle",
    "space",
    "tally",
)
"""The modules beside this one that decide what a chunk yields."""


def _sources() -> list[Path]:
    beside = Path(__file__).parent
    return sorted([*Path(reference.__file__).parent.rglob("*.py"), *(beside / f"{name}.py" for name in JUDGING)])


CODE = sha256(b"\0".join(path.read_bytes() for path in _sources())).hexdigest()[:16]
"""Names the sources as they were imported."""


def _cache_folder() -> Path | None:
    """The folder for the sources as they are; None where nothing can be written, and every process compiles."""
    folder = Path(__file__).parent / "__pycache__" / CODE
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


_FOLDER = _cache_folder()


def compiled(function: _Function) -> _Function:
    """The function, compiled when it is first called."""
    settings: Any = numba.config
    before = settings.CACHE_DIR
    settings.CACHE_DIR = str(_FOLDER or before)
    try:
        made = numba.njit(nogil=True, error_model="numpy", cache=_FOLDER is not None)(function)
    finally:
        settings.CACHE_DIR = before
    return cast(_Function, made)
