"""The second oracle: every quantity in mpmath, from the plain unshifted definition, to check the certified one against.

It shares nothing with `reference.exact` but the containers of inputs. Where that one keeps exact gaps and sums apart,
this one computes  p_i = exp(x_i/T) / sum_j exp(x_j/T)  and  lse = log sum_j exp(x_j/T)  as they stand and pays for the
cancellation with working bits: enough for the smallest 1 - p and loss of the row, exp(-largest gap), to keep about 280
correct bits. mpmath's exponents are unlimited, so nothing overflows.

The effective weights come straight from the definition of PyTorch's CrossEntropyLoss:

    class indices   loss_n = (1 - s) w_y (lse - x_y) + (s/K) sum_c w_c (lse - x_c);  mean: over sum of w_y
    probabilities   loss_n = sum_c w_c q'_c (lse - x_c),  q' = (1 - s) q + s/K;      mean: over N

and ignored rows contribute nothing. Logits are finite or -inf, at least one of them finite; -inf removes its class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import ceil, inf, isinf, log, log2, nan
from typing import Any

import numpy as np
from mpmath.ctx_mp import MPContext

from reference.problem import Problem
from reference.quantity import Quantity

MP = MPContext()
"""The context of this oracle; mpmath's global one is never touched."""

Real = Any
"""An mpf of `MP`."""

SPARE_BITS = 300
MAX_BITS = 40000
_STEP_BITS = 64
_LOST_BITS = 16
"""Bits that the few dozen roundings of one result may cost."""


@dataclass(frozen=True)
class Results:
    """Entries in row-major order (mpf, or a float that is infinite or NaN), and bounds of their absolute errors."""

    values: list[Real]
    errors: list[Real]

    @classmethod
    def filled(cls, value: float, size: int) -> Results:
        """The same float in every entry."""
        return cls([value] * size, [0] * size)


@dataclass(frozen=True)
class OracleRow:
    """One row at the current precision of `MP`: logits (-inf: masked), effective weights a, factor f, T, tangent v."""

    logits: Sequence[Real]
    weights: list[Real]
    factor: Real
    temperature: float
    tangent: list[Real] | None = None

    @cached_property
    def _pairs(self) -> list[tuple[Real, Real]]:
        return [_scaled_and_power(x, self.temperature, MP.prec) for x in self.logits]

    @property
    def scaled(self) -> list[Real]:
        """The logits over T."""
        return [z for z, _ in self._pairs]

    @cached_property
    def _sum(self) -> Real:
        return sum((power for _, power in self._pairs), MP.zero)

    @cached_property
    def lse(self) -> Real:
        """Log of the sum of exp(x/T)."""
        return MP.log(self._sum)

    @cached_property
    def p(self) -> list[Real]:
        """The softmax."""
        return [power / self._sum for _, power in self._pairs]

    @cached_property
    def mass(self) -> Real:
        """A, the sum of the effective weights."""
        return sum(self.weights, MP.zero)

    @cached_property
    def error(self) -> Real:
        """Bound of the absolute error of lse, and of the relative error of each p."""
        largest = max((abs(z) for z in self.scaled if z != -inf), default=0)
        return MP.ldexp(largest + len(self.logits) + 1, _LOST_BITS - MP.prec)


@lru_cache(maxsize=1 << 16)
def _scaled_and_power(x: Real, temperature: float, _bits: int) -> tuple[Real, Real]:
    """x/T and exp(x/T); the current precision is part of the key."""
    if x == -inf:
        return -inf, MP.zero
    z = MP.mpf(x) / temperature
    return z, MP.exp(z)


def working_bits(problem: Problem, index: int) -> int:
    """Bits that leave SPARE_BITS after the worst cancellation of the row; a multiple of 64, so that powers are reused."""
    finite = [x for x in problem.logits[index].tolist() if x != -inf]
    gap = (max(finite) - min(finite)) / problem.temperature
    size = max(map(abs, finite)) / problem.temperature
    bits = SPARE_BITS + gap / log(2.0) + log2(1.0 + size)
    return min(ceil(bits / _STEP_BITS) * _STEP_BITS, MAX_BITS)


def oracle_row(problem: Problem, index: int) -> OracleRow:
    """One row of a problem at the current precision."""
    tangent = None if problem.tangent is None else [MP.mpf(v) for v in problem.tangent[index].tolist()]
    return OracleRow(
        problem.logits[index].tolist(),
        _effective_weights(problem, index),
        _factor(problem, index),
        problem.temperature,
        tangent,
    )


def _class_weights(problem: Problem) -> list[Real]:
    if problem.class_weights is None:
        return [MP.one] * problem.num_classes
    return [MP.mpf(w) for w in problem.class_weights.tolist()]


