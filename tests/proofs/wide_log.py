"""The logarithm of wide.py: log1p_wide, a step of Newton in double-double."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from reference.fast import elementary, wide
from tests.proofs.amounts import UNIT, as_text, chained, exponential, rounded_up
from tests.proofs.chain import Chain, Known
from tests.proofs.claims import claims, operation_bounds
from tests.proofs.encodings import check_log1p_wide
from tests.proofs.program import Lemma, Program, Real, same
from tests.proofs.proof import By, Proof, Step
from tests.proofs.tools import Question, sollya
from tests.proofs.translate import follow
from tests.proofs.wide import NEAR, Expm1, Reduced, pair

_Y_OFF = chained(Fraction(elementary.LOG1P_ERROR), UNIT + 2 * UNIT**2)
"""What y is off by from log(1 + r), relatively: LOG1P_ERROR, and u for r without its low part."""

_D = rounded_up(_Y_OFF * (1 + Fraction(1, 2**40)))
"""|(r - expm1(y)) / exp(y)| = |expm1(log(1 + r) - y)| over y; the second order is below 2^-44, since y < 37."""


_HALF = Real("(s * (0.5 * d_0))", "(s * (0.5 * Md_0))")
"""0.5 d, where d is scaled by 1 / s."""


@dataclass(frozen=True)
class _Branch:
    """A branch of log1p_wide, scaled by a power of two so that y or exp(y) lies in a binade or two."""

    far: bool
    """Whether k is not 0."""
    y: tuple[Fraction, Fraction]
    exp: tuple[Fraction, Fraction]
    """Where exp(y) lies, scaled by 2^-k."""
    e: Known
    """expm1(t): where k = 0 that is expm1(y), scaled as y is."""
    one: str
    """1, scaled as exp(y) is."""
    off: Fraction
    """What t is off by."""

    def proved(self) -> tuple[Fraction, Fraction]:
        """The relative errors of the result, and of expm1(y) and the difference from it over the result."""
        chain = Chain(operation_bounds())
        for name, known in (("r", Known(Fraction(0), Fraction(3))), ("gain", Known(Fraction(1, 2), Fraction(1)))):
            chain.enter(name, known)
        program = self._program(chain)
        follow(program, wide.log1p_wide, pair(same("r")))
        size = max(self.y) * _D
        half = Real("rnd((c0_5 * d_0))", "(c0_5 * Md_0)") if self.far else _HALF
        definitions = ["off = fast_two_sum_0 - Mfast_two_sum_0; top = rnd(difference); quotient = top / w;"]
        definitions += [
            f"square = {half.computed} * d_0; Msquare = {half.exact} * Md_0; less = d_0 - rnd(square); Mless = Md_0 - Msquare;"
        ]
        hints = [
            "quotient - Md_0 -> (top - Mdifference) / w - (Mdifference / w) * ((w - Mw) / Mw) {w <> 0, Mw <> 0};",
            "off -> (rnd(less) - less) + (d_0 - Md_0) - (rnd(square) - square) - (square - Msquare) {Mw <> 0};",
        ]
        question = Question(program, [*chain.facts(), *self._domain()], definitions, hints)
        rest = size**3 if self.far else size**3 / 8
        smallest = self.y[0] * (1 - 8 * UNIT)
        (error,) = question.sizes("off")
        return rounded_up((error + rest) / smallest), rounded_up(chain.known["difference"].error / smallest)

    def _program(self, chain: Chain) -> Program:
        given = {"y": same("y"), "th": same("y"), "tl": same("y"), "k": same("y"), "1.0 + eh": Real("w", "Mw")}
        if self.far:
            given |= {"power": Real("1", "1"), "power - 1.0": same("gain")}
        else:
            given |= {"0.5 * d": _HALF}
        lemmas = {"expm1_reduced": self._entered(chain), "add_float": self._sum(chain), "add": self._difference(chain)}
        program = Program(lemmas=lemmas, given=given, taken={"k != 0": self.far})
        program.float64("y")
        return program

    def _domain(self) -> list[str]:
        w = self._w()
        ends = f"[{as_text(self.exp[0])}, {as_text(self.exp[1])}]"
        return [
            f"y in [{as_text(self.y[0])}, {as_text(self.y[1])}]",
            f"Mw in {ends}",
            f"|w -/ Mw| <= {as_text(w)}",
            "s in [0, 0.5]",
        ]

    def _w(self) -> Fraction:
        """The relative error of 1.0 + eh."""
        program = Program()
        program.definitions.update({"h": "(Mw - one) * (1 + eta)", "w": "rnd(one + h)", "whole": "one + h"})
        eta = chained(Fraction(1, 2**52), Fraction(1, 2**80))
        domain = [f"Mw in [{as_text(self.exp[0])}, {as_text(self.exp[1])}]", f"one in {self.one}", f"|eta| <= {as_text(eta)}"]
        hints = ["(whole - Mw) / Mw -> eta * (1 - one / Mw) {Mw <> 0};"]
        return Question(program, domain, (), hints).sizes("w -/ Mw")[0]

    def _entered(self, chain: Chain) -> Lemma:
        return lambda _program, _arguments: chain.enter("e", self.e)

    def _sum(self, chain: Chain) -> Lemma:
        """p e + (p - 1), which is off by the error of t too."""

        def apply(program: Program, arguments: Sequence[Real]) -> Real:
            name = chain.lemmas()["add_float"](program, arguments).computed
            known = chain.known.pop(name)
            more = self.exp[1] * exponential(self.off)
            return chain.enter("moved", Known(known.low, known.high, known.error + more, None))

        return apply

    def _difference(self, chain: Chain) -> Lemma:
        """r - e, of which is known how small it is."""

        def apply(program: Program, arguments: Sequence[Real]) -> Real:
            name = chain.lemmas()["add"](program, arguments).computed
            error = chain.known.pop(name).error
            size = rounded_up(max(self.y) * _D * self.exp[1])
            return chain.enter("difference", Known(-size, size, error, None))

        return apply


def log1p_wide(reduced: Reduced, expm1: Expm1) -> Proof:
    """A step of Newton from log1p_unit, where k is 0 and where it is not."""
    size, known, one = reduced.size, expm1.known, Fraction(1)
    (growth,) = sollya(f"y = {size.numerator} / {size.denominator}; print(sup(evaluate(expm1(y) / y, [0; 0])));")
    near = Known(one, 2 * growth, 2 * growth * known.proved, known.relative)
    roots = Fraction(181, 256), Fraction(363, 256)
    below = _Branch(False, (one, 2 * one), (one, roots[1]), near, "[1, 1]", Fraction(0)).proved()
    ends = pairwise((NEAR, one, 4 * one, 37 * one))
    above = [_Branch(True, y, roots, known, "[1b-53, 0.5]", reduced.off).proved() for y in ends]
    whole, difference = (max(found) for found in zip(*above, strict=True))
    check_log1p_wide(53)
    return Proof(
        claims()["log1p_wide"],
        max(below[0], whole),
        (
            Step("r - expm1(y) over the result, where k = 0", below[1], By.GAPPA),
            Step("the whole, where k = 0", below[0], By.GAPPA),
            Step("r - expm1(y) over the result, where k > 0", difference, By.GAPPA),
            Step("the whole, where k > 0", whole, By.GAPPA),
            Step("`power` is 2^k: largest k", Fraction(53), By.CASES),
        ),
    )
