"""The ways to take derivatives in PyTorch: double backward, torch.func forward over reverse, and forward over forward.

Every way gets the problem's cotangent, never a bare sum. The rows of a batch do not interact, so K directions give the
Hessians of all rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from adapters.layout import Layout, beside, laid_out, of_logits
from adapters.question import Question
from adapters.returned import LackError
from adapters.torch.layers import LayerLoss
from adapters.torch.losses import (
    Loss,
    Options,
    Tensor,
    Weights,
    cotangent_tensor,
    options_of,
    target_tensor,
    to_tensor,
)
from reference.formats import Floats
from reference.options import PARTS
from reference.problem import layer_of
from reference.quantity import BLOCK_PRODUCTS, LAYER_GRADIENTS, ROW_PRODUCTS, Quantity
from reference.reduction import Reduction

Results = dict[Quantity, Tensor]

_LARGEST_BASIS = 2**25
"""Entries of the largest basis of unit vectors that forward mode may hold: 256 MB in float64."""


class Run:
    """One problem on the device: leaves, their snapshots, and the loss on trial."""

    def __init__(self, question: Question, device: str) -> None:
        problem = question.problem
        self.problem, self.device, self._layout = problem, device, question.layout
        self._watched: list[tuple[str, Tensor, Tensor]] = []
        self.logits = self._leaf().requires_grad_()
        self.target = self._beside(problem.target, target_tensor(problem, device, question.label_dtype))
        self.options = options_of(problem, device, Weights(*map(self._given, (problem.class_weights, problem.row_weights))))
        for name, tensor in (self._named(self.logits) | {"target": self.target}).items():
            self._watch(name, tensor)

    def _leaf(self) -> Tensor:
        """What is differentiated by: the logits, laid out."""
        stored = self.problem.stored_logits
        return _view(to_tensor(stored, self.problem.format, self.device), of_logits(stored, self._layout))

    def _named(self, leaf: Tensor) -> dict[str, Tensor]:
        """The inputs that a leaf holds, by name."""
        return {"logits": leaf}

    def cotangent(self, shape: torch.Size) -> Tensor:
        """The upstream gradient of a loss of this shape."""
        return self._beside(self.problem.upstream, cotangent_tensor(self.problem, shape, self.device))

    def tangent(self) -> Tensor:
        """The direction of the Hessian-vector product."""
        assert self.problem.tangent is not None
        return self._float(self.problem.tangent)

    def layer(self) -> tuple[Tensor, Tensor, Tensor]:
        """Features, weight and bias of the linear layer, laid out as logits are; that they change is told too."""
        fmt, device = self.problem.format, self.device
        parts = [(values, to_tensor(values, fmt, device)) for values in layer_of(self.problem).arrays]
        features, weight, bias = (_view(tensor, of_logits(values, self._layout)) for values, tensor in parts)
        for name, part in zip(PARTS, (features, weight, bias), strict=True):
            self._watch(name, part)
        return features, weight, bias

    def _given(self, values: Floats | None) -> Tensor | None:
        return None if values is None else self._float(values)

    def _float(self, values: Floats) -> Tensor:
        return self._beside(values, to_tensor(values, self.problem.format, self.device))

    def _beside(self, values: NDArray[Any], tensor: Tensor) -> Tensor:
        """The tensor of an array beside the logits, laid out."""
        return _view(tensor, beside(values, self._layout))

    def watched(self, logits: Tensor) -> Tensor:
        """Logits that are equal to its own, of which it is told too if they change."""
        before = {name: was for name, was, _ in reversed(self._watched)}
        self._watched += [(name, before[name], now) for name, now in self._named(logits).items()]
        return logits

    def changed(self) -> tuple[str, ...]:
        """Names of the inputs whose bits are not what they were."""
        return tuple(dict.fromkeys(name for name, was, now in self._watched if not _same_bits(was, now.detach())))

    def _watch(self, name: str, tensor: Tensor) -> None:
        self._watched.append((name, tensor.detach().clone(), tensor))


class LayerRun(Run):
    """One problem of a linear layer whose parts lie in one leaf: a sequence of calls is then that of logits."""

    def _leaf(self) -> Tensor:
        """Features, weight and bias, one after another."""
        arrays = layer_of(self.problem).arrays
        return torch.cat([to_tensor(values, self.problem.format, self.device).flatten() for values in arrays])

    def _named(self, leaf: Tensor) -> dict[str, Tensor]:
        return dict(zip(PARTS, self.parts(leaf, self.problem.num_rows), strict=True))

    def parts(self, leaf: Tensor, rows: int) -> tuple[Tensor, ...]:
        """Features, weight and bias in a leaf of so many rows; of another batch too, whose layer is as wide."""
        width = layer_of(self.problem).weight.shape[1]
        classes = (leaf.numel() - rows * width) // (width + 1)
        features, weight, bias = torch.split(leaf, [rows * width, classes * width, classes])
        return features.view(rows, width), weight.view(classes, width), bias

    def of_leaf(self, loss: LayerLoss) -> Loss:
        """The loss of a layer as one of a leaf."""

        def of_leaf(leaf: Tensor, target: Tensor, options: Options) -> Tensor:
            features, weight, bias = self.parts(leaf, len(target))
            return loss(features, weight, bias, target, options)

        return of_leaf

    def by_parts(self, values: Results) -> Results:
        """Results whose gradient is by the leaf, with those by its parts in its place."""
        results = dict(values)
        gradient = results.pop(Quantity.GRADIENT, None)
        by_part = () if gradient is None else self.parts(gradient, self.problem.num_rows)
        return results | dict(zip(LAYER_GRADIENTS, by_part, strict=False))


def _view(tensor: Tensor, layout: Layout) -> Tensor:
    """The tensor in a memory layout: the strides and offset that numpy's view has, over storage padded with NaN, or -1."""
    if layout is Layout.CONTIGUOUS or not tensor.numel():
        return tensor
    positions = laid_out(np.arange(tensor.numel(), dtype=np.float64).reshape(tensor.shape), layout)
    base = positions if positions.base is None else positions.base
    written = slice(1 if layout is Layout.EXPANDED else None)
    strides = tuple(step // positions.itemsize for step in positions.strides)
    start = (positions.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // positions.itemsize
    between = float("nan") if tensor.is_floating_point() else -1
    storage = torch.full((base.size,), between, dtype=tensor.dtype, device=tensor.device)
    view = storage.as_strided(tuple(tensor.shape), strides, start)
    view[written].copy_(tensor[written])
    return view


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    integer = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    return bool((a.contiguous().view(integer) == b.contiguous().view(integer)).all())


class Questioned(Protocol):
    """What `by_autograd` asks of a run."""

    logits: Tensor
    target: Tensor
    options: Options

    def cotangent(self, shape: torch.Size) -> Tensor:
        """The upstream gradient of a loss of this shape."""

    def tangent(self) -> Tensor:
        """The direction of the Hessian-vector product."""


def by_autograd(loss: Loss, run: Questioned, quantities: tuple[Quantity, ...]) -> Results:
    """Loss, gradient by backward, Hessian row by row and product by double backward."""
    losses = loss(run.logits, run.target, run.options)
    results = {Quantity.LOSS: losses.detach()}
    second = Quantity.HESSIAN in quantities or Quantity.HVP in quantities
    if second or Quantity.GRADIENT in quantities:
        upstream = run.cotangent(losses.shape).to(losses.dtype)
        (gradient,) = torch.autograd.grad(losses, run.logits, upstream, create_graph=second)
        results[Quantity.GRADIENT] = gradient.detach()
    if Quantity.TARGET_GRADIENT in quantities:
        results[Quantity.TARGET_GRADIENT] = _by_target(loss, run)
    if Quantity.HVP in quantities:
        (product,) = torch.autograd.grad(gradient, run.logits, run.tangent(), retain_graph=True)
        results[Quantity.HVP] = product
    if Quantity.HESSIAN in quantities:
        rows = [_hessian_row(gradient, run.logits, k) for k in range(run.logits.shape[1])]
        results[Quantity.HESSIAN] = torch.stack(rows, dim=1)
    return results


def _by_target(loss: Loss, run: Questioned) -> Tensor:
    """The gradient by probabilities, beside logits that need one too."""
    target = run.target.detach().requires_grad_()
    losses = loss(run.logits, target, run.options)
    upstream = run.cotangent(losses.shape).to(losses.dtype)
    gradient = torch.autograd.grad(losses, (run.logits, target), upstream, allow_unused=True)[1]
    if gradient is None:
        raise LackError('the target has no gradient (None); a kernel that has none declares @limits("why", fixed_target=True)')
    return gradient


def loss_alone(loss: Loss, run: Run, _: tuple[Quantity, ...]) -> Results:
    """The loss of logits that need no gradient, as inference takes it."""
    return {Quantity.LOSS: loss(run.logits.detach(), run.target, run.options)}


def as_used(loss: Loss, run: Run, quantities: tuple[Quantity, ...]) -> Results:
    """A kernel as training uses it, and, where the loss alone is asked, as inference does: it may go another way there."""
    if quantities == (Quantity.LOSS,):
        return loss_alone(loss, run, quantities)
    return by_autograd(with_graph(loss), run, quantities)


def with_graph(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The loss, which is told if no gradient can be taken of it."""

    def losses(*given: Any) -> Tensor:
        returned = loss(*given)
        if not returned.requires_grad:
            raise LackError(
                "the losses have no graph (detached, or computed under torch.no_grad), so there is no gradient; a kernel "
                'that has none declares @limits("why", derivatives=0)'
            )
        return returned

    return losses


def by_layer(loss: LayerLoss, run: Run, quantities: tuple[Quantity, ...]) -> Results:
    """Loss, and gradients by the parts of a linear layer in front of it; the parts by which none is asked are frozen."""
    parts = run.layer()
    asked = {name: part.requires_grad_() for name, part in zip(LAYER_GRADIENTS, parts, strict=True) if name in quantities}
    losses = (with_graph(loss) if asked else loss)(*parts, run.target, run.options)
    results = {Quantity.LOSS: losses.detach()}
    if not asked:
        return results
    upstream = run.cotangent(losses.shape).to(losses.dtype)
    gradients = torch.autograd.grad(losses, tuple(asked.values()), upstream)
    return results | dict(zip(asked, gradients, strict=True))


def by_backward(block: Callable[[Tensor], Tensor], run: Run, quantities: tuple[Quantity, ...]) -> Results:
    """A building block of logits that need no gradient, and the vector-Jacobian product that its backward pass returns."""
    return {q: _block_product(block, run, q) if q in BLOCK_PRODUCTS else block(run.logits.detach()) for q in quantities}


def _block_product(block: Callable[[Tensor], Tensor], run: Run, product: Quantity) -> Tensor:
    values = block(run.logits)
    upstream = run.cotangent(values.shape) if product in ROW_PRODUCTS else run.tangent()
    (result,) = torch.autograd.grad(values, run.logits, upstream.to(values.dtype))
    return result


def _hessian_row(gradient: Tensor, logits: Tensor, k: int) -> Tensor:
    """Row k of each Hessian: the rows of a batch do not interact, so one backward serves them all."""
    direction = torch.zeros_like(gradient)
    direction[:, k] = 1
    (row,) = torch.autograd.grad(gradient, logits, direction, retain_graph=True)
    return row


@dataclass(frozen=True)
class Transforms:
    """A composition of torch.func transforms: how the gradient, the Hessian and the product are taken of a scalar."""

    gradient: Callable[..., Callable[..., Tensor]]
    hessian: Callable[..., Callable[..., Tensor]]
    needs_basis: bool = False
    """True if the gradient is taken along every unit vector at once."""

    def product(self, scalar: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        """The derivative of the gradient along a direction."""
        return lambda x, v: torch.func.jvp(self.gradient(scalar), (x,), (v,))[1]


FORWARD_OVER_REVERSE = Transforms(torch.func.grad, torch.func.hessian)
FORWARD = Transforms(torch.func.jacfwd, lambda scalar: torch.func.jacfwd(torch.func.jacfwd(scalar)), needs_basis=True)


@dataclass(frozen=True)
class ByFunc:
    """Derivatives by torch.func; each quantity is one pure function of tensors."""

    transforms: Transforms

    def __call__(self, loss: Loss, run: Run, quantities: tuple[Quantity, ...]) -> Results:
        """The quantities of a run."""
        x = run.logits.detach()
        order = 3 if Quantity.HESSIAN in quantities else 2
        if self.transforms.needs_basis and x.numel() ** order > _LARGEST_BASIS:
            raise NotImplementedError(f"forward mode of {x.numel()} logits holds a basis of {x.numel()}^{order} entries")
        shape = torch.Size(() if run.options.reduction != Reduction.NONE else (run.problem.num_rows,))
        inputs = (x, run.target, run.cotangent(shape), run.tangent() if Quantity.HVP in quantities else x)
        return {q: _function_of(self.transforms, q, loss, run.options)(*inputs) for q in quantities}


def _function_of(transforms: Transforms, quantity: Quantity, loss: Loss, options: Options) -> Callable[..., Tensor]:
    """(logits, target, cotangent, tangent) -> the quantity."""

    def compute(x: Tensor, target: Tensor, upstream: Tensor, tangent: Tensor) -> Tensor:
        def scalar(logits: Tensor) -> Tensor:
            return (loss(logits, target, options) * upstream).sum()

        if quantity is Quantity.LOSS:
            return loss(x, target, options)
        if quantity is Quantity.GRADIENT:
            return transforms.gradient(scalar)(x)
        if quantity is Quantity.HVP:
            return transforms.product(scalar)(x, tangent)
        rows = torch.arange(x.shape[0], device=x.device)
        return transforms.hessian(scalar)(x)[rows, :, rows, :]

    return compute
