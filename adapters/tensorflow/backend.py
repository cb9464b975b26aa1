"""TensorFlow and Keras: their cross-entropies and the ways people compose one, eager, traced, and compiled by XLA.

`losses.py` holds what is on trial, `derivatives.py` the ways to run and differentiate it. Modes:
`eager`; `compiled` is tf.function with unknown numbers of rows and classes, so one trace serves every shape; `xla` is
tf.function(jit_compile=True), a compilation for every shape, so it has the softmax cross-entropies of tf.nn and the building
blocks only (Keras calls the same two kernels). Derivatives by tf.GradientTape, the problem's cotangent as
`output_gradients`; products by a tape in a tape (reverse over reverse), Hessians as products with the unit vectors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf
from tensorflow.python.framework.test_util import IsMklEnabled

from adapters.adapter import CPU_CAPABILITY, Adapter, Call, Result, check_callable
from adapters.layout import LABEL_DTYPE, Layout
from adapters.linear_layer import is_linear_cross_entropy, quantities_of_layer
from adapters.operation import EAGER, OF_LAYER, OF_PROBABILITIES, Operation, building_block, differentiable
from adapters.processor import has_avx512_fp16, xla_extension
from adapters.question import Question
from adapters.returned import name_of_kernel
from adapters.script import Script
from adapters.tensorflow.derivatives import (
    COMPILED,
    MODES,
    XLA,
    Block,
    Differentiated,
    HessianByJacobian,
    Inputs,
    LayerDifferentiated,
    LayerLoss,
)
from adapters.tensorflow.losses import (
    LossFunction,
    Tensor,
    dense,
    entropy,
    implementation_loss,
    keras_binary_crossentropy,
    keras_binary_crossentropy_of_sigmoid,
    keras_binary_focal_crossentropy,
    keras_kl_divergence,
    keras_loss,
    layer_kernel,
    linear_then_cross_entropy,
    log_softmax_gather,
    logsumexp_gather,
    losses_of_kernel,
    sigmoid_cross_entropy,
    softcap_z_loss,
    sparse,
    squared_error,
    weighted_cross_entropy,
)
from adapters.tensorflow.script import tensorflow_script
from adapters.tensorflow.usages import PLAYERS
from adapters.usage import PLAIN_ONLY, Usage
from reference.arithmetic import PAIRWISE, RECURSIVE, Arithmetic, Order, Summation
from reference.floating_state import in_default_state
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, Format
from reference.loss import Loss
from reference.quantity import Quantity

_AVX_BITS = 256
"""Width of a packet in the wheels of PyPI, which are built for AVX whatever the processor has."""

_LEAVES = {FLOAT64: 1024, FLOAT32: 1024, FLOAT16: 200, BFLOAT16: 128}
"""Packets in a leaf of Eigen's tree of sums (`LeafSize` in TensorReduction.h)."""

ARITHMETIC = """Declared arithmetic.

exp and log are Eigen's polynomials (`pexp_float`, `plog_float` in GenericPacketMathFunctions.h), compiled without FMA.
Measured in 2.21 against float64 and long double: exp 1.26 ulp in float32 and 1.57 in float64; log 3.47 ulp in float32
(all arguments between 1 and 2) and 1.49 in float64; log1p 3.91 ulp in float32 and 2.20 in float64; tanh 5.84 ulp in
float32 and 6.71 in float64; in the half formats they round a float32 result once. sigmoid is off by 5.79 ulp in float32 and
2.40 in float64, which the bound of a probability, exp over a sum, allows. XLA's are better, and are declared the same.

Sums over classes, eager and traced, go through Eigen's `InnerMostDimReducer` (TensorReduction.h): four packets of running
sums are added one by one, then the lanes of one as a tree; sums of more packets than a leaf has are halved. XLA's are in
windows of 32, and in float32 from 32768 classes on in sixteen running sums: it is the compiler's choice, so one running sum
is declared; those of half formats are accumulated in float32, which a pairwise sum in the format itself bounds. Eigen's order
and XLA's were seen in sums of 2^p + 1 + ... + 1, whose result tells how many ones met the large term. oneDNN computes
tf.nn.softmax of float32 and bfloat16 outside XLA, in float32: eight running sums at least (AVX2).

The CPU runs with denormals flushed (`ScopedFlushDenormal` in TensorFlow's executors): subnormal float64, float32 and
bfloat16 numbers are 0 on the way in and out; float16's survive, since they are normal in the float32 that computes them.
"""


