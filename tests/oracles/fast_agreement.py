"""Compares the compiled tier with the exact one on generated rows: `python -m tests.oracles.fast_agreement --rows 1000000`.

Rows agree when every enclosure of the compiled tier overlaps the exact one, as it must if both contain the true value,
and when what the compiled tier says of itself is true: the side of a remainder, and a rounding that it calls decided.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from reference.enclosure import Enclosure
from reference.evaluation import evaluate
from reference.fast.evaluate import FastRows, evaluate_fast
from reference.formats import FORMATS, Bools, Format
from reference.problem import Problem
from reference.quantity import Quantity
from reference.tiers import FAST_QUANTITIES, Tier
from tests.oracles.agreement import FAMILIES

BATCH_ROWS = 256
MOST_CLASSES = 7
ROUNDING = 2.0**-104
"""What adding and scaling the parts of two enclosures in float64 loses, relative to an entry below 1."""

WIDEST = 2.0**-80
"""No entry of a loss or gradient is less certain than this, relatively: the agreement of wide enclosures says nothing."""


@dataclass(frozen=True)
class Tally:
    """Rows compared, rows that the compiled tier left to the exact one, and entries whose rounding it left undecided."""

    rows: int = 0
    left: int = 0
    entries: int = 0
    undecided: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.rows + other.rows,
            self.left + other.left,
            self.entries + other.entries,
            self.undecided + other.undecided,
        )


def overlaps(fast: Enclosure, exact: Enclosure) -> Bools:
    """True where two enclosures of numbers have a point in common."""
    shift = np.clip(exact.exponent - fast.exponent, -1500, 1500).astype(np.int32)
    with np.errstate(over="ignore", under="ignore"):
        distance = np.abs((fast.hi - np.ldexp(exact.hi, shift)) + (fast.lo - np.ldexp(exact.lo, shift)))
        return distance <= fast.radius + np.ldexp(exact.radius, shift) + ROUNDING * (fast.hi != 0)


def true_of_itself(fast: Enclosure, exact: Enclosure, fmt: Format) -> Bools:
    """True where the exact rounding is the one that the compiled tier has decided, and lies on the side that it says."""
    rounded, decided = fast.rounded(fmt)
    right, certain = exact.rounded(fmt)
    same_side = (fast.side == 0) | (fast.side == np.sign(exact.side)) | (exact.hi != fast.hi) | (exact.lo != fast.lo)
    return np.asarray(((rounded == right) | ~decided | ~certain) & same_side)


def compare(problem: Problem) -> Tally:
    """Compare all quantities of a problem.

    Raises:
      AssertionError: an entry does not agree.
    """
    fast = evaluate_fast(problem, FAST_QUANTITIES)
    exact = evaluate(problem, FAST_QUANTITIES, Tier.EXACT)
    return sum((_compare(problem, fast, quantity, exact[quantity].values) for quantity in fast.values), Tally())


def _compare(problem: Problem, fast: FastRows, quantity: Quantity, exact: Enclosure) -> Tally:
    taken = fast.taken
    ours, theirs = fast.values[quantity][taken], exact[taken]
    wrong = ~(overlaps(ours, theirs) & true_of_itself(ours, theirs, problem.format))
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0].tolist())
        row = np.flatnonzero(taken)[place[0]]
        raise AssertionError(
            f"{problem.format.name} {quantity}{list(place[1:])}: {ours[place]} and {theirs[place]} at "
            f"{[x.hex() for x in problem.logits[row].tolist()]}, target {problem.target[row]}"
        )
    relative = np.where(ours.hi != 0, ours.radius, 0.0)
    assert quantity is Quantity.HVP or relative.max(initial=0.0) <= WIDEST
    undecided = int((~ours.rounded(problem.format)[1]).sum())
    return Tally(taken.size, int((~taken).sum()), ours.hi.size, undecided)


def batches(rows: int, seed: int) -> Iterator[Problem]:
    """Problems of at most BATCH_ROWS rows, each family and format in turn."""
    rng = np.random.default_rng(seed)
    cells = [(family, fmt) for family in FAMILIES.values() for fmt in FORMATS.values()]
    for batch in range(-(-rows // BATCH_ROWS)):
        family, fmt = cells[batch % len(cells)]
        shape = (min(BATCH_ROWS, rows - batch * BATCH_ROWS), int(rng.integers(2, MOST_CLASSES + 1)))
        logits = family(rng, fmt, shape, 1.0)
        yield Problem(
            logits,
            np.where(rng.random(shape[0]) < 0.5, logits.argmax(axis=1), rng.integers(0, shape[1], shape[0])),
            fmt,
            reduction="none",
            cotangent=fmt.round(rng.choice([1.0, -1.0, 0.5, 3.0, 0.1], shape[0])),
            tangent=fmt.round(rng.choice([1.0, -1.0, 0.5, 2.0, 0.0, 0.3], shape)),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="rows to compare (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the generator (default: %(default)s)")
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    tally = sum((compare(problem) for problem in batches(options.rows, options.seed)), Tally())
    seconds = time.perf_counter() - began
    print(
        f"{options.rows} rows agreed in {seconds:.0f} s: {tally.left} of {tally.rows} rows of a quantity left to the exact "
        f"tier, {tally.undecided} of {tally.entries} roundings left undecided"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
