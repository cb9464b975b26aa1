"""Asks whether each enclosure of both tiers contains MPFR's value, with radius and side: `python -m tests.oracles.containment`.

The problems are extreme: beside the families of `tests.oracles.agreement` logits are the ends of their format, cotangents and
tangents too, and temperatures, softcaps and the other options of any size. It needs gmpy2: pip install -e '.[mpfr]'.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import isnan
from typing import Any

import gmpy2
import numpy as np
from gmpy2 import mpfr

from reference.enclosure import Enclosure
from reference.evaluation import evaluate
from reference.formats import FORMATS, Floats, Format
from reference.options import OPTIONS
from reference.problem import Problem
from reference.quantity import OF_SOME_PROBLEMS, Quantity
from reference.tiers import Tier, takes
from tests.oracles.agreement import FAMILIES, Generator, of_its_own, random_loss_problem, random_problem
from tests.oracles.mpfr_oracle import LEAST_BITS, divisor, values_of

MOST_ROWS = 3
EVERYTHING = tuple(quantity for quantity in Quantity if quantity not in OF_SOME_PROBLEMS)

_SIZED = ("normaliser", "temperature", "logit_scale", "logit_softcap", "z_loss", "focusing", "positive_weight")
_SIZES = (2.0**-30, 0.3, 7.0, 2.0**20)
"""Options that may be of any size, and what they become."""


@dataclass(frozen=True)
class Contained:
    """How much was compared: problems, entries, those whose radius was tried, and those of the compiled tier.

    A radius is tried where MPFR's own error is far below it.
    """

    problems: int = 0
    entries: int = 0
    tried: int = 0
    fast: int = 0

    def __add__(self, other: Contained) -> Contained:
        return Contained(
            self.problems + other.problems,
            self.entries + other.entries,
            self.tried + other.tried,
            self.fast + other.fast,
        )


def _contains(entry: tuple[Any, ...], value: Any, error: Any) -> bool:
    """True if an entry (hi, lo, radius, exponent, side) contains a value that is known up to an error."""
    hi, lo, radius, exponent, side = entry
    if isinstance(value, float) or not np.isfinite(hi):
        return bool(hi == value or (isnan(hi) and isnan(value)))
    scale = mpfr(2) ** exponent
    beyond, allowed = value - (mpfr(hi) + mpfr(lo)) * scale, mpfr(radius) * scale + error
    return bool(abs(beyond) <= allowed if side == 0 else -error <= side * beyond <= allowed)


def _entries(values: Enclosure) -> list[tuple[Any, ...]]:
    columns = (values.hi, values.lo, values.radius.astype(np.float64), values.exponent, values.side)
    return list(zip(*(column.ravel().tolist() for column in columns), strict=True))


def check(problem: Problem, quantities: Sequence[Quantity] = EVERYTHING) -> Contained:
    """Compare the enclosures of both tiers with MPFR's values.

    Raises:
      AssertionError: an enclosure does not contain its value; the message has the problem.
    """
    owed, total = values_of(problem, quantities), Contained(problems=1)
    for tier in (Tier.EXACT, Tier.FAST):
        asked = [q for q in quantities if tier is Tier.EXACT or takes(problem, q)]
        for quantity, found in evaluate(problem, asked, tier).items():
            total += _compared(problem, tier, quantity, found.values, owed[quantity])
    return total


def _compared(
    problem: Problem, tier: Tier, quantity: Quantity, values: Enclosure, owed: tuple[list[Any], list[Any]]
) -> Contained:
    entries = _entries(values)
    with gmpy2.context(precision=20 * LEAST_BITS, emax=gmpy2.get_emax_max(), emin=gmpy2.get_emin_min()):
        for i, (entry, value, error) in enumerate(zip(entries, *owed, strict=True)):
            if not _contains(entry, value, error):
                told = value if isinstance(value, float) else f"{value:.40g}"
                rows = [[x.hex() for x in row] for row in problem.logits.tolist()]
                raise AssertionError(
                    f"{quantity}, tier {tier}, entry {i}: (hi, lo, radius, exponent, side) = {entry}, MPFR {told}\n"
                    f"{problem!r}\nlogits {rows}"
                )
        sharp = [mpfr(e[2]) * mpfr(2) ** e[3] > error * 2**10 for e, error in zip(entries, owed[1], strict=True)]
    return Contained(0, len(entries), sum(sharp), len(entries) if tier is Tier.FAST else 0)


def _ends(fmt: Format) -> list[float]:
    """The ends of a format, of both signs, and what lies between them."""
    sizes = [0.0, fmt.min_subnormal, fmt.min_normal, fmt.unit_roundoff, 0.5, 1.0, 3.0, fmt.largest / 2, fmt.largest]
    return [sign * float(fmt.round(size)) for size in sizes for sign in (1.0, -1.0)]


def _plain_problem(rng: Generator, family: str) -> Problem:
    """Class indices and nothing but a cotangent and a tangent: what the compiled tier takes."""
    fmt, shape = FORMATS[str(rng.choice(list(FORMATS)))], (int(rng.integers(1, MOST_ROWS + 1)), int(rng.integers(2, 6)))
    logits = FAMILIES[family](rng, fmt, shape, 1.0)
    reduction = str(rng.choice(["none", "mean"]))
    numbers = rng.choice([*_ends(fmt), 0.75], size=shape[0])
    return Problem(
        logits,
        rng.integers(shape[1], size=shape[0]),
        fmt,
        reduction=reduction,
        cotangent=fmt.round(numbers if reduction == "none" else numbers[0]),
        tangent=fmt.round(rng.choice([1.0, -1.0, 0.1, 0.0], size=shape)),
    )


def _extreme(rng: Generator, problem: Problem) -> Problem:
    """A problem with some of its numbers replaced by extreme ones."""
    ends, changes = _ends(problem.format), {}

    def replaced(values: Floats) -> Floats:
        return np.where(rng.random(values.shape) < 0.3, rng.choice(ends, size=values.shape), values)

    inputs = ("logits",) if problem.layer is None else ("features", "weight", "bias")
    for name in (*inputs, "cotangent", "tangent"):
        if getattr(problem, name) is not None and rng.random() < 0.4:
            changes[name] = replaced(getattr(problem, name))
    for option in (option for option in OPTIONS.values() if option.name in _SIZED and problem.gives(option)):
        if rng.random() < 0.3:
            changes[option.name] = float(rng.choice(_SIZES))
    return problem.replace(**changes)


def random_extreme_problem(rng: Generator, family: str) -> Problem:
    """A problem of any loss, or one that the compiled tier takes, with extreme numbers; its mean does not divide by 0."""
    rows = int(rng.integers(1, MOST_ROWS + 1))
    draws = (_plain_problem, partial(random_problem, rows=rows), partial(random_loss_problem, rows=rows))
    while True:
        problem = draws[int(rng.integers(len(draws)))](rng, family=family)
        if divisor(problem):
            return _extreme(rng, problem)


def check_problems(count: int, seed: int) -> Contained:
    """Check so many problems, a family in turn.

    Raises:
      AssertionError: an enclosure does not contain its value.
    """
    rng, families, total = np.random.default_rng(seed), list(FAMILIES), Contained()
    for number in range(count):
        problem = random_extreme_problem(rng, families[number % len(families)])
        total += check(problem, (*EVERYTHING, *of_its_own(problem)))
    return total


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 where an enclosure does not contain its value."""
    parser = argparse.ArgumentParser(description="Compare the enclosures of both tiers with MPFR.")
    parser.add_argument("--problems", type=int, default=3000, help="problems to compare (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the generator (default: %(default)s)")
    given = parser.parse_args(arguments)
    began = time.perf_counter()
    try:
        total = check_problems(given.problems, given.seed)
    except AssertionError as error:
        print(f"not contained: {error}", file=sys.stderr)
        return 1
    print(
        f"{total.problems} problems, {total.entries} entries contain their values, {total.tried} of them with a tried radius, "
        f"{total.fast} of the compiled tier, in {time.perf_counter() - began:.0f} s (seed {given.seed})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
