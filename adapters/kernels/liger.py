"""The backend of Liger-Kernel's cross-entropy, alone and with a linear layer: under Triton's interpreter without a GPU.

The kernel writes the gradient over its logits, by design: it is given a copy. The interpreter has no tanh, so a
softcap runs on a GPU only.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from adapters.operation import FLOAT32_LOSS
from adapters.script import Code, function
from adapters.torch.kernels import TorchKernels, ignored_or_default, kernel, layer_kernel, package_words
from adapters.torch.layers import LayerLoss
from adapters.torch.losses import Options, Tensor
from reference.arithmetic import RECURSIVE, Arithmetic
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64
from reference.problem import Problem

INTERPRETED = not torch.cuda.is_available()
if INTERPRETED:
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined

import triton.language as tl  # noqa: E402
from liger_kernel.ops import LigerCrossEntropyFunction, LigerFusedLinearCrossEntropyFunction  # noqa: E402
from liger_kernel.ops.cross_entropy import MAX_FUSED_SIZE  # noqa: E402
from triton.runtime import interpreter  # noqa: E402


def _arithmetic() -> dict[str, Arithmetic]:
    """Logits are cast to float32. Those of float64 are too, but float64's own arithmetic is expected of them.

    The sum is rescaled after each block of at most MAX_FUSED_SIZE classes, and from 0.8.1 on its powers are
    exp2((x - m) log2 e) (liger_kernel/ops/cross_entropy.py).
    """
    working = {FLOAT64: FLOAT64, FLOAT32: FLOAT32, FLOAT16: FLOAT32, BFLOAT16: FLOAT32}
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
_OF_ALL = _arithmetic()
_ARITHMETIC = {name: kind for name, kind in _OF_ALL.items() if name != BFLOAT16.name or not INTERPRETED}
"""That of logits: Triton's interpreter has no arithmetic of bfloat16 (its programming guide, chapter 3)."""

_OF_LAYER = {name: replace(kind, layer_logits=kind.storage) for name, kind in _OF_ALL.items() if name != FLOAT64.name}
"""That behind a layer: its logits are not computed with in their own format. The loss is float32, for float64 too."""


def _positional(options: Options) -> tuple[Any, ...]:
    """The options in the order in which both functions take them."""
    ignored = ignored_or_default(options.ignore_index)
    smoothed = options.z_loss, options.label_smoothing
    return options.weight, ignored, *smoothed, options.reduction, options.logit_softcap


