"""Says in one sentence what a JSON schema refuses: where, what was given, what is allowed, and the nearest right name.

A schema may say in words what is allowed, in `allowed` beside the keywords that ask it; sizes and names are told all the same:

  {"type": "array", "items": {...}, "maxItems": 10, "allowed": "a list of names or globs"}

Stricter than JSON schema is: 1.0 and true are no integers, NaN and infinity are no numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from reprlib import Repr
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend

from reference.names import nearest

Schema = dict[str, Any]

INT64 = (-(2**63), 2**63 - 1)
_LONGEST_NAME = 200
"""Characters of a name for which the nearest is looked for."""
_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
"""Control characters, line ends, and what turns the direction of a text."""


def text(longest: int, allowed: str = "a text of one line that is not empty") -> Schema:
    """The schema of a text that is shown to people: of one line, not blank, without control characters."""
    pattern = rf"\A[^{_CONTROL}]*[^{_CONTROL}\s][^{_CONTROL}]*\Z"
    return {"type": "string", "maxLength": longest, "pattern": pattern, "allowed": allowed}


def whole(least: int = 0, most: int = INT64[1]) -> Schema:
    """The schema of a whole number."""
    upto = f"from {least} on" if most == INT64[1] else f"from {least} to {most}"
    return {"type": "integer", "minimum": least, "maximum": most, "allowed": f"a whole number {upto}"}


def names(known: Iterable[object], least: int = 0) -> Schema:
    """The schema of a list of names that are known, none of them twice: that is a slip, for another name or none."""
    allowed = list(map(str, known))
    return listed({"enum": allowed}, f"a list of {', '.join(allowed)}, each at most once", least) | {"uniqueItems": True}


def listed(items: Schema, allowed: str, least: int = 1, most: int = 1000) -> Schema:
    """The schema of a list, which is not empty unless `least` is 0."""
    return {"type": "array", "minItems": least, "maxItems": most, "items": items, "allowed": allowed}


def table(properties: Mapping[str, Schema], required: Iterable[str] = ()) -> Schema:
    """The schema of a table that has no other keys."""
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": dict(properties)}


def validator(schema: Schema) -> Any:
    """What validates by a schema.

    Raises:
      SchemaError: the schema is none.
    """
    Draft202012Validator.check_schema(schema)
    return _STRICT(schema)


def first_error(strict: Any, given: object) -> ValidationError | None:
    """The first thing that a validator refuses, in the schema's order; None if it takes all.

    An unknown key goes before everything: it is why another one is missing.

    Raises:
      ValueError: the given is nested too deeply for a schema, or has an integer of thousands of digits.
    """
    try:
        errors = list(strict.iter_errors(given))
    except (RecursionError, ValueError):  # jsonschema quotes what it refuses, whatever that is
        raise ValueError("it is nested too deeply, or has an integer of thousands of digits") from None
    first = min(errors, key=lambda error: error.validator != "additionalProperties", default=None)
    if first is None or not first.context or "allowed" in first.schema:
        return first
    return best_match(iter([first]))


def check(strict: Any, given: object) -> None:
    """Refuse what a validator refuses.

    Raises:
      ValueError: says the first error in a sentence.

    >>> strict = validator({"properties": {"rows": whole(1, 9), "dtype": {"enum": ["float32"]}}, "additionalProperties": False})
    >>> check(strict, {"rows": 2.0})
    Traceback (most recent call last):
    ...
    ValueError: rows is 2.0; allowed: a whole number from 1 to 9
    >>> check(strict, {"row": 2})
    Traceback (most recent call last):
    ...
    ValueError: unknown keys ['row']; allowed: rows, dtype; the nearest is 'rows'
    """
    if (error := first_error(strict, given)) is not None:
        raise ValueError(sentence(error))


def sentence(error: ValidationError, skip: int = 0) -> str:
    """An error of `first_error` in a sentence; the first `skip` steps of its place are left out, for who tells them."""
    steps = list(error.absolute_path)[skip:]
    place = _place(steps)
    if error.validator == "additionalProperties" and error.validator_value is False:
        return _at(place, _unknown(error))
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return _at(place, f"{missing!r} is missing; needed: {', '.join(error.validator_value)}")
    if error.validator == "enum":
        listed = bool(steps) and isinstance(steps[-1], int)
        return f"{_place(steps[:-1] if listed else steps) or 'it'} {_not_known(error.instance, error.validator_value)}"
    if error.validator in _SIZES:
        size = f"has {len(error.instance)} {_SIZES[error.validator]}"
        return f"{place or 'it'} {size}; allowed: at most {error.validator_value}; given: {shown(error.instance)}"
    return f"{place or 'it'} is {shown(error.instance)}; allowed: {_allowed(error)}"


def shown(given: object) -> str:
    """What was given, as Python writes it, in its beginning and end if it is long.

    >>> shown("a" * 1000)[-8:], shown([[[[[1]]]]]), shown(16**9999)
    ("aaaaaaa'", '[[[[[...]]]]]', 'an integer of 39997 bits')
    """
    return _SHORT.repr(given)


class _Short(Repr):
    """Cuts what is long, and writes no integer whose digits Python refuses to write."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 4, 100, 100, 40

    def repr_int(self, given: int, level: int) -> str:
        """An integer, or how long it is."""
        return super().repr_int(given, level) if abs(given) < 2**256 else f"an integer of {given.bit_length()} bits"


