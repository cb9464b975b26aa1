"""Checks what a backend says of itself when it is loaded: its methods, name, device, versions and operations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from adapters.adapter import Adapter, AdapterError
from adapters.answers import head_of, name_of
from adapters.operation import Operation
from adapters.returned import described
from reference.arithmetic import Arithmetic
from reference.formats import FORMATS
from reference.names import not_known
from reference.options import OPTIONS
from reference.quantity import Quantity

_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_WORD = "letters, digits, '_', '.' and '-'"


def check_complete(backend: type[Adapter]) -> None:
    """Refuse a class that leaves out methods of the protocol, before Python does without naming what they are for.

    Raises:
      AdapterError: methods are left out; names them.
    """
    if missing := sorted(getattr(backend, "__abstractmethods__", ())):
        methods = ", ".join(f"{name}()" for name in missing)
        raise _error(backend, f"its class leaves out {methods}; adapters/README.md says what they return ({head_of(backend)})")


def check_started(adapter: Adapter) -> None:
    """Refuse a backend without a name or a device.

    Raises:
      AdapterError: one is no string, or the name has other characters.
    """
    for attribute in ("name", "device"):
        if not isinstance(given := getattr(adapter, attribute, None), str):
            raise _error(
                type(adapter),
                f"its {attribute} is {given!r}; allowed: a string (a name of the class, and the "
                "device that super().__init__(device) keeps)",
            )
    if not _NAME.fullmatch(adapter.name):
        raise _error(type(adapter), f"its name is {adapter.name!r}; allowed: {_WORD}")


def check_versions(backend: type[Adapter], versions: Any) -> None:
    """Refuse versions that are no table of strings.

    Raises:
      AdapterError: they are not.
    """
    strings = isinstance(versions, dict) and all(isinstance(text, str) for pair in versions.items() for text in pair)
    if not (versions and strings):
        raise _error(backend, f"versions() is {versions!r}; allowed: {{'package': 'version', ...}}")


def checked_operations(backend: type[Adapter], method: str, given: Any) -> tuple[Operation, ...]:
    """The operations that a method returned.

    Raises:
      AdapterError: they are no tuple or list of operations, there are none, or what one says of itself is not allowed.
    """
    if not isinstance(given, tuple | list):
        raise _error(backend, f"{method}() returned {described(given)}; allowed: a tuple of adapters.operation.Operation")
    if not given:
        raise _error(backend, f"{method}() lists no operation; allowed: one or more of adapters.operation.Operation")
    for operation in given:
        if not isinstance(operation, Operation):
            raise _error(backend, f"{method}() gives {operation!r}; allowed: adapters.operation.Operation")
        try:
            _check(operation)
        except ValueError as error:
            raise _error(backend, f"{method}(), operation {operation.name!r}: {error}") from None
    if twice := [label for label, count in Counter(operation.label for operation in given).items() if count > 1]:
        raise _error(backend, f"{method}() lists {twice[0]!r} twice; allowed: each name once in a mode")
    return tuple(given)


def _check(operation: Operation) -> None:
    for what, name in (("name", operation.name), ("mode", operation.mode)):
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise ValueError(f"its {what} is {name!r}; allowed: {_WORD}")
    _check_names(operation.quantities, Quantity, "quantities")
    _check_names(operation.arithmetic, FORMATS, "arithmetic")
    if not all(isinstance(declared, Arithmetic) for declared in operation.arithmetic.values()):
        raise ValueError(f"arithmetic is {dict(operation.arithmetic)!r}; allowed: a reference.Arithmetic for each dtype")
    if not isinstance(operation.options, frozenset | set):
        raise ValueError(f"options is {operation.options!r}; allowed: a frozenset of names")
    _check_each(sorted(operation.options), OPTIONS, "option")


def _check_names(given: Any, allowed: Iterable[str], what: str) -> None:
    """Refuse a string in the place of several, and none."""
    if isinstance(given, str) or not given:
        raise ValueError(f"{what} is {given!r}; allowed: one or more of {', '.join(allowed)}")
    _check_each(given, allowed, what)


def _check_each(given: Iterable[Any], allowed: Iterable[str], what: str) -> None:
    known = list(allowed)
    for name in given:
        if name not in known:
            raise ValueError(f"{what} {not_known(name, known)}")


def _error(backend: type[Adapter], said: str) -> AdapterError:
    return AdapterError(f"backend {name_of(backend)!r}: {said}")
