"""Pieces of Markdown: text and code in which nothing that a report says is markup, and tables."""

from __future__ import annotations

import re
from html import escape

from suites.report.escape import one_line

_MARKUP = re.compile(r"[\\`*~|\[]|(?<![^\W_])_+|_+(?![^\W_])")
"""Characters that mean something; an underscore does at the edge of a word."""
_ENDING = re.compile(r"[()<>\[\]|\\`]")
"""Characters of an address that would end the link, its cell, or its being no more than a link."""


def plain(text: str) -> str:
    """Text in which nothing is markup.

    >>> print(plain("a <b> | [c](d) e_f __call__"))
    a &lt;b&gt; \\| \\[c](d) e_f \\_\\_call\\_\\_
    """
    return escape(_MARKUP.sub(_literal, one_line(" ".join(text.split()))), quote=False)


def _literal(markup: re.Match[str]) -> str:
    return "".join(f"\\{character}" for character in markup[0])


def code(text: str) -> str:
    """A code span; a backtick in it would end it.

    >>> code("a`b | c")
    "`a'b \\\\| c`"
    """
    return f"`{one_line(' '.join(text.split())).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def link(text: str, place: str) -> str:
    """A link to an address, with text that is Markdown already; what would end either is percent-encoded there.

    >>> print(link("a", "https://example.org/b_(c)|<d>"))
    [a](https://example.org/b_%28c%29%7C%3Cd%3E)
    """
    return f"[{text}]({_ENDING.sub(lambda character: f'%{ord(character[0]):02X}', place)})"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table of cells that are Markdown already.

    >>> print(table(["a", "b"], [["1", "2"]]))
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)
