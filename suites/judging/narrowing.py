"""Narrows a failure to fewer rows, options and classes: a kernel that is wrong from one tile on is shown at that edge.

Hypothesis shrinks what it draws. The number of classes of a large vocabulary is drawn from a short list, so a failure at 33
classes is shrunk to 1000. Here K goes up instead: over small numbers, then over the edges of tiles, until the failure is
there. Whether a kernel fails need not grow with K (K % 32 == 1), so that nothing is skipped by bisection before that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.formats import Floats, Integers
from reference.options import ARGUMENTS, COTANGENT, OPTIONS, Array, Axes
from reference.problem import Problem

Fails = Callable[[Problem], bool]

MOST_ASKED = 90
"""Problems that are tried at most: enough for every edge below 2^18, the bisection between two of them, and the rows."""

_SMALL = 9
"""Every number of classes up to it is tried."""

_LARGE = 256
"""From this edge on 2^k - 1 is left out, to save tries: a last tile that is not full by one was tried at smaller edges."""


def narrowed(problem: Problem, fails: Fails, step: int = 1) -> Problem:
    """A problem that fails as this one does: of as few rows, options and classes as are found, its rows plain.

    Arguments:
      problem: it fails.
      fails: True if a problem does; it is asked at most MOST_ASKED times.
      step: numbers of classes are multiples of it.

    Returns:
      The last problem that was seen to fail; `problem` itself if no other did. The target's column is kept, and the extreme
      logits of each row where they are needed, all in their order. The columns of every array go along.

    >>> found = narrowed(Problem([[0.5, 1.5, -0.5, 1.0] * 250], [999], "float32"), lambda problem: problem.num_classes > 32)
    >>> found.logits.tolist() == [[-0.5, 1.5] + [-0.5] * 29 + [1.5, 1.0]], found.target.tolist()
    (True, [32])
    """
    if problem.num_classes == 0 or problem.out_of_range.any():
        return problem
    asked = _Asked(fails)
    few = _without_options(_of_fewest_rows(problem, asked), asked)
    found = _of_fewest_classes(_plain(few, asked), asked, step)
    return _plain(_without_extremes(found, asked) if step == 1 else found, asked)


@dataclass
class _Asked:
    """Asks whether problems fail, until it was asked too often: from then on none does."""

    fails: Fails
    left: int = MOST_ASKED

    def failing(self, problem: Problem | None) -> Problem | None:
        """The problem if it fails; None if it does not, and if there is none."""
        if problem is None or not self.left:
            return None
        self.left -= 1
        return problem if self.fails(problem) else None


def _of_fewest_rows(problem: Problem, asked: _Asked) -> Problem:
    """The failure in half of its rows again and again, then in as few of the first rows as bisection finds."""
    while problem.num_rows > 1:
        middle = problem.num_rows // 2
        halves = (_of_rows(problem, 0, middle), _of_rows(problem, middle, problem.num_rows))
        if (half := next(filter(None, map(asked.failing, halves)), None)) is None:
            break
        problem = half
    passing = problem.num_rows // 2
    while passing + 1 < problem.num_rows:
        middle = (passing + problem.num_rows) // 2
        part = asked.failing(_of_rows(problem, 0, middle))
        problem, passing = (part, passing) if part else (problem, middle)
    return problem


def _of_rows(problem: Problem, first: int, end: int) -> Problem | None:
    return _part(problem, np.arange(first, end), np.arange(problem.num_classes))


def _without_options(problem: Problem, asked: _Asked) -> Problem:
    """The failure without the options that it does not need, each left out alone; a reduction takes its cotangent along."""
    for argument in (*OPTIONS.values(), COTANGENT):
        if problem.gives(argument) and not argument.is_essential:
            without = {argument.name: argument.default}
            if argument.name == "reduction" and problem.cotangent is not None:
                without["cotangent"] = None
            try:
                fewer = problem.replace(**without)
            except ValueError:  # a label that is not ignored any more is none
                continue
            problem = asked.failing(fewer) or problem
    return problem


def _of_fewest_classes(problem: Problem, asked: _Asked, step: int) -> Problem:
    """The failure at the first edge where it is, then at the smallest K that bisection finds below that edge."""
    passing, found = 0, problem
    for classes in edges(problem.num_classes, step):
        if part := asked.failing(_of_classes(problem, classes)):
            found = part
            break
        passing = classes
    while passing < (middle := (passing + found.num_classes) // 2 // step * step):
        if part := asked.failing(_of_classes(problem, middle)):
            found = part
        else:
            passing = middle
    return found


def _without_extremes(problem: Problem, asked: _Asked) -> Problem:
    """The failure without the columns that were kept for their extreme logits, where it needs none."""
    rows = np.arange(problem.num_rows)
    for column in sorted(set(_extremes(problem)) - set(_targets(problem)), reverse=True):
        others = np.delete(np.arange(problem.num_classes), column)
        problem = asked.failing(_part(problem, rows, others) if others.size else None) or problem
    return problem


def edges(classes: int, step: int = 1) -> list[int]:
    """The numbers of classes below one that are tried, rounded up to multiples of the step.

    >>> edges(70)
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65]
    >>> edges(70, step=8)
    [8, 16, 24, 32, 40, 64]
    """
    powers = [2**power for power in range(4, classes.bit_length())]
    near = [power + beside for power in powers for beside in (-1, 0, 1) if beside >= 0 or power < _LARGE]
    rounded = {-(-number // step) * step for number in (*range(1, _SMALL + 1), *near)}
    return sorted(number for number in rounded if number < classes)


def _of_classes(problem: Problem, classes: int) -> Problem | None:
    """The problem of so many classes: the columns that matter and the first of the others; None if targets do not fit."""
    targets, extremes = _targets(problem), _extremes(problem)
    if len(targets) > classes:
        return None
    chosen = list(dict.fromkeys([*targets, *extremes]))[:classes]
    others = np.setdiff1d(np.arange(min(classes + len(chosen), problem.num_classes)), chosen)[: classes - len(chosen)]
    return _part(problem, np.arange(problem.num_rows), np.sort(np.concatenate([np.array(chosen, dtype=np.int64), others])))


def _targets(problem: Problem) -> list[int]:
    """The columns that rows cannot do without: their class index, or the first of their largest probabilities."""
    if problem.has_probabilities:
        return list(dict.fromkeys(problem.target.argmax(axis=1).tolist()))
    return list(dict.fromkeys(problem.target[~problem.ignored].tolist()))


def _extremes(problem: Problem) -> list[int]:
    """Of each row the columns of the largest logit, of the next one (the last of equals) and of the smallest; NaN is large."""
    found: list[int] = []
    for row in np.where(np.isnan(problem.logits), np.inf, problem.logits):
        top = int(row.argmax())
        rest = np.delete(row, top)[::-1]
        found.append(top)
        if rest.size:
            following = rest.size - 1 - int(rest.argmax())
            found += [following + (following >= top), int(row.argmin())]
    return found


def _part(problem: Problem, rows: Integers, columns: Integers) -> Problem | None:
    """Some rows and columns, in ascending order; None if a row that counts would come to have the ignored index."""
    if problem.has_probabilities:
        target = _rescaled(problem, rows, columns)
    else:
        ignored = problem.ignored[rows]
        target = np.where(ignored, problem.target[rows], np.searchsorted(columns, problem.target[rows]))
        if (~ignored & (target == problem.ignore_index)).any():
            return None
    arrays = {argument.name: argument.kind.axes for argument in ARGUMENTS if isinstance(argument.kind, Array)}
    given = {name: (getattr(problem, name), axes) for name, axes in arrays.items() if getattr(problem, name) is not None}
    parts = {name: _of_axes(array, axes, rows, columns) for name, (array, axes) in given.items()}
    if problem.layer is None:
        parts["logits"] = problem.logits[np.ix_(rows, columns)]
    return problem.replace(target=target, **parts)


def _of_axes(array: Floats, axes: Axes, rows: Integers, columns: Integers) -> NDArray[Any]:
    """What belongs to some rows and columns, of an array with these axes; a scalar belongs to all."""
    if array.ndim == 0:
        return array
    if axes is Axes.LOGITS:
        return array[np.ix_(rows, columns)]
    return array[columns if axes in (Axes.CLASSES, Axes.WEIGHT) else rows]


def _rescaled(problem: Problem, rows: Integers, columns: Integers) -> Floats:
    """Probabilities of some columns, with the sum that the row had: what is not 1 in all may fail for another reason."""
    kept = problem.target[np.ix_(rows, columns)]
    total, left = (array.sum(axis=1, keepdims=True) for array in (problem.target[rows], kept))
    factor = np.divide(total, left, out=np.ones_like(total), where=left > 0)
    return problem.format.round(kept * factor)


def _plain(problem: Problem, asked: _Asked) -> Problem:
    """With every logit of a row alike but those that matter, if that fails: such a row is printed in a line."""
    if problem.layer is not None:
        return problem
    kept = [*_targets(problem), *_extremes(problem)]
    for level in (_commonest, _largest):
        logits = np.empty_like(problem.logits)
        for row, given in zip(logits, problem.logits, strict=True):
            row[:] = level(given[np.isfinite(given)]) if np.isfinite(given).any() else given
        logits[:, kept] = problem.logits[:, kept]
        if np.array_equal(logits, problem.logits, equal_nan=True):
            return problem
        if plain := asked.failing(problem.replace(logits=logits)):
            return plain
    return problem


def _commonest(numbers: Floats) -> float:
    """The number that is there most often, the median of those that are there once."""
    values, counts = np.unique(numbers, return_counts=True)
    return float(values[len(values) // 2] if counts.max() == 1 else values[counts.argmax()])


def _largest(numbers: Floats) -> float:
    return float(numbers.max())
