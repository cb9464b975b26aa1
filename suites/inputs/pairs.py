"""Problems over axes: every hazard at every size, and every pair of sizes, targets, cotangents and options.

Kernels break where two things come together that each work alone: a mask and a ragged last tile, ignored rows and a mean, an
offset and a thousand classes. To try all combinations takes too long, and to draw them leaves out pairs by luck. A covering
array has every pair of values in some problem (pairwise testing: Cohen, Dalal, Fredman and Patton, IEEE Trans. Softw. Eng.
23(7), 1997). An extreme hazard hides what an option does, and an ignored row its hazard, so hazards come without options,
and options with mild hazards. What a value stands for (numbers of rows and classes, logits, labels) is drawn from the seed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, cycle
from typing import Any

import numpy as np
from allpairspy import AllPairs
from numpy.random import Generator
from numpy.typing import NDArray

from reference.formats import Floats
from reference.loss import Target
from reference.options import OPTIONS, Array, Axes, Label, Option
from reference.problem import Problem
from reference.reduction import Reduction
from suites.inputs.hazards import NONFINITE
from suites.inputs.problems import NUMBERS, Ask, of_loss
from suites.inputs.tables import FILLERS, Table, mixed, moderate

MIXED = "mixed"


@dataclass(frozen=True)
class Size:
    """Numbers of rows and of classes, from the least to the most; `few` is the one pair where every shape is compiled.

    That of two classes is for losses of one logit alone.
    """

    rows: tuple[int, int]
    classes: tuple[int, int]
    few: tuple[int, int] | None = None


SIZES = {
    "small": Size((1, 3), (2, 6)),
    "tens of classes": Size((3, 4), (7, 63)),
    "hundreds of classes": Size((3, 4), (64, 999)),
    "thousands of classes": Size((4, 4), (1025, 2200), few=(4, 1025)),
    "a tile of rows": Size((5, 66), (2, 11), few=(33, 2)),
    "rows and classes": Size((5, 34), (12, 66), few=(17, 33)),
    "hundreds of rows": Size((129, 260), (2, 5)),
}
"""Sizes by name; each is a handful of milliseconds of the exact tier."""

FEW_ROWS = 4
"""Rows up to which each has the hazard, and another kind of it."""

PLACES = ("anywhere", "the maximum", "the first", "the last", "the farthest")
"""Where the label of a row is."""

IN_TURN = "in turn"
"""Each row has its label at another of these places."""

SPREADS = ("every row", "one row", "the last row")
"""Whose hazard it is; the other rows are moderate."""

MILD = ("moderate", "absorption", "offset", "ties", "masked")
"""Hazards that hide no option."""

ALONE = ("overflow", "offset", "masked", "nonfinite")
"""Hazards of one row among moderate ones, which may spoil the others."""

NOT_GIVEN = "not given"
COTANGENTS = (NOT_GIVEN, "alike", "varied", "some 0", "large", "small")
WEIGHTS = (NOT_GIVEN, "varied", "some 0", "wide")
IGNORED = (NOT_GIVEN, "some", "the first class", "the last class", "255", "-1", "all but one")
FEW = 3
"""Values of an axis whose values each cost a compilation."""

_REACH = 12
"""Binary orders by which wide weights differ from 1, either way; a third of what the format has, if that is less."""

_LARGE = 16
"""Binary order of a large cotangent, and of a small one; half of what the format has, if that is less.

