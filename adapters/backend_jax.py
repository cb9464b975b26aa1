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
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from adapters.adapter import Adapter, AdapterError, Call, Result
from adapters.layout import Layout, laid_out
from adapters.operation import EAGER, LOSS_QUANTITIES, Operation, building_block
from reference.arithmetic import PAIRWISE, Arithmetic, Order, Summation
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64
from reference.problem import Problem
from reference.quantity import Quantity

COMPILED = "compiled"
Array = jax.Array
Losses = Callable[[Array, Array], Array]
"""(logits (N, K), target) -> losses (N,)."""
Loss = Callable[[Array], Array]
"""The loss on trial as a function of the logits alone: target and options are bound."""

_TREE = Summation(Order.TREE, 32)

_LARGEST_BASIS = 2**24
"""Elements of the largest set of directions that is pushed forward at once: 4096 classes in a row."""


def arithmetic_of(device: str) -> dict[str, Arithmetic]:
    """Declared arithmetic, the same in both modes: every operation of a half format is rounded to it, sums excepted.

    exp and log on the CPU are XLA's own polynomials (xla/codegen/math, after Cephes; no bound is documented): at most
    0.96 and 1.05 ulp in float32 and 1.43 and 0.51 in float64 over 16000 arguments, declared as 2. XLA:CPU sums 32 terms
    at a time, then 32 of the partial sums, and so on (tree_reduction_rewriter.cc). jnp.sum takes half formats in float32
    and stores the result: one rounding and a hundredth of one, which depth log2 K covers. Where jit fuses, the gap and
    the power are rounded to the half format all the same (seen: the softmax of a gap of 12 is 13 u off in both modes).
    XLA:CPU runs with subnormals flushed to 0, as arguments and as results (https://github.com/jax-ml/jax/issues/26658);
    float16 is converted to float32 for every operation, where its subnormals are normal, so it keeps them.
    CUDA: exp at most 2 ulps, log 1, subnormals kept unless XLA is told otherwise, at least 32 running sums a row.
    """
    on_cpu = device == "cpu"
    summation = _TREE if on_cpu else Summation(Order.LANES, 32)
    wide = {
        fmt.name: Arithmetic(fmt, fmt, exp_ulps=2.0, log_ulps=2.0, summation=summation, flush_to_zero=on_cpu)
        for fmt in (FLOAT64, FLOAT32)
    }
    half = {
        fmt.name: Arithmetic(fmt, fmt, summation=PAIRWISE, flush_to_zero=on_cpu and fmt == BFLOAT16)
        for fmt in (FLOAT16, BFLOAT16)
    }
    return wide | half


@dataclass(frozen=True)
class Options:
    """What is static in a loss: a compiled function is made for each."""

    reduction: str = "none"
    label_smoothing: float = 0.0


def _pick(values: Array, labels: Array) -> Array:
    return jnp.take_along_axis(values, labels[:, None], axis=1)[:, 0]


def log_softmax_pick(logits: Array, labels: Array) -> Array:
    """-log_softmax(x)[t]."""
    return -_pick(jax.nn.log_softmax(logits, axis=1), labels)


def logsumexp_pick(logits: Array, labels: Array) -> Array:
    """logsumexp(x) - x[t]."""
    return jax.nn.logsumexp(logits, axis=1) - _pick(logits, labels)


def _loss(losses: Losses, target: Array, options: Options, logits: Array) -> Array:
    """The loss of the logits under the options."""
    if options.label_smoothing:
        target = optax.smooth_labels(target, options.label_smoothing)
    each = losses(logits, target)
    if options.reduction == "none":
        return each
    return jnp.sum(each) if options.reduction == "sum" else jnp.mean(each)


def _along_each_class(push: Callable[[Array], Array], logits: Array, at_once: bool) -> Array:
    """Derivatives along e_k in every row, k first: the rows of a batch do not interact, so K directions serve them all.

    As one batch, as jax.jacfwd pushes them; or one after another, which op by op saves compiling every primitive for it.
    """
    rows, classes = logits.shape
    if rows * classes**2 > _LARGEST_BASIS:
        raise NotImplementedError(f"a basis of {classes} directions for {rows} x {classes} logits does not fit in memory")
    basis = jnp.broadcast_to(jnp.eye(classes, dtype=logits.dtype)[:, None, :], (classes, rows, classes))
    return jax.vmap(push)(basis) if at_once else jnp.stack([push(basis[k]) for k in range(classes)])


