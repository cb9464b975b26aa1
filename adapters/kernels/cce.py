"""The backend of Apple's cut-cross-entropy: a linear layer and cross-entropy in one, in its implementation torch_compile.

It has no bias. Every format is cast to float32 behind the product, and the loss of float64 stays float32: float64 is not among
the formats here. A softcap is left out: it is computed in the format of the logits, and in bfloat16 that is too coarse for a
float32 loss.
"""

from __future__ import annotations

from typing import Any

from cut_cross_entropy import linear_cross_entropy

from adapters.operation import FLOAT32_LOSS, OF_LAYER
from adapters.torch.kernels import BEHIND_LAYER, TorchKernels, layer_kernel, package_words
from adapters.torch.losses import Options, Tensor, allow_many_graphs
from reference.problem import Problem
from reference.quantity import Quantity


def cross_entropy(features: Tensor, weight: Tensor, _: Tensor, target: Tensor, options: Options) -> Tensor:
    """linear_cross_entropy with the options of the problem."""
    allow_many_graphs()
    more: dict[str, Any] = {} if options.ignore_index is None else {"ignore_index": options.ignore_index}
    return linear_cross_entropy(features, weight, target, reduction=options.reduction, impl="torch_compile", **more)


def _statements(problem: Problem) -> str:
    ignored = "" if problem.ignored_class is None else f", ignore_index={problem.ignored_class}"
    options = f'reduction="{problem.reduction}", impl="torch_compile"{ignored}'
    before = "torch.compiler.reset()  # the graphs of other scripts count, should they run in one process\n"
    return before + f"return linear_cross_entropy(features, weight, t, {options})"


class CceAdapter(TorchKernels):
    """cut-cross-entropy: one operation, whose loss is float32."""

    name = "cce"
    package = "cut_cross_entropy"
    listed = (
        layer_kernel(
            "linear_cross_entropy",
            "linear_cross_entropy(h, W, index, impl='torch_compile')",
            cross_entropy,
            BEHIND_LAYER,
            quantities=tuple(each for each in OF_LAYER if each is not Quantity.BIAS_GRADIENT),
            options=frozenset({"ignore_index", "reduction"}),
            returns=FLOAT32_LOSS,
            few_shapes=True,
        ),
    )
    words = package_words(
        package,
        {"linear_cross_entropy": _statements},
        imports=("", "import torch", "from cut_cross_entropy import linear_cross_entropy"),
    )


ADAPTER = CceAdapter
