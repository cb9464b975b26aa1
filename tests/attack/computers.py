"""Two arithmetics for one algorithm: one that rounds, and one that tells how far all roundings together may move a result.

`Rounding` rounds every operation to a format, as a kernel does. `FirstOrder` computes exactly, but for float64, and keeps for
each number how it moves with each rounding so far: the sum of these, each at its worst and with the worst sign, is the error
of first order that an adversary reaches. A bound that is below it is not sound.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from reference.arithmetic import Arithmetic, Order
from reference.formats import Bools, Floats

V = TypeVar("V", Floats, "Traced")


@dataclass(frozen=True)
class Function:
    """A function with its derivative, and how many ulps it is off."""

    value: Callable[[Floats], Floats]
    slope: Callable[[Floats], Floats]
    ulps: float


class Computer(ABC, Generic[V]):
    """Elementary operations on arrays, each of them rounded to the working format of a declared arithmetic."""

    def __init__(self, arithmetic: Arithmetic) -> None:
        self.arithmetic = arithmetic

    @abstractmethod
    def exact(self, values: Any) -> V:
        """Numbers without an error."""

    @abstractmethod
    def rounded(self, values: Any) -> V:
        """Numbers that are rounded once."""

    @abstractmethod
    def values(self, given: V) -> Floats:
        """The numbers alone."""

    @abstractmethod
    def transposed(self, given: V) -> V:
        """Rows for columns."""

    @abstractmethod
    def subtract(self, left: V, right: V) -> V:
        """The rounded difference."""

    @abstractmethod
    def add(self, left: V, right: V) -> V:
        """The rounded sum."""

    @abstractmethod
    def multiply(self, left: V, right: V) -> V:
        """The rounded product."""

    @abstractmethod
    def quotient(self, left: V, right: V) -> V:
        """The rounded quotient."""

    @abstractmethod
    def function(self, of: Function, values: V) -> V:
        """A function, off by its ulps; exact where an exact argument makes it so."""

    def divide(self, left: V, right: V) -> V:
        """The rounded quotient, or the product with a rounded reciprocal, as declared."""
        if self.arithmetic.reciprocals:
            return self.multiply(left, self.quotient(self.exact(np.ones((1, 1))), right))
        return self.quotient(left, right)

    def scaled(self, factor: float, values: V) -> V:
        """The rounded product with an exact number."""
        return values if factor == 1.0 else self.multiply(values, self.exact(np.full((1, 1), factor)))

    def exp(self, values: V) -> V:
        """The exponential, off by the declared ulps; of base 2 if so declared."""
        if not self.arithmetic.base_2:
            return self.function(Function(np.exp, np.exp, self.arithmetic.exp_ulps), values)
        scaled = self.multiply(values, self.rounded(np.full((1, 1), np.log2(np.e))))
        return self.function(Function(np.exp2, lambda v: np.exp2(v) * np.log(2), self.arithmetic.exp_ulps), scaled)

    def log(self, values: V) -> V:
        """The logarithm, off by the declared ulps; of base 2 if so declared."""
        if not self.arithmetic.base_2:
            return self.function(Function(np.log, np.reciprocal, self.arithmetic.log_ulps), values)
        found = self.function(Function(np.log2, lambda v: 1 / (v * np.log(2)), self.arithmetic.log_ulps), values)
        return self.multiply(found, self.rounded(np.full((1, 1), np.log(2))))

    def log1p(self, values: V) -> V:
        """log(1 + v), off by the ulps of log."""
        return self.function(Function(np.log1p, lambda v: 1 / (1 + v), self.arithmetic.log_ulps), values)

    def tanh(self, values: V) -> V:
        """tanh, off by the declared ulps."""
        return self.function(Function(np.tanh, lambda v: 1 / np.cosh(v) ** 2, self.arithmetic.tanh_ulps), values)

    def power(self, values: V, exponent: float) -> V:
        """values^exponent, off by the ulps of exp."""
        if exponent == 0.0:
            return self.exact(np.ones_like(self.values(values)))
        slope = lambda v: exponent * v ** (exponent - 1)  # noqa: E731
        return self.function(Function(lambda v: v**exponent, slope, self.arithmetic.exp_ulps), values)

    def largest(self, values: V) -> V:
        """(N, 1): the largest number of each row; finding it rounds nothing."""
        place = self.values(values).argmax(axis=-1)
        return values[np.arange(len(place))[:, None], place[:, None]]

    @abstractmethod
    def store(self, values: V, layer: bool = False) -> V:
        """Rounded to the storage format, where that is narrower; to that of a layer's logits, if asked."""

    @abstractmethod
    def joined(self, parts: list[V]) -> V:
        """Parts side by side, along the last axis."""

    def total(self, terms: V) -> V:
        """(..., 1): the sum over the last axis, in the declared order."""
        summation, count = self.arithmetic.summation, terms.shape[-1]
        if summation.order is Order.PAIRWISE:
            return self._tree(terms)
        lanes = summation.lanes if summation.order is Order.LANES else 1
        if count <= lanes:
            return self._running(terms, 1)
        return self._running(self._running(terms, lanes), 1)

    def _running(self, terms: V, lanes: int) -> V:
        """As many running sums: term i goes into lane i modulo their number."""
        whole = terms.shape[-1] // lanes * lanes
        sums = terms[..., :lanes]
        for start in range(lanes, whole, lanes):
            sums = self.add(sums, terms[..., start : start + lanes])
        if not (rest := terms.shape[-1] - whole):
            return sums
        return self.joined([self.add(sums[..., :rest], terms[..., whole:]), sums[..., rest:]])

    def _tree(self, terms: V) -> V:
        while (count := terms.shape[-1]) > 1:
            paired = self.add(terms[..., 0 : count - 1 : 2], terms[..., 1::2])
            terms = self.joined([paired, terms[..., -1:]]) if count % 2 else paired
        return terms


