"""The second oracle: every quantity in mpmath, from the plain unshifted definition, to check the certified one against.

It shares nothing with `reference.exact.softmax` but the containers of inputs. Where that one keeps exact gaps and sums apart,
this one computes  p_i = exp(x_i/T) / sum_j exp(x_j/T)  and  lse = log sum_j exp(x_j/T)  of scaled x as they stand and pays
for the cancellation with working bits: enough for the smallest 1 - p and loss of the row, exp(-largest gap), to keep about 280
correct bits. mpmath's exponents are unlimited, so nothing overflows.

The effective weights come straight from the definition of PyTorch's CrossEntropyLoss:

    class indices   loss_n = (1 - s) w_y (lse - x_y) + (s/K) sum_c w_c (lse - x_c);  mean: over sum of w_y
    probabilities   loss_n = sum_c w_c q'_c (lse - x_c),  q' = (1 - s) q + s/K;      mean: over N

and ignored rows contribute nothing. Logits are finite or -inf, at least one of them finite; -inf removes its class.

The losses of the rest of the family are sums over classes of their definitions, and their derivatives the chain rule through
p in full matrices (dp_i/dy_j = p_i ([i = j] - p_j)), not the closed forms of the reference; what cancels costs working bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from math import ceil, inf, isfinite, isinf, log, log2, nan
from typing import Any

import numpy as np
from mpmath.ctx_mp import MPContext

from reference.loss import Loss
from reference.problem import Problem
from reference.quantity import BLOCK_PRODUCTS, ROW_PRODUCTS, WITHOUT_LABELS, Quantity

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
    """One row at the current precision of `MP`: logits (-inf: masked), effective weights a, factor f, T, tangent v.

    `options` is the problem, for its loss and the options of that; a sigmoid loss has the row [x, 0].
    """

    logits: Sequence[Real]
    weights: list[Real]
    factor: Real
    temperature: float
    tangent: list[Real] | None = None
    options: Problem | None = None
    ignored: bool = False
    scale: float = 1.0
    upstream: Real = 1
    share: Real = 1
    """What the loss of the row is multiplied with before it is added to others: its weight, over a normaliser that is alone."""

    @cached_property
    def _pairs(self) -> list[tuple[Real, Real]]:
        return [_scaled_and_power(x, self.temperature, MP.prec) for x in self.capped]

    @property
    def cap(self) -> float | None:
        """The softcap."""
        return None if self.options is None else self.options.logit_softcap

    @property
    def capped(self) -> list[Real]:
        """The logits, scaled, behind the softcap."""
        scaled = [x if self.scale == 1.0 or isinf(x) else MP.mpf(x) * self.scale for x in self.logits]
        return scaled if self.cap is None else [self.cap * MP.tanh(MP.mpf(x) / self.cap) for x in scaled]

    @property
    def inner(self) -> Real:
        """The derivative of a logit over T by the logit as it is given; that of the softcap comes on top."""
        return MP.mpf(self.scale) / self.temperature

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
    finite = [x for x in problem.logits[index].tolist() if abs(x) < inf]
    finite = finite + [0.0] * problem.is_binary or [0.0]
    unit = problem.temperature / problem.logit_scale
    gap = (max(finite) - min(finite)) / unit
    size = max(map(abs, finite)) / unit
    bits = SPARE_BITS + gap / log(2.0) * _cancellations(problem) + log2(1.0 + size)
    if problem.logit_softcap is not None:
        bits += 3 * max(map(abs, finite)) * problem.logit_scale / problem.logit_softcap  # 1 - tanh^2 is 4 exp(-2 |x|/c)
    return min(ceil(bits / _STEP_BITS) * _STEP_BITS, MAX_BITS)


def _cancellations(problem: Problem) -> int:
    """How many times 1 - p may cancel in one result: powers of it multiply."""
    if problem.loss in (Loss.FOCAL, Loss.SIGMOID_FOCAL):
        return 4 + ceil(problem.focusing)
    return 3 if problem.loss is Loss.SQUARED_ERROR else 1


def oracle_row(problem: Problem, index: int) -> OracleRow:
    """One row of a problem at the current precision."""
    padding = [0.0] * problem.is_binary
    tangent = None if problem.tangent is None else [MP.mpf(v) for v in problem.tangent[index].tolist() + padding]
    return OracleRow(
        [*exact_logits(problem, index), *padding],
        _effective_weights(problem, index),
        _factor(problem, index),
        problem.temperature,
        tangent,
        problem,
        _is_ignored(problem, index),
        problem.logit_scale,
        MP.mpf(float(np.broadcast_to(problem.upstream, problem.num_rows)[index])),
        _row_weight(problem, index) / (divisor_of(problem) if problem.reduction == "none" else 1),
    )


def _row_weight(problem: Problem, index: int) -> Real:
    return MP.one if problem.row_weights is None else MP.mpf(problem.row_weights.tolist()[index])


def _class_weights(problem: Problem) -> list[Real]:
    if problem.class_weights is None:
        return [MP.one] * problem.num_classes
    return [MP.mpf(w) for w in problem.class_weights.tolist()]


def _is_ignored(problem: Problem, index: int) -> bool:
    return problem.target.ndim == 1 and int(problem.target[index]) == problem.ignore_index


def _effective_weights(problem: Problem, index: int) -> list[Real]:
    if problem.is_binary:
        y = MP.mpf(float(problem.target[index, 0]))
        return [problem.positive_weight * y, 1 - y]
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


def divisor_of(problem: Problem) -> Real:
    """What the losses are divided by: a normaliser, or by reduction='mean'."""
    if problem.normaliser is not None:
        return MP.mpf(problem.normaliser)
    if problem.reduction != "mean":
        return MP.one
    if problem.target.ndim == 2:
        return MP.mpf(problem.num_rows)
    w = _class_weights(problem)
    return sum((w[int(y)] for y in problem.target if int(y) != problem.ignore_index), MP.zero)


def _factor(problem: Problem, index: int) -> Real:
    """Cotangent times row weight over the divisor; NaN where that is 0."""
    given = 1.0 if problem.cotangent is None else float(np.resize(problem.cotangent, problem.num_rows)[index])
    divisor = divisor_of(problem)
    return MP.mpf(given) * _row_weight(problem, index) / divisor if divisor else MP.nan


def row_loss(row: OracleRow) -> Real:
    """The loss of a row."""
    return _extended_loss(row) if _is_extended(row) else _weighted_loss(row)


def _weighted_loss(row: OracleRow) -> Real:
    """sum_c a_c (lse - x_c/T); +inf where weight lies on a masked class."""
    terms = zip(row.weights, row.scaled, strict=True)
    weighted = [(a, z) for a, z in terms if a]
    if any(z == -inf for _, z in weighted):
        return inf
    return sum((a * (row.lse - z) for a, z in weighted), MP.zero)


def _loss(row: OracleRow) -> Results:
    return Results([_weighted_loss(row)], [row.mass * row.error])


def _gradient(row: OracleRow) -> Results:
    f = row.factor * row.inner
    values = [(row.mass * p - a) * f for p, a in zip(row.p, row.weights, strict=True)]
    size = abs(f) * row.error
    return Results(values, [(row.mass * p + a) * size for p, a in zip(row.p, row.weights, strict=True)])


def _hessian(row: OracleRow) -> Results:
    f = row.mass * row.factor * row.inner**2
    values, errors = [], []
    for i, p_i in enumerate(row.p):
        for j, p_j in enumerate(row.p):
            same = p_i if i == j else MP.zero
            values.append((same - p_i * p_j) * f)
            errors.append((same + p_i * p_j) * abs(f) * row.error)
    return Results(values, errors)


def _hvp(row: OracleRow) -> Results:
    assert row.tangent is not None
    f = row.mass * row.factor * row.inner**2
    pairs = list(zip(row.p, row.tangent, strict=True))
    mean = sum((p * v for p, v in pairs), MP.zero)
    size = sum((p * abs(v) for p, v in pairs), MP.zero)
    errors = [p * (abs(v) + size) * abs(f) * row.error for p, v in pairs]
    return Results([(p * v - p * mean) * f for p, v in pairs], errors)


def _diagonal(row: OracleRow) -> Results:
    f = row.mass * row.factor * row.inner**2
    values = [(p - p * p) * f for p in row.p]
    return Results(values, [(p + p * p) * abs(f) * row.error for p in row.p])


def _logsumexp(row: OracleRow) -> Results:
    return Results([row.lse], [row.error])


def _entropy(row: OracleRow) -> Results:
    """-sum p log p; a masked class adds nothing. A small one is what terms near log 1 = 0 leave."""
    value = -sum((p * (z - row.lse) for p, z in zip(row.p, row.scaled, strict=True) if z != -inf), MP.zero)
    return Results([value], [row.error * (1 + value)])


def _log_softmax(row: OracleRow) -> Results:
    return Results([z if z == -inf else z - row.lse for z in row.scaled], [row.error] * len(row.logits))


def _softmax(row: OracleRow) -> Results:
    return Results(row.p, [p * row.error for p in row.p])


def _target_gradient(row: OracleRow) -> Results:
    """f w (1 - s) (lse - x/T); nothing where the label counts nothing, masked or not."""
    assert row.options is not None
    kept = [w * (1 - MP.mpf(row.options.label_smoothing)) * row.factor for w in _class_weights(row.options)]
    values = [MP.zero if not k else k * inf if z == -inf else k * (row.lse - z) for k, z in zip(kept, row.scaled, strict=True)]
    return Results(values, [abs(k) * row.error for k in kept])


WEIGHTED_RESULTS: dict[Quantity, Callable[[OracleRow], Results]] = {
    Quantity.LOSS: _loss,
    Quantity.GRADIENT: _gradient,
    Quantity.HESSIAN: _hessian,
    Quantity.HVP: _hvp,
    Quantity.HESSIAN_DIAGONAL: _diagonal,
    Quantity.LOGSUMEXP: _logsumexp,
    Quantity.ENTROPY: _entropy,
    Quantity.LOG_SOFTMAX: _log_softmax,
    Quantity.SOFTMAX: _softmax,
    Quantity.TARGET_GRADIENT: _target_gradient,
}
"""Each quantity of one row of a weighted log-probability."""

Matrix = list[list[Real]]


def _jacobian(row: OracleRow) -> Matrix:
    """dp_i/dy_j."""
    return [[p_i * ((i == j) - p_j) for j, p_j in enumerate(row.p)] for i, p_i in enumerate(row.p)]


def _second_jacobian(row: OracleRow, i: int, j: int, k: int) -> Real:
    """d2p_i/dy_j dy_k, the product rule on p_i ([i = j] - p_j)."""
    p = row.p
    return p[i] * ((i == k) - p[k]) * ((i == j) - p[j]) - p[i] * p[j] * ((j == k) - p[k])


def _block_jacobian(row: OracleRow, quantity: Quantity) -> Matrix:
    """Rows d block_i/dy of log_softmax and softmax; of logsumexp and of the entropy their one gradient."""
    if quantity is Quantity.LOGSUMEXP_VJP:
        return [row.p]
    if quantity is Quantity.ENTROPY_VJP:
        entropy = _entropy(row).values[0]
        return [[-p * (z - row.lse + entropy) if p else MP.zero for p, z in zip(row.p, row.scaled, strict=True)]]
    if quantity is Quantity.SOFTMAX_VJP:
        return _jacobian(row)
    return [[(i == j) - p_j for j, p_j in enumerate(row.p)] for i in range(len(row.p))]


def _block_product(quantity: Quantity) -> Callable[[OracleRow], Results]:
    """u^T J, times dy/dx; its error is that of the sizes of the products that are added."""

    def product(row: OracleRow) -> Results:
        u = [row.upstream] if quantity in ROW_PRODUCTS else row.tangent
        assert u is not None
        rates = [row.inner] * len(row.p)
        if row.cap is not None:
            rates = [
                rate * (1 - MP.tanh(MP.mpf(x) * row.scale / row.cap) ** 2) for rate, x in zip(rates, row.logits, strict=True)
            ]
        lines = list(zip(u, _block_jacobian(row, quantity), strict=True))
        entropy = _entropy(row).values[0] if quantity is Quantity.ENTROPY_VJP else MP.zero
        values, errors = [], []
        for j, rate in enumerate(rates):
            values.append(rate * sum((u_i * line[j] for u_i, line in lines), MP.zero))
            size = row.p[j] * sum((abs(u_i) for u_i in u), MP.zero)
            if quantity is Quantity.ENTROPY_VJP:
                size *= 2 + 2 * entropy + (row.lse - row.scaled[j] if row.p[j] else 0)
            elif quantity is not Quantity.LOGSUMEXP_VJP:
                size += abs(u[j]) * (row.p[j] if quantity is Quantity.SOFTMAX_VJP else 1)
            errors.append(size * row.error * (rate if row.cap is None else 1 + abs(rate)))
        return Results(values, errors)

    return product


def _target(row: OracleRow) -> int:
    return row.weights.index(1)


def _by_probability(row: OracleRow) -> tuple[Real, list[Real], list[Real]]:
    """A loss that is a sum of functions of one probability each: its value, and their first and second derivatives."""
    assert row.options is not None
    if row.options.loss is Loss.SQUARED_ERROR:
        residuals = [p - q for p, q in zip(row.p, row.weights, strict=True)]
        return sum((r * r for r in residuals), MP.zero), [2 * r for r in residuals], [MP.mpf(2)] * len(residuals)
    t, g = _target(row), MP.mpf(row.options.focusing)
    p, zeros = row.p[t], [MP.zero] * len(row.p)
    w, log_p = sum((q for i, q in enumerate(row.p) if i != t), MP.zero), row.scaled[t] - row.lse
    value = -(w**g) * log_p
    first = g * w ** (g - 1) * log_p - w**g / p
    second = -g * (g - 1) * w ** (g - 2) * log_p + 2 * g * w ** (g - 1) / p + w**g / p**2
    return value, [*zeros[:t], first, *zeros[t + 1 :]], [*zeros[:t], second, *zeros[t + 1 :]]


def _extended_loss(row: OracleRow) -> Real:
    """The loss of a row of any other loss; +inf where a label lies on a masked class."""
    assert row.options is not None
    loss = row.options.loss
    if loss is Loss.SQUARED_ERROR:
        return _by_probability(row)[0]
    if any(a and z == -inf for a, z in zip(row.weights, row.scaled, strict=True)):
        return inf
    if loss in (Loss.FOCAL, Loss.SIGMOID_FOCAL):
        return MP.zero if _is_certain(row) else _by_probability(row)[0]
    plain = _weighted_loss(row)
    if loss is Loss.KL_DIVERGENCE:
        return plain + sum((q * MP.log(q) for q in row.weights if q), MP.zero)
    return plain + MP.mpf(row.options.z_loss) * row.lse**2


def _is_certain(row: OracleRow) -> bool:
    """True if nothing but the target has a probability."""
    return sum(1 for z in row.scaled if z != -inf) == 1 and row.scaled[_target(row)] != -inf


def _behind_cap(row: OracleRow) -> tuple[list[Real], Matrix]:
    """Gradient and Hessian in y."""
    assert row.options is not None
    size, jacobian = range(len(row.p)), _jacobian(row)
    if row.options.loss in (Loss.CROSS_ENTROPY, Loss.KL_DIVERGENCE, Loss.SIGMOID):
        z = MP.mpf(row.options.z_loss)
        slope = [row.mass * p - a + 2 * z * row.lse * p for p, a in zip(row.p, row.weights, strict=True)]
        force = row.mass + 2 * z * row.lse
        return slope, [[force * jacobian[i][j] + 2 * z * row.p[i] * row.p[j] for j in size] for i in size]
    if row.options.loss is not Loss.SQUARED_ERROR and row.scaled[_target(row)] == -inf:
        return [p - a for p, a in zip(row.p, row.weights, strict=True)], jacobian
    if row.options.loss is not Loss.SQUARED_ERROR and _is_certain(row):
        return [MP.zero for _ in size], [[MP.zero for _ in size] for _ in size]
    _, first, second = _by_probability(row)
    slope = [sum((first[i] * jacobian[i][j] for i in size), MP.zero) for j in size]
    terms = [
        [[second[i] * jacobian[i][j] * jacobian[i][k] + first[i] * _second_jacobian(row, i, j, k) for i in size] for k in size]
        for j in size
    ]
    return slope, [[sum(terms[j][k], MP.zero) for k in size] for j in size]


def _extended_derivatives(row: OracleRow) -> tuple[list[Real], Matrix]:
    """Gradient and Hessian of f times the loss in x; all 0 in an ignored row."""
    if row.ignored:
        return [MP.zero] * len(row.p), [[MP.zero] * len(row.p) for _ in row.p]
    slope, curvature = _behind_cap(row)
    size, t = range(len(slope)), MP.mpf(row.temperature)
    rate, bend = [MP.mpf(row.scale)] * len(slope), [MP.zero] * len(slope)
    if row.cap is not None:
        tanh = [y / row.cap for y in row.capped]
        rate = [row.scale * (1 - u * u) for u in tanh]
        bend = [-2 * u * s * row.scale / row.cap for u, s in zip(tanh, rate, strict=True)]
    f = row.factor
    gradient = [f * slope[i] * rate[i] / t for i in size]
    return gradient, [
        [f * (curvature[i][j] * rate[i] * rate[j] / t**2 + (i == j) * slope[i] * bend[i] / t) for j in size] for i in size
    ]


def _lost(values: list[Real]) -> Results:
    """Results whose errors are those of cancellation in terms of moderate size; working_bits has paid for it."""
    return Results(values, [MP.ldexp(1 + (0 if isinstance(v, float) else abs(v)), _LOST_BITS - MP.prec) for v in values])


def _extended(row: OracleRow, quantity: Quantity) -> Results:
    if quantity is Quantity.LOSS:
        return _lost([MP.zero if row.ignored else _extended_loss(row)])
    gradient, hessian = _extended_derivatives(row)
    if quantity is Quantity.GRADIENT:
        return _lost(gradient)
    if quantity is Quantity.HESSIAN:
        return _lost([entry for line in hessian for entry in line])
    if quantity is Quantity.HESSIAN_DIAGONAL:
        return _lost([line[i] for i, line in enumerate(hessian)])
    assert row.tangent is not None
    return _lost([sum((h * v for h, v in zip(line, row.tangent, strict=True)), MP.zero) for line in hessian])


WEIGHTED_RESULTS |= {quantity: _block_product(quantity) for quantity in BLOCK_PRODUCTS}


def _is_extended(row: OracleRow) -> bool:
    return row.options is not None and (
        row.options.loss not in (Loss.CROSS_ENTROPY, Loss.SIGMOID) or row.options.z_loss > 0 or row.cap is not None
    )


def _shared(row: OracleRow, losses: Results) -> Results:
    """The loss times its share: nothing of a share of 0, whatever the loss."""
    if not row.share:
        return Results([MP.zero], [MP.zero])
    return Results([loss * row.share for loss in losses.values], [error * row.share for error in losses.errors])


def _results(quantity: Quantity) -> Callable[[OracleRow], Results]:
    def results(row: OracleRow) -> Results:
        extended = _is_extended(row) and quantity not in WITHOUT_LABELS
        given = _extended(row, quantity) if extended else WEIGHTED_RESULTS[quantity](row)
        given = _shared(row, given) if quantity is Quantity.LOSS else given
        if row.options is None or not row.options.is_binary:
            return given
        return Results(given.values[:1], given.errors[:1])

    return results


ROW_RESULTS: dict[Quantity, Callable[[OracleRow], Results]] = {q: _results(q) for q in WEIGHTED_RESULTS}
"""Each quantity of one row (the loss before its reduction)."""


def layer_gradient(problem: Problem, rows: list[OracleRow], quantity: Quantity) -> Results:
    """The gradient of the linear layer: the matrix product g W, or g^T h with the features, or with ones."""
    assert problem.features is not None
    assert problem.weight is not None
    parts = [ROW_RESULTS[Quantity.GRADIENT](row) for row in rows]
    if quantity is Quantity.FEATURE_GRADIENT:
        return _times_weight(parts, problem.weight.tolist())
    counted, features = [index for index in range(len(rows)) if not _is_ignored(problem, index)], [[MP.one] for _ in rows]
    if quantity is Quantity.WEIGHT_GRADIENT:
        features = [[MP.mpf(h) for h in row] for row in problem.features.tolist()]
    values, errors = [], []
    for k in range(problem.num_classes):
        for column in range(len(features[0])):
            pairs = [(parts[index], features[index][column]) for index in counted]
            values.append(sum((part.values[k] * h for part, h in pairs), MP.zero))
            errors.append(sum((part.errors[k] * abs(h) for part, h in pairs), MP.zero))
    return Results(values, errors)


def _times_weight(parts: list[Results], weight: list[list[float]]) -> Results:
    values, errors = [], []
    for part in parts:
        for column in zip(*weight, strict=True):
            values.append(sum((g * w for g, w in zip(part.values, column, strict=True)), MP.zero))
            errors.append(sum((e * abs(w) for e, w in zip(part.errors, column, strict=True)), MP.zero))
    return Results(values, errors)


def exact_logits(problem: Problem, index: int) -> Sequence[Real]:
    """The logits of a row; of a linear layer its output, summed in fractions and rounded once."""
    if problem.features is None or problem.weight is None or not isfinite(sum(problem.features[index].tolist())):
        return problem.logits[index].tolist()
    bias = [0.0] * problem.num_classes if problem.bias is None else problem.bias.tolist()
    h, logits = [Fraction(x) for x in problem.features[index].tolist()], []
    for weight, offset in zip(problem.weight.tolist(), bias, strict=True):
        dot = sum((x * Fraction(w) for x, w in zip(h, weight, strict=True)), Fraction(0))
        whole = dot + Fraction(offset) if isfinite(offset) else None
        logits.append(offset if whole is None else MP.mpf(whole.numerator) / whole.denominator)
    return logits


def _has_softmax(row: OracleRow) -> bool:
    total = sum((MP.exp(x) for x in row.capped), MP.zero)
    return bool(MP.isnan(total) or 0 < total < inf)


def reduced_loss(problem: Problem, rows: list[OracleRow]) -> Results:
    """Sum or mean of the losses of the rows that count and have a softmax: powers that do not add up to 0 or infinity."""
    kept = [row for index, row in enumerate(rows) if not _is_ignored(problem, index) and _has_softmax(row)]
    counting = [ROW_RESULTS[Quantity.LOSS](row) for row in kept]
    divisor = divisor_of(problem)
    values = [value for part in counting for value in part.values]
    if not divisor:
        grows = any(value > 0 for value in values) and not any(value != value for value in values)
        return Results.filled(inf if grows else nan, 1)
    if any(isinf(value) for value in values if isinstance(value, float)):
        return Results.filled(inf, 1)
    errors = [error for part in counting for error in part.errors]
    return Results([sum(values, MP.zero) / divisor], [sum(errors, MP.zero) / divisor])
