"""What a backend is asked: quantities of an operation at a problem, whose logits lie in a layout."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from adapters.layout import Layout
from adapters.operation import Operation
from reference.problem import Problem
from reference.quantity import Quantity

_WIDEST = np.dtype(np.longdouble).itemsize
_SMALL = 2**16
"""Bytes that are no matter, so that an array in a wrong shape is judged like any other."""


@dataclass(frozen=True)
class Question:
    """One call of an operation.

    Arguments:
      operation: what is called.
      problem: the logits with target and options.
      quantities: what is wanted, all of one call: a framework may share work between them.
      layout: how the (N, K) logits lie in memory, and the target where the framework keeps that.
    """

    operation: Operation
    problem: Problem
    quantities: tuple[Quantity, ...]
    layout: Layout = Layout.CONTIGUOUS

    @property
    def quantity(self) -> Quantity:
        """The quantity of a question that asks for one, as those of scripts do.

        Raises:
          ValueError: it asks for none or several.
        """
        (quantity,) = self.quantities
        return quantity

    @property
    def most_bytes(self) -> int:
        """What its answer may take, in the widest carrier that values come in."""
        return _SMALL + _WIDEST * sum(math.prod(shape_of(quantity, self.problem)) for quantity in self.quantities)

    def about(self, *quantities: Quantity) -> Question:
        """The same question about other quantities."""
        return replace(self, quantities=quantities)


def shape_of(quantity: Quantity, problem: Problem) -> tuple[int, ...]:
    """The shape that a quantity of a problem is asked for in; see `Quantity`.

    >>> shape_of(Quantity.HESSIAN, Problem([[1.0, 0.0, 0.0]], [0], "float32"))
    (1, 3, 3)
    """
    rows, classes = problem.logits.shape
    return {
        Quantity.LOSS: problem.upstream.shape,
        Quantity.LOGSUMEXP: (rows,),
        Quantity.HESSIAN: (rows, classes, classes),
        Quantity.WEIGHT_GRADIENT: (classes, rows + 1),
        Quantity.BIAS_GRADIENT: (classes,),
    }.get(quantity, (rows, classes))
