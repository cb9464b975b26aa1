"""Reads JSON that others give, more strictly than Python does: what it would take in silence is refused in a sentence."""

from __future__ import annotations

import json
from math import isinf
from typing import Any, NoReturn

DEEPEST = 32
"""Lists and objects in one another: a report has 9."""
_LONGEST_NUMBER = 400
"""Characters: every float64 fits, and Python reads integers of so many in no time."""


def json_of(text: str) -> Any:
    """The value of a JSON text.

    Raises:
      ValueError: it is not JSON, has a key twice in an object, NaN, an infinity or a number beyond float64, or is nested too
        deeply.

    >>> json_of('{"rows": 1, "rows": 2}')
    Traceback (most recent call last):
    ...
    ValueError: key 'rows' stands twice in an object; allowed: each key once
    """
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refused, parse_float=_finite, parse_int=_whole)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    _check_depth(value)
    return value


_TOO_DEEP = f"it is nested too deeply; allowed: {DEEPEST} lists and objects in one another"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(f"key {key[:_LONGEST_NUMBER]!r} stands twice in an object; allowed: each key once")
        made[key] = value
    return made


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    """A decimal number, unless it would silently be an infinity or zero."""
    value = float(digits)
    if isinf(value):
        raise ValueError(f"{digits[:_LONGEST_NUMBER]} is above the largest float64")
    if value == 0 and digits.lower().partition("e")[0].strip("-0."):
        raise ValueError(f"{digits[:_LONGEST_NUMBER]} is not 0 and below the least float64")
    return value


def _whole(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError(f"a whole number has {len(digits)} digits; allowed: {_LONGEST_NUMBER}")
    return int(digits)


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, list | dict)]:
        depth += 1
        if depth > DEEPEST:
            raise ValueError(_TOO_DEEP)
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
