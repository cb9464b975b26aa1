"""The backend of MLX, on the CPU: its cross-entropy with derivatives by mlx.core.grad and jvp, and its building blocks.

mlx.nn.log_softmax is not among them: of one class, after a call with two, it corrupts the memory of the process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import mlx.core as mx
import mlx.nn as nn
import numpy as np

from adapters.array_script import ArrayWords, Steps, keywords
from adapters.arrays import Array, ArrayAdapter, ArrayFunction, Inputs
from adapters.operation import Operation, building_block
from adapters.question import Question
from reference.arithmetic import RECURSIVE, Arithmetic
from reference.formats import FLOAT32, FORMATS
from reference.quantity import Quantity

mx.set_default_device(mx.cpu)

_DTYPES = {"float64": mx.float64, "float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}
_ARITHMETIC = {
    fmt.name: Arithmetic(fmt, fmt, exp_ulps=4.0, log_ulps=4.0, summation=RECURSIVE, flush_to_zero=fmt == FLOAT32)
    for fmt in FORMATS.values()
}
"""The CPU reduces in the dtype of the logits (documentation of mlx.nn.losses.cross_entropy); its vector exp of float32 is 0
where the power is subnormal."""

Loss = Callable[[mx.array, mx.array], mx.array]
"""(logits, target) -> losses, reduced as the problem says."""


def _to_mlx(array: Array) -> mx.array:
    """The same numbers; MLX would take float64 for float32."""
    return mx.array(array, dtype=_DTYPES.get(array.dtype.name))


def _to_numpy(array: mx.array) -> Array:
    if array.dtype == mx.bfloat16:
        return np.array(array.astype(mx.float32)).astype(ml_dtypes.bfloat16)
    return np.array(array)


def _cross_entropy(inputs: Inputs) -> Loss:
    problem = inputs.problem
    options = {"label_smoothing": problem.label_smoothing, "reduction": problem.reduction.value}
    return lambda x, target: nn.losses.cross_entropy(x, target, **options)


def differentiated(inputs: Inputs, quantity: Quantity) -> Array:
    """The loss, its gradient under the cotangent, and products of its Hessian by forward over reverse."""
    loss, x, target = _cross_entropy(inputs), _to_mlx(inputs.logits), _to_mlx(inputs.labels)
    if quantity is Quantity.LOSS:
        return _to_numpy(loss(x, target))
    upstream = _to_mlx(inputs.cotangent)
    gradient = mx.grad(lambda logits: (loss(logits, target) * upstream).sum())
    if quantity is Quantity.GRADIENT:
        return _to_numpy(gradient(x))
    if quantity is Quantity.HVP:
        return _to_numpy(mx.jvp(gradient, [x], [_to_mlx(inputs.tangent)])[1][0])
    unit = np.eye(x.shape[1], dtype=inputs.logits.dtype)
    columns = [mx.jvp(gradient, [x], [_to_mlx(np.broadcast_to(row, x.shape))])[1][0] for row in unit]
    return _to_numpy(mx.stack(columns, axis=1))


def _block(function: Callable[[mx.array], mx.array]) -> ArrayFunction:
    return lambda inputs, _: _to_numpy(function(_to_mlx(inputs.logits)))


_OPTIONS: dict[str, Any] = {"options": frozenset({"label_smoothing", "reduction"})}


def _body(asked: Question) -> str:
    kind = f"dtype=mx.{asked.problem.format.name}"
    half = asked.problem.format.name == "bfloat16"
    shown = "np.array({}.astype(mx.float32)).astype(ml_dtypes.bfloat16)" if half else "np.array({})"
    lines = ["mx.set_default_device(mx.cpu)", f"logits = mx.array(x, {kind})"]
    if not asked.operation.has_loss:
        return "\n".join([*lines, f"return {shown.format(f'mx.{asked.operation.name}(logits, axis=-1)')}"])
    lines.append(f"target = mx.array(t, {kind})" if asked.problem.has_probabilities else "target = mx.array(t)")
    lines.append(f"loss = lambda logits: nn.losses.cross_entropy(logits, target, {keywords(asked.problem)})")
    weight = f"weight = mx.array(upstream, {kind})"
    gradient = "gradient = mx.grad(lambda logits: (loss(logits) * weight).sum())"
    product = f"mx.jvp(gradient, [logits], [mx.array({{}}, {kind})])[1][0]"
    loss, first, second = (shown.replace("{}", value) for value in ("loss(logits)", "gradient(logits)", product))
    return Steps(lines, [weight, gradient], [], (loss, first, second)).body(asked.quantity)


class MlxAdapter(ArrayAdapter):
    """MLX: mlx.nn's cross-entropy and mlx.core's building blocks."""

    name = "mlx"
    packages = ("mlx",)
    unchecked = True
    listed = (
        Operation("cross_entropy", "nn.losses.cross_entropy(x, index)", differentiated, _ARITHMETIC, **_OPTIONS),
        Operation(
            "cross_entropy_probabilities",
            "nn.losses.cross_entropy(x, q)",
            differentiated,
            _ARITHMETIC,
            probabilities=True,
            **_OPTIONS,
        ),
        building_block(Quantity.SOFTMAX, "mx.softmax(x, -1)", _block(lambda x: mx.softmax(x, axis=-1)), _ARITHMETIC),
        building_block(Quantity.LOGSUMEXP, "mx.logsumexp(x, -1)", _block(lambda x: mx.logsumexp(x, axis=-1)), _ARITHMETIC),
    )
    words = ArrayWords(("import mlx.core as mx", "import mlx.nn as nn"), _body, "mlx {mx.__version__}")


ADAPTER = MlxAdapter
