"""Writes a file of a run: what stands in its place is replaced, and a link there is never followed out of the folder."""

from __future__ import annotations

from pathlib import Path


def write_anew(path: Path, text: str) -> None:
    """Write text, UTF-8, into a new file.

    Raises:
      OSError: it cannot be written, or a directory stands in its place.
    """
    path.unlink(missing_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
