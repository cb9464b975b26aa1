"""Names as a caller writes them: each stands for the member of that name; where there is none, the nearest is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    raise ValueError(f"{kind.__name__.lower()} {not_known(given, known)}")


def not_known(given: object, known: Iterable[object]) -> str:
    """A name that is not known, those that are, and the nearest.

    >>> not_known("flaot32", ["float64", "float32"])
    "'flaot32' is not known; allowed: float64, float32; the nearest is 'float32'"
    """
    names = list(map(str, known))
    return f"{given!r} is not known; allowed: {', '.join(names)}{nearest(given, names)}"


def nearest(given: object, known: Iterable[object]) -> str:
    """The end of a message about a name that is not known: the known one that is near; empty if none is.

    >>> nearest("wet", ["masked", "ties"])
    ''
    """
    near = get_close_matches(str(given).lower(), list(map(str, known)), n=1)
    return f"; the nearest is {near[0]!r}" if near else ""
