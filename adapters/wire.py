"""Turns what a worker says into data and back: JSON, and the bytes of arrays. Reading it runs no code but that of this file.

Only the classes of `_TRAVELLING` are made, each from the types of its fields; a callable travels as None.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from adapters.adapter import Observed
from adapters.limits import Limit
from adapters.operation import Operation
from adapters.script import Script
from adapters.sources import Sources
from adapters.usage import Usage
from reference.arithmetic import Arithmetic, Summation
from reference.formats import DESCRIBED, FORMATS, Format


class ForgedError(Exception):
    """What came is nothing that a worker says."""


class UnsendableError(Exception):
    """A value is of a class that does not travel."""


@dataclass(frozen=True)
class Greeting:
    """What a worker says first: its number, and which files it runs."""

    pid: int
    sources: Sources


@dataclass(frozen=True)
class Description:
    """What the other side must know of a backend: all of it but the callables."""

    name: str
    device: str
    devices: tuple[str, ...]
    versions: Mapping[str, str]
    operations: tuple[Operation, ...]
    main: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    """What is told of the floating-point state that loading it has set."""
    usages: Mapping[str, tuple[Usage, ...]] = field(default_factory=dict)
    """By label of an operation, those in which it can be asked."""


@dataclass(frozen=True)
class Step:
    """A call that is about to be made while a kernel is loaded, in words; see `adapters.steps`."""

    what: str


@dataclass(frozen=True)
class Message:
    """A text, and the bytes of all its arrays, one after another."""

    text: bytes | bytearray
    arrays: bytes | bytearray


_TRAVELLING = (Greeting, Sources, Step, Description, Operation, Arithmetic, Summation, Limit, Observed, Script)
_SEVERAL: dict[Any, Callable[[Iterable[Any]], Any]] = {tuple: tuple, frozenset: frozenset, Sequence: list}
_FORMATS = FORMATS | DESCRIBED
_hints = cache(get_type_hints)
_DTYPES = {np.dtype(kind).str: np.dtype(kind) for kind in (np.float16, np.float32, np.float64, np.longdouble)}


def message_of(value: Any) -> Message:
    """A value as a message.

    Raises:
      UnsendableError: a value in it is of another class than those that travel.
    """
    arrays: list[bytes] = []
    return Message(json.dumps(_plain(value, arrays)).encode("ascii"), b"".join(arrays))


def _plain(value: Any, arrays: list[bytes]) -> Any:
    """A value in terms of JSON; an array is its dtype, shape and order there."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(each, arrays) for name, each in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [_plain(each, arrays) for each in value]
    if isinstance(value, np.ndarray) and value.dtype.str in _DTYPES:
        order: Any = "F" if value.flags.fnc else "C"
        arrays.append(value.tobytes(order))
        return [value.dtype.str, list(value.shape), order]
    if isinstance(value, Format) and _FORMATS.get(value.name) == value:
        return value.name
    if type(value) in _TRAVELLING:
        return {each.name: _plain(getattr(value, each.name), arrays) for each in fields(value)}
    raise UnsendableError(f"{value!r} is of {type(value)!r}, which does not travel")


def value_of(message: Message, kind: Any) -> Any:
    """The value of a kind that a message says: a class that travels, a class of JSON, or a union of these.

    Raises:
      ForgedError: it says none.
    """
    arrays = _Arrays(message.arrays)
    try:
        value = _made(kind, json.loads(message.text), arrays)
    except Exception as error:  # whatever was written there: a worker is no reason to fail here
        raise ForgedError from error
    if arrays.left:
        raise ForgedError
    return value


class _Arrays:
    """The bytes of arrays that have not been read yet."""

    def __init__(self, data: bytes | bytearray) -> None:
        self.left = memoryview(data)

    def next(self, dtype: str, shape: Any, order: Any) -> NDArray[Any]:
        """An array of its own; numpy refuses a shape for which there are too few bytes."""
        sizes = [_checked(int, size) for size in _checked(list, shape)]
        if min(sizes, default=0) < 0:
            raise ValueError
        array: NDArray[Any] = np.ndarray(sizes, _DTYPES[dtype], self.left, order=order)
        self.left = self.left[array.nbytes :]
        return np.array(array)


def _made(kind: Any, given: Any, arrays: _Arrays) -> Any:
    """The value of a kind, a type as the fields of a dataclass have it, from terms of JSON."""
    if type(given) is kind:
        return given
    origin, arguments = _parts(kind)
    if origin in (Union, UnionType):
        return _made(next(each for each in arguments if _fits(each, given)), given, arrays)
    if origin in _SEVERAL:
        return _SEVERAL[origin](_made(arguments[0], each, arrays) for each in _checked(list, given))
    if origin is Mapping:
        pairs = _checked(dict, given).items()
        return {_made(arguments[0], name, arrays): _made(arguments[1], each, arrays) for name, each in pairs}
    if origin is np.ndarray:
        return arrays.next(*given)
    if origin is Format:
        return _FORMATS[given]
    if origin in _TRAVELLING:
        return _instance(origin, _checked(dict, given), arrays)
    return _scalar(origin, given)


@cache
def _parts(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """What a type is of, and its arguments: tuple and (str, ...)."""
    return get_origin(kind) or kind, get_args(kind)


def _fits(kind: Any, given: Any) -> bool:
    """True if terms of JSON may be of a kind, by their class, or by the names of their fields."""
    wanted, _ = _parts(kind)
    if wanted is Format:  # a dataclass, but written by its name
        return type(given) is str
    if is_dataclass(wanted):
        return type(given) is dict and set(given) == {each.name for each in fields(wanted)}
    return type(given) is (list if wanted in _SEVERAL else wanted)


def _instance(kind: type, given: dict[str, Any], arrays: _Arrays) -> Any:
    types = _hints(kind)
    if set(given) != set(types):
        raise ValueError
    return kind(**{name: _made(types[name], each, arrays) for name, each in given.items()})


def _scalar(kind: Any, given: Any) -> Any:
    if kind is Any:
        return _checked(NoneType, given)
    if issubclass(kind, StrEnum):
        return kind(given)
    if kind is float and type(given) is int:
        float(given)  # raises where it is too large for one
        return given
    return _checked(kind, given)


def _checked(kind: type, given: Any) -> Any:
    if type(given) is not kind:
        raise TypeError
    return given
