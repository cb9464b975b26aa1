"""Logits behind a softcap, c tanh(x/w): finite whatever the logits, so nothing is masked and an infinite logit owes a number.

The width w of the softcap is c, over the scale of the logits where they have one. With u = x/w, y = c tanh(u)/T and d the unit
T w/c = T/scale, s = dy/dx d = sech^2(u) and d2y/dx2 d^2 = -T (2/c) tanh(u) s, the chain rule of a row loss l(y) is

    gradient_i = l'_i s_i      Hessian_ij = l''_ij s_i s_j - [i = j] T l'_i (2/c) tanh(u_i) s_i

in units of 1/d and 1/d^2. Gaps are differences of tanh without cancellation: for u > v >= 0,
tanh u - tanh v = 2 e^(-2v) (1 - e^(-2(u-v))) / ((1 + e^(-2u)) (1 + e^(-2v))).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import inf

from flint import arb, fmpq

from reference.exact.family import RowLoss, Sized
from reference.exact.row import Logit, Row
from reference.exact.softmax import Number, Softmax, Term
from reference.weights import rational

_ZERO = fmpq(0)


def _decay(x: Logit, width: fmpq) -> Number:
    """e^(-2|x|/w) <= 1, of which tanh and sech^2 are made; exactly 0 at the infinities."""
    return _ZERO if abs(x) == inf else arb(-2 * abs(rational(x)) / width).exp()


def _tanh(x: Logit, width: fmpq) -> Number:
    """tanh(x/w), exact at 0 and at the infinities."""
    return fmpq((x > 0) - (x < 0)) if x == 0 or abs(x) == inf else arb(rational(x) / width).tanh()


def _sech2(x: Logit, width: fmpq) -> Number:
    """sech^2(x/w) = 4 e^(-2|u|) / (1 + e^(-2|u|))^2, exact at 0 and at the infinities."""
    if x == 0:
        return fmpq(1)
    power = _decay(x, width)
    return 4 * power / ((1 + power) * (1 + power))


def _rise(high: Logit, low: Logit, width: fmpq) -> Number:
    """tanh(high/w) - tanh(low/w) for high >= low, without cancellation."""
    if high == low:
        return _ZERO
    if low < 0 < high:
        return _tanh(high, width) - _tanh(low, width)
    # tanh is odd: two negative numbers are taken as their sizes, the one nearer to 0 as v of the head.
    inner, outer = (low, high) if low >= 0 else (high, low)
    fraction = fmpq(1) if abs(outer) == inf else -arb(-2 * abs(rational(outer) - rational(inner)) / width).expm1()
    return 2 * _decay(inner, width) * fraction / ((1 + _decay(outer, width)) * (1 + _decay(inner, width)))


class CappedSoftmax(Softmax):
    """The softmax of c tanh(x/w)/T."""

    @staticmethod
    def _levels(row: Row) -> tuple[Number, list[Number | None]]:
        width, highest = _width(row), max(row.logits)
        most = _cap(row) / rational(row.problem.temperature)
        return most * _tanh(highest, width), [most * _rise(highest, x, width) for x in row.logits]


def rates_of(row: Row) -> list[Number]:
    """sech^2(x/w) of each distinct class: what a derivative by y is multiplied with, in units of 1/d."""
    width = _width(row)
    return [_sech2(x, width) for x in row.logits]


def _cap(row: Row) -> fmpq:
    """c, exactly."""
    assert row.problem.logit_softcap is not None
    return rational(row.problem.logit_softcap)


def _width(row: Row) -> fmpq:
    """c over the scale, exactly: what a logit is divided by before its tanh is taken."""
    return _cap(row) / rational(row.problem.logit_scale)


@dataclass(frozen=True)
class Capped:
    """The loss of a row as a function of its logits before the softcap, given that behind it."""

    row: Row
    behind: RowLoss

    @cached_property
    def width(self) -> fmpq:
        """w, exactly."""
        return _width(self.row)

    @cached_property
    def rates(self) -> list[Number]:
        """s = sech^2(x/w) of each distinct class: dy/dx times d."""
        return rates_of(self.row)

    @cached_property
    def bends(self) -> list[Number]:
        """-T (2/c) tanh(u) s of each distinct class: d2y/dx2 times d^2."""
        twice = -2 * rational(self.row.problem.temperature) / _cap(self.row)
        return [twice * _tanh(x, self.width) * s for x, s in zip(self.row.logits, self.rates, strict=True)]

    def loss(self) -> tuple[Term | float, float]:
        """The loss of the row behind the softcap, and its size: the softcap changes only the derivatives."""
        return self.behind.loss()

    def slope(self, i: int) -> Sized:
        """Entry i of the gradient: l'_i s_i."""
        return self.behind.slope(i).times(self.rates[i])

    def curvature(self, i: int, j: int, same: bool) -> Sized:
        """Entry of the Hessian: l''_ij s_i s_j + [i = j] l'_i bend_i."""
        chained = self.behind.curvature(i, j, same).times(self.rates[i] * self.rates[j])
        return chained + self.behind.slope(i).times(self.bends[i]) if same else chained

    def product(self, v: list[Number]) -> list[Sized]:
        """Entries of the product: s_i (l'' (s v))_i + l'_i bend_i v_i."""
        inner = self.behind.product([s * v_i for s, v_i in zip(self.rates, v, strict=True)])
        return [given.times(self.rates[i]) + self.behind.slope(i).times(self.bends[i] * v[i]) for i, given in enumerate(inner)]
