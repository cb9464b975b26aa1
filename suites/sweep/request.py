"""What a sweep was asked for, from the command line to a job: an operation, its quantities, its rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapters.adapter import Adapter
from adapters.operation import EAGER, Operation
from reference.formats import FORMATS
from reference.problem import Problem
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
    claims: str | None = None
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
      ClaimsError: the claims file is not there, or is malformed.
    """
    space, quantities = space_of(request), quantities_of(request.quantities)
    adapter, operation = operation_of(request, quantities, space.classes)
    job = Job(
        backend=request.backend,
        device=request.device,
        operation=operation.label,
        quantities=quantities,
        space=space,
        made_with=made_with(adapter),
        implementation=request.implementation,
        claims=request.claims,
    )
    return job, adapter, operation


def operation_of(request: Request, quantities: tuple[int, ...], classes: int) -> tuple[Adapter, Operation]:
    """The named operation, or the first, of those that take class indices and have all quantities, of rows of so many classes.

    Raises:
      SweepError: there is none, or a declared limit leaves none.
      AdapterError: the backend, device or implementation is not there.
      ClaimsError: the claims file is not there, or is malformed.
    """
    adapter, operations = opened(request.backend, request.device, request.implementation, request.claims)
    wanted = tuple(QUANTITIES[q] for q in quantities)
    fitting = [operation for operation in operations.values() if _fits(operation.whole, request, wanted)]
    named = [operation for operation in fitting if operation.name == (request.operation or operation.name)]
    if not named:
        what = f"--operation={request.operation}" if request.operation else f"--mode={request.mode}"
        there = ", ".join(operation.label for operation in fitting) or "none in this mode"
        raise SweepError(f"{what}: no such operation of class indices with {', '.join(sorted(wanted))}; there is: {there}")
    limits = [_declared_away(operation, request, wanted, classes) for operation in named]
    if None not in limits:
        asked = f"{', '.join(wanted)} of {classes} classes in {request.dtype}"
        raise SweepError(f"{named[0].label} is not asked for {asked}: {limits[0]}")
    return adapter, named[limits.index(None)]


def _fits(operation: Operation, request: Request, wanted: tuple[Quantity, ...]) -> bool:
    """True if the backend offers what is asked for, whatever limits are declared."""
    indices, mode = operation.is_of_indices, operation.mode == (request.mode or EAGER)
    return indices and mode and set(wanted) <= set(operation.quantities) and request.dtype in operation.arithmetic


def _declared_away(operation: Operation, request: Request, wanted: tuple[Quantity, ...], classes: int) -> str | None:
    """The limit by which one of the quantities is not asked, in this dtype, of rows of so many classes; None if all are."""
    if operation.reduces is not None:
        return f"it returns the {operation.reduces.value} of the losses, and a sweep asks for those of rows"
    row = Problem(np.zeros((1, classes)), np.array([0]), FORMATS[request.dtype])
    declared = (operation.declared_away((quantity,), request.dtype, request.device) for quantity in wanted)
    return next(filter(None, declared), None) or operation.problem_declared_away(row)
