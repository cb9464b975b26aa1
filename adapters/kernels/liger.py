"""The backend of Liger-Kernel's cross-entropy, a Triton kernel: under Triton's interpreter where there is no GPU.

The kernel writes the gradient over its logits, by design: it is given a copy. The interpreter has no tanh, so a
softcap runs on a GPU only.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from adapters.script import Code, function
from adapters.torch.kernels import TorchKernels, ignored_or_default, kernel, package_words
from adapters.torch.losses import Options, Tensor
from reference.arithmetic import RECURSIVE, Arithmetic
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64

INTERPRETED = not torch.cuda.is_available()
if INTERPRETED:
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined

import triton.language as tl  # noqa: E402
from liger_kernel.ops import LigerCrossEntropyFunction  # noqa: E402
from liger_kernel.ops.cross_entropy import MAX_FUSED_SIZE  # noqa: E402
from triton.runtime import interpreter  # noqa: E402


def _arithmetic() -> dict[str, Arithmetic]:
    """Logits are cast to float32. Those of float64 are too, but float64's own arithmetic is expected of them.

    The sum is rescaled after each block of at most MAX_FUSED_SIZE classes, and from 0.8.1 on its powers are
    exp2((x - m) log2 e) (liger_kernel/ops/cross_entropy.py). Triton's interpreter has no arithmetic of bfloat16 (its
    programming guide, chapter 3).
    """
    working = {FLOAT64: FLOAT64, FLOAT32: FLOAT32, FLOAT16: FLOAT32} | ({} if INTERPRETED else {BFLOAT16: FLOAT32})
    shared: dict[str, Any] = {"exp_ulps": 2.0, "log_ulps": 2.0, "base_2": True}
    summation = replace(RECURSIVE, tile=MAX_FUSED_SIZE)
    return {fmt.name: Arithmetic(fmt, used, summation=summation, **shared) for fmt, used in working.items()}


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
        ignored_or_default(options.ignore_index),
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


_IMPORTS = """
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined

import numpy as np
import triton.language as tl
from liger_kernel.ops import LigerCrossEntropyFunction
from triton.runtime import interpreter"""

_AS_COMPILED = '''
"""Triton's interpreter leaves a number Python's, on which `.to` of a kernel fails; compiled, it is a float32."""
if isinstance(argument, float):
    return tl.tensor(interpreter.TensorHandle(np.array([argument], dtype=np.float32), tl.float32), tl.float32)
return convert(argument)
'''

_APPLY = """
x = {x}
# weight, ignore_index, lse_square_scale, label_smoothing, reduction, softcap
options = ({weight}, {ignored}, {z_loss!r}, {smoothing!r}, "{reduction}", {softcap!r})
with mock.patch.object(interpreter, "_implicit_cvt", as_compiled):
    return LigerCrossEntropyFunction.apply(x, t, *options)[0]
"""


def _statements(copy: str) -> Code:
    """The call for a copy of the logits, over which the kernel writes."""
    return lambda problem: _APPLY.format(
        x=copy,
        weight=None if problem.class_weights is None else "w",
        ignored=ignored_or_default(problem.ignored_class),
        z_loss=problem.z_loss,
        smoothing=problem.label_smoothing,
        reduction=problem.reduction,
        softcap=problem.logit_softcap,
    )


_OF_CONTIGUOUS = _statements("x.clone(memory_format=torch.contiguous_format)")
_OF_TRANSPOSED = _statements("x.T.clone(memory_format=torch.contiguous_format).T")


class LigerAdapter(TorchKernels):
    """Liger-Kernel: its cross-entropy with its options, of contiguous and of transposed logits."""

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
    words = package_words(
        package,
        {
            "cross_entropy": _OF_CONTIGUOUS,
            "cross_entropy_z_loss": _OF_CONTIGUOUS,
            "cross_entropy_of_transposed": _OF_TRANSPOSED,
        },
        imports=("import os", "from unittest import mock", _IMPORTS),
        functions=(function("as_compiled(argument, convert=interpreter._implicit_cvt)", _AS_COMPILED),),
    )


ADAPTER = LigerAdapter