Both together stay within the format: that their product overflows is no fault of the loss.
"""

Pick = Mapping[str, Any]
"""A value for each axis."""

Pair = frozenset[tuple[str, Any]]
"""Two axes, each with a value."""


@dataclass(frozen=True)
class Made:
    """Problems that were made, from the smallest to the largest.

    Arguments:
      picks: what was picked for each problem.
      owed: the pairs that are to meet in them; none where pairs are not what they are made for.
    """

    picks: dict[Problem, Pick]
    owed: frozenset[Pair] = frozenset()

    @property
    def problems(self) -> list[Problem]:
        """The problems alone."""
        return list(self.picks)


def pairs_of(pick: Pick) -> set[Pair]:
    """The pairs that meet in a pick.

    >>> [sorted(pair) for pair in pairs_of({"size": "small", "hazard": "ties"})]
    [[('hazard', 'ties'), ('size', 'small')]]
    """
    return {frozenset(pair) for pair in combinations(pick.items(), 2)}


def pairs_there_are(ask: Ask) -> frozenset[Pair]:
    """Every pair of values of two axes of an ask."""
    owed = set[Pair]()
    for (one, values), (other, others) in combinations(axes_of(ask).items(), 2):
        owed |= {frozenset({(one, value), (other, beside)}) for value in values for beside in others}
    return frozenset(owed)


def axes_of(ask: Ask) -> dict[str, tuple[Any, ...]]:
    """The axes of an ask, and their values, the simplest first."""
    axes: dict[str, tuple[Any, ...]] = {
        "size": _sizes(ask),
        "hazard": tuple(name for name in MILD if name in ask.hazards) or ("moderate",),
        "spread": SPREADS,
        "cotangent": COTANGENTS,
    }
    if not (ask.loss.spec.binary or ask.probabilities):
        axes["target"] = PLACES
    return axes | {option.name: _values(option, ask) for option in ask.varied}


def _sizes(ask: Ask) -> tuple[str, ...]:
    return tuple(name for name, size in SIZES.items() if _fits(size, ask))


def _fits(size: Size, ask: Ask) -> bool:
    """True if an ask has room for problems of a size."""
    if ask.few_shapes and (size.few is None or (size.few[1] == 2) != ask.loss.spec.binary):
        return False
    if ask.loss.spec.binary:
        return size.classes[0] == 2
    return ask.max_classes is None or size.classes[0] <= ask.max_classes


def _values(option: Option, ask: Ask) -> tuple[Any, ...]:
    if isinstance(option.kind, Label):
        return IGNORED[:FEW] if ask.few_shapes else IGNORED
    if isinstance(option.kind, Array):
        return WEIGHTS
    return option.values(ask.few_shapes)


@cache
def picks(ask: Ask) -> tuple[Pick, ...]:
    """Values for all axes, so that every two come together in one of them.

    >>> from reference.formats import FLOAT32
    >>> first, *_ = picks(Ask(FLOAT32, ("moderate", "offset")))
    >>> first
    {'size': 'small', 'hazard': 'moderate', 'spread': 'every row', 'cotangent': 'not given', 'target': 'anywhere'}
    """
    axes = axes_of(ask)
    return tuple(dict(zip(axes, row, strict=True)) for row in AllPairs(list(axes.values())))


@cache
def plain_picks(ask: Ask) -> tuple[Pick, ...]:
    """Every hazard at every size without an option: in each of a few rows, or of many rows in all, mixed, and in one.

    >>> from reference.formats import FLOAT32
    >>> [pick["hazard"] for pick in plain_picks(Ask(FLOAT32, ("moderate", "masked"))) if pick["size"] == "tens of classes"]
    ['moderate', 'masked']
    """
    cotangents = cycle(COTANGENTS)
    owed = {option.name: _values(option, ask)[0] for option in ask.owed}
    chosen = []
    for size in _sizes(ask):
        for hazard, spread in _hazards_at(SIZES[size], ask):
            pick = {"size": size, "hazard": hazard, "spread": spread, "cotangent": next(cotangents), "target": IN_TURN}
            chosen.append(pick | owed)
    return tuple(chosen)


def _hazards_at(size: Size, ask: Ask) -> list[tuple[str, str]]:
    """Hazards at a size, each with whose it is."""
    if size.rows[1] <= FEW_ROWS:
        return [(name, "every row") for name in FILLERS if name in ask.hazards]
    in_all = [MIXED, *(name for name in NONFINITE if name in ask.hazards)]
    return [(name, "every row") for name in in_all] + [(name, "one row") for name in ALONE if name in ask.hazards]


def plain_problems(ask: Ask, seed: int) -> Made:
    """A problem for each of the plain picks; the same for the same seed."""
    return Made(_problems(plain_picks(ask), ask, seed))


def problems_in_pairs(ask: Ask, seed: int) -> Made:
    """The same for the picks that cover all pairs."""
    return Made(_problems(picks(ask), ask, seed), pairs_there_are(ask))


def _problems(chosen: tuple[Pick, ...], ask: Ask, seed: int) -> dict[Problem, Pick]:
    randoms = (np.random.default_rng([seed, _key(ask), place]) for place in range(len(chosen)))
    made = [(_problem(pick, ask, random), pick) for pick, random in zip(chosen, randoms, strict=True)]
    return dict(sorted(made, key=lambda problem_and_pick: problem_and_pick[0].logits.size))


def _key(ask: Ask) -> int:
    return zlib.crc32(f"{ask.format.name} {ask.loss.value} {ask.probabilities}".encode())


def _problem(pick: Pick, ask: Ask, random: Generator) -> Problem:
    rows, classes = _shape(SIZES[pick["size"]], ask, random)
    table = Table(ask.format, rows, classes, random)
    filled = mixed(table, ask.hazards) if pick["hazard"] == MIXED else FILLERS[pick["hazard"]](table)
    logits = of_loss(_spread(pick["spread"], table, filled), ask)
    options = {name: value for name, value in pick.items() if name in OPTIONS}
    target = _target(pick, ask, logits, random)
    for name in options:
        kind = OPTIONS[name].kind
        if isinstance(kind, Label):
            options[name] = _ignoring(options[name], target, logits.shape[1], random)
        elif isinstance(kind, Array):
            options[name] = weights_along(options[name], table, kind.axes)
    shape = logits.shape[:1] if options.get("reduction", Reduction.NONE) is Reduction.NONE else ()
    return Problem(
        logits,
        target,
        ask.format,
        loss=ask.loss,
        cotangent=_cotangent(pick["cotangent"], table, shape),
        tangent=_direction(table, logits.shape) if ask.directions else None,
        **options,
    )


def _shape(size: Size, ask: Ask, random: Generator) -> tuple[int, int]:
    """N and K of a size, within the limits of an ask."""
    if ask.few_shapes and size.few is not None:
        rows, classes = size.few
    else:
        rows, classes = (_number(random, *ends) for ends in (size.rows, size.classes))
    classes = -(-classes // ask.classes_multiple) * ask.classes_multiple
    return rows, classes if ask.max_classes is None else min(
        classes, ask.max_classes // ask.classes_multiple * ask.classes_multiple
    )


def _number(random: Generator, least: int, most: int) -> int:
    """A number of a range: beside a power of 2, or some tiles and a rest, or of any order of magnitude."""
    powers = [2**k + beside for k in range(most.bit_length()) for beside in (-1, 0, 1)]
    edges = [number for number in powers if least <= number <= most] or [least]
    tile = 2 ** int(random.integers(3, 8))
    ragged = tile * int(random.integers(1, max(2, most // tile + 1))) + int(random.integers(1, tile))
    anything = round(float(np.exp(random.uniform(np.log(least), np.log(most)))))
    return int(np.clip(random.choice([random.choice(edges), ragged, anything]), least, most))


def _spread(spread: str, table: Table, logits: Floats) -> Floats:
    """The logits in every row, or in one among moderate ones; a few rows have them all, each another kind."""
    if spread == "every row" or table.rows <= FEW_ROWS:
        return logits
    row = table.rows - 1 if spread == "the last row" else int(table.random.integers(table.rows))
    others = moderate(table)
    others[row] = logits[_telling(logits)]
    return others


def _telling(logits: Floats) -> int:
    """A row that shows what is not finite, where some row does."""
    return int(np.argmax(~np.isfinite(logits).all(axis=1)))


def _target(pick: Pick, ask: Ask, logits: Floats, random: Generator) -> NDArray[Any]:
    rows, classes = logits.shape
    if ask.loss.spec.target is Target.BINARY_CLASSES:
        return random.choice([0.0, 1.0], (rows, 1))
    if ask.loss.spec.target is Target.BINARY_PROBABILITIES:
        return random.choice([0.0, 1.0, 0.5, 0.125], (rows, 1))
    if ask.probabilities:
        return _probabilities(ask, rows, classes, random)
    known = np.nan_to_num(logits, nan=0.0)
    places: dict[str, Callable[[], NDArray[Any]]] = {
        "anywhere": lambda: np.asarray(random.integers(0, classes, rows)),
        "the maximum": lambda: known.argmax(axis=1),
        "the first": lambda: np.zeros(rows, dtype=np.int64),
        "the last": lambda: np.full(rows, classes - 1),
        "the farthest": lambda: known.argmin(axis=1),
    }
    if pick["target"] != IN_TURN:
        return np.asarray(places[pick["target"]](), dtype=np.int64)
    turn = (np.arange(rows) + random.integers(len(places))) % len(places)
    return np.choose(turn, [place() for place in places.values()]).astype(np.int64)


def _probabilities(ask: Ask, rows: int, classes: int, random: Generator) -> Floats:
    """Rows that are dense, sparse or one-hot, and sum to about 1."""
    counts = random.integers(0, 5, (rows, classes)) * (random.random((rows, classes)) < random.choice([1.0, 0.1], (rows, 1)))
    one_hot = random.random(rows) < 0.3
    counts[one_hot] = 0
    empty = counts.sum(axis=1) == 0
    counts[empty, random.integers(0, classes, int(empty.sum()))] = 1
    return ask.format.round(counts / counts.sum(axis=1, keepdims=True))


def _ignoring(how: str, target: NDArray[Any], classes: int, random: Generator) -> int:
    """The label that is ignored; it is written into the target of some rows, of all but one or of none.

    Rows of probabilities have no place for it: there it must change nothing.
    """
    index = {"the first class": 0, "the last class": classes - 1, "255": 255, "-1": -1}.get(how, -100)
    if how == NOT_GIVEN or target.ndim == 2:
        return index
    ignored = (how == "all but one") | (random.random(target.size) < 0.4)
    ignored[random.integers(target.size)] = target.size == 1  # a row that counts, where there is another
    target[:] = np.where(ignored, index, target)
    return index


def weights_along(how: str, table: Table, axes: Axes) -> Floats | None:
    """Weights, one for each class, row or logit."""
    if how == NOT_GIVEN:
        return None
    shape = {Axes.CLASSES: (table.classes,), Axes.ROWS: (table.rows,), Axes.LOGITS: (table.rows, table.classes)}[axes]
    if how == "wide":
        reach = min(_REACH, table.format.emax // 3)
        return np.ldexp(np.ones(shape), table.random.integers(-reach, reach + 1, shape))
    zero = [0.0, 0.0] if how == "some 0" else []
    return table.format.round(table.each_of([1.0, 0.5, 2.0, 0.375, 3.0, 0.1, 7.0, *zero], shape))


def _cotangent(how: str, table: Table, shape: tuple[int, ...]) -> Floats | None:
    """The cotangent of losses of a shape."""
    if how == NOT_GIVEN:
        return None
    largest = 2.0 ** min(_LARGE, table.format.emax // 2)
    values: dict[str, Sequence[float]] = {
        "alike": [float(table.random.choice([3.0, -0.375, 0.1]))],
        "varied": NUMBERS,
        "some 0": [0.0, 1.0, -3.0] if shape else [0.0],
        "large": [largest, -largest, largest / 2],
        "small": [1 / largest, -1 / largest, 3 / largest],
    }
    return table.format.round(table.each_of(list(values[how]), shape))


def _direction(table: Table, shape: tuple[int, ...]) -> Floats:
    return table.format.round(table.each_of([*NUMBERS, 0.0], shape))
