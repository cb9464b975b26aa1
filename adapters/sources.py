"""Which files a process runs: where the code of adapters and reference lies, and a digest of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import adapters
import reference


@dataclass(frozen=True)
class Sources:
    """The folders of two packages, and the sha256 of all their code."""

    folders: tuple[str, ...]
    digest: str

    def __str__(self) -> str:
        return f"{' and '.join(self.folders)} (sha256 {self.digest[:12]})"


@cache
def sources() -> Sources:
    """Those of this process, as they are when it is first asked."""
    folders = [Path(package.__path__[0]).resolve() for package in (adapters, reference)]
    digest = sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder.parent).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return Sources(tuple(map(str, folders)), digest.hexdigest())
