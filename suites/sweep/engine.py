"""Where chunks run: the cores of this machine, or a Dask cluster; both as a concurrent.futures.Executor."""

from __future__ import annotations

import multiprocessing
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from typing import Any

from reference.installing import extra
from suites.sweep.chunk import Job, SweepError, run_chunk
from suites.sweep.outcome import Outcome

ENGINES = ("local", "dask")

_MOST_FAILURES = 3
"""Dead workers that are borne with no chunk finished between them."""

_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


class Engine(ABC):
    """Gives executors, a new one after a worker died."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many chunks run at once."""

    @abstractmethod
    def start(self) -> Executor:
        """A working executor; the one before is closed."""

    @abstractmethod
    def stop(self) -> None:
        """Close it: what runs is not waited for."""


class LocalEngine(Engine):
    """A process a core of this machine, started anew (spawn): nothing is shared with this process."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    @property
    def workers(self) -> int:
        """The number of processes that was asked for."""
        return self._workers

    def start(self) -> Executor:
        """A new pool, whose frameworks have one thread each."""
        self.stop()
        for name in _ONE_THREAD:
            os.environ.setdefault(name, "1")
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(self._workers, mp_context=context, initializer=_end_with_the_parent)
        return self._pool

    def stop(self) -> None:
        """End the pool's processes."""
        if self._pool is not None:
            processes = list((self._pool._processes or {}).values())
            self._pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            self._pool = None


def _end_with_the_parent() -> None:
    """Watch for the end of the process that started this worker: a killed one cannot stop its workers."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class DaskEngine(Engine):
    """The workers of a Dask cluster; Dask itself runs the chunks of a dead worker on another."""

    def __init__(self, scheduler: str, timeout: float = 10.0) -> None:
        try:
            from distributed import Client
        except ModuleNotFoundError:
            raise SweepError(
                f"--engine=dask needs the package 'distributed', which is not installed; get it with: {extra('dask')}"
            ) from None
        try:
            self._client = Client(scheduler, timeout=timeout, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise SweepError(
                f"--scheduler={scheduler}: not reached ({error}); give the address that `dask scheduler` prints, "
                "such as tcp://host:8786"
            ) from None

    @property
    def workers(self) -> int:
        """Threads of all workers there are, one at least."""
        return max(1, sum(self._client.nthreads().values()))

    def start(self) -> Executor:
        """The client as an executor."""
        return self._client.get_executor(pure=False)

    def stop(self) -> None:
        """Close the connection to the cluster, which goes on running."""
        self._client.close()


def engine_named(name: str, workers: int | None, scheduler: str | None) -> Engine:
    """The engine that the command line asks for.

    Raises:
      SweepError: there is no such engine, or the scheduler is missing, superfluous or not reached.
    """
    if name not in ENGINES:
        raise SweepError(f"--engine={name}: not known; allowed: {', '.join(ENGINES)}")
    if (name == "dask") != (scheduler is not None):
        raise SweepError(f"--engine={name} {'needs' if name == 'dask' else 'takes no'} --scheduler=ADDRESS")
    if name == "dask":
        assert scheduler is not None
        return DaskEngine(scheduler)
    return LocalEngine(workers or len(os.sched_getaffinity(0)))


def run_all(engine: Engine, job: Job, chunks: Iterable[int], take: Callable[[int, Outcome], None]) -> None:
    """Run chunks in any order and hand each outcome over once; a dead worker costs the chunks that were running.

    Raises:
      SweepError: an operation raised, or workers keep dying.
    """
    todo, failures = dict.fromkeys(chunks), 0
    try:
        while todo:
            before = len(todo)
            try:
                _run_until_broken(engine, job, todo, take)
            except BrokenExecutor:
                failures = failures + 1 if len(todo) == before else 1
                if failures > _MOST_FAILURES:
                    first = next(iter(todo))
                    raise SweepError(
                        f"workers died {failures} times while no chunk finished, at chunk {first} or near it; "
                        f"run that one alone with --chunks={first}:{first + 1} --workers=1 to see why"
                    ) from None
    finally:
        engine.stop()


def _run_until_broken(engine: Engine, job: Job, todo: dict[int, None], take: Callable[[int, Outcome], None]) -> None:
    """Run what is left of `todo`; no more chunks wait in the executor than its workers will take next."""
    executor = engine.start()
    waiting = iter(list(todo))
    running: dict[Future[Outcome], int] = {}
    while todo:
        while len(running) < 2 * engine.workers and (chunk := next(waiting, None)) is not None:
            running[_submitted(executor, job, chunk)] = chunk
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            chunk = running.pop(future)
            take(chunk, _result(future))
            del todo[chunk]


def _submitted(executor: Executor, job: Job, chunk: int) -> Future[Outcome]:
    future: Any = executor.submit(run_chunk, job, chunk)
    return future


def _result(future: Future[Outcome]) -> Outcome:
    """What a chunk gave; that a worker of Dask died too often is told as that of a pool is."""
    try:
        return future.result()
    except Exception as error:
        if type(error).__name__ in ("KilledWorker", "FutureCancelledError"):
            raise BrokenExecutor(str(error)) from None
        raise
