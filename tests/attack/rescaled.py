"""Sums of powers: of the maximum of the whole row, or rescaled as the maximum of what was seen grows."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

from reference.arithmetic import Order
from tests.attack.computers import Computer

Gap = Callable[[Any, Any], Any]
"""(values, top) -> their rounded gaps."""
State = tuple[Any, Any]
"""(N, 1) each: a maximum, and the sum of the powers under it."""


def sum_of_powers(c: Computer[Any], row: Any, gap: Gap) -> Any:
    """(N, 1): S, with the rescalings that the arithmetic declares."""
    tile, classes = c.arithmetic.summation.tile, row.shape[-1]
    return _merged(
        c,
        gap,
        [_of_tile(c, gap, row[:, at : at + tile]) for at in range(0, classes, tile)] if tile else [_of_tile(c, gap, row)],
    )[1]


def _of_tile(c: Computer[Any], gap: Gap, values: Any) -> State:
    top = c.largest(values)
    return top, c.total(c.exp(gap(values, top)))


def _merged(c: Computer[Any], gap: Gap, states: list[State]) -> State:
    """In the declared order of the sum."""

    def merge(left: State, right: State) -> State:
        top = c.largest(c.joined([left[0], right[0]]))
        return top, c.add(*(c.multiply(total, c.exp(gap(old, top))) for old, total in (left, right)))

    summation = c.arithmetic.summation
    if summation.order is Order.PAIRWISE:
        while len(states) > 1:
            rest = states[-1:] if len(states) % 2 else []
            states = [merge(*pair) for pair in zip(states[::2], states[1::2], strict=False)] + rest
        return states[0]
    lanes = min(summation.lanes if summation.order is Order.LANES else 1, len(states))
    return reduce(merge, [reduce(merge, states[lane::lanes]) for lane in range(lanes)])
