"""Searches for the worst error where exhaustion is impossible: restarts, bit flips, coordinate moves, escalation of the best.

Rows are kept as places of their numbers in the order of all finite ones: a step of 1 is a neighbour at every size, a flipped
bit a jump of a power of two. A find is judged by the exact tier before it is told: a lower bound of the maximum (`searched`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.adapter import Adapter
from adapters.bulk import Bulk
from adapters.operation import Operation
from reference.formats import FLOAT64, Format
from suites.judging.measurement import Measurement
from suites.sweep.chunk import SweepError, compiled_batch, entries_apart, question_of
from suites.sweep.compiled.errors import certified_ulps, guessed_ulps
from suites.sweep.compiled.tally import QUANTITIES
from suites.sweep.settle import measured
from suites.sweep.space import Rows, count_of, of_places, places_of

_ELITE = 512
"""Rows that a generation is bred from."""

_GENERATION = 16384
_RESTARTS = _GENERATION // 8
"""Rows of a generation that are drawn anew."""

_FINALISTS = 16
"""Rows that the exact tier judges."""

_REACH = 24
"""Places around the best in every direction that the escalation tries, for two logits all of them."""

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Hunt:
    """What is searched: one quantity of an operation, in a format, over rows of so many classes."""

    adapter: Adapter
    operation: Operation
    format: Format
    quantity: int
    classes: int
    seed: int = 0


@dataclass
class Pack:
    """The M worst rows so far, the worst first: places (M, K) of their logits, targets (M,) and errors (M,)."""

    places: Places
    targets: NDArray[np.int64]
    ulps: NDArray[np.float64]
    asked: int = 0
    history: list[tuple[float, float]] = field(default_factory=list)
    """(seconds, ulps) whenever the worst became worse."""


def search(hunt: Hunt, seconds: float, clock: Callable[[], float] = monotonic) -> tuple[Measurement, Pack]:
    """The worst row that was found within the time, measured by the exact tier, and what was tried.

    Raises:
      SweepError: the operation raised, or returned nothing that has an error in ulps.
    """
    random, started = np.random.default_rng(hunt.seed), clock()
    pack = Pack(np.empty((0, hunt.classes), dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0))
    while not pack.asked or clock() - started < seconds:
        bred = [_fresh(hunt, random, _RESTARTS if len(pack.ulps) else _GENERATION)]
        if len(pack.ulps):
            bred += [_moved(hunt, random, pack), _around(hunt, random, pack)]
        places = np.concatenate(bred)
        targets = random.integers(0, hunt.classes, len(places))
        _keep(hunt, pack, places, targets, clock() - started)
    if not len(pack.ulps):
        raise SweepError(
            f"{hunt.operation.label}: no error of {QUANTITIES[hunt.quantity]} could be measured in {pack.asked} rows"
        )
    return _judged(hunt, pack), pack


def _fresh(hunt: Hunt, random: np.random.Generator, size: int) -> Places:
    """Rows drawn anew: half of them any numbers, half numbers and gaps with exponents from -24 to 8."""
    fmt = hunt.format
    half = count_of(fmt) // 2
    anywhere = random.integers(-half, half, (size // 2, hunt.classes))
    spread = np.ldexp(random.uniform(-2, 2, (size - size // 2, hunt.classes)), random.integers(-24, 8, (size - size // 2, 1)))
    return np.concatenate([anywhere, places_of(fmt, fmt.round(spread + spread[:, :1]))])


def _moved(hunt: Hunt, random: np.random.Generator, pack: Pack) -> Places:
    """Children of the pack, better parents more often: one coordinate stepped, a bit flipped, or taken from another row."""
    size, rows = _GENERATION - _RESTARTS, len(pack.places)
    parents = (rows * random.random(size) ** 2).astype(np.int64)
    children = pack.places[parents].copy()
    column, which = random.integers(0, hunt.classes, size), random.integers(0, 4, size)
    every = np.arange(size)
    old = children[every, column]
    power = np.int64(1) << random.integers(0, hunt.format.bits - 1, size)
    small = random.integers(-16, 17, size)
    mate = pack.places[random.integers(0, rows, size), random.integers(0, hunt.classes, size)]
    signed = power * random.choice([-1, 1], size)
    new = np.select([which == 0, which == 1, which == 2], [old + small, old ^ power, old + signed], mate)
    children[every, column] = new
    return _clipped(hunt, children)


def _clipped(hunt: Hunt, places: Places) -> Places:
    """Places moved to the nearest finite number."""
    half = count_of(hunt.format) // 2
    return np.clip(places, -half, half - 1)


def _around(hunt: Hunt, random: np.random.Generator, pack: Pack) -> Places:
    """Escalation: the neighbourhood of the best row; for two logits whole, for more a part of it."""
    if hunt.classes == 2:
        step = np.arange(-_REACH, _REACH + 1)
        offsets = np.stack(np.meshgrid(step, step), axis=-1).reshape(-1, 2)
    else:
        offsets = random.integers(-_REACH, _REACH + 1, (_GENERATION // 8, hunt.classes))
    return _clipped(hunt, pack.places[0] + offsets)


def _keep(hunt: Hunt, pack: Pack, places: Places, targets: NDArray[np.int64], now: float) -> None:
    """Ask for rows and keep the worst of them and of the pack, each once."""
    ulps = errors_of(hunt, of_places(hunt.format, places), targets)
    pack.asked += len(places)
    worst = float(pack.ulps[0]) if len(pack.ulps) else -1.0
    measured_rows = ulps >= 0
    rows = np.concatenate([pack.places, places[measured_rows]])
    marks = np.concatenate([pack.targets, targets[measured_rows]])
    found = np.concatenate([pack.ulps, ulps[measured_rows]])
    order = np.argsort(-found, kind="stable")[: 4 * _ELITE]
    _, once = np.unique(np.column_stack([rows[order], marks[order]]), axis=0, return_index=True)
    best = order[np.sort(once)][:_ELITE]
    pack.places, pack.targets, pack.ulps = rows[best], marks[best], found[best]
    if len(best) and pack.ulps[0] > worst:
        pack.history.append((round(now, 2), float(pack.ulps[0])))


def errors_of(hunt: Hunt, logits: NDArray[Any], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """The largest error in ulps of each row's entries, -1 where there is none."""
    quantity = QUANTITIES[hunt.quantity]
    returned = hunt.operation.returned(quantity, hunt.format)
    certified = hunt.classes in (2, 3) and FLOAT64 not in (hunt.format, returned)
    ulps = np.full(len(logits), -1.0)
    for target in range(hunt.classes):
        chosen = np.flatnonzero(targets == target)
        rows = np.ascontiguousarray(logits[chosen])
        if not len(rows):
            continue
        seen = hunt.adapter.observe_bulk(hunt.operation, Bulk(rows, target, hunt.format), (quantity,))
        if seen.error or seen.violations:
            raise SweepError(f"{hunt.operation.label} on {hunt.format.name}: {seen.error or seen.violations[0]}")
        values = seen.values[quantity]
        if certified:
            question = question_of(hunt.operation, hunt.format, hunt.quantity, target, hunt.classes)
            batch = compiled_batch(Rows(rows, np.array([0, len(rows)]), np.array([0])))
            ulps[chosen] = certified_ulps(batch, entries_apart(values), question)
        else:
            ulps[chosen] = guessed_ulps(rows.astype(np.float64), values, hunt.quantity, target, returned)
    return ulps


def _judged(hunt: Hunt, pack: Pack) -> Measurement:
    """The worst of the finalists, asked again one by one and measured by the exact tier."""
    quantity, found = QUANTITIES[hunt.quantity], []
    for places, target in zip(pack.places[:_FINALISTS], pack.targets[:_FINALISTS], strict=True):
        rows = of_places(hunt.format, places[None, :])
        seen = hunt.adapter.observe_bulk(hunt.operation, Bulk(rows, int(target), hunt.format), (quantity,))
        found.append(measured(hunt.operation, hunt.format, rows, int(target), hunt.quantity, seen.values[quantity]))
    return max(found, key=lambda m: float(np.where(m.measurable, m.scaled_ulps, -1.0).max()))
