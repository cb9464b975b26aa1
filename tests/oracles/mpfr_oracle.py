"""The third oracle: every quantity in MPFR, its derivatives by second-order forward differentiation of the loss's definition.

It shares no formula with the reference or with the mpmath oracle: a loss is written once, in numbers that carry gradient and
Hessian with them (`Jet`), and what is asked is read from these. Each problem is computed at two precisions, of 1400 bits and
more; the value is that of the more precise one, which is off by no more than they differ.

Logits are finite or -inf, or anything but NaN behind a softcap; at least one logit of a row is finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import ceil, inf, isinf, log, log2, nan
from operator import add
from typing import Any

import gmpy2
from gmpy2 import mpfr, mpq

from reference.loss import Loss, Target
from reference.problem import Problem
from reference.quantity import BLOCK_PRODUCTS, BUILDING_BLOCKS, LAYER_GRADIENTS, Quantity

Real = Any
"""An mpfr."""

LEAST_BITS = 1400
MORE_BITS = 200
"""By how many bits the second precision is larger than the first."""

WIDEST_GAP = 4000.0
"""Largest gap whose power is told from 0 beside 1: of what is below 2^-4000 the reference keeps the sign alone."""

FACTOR_BITS = 4000
"""What a power that is lost beside 1 may be multiplied by: cotangent, tangent and 1/T^2 together."""


@dataclass(frozen=True)
class Jet:
    """A number with its gradient and its Hessian by the logits of its row."""

    value: Real
    slope: list[Real]
    bend: list[list[Real]]

    @classmethod
    def constant(cls, value: Real, size: int) -> Jet:
        """A number that no logit moves."""
        return cls(mpfr(value), [mpfr(0)] * size, [[mpfr(0)] * size for _ in range(size)])

    @classmethod
    def logit(cls, value: Real, index: int, size: int) -> Jet:
        """The logit with this index."""
        return cls(mpfr(value), [mpfr(i == index) for i in range(size)], cls.constant(0, size).bend)

    def __add__(self, other: Jet) -> Jet:
        bend = [[a + b for a, b in zip(*lines, strict=True)] for lines in zip(self.bend, other.bend, strict=True)]
        return Jet(self.value + other.value, [a + b for a, b in zip(self.slope, other.slope, strict=True)], bend)

    def __mul__(self, other: Jet) -> Jet:
        """The product rule."""
        a, b, size = self, other, range(len(self.slope))
        slope = [a.slope[i] * b.value + a.value * b.slope[i] for i in size]
        bend = [
            [a.bend[i][j] * b.value + a.slope[i] * b.slope[j] + a.slope[j] * b.slope[i] + a.value * b.bend[i][j] for j in size]
            for i in size
        ]
        return Jet(a.value * b.value, slope, bend)

    def times(self, factor: Real) -> Jet:
        """The product with a constant."""
        return Jet(self.value * factor, [s * factor for s in self.slope], [[b * factor for b in line] for line in self.bend])

    def through(self, value: Real, first: Real, second: Real) -> Jet:
        """A function of the number, by its value and its first two derivatives there: the chain rule."""
        size = range(len(self.slope))
        bend = [[first * self.bend[i][j] + second * self.slope[i] * self.slope[j] for j in size] for i in size]
        return Jet(value, [first * s for s in self.slope], bend)

    def exp(self) -> Jet:
        """Its exponential."""
        power = gmpy2.exp(self.value)
        return self.through(power, power, power)

    def log(self) -> Jet:
        """Its logarithm."""
        return self.through(gmpy2.log(self.value), 1 / self.value, -1 / self.value**2)

    def power(self, exponent: Real) -> Jet:
        """Its power; 0 where it is 0, as every loss is that has one."""
        w, g = self.value, exponent
        if w == 0:
            return Jet.constant(g == 0, len(self.slope))
        return self.through(w**g, g * w ** (g - 1), g * (g - 1) * w ** (g - 2))

    def capped(self, cap: Real) -> Jet:
        """c tanh(x/c)."""
        tanh = gmpy2.tanh(self.value / cap)
        rate = 1 / gmpy2.cosh(self.value / cap) ** 2
        return self.through(cap * tanh, rate, -2 * tanh * rate / cap)


def _sum(jets: Sequence[Jet]) -> Jet:
    return reduce(add, jets)


@dataclass(frozen=True)
class MpfrRow:
    """The classes of a row that are not masked, as jets of log-probability and probability, and the labels of all."""

    problem: Problem
    index: int
    scaled: dict[int, Jet]
    lse: Jet
    size: int

    @classmethod
    def of(cls, problem: Problem, index: int) -> MpfrRow:
        """One row; [x, 0] for a sigmoid loss."""
        logits = _logits(problem, index)
        cap, size = problem.logit_softcap, len(logits)
        jets = {i: Jet.logit(x, i, size) for i, x in enumerate(logits) if cap is not None or x != -inf}
        jets = {i: jet.times(mpfr(problem.logit_scale)) for i, jet in jets.items()}
        if cap is not None:
            jets = {i: jet.capped(mpfr(cap)) for i, jet in jets.items()}
        scaled = {i: jet.times(1 / mpfr(problem.temperature)) for i, jet in jets.items()}
        top = max(jet.value for jet in scaled.values())
        powers = [(jet + Jet.constant(-top, size)).exp() for jet in scaled.values()]
        return cls(problem, index, scaled, _sum(powers).log() + Jet.constant(top, size), size)

    @property
    def ignored(self) -> bool:
        """True if the row has `ignore_index`."""
        return self.problem.target.ndim == 1 and int(self.problem.target[self.index]) == self.problem.ignore_index

    def log_p(self, i: int) -> Jet:
        """Log of the probability of a class that is not masked."""
        return self.scaled[i] + self.lse.times(mpfr(-1))

    def p(self, i: int) -> Jet:
        """The probability of a class."""
        return self.log_p(i).exp() if i in self.scaled else Jet.constant(0, self.size)

    def labels(self) -> list[Real]:
        """What the log-probabilities are weighted by: labels, smoothed, times class weights."""
        problem, target = self.problem, self.problem.target[self.index]
        if self.ignored:
            return [mpfr(0)] * self.size
        if problem.is_binary:
            y = mpfr(float(target[0]))
            return [mpfr(problem.positive_weight) * y, 1 - y]
        mass = target.tolist() if problem.has_probabilities else [float(i == int(target)) for i in range(self.size)]
        weights = [1.0] * self.size if problem.class_weights is None else problem.class_weights.tolist()
        s = mpfr(problem.label_smoothing)
        return [mpfr(w) * ((1 - s) * mpfr(q) + s / self.size) for q, w in zip(mass, weights, strict=True)]

    def loss(self) -> tuple[Jet, bool]:
        """The loss without what a label on a masked class adds to it, and whether there is such a label."""
        problem, nothing = self.problem, Jet.constant(0, self.size)
        if self.ignored:
            return nothing, False
        labels = self.labels()
        if problem.loss is Loss.SQUARED_ERROR:
            residuals = [self.p(i) + Jet.constant(-q, self.size) for i, q in enumerate(labels)]
            return _sum([r * r for r in residuals]), False
        hidden = any(a > 0 and i not in self.scaled for i, a in enumerate(labels))
        if problem.loss.spec.target is Target.BINARY_CLASSES or problem.loss is Loss.FOCAL:
            return self._focal(labels, hidden), hidden
        seen = [self.scaled[i].times(-a) for i, a in enumerate(labels) if i in self.scaled]
        total = _sum([*seen, self.lse.times(sum(labels, mpfr(0)))])
        if problem.loss is Loss.KL_DIVERGENCE:
            total = total + Jet.constant(sum((q * gmpy2.log(q) for q in labels if q), mpfr(0)), self.size)
        return total + (self.lse * self.lse).times(mpfr(problem.z_loss)), hidden

    def _focal(self, labels: list[Real], hidden: bool) -> Jet:
        """-(1 - p_t)^g log p_t; the factor is 1 where t is masked, where what moves is lse."""
        t = labels.index(1)
        if hidden:
            return self.lse
        others = [self.p(i) for i in self.scaled if i != t]
        if not others:
            return Jet.constant(0, self.size)
        return (_sum(others).power(mpfr(self.problem.focusing)) * self.log_p(t)).times(mpfr(-1))

    @property
    def unit(self) -> Real:
        """What a logit is multiplied by where there is no softcap."""
        return mpfr(self.problem.logit_scale) / mpfr(self.problem.temperature)

    def hidden_slope(self) -> list[Real]:
        """What a label on a masked class adds to the gradient: it keeps its -a there."""
        if self.problem.loss is Loss.SQUARED_ERROR:
            return [mpfr(0)] * self.size
        return [mpfr(0) if i in self.scaled else -a * self.unit for i, a in enumerate(self.labels())]

    def factor(self) -> Real:
        """Cotangent times row weight over what the losses are divided by."""
        return self.upstream * self.weight / divisor(self.problem)

    @property
    def weight(self) -> Real:
        """What multiplies the loss of the row."""
        return mpfr(1) if self.problem.row_weights is None else mpfr(float(self.problem.row_weights[self.index]))

    @property
    def upstream(self) -> Real:
        """The cotangent of the row."""
        given = self.problem.upstream
        return mpfr(float(given if given.ndim == 0 else given[self.index]))


def divisor(problem: Problem) -> Real:
    """What the losses are divided by: a normaliser, or what a mean divides by; 1 for a sum."""
    if problem.normaliser is not None:
        return mpfr(problem.normaliser)
    if problem.reduction != "mean":
        return mpfr(1)
    if problem.has_probabilities:
        return mpfr(problem.num_rows)
    counting = [int(t) for t in problem.target if int(t) != problem.ignore_index]
    weights = problem.class_weights
    return sum((mpfr(1) if weights is None else mpfr(float(weights[t])) for t in counting), mpfr(0))


def _of_loss(row: MpfrRow, quantity: Quantity) -> list[Real]:
    """A quantity of one row's loss, in row-major order."""
    jet, hidden = row.loss()
    kept = range(1 if row.problem.is_binary else row.size)
    if quantity is Quantity.LOSS:
        share = row.weight / (divisor(row.problem) if row.problem.reduction == "none" else 1)
        return [inf if hidden and share else mpfr(0) if hidden else jet.value * share]
    f = row.factor()
    if quantity is Quantity.GRADIENT:
        return [f * (a + b) for a, b in zip(jet.slope, row.hidden_slope(), strict=True)][: len(kept)]
    if quantity is Quantity.HESSIAN:
        return [f * jet.bend[i][j] for i in kept for j in kept]
    if quantity is Quantity.HESSIAN_DIAGONAL:
        return [f * jet.bend[i][i] for i in kept]
    assert row.problem.tangent is not None
    v = [mpfr(x) for x in row.problem.tangent[row.index].tolist()]
    return [f * sum((jet.bend[i][j] * v[j] for j in kept), mpfr(0)) for i in kept]


