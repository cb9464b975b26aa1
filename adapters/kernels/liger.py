"""Liger-Kernel's cross-entropy: its Triton kernel, under Triton's interpreter where there is no GPU.

The kernel writes the gradient over its logits, by design: it is given a copy. The interpreter has no tanh, so a
softcap runs on a GPU only.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

from adapters.torch.kernels import TorchKernels, kernel
from adapters.torch.losses import Options, Tensor
from reference.arithmetic import RECURSIVE, Arithmetic
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64

INTERPRETED = not torch.cuda.is_available()
if INTERPRETED:
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined

import triton.language as tl  # noqa: E402
from liger_kernel.ops import LigerCrossEntropyFunction  # noqa: E402
from triton.runtime import interpreter  # noqa: E402


def _arithmetic() -> dict[str, Arithmetic]:
    """Logits are cast to float32, also those of float64, for which its own arithmetic is expected.

    Triton's interpreter has no arithmetic of bfloat16 (its programming guide, chapter 3).
    """
    working = {FLOAT64: FLOAT64, FLOAT32: FLOAT32, FLOAT16: FLOAT32} | ({} if INTERPRETED else {BFLOAT16: FLOAT32})
    return {fmt.name: Arithmetic(fmt, used, exp_ulps=2.0, log_ulps=2.0, summation=RECURSIVE) for fmt, used in working.items()}


def _float_arguments_as_compiled() -> None:
    """Let the interpreter pass numbers as float32 scalars: it leaves them Python's, on which `.to` of a kernel fails."""
    converted = interpreter._implicit_cvt

    def convert(argument: Any) -> Any:
        if not isinstance(argument, float):
            return converted(argument)
        return tl.tensor(interpreter.TensorHandle(np.array([argument], dtype=np.float32), tl.float32), tl.float32)

    interpreter._implicit_cvt = convert


if INTERPRETED:
    _float_arguments_as_compiled()
_ARITHMETIC = _arithmetic()


def _apply(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    loss, *_ = LigerCrossEntropyFunction.apply(
        logits,
        target,
        options.weight,
        -100 if options.ignore_index is None else options.ignore_index,
        options.z_loss,
        options.label_smoothing,
        options.reduction,
        options.logit_softcap,
    )
    return loss


def cross_entropy(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """LigerCrossEntropyFunction of contiguous logits, as a linear layer returns them."""
    return _apply(logits.clone(memory_format=torch.contiguous_format), target, options)


def of_transposed(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """The same of logits whose classes do not lie one after another."""
    return _apply(logits.T.clone(memory_format=torch.contiguous_format).T, target, options)


class LigerAdapter(TorchKernels):
    """Liger-Kernel."""

    name = "liger"
    package = "liger_kernel"
    listed = (
        kernel(
            "cross_entropy",
            "LigerCrossEntropyFunction(x, index)",
            cross_entropy,
            _ARITHMETIC,
            options=frozenset({"class_weights", "label_smoothing", "ignore_index", "reduction"}),
        ),
        kernel(
            "cross_entropy_z_loss",
            "LigerCrossEntropyFunction(x, index, lse_square_scale, softcap)",
            cross_entropy,
            _ARITHMETIC,
            options=frozenset({"reduction", "z_loss"} | (set() if INTERPRETED else {"logit_softcap"})),
        ),
        kernel(
            "cross_entropy_of_transposed",
            "LigerCrossEntropyFunction(x.T.contiguous().T, index)",
            of_transposed,
            _ARITHMETIC,
            options=frozenset({"reduction"}),
        ),
    )


ADAPTER = LigerAdapter
