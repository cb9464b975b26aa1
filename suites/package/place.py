"""Where `reference`, `adapters` and `suites` lie, and how this process finds them."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent

TREE = _HERE / "tree" if (_HERE / "tree").is_dir() else _HERE.parents[1]
"""The folder of a wheel's packages; in a checkout, its top folder."""


def find() -> None:
    """Let this process import them before any package of the same name: PyPI has an `adapters` too."""
    sys.path.insert(0, str(TREE))
