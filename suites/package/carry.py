"""Makes of a kernel a place that another process can load: file.py:name. What has no place of its own goes by cloudpickle."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from .declare import Declared, declare_all, declared_of
from .forms import FORMS, place_in
from .place import find

_HEAD = '"""A kernel that softmax_ce_conformance.judge sent to another process."""\n'
_FILE = """
from softmax_ce_conformance.carry import loaded

{name} = loaded({sent!r})
__softmax_ce_kernel_file__ = {file!r}
"""


class NotCarriedError(TypeError):
    """A kernel that cannot be sent to another process; the message says what can."""


@dataclass(frozen=True)
class Load:
    """A kernel with what a call declares of it.

    Arguments:
      kernel: a callable, or where one is: path/to/file.py:name or package.module:name.
      declared: what is declared of it beside its own decorators.
      form: what it is in the place of a kernel (`FORMS`); None where it is one.

    Raises:
      ValueError: there is no such form.
    """

    kernel: Any
    declared: tuple[Declared, ...] = ()
    form: str | None = None

    def __post_init__(self) -> None:
        if self.form is not None and self.form not in FORMS:
            raise ValueError(f"form: {self.form!r} is not known; allowed: {', '.join(FORMS)}")

    def place(self, folder: Path) -> str:
        """Where the kernel is: in its own file, or in one that is written below the folder.

        Raises:
          NotCarriedError: it cannot be pickled, or cannot be written, as where a file of something else is.
        """
        place = self.kernel if isinstance(self.kernel, str) else _place_of(self.kernel)
        if place is not None and self.form is not None:
            place = place_in(place)
        if place is not None and not self.declared and self.form is None:
            return place
        name, file = _name_of(place or self.kernel), (place or "").rpartition(":")[0]
        written = folder / "sent" / f"{name}.py"
        sent = base64.b64encode(_pickled(self, place)).decode()
        if written.exists() and not written.read_text(encoding="utf-8", errors="replace").startswith(_HEAD):
            raise NotCarriedError(f"{written} is no file of ours; allowed: another folder for the report")
        try:
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(f"{_HEAD}{_FILE.format(name=name, sent=sent, file=file)}", encoding="utf-8")
        except OSError as error:
            raise NotCarriedError(
                f"report: '{folder}': {error.strerror}; allowed: a folder, which is made if need be"
            ) from error
        return f"{written}:{name}"


def declarations(given: Iterable[Mapping[str, Any]] | Mapping[str, Any]) -> tuple[Declared, ...]:
    """Tables of limits, as a call gives them, each with its `reason`.

    Raises:
      TypeError: one is no table, or has no reason.
    """
    tables = [given] if isinstance(given, Mapping) else list(given)
    for table in tables:
        if not isinstance(table, Mapping) or "reason" not in table:
            raise TypeError(
                f"limits has {table!r}; allowed: tables with a reason, such as {{'reason': 'tiles', 'derivatives': 1}}"
            )
    return tuple(("limits", (), dict(table)) for table in tables)


def loaded(sent: str) -> Any:
    """The kernel that was sent, with what is declared of it; for a process that judges."""
    import cloudpickle

    find()
    kernel, place, declared, form = cloudpickle.loads(base64.b64decode(sent))
    if form is not None:
        kernel = FORMS[form](kernel, place)
    elif place is not None:
        from adapters.loading import load_attribute

        kernel = load_attribute(place, "--implementation")
    return declare_all(kernel, declared)


def _pickled(load: Load, place: str | None) -> bytes:
    """The kernel, or where it is, with its declarations and its form."""
    import cloudpickle

    declared = load.declared if place is not None else (*declared_of(load.kernel), *load.declared)
    own = None if place is not None else _module_of(load.kernel)
    by_value = own is not None and own.__name__ != "__main__" and not _is_installed(own)
    if by_value:
        cloudpickle.register_pickle_by_value(own)  # the other process may not find a module of tests
    try:
        kernel = None if place is not None else load.kernel
        return bytes(cloudpickle.dumps((kernel, place, declared, load.form)))
    except Exception as error:  # what is pickled is anyone's, and may fail in any way
        told = f"{load.kernel!r} cannot be sent to another process ({type(error).__name__}: {error})"
        do = "give a function at the top of a file, 'path/to/file.py:name', or what it was before it was compiled"
        raise NotCarriedError(f"{told}; {do}") from error
    finally:
        if by_value:
            cloudpickle.unregister_pickle_by_value(own)


def _place_of(kernel: object) -> str | None:
    """The file and the name of a kernel at the top of a module that is a file of its own; None of any other."""
    module = _module_of(kernel)
    file = getattr(module, "__file__", None)
    # What runs as __main__ would run again; in a package a file cannot be loaded alone.
    if module is None or file is None or module.__name__ == "__main__" or module.__package__ or not file.endswith(".py"):
        return None
    names = (name for name, value in vars(module).items() if value is kernel)
    return next((f"{file}:{name}" for name in names), None)


def _module_of(kernel: object) -> ModuleType | None:
    while isinstance(kernel, partial):
        kernel = kernel.func
    return sys.modules.get(getattr(kernel, "__module__", None) or "")


def _is_installed(module: ModuleType) -> bool:
    is_of_python = module.__name__.partition(".")[0] in sys.stdlib_module_names
    return is_of_python or "site-packages" in Path(getattr(module, "__file__", None) or "site-packages").parts


def _name_of(kernel: object) -> str:
    """A name for it in a file and in reports."""
    name = kernel.rpartition(":")[2] if isinstance(kernel, str) else getattr(kernel, "__name__", type(kernel).__name__)
    return name if name.isidentifier() else "kernel"
