"""The bound of a sigmoid loss that is computed from softplus, whose parts cancel where a label is neither 0 nor 1.

With C = log1p(exp(-|x|)), labels y and the positive weight w, as frameworks write it:

  max(x, 0) - x y + C                    without a weight; the sums from left to right
  (1 - y) x - (1 + (w - 1) y) s          with s = min(x, 0) - C, which is log_sigmoid(x)

Here x y is nearly x, or (1 - y) x nearly min(x, 0), and the loss much less: their roundings are relative to |x|, not to the
loss. That of the row [x, 0] is y L_0 + (1 - y) L_1, where nothing cancels. A label that is 0 or 1 makes no rounding.
The gradient's parts are of its own size, and its bound holds for both forms as it is.
"""

from __future__ import annotations

import numpy as np

from reference.bounds.row_errors import RowErrors
from reference.bounds.running import Running
from reference.formats import Floats


def softplus_error(rows: RowErrors, losses: Floats) -> Floats:
    """(N,): the error of the larger of both forms, whose values are these losses (N,)."""
    second = _beside_log_sigmoid(rows, losses[:, None])
    if rows.problem.positive_weight != 1.0:
        return second.error[:, 0]
    return np.maximum(_beside_softplus(rows, losses[:, None]).error, second.error)[:, 0]


def _exact(rows: RowErrors, values: Floats) -> Running:
    return Running.exact(values, rows.arithmetic)


def _unless_whole(rows: RowErrors, given: Running) -> Running:
    """Rounded, except where the label is 0 or 1."""
    whole = np.isin(rows.problem.target, (0.0, 1.0))
    return Running(given.size, np.where(whole, given.error, given.rounded().error), rows.arithmetic)


def _smooth(rows: RowErrors) -> Running:
    """(N, 1): C, from the power of the smaller logit of the row [x, 0]."""
    power = rows.powers.min(axis=1, keepdims=True)
    moved = power * rows.power_error.max(axis=1, keepdims=True) + rows.arithmetic.underflow
    size = np.log1p(power)
    return Running(size, moved + rows.log_rounding * (size + moved), rows.arithmetic).stored()


def _beside_softplus(rows: RowErrors, losses: Floats) -> Running:
    x, labels = rows.problem.logits, rows.problem.target
    product = _unless_whole(rows, _exact(rows, x * labels))
    linear = _exact(rows, np.maximum(x, 0.0)).plus(product, np.abs(np.maximum(x, 0.0) - x * labels))
    return linear.plus(_smooth(rows), losses)


def _beside_log_sigmoid(rows: RowErrors, losses: Floats) -> Running:
    x, labels, weight = rows.problem.logits, rows.problem.target, rows.problem.positive_weight
    linear = _unless_whole(rows, _unless_whole(rows, _exact(rows, (1.0 - labels) * x)))
    smooth = _exact(rows, np.minimum(x, 0.0)).plus(_smooth(rows))
    if weight != 1.0:
        smooth = smooth.times(_exact(rows, 1.0 + (weight - 1.0) * labels).rounded(3))
    return linear.plus(smooth, losses)
