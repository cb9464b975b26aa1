"""Pieces of Markdown: text and code in which nothing that a report says is markup, and tables."""

from __future__ import annotations

from html import escape


def plain(text: str) -> str:
    """Text in which nothing is markup.

    >>> plain("a <b> | [c](d)")
    'a &lt;b&gt; \\\\| \\\\[c](d)'
    """
    return escape(" ".join(text.split()), quote=False).replace("|", "\\|").replace("[", "\\[")


def code(text: str) -> str:
    """A code span; a backtick in it would end it.

    >>> code("a`b | c")
    "`a'b \\\\| c`"
    """
    return f"`{' '.join(text.split()).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table of cells that are Markdown already.

    >>> print(table(["a", "b"], [["1", "2"]]))
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)
