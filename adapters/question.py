"""What a backend is asked: quantities of an operation at a problem, whose arrays lie in a layout, in a usage."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from adapters.layout import LABEL_DTYPE, Layout
from adapters.operation import Operation
from adapters.usage import Usage, other_batch
from reference.problem import Problem
from reference.quantity import ROW_BLOCKS, Quantity

_WIDEST = np.dtype(np.longdouble).itemsize
_SMALL = 2**16
"""Bytes that are no matter, so that an array in a wrong shape is judged like any other."""


@dataclass(frozen=True)
class Question:
    """One call of an operation.

    Arguments:
      operation: what is called.
      problem: the logits with target and options, as they are put to the operation (`Operation.as_put`).
      quantities: what is wanted, all of one call: a framework may share work between them.
      layout: how the (N, K) logits lie in memory, and what else the call is given, where the framework keeps that.
      usage: the sequence of calls in which it is asked.
      label_dtype: the dtype of class indices.
    """

    operation: Operation
    problem: Problem
    quantities: tuple[Quantity, ...]
    layout: Layout = Layout.CONTIGUOUS
    usage: Usage = Usage.PLAIN
    label_dtype: str = LABEL_DTYPE

    def __post_init__(self) -> None:
        object.__setattr__(self, "problem", self.operation.as_put(self.problem))

    @property
    def quantity(self) -> Quantity:
        """The quantity of a question that asks for one, as those of scripts do.

        Raises:
          ValueError: it asks for none or several.
        """
        (quantity,) = self.quantities
        return quantity

    @property
    def manner(self) -> tuple[str, ...]:
        """How the problem is asked: what two questions must share beside operation and problem to be the same."""
        return self.layout, self.usage, self.label_dtype

    @property
    def told(self) -> str:
        """How the problem is given, in words: empty if it is plain."""
        words = [] if self.layout is Layout.CONTIGUOUS else [f"{self.layout} layout"]
        return ", ".join([*words, *([] if self.label_dtype == LABEL_DTYPE else [f"class indices of {self.label_dtype}"])])

    @property
    def is_plain(self) -> bool:
        """True if the problem is asked as stored cases are."""
        return self.manner == (Layout.CONTIGUOUS, Usage.PLAIN, LABEL_DTYPE)

    @property
    def most_bytes(self) -> int:
        """What its answer may take, in the widest carrier that values come in."""
        return _SMALL + _WIDEST * sum(math.prod(shape_of(quantity, self.problem)) for quantity in self.quantities)

    @property
    def other(self) -> Problem:
        """The other batch of its usage: of one more row and class where the shape is to differ, and the limits leave that."""
        rows, classes = self.problem.logits.shape
        if self.usage is not Usage.INTERLEAVED:
            return other_batch(self.problem, rows, classes)
        more = classes + self.operation.classes_multiple
        fits = not self.problem.is_binary and more <= (self.operation.max_classes or more)
        return other_batch(self.problem, rows + 1, more if fits else classes)

    def about(self, *quantities: Quantity) -> Question:
        """The same question about other quantities."""
        return replace(self, quantities=quantities)


def shape_of(quantity: Quantity, problem: Problem) -> tuple[int, ...]:
    """The shape that a quantity of a problem is asked for in; see `Quantity`.

    >>> shape_of(Quantity.HESSIAN, Problem([[1.0, 0.0, 0.0]], [0], "float32"))
    (1, 3, 3)
    >>> layer = {"features": [[1.0, 0.0, 2.0]], "weight": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]}
    >>> shape_of(Quantity.WEIGHT_GRADIENT, Problem.of_layer(layer, [0], "float32"))
    (2, 3)
    """
    rows, classes = problem.logits.shape
    width = 0 if problem.layer is None else problem.layer.weight.shape[1]
    return {
        Quantity.LOSS: problem.upstream.shape,
        **dict.fromkeys(ROW_BLOCKS, (rows,)),
        Quantity.HESSIAN: (rows, classes, classes),
        Quantity.FEATURE_GRADIENT: (rows, width),
        Quantity.WEIGHT_GRADIENT: (classes, width),
        Quantity.BIAS_GRADIENT: (classes,),
    }.get(quantity, (rows, classes))
