"""The hazards: named regions of inputs, each with its story, its test of membership, and how its rows are generated.

A new hazard is one entry of HAZARDS. Generation draws structure (a maximum, gaps below it, who has which gap, the
target), never entries: that shrinks to small logits and reaches edges that random numbers miss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TypeVar

import numpy as np
from hypothesis import strategies as st

from reference.formats import Floats, Format
from reference.problem import Problem
from reference.thresholds import Thresholds, thresholds
from reference.weights import unit_of

T = TypeVar("T")

SMALL_CLASSES = 6
"""Largest K of the hazards that are not about the number of classes."""

MANY_CLASSES = ("long_tail", "large_vocabulary")
"""Hazards of the number of classes: a sigmoid has two."""

NONFINITE = ("masked", "nonfinite")
"""Hazards of logits that are not finite; no other way of generating makes them."""

UNMARKED = ("moderate", "bit_patterns")
"""Ways of generating that mark nothing out: nearly every problem has a gap of at most 4 and finite logits."""

LARGE_CLASSES = (1000, 2049, 4097, 32000, 65521, 70000, 128256, 262144)
"""Vocabulary sizes: past the counts at which float16 sums of ones stagnate and overflow, and those of language models."""


@dataclass(frozen=True)
class Shape:
    """Rows to generate: their format, and the largest numbers of rows and classes.

    `few` keeps to the most rows and to the fewest and the most classes, for operations that compile for every shape.
    `multiple` and `most_classes` are limits of an operation: K is a multiple of the one, and at most the other.
    """

    format: Format
    max_rows: int = 3
    max_classes: int = SMALL_CLASSES
    few: bool = False
    multiple: int = 1
    most_classes: int | None = None

    @property
    def thresholds(self) -> Thresholds:
        """Hazard thresholds of the format."""
        return thresholds(self.format)

    def classes(self, least: int = 1) -> st.SearchStrategy[int]:
        """Numbers of classes to draw from: from the least to the most, within the limits."""
        return self.between(least, max(least, self.max_classes))

    def rows(self) -> st.SearchStrategy[int]:
        """Numbers of rows to draw from: 1 to the most, or the most alone where shapes are to be few."""
        return st.just(self.max_rows) if self.few else st.integers(1, self.max_rows)

    def between(self, least: int, most: int) -> st.SearchStrategy[int]:
        """Numbers of classes of a range, rounded up to the multiple; its ends where shapes are to be few."""
        low, high = self.multiples((least, most))
        if self.few:
            return st.sampled_from(sorted({low, high}))
        step = self.multiple
        return st.integers(low, high) if step == 1 else st.integers(low // step, high // step).map(lambda count: count * step)

    def multiples(self, numbers: Iterable[int]) -> list[int]:
        """Numbers of classes rounded up to the multiple, without those that are more than the most.

        >>> from reference.formats import FLOAT32
        >>> Shape(FLOAT32, multiple=8, most_classes=2000).multiples([2, 1000, 2049])
        [8, 1000]
        """
        rounded = [-(-number // self.multiple) * self.multiple for number in numbers]
        return [number for number in rounded if self.most_classes is None or number <= self.most_classes]


@dataclass(frozen=True)
class Spread:
    """Exact facts about the logits of a problem, for tests of membership."""

    problem: Problem

    @property
    def logits(self) -> Floats:
        """(N, K); (N, 2) of a sigmoid loss, whose logit x stands for the row [x, 0]."""
        if not self.problem.is_binary:
            return self.problem.logits
        return np.hstack([self.problem.logits, np.zeros_like(self.problem.logits)])

    @cached_property
    def finite(self) -> Floats:
        """Finite logits only, NaN elsewhere."""
        return np.where(np.isfinite(self.logits), self.logits, np.nan)

    @cached_property
    def top(self) -> Floats:
        """(N, 1): largest finite logit, NaN if there is none."""
        return np.fmax.reduce(self.finite, axis=1, keepdims=True, initial=np.nan)

    @cached_property
    def gaps(self) -> Floats:
        """Gaps below the largest finite logit over the unit T/s; NaN where a logit is not finite."""
        with np.errstate(over="ignore"):
            return (self.top - self.finite) / unit_of(self.problem)

    @property
    def margin(self) -> Floats:
        """(N,): gap between the two largest logits of each row over the unit T/s; NaN unless both are finite."""
        if self.logits.shape[1] < 2:
            return np.full(self.logits.shape[0], np.nan)
        second, first = np.partition(self.logits, -2, axis=1)[:, -2:].T
        with np.errstate(over="ignore", invalid="ignore"):
            return np.where(np.isfinite(first) & np.isfinite(second), (first - second) / unit_of(self.problem), np.nan)

    @property
    def thresholds(self) -> Thresholds:
        """Hazard thresholds of the problem's format."""
        return thresholds(self.problem.format)


