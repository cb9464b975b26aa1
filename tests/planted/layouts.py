"""Strides, byte orders and dtypes of class indices that are not the usual ones: of PyTorch's tensors, and of NumPy's arrays."""

from __future__ import annotations

import numpy as np
import torch

from tests.planted.array_kernel import Array, ArrayKernel
from tests.planted.kernel import Call, Kernel, Rows, Tensor, planted


def _one_after_another(tensor: Tensor) -> Tensor:
    """As many elements as it has, from its first on."""
    return tensor.as_strided(tensor.shape, torch.empty(tensor.shape).stride())


@planted("strides", "rows that are contiguous from the start of their storage on are read K apart", "test_layout")
class RowsKApart(Kernel):
    def widened(self, logits: Tensor) -> Tensor:
        aligned = logits.stride(1) == 1 and logits.storage_offset() == 0
        return (_one_after_another(logits) if aligned else logits).double()


@planted("strides", "a row stride of 0 is taken for one that was not given, and is K then", "test_layout")
class RowStrideOfZero(Kernel):
    def widened(self, logits: Tensor) -> Tensor:
        return (logits if logits.stride(0) else _one_after_another(logits)).double()


@planted("strides", "class weights are read from their data pointer on", "test_layout")
class WeightsByPointer(Kernel):
    def weights(self, call: Call) -> Tensor:
        if call.weight is None:
            return super().weights(call)
        read = _one_after_another(call.weight).double()
        return torch.where(call.ignored[:, None], 0.0, read * self.smoothed(self.label(call), call))


@planted("strides", "class indices are taken to be contiguous where the logits are", "test_layout")
class IndicesLikeLogits(Kernel):
    def label(self, call: Call) -> Tensor:
        if call.has_probabilities or not call.input.is_contiguous():
            return super().label(call)
        return (torch.arange(call.input.shape[1]) == _one_after_another(call.target)[:, None]).double()


@planted(
    "strides",
    "the upstream gradient is taken to be contiguous where the logits are",
    "test_layout",
    dtype="float64",  # of narrower ones a cast in front lays the rows together
)
class UpstreamLikeLogits(Kernel):
    def gradient(self, rows: Rows, a: Tensor, upstream: Tensor, call: Call) -> Tensor:
        read = _one_after_another(upstream) if call.input.is_contiguous() else upstream
        return super().gradient(rows, a, read, call)


@planted(
    "strides",
    "the upstream gradient of a sum, one number that stands for N, is read as N numbers",
    "test_layout",
    dtype="float64",
)
class ExpandedUpstream(Kernel):
    def gradient(self, rows: Rows, a: Tensor, upstream: Tensor, call: Call) -> Tensor:
        one = len(upstream) > 1 and upstream.stride(0) == 0 and upstream.untyped_storage().nbytes() > upstream.element_size()
        return super().gradient(rows, a, _one_after_another(upstream) if one else upstream, call)


@planted("in place", "the logits are negated where they lie, and back, which one row that stands for N forbids", "test_layout")
class NegatesAndBack(Kernel):
    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        call.input.data.neg_().neg_()
        return super().losses(rows, a, call)


@planted("indices", "class indices of 32 bits are read in steps of 64: every other one", "test_label_dtype")
class StepsOfLongIndices(Kernel):
    def label(self, call: Call) -> Tensor:
        if call.target.dtype != torch.int32:
            return super().label(call)
        read = call.target[torch.arange(len(call.target)) * 2 % max(len(call.target), 1)]
        return (torch.arange(call.input.shape[1]) == read[:, None]).double()


@planted("strides", "rows are read K apart, whatever their stride says", "test_layout")
class ArrayRowsKApart(ArrayKernel):
    def read(self, logits: Array) -> Array:
        within = logits.flags.c_contiguous or logits.strides[1] != logits.itemsize
        strides = (logits.shape[1] * logits.itemsize, logits.itemsize)
        return logits if within else np.lib.stride_tricks.as_strided(logits, logits.shape, strides)


@planted("strides", "strides are taken without their sign: reversed arrays are read forwards", "test_layout")
class StridesWithoutSign(ArrayKernel):
    def read(self, logits: Array) -> Array:
        forwards = tuple(slice(None, None, -1 if step < 0 else 1) for step in logits.strides)
        return logits[forwards]


@planted("dtype", "the bytes of each logit are read in the order of the machine", "test_layout")
class IgnoresByteOrder(ArrayKernel):
    def read(self, logits: Array) -> Array:
        return logits.view(logits.dtype.newbyteorder("="))


@planted(
    "in place",
    "the logits are negated in a copy that numpy.asarray does not make, and back: a view is read-only",
    "test_layout",
)
class NegatesNoCopy(ArrayKernel):
    def read(self, logits: Array) -> Array:
        own = np.asarray(logits)
        np.negative(np.negative(own, out=own), out=own)
        return own


@planted("indices", "class indices of 8 bits without a sign are read with one: 255 is the last class", "test_label_dtype")
class SignedBytes(ArrayKernel):
    def indices(self, labels: Array) -> Array:
        return super().indices(labels.view(np.int8) if labels.dtype == np.uint8 else labels)


@planted("indices", "class indices are read as 16 bits each, whatever they are", "test_label_dtype")
class ShortSteps(ArrayKernel):
    def indices(self, labels: Array) -> Array:
        narrow = labels.dtype.itemsize < 2
        return super().indices(np.repeat(labels[::2], 2)[: len(labels)] if narrow else labels)
