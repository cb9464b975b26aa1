"""The calls `judge` and `assert_conforms`: a kernel that is at hand in Python, judged in a process of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from .carry import Load, declarations
from .forms import defaults_of
from .run import Run
from .verdict import Verdict

_ALIASES = {"dtypes": "dtype", "modes": "mode"}
"""Names of arguments that are options in the singular."""


def judge(
    kernel: Any,
    like: str | None = None,
    *,
    limits: Iterable[Mapping[str, Any]] | Mapping[str, Any] = (),
    form: str | None = None,
    report: str | Path | None = None,
    timeout: float | None = None,
    **options: Any,
) -> Verdict:
    """Judge a kernel by the suites, in a process of its own.

    Arguments:
      kernel: a callable of the framework's signature: a function, lambda, closure, method, module, or compiled function; or
        where one is, 'path/to/file.py:name' or 'package.module:name'. What is at the top of a file is loaded from there anew:
        the verdict is on the file, not on what was changed in its module since. All else goes by cloudpickle, as it is.
      like: the framework whose tensors it takes: numpy, torch, jax, tensorflow, ...; a form has one of its own.
      limits: tables of what it does not do, each with its reason: {'reason': 'no double backward', 'derivatives': 1}.
      form: 'kernelbench' for a class of that benchmark's form; of its file alone, the class ModelNew or Model.
      report: a folder for the report and its scripts. Without it they lie in a temporary folder, which stays if a claim failed.
      timeout: seconds that all of it may take.
      options: those of `softmax-ce judge` by their names, `call_timeout=5` for --call-timeout=5: `claim`, `dtype` or `dtypes`,
        `effort` ('quick' unless given), `device`, `mode` or `modes`, `isolate`, ... True gives a flag, a list joins names.

    Returns:
      The verdict, whatever it is.

    Raises:
      ValueError: there is no such form, or the timeout is no number above 0.
      TypeError: the kernel cannot be sent to another process, `limits` are no tables, or an option is given twice.
      NotJudgedError: there is no verdict: a mistake in an option, no time left, or the kernel ended the process.

    >>> import numpy as np
    >>> def log_softmax(logits, labels):
    ...     shifted = logits - logits.max(axis=1, keepdims=True)
    ...     powers = np.exp(shifted)
    ...     sums = powers.sum(axis=1, keepdims=True)
    ...     rows = np.arange(len(labels))
    ...     gradient = powers / sums
    ...     gradient[rows, labels] -= 1
    ...     return np.log(sums[:, 0]) - shifted[rows, labels], gradient
    >>> verdict = judge(log_softmax, "numpy", claim="stable", dtypes=["float32"], case="absorption/*")
    >>> verdict.name, verdict.grade("float32", "loss")
    ('REDUCED', 'stable')
    """
    __tracebackhide__ = True
    given = defaults_of(form) | ({} if like is None else {"like": like}) | _in_the_singular(options)
    if "like" not in given:
        raise TypeError("judge: like is missing; allowed: the name of a backend, such as 'numpy', 'torch' or 'jax'")
    job = Job(Load(kernel, declarations(limits), form), _command_line(given), None if report is None else Path(report), timeout)
    return job.verdict()


@dataclass(frozen=True)
class Job:
    """A kernel to judge: what it is, the arguments of the command, a folder for the report, if it is to stay, and its time."""

    load: Load
    arguments: Sequence[str]
    report: Path | None = None
    seconds: float | None = None
    echo: TextIO | None = None

    def verdict(self) -> Verdict:
        """What the suites say; see `judge`."""
        __tracebackhide__ = True
        folder, verdict = self.report or new_folder(), None
        try:
            arguments = [self.load.place(folder), *self.arguments]
            verdict = Run(arguments, folder, self.seconds, self.echo).verdict()
        finally:
            is_of_no_use = self.report is None and (verdict is None or verdict.holds)
            if is_of_no_use:
                shutil.rmtree(folder, ignore_errors=True)
        return replace(verdict, folder=None) if is_of_no_use else verdict


def new_folder() -> Path:
    """An empty folder that nobody else writes to."""
    return Path(tempfile.mkdtemp(prefix="softmax-ce-"))


def assert_conforms(kernel: Any, like: str | None = None, **options: Any) -> Verdict:
    """Judge a kernel as `judge` does, and raise where a claim fails; `softmax_ce_conformance.assert_reaches` is of arrays.

    Returns:
      The verdict, of which every claim held that was tried.

    Raises:
      AssertionError: a claim failed, or nothing ran; the message has each cause of failures in four lines.
      TypeError, NotJudgedError: as `judge`.
    """
    __tracebackhide__ = True
    verdict = judge(kernel, like, **options)
    if not verdict.holds:
        raise AssertionError(str(verdict))
    return verdict


def _in_the_singular(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by the names of the command.

    Raises:
      TypeError: one is given twice.
    """
    for plural, name in _ALIASES.items():
        if plural in options and name in options:
            raise TypeError(f"judge: {plural} and {name} are given, which are one option; allowed: one of them")
    return {_ALIASES.get(name, name): value for name, value in options.items()}


def _command_line(options: Mapping[str, Any]) -> list[str]:
    """Options as the command takes them.

    >>> _command_line({"dtype": ["float32", "float64"], "isolate": True, "call_timeout": 5, "accept_limits": False})
    ['--dtype=float32,float64', '--isolate', '--call-timeout=5']
    """
    given = []
    for key, value in options.items():
        name = f"--{key.replace('_', '-')}"
        if value is True:
            given.append(name)
        elif value is not False and value is not None:
            joined = value if isinstance(value, str) or not isinstance(value, Iterable) else ",".join(map(str, value))
            given.append(f"{name}={joined}")
    return given
