"""transformers' losses of language models: PyTorch's cross-entropy, cast and reduced as the Trainer does.

ForCausalLMLoss casts every format to float32, float64 too, whose loss it returns so: that is not among what it takes here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers.loss.loss_utils import ForCausalLMLoss, fixed_cross_entropy

from adapters.torch.backend import arithmetic_of
from adapters.torch.kernels import FLOAT32_LOSS, UPCAST, TorchKernels, kernel
from adapters.torch.losses import Loss, Options, Tensor
from reference.reduction import Reduction

Reduced = Callable[[Tensor, Tensor, int | None, int], Tensor]
"""(logits, target, num_items_in_batch, ignore_index) -> the sum over the items, or the mean where their number is None."""

_NOTHING_IGNORED = -100


def _causal_lm(logits: Tensor, target: Tensor, items: int | None, ignore_index: int) -> Tensor:
    """ForCausalLMLoss of labels that are shifted already."""
    return ForCausalLMLoss(logits, None, logits.shape[1], items, ignore_index, shift_labels=target)


def _fixed(logits: Tensor, target: Tensor, items: int | None, ignore_index: int) -> Tensor:
    return fixed_cross_entropy(logits, target, items, ignore_index)


def _loss(reduced: Reduced) -> Loss:
    """The sum is that of one item in the batch, and a loss of each row that of a batch of its own."""

    def loss(logits: Tensor, target: Tensor, options: Options) -> Tensor:
        ignored = _NOTHING_IGNORED if options.ignore_index is None else options.ignore_index
        if options.reduction != Reduction.NONE:
            return reduced(logits, target, None if options.reduction == Reduction.MEAN else 1, ignored)
        rows = [reduced(logits[i : i + 1], target[i : i + 1], 1, ignored) for i in range(len(target))]
        return torch.stack(rows) if rows else reduced(logits, target, 1, ignored)[None][:0]

    return loss


_OPTIONS = frozenset({"ignore_index", "reduction"})


class TransformersAdapter(TorchKernels):
    """transformers."""

    name = "transformers"
    package = "transformers"
    listed = (
        kernel(
            "fixed_cross_entropy",
            "fixed_cross_entropy(x, index, num_items_in_batch)",
            _loss(_fixed),
            arithmetic_of("cpu"),
            options=_OPTIONS,
        ),
        kernel(
            "causal_lm_loss",
            "ForCausalLMLoss(x, shift_labels=index)",
            _loss(_causal_lm),
            UPCAST,
            options=_OPTIONS,
            returns=FLOAT32_LOSS,
        ),
    )


ADAPTER = TransformersAdapter
