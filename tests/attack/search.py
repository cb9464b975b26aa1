"""Searches for rows at which an algorithm comes nearest to its bound, or beyond it: starts of a kind, then small changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from reference.arithmetic import Arithmetic
from reference.bounds.entrywise import componentwise_bound, stable_bound
from reference.evaluation import evaluate
from reference.formats import Floats, Format
from reference.linear import identity_layer
from reference.loss import Loss
from reference.problem import Problem
from reference.quantity import ALONG_A_TANGENT, ROW_PRODUCTS, SECOND_ORDER, Quantity
from suites.judging.measurement import Measurement
from tests.attack.algorithms import ALGORITHMS, Algorithm
from tests.attack.careful import CAREFUL
from tests.attack.computers import FirstOrder, Rounding
from tests.attack.family import FAMILY

COMPONENTWISE = "componentwise"
"""The way that attacks the bound of that grade; any other attacks that of `stable`."""

GAPS = (0.0, 0.5, 3.0, 8.0, 16.6355, 17.5, 40.0)
"""Gaps that all classes but one have at a start."""


class Shape(NamedTuple):
    """Rows and classes of a problem."""

    rows: int
    classes: int


@dataclass(frozen=True)
class Attack:
    """What is attacked: an algorithm of a quantity in an arithmetic, for rows of a shape, under options.

    Options beside those of a problem: soft (labels for all classes), one_hot (that of the target is 1), label (of a sigmoid
    loss), at_top (the target is the largest class, not the one after it), weighted (by class), row_weighted, layer (one that
    picks the logits), width (of a layer that does not). `declared` is what the bound is told.
    """

    quantity: Quantity
    way: str
    arithmetic: Arithmetic
    shape: Shape
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    declared: Arithmetic | None = None

    def problem(self, logits: Floats, tangent: Floats) -> Problem:
        """The rows as a problem in the storage format."""
        fmt, options = self.arithmetic.storage, dict(self.options)
        logits, tangent = (fmt.round(given.reshape(self.shape)) for given in (logits, tangent))
        target = self._target(logits, options)
        if options.pop("weighted", False):
            options["class_weights"] = fmt.round(np.linspace(0.3, 1.7, self.shape.classes))
        if options.pop("row_weighted", False):
            options["row_weights"] = fmt.round(np.linspace(2.3, 0.3, self.shape.rows))
        if layer := options.pop("layer", False):
            options |= identity_layer(logits, fmt.round(np.linspace(0.7, -1.9, self.shape.rows)))
        if width := options.pop("width", 0):
            options |= _dense(logits, width, fmt)
        if "cotangent" in options:
            options["cotangent"] = (
                options["cotangent"] if "reduction" in options else np.full(self.shape.rows, options["cotangent"])
            )
        if self.quantity in (*SECOND_ORDER, *ALONG_A_TANGENT):
            options["tangent"] = tangent
        if self.quantity in ROW_PRODUCTS:
            options["cotangent"] = tangent[:, 0]
        given: Any = None if layer or width else logits
        return Problem(given, target, fmt, **options)

    def _target(self, logits: Floats, options: dict[str, Any]) -> Any:
        """The target that the options, of which it takes its own out, ask for."""
        top, soft = options.pop("at_top", False), options.pop("soft", False)
        one_hot, label = options.pop("one_hot", False), options.pop("label", None)
        indices = (logits.argmax(axis=1) + (0 if top else 1)) % self.shape.classes
        if soft or label is not None:
            return self.arithmetic.storage.round(np.full(self.shape, 1.0 / self.shape.classes if soft else label))
        return np.eye(self.shape.classes)[indices] if one_hot else indices

    @property
    def algorithm(self) -> Algorithm:
        """Of cross-entropy, of the other losses, or of what absorbs nothing."""
        if self.way == COMPONENTWISE:
            return CAREFUL[self.options.get("loss", Loss.CROSS_ENTROPY)][self.quantity]
        return (ALGORITHMS.get(self.quantity, {}) | FAMILY.get(self.quantity, {}))[self.way]

    def first_order(self, problem: Problem) -> float:
        """The largest error of first order, over the bound, of all entries."""
        return self._ratio(problem, self.algorithm(FirstOrder(self.arithmetic), problem).error)

    def rounded(self, problem: Problem) -> float:
        """The largest error of real rounding, over the bound, of all entries."""
        values = self.algorithm(Rounding(self.arithmetic), problem)
        expected = evaluate(problem, [self.quantity])[self.quantity]
        measured = Measurement(problem, self.quantity, self.arithmetic, expected, np.asarray(values))
        return self._ratio(problem, np.where(measured.right_class, measured.least_error, 0.0))

    def _ratio(self, problem: Problem, error: Floats) -> float:
        declared = self.declared or self.arithmetic
        if self.way == COMPONENTWISE:
            expected = evaluate(problem, [self.quantity])[self.quantity]
            bound = componentwise_bound(problem, self.quantity, declared, expected)
        else:
            bound = stable_bound(problem, self.quantity, declared)
        with np.errstate(invalid="ignore"):
            return float(np.where(np.isfinite(bound) & (error > 0), error / bound, 0.0).max())


def _dense(logits: Floats, width: int, fmt: Format) -> dict[str, Floats]:
    """A layer of some features, none of them 0, whose output is near the logits in the first row."""
    (rows, classes), lines = logits.shape, np.arange(1, width)
    features = fmt.round(1.3 + 0.7 * np.cos(np.arange(rows)[:, None] + 2.0 * np.arange(width)))
    others = fmt.round(3.0 * np.sin(1.0 + np.arange(classes)[:, None] * lines))
    bias = fmt.round(np.linspace(-0.4, 0.9, classes))
    first = (logits[0] - bias - others @ features[0, 1:]) / features[0, 0]
    return {"features": features, "weight": fmt.round(np.column_stack([first, others])), "bias": bias}


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
    starts = list(_starts(attack.shape))
    for number in range(max(tries, len(starts))):
        row = starts[number] if number < len(starts) else _changed(*kept, rng)
        problem = attack.problem(*row)
        if best is None or (ratio := judge(problem)) > best.ratio:
            best, kept = Found(judge(problem) if best is None else ratio, problem), row
    assert best is not None
    return best


def _starts(shape: Shape) -> Iterator[tuple[Floats, Floats]]:
    """One class above all others, first or last, and tangents that add up, cancel, or leave one class out."""
    size = shape.rows * shape.classes
    tangents = [np.full(size, 1.1), np.where(np.arange(size) % 2, 1.0, -1.0)]
    tangents[0][:2] = (1.0, 0.0)[:size]
    for gap in GAPS:
        for place in (0, shape.classes - 1):
            logits = np.full(shape, -gap)
            logits[:, place] = gap if shape.classes == 1 and place == 0 else 0.0
            yield from ((logits.ravel(), tangent) for tangent in tangents)
    rising = np.tile(np.linspace(-GAPS[-3], 0.0, shape.classes), (shape.rows, 1))
    yield from ((logits.ravel(), tangents[0]) for logits in (rising, rising / 64, rising[:, ::-1]))


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
