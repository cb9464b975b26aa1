"""The version of what judges: a hash of every source that decides what a chunk of a sweep yields."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import reference

JUDGING = (
    "batch",
    "chunk",
    "code",
    "declared",
    "entry",
    "gap_bound",
    "judge",
    "outcome",
    "owed",
    "owed_three",
    "settle",
    "space",
    "tally",
)
"""The modules beside this one that decide it; so does all of `reference`."""


def _sources() -> list[Path]:
    beside = Path(__file__).parent
    return sorted([*Path(reference.__file__).parent.rglob("*.py"), *(beside / f"{name}.py" for name in JUDGING)])


CODE = sha256(b"\0".join(path.read_bytes() for path in _sources())).hexdigest()[:16]
"""Names the sources as they were imported."""
