"""From which gap on a tolerance lets an absorbed loss or derivative pass: a 0 where exp(-gap) is expected.

A row whose target leads by a gap g over K - 1 equal classes has s = (K - 1) exp(-g), and

    loss = log1p(s)      1 - p_t = s/(1 + s), the target's gradient but for its sign      p_t (1 - p_t) = s/(1 + s)^2

Once 1 + exp(-g) rounds to 1 these are returned as 0 (`thresholds.absorption_gap`), an error of 100%. A test passes a 0 for v
if v <= atol + rtol v, so v <= atol/(1 - rtol) = c, which is about g >= log(K - 1) - log(atol).
"""

from __future__ import annotations

import math

from reference.bounds.tolerances import Tolerance
from reference.floating_state import in_default_state
from reference.formats import Format, format_named
from reference.quantity import Quantity, quantity_named
from reference.thresholds import thresholds

ASSERT_CLOSE: dict[str, Tolerance] = {
    "float64": Tolerance(rtol=1e-7, atol=1e-7),
    "float32": Tolerance(rtol=1.3e-6, atol=1e-5),
    "float16": Tolerance(rtol=1e-3, atol=1e-5),
    "bfloat16": Tolerance(rtol=1.6e-2, atol=1e-5),
}
"""Defaults of torch.testing.assert_close by dtype (its documentation). numpy.testing.assert_allclose has rtol 1e-7, atol 0."""


@in_default_state
def blind_from(allowed: Tolerance, quantity: Quantity | str = Quantity.LOSS, classes: int = 2) -> float:
    """The smallest gap from which on a test with this tolerance passes a 0; infinite if atol is 0, 0 if every 0 passes.

    Arguments:
      allowed: the test's rtol and atol.
      quantity: loss, gradient (of the target), hessian (its diagonal entry) or hessian_diagonal; or its name.
      classes: K >= 2, all but the target's at the gap.

    Raises:
      ValueError: another quantity, or fewer classes.

    By hand: the defaults of numpy.allclose pass a loss of 0 where exp(-gap) <= 1e-8, from 8 ln 10 = 18.42 on, and with 998
    more such classes from ln 999 = 6.91 further on. A gradient s/(1 + s) is at most 1/4 where s <= 1/3, from ln 3 = 1.10 on.

    >>> [round(blind_from(Tolerance(rtol=1e-5, atol=1e-8), "loss", classes), 2) for classes in (2, 1000)]
    [18.42, 25.33]
    >>> round(blind_from(Tolerance(rtol=0.0, atol=0.25), "gradient"), 2), blind_from(Tolerance(rtol=1e-7, atol=0.0), "loss")
    (1.1, inf)
    >>> round(blind_from(ASSERT_CLOSE["float32"]), 2), round(blind_from(ASSERT_CLOSE["float64"]), 2)
    (11.51, 16.12)
    """
    quantity = quantity_named(quantity)
    if quantity not in _SUMS or classes < 2:
        raise ValueError(f"quantity is {str(quantity)!r} and classes is {classes}; allowed: {', '.join(_SUMS)}; at least 2")
    passed = allowed.atol / (1 - allowed.rtol) if allowed.rtol < 1 else math.inf
    if passed == 0:
        return math.inf
    total = _SUMS[quantity](passed)
    return max(0.0, math.log(classes - 1) - math.log(total)) if total < math.inf else 0.0


def _of_hessian(passed: float) -> float:
    """The smaller root of s/(1 + s)^2 = c, which is at most 1/4."""
    return 2 * passed / (1 - 2 * passed + math.sqrt(1 - 4 * passed)) if passed < 0.25 else math.inf


_SUMS = {
    Quantity.LOSS: lambda passed: math.expm1(passed) if passed < 700 else math.inf,
    Quantity.GRADIENT: lambda passed: passed / (1 - passed) if passed < 1 else math.inf,
    Quantity.HESSIAN: _of_hessian,
    Quantity.HESSIAN_DIAGONAL: _of_hessian,
}
"""S at which a quantity is c; infinite if it never is more."""

LOST_TO_ZERO = tuple(_SUMS)
"""The quantities of which an absorbed row returns 0."""


def why_blind(fmt: Format | str) -> str:
    """Why the defaults of assert_close do not see an absorbed loss in a format; a sentence for reports.

    >>> why_blind("float32").partition("; ")[2]
    '1 + exp(-gap) rounds to 1 from 16.6 on: every absorbed loss passes.'
    """
    fmt = format_named(fmt)
    allowed, lost = ASSERT_CLOSE[fmt.name], thresholds(fmt).absorption_gap
    blind = blind_from(allowed)
    outcome = "every absorbed loss passes" if blind <= lost else f"absorbed losses are seen up to {blind:.1f}, and pass beyond"
    return (
        f"{fmt.name}: assert_close allows {allowed.atol:g} + {allowed.rtol:g} |expected|, so a loss of 0 passes from a gap of "
        f"{blind:.1f} on; 1 + exp(-gap) rounds to 1 from {lost:.1f} on: {outcome}."
    )
