"""The sequences of calls in which TensorFlow's users ask for a loss and its gradient: what tapes and threads make of it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf

from adapters.tensorflow.derivatives import Inputs
from adapters.tensorflow.losses import LossFunction, Options, Tensor
from adapters.usage import Usage
from reference.quantity import Quantity

Results = dict[Quantity, Tensor]
Player = Callable[[LossFunction, Inputs, Inputs], Results]
"""(loss on trial, the call that counts, another batch) -> what the call that counts has returned."""

Pull = Callable[[Inputs], Tensor]
"""The gradient with the cotangent of inputs."""


def _taped(loss: LossFunction, inputs: Inputs, again: bool = False) -> tuple[Tensor, Pull]:
    """The losses, and what takes their gradient from the tape: once, or again."""
    with tf.GradientTape(persistent=again) as tape:
        tape.watch(inputs.logits)
        losses = loss(inputs.logits, inputs.target, Options.of(inputs.problem))
    return losses, lambda of: tape.gradient(losses, inputs.logits, output_gradients=tf.cast(of.cotangent, losses.dtype))


def _results(losses: Tensor, gradient: Tensor) -> Results:
    return {Quantity.LOSS: losses, Quantity.GRADIENT: gradient}


def _interleaved(loss: LossFunction, inputs: Inputs, other: Inputs) -> Results:
    losses, pull = _taped(loss, inputs)
    _taped(loss, other)
    return _results(losses, pull(inputs))


def _kept(loss: LossFunction, inputs: Inputs, other: Inputs) -> Results:
    losses, pull = _taped(loss, inputs)
    gradient = pull(inputs)
    _taped(loss, other)[1](other)
    return _results(losses, gradient)


def _twice(loss: LossFunction, inputs: Inputs, other: Inputs) -> Results:
    losses, pull = _taped(loss, inputs, again=True)
    pull(other)
    return _results(losses, pull(inputs))


def _first_of_two(loss: LossFunction, inputs: Inputs, other: Inputs) -> Results:
    losses, pull = _taped(loss, inputs, again=True)
    gradient = pull(inputs)
    pull(other)
    return _results(losses, gradient)


def _summed(loss: LossFunction, inputs: Inputs, _: Inputs) -> Results:
    with tf.GradientTape() as tape:
        tape.watch(inputs.logits)
        losses = loss(inputs.logits, inputs.target, Options.of(inputs.problem))
        total = tf.reduce_sum(losses)
    return _results(losses, tape.gradient(total, inputs.logits))


def _threaded(loss: LossFunction, inputs: Inputs, _: Inputs) -> Results:
    def forward() -> tuple[Tensor, Pull]:
        with tf.device(inputs.logits.device):  # which is that of a thread
            return _taped(loss, inputs)

    def backward(pull: Pull) -> Tensor:
        with tf.device(inputs.logits.device):
            return pull(inputs)

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as another:
        losses, pull = one.submit(forward).result()
        return _results(losses, another.submit(backward, pull).result())


def _checkpointed(loss: LossFunction, inputs: Inputs, _: Inputs) -> Results:
    def again(logits: Tensor, target: Tensor, options: Options) -> Tensor:
        return tf.recompute_grad(lambda x: loss(x, target, options))(logits)

    losses, pull = _taped(again, inputs)
    return _results(losses, pull(inputs))


def _nested(loss: LossFunction, inputs: Inputs, _: Inputs) -> Results:
    with tf.GradientTape() as outer:
        outer.watch(inputs.logits)
        losses, pull = _taped(loss, inputs)
        return _results(losses, pull(inputs))


PLAYERS: dict[Usage, Player] = {
    Usage.INTERLEAVED_ALIKE: _interleaved,
    Usage.KEPT: _kept,
    Usage.TWICE: _twice,
    Usage.FIRST_OF_TWO: _first_of_two,
    Usage.SUMMED: _summed,
    Usage.THREADED: _threaded,
    Usage.CHECKPOINTED: _checkpointed,
    Usage.NESTED: _nested,
}
