"""A right linear layer and cross-entropy in one in PyTorch, in chunks of rows, in steps of which a planted defect replaces one.

In float64, stored once; of G, the gradient by the logits of a chunk: dh = G W, dW = sum over chunks of G^T h, db = that of G.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from adapters.linear_layer import linear_cross_entropy
from tests.planted.kernel import Call, Kernel, Rows, Tensor


@dataclass(frozen=True)
class Layer:
    """Features (N, D), weight (K, D) and bias (K,) of a call."""

    h: Tensor
    w: Tensor
    b: Tensor


@dataclass(frozen=True)
class Part:
    """A chunk: its rows, what is shared of them, their effective weights, and the call as if there were no others."""

    at: slice
    rows: Rows
    a: Tensor
    call: Call


class LayerKernel(Kernel):
    """The right one; each method is a step."""

    chunk = 4
    """Rows of a chunk."""

    def __init__(self) -> None:
        super().__init__()
        linear_cross_entropy(self)

    def __call__(  # type: ignore[override]
        self,
        input: Tensor,  # noqa: A002
        linear_weight: Tensor,
        target: Tensor,
        *,
        linear_bias: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> Tensor:
        logits = input.new_zeros(()).expand(len(input), len(linear_weight))
        call = Call(logits, target, weight, ignore_index, reduction, label_smoothing)
        self.check_target(call)
        return _OfLayer.apply(input, linear_weight, linear_bias, call, self)  # type: ignore[no-any-return]

    def read(self, input: Tensor, weight: Tensor, bias: Tensor, call: Call) -> Layer:  # noqa: A002
        """The layer in float64; what an ignored row has as features does not count."""
        h = torch.where(call.ignored[:, None], 0.0, self.features(input).double())
        return Layer(h, self.matrix(weight).double(), bias.double())

    def features(self, given: Tensor) -> Tensor:
        return given

    def matrix(self, given: Tensor) -> Tensor:
        return given

    def chunks(self, call: Call) -> list[slice]:
        rows = len(call.input)
        return [slice(start, min(start + self.chunk, rows)) for start in range(0, rows, self.chunk)]

    def logits(self, layer: Layer, at: slice) -> Tensor:
        return layer.h[at] @ layer.w.T + layer.b

    def parts(self, layer: Layer, call: Call) -> list[Part]:
        return [self.part(self.logits(layer, at), at, call) for at in self.chunks(call)]

    def part(self, logits: Tensor, at: slice, call: Call) -> Part:
        own = replace(call, input=logits, target=call.target[at])
        return Part(at, self.rows(logits), self.weights(own), own)

    def total(self, chunks: Sequence[Tensor], call: Call) -> Tensor:
        """The losses of all chunks, reduced."""
        return self.reduced(torch.cat([*chunks, torch.zeros(0, dtype=torch.float64)]), call)

    def upstreams(self, upstream: Tensor, call: Call) -> Tensor:
        """(N,): the cotangents of the rows, over what a mean divides by."""
        return upstream.double().expand(len(call.input)) / (self.denominator(call) if call.reduction == "mean" else 1.0)

    def by_logits(self, part: Part, upstreams: Tensor) -> Tensor:
        """(n, K): G of a chunk."""
        return self.gradient(part.rows, part.a, upstreams[part.at], part.call)

    def by_features(self, g: Tensor, layer: Layer, part: Part) -> Tensor:
        return g @ layer.w

    def by_matrix(self, total: Tensor, g: Tensor, layer: Layer, part: Part) -> Tensor:
        """(K, D): the gradient by the weight so far."""
        return total + g.T @ layer.h[part.at]

    def by_bias(self, total: Tensor, g: Tensor, part: Part) -> Tensor:
        """(K,): the gradient by the bias so far."""
        return total + g.sum(dim=0)

    def gradients(self, layer: Layer, upstream: Tensor, call: Call, asked: Sequence[bool]) -> tuple[Tensor, Tensor, Tensor]:
        """By features, weight and bias, of which those that are not `asked` are not read."""
        del asked
        dh, dw, db = (torch.zeros_like(each) for each in (layer.h, layer.w, layer.b))
        upstreams = self.upstreams(upstream, call)
        for part in self.parts(layer, call):
            g = self.by_logits(part, upstreams)
            dh[part.at] = self.by_features(g, layer, part)
            dw, db = self.by_matrix(dw, g, layer, part), self.by_bias(db, g, part)
        return dh, dw, db

    def kept(self, ctx: Any, found: Sequence[Tensor], upstream: Tensor) -> Sequence[Tensor]:
        """The gradients, and what a call keeps of them: nothing."""
        return found


class _OfLayer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, w: Tensor, b: Tensor, call: Call, kernel: LayerKernel) -> Tensor:
        ctx.save_for_backward(h, w, b)
        ctx.call, ctx.kernel = call, kernel
        parts = kernel.parts(kernel.read(h, w, b, call), call)
        return kernel.stored(kernel.total([kernel.losses(each.rows, each.a, each.call) for each in parts], call), call)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        kernel, call = ctx.kernel, ctx.call
        layer = kernel.read(*ctx.saved_tensors, call)
        found = kernel.kept(ctx, kernel.gradients(layer, upstream, call, ctx.needs_input_grad[:3]), upstream)
        return *(kernel.stored(each, call) for each in found), None, None


right = LayerKernel()
