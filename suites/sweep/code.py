"""The version of what judges: a hash of every source that decides what a chunk of a sweep yields."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import reference

JUDGING = (
    "adding_up",
    "chunk",
    "code",
    "outcome",
    "settle",
    "space",
)
"""The modules beside this one that decide it; so do all of `compiled/` and all of `reference`."""


def _sources() -> list[Path]:
    beside = Path(__file__).parent
    whole = [path for folder in (Path(reference.__file__).parent, beside / "compiled") for path in folder.rglob("*.py")]
    return sorted([*whole, *(beside / f"{name}.py" for name in JUDGING)])


CODE = sha256(b"\0".join(path.read_bytes() for path in _sources())).hexdigest()[:16]
"""Names the sources as they were imported."""
