"""Apple's cut-cross-entropy: its torch_compile implementation, a linear layer and cross-entropy in one, on the CPU too.

The classifier is the identity matrix, so the logits are the embeddings: exactly, since every other product is 0.
"""

from __future__ import annotations

from typing import Any

import torch
from cut_cross_entropy import linear_cross_entropy

from adapters.backend_torch import arithmetic_of
from adapters.torch_kernels import TorchKernels, kernel
from adapters.torch_losses import Options, Tensor


def cross_entropy(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """linear_cross_entropy of the identity, with the options of the problem."""
    more: dict[str, Any] = {} if options.ignore_index is None else {"ignore_index": options.ignore_index}
    classifier = torch.eye(logits.shape[1], dtype=logits.dtype, device=logits.device)
    return linear_cross_entropy(
        logits,
        classifier,
        target,
        softcap=options.logit_softcap,
        reduction=options.reduction,
        impl="torch_compile",
        **more,
    )


class CceAdapter(TorchKernels):
    """cut-cross-entropy."""

    name = "cce"
    package = "cut_cross_entropy"
    listed = (
        kernel(
            "linear_cross_entropy",
            "linear_cross_entropy(x, I, index, impl='torch_compile')",
            cross_entropy,
            arithmetic_of("cpu"),
            options=frozenset({"ignore_index", "reduction", "logit_softcap"}),
            few_shapes=True,
        ),
    )


ADAPTER = CceAdapter
