"""What a chunk, or many, showed: a tally with its rows and times, as JSON that a journal holds, and added up in any order."""

from __future__ import annotations

import zlib
from base64 import b64encode
from dataclasses import dataclass, field
from math import nan, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suites.inputs.inflated import inflated
from suites.sweep.adding_up import fault_of
from suites.sweep.compiled.tally import QUANTITIES, SIDE, SweepTally, empty_tally

TIMES = ("framework", "comparison", "chunk")
"""Processor seconds: of the framework's own calls; of all else that judging its answers took; of the two together."""


@dataclass(frozen=True)
class Outcome:
    """A tally of `rows` questions (a row of logits with a target), of which `undecided` entries went to the exact tier.

    `seconds` is processor time, by the names in `TIMES`.
    """

    rows: int = 0
    undecided: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TIMES, 0.0))
    tally: SweepTally = field(default_factory=empty_tally)

    def plus(self, other: Outcome) -> Outcome:
        """Both together; of two equal errors the one with the lesser logits is kept, so the order does not matter."""
        a, b = self.tally, other.tally
        newer = np.array([_rank(b, q) > _rank(a, q) for q in range(len(QUANTITIES))])
        low, high = np.minimum(a.box[..., 0], b.box[..., 0]), np.maximum(a.box[..., 1], b.box[..., 1])
        tally = SweepTally(
            grades=a.grades + b.grades,
            failing=a.failing + b.failing,
            box=np.stack([low, high], axis=-1),
            worst=np.maximum(a.worst, b.worst),
            worst_place=np.where(newer[:, None], b.worst_place, a.worst_place),
            worst_logits=np.where(newer[:, None], b.worst_logits, a.worst_logits),
            map=np.maximum(a.map, b.map),
            seen=a.seen | b.seen,
        )
        seconds = {name: self.seconds[name] + other.seconds[name] for name in TIMES}
        return Outcome(self.rows + other.rows, self.undecided + other.undecided, seconds, tally)

    def as_json(self) -> dict[str, Any]:
        """Exact: floating-point numbers as hexadecimal strings."""
        tally = self.tally
        used = np.flatnonzero((tally.map >= 0).any(axis=0) | (tally.seen != 0).any(axis=0))
        start, stop = (int(used[0]), int(used[-1]) + 1) if used.size else (0, 0)
        return {
            "rows": self.rows,
            "undecided": self.undecided,
            "seconds": {name: round(value, 6) for name, value in self.seconds.items()},
            "grades": tally.grades.tolist(),
            "failing": tally.failing.tolist(),
            "box": [v.hex() for v in tally.box.ravel().tolist()],
            "worst": [v.hex() for v in tally.worst.tolist()],
            "worst_place": tally.worst_place.tolist(),
            "worst_logits": [v.hex() for v in tally.worst_logits.ravel().tolist()],
            "start": start,
            "map": _packed(tally.map[:, start:stop]),
            "seen": _packed(tally.seen[:, start:stop]),
        }


def _rank(tally: SweepTally, q: int) -> tuple[float, ...]:
    return (float(tally.worst[q]), *(-tally.worst_logits[q]).tolist(), *(-tally.worst_place[q]).tolist())


def outcome_from(entry: dict[str, Any], classes: int = 2) -> Outcome:
    """The inverse of `Outcome.as_json`, of an entry that is valid by the schema of a journal.

    Raises:
      ValueError: it is not what `as_json` writes of rows of so many logits, or its counts do not add up.
    """
    empty, q, start = empty_tally(classes), len(QUANTITIES), entry["start"]
    bins, seen = _table("map", entry, np.float32), _table("seen", entry, np.uint8)
    if start + bins.shape[1] > SIDE * SIDE or bins.shape != seen.shape:
        raise ValueError(
            f"the map begins at {start} with {bins.shape[1]} and {seen.shape[1]} bins; allowed: as many, in {SIDE * SIDE}"
        )
    empty.map[:, start : start + bins.shape[1]] = bins
    empty.seen[:, start : start + bins.shape[1]] = seen
    tally = empty._replace(
        grades=np.array(entry["grades"], dtype=np.int64),
        failing=np.array(entry["failing"], dtype=np.int64),
        box=_numbers("box", entry, empty.box.shape),
        worst=_numbers("worst", entry, (q,)),
        worst_place=np.array(entry["worst_place"], dtype=np.int64),
        worst_logits=_numbers("worst_logits", entry, (q, classes)),
    )
    if fault := fault_of(tally, entry["rows"], entry["undecided"]):
        raise ValueError(fault)
    return Outcome(entry["rows"], entry["undecided"], {name: float(entry["seconds"][name]) for name in TIMES}, tally)


def _numbers(name: str, entry: dict[str, Any], shape: tuple[int, ...]) -> NDArray[np.float64]:
    texts = entry[name]
    if len(texts) != prod(shape):
        raise ValueError(f"{name} has {len(texts)} numbers; allowed: {prod(shape)}")
    return np.array([_number(name, text) for text in texts]).reshape(shape)


def _number(name: str, text: str) -> float:
    """The number that a text names exactly."""
    try:
        number = float.fromhex(text)
    except (ValueError, OverflowError):
        number = nan
    if number.hex() != text:
        raise ValueError(f"{name} has {text!r}; allowed: float64 numbers as float.hex writes them")
    return number


def _packed(table: NDArray[Any]) -> str:
    return b64encode(zlib.compress(np.ascontiguousarray(table).tobytes(), 6)).decode("ascii")


def _table(name: str, entry: dict[str, Any], dtype: Any) -> NDArray[Any]:
    """A part of the map, by quantity and bin."""
    row = len(QUANTITIES) * np.dtype(dtype).itemsize
    try:
        content = inflated(entry[name], row * SIDE * SIDE)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if len(content) % row:
        raise ValueError(f"{name} has {len(content)} bytes; allowed: a multiple of {row}")
    return np.frombuffer(content, dtype=dtype).reshape(len(QUANTITIES), -1)
