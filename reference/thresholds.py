"""Where each format's exp, log and sums go wrong: the gaps and counts at which hazards begin.

Every threshold is computed from the format with Arb, none is typed. A gap is a difference of logits below the maximum,
in natural units (nats).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from flint import arb, ctx

from reference.formats import Format, format_named


@dataclass(frozen=True)
class Thresholds:
    """Hazard thresholds of one format; u = 2^-p, natural logarithms rounded to the nearest float64."""

    absorption_gap: float
    """ln(1/u): from this gap on, 1 + exp(-gap) rounds to 1 and one other class is absorbed."""
    underflow_gap: float
    """-ln(min normal): from this gap on, exp(-gap) is subnormal (zero under flush-to-zero)."""
    subnormal_gap: float
    """-ln(min subnormal): from this gap on, exp(-gap) is below the smallest positive number."""
    vanishing_gap: float
    """-ln(min subnormal / 2): from this gap on, exp(-gap) rounds to zero."""
    overflow_logit: float
    """ln(largest): an unshifted exp overflows above it."""
    stagnation_count: int
    """1/u: adding ones one by one sticks at this count (2048 for float16)."""
    overflow_count: int | None
    """Smallest count of ones whose sum overflows (65520 for float16); None where memory ends first."""


@lru_cache
def thresholds(fmt: Format | str) -> Thresholds:
    """Thresholds of a format, given or named.

    >>> t = thresholds("float16")
    >>> round(t.absorption_gap, 5), round(t.vanishing_gap, 5), t.stagnation_count, t.overflow_count
    (7.62462, 17.32868, 2048, 65520)
    """
    fmt = format_named(fmt)
    with ctx.workprec(200):
        ln2 = arb(2).log()
        return Thresholds(
            absorption_gap=float(fmt.precision * ln2),
            underflow_gap=float(-fmt.emin * ln2),
            subnormal_gap=float(-fmt.min_subnormal_exponent * ln2),
            vanishing_gap=float((1 - fmt.min_subnormal_exponent) * ln2),
            overflow_logit=float(arb(fmt.largest).log()),
            stagnation_count=2**fmt.precision,
            overflow_count=_overflow_count(fmt),
        )


def _overflow_count(fmt: Format) -> int | None:
    """The first integer that rounds beyond the largest number: the one halfway to what would follow it, or the next."""
    if fmt.largest > 2**40:
        return None
    spacing = int(fmt.ulp(fmt.largest))
    halfway = int(fmt.largest) + spacing // 2
    is_even = int(fmt.largest) // spacing % 2 == 0
    return halfway + 1 if is_even else halfway
