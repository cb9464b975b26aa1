"""The backend of flash-linear-attention's fused linear cross-entropy, in Triton: under its interpreter where there is no GPU.

It takes a sum or a mean alone. The interpreter has no tanh, so a softcap is left out. The loss of float64 is float32: that
is not among the formats here.
"""

from __future__ import annotations

import os
from dataclasses import replace

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined

from fla.modules.fused_linear_cross_entropy import fused_linear_cross_entropy_loss

from adapters.operation import FLOAT32_LOSS
from adapters.torch.kernels import TorchKernels, ignored_or_default, layer_kernel, package_words
from adapters.torch.losses import Options, Tensor
from reference.arithmetic import RECURSIVE, Arithmetic
from reference.formats import BFLOAT16, FLOAT16, FLOAT32
from reference.problem import Problem
from reference.reduction import Reduction

_LARGEST_BLOCK = 64 * 1024
"""Classes of one sum; the sums of more are merged (fla/modules/fused_cross_entropy/ops.py)."""

_ARITHMETIC = {
    fmt.name: Arithmetic(
        fmt, FLOAT32, exp_ulps=2.0, log_ulps=2.0, summation=replace(RECURSIVE, tile=_LARGEST_BLOCK), layer_logits=fmt
    )
    for fmt in (FLOAT32, FLOAT16, BFLOAT16)
}


def cross_entropy(features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, options: Options) -> Tensor:
    """fused_linear_cross_entropy_loss; a loss of each row is a sum of one."""

    def reduced(h: Tensor, w: Tensor, b: Tensor, t: Tensor, reduction: str) -> Tensor:
        ignored, smoothing = ignored_or_default(options.ignore_index), options.label_smoothing
        return fused_linear_cross_entropy_loss(h, t, w, b, ignore_index=ignored, label_smoothing=smoothing, reduction=reduction)

    if options.reduction != Reduction.NONE:
        return reduced(features, weight, bias, target, options.reduction)
    # Each row has its own layer, whose gradients autograd adds up at once: one by one it would do so in a half format.
    weights, biases = (part.expand(len(target), *part.shape).unbind() for part in (weight, bias))
    rows = zip(torch.split(features, 1), weights, biases, torch.split(target, 1), strict=True)
    return torch.stack([reduced(*row, "sum") for row in rows])


_IMPORTS = """
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined

from fla.modules.fused_linear_cross_entropy import fused_linear_cross_entropy_loss"""

_OF_ROWS = """
weights, biases = (part.expand(len(t), *part.shape).unbind() for part in (weight, bias))
rows = zip(features.split(1), t.split(1), weights, biases)
return torch.stack([fused_linear_cross_entropy_loss(*row, **options) for row in rows])
"""


def _statements(problem: Problem) -> str:
    """The call, row by row where no reduction is asked for."""
    by_row = problem.reduction is Reduction.NONE
    given = {
        "ignore_index": ignored_or_default(problem.ignored_class),
        "label_smoothing": problem.label_smoothing,
        "reduction": "sum" if by_row else problem.reduction.value,
    }
    call = "return fused_linear_cross_entropy_loss(features, t, weight, bias, **options)"
    return f"options = {given}\n{_OF_ROWS.lstrip() if by_row else call}"


class FlaAdapter(TorchKernels):
    """flash-linear-attention: its fused linear cross-entropy, which adds the gradients of its chunks up in float32."""

    name = "fla"
    package = "fla_core"
    listed = (
        layer_kernel(
            "fused_linear_cross_entropy",
            "fused_linear_cross_entropy_loss(h, index, W, b)",
            cross_entropy,
            _ARITHMETIC,
            options=frozenset({"label_smoothing", "ignore_index", "reduction"}),
            returns=FLOAT32_LOSS,
        ),
    )
    words = package_words(package, {"fused_linear_cross_entropy": _statements}, imports=("import os", _IMPORTS))


ADAPTER = FlaAdapter
