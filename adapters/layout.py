"""How the logits lie in memory: contiguous, as a view that a kernel which ignores strides reads wrongly, or axes moved."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Layout(StrEnum):
    """Memory layout of the (N, K) logits; the values are the same in all of them."""

    CONTIGUOUS = "contiguous"
    TRANSPOSED = "transposed"
    """A (K, N) array seen transposed: classes are N elements apart."""
    STRIDED = "strided"
    """Every other element of a row twice as long; the elements between are NaN."""
    OFFSET = "offset"
    """A slice that starts one element into its buffer: no longer aligned to a SIMD register; its surroundings are NaN."""
    CLASSES_SECOND = "classes_second"
    """(1, K, N): the rows are positions d1 of one sample, and the classes its second axis, as in PyTorch's (N, C, d1, ...)."""


MEMORY_LAYOUTS = frozenset(Layout) - {Layout.CLASSES_SECOND}
"""Layouts of an (N, K) array: they need nothing of an operation but that it looks at strides."""


def laid_out(values: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """The same (N, K) values in a layout, as a view of a larger array where the layout has gaps.

    For CLASSES_SECOND it is the view whose transpose, with an axis added in front, is the (1, K, N) array.
    """
    rows, classes = values.shape
    if layout in (Layout.TRANSPOSED, Layout.CLASSES_SECOND):
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