def _by_target(row: MpfrRow) -> list[Real]:
    """The derivatives of a row's loss, which is linear in its labels, by each of them."""
    problem, kept = row.problem, 1 - mpfr(row.problem.label_smoothing)
    weights = [1.0] * row.size if problem.class_weights is None else problem.class_weights.tolist()
    by = [mpfr(w) * kept * row.factor() for w in weights]
    return [
        mpfr(0) if not f else -f * row.log_p(i).value if i in row.scaled else inf if f > 0 else -inf for i, f in enumerate(by)
    ]


def _entropy(row: MpfrRow) -> Jet:
    """-sum p log p over the classes that are not masked."""
    return _sum([row.p(i) * row.log_p(i) for i in row.scaled]).times(mpfr(-1))


def _block(row: MpfrRow, quantity: Quantity) -> list[Real]:
    """A building block of one row."""
    if quantity is Quantity.LOGSUMEXP:
        return [row.lse.value]
    if quantity is Quantity.ENTROPY:
        return [_entropy(row).value]
    kept = range(1 if row.problem.is_binary else row.size)
    if quantity is Quantity.SOFTMAX:
        return [row.p(i).value for i in kept]
    return [row.log_p(i).value if i in row.scaled else -inf for i in kept]


def _block_product(row: MpfrRow, quantity: Quantity) -> list[Real]:
    """The slopes of a building block's entries, added up along its cotangent; log p of a masked class moves by itself alone."""
    kept = 1 if row.problem.is_binary else row.size
    if quantity is Quantity.LOGSUMEXP_VJP:
        return row.lse.times(row.upstream).slope[:kept]
    if quantity is Quantity.ENTROPY_VJP:
        return _entropy(row).times(row.upstream).slope[:kept]
    assert row.problem.tangent is not None
    u = [mpfr(v) for v in row.problem.tangent[row.index].tolist()]
    if quantity is Quantity.SOFTMAX_VJP:
        parts = [row.p(i).times(v) for i, v in enumerate(u)]
    else:
        masked = Jet.logit(0, 0, row.size).times(row.unit)
        moved = [Jet(masked.value, [masked.slope[0] * (i == j) for j in range(row.size)], masked.bend) for i in range(row.size)]
        parts = [((row.scaled.get(i) or moved[i]) + row.lse.times(mpfr(-1))).times(v) for i, v in enumerate(u)]
    return _sum(parts).slope[:kept]


