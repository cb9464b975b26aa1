"""What a backend contributes to a reproducer: an operation at a problem as statements in the framework's own words.

A script needs neither this project nor pytest. A backend returns its part from `Adapter.script`; suites/judging/reproducer.py
puts it between the story, the expected values and the verdict. `h` in the statements is float.fromhex.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.layout import Layout, beside, of_logits
from adapters.operation import Operation
from reference.formats import Floats
from reference.options import PARTS
from reference.problem import Problem
from reference.quantity import BLOCK_PRODUCTS, LAYER_GRADIENTS, ROW_PRODUCTS, Quantity
from reference.weights import upstream_of

Code = Callable[[Problem], str]
"""The statements of loss(x, t): x the logits, t the target; they return the loss, with the options of the problem."""

_WIDTH = 110
_LONGEST_PERIOD = 64


@dataclass(frozen=True)
class Script:
    """The framework's part of a reproducer.

    Arguments:
      imports: import statements.
      inputs: statements that make the inputs.
      functions: definitions; one is `observe()`, which returns the quantity as an array with shape, dtype and indexing.
      environment: an expression, the versions that decide the result as a string.
    """

    imports: Sequence[str]
    inputs: Sequence[str]
    functions: Sequence[str]
    environment: str


OF_PARTS = f"loss({', '.join(PARTS)}, t)"
"""A call of the loss of a linear layer."""

UPSTREAM = dict.fromkeys(BLOCK_PRODUCTS, "v") | dict.fromkeys(ROW_PRODUCTS, "upstream")
"""The name of the cotangent of each product of a building block."""


def defined(operation: Operation) -> str:
    """The name and the arguments of what a script defines: a loss of logits, of a layer's parts, or a building block."""
    if operation.is_layer:
        return OF_PARTS
    return "loss(x, t)" if operation.has_loss else "block(x)"


def part_of(quantity: Quantity) -> str:
    """The name of the part of a linear layer by which a quantity is the gradient; empty if it is none.

    >>> part_of(Quantity.WEIGHT_GRADIENT), part_of(Quantity.LOSS)
    ('weight', '')
    """
    return dict(zip(LAYER_GRADIENTS, PARTS, strict=True)).get(quantity, "")


def block_cotangent(quantity: Quantity, problem: Problem) -> Floats:
    """The cotangent of a building block's product: (N,) of a number a row, the problem's tangent (N, K) of the others."""
    if quantity in ROW_PRODUCTS:
        return upstream_of(problem)[:, 0]
    assert problem.tangent is not None
    return problem.tangent


def softcapped(problem: Problem, tanh: str) -> str:
    """Statements that make c tanh(s x/c) of x, by a backend's tanh: none where there is neither a scale nor a softcap."""
    scale, cap = problem.logit_scale, problem.logit_softcap
    scaled = "" if scale == 1.0 else f"x = {scale!r} * x\n"
    return scaled + ("" if cap is None else f"x = {cap!r} * {tanh}(x / {cap!r})\n")


def literal(values: NDArray[Any]) -> str:
    """A Python expression of nested lists for an array: exact, hexadecimal, and short where numbers or rows repeat.

    >>> literal(np.array([[20.0, 0.0, 0.0, -np.inf]] * 600))
    '[[h("0x1.4p+4")] + [h("0x0p+0")] * 2 + [h("-inf")]] * 600'
    >>> literal(np.array([3, 1])), literal(np.array(0.5))
    ('[3, 1]', 'h("0x1p-1")')
    """
    if values.ndim == 0:
        return _number(values.item())
    return _concatenated([_number(v) for v in values.tolist()] if values.ndim == 1 else [literal(row) for row in values])


def _number(value: float) -> str:
    """An integer as it is; a float as h("...") without the zeros at its end."""
    return str(value) if isinstance(value, int) else f'h("{short_hex(value)}")'


def short_hex(value: float) -> str:
    """`float.hex` without the zeros at the end of its fraction.

    >>> short_hex(20.0), short_hex(0.1), short_hex(float("nan"))
    ('0x1.4p+4', '0x1.999999999999ap-4', 'nan')
    """
    return re.sub(r"\.?0*p", "p", value.hex()) if np.isfinite(value) else str(value)


