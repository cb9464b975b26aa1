"""Pieces of Markdown: text and code in which nothing that a report says is markup, and tables."""

from __future__ import annotations

import re
from html import escape

from suites.report.escape import one_line

_MARKUP = re.compile(r"[\\`*~|\[]|(?<![^\W_])_+|_+(?![^\W_])")
"""Characters that mean something; an underscore does at the edge of a word."""


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


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table of cells that are Markdown already.

    >>> print(table(["a", "b"], [["1", "2"]]))
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)
