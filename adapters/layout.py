"""How the arrays of a problem lie in memory: contiguous, or as a view that a kernel which ignores strides reads wrongly."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Layout(StrEnum):
    """Memory layout of the (N, K) logits; the values are the same in all. All else that is given lies alike (`beside`)."""

    CONTIGUOUS = "contiguous"
    TRANSPOSED = "transposed"
    """A (K, N) array seen transposed, Fortran order: classes are N elements apart."""
    STRIDED = "strided"
    """Every other element of a row twice as long; the elements between are NaN."""
    OFFSET = "offset"
    """A slice that starts one element into its buffer: no longer aligned to a SIMD register; its surroundings are NaN."""
    ROW_STRIDED = "row_strided"
    """Every other row of a table twice as high, each contiguous; the rows between are NaN."""
    EXPANDED = "expanded"
    """One row that stands for N, which are 0 elements apart; what lies behind it is NaN. Rows that differ stay contiguous."""
    OTHERS_STRIDED = "others_strided"
    """Contiguous logits; every other element of target, class weights, cotangent and direction is theirs."""
    REVERSED = "reversed"
    """Both axes run backwards, by negative strides; PyTorch has none."""
    BYTE_SWAPPED = "byte_swapped"
    """The bytes of each float in the other order, big-endian on most machines; NumPy alone has it, and not of bfloat16."""

    def has(self, dtype: str) -> bool:
        """True if there are logits of a dtype in it."""
        return self is not Layout.BYTE_SWAPPED or dtype != "bfloat16"


OF_OLD = (Layout.CONTIGUOUS, Layout.TRANSPOSED, Layout.STRIDED, Layout.OFFSET)
"""What every backend is asked, whether it keeps strides or copies."""

OF_TENSORS = (*OF_OLD, Layout.ROW_STRIDED, Layout.EXPANDED, Layout.OTHERS_STRIDED)
"""What PyTorch keeps."""

LABEL_DTYPE = "int64"
"""The dtype of class indices, unless a question says otherwise."""

LABEL_DTYPES = ("int8", "int16", "int32", LABEL_DTYPE, "uint8", "uint16", "uint32")
"""Dtypes in which class indices may be asked."""


def of_logits(values: NDArray[Any], layout: Layout) -> Layout:
    """The layout of the logits of a question in a layout."""
    return Layout.CONTIGUOUS if layout is Layout.OTHERS_STRIDED else _possible(values, layout)


def beside(values: NDArray[Any], layout: Layout) -> Layout:
    """The layout of another array of such a question: target, class weights, cotangent or direction."""
    return _possible(values, Layout.STRIDED if layout is Layout.OTHERS_STRIDED else layout)


def _possible(values: NDArray[Any], layout: Layout) -> Layout:
    """The layout itself, or contiguous where an array cannot have it: rows that differ, or what is no float of NumPy's."""
    if not (values.size and values.ndim):
        return Layout.CONTIGUOUS
    differ = layout is Layout.EXPANDED and len({row.tobytes() for row in values}) > 1
    whole = layout is Layout.BYTE_SWAPPED and values.dtype.kind != "f"
    return Layout.CONTIGUOUS if differ or whole else layout


def laid_out(values: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Values in a memory layout, as a view of a larger array where the layout has gaps; a vector lies as one column does."""
    if layout is Layout.CONTIGUOUS:
        return values
    if layout is Layout.BYTE_SWAPPED:
        return values.astype(values.dtype.newbyteorder("S"))
    return _table_laid_out(values, layout) if values.ndim == 2 else _table_laid_out(values[:, None], layout)[:, 0]


def _table_laid_out(values: NDArray[Any], layout: Layout) -> NDArray[Any]:
    rows, classes = values.shape
    if layout is Layout.TRANSPOSED:
        return np.ascontiguousarray(values.T).T
    if layout is Layout.STRIDED:
        return _within(values, (rows, 2 * classes), np.s_[:, ::2])
    if layout is Layout.OFFSET:
        return _within(values, (rows, classes + 3), np.s_[:, 1 : classes + 1])
    if layout is Layout.ROW_STRIDED:
        return _within(values, (2 * rows, classes), np.s_[::2])
    if layout is Layout.REVERSED:
        return _within(values, values.shape, np.s_[::-1, ::-1])
    if layout is Layout.EXPANDED:
        return np.broadcast_to(_within(values[:1], values.shape, np.s_[:1]), values.shape)
    return values


def _within(values: NDArray[Any], shape: tuple[int, int], place: Any) -> NDArray[Any]:
    """The values in their place of an array of NaN, or of -1 where they are integers."""
    between = -1 if np.issubdtype(values.dtype, np.integer) else np.nan
    wide = np.full(shape, between).astype(values.dtype)
    wide[place] = values
    return wide[place]
