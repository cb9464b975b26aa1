"""The ways to run a loss and take its derivatives in TensorFlow: by tapes, eager, traced by tf.function, and compiled by XLA.

Every way gets the problem's cotangent. The rows of a batch do not interact, so K directions give the Hessians of all rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from adapters.layout import laid_out, of_logits
from adapters.operation import EAGER
from adapters.question import Question
from adapters.tensorflow.losses import LossFunction, Options, Tensor
from reference.problem import Problem, layer_of
from reference.quantity import BLOCK_PRODUCTS, LAYER_GRADIENTS, ROW_PRODUCTS, Quantity

COMPILED, XLA = "compiled", "xla"
MODES = (EAGER, COMPILED, XLA)


@dataclass(frozen=True)
class Inputs:
    """A problem as tensors on a device, and the bits that they had."""

    problem: Problem
    logits: Tensor
    target: Tensor
    cotangent: Tensor
    before: tuple[bytes, bytes]

    @classmethod
    def of(cls, question: Question) -> Inputs:
        """The tensors of a problem, its logits in a layout; the cotangent is of ones unless the problem has one."""
        problem = question.problem
        cast = problem.format.cast
        given = cast(problem.stored_logits)
        logits = tf.constant(laid_out(given, of_logits(given, question.layout)))
        target = tf.constant(cast(problem.target) if problem.has_probabilities else problem.target.astype(question.label_dtype))
        return cls(problem, logits, target, tf.constant(cast(problem.upstream)), (_bits(logits), _bits(target)))

    def tangent(self) -> Tensor:
        """(N, K): the direction of the Hessian-vector product."""
        assert self.problem.tangent is not None
        return tf.constant(self.problem.format.cast(self.problem.tangent))

    def row_cotangents(self) -> Tensor:
        """(N,): the cotangent of each row."""
        return tf.broadcast_to(self.cotangent, tf.shape(self.logits)[:1])

    def units(self) -> list[Tensor]:
        """The unit vector of each class, for all rows: the rows of a batch do not interact."""
        rows, classes = self.problem.logits.shape
        return [tf.constant(self.problem.format.cast(np.tile(row, (rows, 1)))) for row in np.eye(classes)]

    def changed(self) -> tuple[str, ...]:
        """Names of the inputs whose bits are not what they were."""
        now = (_bits(self.logits), _bits(self.target))
        return tuple(name for name, a, b in zip(("logits", "target"), self.before, now, strict=True) if a != b)


def _bits(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()


Run = Callable[..., tuple[Tensor, ...]]
"""(logits, target, cotangent, direction) -> tensors; a function that needs no direction is not given one."""


def _loss_alone(loss: LossFunction, options: Options) -> Run:
    return lambda logits, target, cotangent: (loss(logits, target, options),)  # noqa: ARG005


def _loss_and_gradient(loss: LossFunction, options: Options) -> Run:
    def run(logits: Tensor, target: Tensor, cotangent: Tensor) -> tuple[Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(logits, target, options)
        if value.shape.rank != cotangent.shape.rank:
            raise ValueError(f"returned a loss of shape {value.shape}, asked for {cotangent.shape}")
        return value, tape.gradient(value, logits, output_gradients=tf.cast(cotangent, value.dtype))

    return run


def _by_target(loss: LossFunction, options: Options) -> Run:
    """The gradient by probabilities, beside logits that are watched too."""

    def run(logits: Tensor, target: Tensor, cotangent: Tensor) -> tuple[Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch((logits, target))
            value = loss(logits, target, options)
        return (tape.gradient(value, target, output_gradients=tf.cast(cotangent, value.dtype)),)

    return run


def _product(loss: LossFunction, options: Options) -> Run:
    """The derivative of the gradient along a direction: symmetric, so reverse over reverse gives the product."""
    first = _loss_and_gradient(loss, options)

    def run(logits: Tensor, target: Tensor, cotangent: Tensor, direction: Tensor) -> tuple[Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            _, gradient = first(logits, target, cotangent)
        return (tape.gradient(gradient, logits, output_gradients=direction),)

    return run


def _eager(loss: LossFunction, inputs: Inputs, quantities: tuple[Quantity, ...]) -> dict[Quantity, Tensor]:
    """One pass forward and one back on a tape from which every second derivative is then taken."""
    options, logits = Options.of(inputs.problem), inputs.logits
    given = (logits, inputs.target, inputs.cotangent)
    by_target = (
        {Quantity.TARGET_GRADIENT: _by_target(loss, options)(*given)[0]} if Quantity.TARGET_GRADIENT in quantities else {}
    )
    if Quantity.GRADIENT not in quantities and Quantity.HVP not in quantities and Quantity.HESSIAN not in quantities:
        return by_target | {Quantity.LOSS: loss(logits, inputs.target, options)}
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        value, gradient = _loss_and_gradient(loss, options)(*given)
    results = by_target | {Quantity.LOSS: value, Quantity.GRADIENT: gradient}
    if Quantity.HVP in quantities:
        results[Quantity.HVP] = tape.gradient(gradient, logits, output_gradients=inputs.tangent())
    if Quantity.HESSIAN in quantities:
        rows = [tape.gradient(gradient, logits, output_gradients=unit) for unit in inputs.units()]
        results[Quantity.HESSIAN] = tf.stack(rows, axis=1)
    return results


_LARGEST_JACOBIAN = 2**22
"""Entries of the largest whole Jacobian of a gradient that is formed, rows against rows: (N K)^2."""


@dataclass(frozen=True, eq=False)
class HessianByJacobian:
    """The Hessian as the documented idiom takes it: GradientTape.jacobian of a gradient, vectorised (pfor), eager.

    It forms all rows against all rows; what is kept is each row against itself. A jacobian of a jacobian fails in pfor.
    """

    loss: LossFunction

    def __call__(self, inputs: Inputs, quantities: tuple[Quantity, ...]) -> dict[Quantity, Tensor]:
        """The one quantity asked for: a tensor for its name."""
        entries = inputs.problem.logits.size**2
        if entries > _LARGEST_JACOBIAN:
            raise NotImplementedError(f"a Jacobian of {entries} entries is not formed")
        with tf.GradientTape() as tape:
            tape.watch(inputs.logits)
            options = Options.of(inputs.problem)
            _, gradient = _loss_and_gradient(self.loss, options)(inputs.logits, inputs.target, inputs.cotangent)
        return {quantities[0]: tf.einsum("nknj->nkj", tape.jacobian(gradient, inputs.logits))}


@dataclass(frozen=True, eq=False)
class Differentiated:
    """A loss with its derivatives in a mode; each is traced once for its options, dtype and ranks."""

    loss: LossFunction
    mode: str = EAGER
    _traced: dict[tuple[Any, ...], Run] = field(default_factory=dict)

    def __call__(self, inputs: Inputs, quantities: tuple[Quantity, ...]) -> dict[Quantity, Tensor]:
        """The quantities; a Hessian as the derivatives of the gradient along each unit vector."""
        if self.mode == EAGER:
            return _eager(self.loss, inputs, quantities)
        given = (inputs.logits, inputs.target, inputs.cotangent)
        results: dict[Quantity, Tensor] = {}
        if Quantity.GRADIENT in quantities or (Quantity.LOSS in quantities and self.mode == XLA):
            results[Quantity.LOSS], results[Quantity.GRADIENT] = self._run(_loss_and_gradient, inputs, given)
        elif Quantity.LOSS in quantities:
            (results[Quantity.LOSS],) = self._run(_loss_alone, inputs, given)
        if Quantity.TARGET_GRADIENT in quantities:
            (results[Quantity.TARGET_GRADIENT],) = self._run(_by_target, inputs, given)
        if Quantity.HVP in quantities:
            (results[Quantity.HVP],) = self._run(_product, inputs, (*given, inputs.tangent()))
        if Quantity.HESSIAN in quantities:
            rows = [self._run(_product, inputs, (*given, unit))[0] for unit in inputs.units()]
            results[Quantity.HESSIAN] = tf.stack(rows, axis=1)
        return results

    def _run(
        self, build: Callable[[LossFunction, Options], Run], inputs: Inputs, given: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        options = Options.of(inputs.problem)
        assert options.row_weights is None
        key = (build, options, *(tensor.dtype for tensor in given))
        if key not in self._traced:
            self._traced[key] = _traced(build(self.loss, options), self.mode, given)
        return self._traced[key](*given)


def _traced(function: Any, mode: str, like: tuple[Tensor, ...]) -> Any:
    if mode == XLA:
        return tf.function(function, jit_compile=True, autograph=False)
    signature = [tf.TensorSpec([None] * len(tensor.shape), tensor.dtype) for tensor in like]
    return tf.function(function, input_signature=signature, autograph=False)


LayerLoss = Callable[[Tensor, Tensor, Tensor, Tensor, Options], Tensor]
"""(features, weight, bias, target, options) -> losses of the linear layer's output."""


