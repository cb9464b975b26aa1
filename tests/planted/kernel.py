"""A right softmax cross-entropy in PyTorch, in steps of which a planted defect replaces one.

Absorption-free, in float64, stored once; derivatives by the formulas of adapters/numpy/absorption_free.py, written out again:

    loss = sum_i a_i g_i + A log1p(R)    gradient = A p - a, (A - a_c) - A R/S where p_c > 1/2    product = A p (w - <p, w>)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

Tensor = torch.Tensor
T = TypeVar("T")


@dataclass(frozen=True)
class Rows:
    """What the quantities share: (N, K) logits x, gaps, powers exp(-gap), where the maximum is; (N, 1) others R, total S."""

    x: Tensor
    gaps: Tensor
    powers: Tensor
    at_top: Tensor
    others: Tensor
    total: Tensor

    @property
    def p(self) -> Tensor:
        """Probabilities."""
        return self.powers / self.total


@dataclass(frozen=True)
class Call:
    """The arguments of one call, as torch.nn.functional.cross_entropy has them."""

    input: Tensor
    target: Tensor
    weight: Tensor | None
    ignore_index: int
    reduction: str
    label_smoothing: float

    @property
    def has_probabilities(self) -> bool:
        """True if the target is probabilities."""
        return self.target.is_floating_point()

    @property
    def ignored(self) -> Tensor:
        """(N,): rows that do not count."""
        if self.has_probabilities:
            return torch.zeros(len(self.input), dtype=torch.bool)
        return self.target == self.ignore_index

    @property
    def class_weights(self) -> Tensor:
        """(K,) in float64; ones where none are given."""
        classes = self.input.shape[1]
        return torch.ones(classes, dtype=torch.float64) if self.weight is None else self.weight.double()


@dataclass(frozen=True)
class Defect:
    """What a planted kernel does wrong, and the test that must reject it.

    `category` is that of the story; `test` the name of a test of suites/ and `says` a part of its message; the kernel is
    judged in `dtype` and held to `claim`; `link` is a public thread of the same mistake.
    """

    category: str
    story: str
    test: str
    says: str = ""
    dtype: str = "float32"
    claim: str = "stable"
    link: str = ""


class Kernel:
    """The right one; each method is a step."""

    defect: Defect
    function: type[torch.autograd.Function]

    def __init__(self) -> None:
        self.__name__ = type(self).__name__

    def __call__(
        self,
        input: Tensor,  # noqa: A002
        target: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> Tensor:
        call = Call(input, target, weight, ignore_index, reduction, label_smoothing)
        return self.stored(self.reduced(self.each(call), call), call)

    def each(self, call: Call) -> Tensor:
        """(N,): the losses before their reduction."""
        self.check_target(call)
        return self.function.apply(call.input, self.weights(call), call, self)  # type: ignore[no-any-return]

    def check_target(self, call: Call) -> None:
        if call.has_probabilities:
            return
        counted = call.target[~call.ignored]
        if ((counted < 0) | (counted >= call.input.shape[1])).any():
            raise IndexError("class index out of range")

    def label(self, call: Call) -> Tensor:
        """(N, K): one-hot of the index, or the probabilities."""
        if call.has_probabilities:
            return call.target.double()
        return (torch.arange(call.input.shape[1]) == call.target[:, None]).double()

    def smoothed(self, label: Tensor, call: Call) -> Tensor:
        return (1 - call.label_smoothing) * label + call.label_smoothing / label.shape[1]

    def weights(self, call: Call) -> Tensor:
        """(N, K): effective weights a."""
        a = call.class_weights * self.smoothed(self.label(call), call)
        return torch.where(call.ignored[:, None], 0.0, a)

    def widened(self, logits: Tensor) -> Tensor:
        return logits.double()

    def top(self, x: Tensor) -> Tensor:
        """(N, 1): what the logits are shifted by."""
        return x.amax(dim=1, keepdim=True)  # six times as fast as max(), which looks for places too

    def powers(self, gaps: Tensor) -> Tensor:
        return torch.exp(-gaps)

    def others(self, powers: Tensor, at_top: Tensor) -> Tensor:
        return torch.where(at_top, 0.0, powers).sum(dim=1, keepdim=True)

    def rows(self, logits: Tensor) -> Rows:
        x = self.widened(logits)
        if not x.numel():
            return Rows(x, x, x, x.bool(), x[:, :1], x[:, :1])
        gaps = self.top(x) - x
        powers = self.powers(gaps)
        at_top = torch.arange(x.shape[1]) == x.argmax(dim=1, keepdim=True)
        others = self.others(powers, at_top)
        return Rows(x, gaps, powers, at_top, others, 1 + others)

    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        """(N,)."""
        return torch.where(a == 0, 0.0, a * rows.gaps).sum(dim=1) + a.sum(dim=1) * torch.log1p(rows.others)[:, 0]

    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        """(N, K): the gradient of each row's loss."""
        mass = a.sum(dim=1, keepdim=True)
        apart = torch.where(rows.at_top, 0.0, a).sum(dim=1, keepdim=True) - mass * rows.others / rows.total
        return torch.where(rows.at_top & (rows.others < 1), apart, mass * rows.p - a)

    def product(self, rows: Rows, a: Tensor, v: Tensor) -> Tensor:
        """(N, K): the Hessian of each row's loss times v."""
        w = v - v[rows.at_top][:, None]
        return a.sum(dim=1, keepdim=True) * rows.p * (w - (rows.p * w).sum(dim=1, keepdim=True))

    def by_weight(self, rows: Rows) -> Tensor:
        """(N, K): the derivative of each row's loss by its weights, of which the labels are factors."""
        return rows.gaps + torch.log1p(rows.others)

    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        return torch.where(call.ignored, 0.0, self.loss(rows, a))

    def gradient(self, rows: Rows, a: Tensor, upstream: Tensor, call: Call) -> Tensor:
        return torch.where(call.ignored[:, None], 0.0, self.slope(rows, a) * upstream[:, None])

    def second(self, rows: Rows, a: Tensor, upstream: Tensor, v: Tensor, call: Call) -> Tensor:
        return torch.where(call.ignored[:, None], 0.0, self.product(rows, a, v) * upstream[:, None])

    def denominator(self, call: Call) -> Tensor:
        """What a mean divides by."""
        if call.has_probabilities:
            return torch.tensor(float(len(call.input)), dtype=torch.float64)
        return call.class_weights[call.target[~call.ignored]].sum()

    def reduced(self, losses: Tensor, call: Call) -> Tensor:
        if call.reduction == "none":
            return losses
        return losses.sum() / (self.denominator(call) if call.reduction == "mean" else 1.0)

    def stored(self, values: Tensor, call: Call) -> Tensor:
        return values.to(call.input.dtype)


