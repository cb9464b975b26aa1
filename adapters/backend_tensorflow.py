"""TensorFlow and Keras: their softmax cross-entropies and the ways people compose one, eager, traced, and compiled by XLA.

Modes: `eager`; `compiled` is tf.function with unknown numbers of rows and classes, so one trace serves every shape; `xla` is
tf.function(jit_compile=True), a compilation for every shape, so it has the operations of tf.nn and the building blocks
only (Keras calls the same two kernels). Derivatives by tf.GradientTape, the problem's cotangent as `output_gradients`;
products by a tape in a tape (reverse over reverse), Hessians as products with the unit vectors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

from adapters.adapter import Adapter, AdapterError, Call, Result
from adapters.layout import Layout, laid_out
from adapters.operation import EAGER, Operation, building_block
from reference.arithmetic import PAIRWISE, RECURSIVE, Arithmetic, Order, Summation
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, Format
from reference.problem import Problem
from reference.quantity import Quantity

COMPILED, XLA = "compiled", "xla"
MODES = (EAGER, COMPILED, XLA)
_AVX_BITS = 256
"""Width of a packet in the wheels of PyPI, which are built for AVX whatever the processor has."""

Tensor = Any
"""A tf.Tensor; TensorFlow ships no types that mypy could check."""


_LEAVES = {FLOAT64: 1024, FLOAT32: 1024, FLOAT16: 200, BFLOAT16: 128}
"""Packets in a leaf of Eigen's tree of sums (`LeafSize` in TensorReduction.h)."""

ARITHMETIC = """Declared arithmetic.

exp and log are Eigen's polynomials (`pexp_float`, `plog_float` in GenericPacketMathFunctions.h), compiled without FMA.
Measured in 2.21 against float64 and long double: exp 1.26 ulp in float32 and 1.57 in float64; log 3.47 ulp in float32
(all arguments between 1 and 2) and 1.49 in float64; in the half formats both round a float32 result once. XLA's are better,
and are declared the same.

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
    """That of a kernel that computes in a format, and stores in another; see ARITHMETIC."""
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
    )


def fused_arithmetic(mode: str) -> dict[str, Arithmetic]:
    """That of the fused kernels: tf.nn casts half formats to float32 first (`precise_logits` in nn_ops.py)."""
    pairs = ((FLOAT64, FLOAT64), (FLOAT32, FLOAT32), (FLOAT16, FLOAT32), (BFLOAT16, FLOAT32))
    return {storage.name: _arithmetic(mode, storage, working) for storage, working in pairs}


def stored_arithmetic(mode: str) -> dict[str, Arithmetic]:
    """That of log_softmax, reduce_logsumexp and what is composed of them: half formats compute in themselves throughout."""
    return {fmt.name: _arithmetic(mode, fmt, fmt) for fmt in (FLOAT64, FLOAT32, FLOAT16, BFLOAT16)}


def sparse_arithmetic(mode: str) -> dict[str, Arithmetic]:
    """That of the fused kernel of class indices: it casts float16 to float32, but computes bfloat16 in bfloat16."""
    return fused_arithmetic(mode) | {BFLOAT16.name: stored_arithmetic(mode)[BFLOAT16.name]}


def softmax_arithmetic(mode: str) -> dict[str, Arithmetic]:
    """That of tf.nn.softmax, which is oneDNN's for float32 and bfloat16 unless XLA compiles it."""
    if mode == XLA:
        return stored_arithmetic(mode)
    by_onednn = {
        fmt.name: replace(_arithmetic(mode, fmt, FLOAT32), summation=Summation(Order.LANES, 8)) for fmt in (FLOAT32, BFLOAT16)
    }
    return stored_arithmetic(mode) | by_onednn


@dataclass(frozen=True)
class Options:
    """What a loss is built with; a traced function is built for each."""

    reduction: str = "none"
    ignored: int | None = None
    smoothing: float = 0.0

    @classmethod
    def of(cls, problem: Problem) -> Options:
        """Those of a problem; the ignored class only if a row has it."""
        ignored = problem.ignore_index if problem.ignored.any() else None
        return cls(problem.reduction, ignored, problem.label_smoothing)


Loss = Callable[[Tensor, Tensor, Options], Tensor]


def _reduce(losses: Tensor, options: Options) -> Tensor:
    if options.reduction == "none":
        return losses
    return tf.reduce_sum(losses) if options.reduction == "sum" else tf.reduce_mean(losses)


def _implementation_loss(function: Callable[..., Tensor]) -> Loss:
    """A callable with the signature of tf.nn.sparse_softmax_cross_entropy_with_logits."""

    def loss(logits: Tensor, target: Tensor, options: Options) -> Tensor:
        return _reduce(function(labels=target, logits=logits), options)

    return loss


