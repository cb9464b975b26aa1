"""A running error analysis: bounds of numbers and of the errors that computing them leaves, through rounded operations.

If |y| <= size and the computed y' has |y' - y| <= error, then after one more operation

    sum       size_1 + size_2    error_1 + error_2
    product   size_1 size_2      error_1 size_2 + size_1 error_2 + error_1 error_2

plus one rounding in the working format, one store and one underflow: (size + error) ((1 + u)(1 + u_o) - 1) + omega_o.
Rigorous, not first order (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.3). A sum over
classes of depth h adds (1 + u)^h - 1 of the sum of the terms' sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

import numpy as np

from reference.arithmetic import Arithmetic
from reference.formats import Floats


def growth(unit: float, roundings: int) -> float:
    """(1 + unit)^roundings - 1: the largest relative error of so many roundings, one on top of the other."""
    # By expm1 and log1p: 1 + unit is 1 in float64 where unit is that of float64.
    return float(np.expm1(roundings * np.log1p(unit)))


def growth_of(arithmetic: Arithmetic, stores: int, working: int) -> float:
    """Relative growth of `stores` roundings to storage and `working` roundings in the working format."""
    stored, computed = growth(arithmetic.storage_roundoff, stores), growth(arithmetic.working.unit_roundoff, working)
    return stored + computed + stored * computed


@overload
def inverse_error(arithmetic: Arithmetic, divisor: float) -> float: ...


@overload
def inverse_error(arithmetic: Arithmetic, divisor: Floats) -> Floats: ...


def inverse_error(arithmetic: Arithmetic, divisor: float | Floats) -> float | Floats:
    """Relative error of a rounded 1/divisor, which may be subnormal; 0 where the arithmetic divides."""
    if not arithmetic.reciprocals:
        return 0.0
    return arithmetic.working.unit_roundoff + arithmetic.rounding_underflow * divisor


def product(left: Floats, right: Floats) -> Floats:
    """Left times right, where 0 times infinity is 0: a number that is exactly 0 stays so."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where((left == 0) | (right == 0), 0.0, left * right)


@dataclass(frozen=True, eq=False)
class Running:
    """Numbers of at most `size`, computed with an error of at most `error`."""

    size: Floats
    error: Floats
    arithmetic: Arithmetic

    @classmethod
    def exact(cls, values: Floats, arithmetic: Arithmetic) -> Running:
        """Inputs: numbers without an error."""
        return cls(np.abs(values), np.zeros_like(values), arithmetic)

    def stored(self) -> Running:
        """Rounded to storage, where that is narrower than the working format."""
        grown = self.arithmetic.storage_roundoff
        error = self.error + product(self.size + self.error, np.asarray(grown)) + self.arithmetic.storage_underflow
        return Running(self.size, error, self.arithmetic)

    def rounded(self, times: int = 1, depth: int = 0) -> Running:
        """Rounded and stored `times` times, and added up with `depth` more roundings in the working format."""
        grown = growth_of(self.arithmetic, times, times + depth)
        # Each store may lose omega_o, and what an early one lost grows with the roundings after it.
        lost = times * self.arithmetic.storage_underflow * (1 + grown)
        return Running(self.size, self.error + product(self.size + self.error, np.asarray(grown)) + lost, self.arithmetic)

    def plus(self, other: Running, size: Floats | None = None) -> Running:
        """The rounded sum or difference; `size` bounds the result where that is known to be smaller."""
        total = self.size + other.size if size is None else size
        return Running(total, self.error + other.error, self.arithmetic).rounded()

    def times(self, other: Running) -> Running:
        """The rounded product, entry by entry."""
        error = product(self.error, other.size + other.error) + product(self.size, other.error)
        return Running(product(self.size, other.size), error, self.arithmetic).rounded()

    def scaled(self, factor: float | Floats) -> Running:
        """The rounded product with the size of an exact number, or the quotient by its inverse."""
        return self.times(Running.exact(np.asarray(factor, dtype=np.float64), self.arithmetic))

    def divided(self, divisor: float) -> Running:
        """The rounded quotient by the size of an exact number, or the product with its rounded reciprocal."""
        inverse = np.asarray(1.0 / divisor)
        return self.times(Running(inverse, inverse * inverse_error(self.arithmetic, divisor), self.arithmetic))

    def summed(self) -> Running:
        """The rounded sum over the last axis, which is kept."""
        terms = self.size.shape[-1]
        flushed = terms * self.arithmetic.underflow if self.arithmetic.flush_to_zero else 0.0
        total = Running(self.size.sum(-1, keepdims=True), self.error.sum(-1, keepdims=True) + flushed, self.arithmetic)
        return total.rounded(depth=self.arithmetic.summation.depth(terms))