def _reverse_gradient(loss: Loss, cotangent: Array, logits: Array, at_once: bool) -> Array:  # noqa: ARG001
    """jax.vjp."""
    pullback = jax.vjp(loss, logits)[1]
    return pullback(cotangent)[0]


def _forward_gradient(loss: Loss, cotangent: Array, logits: Array, at_once: bool) -> Array:
    """jax.jacfwd of the losses of the rows, times their cotangents."""
    push = jax.linearize(loss, logits)[1]
    return _along_each_class(push, logits, at_once).T * cotangent[:, None]


@dataclass(frozen=True)
class Differentiated:
    """Losses, the way their gradient is taken, and whether all of it is compiled.

    The Hessian and the product are forward mode over that gradient.
    """

    losses: Losses
    gradient: Callable[[Loss, Array, Array, bool], Array] = _reverse_gradient
    compiled: bool = False

    def run(self, quantities: tuple[Quantity, ...], options: Options) -> Callable[..., dict[Quantity, Array]]:
        """(logits, target, cotangent, tangent) -> the quantities; compiled, one function for all of them and each shape."""
        return _compiled(self, quantities, options) if self.compiled else partial(_derivatives, self, quantities, options)


def _derivatives(
    how: Differentiated,
    quantities: tuple[Quantity, ...],
    options: Options,
    logits: Array,
    target: Array,
    cotangent: Array,
    tangent: Array,
) -> dict[Quantity, Array]:
    loss = partial(_loss, how.losses, target, options)

    def gradient(at: Array) -> Array:
        return how.gradient(loss, cotangent, at, how.compiled)

    results: dict[Quantity, Array] = {}
    if Quantity.LOSS in quantities:
        results[Quantity.LOSS] = loss(logits)
    if Quantity.HVP in quantities or Quantity.HESSIAN in quantities:
        results[Quantity.GRADIENT], push = jax.linearize(gradient, logits)
        if Quantity.HVP in quantities:
            results[Quantity.HVP] = push(tangent)
        if Quantity.HESSIAN in quantities:
            results[Quantity.HESSIAN] = jnp.moveaxis(_along_each_class(push, logits, how.compiled), 0, 2)
    elif Quantity.GRADIENT in quantities:
        results[Quantity.GRADIENT] = gradient(logits)
    return {quantity: results[quantity] for quantity in quantities}


@cache
def _compiled(how: Differentiated, quantities: tuple[Quantity, ...], options: Options) -> Callable[..., dict[Quantity, Array]]:
    return jax.jit(partial(_derivatives, how, quantities, options))


class _Inputs:
    """A problem as arrays on the device; a numpy buffer that JAX took without a copy is watched for changes."""

    def __init__(self, problem: Problem, device: Any, layout: Layout) -> None:
        cast = problem.format.cast
        ones = np.ones(problem.num_rows if problem.reduction == "none" else ())
        target = cast(problem.target) if problem.has_probabilities else problem.target.copy()
        self._sources = {"logits": laid_out(cast(problem.logits), layout), "target": target}
        self._before = {name: source.tobytes() for name, source in self._sources.items()}
        self.logits, self.target = (jnp.asarray(source, device=device) for source in self._sources.values())
        self.cotangent = jnp.asarray(cast(ones if problem.cotangent is None else problem.cotangent), device=device)
        tangent = np.zeros_like(problem.logits) if problem.tangent is None else problem.tangent
        self.tangent = jnp.asarray(cast(tangent), device=device)

    def changed(self) -> tuple[str, ...]:
        """Names of the inputs whose bits are not what they were, in JAX's array or in the buffer that it came from."""
        now = {"logits": self.logits, "target": self.target}
        return tuple(
            name
            for name, was in self._before.items()
            if now[name].is_deleted() or not was == self._sources[name].tobytes() == np.asarray(now[name]).tobytes()
        )


