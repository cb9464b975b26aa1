"""What is owed for a problem, evaluated once however many operations are asked about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from reference.evaluation import Expected, evaluate
from reference.formats import Format
from reference.problem import Problem
from reference.quantity import Quantity

LARGEST_KEPT = 4096
"""Logits of the largest problem whose expected values are kept; those of a vocabulary would fill the memory."""


@dataclass(frozen=True)
class _Kept:
    """A problem in the format of its results, and what is owed of it so far."""

    problem: Problem
    expected: dict[Quantity, Expected] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Owed:
    """Expected values by problem and format of the results, kept for as long as the problem lives."""

    _kept: WeakKeyDictionary[Problem, dict[str, _Kept]] = field(default_factory=WeakKeyDictionary)

    def evaluate(
        self, problem: Problem, quantities: tuple[Quantity, ...], fmt: Format
    ) -> tuple[Problem, dict[Quantity, Expected]]:
        """The problem with its format replaced by `fmt`, and the expected values of the quantities in it."""
        kept = self._of(problem, fmt)
        missing = tuple(q for q in quantities if q not in kept.expected)
        if missing:
            kept.expected.update(evaluate(kept.problem, missing))
        return kept.problem, {q: kept.expected[q] for q in quantities}

    def _of(self, problem: Problem, fmt: Format) -> _Kept:
        formats = self._kept.setdefault(problem, {}) if problem.logits.size <= LARGEST_KEPT else {}
        if fmt.name not in formats:
            # A copy in any case: a value that held its own key would never be let go.
            formats[fmt.name] = _Kept(problem.replace(format=fmt))
        return formats[fmt.name]
