"""What is expected for a problem, evaluated once however many operations are asked about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from reference.evaluation import evaluate
from reference.expected import Expected
from reference.formats import Format
from reference.problem import Problem
from reference.quantity import Quantity

LARGEST_KEPT = 2**14
"""Logits of the largest problem whose expected values are kept; those of a vocabulary would fill the memory."""


@dataclass(frozen=True, repr=False)
class ExpectedCache:
    """Expected values by problem and format of the results, kept for as long as the problem lives."""

    _kept: WeakKeyDictionary[Problem, dict[str, dict[Quantity, Expected]]] = field(default_factory=WeakKeyDictionary)

    def evaluate(self, problem: Problem, quantities: tuple[Quantity, ...], fmt: Format) -> dict[Quantity, Expected]:
        """The expected values of the quantities, to be rounded into `fmt`."""
        formats = self._kept.setdefault(problem, {}) if problem.logits.size <= LARGEST_KEPT else {}
        expected = formats.setdefault(fmt.name, {})
        missing = tuple(q for q in quantities if q not in expected)
        if missing:
            expected.update(evaluate(problem if fmt == problem.format else problem.replace(format=fmt), missing))
        return {q: expected[q] for q in quantities}
