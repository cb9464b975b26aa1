"""Multiclass objectives of libraries that boost trees: a row alone makes a tree a class, that holds its derivatives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from adapters.arrays import Array, Inputs
from adapters.operation import Operation
from reference.arithmetic import Arithmetic
from reference.formats import FLOAT32
from reference.quantity import Quantity

MOST_CLASSES = 256
"""Trees of a row; those of a vocabulary take minutes."""

RowFunction = Callable[[Array, int, Quantity], Array]
"""(logits, label, quantity) -> the gradient or the diagonal of the Hessian of a row, cotangent 1."""


def objective(name: str, formula: str, of_row: RowFunction, arithmetic: Arithmetic, least_classes: int = 0) -> Operation:
    """An objective in float32, row by row, times the cotangent.

    The operation raises:
      NotImplementedError: fewer classes than the library takes, or too many for a tree each.
    """

    def derivatives(inputs: Inputs, quantity: Quantity) -> Array:
        rows, classes = inputs.logits.shape
        if not least_classes <= classes <= MOST_CLASSES:
            raise NotImplementedError(f"{classes} classes are a tree each; allowed: {least_classes} to {MOST_CLASSES}")
        found = [of_row(inputs.logits[row], int(inputs.labels[row]), quantity) for row in range(rows)]
        return inputs.cotangent[:, None] * np.array(found, dtype=np.float32).reshape(rows, classes)

    quantities = (Quantity.GRADIENT, Quantity.HESSIAN_DIAGONAL)
    return Operation(name, formula, derivatives, {FLOAT32.name: arithmetic}, quantities=quantities)
