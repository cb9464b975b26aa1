"""The backend of transformers' losses of language models: PyTorch's cross-entropy, cast and reduced as the Trainer does.

The models call ForCausalLMLoss on what their last layer makes of hidden states: so is it asked too, with that layer.
ForCausalLMLoss casts every format to float32, and the loss of float64 stays float32: float64 is not among its formats here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from transformers.loss.loss_utils import ForCausalLMLoss, fixed_cross_entropy

from adapters.operation import FLOAT32_LOSS
from adapters.script import Code, wrapped
from adapters.torch.backend import arithmetic_of
from adapters.torch.kernels import BEHIND_LAYER, UPCAST, TorchKernels, ignored_or_default, kernel, layer_kernel, package_words
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


_CAUSAL_LM_LOSS = _loss(_causal_lm)


def _of_hidden_states(features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, options: Options) -> Tensor:
    """As a model computes it: lm_head, then the loss."""
    return _CAUSAL_LM_LOSS(F.linear(features, weight, bias), target, options)


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


_CALL = "ForCausalLMLoss({x}, None, x.shape[1], {items}, {ignored}, shift_labels={t})"
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
            _CAUSAL_LM_LOSS,
            UPCAST,
            options=_OPTIONS,
            returns=FLOAT32_LOSS,
        ),
        layer_kernel(
            "causal_lm_loss_of_hidden_states",
            "ForCausalLMLoss(F.linear(h, W, b), shift_labels=index)",
            _of_hidden_states,
            BEHIND_LAYER,
            options=_OPTIONS,
            returns=FLOAT32_LOSS,
        ),
    )
    words = package_words(
        package,
        {
            "fixed_cross_entropy": _statements("fixed_cross_entropy({x}, {t}, {items}, {ignored})"),
            "causal_lm_loss": _statements(_CALL),
            "causal_lm_loss_of_hidden_states": lambda problem: (
                f"x = torch.nn.functional.linear(features, weight, bias)\n{_statements(_CALL)(problem)}"
            ),
        },
        imports=("", "import torch", "from transformers.loss.loss_utils import ForCausalLMLoss, fixed_cross_entropy"),
    )


ADAPTER = TransformersAdapter
