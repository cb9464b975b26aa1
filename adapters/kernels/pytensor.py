"""The backend of PyTensor, in its default mode (numba): the cross-entropy that users compose, with symbolic derivatives."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.special import log_softmax, softmax

from adapters.array_script import ArrayWords, Steps
from adapters.arrays import Array, ArrayAdapter, ArrayFunction, Inputs
from adapters.operation import Operation, building_block
from adapters.question import Question
from reference.arithmetic import RECURSIVE, Arithmetic
from reference.formats import FLOAT32, FLOAT64
from reference.quantity import Quantity

_ARITHMETIC = {f.name: Arithmetic(f, f, exp_ulps=2.0, log_ulps=2.0, summation=RECURSIVE) for f in (FLOAT64, FLOAT32)}
"""numba compiles to LLVM's exp and log and to running sums; it has no float16."""

Losses = Callable[[Any, Any], Any]
"""(logits, labels) -> losses of the rows, symbolic."""


def _of_log_softmax(x: Any, t: Any) -> Any:
    return -log_softmax(x, axis=-1)[pt.arange(t.shape[0]), t]


def _of_logsumexp(x: Any, t: Any) -> Any:
    return pt.logsumexp(x, axis=-1) - x[pt.arange(t.shape[0]), t]


@cache
def _compiled(losses: Losses, quantity: Quantity, dtype: str) -> Callable[..., Array]:
    """(logits, labels, cotangent, direction) -> the quantity; of the Hessian its product with the direction."""
    x, t = pt.matrix("x", dtype=dtype), pt.lvector("t")
    upstream, direction = pt.vector("upstream", dtype=dtype), pt.matrix("direction", dtype=dtype)
    result = losses(x, t)
    if quantity is not Quantity.LOSS:
        result = pt.grad((result * upstream).sum(), x)
    if quantity is Quantity.HVP:
        result = pt.grad((result * direction).sum(), x)
    return pytensor.function([x, t, upstream, direction], result, on_unused_input="ignore")


def _differentiated(losses: Losses) -> ArrayFunction:
    """The loss, its gradient, and products of its Hessian with the direction, or with every unit vector."""

    def compute(inputs: Inputs, quantity: Quantity) -> Array:
        x, dtype = inputs.logits, inputs.logits.dtype
        if quantity is not Quantity.HESSIAN:
            return _compiled(losses, quantity, dtype.name)(x, inputs.labels, inputs.cotangent, inputs.tangent)
        product = _compiled(losses, Quantity.HVP, dtype.name)
        unit = np.eye(x.shape[1], dtype=dtype)
        rows = [product(x, inputs.labels, inputs.cotangent, np.broadcast_to(row, x.shape).copy()) for row in unit]
        return np.stack(rows, axis=1)

    return compute


def _block(function: Callable[[Any], Any]) -> ArrayFunction:
    @cache
    def compiled(dtype: str) -> Callable[[Array], Array]:
        x = pt.matrix("x", dtype=dtype)
        return pytensor.function([x], function(x))

    return lambda inputs, _: compiled(inputs.logits.dtype.name)(inputs.logits)


_RESULTS = {
    "log_softmax_index": "-log_softmax(logits, axis=-1)[pt.arange(labels.shape[0]), labels]",
    "logsumexp_index": "pt.logsumexp(logits, axis=-1) - logits[pt.arange(labels.shape[0]), labels]",
    "log_softmax": "log_softmax(logits, axis=-1)",
    "softmax": "softmax(logits, axis=-1)",
    "logsumexp": "pt.logsumexp(logits, axis=-1)",
}


def _body(asked: Question) -> str:
    result, kind = _RESULTS[asked.operation.name], f'dtype="{asked.problem.format.name}"'
    logits = f'logits = pt.matrix("logits", {kind})'
    if not asked.operation.has_loss:
        return f"{logits}\nreturn pytensor.function([logits], {result})(x)"
    losses = [logits, 'labels = pt.lvector("labels")', f"losses = {result}"]
    gradient = [f'weight = pt.vector("weight", {kind})', "gradient = pt.grad((losses * weight).sum(), logits)"]
    product = [
        f'direction = pt.matrix("direction", {kind})',
        "along = pt.grad((gradient * direction).sum(), logits)",
        "product = pytensor.function([logits, labels, weight, direction], along)",
    ]
    returned = (
        "pytensor.function([logits, labels], losses)(x, t)",
        "pytensor.function([logits, labels, weight], gradient)(x, t, upstream)",
        "product(x, t, upstream, {})",
    )
    return Steps(losses, gradient, product, returned).body(asked.quantity)


_WORDS = ArrayWords(
    imports=(
        "import numba",
        "import pytensor",
        "import pytensor.tensor as pt",
        "from pytensor.tensor.special import log_softmax, softmax",
    ),
    body=_body,
    environment="pytensor {pytensor.__version__}, numba {numba.__version__}",
)


class PytensorAdapter(ArrayAdapter):
    """PyTensor: two compositions of cross-entropy, and three building blocks."""

    name = "pytensor"
    packages = ("pytensor", "numba")
    unchecked = True
    listed = (
        Operation("log_softmax_index", "-log_softmax(x)[arange(N), t]", _differentiated(_of_log_softmax), _ARITHMETIC),
        Operation("logsumexp_index", "logsumexp(x) - x[arange(N), t]", _differentiated(_of_logsumexp), _ARITHMETIC),
        building_block(Quantity.LOG_SOFTMAX, "log_softmax(x)", _block(lambda x: log_softmax(x, axis=-1)), _ARITHMETIC),
        building_block(Quantity.SOFTMAX, "softmax(x)", _block(lambda x: softmax(x, axis=-1)), _ARITHMETIC),
        building_block(Quantity.LOGSUMEXP, "pt.logsumexp(x)", _block(lambda x: pt.logsumexp(x, axis=-1)), _ARITHMETIC),
    )
    words = _WORDS


ADAPTER = PytensorAdapter
