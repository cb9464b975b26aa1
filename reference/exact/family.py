"""The losses that are not a weighted log-probability: values, first and second derivatives of a row, by ball arithmetic.

Each class here is the loss of one row as a function of y, the row after softcap and temperature (formulas: loss.py). Every
number comes with its size, that of the terms whose sum or difference it is; rationals stay rational, so a zero is exact.
Subtractions from 1 are avoided where they would cancel (`Softmax.complement`); what still cancels costs Ziv's loop bits.

A focal row with the target at probability 0 is that of cross-entropy (w = 1), with the target at probability 1 (nothing
else is left) it is 0 with all its derivatives: those are the limits. Where p is rational a logarithm may cancel: two equal
logits, g = 1: the Hessian is 3/8 exactly, which no precision tells from its neighbours. Such a rounding stays undecided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from flint import arb, fmpq

from reference.exact.row import Row
from reference.exact.softmax import Number, Softmax, Term, magnitude, plain_term, sum_term
from reference.loss import Loss
from reference.weights import rational

_ZERO = fmpq(0)
_ONE = fmpq(1)


@dataclass(frozen=True)
class Sized:
    """A number, and the size of the terms whose sum or difference it is."""

    value: Number
    size: Number

    def __add__(self, other: Sized) -> Sized:
        return Sized(self.value + other.value, self.size + other.size)

    def times(self, factor: Number) -> Sized:
        """factor * self: a product adds no cancellation."""
        return Sized(self.value * factor, self.size * magnitude(factor))


class RowLoss(Protocol):
    """The loss of one row and its derivatives by y; i and j are distinct classes."""

    def loss(self) -> tuple[Term | float, float]:
        """The loss (+inf where weight lies on a masked class) and its size."""

    def slope(self, i: int) -> Sized:
        """Entry i of the gradient."""

    def curvature(self, i: int, j: int, same: bool) -> Sized:
        """Entry of the Hessian at two classes of kinds i and j; `same` if they are one class."""

    def product(self, v: list[Number]) -> list[Sized]:
        """The Hessian times v."""


@dataclass(frozen=True)
class _Base:
    """What the losses share: a row, its softmax, and averages over it."""

    row: Row
    softmax: Softmax

    @cached_property
    def p(self) -> list[Number]:
        return [self.softmax.probability(i) for i in range(len(self.row.count))]

    def total(self, terms: list[Number]) -> Number:
        """Sum over all classes, each distinct one as often as it occurs."""
        return sum((n * term for n, term in zip(self.row.count, terms, strict=True)), _ZERO)

    def mean(self, values: list[Number]) -> Sized:
        """<p, values>: the average over all classes, each weighted with its probability."""
        terms = [p * v for p, v in zip(self.p, values, strict=True)]
        return Sized(self.total(terms), self.total([magnitude(term) for term in terms]))

    def variance(self, i: int, j: int, same: bool) -> Number:
        """Entry of diag(p) - p p^T, which never cancels."""
        return self.p[i] * self.softmax.complement(i) if same else -self.p[i] * self.p[j]

    def deviations(self, v: list[Number]) -> list[Sized]:
        """v_i - <p, v>, by way of v minus its largest p's component: along ones it is exactly 0."""
        top = self.softmax.highest.index(True)
        moved = [v_i - v[top] for v_i in v]
        mean = self.mean(moved)
        return [Sized(w - mean.value, magnitude(w) + mean.size) for w in moved]

    def excess(self, i: int, weight: fmpq, total: fmpq) -> Sized:
        """total p_i - weight, without cancellation where the weight is the total."""
        c = self.softmax.complement(i)
        near, far = total - weight + total * c, weight + total * self.p[i]
        value = (total - weight) - total * c if 2 * weight > total else total * self.p[i] - weight
        return Sized(value, near if arb(near) < arb(far) else far)