class Rounding(Computer[Floats]):
    """Every operation rounded to nearest; functions are those of float64, rounded once."""

    def _rounded(self, values: Floats) -> Floats:
        return self.arithmetic.working.round(values)

    def exact(self, values: Any) -> Floats:
        """Numbers without an error."""
        return np.asarray(values, dtype=np.float64)

    def rounded(self, values: Any) -> Floats:
        """Numbers that are rounded once."""
        return self._rounded(self.exact(values))

    def values(self, given: Floats) -> Floats:
        """The numbers alone."""
        return given

    def transposed(self, given: Floats) -> Floats:
        """Rows for columns."""
        return given.T

    def subtract(self, left: Floats, right: Floats) -> Floats:
        """The rounded difference."""
        return self._rounded(left - right)

    def add(self, left: Floats, right: Floats) -> Floats:
        """The rounded sum."""
        return self._rounded(left + right)

    def multiply(self, left: Floats, right: Floats) -> Floats:
        """The rounded product."""
        return self._rounded(left * right)

    def quotient(self, left: Floats, right: Floats) -> Floats:
        """The rounded quotient."""
        return self._rounded(left / right)

    def function(self, of: Function, values: Floats) -> Floats:
        """A function, rounded."""
        return self._rounded(of.value(values))

    def store(self, values: Floats, layer: bool = False) -> Floats:
        """Rounded to the storage format, or to that of a layer's logits."""
        return (self.arithmetic.of_layer if layer else self.arithmetic).storage.round(values)

    def joined(self, parts: list[Floats]) -> Floats:
        """Parts side by side."""
        return np.concatenate(parts, axis=-1)