def _at_precision(problem: Problem, quantity: Quantity, rows: list[MpfrRow]) -> list[Real]:
    if quantity in BUILDING_BLOCKS:
        return [value for row in rows for value in _block(row, quantity)]
    if quantity in BLOCK_PRODUCTS:
        return [value for row in rows for value in _block_product(row, quantity)]
    if quantity is Quantity.TARGET_GRADIENT:
        return [value for row in rows for value in _by_target(row)]
    if quantity in LAYER_GRADIENTS:
        return _layer(problem, rows, quantity)
    each = [value for row in rows for value in _of_loss(row, quantity)]
    if quantity is not Quantity.LOSS or problem.reduction == "none":
        return each
    return [inf] if any(isinstance(value, float) for value in each) else [sum(each, mpfr(0)) / divisor(problem)]


def _layer(problem: Problem, rows: list[MpfrRow], quantity: Quantity) -> list[Real]:
    """g W or g^T h of the linear layer, or the sum of g for the bias."""
    assert problem.features is not None
    assert problem.weight is not None
    gradients = [_of_loss(row, Quantity.GRADIENT) for row in rows]
    if quantity is Quantity.FEATURE_GRADIENT:
        return [_dot(gradient, column) for gradient in gradients for column in problem.weight.T.tolist()]
    columns = [[1.0] * len(rows)] if quantity is Quantity.BIAS_GRADIENT else problem.features.T.tolist()
    return [_dot([g[k] for g in gradients], column) for k in range(problem.num_classes) for column in columns]


