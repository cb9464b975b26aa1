"""Reads a file that a user gave: a regular one, of a bounded size, in UTF-8. Anything else is refused in a sentence."""

from __future__ import annotations

import stat
from pathlib import Path


def text_of(path: Path, most: int) -> str:
    """The text of a file of at most `most` bytes.

    A pipe would be waited for without end, so that it is refused before it is opened.

    Raises:
      OSError: there is none, or it may not be read.
      ValueError: it is no regular file, longer, or no UTF-8.
    """
    kind = path.stat().st_mode
    if not stat.S_ISREG(kind):
        what = "a directory" if stat.S_ISDIR(kind) else "a pipe or a device"
        raise ValueError(f"it is {what}; allowed: a regular file")
    with path.open("rb") as file:
        read = file.read(most + 1)
    if len(read) > most:
        raise ValueError(f"it has more than {most} bytes; allowed: at most as many")
    try:
        return read.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is {read[error.start]:#04x}; allowed: text in UTF-8") from None