@dataclass(frozen=True, eq=False)
class Traced:
    """Numbers, and by how much each moves with each rounding so far: (..., n), absolute, at its worst."""

    value: Floats
    moves: Floats

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the numbers."""
        return self.value.shape

    def __getitem__(self, index: Any) -> Traced:
        return Traced(self.value[index], self.moves[(*index, slice(None))])

    def __neg__(self) -> Traced:
        return Traced(-self.value, -self.moves)

    @property
    def error(self) -> Floats:
        """The error of first order where every rounding is at its worst, with the worst sign."""
        return np.abs(self.moves).sum(axis=-1)


class FirstOrder(Computer[Traced]):
    """Exact values, and how they move; each rounding is a column that the numbers before it do not have."""

    def __init__(self, arithmetic: Arithmetic) -> None:
        super().__init__(arithmetic)
        self._used, self._unit = 0, arithmetic.working.unit_roundoff

    def _rounded(self, value: Floats, parts: list[tuple[Traced, Any]], relative: Any) -> Traced:
        """A value that moves with its parts, each times its slope, and is rounded."""
        first, places = self._used, np.arange(value.size)
        if np.any(relative):
            self._used += value.size
        moves = np.zeros((*value.shape, self._used))
        for given, slope in parts:
            moves[..., : given.moves.shape[-1]] += given.moves * np.asarray(slope)[..., None]
        if self._used > first:
            moves.reshape(value.size, -1)[places, first + places] = (np.abs(value) * relative).ravel()
        return Traced(value, moves)

    def exact(self, values: Any) -> Traced:
        """Numbers without an error."""
        value = np.asarray(values, dtype=np.float64)
        return Traced(value, np.zeros((*value.shape, 0)))

    def rounded(self, values: Any) -> Traced:
        """Numbers that are rounded once."""
        return self._rounded(np.asarray(values, dtype=np.float64), [], self._unit)

    def values(self, given: Traced) -> Floats:
        """The numbers alone."""
        return given.value

    def transposed(self, given: Traced) -> Traced:
        """Rows for columns."""
        return Traced(given.value.T, given.moves.transpose(1, 0, 2))

    def subtract(self, left: Traced, right: Traced) -> Traced:
        """The rounded difference."""
        return self._rounded(left.value - right.value, [(left, 1.0), (right, -1.0)], self._unit)

    def add(self, left: Traced, right: Traced) -> Traced:
        """The rounded sum, which is exact where a term is exactly 0."""
        exact = self._exactly(left, 0.0) | self._exactly(right, 0.0)
        return self._rounded(left.value + right.value, [(left, 1.0), (right, 1.0)], np.where(exact, 0.0, self._unit))

    def multiply(self, left: Traced, right: Traced) -> Traced:
        """The rounded product, which is exact where a factor is exactly 1."""
        exact = self._exactly(left, 1.0) | self._exactly(right, 1.0)
        parts = [(left, right.value), (right, left.value)]
        return self._rounded(left.value * right.value, parts, np.where(exact, 0.0, self._unit))

    def quotient(self, left: Traced, right: Traced) -> Traced:
        """The rounded quotient."""
        value = left.value / right.value
        return self._rounded(value, [(left, 1.0 / right.value), (right, -value / right.value)], self._unit)

    def function(self, of: Function, values: Traced) -> Traced:
        """A function, off by its ulps; that of an exact 0 is exact."""
        relative = np.where(self._exactly(values, 0.0), 0.0, 2 * of.ulps * self._unit)
        return self._rounded(of.value(values.value), [(values, of.slope(values.value))], relative)

    def _exactly(self, given: Traced, number: float) -> Bools:
        return (given.value == number) & ~given.moves.any(axis=-1)

    def store(self, values: Traced, layer: bool = False) -> Traced:
        """Rounded to the storage format, or to that of a layer's logits."""
        arithmetic = self.arithmetic.of_layer if layer else self.arithmetic
        return self._rounded(values.value, [(values, 1.0)], arithmetic.storage_roundoff)

    def joined(self, parts: list[Traced]) -> Traced:
        """Parts side by side."""
        value = np.concatenate([part.value for part in parts], axis=-1)
        moves, at = np.zeros((*value.shape, self._used)), 0
        for part in parts:
            moves[..., at : at + part.shape[-1], : part.moves.shape[-1]] = part.moves
            at += part.shape[-1]
        return Traced(value, moves)
