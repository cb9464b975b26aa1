"""A question that has no answer: what an operation did with it, in words, and whether that is right.

An operation must raise. Where it cannot (on an accelerator, compiled by XLA), NaN is the alternative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapters.adapter import Observed
from adapters.operation import Operation
from reference.formats import Floats
from reference.problem import Problem
from suites.judging.claims import Label


@dataclass(frozen=True, eq=False)
class Unanswerable:
    """A problem without an answer: its label in claims and reports, in words, and what is taken for an answer all the same.

    `answered_by` names another operation that answers it, so that to raise is wrong; it is empty where there is none.
    """

    problem: Problem
    label: Label
    said: str
    spared: Floats | None = None
    answered_by: str = ""

    def is_right(self, operation: Operation, device: str, observed: Observed) -> bool:
        """True if it raised as all others do, returned NaN because it cannot raise, or an empty sum."""
        if observed.error is not None:
            return not self.answered_by
        (values,) = observed.values.values()
        can_raise = operation.can_raise and device == "cpu"
        is_nan = values.size > 0 and bool(np.isnan(values).all())
        return (not can_raise and is_nan) or (self.spared is not None and np.array_equal(values, self.spared))

    def rule(self, observed: Observed) -> str:
        """What would be right, of an operation that was wrong."""
        return f"{self.answered_by} answers: all answer, or all raise" if observed.error else "what is out of range must raise"


def outcome_of(observed: Observed) -> str:
    """What it did; of an exception the kind alone, since messages name generated files and numbered functions."""
    if observed.error:
        kind = observed.error.partition(":")[0]
        return f"raised {kind}" if kind.isidentifier() else kind
    (values,) = observed.values.values()
    return f"returned {values.tolist()}"
