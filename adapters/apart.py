"""A loss in a process of its own: of a class index that a library may follow out of its memory, and end the process by it.

python -m adapters.apart BACKEND OPERATION DTYPE LABEL LOGIT ...
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from adapters.layout import Layout
from adapters.loading import load_adapter
from adapters.operation import Operation
from reference.formats import FORMATS, Floats
from reference.problem import Problem
from reference.quantity import Quantity

_ROOT = Path(__file__).parent.parent


def loss_apart(backend: str, operation: Operation, problem: Problem) -> Floats:
    """The loss of a row whose class index is out of range; NaN where asking for it ended the process.

    The row lies among NaN, so that a read beyond it shows where the library keeps its memory.

    Raises:
      IndexError: the operation refused the index.
    """
    logits = [value.hex() for value in problem.logits[0].tolist()]
    asked = [backend, operation.name, problem.format.name, str(problem.target[0]), *logits]
    command = [sys.executable, "-m", "adapters.apart", *asked]
    child = subprocess.run(command, cwd=_ROOT, text=True, capture_output=True, check=False)
    if child.returncode > 0:
        raise IndexError((child.stderr.splitlines() or ["no message"])[-1])
    return np.array([float(child.stdout or "nan")])


def _main(backend: str, name: str, dtype: str, label: str, *logits: str) -> None:
    adapter = load_adapter(backend, "cpu")
    operation = next(operation for operation in adapter.operations() if operation.name == name)
    row = np.array([[float.fromhex(logit) for logit in logits]])
    problem = Problem(row, np.array([0]), FORMATS[dtype], loss=operation.loss)
    asked = problem.with_unchecked_target([int(label)])
    print(adapter.call(operation, asked, (Quantity.LOSS,), Layout.OFFSET).results[Quantity.LOSS].values[0])


if __name__ == "__main__":
    _main(*sys.argv[1:])
