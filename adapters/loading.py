"""Finds adapters and implementations by name, by file:attribute or by module:attribute."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from adapters.adapter import Adapter, AdapterError

_PREFIX = "backend_"


def backend_names() -> tuple[str, ...]:
    """Names of the backends of this project: one for each adapters/backend_NAME.py."""
    return tuple(sorted(path.stem.removeprefix(_PREFIX) for path in Path(__file__).parent.glob(f"{_PREFIX}*.py")))


def load_adapter(reference: str, device: str) -> Adapter:
    """The adapter named by a backend's name, path/to/file.py:Class or module:Class, on a device.

    Only the framework of the backend that is asked for is imported.

    Raises:
      AdapterError: no such backend, its framework is not installed, or the device is not there.
    """
    if ":" in reference:
        adapter = load_attribute(reference, "--backend")
        if not (isinstance(adapter, type) and issubclass(adapter, Adapter)):
            raise AdapterError(f"--backend={reference}: {adapter!r} is not a subclass of adapters.adapter.Adapter")
        return adapter(device)
    if reference not in backend_names():
        raise AdapterError(
            f"backend {reference!r} is not known; there is: {', '.join(backend_names())}; or give file.py:Class, module:Class"
        )
    module_name = f"adapters.{_PREFIX}{reference}"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise AdapterError(
            f"backend {reference!r} needs the package {error.name!r}, which is not installed; "
            f"get it with: pip install -e '.[{reference}]'"
        ) from None
    adapter_class: type[Adapter] = module.ADAPTER
    return adapter_class(device)


def load_attribute(reference: str, option: str) -> Any:
    """What path/to/file.py:attribute or package.module:attribute names.

    Raises:
      AdapterError: the form is wrong, or there is no such file, module or attribute, or importing it fails.
    """
    place, _, attribute = reference.rpartition(":")
    if not place or not attribute:
        raise AdapterError(f"{option}={reference}: allowed: path/to/file.py:name or package.module:name")
    module = _module_from_file(place, option) if place.endswith(".py") else _module_named(place, option)
    if not hasattr(module, attribute):
        public = ", ".join(name for name in vars(module) if not name.startswith("_")) or "nothing"
        raise AdapterError(f"{option}={reference}: {place} has no {attribute!r}; it has: {public[:200]}")
    return getattr(module, attribute)


def _module_from_file(place: str, option: str) -> ModuleType:
    path = Path(place)
    if not path.is_file():
        raise AdapterError(f"{option}: there is no file {place!r}; allowed: path/to/file.py:name or package.module:name")
    name = f"softmax_ce_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file may fail in any way; say which file and how, in one line
        raise AdapterError(f"{option}: importing {place} failed: {type(error).__name__}: {error}") from error
    return module


def _module_named(place: str, option: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except Exception as error:  # as above
        raise AdapterError(f"{option}: importing {place!r} failed: {type(error).__name__}: {error}") from error
