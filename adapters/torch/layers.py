"""PyTorch's linear layer and cross-entropy in one, as functions of features, weight, bias, target and options."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F

from adapters.torch.losses import Options, Tensor, cross_entropy, implementation_loss

LayerLoss = Callable[[Tensor, Tensor, Tensor, Tensor, Options], Tensor]
"""(features (N, D), weight (K, D), bias (K,), target, options) -> losses (N,), or () where the options reduce."""

Policy = Literal["accurate", "balanced", "compact"]

POLICIES: tuple[Policy, ...] = get_args(Policy)
"""What the chunks of F.linear_cross_entropy may add up in."""


def linear_then_cross_entropy(features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, options: Options) -> Tensor:
    """Cross-entropy of a linear layer's output, in two steps."""
    return cross_entropy(F.linear(features, weight, bias), target, options)


def layer_loss(function: Callable[..., Tensor], has_bias: bool = True) -> LayerLoss:
    """A callable with the signature of torch.nn.functional.linear_cross_entropy; one that has no bias is given none."""

    def loss(features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, options: Options) -> Tensor:
        def of_features(h: Tensor, labels: Tensor, **given: Any) -> Tensor:
            return function(h, weight, labels, **({"linear_bias": bias} if has_bias else {}), **given)

        return implementation_loss(of_features)(features, target, options)

    return loss


linear_cross_entropy = layer_loss(F.linear_cross_entropy)


def rows_of_chunk(rows: int) -> int:
    """How many rows a chunk has: 1, 2 or 3, so that batches of many sizes end with a whole chunk or with a short one.

    >>> [rows_of_chunk(rows) for rows in (1, 2, 3, 4, 5, 1024)]
    [2, 3, 1, 2, 3, 2]
    """
    return rows % 3 + 1


def in_chunks(policy: Policy) -> LayerLoss:
    """F.linear_cross_entropy in chunks of `rows_of_chunk`."""

    def of_policy(features: Tensor, *given: Tensor, **more: Any) -> Tensor:
        options = torch.nn.LinearCrossEntropyOptions(
            batch_chunk_size=rows_of_chunk(len(features)), chunking_method=None, acc_policy=policy
        )
        return _chunked(features, *given, options=options, **more)

    return layer_loss(of_policy)


def _in_own_chunks(*given: Tensor, **more: Any) -> Tensor:
    return _chunked(*given, options=torch.nn.LinearCrossEntropyOptions(), **more)


in_own_chunks = layer_loss(_in_own_chunks)
"""F.linear_cross_entropy in the chunks that it takes by default."""


def _chunked(*given: Tensor, **more: Any) -> Tensor:
    """F.linear_cross_entropy; that it does not chunk it says in a warning, which is an error here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="linear_cross_entropy: ``options`` ignored")
        return F.linear_cross_entropy(*given, **more)
