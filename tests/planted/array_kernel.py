"""A right softmax cross-entropy of NumPy arrays, in steps of which a planted defect replaces one.

Max-shifted, in float64 for all formats but that one, stored once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.planted.kernel import Defect

Array = NDArray[Any]


class ArrayKernel:
    """The right one; each method is a step."""

    defect: Defect

    def __init__(self) -> None:
        self.__name__ = type(self).__name__

    def __call__(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        rows, indices = np.arange(len(labels)), self.indices(labels)
        x = self.read(logits).astype(np.float64)
        with np.errstate(all="ignore"):
            shifted = x - x.max(axis=1, keepdims=True, initial=-np.inf)
            powers = np.exp(shifted)
            total = powers.sum(axis=1, keepdims=True)
            gradient, loss = powers / total, np.log(total[:, 0]) - shifted[rows, indices]
            gradient[rows, indices] -= 1
            return loss.astype(logits.dtype), gradient.astype(logits.dtype)

    def read(self, logits: Array) -> Array:
        """(N, K): the logits as they lie in memory."""
        return logits

    def indices(self, labels: Array) -> Array:
        """(N,): class indices."""
        return labels.astype(np.int64)


right = ArrayKernel()
