"""Sweeps on real processes: killed workers, a killed parent, resumption, a Dask cluster on loopback, and faults."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

from suites.sweep.__main__ import main
from suites.sweep.chunk import Job, SweepError, run_chunk
from suites.sweep.engine import Engine, LocalEngine, engine_named, run_all
from suites.sweep.journal import encoded
from suites.sweep.outcome import Outcome
from suites.sweep.request import Request, job_of
from tests.command import ROOT

BACKENDS = ROOT / "tests" / "sweep_backends.py"
STRIDE = 2048
"""31 numbers: 961 pairs."""


def job(name: str, stride: int = STRIDE) -> Job:
    return job_of(Request(backend=f"{BACKENDS}:{name}", stride=stride))[0]


def whole(of: Job) -> Outcome:
    """All chunks in this process."""
    total = Outcome()
    for chunk in range(of.space.chunks):
        total = total.plus(run_chunk(of, chunk))
    return total


def same(one: Outcome, other: Outcome) -> bool:
    return one.rows == other.rows and all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(one.tally, other.tally, strict=True)
    )


class Threads(Engine):
    """Threads of this process, for the logic alone."""

    @property
    def workers(self) -> int:
        return 2

    def start(self) -> Executor:
        self.pool = ThreadPoolExecutor(2)
        return self.pool

    def stop(self) -> None:
        self.pool.shutdown()


def test_every_pair_is_asked_once() -> None:
    swept = job("Slow", stride=4096)
    assert swept.space.rows == 16**2
    total = whole(job_of(Request(backend="numpy", stride=4096))[0])
    assert total.rows == 2 * 16**2
    assert total.tally.grades[0].sum() == total.rows
    assert total.tally.grades[1].sum() == 2 * total.rows


def test_an_operation_that_raises_ends_the_sweep() -> None:
    with pytest.raises(SweepError, match="RuntimeError: no"):
        run_all(Threads(), job("Raising"), range(3), lambda *_: None)


def test_a_worker_with_other_versions_refuses() -> None:
    from dataclasses import replace

    swept = job("Slow")
    with pytest.raises(SweepError, match="a worker has"):
        run_chunk(replace(swept, made_with=(("code", "other"),)), 0)


def test_dead_workers_cost_their_chunks_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two deaths by SIGKILL: the pool is restarted, every chunk is counted once, and the sums are those without a death."""
    for number in range(2):
        (tmp_path / f"death-{number}").touch()
    monkeypatch.setenv("DEADLY", str(tmp_path))
    taken: dict[int, Outcome] = {}

    def take(chunk: int, outcome: Outcome) -> None:
        assert chunk not in taken
        taken[chunk] = outcome

    swept = job("Deadly")
    run_all(LocalEngine(2), swept, range(0, 256, 16), take)
    assert not list(tmp_path.iterdir())
    assert sorted(taken) == list(range(0, 256, 16))
    assert all(same(taken[chunk], run_chunk(swept, chunk)) for chunk in taken)


def test_workers_that_always_die_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        (tmp_path / f"death-{number}").touch()
    monkeypatch.setenv("DEADLY", str(tmp_path))
    with pytest.raises(SweepError, match="workers died 4 times"):
        run_all(LocalEngine(1), job("Deadly"), range(2), lambda *_: None)


def command(folder: Path, *more: str) -> list[str]:
    options = (f"--backend={BACKENDS}:Slow", f"--stride={STRIDE}", "--workers=1", f"--report={folder}")
    return [sys.executable, "-m", "suites.sweep", *options, *more]


