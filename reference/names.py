"""Names of quantities, grades, formats and tiers, as a caller writes them: each stands for the member of that name."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")


def named(kind: type[T], given: T | str, known: Mapping[str, T]) -> T:
    """A member of a kind, as it is given or by its name.

    Raises:
      ValueError: it is neither; the message lists the names there are, and the nearest one.

    >>> named(int, "two", {"one": 1, "two": 2}), named(int, 3, {"one": 1, "two": 2})
    (2, 3)
    >>> named(int, "tow", {"one": 1, "two": 2})
    Traceback (most recent call last):
    ...
    ValueError: int 'tow' is not known; allowed: one, two; the nearest is 'two'
    """
    if isinstance(given, kind):
        return given
    if isinstance(given, str) and given in known:
        return known[given]
    near = get_close_matches(str(given).lower(), known, n=1)
    hint = f"; the nearest is {near[0]!r}" if near else ""
    raise ValueError(f"{kind.__name__.lower()} {given!r} is not known; allowed: {', '.join(known)}{hint}")
