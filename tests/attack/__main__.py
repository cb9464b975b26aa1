"""Attacks every bound, and tells how near each came: python -m tests.attack [--tries N] [--write].

A ratio is the error over the bound of `stable`, at the worst row that was found. Above 1 the bound is not sound.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from reference.arithmetic import PAIRWISE, RECURSIVE, Arithmetic, Order, Summation
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, Format
from reference.quantity import BUILDING_BLOCKS, Quantity
from tests.attack.algorithms import ALGORITHMS
from tests.attack.search import Attack, worst_of
from tests.command import ROOT

PAGE = ROOT / "ci" / "attack.md"
CLASSES = 24
SUMMATIONS = (RECURSIVE, PAIRWISE, Summation(Order.LANES, 8))
OPTIONS = ({}, {"soft": True}, {"temperature": 0.75})
"""Class indices, probabilities, and a temperature."""

_ULPS = {"exp_ulps": 0.501, "log_ulps": 0.501}
"""What exp and log of float64 are off by once they are rounded to a narrower format."""

_HEAD = """# How near the bounds of `stable` come

<!-- written by: python -m tests.attack --write -->

A ratio is an error over the bound of `stable`, at the worst row that was found. Above 1 the bound would not be sound.
The errors are those of the max-shifted algorithms of `tests/attack/algorithms.py`. *First order* puts every rounding at
its worst, with the worst sign: no kernel is as bad as that. The others are of real rounding. Each figure is the largest
over class indices, probabilities and a temperature, of rows of {classes} classes, {tries} rows tried for each.

| bound | algorithm | sum | first order, float32 | float32 | float16 | bfloat16 |
|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Line:
    """A bound, the algorithm that attacks it, and the order of its sums."""

    quantity: Quantity
    way: str
    summation: Summation

    def ratio(self, kind: str, fmt: Format, tries: int) -> float:
        """The largest ratio, under all options that the quantity has."""
        arithmetic = Arithmetic(fmt, fmt, summation=self.summation, **_ULPS)
        taken = [options for options in OPTIONS if not (options.get("soft") and self.quantity in BUILDING_BLOCKS)]
        attacks = [Attack(self.quantity, self.way, arithmetic, CLASSES, options) for options in taken]
        return max(worst_of(attack, kind, tries).ratio for attack in attacks)

    def row(self, tries: int) -> str:
        """The line of the page."""
        rounded = [self.ratio("rounded", fmt, tries) for fmt in (FLOAT32, FLOAT16, BFLOAT16)]
        ratios = [self.ratio("first_order", FLOAT32, tries), *rounded]
        cells = [self.quantity, self.way or "one", self.summation, *(f"{ratio:.3f}" for ratio in ratios)]
        return f"| {' | '.join(map(str, cells))} |"


LINES = [Line(quantity, way, summation) for quantity, ways in ALGORITHMS.items() for way in ways for summation in SUMMATIONS]


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("--tries", type=int, default=300, help="rows that are tried for each figure (default: 300)")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    page = _HEAD.format(classes=CLASSES, tries=options.tries) + "\n".join(line.row(options.tries) for line in LINES) + "\n"
    if options.write:
        PAGE.write_text(page)
    else:
        print(page)


if __name__ == "__main__":
    main()