def lines_in(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*.journal"))


def killed_after(folder: Path, lines: int) -> None:
    """Start the sweep and kill its parent process once the journal has so many lines."""
    with subprocess.Popen(command(folder), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        started = time.monotonic()
        while lines_in(folder) < lines and time.monotonic() - started < 120:
            time.sleep(0.05)
        workers = children_of(process.pid)
        process.send_signal(signal.SIGKILL)
    assert lines_in(folder) >= lines
    assert workers
    started = time.monotonic()
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() - started < 30:
        time.sleep(0.05)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()], "workers outlive their sweep"


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_killed_sweep_goes_on_with_nothing_lost_and_nothing_twice(tmp_path: Path) -> None:
    killed_after(tmp_path, 20)
    before = lines_in(tmp_path)
    killed_after(tmp_path, before + 5)
    status = subprocess.run(command(tmp_path), cwd=ROOT, capture_output=True, text=True, check=False)
    assert status.returncode == 0, status.stderr
    (journal,) = tmp_path.glob("*.journal")
    chunks = [json.loads(line.split(b" ", 1)[1])["chunk"] for line in journal.read_bytes().splitlines()[1:]]
    assert sorted(chunks) == list(range(256))
    (report,) = tmp_path.glob("*.json")
    assert json.loads(report.read_text())["questions"] == 2 * 31**2


def test_an_exhaustive_sweep_says_so_and_a_part_says_reduced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--backend=numpy", "--dtype=float16", "--space=gaps", "--workers=1", f"--report={tmp_path}", "--cases"]
    assert main(options) == 0
    shown = capsys.readouterr().out
    assert "coverage: exhaustive" in shown
    assert "253952 questions" in shown
    assert main([*options, "--stride=64"]) == 2
    assert "of another sweep: chunks" in (refused := capsys.readouterr().err) or "of another sweep: job" in refused
    part = tmp_path / "part"
    assert main(["--backend=numpy", f"--stride={STRIDE}", "--chunks=0:9", "--workers=1", f"--report={part}"]) == 0
    assert "REDUCED (every 2048th number only)" in capsys.readouterr().out


def test_a_forged_journal_of_fewer_questions_is_no_exhaustive_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--backend=numpy", "--dtype=float16", "--space=gaps", "--stride=64", "--workers=1", f"--report={tmp_path}"]
    assert main(options) == 0
    (path,) = tmp_path.glob("*.journal")
    header, chunk = path.read_bytes().splitlines(keepends=True)
    assert json.loads(chunk[9:])["chunk"] == 0
    path.write_bytes(header + encoded({"chunk": 0, "outcome": Outcome().as_json()}))
    capsys.readouterr()
    assert main(options) == 2
    assert "1 of 1 chunks have 0 questions and as entries 0 of loss, 0 of gradient; the whole" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine=slurm"], "--engine=slurm: not known; allowed: local, dask"),
        (["--engine=dask"], "needs --scheduler"),
        (["--scheduler=tcp://a:1"], "takes no --scheduler"),
        (["--dtype=float64"], "allowed: float32, float16, bfloat16"),
        (["--dtype=float32", "--space=pairs"], "too many to exhaust"),
        (["--quantities=hvp"], "allowed: loss, gradient, hessian"),
        (["--operation=none"], "there is: absorption_free"),
        (["--chunks=9:3"], "allowed: parts of 0:256"),
        (["--stride=0"], "allowed: 1 and more"),
        (["--backend=mxnet"], "is not known"),
        (["--report=/dev/null/x"], "give a folder"),
    ],
)
def test_mistakes_are_told_in_a_line(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--backend=numpy", *options]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


@pytest.fixture
def cluster() -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A Dask scheduler and two worker processes on loopback."""
    pytest.importorskip("distributed")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    address = f"tcp://127.0.0.1:{18700 + os.getpid() % 1000}"
    port = address.rpartition(":")[2]
    dask = [sys.executable, "-m", "dask"]
    started = [subprocess.Popen([*dask, "scheduler", "--host=127.0.0.1", f"--port={port}", "--no-dashboard"], env=environment)]
    worker = [*dask, "worker", address, "--nthreads=1", "--no-dashboard", "--no-nanny"]
    started += [subprocess.Popen(worker, env=environment, cwd=ROOT) for _ in range(2)]
    time.sleep(8)
    yield address, started
    for process in reversed(started):
        process.terminate()
        process.wait(timeout=20)


def test_a_dask_cluster_gives_the_same_and_bears_a_dead_worker(cluster: tuple[str, list[subprocess.Popen[bytes]]]) -> None:
    address, processes = cluster
    swept = job("Slow")
    taken: dict[int, Outcome] = {}

    def take(chunk: int, outcome: Outcome) -> None:
        assert chunk not in taken
        taken[chunk] = outcome
        if len(taken) == 5:
            processes[-1].kill()

    chunks = range(0, 256, 8)
    run_all(engine_named("dask", None, address), swept, chunks, take)
    assert sorted(taken) == list(chunks)
    assert all(same(taken[chunk], run_chunk(swept, chunk)) for chunk in chunks)


def test_a_scheduler_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("distributed")
    assert main(["--backend=numpy", "--engine=dask", "--scheduler=tcp://127.0.0.1:9"]) == 2
    assert "not reached" in capsys.readouterr().err
