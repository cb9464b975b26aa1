"""Finds adapters and implementations: by name, here or among installed packages, by file:attribute or module:attribute."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from adapters.adapter import Adapter, AdapterError, told
from adapters.answers import answer_of
from adapters.arithmetic import arithmetic_of_kernel
from adapters.blame import module_name, place_of
from adapters.declared import check_complete, check_started, check_versions, checked_operations
from adapters.foreign_state import ForeignState
from adapters.limits import limits_of
from adapters.operation import Operation
from reference.installing import extra
from reference.names import nearest

_HERE = Path(__file__).parent
_KERNELS = _HERE / "kernels"
MAY_REFUSE = "__softmax_ce_may_refuse__"
"""Where a kernel has False if a NotImplementedError of it says nothing but that it fails."""

ENTRY_POINTS = "softmax_ce_conformance.backends"
"""Entry point group by which an installed package offers backends: NAME = "package.module:Class"."""


def backend_names() -> tuple[str, ...]:
    """Names of the backends of this project: one for each adapters/NAME/backend.py and adapters/kernels/NAME.py."""
    frameworks = (path.parent.name for path in _HERE.glob("*/backend.py"))
    kernels = (path.stem for path in _KERNELS.glob("[!_]*.py"))
    return tuple(sorted([*frameworks, *kernels]))


def installed_backends() -> dict[str, list[EntryPoint]]:
    """What installed packages offer in the entry point group, by name; more than one for a name is a clash."""
    offered: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        offered.setdefault(entry.name, []).append(entry)
    return dict(sorted(offered.items()))


def load_adapter(reference: str, device: str) -> Adapter:
    """The adapter named by a backend's name, path/to/file.py:Class or module:Class, on a device.

    Only the framework of the backend that is asked for is imported. Packages offer backends in the entry point group
    `ENTRY_POINTS`.

    Arguments:
      reference: what --backend gives.
      device: cpu, cuda or cuda:INDEX.

    Returns:
      The adapter, which has said its name, its device and its versions.

    Raises:
      AdapterError: no such backend, several of the name, its framework is not installed, the device is not there, or its
        code raised; see `adapters.answers`.
    """
    foreign = ForeignState()
    with foreign.running(f"loading {reference}"):
        adapter = _started(_class_named(reference), device)
    adapter.foreign = foreign
    return adapter


def _class_named(reference: str) -> type[Adapter]:
    installed = installed_backends()
    if ":" in reference:
        return _adapter_class(load_attribute(reference, "--backend"), f"--backend={reference}")
    if reference in installed:
        return _load_installed(reference, installed[reference])
    if reference not in backend_names():
        offered = "".join(f", {name} ({_origin(entries[0])})" for name, entries in installed.items())
        raise AdapterError(
            f"backend {reference!r} is not known; there is: {', '.join(backend_names())}{offered}; "
            f"or give file.py:Class, module:Class{nearest(reference, [*backend_names(), *installed])}"
        )
    return _load_own(reference)


def _started(backend: type[Adapter], device: str) -> Adapter:
    """The adapter of a class, once it has said its name, device and versions."""
    check_complete(backend)
    adapter = answer_of(backend, "__init__", lambda: backend(device))
    check_started(adapter)
    check_versions(backend, answer_of(backend, "versions", adapter.versions))
    return adapter


def _load_own(name: str) -> type[Adapter]:
    """A backend of this project."""
    place = f"kernels.{name}" if (_KERNELS / f"{name}.py").is_file() else f"{name}.backend"
    try:
        module = importlib.import_module(f"adapters.{place}")
    except ModuleNotFoundError as error:
        raise AdapterError(
            f"backend {name!r} needs the package {error.name!r}, which is not installed; get it with: {extra(name)}"
        ) from None
    adapter: type[Adapter] = module.ADAPTER
    return adapter


def _load_installed(name: str, entries: list[EntryPoint]) -> type[Adapter]:
    """A backend of an installed package; no two may have one name."""
    origins = [*(["this project"] if name in backend_names() else []), *sorted(map(_origin, entries))]
    if len(origins) > 1:
        raise AdapterError(
            f"backend {name!r} is offered by {' and '.join(origins)} (entry point group {ENTRY_POINTS!r}); "
            "uninstall or rename all but one, or give file.py:Class, module:Class"
        )
    where = f"backend {name!r} of {origins[0]}"
    try:
        loaded = entries[0].load()
    except (Exception, SystemExit) as error:  # a package of anyone's may fail in any way; say which and how, in one line
        raise AdapterError(f"{where}: loading {entries[0].value!r} failed: {told(error)}") from error
    adapter = _adapter_class(loaded, where)
    if adapter.name != name:
        raise AdapterError(f"{where}: the adapter calls itself {adapter.name!r}; allowed: name = {name!r}, as its entry point")
    return adapter


def _origin(entry: EntryPoint) -> str:
    return "an installed package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


def _adapter_class(loaded: Any, where: str) -> type[Adapter]:
    if not (isinstance(loaded, type) and issubclass(loaded, Adapter)):
        raise AdapterError(f"{where}: {loaded!r} is not a subclass of adapters.adapter.Adapter")
    return loaded


def operations_on_trial(adapter: Adapter, implementation: str | None) -> tuple[Operation, ...]:
    """The adapter's own operations, or those that judge a callable of the user's.

    Arguments:
      adapter: the backend on trial.
      implementation: path/to/file.py:name or package.module:name of the callable; None for the backend's own operations.

    Returns:
      The operations; those of a callable in the arithmetic that it declares (`adapters.arithmetic`), and with the limits that
      it is declared with (`adapters.limits`), not yet applied.

    Raises:
      AdapterError: there is no such callable, the backend takes none, or its code raised; see `adapters.answers`.
    """
    if implementation is None:
        with adapter.foreign.running(f"listing the operations of {adapter.name}"):
            return _listed(adapter, "operations", adapter.operations)
    with adapter.foreign.running(f"importing {implementation.rpartition(':')[0]}"):
        kernel = load_attribute(implementation, "--implementation")
    operations = _listed(adapter, "implementation", lambda: adapter.implementation(kernel))
    try:
        return tuple(replace(as_declared(op, kernel), implementation=implementation) for op in operations)
    except ValueError as error:
        raise AdapterError(f"--implementation={implementation}: {error}") from None


def as_declared(operation: Operation, kernel: object) -> Operation:
    """An operation that judges a kernel of the user's, with what its decorators declare."""
    own = operation.of_kernel().computing(arithmetic_of_kernel(kernel))
    return replace(own, limits=limits_of(kernel), may_refuse=getattr(kernel, MAY_REFUSE, True))


