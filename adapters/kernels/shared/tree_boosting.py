"""The multiclass objective of a library that boosts trees: one row makes a tree of each class, which holds its derivatives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from adapters.arrays import Array, Inputs
from adapters.limits import Limit
from adapters.operation import Operation
from reference.arithmetic import Arithmetic
from reference.formats import FLOAT32
from reference.quantity import Quantity

_A_TREE_EACH = Limit("a class is a tree, and a vocabulary of them takes minutes", max_classes=256)

RowFunction = Callable[[Array, int, Quantity], Array]
"""(logits, label, quantity) -> the gradient or the diagonal of the Hessian of a row, cotangent 1."""


def objective(name: str, formula: str, of_row: RowFunction, arithmetic: Arithmetic) -> Operation:
    """An objective in float32, row by row, times the cotangent."""

    def derivatives(inputs: Inputs, quantity: Quantity) -> Array:
        found = [of_row(logits, int(label), quantity) for logits, label in zip(inputs.logits, inputs.labels, strict=True)]
        return inputs.cotangent[:, None] * np.array(found, dtype=np.float32).reshape(inputs.logits.shape)

    quantities = (Quantity.GRADIENT, Quantity.HESSIAN_DIAGONAL)
    return Operation(name, formula, derivatives, {FLOAT32.name: arithmetic}, quantities=quantities, limits=(_A_TREE_EACH,))
