"""TensorFlow's and Keras' losses and the ways people compose one, as functions of logits, target and options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import keras
import tensorflow as tf

from adapters.loss_options import LossOptions, numbers_of
from adapters.returned import AnswerError, called, name_of_kernel, refused
from reference.problem import Problem
from reference.reduction import Reduction

Tensor = Any
"""A tf.Tensor; TensorFlow ships no types that mypy could check."""


@dataclass(frozen=True)
class Options(LossOptions):
    """What a loss is built with; a traced function is built for each."""

    reduction: Reduction = Reduction.NONE
    ignored: int | None = None
    row_weights: Tensor | None = field(default=None, compare=False)
    """Of eager losses alone: a traced one would keep those that it was traced with."""

    @classmethod
    def of(cls, problem: Problem) -> Options:
        """The options that a problem sets; the ignored class only if a row has it."""
        given = problem.row_weights
        weights = None if given is None else tf.constant(problem.format.cast(given))
        numbers = numbers_of(problem)
        return cls(reduction=problem.reduction, ignored=problem.ignored_class, row_weights=weights, **numbers)


LossFunction = Callable[[Tensor, Tensor, Options], Tensor]
"""(logits (N, K), target, options) -> losses (N,), or () where the options reduce."""


def _reduce(losses: Tensor, options: Options) -> Tensor:
    if options.reduction is Reduction.NONE:
        return losses
    return tf.reduce_sum(losses) if options.reduction is Reduction.SUM else tf.reduce_mean(losses)


def implementation_loss(function: Callable[..., Tensor]) -> LossFunction:
    """A callable with the signature of tf.nn.sparse_softmax_cross_entropy_with_logits."""

    def loss(logits: Tensor, target: Tensor, options: Options) -> Tensor:
        return _reduce(function(labels=target, logits=logits), options)

    return loss


def losses_of_kernel(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A callable of the user's, which is told what it returned where that is no tensor of losses."""

    def losses(**given: Tensor) -> Tensor:
        returned = called(function, **given)
        if not tf.is_tensor(returned):
            raise refused(function, returned, "a tf.Tensor of N losses")
        if returned.shape.rank != 1:
            raise AnswerError(
                f"{name_of_kernel(function)} returned losses of shape {returned.shape}, asked for one for each row"
            )
        return returned

    return losses


sparse = implementation_loss(tf.nn.sparse_softmax_cross_entropy_with_logits)
dense = implementation_loss(tf.nn.softmax_cross_entropy_with_logits)


def log_softmax_gather(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """Losses (N,), or reduced: -log_softmax(x)_t, as people write it."""
    return _reduce(-tf.gather(tf.nn.log_softmax(logits), target, axis=1, batch_dims=1), options)


def entropy(logits: Tensor) -> Tensor:
    """The entropy (N,) of the softmax: the cross-entropy of its probabilities with themselves, as policies are trained."""
    return tf.nn.softmax_cross_entropy_with_logits(labels=tf.nn.softmax(logits), logits=logits)


def logsumexp_gather(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """Losses (N,), or reduced: logsumexp(x) - x_t, as people write it."""
    return _reduce(tf.reduce_logsumexp(logits, axis=1) - tf.gather(logits, target, axis=1, batch_dims=1), options)


def softcap_z_loss(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """Cross-entropy of y plus z logsumexp(y)^2, y = c tanh(s x/c), as language models write it."""
    capped = options.softcapped(logits, tf.tanh)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=target, logits=capped)
    if options.z_loss:
        losses += options.z_loss * tf.reduce_logsumexp(capped, axis=1) ** 2
    return _reduce(losses, options)


def squared_error(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """Brier's score, sum_c (softmax(x)_c - q_c)^2 of each row (N,), reduced."""
    return _reduce(tf.reduce_sum(tf.math.squared_difference(tf.nn.softmax(logits), target), axis=1), options)


def sigmoid_cross_entropy(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """TensorFlow's sigmoid and binary cross-entropy in one."""
    return _reduce(tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits)[:, 0], options)


def weighted_cross_entropy(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """TensorFlow's sigmoid and binary cross-entropy in one, with a weight of the positive class."""
    weight = options.positive_weight
    return _reduce(tf.nn.weighted_cross_entropy_with_logits(labels=target, logits=logits, pos_weight=weight)[:, 0], options)


def layer_kernel(function: Callable[..., Tensor], has_bias: bool) -> Callable[..., Tensor]:
    """A callable of the user's, (labels=, features=, weight=) -> losses of the rows, and bias= if it has one."""
    losses = losses_of_kernel(function)

    def loss(features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, options: Options) -> Tensor:
        offset = {"bias": bias} if has_bias else {}
        return _reduce(losses(labels=target, features=features, weight=weight, **offset), options)

    return loss


def linear_then_cross_entropy(features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, options: Options) -> Tensor:
    """Cross-entropy of a linear layer's output, in two steps."""
    return sparse(tf.linalg.matmul(features, weight, transpose_b=True) + bias, target, options)


# ---------------------------------------------------------------------------------------------------------------------
# Keras.

KERAS_REDUCTIONS = {Reduction.NONE: "none", Reduction.SUM: "sum", Reduction.MEAN: "sum_over_batch_size"}


@cache
def _keras_loss(name: str, reduction: Reduction, dtype: str | None, **extra: Any) -> Any:
    return getattr(keras.losses, name)(reduction=KERAS_REDUCTIONS[reduction], dtype=dtype, **extra)


def keras_loss(name: str, from_logits: bool = True, default_dtype: bool = False) -> LossFunction:
    """A Keras loss object of the logits' dtype, or of Keras' default; of softmax(x) if not from logits."""

    def loss(logits: Tensor, target: Tensor, options: Options) -> Tensor:
        extra: dict[str, Any] = {"from_logits": from_logits}
        if options.ignored is not None:
            extra["ignore_class"] = options.ignored
        if options.label_smoothing:
            extra["label_smoothing"] = options.label_smoothing
        function = _keras_loss(name, options.reduction, None if default_dtype else logits.dtype.name, **extra)
        return function(target, logits if from_logits else tf.nn.softmax(logits), sample_weight=options.row_weights)

    return loss


keras_binary_crossentropy = keras_loss("BinaryCrossentropy")


def keras_binary_crossentropy_of_sigmoid(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """Keras' binary cross-entropy of sigmoid(x)."""
    function = _keras_loss("BinaryCrossentropy", options.reduction, logits.dtype.name)
    return function(target, tf.sigmoid(logits))


def keras_binary_focal_crossentropy(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """Keras' focal loss of a sigmoid, whose own balance of the classes is off by default."""
    extra = {"from_logits": True, "apply_class_balancing": False, "gamma": options.focusing}
    return _keras_loss("BinaryFocalCrossentropy", options.reduction, logits.dtype.name, **extra)(target, logits)


def keras_kl_divergence(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """Keras' KL divergence of softmax(x)."""
    return _keras_loss("KLDivergence", options.reduction, logits.dtype.name)(target, tf.nn.softmax(logits))