class Losses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, a: Tensor, call: Call, kernel: Kernel) -> Tensor:
        ctx.save_for_backward(logits, a)
        ctx.call, ctx.kernel = call, kernel
        return kernel.losses(kernel.rows(logits), a, call)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        logits, a = ctx.saved_tensors
        by_weight = None
        if ctx.needs_input_grad[1]:
            by_weight = (ctx.kernel.by_weight(ctx.kernel.rows(logits)) * upstream[:, None]).to(a.dtype)
        return _Gradient.apply(logits, a, upstream, ctx.call, ctx.kernel), by_weight, None, None


class _Gradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, a: Tensor, upstream: Tensor, call: Call, kernel: Kernel) -> Tensor:
        ctx.save_for_backward(logits, a, upstream)
        ctx.call, ctx.kernel = call, kernel
        return kernel.stored(kernel.gradient(kernel.rows(logits), a, upstream, call), call)

    @staticmethod
    def backward(ctx: Any, direction: Tensor) -> tuple[Tensor | None, ...]:
        logits, a, upstream = ctx.saved_tensors
        kernel, call = ctx.kernel, ctx.call
        product = kernel.second(kernel.rows(logits), a, upstream, direction.double(), call)
        return kernel.stored(product, call), None, None, None, None


def planted(category: str, story: str, test: str, says: str = "", **more: str) -> Callable[[type[T]], T]:
    """Makes a class a kernel on trial, of tensors or of arrays, known by the name of the class; for `more` see Defect."""

    def plant(kind: type[T]) -> T:
        kernel = kind()
        kernel.defect = Defect(category, story, test, says, **more)
        return kernel

    return plant


Kernel.function = Losses
right = Kernel()
