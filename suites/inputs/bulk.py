"""Rows by the hundred thousand that fill a grid of gap, size and hazard: what a small problem meets by luck, if at all.

A band of gaps as narrow as a thousandth of itself lies between all that is drawn one by one. Here every bin of the gap between
the two largest logits and every bin of K (`suites.judging.profile`) gets its rows, each with numbers of its own from the seed.
Bands keep apart what deviations know as regions: gaps at which powers are normal, gaps at which they underflow, and logits
whose powers overflow. A region holds for a whole problem, so that one row of it would excuse all others.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from reference.formats import Floats, Format, Integers
from reference.problem import Problem
from reference.thresholds import thresholds
from suites.inputs.problems import Ask
from suites.inputs.tables import Table

SHARES: dict[tuple[int, int], float] = {
    (2, 2): 0.85,
    (3, 3): 0.08,
    (4, 7): 0.05,
    (8, 15): 0.012,
    (16, 31): 0.004,
    (32, 63): 0.00101,
    (64, 96): 0.00101,
    (128, 160): 0.00101,
    (256, 288): 0.00101,
    (512, 544): 0.00101,
    (1024, 1056): 0.00101,
}
"""Numbers of classes, from the least to the most, and the part of the rows that have them: 1010 in a million or more."""

FEW_SHARES = {(2, 2): 0.9, (16, 31): 0.1}
"""The same where every shape is compiled."""

BANDS = {"normal": 0.6, "underflow": 0.2, "offset": 0.2}
"""Kinds of batches, and the part of the rows that they have."""

LARGEST_BATCH = 2**16
"""Logits of a batch, at most."""

FEWEST = 12
"""Rows of a batch, at least: two for each way to fill a row."""

FEW = 200
"""Rows of a number of classes from which on they have every band."""

OTHERS = ("level", "near", "spread", "absorbed", "growing", "far")
"""Where the classes behind the two largest lie, by row in turn."""

OCTAVES = -4, 10
"""Bins of gaps are half octaves between these powers of two; below and beyond lies one more."""

LARGEST_GAP = 1280.0
"""The end of the last bin."""


@dataclass(frozen=True)
class Band:
    """Gaps from the least to the most, and logits whose size is at most `size`; behind an offset they are beyond `size`."""

    name: str
    least: float
    most: float
    size: float


def band_of(name: str, fmt: Format) -> Band:
    """A band in a format.

    >>> from reference.formats import FLOAT16
    >>> band_of("normal", FLOAT16).most < 9.71 < band_of("underflow", FLOAT16).least
    True
    """
    t = thresholds(fmt)
    below, above = (_beside(t.underflow_gap, fmt, steps) for steps in (-4, 4))
    size = _beside(t.overflow_logit, fmt, -4)
    least, most = {"normal": (0.0, below), "underflow": (above, min(1.25 * t.vanishing_gap, 1.9 * size))}.get(
        name, (0.0, LARGEST_GAP)
    )
    return Band(name, least, most, size)


def _beside(number: float, fmt: Format, steps: int) -> float:
    rounded = fmt.round(np.array(number))
    return float(rounded + steps * fmt.ulp(rounded))


def bins_of(band: Band, fmt: Format) -> Floats:
    """(B, 2): the bins of gaps of a band: half octaves, parted at the thresholds of the format."""
    t = thresholds(fmt)
    octaves = np.exp2(np.arange(2 * OCTAVES[0], 2 * OCTAVES[1] + 1) / 2)
    inner = np.unique([*octaves, t.absorption_gap, t.underflow_gap, t.vanishing_gap, t.overflow_logit])
    inside = inner[(inner > band.least) & (inner < band.most)]
    edges = np.concatenate([[band.least], inside, [band.most]])
    return np.stack([edges[:-1], edges[1:]], axis=1)


def bulk_problems(ask: Ask, seed: int, rows: int) -> Iterator[Problem]:
    """About so many rows in batches, the same for the same seed: one number of classes of each range, and every band of it.

    Of a number of classes that has few rows, one band. Where every shape is compiled, bands are alike in rows.
    """
    for place, ((least, most), share) in enumerate((FEW_SHARES if ask.few_shapes else SHARES).items()):
        classes = _classes(ask, least, most, np.random.default_rng([seed, place]))
        if classes is None:
            continue
        wanted = round(rows * share)
        parts = BANDS if wanted >= FEW else {list(BANDS)[place % len(BANDS)]: 1.0}
        parts = dict.fromkeys(parts, 1 / len(parts)) if ask.few_shapes else parts
        for name, part in parts.items():
            yield from _batches(ask, (seed, place), classes, name, max(round(wanted * part), FEWEST))


def _batches(ask: Ask, seeds: tuple[int, int], classes: int, name: str, rows: int) -> Iterator[Problem]:
    """So many rows of a band, in batches that are alike in size."""
    count = -(-rows * classes // LARGEST_BATCH)
    for batch in range(count):
        random = np.random.default_rng([*seeds, _key(ask, name), batch])
        yield _problem(Table(ask.format, -(-rows // count), classes, random), band_of(name, ask.format))


def _key(ask: Ask, name: str) -> int:
    return zlib.crc32(f"bulk {ask.format.name} {name}".encode())


def _classes(ask: Ask, least: int, most: int, random: Generator) -> int | None:
    """A number of classes of a range that an operation takes; None if it takes none."""
    step, end = ask.classes_multiple, most if ask.max_classes is None else min(most, ask.max_classes)
    allowed = np.arange(-(-least // step) * step, end + 1, step)
    return int(random.choice(allowed)) if allowed.size else None


def _problem(table: Table, band: Band) -> Problem:
    margin = _margins(table, band)
    gaps = np.minimum(margin[:, None] + _behind(table, band, margin), max(band.most, 1.0))
    second = (table.places + 1 + table.random.integers(0, max(table.classes - 1, 1), table.rows)) % table.classes
    gaps[np.arange(table.rows), second] = margin
    logits = table.levels(gaps, _tops(table, band, gaps.max(axis=1)))
    return Problem(logits, _targets(table, logits, second), table.format)


def _margins(table: Table, band: Band) -> Floats:
    """(N,): the gap between the two largest logits of each row: bin after bin, anywhere in it; one in sixteen begins it."""
    bins = bins_of(band, table.format)
    turn = table.turns(len(bins))
    low, high = bins[turn].T
    anywhere = table.random.uniform(low, high)
    return np.where(table.random.integers(0, 16, table.rows) == 0, low, anywhere)


def _behind(table: Table, band: Band, margin: Floats) -> Floats:
    """(N, K): how far below the second largest logit the others lie."""
    t, (rows, classes) = table.thresholds, table.shape
    room = np.maximum(band.most - margin, 0.0)[:, None]
    reach = np.minimum(room, t.absorption_gap)
    uniform = table.random.random(table.shape)
    ways = {
        "level": np.zeros(table.shape),
        "near": 4.0 * uniform,
        "spread": uniform * room,
        "absorbed": reach + (uniform - 0.5) * np.minimum(1.0, reach),
        "growing": reach * np.linspace(0.0, 1.0, classes),
        "far": np.broadcast_to(room, table.shape),
    }
    return np.stack([ways[way] for way in OTHERS])[table.turns(len(OTHERS)), np.arange(rows)]


def _tops(table: Table, band: Band, deepest: Floats) -> Floats:
    """(N,): the largest logits: around 0 or anywhere that keeps all within the band's size, or far beyond that."""
    if band.name != "offset":
        low = np.minimum(deepest - band.size, band.size)
        modest = np.clip(table.modest(), low, band.size)
        return np.where(table.turns(2) == 0, modest, table.random.uniform(low, band.size))
    least = int(np.ceil(np.log2(2.0 * band.size)))
    most = max(least + 1, min(table.format.precision + 4, table.format.emax - 1))
    return table.signs() * np.ldexp(table.random.uniform(1.0, 2.0, table.rows), table.random.integers(least, most, table.rows))


def _targets(table: Table, logits: Floats, second: Integers) -> Integers:
    """(N,): the class of the largest logit, of the next, of the smallest, or any."""
    anywhere = table.random.integers(0, table.classes, table.rows)
    places = [table.places, second, logits.argmin(axis=1), anywhere]
    return np.choose(table.random.integers(0, len(places), table.rows), places).astype(np.int64)
