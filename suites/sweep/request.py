"""What a sweep was asked for, from the command line to a job: an operation, its quantities, its rows."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.adapter import Adapter
from adapters.operation import EAGER, Operation
from reference.formats import FORMATS
from reference.quantity import Quantity
from suites.sweep.chunk import Job, SweepError, made_with, opened
from suites.sweep.compiled.tally import QUANTITIES
from suites.sweep.space import Gaps, Pairs, Sample, Space, Triples

SPACES = ("pairs", "triples", "gaps", "sample")


@dataclass(frozen=True)
class Request:
    """The options of the command line that say what is swept; see its help."""

    backend: str = "torch"
    device: str = "cpu"
    mode: str | None = None
    operation: str | None = None
    implementation: str | None = None
    dtype: str = "float16"
    space: str | None = None
    quantities: str = "loss,gradient"
    stride: int = 1
    step: int = Triples.step
    rows: int = 2**20
    seed: int = 0


def space_of(request: Request) -> Space:
    """The rows.

    Raises:
      SweepError: the dtype or space is not known, or they do not go together.
    """
    if request.dtype not in FORMATS or request.dtype == "float64":
        raise SweepError(
            f"--dtype={request.dtype}: allowed: float32, float16, bfloat16 (the compiled pass has not the digits for float64; "
            "--search has)"
        )
    name = request.space or ("gaps" if request.dtype == "float32" else "pairs")
    if name not in SPACES:
        raise SweepError(f"--space={name}: not known; allowed: {', '.join(SPACES)}")
    if request.stride < 1 or request.rows < 1:
        raise SweepError(f"--stride={request.stride} --rows={request.rows}: allowed: 1 and more")
    if name == "triples" and request.stride != 1:
        raise SweepError(f"--stride={request.stride} is of pairs and gaps; the lattice of triples has a --step")
    try:
        if name == "triples":
            return Triples(request.dtype, request.step)
        if name == "sample":
            return Sample(request.dtype, request.rows, request.seed)
        return Pairs(request.dtype, request.stride) if name == "pairs" else Gaps(request.dtype, request.stride)
    except ValueError as error:
        raise SweepError(str(error)) from None


def quantities_of(text: str) -> tuple[int, ...]:
    """Numbers of comma-separated quantities.

    Raises:
      SweepError: one is not swept.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in QUANTITIES:
            raise SweepError(f"--quantities: {name!r} is not swept; allowed: {', '.join(QUANTITIES)}")
    return tuple(q for q, quantity in enumerate(QUANTITIES) if quantity in names)


def job_of(request: Request) -> tuple[Job, Adapter, Operation]:
    """The job, and what it is about.

    Raises:
      SweepError: an option is wrong, or the operation cannot be swept.
      AdapterError: the backend, device or implementation is not there.
    """
    space, quantities = space_of(request), quantities_of(request.quantities)
    adapter, operation = operation_of(request, quantities)
    job = Job(
        backend=request.backend,
        device=request.device,
        operation=operation.label,
        quantities=quantities,
        space=space,
        made_with=made_with(adapter),
        implementation=request.implementation,
    )
    return job, adapter, operation


def operation_of(request: Request, quantities: tuple[int, ...]) -> tuple[Adapter, Operation]:
    """The named operation, or the first, of those that take class indices and have all quantities.

    Raises:
      SweepError: there is none.
      AdapterError: the backend, device or implementation is not there.
    """
    adapter, operations = opened(request.backend, request.device, request.implementation)
    wanted: set[Quantity] = {QUANTITIES[q] for q in quantities}
    fitting = [
        operation
        for operation in operations.values()
        if operation.loss.spec.is_log_probability and not operation.probabilities and wanted <= set(operation.quantities)
        if request.dtype in operation.arithmetic and operation.mode == (request.mode or EAGER)
    ]
    named = [operation for operation in fitting if operation.name == (request.operation or operation.name)]
    if not named:
        what = f"--operation={request.operation}" if request.operation else f"--mode={request.mode}"
        there = ", ".join(operation.label for operation in fitting) or "none in this mode"
        raise SweepError(f"{what}: no such operation of class indices with {', '.join(sorted(wanted))}; there is: {there}")
    return adapter, named[0]
