"""Which problems the fast tier takes, and their certified values row by row, computed by as many threads as there are cores."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from flint import arb, ctx, fmpq
from scipy import special

from reference.enclosure import Enclosure
from reference.exact.special_rows import row_shape
from reference.fast.threads import in_threads
from reference.fast.wide_rows import Columns, Span, WideRows, first_order, second_order
from reference.formats import Bools, Floats, Integers
from reference.problem import Problem
from reference.quantity import Quantity
from reference.tiers import takes
from reference.weights import divisor, factors_of, rational

ROUNDED_FACTOR = 2.0**-104
"""Relative error of a factor in two parts of float64, where they are not all of it."""

_KERNELS: tuple[tuple[tuple[Quantity, Quantity], Callable[..., None]], ...] = (
    ((Quantity.LOSS, Quantity.GRADIENT), first_order),
    ((Quantity.HVP, Quantity.HESSIAN), second_order),
)
"""Which quantities each compiled function computes."""


@dataclass(frozen=True, eq=False)
class FastRows:
    """Values of rows, (N, ...), and which rows the fast tier took; the others are zeros and mean nothing.

    `scales` are those of `reference.evaluation.Expected`, where they are not the sizes of the values themselves.
    """

    values: dict[Quantity, Enclosure]
    scales: dict[Quantity, Floats]
    taken: Bools


def evaluate_fast(problem: Problem, quantities: tuple[Quantity, ...]) -> FastRows:
    """The quantities of the rows that the fast tier takes: finite logits and masks, two classes or more that count.

    The mean's denominator, if there is one, must not be 0.
    """
    count, classes = problem.logits.shape
    taken = np.zeros(count, dtype=np.bool_)
    wanted = [quantity for quantity in quantities if takes(problem, quantity)]
    columns = {quantity: _columns(count, row_shape(quantity, classes)) for quantity in wanted}
    upstream = np.broadcast_to(problem.upstream, (count,))
    target = np.where(problem.ignored | (upstream == 0), -1, problem.target)
    rows = WideRows(problem.logits, target, _tangent_of(problem), *_factor_columns(problem, upstream))
    for pair, kernel in _KERNELS:
        if set(pair) & set(wanted):
            outputs = [columns.get(quantity, _columns(0, (1,))) for quantity in pair]
            in_threads(count, partial(_run, kernel, rows, taken, outputs))
    values = {q: _enclosure(columns[q], (count, *row_shape(q, classes))) for q in wanted}
    scales = {Quantity.HVP: _product_scale(problem)} if Quantity.HVP in wanted else {}
    return FastRows(values, scales, taken)


def _run(kernel: Callable[..., None], rows: WideRows, taken: Bools, outputs: list[Columns], start: int, stop: int) -> None:
    kernel(rows, Span(start, stop, taken), *outputs)


def _product_scale(problem: Problem) -> Floats:
    """|f| p_i (|w_i| + sum_j p_j |w_j|), w the tangent less its component at the largest class."""
    assert problem.tangent is not None
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        p = special.softmax(problem.logits, axis=1)
        w = np.abs(problem.tangent - np.take_along_axis(problem.tangent, problem.logits.argmax(axis=1)[:, None], axis=1))
        return factors_of(problem) * p * (w + (p * w).sum(axis=1, keepdims=True))


def _tangent_of(problem: Problem) -> Floats:
    """The tangent, or one without columns; not to be written to, so that there is one type of it to compile for."""
    tangent = np.zeros((problem.num_rows, 0)) if problem.tangent is None else problem.tangent
    tangent.setflags(write=False)
    return tangent


def _columns(count: int, shape: tuple[int, ...]) -> Columns:
    entries = math.prod(shape)
    hi, low = (np.zeros((count, entries)) for _ in range(2))
    radius, exponent, side = (np.zeros((count, entries), dtype=dtype) for dtype in (np.float32, np.int16, np.int8))
    return Columns(hi, low, radius, exponent, side)


def _enclosure(c: Columns, shape: tuple[int, ...]) -> Enclosure:
    integers = c.exponent.reshape(shape), c.side.reshape(shape)
    return Enclosure(c.hi.reshape(shape), c.low.reshape(shape), c.radius.reshape(shape), *integers)


def _factor_columns(problem: Problem, upstream: Floats) -> tuple[Floats, Floats, Integers, float]:
    """The factors of all rows in two parts, 1/2 <= |h| <= 1, their exponents, and the relative error of them all."""
    denominator = divisor(problem)
    different, place = np.unique(upstream, return_inverse=True)
    factors = [rational(cotangent) / denominator for cotangent in different.tolist()]
    parts = [_factor_parts(factor) for factor in factors]
    exact = all(rational(h) + rational(low) == f * fmpq(2) ** -k for f, (h, low, k) in zip(factors, parts, strict=True))
    h, low, k = (np.array(column)[place] for column in zip(*parts, strict=True)) if parts else (np.zeros(0),) * 3
    return h, low, k.astype(np.int64), 0.0 if exact else ROUNDED_FACTOR


def _factor_parts(factor: fmpq) -> tuple[float, float, int]:
    k = int(abs(factor.p)).bit_length() - int(factor.q).bit_length()
    scaled = factor * fmpq(2) ** -k
    if abs(scaled) >= 1:
        scaled, k = scaled / 2, k + 1
    with ctx.workprec(200):
        h = float(arb(scaled))
        low = float(arb(scaled - rational(h)))
    return h, low, k
