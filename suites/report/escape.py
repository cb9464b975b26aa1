"""Spells out what a terminal, a browser or a CI job would obey in the text of a kernel, a claims file or a report."""

from __future__ import annotations


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
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
