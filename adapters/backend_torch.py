"""PyTorch: its softmax cross-entropy and the ways people compose one, gradients by autograd, Hessians two ways.

The Hessian is taken by double backward (torch.autograd), and in the operations named *_func by torch.func.hessian
(forward over reverse). Every operation gets the problem's cotangent, never a bare sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from adapters.adapter import Adapter, AdapterError, Call, Result
from adapters.layout import Layout, laid_out
from adapters.operation import Operation, building_block
from reference.arithmetic import Arithmetic, Order, Summation
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, Format
from reference.problem import Problem
from reference.quantity import Quantity

DTYPES = {FLOAT64: torch.float64, FLOAT32: torch.float32, FLOAT16: torch.float16, BFLOAT16: torch.bfloat16}
_LANE_BYTES = {"AVX512": 64, "AVX2": 32}

Tensor = torch.Tensor
Loss = Callable[[Tensor, Tensor, Problem], Tensor]


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


def to_tensor(values: np.ndarray, fmt: Format, device: str) -> Tensor:
    """Members of a format as a tensor of its dtype; exact."""
    return torch.tensor(values, dtype=torch.float64, device=device).to(DTYPES[fmt])


def _view(tensor: Tensor, layout: Layout) -> Tensor:
    """The tensor in a memory layout: the strides and offset that numpy's view has, over storage padded with NaN."""
    rows, classes = tensor.shape
    positions = laid_out(np.arange(tensor.numel(), dtype=np.float64).reshape(rows, classes), layout)
    if layout is Layout.CONTIGUOUS or not tensor.numel():
        return tensor
    base = positions if positions.base is None else positions.base
    strides = tuple(step // positions.itemsize for step in positions.strides)
    start = (positions.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // positions.itemsize
    storage = torch.full((base.size,), float("nan"), dtype=tensor.dtype, device=tensor.device)
    view = storage.as_strided((rows, classes), strides, start)
    view.copy_(tensor)
    return view


def _target_tensor(problem: Problem, device: str) -> Tensor:
    if problem.has_probabilities:
        return to_tensor(problem.target, problem.format, device)
    return torch.tensor(problem.target, dtype=torch.int64, device=device)


def _weight(problem: Problem, like: Tensor) -> Tensor | None:
    if problem.class_weights is None:
        return None
    return to_tensor(problem.class_weights, problem.format, str(like.device))


def _implementation_loss(function: Callable[..., Tensor]) -> Loss:
    """A callable with the signature of torch.nn.functional.cross_entropy; only options that are set are passed."""

    def loss(logits: Tensor, target: Tensor, problem: Problem) -> Tensor:
        options: dict[str, Any] = {"reduction": problem.reduction}
        if problem.class_weights is not None:
            options["weight"] = _weight(problem, logits)
        if problem.label_smoothing:
            options["label_smoothing"] = problem.label_smoothing
        if problem.ignored.any():
            options["ignore_index"] = problem.ignore_index
        return function(logits, target, **options)

    return loss


cross_entropy = _implementation_loss(F.cross_entropy)


def log_softmax_nll_loss(logits: Tensor, target: Tensor, problem: Problem) -> Tensor:
    """nll_loss(log_softmax(x))."""
    return F.nll_loss(
        F.log_softmax(logits, dim=1),
        target,
        weight=_weight(problem, logits),
        ignore_index=problem.ignore_index,
        reduction=problem.reduction,
    )


def logsumexp_gather(logits: Tensor, target: Tensor, problem: Problem) -> Tensor:
    """logsumexp(x) - x_t."""
    return _reduce(torch.logsumexp(logits, dim=1) - logits.gather(1, target[:, None])[:, 0], problem)


def log_of_softmax(logits: Tensor, target: Tensor, problem: Problem) -> Tensor:
    """-log(softmax(x)_t)."""
    return _reduce(-torch.log(torch.softmax(logits, dim=1)).gather(1, target[:, None])[:, 0], problem)


def _reduce(losses: Tensor, problem: Problem) -> Tensor:
    if problem.reduction == "none":
        return losses
    return losses.sum() if problem.reduction == "sum" else losses.mean()


class _Run:
    """One problem on the device: leaves, their snapshots, and the derivatives of one loss."""

    def __init__(self, loss: Loss | None, problem: Problem, device: str, layout: Layout) -> None:
        self.problem, self.loss, self.device = problem, loss, device
        self.logits = _view(to_tensor(problem.logits, problem.format, device), layout).requires_grad_()
        self.target = _target_tensor(problem, device)
        self.before = {"logits": self.logits.detach().clone(), "target": self.target.clone()}

    def losses(self, logits: Tensor) -> Tensor:
        """The loss that is on trial, of these logits."""
        assert self.loss is not None
        return self.loss(logits, self.target, self.problem)

    def cotangent(self, shape: torch.Size) -> Tensor:
        given = np.ones(()) if self.problem.cotangent is None else self.problem.cotangent
        return to_tensor(np.broadcast_to(given, tuple(shape)), self.problem.format, self.device)

    def tangent(self) -> Tensor:
        assert self.problem.tangent is not None
        return to_tensor(self.problem.tangent, self.problem.format, self.device)

    def changed(self) -> tuple[str, ...]:
        """Names of the inputs whose bits are not what they were."""
        now = {"logits": self.logits.detach(), "target": self.target}
        return tuple(name for name, was in self.before.items() if not _same_bits(was, now[name]))


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    return bool((a.contiguous().view(integer) == b.contiguous().view(integer)).all())


def _by_autograd(run: _Run, quantities: tuple[Quantity, ...]) -> dict[Quantity, Tensor]:
    """Loss, gradient by backward, Hessian row by row and product by double backward."""
    loss = run.losses(run.logits)
    results = {Quantity.LOSS: loss.detach()}
    second = Quantity.HESSIAN in quantities or Quantity.HVP in quantities
    if second or Quantity.GRADIENT in quantities:
        (gradient,) = torch.autograd.grad(loss, run.logits, run.cotangent(loss.shape), create_graph=second)
        results[Quantity.GRADIENT] = gradient.detach()
    if Quantity.HVP in quantities:
        (product,) = torch.autograd.grad(gradient, run.logits, run.tangent(), retain_graph=True)
        results[Quantity.HVP] = product
    if Quantity.HESSIAN in quantities:
        rows = [_hessian_row(gradient, run.logits, k) for k in range(run.problem.num_classes)]
        results[Quantity.HESSIAN] = torch.stack(rows, dim=1)
    return results


def _hessian_row(gradient: Tensor, logits: Tensor, k: int) -> Tensor:
    """Row k of each Hessian: the rows of a batch do not interact, so one backward serves them all."""
    direction = torch.zeros_like(gradient)
    direction[:, k] = 1
    (row,) = torch.autograd.grad(gradient, logits, direction, retain_graph=True)
    return row


def _by_func(run: _Run, quantities: tuple[Quantity, ...]) -> dict[Quantity, Tensor]:
    """The same by torch.func: grad, hessian (forward over reverse), and jvp of grad."""

    def scalar(logits: Tensor) -> Tensor:
        loss = run.losses(logits)
        return (loss * run.cotangent(loss.shape)).sum()

    x = run.logits.detach()
    results = {Quantity.LOSS: run.losses(x)}
    if Quantity.GRADIENT in quantities:
        results[Quantity.GRADIENT] = torch.func.grad(scalar)(x)
    if Quantity.HVP in quantities:
        results[Quantity.HVP] = torch.func.jvp(torch.func.grad(scalar), (x,), (run.tangent(),))[1]
    if Quantity.HESSIAN in quantities:
        full = torch.func.hessian(scalar)(x)
        rows = torch.arange(x.shape[0], device=x.device)
        results[Quantity.HESSIAN] = full[rows, :, rows, :]
    return results


@dataclass(frozen=True)
class Differentiated:
    """A loss, and the way its derivatives are taken."""

    loss: Loss
    derivatives: Callable[[_Run, tuple[Quantity, ...]], dict[Quantity, Tensor]] = _by_autograd


def _operations(device: str) -> tuple[Operation, ...]:
    arithmetic = arithmetic_of(device)
    every = frozenset({"class_weights", "label_smoothing", "ignore_index", "reduction"})
    reduced = frozenset({"reduction"})
    soft = every - {"ignore_index"}
    return (
        Operation("cross_entropy", "F.cross_entropy(x, index)", Differentiated(cross_entropy), arithmetic, options=every),
        Operation(
            "cross_entropy_func",
            "F.cross_entropy(x, index), torch.func",
            Differentiated(cross_entropy, _by_func),
            arithmetic,
            options=every,
        ),
        Operation(
            "cross_entropy_probabilities",
            "F.cross_entropy(x, q)",
            Differentiated(cross_entropy),
            arithmetic,
            probabilities=True,
            options=soft,
        ),
        Operation(
            "log_softmax_nll_loss",
            "F.nll_loss(F.log_softmax(x, 1), index)",
            Differentiated(log_softmax_nll_loss),
            arithmetic,
            options=every - {"label_smoothing"},
        ),
        Operation(
            "logsumexp_gather",
            "torch.logsumexp(x, 1) - x[index]",
            Differentiated(logsumexp_gather),
            arithmetic,
            options=reduced,
        ),
        Operation(
            "log_of_softmax",
            "-torch.log(torch.softmax(x, 1))[index]",
            Differentiated(log_of_softmax),
            arithmetic,
            options=reduced,
        ),
        building_block(Quantity.LOG_SOFTMAX, "F.log_softmax(x, 1)", lambda x: F.log_softmax(x, dim=1), arithmetic),
        building_block(Quantity.SOFTMAX, "F.softmax(x, 1)", lambda x: F.softmax(x, dim=1), arithmetic),
        building_block(Quantity.LOGSUMEXP, "torch.logsumexp(x, 1)", lambda x: torch.logsumexp(x, dim=1), arithmetic),
    )


class TorchAdapter(Adapter):
    """PyTorch on the CPU or a CUDA device."""

    name = "torch"

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
            "cpu capability": torch.backends.cpu.get_cpu_capability(),
            "threads": str(torch.get_num_threads()),
        }

    def operations(self) -> tuple[Operation, ...]:
        """Its operations, in the order of reports."""
        return self._listed

    def implementation(self, function: Callable[..., Any]) -> tuple[Operation, ...]:
        """The operations by which a callable is judged; see the README for its signature."""
        if not callable(function):
            raise AdapterError(f"--implementation: {function!r} is not callable; allowed: F.cross_entropy's signature")
        loss, arithmetic = Differentiated(_implementation_loss(function)), arithmetic_of(self.device)
        options = frozenset({"class_weights", "label_smoothing", "ignore_index", "reduction"})
        name = getattr(function, "__name__", "implementation")
        return (
            Operation(name, f"{name}(x, index)", loss, arithmetic, options=options),
            Operation(
                f"{name}_probabilities",
                f"{name}(x, q)",
                loss,
                arithmetic,
                probabilities=True,
                options=options - {"ignore_index"},
            ),
        )

    def call(self, operation: Operation, problem: Problem, quantities: tuple[Quantity, ...], layout: Layout) -> Call:
        """Run an operation; see `Adapter.call`."""
        function = operation.function
        run = _Run(function.loss if operation.has_loss else None, problem, self.device, layout)
        block = quantities[0]
        values = function.derivatives(run, quantities) if operation.has_loss else {block: function(run.logits.detach())}
        results = {quantity: _result(values[quantity]) for quantity in quantities}
        return Call(results, run.changed())


def _result(tensor: Tensor) -> Result:
    device = "cpu" if tensor.device.type == "cpu" else f"{tensor.device.type}:{tensor.device.index}"
    return Result(tensor.detach().to("cpu", torch.float64).numpy(), str(tensor.dtype).removeprefix("torch."), device)


ADAPTER = TorchAdapter
