"""The bound of a sigmoid loss as max(x, 0) - x y + log1p(exp(-|x|)), whose parts cancel where a label is neither 0 nor 1.

Here x y may be nearly x, and the loss much less: the roundings of x y and of the difference are relative to |x|, not to the
loss. In y L_0 + (1 - y) L_1, the loss of the row [x, 0], nothing cancels. With a label y of 0 or 1 the product is exact, and
so is the difference, 0 or x: nothing is lost. The gradient's parts are of its own size, and its bound holds as it is.
A positive weight has no such form.
"""

from __future__ import annotations

import numpy as np

from reference.bounds.row_errors import RowErrors
from reference.bounds.running import Running, product
from reference.formats import Floats


def softplus_error(rows: RowErrors, losses: Floats) -> Floats:
    """(N,): the error of the sum from left to right, whose values are these losses (N,)."""
    x, labels = rows.problem.logits, rows.problem.target
    given = Running.exact(x * labels, rows.arithmetic)
    scaled = Running(given.size, np.where(np.isin(labels, (0.0, 1.0)), 0.0, given.rounded().error), rows.arithmetic)
    top = np.maximum(x, 0.0)
    linear = Running.exact(top, rows.arithmetic).plus(scaled, np.abs(top - x * labels))
    return linear.plus(_smooth(rows), losses[:, None]).error[:, 0]


def _smooth(rows: RowErrors) -> Running:
    """(N, 1): log1p(exp(-|x|)), from the power of the smaller logit of the row [x, 0]."""
    power = rows.powers.min(axis=1, keepdims=True)
    moved = product(power, rows.power_error.max(axis=1, keepdims=True)) + rows.arithmetic.underflow
    size = np.log1p(power)
    return Running(size, moved + rows.log_rounding * (size + moved), rows.arithmetic).stored()
