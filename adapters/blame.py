"""Says in which line of the user's own file an exception was raised: the file's name alone, since reports name no paths."""

from __future__ import annotations

import inspect
import sys
import traceback
from pathlib import Path

_HERE = Path(__file__).parent


def files_of(backend: type) -> set[str]:
    """Files of a backend's class and of its bases."""
    return {inspect.getfile(each) for each in backend.__mro__ if each.__module__ not in ("abc", "builtins")}


def own_files(backend: type) -> set[str]:
    """Those that are not of this project: a subclass of a backend here has its own file to mend, not ours."""
    return {file for file in files_of(backend) if _HERE not in Path(file).resolve().parents}


KERNEL_FILE = "__softmax_ce_kernel_file__"
"""Where a module has the file that its kernel was made from, which is then the user's own."""


def module_name(file: str) -> str:
    """The name by which path/to/file.py is imported."""
    return f"softmax_ce_user_{Path(file).stem}"


def file_of(implementation: str) -> set[str]:
    """The files of path/to/file.py:name or package.module:name: its own and its kernel's; none of a module without one."""
    place = implementation.rpartition(":")[0]
    module = sys.modules.get(module_name(place) if place.endswith(".py") else place)
    files = (place if place.endswith(".py") else getattr(module, "__file__", None), getattr(module, KERNEL_FILE, None))
    return {str(Path(file).resolve()) for file in files if file}


def place_of(error: BaseException, files: set[str]) -> str:
    """' (file.py, line 12)': the deepest line of the files that was running; empty if none was."""
    running = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = {name for name in {name for name, _ in running} if {name, str(Path(name).resolve())} & files}
    last = next(((name, line) for name, line in reversed(running) if name in own), None)
    return "" if last is None else f" ({Path(last[0]).name}, line {last[1]})"
