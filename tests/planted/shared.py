"""What is owed for a problem, evaluated once in a process for whoever asks: kernels in turn, or a backend and its judge."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from reference.evaluation import Expected, evaluate
from reference.problem import Problem
from reference.quantity import Quantity

_KNOWN: WeakKeyDictionary[Problem, dict[Quantity, Expected]] = WeakKeyDictionary()


def evaluated(problem: Problem, quantities: tuple[Quantity, ...]) -> dict[Quantity, Expected]:
    """As `reference.evaluation.evaluate`, for as long as the problem lives."""
    known = _KNOWN.setdefault(problem, {})
    if missing := tuple(quantity for quantity in quantities if quantity not in known):
        known.update(evaluate(problem, missing))
    return {quantity: known[quantity] for quantity in quantities}
