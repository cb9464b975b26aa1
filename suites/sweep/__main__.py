"""`python -m suites.sweep`: exhaustive sweeps, samples, plans and searches of an operation's worst error."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from adapters.adapter import AdapterError
from adapters.loading import backend_names
from suites.judging.claims_file import ClaimsError
from suites.report.write import as_json
from suites.sweep.chunk import Job, SweepError
from suites.sweep.engine import ENGINES, engine_named
from suites.sweep.files import cases_of, write_files, write_texts
from suites.sweep.journal import open_journal
from suites.sweep.plan import plan_lines, probe
from suites.sweep.report import holds, lines_of, report_of
from suites.sweep.request import SPACES, Request, job_of
from suites.sweep.run import header_of, journal_name, run_sweep
from suites.sweep.space import Triples
from suites.sweep.worst_case_report import search_lines, search_report

GOOD, WORSE, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses: all that was swept holds its claims; a claim fails; what was asked cannot be done; stopped by the user."""

_DESCRIPTION = """\
Ask an operation for every row of a set, judge every entry that it returns, and say what the worst error is.

  pairs   every pair of finite numbers of float16 or bfloat16: 4.0e9 and 4.3e9 rows, about ten minutes on two idle cores
  triples every triple of a lattice of float16 or bfloat16: each --step-th number and landmarks; no bound for those between
  gaps    [0, d] and [d, 0] for every finite d: float32 where the difference of the logits is exact
  sample  --rows pseudo-random pairs of any of these formats: never exhaustive

Each row is asked with every target. Expected values are certified (suites/sweep/compiled/); an entry whose grade that
leaves open goes to the exact tier. Errors are in ulps. The result is `exhaustive`, a bound and not a lower bound, only if
every chunk was run (of triples `exhaustive on the lattice`); else it says REDUCED."""

_EPILOG = """\
files     FOLDER/NAME.journal grows while the sweep runs; .json, .svg (a map of the plane) and, with --cases, .toml are made
          of it.
resuming  The same command goes on where the journal ends: after an interruption, kill or power cut. A journal of other
          code, versions or claims is refused, never overwritten. --chunks=A:B runs a part; parts add up in one journal.
clusters  --engine=dask --scheduler=tcp://HOST:8786 runs the chunks on the workers of a Dask cluster, in whose environment this
          checkout must be importable (PYTHONPATH). Workers with other versions or another processor capability are refused.
examples  python -m suites.sweep --backend=torch --dtype=float16 --report=sweeps
          python -m suites.sweep --backend=torch --dtype=bfloat16 --quantities=hessian --report=sweeps
          python -m suites.sweep --backend=torch --dtype=float16 --space=triples --step=71 --report=sweeps
          python -m suites.sweep --backend=torch --dtype=float32 --space=sample --rows=1000000000000 --plan --cores=1000
          python -m suites.sweep --backend=torch --dtype=float32 --search --seconds=60

exit status: 0; 1 if a claim fails; 2 if what was asked cannot be done; 130 if interrupted (what is finished is kept)."""


PROGRAM = "python -m suites.sweep"


def parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """The command line: what is swept, how it runs, and what is done instead."""
    made = argparse.ArgumentParser(
        prog=program,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = made.add_argument_group("what is swept")
    what.add_argument(
        "--backend", default="torch", help=f"{', '.join(backend_names())}, file.py:Class or module:Class (default: torch)"
    )
    what.add_argument("--implementation", metavar="PLACE", help="your own callable instead: FILE.py:FUNCTION")
    what.add_argument("--claims", metavar="FILE", help="claims and limits (default: ci/claims/BACKEND.toml, if there is one)")
    what.add_argument("--device", default="cpu", help="cpu, cuda or cuda:INDEX (default: cpu)")
    what.add_argument("--operation", metavar="NAME", help="default: the backend's first that takes class indices")
    what.add_argument("--mode", metavar="NAME", help="the operation's mode (default: eager)")
    what.add_argument("--dtype", default="float16", help="float16, bfloat16, float32; float64 to search (default: float16)")
    what.add_argument("--quantities", default="loss,gradient", help="of loss,gradient,hessian (default: loss,gradient)")
    what.add_argument("--space", choices=SPACES, help="default: pairs, for float32 gaps")
    what.add_argument("--stride", type=int, default=1, metavar="N", help="every Nth number only: REDUCED (default: 1)")
    what.add_argument(
        "--step", type=int, default=Triples.step, metavar="N", help=f"of the lattice of triples (default: {Triples.step})"
    )
    what.add_argument("--rows", type=_count, default=2**20, metavar="N", help="rows of a sample (default: 2^20)")
    what.add_argument("--seed", type=int, default=0, help="of a sample or search (default: 0)")
    how = made.add_argument_group("how it runs")
    how.add_argument("--engine", default="local", metavar="NAME", help=f"{' or '.join(ENGINES)} (default: local)")
    how.add_argument("--workers", type=int, metavar="N", help="processes of the local engine (default: one a core)")
    how.add_argument("--scheduler", metavar="ADDRESS", help="of the Dask cluster, such as tcp://host:8786")
    how.add_argument("--chunks", type=_span, metavar="A:B", help="only these: REDUCED unless the journal has the others")
    how.add_argument("--report", type=Path, default=Path("sweeps"), metavar="FOLDER", help="for the files (default: sweeps)")
    how.add_argument("--cases", action="store_true", help="also write the worst inputs as stored cases (TOML)")
    instead = made.add_argument_group("instead of a sweep")
    instead.add_argument("--plan", action="store_true", help="measure a chunk, print rows and estimated cost, and stop")
    instead.add_argument("--cores", type=int, default=2, metavar="N", help="of the plan's estimate (default: 2)")
    instead.add_argument("--search", action="store_true", help="search for the worst error: a lower bound, for any dtype")
    instead.add_argument("--seconds", type=float, default=60.0, metavar="S", help="how long a search may take (default: 60)")
    instead.add_argument("--classes", type=int, default=2, metavar="K", help="classes of a search (default: 2)")
    return made


def _count(text: str) -> int:
    """A number of rows; 10**12 may be written 1e12."""
    value = float(text)
    if value != int(value):
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: a whole number")
    return int(value)


def _span(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    try:
        return int(first), int(last) if colon else int(first) + 1
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: A:B or A, numbers of chunks") from None


def _request(options: argparse.Namespace) -> Request:
    return Request(**{name: getattr(options, name) for name in Request.__dataclass_fields__})


def _chunks(job: Job, span: tuple[int, int] | None) -> range:
    first, last = span or (0, job.space.chunks)
    if not 0 <= first < last <= job.space.chunks:
        raise SweepError(f"--chunks={first}:{last}: allowed: parts of 0:{job.space.chunks}")
    return range(first, last)


def sweep(options: argparse.Namespace) -> int:
    """Run a sweep, or the rest of it, and write its report."""
    job, adapter, operation = job_of(_request(options))
    chunks = _chunks(job, options.chunks)
    engine = engine_named(options.engine, options.workers, options.scheduler)
    try:
        options.report.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SweepError(
            f"--report={options.report}: {error.strerror}; give a folder, which is made if it is not there"
        ) from None
    stem = options.report / journal_name(job)
    with open_journal(stem.with_suffix(".journal"), header_of(job), job.space.classes) as journal:
        run_sweep(job, chunks, engine, journal)
        report = report_of(job, adapter, operation, journal)
        print("\n".join(lines_of(report)))
        written = write_files(report, job, journal.total, stem)
        if options.cases:
            written += write_texts({stem.with_suffix(".toml"): cases_of(report)})
    for path in written:
        print(f"wrote {path}")
    return GOOD if holds(report) else WORSE


def _folder(path: Path) -> Path:
    """The folder of the report, made if it is not there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SweepError(f"--report={path}: {error.strerror}; give a folder, which is made if it is not there") from None
    return path


def plan(options: argparse.Namespace) -> int:
    """Say what a sweep would cost."""
    job, _, _ = job_of(_request(options))
    if options.cores < 1:
        raise SweepError(f"--cores={options.cores}: allowed: 1 and more")
    print("\n".join(plan_lines(job, probe(job), options.cores)))
    return GOOD


def find(options: argparse.Namespace) -> int:
    """Search for the worst errors and write them as JSON, and as cases if asked."""
    found = search_report(_request(options), options.classes, options.seconds)
    for line in search_lines(found):
        print(line)
    stem = _folder(options.report) / f"{Path(options.backend).stem}-{found['operation']}-{found['dtype']}-searched"
    texts = {stem.with_suffix(".json"): as_json(found)}
    if options.cases:
        texts[stem.with_suffix(".toml")] = cases_of(found)
    for path in write_texts(texts):
        print(f"wrote {path}")
    return GOOD


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run a command; the exit status."""
    options = parser(program).parse_args(arguments)
    run = plan if options.plan else find if options.search else sweep
    try:
        return run(options)
    except (AdapterError, ClaimsError, SweepError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
