"""The error of each row, as a search needs it: certified for two or three logits up to float32, else a good guess."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.fast.compiled import compiled
from reference.formats import Format
from suites.sweep.compiled.batch import Batch, SweptQuantity, expected_of, sign_of
from suites.sweep.compiled.bound import GRADIENT, LOSS
from suites.sweep.compiled.entry import judge_entry

Wide = NDArray[np.longdouble]


@compiled
def certified_ulps(batch: Batch, observed: NDArray[np.float32], question: SweptQuantity) -> NDArray[np.float64]:
    """(N,): the largest error of each row's entries (E, N) in ulps; -1 where none is measured or decided."""
    worst = np.full(observed.shape[1], -1.0)
    for i in range(observed.shape[1]):
        for k in range(observed.shape[0]):
            value = np.float64(observed[k, i]) * sign_of(question, k, batch.x.shape[0])
            judged = judge_entry(value, expected_of(batch.x, batch.gaps, i, question, k), question.limits)
            worst[i] = max(worst[i], judged.ulps)
    return worst


def guessed_ulps(x: NDArray[Any], observed: NDArray[Any], quantity: int, target: int, fmt: Format) -> NDArray[np.float64]:
    """(N,): the largest error of each row (N, K) in ulps, by absorption-free formulas in longdouble: to rank, not to report.

    Where longdouble is float64 (not on x86 and AArch64 Linux) float64 results are ranked by noise of a few ulps.
    """
    values = np.asarray(_wide_values(x.astype(np.longdouble), quantity, target)).reshape(len(x), -1)
    seen = np.asarray(observed, dtype=np.longdouble).reshape(len(x), -1)
    with np.errstate(over="ignore", invalid="ignore"):
        ulps = np.abs(seen - values) / fmt.ulp(values.astype(np.float64))
    return np.where(np.isfinite(ulps), ulps, -1.0).max(axis=1).astype(np.float64)


def _wide_values(x: Wide, quantity: int, target: int) -> Wide:
    """Loss (N,), gradient (N, K) or Hessian (N, K, K)."""
    rows, top = np.arange(len(x)), x.argmax(axis=1)
    with np.errstate(under="ignore"):
        powers = np.exp(x - x[rows, top][:, None])
    others = powers.copy()
    others[rows, top] = 0.0
    rest = others.sum(axis=1)
    if quantity == LOSS:
        return (x[rows, top] - x[:, target]) + np.log1p(rest)
    total = (1.0 + rest)[:, None]
    p = powers / total
    lacking = (total - powers) / total
    lacking[rows, top] = rest / total[:, 0]
    if quantity == GRADIENT:
        p[:, target] = -lacking[:, target]
        return p
    hessian = -p[:, :, None] * p[:, None, :]
    diagonal = np.arange(x.shape[1])
    hessian[:, diagonal, diagonal] = p * lacking
    return hessian
