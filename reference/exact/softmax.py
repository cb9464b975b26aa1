"""The oracle: every quantity enclosed by ball arithmetic (Arb), from the definition, with no cancellation.

For a row s x with maximum m at the M classes of gap 0, g_i = (m - s x_i)/T, E_i = exp(-g_i) and one maximum left out,

    R = sum of all E but one maximum      S = 1 + R          lse = m/T + log1p(R)
    loss = sum_c a_c g_c + A log1p(R)     p_i = E_i / S      1 - p_i = R_i / S,  R_i = S - E_i (R at a maximum)
    gradient_i = A p_i - a_i              Hessian_ii = A p_i R_i / S            Hessian_ij = -A p_i p_j
    (Hessian v)_i = A p_i (w_i - sum_j p_j w_j),  w = v - mean of v over the maxima (the Hessian's rows sum to 0)
    entropy = log1p(R) + sum_i p_i g_i            its gradient_i = p_i (g_i - sum_j p_j g_j) / T

At the maxima p = 1/M - D with D = (R - M + 1)/(M S), and every quantity is taken as its rational value at D = 0, a number
that may be a midpoint, plus what D adds to it.

(Blanchard, Higham and Higham, IMA J. Numer. Anal. 41(4), 2021, Algorithm 4.1, for lse; the rest are the same sums kept
apart.) Each value is an exact rational part plus a ball of known sign, so it is never rounded before it is judged.
The working precision doubles until the rounding into the problem's format is decided. It always is: by the theorem of
Lindemann and Weierstrass no result is a floating-point number or a midpoint, unless all finite logits are equal (then
everything but logarithms is computed in exact rationals) or the exact part is one (then the sign of the ball decides).
The one exception is harmless: tangents that cancel over equal logits may make an entry of Hv exactly 0, which is then
enclosed within 2^-2000 of 0, and every format rounds that to 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from flint import arb, fmpq

from reference.enclosure import Entry, enclose, special
from reference.exact.row import Row
from reference.weights import class_weights, rational, unit

_ZERO = fmpq(0)
_NO_BALL = arb(0)

_KEPT = 120
"""Bits of a ball that stand for it as a rational: more than any format and its midpoints have."""

_FAR = 100_000
"""Largest exponent of such a rational: one of any size would not fit into memory."""

Number = fmpq | arb


@dataclass(frozen=True)
class Term:
    """A real number exact + ball, the ball of known strict sign (0: unknown, or no ball)."""

    exact: fmpq = _ZERO
    ball: arb = _NO_BALL
    sign: int = 0

    def scaled(self, factor: fmpq) -> Term:
        """The number times an exact factor: both parts are, and the sign with them; times 1 it is not rounded again."""
        if factor == 1:
            return self
        return Term(self.exact * factor, self.ball * factor, self.sign * _sign(factor))

    def entry(self) -> Entry:
        """The certified entry of this number."""
        return enclose(self.exact, self.ball, self.sign)


class Softmax:
    """E, R, S of a row with a finite logit; exact rationals wherever E is rational (gap 0, or -inf)."""

    def __init__(self, row: Row) -> None:
        self.count = row.count
        self.top, self.gaps = self._levels(row)
        self.powers: list[Number] = [self._power(gap) for gap in self.gaps]
        self.highest = [gap == 0 for gap in self.gaps]
        self.maxima = sum(n for n, top in zip(row.count, self.highest, strict=True) if top)
        self.below = self._below()
        self.rest = self.below + (self.maxima - 1)
        self.total = self.below + self.maxima
        self.deficit = self.below / (self.total * self.maxima)
        self.tail = Term() if self.rest == 0 else Term(ball=arb(self.rest).log1p(), sign=1)

    @staticmethod
    def _levels(row: Row) -> tuple[Number, list[Number | None]]:
        """The largest logit over T/s, and how far each class lies below it: exactly 0 at the maxima, None if masked."""
        divisor = unit(row.problem)
        top = rational(max(x for x in row.logits if x != -np.inf)) / divisor
        return top, [None if x == -np.inf else top - rational(x) / divisor for x in row.logits]

    @staticmethod
    def _power(gap: Number | None) -> Number:
        if gap is None:
            return _ZERO
        return fmpq(1) if gap == 0 else arb(-gap).exp()

    def _below(self) -> Number:
        """Sum of the E below the maxima, which are never added to it: a tiny sum keeps its relative accuracy."""
        return sum((n * e for n, e, top in zip(self.count, self.powers, self.highest, strict=True) if not top), _ZERO)

    @property
    def lse(self) -> Number:
        """Log of the sum of exp(x/T), exactly the top where one class is left."""
        return self.top if self.rest == 0 else self.top + self.tail.ball

    def probability(self, i: int) -> Number:
        """p_i, an exact 0 where it is 0: 0 divided by a ball would be a ball, which `_term` takes to be positive."""
        return _ZERO if self.gaps[i] is None else self.powers[i] / self.total

    def complement(self, i: int) -> Number:
        """1 - p_i, without the subtraction from 1; an exact 1 where p is an exact 0."""
        if self.gaps[i] is None:
            return fmpq(1)
        # At a maximum R itself, which was summed without it; elsewhere the total is at least twice the power: no cancellation.
        others = self.rest if self.gaps[i] == 0 else self.total - self.powers[i]
        return others / self.total

    def probability_term(self, i: int) -> Term:
        """p_i, as 1/M - D at each of the M maxima."""
        if self.gaps[i] == 0 and self.deficit != 0:
            return Term(fmpq(1, self.maxima), arb(-self.deficit), -1)
        return _term(self.probability(i), 1)

    def variance_term(self, i: int) -> Term:
        """p_i (1 - p_i), as (M - 1)/M^2 - D ((M - 2)/M + D) at each of several maxima."""
        if self.gaps[i] != 0 or self.maxima == 1 or self.deficit == 0:
            return _term(self.probability(i) * self.complement(i), 1)
        excess = self.deficit * (self.deficit + fmpq(self.maxima - 2, self.maxima))
        return Term(fmpq(self.maxima - 1, self.maxima**2), arb(-excess), -1)

    def product_term(self, i: int, j: int) -> Term:
        """p_i p_j, as 1/M^2 - D (1/M + p) between two of several maxima."""
        product = self.probability(i) * self.probability(j)
        if self.gaps[i] != 0 or self.gaps[j] != 0 or self.deficit == 0:
            return _term(product, 1)
        lost = self.deficit * (self.probability(i) + fmpq(1, self.maxima))
        return Term(fmpq(1, self.maxima**2), arb(-lost), -1)


def magnitude(value: Number) -> Number:
    """|value|: a rational stays rational, a ball a ball."""
    return cast(Number, abs(value))


def plain_term(value: Number) -> Term:
    """A number as it stands: a ball as its midpoint rounded to _KEPT bits, and the rest, whose sign is read from it.

    A number that is a midpoint of a format but for a tail below 2^-_KEPT then shows on which side of it the tail is.
    """
    if isinstance(value, fmpq):
        return Term(exact=value)
    mantissa, exponent = (int(part) for part in value.mid().man_exp())
    excess = mantissa.bit_length() - _KEPT
    if excess <= 0 or abs(exponent) > _FAR:
        return sum_term(_ZERO, value)
    # To nearest: a midpoint of a format has far fewer than _KEPT bits, so a value beside one becomes the midpoint itself.
    nearest = (mantissa + (1 << (excess - 1))) >> excess
    exact = nearest * fmpq(2) ** (exponent + excess)
    return sum_term(exact, value - exact)


def shifted_term(value: Number, tail: Term) -> Term:
    """value + tail; a rational value keeps the sign of the tail."""
    return Term(value, tail.ball, tail.sign) if isinstance(value, fmpq) else plain_term(value + tail.ball)


def _term(value: Number, sign: int) -> Term:
    """A product without exact part: an exact rational stays one."""
    return Term(exact=value) if isinstance(value, fmpq) else Term(ball=value, sign=sign)


def sum_term(exact: fmpq, rest: Number) -> Term:
    """The sum, with the sign of `rest` where its ball has one."""
    if isinstance(rest, fmpq):
        return Term(exact=exact + rest)
    # Comparisons of balls are true only if they hold for all of the ball: where it has 0 in it, both are false.
    return Term(exact, rest, 1 if rest > 0 else -1 if rest < 0 else 0)


def _sign(value: fmpq) -> int:
    return 1 if value > 0 else -1 if value < 0 else 0


def loss_term(row: Row, softmax: Softmax) -> Term | float:
    """The loss of a regular row; +inf where weight lies on a masked class."""
    exact = _ZERO
    for n, a, gap in zip(row.count, row.weights, softmax.gaps, strict=True):
        if a == 0:
            continue
        if gap is None:
            return np.inf
        assert isinstance(gap, fmpq), "softcapped rows have formulas of their own"
        exact += n * a * gap
    tail = softmax.tail.scaled(row.total_weight)
    return Term(exact, tail.ball, tail.sign)


def target_gradient_entries(row: Row, softmax: Softmax, factor: fmpq) -> list[Entry]:
    """w (1 - s) L times an exact factor at the distinct classes: L is +inf at a masked class, and 0 times it is 0."""
    weights, kept = class_weights(row.problem)[row.members].tolist(), 1 - rational(row.problem.label_smoothing)
    entries = []
    for weight, gap in zip(weights, softmax.gaps, strict=True):
        each = rational(weight) * kept * factor
        if each == 0:
            entries.append(special(0.0))
        elif gap is None:
            entries.append(special(np.inf if each > 0 else -np.inf))
        else:
            entries.append(shifted_term(gap, softmax.tail).scaled(each).entry())
    return entries


def gradient_terms(row: Row, softmax: Softmax, factor: fmpq) -> tuple[list[Term], list[float]]:
    """Terms of the distinct classes, and the size of the terms whose difference each one is."""
    terms, scales = [], []
    for i, a in enumerate(row.weights):
        p = softmax.probability_term(i).scaled(row.total_weight * factor)
        terms.append(Term(p.exact - factor * a, p.ball, p.sign))
        near = arb(row.total_weight - a + row.total_weight * softmax.complement(i))
        far = arb(a + row.total_weight * softmax.probability(i))
        # Multiplied before it is converted: factor alone may overflow float64, and inf * 0 is NaN.
        scales.append(float(min(near, far) * abs(factor)))
    return terms, scales


def diagonal_entries(row: Row, softmax: Softmax, factor: fmpq) -> list[Entry]:
    """Diagonal entries of the Hessian at the distinct classes."""
    scale = row.total_weight * factor
    return [softmax.variance_term(i).scaled(scale).entry() for i in range(len(row.count))]


def pair_entries(row: Row, softmax: Softmax, factor: fmpq) -> list[Entry]:
    """Off-diagonal entries of the Hessian at each pair of distinct classes (row-major)."""
    scale = row.total_weight * factor
    distinct = len(row.count)
    pairs = [[_ZERO_ENTRY] * distinct for _ in range(distinct)]
    for i in range(distinct):
        for j in range(i + 1):
            pairs[i][j] = pairs[j][i] = softmax.product_term(i, j).scaled(-scale).entry()
    return [entry for line in pairs for entry in line]


_ZERO_ENTRY = special(0.0)


def entropy_term(row: Row, softmax: Softmax) -> Term:
    """The entropy of the softmax, a sum of positive numbers; an exact 0 where one class is left."""
    if softmax.rest == 0:  # exactly: of a ball around 0 both == and != are false
        return Term()
    spread = [n * softmax.probability(i) * gap for i, (n, gap) in enumerate(zip(row.count, softmax.gaps, strict=True)) if gap]
    return Term(ball=softmax.tail.ball + sum(spread, _ZERO), sign=1)


def entropy_slope_terms(row: Row, softmax: Softmax, factor: fmpq) -> tuple[list[Term], list[float]]:
    """p (g - <p, g>) times an exact factor, and the sizes of its terms: the slope of lse - <p, x>."""
    return product_terms(row, softmax, factor, [_ZERO if gap is None else gap for gap in softmax.gaps])


def product_terms(
    row: Row, softmax: Softmax, scale: fmpq, given: Sequence[Number] | None = None
) -> tuple[list[Term], list[float]]:
    """p (v - <p, v>) times an exact scale at the distinct classes, and the size of the terms whose difference each one is.

    v is the row's own tangent, or what is given, which is exact at the maxima.
    """
    v: Sequence[Number] = [rational(entry) for entry in row.tangent] if given is None else given
    highest = softmax.highest
    centre = sum((n * one for n, one, top in zip(row.count, v, highest, strict=True) if top), _ZERO) / softmax.maxima
    w: list[Number] = [one - centre for one in v]
    p = [softmax.probability(i) for i in range(len(w))]
    # The maxima share one p and their w add up to 0: they leave the mean to the classes below.
    below = [n * p_i * w_i for n, p_i, w_i, top in zip(row.count, p, w, highest, strict=True) if not top]
    mean = sum(below, _ZERO)
    size = sum((n * p_i * magnitude(w_i) for n, p_i, w_i in zip(row.count, p, w, strict=True)), _ZERO)
    terms = []
    for p_i, w_i, top in zip(p, w, highest, strict=True):
        if top:
            assert isinstance(w_i, fmpq)
            term = sum_term(w_i / softmax.maxima, -softmax.deficit * w_i - p_i * mean)
        else:
            term = sum_term(_ZERO, p_i * (w_i - mean))
        terms.append(term.scaled(scale))
    scales = [float(arb(abs(scale) * p_i * (magnitude(w_i) + size))) for p_i, w_i in zip(p, w, strict=True)]
    return terms, scales


def less_share_terms(row: Row, softmax: Softmax, factor: fmpq) -> tuple[list[Term], list[float]]:
    """u - p sum(u) of the tangent u, times an exact factor, at the distinct classes, and the sizes of its terms.

    Those are u_i and p_i u_j, or, where that is less, the other u_j and (1 - p_i) u_j: near 1 it is u_i (1 - p_i) less the
    others' share.
    """
    u = [rational(v) for v in row.tangent]
    total = sum((n * v for n, v in zip(row.count, u, strict=True)), _ZERO)
    mass = sum((n * abs(v) for n, v in zip(row.count, u, strict=True)), _ZERO)
    terms, scales = [], []
    for i, v in enumerate(u):
        share = softmax.probability_term(i).scaled(-total * factor)
        terms.append(Term(share.exact + factor * v, share.ball, share.sign))
        near = arb(mass - abs(v) + mass * softmax.complement(i))
        scales.append(float(min(near, arb(abs(v) + mass * softmax.probability(i))) * abs(factor)))
    return terms, scales
