"""The sums of sums.py and wide_sums.py: their lemmas are on paper, the figures that they lead to are checked here."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import partial

from reference.fast import elementary, sums, wide, wide_sums
from tests.proofs.amounts import UNIT, chained, rounded_up
from tests.proofs.chain import Chain, Known, step
from tests.proofs.claims import claims, operation_bounds
from tests.proofs.program import Program, Real, Value, same
from tests.proofs.proof import By, Proof, Step
from tests.proofs.translate import follow
from tests.proofs.wide import pair

LARGEST_CLASSES = 2**31
"""Of sum_of: n^2 u for n blocks is below 1/2 then."""

LEVELS = 40
"""Of pairwise sums in double-double."""

_FACTOR = Fraction(1, 2**104)
"""What a factor of a row in two parts is off by at most (`wide_rows.Factor`)."""


def sum_of() -> Proof:
    """R of sums.py: the figures of its lemmas together."""
    blocks = Fraction(LARGEST_CLASSES, sums.BLOCK)
    gap = Fraction(elementary.LARGEST_GAP) * UNIT
    errors = [Fraction(elementary.EXP_ERROR), *[UNIT] * (sums.BLOCK - 1), UNIT]
    first = chained(*errors)
    second = chained(first, gap + gap**2) - first - gap
    left_out = LARGEST_CLASSES * Fraction(1, 2**937) / Fraction(sums.SMALLEST_REST)
    parts = (first, second, (blocks * UNIT) ** 2, left_out)
    names = (
        "power, 31 additions in a block, last addition",
        "products with the error of a gap",
        "blocks, by TwoSum",
        "left out",
    )
    return Proof(
        claims()["sum_of"],
        rounded_up(sum(parts, Fraction(0))),
        tuple(Step(name, rounded_up(part, 1200), By.FRACTIONS) for name, part in zip(names, parts, strict=True)),
    )


_LEFT_OUT = Fraction(2**LEVELS, 2**900)
"""Of Q and of S, what the powers below 2^-900 are at most."""


def _row(q: Known) -> tuple[Known, ...]:
    """F / S, R and 1 / S, as total_of computes them from Q."""
    chain = Chain(operation_bounds())
    f = chain.enter("f", _within(Fraction(45, 64), Fraction(91, 64), Fraction(wide.EXP_ERROR)))
    power = chain.enter("power", Known(Fraction(0), Fraction(1)))
    outside = ("sh", "sl", "k", "fill_wide(x, top, second, room)")
    parts = dict(zip(("fh", "fl", "qh", "ql"), (*pair(f), *pair(chain.enter("q", q))), strict=True))
    given: dict[str, Value] = {**dict.fromkeys(outside, same("x")), **parts, "power": power}
    found: list[Real] = []

    def kept(_program: Program, arguments: Sequence[Real]) -> Real:
        found.extend(arguments)
        return arguments[0]

    inputs = [same(name) for name in ("x", "top", "second", "room")]
    follow(Program(lemmas=chain.lemmas() | {"Total": kept}, given=given), wide_sums.total_of, inputs)
    return tuple(chain.known[value.computed] for value in found[:3])


def total_of() -> Proof:
    """What wide_sums.py has of a row, and the products with it."""
    exp, bounds = Fraction(wide.EXP_ERROR), operation_bounds()
    total = chained(exp, *[bounds["add"]] * LEVELS, _LEFT_OUT)
    share, rest, inverse = _row(_within(Fraction(1), Fraction(2**LEVELS), total))
    factor, power = _within(Fraction(1, 2), Fraction(1), _FACTOR), _within(Fraction(0), Fraction(91, 64), exp)
    product = partial(step, "multiply", bounds["multiply"])
    values = {
        "F / S": share,
        "R": rest,
        "1 / S": inverse,
        "f E_j F / S": product(factor, product(power, share)),
        "f R / S": product(factor, product(rest, inverse)),
    }
    steps = tuple(Step(name, known.proved, By.GAPPA) for name, known in values.items())
    # The numerator is at least S / 2.
    numerator = 2 * (chained(rest.proved, bounds["add"]) + 2 * bounds["add"]) + 2 * exp
    plain = chained(numerator, inverse.proved, bounds["multiply"], bounds["multiply"], _FACTOR)
    return Proof(
        claims()["total_of"],
        chained(max(plain, *(step.bound for step in steps)), 2 * _LEFT_OUT),
        (Step("Q", total, By.FRACTIONS), *steps, Step("f (1 + (R - R_t)) / S", plain, By.FRACTIONS)),
    )


def _within(low: Fraction, high: Fraction, relative: Fraction) -> Known:
    return Known(low, high, high * relative, relative)


def proofs() -> tuple[Proof, ...]:
    """Of both tiers' sums."""
    return (sum_of(), total_of())