def _listed(adapter: Adapter, method: str, call: Callable[[], Iterable[Operation]]) -> tuple[Operation, ...]:
    """The operations that a method of an adapter gives."""
    return checked_operations(type(adapter), method, answer_of(type(adapter), method, lambda: _whole(call())))


def _whole(given: Any) -> Any:
    """What a generator gives, so that what it raises is told as its method's; anything else as it is."""
    return tuple(given) if isinstance(given, Iterator) else given


def load_attribute(reference: str, option: str) -> Any:
    """What path/to/file.py:attribute or package.module:attribute names.

    Raises:
      AdapterError: the form is wrong, or there is no such file, module or attribute, or importing it fails.
    """
    place, _, attribute = reference.rpartition(":")
    if not place or not attribute:
        raise AdapterError(f"{option}={reference}: allowed: path/to/file.py:name or package.module:name")
    module = load_module(place, option)
    if not hasattr(module, attribute):
        near = nearest(attribute, _public(module))
        raise AdapterError(f"{option}={reference}: {lacks(module, place, attribute)}{near}")
    return getattr(module, attribute)


def lacks(module: ModuleType, place: str, attribute: str) -> str:
    """That a module has no such attribute, and what it has."""
    return f"{place} has no {attribute!r}; it has: {', '.join(_public(module))[:200] or 'nothing'}"


def _public(module: ModuleType) -> list[str]:
    return [name for name in vars(module) if not name.startswith("_")]


def load_module(place: str, option: str) -> ModuleType:
    """The module of path/to/file.py or package.module.

    Raises:
      AdapterError: there is no such file or module, or importing it fails.
    """
    return _module_from_file(place, option) if place.endswith(".py") else _module_named(place, option)


def _module_from_file(place: str, option: str) -> ModuleType:
    path = Path(place)
    if not path.is_file():
        raise AdapterError(f"{option}: there is no file {place!r}; allowed: path/to/file.py:name or package.module:name")
    name = module_name(place)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.resolve().parent) not in sys.path:
        sys.path.append(str(path.resolve().parent))  # a file may import what lies beside it; last, so that nothing is hidden
    try:
        spec.loader.exec_module(module)
    except (AdapterError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a user's file may fail in any way; say which file and how, in one line
        line = place_of(error, {str(path.resolve())})
        raise AdapterError(f"{option}: importing {place} failed: {told(error)}{line}") from error
    return module


def _module_named(place: str, option: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except (Exception, SystemExit) as error:  # as above
        raise AdapterError(f"{option}: importing {place!r} failed: {told(error)}") from error
