"""JAX and optax: optax's cross-entropies and the ways people compose one, op by op ("eager") and under jax.jit ("compiled").

Derivatives are JAX's own, as users take them: the gradient by jax.vjp with the problem's cotangent, the Hessian as
jax.hessian does (forward over reverse), the product by pushing the tangent through the gradient; operations named *_forward
use forward mode throughout (jacfwd, jacfwd of jacfwd). One direction serves every row of a batch at once, since rows do not
interact; the full Hessian's off-diagonal blocks, all zero, are never formed.

jax_enable_x64 is switched on when the adapter is made, for the whole process: without it JAX has no float64. The other
formats keep their dtype, and every dtype is read from what was returned. jnp.asarray copies a strided numpy view into
JAX's own contiguous buffer, so a memory layout tests that copy, not a kernel.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
import optax
from numpy.typing import NDArray

from adapters.adapter import CPU_CAPABILITY, Adapter, Call, Result, check_callable
from adapters.jax.derivatives import Block, Differentiated, Inputs, Layer, forward_gradient
from adapters.jax.layers import LayerLoss, in_chunks, layer_kernel, linear_then_cross_entropy
from adapters.jax.losses import (
    Losses,
    entropy,
    integer_labels,
    kl_divergence,
    log_softmax_pick,
    logsumexp_pick,
    losses_of,
    losses_of_kernel,
    sigmoid_binary,
    sigmoid_focal,
    softcap_z_loss,
    squared_error,
)
from adapters.jax.programs import Programs
from adapters.jax.script import jax_script
from adapters.jax.usages import PLAYERS
from adapters.layout import LABEL_DTYPE, LABEL_DTYPES, Layout
from adapters.linear_layer import is_linear_cross_entropy, quantities_of_layer
from adapters.operation import EAGER, FLOAT32_LOSS, OF_LAYER, OF_PROBABILITIES, Operation, building_block, differentiable
from adapters.processor import xla_extension
from adapters.question import Question
from adapters.returned import name_of_kernel
from adapters.script import Script
from adapters.usage import PLAIN_ONLY, Usage
from reference.arithmetic import PAIRWISE, RECURSIVE, Arithmetic, Order, Summation
from reference.floating_state import in_default_state
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64
from reference.loss import Loss
from reference.quantity import Quantity

COMPILED = "compiled"


def arithmetic_of(device: str) -> dict[str, Arithmetic]:
    """Declared arithmetic, the same in both modes: every operation of a half format is rounded to it, sums excepted.

    exp and log on the CPU are XLA's own polynomials (xla/codegen/math, after Cephes; no bound is documented): at most
    0.96 and 1.05 ulp in float32 and 1.43 and 0.51 in float64 over 16000 arguments, declared as 2. XLA:CPU sums 32 terms
    at a time, then 32 of the partial sums, and so on (tree_reduction_rewriter.cc); where it fuses the sum of very many
    powers with them it does not, and errors are as of sixteen running sums: the order is the compiler's choice, so one
    running sum is declared. jnp.sum takes half formats in float32 and stores the result: one rounding and a hundredth of
    one, which depth log2 K covers. Where jit fuses, the gap and the power are rounded to the half format all the same
    (seen: the softmax of a gap of 12 is 13 u off in both modes).
    XLA:CPU runs with subnormals flushed to 0, as arguments and as results (https://github.com/jax-ml/jax/issues/26658);
    float16 is converted to float32 for every operation, where its subnormals are normal, so it keeps them.
    CUDA: exp at most 2 ulps, log 1, subnormals kept unless XLA is told otherwise, at least 32 running sums a row.
    """
    on_cpu = device == "cpu"
    summation = RECURSIVE if on_cpu else Summation(Order.LANES, 32)
    wide = {
        fmt.name: Arithmetic(fmt, fmt, exp_ulps=2.0, log_ulps=2.0, summation=summation, flush_to_zero=on_cpu)
        for fmt in (FLOAT64, FLOAT32)
    }
    half = {
        fmt.name: Arithmetic(fmt, fmt, summation=PAIRWISE, flush_to_zero=on_cpu and fmt == BFLOAT16)
        for fmt in (FLOAT16, BFLOAT16)
    }
    return wide | half


def _in_mode(operation: Operation, mode: str) -> Operation:
    """The operation op by op or compiled; XLA compiles for each shape in both modes, and cannot raise in either."""
    function = replace(operation.function, compiled=mode == COMPILED)
    labels = LABEL_DTYPES if operation.has_loss and not operation.probabilities else (LABEL_DTYPE,)
    return replace(operation, function=function, mode=mode, few_shapes=True, can_raise=False, label_dtypes=labels)


def _operations(device: str) -> tuple[Operation, ...]:
    """All compiled; op by op, where every primitive costs a compilation, cross-entropy and its building blocks.

    There, the forward mode is that of the gradient: the second order of the others is forward mode already.
    """
    arithmetic = arithmetic_of(device)
    plain, family = _cross_entropies(arithmetic), _family_operations(arithmetic)
    forward, safe_forward = _forward(arithmetic)
    first_order = replace(forward, quantities=_FIRST_ORDER)
    eager = tuple(_in_mode(operation, EAGER) for operation in (*plain, first_order))
    return (*eager, *(_in_mode(operation, COMPILED) for operation in (*plain, forward, safe_forward, *family)))


_REDUCED = frozenset({"reduction"})
_FIRST_ORDER = (Quantity.LOSS, Quantity.GRADIENT)


def _loss(name: str, formula: str, losses: Losses, arithmetic: dict[str, Arithmetic], **keys: Any) -> Operation:
    keys.setdefault("options", _REDUCED)
    return Operation(name, formula, Differentiated(losses), arithmetic, **keys)


def _cross_entropies(arithmetic: dict[str, Arithmetic]) -> tuple[Operation, ...]:
    return (
        _loss(
            "softmax_cross_entropy_with_integer_labels",
            "optax.softmax_cross_entropy_with_integer_labels(x, t)",
            integer_labels,
            arithmetic,
        ),
        _loss(
            "softmax_cross_entropy",
            "optax.softmax_cross_entropy(x, q)",
            losses_of(optax.softmax_cross_entropy),
            arithmetic,
            quantities=OF_PROBABILITIES,
            probabilities=True,
            options=frozenset({"label_smoothing"}),
        ),
        _loss(
            "safe_softmax_cross_entropy",
            "optax.safe_softmax_cross_entropy(x, q)",
            losses_of(optax.safe_softmax_cross_entropy),
            arithmetic,
            quantities=OF_PROBABILITIES,
            probabilities=True,
            options=frozenset(),
        ),
        _loss("log_softmax_pick", "-jax.nn.log_softmax(x)[t]", log_softmax_pick, arithmetic),
        _loss("logsumexp_pick", "jax.nn.logsumexp(x) - x[t]", logsumexp_pick, arithmetic),
        _block(Quantity.LOG_SOFTMAX, "jax.nn.log_softmax(x)", jax.nn.log_softmax, arithmetic),
        _block(Quantity.SOFTMAX, "jax.nn.softmax(x)", jax.nn.softmax, arithmetic),
        _block(Quantity.LOGSUMEXP, "jax.nn.logsumexp(x)", jax.nn.logsumexp, arithmetic),
        _block(Quantity.ENTROPY, "sum of jax.scipy.special.entr(jax.nn.softmax(x))", entropy, arithmetic),
    )


def _block(quantity: Quantity, formula: str, function: Callable[..., Any], arithmetic: dict[str, Arithmetic]) -> Operation:
    return differentiable(building_block(quantity, formula, Block(partial(function, axis=1)), arithmetic))


def _forward(arithmetic: dict[str, Arithmetic]) -> tuple[Operation, Operation]:
    """Forward mode; of the safe loss, whose derivative optax writes by hand, the gradient alone."""
    return (
        Operation(
            "softmax_cross_entropy_with_integer_labels_forward",
            "optax.softmax_cross_entropy_with_integer_labels(x, t), jax.jacfwd",
            Differentiated(integer_labels, forward_gradient),
            arithmetic,
        ),
        Operation(
            "safe_softmax_cross_entropy_forward",
            "optax.safe_softmax_cross_entropy(x, q), jax.jacfwd",
            Differentiated(losses_of(optax.safe_softmax_cross_entropy), forward_gradient),
            arithmetic,
            quantities=_FIRST_ORDER,
            probabilities=True,
        ),
    )


def _family_operations(arithmetic: dict[str, Arithmetic]) -> tuple[Operation, ...]:
    """The losses beside cross-entropy, and the last linear layer, each as optax or its users write it."""

    def soft(name: str, formula: str, losses: Losses, kind: Loss, options: frozenset[str] = _REDUCED) -> Operation:
        return _loss(name, formula, losses, arithmetic, loss=kind, probabilities=True, options=options)

    return (
        _loss(
            "softcap_z_loss",
            "optax's integer-label loss of c tanh(s x/c), + z logsumexp^2",
            softcap_z_loss,
            arithmetic,
            options=_REDUCED | {"logit_scale", "logit_softcap", "z_loss"},
        ),
        soft("kl_divergence", "optax.kl_divergence(log_softmax(x), q)", kl_divergence, Loss.KL_DIVERGENCE),
        soft("squared_error_of_softmax", "sum((jax.nn.softmax(x) - q)^2)", squared_error, Loss.SQUARED_ERROR),
        soft("sigmoid_binary_cross_entropy", "optax.sigmoid_binary_cross_entropy(x, y)", sigmoid_binary, Loss.SIGMOID),
        soft(
            "sigmoid_focal_loss",
            "optax.sigmoid_focal_loss(x, y, gamma=g)",
            sigmoid_focal,
            Loss.SIGMOID_FOCAL,
            _REDUCED | {"focusing"},
        ),
        *_of_layer(arithmetic),
    )


def _of_layer(arithmetic: dict[str, Arithmetic]) -> tuple[Operation, ...]:
    """A linear layer with its loss, in two steps and in chunks, which cast half formats to float32."""
    wide = {
        fmt.name: replace(arithmetic["float32"], storage=fmt, flush_to_zero=arithmetic[fmt.name].flush_to_zero)
        for fmt in (FLOAT16, BFLOAT16)
    }
    rows: tuple[tuple[str, str, LayerLoss, dict[str, Arithmetic], Any], ...] = (
        ("linear_then_cross_entropy", "optax's integer-label loss of h W^T + b", linear_then_cross_entropy, {}, {}),
        ("linear_cross_entropy_scan", "the same, jax.lax.scan over chunks, jax.checkpoint", in_chunks, wide, FLOAT32_LOSS),
    )
    return tuple(
        Operation(
            name,
            formula,
            Layer(loss),
            arithmetic | of_half,
            quantities=OF_LAYER,
            options=_REDUCED,
            layouts=(Layout.CONTIGUOUS,),
            returns=returns,
        )
        for name, formula, loss, of_half, returns in rows
    )


def _layer_kernel(function: Callable[..., Any], arithmetic: dict[str, Arithmetic]) -> tuple[Operation, ...]:
    """The operations of a user's callable (features, weight, labels) -> losses, in both modes."""
    name, quantities = name_of_kernel(function), quantities_of_layer(function, "bias")
    operation = Operation(
        name,
        f"{name}(h, W, t)",
        Layer(layer_kernel(function, Quantity.BIAS_GRADIENT in quantities)),
        arithmetic,
        quantities=quantities,
        options=_REDUCED,
        layouts=(Layout.CONTIGUOUS,),
        per_row=True,
    )
    return tuple(_in_mode(operation, mode) for mode in (EAGER, COMPILED))


def _gpus() -> list[Any]:
    try:
        return jax.devices("gpu")
    except RuntimeError:
        return []


class JaxAdapter(Adapter):
    """JAX and optax on the CPU or a CUDA device."""

    name = "jax"
    main = ("softmax_cross_entropy_with_integer_labels", "softmax_cross_entropy")

    def devices(self) -> tuple[str, ...]:
        """Devices on which it runs here."""
        return ("cpu", *(f"cuda:{i}" for i in range(len(_gpus()))))

    def __init__(self, device: str = "cpu") -> None:
        super().__init__("cuda:0" if device == "cuda" and _gpus() else device)
        config: Any = jax.config
        config.update("jax_enable_x64", True)
        kind, _, index = self.device.partition(":")
        self._device = jax.devices("cpu")[0] if kind == "cpu" else _gpus()[int(index)]
        self._listed = _operations(self.device)
        self._programs = Programs()

    def versions(self) -> dict[str, str]:
        """Versions of what is on trial, and what else decides what XLA compiles."""
        return {
            "jax": jax.__version__,
            "jaxlib": version("jaxlib"),
            "optax": optax.__version__,
            CPU_CAPABILITY: xla_extension(),
            "threads": str(os.cpu_count()),
            "XLA_FLAGS": os.environ.get("XLA_FLAGS", "none"),
        }

    def operations(self) -> tuple[Operation, ...]:
        """Its operations, in the order of reports."""
        return self._listed

    def implementation(self, function: Callable[..., Any]) -> tuple[Operation, ...]:
        """The operations by which a callable is judged; see adapters/README.md for its signature."""
        check_callable(function, "(logits, labels) -> losses")
        if is_linear_cross_entropy(function):
            return _layer_kernel(function, arithmetic_of(self.device))
        name = name_of_kernel(function)
        operation = Operation(
            name,
            f"{name}(x, t)",
            Differentiated(losses_of_kernel(function)),
            arithmetic_of(self.device),
            options=_REDUCED,
            per_row=True,
        )
        return tuple(_in_mode(operation, mode) for mode in (EAGER, COMPILED))

    def usages(self, operation: Operation) -> tuple[Usage, ...]:
        """All that are played, of a user's kernel and of the main operations; see `Adapter.usages`."""
        is_own = any(operation.function == each.function for each in self._listed)
        plays = not operation.is_layer and (operation.name in self.main or not is_own)
        return (Usage.PLAIN, *PLAYERS) if plays else PLAIN_ONLY

    def script(self, asked: Question) -> Script | None:
        """The operation in JAX's and optax's own words; see `Adapter.script`."""
        return jax_script(asked, self.device)

    def call(self, question: Question) -> Call:
        """Run an operation; see `Adapter.call`."""
        self._programs.make_room()
        with jax.default_device(self._device):
            inputs = Inputs(question, self._device)
            function = question.operation.function
            if question.usage is Usage.PLAIN:
                values = function(inputs, question.quantities)
            else:
                other = Inputs(replace(question, problem=question.other), self._device)
                values = PLAYERS[question.usage](function, inputs, other)
            return Call({quantity: _result(values[quantity]) for quantity in question.quantities}, inputs.changed())


@in_default_state
def _result(array: jax.Array) -> Result:
    (device,) = array.devices()
    name = "cpu" if device.platform == "cpu" else f"cuda:{device.id}"
    values: NDArray[Any] = np.asarray(array)
    return Result(values.astype(np.float64), str(array.dtype), name)


ADAPTER = JaxAdapter