@dataclass(frozen=True)
class Hazard:
    """A named region of inputs.

    `contains` decides membership of any problem, whoever made it; `rows` generates an (N, K) array of logits.
    """

    name: str
    story: str
    contains: Callable[[Spread], bool]
    rows: Callable[[Shape], st.SearchStrategy[Floats]]

    def generate(self, shape: Shape) -> st.SearchStrategy[Floats]:
        """Logits of this hazard; strategies are built once for each shape, since building costs more than drawing."""
        return _built(self.name, shape)

    def holds(self, problem: Problem) -> bool:
        """True if the problem lies in the region."""
        return bool(self.contains(Spread(problem)))


@cache
def _built(name: str, shape: Shape) -> st.SearchStrategy[Floats]:
    return HAZARDS[name].rows(shape)


def _levels(gaps: st.SearchStrategy[float], shape: Shape, tops: st.SearchStrategy[float]) -> st.SearchStrategy[Floats]:
    """Rows with a maximum and, for each class, a gap below it; the first class of lowest gap is the maximum."""

    def build(draw: st.DrawFn) -> Floats:
        classes = draw(shape.classes(2))
        rows = draw(_rows_of(st.tuples(tops, st.lists(gaps, min_size=classes, max_size=classes)), shape))
        table = np.array([row for _, row in rows], dtype=np.float64)
        table[np.arange(len(rows)), np.argmin(table, axis=1)] = 0.0
        with np.errstate(over="ignore"):
            values = np.array([[top] for top, _ in rows]) - table
        return shape.format.round(np.clip(values, -shape.format.largest, shape.format.largest))

    return st.composite(build)()


def _rows_of(row: st.SearchStrategy[T], shape: Shape) -> st.SearchStrategy[list[T]]:
    if not shape.few:
        return st.lists(row, min_size=1, max_size=shape.max_rows)
    return shape.rows().flatmap(lambda rows: st.lists(row, min_size=rows, max_size=rows))


def _near(points: list[float], fmt: Format) -> st.SearchStrategy[float]:
    """Numbers a few ulps of the format around the points."""

    def at(point_and_steps: tuple[float, int]) -> float:
        point, steps = point_and_steps
        return max(0.0, float(fmt.round(point)) + steps * float(fmt.ulp(point)))

    return st.tuples(st.sampled_from(points), st.integers(-4, 4)).map(at)


