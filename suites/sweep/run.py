"""Runs a sweep: what its journal has not, on an engine, with a progress bar; and adds everything up."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from suites.judging.claims_file import claims_path
from suites.sweep.chunk import Job
from suites.sweep.engine import Engine, run_all
from suites.sweep.journal import Journal
from suites.sweep.outcome import Outcome

SCHEMA = "softmax-ce-sweep/1"


def header_of(job: Job) -> dict[str, Any]:
    """What every process that adds to the journal must agree on: the plan, code, versions and claims."""
    claims = claims_path(job.backend, job.implementation, job.claims)
    return {
        "schema": SCHEMA,
        "job": asdict(job)
        | {"made_with": dict(job.made_with), "space": asdict(job.space) | {"kind": type(job.space).__name__}},
        "chunks": job.space.chunks,
        "claims": sha256(claims.read_bytes()).hexdigest() if claims else None,
    }


def run_sweep(job: Job, chunks: Iterable[int], engine: Engine, journal: Journal) -> None:
    """Run those of the chunks that the journal has not.

    Raises:
      SweepError: see `run_all` and `Journal.add`; what is finished is in the journal.
    """
    wanted = sorted(chunks)
    todo = [chunk for chunk in wanted if chunk not in journal.finished]
    if not todo:
        return
    with _progress() as progress:
        task = progress.add_task(job.operation, total=len(wanted), completed=len(wanted) - len(todo))

        def take(chunk: int, outcome: Outcome) -> None:
            journal.add(chunk, outcome)
            progress.advance(task)

        run_all(engine, job, todo, take)


def _progress() -> Progress:
    """Chunks done, time taken and time left, on the standard error; a plain line at the end where that is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("chunks"))
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(file=sys.stderr))


def journal_name(job: Job) -> str:
    """The stem of a sweep's files."""
    names = "-".join(("loss", "gradient", "hessian")[q] for q in job.quantities)
    backend = Path(job.backend.rpartition(":")[0]).stem or job.backend
    return f"{backend}-{job.operation.replace('@', '-')}-{job.space.dtype}-{type(job.space).__name__.lower()}-{names}"
