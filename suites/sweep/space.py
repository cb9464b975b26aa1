"""The rows of a sweep: which inputs it covers, cut into chunks that any worker can build from their number alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.formats import FORMATS, Format, format_named
from suites.sweep.compiled.tally import SIDE

_BATCH = 2**18
"""Rows that go to the framework at once, about: they stay in the caches, and a call's overhead is lost among them."""


_MOST_CHUNKS = 2**14


@dataclass(frozen=True, eq=False)
class Rows:
    """Logits (N, K) in their own dtype; rows starts[r] to starts[r + 1] lie in the bin cells[r] of the map."""

    logits: NDArray[Any]
    starts: NDArray[np.int64]
    cells: NDArray[np.int64]


def members(fmt: Format) -> NDArray[Any]:
    """All finite numbers of a 16-bit format from least to largest, -0 before +0, in its own dtype.

    >>> from reference.formats import BFLOAT16, FLOAT16
    >>> len(members(FLOAT16)), len(members(BFLOAT16))
    (63488, 65280)
    """
    return of_ranks(fmt, np.arange(count_of(fmt), dtype=np.int64))


def count_of(fmt: Format) -> int:
    """How many finite encodings a format has: all but those of the highest exponent."""
    return int(2**fmt.bits - 2 * 2 ** (fmt.precision - 1))


