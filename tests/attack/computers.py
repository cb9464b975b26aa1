"""Two arithmetics for one algorithm: one that rounds, and one that tells how far all roundings together may move a result.

`Rounding` rounds every operation to a format, as a kernel does. `FirstOrder` computes exactly, but for float64, and keeps for
each number how it moves with each rounding so far: the sum of these, each at its worst and with the worst sign, is the error
of first order that an adversary reaches. A bound that is below it is not sound.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from reference.arithmetic import Arithmetic, Order
from reference.formats import Floats

V = TypeVar("V", Floats, "Traced")


class Computer(ABC, Generic[V]):
    """Elementary operations on arrays, each of them rounded to the working format of a declared arithmetic."""

    def __init__(self, arithmetic: Arithmetic) -> None:
        self.arithmetic = arithmetic

    @abstractmethod
    def exact(self, values: Any) -> V:
        """Numbers without an error."""

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
    def divide(self, left: V, right: V) -> V:
        """The rounded quotient."""

    @abstractmethod
    def exp(self, values: V) -> V:
        """The exponential, off by the declared ulps."""

    @abstractmethod
    def log(self, values: V) -> V:
        """The logarithm, off by the declared ulps."""

    @abstractmethod
    def store(self, values: V) -> V:
        """Rounded to the storage format, where that is narrower."""

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
    """Every operation rounded to nearest; exp and log are those of float64, rounded once."""

    def _rounded(self, values: Floats) -> Floats:
        return self.arithmetic.working.round(values)

    def exact(self, values: Any) -> Floats:
        """Numbers without an error."""
        return np.asarray(values, dtype=np.float64)

    def subtract(self, left: Floats, right: Floats) -> Floats:
        """The rounded difference."""
        return self._rounded(left - right)

    def add(self, left: Floats, right: Floats) -> Floats:
        """The rounded sum."""
        return self._rounded(left + right)

    def multiply(self, left: Floats, right: Floats) -> Floats:
        """The rounded product."""
        return self._rounded(left * right)

    def divide(self, left: Floats, right: Floats) -> Floats:
        """The rounded quotient."""
        return self._rounded(left / right)

    def exp(self, values: Floats) -> Floats:
        """The exponential, rounded."""
        return self._rounded(np.exp(values))

    def log(self, values: Floats) -> Floats:
        """The logarithm, rounded."""
        return self._rounded(np.log(values))

    def store(self, values: Floats) -> Floats:
        """Rounded to the storage format."""
        return self.arithmetic.storage.round(values)

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

    @property
    def error(self) -> Floats:
        """The error of first order where every rounding is at its worst, with the worst sign."""
        return np.abs(self.moves).sum(axis=-1)


class FirstOrder(Computer[Traced]):
    """Exact values, and how they move; `room` is for so many roundings."""

    def __init__(self, arithmetic: Arithmetic, room: int) -> None:
        super().__init__(arithmetic)
        self._room, self._used, self._unit = room, 0, arithmetic.working.unit_roundoff

    def _rounded(self, value: Floats, moves: Floats, relative: float) -> Traced:
        moves = np.array(np.broadcast_to(moves, (*value.shape, self._room)))
        first, self._used = self._used, self._used + value.size
        assert self._used <= self._room, "there is no room for so many roundings"
        moves.reshape(value.size, -1)[np.arange(value.size), first + np.arange(value.size)] += (
            np.abs(value) * relative
        ).ravel()
        return Traced(value, moves)

    def exact(self, values: Any) -> Traced:
        """Numbers without an error."""
        value = np.asarray(values, dtype=np.float64)
        return Traced(value, np.zeros((*value.shape, self._room)))

    def subtract(self, left: Traced, right: Traced) -> Traced:
        """The rounded difference."""
        return self._rounded(left.value - right.value, left.moves - right.moves, self._unit)

    def add(self, left: Traced, right: Traced) -> Traced:
        """The rounded sum."""
        return self._rounded(left.value + right.value, left.moves + right.moves, self._unit)

    def multiply(self, left: Traced, right: Traced) -> Traced:
        """The rounded product."""
        moves = left.moves * right.value[..., None] + right.moves * left.value[..., None]
        return self._rounded(left.value * right.value, moves, self._unit)

    def divide(self, left: Traced, right: Traced) -> Traced:
        """The rounded quotient."""
        value = left.value / right.value
        return self._rounded(value, (left.moves - right.moves * value[..., None]) / right.value[..., None], self._unit)

    def exp(self, values: Traced) -> Traced:
        """The exponential, off by the declared ulps; of an exact 0 it is 1."""
        value = np.exp(values.value)
        traced = self._rounded(value, values.moves * value[..., None], 2 * self.arithmetic.exp_ulps * self._unit)
        return Traced(value, np.where(((values.value == 0) & ~values.moves.any(axis=-1))[..., None], 0.0, traced.moves))

    def log(self, values: Traced) -> Traced:
        """The logarithm, off by the declared ulps."""
        moves = values.moves / values.value[..., None]
        return self._rounded(np.log(values.value), moves, 2 * self.arithmetic.log_ulps * self._unit)

    def store(self, values: Traced) -> Traced:
        """Rounded to the storage format."""
        return self._rounded(values.value, values.moves, self.arithmetic.storage_roundoff)

    def joined(self, parts: list[Traced]) -> Traced:
        """Parts side by side."""
        return Traced(
            np.concatenate([part.value for part in parts], axis=-1), np.concatenate([part.moves for part in parts], axis=-2)
        )
