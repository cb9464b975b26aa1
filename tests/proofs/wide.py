"""The exponential functions of wide.py: reduce, expm1_reduced and exp_scaled, in double-double."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from reference.fast import wide
from tests.proofs.amounts import as_text, chained, exponential
from tests.proofs.chain import Chain, Known
from tests.proofs.claims import claims, operation_bounds
from tests.proofs.encodings import check_reduce
from tests.proofs.program import Lemma, Part, Program, Real, Value, same
from tests.proofs.proof import By, Proof, Step
from tests.proofs.tools import Question, UnprovedError, ln2_error, supremum
from tests.proofs.translate import follow

LARGEST = 1400
"""Of |s| in exp_scaled."""

NEAR = Fraction(1419, 4096)
"""k is 0 for |s| up to it, which is below log(2) / 2."""

_TINY = Fraction(1, 2**1100)


def pair_of(part: Value) -> Real:
    """The double-double of which this is a part."""
    if isinstance(part, Real):
        raise UnprovedError(f"{part.computed} is a float64; expected: a part of a double-double")
    return part.pair


def pair(value: Real) -> tuple[Part, Part]:
    """Both parts of a double-double."""
    return Part(value, True), Part(value, False)


@dataclass(frozen=True)
class Reduced:
    """What is proved of reduce: the absolute error of t where k is not 0, and the sizes of t and k."""

    off: Fraction
    size: Fraction
    k: Fraction


def reduce() -> Reduced:
    """Of reduce, for |s| <= LARGEST."""
    program = Program(given={"bits_of(shifted) - ROUNDER_BITS": same("k_0")})
    follow(program, wide.reduce, [program.float64("sh"), program.float64("sl")])
    definitions = ["LN2 = LN2_A + LN2_B + LN2_C + eps; beside = k_0 - sh * LOG2_E; first = (-k_0) * LN2_A + sh;"]
    definitions += ["ka = rnd(first) - first; second = (-k_0) * LN2_B; kb = rnd(second) - second; third = (-k_0) * LN2_C + sl;"]
    definitions += ["low = rest_0 + rnd(third); off = fast_two_sum_0 - (sh + sl - k_0 * LN2);"]
    hints = [
        "beside -> (k_0 - (shifted_0 - ROUNDER)) + (shifted_0 - (sh * LOG2_E + ROUNDER));",
        "first -> sh * (1 - LOG2_E * LN2_A) - beside * LN2_A;",
        "off -> (rnd(low) - low) + (rnd(third) - third) + ka + kb + k_0 * eps;",
    ]
    eps = ln2_error(wide.LN2_A, wide.LN2_B, wide.LN2_C)
    domain = [f"|sh| in [0.25, {LARGEST}]", "|sl| <= 1b-43", f"|eps| <= {as_text(eps)}"]
    question = Question(program, domain, definitions, hints)
    error, size, k, low = question.sizes("off", "fast_two_sum_0", "k_0", "low")
    # FastTwoSum is exact, since its first summand is a multiple of the last bit of its second.
    question.holds("@FIX(two_sum_head_0, -95)")
    if low >= Fraction(1, 2**42):
        raise UnprovedError(f"the second summand of FastTwoSum in reduce may be {float(low)}; allowed: less than 2^-42")
    if Question(program, [f"|sh| <= {as_text(NEAR)}"]).sizes("k_0") != [0]:
        raise UnprovedError(f"k may not be 0 for |s| <= {NEAR} in reduce")
    check_reduce(int(k))
    return Reduced(error, size, k)


class Expm1:
    """The proof of expm1_reduced for |t| <= size: the polynomial's error comes in where the doublings begin."""

    def __init__(self, size: Fraction) -> None:
        self.chain = Chain(operation_bounds())
        self.size = size
        self.truncation = self._truncation()
        self.rounding = Fraction(0)
        """What the roundings before the doublings do, relatively."""
        self.doublings = 0
        program = Program(lemmas=self.chain.lemmas() | {"_doubled": self._doubled})
        (high, _) = follow(program, wide.expm1_reduced, pair(self.chain.enter("t", Known(-size, size))))
        if wide._HALVINGS * 2**self.doublings != 1:
            raise UnprovedError(f"expm1_reduced multiplies t by {wide._HALVINGS} and doubles {self.doublings} times")
        self.known = self.chain.known[pair_of(high).computed]

    def _truncation(self) -> Fraction:
        exact: dict[str, Lemma] = {name: _exactly(op) for name, op in (("multiply", "*"), ("add", "+"), ("add_float", "+"))}
        program = Program(lemmas=exact | {"_doubled": lambda _, arguments: arguments[0]})
        (high, _) = follow(program, wide.expm1_reduced, pair(same("t")))
        ratio = Fraction(wide._HALVINGS)
        function = f"expm1({ratio.numerator} / {ratio.denominator} * x)"
        return supremum(program, pair_of(high), "t", function, -self.size, self.size)

    def _doubled(self, _program: Program, arguments: Sequence[Real]) -> Real:
        """2 e + e^2: e is not 0, and its sign is known, in each of two questions."""
        name = arguments[0].computed
        known = self.chain.known[name]
        relative = known.proved
        if self.doublings == 0:
            self.rounding = relative
            relative = chained(relative, self.truncation)
        self.doublings += 1
        both = [self._half(relative, *ends) for ends in ((known.low, -_TINY), (_TINY, known.high))]
        low, high = both[0][0], both[1][1]
        worst = max(both[0][2], both[1][2])
        return self.chain.enter(f"doubled_{len(self.chain.known)}", Known(low, high, worst * max(-low, high), worst))

    def _half(self, relative: Fraction, low: Fraction, high: Fraction) -> tuple[Fraction, Fraction, Fraction]:
        bounds = self.chain.bounds
        program = Program(lemmas={"multiply": _product(bounds["multiply"]), "add": _sum(bounds["add"])})
        program.definitions["e"] = "Me * (1 + rho)"
        (result, _) = follow(program, wide._doubled, pair(Real("e", "Me")))
        whole = pair_of(result)
        definitions = [f"out = {whole.computed}; Mout = {whole.exact}; off = (out - Mout) / Mout;"]
        square = "(2 * rho + rho * rho) + (1 + rho) * (1 + rho) * (err0 + err2 + err0 * err2)"
        hints = [f"off -> (2 * (rho + err1 + rho * err1) + Me * ({square})) / (2 + Me) {{Me <> 0}};", "$ Me in 32;"]
        domain = [f"Me in [{as_text(low)}, {as_text(high)}]", f"|rho| <= {as_text(relative)}"]
        (start, stop), (below, above) = Question(program, domain, definitions, hints).bounds("Mout", "off")
        return start, stop, max(-below, above)


