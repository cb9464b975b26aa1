"""The backend of PaddlePaddle, on the CPU: its cross-entropies, which can be differentiated once, and their building blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from adapters.array_script import ArrayWords, Steps, keywords
from adapters.arrays import Array, ArrayAdapter, ArrayFunction, Inputs
from adapters.limits import Limit
from adapters.operation import Operation, building_block
from adapters.question import Question
from adapters.script import literal
from reference.arithmetic import RECURSIVE, Arithmetic
from reference.formats import FLOAT32, FLOAT64
from reference.quantity import Quantity
from reference.reduction import Reduction

paddle.set_device("cpu")

_ARITHMETIC = {f.name: Arithmetic(f, f, exp_ulps=2.0, log_ulps=2.0, summation=RECURSIVE) for f in (FLOAT64, FLOAT32)}
"""Its CPU kernels take no half precision."""

_FIRST_ORDER = (Quantity.LOSS, Quantity.GRADIENT)
"""The gradient of its fused kernels has no gradient."""

_LOG_SOFTMAX = (Limit("the time of log_softmax grows with the square of K: 2 s for a row of 65536", max_classes=4096),)

Loss = Callable[[Any, Any, Inputs], Any]
"""(logits, target, inputs) -> losses, reduced as the problem says."""


def _keywords(inputs: Inputs) -> dict[str, Any]:
    problem, weights = inputs.problem, inputs.class_weights
    given = {"weight": None if weights is None else paddle.to_tensor(weights), "ignore_index": problem.ignored_class}
    return {"reduction": problem.reduction.value} | {name: value for name, value in given.items() if value is not None}


def _cross_entropy(x: Any, target: Any, inputs: Inputs) -> Any:
    return F.cross_entropy(x, target, **_keywords(inputs))


def _of_probabilities(x: Any, target: Any, inputs: Inputs) -> Any:
    losses = F.cross_entropy(x, target, soft_label=True, **_keywords(inputs))
    return losses.squeeze(-1) if losses.ndim else losses


def _fused(x: Any, target: Any, _: Inputs) -> Any:
    return F.softmax_with_cross_entropy(x, target.unsqueeze(-1)).squeeze(-1)


def _nll(x: Any, target: Any, inputs: Inputs) -> Any:
    return F.nll_loss(F.log_softmax(x, axis=-1), target, **_keywords(inputs))


def _differentiated(loss: Loss) -> ArrayFunction:
    def compute(inputs: Inputs, quantity: Quantity) -> Array:
        x = paddle.to_tensor(np.ascontiguousarray(inputs.logits), stop_gradient=False)
        losses = loss(x, paddle.to_tensor(inputs.labels), inputs)
        if quantity is Quantity.LOSS:
            return np.asarray(losses.numpy())
        weighted = (losses * paddle.to_tensor(inputs.cotangent)).sum()
        return np.asarray(paddle.grad(weighted, x)[0].numpy())

    return compute


def _block(quantity: Quantity, formula: str, function: Callable[[Any], Any], limits: tuple[Limit, ...] = ()) -> Operation:
    def compute(inputs: Inputs, _: Quantity) -> Array:
        return np.asarray(function(paddle.to_tensor(np.ascontiguousarray(inputs.logits))).numpy())

    return replace(building_block(quantity, formula, compute, _ARITHMETIC), limits=limits)


def _operation(name: str, formula: str, loss: Loss, options: set[str], **more: Any) -> Operation:
    kept = frozenset(options)
    return Operation(name, formula, _differentiated(loss), _ARITHMETIC, quantities=_FIRST_ORDER, options=kept, **more)


_OF_INDICES = {"class_weights", "ignore_index", "reduction"}


_CALLS = {
    "log_softmax": "F.log_softmax(logits, axis=-1)",
    "softmax": "F.softmax(logits, axis=-1)",
    "logsumexp": "paddle.logsumexp(logits, axis=-1)",
    "cross_entropy": "F.cross_entropy(logits, target, {})",
    "cross_entropy_probabilities": "F.cross_entropy(logits, target, soft_label=True, {})",
    "softmax_with_cross_entropy": "F.softmax_with_cross_entropy(logits, target.unsqueeze(-1)).squeeze(-1)",
    "log_softmax_nll_loss": "F.nll_loss(F.log_softmax(logits, axis=-1), target, {})",
}


def _body(asked: Question) -> str:
    weights = asked.problem.class_weights
    given = "" if weights is None else f", weight=paddle.to_tensor(np.array({literal(weights)}, dtype=x.dtype))"
    called = _CALLS[asked.operation.name].format(keywords(asked.problem) + given)
    lines = ['paddle.set_device("cpu")', "logits = paddle.to_tensor(np.ascontiguousarray(x), stop_gradient=False)"]
    if not asked.operation.has_loss:
        return "\n".join([*lines, f"return {called}.numpy()"])
    if asked.operation.probabilities and asked.problem.reduction is Reduction.NONE:
        called += ".squeeze(-1)"
    lines += ["target = paddle.to_tensor(t)", f"losses = {called}"]
    gradient = "paddle.grad((losses * paddle.to_tensor(upstream)).sum(), logits)[0].numpy()"
    return Steps(lines, [], [], ("losses.numpy()", gradient, "")).body(asked.quantity)


class PaddleAdapter(ArrayAdapter):
    """PaddlePaddle: four ways to its cross-entropy, and three building blocks."""

    name = "paddle"
    packages = ("paddlepaddle",)
    listed = (
        _operation("cross_entropy", "F.cross_entropy(x, index)", _cross_entropy, _OF_INDICES),
        _operation(
            "cross_entropy_probabilities",
            "F.cross_entropy(x, q, soft_label=True)",
            _of_probabilities,
            {"reduction"},
            probabilities=True,
        ),
        _operation("softmax_with_cross_entropy", "F.softmax_with_cross_entropy(x, index)", _fused, set()),
        _operation("log_softmax_nll_loss", "F.nll_loss(F.log_softmax(x), index)", _nll, _OF_INDICES, limits=_LOG_SOFTMAX),
        _block(Quantity.LOG_SOFTMAX, "F.log_softmax(x, -1)", lambda x: F.log_softmax(x, axis=-1), _LOG_SOFTMAX),
        _block(Quantity.SOFTMAX, "F.softmax(x, -1)", lambda x: F.softmax(x, axis=-1)),
        _block(Quantity.LOGSUMEXP, "paddle.logsumexp(x, -1)", lambda x: paddle.logsumexp(x, axis=-1)),
    )
    words = ArrayWords(("import paddle", "import paddle.nn.functional as F"), _body, "paddle {paddle.__version__}")


ADAPTER = PaddleAdapter
