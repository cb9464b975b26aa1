"""What a sweep counts: grades, kinds of failure with their regions, the worst error, and a map of the plane."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reference.grades import Grade
from reference.quantity import Quantity

QUANTITIES = (Quantity.LOSS, Quantity.GRADIENT, Quantity.HESSIAN)
"""What a sweep can ask for, in the order of its arrays."""

FAILURES = ("zero", "nan", "inf", "wrong_class", "over_bound")
"""Kinds of failure: 0 returned for at least the least subnormal (absorbed); NaN; an infinity where a number is expected; NaN,
infinity or number where it does not belong; a number beyond the bound of `stable`."""

ZERO, NAN, INF, WRONG, OVER = range(len(FAILURES))

SIDE = 256
"""Bins a side of the map."""


class SweepTally(NamedTuple):
    """Counts of entries, by quantity; the arrays are filled in place by compiled code.

    `worst_place` is (target, entry) of the worst error and has the row's logits in `worst_logits`; `box` has the least and
    largest of each logit, and of the gap between the two largest, of the rows of a kind of failure; `seen` has a bit for each
    kind of failure of a bin.
    """

    grades: NDArray[np.int64]
    failing: NDArray[np.int64]
    box: NDArray[np.float64]
    worst: NDArray[np.float64]
    worst_place: NDArray[np.int64]
    worst_logits: NDArray[np.float64]
    map: NDArray[np.float32]
    seen: NDArray[np.uint8]


def empty_tally(classes: int = 2, cells: int = SIDE * SIDE) -> SweepTally:
    """Nothing counted yet; errors of -1 are those of nothing."""
    q, f = len(QUANTITIES), len(FAILURES)
    box = np.empty((q, f, classes + 1, 2))
    box[..., 0], box[..., 1] = np.inf, -np.inf
    return SweepTally(
        grades=np.zeros((q, len(Grade)), dtype=np.int64),
        failing=np.zeros((q, f), dtype=np.int64),
        box=box,
        worst=np.full(q, -1.0),
        worst_place=np.full((q, 2), -1, dtype=np.int64),
        worst_logits=np.full((q, classes), np.nan),
        map=np.full((q, cells), -1.0, dtype=np.float32),
        seen=np.zeros((q, cells), dtype=np.uint8),
    )
