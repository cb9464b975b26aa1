"""The command of a failure: what runs the same test of the same operation at the same problem again."""

from __future__ import annotations

import shlex
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from adapters.operation import Operation
from suites.inputs.cases import Case
from suites.inputs.given import Given, compressed
from suites.inputs.own_file import write_anew

LONGEST_LINE = 2000
"""Characters of a command up to which its problem is written as JSON; longer ones are compressed."""

LONGEST_COMPRESSED = 8000
"""Characters of a compressed problem from which on it is written into a file, where there is a report to put it beside."""

LONGEST_ARGUMENT = 100_000
"""Characters of an argument that a shell takes: Linux allows 128 KiB."""

CASES = "cases"
"""Folder of the files, in that of the report."""


@dataclass(frozen=True)
class Repro:
    """Makes the commands of a run's failures.

    Arguments:
      command: the run's own, with what names the backend and the claims.
      searching: its options that decide which problems are generated.
      folder: that of the report, if there is one.
      files: problems too long for a command, by the file that a command names; for the run to write.
      written: the files that were written.
    """

    command: str
    searching: str
    folder: Path | None = None
    files: dict[Path, str] = field(default_factory=dict)
    written: list[Path] = field(default_factory=list)

    def at(self, operation: Operation, asked: Given | Case) -> str:
        """The command that asks an operation one problem, or a stored case with its deviations."""
        start = f"{self.command} --operation={shlex.quote(operation.name)}"
        if isinstance(asked, Case):
            return f"{start} --case={shlex.quote(asked.id)}"
        text = asked.text()
        if len(plain := f"{start} --case={shlex.quote(text)}") <= LONGEST_LINE:
            return plain
        if len(short := compressed(text)) > LONGEST_COMPRESSED and self.folder is not None:
            return f"{start} --case={shlex.quote(str(self._filed(asked, text)))}"
        if len(short) <= LONGEST_ARGUMENT:
            return f"{start} --case={short}"
        whole = self.whole(operation, asked.problem.format.name, asked.test)
        return f"{whole}  # the input is too long for a command: --report=DIR writes it into a file"

    def whole(self, operation: Operation, dtype: str, test: str) -> str:
        """The command that runs a whole test of an operation in a dtype again, with all that it generates."""
        return f"{self.command} --operation={shlex.quote(operation.name)} --dtype={dtype} {self.searching} -k {test}"

    def _filed(self, asked: Given, text: str) -> Path:
        assert self.folder is not None
        path = self.folder / CASES / f"{asked.test}-{zlib.crc32(text.encode()):08x}.json"
        self.files[path] = text
        return path

    def write(self, told: str) -> None:
        """Write the files that a failure names, and forget the others: a search fails often until it is shrunk."""
        for path, text in self.files.items():
            if str(path) in told:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_anew(path, text)
                self.written.append(path)
        self.files.clear()
