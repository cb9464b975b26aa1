"""Softmax cross-entropy in JAX and the losses around it, as optax has them and as users compose them of jax.nn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from adapters.loss_options import LossOptions, numbers_of
from adapters.returned import called, check_shape, refused
from reference.problem import Problem
from reference.reduction import Reduction

Array = jax.Array


@dataclass(frozen=True)
class Options(LossOptions):
    """What is static in a loss: a compiled function is made for each."""

    reduction: Reduction = Reduction.NONE

    @classmethod
    def of(cls, problem: Problem) -> Options:
        """The options that a problem sets, at their defaults where it sets none."""
        return cls(reduction=problem.reduction, **numbers_of(problem))


Losses = Callable[[Array, Array, Options], Array]
"""(logits (N, K), target, options) -> losses (N,), before the reduction."""


def losses_of(function: Callable[[Array, Array], Array]) -> Losses:
    """A callable (logits, target) -> losses, which has no options of its own."""
    return lambda logits, target, _: function(logits, target)


def losses_of_kernel(function: Callable[[Array, Array], Array]) -> Losses:
    """The same of a callable of the user's, which is told what it returned where that is no array of losses."""
    return lambda logits, target, _: losses_returned(function, logits, target)


def losses_returned(function: Callable[..., Array], rows: Array, *more: Array, **named: Array) -> Array:
    """The losses that a callable of the user's returns, one for each of the rows."""
    returned = called(function, rows, *more, **named)
    if not isinstance(returned, Array):
        raise refused(function, returned, "a jax.Array of N losses")
    check_shape(function, "losses", returned.shape, rows.shape[:1])
    return returned


def reduced(losses: Losses, target: Array, options: Options, logits: Array) -> Array:
    """The loss of the logits under the options."""
    if options.label_smoothing:
        target = optax.smooth_labels(target, options.label_smoothing)
    return reduce(losses(logits, target, options), options.reduction)


def reduce(losses: Array, reduction: Reduction) -> Array:
    """The losses of the rows (N,), their sum or their mean."""
    if reduction is Reduction.NONE:
        return losses
    return jnp.sum(losses) if reduction is Reduction.SUM else jnp.mean(losses)


integer_labels = losses_of(optax.softmax_cross_entropy_with_integer_labels)


def _pick(values: Array, labels: Array) -> Array:
    return jnp.take_along_axis(values, labels[:, None], axis=1)[:, 0]


def log_softmax_pick(logits: Array, labels: Array, _: Options) -> Array:
    """Losses (N,): -log_softmax(x)[t], as people write it."""
    return -_pick(jax.nn.log_softmax(logits, axis=1), labels)


def entropy(logits: Array, axis: int) -> Array:
    """The entropy of the softmax, as jax.scipy.special.entr has it of probabilities."""
    return jnp.sum(jax.scipy.special.entr(jax.nn.softmax(logits, axis=axis)), axis=axis)


def logsumexp_pick(logits: Array, labels: Array, _: Options) -> Array:
    """Losses (N,): logsumexp(x) - x[t], as people write it."""
    return jax.nn.logsumexp(logits, axis=1) - _pick(logits, labels)


def softcap_z_loss(logits: Array, labels: Array, options: Options) -> Array:
    """Cross-entropy of y = c tanh(s x/c), plus z logsumexp(y)^2, as language models write it."""
    capped = options.softcapped(logits, jnp.tanh)
    losses = optax.softmax_cross_entropy_with_integer_labels(capped, labels)
    return losses + options.z_loss * jax.nn.logsumexp(capped, axis=1) ** 2 if options.z_loss else losses


def kl_divergence(logits: Array, target: Array, _: Options) -> Array:
    """Losses (N,): optax.kl_divergence of log_softmax from the target probabilities."""
    return optax.kl_divergence(jax.nn.log_softmax(logits, axis=1), target)


def squared_error(logits: Array, target: Array, _: Options) -> Array:
    """sum_c (softmax(x)_c - q_c)^2."""
    return jnp.sum((jax.nn.softmax(logits, axis=1) - target) ** 2, axis=1)


def sigmoid_binary(logits: Array, target: Array, _: Options) -> Array:
    """optax.sigmoid_binary_cross_entropy, which is log_sigmoid at both signs."""
    return optax.sigmoid_binary_cross_entropy(logits, target)[:, 0]


def sigmoid_focal(logits: Array, target: Array, options: Options) -> Array:
    """Losses (N,): optax.sigmoid_focal_loss without alpha, of logits (N, 1)."""
    return optax.sigmoid_focal_loss(logits, target, gamma=options.focusing)[:, 0]
