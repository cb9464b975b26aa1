"""A linear layer and its cross-entropy in JAX, in two steps and in chunks of rows, as functions of its parts and labels."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from adapters.jax.losses import Array, losses_returned, reduce
from reference.reduction import Reduction

LayerLoss = Callable[[Array, Array, Array, Array, Reduction], Array]
"""(features (N, D), weight (K, D), bias (K,), labels (N,), reduction) -> losses (N,), or () where they are reduced."""

CHUNK = 2
"""Rows of a chunk: few, so that a batch of three has a short one."""


def linear_then_cross_entropy(features: Array, weight: Array, bias: Array, labels: Array, reduction: Reduction) -> Array:
    """Cross-entropy of a linear layer's output, in two steps; full precision, which the CPU has in any case."""
    logits = jnp.matmul(features, weight.T, precision=jax.lax.Precision.HIGHEST) + bias
    return reduce(optax.softmax_cross_entropy_with_integer_labels(logits, labels), reduction)


def layer_kernel(function: Callable[..., Array], has_bias: bool) -> LayerLoss:
    """A callable of the user's, (features, weight, labels) -> losses of the rows, with a parameter bias if it has one."""

    def loss(features: Array, weight: Array, bias: Array, labels: Array, reduction: Reduction) -> Array:
        offset = {"bias": bias} if has_bias else {}
        return reduce(losses_returned(function, features, weight, labels, **offset), reduction)

    return loss


def in_chunks(features: Array, weight: Array, bias: Array, labels: Array, reduction: Reduction) -> Array:
    """The same by jax.lax.scan over chunks of rows, whose logits are computed again on the way back, as trainers write it.

    Products and losses are float32 for half formats, and so is the running total; the last chunk is filled up with rows of 0,
    which are left out of the losses.
    """
    rows, wide = features.shape[0], jnp.promote_types(features.dtype, jnp.float32)
    missing = -rows % CHUNK
    h = jnp.pad(features, ((0, missing), (0, 0))).reshape(-1, CHUNK, features.shape[1])
    t = jnp.pad(labels, (0, missing)).reshape(-1, CHUNK)
    counts = (jnp.arange(rows + missing) < rows).reshape(-1, CHUNK)

    @jax.checkpoint
    def step(total: Array, chunk: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        h, t, counts = chunk
        logits = jnp.matmul(h, weight.T, preferred_element_type=wide) + bias
        losses = jnp.where(counts, optax.softmax_cross_entropy_with_integer_labels(logits, t), 0)
        return total + losses.sum(), losses

    total, losses = jax.lax.scan(step, jnp.zeros((), wide), (h, t, counts))
    if reduction is Reduction.NONE:
        return losses.reshape(-1)[:rows]
    return total if reduction is Reduction.SUM else total / rows