def _exactly(operator: str) -> Lemma:
    return lambda _, arguments: arguments[0].joined(operator, arguments[1])


def _product(bound: Fraction) -> Lemma:
    def apply(program: Program, arguments: Sequence[Real]) -> Real:
        whole = arguments[0].joined("*", arguments[1])
        return Real(f"({whole.computed} * (1 + {program.error(as_text(bound))}))", whole.exact)

    return apply


def _sum(bound: Fraction) -> Lemma:
    def apply(program: Program, arguments: Sequence[Real]) -> Real:
        a, b = (f"{argument.computed} * (1 + {program.error(as_text(bound))})" for argument in arguments)
        return Real(f"({a} + {b})", arguments[0].joined("+", arguments[1]).exact)

    return apply


def exp_scaled(reduced: Reduced, expm1: Expm1) -> Proof:
    """1 + expm1(t), and the error of t."""
    chain = Chain(operation_bounds())
    e = chain.enter("e", expm1.known)
    given = {"th": same("t"), "tl": same("t"), "k": same("t")} | dict(zip(("eh", "el"), pair(e), strict=True))
    program = Program(lemmas=chain.lemmas(), given=given)
    (high, *_) = follow(program, wide.exp_scaled, [same("sh"), same("sl")])
    whole = chain.known[pair_of(high).computed].proved
    return Proof(
        claims()["exp_scaled"],
        chained(whole, exponential(reduced.off)),
        (
            Step("t, absolutely", reduced.off, By.GAPPA),
            Step("k by its encoding: largest size", reduced.k, By.CASES),
            Step("polynomial for expm1(t / 16)", expm1.truncation, By.SOLLYA),
            Step("roundings of expm1(t / 16)", expm1.rounding, By.GAPPA),
            Step("expm1(t), after four doublings", expm1.known.proved, By.GAPPA),
            Step("1 + expm1(t)", whole, By.GAPPA),
        ),
    )
