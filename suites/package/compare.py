"""The calls `grades` and `assert_reaches`: loss and derivatives that are at hand as arrays, graded in milliseconds.

A process of its own holds the reference. It is started by the first call, in about a second, and ends with this one.
"""

from __future__ import annotations

import atexit
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any, BinaryIO

from .place import find

_ONE_AT_A_TIME = Lock()

Sent = tuple[str, tuple[int, ...], bytes]
"""The name of an array's format, its shape, and its values in float64."""


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
      logits: (N, K), an array or tensor of any framework; its dtype is the format of the problem.
      labels: (N,) class indices, or (N, K) probabilities.
      claim: the grade below which an array has the lines of a failure.
      arithmetic: what is declared of the arithmetic, if it is not that of a good kernel; the keys of the decorator.
      given: arrays by the name of their quantity (`loss`, `gradient`, `hessian`, `log_softmax`, ...), each graded in its own
        dtype; and options of the loss: `reduction`, `label_smoothing`, `class_weights`, `ignore_index`, `cotangent`, ...
        Without a reduction the loss is that of each row, and without a cotangent the gradient is that of their sum.

    Returns:
      What each array reaches, by the name of its quantity.

    Raises:
      ValueError: a dtype, an option or a grade is not known, an array has a wrong shape, or no array is given.
      RuntimeError: the process that holds the reference ended.

    >>> import numpy as np
    >>> logits = np.array([[20.0, 0.0]], dtype=np.float32)
    >>> exact = np.array([2.0611537e-09], dtype=np.float32)
    >>> {name: found.grade for name, found in grades(logits, [0], loss=exact).items()}
    {'loss': 'correct'}
    """
    arrays = {name: value for name, value in given.items() if name in _QUANTITIES}
    if not arrays:
        raise ValueError(f"no array is given; allowed: {', '.join(_QUANTITIES)}")
    options = {name: _option(value) for name, value in given.items() if name not in arrays} | {"target": _option(labels)}
    request = (_sent(logits), {name: _sent(value) for name, value in arrays.items()}, claim, dict(arithmetic or {}), options)
    answer = _answer(request)
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


def _option(value: Any) -> Any:
    """An option as the reference takes it: numbers and words as they are, arrays of numpy."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    _, array = _array(value)
    return array if array.dtype.kind in "iu" else array.astype("float64")


def _sent(value: Any) -> Sent:
    name, array = _array(value)
    return name, tuple(array.shape), array.astype("float64").tobytes()


def _array(value: Any) -> tuple[str, Any]:
    """The name of an array's dtype, and its values as an array of numpy."""
    import numpy as np

    if hasattr(value, "detach"):  # a tensor of PyTorch, whose bfloat16 numpy does not know
        tensor = value.detach().cpu()
        name = str(tensor.dtype).removeprefix("torch.")
        return name, (tensor.double() if tensor.is_floating_point() else tensor).numpy()
    array = np.asarray(value)
    return array.dtype.name, array


@cache
def _worker() -> subprocess.Popen[bytes]:
    """The process that holds the reference. It ends when its input does, as it does with this process."""
    command = [sys.executable, "-m", f"{__package__}.compare"]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    atexit.register(worker.communicate)
    return worker


def _answer(request: object) -> Any:
    """What the process that holds the reference says to a request.

    Raises:
      RuntimeError: it ended; the next request starts another.
    """
    with _ONE_AT_A_TIME:
        worker = _worker()
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            pickle.dump(request, worker.stdin)
            worker.stdin.flush()
            return pickle.load(worker.stdout)
        except (EOFError, OSError) as error:
            _worker.cache_clear()
            raise RuntimeError("the process that holds the reference ended; what it wrote is above. Call again") from error
        except BaseException:  # such as Ctrl-C: the next call must not read this answer
            _worker.cache_clear()
            worker.kill()
            raise


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests of `grades` until there are no more."""
    find()
    from suites.judging.arrays import graded, unpacked

    while True:
        try:
            logits, observed, claim, arithmetic, options = pickle.load(requests)
        except EOFError:
            return
        arrays = {name: unpacked(sent) for name, sent in observed.items()}
        try:
            found = graded(unpacked(logits), arrays, claim, arithmetic, options)
        except (TypeError, ValueError) as error:
            pickle.dump(str(error), answers)
        else:
            pickle.dump(found, answers)
        answers.flush()


if __name__ == "__main__":
    answering = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed here is no answer
    _serve(sys.stdin.buffer, answering)
