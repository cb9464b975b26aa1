"""The backend of ONNX Runtime, on the CPU: the same models as onnx's ReferenceEvaluator runs."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnxruntime

from adapters.arrays import Array, ArrayAdapter
from adapters.kernels.shared.onnx_models import Feeds, operations_of, runtime_words
from reference.arithmetic import RECURSIVE, Arithmetic
from reference.formats import FLOAT16, FLOAT32, FLOAT64

_ARITHMETIC = {f.name: Arithmetic(f, f, exp_ulps=2.0, log_ulps=2.0, summation=RECURSIVE) for f in (FLOAT64, FLOAT32)} | {
    FLOAT16.name: Arithmetic(FLOAT16, FLOAT32, exp_ulps=2.0, log_ulps=2.0, summation=RECURSIVE)
}
"""Declared for want of documentation: one running sum, and no bfloat16, which its CPU provider does not implement."""


def _prepared(model: onnx.ModelProto) -> Callable[[Feeds], list[Array]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, dict(feeds))


_RUN = """
providers = ["CPUExecutionProvider"]
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=providers)
return session.run(None, feeds)
"""


class OnnxRuntimeAdapter(ArrayAdapter):
    """ONNX Runtime: ONNX's operators, run by its CPU execution provider."""

    name = "onnxruntime"
    packages = ("onnxruntime",)
    listed = operations_of(_prepared, _ARITHMETIC)
    words = runtime_words(
        imports=("import onnx", "import onnxruntime"), run=_RUN, environment="onnxruntime {onnxruntime.__version__}"
    )


ADAPTER = OnnxRuntimeAdapter
