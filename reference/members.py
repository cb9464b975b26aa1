"""Arrays of numbers that a format has, each taken at its exact binary value."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from reference.formats import Floats, Format

_NOT_NUMBERS = "cSUMmV"
"""Kinds of NumPy dtypes that a cast would make numbers of: complex, text, dates and records. Those of ml_dtypes are numbers."""


def members(fmt: Format, name: str, values: ArrayLike, astray: tuple[float, ...] = ()) -> Floats:
    """The values in float64: members of a format that are finite, or one of `astray`.

    Raises:
      ValueError: a value is none of them; the message names the array, the value and what is allowed.

    >>> from reference.formats import FLOAT32
    >>> members(FLOAT32, "bias", [0.5, -np.inf], (-np.inf,)).tolist()
    [0.5, -inf]
    >>> members(FLOAT32, "bias", [0.1])
    Traceback (most recent call last):
    ...
    ValueError: bias[0] is 0.1; allowed: finite float32 numbers
    """
    try:
        array = _exact(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} is not an array of numbers ({error}); allowed: {fmt.name} values") from None
    bad, odd = ~fmt.contains(array), ~np.isfinite(array)
    if odd.any():  # seldom: most arrays are spared the search
        bad[odd] |= ~(np.isin(array[odd], astray) | (np.isnan(array[odd]) & np.isnan(astray).any()))
    if bad.any():
        where = ", ".join(str(int(i)) for i in np.argwhere(bad)[0])
        raise ValueError(f"{name}[{where}] is {float(array[bad].flat[0])!r}; allowed: {_allowed(fmt, astray)}")
    return array


def _allowed(fmt: Format, astray: tuple[float, ...]) -> str:
    if np.isnan(astray).any():
        return f"{fmt.name} numbers"
    return " or ".join([f"finite {fmt.name} numbers", *map(str, astray)])


def _exact(values: ArrayLike) -> Floats:
    """The values in float64.

    Raises:
      ValueError: they are no numbers, some are masked, or one is no float64 and would be rounded.
    """
    given = np.asarray(values)
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError("some of it is masked")
    if given.dtype.kind in _NOT_NUMBERS and not given.dtype.name.startswith(("bfloat", "float")):
        raise ValueError(f"its dtype is {given.dtype}")
    array = np.array(given, dtype=np.float64)
    if given.dtype.itemsize >= 8 and given.dtype != np.float64:
        wide = given.astype(object) if given.dtype.kind in "iu" else given
        if not ((array == wide) | np.isnan(array)).all():
            raise ValueError("a number of it is no float64")
    return array
