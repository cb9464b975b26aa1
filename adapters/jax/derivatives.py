"""The ways to take derivatives in JAX, op by op or compiled as one function, and the arrays that they are taken of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adapters.jax.layers import LayerLoss
from adapters.jax.losses import Array, Losses, Options, reduced
from adapters.layout import laid_out, of_logits
from adapters.question import Question
from reference.evaluation import MAX_HESSIAN_CLASSES
from reference.problem import Problem, layer_of
from reference.quantity import BLOCK_PRODUCTS, LAYER_GRADIENTS, ROW_PRODUCTS, Quantity
from reference.reduction import Reduction

Results = dict[Quantity, Array]
Parts = tuple[Array, Array, Array]
"""Features (N, D), weight (K, D) and bias (K,) of a linear layer."""

Loss = Callable[[Array], Array]
"""The loss on trial as a function of the logits alone: target and options are bound."""

_LARGEST_BASIS = 2**24
"""Elements of the largest set of directions that is pushed forward at once: 4096 classes in a row."""


_LONGEST_LOOP = 256
"""Directions that are pushed one after another; thousands take longer than compiling does."""


class Inputs:
    """A problem as arrays on the device; a numpy buffer that JAX took without a copy is watched for changes."""

    def __init__(self, question: Question, device: Any) -> None:
        problem = question.problem
        self.problem, self.device = problem, device
        cast = problem.format.cast
        target = cast(problem.target) if problem.has_probabilities else problem.target.astype(question.label_dtype)
        logits = cast(problem.stored_logits)
        self._sources = {"logits": laid_out(logits, of_logits(logits, question.layout)), "target": target}
        self._before = {name: source.tobytes() for name, source in self._sources.items()}
        self.logits, self.target = (jnp.asarray(source, device=device) for source in self._sources.values())
        self.cotangent = jnp.asarray(cast(problem.upstream), device=device)
        tangent = np.zeros_like(problem.logits) if problem.tangent is None else problem.tangent
        self.tangent = jnp.asarray(cast(tangent), device=device)

    def layer(self) -> Parts:
        """Features, weight and bias of the linear layer, whose output the logits are."""
        cast = self.problem.format.cast
        features, weight, bias = (jnp.asarray(cast(values), device=self.device) for values in layer_of(self.problem).arrays)
        return features, weight, bias

    def changed(self) -> tuple[str, ...]:
        """Names of the inputs whose bits are not what they were, in JAX's array or in the buffer that it came from."""
        now = {"logits": self.logits, "target": self.target}
        return tuple(
            name
            for name, was in self._before.items()
            if now[name].is_deleted() or not was == self._sources[name].tobytes() == np.asarray(now[name]).tobytes()
        )


def _along_each_class(push: Callable[[Array], Array], logits: Array, at_once: bool) -> Array:
    """Derivatives along e_k in every row, k first: the rows of a batch do not interact, so K directions serve them all.

    As one batch, as jax.jacfwd pushes them; or one after another, which op by op saves compiling every primitive for it where
    the directions are few.
    """
    rows, classes = logits.shape
    if rows * classes**2 > _LARGEST_BASIS:
        raise NotImplementedError(f"a basis of {classes} directions for {rows} x {classes} logits does not fit in memory")
    basis = jnp.broadcast_to(jnp.eye(classes, dtype=logits.dtype)[:, None, :], (classes, rows, classes))
    return jax.vmap(push)(basis) if at_once or classes > _LONGEST_LOOP else jnp.stack([push(basis[k]) for k in range(classes)])


def reverse_gradient(loss: Loss, cotangent: Array, logits: Array, at_once: bool) -> Array:  # noqa: ARG001
    """The gradient (N, K) in reverse mode: jax.vjp of the loss with its cotangent."""
    losses, pullback = jax.vjp(loss, logits)
    return pullback(cotangent.astype(losses.dtype))[0]


def forward_gradient(loss: Loss, cotangent: Array, logits: Array, at_once: bool) -> Array:
    """The gradient (N, K) in forward mode: jax.jacfwd of the losses of the rows, times their cotangents."""
    push = jax.linearize(loss, logits)[1]
    return _along_each_class(push, logits, at_once).T * cotangent[:, None]


_ORDERS = ((Quantity.LOSS, Quantity.GRADIENT), (Quantity.TARGET_GRADIENT,), (Quantity.HVP, Quantity.HESSIAN))
"""Quantities that are compiled together: each set that is asked would cost a compilation of its own."""


def _formed(order: tuple[Quantity, ...], problem: Problem) -> tuple[Quantity, ...]:
    """The quantities of an order, without a Hessian of more classes than are formed."""
    large = problem.num_classes > MAX_HESSIAN_CLASSES
    return tuple(quantity for quantity in order if not (large and quantity is Quantity.HESSIAN))


