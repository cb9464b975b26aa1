"""The calls `grades` and `assert_reaches`: loss and derivatives that are at hand as arrays, graded in milliseconds.

A process of its own holds the reference. It is started by the first call, in about a second, and ends with this one. Threads
take turns, and a process that was forked starts another.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.util import Finalize
from threading import Lock
from typing import Any, BinaryIO

from .place import find, python

Sent = tuple[str, Any]
"""The name of an array's dtype, which is empty for numbers of Python, and its values as an array of numpy."""


@dataclass(frozen=True)
class Graded:
    """What an array reaches.

    Arguments:
      grade: the one that all entries reach.
      worst_ulps: the worst error, as in a report, in ulps of the format of the array and of the largest of the terms that an
        entry is made of. Here it is infinite too where a report counts entries apart that have no error in ulps: NaN, an
        infinity or a number where another is due, and a number where exactly 0 is.
      entries: how many were compared.
      lines: those of a failure, if it misses the claim.
    """

    grade: str
    worst_ulps: float
    entries: int
    lines: Mapping[str, str]


def grades(
    logits: Any, labels: Any, *, claim: str = "stable", arithmetic: Mapping[str, Any] | None = None, **given: Any
) -> dict[str, Graded]:
    """Grade arrays that are at hand against the certified reference.

    Arguments:
      logits: (N, K), an array or tensor of any framework; its dtype is the format of the problem, float64 for lists.
      labels: (N,) class indices, or (N, K) probabilities; messages call them the target.
      claim: the grade below which an array has the lines of a failure.
      arithmetic: what is declared of the arithmetic, if it is not that of a good kernel; the keys of the decorator.
      given: arrays by the name of their quantity (`loss`, `gradient`, `hessian`, `log_softmax`, ...), each graded in its own
        dtype; and options of the loss: `reduction`, `label_smoothing`, `class_weights`, `ignore_index`, `cotangent`, ...
        Without a reduction the loss is that of each row, and without a cotangent the gradient is that of their sum. An
        option that is None is left out.

    Nothing that has a dtype is rounded: probabilities, class weights and cotangents have to be numbers of the dtype of the
    logits. Numbers of Python have none, and are rounded to it where they are inputs, as `torch.tensor([0.1], dtype=...)` does.
    Results are never rounded: of Python they are taken in the dtype of the logits if it has them all, and else refused.

    Returns:
      What each array reaches, by the name of its quantity.

    Raises:
      ValueError: a dtype, an option or a grade is not known, an array has a wrong shape or numbers that are not allowed, or no
        array is given.
      RuntimeError: the process that holds the reference ended.

    >>> import numpy as np
    >>> logits = np.array([[20.0, 0.0]], dtype=np.float32)
    >>> exact = np.array([2.0611537e-09], dtype=np.float32)
    >>> {name: found.grade for name, found in grades(logits, [0], loss=exact).items()}
    {'loss': 'correct'}
    """
    arrays = {name: _sent(name, value) for name, value in given.items() if name in _QUANTITIES}
    if not arrays:
        raise ValueError(f"no array is given; allowed: {', '.join(_QUANTITIES)}")
    options = {name: _option(name, value) for name, value in given.items() if name not in arrays}
    inputs = (_sent("logits", logits), _sent("target", labels))
    answer = _reference.answer(pickle.dumps((*inputs, arrays, claim, dict(arithmetic or {}), options)))
    if isinstance(answer, str):
        raise ValueError(answer)
    return {name: Graded(*each) for name, each in answer.items()}


def assert_reaches(claim: str, logits: Any, labels: Any, **given: Any) -> dict[str, Graded]:
    """Grade arrays as `grades` does, and raise where one misses the claim; `assert_conforms` judges a kernel, and searches.

    Raises:
      AssertionError: an array misses it; the message has expected and observed values at its worst entry.
      ValueError: as `grades`.

    >>> import numpy as np
    >>> absorbed = np.zeros(1, dtype=np.float32)  # for 2e-9
    >>> assert_reaches("stable", np.array([[20.0, 0.0]], dtype=np.float32), [0], loss=absorbed)["loss"].grade
    'stable'
    """
    __tracebackhide__ = True
    found = grades(logits, labels, claim=claim, **given)
    missed = [each for each in found.values() if each.lines]
    if missed:
        raise AssertionError(
            "\n\n".join("\n".join(f"{name:7}: {line}" for name, line in each.lines.items()) for each in missed)
        )
    return found


_QUANTITIES = (
    *("loss", "gradient", "hessian", "hvp", "hessian_diagonal", "target_gradient"),
    *("log_softmax", "softmax", "logsumexp", "entropy"),
)
"""Names of arrays: those of reference/quantity.py that need no linear layer, and no cotangent of a building block."""


