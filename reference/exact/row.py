"""The distinct classes of one row: a row of 262144 logits with five different values costs five exponentials, not 262144."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from flint import fmpq
from numpy.typing import NDArray

from reference.problem import Problem
from reference.special_values import RowKind, row_kind
from reference.weights import class_weights, effective_weight, label_mass, rational, row_weight

Logit = float | Fraction
"""A number of float64, or one that is none: finite, the output of a layer."""

_MERGE_FROM = 33
"""Number of classes from which merging equal ones is worth a sort."""


@dataclass(frozen=True)
class Row:
    """One row with equal classes (same logit, weight, label and tangent) merged.

    `members[i]` is a class index of distinct class i, `count[i]` how many classes it stands for, and `inverse` maps each
    of the K classes to its distinct class.
    """

    problem: Problem
    index: int
    members: NDArray[np.intp]
    count: list[int]
    inverse: NDArray[np.intp]

    @cached_property
    def logits(self) -> Sequence[Logit]:
        """Logit of each distinct class."""
        exact = self.problem.layer_logits
        if exact is None:
            return self.problem.logits[self.index][self.members].tolist()
        logits = exact.row(self.index)
        return [logits[member] for member in self.members.tolist()]

    @cached_property
    def kind(self) -> RowKind:
        """The row's line in the special-value table; a softcap makes infinite logits finite."""
        logits = self.problem.logits[self.index]
        if self.problem.logit_softcap is not None:
            return RowKind.NAN if np.isnan(logits).any() else RowKind.REGULAR
        return row_kind(logits)

    @cached_property
    def ignored(self) -> bool:
        """True if the row contributes nothing because of `ignore_index`."""
        return bool(self.problem.ignored[self.index])

    @cached_property
    def weights(self) -> list[fmpq]:
        """Effective weight a of each distinct class; all 0 in an ignored row."""
        if self.ignored:
            return [fmpq(0)] * len(self.count)
        mass = label_mass(self.problem, self.index)[self.members].tolist()
        weight = class_weights(self.problem)[self.members].tolist()
        return [effective_weight(self.problem, q, w) for q, w in zip(mass, weight, strict=True)]

    @cached_property
    def total_weight(self) -> fmpq:
        """A = sum of the effective weights of all K classes."""
        return sum((n * a for n, a in zip(self.count, self.weights, strict=True)), fmpq(0))

    @cached_property
    def weight(self) -> fmpq:
        """The weight of the whole row, which multiplies its loss."""
        return row_weight(self.problem, self.index)

    @cached_property
    def weightless(self) -> bool:
        """True if nothing of the row enters its loss: its weight is 0, or A = 0 and no term is there that has no weights."""
        if self.weight == 0:
            return True
        return self.total_weight == 0 and self.problem.z_loss == 0 and not self.problem.loss.spec.counts_unlabelled

    @cached_property
    def tangent(self) -> list[float]:
        """Component of the tangent at each distinct class."""
        assert self.problem.tangent is not None
        return self.problem.tangent[self.index][self.members].tolist()


@dataclass(frozen=True)
class BinaryRow(Row):
    """The two-class row [x, 0] of a sigmoid loss, with the weights (w y, 1 - y); what is asked of it is its entry 0."""

    @cached_property
    def logits(self) -> list[float]:
        """The two logits x and 0, the second of which is a constant."""
        return [float(self.problem.logits[self.index, 0]), 0.0]

    @cached_property
    def kind(self) -> RowKind:
        """The line of [x, 0] in the special-value table."""
        return row_kind(np.array(self.logits))

    @cached_property
    def weights(self) -> list[fmpq]:
        """The weights w y and 1 - y of the classes x and 0, exactly."""
        y = rational(float(self.problem.target[self.index, 0]))
        return [rational(self.problem.positive_weight) * y, 1 - y]

    @cached_property
    def tangent(self) -> list[float]:
        """The tangent of the two logits: given for x, and 0 for the logit that is a constant."""
        assert self.problem.tangent is not None
        return [float(self.problem.tangent[self.index, 0]), 0.0]


def rows_of(problem: Problem) -> list[Row]:
    """The rows of a problem, equal classes merged where there are many classes."""
    return [_row_of(problem, index) for index in range(problem.num_rows)]


def _row_of(problem: Problem, index: int) -> Row:
    if problem.is_binary:
        return BinaryRow(problem, index, np.arange(2), [1, 1], np.zeros(1, dtype=np.intp))
    if problem.num_classes < _MERGE_FROM:
        each = np.arange(problem.num_classes)
        return Row(problem, index, each, [1] * problem.num_classes, each)
    exact = problem.layer_logits
    columns = [problem.logits[index]] if exact is None else [exact.whole[index], exact.special[index]]
    if not problem.ignored[index]:
        columns.append(label_mass(problem, index))
    if problem.class_weights is not None:
        columns.append(problem.class_weights)
    if problem.tangent is not None:
        columns.append(problem.tangent[index])
    _, members, inverse, count = np.unique(_labels(columns), return_index=True, return_inverse=True, return_counts=True)
    return Row(problem, index, members, count.tolist(), inverse)


def _labels(columns: list[NDArray[Any]]) -> NDArray[np.intp]:
    """(K,): equal integers exactly where all columns are equal."""
    labels = np.zeros(columns[0].shape, dtype=np.intp)
    for column in columns:
        values, inverse = np.unique(column, return_inverse=True)
        _, labels = np.unique(labels * len(values) + inverse, return_inverse=True)
    return labels
