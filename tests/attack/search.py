"""Searches for rows at which an algorithm comes nearest to its bound, or beyond it: starts of a kind, then small changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reference.arithmetic import Arithmetic
from reference.bounds.entrywise import stable_bound
from reference.evaluation import evaluate
from reference.formats import Floats
from reference.problem import Problem
from reference.quantity import SECOND_ORDER, Quantity
from suites.judging.measurement import Measurement
from tests.attack.algorithms import ALGORITHMS
from tests.attack.computers import FirstOrder, Rounding

GAPS = (0.0, 0.5, 3.0, 8.0, 16.6355, 17.5, 40.0)
"""Gaps that all classes but one have at a start."""
_ROOM = 24
"""Roundings for each class, at most, and some more."""


@dataclass(frozen=True)
class Attack:
    """What is attacked: an algorithm of a quantity in an arithmetic, for rows of so many classes, under options."""

    quantity: Quantity
    way: str
    arithmetic: Arithmetic
    classes: int
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    def problem(self, logits: Floats, tangent: Floats) -> Problem:
        """The row as a problem in the storage format, with the target at the class after its maximum."""
        fmt = self.arithmetic.storage
        target: Any = [(int(np.argmax(logits)) + 1) % self.classes]
        options = dict(self.options)
        if options.pop("soft", False):
            target = fmt.round(np.full((1, self.classes), 1.0 / self.classes))
        moved = {"tangent": fmt.round(tangent[None])} if self.quantity in SECOND_ORDER else {}
        return Problem(fmt.round(logits[None]), target, fmt, **moved, **options)

    def first_order(self, problem: Problem) -> float:
        """The largest error of first order, over the bound, of all entries."""
        computer = FirstOrder(self.arithmetic, _ROOM * self.classes + 64)
        found = ALGORITHMS[self.quantity][self.way](computer, problem)
        return self._ratio(problem, found.error)

    def rounded(self, problem: Problem) -> float:
        """The largest error of real rounding, over the bound, of all entries."""
        values = ALGORITHMS[self.quantity][self.way](Rounding(self.arithmetic), problem)
        expected = evaluate(problem, [self.quantity])[self.quantity]
        sign = -1.0 if self.quantity is Quantity.LOSS else 1.0
        measured = Measurement(problem, self.quantity, self.arithmetic, expected, sign * values)
        return self._ratio(problem, np.where(measured.right_class, measured.least_error, 0.0))

    def _ratio(self, problem: Problem, error: Floats) -> float:
        bound = stable_bound(problem, self.quantity, self.arithmetic)
        return float(np.where(np.isfinite(bound), error / bound, 0.0).max())


@dataclass(frozen=True, eq=False)
class Found:
    """The largest ratio that was found, and the row that has it."""

    ratio: float
    problem: Problem


def worst_of(attack: Attack, kind: str, tries: int, seed: int = 0) -> Found:
    """The worst row of so many tries; `kind` is first_order or rounded."""
    rng, judge = np.random.default_rng(seed), getattr(attack, kind)
    best: Found | None = None
    kept: tuple[Floats, Floats] = (np.zeros(0), np.zeros(0))
    starts = list(_starts(attack.classes))
    for number in range(max(tries, len(starts))):
        row = starts[number] if number < len(starts) else _changed(*kept, rng)
        problem = attack.problem(*row)
        if best is None or (ratio := judge(problem)) > best.ratio:
            best, kept = Found(judge(problem) if best is None else ratio, problem), row
    assert best is not None
    return best


def _starts(classes: int) -> Iterator[tuple[Floats, Floats]]:
    """One class above all others, first or last, and tangents that add up, cancel, or leave one class out."""
    tangents = [np.full(classes, 1.1), np.where(np.arange(classes) % 2, 1.0, -1.0)]
    tangents[0][:2] = 1.0, 0.0
    for gap in GAPS:
        for place in (0, classes - 1):
            logits = np.full(classes, -gap)
            logits[place] = 0.0
            yield from ((logits, tangent) for tangent in tangents)


def _changed(logits: Floats, tangent: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A row with a few of its numbers moved a little, or one anywhere."""
    logits, tangent = logits.copy(), tangent.copy()
    chosen = rng.integers(0, len(logits), rng.integers(1, 4))
    if rng.random() < 0.2:
        logits[chosen[0]] = -rng.choice(GAPS) * rng.random()
    else:
        logits[chosen] += rng.normal(size=len(chosen)) * 10.0 ** rng.uniform(-6, 0)
    tangent[chosen] = np.clip(tangent[chosen] + rng.normal(size=len(chosen)) * 0.3, -2.0, 2.0)
    return logits, tangent
