"""What is expected for a problem, evaluated once however many operations are asked about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from reference.arithmetic import Arithmetic
from reference.evaluation import evaluate
from reference.expected import Expected
from reference.formats import Format
from reference.problem import Problem
from reference.quantity import Quantity
from suites.judging.store import LARGEST_KEPT, Store

LARGEST_BOUNDED = 2**10
"""Logits of the largest problem whose bounds are kept too: there is one for each grade, quantity and arithmetic."""


@dataclass(frozen=True, repr=False)
class ExpectedCache:
    """Expected values by problem and format of the results, and what follows of them, kept for as long as the problem lives."""

    _kept: WeakKeyDictionary[Problem, dict[str, dict[Quantity, Expected]]] = field(default_factory=WeakKeyDictionary)
    _store: Store = field(default_factory=Store)
    _bounds: WeakKeyDictionary[Problem, dict[tuple[str, Quantity, Arithmetic], dict[str, Any]]] = field(
        default_factory=WeakKeyDictionary
    )

    def evaluate(self, problem: Problem, quantities: tuple[Quantity, ...], fmt: Format) -> dict[Quantity, Expected]:
        """The expected values of the quantities, to be rounded into `fmt`."""
        formats = self._kept.setdefault(problem, {}) if problem.logits.size <= LARGEST_KEPT else {}
        expected = formats.setdefault(fmt.name, {})
        missing = tuple(q for q in quantities if q not in expected)
        if missing:
            asked = problem if fmt == problem.format else problem.replace(format=fmt)
            expected.update(self._store.completed(asked, missing, evaluate))
        return {q: expected[q] for q in quantities}

    def bounds(self, problem: Problem, quantity: Quantity, fmt: Format, arithmetic: Arithmetic) -> dict[str, Any]:
        """What measurements share that are rounded into `fmt` and bounded in an arithmetic; for values of `evaluate` alone."""
        if problem.logits.size > LARGEST_BOUNDED:
            return {}
        return self._bounds.setdefault(problem, {}).setdefault((fmt.name, quantity, arithmetic), {})