def _option(name: str, value: Any) -> Any:
    """An option as it is sent: words and None as they are, and all else as arrays."""
    if value is None:
        return None
    return str(value) if isinstance(value, str) else _sent(name, value)


def _sent(name: str, value: Any) -> Sent:
    """An array, a tensor or numbers of Python as they are sent.

    Raises:
      ValueError: it is none of these, or some of it is masked.
    """
    import numpy as np

    try:
        dtype, array = _array(value)
    except Exception as error:  # each framework raises its own
        raise ValueError(f"{name} is not an array of numbers ({error}); {_ALLOWED}") from error
    if array.dtype.kind in _NOT_NUMBERS:
        told = "None" if value is None else f"{type(value).__name__} of {array.dtype.name}"
        raise ValueError(f"{name} is {told}; {_ALLOWED}")
    if np.ma.is_masked(value):
        raise ValueError(
            f"{name} is masked in part; allowed: an array without masked numbers; fill them, or leave out their rows"
        )
    return dtype, array


_ALLOWED = "allowed: an array or tensor of numbers in memory"
_NOT_NUMBERS = "OUSMm"
"""Kinds of dtypes of numpy: objects, text and times."""


def _array(value: Any) -> Sent:
    import numpy as np

    module, _, name = str(getattr(value, "dtype", "")).rpartition(".")
    if module == "torch":
        tensor = value.detach().cpu()
        is_narrow = tensor.is_floating_point() and tensor.element_size() < 4  # as bfloat16, which numpy does not know
        return name, (tensor.float() if is_narrow else tensor).numpy()
    array = np.asarray(value)
    return "" if _is_of_python(value) else array.dtype.name, array


def _is_of_python(value: Any) -> bool:
    """True for numbers of Python and lists of them: they have no dtype of their own."""
    return type(value) in (int, float) or (isinstance(value, list | tuple) and all(map(_is_of_python, value)))


class _Worker:
    """A process that holds the reference. It ends where its input does."""

    def __init__(self) -> None:
        command = python(f"from {__name__} import serve; serve()")
        # Without buffers, of which a process that is forked would have a copy, with locks that nobody releases.
        self.process = subprocess.Popen(
            command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.pipes = (self.process.stdin, self.process.stdout)
        # atexit would not do: children of multiprocessing leave it out, and those of os.fork run what is their parent's.
        self.end = Finalize(None, self._end, exitpriority=0)

    def answer(self, request: bytes) -> Any:
        """What it says to a request."""
        to, back = (pipe.fileno() for pipe in self.pipes)
        with open(to, "wb", closefd=False) as asking:
            asking.write(request)
        with open(back, "rb", closefd=False) as answering:
            return pickle.load(answering)

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._close()

    def forsake(self) -> None:
        """Leave it to the process that started it, of which this one is a fork."""
        self._close()
        self.process.returncode = 0  # there is nothing to wait for, and nothing to warn of

    def _close(self) -> None:
        for pipe in self.pipes:
            pipe.close()


class _Reference:
    """Answers requests, one at a time, by a process that is started by the first."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.worker: _Worker | None = None

    def answer(self, request: bytes) -> Any:
        """What the process that holds the reference says to a request.

        Raises:
          RuntimeError: it ended; the next request starts another.
        """
        with self.lock:
            worker = self.worker = self.worker or _Worker()
            try:
                return worker.answer(request)
            except BaseException as error:  # such as Ctrl-C: the next call must not read this answer
                self.worker = None
                worker.end()
                if isinstance(error, EOFError | OSError | pickle.UnpicklingError):
                    raise RuntimeError(_ENDED) from error
                raise


_ENDED = "the process that holds the reference ended; what it wrote is above. Call again"
_reference = _Reference()


def _start_anew() -> None:
    """In a process that was forked, whatever a thread of the other was asking: let go of what is the other's."""
    global _reference
    if _reference.worker is not None:
        _reference.worker.forsake()
    _reference = _Reference()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_start_anew)


def serve() -> None:
    """The process that holds the reference: its input and output are the pipes."""
    answering = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed here is no answer
    _answer_all(sys.stdin.buffer, answering)


def _answer_all(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests of `grades` until there are no more."""
    find()
    from suites.judging.arrays import Given, graded

    with suppress(EOFError, ConnectionError):  # nobody asks any more
        while True:
            logits, target, observed, claim, arithmetic, options = pickle.load(requests)
            arrays = {name: Given(*sent) for name, sent in observed.items()}
            taken = {name: Given(*sent) if isinstance(sent, tuple) else sent for name, sent in options.items()}
            answer: Any
            try:
                answer = graded(Given(*logits), Given(*target), arrays, claim, arithmetic, taken)
            except (TypeError, ValueError) as error:
                answer = str(error)
            pickle.dump(answer, answers)
            answers.flush()