class RegularisedCrossEntropy(_Base):
    """Weighted cross-entropy plus z lse^2, in y."""

    @cached_property
    def z(self) -> fmpq:
        """z, the weight of lse^2, exactly."""
        return rational(self.row.problem.z_loss)

    @cached_property
    def lse(self) -> Sized:
        """lse = top + tail, and |top| + tail: they cancel where the largest logit is negative."""
        return Sized(self.softmax.lse, magnitude(self.softmax.top) + self.softmax.tail.ball)

    @cached_property
    def pull(self) -> Sized:
        """2 z lse, what z lse^2 adds to A."""
        return self.lse.times(2 * self.z)

    def loss(self) -> tuple[Term | float, float]:
        """Sum of a g + A tail + z (top + tail)^2: a rational part, and the rest, whose sign is its ball's."""
        exact, rest = _ZERO, self.row.total_weight * self.softmax.tail.ball
        for n, a, gap in zip(self.row.count, self.row.weights, self.softmax.gaps, strict=True):
            if a == 0:
                continue
            if gap is None:
                return np.inf, np.inf
            exact, rest = (exact + n * a * gap, rest) if isinstance(gap, fmpq) else (exact, rest + n * a * gap)
        top, tail = self.softmax.top, self.softmax.tail.ball
        size = float(arb(exact + rest + self.z * self.lse.size * self.lse.size))
        if self.z != 0 and isinstance(top, fmpq):
            return sum_term(exact + self.z * top * top, rest + self.z * tail * (2 * top + tail)), size
        return sum_term(exact, rest + self.z * self.softmax.lse * self.softmax.lse), size

    def slope(self, i: int) -> Sized:
        """Entry i of the gradient: A p_i - a_i + 2 z lse p_i."""
        return self.excess(i, self.row.weights[i], self.row.total_weight) + self.pull.times(self.p[i])

    def curvature(self, i: int, j: int, same: bool) -> Sized:
        """Entry of the Hessian: (A + 2 z lse) V_ij + 2 z p_i p_j, V = diag(p) - p p^T."""
        variance, square = self.variance(i, j, same), 2 * self.z * self.p[i] * self.p[j]
        weighted = self.row.total_weight * variance
        return Sized(weighted, magnitude(weighted)) + self.pull.times(variance) + Sized(square, square)

    def product(self, v: list[Number]) -> list[Sized]:
        """Entries of the product: (A + 2 z lse) p_i (v_i - <p, v>) + 2 z p_i <p, v>."""
        force, along = Sized(self.row.total_weight, self.row.total_weight) + self.pull, self.mean(v).times(2 * self.z)
        return [
            Sized(p * d.value * force.value, p * d.size * force.size) + along.times(p)
            for p, d in zip(self.p, self.deviations(v), strict=True)
        ]


