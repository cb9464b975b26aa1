"""Kernels that are right one call at a time, and keep something between the calls of a training step."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from adapters.limits import limits
from tests.planted.kernel import Call, Kernel, Tensor, planted


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, a: Tensor, call: Call, kernel: _FirstOrder) -> Tensor:
        ctx.call, ctx.kernel = call, kernel
        return kernel.forward(ctx, logits, a)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.kernel.backward(ctx, upstream), None, None, None


class _FirstOrder(Kernel):
    """A kernel of losses and gradients: a right one, in two steps that share `ctx`."""

    function = _Once

    def __init__(self) -> None:
        super().__init__()
        limits("its backward is not differentiable, and by the logits alone", derivatives=1, fixed_target=True)(self)
        self.records = True

    def check_target(self, call: Call) -> None:
        super().check_target(call)
        self.records = torch.is_grad_enabled() and call.input.requires_grad

    def forward(self, ctx: Any, logits: Tensor, a: Tensor) -> Tensor:
        ctx.save_for_backward(logits, a)
        return self.losses(self.rows(logits), a, ctx.call)

    def backward(self, ctx: Any, upstream: Tensor) -> Tensor:
        logits, a = ctx.saved_tensors
        return self.stored(self.gradient(self.rows(logits), a, upstream, ctx.call), ctx.call)

    def unscaled(self, ctx: Any, logits: Tensor, a: Tensor) -> Tensor:
        """The gradient of each row for a cotangent of 1."""
        return self.gradient(self.rows(logits), a, torch.ones(len(logits), dtype=torch.float64), ctx.call)


@planted("usage", "the gradient that forward has saved is scaled in place by the cotangent", "test_usage", "in usage 'twice'")
class ScalesSavedGradient(_FirstOrder):
    def forward(self, ctx: Any, logits: Tensor, a: Tensor) -> Tensor:
        ctx.gradient = self.unscaled(ctx, logits, a)
        return super().forward(ctx, logits, a)

    def backward(self, ctx: Any, upstream: Tensor) -> Tensor:
        return self.stored(ctx.gradient.mul_(upstream[:, None]), ctx.call)


@planted("usage", "gradients of a shape are all written into one buffer", "test_usage", "in usage 'kept'")
class GradientsInOneBuffer(_FirstOrder):
    def __init__(self) -> None:
        super().__init__()
        self.buffers: dict[Any, Tensor] = {}

    def backward(self, ctx: Any, upstream: Tensor) -> Tensor:
        gradient = super().backward(ctx, upstream)
        buffer = self.buffers.setdefault((gradient.shape, gradient.dtype), torch.empty_like(gradient))
        return buffer.copy_(gradient).detach()


@planted("usage", "losses of a shape are all written into one buffer", "test_usage", "in usage 'interleaved_alike'")
class LossesInOneBuffer(_FirstOrder):
    def __init__(self) -> None:
        super().__init__()
        self.buffers: dict[Any, Tensor] = {}

    def forward(self, ctx: Any, logits: Tensor, a: Tensor) -> Tensor:
        losses = self.stored(super().forward(ctx, logits, a), ctx.call)
        buffer = self.buffers.setdefault((losses.shape, losses.dtype), torch.empty_like(losses))
        return buffer.copy_(losses).detach()


@planted("usage", "the backward takes what the last forward has left in the kernel", "test_usage", "in usage 'interleaved'")
class LastForwardCounts(_FirstOrder):
    def forward(self, ctx: Any, logits: Tensor, a: Tensor) -> Tensor:
        self.left = self.unscaled(ctx, logits, a)
        return super().forward(ctx, logits, a)

    def backward(self, ctx: Any, upstream: Tensor) -> Tensor:
        return self.stored(self.left[: len(upstream), : ctx.call.input.shape[1]] * upstream[:, None], ctx.call)


@planted("usage", "a workspace for each shape goes from forward to backward", "test_usage", "in usage 'interleaved_alike'")
class WorkspaceOfShape(_FirstOrder):
    def __init__(self) -> None:
        super().__init__()
        self.workspaces: dict[Any, Tensor] = {}

    def forward(self, ctx: Any, logits: Tensor, a: Tensor) -> Tensor:
        self.workspaces[logits.shape] = self.unscaled(ctx, logits, a)
        return super().forward(ctx, logits, a)

    def backward(self, ctx: Any, upstream: Tensor) -> Tensor:
        return self.stored(self.workspaces[ctx.call.input.shape] * upstream[:, None], ctx.call)


@planted(
    "usage", "the logits hold the gradient from forward to backward, which puts them back", "test_usage", "in usage 'shared'"
)
class BorrowsLogits(_FirstOrder):
    def forward(self, ctx: Any, logits: Tensor, a: Tensor) -> Tensor:
        losses = super().forward(ctx, logits, a)
        if self.records:
            ctx.own = logits.clone()
            logits.data.copy_(self.unscaled(ctx, logits, a))
        return losses

    def backward(self, ctx: Any, upstream: Tensor) -> Tensor:
        ctx.call.input.data.copy_(ctx.own)
        return super().backward(ctx, upstream)


@planted("usage", "the logits are shifted in place, tracked by autograd, and put back", "test_usage", "in usage 'shared'")
class ShiftsAndRestores(_FirstOrder):
    def forward(self, ctx: Any, logits: Tensor, a: Tensor) -> Tensor:
        own = logits.clone()
        with torch.no_grad():
            logits.sub_(logits.amax(dim=1, keepdim=True))
            losses = self.losses(self.rows(logits), a, ctx.call)
            logits.copy_(own)
        ctx.save_for_backward(own, a)
        return losses


@planted("usage", "the maximum of a tensor is looked for once", "test_usage", "in usage 'reused'")
class MaximumOnce(_FirstOrder):
    def __init__(self) -> None:
        super().__init__()
        self.known = WeakTensorKeyDictionary()

    def forward(self, ctx: Any, logits: Tensor, a: Tensor) -> Tensor:
        top = self.known.setdefault(ctx.call.input, super().top(logits.double()))
        losses = super().forward(ctx, logits, a)
        return losses + (super().top(logits.double()) - top)[:, 0]


@planted("usage", "where no gradient is recorded, the loss is computed in bfloat16", "test_usage", "in usage 'no_grad'")
class InferenceInBfloat16(_FirstOrder):
    def forward(self, ctx: Any, logits: Tensor, a: Tensor) -> Tensor:
        losses = super().forward(ctx, logits, a)
        return losses if self.records or not logits.requires_grad else losses.bfloat16().double()


@planted(
    "usage", "versions of the logits are counted, which inference tensors have not", "test_usage", "in usage 'inference_mode'"
)
class CountsVersions(_FirstOrder):
    def forward(self, ctx: Any, logits: Tensor, a: Tensor) -> Tensor:
        ctx.version = ctx.call.input._version
        return super().forward(ctx, logits, a)


@planted("usage", "a workspace of the thread goes from forward to backward", "test_usage", "in usage 'threaded'")
class WorkspaceOfThread(_FirstOrder):
    def __init__(self) -> None:
        super().__init__()
        self.local = threading.local()

    def forward(self, ctx: Any, logits: Tensor, a: Tensor) -> Tensor:
        self.local.kept = {**getattr(self.local, "kept", {}), id(ctx.call): self.unscaled(ctx, logits, a)}
        return super().forward(ctx, logits, a)

    def backward(self, ctx: Any, upstream: Tensor) -> Tensor:
        return self.stored(self.local.kept[id(ctx.call)] * upstream[:, None], ctx.call)


@planted("usage", "cotangents are read as if they lay one after another", "test_usage", "in usage 'summed'")
class IgnoresStrideOfCotangent(_FirstOrder):
    def __init__(self) -> None:
        super().__init__()
        limits("reductions are the caller's", options=[])(self)

    def forward(self, ctx: Any, logits: Tensor, a: Tensor) -> Tensor:
        return self.stored(super().forward(ctx, logits, a), ctx.call)

    def backward(self, ctx: Any, upstream: Tensor) -> Tensor:
        there = upstream.untyped_storage().nbytes() // upstream.element_size() - upstream.storage_offset()
        read = torch.zeros(len(upstream), dtype=upstream.dtype)  # what lies behind the storage is 0 here
        count = min(there, len(upstream))
        read[:count] = upstream.as_strided((count,), (1,))
        return super().backward(ctx, read)


@planted("usage", "the gradient of a tensor is computed once", "test_usage", "in usage 'twice'")
class GradientOnce(_FirstOrder):
    def __init__(self) -> None:
        super().__init__()
        self.known = WeakTensorKeyDictionary()

    def backward(self, ctx: Any, upstream: Tensor) -> Tensor:
        return self.known.setdefault(ctx.call.input, super().backward(ctx, upstream)).clone()


@planted("usage", "logits that are no leaf are detached from what made them", "test_usage", "in usage 'shared'")
class LeavesAlone(_FirstOrder):
    def __call__(self, input: Tensor, *arguments: Any, **options: Any) -> Tensor:  # noqa: A002
        return super().__call__(input if input.is_leaf else input.detach(), *arguments, **options)


@planted("usage", "a target that was seen has its losses already, and no graph", "test_usage", "in usage 'reused'")
class KeepsLossesOfTarget(_FirstOrder):
    def __init__(self) -> None:
        super().__init__()
        self.known = WeakTensorKeyDictionary()

    def __call__(self, input: Tensor, target: Tensor, *arguments: Any, **options: Any) -> Tensor:  # noqa: A002
        losses = self.known.get(target)
        if losses is None:
            losses = self.known[target] = super().__call__(input, target, *arguments, **options).detach()
            return super().__call__(input, target, *arguments, **options)
        return losses
