"""Which tier of the reference computes a problem: the exact one, or the compiled one with the exact one behind it."""

from __future__ import annotations

from enum import StrEnum
from importlib.util import find_spec

import numpy as np

from reference.installing import extra
from reference.names import named
from reference.problem import Problem
from reference.quantity import Quantity
from reference.reduction import Reduction

FAST_QUANTITIES = (Quantity.LOSS, Quantity.GRADIENT, Quantity.HVP, Quantity.HESSIAN)
"""The quantities that the compiled tier has formulas for."""

LARGEST_DIRECTION = 2.0**500
"""Components of a tangent from it on are for the exact tier."""

_WORTH = 2**18
"""Distinct logits from which the compiled tier is worth its loading: half a second of the exact tier."""

_ROW = 64
"""Logits that cost the exact tier as much as a row does."""

_SAMPLE = 4096
"""Logits that are looked at to guess how many of a row are distinct: equal ones cost the exact tier nothing."""


class Tier(StrEnum):
    """How values are computed; they are certified alike, and where the compiled tier is undecided it asks the exact one.

    auto   compiled for problems that are large enough to gain, if numba is installed; exact else.
    exact  ball arithmetic, about 2 microseconds a distinct logit.
    fast   compiled wherever it has formulas; numba has to be installed.
    """

    AUTO = "auto"
    EXACT = "exact"
    FAST = "fast"


_TIERS = {tier.value: tier for tier in Tier}


def tier_named(given: Tier | str) -> Tier:
    """A tier, or the one of that name.

    Raises:
      ValueError: there is none; the message lists those there are.

    >>> tier_named("exact") is tier_named(Tier.EXACT)
    True
    """
    return named(Tier, given, _TIERS)


def uses_fast(problem: Problem, quantities: tuple[Quantity, ...], tier: Tier) -> bool:
    """True if the compiled tier is to be asked first.

    Raises:
      ValueError: the compiled tier is asked for and numba is not installed.
    """
    # By cost: to look whether numba is there takes longer than most problems are asked about.
    if tier is Tier.EXACT or (tier is Tier.AUTO and not _is_worth(problem)):
        return False
    if not any(takes(problem, quantity) for quantity in quantities):
        return False
    installed = find_spec("numba") is not None
    if tier is Tier.FAST and not installed:
        raise ValueError(f"tier is 'fast' and numba is not installed; get it with: {extra('fast')}")
    return installed


def takes(problem: Problem, quantity: Quantity) -> bool:
    """True if the compiled tier has formulas for the quantity of such a problem: class indices, no other option."""
    if quantity is Quantity.LOSS and problem.reduction is not Reduction.NONE:
        return False
    plain = problem.is_plain and not problem.changes_logits and problem.num_classes > 1
    bounded = problem.tangent is None or bool((np.abs(problem.tangent) < LARGEST_DIRECTION).all())
    return plain and quantity in FAST_QUANTITIES and (bounded or quantity is not Quantity.HVP)


def _is_worth(problem: Problem) -> bool:
    rows = _ROW * problem.num_rows
    if problem.logits.size + rows < _WORTH:
        return False
    sample = problem.logits[0, :_SAMPLE]
    return problem.logits.size * len(np.unique(sample)) / len(sample) + rows >= _WORTH
