"""Runs every call of an operation in another process: one that crashes, hangs, exits or eats memory costs its own test.

`Isolated` is an adapter whose backend lives in a worker (`adapters.worker`); the framework is not even imported here. A call
that ends the worker, or that has to be ended, is an answer like any other, which says what happened; the next call gets a
new worker.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from adapters.adapter import Adapter, AdapterError, Call, GivenUpError, Observed
from adapters.layout import Layout
from adapters.operation import Operation
from adapters.question import Question
from adapters.script import Script
from adapters.worker import Description, NotOffered, Refused, sendable
from reference.problem import Problem
from reference.quantity import LAYER_GRADIENTS, SECOND_ORDER, Quantity

LOADING_SECONDS = 600.0
"""A framework that takes longer to load is taken to hang."""

MOST_SPENT = 500
"""Endings of an operation, a hang counted as `HANG`, after which it is not called any more: its other tests are skipped."""

HANG = 50
"""What a call that hangs is counted as: it costs its seconds, a crash but a new process."""

_GLANCE = 0.05
"""Seconds between two looks at a process that has not answered."""

_LAST_SECONDS = 5.0
"""What a process gets to end in once it has closed its connection."""

_GIB = 2**30

_NEEDS = {quantity: {Quantity.LOSS} for quantity in (Quantity.GRADIENT, *LAYER_GRADIENTS)} | {
    quantity: {Quantity.LOSS, Quantity.GRADIENT} for quantity in SECOND_ORDER
}
"""What is computed on the way to a quantity: where the loss ends the process, its derivatives do."""


@dataclass(frozen=True)
class Allowance:
    """What a call may take: seconds, and GiB by which its process may grow over all its calls (seen on Linux only)."""

    seconds: float = 60.0
    gib: float = 4.0

    def __post_init__(self) -> None:
        for name, value in (("--call-timeout", self.seconds), ("--call-memory", self.gib)):
            if not 0 < value < 1e6:
                raise AdapterError(f"{name}: {value:g} was given; allowed: a number above 0, below 1000000")


@dataclass(frozen=True)
class Trial:
    """What is on trial, as the command line names it."""

    backend: str
    device: str
    implementation: str | None = None


@dataclass(frozen=True)
class Ending:
    """How a worker ended, in words; `cost` is what it is counted as."""

    text: str
    cost: int = 1


class Worker:
    """A process with the backend loaded, and the socket to it."""

    def __init__(self, trial: Trial, allowance: Allowance) -> None:
        """Raises AdapterError if the backend or processes are not there, or its process ends while it is loaded."""
        if os.name != "posix":
            raise AdapterError(f"a worker process: this system is {os.name!r}; allowed: Linux, macOS and other POSIX systems")
        self._allowance, self._calls = allowance, 0
        here, there = socket.socketpair()
        with there:
            self._process = _started(there, trial)
        self._connection: Connection[Any, Any] = Connection(here.detach())
        loaded = self._answer(LOADING_SECONDS, float("inf"))
        self._at_first = self._resident()
        if isinstance(loaded, Refused):
            self.close()
            raise AdapterError(loaded.message)
        if isinstance(loaded, Ending):
            raise AdapterError(f"--isolate: loading the backend {trial.backend!r}: its process {loaded.text}")
        self.description: Description = loaded

    def ask(self, method: str, *arguments: Any) -> Any:
        """The answer to a call, or the Ending of the process."""
        self._calls += 1
        try:
            self._connection.send((method, arguments))
        except OSError:
            return self._ended()
        return self._answer(self._allowance.seconds, self._at_first + self._allowance.gib * _GIB)

    def _answer(self, seconds: float, most_bytes: float) -> Any:
        deadline = time.monotonic() + seconds
        while not self._connection.poll(_GLANCE):
            if self._is_gone():
                return self._ended()
            if self._resident() > most_bytes:
                return self._killed(self._grown())
            if time.monotonic() > deadline:
                return self._killed(f"did not return within {seconds:g} s and was killed", HANG)
        try:
            answer = self._connection.recv()
        except (EOFError, OSError):
            return self._ended()
        except Exception:  # a kernel may have written anything there
            return self._killed("wrote into the connection and was killed")
        return self._killed(self._grown()) if self._resident() > most_bytes else answer

    def _grown(self) -> str:
        calls = f"{self._calls} call{'s' if self._calls > 1 else ''}"
        return f"grew by more than {self._allowance.gib:g} GiB of memory in {calls} and was killed"

    def _resident(self) -> float:
        """Bytes of memory that the process has; 0 where the system does not say."""
        try:
            pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0.0
        return float(pages * os.sysconf("SC_PAGE_SIZE"))

    def _is_gone(self) -> bool:
        """True if the process has ended; it is left to be waited for, so that its number stays taken."""
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _ended(self) -> Ending:
        """What the process has ended with, now that its end of the connection is closed."""
        deadline = time.monotonic() + _LAST_SECONDS
        while not self._is_gone():
            if time.monotonic() > deadline:
                return self._killed("closed its connection and was killed")
            time.sleep(_GLANCE / 10)
        self.close()
        status = self._process.returncode
        if status >= 0:
            return Ending(f"ended itself with exit status {status}")
        try:
            return Ending(f"was ended by {signal.Signals(-status).name} (signal {-status})")
        except ValueError:
            return Ending(f"was ended by signal {-status}")

    def _killed(self, why: str, cost: int = 1) -> Ending:
        self.close()
        return Ending(why, cost)

    def close(self) -> None:
        """End the process, and what it has started."""
        if self._process.returncode is not None:
            return
        self._connection.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _started(there: socket.socket, trial: Trial) -> subprocess.Popen[bytes]:
    """The process, with the other end of the connection and the paths that modules are found on here."""
    given = [str(there.fileno()), trial.backend, trial.device, *([trial.implementation] if trial.implementation else [])]
    return subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", "-c", "import adapters.worker; adapters.worker.run()", *given],
        pass_fds=[there.fileno()],
        stdin=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
        start_new_session=True,
    )


@dataclass(frozen=True)
class _Remembered:
    """Quantities that were asked together of an operation in a layout, and how that ended."""

    label: str
    layout: Layout
    quantities: frozenset[Quantity]
    observed: Observed

    def answers(self, question: Question) -> bool:
        """True if it would end the same way, since these quantities are computed on the way to those."""
        same = (self.label, self.layout) == (question.operation.label, question.layout)
        asked = question.quantities
        return same and self.quantities <= set(asked).union(*(_NEEDS.get(q, ()) for q in asked))


@dataclass
class _Endings:
    """What is known of the calls that ended their process, so that none is made twice for nothing."""

    spent: Counter[str] = field(default_factory=Counter)
    """By label of the operation."""
    at: WeakKeyDictionary[Problem, list[_Remembered]] = field(default_factory=WeakKeyDictionary)

    def add(self, question: Question, observed: Observed, cost: int) -> None:
        label = question.operation.label
        self.spent[label] += cost
        remembered = _Remembered(label, question.layout, frozenset(question.quantities), observed)
        self.at.setdefault(question.problem, []).append(remembered)

    def find(self, question: Question) -> Observed | None:
        known: Iterable[_Remembered] = self.at.get(question.problem, ())
        return next((remembered.observed for remembered in known if remembered.answers(question)), None)


def _sendable(question: Question) -> Question:
    return replace(question, operation=sendable(question.operation))


def observed_apart(trial: Trial, operation: Operation, problem: Problem) -> Observed:
    """The loss in a process for this call alone, which it may end; the row lies among NaN, where a read beyond it shows.

    Raises:
      AdapterError: processes cannot be had.
    """
    worker = Worker(trial, Allowance())
    answer = worker.ask("observe_here", _sendable(Question(operation, problem, (Quantity.LOSS,), Layout.OFFSET)))
    worker.close()
    if isinstance(answer, Ending):
        return _observed_end(answer)
    found: Observed = answer
    return found


def _observed_end(ending: Ending) -> Observed:
    return Observed({}, error=f"the process of the call {ending.text}", ended=True)


class Isolated(Adapter):
    """The backend on trial, in a worker; a process that ends is replaced."""

    def __init__(self, trial: Trial, allowance: Allowance) -> None:
        """Raises AdapterError if the backend is not there, or processes cannot be had."""
        self._trial, self.allowance = trial, allowance
        self._endings = _Endings()
        self._worker: Worker | None = Worker(trial, allowance)
        self._description = self._worker.description
        self.name, self.device = self._description.name, self._description.device
        self.main, self.controls = self._description.main, self._description.controls

    @property
    def spent(self) -> int:
        """What all endings together are counted as."""
        return self._endings.spent.total()

    def devices(self) -> tuple[str, ...]:
        """Devices on which the backend runs here, the default first, as the worker said when it was loaded."""
        return self._description.devices

    def versions(self) -> dict[str, str]:
        """Versions of what is on trial, by package, as the worker said when it was loaded."""
        return self._description.versions

    def operations(self) -> tuple[Operation, ...]:
        """The operations on trial: the user's own, if an implementation is."""
        return self._description.operations

    def call(self, *_: Any) -> Call:
        """Not here: `observe` has the worker call."""
        raise AssertionError("calls are made in the worker")

    def script(self, asked: Question) -> Script | None:
        """See `Adapter.script`; None if the worker ended over it."""
        answer = self._ask("script", _sendable(asked))
        return None if isinstance(answer, Ending) else answer

    def observe(self, question: Question) -> Observed:
        """Run the operation in the worker; if that is the end of it, `Observed.ended` says so and `error` how.

        Raises:
          GivenUpError: too many calls of this operation have ended their process.
        """
        if (known := self._endings.find(question)) is not None:
            return known
        label = question.operation.label
        if self._endings.spent[label] >= MOST_SPENT:
            raise GivenUpError(f"{label} is not called any more: too many of its calls ended their process")
        answer = self._ask("observe", _sendable(question))
        if isinstance(answer, NotOffered):
            raise NotImplementedError(answer.message)
        if isinstance(answer, Ending):
            observed = _observed_end(answer)
            self._endings.add(question, observed, answer.cost)
            return observed
        found: Observed = answer
        return found

    def _ask(self, method: str, *arguments: Any) -> Any:
        if self._worker is None:
            self._worker = Worker(self._trial, self.allowance)
        answer = self._worker.ask(method, *arguments)
        if isinstance(answer, Ending):
            self._worker = None
        return answer

    def close(self) -> None:
        """End the worker; the next call would start another."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