def _in_both_modes(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """Every operation op by op, then every one compiled; XLA compiles for each shape in both, and cannot raise in either."""

    def in_mode(operation: Operation, mode: str) -> Operation:
        function = operation.function
        if mode == COMPILED:
            loss = isinstance(function, Differentiated)
            function = replace(function, compiled=True) if loss else jax.jit(function)
        return replace(operation, function=function, mode=mode, few_shapes=True, can_raise=False)

    return tuple(in_mode(operation, mode) for mode in (EAGER, COMPILED) for operation in operations)


def _operations(device: str) -> tuple[Operation, ...]:
    arithmetic = arithmetic_of(device)
    reduced = frozenset({"reduction"})
    integer_labels = optax.softmax_cross_entropy_with_integer_labels

    def loss(name: str, formula: str, losses: Losses, **rest: Any) -> Operation:
        return Operation(name, formula, Differentiated(losses), arithmetic, quantities=LOSS_QUANTITIES, **rest)

    return _in_both_modes(
        (
            loss(
                "softmax_cross_entropy_with_integer_labels",
                "optax.softmax_cross_entropy_with_integer_labels(x, t)",
                integer_labels,
                options=reduced,
            ),
            Operation(
                "softmax_cross_entropy_with_integer_labels_forward",
                "optax.softmax_cross_entropy_with_integer_labels(x, t), jax.jacfwd",
                Differentiated(integer_labels, _forward_gradient),
                arithmetic,
            ),
            loss(
                "softmax_cross_entropy",
                "optax.softmax_cross_entropy(x, q)",
                optax.softmax_cross_entropy,
                probabilities=True,
                options=frozenset({"label_smoothing"}),
            ),
            loss(
                "safe_softmax_cross_entropy",
                "optax.safe_softmax_cross_entropy(x, q)",
                optax.safe_softmax_cross_entropy,
                probabilities=True,
            ),
            loss("log_softmax_pick", "-jax.nn.log_softmax(x)[t]", log_softmax_pick, options=reduced),
            loss("logsumexp_pick", "jax.nn.logsumexp(x) - x[t]", logsumexp_pick, options=reduced),
            building_block(Quantity.LOG_SOFTMAX, "jax.nn.log_softmax(x)", partial(jax.nn.log_softmax, axis=1), arithmetic),
            building_block(Quantity.SOFTMAX, "jax.nn.softmax(x)", partial(jax.nn.softmax, axis=1), arithmetic),
            building_block(Quantity.LOGSUMEXP, "jax.nn.logsumexp(x)", partial(jax.nn.logsumexp, axis=1), arithmetic),
        )
    )


def _gpus() -> list[Any]:
    try:
        return jax.devices("gpu")
    except RuntimeError:
        return []


def _cpu() -> str:
    """The widest vector extension of this CPU, which XLA:CPU compiles for."""
    listed = Path("/proc/cpuinfo")
    flags = listed.read_text().split() if listed.exists() else []
    return next((name for name in ("avx512f", "avx2") if name in flags), platform.machine())


class JaxAdapter(Adapter):
    """JAX and optax on the CPU or a CUDA device."""

    name = "jax"

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

    def versions(self) -> dict[str, str]:
        """Versions of what is on trial, and what else decides what XLA compiles."""
        return {
            "jax": jax.__version__,
            "jaxlib": version("jaxlib"),
            "optax": optax.__version__,
            "cpu capability": _cpu(),
            "threads": str(os.cpu_count()),
            "XLA_FLAGS": os.environ.get("XLA_FLAGS", "none"),
        }

    def operations(self) -> tuple[Operation, ...]:
        """Its operations, in the order of reports."""
        return self._listed

    def implementation(self, function: Callable[..., Any]) -> tuple[Operation, ...]:
        """The operations by which a callable is judged; see the README for its signature."""
        if not callable(function):
            raise AdapterError(f"--implementation: {function!r} is not callable; allowed: (logits, labels) -> losses")
        name = getattr(function, "__name__", "implementation")
        operation = Operation(
            name,
            f"{name}(x, t)",
            Differentiated(function),
            arithmetic_of(self.device),
            options=frozenset({"reduction"}),
        )
        return _in_both_modes((operation,))

    def call(self, operation: Operation, problem: Problem, quantities: tuple[Quantity, ...], layout: Layout) -> Call:
        """Run an operation; see `Adapter.call`."""
        with jax.default_device(self._device):
            inputs = _Inputs(problem, self._device, layout)
            if operation.has_loss:
                run = operation.function.run(quantities, Options(problem.reduction, problem.label_smoothing))
                values = run(inputs.logits, inputs.target, inputs.cotangent, inputs.tangent)
            else:
                values = {quantities[0]: operation.function(inputs.logits)}
            return Call({quantity: _result(value) for quantity, value in values.items()}, inputs.changed())


def _result(array: Array) -> Result:
    (device,) = array.devices()
    name = "cpu" if device.platform == "cpu" else f"cuda:{device.id}"
    values: NDArray[Any] = np.asarray(array)
    return Result(values.astype(np.float64), str(array.dtype), name)


ADAPTER = JaxAdapter
