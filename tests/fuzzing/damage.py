"""Mutations of bytes: cut off, bits turned over, and what is put in, taken out or doubled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

PIECES = (
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\n",
    b'"',
    b"{",
    b"]",
    b",",
    b"1",
    b"e999",
    b"\\ud800",
    b"\x1b[2J",
)


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """The bytes with one to three injuries."""

    @st.composite
    def made(draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
        injured = content
        for _ in range(draw(st.sampled_from((1, 1, 2, 3)))):
            injured = _injured(draw, injured)
        return injured

    return made()


def _injured(draw: Callable[[st.SearchStrategy[Any]], Any], content: bytes) -> bytes:
    place = draw(st.integers(0, len(content)))
    behind = min(len(content), place + draw(st.integers(1, 40)))
    kind = draw(st.sampled_from(("cut", "turn", "put in", "take out", "double")))
    if kind == "cut":
        return content[:place]
    if kind == "put in":
        return content[:place] + draw(st.sampled_from(PIECES)) + content[place:]
    if kind == "take out":
        return content[:place] + content[behind:]
    if kind == "double":
        return content[:behind] + content[place:behind] + content[behind:]
    turned = bytes([content[place] ^ (1 << draw(st.integers(0, 7)))]) if place < len(content) else b""
    return content[:place] + turned + content[place + 1 :]
