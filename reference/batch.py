"""Compares a batch of losses and gradients with the certified values, whole rows at a time: what a sweep or a sampling asks.

The formats up to float32 in one compiled pass (`reference.fast.comparison`, memory for one row a thread); what that leaves
undecided, rows that it does not take (no finite gap, special values), and float64, by `reference.evaluation.evaluate`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reference.enclosure import Enclosure
from reference.evaluation import evaluate
from reference.fast.comparison import ComparedRows, compare_rows
from reference.fast.sums import Rounded
from reference.fast.threads import in_threads
from reference.floating_state import in_default_state
from reference.formats import Bools, Floats, Format, Integers, format_named
from reference.problem import Problem
from reference.quantity import Quantity
from reference.tiers import Tier

_WIDEST = 24
"""Precision of the widest format that float64 decides nearly always."""

_MOST_EXACT = 2**18
"""Logits that are evaluated at a time, where the compiled pass is not enough."""


@dataclass(frozen=True, eq=False)
class Errors:
    """How one quantity of N rows differs from the certified values; an error in ulps is `Enclosure.ulps_from`.

    `worst`: the largest error of each row, NaN where an entry is NaN or infinite and should not be, or the reverse.
    `uncertainty`: how far `worst` may be off, besides 2^-50 of itself. `place`: the class of the worst error. `incorrect`:
    entries that are not the correctly rounded value. `absorbed`: entries that are 0 although that value is not.
    """

    worst: Floats
    uncertainty: Floats
    place: Integers
    incorrect: Integers
    absorbed: Integers


@dataclass(frozen=True, eq=False)
class Comparison:
    """Loss and gradient of N rows against the certified values, and which rows one compiled pass did not decide."""

    loss: Errors
    gradient: Errors
    escalated: Bools


@in_default_state
def compare_batch(
    fmt: Format | str, logits: Rounded, target: Integers, loss: Rounded, gradient: Rounded, threads: int | None = None
) -> Comparison:
    """Judge losses and gradients of softmax cross-entropy for class indices, cotangent 1 and reduction 'none'.

    Arguments:
      fmt: the format of logits, losses and gradients, or its name: these arrays hold members of it, in float32 or float64.
      logits: (N, K).
      target: (N,), class indices.
      loss: (N,), as they were returned.
      gradient: (N, K), as it was returned.
      threads: how many compare rows; the number of cores unless given.

    Returns:
      The errors of loss and gradient, row by row, in ulps of `fmt`.

    Raises:
      ValueError: the format is not known, shapes do not fit, a dtype is another, or a target is not a class index.

    >>> x, gradient = np.array([[[20.0, 0.0]], [[0.0, 2.0611537e-09]]], dtype=np.float32)
    >>> found = compare_batch("float32", x, np.array([0]), np.zeros(1, np.float32), gradient)
    >>> found.gradient.absorbed.tolist(), found.loss.worst.round().tolist()
    ([1], [9282611.0])
    """
    fmt = format_named(fmt)
    _check(logits, target, loss, gradient)
    count = len(logits)
    numbers, counts = np.zeros((count, 4)), np.zeros((count, 8), dtype=np.int64)
    if fmt.precision <= _WIDEST:
        batch = ComparedRows(logits, target.astype(np.int64), loss, gradient, fmt.precision, fmt.emin)
        tops = np.empty(count, dtype=np.int64)

        def compare(start: int, stop: int) -> None:
            logits[start:stop].argmax(axis=1, out=tops[start:stop])
            compare_rows(batch, tops, (start, stop), numbers, counts)

        in_threads(count, compare, threads)
    done, place, wrong, undecided, absorbed, loss_wrong, loss_undecided, loss_absorbed = counts.T
    escalated = (done == 0) | (undecided > 0) | (loss_undecided > 0)
    found = Comparison(
        Errors(numbers[:, 2], numbers[:, 3], target.astype(np.int64), loss_wrong, loss_absorbed),
        Errors(numbers[:, 0], numbers[:, 1], place, wrong, absorbed),
        escalated,
    )
    rows = np.flatnonzero(escalated)
    step = max(_MOST_EXACT // logits.shape[1], 1)
    for start in range(0, len(rows), step):
        chosen = rows[start : start + step]
        problem = Problem(logits[chosen].astype(np.float64), target[chosen], fmt)
        _escalate(found, problem, chosen, (loss[chosen], gradient[chosen]))
    return found


def _escalate(found: Comparison, problem: Problem, rows: Integers, observed: tuple[Rounded, Rounded]) -> None:
    """Compare some rows as single problems are compared."""
    expected = evaluate(problem, (Quantity.LOSS, Quantity.GRADIENT), Tier.FAST)
    _fill(found.loss, rows, expected[Quantity.LOSS].values, observed[0], problem.format)
    _fill(found.gradient, rows, expected[Quantity.GRADIENT].values, observed[1], problem.format)


def _check(logits: Rounded, target: Integers, loss: Rounded, gradient: Rounded) -> None:
    if logits.ndim != 2 or logits.shape[1] == 0:
        raise ValueError(f"logits has shape {logits.shape}; allowed: (N, K) with K >= 1")
    count, classes = logits.shape
    for name, array, shape in (
        ("target", target, (count,)),
        ("loss", loss, (count,)),
        ("gradient", gradient, (count, classes)),
    ):
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}; allowed: {shape}")
    for name, array in (("logits", logits), ("loss", loss), ("gradient", gradient)):
        if array.dtype not in (np.float32, np.float64):
            raise ValueError(f"{name} has dtype {array.dtype}; allowed: float32 or float64; cast it, that is exact")
    outside = (target < 0) | (target >= classes)
    if outside.any():
        raise ValueError(
            f"target[{int(outside.argmax())}] is {int(target[outside][0])}; allowed: a class index in [0, {classes})"
        )


def _fill(errors: Errors, rows: Integers, values: Enclosure, observed: Rounded, fmt: Format) -> None:
    """Write what the enclosures of some rows say of what was observed there."""
    seen = observed.astype(np.float64)
    rounded, _ = values.rounded(fmt)
    ulps, uncertainty = values.ulps_from(seen, fmt)
    same = (seen == rounded) | (np.isnan(seen) & np.isnan(rounded))
    special = same & ~np.isfinite(seen)
    flat = (len(rows), -1)
    ulps = np.where(special, 0.0, ulps).reshape(flat)
    place = np.where(np.isnan(ulps), np.inf, ulps).argmax(axis=1)
    each = np.arange(len(rows))
    errors.worst[rows] = ulps[each, place]
    errors.uncertainty[rows] = np.where(special, 0.0, uncertainty).reshape(flat)[each, place]
    errors.incorrect[rows] = (~same).reshape(flat).sum(axis=1)
    errors.absorbed[rows] = ((seen == 0) & ~same & np.isfinite(rounded)).reshape(flat).sum(axis=1)
    if observed.ndim == 2:
        errors.place[rows] = place