@dataclass(frozen=True)
class Differentiated:
    """Losses, the way their gradient is taken, and whether all of it is compiled.

    The Hessian and the product are forward mode over that gradient.
    """

    losses: Losses
    gradient: Callable[[Loss, Array, Array, bool], Array] = reverse_gradient
    compiled: bool = False

    def __call__(self, inputs: Inputs, quantities: tuple[Quantity, ...]) -> Results:
        """The quantities; compiled, two functions for each shape: value and gradient, and what is of second order."""
        options, given = Options.of(inputs.problem), (inputs.logits, inputs.target, inputs.cotangent, inputs.tangent)
        if not self.compiled:
            return derivatives(self, quantities, options, *given)
        results: Results = {}
        for order in _ORDERS:
            if set(order) & set(quantities):
                results |= _compiled(self, _formed(order, inputs.problem), options)(*given)
        return {quantity: results[quantity] for quantity in quantities}


def derivatives(
    how: Differentiated,
    quantities: tuple[Quantity, ...],
    options: Options,
    logits: Array,
    target: Array,
    cotangent: Array,
    tangent: Array,
) -> Results:
    """The quantities of one call, as a function that may be compiled."""
    loss = partial(reduced, how.losses, target, options)

    def gradient(at: Array) -> Array:
        return how.gradient(loss, cotangent, at, how.compiled)

    results: Results = {}
    if Quantity.LOSS in quantities:
        results[Quantity.LOSS] = loss(logits)
    if Quantity.HVP in quantities or Quantity.HESSIAN in quantities:
        results[Quantity.GRADIENT], push = jax.linearize(gradient, logits)
        if Quantity.HVP in quantities:
            results[Quantity.HVP] = push(tangent)
        if Quantity.HESSIAN in quantities:
            results[Quantity.HESSIAN] = jnp.moveaxis(_along_each_class(push, logits, how.compiled), 0, 2)
    elif Quantity.GRADIENT in quantities:
        results[Quantity.GRADIENT] = gradient(logits)
    if Quantity.TARGET_GRADIENT in quantities:
        losses, pullback = jax.vjp(lambda labels: reduced(how.losses, labels, options, logits), target)
        results[Quantity.TARGET_GRADIENT] = pullback(cotangent.astype(losses.dtype))[0]
    return {quantity: results[quantity] for quantity in quantities}


@cache
def _compiled(how: Differentiated, quantities: tuple[Quantity, ...], options: Options) -> Callable[..., Results]:
    return jax.jit(partial(derivatives, how, quantities, options))


@dataclass(frozen=True)
class Layer:
    """A linear layer and its loss, with the gradients by the layer's features, weight and bias."""

    loss: LayerLoss
    compiled: bool = False

    def __call__(self, inputs: Inputs, quantities: tuple[Quantity, ...]) -> Results:
        """The loss, and (N, D) by the features, (K, D) by the weight, (K,) by the bias, of which those not asked are bound."""
        asked = tuple(name for name in LAYER_GRADIENTS if name in quantities)
        run = _compiled_layer if self.compiled else _layer_results
        return run(self.loss, inputs.problem.reduction, asked, inputs.layer(), inputs.target, inputs.cotangent)


def _layer_results(
    loss: LayerLoss, reduction: Reduction, asked: tuple[Quantity, ...], parts: Parts, target: Array, cotangent: Array
) -> Results:
    given = dict(zip(LAYER_GRADIENTS, parts, strict=True))

    def of_asked(*values: Array) -> Array:
        features, weight, bias = (given | dict(zip(asked, values, strict=True))).values()
        return loss(features, weight, bias, target, reduction)

    losses, pullback = jax.vjp(of_asked, *(given[name] for name in asked))
    gradients = pullback(cotangent.astype(losses.dtype))
    return {Quantity.LOSS: losses} | dict(zip(asked, gradients, strict=True))


_compiled_layer = jax.jit(_layer_results, static_argnums=(0, 1, 2))


@dataclass(frozen=True)
class Block:
    """A building block: a function of the logits."""

    function: Callable[[Array], Array]
    compiled: bool = False

    def __call__(self, inputs: Inputs, quantities: tuple[Quantity, ...]) -> Results:
        """The block, (N, K) or (N,) for a number a row, and the vector-Jacobian product of its reverse pass, (N, K)."""
        return {quantity: self._of(inputs, quantity) for quantity in quantities}

    def _of(self, inputs: Inputs, quantity: Quantity) -> Array:
        if quantity not in BLOCK_PRODUCTS:
            return _compiled_block(self.function)(inputs.logits) if self.compiled else self.function(inputs.logits)
        rows = jnp.broadcast_to(inputs.cotangent, inputs.logits.shape[:1])
        upstream = rows if quantity in ROW_PRODUCTS else inputs.tangent
        return (_compiled_product if self.compiled else block_product)(self.function, inputs.logits, upstream)


@cache
def _compiled_block(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return jax.jit(function)


def block_product(function: Callable[[Array], Array], logits: Array, upstream: Array) -> Array:
    """The product of the block's Jacobian with a cotangent of its shape, (N, K)."""
    (product,) = jax.vjp(function, logits)[1](upstream)
    return product


_compiled_product = jax.jit(block_product, static_argnums=0)