def _layer_results(loss: LayerLoss, options: Options, asked: tuple[Quantity, ...]) -> Run:
    """(features, weight, bias, target, cotangent) -> losses, and the gradients by the first three that are asked."""

    def run(features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, cotangent: Tensor) -> tuple[Tensor, ...]:
        parts = dict(zip(LAYER_GRADIENTS, (features, weight, bias), strict=True))
        watched = [parts[name] for name in asked]
        with tf.GradientTape() as tape:
            tape.watch(watched)
            losses = loss(features, weight, bias, target, options)
        return losses, *tape.gradient(losses, watched, output_gradients=cotangent)

    return run


@dataclass(frozen=True, eq=False)
class LayerDifferentiated:
    """A linear layer and its loss in a mode, with the gradients by the layer's parts; those that none is asked by are bound."""

    loss: LayerLoss
    mode: str = EAGER
    _traced: dict[tuple[Any, ...], Run] = field(default_factory=dict)

    def __call__(self, inputs: Inputs, quantities: tuple[Quantity, ...]) -> dict[Quantity, Tensor]:
        """The loss, and its gradients: (N, D) by the features, (K, D) by the weight, (K,) by the bias."""
        problem, options = inputs.problem, Options.of(inputs.problem)
        asked = tuple(name for name in LAYER_GRADIENTS if name in quantities)
        parts = [tf.constant(problem.format.cast(values)) for values in layer_of(problem).arrays]
        given = (*parts, inputs.target, inputs.cotangent)
        run = _layer_results(self.loss, options, asked)
        if self.mode != EAGER:
            key = (options, asked, *(tensor.dtype for tensor in given))
            if key not in self._traced:
                self._traced[key] = _traced(run, self.mode, given)
            run = self._traced[key]
        return dict(zip((Quantity.LOSS, *asked), run(*given), strict=True))