def _is_ignored(problem: Problem, index: int) -> bool:
    return problem.target.ndim == 1 and int(problem.target[index]) == problem.ignore_index


def _effective_weights(problem: Problem, index: int) -> list[Real]:
    w = _class_weights(problem)
    classes = len(w)
    s = MP.mpf(problem.label_smoothing)
    if problem.target.ndim == 2:
        return [w_c * ((1 - s) * q + s / classes) for w_c, q in zip(w, problem.target[index].tolist(), strict=True)]
    if _is_ignored(problem, index):
        return [MP.zero] * classes
    weights = [s / classes * w_c for w_c in w]
    y = int(problem.target[index])
    weights[y] += (1 - s) * w[y]
    return weights


def mean_divisor(problem: Problem) -> Real:
    """What reduction='mean' divides by."""
    if problem.target.ndim == 2:
        return MP.mpf(problem.num_rows)
    w = _class_weights(problem)
    return sum((w[int(y)] for y in problem.target if int(y) != problem.ignore_index), MP.zero)


def _factor(problem: Problem, index: int) -> Real:
    """Cotangent over the divisor of the mean; NaN where that is 0."""
    given = 1.0 if problem.cotangent is None else float(np.resize(problem.cotangent, problem.num_rows)[index])
    if problem.reduction != "mean":
        return MP.mpf(given)
    divisor = mean_divisor(problem)
    return MP.mpf(given) / divisor if divisor else MP.nan


def row_loss(row: OracleRow) -> Real:
    """sum_c a_c (lse - x_c/T); +inf where weight lies on a masked class."""
    terms = zip(row.weights, row.scaled, strict=True)
    weighted = [(a, z) for a, z in terms if a]
    if any(z == -inf for _, z in weighted):
        return inf
    return sum((a * (row.lse - z) for a, z in weighted), MP.zero)


def _loss(row: OracleRow) -> Results:
    return Results([row_loss(row)], [row.mass * row.error])


def _gradient(row: OracleRow) -> Results:
    f = row.factor / row.temperature
    values = [(row.mass * p - a) * f for p, a in zip(row.p, row.weights, strict=True)]
    size = abs(f) * row.error
    return Results(values, [(row.mass * p + a) * size for p, a in zip(row.p, row.weights, strict=True)])


def _hessian(row: OracleRow) -> Results:
    f = row.mass * row.factor / MP.mpf(row.temperature) ** 2
    values, errors = [], []
    for i, p_i in enumerate(row.p):
        for j, p_j in enumerate(row.p):
            same = p_i if i == j else MP.zero
            values.append((same - p_i * p_j) * f)
            errors.append((same + p_i * p_j) * abs(f) * row.error)
    return Results(values, errors)


def _hvp(row: OracleRow) -> Results:
    assert row.tangent is not None
    f = row.mass * row.factor / MP.mpf(row.temperature) ** 2
    pairs = list(zip(row.p, row.tangent, strict=True))
    mean = sum((p * v for p, v in pairs), MP.zero)
    size = sum((p * abs(v) for p, v in pairs), MP.zero)
    errors = [p * (abs(v) + size) * abs(f) * row.error for p, v in pairs]
    return Results([(p * v - p * mean) * f for p, v in pairs], errors)


def _logsumexp(row: OracleRow) -> Results:
    return Results([row.lse], [row.error])


def _log_softmax(row: OracleRow) -> Results:
    return Results([z if z == -inf else z - row.lse for z in row.scaled], [row.error] * len(row.logits))


def _softmax(row: OracleRow) -> Results:
    return Results(row.p, [p * row.error for p in row.p])


ROW_RESULTS: dict[Quantity, Callable[[OracleRow], Results]] = {
    Quantity.LOSS: _loss,
    Quantity.GRADIENT: _gradient,
    Quantity.HESSIAN: _hessian,
    Quantity.HVP: _hvp,
    Quantity.LOGSUMEXP: _logsumexp,
    Quantity.LOG_SOFTMAX: _log_softmax,
    Quantity.SOFTMAX: _softmax,
}
"""Each quantity of one row (the loss before its reduction)."""


def reduced_loss(problem: Problem, rows: list[OracleRow]) -> Results:
    """Sum or mean of the losses of the rows that count."""
    counting = [_loss(row) for index, row in enumerate(rows) if not _is_ignored(problem, index)]
    divisor = mean_divisor(problem) if problem.reduction == "mean" else MP.one
    if not divisor:
        return Results.filled(nan, 1)
    values = [value for part in counting for value in part.values]
    if any(isinf(value) for value in values if isinstance(value, float)):
        return Results.filled(inf, 1)
    errors = [error for part in counting for error in part.errors]
    return Results([sum(values, MP.zero) / divisor], [sum(errors, MP.zero) / divisor])
