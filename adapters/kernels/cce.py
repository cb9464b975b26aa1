"""The backend of Apple's cut-cross-entropy: a linear layer and cross-entropy in one, in its implementation torch_compile.

The classifier is the identity matrix, so the logits are the embeddings: exactly, where they are finite, since every other
product is 0. Every format is cast to float32, and the loss of float64 stays float32: float64 is not among the formats here. A
softcap is left out: it is computed in the format of the logits, and in bfloat16 that is too coarse for a float32 loss.
"""

from __future__ import annotations

from typing import Any

import torch
from cut_cross_entropy import linear_cross_entropy

from adapters.limits import Limit
from adapters.operation import FLOAT32_LOSS
from adapters.torch.kernels import UPCAST, TorchKernels, kernel, package_words
from adapters.torch.losses import Options, Tensor
from reference.problem import Problem

_LIMITS = (
    Limit("the identity matrix of more classes fills the memory", max_classes=4096),
    Limit("a product with the identity matrix spreads what is not finite over the row", finite_logits=True),
)


def cross_entropy(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """linear_cross_entropy of the identity, with the options of the problem."""
    more: dict[str, Any] = {} if options.ignore_index is None else {"ignore_index": options.ignore_index}
    classifier = torch.eye(logits.shape[1], dtype=logits.dtype, device=logits.device)
    return linear_cross_entropy(
        logits,
        classifier,
        target,
        reduction=options.reduction,
        impl="torch_compile",
        **more,
    )


def _statements(problem: Problem) -> str:
    ignored = "" if problem.ignored_class is None else f", ignore_index={problem.ignored_class}"
    options = f'reduction="{problem.reduction}", impl="torch_compile"{ignored}'
    before = (
        "torch.compiler.reset()  # the graphs of other scripts count, should they run in one process\n"
        "identity = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)\n"
    )
    return before + f"return linear_cross_entropy(x, identity, t, {options})"


class CceAdapter(TorchKernels):
    """cut-cross-entropy: one operation, whose loss is float32."""

    name = "cce"
    package = "cut_cross_entropy"
    listed = (
        kernel(
            "linear_cross_entropy",
            "linear_cross_entropy(x, I, index, impl='torch_compile')",
            cross_entropy,
            UPCAST,
            options=frozenset({"ignore_index", "reduction"}),
            returns=FLOAT32_LOSS,
            few_shapes=True,
            limits=_LIMITS,
        ),
    )
    words = package_words(
        package,
        {"linear_cross_entropy": _statements},
        imports=("", "import torch", "from cut_cross_entropy import linear_cross_entropy"),
    )


ADAPTER = CceAdapter