def of_ranks(fmt: Format, ranks: NDArray[np.int64]) -> NDArray[Any]:
    """The finite numbers of given ranks, 0 the least."""
    return of_places(fmt, ranks - count_of(fmt) // 2)


def of_places(fmt: Format, places: NDArray[np.int64]) -> NDArray[Any]:
    """The finite numbers at places on either side of zero: 0 is at 0, the smallest at 1, -0 at -1.

    >>> from reference.formats import FLOAT64
    >>> of_places(FLOAT64, np.array([0, 1, -1, -2])).tolist()
    [0.0, 5e-324, -0.0, -5e-324]
    """
    size = np.where(places < 0, -1 - places, places).astype(np.uint64)
    sign = np.where(places < 0, np.uint64(1 << (fmt.bits - 1)), np.uint64(0))
    return (size | sign).astype(f"uint{fmt.bits}").view(fmt.numpy_dtype)


def places_of(fmt: Format, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The inverse of `of_places`, for finite members in the float64 carrier."""
    encodings, sign = fmt.to_bits(values), np.uint64(1 << (fmt.bits - 1))
    size = (encodings & (sign - np.uint64(1))).astype(np.int64)
    return np.where(encodings & sign, -1 - size, size)


def _edges(count: int, parts: int) -> NDArray[np.int64]:
    """Where `count` things are cut into parts of one size, or nearly so."""
    return np.arange(parts + 1, dtype=np.int64) * count // parts


@dataclass(frozen=True)
class Space(ABC):
    """A set of rows, cut into `chunks`."""

    dtype: str

    @property
    def format(self) -> Format:
        """The format of the logits."""
        return format_named(self.dtype, FORMATS)

    @property
    def classes(self) -> int:
        """Logits of a row; it is asked with each of them as its target."""
        return 2

    @property
    def has_map(self) -> bool:
        """True if its rows lie in a plane."""
        return True

    @property
    def extent(self) -> str:
        """What a sweep of it is if nothing is left out."""
        return "exhaustive"

    @property
    def taste(self) -> Space:
        """A few rows of as many logits, to compile everything with."""
        return Sample(self.dtype, count=64)

    @property
    def questions(self) -> int:
        """The number of questions: each row is asked with each of its classes as the target."""
        return self.classes * self.rows

    @property
    @abstractmethod
    def chunks(self) -> int:
        """The number of chunks that the rows are cut into."""

    @property
    @abstractmethod
    def rows(self) -> int:
        """Number of rows of logits."""

    @property
    @abstractmethod
    def left_out(self) -> str | None:
        """Why not every row of its kind is in it; None if it is exhaustive."""

    @property
    @abstractmethod
    def story(self) -> str:
        """What it covers, in a line."""

    @abstractmethod
    def batches(self, chunk: int) -> Iterator[Rows]:
        """The rows of a chunk."""


@dataclass(frozen=True)
class Pairs(Space):
    """Every pair of finite numbers of a 16-bit format, or of every `stride`th of them; a chunk is a row of the map."""

    stride: int = 1

    def __post_init__(self) -> None:
        if self.format.bits != 16:
            raise ValueError(f"pairs of {self.dtype} are too many to exhaust; allowed: float16, bfloat16, or a sample")

    @cached_property
    def _values(self) -> NDArray[Any]:
        return members(self.format)[:: self.stride]

    @property
    def chunks(self) -> int:
        """One for each row of the map: a part of the first numbers with all of the second."""
        return SIDE

    @property
    def rows(self) -> int:
        """The square of the number of values."""
        return len(self._values) ** 2

    @property
    def left_out(self) -> str | None:
        """The numbers that are stepped over; None if there are none."""
        return None if self.stride == 1 else f"every {self.stride}th number only"

    @property
    def story(self) -> str:
        """The pairs by the values of their two axes."""
        return f"pairs of finite {self.dtype} numbers" + ("" if self.stride == 1 else f", every {self.stride}th")

    def batches(self, chunk: int) -> Iterator[Rows]:
        """Some first numbers with every second one."""
        values, edges = self._values, _edges(len(self._values), SIDE)
        step = max(1, _BATCH // len(values))
        for first in range(int(edges[chunk]), int(edges[chunk + 1]), step):
            tops = values[first : min(first + step, int(edges[chunk + 1]))]
            logits = np.empty((len(tops), len(values), 2), dtype=values.dtype)
            logits[:, :, 0], logits[:, :, 1] = tops[:, None], values
            starts = (np.arange(len(tops))[:, None] * len(values) + edges[:-1]).ravel()
            cells = np.tile(chunk * SIDE + np.arange(SIDE), len(tops))
            yield Rows(logits.reshape(-1, 2), np.append(starts, len(tops) * len(values)), cells)


def lattice(fmt: Format, step: int) -> NDArray[Any]:
    """Every `step`th finite number of a format from 0, the least subnormal and normal, 1 and the largest, of either sign.

    >>> from reference.formats import FLOAT16
    >>> lattice(FLOAT16, 2**14)[6:].tolist()
    [0.0, 5.960464477539063e-08, 6.103515625e-05, 1.0, 2.0, 65504.0]
    """
    landmarks = places_of(fmt, np.array([fmt.min_subnormal, fmt.min_normal, 1.0, fmt.largest]))
    sizes = np.unique(np.append(np.arange(0, count_of(fmt) // 2, step, dtype=np.int64), landmarks))
    return of_places(fmt, np.concatenate([-1 - sizes[::-1], sizes]))


@dataclass(frozen=True)
class Triples(Space):
    """Every triple of numbers of the `lattice` of a step in a 16-bit format; a chunk has one first number."""

    step: int = 71

    def __post_init__(self) -> None:
        if self.format.bits != 16:
            raise ValueError(f"triples of {self.dtype} are not swept; allowed: float16, bfloat16, or --search --classes=3")
        if not 1 <= self.step < count_of(self.format) // 2:
            raise ValueError(f"--step={self.step}: allowed: 1 to {count_of(self.format) // 2 - 1}")

    @cached_property
    def _values(self) -> NDArray[Any]:
        return lattice(self.format, self.step)

    @property
    def classes(self) -> int:
        """Three logits a row."""
        return 3

    @property
    def has_map(self) -> bool:
        """Three logits are no plane."""
        return False

    @property
    def extent(self) -> str:
        """No bound for the triples between."""
        return "exhaustive on the lattice"

    @property
    def taste(self) -> Space:
        """The landmarks and a few more."""
        return Triples(self.dtype, 2**14)

    @property
    def chunks(self) -> int:
        """One for each number."""
        return len(self._values)

    @property
    def rows(self) -> int:
        """The cube of the number of values."""
        return len(self._values) ** 3

    @property
    def left_out(self) -> str | None:
        """Nothing of the lattice."""
        return None

    @property
    def story(self) -> str:
        """The lattice by its step and size."""
        return (
            f"triples of {len(self._values)} {self.dtype} numbers: the lattice of step {self.step} (finite numbers {self.step} "
            "encodings apart from 0 on, the least subnormal and normal, 1 and the largest, of either sign)"
        )

    def batches(self, chunk: int) -> Iterator[Rows]:
        """One first number with some second and every third one."""
        values = self._values
        step = max(1, _BATCH // len(values))
        for first in range(0, len(values), step):
            seconds = values[first : first + step]
            logits = np.empty((len(seconds), len(values), 3), dtype=values.dtype)
            logits[:, :, 0], logits[:, :, 1], logits[:, :, 2] = values[chunk], seconds[:, None], values
            rows = logits.reshape(-1, 3)
            yield Rows(rows, np.array([0, len(rows)]), np.array([0]))


@dataclass(frozen=True)
class Gaps(Space):
    """Every finite d of a format, in the logits [0, d] and [d, 0], or every `stride`th; the map is d in 65536 bins."""

    stride: int = 1

    @cached_property
    def _count(self) -> int:
        return -(-count_of(self.format) // self.stride)

    @property
    def chunks(self) -> int:
        """About 2^20 values each."""
        return max(1, self._count >> 20)

    @property
    def rows(self) -> int:
        """Two for each d: [0, d] and [d, 0]."""
        return 2 * self._count

    @property
    def left_out(self) -> str | None:
        """The numbers that are stepped over; None if there are none."""
        return None if self.stride == 1 else f"every {self.stride}th number only"

    @property
    def story(self) -> str:
        """The two rows of each d."""
        return f"[0, d] and [d, 0] for every finite {self.dtype} d" + ("" if self.stride == 1 else f", every {self.stride}th")

    def batches(self, chunk: int) -> Iterator[Rows]:
        """A range of d, then the same with the logits exchanged."""
        bins = _edges(self._count, SIDE * SIDE)
        edges = _edges(self._count, self.chunks)
        for first in range(int(edges[chunk]), int(edges[chunk + 1]), _BATCH):
            last = min(first + _BATCH, int(edges[chunk + 1]))
            values = of_ranks(self.format, np.arange(first, last, dtype=np.int64) * self.stride)
            low, high = (int(np.searchsorted(bins, place, "right")) - 1 for place in (first, last - 1))
            cells = np.arange(low, high + 1)
            starts = np.append(np.maximum(bins[cells], first), last) - first
            for column in (1, 0):
                logits = np.zeros((last - first, 2), dtype=values.dtype)
                logits[:, column] = values
                yield Rows(logits, starts, cells)


@dataclass(frozen=True)
class Sample(Space):
    """Pseudo-random pairs of a format: half of them any two finite encodings, half a number and another within a gap of it.

    Both the number and the gap have exponents from -24 to 8, evenly. Chunks depend on seed and number alone (Philox).
    """

    count: int = 2**20
    seed: int = 0

    @property
    def has_map(self) -> bool:
        """Its rows are not in order."""
        return False

    @property
    def _size(self) -> int:
        """Rows of a chunk: so many that a large sweep has no more chunks than one journal can take in."""
        return max(2**20, -(-self.count // _MOST_CHUNKS))

    @property
    def chunks(self) -> int:
        """2^20 rows each, or more; the last one fewer."""
        return -(-self.count // self._size)

    @property
    def rows(self) -> int:
        """The number of rows that was asked for."""
        return self.count

    @property
    def left_out(self) -> str | None:
        """It is a sample."""
        return f"a sample of {self.count} pairs"

    @property
    def story(self) -> str:
        """How it was drawn."""
        return f"{self.count} pseudo-random pairs of finite {self.dtype} numbers, seed {self.seed}"

    def batches(self, chunk: int) -> Iterator[Rows]:
        """The rows of a chunk; it has no map, so all lie in one bin."""
        random = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, chunk]))
        left = min(self._size, self.count - chunk * self._size)
        while left > 0:
            size = min(_BATCH, left)
            left -= size
            yield Rows(self._drawn(random, size), np.array([0, size]), np.array([0]))

    def _drawn(self, random: np.random.Generator, size: int) -> NDArray[Any]:
        fmt = self.format
        anywhere = of_ranks(fmt, random.integers(0, count_of(fmt), (size - size // 2, 2)))
        number, gap = (np.ldexp(random.uniform(-2, 2, size // 2), random.integers(-24, 8, size // 2)) for _ in range(2))
        return np.concatenate([anywhere, np.stack([number, number + gap], axis=1).astype(fmt.numpy_dtype)])