def _arithmetic(mode: str, storage: Format, working: Format) -> Arithmetic:
    """The arithmetic of a kernel that computes in a format, and stores in another; see ARITHMETIC."""
    half = working in (FLOAT16, BFLOAT16)
    if mode == XLA:
        summation = PAIRWISE if half else RECURSIVE
    else:
        packet = _AVX_BITS // max(working.bits, FLOAT32.bits)
        summation = Summation(Order.LANES, 4 * packet, leaf=_LEAVES[working] * packet)
    return Arithmetic(
        storage=storage,
        working=working,
        exp_ulps=1.0 if half else 2.0,
        log_ulps={FLOAT32: 4.0, FLOAT64: 2.0}.get(working, 1.0),
        summation=summation,
        flush_to_zero=storage is not FLOAT16,
        tanh_ulps=1.0 if half else 8.0,
    )


def fused_arithmetic(mode: str) -> dict[str, Arithmetic]:
    """By format, the arithmetic of the fused kernels, for which tf.nn casts half formats to float32 (`precise_logits`)."""
    pairs = ((FLOAT64, FLOAT64), (FLOAT32, FLOAT32), (FLOAT16, FLOAT32), (BFLOAT16, FLOAT32))
    return {storage.name: _arithmetic(mode, storage, working) for storage, working in pairs}


def stored_arithmetic(mode: str) -> dict[str, Arithmetic]:
    """By format, the arithmetic of log_softmax, reduce_logsumexp and what is composed of them: all in the format."""
    return {fmt.name: _arithmetic(mode, fmt, fmt) for fmt in (FLOAT64, FLOAT32, FLOAT16, BFLOAT16)}


def sparse_arithmetic(mode: str) -> dict[str, Arithmetic]:
    """By format, the arithmetic of the fused kernel of class indices: float16 is cast to float32, bfloat16 is not."""
    return fused_arithmetic(mode) | {BFLOAT16.name: stored_arithmetic(mode)[BFLOAT16.name]}


def softmax_arithmetic(mode: str) -> dict[str, Arithmetic]:
    """By format, the arithmetic of tf.nn.softmax, which is oneDNN's for float32 and bfloat16 unless XLA compiles it."""
    if mode == XLA:
        return stored_arithmetic(mode)
    by_onednn = {
        fmt.name: replace(_arithmetic(mode, fmt, FLOAT32), summation=Summation(Order.LANES, 8)) for fmt in (FLOAT32, BFLOAT16)
    }
    return stored_arithmetic(mode) | by_onednn


def composed_arithmetic(mode: str) -> dict[str, Arithmetic]:
    """By format, the arithmetic of what is composed of tf.nn.softmax: float32's sums are oneDNN's or Eigen's."""
    return stored_arithmetic(mode) | {FLOAT32.name: softmax_arithmetic(mode)[FLOAT32.name]}


def sigmoid_arithmetic(mode: str) -> dict[str, Arithmetic]:
    """By format, the arithmetic of what is composed of log1p, exp and sigmoid; float64's log1p is off by 2.2 ulp."""
    arithmetic = stored_arithmetic(mode)
    return arithmetic | {FLOAT64.name: replace(arithmetic[FLOAT64.name], log_ulps=3.0)}


def softplus_arithmetic(mode: str) -> dict[str, Arithmetic]:
    """By format, the arithmetic of max(x, 0) - x y + log1p(exp(-|x|)): tf.nn's formula (`nn_impl.py`)."""
    return {name: replace(kind, softplus=True) for name, kind in sigmoid_arithmetic(mode).items()}


def _operation(
    mode: str, name: str, formula: str, function: LossFunction, arithmetic: Mapping[str, Arithmetic], **keys: Any
) -> Operation:
    keys.setdefault("options", frozenset({"reduction"}))
    keys.setdefault("label_dtypes", (LABEL_DTYPE,) if keys.get("probabilities") else (LABEL_DTYPE, "int32"))
    return Operation(
        name,
        formula,
        Differentiated(function, mode),
        arithmetic,
        mode=mode,
        few_shapes=mode == XLA,
        can_raise=mode != XLA,
        **keys,
    )


