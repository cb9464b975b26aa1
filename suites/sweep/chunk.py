"""One chunk of a sweep: build its rows, ask the operation, judge what it returned; in a worker, or here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from time import thread_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.adapter import Adapter
from adapters.answers import answer_of
from adapters.bulk import Bulk
from adapters.loading import load_adapter, operations_on_trial
from adapters.operation import Operation
from reference.formats import FLOAT64, Format
from suites.judging.claims_file import claims_path
from suites.judging.dead_entries import live_claims
from suites.sweep.code import CODE
from suites.sweep.compiled.batch import Batch, SweptQuantity, gaps_of
from suites.sweep.compiled.constants import declared_of, format_constants
from suites.sweep.compiled.passes import judge_batch
from suites.sweep.compiled.tally import QUANTITIES, SweepTally, empty_tally
from suites.sweep.outcome import Outcome
from suites.sweep.settle import Undecided, settle
from suites.sweep.space import Rows, Space


class SweepError(Exception):
    """A sweep that cannot start or go on; one line that says why and what to do."""


@dataclass(frozen=True)
class Job:
    """What is swept: an operation of a backend on a device, some of `QUANTITIES` (by number), and the rows.

    `made_with` says which code and versions: a worker that has others refuses.
    """

    backend: str
    device: str
    operation: str
    quantities: tuple[int, ...]
    space: Space
    made_with: tuple[tuple[str, str], ...] = ()
    implementation: str | None = None
    claims: str | None = None


def made_with(adapter: Adapter) -> tuple[tuple[str, str], ...]:
    """The code that judges, and the versions of what is judged; equal wherever chunks of one sweep run."""
    return (("code", CODE), *adapter.versions().items())


@cache
def opened(backend: str, device: str, implementation: str | None, claims: str | None) -> tuple[Adapter, dict[str, Operation]]:
    """The adapter, single-threaded, and its operations by label, within their limits; once a process.

    Raises:
      AdapterError: the backend, device or implementation is not there.
      ClaimsError: the claims file is not there, or is malformed.
      SweepError: the limits of an operation leave nothing of it.
    """
    adapter = load_adapter(backend, device)
    answer_of(type(adapter), "be_single_threaded", adapter.be_single_threaded)
    operations = operations_on_trial(adapter, implementation)
    declared = live_claims(adapter, claims_path(backend, implementation, claims), operations).as_declared
    try:
        return adapter, {op.label: declared(op, adapter.device) for op in operations}
    except ValueError as error:
        raise SweepError(str(error)) from None


def run_chunk(job: Job, chunk: int) -> Outcome:
    """What the operation returns for a chunk, judged.

    Raises:
      SweepError: the operation raised, or broke the protocol, or this process has other versions than the job.
    """
    adapter, operations = opened(job.backend, job.device, job.implementation, job.claims)
    here = made_with(adapter)
    if job.made_with != here:
        raise SweepError(f"a worker has {dict(here)}, the sweep was started with {dict(job.made_with)}; make them the same")
    _warm_up(replace(job, space=job.space.taste))
    return judged(job, chunk, adapter, operations[job.operation])


@cache
def _warm_up(job: Job) -> None:
    """Compile and load everything before a chunk is timed; once a process."""
    adapter, operations = opened(job.backend, job.device, job.implementation, job.claims)
    judged(job, 0, adapter, operations[job.operation])


def judged(job: Job, chunk: int, adapter: Adapter, operation: Operation) -> Outcome:
    """A chunk of a job by an adapter that is there already; see `run_chunk`."""
    started = thread_time()
    work = _Work(job, adapter, operation, empty_tally(job.space.classes))
    rows, undecided, framework = 0, 0, 0.0
    for batch in job.space.batches(chunk):
        compared = compiled_batch(batch)
        for target in range(job.space.classes):
            observed, seconds = work.ask(batch, target)
            framework += seconds
            rows += len(batch.logits)
            undecided += sum(work.judge(batch, compared, target, q, observed[q]) for q in job.quantities)
    whole = thread_time() - started
    return Outcome(rows, undecided, {"framework": framework, "comparison": whole - framework, "chunk": whole}, work.tally)


def compiled_batch(rows: Rows) -> Batch:
    """The rows as the compiled pass takes them."""
    x = np.ascontiguousarray(rows.logits.T.astype(np.float32))
    return Batch(x, gaps_of(x), rows.starts, rows.cells)


@dataclass(frozen=True, eq=False)
class _Work:
    """A job in progress."""

    job: Job
    adapter: Adapter
    operation: Operation
    tally: SweepTally

    def ask(self, rows: Rows, target: int) -> tuple[dict[int, NDArray[np.float32]], float]:
        """What the operation returns, (E, N) for each quantity, and the processor seconds of the framework."""
        before = thread_time()
        bulk = Bulk(rows.logits, target, self.job.space.format)
        seen = self.adapter.observe_bulk(self.operation, bulk, tuple(QUANTITIES[q] for q in self.job.quantities))
        if seen.error or seen.violations:
            raise SweepError(f"{self.operation.label} on {bulk.format.name}: {seen.error or seen.violations[0]}")
        seconds = thread_time() - before if seen.seconds is None else seen.seconds
        return {q: entries_apart(seen.values[QUANTITIES[q]]) for q in self.job.quantities}, seconds

    def judge(self, rows: Rows, batch: Batch, target: int, quantity: int, observed: NDArray[np.float32]) -> int:
        """Count what was returned; how many entries the exact tier had to decide."""
        fmt = self.job.space.format
        question = question_of(self.operation, fmt, quantity, target, len(batch.x))
        places = judge_batch(batch, observed, question, self.tally)
        if places.size:
            undecided = Undecided(quantity, target, places, rows.logits, observed, rows.starts, rows.cells)
            settle(self.operation, fmt, undecided, self.tally)
        return int(places.size)


def question_of(operation: Operation, fmt: Format, quantity: int, target: int, classes: int) -> SweptQuantity:
    """How what an operation returns for logits in a format is judged.

    Raises:
      SweepError: it returns float64, for which the compiled pass has not the digits.
    """
    returned = operation.returned(QUANTITIES[quantity], fmt)
    if returned == FLOAT64:
        raise SweepError(f"{operation.label} returns {QUANTITIES[quantity]} of {fmt.name} as float64; only --search takes that")
    arithmetic = operation.arithmetic_of(QUANTITIES[quantity], fmt)
    limits = format_constants(returned, arithmetic, classes, QUANTITIES[quantity])
    return SweptQuantity(quantity, target, limits, declared_of(arithmetic, classes))


def entries_apart(values: NDArray[Any]) -> NDArray[np.float32]:
    """(N, ...) as (E, N)."""
    return np.ascontiguousarray(values.reshape(len(values), -1).T, dtype=np.float32)
