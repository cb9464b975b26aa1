"""The backend of tinygrad, on the CPU, by clang: its two cross-entropies, twice differentiated, and its building blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tinygrad import Tensor

from adapters.array_script import ArrayWords, Steps, keywords
from adapters.arrays import Array, ArrayAdapter, ArrayFunction, Inputs
from adapters.operation import Operation, building_block
from adapters.question import Question
from reference.arithmetic import RECURSIVE, Arithmetic
from reference.formats import FLOAT16, FLOAT32, FLOAT64
from reference.quantity import Quantity

_ARITHMETIC = {f.name: Arithmetic(f, f, exp_ulps=4.0, log_ulps=4.0, summation=RECURSIVE) for f in (FLOAT64, FLOAT32, FLOAT16)}
"""exp and log are 2^(x log2 e) and log2(x) ln 2; bfloat16 is left out, which needs a newer compiler."""

Loss = Callable[[Tensor, Tensor, Any], Tensor]
"""(logits, target, problem) -> losses, reduced as the problem says."""


def _sparse(x: Tensor, target: Tensor, problem: Any) -> Tensor:
    ignored = {} if problem.ignored_class is None else {"ignore_index": problem.ignored_class}
    smoothing, reduction = problem.label_smoothing, problem.reduction.value
    return x.sparse_categorical_crossentropy(target, label_smoothing=smoothing, reduction=reduction, **ignored)


def _cross_entropy(x: Tensor, target: Tensor, problem: Any) -> Tensor:
    return x.cross_entropy(target, reduction=problem.reduction.value, label_smoothing=problem.label_smoothing)


def _differentiated(loss: Loss) -> ArrayFunction:
    """The loss, its gradient under the cotangent, and the gradients of that along directions."""

    def compute(inputs: Inputs, quantity: Quantity) -> Array:
        x = Tensor(inputs.logits)
        losses = loss(x, Tensor(inputs.labels), inputs.problem)
        if quantity is Quantity.LOSS:
            return losses.numpy()
        (gradient,) = losses.gradient(x, gradient=Tensor(inputs.cotangent))
        if quantity is Quantity.GRADIENT:
            return gradient.numpy()
        if quantity is Quantity.HVP:
            return _along(gradient, x, inputs.tangent)
        unit = np.eye(x.shape[1], dtype=inputs.logits.dtype)
        return np.stack([_along(gradient, x, np.broadcast_to(row, x.shape).copy()) for row in unit], axis=1)

    return compute


def _along(gradient: Tensor, x: Tensor, direction: Array) -> Array:
    return gradient.gradient(x, gradient=Tensor(direction))[0].numpy()


def _block(function: Callable[[Tensor], Tensor]) -> ArrayFunction:
    return lambda inputs, _: function(Tensor(inputs.logits)).numpy()


def _operation(name: str, loss: Loss, options: set[str], **more: Any) -> Operation:
    kept = frozenset(options | {"label_smoothing", "reduction"})
    return Operation(
        name, f"x.{name}(target)", _differentiated(loss), _ARITHMETIC, options=kept, few_shapes=True, can_raise=False, **more
    )


def _body(asked: Question) -> str:
    name = asked.operation.name
    if not asked.operation.has_loss:
        return f"return Tensor(x).{name}({'1' if name == 'logsumexp' else ''}).numpy()"
    losses = f"losses = logits.{name.removesuffix('_probabilities')}(Tensor(t), {keywords(asked.problem)})"
    gradient = "(gradient,) = losses.gradient(logits, gradient=Tensor(upstream))"
    product = "gradient.gradient(logits, gradient=Tensor({}))[0].numpy()"
    returned = ("losses.numpy()", "gradient.numpy()", product)
    return Steps(["logits = Tensor(x)", losses], [gradient], [], returned).body(asked.quantity)


class TinygradAdapter(ArrayAdapter):
    """tinygrad: its two cross-entropies, one also of probabilities, and three building blocks."""

    name = "tinygrad"
    packages = ("tinygrad",)
    listed = (
        _operation("sparse_categorical_crossentropy", _sparse, {"ignore_index"}),
        _operation("cross_entropy", _cross_entropy, set()),
        _operation("cross_entropy_probabilities", _cross_entropy, set(), probabilities=True),
        building_block(Quantity.LOG_SOFTMAX, "x.log_softmax()", _block(Tensor.log_softmax), _ARITHMETIC),
        building_block(Quantity.SOFTMAX, "x.softmax()", _block(Tensor.softmax), _ARITHMETIC),
        building_block(Quantity.LOGSUMEXP, "x.logsumexp(1)", _block(lambda x: x.logsumexp(1)), _ARITHMETIC),
    )
    words = ArrayWords(
        imports=("from importlib.metadata import version", "", "from tinygrad import Tensor"),
        body=_body,
        environment="tinygrad {version('tinygrad')}",
    )


ADAPTER = TinygradAdapter
