"""Tells of a kernel of the user's that it computes a linear layer and its cross-entropy in one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adapters.attached import T, attach, attached_to
from adapters.operation import OF_LAYER
from adapters.returned import parameters_of
from reference.quantity import Quantity

_ATTRIBUTE = "__softmax_ce_linear__"


def linear_cross_entropy(kernel: T) -> T:
    """Decorator: the kernel is given features (N, D) and weight (K, D) of a linear layer where others are given logits.

    It is then judged by its loss and its gradients by the features, the weight and, where it has a parameter for one, the
    bias (K,). Its signature depends on the backend; see adapters/README.md.

    Raises:
      TypeError: the object takes no attributes, such as a function written in C; wrap it in a function.

    >>> @linear_cross_entropy
    ... def kernel(features, weight, target, *, linear_bias=None, reduction="mean"): ...
    >>> is_linear_cross_entropy(kernel), is_linear_cross_entropy(print)
    (True, False)
    """
    return attach(kernel, _ATTRIBUTE, True, "wrap it in a Python function, and decorate that")


def is_linear_cross_entropy(kernel: object) -> bool:
    """True of a kernel that is declared so."""
    return bool(attached_to(kernel, _ATTRIBUTE))


def quantities_of_layer(kernel: Callable[..., Any], bias: str) -> tuple[Quantity, ...]:
    """What such a kernel can be asked for: it has no gradient by a bias for which it has no parameter.

    >>> [str(quantity) for quantity in quantities_of_layer(lambda features, weight, target: None, "bias")]
    ['loss', 'feature_gradient', 'weight_gradient']
    """
    return OF_LAYER if bias in parameters_of(kernel) else tuple(each for each in OF_LAYER if each is not Quantity.BIAS_GRADIENT)
