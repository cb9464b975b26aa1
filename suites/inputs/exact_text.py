"""Numbers of a case as text: exact, bounded, and short where a row repeats them.

A number is a hexadecimal string ('0x1.4p+4'), 'inf', '-inf' or 'nan'; "0x0p+0 * 70000" repeats it, "0x1p+0 0x0p+0 * 50" a
pattern. A number of JSON or TOML is taken as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from reference.formats import Floats
from reference.validation import shown

LARGEST_PROBLEM = 2**24
"""Numbers of an array: 128 MiB of them in float64, 64 rows of the largest vocabulary that is searched."""
_LONGEST_PATTERN = 12
_SHORT_ROW = 24
"""Numbers of a row that a person reads one by one."""
_LONGEST_NUMBER = 64
"""Characters: float.hex writes 24."""

_HEXADECIMAL = re.compile(r"[+-]?0[xX]([0-9a-fA-F]+)(?:\.([0-9a-fA-F]*))?(?:[pP]([+-]?[0-9]{1,5}))?")


def parse_number(given: object) -> float:
    """The float64 that a hexadecimal string, 'inf', '-inf' or 'nan' names exactly; a number as it is.

    Raises:
      ValueError: it is none of them, such as a string without 0x, which float.fromhex would take; or no float64 equals it.

    >>> parse_number("0x1.4p+4"), parse_number("-inf"), parse_number(0.5)
    (20.0, -inf, 0.5)
    """
    if isinstance(given, float) or (isinstance(given, int) and not isinstance(given, bool)):
        return _exact(given)
    if isinstance(given, str) and len(given) <= _LONGEST_NUMBER:
        if re.fullmatch(r"[+-]?inf|nan", given):
            return float(given)
        if found := _HEXADECIMAL.fullmatch(given):
            return _of_hexadecimal(given, *found.groups(""))
    raise ValueError(
        f"number {shown(given)}; allowed: hexadecimal such as '0x1.4p+4', 'inf', '-inf', 'nan', or a number unquoted"
    )


def _exact(given: float) -> float:
    try:
        number = float(given)
    except OverflowError:
        number = np.inf
    if number != given and given == given:
        raise ValueError(f"number {shown(given)} is no float64; allowed: what float64 has exactly")
    return number


def _of_hexadecimal(text: str, whole: str, fraction: str, exponent: str) -> float:
    """The number, whose significand of 53 bits is within the exponents of float64."""
    digits, scale = int(whole + fraction, 16), int(exponent or 0) - 4 * len(fraction)
    if digits:
        trailing = (digits & -digits).bit_length() - 1
        length, least = digits.bit_length() - trailing, scale + trailing
        if length > 53 or least < -1074 or least + length > 1024:
            raise ValueError(f"number {text!r} is no float64; allowed: what float64 has exactly")
    return float.fromhex(text)


def parse_row(entries: Iterable[object], most: int = LARGEST_PROBLEM) -> list[float]:
    """A row of at most so many numbers; "x * n" stands for n times x, "x y * n" for n times x and y.

    Raises:
      ValueError: an entry is no number, or is repeated too often.

    >>> parse_row(["0x1.4p+4", "0x0p+0 * 3", "-inf", 0.5, "0x1p+0 0x0p+0 * 2"])
    [20.0, 0.0, 0.0, 0.0, -inf, 0.5, 1.0, 0.0, 1.0, 0.0]
    """
    row: list[float] = []
    for entry in entries:
        if not isinstance(entry, str):
            row.append(parse_number(entry))
            continue
        pattern, star, times = entry.partition("*")
        numbers = [parse_number(number) for number in pattern.split()]
        if not numbers or (star and not re.fullmatch(r" *0*[1-9][0-9]{0,8} *", times)):
            raise ValueError(f"entry {shown(entry)}; allowed: a number, or numbers * n with n from 1 on")
        count = int(times) if star else 1
        check_size(len(row) + len(numbers) * count, most)
        row += numbers * count
    return row


def parse_table(rows: Iterable[object], what: str) -> NDArray[np.float64]:
    """Rows of as many numbers each.

    Raises:
      ValueError: they are not, or are no lists of numbers, or are too many.
    """
    parsed: list[list[float]] = []
    left = LARGEST_PROBLEM
    for row in rows:
        if not isinstance(row, list):
            raise ValueError(f"{what} has {shown(row)} among its rows; allowed: a list of numbers for each")
        parsed.append(parse_row(row, left))
        left -= len(parsed[-1])
        if len(parsed[-1]) != len(parsed[0]):
            lengths = sorted((len(parsed[0]), len(parsed[-1])))
            raise ValueError(f"{what} has rows of {' and '.join(map(str, lengths))} numbers; allowed: as many in each")
    return np.array(parsed, dtype=np.float64)


def check_size(numbers: int, most: int = LARGEST_PROBLEM) -> None:
    """Refuse to make more numbers than an array may have.

    Raises:
      ValueError: they are more.
    """
    if numbers > most:
        raise ValueError(f"{numbers} numbers are asked for; allowed: {LARGEST_PROBLEM} in a problem")


def format_row(values: Floats) -> list[str]:
    """The inverse of `parse_row`: what repeats is written once, in long rows patterns of a few numbers too.

    >>> format_row(np.array([20.0, 0.0, 0.0, 0.0, -np.inf]))
    ['0x1.4000000000000p+4', '0x0.0p+0 * 3', '-inf']
    >>> format_row(np.array([1.0, 0.0, 2.0] + [0.0, 1.0] * 50))[2:]
    ['0x1.0000000000000p+1', '0x0.0p+0 0x1.0000000000000p+0 * 50']
    """
    texts = [float(v).hex() for v in values.tolist()]
    entries: list[str] = []
    start = 0
    while start < len(texts):
        period, times = _repetition(texts, start)
        pattern = " ".join(texts[start : start + period])
        entries.append(f"{pattern} * {times}" if times > 1 else pattern)
        start += period * times
    return entries


def _repetition(texts: list[str], start: int) -> tuple[int, int]:
    """Period and number of repetitions of the pattern at a place that covers most; (1, 1) where nothing repeats."""
    best = (1, 1)
    for period in range(1, _LONGEST_PATTERN + 1) if len(texts) > _SHORT_ROW else (1,):
        end = start + period
        while end < len(texts) and texts[end] == texts[end - period]:
            end += 1
        times = (end - start) // period
        if times > 1 and times * period > best[0] * best[1]:
            best = (period, times)
    return best