@dataclass(frozen=True, eq=False)
class Block:
    """A building block in a mode, with its backward pass."""

    function: Callable[[Tensor], Tensor]
    mode: str = EAGER
    _traced: dict[Any, Any] = field(default_factory=dict)

    def __call__(self, inputs: Inputs, quantities: tuple[Quantity, ...]) -> dict[Quantity, Tensor]:
        """The block, and the vector-Jacobian product of its backward pass."""
        return {quantity: self._of(inputs, quantity) for quantity in quantities}

    def _of(self, inputs: Inputs, quantity: Quantity) -> Tensor:
        run: Callable[..., Tensor] = self.function
        given: tuple[Tensor, ...] = (inputs.logits,)
        if quantity in BLOCK_PRODUCTS:
            run = self._pulled
            given += (inputs.row_cotangents() if quantity in ROW_PRODUCTS else inputs.tangent(),)
        if self.mode == EAGER:
            return run(*given)
        key = (quantity, inputs.logits.dtype)
        if key not in self._traced:
            self._traced[key] = _traced(run, self.mode, given)
        return self._traced[key](*given)

    def _pulled(self, logits: Tensor, cotangent: Tensor) -> Tensor:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            values = self.function(logits)
        return tape.gradient(values, logits, output_gradients=cotangent)