class Focal(_Base):
    """w^g L with w = 1 - p_t."""

    @cached_property
    def target(self) -> int:
        """The distinct class of the target."""
        return self.row.weights.index(_ONE)

    @cached_property
    def focusing(self) -> fmpq:
        """The exponent g of (1 - p_t)^g, exactly."""
        return rational(self.row.problem.focusing)

    @cached_property
    def log_loss(self) -> Number:
        """L, of a target that is not masked."""
        gap = self.softmax.gaps[self.target]
        assert gap is not None
        return gap + self.softmax.tail.ball

    @cached_property
    def powers(self) -> list[Number]:
        """E of the other classes over that of the nearest, 0 at the target: a target far above them all loses none."""
        others = [gap for i, gap in enumerate(self.softmax.gaps) if gap is not None and i != self.target]
        nearest = min(others)
        return [
            _ZERO if gap is None or i == self.target else _ONE if gap == nearest else arb(nearest - gap).exp()
            for i, gap in enumerate(self.softmax.gaps)
        ]

    @cached_property
    def is_alone(self) -> bool:
        """True if the target is the only maximum: then w may be smaller than any ball tells from 0."""
        return self.softmax.gaps[self.target] == 0 and self.softmax.maxima == 1

    @cached_property
    def log_complement(self) -> Number:
        """The logarithm of w > 0."""
        if not self.is_alone:
            return arb(self.softmax.complement(self.target)).log()
        nearest = min(gap for i, gap in enumerate(self.softmax.gaps) if gap is not None and i != self.target)
        return arb(self.total(self.powers)).log() - nearest - self.softmax.tail.ball

    @cached_property
    def loss_over_complement(self) -> Number:
        """L / w; of a w that the ball does not tell from 0 it lies between 1 and 1 / (1 - w) (the series of -log(1 - w))."""
        w = arb(self.softmax.complement(self.target))
        return self.log_loss / w if w > 0 else arb(1, 2 * float(w.abs_upper()) + 2.0**-1000)

    def _power(self, exponent: fmpq) -> Number:
        """w^exponent, exponent >= 0; an integer one of a rational w is rational.

        Others go by the logarithm: the ball of w may hold 0, and so may not its logarithm.
        """
        w = self.softmax.complement(self.target)
        if isinstance(w, fmpq) and exponent.denominator == 1 and exponent <= 64:
            return w ** int(exponent.numerator)
        return arb(self.log_complement * exponent).exp()

    @cached_property
    def has_limit(self) -> bool:
        """True where the row is a limit: nothing but the target is left."""
        return self.softmax.gaps[self.target] is not None and self.softmax.complement(self.target) == 0

    @cached_property
    def first(self) -> Number:
        """The derivative f' of f by L: w^g (1 + g p L/w)."""
        if self.softmax.gaps[self.target] is None:
            return _ONE
        if self.has_limit or self.focusing == 0:
            return _ZERO if self.has_limit else _ONE
        return self._power(self.focusing) * (1 + self.focusing * self.p[self.target] * self.loss_over_complement)

    @cached_property
    def second(self) -> Sized:
        """w^2 f'', which has no negative power of w: w^(g + 1) g p (2 + (g - 1) p L/w - L)."""
        g = self.focusing
        if self.softmax.gaps[self.target] is None or self.has_limit or g == 0:
            return Sized(_ZERO, _ZERO)
        p, ratio = self.p[self.target], self.loss_over_complement
        terms: list[Number] = [fmpq(2), (g - 1) * p * ratio if g != 1 else _ZERO, -self.log_loss]
        return Sized(sum(terms, _ZERO), sum(map(magnitude, terms), _ZERO)).times(self._power(g + 1) * g * p)

    def offset(self, i: int) -> Number:
        """p_i - [i = t], by way of the complement at the target: no subtraction from 1."""
        return -self.softmax.complement(i) if i == self.target else self.p[i]

    def share(self, i: int) -> Number:
        """(p_i - [i = t]) / w: -1 at the target, elsewhere the part that the class has in w."""
        if i == self.target:
            return -_ONE
        if self.is_alone:
            return self.powers[i] / self.total(self.powers)
        return self.p[i] / self.softmax.complement(self.target)

    def loss(self) -> tuple[Term | float, float]:
        """A product of positive numbers; exactly 0 where only the target is left."""
        if self.softmax.gaps[self.target] is None:
            return np.inf, np.inf
        if self.has_limit:
            return Term(), 0.0
        value = self._power(self.focusing) * self.log_loss
        return plain_term(value), float(arb(value))

    def slope(self, i: int) -> Sized:
        """Entry i of the gradient: f' (p_i - [i = t])."""
        value = self.first * self.offset(i)
        return Sized(value, magnitude(value))

    def curvature(self, i: int, j: int, same: bool) -> Sized:
        """Entry of the Hessian: f' V_ij + f'' (p_i - [i = t]) (p_j - [j = t])."""
        value = self.first * self.variance(i, j, same)
        bent = self.second
        return Sized(value, magnitude(value)) + (bent.times(self.share(i) * self.share(j)) if bent.size != 0 else bent)

    def product(self, v: list[Number]) -> list[Sized]:
        """Entries of the product: f' p_i (v_i - <p, v>) + f'' (p_i - [i = t]) sum_j (p_j - [j = t]) v_j."""
        along = self._along(v) if self.second.size != 0 else Sized(_ZERO, _ZERO)
        bent = Sized(self.second.value * along.value, self.second.size * along.size)
        return [
            Sized(self.first * p * d.value, self.first * p * d.size) + (bent.times(self.share(i)) if bent.size != 0 else bent)
            for i, (p, d) in enumerate(zip(self.p, self.deviations(v), strict=True))
        ]

    def _along(self, v: list[Number]) -> Sized:
        """Sum over the other classes of their share in w times (v_j - v_t)."""
        terms = [_ZERO if j == self.target else self.share(j) * (v_j - v[self.target]) for j, v_j in enumerate(v)]
        return Sized(self.total(terms), self.total([magnitude(term) for term in terms]))


