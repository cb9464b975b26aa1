"""The folder of a report: made before the run, one run at a time, and of one thing on trial; a new report replaces the old."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from suites.judging.judge import Plan
from suites.judging.repro import CASES
from suites.judging.reproducer import REPRODUCERS
from suites.report.write import files_of

LEAST_FREE = 64 * 2**20
"""Bytes that must be free: a report with its scripts takes a few MiB."""

_LOCK = ".softmax-ce.lock"
_SCRIPTS = (f"{REPRODUCERS}/*.py", f"{CASES}/*.json")
"""What a run writes beside its report."""


def folder_of(plan: Plan) -> ReportFolder | None:
    """The folder that a plan asks for; files about what is the user's own carry its name. None if no report is asked for."""
    if plan.folder is None:
        return None
    return ReportFolder(plan.folder, "report" if plan.subject is None else f"report-{plan.subject.file_name}")


@dataclass(frozen=True)
class ReportFolder:
    """The folder that --report gives, and the stem of the report's files: that of a kernel carries its name.

    The lock is the system's: it is gone with the process, however that ends.
    """

    path: Path
    stem: str = "report"
    _lock: FileLock = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_lock", FileLock(self.path / _LOCK))

    def claim(self) -> None:
        """Make the folder and lock it: a run takes minutes, and its report must not be lost.

        Raises:
          ValueError: it cannot be made or written, another run writes into it, it has the report of something else or a link
            where a folder belongs, or the disk is full.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._refuse_links()
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(f"--report: another run writes into '{self.path}'; give another folder, or wait for it") from None
        except OSError as error:
            raise ValueError(
                f"--report: '{self.path}': {error.strerror}; allowed: a directory, which is made if it is not there"
            ) from None
        if fault := self._fault():
            self.release()
            raise ValueError(f"--report: {fault}")

    def _refuse_links(self) -> None:
        """Refuse a folder from which a link would lead what is written elsewhere; files are written anew, links or not.

        Raises:
          ValueError: it has one.
        """
        for name in (_LOCK, REPRODUCERS, CASES):
            if (self.path / name).is_symlink():
                raise ValueError(f"--report: '{self.path / name}' is a link; remove it, or give another folder")

    def _fault(self) -> str:
        """Why the report could not be written into the folder, or should not; empty if it can."""
        if directories := [path for path in files_of(self.path, self.stem) if path.is_dir()]:
            return f"'{directories[0]}' is a directory; remove it, or give another folder"
        if (free := shutil.disk_usage(self.path).free) < LEAST_FREE:
            return f"the disk of '{self.path}' has {free >> 20} MiB left; allowed: {LEAST_FREE >> 20} MiB or more"
        if others := sorted(path.name for path in self.path.glob("report*.json") if path.stem != self.stem):
            return (
                f"'{self.path}' has {', '.join(others)}, the report of something else; allowed: an empty folder, "
                f"or one with an earlier {self.stem}.json"
            )
        return ""

    def clear(self, kept: Iterable[Path]) -> None:
        """Remove the scripts and cases that earlier runs wrote here; those that are kept are of this run."""
        own = {path.resolve() for path in kept}
        for pattern in _SCRIPTS:
            for path in self.path.glob(pattern):
                if path.resolve() not in own:
                    path.unlink()
        for pattern in _SCRIPTS:
            with suppress(OSError):  # not there, or not empty
                (self.path / pattern).parent.rmdir()

    def release(self) -> None:
        """Let other runs have the folder."""
        self._lock.release()
