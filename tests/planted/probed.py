"""Kernels for PyTorch that do not do everything, each in one way: what the start-up probe must see."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from adapters.limits import limits

Tensor = torch.Tensor


def right(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    return F.cross_entropy(input, target, **options)


def no_mean(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    if options.get("reduction") == "mean":
        raise KeyError("block_size")
    return F.cross_entropy(input, target, **options)


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, target: Tensor, options: dict[str, Any]) -> Tensor:  # noqa: A002
        ctx.save_for_backward(input, target)
        ctx.options = options
        return F.cross_entropy(input, target, **options)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        logits, target = ctx.saved_tensors
        leaf = logits.detach().requires_grad_()
        with torch.enable_grad():
            losses = F.cross_entropy(leaf, target, **ctx.options)
        return torch.autograd.grad(losses, leaf, upstream)[0], None, None


def once(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    loss: Tensor = _Once.apply(input, target, options)
    return loss


def inference(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    return F.cross_entropy(input.detach(), target, **options)


def float32_only(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    if input.dtype != torch.float32:
        raise TypeError(f"expected float32, got {input.dtype}")
    return F.cross_entropy(input, target, **options)


def indices_only(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    if target.is_floating_point():
        raise NotImplementedError("class indices only")
    return F.cross_entropy(input, target, **options)


def _tiles(input: Tensor, width: int) -> None:  # noqa: A002
    if input.shape[1] % width:
        raise ValueError(f"{input.shape[1]} classes are no tiles of {width}")


def tiles_of_8(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    _tiles(input, 8)
    return F.cross_entropy(input, target, **options)


def tiles_of_32(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    _tiles(input, 32)
    return F.cross_entropy(input, target, **options)


@limits("tiles of 8 classes", classes_multiple_of=8)
def tiles_of_32_for_8(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    return tiles_of_32(input, target, **options)


def powers_of_two(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    if input.shape[1] & (input.shape[1] - 1):
        raise ValueError("K is no power of 2")
    return F.cross_entropy(input, target, **options)


def one_block(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    if input.shape[1] > 1000:
        raise RuntimeError("more classes than a block holds")
    return F.cross_entropy(input, target, **options)


def finite_only(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    if not input.isfinite().all():
        raise ValueError("logits are not finite")
    return F.cross_entropy(input, target, **options)


def no_masks(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    if input.isneginf().any():
        raise ValueError("a masked class")
    return F.cross_entropy(input, target, **options)


def float32_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, **options: Any) -> Tensor:  # noqa: A002
    wide = target.float() if target.is_floating_point() else target
    return F.cross_entropy(input.float(), wide, weight=None if weight is None else weight.float(), **options)


def float32_mean(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    loss = F.cross_entropy(input, target, **options)
    return loss.to(torch.promote_types(loss.dtype, torch.float32)) if not loss.ndim else loss


def overwrites(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    loss = F.cross_entropy(input, target, **options)
    input.data.zero_()
    return loss


def always_raises(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    raise RuntimeError("no kernel image is available")


def always_reduces(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    return F.cross_entropy(input, target, **(options | {"reduction": "mean"}))


def always_sums(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    return F.cross_entropy(input, target, **(options | {"reduction": "sum"}))


def never_reduces(input: Tensor, target: Tensor, **options: Any) -> Tensor:  # noqa: A002
    return F.cross_entropy(input, target, **(options | {"reduction": "none"}))


def no_options(input: Tensor, target: Tensor, reduction: str = "mean", **options: Any) -> Tensor:  # noqa: A002
    if options:
        raise NotImplementedError(f"options {sorted(options)}")
    return F.cross_entropy(input, target, reduction=reduction)


def no_weights_in_half(input: Tensor, target: Tensor, weight: Tensor | None = None, **options: Any) -> Tensor:  # noqa: A002
    if weight is not None and input.dtype != torch.float32:
        raise TypeError("weights in float32 only")
    return F.cross_entropy(input, target, weight=weight, **options)