def _tf_operations(mode: str) -> list[Operation]:
    fused, half, by_index = fused_arithmetic(mode), stored_arithmetic(mode), sparse_arithmetic(mode)
    return [
        _operation(
            mode,
            "sparse_softmax_cross_entropy_with_logits",
            "tf.nn.sparse_softmax_cross_entropy_with_logits(index, x)",
            sparse,
            by_index,
        ),
        _operation(
            mode,
            "softmax_cross_entropy_with_logits",
            "tf.nn.softmax_cross_entropy_with_logits(q, x)",
            dense,
            fused,
            quantities=OF_PROBABILITIES,
            probabilities=True,
        ),
        _operation(mode, "log_softmax_gather", "-tf.gather(tf.nn.log_softmax(x), index)", log_softmax_gather, half),
        _operation(mode, "logsumexp_gather", "tf.reduce_logsumexp(x, 1) - x[index]", logsumexp_gather, half),
    ]


def _by_jacobian() -> Operation:
    """The Hessian of the fused loss by GradientTape.jacobian; float32 alone, for it traces anew at every call."""
    return Operation(
        "sparse_softmax_cross_entropy_with_logits_jacobian",
        "tf.nn.sparse_softmax_cross_entropy_with_logits(index, x), tape.jacobian of its gradient",
        HessianByJacobian(sparse),
        {FLOAT32.name: sparse_arithmetic(EAGER)[FLOAT32.name]},
        quantities=(Quantity.HESSIAN,),
        options=frozenset({"reduction"}),
    )


def _keras_operations(mode: str) -> list[Operation]:
    fused, half, by_index = fused_arithmetic(mode), stored_arithmetic(mode), sparse_arithmetic(mode)
    by_class = frozenset({"reduction", "ignore_index"})
    soft = frozenset({"reduction", "label_smoothing"})
    weighted = frozenset({"row_weights"} if mode == EAGER else ())
    in_float32 = {name: {Quantity.LOSS: FLOAT32} for name in (FLOAT16.name, BFLOAT16.name)}
    indices, probabilities = "SparseCategoricalCrossentropy", "CategoricalCrossentropy"
    # Traced, Keras finds the softmax in the graph and hands its logits to the fused kernel (`_get_logits`).
    seen_through = (by_index, fused) if mode == COMPILED else (half, half)
    return [
        _operation(
            mode,
            "keras_sparse_categorical_crossentropy",
            f"{indices}(from_logits=True, dtype=x.dtype)(index, x)",
            keras_loss(indices),
            by_index,
            options=by_class | weighted,
        ),
        _operation(
            mode,
            "keras_sparse_categorical_crossentropy_default_dtype",
            f"{indices}(from_logits=True)(index, x)",
            keras_loss(indices, default_dtype=True),
            fused,
            options=by_class,
            returns=in_float32,
        ),
        _operation(
            mode,
            "keras_categorical_crossentropy",
            f"{probabilities}(from_logits=True, dtype=x.dtype)(q, x)",
            keras_loss(probabilities),
            fused,
            probabilities=True,
            options=soft | weighted,
        ),
        _operation(
            mode,
            "keras_sparse_categorical_crossentropy_from_probabilities",
            f"{indices}(dtype=x.dtype)(index, tf.nn.softmax(x))",
            keras_loss(indices, from_logits=False),
            seen_through[0],
        ),
        _operation(
            mode,
            "keras_categorical_crossentropy_from_probabilities",
            f"{probabilities}(dtype=x.dtype)(q, tf.nn.softmax(x))",
            keras_loss(probabilities, from_logits=False),
            seen_through[1],
            probabilities=True,
            options=soft,
        ),
    ]


def _family_operations(mode: str) -> list[Operation]:
    """The losses beside cross-entropy, and the last linear layer, each as TensorFlow, Keras or their users write it."""
    layer = _layer(
        mode,
        "linear_then_cross_entropy",
        "tf.nn.sparse_softmax_cross_entropy_with_logits(index, tf.linalg.matmul(h, W, transpose_b=True) + b)",
        linear_then_cross_entropy,
        quantities=OF_LAYER,
    )
    return [*_of_softmax(mode), *_of_sigmoid(mode), layer]


def _layer(mode: str, name: str, formula: str, loss: LayerLoss, **keys: Any) -> Operation:
    """A linear layer with its loss."""
    return Operation(
        name,
        formula,
        LayerDifferentiated(loss, mode),
        stored_arithmetic(mode),
        layouts=(Layout.CONTIGUOUS,),
        options=frozenset({"reduction"}),
        mode=mode,
        **keys,
    )