def _apply(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    return LigerCrossEntropyFunction.apply(logits, target, *_positional(options))[0]


def cross_entropy(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """LigerCrossEntropyFunction of contiguous logits, as a linear layer returns them."""
    return _apply(logits.clone(memory_format=torch.contiguous_format), target, options)


def of_transposed(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """The same of logits whose classes do not lie one after another."""
    return _apply(logits.T.clone(memory_format=torch.contiguous_format).T, target, options)


def _layer_loss(accumulator: torch.dtype | None) -> LayerLoss:
    """LigerFusedLinearCrossEntropyFunction, which adds the gradients of its chunks up in a dtype: the weight's own if None.

    Of a sum or a mean it has no gradient at all where the features need none: they are never frozen here.
    """

    def loss(features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, options: Options) -> Tensor:
        if weight.requires_grad or bias.requires_grad:
            features = features.requires_grad_()
        if INTERPRETED and options.weight is not None:
            options = replace(options, weight=options.weight.float())  # of bfloat16 it would compute with the bits
        more = *_positional(options), False, accumulator  # no z-loss beside the loss
        return LigerFusedLinearCrossEntropyFunction.apply(features, weight, target, bias, *more)[0]

    return loss


_IMPORTS = """
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined

import numpy as np
import triton.language as tl
from liger_kernel.ops import LigerCrossEntropyFunction, LigerFusedLinearCrossEntropyFunction
from triton.runtime import interpreter"""

_AS_COMPILED = '''
"""Triton's interpreter leaves a number Python's, on which `.to` of a kernel fails; compiled, it is a float32."""
if isinstance(argument, float):
    return tl.tensor(interpreter.TensorHandle(np.array([argument], dtype=np.float32), tl.float32), tl.float32)
return convert(argument)
'''

_OPTIONS = """
# class weights, ignore_index, lse_square_scale, label_smoothing, reduction, softcap
options = ({weight}, {ignored}, {z_loss!r}, {smoothing!r}, "{reduction}", {softcap!r})
"""

_APPLY = """
with mock.patch.object(interpreter, "_implicit_cvt", as_compiled):
    return LigerCrossEntropyFunction.apply(x, t, *options)[0]
"""

_APPLY_LAYER = """
interpreter._implicit_cvt = as_compiled  # for the backward pass too
features.requires_grad_()  # frozen features take all gradients of a sum or mean away
return_z_loss, accum_dtype = False, {}
return LigerFusedLinearCrossEntropyFunction.apply(features, weight, t, bias, *options, return_z_loss, accum_dtype)[0]
"""


def _options(problem: Problem, weight: str = "w") -> str:
    return _OPTIONS.format(
        weight=None if problem.class_weights is None else weight,
        ignored=ignored_or_default(problem.ignored_class),
        z_loss=problem.z_loss,
        smoothing=problem.label_smoothing,
        reduction=problem.reduction,
        softcap=problem.logit_softcap,
    )


def _statements(copy: str) -> Code:
    """The call for a copy of the logits, over which the kernel writes."""
    return lambda problem: f"x = {copy}{_options(problem)}{_APPLY.lstrip()}"


def _layer_statements(accumulator: str) -> Code:
    weight = "w.float()" if INTERPRETED else "w"
    return lambda problem: _options(problem, weight) + _APPLY_LAYER.lstrip().format(accumulator)


_OF_CONTIGUOUS = _statements("x.clone(memory_format=torch.contiguous_format)")
_OF_TRANSPOSED = _statements("x.T.clone(memory_format=torch.contiguous_format).T")

_EVERY = frozenset({"class_weights", "label_smoothing", "ignore_index", "reduction"})


class LigerAdapter(TorchKernels):
    """Liger-Kernel: its cross-entropy with its options, of contiguous and of transposed logits, and of a linear layer."""

    name = "liger"
    package = "liger_kernel"
    listed = (
        kernel(
            "cross_entropy",
            "LigerCrossEntropyFunction(x, index)",
            cross_entropy,
            _ARITHMETIC,
            options=_EVERY,
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
        layer_kernel(
            "fused_linear_cross_entropy",
            "LigerFusedLinearCrossEntropyFunction(h, W, index, b)",
            _layer_loss(None),
            _OF_LAYER,
            options=_EVERY,
            returns=FLOAT32_LOSS,
        ),
        layer_kernel(
            "fused_linear_cross_entropy_float32",
            "LigerFusedLinearCrossEntropyFunction(h, W, index, b, accum_dtype=torch.float32)",
            _layer_loss(torch.float32),
            {BFLOAT16.name: _OF_LAYER[BFLOAT16.name]},
            options=_EVERY,
            returns=FLOAT32_LOSS,
        ),
    )
    words = package_words(
        package,
        {
            "cross_entropy": _OF_CONTIGUOUS,
            "cross_entropy_z_loss": _OF_CONTIGUOUS,
            "cross_entropy_of_transposed": _OF_TRANSPOSED,
            "fused_linear_cross_entropy": _layer_statements("None"),
            "fused_linear_cross_entropy_float32": _layer_statements("torch.float32"),
        },
        imports=("import os", "from unittest import mock", _IMPORTS),
        functions=(function("as_compiled(argument, convert=interpreter._implicit_cvt)", _AS_COMPILED),),
    )


ADAPTER = LigerAdapter
