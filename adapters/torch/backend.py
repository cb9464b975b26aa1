"""PyTorch, eager, under torch.autocast and compiled by torch.compile; on the CPU or a CUDA device.

`losses.py` holds what is on trial, `derivatives.py` the ways to differentiate it. The Hessian is taken by
double backward (torch.autograd), in the operations named *_func by torch.func.hessian (forward over reverse), and in those
named *_forward by torch.func.jacfwd alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from adapters.adapter import CPU_CAPABILITY, Adapter, Call, Observed, Result, check_callable, told
from adapters.bulk import Bulk
from adapters.layout import LABEL_DTYPE, OF_OLD, OF_TENSORS, Layout
from adapters.linear_layer import is_linear_cross_entropy, quantities_of_layer
from adapters.operation import FLOAT32_LOSS, OF_LAYER, OF_PROBABILITIES, Operation, building_block, differentiable
from adapters.question import Question
from adapters.returned import name_of_kernel
from adapters.script import Script
from adapters.torch.bulk import bulk_call, device_of
from adapters.torch.derivatives import (
    FORWARD,
    FORWARD_OVER_REVERSE,
    ByFunc,
    LayerRun,
    Results,
    Run,
    as_used,
    by_autograd,
    by_backward,
    by_layer,
    loss_alone,
)
from adapters.torch.layers import (
    POLICIES,
    in_chunks,
    in_own_chunks,
    layer_loss,
    linear_cross_entropy,
    linear_then_cross_entropy,
)
from adapters.torch.losses import (
    AUTOCAST,
    COMPILED,
    Compiled,
    Tensor,
    autocast,
    binary_cross_entropy_of_sigmoid,
    binary_cross_entropy_with_logits,
    classes_second,
    compiled,
    compiled_kernel,
    cross_entropy,
    entropy,
    focal,
    implementation_loss,
    kl_div,
    log_of_softmax,
    log_softmax_nll_loss,
    logsumexp_gather,
    losses_of_kernel,
    options_named,
    row_weighted_cross_entropy,
    scaled_cross_entropy,
    sigmoid_focal,
    softcap_z_loss,
    squared_error,
)
from adapters.torch.script import torch_script
from adapters.torch.usages import PLAYERS
from adapters.usage import PLAIN_ONLY, Usage
from reference.arithmetic import Arithmetic, Order, Summation
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, FORMATS, Format
from reference.loss import Loss
from reference.quantity import Quantity

_LANE_BYTES = {"AVX512": 64, "AVX2": 32}


def _lanes(working: Format) -> int:
    """Running sums of a vectorised CPU reduction: one a SIMD lane; 128-bit lanes where the capability is not known."""
    width = _LANE_BYTES.get(torch.backends.cpu.get_cpu_capability(), 16)
    return width * 8 // working.bits


def arithmetic_of(device: str) -> dict[str, Arithmetic]:
    """Declared arithmetic: half formats compute in float32 and store in their own format after every operation.

    CPU: Sleef's vector exp and log (1 ulp), sums in SIMD lanes that are then added one by one (`vec_reduce_all` in
    aten/src/ATen/cpu/vec/functional_base.h); log_softmax keeps the maximum, the sum and its logarithm of a
    row in the storage format (`scalar_t` arrays in aten/src/ATen/native/cpu/SoftMaxKernel.cpp). CUDA: exp at most 2 ulps and
    log 1 (CUDA C++ Programming Guide, mathematical functions), at least 32 running sums a block.
    """
    on_cpu = device == "cpu"
    return {
        fmt.name: Arithmetic(
            storage=fmt,
            working=working,
            exp_ulps=1.0 if on_cpu else 2.0,
            summation=Summation(Order.LANES, _lanes(working) if on_cpu else 32),
            stores_sum=on_cpu,
        )
        for fmt, working in ((FLOAT64, FLOAT64), (FLOAT32, FLOAT32), (FLOAT16, FLOAT32), (BFLOAT16, FLOAT32))
    }


def one_by_one(arithmetic: Mapping[str, Arithmetic]) -> dict[str, Arithmetic]:
    """The arithmetic of log_softmax over an axis that is not the last: lanes hold rows, and each adds its classes one by one.

    (`vec_softmax_lastdim_chunk_kernel` against `vec_logsoftmax_chunk` in aten/src/ATen/native/cpu/SoftMaxKernel.cpp; on
    CUDA, `cunn_SpatialSoftMaxForward` adds in as many running sums as a block has threads along the classes, perhaps one.)
    """
    return {name: replace(kind, summation=Summation(Order.RECURSIVE)) for name, kind in arithmetic.items()}


def compiled_arithmetic(arithmetic: Mapping[str, Arithmetic], device: str) -> dict[str, Arithmetic]:
    """The arithmetic of torch.compile: on the CPU without a vector extension its loops have no lanes: one running sum.

    On CUDA each lane has a maximum of its own and rescales its sum after each term, and the lanes are then merged
    (`online_softmax_combine` and `online_softmax_reduce` in torch/_inductor/runtime/triton_helpers.py).
    """
    if device != "cpu":
        return {name: replace(kind, summation=replace(kind.summation, tile=1)) for name, kind in arithmetic.items()}
    return dict(arithmetic) if torch.backends.cpu.get_cpu_capability() in _LANE_BYTES else one_by_one(arithmetic)


_EVERY = frozenset({"class_weights", "label_smoothing", "ignore_index", "reduction"})
_SOFT = _EVERY - {"ignore_index"}
_REDUCED = frozenset({"reduction"})
_FIRST_ORDER = (Quantity.LOSS, Quantity.GRADIENT)
_IN_FEW_GRAPHS = frozenset({"reduction", "ignore_index"})
"""Options that torch.compile is asked for: each value of an option is a graph, which costs seconds."""


@dataclass(frozen=True)
class Differentiated:
    """A loss, or a layer with its loss, and the way its derivatives are taken."""

    loss: Any
    derivatives: Callable[[Any, Run, tuple[Quantity, ...]], Results] = by_autograd


def _eager_operations(device: str) -> tuple[Operation, ...]:
    arithmetic = arithmetic_of(device)

    def operation(name: str, formula: str, function: Differentiated, **more: Any) -> Operation:
        return Operation(name, formula, function, arithmetic, **more)

    index, soft = "F.cross_entropy(x, index)", "F.cross_entropy(x, q)"
    by_func, forward = ByFunc(FORWARD_OVER_REVERSE), ByFunc(FORWARD)
    return (
        operation("cross_entropy", index, Differentiated(cross_entropy), options=_EVERY),
        operation("cross_entropy_func", f"{index}, torch.func", Differentiated(cross_entropy, by_func), options=_EVERY),
        operation("cross_entropy_forward", f"{index}, jacfwd", Differentiated(cross_entropy, forward), options=_EVERY),
        operation(
            "cross_entropy_probabilities",
            soft,
            Differentiated(cross_entropy),
            quantities=OF_PROBABILITIES,
            probabilities=True,
            options=_SOFT,
        ),
        operation(
            "log_softmax_nll_loss",
            "F.nll_loss(F.log_softmax(x, 1), index)",
            Differentiated(log_softmax_nll_loss),
            options=_EVERY - {"label_smoothing"},
        ),
        operation("logsumexp_gather", "torch.logsumexp(x, 1) - x[index]", Differentiated(logsumexp_gather), options=_REDUCED),
        operation("log_of_softmax", "-torch.log(torch.softmax(x, 1))[index]", Differentiated(log_of_softmax), options=_REDUCED),
        Operation(
            "cross_entropy_classes_second",
            "F.cross_entropy(x of shape (1, K, N), index)",
            Differentiated(classes_second(cross_entropy)),
            one_by_one(arithmetic),
            options=_EVERY,
        ),
        *_family_operations(arithmetic),
        *map(differentiable, _building_blocks(arithmetic, lambda function: function)),
    )


_SOFT_LABELS: dict[str, Any] = {"probabilities": True}
_Row = tuple[str, str, Differentiated, dict[str, Any]]
"""Name, formula, function and what else an operation has."""


def _family_operations(arithmetic: dict[str, Arithmetic]) -> list[Operation]:
    """The losses beside cross-entropy, and the last linear layer, each as PyTorch or its users write it."""
    return [
        Operation(name, formula, function, arithmetic, **({"options": _REDUCED} | more))
        for name, formula, function, more in (*_of_softmax(), *_of_sigmoid(), *_of_layer())
    ]


def _of_softmax() -> list[_Row]:
    return [
        (
            "scaled_cross_entropy",
            "F.cross_entropy(x / T, index)",
            Differentiated(scaled_cross_entropy),
            {"options": frozenset({"temperature"}), "quantities": _FIRST_ORDER},
        ),
        (
            "row_weighted_cross_entropy",
            "(F.cross_entropy(x, index, reduction='none') * r).sum() / n",
            Differentiated(row_weighted_cross_entropy),
            {"options": _REDUCED | {"row_weights", "normaliser"}},
        ),
        (
            "softcap_z_loss",
            "F.cross_entropy(c tanh(s x/c), index) + z logsumexp^2",
            Differentiated(softcap_z_loss),
            {"options": frozenset({"reduction", "logit_scale", "logit_softcap", "z_loss"})},
        ),
        ("kl_div", "F.kl_div(F.log_softmax(x, 1), q)", Differentiated(kl_div), _SOFT_LABELS | {"loss": Loss.KL_DIVERGENCE}),
        (
            "squared_error_of_softmax",
            "F.mse_loss(F.softmax(x, 1), q)",
            Differentiated(squared_error),
            _SOFT_LABELS | {"loss": Loss.SQUARED_ERROR},
        ),
        (
            "focal_loss",
            "(1 - exp(-ce))^g ce",
            Differentiated(focal),
            {"loss": Loss.FOCAL, "options": frozenset({"reduction", "focusing"})},
        ),
    ]


def _of_sigmoid() -> list[_Row]:
    return [
        (
            "binary_cross_entropy_with_logits",
            "F.binary_cross_entropy_with_logits(x, y)",
            Differentiated(binary_cross_entropy_with_logits),
            _SOFT_LABELS | {"loss": Loss.SIGMOID, "options": frozenset({"reduction", "positive_weight"})},
        ),
        (
            "binary_cross_entropy_of_sigmoid",
            "F.binary_cross_entropy(torch.sigmoid(x), y)",
            Differentiated(binary_cross_entropy_of_sigmoid),
            _SOFT_LABELS | {"loss": Loss.SIGMOID},
        ),
        (
            "sigmoid_focal_loss",
            "(1 - p_t)^g bce, p = torch.sigmoid(x)",
            Differentiated(sigmoid_focal),
            _SOFT_LABELS | {"loss": Loss.SIGMOID_FOCAL, "options": frozenset({"reduction", "focusing"})},
        ),
    ]


_BOTH_STEPS = ("linear_then_cross_entropy", "linear_cross_entropy")
"""Layers and losses that are not in chunks: what they do depends on the mode."""


def _of_layer() -> list[_Row]:
    """In two steps, in one call, in the chunks that it takes by default, and in chunks of few rows with each policy."""
    whole, chunks = {"quantities": OF_LAYER, "options": _EVERY}, "F.linear_cross_entropy(h, W, index, {})"
    chunked = whole | {"options": _EVERY - {"label_smoothing"}}
    return [
        (
            "linear_then_cross_entropy",
            "F.cross_entropy(F.linear(h, W, b), index)",
            Differentiated(linear_then_cross_entropy, by_layer),
            whole,
        ),
        (
            "linear_cross_entropy",
            "F.linear_cross_entropy(h, W, index)",
            Differentiated(linear_cross_entropy, by_layer),
            whole,
        ),
        ("linear_cross_entropy_chunked", chunks.format("chunked"), Differentiated(in_own_chunks, by_layer), chunked),
        *(
            (
                f"linear_cross_entropy_{name}",
                chunks.format(f"{name} chunks"),
                Differentiated(in_chunks(name), by_layer),
                chunked,
            )
            for name in POLICIES
        ),
    ]


def _layer_kernel(function: Callable[..., Any], device: str) -> tuple[Operation, ...]:
    """The operations of a user's callable with the signature of torch.nn.functional.linear_cross_entropy."""
    name, quantities = name_of_kernel(function), quantities_of_layer(function, "linear_bias")
    loss_of = partial(layer_loss, has_bias=Quantity.BIAS_GRADIENT in quantities)
    eager = Operation(
        name,
        f"{name}(h, W, index)",
        Differentiated(loss_of(losses_of_kernel(function)), by_layer),
        _storing_layer(arithmetic_of(device)),
        quantities=quantities,
        options=_EVERY,
        layouts=OF_TENSORS,
        label_dtypes=_LONG_OR_INT,
    )
    inside = Differentiated(compiled_kernel(function, loss_of), by_layer)
    return eager, replace(_compiled(eager, inside, device), layouts=_OF_GRAPHS)