def _between(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers in [low, high], in 64 steps: shrinks towards low."""
    return st.integers(0, 64).map(lambda step: low + (high - low) * step / 64)


def _small_gaps() -> st.SearchStrategy[float]:
    return st.integers(0, 64).map(lambda step: step / 16)


def _modest_tops() -> st.SearchStrategy[float]:
    return st.integers(-8, 8).map(float)


def _moderate(shape: Shape) -> st.SearchStrategy[Floats]:
    return _levels(_small_gaps(), shape, _modest_tops())


def _absorption(shape: Shape) -> st.SearchStrategy[Floats]:
    t = shape.thresholds
    gaps = st.one_of(_between(t.absorption_gap, t.vanishing_gap), _near([t.absorption_gap], shape.format), _small_gaps())
    return _levels(gaps, shape, st.just(0.0) | _modest_tops())


def _overflow(shape: Shape) -> st.SearchStrategy[Floats]:
    t, largest = shape.thresholds, shape.format.largest
    tops = _near([t.overflow_logit], shape.format) | st.sampled_from(
        [largest, largest / 2, -t.overflow_logit, 2 * t.overflow_logit]
    )
    gaps = _small_gaps() | st.sampled_from([largest, largest / 4, 2 * t.overflow_logit, 1.9 * largest])
    return _levels(gaps, shape, tops)


def _underflow(shape: Shape) -> st.SearchStrategy[Floats]:
    t = shape.thresholds
    edges = [t.underflow_gap, t.subnormal_gap, t.vanishing_gap]
    gaps = _near(edges, shape.format) | _between(t.underflow_gap, 1.1 * t.vanishing_gap)
    return _levels(gaps | _small_gaps(), shape, st.just(0.0) | _modest_tops())


def _offset(shape: Shape) -> st.SearchStrategy[Floats]:
    precision, emax = shape.format.precision, shape.format.emax
    least, most = max(precision - 5, 1), min(precision + 8, emax - 1)
    tops = st.tuples(st.integers(least, most), st.sampled_from([1.0, -1.0])).map(lambda se: se[1] * 2.0 ** se[0])

    def build(draw: st.DrawFn) -> Floats:
        top = draw(tops)
        spacing = float(shape.format.ulp(top)) / 2
        return draw(_levels(st.integers(0, 8).map(lambda n: n * spacing), shape, st.just(top)))

    return st.composite(build)()


def _ties(shape: Shape) -> st.SearchStrategy[Floats]:
    t = shape.thresholds

    def build(draw: st.DrawFn) -> Floats:
        rows = draw(_levels(st.sampled_from([0.0, 0.0, 1.0, t.absorption_gap]), shape, _modest_tops()))
        rows[:, -1] = rows.max(axis=1)
        rows[:, 0] = rows[:, -1]
        return rows

    return st.composite(build)()


def _with_some(values: list[float], shape: Shape, chance: int) -> st.SearchStrategy[Floats]:
    """Moderate or absorbed rows in which at least one entry is one of the values."""

    def build(draw: st.DrawFn) -> Floats:
        rows = draw(HAZARDS["moderate"].generate(shape) | HAZARDS["absorption"].generate(shape))
        pick = st.integers(0, chance)
        marks = draw(st.lists(pick, min_size=rows.size, max_size=rows.size))
        chosen = np.array(marks).reshape(rows.shape) == chance
        chosen.flat[draw(st.integers(0, rows.size - 1))] = True
        replaced = draw(st.sampled_from(values))
        return np.where(chosen, replaced, rows)

    return st.composite(build)()


def _masked(shape: Shape) -> st.SearchStrategy[Floats]:
    return _with_some([-np.inf], shape, chance=2)


def _nonfinite(shape: Shape) -> st.SearchStrategy[Floats]:
    return _with_some([np.nan, np.inf], shape, chance=5)


def _long_tail(shape: Shape) -> st.SearchStrategy[Floats]:
    """Many classes at growing gaps: together they matter, one by one they do not."""

    def build(draw: st.DrawFn) -> Floats:
        classes = draw(shape.between(12, 64))
        reach = draw(_between(2.0, shape.thresholds.absorption_gap))
        order = draw(st.sampled_from([1, -1]))
        gaps = np.linspace(reach / 4, reach, classes)
        gaps[0] = 0.0
        return shape.format.round(-gaps[None, ::order])

    return st.composite(build)()


def _large_vocabulary(shape: Shape) -> st.SearchStrategy[Floats]:
    """One maximum somewhere among very many classes at one or two gaps."""
    t = shape.thresholds
    gaps = st.just(0.0) | _near([t.absorption_gap], shape.format) | _between(0.5, t.absorption_gap)

    def build(draw: st.DrawFn) -> Floats:
        classes = draw(st.sampled_from(shape.multiples(LARGE_CLASSES[::3] if shape.few else LARGE_CLASSES)))
        row = np.full(classes, -draw(gaps))
        row[draw(st.sampled_from([classes // 2, classes - 1, 1])) :: 2] = -draw(gaps)
        row[draw(st.sampled_from([0, classes - 1, 7, classes // 2]))] = 0.0
        return shape.format.round(row[None, :])

    return st.composite(build)()


def _degenerate(shape: Shape) -> st.SearchStrategy[Floats]:
    classes = st.just(shape.multiples([shape.max_classes])[0]) if shape.few else shape.classes()
    no_rows = classes.map(lambda count: np.zeros((0, count)))
    return _levels_of_one_class(shape) | no_rows if shape.multiple == 1 else no_rows


def _levels_of_one_class(shape: Shape) -> st.SearchStrategy[Floats]:
    edges = [0.0, 1.0, shape.format.largest, -shape.format.largest, shape.format.min_subnormal]
    return _rows_of(st.sampled_from(edges), shape).map(lambda column: np.array(column)[:, None])


def _subnormal(shape: Shape) -> st.SearchStrategy[Floats]:
    tiny, normal = shape.format.min_subnormal, shape.format.min_normal
    values = st.sampled_from([0.0, -0.0, tiny, -tiny, normal, -normal, normal - tiny, 1.0])

    def build(draw: st.DrawFn) -> Floats:
        classes = draw(shape.classes(2))
        row = st.lists(values, min_size=classes, max_size=classes)
        rows = np.array(draw(_rows_of(row, shape)), dtype=np.float64)
        rows[0, 0] = draw(st.sampled_from([tiny, -tiny, normal - tiny]))
        return rows

    return st.composite(build)()


def _bit_patterns(shape: Shape) -> st.SearchStrategy[Floats]:
    """Any finite members at all."""

    def build(draw: st.DrawFn) -> Floats:
        classes = draw(shape.classes(2))
        count = draw(shape.rows()) * classes
        codes = draw(st.lists(st.integers(0, 2**shape.format.bits - 1), min_size=count, max_size=count))
        values = shape.format.from_bits(codes)
        return np.where(np.isfinite(values), values, 1.0).reshape(-1, classes)

    return st.composite(build)()


def _has_absorption(spread: Spread) -> bool:
    t = spread.thresholds
    return bool(((spread.gaps >= t.absorption_gap) & (spread.gaps < t.vanishing_gap)).any())


def _has_overflow(spread: Spread) -> bool:
    beyond = np.abs(spread.finite) > spread.thresholds.overflow_logit
    return bool((beyond | (spread.gaps > spread.problem.format.largest)).any())


def _has_offset(spread: Spread) -> bool:
    return bool((spread.problem.format.ulp(np.nan_to_num(spread.top)) >= 2.0**-5).any())


def _has_long_tail(spread: Spread) -> bool:
    if spread.problem.num_classes < 12 or not spread.problem.num_rows:
        return False
    relevant = (spread.gaps > 0) & (spread.gaps <= spread.thresholds.absorption_gap)
    return bool((relevant.sum(axis=1) >= spread.problem.num_classes // 2).any())


def _has_subnormal(spread: Spread) -> bool:
    size = np.abs(spread.finite)
    return bool(((size > 0) & (size < spread.problem.format.min_normal)).any())


HAZARDS: dict[str, Hazard] = {
    hazard.name: hazard
    for hazard in (
        Hazard("moderate", "no hazard: gaps up to 4", lambda s: bool((s.gaps <= 4).any()), _moderate),
        Hazard("absorption", "1 + exp(-gap) rounds to 1 although exp(-gap) is not 0", _has_absorption, _absorption),
        Hazard("overflow", "an unshifted exp, or the difference of two logits, overflows", _has_overflow, _overflow),
        Hazard(
            "underflow",
            "exp(-gap) is subnormal or rounds to 0",
            lambda s: bool((s.gaps >= s.thresholds.underflow_gap).any()),
            _underflow,
        ),
        Hazard("offset", "a common offset so large that its ulp is at least 1/32", _has_offset, _offset),
        Hazard(
            "ties",
            "the maximum is attained more than once",
            lambda s: bool(((s.gaps == 0).sum(axis=1) > 1).any()),
            _ties,
        ),
        Hazard("masked", "a logit is -inf", lambda s: bool((s.logits == -np.inf).any()), _masked),
        Hazard(
            "nonfinite",
            "a logit is NaN or +inf",
            lambda s: bool((np.isnan(s.logits) | (s.logits == np.inf)).any()),
            _nonfinite,
        ),
        Hazard("long_tail", "a dozen or more classes that only matter together", _has_long_tail, _long_tail),
        Hazard(
            "large_vocabulary",
            "a thousand classes or more",
            lambda s: s.logits.shape[1] >= LARGE_CLASSES[0],
            _large_vocabulary,
        ),
        Hazard(
            "degenerate",
            "no row, or one class",
            lambda s: s.problem.num_rows == 0 or s.logits.shape[1] == 1,
            _degenerate,
        ),
        Hazard("subnormal", "a logit is subnormal; zeros of both signs", _has_subnormal, _subnormal),
        Hazard("bit_patterns", "any finite bit patterns", lambda s: bool(np.isfinite(s.logits).any()), _bit_patterns),
    )
}


def hazards_of(problem: Problem) -> tuple[str, ...]:
    """Names of the hazards that hold for a problem, whoever made it; 'moderate' where none does.

    >>> from reference.formats import FLOAT32
    >>> hazards_of(Problem([[20.0, 0.0, 0.0, 20.0]], [0], FLOAT32)), hazards_of(Problem([[1.0, 0.0]], [0], FLOAT32))
    (('absorption', 'ties'), ('moderate',))
    """
    spread = Spread(problem)
    return tuple(h.name for h in HAZARDS.values() if h.name not in UNMARKED and h.contains(spread)) or UNMARKED[:1]
