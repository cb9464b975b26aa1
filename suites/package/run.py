"""Runs the suites on a kernel in a process of its own, which the kernel may end or never return to, and reads the verdict."""

from __future__ import annotations

import math
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread, Timer
from typing import TextIO

from .place import python
from .verdict import Verdict, verdict_of

INTERRUPTED, USAGE, ANSWERED_NOTHING, TIME_UP, ENDED = 2, 4, 6, 7, 8
"""Exit statuses: interrupted, a mistake in an option, no number to judge, no time left, the process ended by the kernel."""

_JUDGED = "SOFTMAX_CE_JUDGED"
"""Set in a process that judges: a file that is loaded there must not judge once more."""


class NotJudgedError(RuntimeError):
    """There is no verdict: the message says why and what to do, `status` is the exit status of the command."""

    def __init__(self, message: str, status: int, printed: str = "") -> None:
        super().__init__(message)
        self.status, self.printed = status, printed


@dataclass(frozen=True)
class Run:
    """A run of `softmax-ce judge`.

    Arguments:
      arguments: those of the command, but for the report.
      folder: where the report goes.
      seconds: what the run may take; None for any time.
      echo: where all that it writes is shown at once.

    Raises:
      ValueError: the seconds are no number above 0.
    """

    arguments: Sequence[str]
    folder: Path
    seconds: float | None = None
    echo: TextIO | None = None

    def __post_init__(self) -> None:
        given = self.seconds
        if given is not None and not (isinstance(given, (int, float)) and math.isfinite(given) and given > 0):
            raise ValueError(f"timeout: {given!r} was given; allowed: seconds above 0, or None for any time")

    def verdict(self) -> Verdict:
        """What it says.

        Raises:
          NotJudgedError: it has no verdict.
        """
        __tracebackhide__ = True
        if _JUDGED in os.environ:
            raise NotJudgedError("judge was called by a file that is loaded to be judged; call it below a main guard", USAGE)
        before = self._reports()
        printed, status, is_late = self._ended()
        if is_late:
            do = "give more" if self._isolates else "give more, or judge with isolate"
            raise NotJudgedError(f"time was up: {self.seconds:g} seconds; {do}", TIME_UP, printed)
        written = [path for path, when in self._reports().items() if before.get(path) != when]
        if len(written) != 1:
            raise _without_report(printed, status, isolates=self._isolates)
        try:
            return verdict_of(written[0], printed)
        except (KeyError, TypeError, ValueError) as error:
            told = f"{written[0].name} is not as it was written, perhaps by the kernel ({type(error).__name__}: {error})"
            raise NotJudgedError(told, ENDED, printed) from error

    @property
    def _isolates(self) -> bool:
        return "--isolate" in self.arguments

    def _reports(self) -> dict[Path, tuple[int, int]]:
        """The reports in the folder, of other kernels too, each with what changes where it is written anew."""
        return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in self.folder.glob("report*.json")}

    def _ended(self) -> tuple[str, int, bool]:
        """What the process wrote, its exit status, and whether its time was up."""
        ours = ("-p", "no:cacheprovider", f"--report={self.folder}")  # no files of ours beside those of the user's own tests
        code = f"from {__package__}.__main__ import main; main(prog_name='softmax-ce')"
        command = [*python(code), "judge", *self.arguments, *ours]
        late: list[bool] = []
        with (
            subprocess.Popen(
                command,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            ) as process,
            _stopped_after(self.seconds, lambda: _kill(process, late)),
        ):
            # What the kernel has started may outlive it and hold its output open.
            Thread(target=_kill_what_is_left, args=[process], daemon=True).start()
            printed = "".join(self._lines(process))
        return printed, process.returncode, bool(late)

    def _lines(self, process: subprocess.Popen[str]) -> Iterator[str]:
        assert process.stdout is not None
        for line in process.stdout:
            if self.echo is not None:
                self.echo.write(line)
            yield line


def _kill(process: subprocess.Popen[str], late: list[bool]) -> None:
    late.append(True)
    _kill_group(process)


def _kill_what_is_left(process: subprocess.Popen[str]) -> None:
    process.wait()
    _kill_group(process)


def _kill_group(process: subprocess.Popen[str]) -> None:
    """Kill what is left of a process and of those that it has started."""
    if os.name != "posix":
        process.kill()
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _stopped_after(seconds: float | None, stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` after some seconds, and where the block is left by an exception."""
    timer = Timer(seconds, stop) if seconds is not None else None
    try:
        if timer is not None:
            timer.start()
        yield
    except BaseException:
        stop()
        raise
    finally:
        if timer is not None:
            timer.cancel()


def _environment() -> dict[str, str]:
    """That of this process, without what it says to a pytest that runs here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return kept | {_JUDGED: "1", "PYTHONUNBUFFERED": "1"}


def _without_report(printed: str, status: int, *, isolates: bool) -> NotJudgedError:
    """Why there is no report: a mistake in the call, or the kernel ended the process."""
    lines = printed.splitlines()
    unknown = [line.partition(": error: ")[2] for line in lines if ": error: " in line]  # options, of which pytest says so
    mistakes = unknown or [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    if mistakes or status in (2, USAGE):
        return NotJudgedError(" ".join(mistakes) or printed.strip(), USAGE, printed)
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    last = printed.strip().splitlines()[-1:]
    do = "" if isolates else "; judge with isolate to be told by which call"
    told = f"the process that judges was ended, perhaps by the kernel ({how}){do}"
    return NotJudgedError(f"{told}; its last line: {' '.join(last)}", ENDED, printed)


def status_of(verdict: Verdict) -> int:
    """The exit status that says a verdict.

    0 every claim held that was tried, 1 one failed, 2 the run was interrupted, 5 nothing ran, 6 no call gave a number to judge.
    """
    if verdict.name == "FAILS" and not verdict.entries:
        return ANSWERED_NOTHING
    return {"CONFORMS": 0, "REDUCED": 0, "FAILS": 1, "INTERRUPTED": INTERRUPTED, "NOTHING RAN": 5}[verdict.name]