def _building_blocks(arithmetic: dict[str, Arithmetic], wrap: Callable[..., Any]) -> tuple[Operation, ...]:
    return (
        building_block(Quantity.LOG_SOFTMAX, "F.log_softmax(x, 1)", wrap(lambda x: F.log_softmax(x, dim=1)), arithmetic),
        building_block(Quantity.SOFTMAX, "F.softmax(x, 1)", wrap(lambda x: F.softmax(x, dim=1)), arithmetic),
        building_block(Quantity.LOGSUMEXP, "torch.logsumexp(x, 1)", wrap(lambda x: torch.logsumexp(x, dim=1)), arithmetic),
        building_block(Quantity.ENTROPY, "torch.distributions.Categorical(logits=x).entropy()", wrap(entropy), arithmetic),
    )


def _autocast_operations(eager: tuple[Operation, ...]) -> list[Operation]:
    """Half-precision logits in an autocast region: the loss is computed, and returned, in float32.

    A linear layer in it is computed and stored in bfloat16, and so asked for that format alone.
    """
    chosen = ("cross_entropy", "cross_entropy_probabilities", "log_softmax_nll_loss")
    within = [
        replace(op, mode=AUTOCAST, function=replace(op.function, loss=autocast(op.function.loss)), returns=FLOAT32_LOSS)
        for op in eager
        if op.name in (*chosen, *_BOTH_STEPS)
    ]
    half = {"bfloat16": eager[0].arithmetic["bfloat16"]}
    return [replace(op, arithmetic=_storing_layer(half)) if op.is_layer else op for op in within]


