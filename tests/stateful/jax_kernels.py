"""Kernels for JAX that are right one call at a time, op by op: each says in `USAGE` in which usage it is not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from adapters.jax.losses import Array

_left: list[Array] = []
_held: list[list[Array]] = []
_local = threading.local()


def _picked(values: Array, labels: Array) -> Array:
    return jnp.take_along_axis(values, labels[:, None], axis=1)[:, 0]


def right(logits: Array, labels: Array) -> Array:
    """Losses, without a mistake but absorption."""
    return -_picked(jax.nn.log_softmax(logits, axis=1), labels)


def _with_backward(
    name: str, keep: Callable[[Array], Any], kept: Callable[[Any], Array], losses: Callable[[Array, Array], Array] = right
) -> Callable[[Array, Array], Array]:
    """A kernel with a gradient by hand; `keep` stores p - y at forward, and `kept` reads it at backward."""

    def forward(logits: Array, labels: Array) -> tuple[Array, Any]:
        gradient = jax.nn.softmax(logits, axis=1) - jax.nn.one_hot(labels, logits.shape[1], dtype=logits.dtype)
        return right(logits, labels), keep(gradient)

    def backward(residual: Any, upstream: Array) -> tuple[Array, None]:
        return kept(residual) * upstream[:, None], None

    with_vjp = jax.custom_vjp(losses)
    with_vjp.defvjp(forward, backward)

    def kernel(logits: Array, labels: Array) -> Array:
        return with_vjp(logits, labels)

    kernel.__name__ = name
    return kernel


def _only_the_last(gradient: Array) -> None:
    _left[:] = [gradient]


def _in_thread(gradient: Array) -> Array:
    _local.held = [*getattr(_local, "held", []), gradient]
    return jnp.asarray(len(_local.held) - 1)


def _until_taken(gradient: Array) -> Array:
    _held.append([gradient])
    return jnp.asarray(len(_held) - 1)


@jax.custom_batching.custom_vmap
def _row_by_row(logits: Array, labels: Array) -> Array:
    return right(logits, labels)


@_row_by_row.def_vmap
def _every_row_by_the_first_label(size: int, _: list[bool], logits: Array, labels: Array) -> tuple[Array, bool]:
    return jax.vmap(right)(logits, jnp.broadcast_to(labels[:1], (size, *labels.shape[1:]))), True


last_forward = _with_backward("last_forward", _only_the_last, lambda _: _left[0])
taken_once = _with_backward("taken_once", _until_taken, lambda number: _held[int(number)].pop())
of_thread = _with_backward("of_thread", _in_thread, lambda number: _local.held[int(number)])
first_label = _with_backward("first_label", lambda gradient: gradient, lambda gradient: gradient, _row_by_row)


def traced_in_bfloat16(logits: Array, labels: Array) -> Array:
    """Where jit traces it, it goes another way."""
    traced = type(logits).__name__ == "DynamicJaxprTracer"
    return right(logits.astype(jnp.bfloat16), labels).astype(logits.dtype) if traced else right(logits, labels)


USAGE = {
    last_forward: "interleaved_alike",
    taken_once: "twice",
    of_thread: "threaded",
    first_label: "mapped",
    traced_in_bfloat16: "checkpointed",
}
