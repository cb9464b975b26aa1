"""Many rows of one question, as sweeps ask it: logits in their own dtype, one class index for all, no option, cotangent 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.formats import Format
from reference.problem import Problem


@dataclass(frozen=True, eq=False)
class Bulk:
    """Rows (N, K) of finite logits, whose dtype is `format.numpy_dtype`, and the class index of every row."""

    logits: NDArray[Any]
    target: int
    format: Format

    def problem(self) -> Problem:
        """The rows as a Problem, in the float64 carrier, with the one target for each."""
        rows = self.logits.shape[0]
        return Problem(self.logits.astype(np.float64), np.full(rows, self.target, dtype=np.int64), self.format)