def _storing_layer(arithmetic: Mapping[str, Arithmetic]) -> dict[str, Arithmetic]:
    """With logits that a linear layer stores in the format of its inputs, whatever that of the loss is."""
    return {name: replace(kind, layer_logits=kind.storage) for name, kind in arithmetic.items()}


def _compiled(eager: Operation, function: Differentiated, device: str) -> Operation:
    """An operation under torch.compile, which has no double backward; its options are part of a graph, so few are varied."""
    return replace(
        eager,
        mode=COMPILED,
        function=function,
        arithmetic=compiled_arithmetic(eager.arithmetic, device),
        quantities=eager.quantities if eager.is_layer else _FIRST_ORDER,
        options=eager.options & _IN_FEW_GRAPHS,
    )


def _compiled_operations(eager: tuple[Operation, ...], device: str) -> list[Operation]:
    """First order only: torch.compile has no double backward; and graphs without derivatives, which are compiled otherwise.

    Options are part of a graph and cost a compilation each, so only reductions and ignored rows are varied.
    """
    chosen = ("cross_entropy", "cross_entropy_probabilities", "log_softmax_nll_loss")
    first_order = [
        _compiled(op, replace(op.function, loss=Compiled(op.function.loss)), device)
        for op in eager
        if op.name in (*chosen, *_BOTH_STEPS)
    ]
    inference = [
        replace(
            op,
            mode=COMPILED,
            function=Differentiated(Compiled(op.function.loss), loss_alone),
            arithmetic={"float32": compiled_arithmetic(op.arithmetic, device)["float32"]},
            quantities=(Quantity.LOSS,),
            options=op.options & {"temperature"},
        )
        for op in eager
        if op.name in ("scaled_cross_entropy", "binary_cross_entropy_of_sigmoid")
    ]
    blocks = _building_blocks(compiled_arithmetic(eager[0].arithmetic, device), compiled)
    return [*first_order, *inference, *(replace(block, mode=COMPILED) for block in blocks)]


