"""Work in parts, the result of each in a file: it can be stopped and taken up again, and shared by several processes."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def work_through(folder: Path, names: Iterable[str], work: Callable[[str], Any], seconds: float = float("inf")) -> None:
    """Do what is not done yet; no part is begun after so many seconds, nor one that another process works on."""
    folder.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + seconds
    for name in names:
        if time.monotonic() >= ends:
            return
        with (folder / f"{name}.json").open("a+") as file:
            if _is_locked(file.fileno()) or os.fstat(file.fileno()).st_size:
                continue
            file.write(json.dumps(work(name)))


def _is_locked(descriptor: int) -> bool:
    """True if another process has the file; else this one has it until it is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def results(folder: Path) -> dict[str, Any]:
    """What is done, by name."""
    texts = {path.stem: path.read_text() for path in sorted(folder.glob("*.json"))}
    return {name: json.loads(text) for name, text in texts.items() if text}
