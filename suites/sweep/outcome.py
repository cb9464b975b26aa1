"""What a chunk, or many, showed: a tally with its rows and times, as JSON that a journal holds, and added up in any order."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from suites.sweep.compiled.tally import FAILURES, QUANTITIES, SweepTally, empty_tally

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


def outcome_from(entry: dict[str, Any]) -> Outcome:
    """The inverse of `Outcome.as_json`.

    Raises:
      KeyError, ValueError: it is not what `as_json` writes.
    """
    q, start = len(QUANTITIES), int(entry["start"])
    worst_logits = _numbers(entry["worst_logits"]).reshape(q, -1)
    empty = empty_tally(worst_logits.shape[1])
    bins, seen = _unpacked(entry["map"], np.float32, q), _unpacked(entry["seen"], np.uint8, q)
    empty.map[:, start : start + bins.shape[1]] = bins
    empty.seen[:, start : start + seen.shape[1]] = seen
    tally = empty._replace(
        grades=np.array(entry["grades"], dtype=np.int64).reshape(q, 6),
        failing=np.array(entry["failing"], dtype=np.int64).reshape(q, len(FAILURES)),
        box=_numbers(entry["box"]).reshape(empty.box.shape),
        worst=_numbers(entry["worst"]),
        worst_place=np.array(entry["worst_place"], dtype=np.int64).reshape(q, 2),
        worst_logits=worst_logits,
    )
    return Outcome(int(entry["rows"]), int(entry["undecided"]), {name: float(entry["seconds"][name]) for name in TIMES}, tally)


def _numbers(texts: list[str]) -> NDArray[np.float64]:
    return np.array([float.fromhex(text) for text in texts])


def _packed(table: NDArray[Any]) -> str:
    return b64encode(zlib.compress(np.ascontiguousarray(table).tobytes(), 6)).decode("ascii")


def _unpacked(text: str, dtype: Any, rows: int) -> NDArray[Any]:
    return np.frombuffer(zlib.decompress(b64decode(text)), dtype=dtype).reshape(rows, -1)
