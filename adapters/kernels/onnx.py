"""The backend of onnx's ReferenceEvaluator, on the CPU: the executable half of the ONNX standard, written in NumPy."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx.reference import ReferenceEvaluator

from adapters.arrays import Array, ArrayAdapter
from adapters.kernels.shared.onnx_models import Feeds, operations_of, runtime_words
from reference.arithmetic import BLOCKED, RECURSIVE, Arithmetic
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64

_ARITHMETIC = {f.name: Arithmetic(f, f, exp_ulps=4.0, log_ulps=4.0, summation=BLOCKED) for f in (FLOAT64, FLOAT32, FLOAT16)} | {
    BFLOAT16.name: Arithmetic(BFLOAT16, BFLOAT16, summation=RECURSIVE)
}
"""numpy's, in the dtype of the logits; the bfloat16 of ml_dtypes is added one by one."""


def _prepared(model: onnx.ModelProto) -> Callable[[Feeds], list[Array]]:
    evaluator = ReferenceEvaluator(model)
    return lambda feeds: evaluator.run(None, dict(feeds))


class OnnxAdapter(ArrayAdapter):
    """onnx: ONNX's operators, run by its reference evaluator."""

    name = "onnx"
    packages = ("onnx", "numpy")
    listed = operations_of(_prepared, _ARITHMETIC)
    words = runtime_words(
        imports=("import onnx", "from onnx.reference import ReferenceEvaluator"),
        run="return ReferenceEvaluator(model).run(None, feeds)",
        environment="onnx {onnx.__version__}, numpy {np.__version__}",
    )


ADAPTER = OnnxAdapter