sparse = _implementation_loss(tf.nn.sparse_softmax_cross_entropy_with_logits)
dense = _implementation_loss(tf.nn.softmax_cross_entropy_with_logits)


def log_softmax_gather(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """-log_softmax(x)_t."""
    return _reduce(-tf.gather(tf.nn.log_softmax(logits), target, axis=1, batch_dims=1), options)


def logsumexp_gather(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """logsumexp(x) - x_t."""
    return _reduce(tf.reduce_logsumexp(logits, axis=1) - tf.gather(logits, target, axis=1, batch_dims=1), options)


_KERAS_REDUCTIONS = {"none": "none", "sum": "sum", "mean": "sum_over_batch_size"}


@cache
def _keras_loss(name: str, options: Options, from_logits: bool, dtype: str | None) -> Any:
    extra: dict[str, Any] = {}
    if options.ignored is not None:
        extra["ignore_class"] = options.ignored
    if options.smoothing:
        extra["label_smoothing"] = options.smoothing
    kind = getattr(keras.losses, name)
    return kind(from_logits=from_logits, reduction=_KERAS_REDUCTIONS[options.reduction], dtype=dtype, **extra)


def _keras(name: str, from_logits: bool = True, default_dtype: bool = False) -> Loss:
    """A Keras loss object of the logits' dtype, or of Keras' default; of softmax(x) if not from logits."""

    def loss(logits: Tensor, target: Tensor, options: Options) -> Tensor:
        function = _keras_loss(name, options, from_logits, None if default_dtype else logits.dtype.name)
        return function(target, logits if from_logits else tf.nn.softmax(logits))

    return loss


@dataclass(frozen=True)
class _Inputs:
    """A problem as tensors on a device, and the bits that they had."""

    problem: Problem
    logits: Tensor
    target: Tensor
    cotangent: Tensor
    before: tuple[bytes, bytes]

    @classmethod
    def of(cls, problem: Problem, layout: Layout) -> _Inputs:
        cast = problem.format.cast
        logits = tf.constant(laid_out(cast(problem.logits), layout))
        target = tf.constant(cast(problem.target) if problem.has_probabilities else problem.target)
        shape = (problem.num_rows,) if problem.reduction == "none" else ()
        cotangent = np.ones(shape) if problem.cotangent is None else problem.cotangent
        return cls(problem, logits, target, tf.constant(cast(cotangent)), (_bits(logits), _bits(target)))

    def tangent(self) -> Tensor:
        """The direction of the product."""
        assert self.problem.tangent is not None
        return tf.constant(self.problem.format.cast(self.problem.tangent))

    def units(self) -> list[Tensor]:
        """The unit vector of each class, for all rows: the rows of a batch do not interact."""
        rows, classes = self.problem.logits.shape
        return [tf.constant(self.problem.format.cast(np.tile(row, (rows, 1)))) for row in np.eye(classes)]

    def changed(self) -> tuple[str, ...]:
        """Names of the inputs whose bits are not what they were."""
        now = (_bits(self.logits), _bits(self.target))
        return tuple(name for name, a, b in zip(("logits", "target"), self.before, now, strict=True) if a != b)


def _bits(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()


Run = Callable[..., tuple[Tensor, ...]]
"""(logits, target, cotangent, direction) -> tensors; a function that needs no direction is not given one."""


def _loss_alone(loss: Loss, options: Options) -> Run:
    return lambda logits, target, cotangent: (loss(logits, target, options),)  # noqa: ARG005


def _loss_and_gradient(loss: Loss, options: Options) -> Run:
    def run(logits: Tensor, target: Tensor, cotangent: Tensor) -> tuple[Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(logits, target, options)
        if value.shape.rank != cotangent.shape.rank:
            raise ValueError(f"returned a loss of shape {value.shape}, asked for {cotangent.shape}")
        return value, tape.gradient(value, logits, output_gradients=tf.cast(cotangent, value.dtype))

    return run


def _product(loss: Loss, options: Options) -> Run:
    """The derivative of the gradient along a direction: symmetric, so reverse over reverse gives the product."""
    first = _loss_and_gradient(loss, options)

    def run(logits: Tensor, target: Tensor, cotangent: Tensor, direction: Tensor) -> tuple[Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            _, gradient = first(logits, target, cotangent)
        return (tape.gradient(gradient, logits, output_gradients=direction),)

    return run


def _eager(loss: Loss, inputs: _Inputs, quantities: tuple[Quantity, ...]) -> dict[Quantity, Tensor]:
    """One pass forward and one back on a tape from which every second derivative is then taken."""
    options, logits = Options.of(inputs.problem), inputs.logits
    if Quantity.GRADIENT not in quantities and Quantity.HVP not in quantities and Quantity.HESSIAN not in quantities:
        return {Quantity.LOSS: loss(logits, inputs.target, options)}
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        value, gradient = _loss_and_gradient(loss, options)(logits, inputs.target, inputs.cotangent)
    results = {Quantity.LOSS: value, Quantity.GRADIENT: gradient}
    if Quantity.HVP in quantities:
        results[Quantity.HVP] = tape.gradient(gradient, logits, output_gradients=inputs.tangent())
    if Quantity.HESSIAN in quantities:
        rows = [tape.gradient(gradient, logits, output_gradients=unit) for unit in inputs.units()]
        results[Quantity.HESSIAN] = tf.stack(rows, axis=1)
    return results


@dataclass(frozen=True, eq=False)
class Differentiated:
    """A loss with its derivatives in a mode; each is traced once for its options, dtype and ranks."""

    loss: Loss
    mode: str = EAGER
    _traced: dict[tuple[Any, ...], Run] = field(default_factory=dict)

    def __call__(self, inputs: _Inputs, quantities: tuple[Quantity, ...]) -> dict[Quantity, Tensor]:
        """The quantities; a Hessian as the derivatives of the gradient along each unit vector."""
        if self.mode == EAGER:
            return _eager(self.loss, inputs, quantities)
        given = (inputs.logits, inputs.target, inputs.cotangent)
        results: dict[Quantity, Tensor] = {}
        if Quantity.GRADIENT in quantities or (Quantity.LOSS in quantities and self.mode == XLA):
            results[Quantity.LOSS], results[Quantity.GRADIENT] = self._run(_loss_and_gradient, inputs, given)
        elif Quantity.LOSS in quantities:
            (results[Quantity.LOSS],) = self._run(_loss_alone, inputs, given)
        if Quantity.HVP in quantities:
            (results[Quantity.HVP],) = self._run(_product, inputs, (*given, inputs.tangent()))
        if Quantity.HESSIAN in quantities:
            rows = [self._run(_product, inputs, (*given, unit))[0] for unit in inputs.units()]
            results[Quantity.HESSIAN] = tf.stack(rows, axis=1)
        return results

    def _run(self, build: Callable[[Loss, Options], Run], inputs: _Inputs, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        options = Options.of(inputs.problem)
        key = (build, options, inputs.logits.dtype)
        if key not in self._traced:
            self._traced[key] = _traced(build(self.loss, options), self.mode, given)
        return self._traced[key](*given)


def _traced(function: Any, mode: str, like: tuple[Tensor, ...]) -> Any:
    if mode == XLA:
        return tf.function(function, jit_compile=True, autograph=False)
    signature = [tf.TensorSpec([None] * len(tensor.shape), tensor.dtype) for tensor in like]
    return tf.function(function, input_signature=signature, autograph=False)


@dataclass(frozen=True, eq=False)
class Block:
    """A building block in a mode."""

    function: Callable[[Tensor], Tensor]
    mode: str = EAGER
    _traced: dict[Any, Any] = field(default_factory=dict)

    def __call__(self, inputs: _Inputs, quantities: tuple[Quantity, ...]) -> dict[Quantity, Tensor]:
        """Its one quantity."""
        run, dtype = self.function, inputs.logits.dtype
        if self.mode != EAGER:
            if dtype not in self._traced:
                self._traced[dtype] = _traced(self.function, self.mode, (inputs.logits,))
            run = self._traced[dtype]
        return {quantities[0]: run(inputs.logits)}


def _operation(mode: str, name: str, formula: str, loss: Loss, arithmetic: Mapping[str, Arithmetic], **keys: Any) -> Operation:
    keys.setdefault("options", frozenset({"reduction"}))
    return Operation(
        name,
        formula,
        Differentiated(loss, mode),
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
            probabilities=True,
        ),
        _operation(mode, "log_softmax_gather", "-tf.gather(tf.nn.log_softmax(x), index)", log_softmax_gather, half),
        _operation(mode, "logsumexp_gather", "tf.reduce_logsumexp(x, 1) - x[index]", logsumexp_gather, half),
    ]


def _keras_operations(mode: str) -> list[Operation]:
    fused, half, by_index = fused_arithmetic(mode), stored_arithmetic(mode), sparse_arithmetic(mode)
    by_class = frozenset({"reduction", "ignore_index"})
    soft = frozenset({"reduction", "label_smoothing"})
    in_float32 = {name: {Quantity.LOSS: FLOAT32} for name in (FLOAT16.name, BFLOAT16.name)}
    indices, probabilities = "SparseCategoricalCrossentropy", "CategoricalCrossentropy"
    # Traced, Keras finds the softmax in the graph and hands its logits to the fused kernel (`_get_logits`).
    seen_through = (by_index, fused) if mode == COMPILED else (half, half)
    return [
        _operation(
            mode,
            "keras_sparse_categorical_crossentropy",
            f"{indices}(from_logits=True, dtype=x.dtype)(index, x)",
            _keras(indices),
            by_index,
            options=by_class,
        ),
        _operation(
            mode,
            "keras_sparse_categorical_crossentropy_default_dtype",
            f"{indices}(from_logits=True)(index, x)",
            _keras(indices, default_dtype=True),
            fused,
            options=by_class,
            returns=in_float32,
        ),
        _operation(
            mode,
            "keras_categorical_crossentropy",
            f"{probabilities}(from_logits=True, dtype=x.dtype)(q, x)",
            _keras(probabilities),
            fused,
            probabilities=True,
            options=soft,
        ),
        _operation(
            mode,
            "keras_sparse_categorical_crossentropy_from_probabilities",
            f"{indices}(dtype=x.dtype)(index, tf.nn.softmax(x))",
            _keras(indices, from_logits=False),
            seen_through[0],
        ),
        _operation(
            mode,
            "keras_categorical_crossentropy_from_probabilities",
            f"{probabilities}(dtype=x.dtype)(q, tf.nn.softmax(x))",
            _keras(probabilities, from_logits=False),
            seen_through[1],
            probabilities=True,
            options=soft,
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
    ]
    return [replace(block, mode=mode, few_shapes=mode == XLA) for block in blocks]


class TensorFlowAdapter(Adapter):
    """TensorFlow on the CPU or a CUDA device. Nothing is claimed for CUDA, whose declared arithmetic is that of the CPU."""

    name = "tensorflow"

    def devices(self) -> tuple[str, ...]:
        """Devices on which it runs here."""
        return ("cpu", *(f"cuda:{i}" for i in range(len(tf.config.list_physical_devices("GPU")))))

    def __init__(self, device: str = "cpu") -> None:
        super().__init__("cuda:0" if device == "cuda" and tf.config.list_physical_devices("GPU") else device)
        self._place = "/CPU:0" if self.device == "cpu" else f"/GPU:{self.device.partition(':')[2]}"
        self._listed = tuple(
            operation
            for mode in MODES
            for operation in (*_tf_operations(mode), *(() if mode == XLA else _keras_operations(mode)), *_blocks(mode))
        )

    def versions(self) -> dict[str, str]:
        """Versions of what is on trial, and what else decides its kernels and how its sums are split."""
        return {
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "TF_ENABLE_ONEDNN_OPTS": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "unset"),
            "threads": str(tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count()),
        }

    def operations(self) -> tuple[Operation, ...]:
        """Its operations in all modes, in the order of reports."""
        return self._listed

    def implementation(self, function: Callable[..., Any]) -> tuple[Operation, ...]:
        """The operations by which a callable (labels=, logits=) -> losses is judged, in every mode."""
        if not callable(function):
            raise AdapterError(
                f"--implementation: {function!r} is not callable; allowed: the signature of "
                "tf.nn.sparse_softmax_cross_entropy_with_logits"
            )
        loss, name = _implementation_loss(function), getattr(function, "__name__", "implementation")
        return tuple(_operation(mode, name, f"{name}(index, x)", loss, sparse_arithmetic(mode)) for mode in MODES)

    def call(self, operation: Operation, problem: Problem, quantities: tuple[Quantity, ...], layout: Layout) -> Call:
        """Run an operation; see `Adapter.call`."""
        with tf.device(self._place):
            inputs = _Inputs.of(problem, layout)
            values = operation.function(inputs, quantities)
        if Quantity.LOSS in quantities and values[Quantity.LOSS].shape != inputs.cotangent.shape:
            raise ValueError(f"returned a loss of shape {values[Quantity.LOSS].shape}, asked for {inputs.cotangent.shape}")
        return Call({quantity: _result(values[quantity]) for quantity in quantities}, inputs.changed())


def _result(tensor: Tensor) -> Result:
    """Values with the dtype and device read from the tensor; its device is a path that ends in CPU:0 or GPU:1."""
    if tensor is None:
        raise ValueError("GradientTape.gradient returned None")
    kind, index = tensor.device.split(":")[-2:]
    device = "cpu" if kind == "CPU" else f"cuda:{index}"
    with np.errstate(invalid="ignore"):
        return Result(tensor.numpy().astype(np.float64), tensor.dtype.name, device)


ADAPTER = TensorFlowAdapter
