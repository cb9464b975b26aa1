"""Softmax losses as users of NumPy and SciPy write them, with their textbook derivatives, in the dtype of the logits.

`naive`, `log_of_softmax` and `relative_entropy` take the logarithm of a number that has overflowed or underflowed, and
`unfused_chain` divides by one: they are negative controls, here to be caught.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.special

from adapters.arrays import Array, ArrayFunction, Inputs
from reference.quantity import Quantity

LossAndSoftmax = Callable[[Array, Array], tuple[Array, Array]]


def _pick(values: Array, labels: Array) -> Array:
    return np.take_along_axis(values, labels[:, None], axis=1)[:, 0]


def scipy_log_softmax(logits: Array, labels: Array) -> tuple[Array, Array]:
    """-log_softmax(x)_t and softmax(x), both SciPy's."""
    return -_pick(scipy.special.log_softmax(logits, axis=1), labels), scipy.special.softmax(logits, axis=1)


def scipy_logsumexp(logits: Array, labels: Array) -> tuple[Array, Array]:
    """logsumexp(x) - x_t and exp(x - logsumexp(x)), SciPy's logsumexp."""
    lse = scipy.special.logsumexp(logits, axis=1)
    return lse - _pick(logits, labels), np.exp(logits - lse[:, None])


def naive(logits: Array, labels: Array) -> tuple[Array, Array]:
    """log(sum(exp(x))) - x_t and exp(x)/sum(exp(x)): no shift by the maximum."""
    powers = np.exp(logits)
    total = powers.sum(axis=1, keepdims=True)
    return np.log(total)[:, 0] - _pick(logits, labels), powers / total


def log_of_softmax(logits: Array, labels: Array) -> tuple[Array, Array]:
    """-log(softmax(x)_t): the softmax underflows before its logarithm is taken."""
    probabilities = scipy.special.softmax(logits, axis=1)
    return -np.log(_pick(probabilities, labels)), probabilities


def from_softmax(loss_and_softmax: LossAndSoftmax) -> ArrayFunction:
    """A loss of class indices with its textbook derivatives: p - y, diag(p) - p p^T and p*v - p <p, v>."""

    def compute(inputs: Inputs, quantity: Quantity) -> Array:
        loss, p = loss_and_softmax(inputs.logits, inputs.labels)
        if quantity is Quantity.LOSS:
            return loss
        one_hot = (np.arange(p.shape[1]) == inputs.labels[:, None]).astype(p.dtype)
        return _derivative(inputs, quantity, p, one_hot)

    return compute


def _derivative(inputs: Inputs, quantity: Quantity, p: Array, q: Array) -> Array:
    """Gradient p - q, Hessian diag(p) - p p^T, product p*v - p <p, v>, times the cotangent."""
    upstream = inputs.cotangent[:, None]
    if quantity is Quantity.GRADIENT:
        return upstream * (p - q)
    if quantity is Quantity.HVP:
        return upstream * (p * inputs.tangent - p * (p * inputs.tangent).sum(axis=1, keepdims=True))
    eye = np.eye(p.shape[1], dtype=p.dtype)
    return upstream[:, :, None] * (p[:, :, None] * eye - p[:, :, None] * p[:, None, :])


def relative_entropy(inputs: Inputs, quantity: Quantity) -> Array:
    """Sum of scipy.special.rel_entr(q, softmax(x)), whose gradient is p - q where q sums to 1."""
    p = scipy.special.softmax(inputs.logits, axis=1)
    if quantity is Quantity.LOSS:
        return scipy.special.rel_entr(inputs.labels, p).sum(axis=1)
    return inputs.cotangent[:, None] * (inputs.labels.sum(axis=1, keepdims=True) * p - inputs.labels)


def squared_error(inputs: Inputs, quantity: Quantity) -> Array:
    """Brier's score sum_c (p_c - q_c)^2 of SciPy's softmax, and its gradient 2 p (r - <p, r>), r = p - q."""
    p = scipy.special.softmax(inputs.logits, axis=1)
    residual = p - inputs.labels
    if quantity is Quantity.LOSS:
        return (residual**2).sum(axis=1)
    return inputs.cotangent[:, None] * (2 * p * (residual - (p * residual).sum(axis=1, keepdims=True)))


def unfused_chain(inputs: Inputs, quantity: Quantity) -> Array:
    """The gradient in two steps: g = dL/dp, which is -1/p_t at the target, then the Jacobian of softmax, p (g - <p, g>)."""
    p = scipy.special.softmax(inputs.logits, axis=1)
    at_target = _pick(p, inputs.labels)
    if quantity is Quantity.LOSS:
        return -np.log(at_target)
    one_hot = np.arange(p.shape[1]) == inputs.labels[:, None]
    by_probability = np.where(one_hot, -1 / at_target[:, None], np.zeros((), dtype=p.dtype))
    through = (p * by_probability).sum(axis=1, keepdims=True)
    return inputs.cotangent[:, None] * (p * (by_probability - through))


def log_expit_loss(inputs: Inputs, quantity: Quantity) -> Array:
    """-y log_expit(x) - (1 - y) log_expit(-x), with the derivatives expit(x) - y and expit(x) expit(-x)."""
    x, y = inputs.logits, inputs.labels
    upstream = inputs.cotangent[:, None]
    if quantity is Quantity.LOSS:
        return -(y * scipy.special.log_expit(x) + (1 - y) * scipy.special.log_expit(-x))[:, 0]
    if quantity is Quantity.GRADIENT:
        return upstream * (scipy.special.expit(x) - y)
    second = upstream * (scipy.special.expit(x) * scipy.special.expit(-x))
    return second * inputs.tangent if quantity is Quantity.HVP else second[:, :, None]