class SquaredError(_Base):
    """sum_c (p_c - q_c)^2. Its derivatives are made of values less their average, which near p_i = 1 are small."""

    def _others(self, terms: list[Number]) -> list[Number]:
        """For each distinct class the sum over all classes but one of its kind: the largest, of p, is not subtracted again."""
        top = self.softmax.highest.index(True)
        rest = sum(((n - (i == top)) * terms[i] for i, n in enumerate(self.row.count)), _ZERO)
        return [rest if i == top else rest - term + terms[top] for i, term in enumerate(terms)]

    def centred(self, values: list[Sized]) -> list[Sized]:
        """v_i - <p, v>, as (1 - p_i) v_i less what the others weigh."""
        shares = [v.times(p) for v, p in zip(values, self.p, strict=True)]
        others, sizes = self._others([v.value for v in shares]), self._others([v.size for v in shares])
        left = [v.times(self.softmax.complement(i)) for i, v in enumerate(values)]
        return [Sized(v.value - w, v.size + size) for v, w, size in zip(left, others, sizes, strict=True)]

    @cached_property
    def residuals(self) -> list[Sized]:
        """r = p - q of each distinct class, without cancellation where q is 1."""
        return [self.excess(i, q, _ONE) for i, q in enumerate(self.row.weights)]

    @cached_property
    def pulls(self) -> list[Sized]:
        """a = r - <p, r> of each distinct class."""
        return self.centred(self.residuals)

    @cached_property
    def leads(self) -> list[Sized]:
        """e = p - <p, p> of each distinct class."""
        return self.centred([Sized(p, p) for p in self.p])

    @cached_property
    def squares(self) -> list[Number]:
        """(1 - p_i)^2 plus the squares of the other p, of each distinct class: 1 - p_i - e_i."""
        others = self._others([p * p for p in self.p])
        return [self.softmax.complement(i) * self.softmax.complement(i) + square for i, square in enumerate(others)]

    def loss(self) -> tuple[Term | float, float]:
        """A sum of squares; the size of each is |r| times the size of r."""
        value = self.total([r.value * r.value for r in self.residuals])
        return plain_term(value), float(arb(self.total([magnitude(r.value) * r.size for r in self.residuals])))

    def slope(self, i: int) -> Sized:
        """Entry i of the gradient: 2 p_i a_i."""
        return self.pulls[i].times(2 * self.p[i])

    def curvature(self, i: int, j: int, same: bool) -> Sized:
        """Entry of the Hessian: 2 p_i ((1 - 2 p_i) a_i + p_i (1 - p_i - e_i)), and -2 p_i p_j (a_i + a_j + e_i + p_j).

        p_i + p_j - <p, p> is taken from the largest p, of which least is left.
        """
        if same:
            p, square = self.p[i], self.p[i] * self.squares[i]
            return (self.pulls[i].times(1 - 2 * p) + Sized(square, square)).times(2 * p)
        most, other = (j, i) if self.softmax.highest[j] else (i, j)
        bracket = self.pulls[i] + self.pulls[j] + self.leads[most] + Sized(self.p[other], self.p[other])
        return bracket.times(-2 * self.p[i] * self.p[j])

    def product(self, v: list[Number]) -> list[Sized]:
        """Entries of the product: 2 p_i (k_i d_i - <p, k d>) with k = a + p, d = v - <p, v>."""
        pulled = [a + Sized(p, p) for a, p in zip(self.pulls, self.p, strict=True)]
        bent = [Sized(k.value * d.value, k.size * d.size) for k, d in zip(pulled, self.deviations(v), strict=True)]
        return [b.times(2 * p) for b, p in zip(self.centred(bent), self.p, strict=True)]


ROW_LOSSES: dict[Loss, Callable[[Row, Softmax], RowLoss]] = {
    Loss.CROSS_ENTROPY: RegularisedCrossEntropy,
    Loss.SQUARED_ERROR: SquaredError,
    Loss.FOCAL: Focal,
    Loss.SIGMOID_FOCAL: Focal,
}
"""The formulas of each loss that is no weighted log-probability; cross-entropy is none with a softcap or a z-loss."""


def entropy_term(row: Row) -> tuple[Number, Number]:
    """Sum of q_c log q_c over the labels of a row, and the sum of its terms' sizes; an exact 0 where all q are 0 or 1."""
    logs = [n * q * arb(q).log() for n, q in zip(row.count, row.weights, strict=True) if q not in (_ZERO, _ONE)]
    return sum(logs, _ZERO), sum(map(magnitude, logs), _ZERO)
