"""Kernels that compute in float32 what is asked of half-precision logits, as language models do; what they return differs."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from adapters.arithmetic import arithmetic
from adapters.limits import limits

Tensor = torch.Tensor

composed = arithmetic(composed=True)
in_float32 = limits(
    "the loss is kept as it is computed",
    returns={"loss": "float32"},
    targets=["indices"],
    options=[],
    label_dtypes=["int64"],
)


def undeclared(input: Tensor, target: Tensor, weight: Tensor | None = None, **options: Any) -> Tensor:  # noqa: A002
    """The usual one: the loss stays in float32."""
    wide = target.float() if target.is_floating_point() else target
    return F.cross_entropy(input.float(), wide, weight=None if weight is None else weight.float(), **options)


@composed
@in_float32
def declared(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    """The same, declared."""
    return undeclared(input, target, **options)


@in_float32
def rounded_first(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    """The loss has been a number of the format of the logits on its way."""
    return undeclared(input, target, **options).to(input.dtype).float()


@in_float32
def sometimes(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    """Of one row the loss is returned in the format of the logits."""
    losses = undeclared(input, target, **options)
    return losses if len(input) > 1 else losses.to(input.dtype)
