"""Spells out what a terminal, a browser or a CI job would obey in the text of a kernel, a claims file or a report."""

from __future__ import annotations

import re

_COMMAND = re.compile(r"##(?=\w*\[)|^ *::(?=\w)")
"""The head of `##[error]` and `##vso[task...]`, which CI jobs obey anywhere in a line, and of `::error::` at its start."""


def printable(text: str) -> str:
    """Text of several lines without control and formatting characters, which are spelt out; line ends stay.

    >>> printable("\\x1b[31mred")
    '\\\\x1b[31mred'
    """
    return "\n".join(map(one_line, text.split("\n")))


def one_line(text: str) -> str:
    """The same of text that is one line: a line end in it would begin a line that says something else.

    >>> print(one_line("2.0\\n::error::forged"), one_line("\\u202eabc"))
    2.0\\n::error::forged \\u202eabc
    >>> print(one_line("1.0 ##[error]forged"))
    1.0 #\\x23[error]forged
    >>> print(one_line("  ::error::forged"), one_line("a::b"))
      :\\x3aerror::forged a::b
    """
    spelt = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return _COMMAND.sub(lambda head: f"{head[0][:-1]}\\x{ord(head[0][-1]):x}", spelt)