_LONG_OR_INT = (LABEL_DTYPE, "int32")
_LABELS = {
    COMPILED: _LONG_OR_INT,
    "logsumexp_gather": _LONG_OR_INT,
    "log_of_softmax": _LONG_OR_INT,
    "cross_entropy_classes_second": (LABEL_DTYPE,),
    "cross_entropy_func": (LABEL_DTYPE,),
    "cross_entropy_forward": (LABEL_DTYPE,),
}
"""By mode or operation, dtypes of class indices: gather takes no byte, nor do nll_loss2d and torch.func.jacfwd."""

_OF_DUALS = tuple(layout for layout in OF_TENSORS if layout is not Layout.EXPANDED)
"""torch.func.jvp raises for any function of an expanded tensor: it writes the direction into that layout."""

_OF_GRAPHS = (*OF_OLD, Layout.EXPANDED)
"""What torch.compile makes a graph for: each costs seconds, and no stride but 0 and 1 is another graph."""


def _as_given(operation: Operation) -> Operation:
    """The operation with the layouts that tensors have, and the dtypes of class indices; nll_loss takes long and byte."""
    labels = _LABELS.get(operation.mode, _LABELS.get(operation.name, (LABEL_DTYPE, "uint8")))
    indices = operation.has_loss and not operation.probabilities
    by_func = isinstance(getattr(operation.function, "derivatives", None), ByFunc)
    layouts = _OF_DUALS if by_func else _OF_GRAPHS if operation.mode == COMPILED else OF_TENSORS
    return replace(operation, layouts=layouts, label_dtypes=labels if indices else (LABEL_DTYPE,))


