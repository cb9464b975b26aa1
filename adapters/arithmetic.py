"""The arithmetic by which a user's own kernel is judged: a default, or what its decorator or its claims file declares.

A kernel inside a backend is not the backend: PyTorch stores the sum and the log-probabilities of a row in bfloat16, and a
kernel that does not may not be judged as if it did. The default is what a good kernel does. It computes in float32 (float64
for float64) and rounds its result once. It adds pairwise, as such sums are written: eight running sums over blocks of 128, and
a tree above (`BLOCKED`); a tree alone would refuse the running sum of six terms. Its exp and log are within 1 ulp, as those of
a good library are; the 2 ulps and more that some frameworks document are declared by who needs them. Subnormal numbers are
flushed where the backend flushes them: that is a state of the processor, which no kernel chooses.

The keys are the fields of `Arithmetic`, but for the storage format. This file imports no framework.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from enum import StrEnum
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from adapters.attached import attach, attached_to
from reference.arithmetic import BLOCKED, Arithmetic
from reference.formats import FLOAT32, FORMATS, Format, format_named
from reference.validation import Schema, check, names, table, validator, whole

T = TypeVar("T")

_ATTRIBUTE = "__softmax_ce_arithmetic__"
_HINTS = {name: kind for name, kind in get_type_hints(Arithmetic).items() if name != "storage"}
_MOST_ULPS = 2.0**20


def _schema_of(kind: Any) -> Schema:
    """The schema of a field, by its type."""
    if arguments := [each for each in get_args(kind) if each is not NoneType]:
        return _schema_of(arguments[0])
    if is_dataclass(kind) and kind is not Format:
        keys = {name: _schema_of(each) for name, each in get_type_hints(kind).items()}
        first, *_ = keys
        known = keys[first]["enum"]
        allowed = f"{', '.join(known)}, or a table of {', '.join(keys)}"
        return {"anyOf": [keys[first], table(keys, required=[first])], "allowed": allowed}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"enum": list(map(str, kind))}
    plain: dict[Any, Schema] = {
        bool: {"type": "boolean"},
        int: whole(1, 2**40),
        float: {"type": "number", "minimum": 0, "maximum": _MOST_ULPS, "allowed": f"a number from 0 to {_MOST_ULPS:g}"},
        Format: {"enum": list(FORMATS)},
    }
    return plain[kind]


def _value(kind: Any, given: Any) -> Any:
    """What a key says, as the field has it."""
    if arguments := [each for each in get_args(kind) if each is not NoneType]:
        return _value(arguments[0], given)
    if is_dataclass(kind) and isinstance(kind, type) and kind is not Format:
        hints = get_type_hints(kind)
        keys = given if isinstance(given, Mapping) else {next(iter(hints)): given}
        return kind(**{name: _value(hints[name], each) for name, each in keys.items()})
    return kind(given) if isinstance(kind, type) and issubclass(kind, StrEnum) else given


COMPOSED = "composed"
SCHEMA = table(
    {
        "dtypes": names(FORMATS, least=1),
        COMPOSED: {"type": "boolean"},
        **{name: _schema_of(kind) for name, kind in _HINTS.items()},
    }
)
"""The keys of a declared arithmetic; the one rule for decorators and for claims files."""

_STRICT = validator(SCHEMA)


def own_arithmetic(fmt: Format, backend: Arithmetic) -> Arithmetic:
    """The arithmetic in a format of a kernel that declares none, inside a backend with its own.

    >>> own_arithmetic(format_named("bfloat16"), Arithmetic("bfloat16", "bfloat16", exp_ulps=4.0)).describe()
    'float32 arithmetic, blocked sum, exp 1 ulp, stored once'
    """
    working = _wider(fmt, FLOAT32)
    return Arithmetic(fmt, working, summation=BLOCKED, flush_to_zero=backend.flush_to_zero).storing_once()


def _wider(first: Format, other: Format) -> Format:
    return first if first.bits > other.bits else other


@dataclass(frozen=True)
class DeclaredArithmetic:
    """What is declared of a kernel's arithmetic; an [[arithmetic]] of a claims file has these keys, `operations` and `modes`.

    Arguments:
      dtypes: formats of the logits that it is for; None for all.
      composed: True if the kernel is made of the framework's functions, each of which stores its result. It is then judged by
        the arithmetic that the backend declares for its own operations.
      keys: fields of `Arithmetic` and what they are. A `working` format that is narrower than the logits is theirs instead.

    Raises:
      ValueError: a key is not known, its value is not allowed, nothing is declared, or two keys exclude each other.
    """

    dtypes: tuple[str, ...] | None = None
    composed: bool = False
    keys: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check(_STRICT, self._given())
        if not (self.composed or self.keys):
            raise ValueError(f"nothing is declared; allowed: {', '.join([COMPOSED, *_HINTS])}")
        for fmt in FORMATS.values():
            self._computing(own_arithmetic(fmt, Arithmetic(fmt, fmt)))

    def _given(self) -> dict[str, Any]:
        return {**({} if self.dtypes is None else {"dtypes": list(self.dtypes)}), COMPOSED: self.composed, **self.keys}

    def within(self, current: Mapping[str, Arithmetic], backend: Mapping[str, Arithmetic]) -> dict[str, Arithmetic]:
        """The arithmetic of each format, once this is declared beside what was before, in a backend with its own."""
        return {
            name: self._computing(backend[name] if self.composed else before)
            if self.dtypes is None or name in self.dtypes
            else before
            for name, before in current.items()
        }

    def _computing(self, before: Arithmetic) -> Arithmetic:
        values = {name: _value(_HINTS[name], given) for name, given in self._whole().items()}
        if "working" in values:
            values["working"] = _wider(before.storage, format_named(values["working"]))
        return replace(before, **values)

    def _whole(self) -> dict[str, Any]:
        """The keys, and those that follow: what stores once stores nothing else, and what stores more does not store once."""
        if self.keys.get("stores_once"):
            return {"stores_sum": False, "stores_log_probability": False, **self.keys}
        more = self.keys.get("stores_sum") or self.keys.get("stores_log_probability")
        return {**({"stores_once": False} if more else {}), **self.keys}


def arithmetic(**keys: Any) -> Callable[[T], T]:
    """Decorator: declare the arithmetic of a kernel, with the keys of `DeclaredArithmetic`; an outer one goes before an inner.

    Raises:
      ValueError: a key is not known, its value is not allowed, or nothing is declared.
      TypeError: the object takes no attributes, such as a function written in C.

    >>> @arithmetic(exp_ulps=2.0, summation={"order": "lanes", "lanes": 32})
    ... def kernel(input, target): ...
    >>> declared, = arithmetic_of_kernel(kernel)
    >>> backend = {"float16": Arithmetic("float16", "float16")}
    >>> declared.within({"float16": own_arithmetic(FORMATS["float16"], backend["float16"])}, backend)["float16"].describe()
    'float32 arithmetic, lanes of 32 sum, exp 2 ulp, stored once'
    """
    declared = declaration_of(keys)
    return lambda kernel: attach(kernel, _ATTRIBUTE, declared, "declare its arithmetic as [[arithmetic]] in a claims file")


def arithmetic_of_kernel(kernel: object) -> tuple[DeclaredArithmetic, ...]:
    """What is declared of a kernel's arithmetic, in the order in which it applies: the innermost decorator first."""
    return attached_to(kernel, _ATTRIBUTE)[::-1]


def declaration_of(entry: Mapping[str, Any]) -> DeclaredArithmetic:
    """The declaration of a table of keys.

    Raises:
      ValueError: a key is not known, its value is not allowed, or nothing is declared.
    """
    check(_STRICT, entry)
    own = {name: given for name, given in entry.items() if name in _HINTS}
    dtypes = entry.get("dtypes")
    return DeclaredArithmetic(None if dtypes is None else tuple(dtypes), entry.get(COMPOSED, False), own)
