"""Where `reference`, `adapters` and `suites` lie, and how this process and those that it starts find modules."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent

TREE = _HERE / "tree" if (_HERE / "tree").is_dir() else _HERE.parents[1]
"""The folder of a wheel's packages; in a checkout, its top folder."""


def find() -> None:
    """Let this process import them before any package of the same name: PyPI has an `adapters` too."""
    sys.path.insert(0, str(TREE))


def python(code: str) -> list[str]:
    """The command of another Python that runs code, and finds modules where this one does.

    Not by PYTHONPATH: there a colon divides a path in two. Nor by `-m`, with which a `types.py` of the user, in the folder
    that this process was started in, hides that of Python.
    """
    paths = [path or os.getcwd() for path in sys.path]
    return [sys.executable, "-P", "-c", f"import sys; sys.path[:] = {paths!r}; {code}"]