def _operations(device: str) -> tuple[Operation, ...]:
    eager = _eager_operations(device)
    return tuple(map(_as_given, (*eager, *_autocast_operations(eager), *_compiled_operations(eager, device))))


_NOT_COMPILED = (
    *(Usage.TWICE, Usage.FIRST_OF_TWO),  # a compiled backward gives its buffers away, and refuses to be retained
    *(Usage.NO_GRAD, Usage.INFERENCE_MODE, Usage.CHECKPOINTED_REENTRANT),  # without a graph it is compiled once more
)


class TorchAdapter(Adapter):
    """PyTorch on the CPU or a CUDA device."""

    name = "torch"
    main = ("cross_entropy", "cross_entropy_probabilities")
    controls = ("log_of_softmax",)

    def devices(self) -> tuple[str, ...]:
        """Devices on which it runs here."""
        return ("cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count())))

    def __init__(self, device: str = "cpu") -> None:
        super().__init__("cuda:0" if device == "cuda" and torch.cuda.is_available() else device)
        self._listed = _operations(self.device)

    def versions(self) -> dict[str, str]:
        """Versions of what is on trial, and what else decides how its sums are split."""
        return {
            "torch": torch.__version__,
            CPU_CAPABILITY: torch.backends.cpu.get_cpu_capability(),
            "threads": str(torch.get_num_threads()),
        }

    def operations(self) -> tuple[Operation, ...]:
        """Its operations, in the order of reports."""
        return self._listed

    def implementation(self, function: Callable[..., Any]) -> tuple[Operation, ...]:
        """The operations by which a callable is judged; see adapters/README.md for its signature."""
        check_callable(function, "(input, target, *, reduction), as torch.nn.functional.cross_entropy")
        if is_linear_cross_entropy(function):
            return _layer_kernel(function, self.device)
        named = options_named(function)
        loss = Differentiated(implementation_loss(losses_of_kernel(function), named), as_used)
        name, arithmetic = name_of_kernel(function), arithmetic_of(self.device)
        eager = (
            Operation(
                name,
                f"{name}(x, index)",
                loss,
                arithmetic,
                options=_EVERY | named,
                layouts=OF_TENSORS,
                label_dtypes=_LONG_OR_INT,
            ),
            Operation(
                f"{name}_probabilities",
                f"{name}(x, q)",
                loss,
                arithmetic,
                quantities=OF_PROBABILITIES,
                probabilities=True,
                options=_SOFT | named,
                layouts=OF_TENSORS,
            ),
        )
        inside = Differentiated(compiled_kernel(function, partial(implementation_loss, named=named)), as_used)
        return (*eager, *(replace(_compiled(each, inside, self.device), layouts=_OF_GRAPHS) for each in eager))

    def usages(self, operation: Operation) -> tuple[Usage, ...]:
        """All that are played, of a user's kernel, of layers and of the main operations, of which the others are made."""
        way = getattr(operation.function, "derivatives", None)
        if way not in (as_used, by_layer) and not (way is by_autograd and operation.name in self.main):
            return PLAIN_ONLY
        left_out = _NOT_COMPILED if operation.mode == COMPILED else ()
        return (Usage.PLAIN, *(usage for usage in PLAYERS if usage not in left_out))

    def script(self, asked: Question) -> Script | None:
        """The operation in PyTorch's own words; see `Adapter.script`."""
        return torch_script(asked, self.device)

    def call(self, question: Question) -> Call:
        """Run an operation; see `Adapter.call`."""
        if question.usage is not Usage.PLAIN:
            return self._played(question)
        run, quantities = Run(question, self.device), question.quantities
        function = question.operation.function
        if question.operation.has_loss:
            values = function.derivatives(function.loss, run, quantities)
        else:
            values = by_backward(function, run, quantities)
        return _answered(question, values, run)

    def _played(self, question: Question) -> Call:
        """The call that counts in a sequence of calls."""
        loss, play = question.operation.function.loss, PLAYERS[question.usage]
        asked = (question, replace(question, problem=question.other))
        if not question.operation.is_layer:
            run, other = (Run(each, self.device) for each in asked)
            return _answered(question, play(loss, run, other), run)
        layer, beside = (LayerRun(each, self.device) for each in asked)
        return _answered(question, layer.by_parts(play(layer.of_leaf(loss), layer, beside)), layer)

    def observe_bulk(self, operation: Operation, bulk: Bulk, quantities: tuple[Quantity, ...]) -> Observed:
        """Many rows without a detour through float64; see `Adapter.observe_bulk`."""
        if getattr(operation.function, "derivatives", None) not in (by_autograd, as_used):
            return super().observe_bulk(operation, bulk, quantities)
        try:
            with self.foreign.running(f"a call of {operation.label}"):
                call = bulk_call(operation.function.loss, bulk, quantities, self.device)
            return self._proved(call, operation, bulk.format)
        except Exception as error:  # as in `observe`
            return Observed({}, error=told(error))

    def be_single_threaded(self) -> None:
        """Set PyTorch's intra-operator threads to one."""
        torch.set_num_threads(1)


def _answered(question: Question, values: Results, run: Run) -> Call:
    return Call({quantity: _result(values[quantity]) for quantity in question.quantities}, run.changed())


def _result(tensor: Tensor) -> Result:
    """Values as they are, to the bit; see `to_tensor`."""
    name = str(tensor.dtype).removeprefix("torch.")
    values = tensor.detach().cpu()
    if (fmt := FORMATS.get(name)) is None:
        return Result(values.to(torch.float64).numpy(), name, device_of(tensor))
    bits = values.contiguous().view(_INTEGERS[fmt.bits]).numpy()
    return Result(fmt.from_bits(bits.view(f"uint{fmt.bits}")), name, device_of(tensor))


_INTEGERS = {16: torch.int16, 32: torch.int32, 64: torch.int64}
"""By bits, a dtype that carries the bits of a float."""


ADAPTER = TorchAdapter
