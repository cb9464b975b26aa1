"""Mutations of parsed JSON or TOML: at any place a value is dropped, doubled, replaced, swapped, nudged or misspelt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from math import inf, isfinite, nan
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass(frozen=True)
class Raw:
    """Text that stands in a document as it is."""

    text: str


@dataclass(frozen=True)
class Again:
    """A value behind which its key stands again with another."""

    first: Any
    key: str
    second: Any


NUMBERS = (0, -1, 1, 1.5, -0.5, 2**31, 2**53 + 1, 2**63, 10**12, 10**23, 1e308, 5e-324, -0.0, nan, inf, -inf, True, False)
TEXTS = (
    "", " ", "\x00", "a\x1b[31mb", "a\u202eb", "\ud800", "a\nb", "x\n::error::y", "\u2028", "é", "a" * 10_000, "../../x",
    "<script>alert(1)</script>", "${{ x }}", "1", "true", "null", "nan", "-inf", "0x1p+99999", "0x1p-1075", "0x1.8p+0",
    "0x0p+0 * 1000000000", "0x0p+0 * 0", "0x0p+0 * 3", "* 3", "0x", "float32", "loss", "eager", "stable", "*",
)  # fmt: skip
DEEP = (("[", "]", 20), ("[", "]", 900), ("[", "]", 3000), ('{"a":', "1}", 980), ("{a=", "1}", 980))
OTHERS = (
    None, [], {}, [[]], [None], {"": 1}, [0], [[0.5]], {"loss": "stable"}, Raw("1e400"), Raw("-1e-400"), Raw("9" * 5000),
    Raw("0x10"), Raw(""), *(Raw(left * depth + right[:-1] + right[-1] * depth) for left, right, depth in DEEP),
)  # fmt: skip
ODD: tuple[Any, ...] = NUMBERS + TEXTS + OTHERS
"""What no reader expects."""


def mutated(tree: Any, own: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """Trees with one to three mutations; `own` are odd values for this kind of document."""

    @st.composite
    def made(draw: Draw) -> Any:
        root = [deepcopy(tree)]
        for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
            _mutate(draw, root, draw(st.sampled_from((ODD, ODD, own or ODD))))
        return root[0]

    return made()


def _mutate(draw: Draw, root: list[Any], odd: tuple[Any, ...]) -> None:
    holder, key = _place(draw, root)
    kind = draw(st.sampled_from(("odd", "odd", "drop", "double", "swap", "copy", "nudge", "unknown")))
    if kind == "odd":
        holder[key] = deepcopy(draw(st.sampled_from(odd)))
    elif kind == "drop" and holder is not root:
        del holder[key]
    elif kind == "double" and isinstance(holder, list) and not (isinstance(holder[key], dict) and draw(st.booleans())):
        holder.insert(key, deepcopy(holder[key]))
    elif kind in ("swap", "copy"):
        _exchange((holder, key), _place(draw, root), kind == "copy")
    elif kind == "nudge":
        holder[key] = draw(_near(holder[key]))
    else:
        _add_key(draw, holder[key] if isinstance(holder[key], dict) else holder, odd, kind == "double")


def _place(draw: Draw, root: list[Any]) -> tuple[Any, Any]:
    """A value of a tree, by what holds it and where; half of the time one near the root, of which there are few."""
    levels: list[list[tuple[Any, Any]]] = [[(root, 0)]]
    while level := [(held[key], inner) for held, key in levels[-1] for inner in _keys(held[key])]:
        levels.append(level)
    near = draw(st.booleans())
    places = [place for level in (levels[:3] if near else levels) for place in level]
    return places[draw(st.integers(0, len(places) - 1))]


def _keys(value: Any) -> Iterable[Any]:
    """The keys of a table, or the places of a list."""
    return value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()


def _exchange(one: tuple[Any, Any], other: tuple[Any, Any], only_copy: bool) -> None:
    """Put a copy of a value in the place of another, and of that in its own."""
    first, second = deepcopy(one[0][one[1]]), deepcopy(other[0][other[1]])
    one[0][one[1]] = second
    if not only_copy:
        other[0][other[1]] = first


def _near(value: Any) -> st.SearchStrategy[Any]:
    """A value that is almost the same: what a careless reader takes for it."""
    if isinstance(value, bool) or value is None:
        return st.sampled_from((0, 1, "true", not value))
    if isinstance(value, int | float):
        floated = [float(value)] if abs(value) < 1e300 else []
        return st.sampled_from([value + 1, value - 1, -value, str(value), [value], *(f + 0.5 for f in floated), *floated])
    if isinstance(value, str):
        return st.sampled_from(
            [value[:-1], value + " ", value.upper(), value + "\n", value[1:], value * 2, [value], value.title()]
        )
    odd = [{"0": value}, [value], str(value)[:50]]
    return st.sampled_from(odd if isinstance(value, Raw | Again) else [*odd, list(value)])


def _add_key(draw: Draw, holder: Any, odd: tuple[Any, ...], twice: bool) -> None:
    """Add a key that is misspelt or unknown, or one that is there already."""
    if not isinstance(holder, dict) or not holder:
        return
    known = draw(st.sampled_from(sorted(holder)))
    if twice:
        second = holder[known] if draw(st.booleans()) else draw(st.sampled_from(odd))
        holder[known] = Again(holder[known], known, deepcopy(second))
    else:
        holder[draw(st.sampled_from((known[:-1], known + "s", known.upper(), "unknown", *TEXTS[:8])))] = deepcopy(
            draw(st.sampled_from(odd))
        )


def as_json(value: Any) -> str:
    """JSON, or what tries to be."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Again):
        return f"{as_json(value.first)}, {json.dumps(value.key)}: {as_json(value.second)}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {as_json(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(map(as_json, value)) + "]" if isinstance(value, list) else json.dumps(value)


def as_toml(value: Any) -> str:
    """TOML in one line, or what tries to be."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Again):
        return f"{as_toml(value.first)}, {json.dumps(value.key)} = {as_toml(value.second)}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {as_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, float) and not isfinite(value):
        return {inf: "inf", -inf: "-inf"}.get(value, "nan")
    return "[" + ", ".join(map(as_toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


def as_toml_document(tables: Any) -> str:
    """A document of TOML with a line for each key."""
    if not isinstance(tables, dict):
        return as_toml(tables)
    return "\n".join(f"{json.dumps(key)} = {as_toml(value)}" for key, value in tables.items())