def _layer_kernel(function: Callable[..., Any], mode: str) -> Operation:
    """The operation of a user's callable (labels=, features=, weight=) -> losses."""
    name, quantities = name_of_kernel(function), quantities_of_layer(function, "bias")
    loss = layer_kernel(function, Quantity.BIAS_GRADIENT in quantities)
    return _layer(mode, name, f"{name}(index, h, W)", loss, quantities=quantities, per_row=True)


def _of_softmax(mode: str) -> list[Operation]:
    half, composed = stored_arithmetic(mode), composed_arithmetic(mode)
    return [
        _operation(
            mode,
            "softcap_z_loss",
            "tf.nn.sparse_softmax_cross_entropy_with_logits(index, y) + z tf.reduce_logsumexp(y)^2, y = c tf.tanh(s x/c)",
            softcap_z_loss,
            half,
            options=frozenset({"reduction", "logit_scale", "logit_softcap", "z_loss"}),
        ),
        _operation(
            mode,
            "squared_error_of_softmax",
            "tf.reduce_sum(tf.math.squared_difference(tf.nn.softmax(x), q), 1)",
            squared_error,
            composed,
            loss=Loss.SQUARED_ERROR,
            probabilities=True,
        ),
        _operation(
            mode,
            "keras_kl_divergence",
            "KLDivergence(dtype=x.dtype)(q, tf.nn.softmax(x))",
            keras_kl_divergence,
            composed,
            loss=Loss.KL_DIVERGENCE,
            probabilities=True,
        ),
    ]


def _of_sigmoid(mode: str) -> list[Operation]:
    arithmetic, softplus = sigmoid_arithmetic(mode), softplus_arithmetic(mode)
    sigmoid: dict[str, Any] = {"loss": Loss.SIGMOID, "probabilities": True}
    return [
        _operation(
            mode,
            "sigmoid_cross_entropy_with_logits",
            "tf.nn.sigmoid_cross_entropy_with_logits(y, x)",
            sigmoid_cross_entropy,
            softplus,
            **sigmoid,
        ),
        _operation(
            mode,
            "weighted_cross_entropy_with_logits",
            "tf.nn.weighted_cross_entropy_with_logits(y, x, w)",
            weighted_cross_entropy,
            arithmetic,
            options=frozenset({"reduction", "positive_weight"}),
            **sigmoid,
        ),
        _operation(
            mode,
            "keras_binary_crossentropy",
            "BinaryCrossentropy(from_logits=True, dtype=x.dtype)(y, x)",
            keras_binary_crossentropy,
            softplus,
            **sigmoid,
        ),
        _operation(
            mode,
            "keras_binary_crossentropy_from_probabilities",
            "BinaryCrossentropy(dtype=x.dtype)(y, tf.sigmoid(x))",
            keras_binary_crossentropy_of_sigmoid,
            arithmetic,
            **sigmoid,
        ),
        _operation(
            mode,
            "keras_binary_focal_crossentropy",
            "BinaryFocalCrossentropy(from_logits=True, gamma=g, dtype=x.dtype)(y, x)",
            keras_binary_focal_crossentropy,
            arithmetic,
            options=frozenset({"reduction", "focusing"}),
            loss=Loss.SIGMOID_FOCAL,
            probabilities=True,
        ),
    ]


def _blocks(mode: str) -> list[Operation]:
    half = stored_arithmetic(mode)
    blocks = [
        building_block(Quantity.LOG_SOFTMAX, "tf.nn.log_softmax(x)", Block(tf.nn.log_softmax, mode), half),
        building_block(Quantity.SOFTMAX, "tf.nn.softmax(x)", Block(tf.nn.softmax, mode), softmax_arithmetic(mode)),
        building_block(
            Quantity.LOGSUMEXP,
            "tf.reduce_logsumexp(x, 1)",
            Block(lambda logits: tf.reduce_logsumexp(logits, axis=1), mode),
            half,
        ),
        building_block(
            Quantity.ENTROPY, "tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(x), x)", Block(entropy, mode), half
        ),
    ]
    return [replace(differentiable(block), mode=mode, few_shapes=mode == XLA) for block in blocks]


def _beyond_xla(mode: str) -> list[Operation]:
    """What XLA does not run here; see the head of this file."""
    return [] if mode == XLA else [*_keras_operations(mode), *_family_operations(mode)]


