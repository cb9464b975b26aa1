"""A worker process as its parent sees it: started, asked, watched, and ended with all that it has started.

Sending, work and receiving have one deadline. A worker that misses it, grows, or says what no worker says is killed.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.adapter import AdapterError, Observed
from adapters.line import GLANCE, Line, Most
from adapters.output import Output, Tail
from adapters.question import Question
from adapters.script import Script
from adapters.sources import sources
from adapters.supervisor import end_below
from adapters.wire import Description, ForgedError, Greeting, Step, value_of

LOADING_SECONDS = 600.0
"""A framework that takes longer to load is taken to hang."""

LAST_SECONDS = 5.0
"""What a process gets to end in once it has closed its connection."""

_PARTING_SECONDS = 0.5
"""What the supervisor gets to end in once there is nothing below it."""

_LAST_LINES, _LAST_CHARACTERS = 5, 500
"""What an error tells of the output of a process that ended while it was loaded."""

_GIB = 2**30


@dataclass(frozen=True)
class _Answer:
    """What a request is answered with: a type, and the bytes of text that it may have. A string says why there is nothing."""

    kind: Any
    most_text: int = 2**20
    has_arrays: bool = False

    def most(self, asked: Any) -> Most:
        """The bytes that an answer to what is asked may have."""
        return Most(self.most_text, asked.most_bytes if self.has_arrays else 0)


_GREETING = _Answer(Greeting)
_ANSWERS = {
    "load": _Answer(Description | Step | str, most_text=2**23),
    "observe": _Answer(Observed | str, has_arrays=True),
    "observe_here": _Answer(Observed, has_arrays=True),
    "script": _Answer(Script | None, most_text=2**25),  # a million logits, each in digits
}


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
    """How a worker ended, in words."""

    text: str
    hung: bool = False


_FORGED = Ending("wrote into the connection and was killed")


class _OverError(Exception):
    """A worker has taken more than it may."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.text)
        self.ending = ending


