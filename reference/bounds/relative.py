"""The supremum of the bound of `componentwise` over a domain: rtol and atol, for the sibling tolerances.py.

Symbols as in componentwise.py. On a domain every gap is at most G, so each power has a relative error of at most eps_G, and a
sum of them, whatever its weights, at most (1 + eps_G)(1 + u)^h - 1. From these follow

    eta <= (1 + that)(1 + u)^h - 1                    R <= S
    tail, relative to log1p(R):  dR/S <= (dR/R) log1p(R), since R/(1 + R) <= log1p(R)
    q_i for i != c: its sum is S - E_i >= S/2

and the rounded operations that each quantity adds (family.py). All is relative to the size of an entry's terms, which is at
most |value|, and 2 (labels), 2 V (a product) or 2 log K (logsumexp) where terms may cancel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from reference.arithmetic import Arithmetic
from reference.bounds.analysis import LABEL_ROUNDINGS
from reference.bounds.componentwise import combined
from reference.bounds.domain import OverDomain
from reference.bounds.family import EXTRA_ROUNDINGS
from reference.bounds.running import growth, inverse_error
from reference.quantity import Quantity
from reference.reduction import Reduction

_STORES = 40
"""More rounded operations than any quantity has; each may lose an underflow."""


@dataclass(frozen=True)
class LargestRelative(OverDomain):
    """The largest relative errors of a domain, and what each quantity makes of them."""

    @cached_property
    def arithmetic(self) -> Arithmetic:
        """The working format: whatever is declared, only the result is stored."""
        return self.declared.storing_once().inside

    def of(self, quantity: Quantity) -> float:
        """Largest error of a quantity, relative to the size of its terms."""
        found: dict[Quantity, Callable[[], float]] = {
            Quantity.LOSS: self._loss,
            Quantity.GRADIENT: lambda: self._derivative(max(self._probability, self._complement), 3),
            Quantity.HESSIAN: lambda: self._derivative(_together(self._probability, self._complement), 5),
            Quantity.HESSIAN_DIAGONAL: lambda: self._derivative(_together(self._probability, self._complement), 5),
            Quantity.HVP: self._product,
            Quantity.LOG_SOFTMAX: lambda: self._log_loss,
            Quantity.SOFTMAX: lambda: _together(self._probability, self._u),
            Quantity.LOGSUMEXP: lambda: _together(self._tail, self._u),
        }
        stored = _together(found[quantity](), self.declared.storage_roundoff)
        if not stored < 1:
            raise ValueError(f"gap is {self.domain.gap:g}: a value may be off by 100%, and nothing is bounded")
        return stored

    def lost(self, quantity: Quantity) -> float:
        """More than underflow costs an entry, on all the ways that it may take; a weight's is multiplied by a loss."""
        rows = self.domain.rows if self.domain.reduction is Reduction.SUM else 1
        # Rescaled, a power loses 3 omega and more.
        each = self.arithmetic.underflow * (1 if self.arithmetic.summation.tile is None else 8)
        each += self.arithmetic.storage_underflow
        amplitude = (1 + 2 * self.domain.tangent) * rows * (4 * self.domain.classes + _STORES)
        if quantity is Quantity.LOSS and not self.domain.plain:
            amplitude *= 1 + self.domain.gap + math.log(self.domain.classes)
        return each * amplitude + self.declared.storage_underflow

    def _power(self, rescaled: int) -> float:
        """eps_G of a power that is rescaled so often."""
        moved = min(self._exponent_unit * self.domain.gap, 1.0)
        return math.expm1(moved) + self._stretched(rescaled) * math.exp(moved)

    @cached_property
    def _own_power(self) -> float:
        """Of a power that is taken of the maximum, or kept from its tile and rescaled once."""
        return self._power(min(self._rescalings, 1))

    @cached_property
    def _sum(self) -> float:
        """Of a sum of powers."""
        return _together(self._power(self._rescalings), self._sum_growth)

    @cached_property
    def _total_growth(self) -> float:
        """What adding the 1 to the others costs, first or last."""
        return max(self._sum_growth, self._u)

    @cached_property
    def _divided(self) -> float:
        """What a quotient by S adds."""
        eta = _together(self._sum, self._total_growth)
        inverted = inverse_error(self.arithmetic, self.domain.classes * (1 + eta))
        return _together(eta / (1 - eta), self._u, inverted) if eta < 1 else math.inf

    @cached_property
    def _probability(self) -> float:
        return _together(self._own_power, self._divided)

    @cached_property
    def _complement(self) -> float:
        subtracted = _together(2 * _together(self._sum, self._total_growth) + self._own_power, self._u)
        return _together(max(self._sum, subtracted), self._divided)

    @cached_property
    def _tail(self) -> float:
        """Of log1p(R)."""
        moved = self._sum / (1 - self._sum) if self._sum < 1 else math.inf
        return _together(moved, 2 * self.arithmetic.log_ulps * self._u, self._scaled)

    @cached_property
    def _log_loss(self) -> float:
        return _together(max(self._tail, self._u), self._u)

    @cached_property
    def _labels(self) -> int:
        """Roundings of a weight, and of a sum with weights."""
        return 0 if self.domain.plain else LABEL_ROUNDINGS + self._depth + 2

    def _rows(self) -> int:
        """Roundings of a mean's denominator, or of a sum over the rows."""
        summed = self.domain.reduction is not Reduction.NONE
        return 2 * self.arithmetic.summation.depth(self.domain.rows) + 3 if summed else 0

    def _loss(self) -> float:
        return _together(self._log_loss, growth(self._u, self._labels + self._rows()), self._mean_inverse)

    def _derivative(self, relative: float, roundings: int) -> float:
        more = roundings + self._labels + 1 + EXTRA_ROUNDINGS + self._rows()
        return _together(relative, growth(self._u, more), self._mean_inverse)

    def _product(self) -> float:
        # The probabilities enter twice: in the mean, a sum over the classes, and as the factor of the deviation.
        return self._derivative(_together(self._probability, self._probability), 7 + self._depth)


def _together(*errors: float) -> float:
    return float(combined(*errors))
