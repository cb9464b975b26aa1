"""How logits and targets lie in memory: contiguous, or as a view that a kernel which ignores strides reads wrongly."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Layout(StrEnum):
    """Memory layout of the (N, K) logits, and of the target where a framework keeps it; the values are the same in all."""

    CONTIGUOUS = "contiguous"
    TRANSPOSED = "transposed"
    """A (K, N) array seen transposed: classes are N elements apart."""
    STRIDED = "strided"
    """Every other element of a row twice as long; the elements between are NaN."""
    OFFSET = "offset"
    """A slice that starts one element into its buffer: no longer aligned to a SIMD register; its surroundings are NaN."""


def laid_out(values: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Values (N, K) in a memory layout, as a view of a larger array where the layout has gaps."""
    rows, classes = values.shape
    if layout is Layout.TRANSPOSED:
        return np.ascontiguousarray(values.T).T
    if layout is Layout.STRIDED:
        wide = np.full((rows, 2 * classes), np.nan, dtype=values.dtype)
        wide[:, ::2] = values
        return wide[:, ::2]
    if layout is Layout.OFFSET:
        wide = np.full((rows, classes + 3), np.nan, dtype=values.dtype)
        wide[:, 1 : classes + 1] = values
        return wide[:, 1 : classes + 1]
    return values