def _place(steps: list[Any]) -> str:
    """A place as people write it: region.hazards[1]."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{_key(step)}" for step in steps).removeprefix(".")


def _key(step: Any) -> str:
    plain = isinstance(step, str) and step.replace("-", "_").isidentifier() and len(step) <= _LONGEST_NAME
    return step if plain else shown(step)


def _at(place: str, what: str) -> str:
    return f"{place}: {what}" if place else what


def _unknown(error: ValidationError) -> str:
    allowed = list(error.schema.get("properties", {}))
    unknown = sorted(map(str, set(error.instance) - set(allowed)))
    return f"unknown keys {shown(unknown)}; allowed: {', '.join(allowed)}{nearest(unknown[0][:_LONGEST_NAME], allowed)}"


def _not_known(given: object, known: list[object]) -> str:
    near = nearest(given[:_LONGEST_NAME], known) if isinstance(given, str) else ""
    return f"{shown(given)} is not known; allowed: {', '.join(map(str, known))}{near}"


def _allowed(error: ValidationError) -> str:
    """What is allowed, in the schema's words if it has some."""
    if "allowed" in error.schema:
        return error.schema["allowed"]
    words = _WORDS.get(error.validator)
    return words(error.validator_value) if words else f"{error.validator} {shown(error.validator_value)}"


def _kinds(given: str | list[str]) -> str:
    return ", or ".join(_KINDS[kind] for kind in ([given] if isinstance(given, str) else given))


def _is_integer(_: object, given: object) -> bool:
    return isinstance(given, int) and not isinstance(given, bool)


def _is_number(checker: object, given: object) -> bool:
    return _is_integer(checker, given) or (isinstance(given, float) and isfinite(given))


_SHORT = _Short()
_STRICT = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": _is_integer,
            "number": _is_number,
            "array": lambda _, given: isinstance(given, list | tuple),
            "object": lambda _, given: isinstance(given, Mapping),
        }
    ),
)
_SIZES = {"maxLength": "characters", "maxItems": "entries", "maxProperties": "keys"}
_KINDS = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a finite number",
    "boolean": "true, false",
    "array": "a list",
    "object": "a table of keys",
    "null": "null",
}
_WORDS: dict[str, Callable[[Any], str]] = {
    "type": _kinds,
    "const": shown,
    "minimum": lambda least: f"{least} or more",
    "maximum": lambda most: f"{most} or less",
    "exclusiveMinimum": lambda least: f"more than {least}",
    "exclusiveMaximum": lambda most: f"less than {most}",
    "minLength": lambda least: f"{least} characters or more",
    "minItems": lambda least: f"{least} entries or more",
    "minProperties": lambda least: f"{least} keys or more",
    "uniqueItems": lambda _: "each entry once",
    "pattern": lambda pattern: f"what matches {pattern}",
}