def _concatenated(items: list[str]) -> str:
    """A list of expressions: runs as `[x] * n`, a short pattern that repeats as `([x, y] * n)[:size]`."""
    uniform = len(set(items)) <= 1
    for period in range(2, 0 if uniform else min(_LONGEST_PERIOD, len(items) // 3) + 1):
        if items[period:] == items[:-period]:
            times = -(-len(items) // period)
            cut = f"[:{len(items)}]" if len(items) % period else ""
            repeated = f"[{', '.join(items[:period])}] * {times}"
            return f"({repeated}){cut}" if cut else repeated
    parts: list[str] = []
    single: list[str] = []
    for item, run in groupby(items):
        count = len(list(run))
        if count == 1:
            single.append(item)
            continue
        parts += [f"[{', '.join(single)}]"] * bool(single) + [f"[{item}] * {count}"]
        single = []
    parts += [f"[{', '.join(single)}]"] * (bool(single) or not parts)
    return " + ".join(parts)


def wrapped(statement: str) -> str:
    """A statement of one line, broken inside its brackets where it is too long."""
    lines = textwrap.wrap(statement, _WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def function(signature: str, body: str) -> str:
    """A definition of a function.

    >>> print(function("f(x)", "return x"))
    def f(x):
        return x
    """
    return f"def {signature}:\n{textwrap.indent(textwrap.dedent(body).strip(), '    ')}"


_EVERY_OTHER = ("(2 * {x}.shape[0],)", "[::2]")
_PLACES = {
    (Layout.STRIDED, 2): ("({x}.shape[0], 2 * {x}.shape[1])", "[:, ::2]"),
    (Layout.OFFSET, 2): ("({x}.shape[0], {x}.shape[1] + 3)", "[:, 1:-2]"),
    (Layout.ROW_STRIDED, 2): ("(2 * {x}.shape[0], {x}.shape[1])", "[::2]"),
    (Layout.STRIDED, 1): _EVERY_OTHER,
    (Layout.OFFSET, 1): ("({x}.shape[0], 4)", "[:, 1]"),
    (Layout.ROW_STRIDED, 1): _EVERY_OTHER,
}
"""By layout and number of axes, the shape of the array around an array, and the place of the array in it."""

_ALONE = {
    Layout.TRANSPOSED: {"np": "{x}.T.copy().T", "torch": "{x}.T.contiguous().T"},
    Layout.REVERSED: {"np": "np.flip(np.flip({x}).copy())"},
    Layout.BYTE_SWAPPED: {"np": '{x}.astype({x}.dtype.newbyteorder("S"))'},
}
"""Layouts without an array around it, as an expression of each module that has them."""

_ONE_ROW = {"np": "np.broadcast_to(wide[:1], {x}.shape)", "torch": "wide[:1].expand({x}.shape)"}


def layout_lines(layout: Layout, module: str, name: str = "x", axes: int = 2, between: str = 'float("nan")') -> list[str]:
    """Statements that put an array into a layout, the same words in numpy and torch; see `Layout`.

    >>> print("\\n".join(layout_lines(Layout.OFFSET, "torch", "t", axes=1, between="-1")))
    wide = torch.full((t.shape[0], 4), -1, dtype=t.dtype)
    wide[:, 1] = t
    t = wide[:, 1]
    """
    if layout is Layout.CONTIGUOUS or (layout is Layout.TRANSPOSED and axes == 1):
        return []
    if layout in _ALONE:
        return [f"{name} = {_ALONE[layout][module].format(x=name)}"]
    if layout is Layout.EXPANDED:
        around = [f"wide = {module}.full_like({name}, {between})", f"wide[:1] = {name}[:1]"]
        return [*around, f"{name} = {_ONE_ROW[module].format(x=name)}"]
    shape, place = _PLACES[layout, axes]
    wide = f"wide = {module}.full({shape.format(x=name)}, {between}, dtype={name}.dtype)"
    return [wide, f"wide{place} = {name}", f"{name} = wide{place}"]


def lines_of_logits(values: NDArray[Any], layout: Layout, module: str, name: str = "x") -> list[str]:
    """Statements that put the logits of a question, x, or a part of its layer into its layout."""
    return layout_lines(of_logits(values, layout), module, name, values.ndim)


def lines_beside(name: str, values: NDArray[Any], layout: Layout, module: str) -> list[str]:
    """Statements that put an array beside the logits of a question where it lies if they lie in a layout."""
    between = "-1" if np.issubdtype(values.dtype, np.integer) else 'float("nan")'
    return layout_lines(beside(values, layout), module, name, values.ndim, between)


def code_of(operation: Operation, losses: Mapping[str, Code], called: Callable[[str], Code]) -> Code | None:
    """The words of an operation: those of its name, or a call of the user's own callable; None if there are none."""
    if operation.implementation is None:
        return losses.get(operation.name)
    return called(operation.implementation.rpartition(":")[2])


def import_of(operation: Operation) -> list[str]:
    """Statements that import the user's own callable, if the operation judges one.

    A kernel that cannot be loaded says nothing of its defect: the script then ends with 2.

    >>> import_of(Operation("f", "f(x)", None, {}, implementation="kernels.fused:f"))[:2]
    ['try:', '    from kernels.fused import f']
    """
    place, _, name = (operation.implementation or "").rpartition(":")
    if not place:
        return []
    of_file = f"{name} = runpy.run_path({str(Path(place).resolve())!r})[{name!r}]"
    return [
        *(["import runpy", ""] if place.endswith(".py") else []),
        "try:",
        f"    {of_file if place.endswith('.py') else f'from {place} import {name}'}",
        "except Exception as error:",
        f'    print(f"{name} cannot be loaded: {{type(error).__name__}}: {{error}}")',
        "    raise SystemExit(2) from None",
    ]