class TensorFlowAdapter(Adapter):
    """TensorFlow on the CPU or a CUDA device. Nothing is claimed for CUDA, whose declared arithmetic is that of the CPU."""

    name = "tensorflow"
    main = ("sparse_softmax_cross_entropy_with_logits", "softmax_cross_entropy_with_logits")
    controls = (
        "keras_sparse_categorical_crossentropy_from_probabilities",
        "keras_categorical_crossentropy_from_probabilities",
        "keras_binary_crossentropy_from_probabilities",
    )

    def devices(self) -> tuple[str, ...]:
        """Devices on which it runs here."""
        return ("cpu", *(f"cuda:{i}" for i in range(len(tf.config.list_physical_devices("GPU")))))

    def __init__(self, device: str = "cpu") -> None:
        super().__init__("cuda:0" if device == "cuda" and tf.config.list_physical_devices("GPU") else device)
        self._place = "/CPU:0" if self.device == "cpu" else f"/GPU:{self.device.partition(':')[2]}"
        self._listed = tuple(
            operation
            for mode in MODES
            for operation in (
                *_tf_operations(mode),
                *([_by_jacobian()] if mode == EAGER else []),
                *_beyond_xla(mode),
                *_blocks(mode),
            )
        )

    def versions(self) -> dict[str, str]:
        """Versions of what is on trial, and what else decides its kernels and how its sums are split."""
        return {
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            CPU_CAPABILITY: f"{xla_extension()}, oneDNN {_onednn()}",
            "TF_ENABLE_ONEDNN_OPTS": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "unset"),
            "threads": str(tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count()),
        }

    def operations(self) -> tuple[Operation, ...]:
        """Its operations in all modes, in the order of reports."""
        return self._listed

    def implementation(self, function: Callable[..., Any]) -> tuple[Operation, ...]:
        """The operations by which a callable (labels=, logits=) -> losses is judged, in every mode."""
        check_callable(function, "(labels, logits) -> losses, as tf.nn.sparse_softmax_cross_entropy_with_logits")
        if is_linear_cross_entropy(function):
            return tuple(_layer_kernel(function, mode) for mode in MODES)
        loss, name = implementation_loss(losses_of_kernel(function)), name_of_kernel(function)
        in_modes = (_operation(mode, name, f"{name}(index, x)", loss, sparse_arithmetic(mode)) for mode in MODES)
        return tuple(replace(operation, per_row=True) for operation in in_modes)

    def usages(self, operation: Operation) -> tuple[Usage, ...]:
        """All that are played, eager, of a user's kernel and of the main operations; see `Adapter.usages`."""
        is_own = any(operation.function is each.function for each in self._listed)
        plays = operation.mode == EAGER and not operation.is_layer and (operation.name in self.main or not is_own)
        return (Usage.PLAIN, *PLAYERS) if plays else PLAIN_ONLY

    def script(self, asked: Question) -> Script | None:
        """The operation in TensorFlow's and Keras' own words; see `Adapter.script`."""
        return tensorflow_script(asked, self.device)

    def call(self, question: Question) -> Call:
        """Run an operation; see `Adapter.call`."""
        with tf.device(self._place):
            inputs = Inputs.of(question)
            function = question.operation.function
            if question.usage is Usage.PLAIN:
                values = function(inputs, question.quantities)
            else:
                other = Inputs.of(replace(question, problem=question.other))
                values = PLAYERS[question.usage](function.loss, inputs, other)
        if Quantity.LOSS in question.quantities and values[Quantity.LOSS].shape != inputs.cotangent.shape:
            raise ValueError(f"returned a loss of shape {values[Quantity.LOSS].shape}, asked for {inputs.cotangent.shape}")
        return Call({quantity: _result(values[quantity]) for quantity in question.quantities}, inputs.changed())


def _onednn() -> str:
    """Whether oneDNN computes some kernels, and with what it computes float16 where it does not leave that to Eigen."""
    if not IsMklEnabled():
        return "off"
    return f"on{' with avx512_fp16' if has_avx512_fp16() else ''}"


@in_default_state
def _result(tensor: Tensor) -> Result:
    """Values with the dtype and device read from the tensor; its device is a path that ends in CPU:0 or GPU:1."""
    if tensor is None:
        raise ValueError("GradientTape.gradient returned None")
    kind, index = tensor.device.split(":")[-2:]
    device = "cpu" if kind == "CPU" else f"cuda:{index}"
    with np.errstate(invalid="ignore"):
        return Result(tensor.numpy().astype(np.float64), tensor.dtype.name, device)


ADAPTER = TensorFlowAdapter