class Worker:
    """A process with the backend loaded, and the line to it.

    Arguments:
      trial: what it loads.
      allowance: what each of its calls may take.
      written: takes in what it writes to standard output and error once it is loaded.
    """

    def __init__(self, trial: Trial, allowance: Allowance, written: Tail) -> None:
        """Raises AdapterError if the backend or processes are not there, or its process ends while it is loaded."""
        if os.name != "posix":
            raise AdapterError(f"a worker process: this system is {os.name!r}; allowed: Linux, macOS and other POSIX systems")
        self._allowance, self._calls, self._number = allowance, 0, 0
        here, there = socket.socketpair()
        with there:
            self._process = _started(there)
        assert self._process.stdout is not None
        self._output = Output(self._process.stdout, Tail())
        self._line, self._pid = Line(here, self._output), self._process.pid
        loading = f"loading the backend {trial.backend!r}"
        greeting: Greeting = self._loaded(loading, self._exchange(_GREETING, (), self._limits(LOADING_SECONDS)))
        self._pid = greeting.pid
        self._check_sources(greeting)
        self.description: Description = self._described(loading, trial)
        self._at_first = self.resident()
        self._output.tail = written

    def ask(self, method: str, question: Question) -> Any:
        """The answer to a call, or the Ending of the process."""
        self._calls += 1
        most = self._at_first + self._allowance.gib * _GIB
        answer = self._request(method, question, self._limits(self._allowance.seconds, most))
        if isinstance(answer, Ending):
            return answer
        is_forged = self.has_unread() or (isinstance(answer, Observed) and _is_empty(answer, question))
        return self._killed(_FORGED) if is_forged else answer

    def has_unread(self) -> bool:
        """True if something came over the connection after the last answer."""
        return self._line.has_unread()

    def _described(self, loading: str, trial: Trial) -> Any:
        """What it has loaded; each call of a kernel that is made on the way may take what any call may."""
        answer = self._loaded(loading, self._request("load", trial, self._limits(LOADING_SECONDS)))
        while isinstance(answer, Step):
            what, answer = answer.what, self._request("load", None, self._limits(self._allowance.seconds))
            is_late = isinstance(answer, Ending) and answer.hung
            answer = self._loaded(f"{what} took longer than --call-timeout" if is_late else what, answer)
        return answer

    def _loaded(self, what: str, answer: Any) -> Any:
        """What a worker said while it was loaded, or while something was called for that.

        Raises:
          AdapterError: it ended, or said why there is nothing.
        """
        if isinstance(answer, Ending):
            raise AdapterError(f"--isolate: {what}: its process {answer.text}{self._last_words()}")
        if isinstance(answer, str):
            self.close()
            raise AdapterError(answer)
        return answer

    def _last_words(self) -> str:
        lines = [line for line in self._output.tail.take().splitlines() if line.strip()]
        told = " | ".join(lines[-_LAST_LINES:])[-_LAST_CHARACTERS:]
        return f"; it wrote last: {told}" if told else ""

    def _check_sources(self, greeting: Greeting) -> None:
        """Refuse a worker that would answer for other code than this."""
        if greeting.sources != sources():
            self.close()
            raise AdapterError(
                f"--isolate: the process runs {greeting.sources}, this one {sources()}; allowed: the same files; "
                "start again if they were edited during the run, or uninstall the others"
            )

    def _limits(self, seconds: float, most_bytes: float = float("inf")) -> _Limits:
        return _Limits(self, seconds, time.monotonic() + seconds, most_bytes)

    def _request(self, method: str, asked: Any, watch: _Limits) -> Any:
        self._number += 1
        return self._exchange(_ANSWERS[method], (method, asked), watch)

    def _exchange(self, wanted: _Answer, request: tuple[Any, ...], watch: _Limits) -> Any:
        """What a request is answered with, or the Ending of the process; without a request, what it says by itself."""
        try:
            if request:
                self._line.send(self._number, request, watch)
            answer = self._line.receive(self._number, wanted.most(request[-1] if request else None), watch)
            self._output.read()
            watch.check_memory()
            return value_of(answer, wanted.kind)
        except ForgedError:
            return self._killed(_FORGED)
        except _OverError as over:
            return self._killed(over.ending)
        except (EOFError, OSError):
            return self._ended()

    def grown(self) -> Ending:
        """How it ends for its memory."""
        calls = f"{self._calls} call{'s' if self._calls > 1 else ''}"
        return Ending(f"grew by more than {self._allowance.gib:g} GiB of memory in {calls} and was killed")

    def resident(self) -> float:
        """Bytes of memory that the process has; 0 where the system does not say."""
        try:
            pages = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0.0
        return float(pages * os.sysconf("SC_PAGE_SIZE"))

    def is_gone(self) -> bool:
        """True if the process has ended; it is left to be waited for, so that its number stays taken."""
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _ended(self) -> Ending:
        """What the process has ended with, now that its end of the connection is closed."""
        deadline = time.monotonic() + LAST_SECONDS
        while not self.is_gone():
            if time.monotonic() > deadline:
                return self._killed(Ending("closed its connection and was killed"))
            self._output.read()
            time.sleep(GLANCE / 10)
        self.close()
        status = self._process.returncode
        if status >= 0:
            return Ending(f"ended itself with exit status {status}")
        try:
            return Ending(f"was ended by {signal.Signals(-status).name} (signal {-status})")
        except ValueError:
            return Ending(f"was ended by signal {-status}")

    def _killed(self, ending: Ending) -> Ending:
        self.close()
        return ending

    def close(self) -> None:
        """End the process, and what it has started."""
        if self._process.returncode is not None:
            return
        self._line.close()
        end_below(self._process.pid)
        with suppress(subprocess.TimeoutExpired):  # it ends by itself, and counts the processor time of the worker
            self._process.wait(_PARTING_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()


@dataclass(frozen=True)
class _Limits:
    """What one answer of a worker may take, as a watch over its line."""

    worker: Worker
    seconds: float
    deadline: float
    most_bytes: float

    def check_time(self) -> None:
        """Raises _OverError after the deadline."""
        if time.monotonic() > self.deadline:
            raise _OverError(Ending(f"did not return within {self.seconds:g} s and was killed", hung=True))

    def check_process(self) -> None:
        """Raises EOFError if the process is gone, whoever has its end of the line, and _OverError if it has grown."""
        if self.worker.is_gone():
            raise EOFError
        self.check_memory()

    def check_memory(self) -> None:
        """Raises _OverError if the process has grown."""
        if self.worker.resident() > self.most_bytes:
            raise _OverError(self.worker.grown())


def _is_empty(observed: Observed, question: Question) -> bool:
    """True of an answer that has neither what was asked nor a reason."""
    return observed.error is None and not observed.ended and not set(question.quantities) <= set(observed.values)


def _started(there: socket.socket) -> subprocess.Popen[bytes]:
    """The process, with the other end of the connection and the paths that modules are found on here."""
    paths = [str(path) or os.getcwd() for path in sys.path]  # not in PYTHONPATH: there a colon divides one in two
    code = f"import sys; sys.path[:] = {paths!r}; import adapters.supervisor; adapters.supervisor.run()"
    return subprocess.Popen(
        [sys.executable, "-P", "-u", "-W", "ignore", "-c", code, str(there.fileno())],
        bufsize=0,
        pass_fds=[there.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
