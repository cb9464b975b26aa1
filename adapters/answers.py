"""Asks a backend what it is while it is loaded: what its code raises then is told in a line that says whose line it was."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from typing import TypeVar

from adapters.adapter import Adapter, AdapterError, told
from adapters.blame import files_of, own_files

T = TypeVar("T")


def answer_of(backend: type[Adapter], method: str, call: Callable[[], T]) -> T:
    """What a method of a backend returns.

    Raises:
      AdapterError: it raised, or called sys.exit; names the backend, the method, the exception, and the backend's own file
        and line. An AdapterError of the backend's own passes through.
    """
    try:
        return call()
    except AdapterError:
        raise
    except (Exception, SystemExit) as error:  # a backend of the user's may fail in any way
        name, place = _raised_at(error, backend, method)
        raise AdapterError(f"backend {name_of(backend)!r}: {name}() raised {told(error)} ({place})") from error


def name_of(backend: type[Adapter]) -> str:
    """What a backend calls itself, or the name of its class if it does not."""
    name = getattr(backend, "name", None)
    return name if isinstance(name, str) else backend.__name__


def _raised_at(error: BaseException, backend: type[Adapter], method: str) -> tuple[str, str]:
    """The innermost method of the protocol that was running, and FILE:LINE of the last line run that is the backend's own.

    That is the head of its class where none was run, as where a method is missing.
    """
    files = own_files(backend) or files_of(backend)
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    name = next((frame.name for frame in reversed(own) if hasattr(Adapter, frame.name)), method)
    if own:
        return name, f"{own[-1].filename}:{own[-1].lineno}"
    return name, head_of(backend)


def head_of(backend: type[Adapter]) -> str:
    """FILE:LINE of the head of a class, or the file alone of a package without its sources."""
    try:
        return f"{inspect.getfile(backend)}:{inspect.getsourcelines(backend)[1]}"
    except OSError:
        return inspect.getfile(backend)
