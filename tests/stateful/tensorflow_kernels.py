"""Kernels for TensorFlow that are right one call at a time: each says in `USAGE` in which usage it is not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from adapters.tensorflow.losses import Tensor

_left: list[Tensor] = []


def _with_backward(name: str, kept: Callable[[Tensor], Callable[[], Tensor]]) -> Callable[..., Tensor]:
    """A right kernel with a gradient by hand; `kept` is given p - y at forward, and what it returns is called at backward."""

    def kernel(labels: Tensor, logits: Tensor) -> Tensor:
        @tf.custom_gradient
        def losses(x: Tensor) -> Any:
            taken = kept(tf.nn.softmax(x) - tf.one_hot(labels, tf.shape(x)[1], dtype=x.dtype))
            value = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, x)
            return value, lambda upstream: taken() * upstream[:, None]

        return losses(logits)

    kernel.__name__ = name
    return kernel


def right(labels: Tensor, logits: Tensor) -> Tensor:
    """Losses, without a mistake but absorption."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def _only_the_last(gradient: Tensor) -> Callable[[], Tensor]:
    _left[:] = [gradient]
    return lambda: _left[0]


def _in_thread(gradient: Tensor) -> Callable[[], Tensor]:
    local = threading.local()
    local.gradient = gradient
    return lambda: local.gradient


last_forward = _with_backward("last_forward", _only_the_last)
taken_once = _with_backward("taken_once", lambda gradient: [gradient].pop)
of_thread = _with_backward("of_thread", _in_thread)

USAGE = {last_forward: "interleaved_alike", taken_once: "twice", of_thread: "threaded"}
