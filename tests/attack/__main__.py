"""Attacks every bound, and tells how near each came: python -m tests.attack [--tries N] [--write].

A ratio is the error over the bound of `stable`, at the worst row that was found. Above 1 the bound is not sound.
"""

from __future__ import annotations

import argparse

from reference.formats import BFLOAT16, FLOAT16, FLOAT32
from tests.attack.lines import LINES, Line
from tests.command import ROOT

PAGE = ROOT / "ci" / "attack.md"
_HEAD = """# How near the bounds of `stable` and `componentwise` come

<!-- written by: python -m tests.attack --write -->

A ratio is an error over the bound of `stable`, at the worst row that was found. Above 1 the bound would not be sound.
The errors are those of the algorithms of `tests/attack/algorithms.py` and `tests/attack/family.py`, in the arithmetic
that is declared. *First order* puts every rounding at its worst, with the worst sign: no kernel is as bad as that. The
others are of real rounding. Each figure is the largest over the options of a case (`CASES` in `tests/attack/lines.py`),
{tries} rows tried for each. The algorithm `componentwise` leaves the maximum out of its sum (`tests/attack/careful.py`)
and attacks the bound of that grade. *Online* sums are rescaled after each term, *tiles of 8* after each tile.

| bound | case | algorithm | declared | first order, float32 | float32 | float16 | bfloat16 |
|---|---|---|---|---|---|---|---|
"""


def row_of(line: Line, tries: int) -> str:
    """The line of the page."""
    rounded = [line.ratio("rounded", fmt, tries) for fmt in (FLOAT32, FLOAT16, BFLOAT16)]
    ratios = [line.ratio("first_order", FLOAT32, tries), *rounded]
    return f"| {' | '.join([*line.names, *(f'{ratio:.3f}' for ratio in ratios)])} |"


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("--tries", type=int, default=60, help="rows that are tried for each figure (default: 60)")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    page = _HEAD.format(tries=options.tries) + "\n".join(row_of(line, options.tries) for line in LINES) + "\n"
    if options.write:
        PAGE.write_text(page)
    else:
        print(page)


if __name__ == "__main__":
    main()
