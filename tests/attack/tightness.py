"""Measures how much of a wrong sum the bounds of `stable` let pass: python -m tests.attack.tightness [--write].

The kernel on trial leaves m of the K classes out of its sum of powers, and is exact in all else. Its loss is then smaller, and
its probabilities larger, by the same factor.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from adapters.arithmetic import own_arithmetic
from reference.arithmetic import PAIRWISE, Arithmetic, Order, Summation
from reference.bounds.entrywise import accurate_bound, stable_bound
from reference.evaluation import evaluate
from reference.expected import Expected
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, Floats, Format
from reference.problem import Problem
from reference.quantity import Quantity
from tests.command import ROOT

PAGE = ROOT / "ci" / "tightness.md"
CLASSES = (64, 1000, 32000, 128256)
GAPS = {"uniform": 0.0, "one class leads by 3": 3.0}
QUANTITIES = (Quantity.LOSS, Quantity.GRADIENT)
FACTOR = 2.0
"""Times the error of the best stable kernel from which on a wrong sum must be seen."""

_HEAD = f"""# How much of a wrong sum passes as `stable`

<!-- written by: python -m tests.attack.tightness --write -->

A kernel leaves m of the K classes out of its sum and is exact in all else. The table has the largest m at which no entry of
the loss and of the gradient is beyond its bound. The target is the last class, the classes left out are others.

- *PyTorch*: by the arithmetic that PyTorch's operations have on a CPU with AVX-512. A kernel that declares `composed` is
  judged by that.
- *own*: by the default for a kernel of one's own (`adapters/arithmetic.py`).
- *its bound*: the same by the bound of `stable` alone. Where *own* is more, answers that are `accurate` pass, and so are
  `stable`: those within an ulp of the format and 4 of the working format.
- *m0*: the largest m that moves no entry by more than {FACTOR:g} times what the best stable kernel may err: one with correctly
  rounded exp and log, a tree of additions in float32 or wider, and one store.

*own* is never above *m0*: a kernel that leaves out more is rejected.

| format | K | row | PyTorch | own | its bound | m0 |
|---|---|---|---|---|---|---|
"""


def of_torch(fmt: Format) -> Arithmetic:
    """What PyTorch declares on a CPU with AVX-512; written out, so that the page is the same on every machine."""
    working = _working(fmt)
    return Arithmetic(fmt, working, summation=Summation(Order.LANES, 512 // working.bits), stores_sum=True)


def best(fmt: Format) -> Arithmetic:
    """That of the best stable kernel."""
    return Arithmetic(fmt, _working(fmt), exp_ulps=0.5, log_ulps=0.5, summation=PAIRWISE).storing_once()


def _working(fmt: Format) -> Format:
    return fmt if fmt.bits > FLOAT32.bits else FLOAT32


@dataclass(frozen=True)
class Wrong:
    """The kernel that leaves out classes, at a row whose first class leads by a gap."""

    fmt: Format
    classes: int
    gap: float

    @cached_property
    def problem(self) -> Problem:
        """The row, with the last class as its target."""
        logits = np.full((1, self.classes), -self.gap)
        logits[0, 0] = 0.0
        return Problem(logits, [self.classes - 1], self.fmt)

    @cached_property
    def _expected(self) -> dict[Quantity, Expected]:
        return evaluate(self.problem, QUANTITIES)

    def errors(self, missing: int) -> dict[Quantity, Floats]:
        """How far off each entry is, without so many of the classes."""
        power = np.exp(-self.gap)
        total = 1.0 + (self.classes - 1) * power
        lost = missing * power / total
        probabilities = np.full((1, self.classes), power / total)
        probabilities[0, 0] = 1.0 / total
        return {Quantity.LOSS: np.array([-np.log1p(-lost)]), Quantity.GRADIENT: probabilities * lost / (1.0 - lost)}

    def bounds(self, arithmetic: Arithmetic) -> dict[Quantity, Floats]:
        """What `stable` allows by an arithmetic, by its own bound alone."""
        return {quantity: stable_bound(self.problem, quantity, arithmetic, found) for quantity, found in self._expected.items()}

    def graded(self, arithmetic: Arithmetic) -> dict[Quantity, Floats]:
        """What passes as `stable`: what is `accurate` does too."""
        found = self._expected
        return {
            quantity: np.maximum(bound, accurate_bound(self.problem, quantity, arithmetic, found[quantity]))
            for quantity, bound in self.bounds(arithmetic).items()
        }

    def largest(self, allowed: dict[Quantity, Floats], factor: float = 1.0) -> int:
        """The largest m at which no entry is off by more than so many times what is allowed."""
        low, high = 0, self.classes - 1  # the kernel adds a class at least
        while low < high:
            middle = (low + high + 1) // 2
            errors = self.errors(middle)
            passes = all((errors[quantity] <= factor * allowed[quantity]).all() for quantity in QUANTITIES)
            low, high = (middle, high) if passes else (low, middle - 1)
        return low


@dataclass(frozen=True)
class Line:
    """A line of the page."""

    wrong: Wrong
    row: str
    torch: int
    own: int
    own_bound: int
    m0: int

    @property
    def cells(self) -> tuple[str, ...]:
        """Its cells."""
        figures = (self.wrong.classes, self.row, self.torch, self.own, self.own_bound, self.m0)
        return (self.wrong.fmt.name, *map(str, figures))


def line_of(fmt: Format, classes: int, row: str) -> Line:
    """The figures of a format, K and row."""
    wrong, own = Wrong(fmt, classes, GAPS[row]), own_arithmetic(fmt, Arithmetic(fmt, fmt))
    return Line(
        wrong=wrong,
        row=row,
        torch=wrong.largest(wrong.graded(of_torch(fmt))),
        own=wrong.largest(wrong.graded(own)),
        own_bound=wrong.largest(wrong.bounds(own)),
        m0=wrong.largest(wrong.bounds(best(fmt)), FACTOR),
    )


def lines(most: int = CLASSES[-1]) -> Iterator[Line]:
    """All lines of at most so many classes."""
    for fmt in (BFLOAT16, FLOAT16, FLOAT32, FLOAT64):
        for classes in CLASSES:
            for row in GAPS:
                if classes <= most:
                    yield line_of(fmt, classes, row)


def text_of(found: Line) -> str:
    """A line of the page in Markdown."""
    return f"| {' | '.join(found.cells)} |"


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack.tightness", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    page = _HEAD + "\n".join(map(text_of, lines())) + "\n"
    if parser.parse_args().write:
        PAGE.write_text(page)
    else:
        print(page)


if __name__ == "__main__":
    main()