def _dot(left: list[Real], right: list[float]) -> Real:
    return sum((a * mpfr(b) for a, b in zip(left, right, strict=True)), mpfr(0))


def _logits(problem: Problem, index: int) -> list[Real]:
    """The logits of a row; of a linear layer its output, as exact rationals and rounded once."""
    if problem.features is None or problem.weight is None:
        return list(problem.logits[index].tolist()) + [0.0] * problem.is_binary
    bias = [0.0] * problem.num_classes if problem.bias is None else problem.bias.tolist()
    h, logits = problem.features[index].tolist(), []
    for weight, offset in zip(problem.weight.tolist(), bias, strict=True):
        dot = sum((mpq(x) * mpq(w) for x, w in zip(h, weight, strict=True)), mpq(0))
        logits.append(offset if isinf(offset) else mpfr(dot + mpq(offset)))
    return logits


def _bits(problem: Problem) -> int:
    """Bits for what cancels in a row: log p in the size of the logits, 1 - p in the smallest power, once in each derivative."""
    finite = [abs(x) for x in problem.logits.ravel().tolist() if not isinf(x)] or [0.0]
    largest = max(finite) * problem.logit_scale / problem.temperature
    gap = min(2 * largest, WIDEST_GAP)
    capped = (
        0.0 if problem.logit_softcap is None else min(2 * max(finite) * problem.logit_scale / problem.logit_softcap, WIDEST_GAP)
    )
    size = log2(1.0 + largest) if largest < inf else 2200.0
    return ceil(_bits_of(gap) + capped / log(2.0) + size)


def _bits_of(gap: float) -> float:
    return LEAST_BITS + 3 * gap / log(2.0)


def values_of(problem: Problem, quantities: Sequence[Quantity]) -> dict[Quantity, tuple[list[Real], list[Real]]]:
    """Values in row-major order (floats where they are infinite), and bounds of their errors."""
    bits, runs = _bits(problem), []
    for precision in (bits, bits + MORE_BITS):
        with gmpy2.context(precision=precision, emax=gmpy2.get_emax_max(), emin=gmpy2.get_emin_min()):
            rows = [MpfrRow.of(problem, index) for index in range(problem.num_rows)]
            runs.append({quantity: _at_precision(problem, quantity, rows) for quantity in quantities})
            rough, fine = runs[0], runs[-1]
    with gmpy2.context(precision=bits + MORE_BITS, emax=gmpy2.get_emax_max(), emin=gmpy2.get_emin_min()):
        unseen = mpfr(2) ** (FACTOR_BITS - bits) if bits >= _bits_of(WIDEST_GAP) else mpfr(0)
        return {q: (fine[q], [_error(a, b, bits) + unseen for a, b in zip(rough[q], fine[q], strict=True)]) for q in quantities}


def _error(rough: Real, fine: Real, bits: int) -> Real:
    """What the finer value may be off by: as much as they differ, even where the rougher one is right by chance."""
    if isinstance(fine, float) or isinstance(rough, float):
        return mpfr(0) if rough == fine else mpfr(nan)
    return 2 * abs(fine - rough) + abs(fine) * mpfr(2) ** -bits
