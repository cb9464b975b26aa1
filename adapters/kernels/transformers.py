"""The backend of transformers' losses of language models: PyTorch's cross-entropy, cast and reduced as the Trainer does.

ForCausalLMLoss casts every format to float32, and the loss of float64 stays float32: float64 is not among its formats here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers.loss.loss_utils import ForCausalLMLoss, fixed_cross_entropy

from adapters.operation import FLOAT32_LOSS
from adapters.script import Code, wrapped
from adapters.torch.backend import arithmetic_of
from adapters.torch.kernels import UPCAST, TorchKernels, ignored_or_default, kernel, package_words
from adapters.torch.losses import Loss, Options, Tensor
from reference.problem import Problem
from reference.reduction import Reduction

Reduced = Callable[[Tensor, Tensor, int | None, int], Tensor]
"""(logits, target, num_items_in_batch, ignore_index) -> the sum over the items, or the mean where their number is None."""


def _causal_lm(logits: Tensor, target: Tensor, items: int | None, ignore_index: int) -> Tensor:
    """ForCausalLMLoss of labels that are shifted already."""
    return ForCausalLMLoss(logits, None, logits.shape[1], items, ignore_index, shift_labels=target)


def _fixed(logits: Tensor, target: Tensor, items: int | None, ignore_index: int) -> Tensor:
    return fixed_cross_entropy(logits, target, items, ignore_index)


def _loss(reduced: Reduced) -> Loss:
    """The loss with a reduction: a sum is that of one item in the batch, a loss of each row that of a batch of its own."""

    def loss(logits: Tensor, target: Tensor, options: Options) -> Tensor:
        ignored = ignored_or_default(options.ignore_index)
        if options.reduction != Reduction.NONE:
            return reduced(logits, target, None if options.reduction == Reduction.MEAN else 1, ignored)
        rows = [reduced(logits[i : i + 1], target[i : i + 1], 1, ignored) for i in range(len(target))]
        return torch.stack(rows) if rows else reduced(logits, target, 1, ignored)[None][:0]

    return loss


def _statements(call: str) -> Code:
    """Those of a call with {x}, {t}, {items} and {ignored}."""

    def code(problem: Problem) -> str:
        ignored = ignored_or_default(problem.ignored_class)
        if problem.reduction is not Reduction.NONE:
            items = None if problem.reduction is Reduction.MEAN else 1
            return f"return {call.format(x='x', t='t', items=items, ignored=ignored)}"
        row = call.format(x="x[i : i + 1]", t="t[i : i + 1]", items=1, ignored=ignored)
        return wrapped(f"return torch.stack([{row} for i in range(len(t))])")

    return code


_OPTIONS = frozenset({"ignore_index", "reduction"})


class TransformersAdapter(TorchKernels):
    """transformers: its loss of causal language models, and the cross-entropy inside it."""

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
    words = package_words(
        package,
        {
            "fixed_cross_entropy": _statements("fixed_cross_entropy({x}, {t}, {items}, {ignored})"),
            "causal_lm_loss": _statements("ForCausalLMLoss({x}, None, x.shape[1], {items}, {ignored}, shift_labels={t})"),
        },
        imports=("", "import torch", "from transformers.loss.loss_utils import ForCausalLMLoss, fixed_cross_entropy"),
    )


ADAPTER = TransformersAdapter
