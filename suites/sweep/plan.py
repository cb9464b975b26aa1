"""The plan of a sweep: chunks, rows and what they will cost, measured on a chunk."""

from __future__ import annotations

from dataclasses import dataclass

from suites.sweep.chunk import Job, run_chunk
from suites.sweep.outcome import Outcome


@dataclass(frozen=True)
class Probe:
    """A chunk that was run here."""

    chunk: int
    outcome: Outcome


def probe(job: Job) -> Probe:
    """Run the chunk in the middle, in this process.

    Raises:
      SweepError: see `run_chunk`.
    """
    chunk = job.space.chunks // 2
    return Probe(chunk, run_chunk(job, chunk))


def plan_lines(job: Job, measured: Probe, cores: int) -> list[str]:
    """The plan in words."""
    space, seconds = job.space, measured.outcome.seconds
    per_question = seconds["chunk"] / max(measured.outcome.rows, 1)
    whole = per_question * space.questions
    framework = seconds["framework"] / max(measured.outcome.rows, 1)
    return [
        f"{job.operation}, {space.story}: {space.extent if space.left_out is None else 'REDUCED: ' + space.left_out}",
        f"{space.chunks} chunks, {space.rows} rows, {space.questions} questions (every target)",
        (
            f"measured on chunk {measured.chunk}: {measured.outcome.rows} in {seconds['chunk']:.2f} s of processor time, "
            f"{per_question * 1e9:.1f} ns each, of these {framework * 1e9:.1f} ns the framework's own"
        ),
        (
            f"whole: {whole / 3600:.3g} core hours; on {cores} cores {_duration(whole / min(cores, space.chunks))}, "
            f"{whole / space.chunks:.3g} s a chunk; a journal of about {_journal_megabytes(space.chunks):.3g} MB"
        ),
    ]


def _journal_megabytes(chunks: int) -> float:
    """A line of a journal is 2 to 4 kB."""
    return 3e-3 * chunks


def _duration(seconds: float) -> str:
    """Seconds in words.

    >>> _duration(42.0), _duration(4000.0), _duration(4e6)
    ('42 s', '67 min', '1.1e+03 h')
    """
    if seconds < 120:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 4 * 3600 else f"{seconds / 3600:.2g} h"
