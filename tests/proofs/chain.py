"""Follows the error through a chain of double-double operations: each takes the bound that is proved for it, one question
to Gappa a step.

A step knows of its arguments where the exact value lies and how far off the computed one is, absolutely and, where that is
bounded, relatively. It forgets how they came about, so that each question is small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from tests.proofs.amounts import as_text, chained, rounded_up
from tests.proofs.program import Lemma, Program, Real
from tests.proofs.tools import Question, UnprovedError


@dataclass(frozen=True)
class Known:
    """Where an exact value lies, and how far off the computed one is."""

    low: Fraction
    high: Fraction
    error: Fraction = Fraction(0)
    relative: Fraction | None = Fraction(0)

    @property
    def proved(self) -> Fraction:
        """The relative error."""
        if self.relative is None:
            raise UnprovedError(f"no relative error is known of what lies in [{float(self.low)}, {float(self.high)}]")
        return self.relative

    def of(self, name: str) -> list[str]:
        """As hypotheses on a name."""
        facts = [f"{self.exact_of(name)} in [{as_text(self.low)}, {as_text(self.high)}]"]
        if self.error:
            facts.append(f"|{name} - M{name}| <= {as_text(self.error)}")
        if self.relative:
            facts.append(f"|{name} -/ M{name}| <= {as_text(self.relative)}")
        return facts

    def exact_of(self, name: str) -> str:
        """The name of the exact value: of its own only where the computed one is off."""
        return f"M{name}" if self.error or self.relative != 0 else name


_FORMS = {
    "multiply": ("Mx * My", "x * y * (1 + ea)", "dx * My + Mx * dy + dx * dy + ea * (x * y)"),
    "times": ("Mx * My", "x * y * (1 + ea)", "dx * My + Mx * dy + dx * dy + ea * (x * y)"),
    "add": ("Mx + My", "x * (1 + ea) + y * (1 + eb)", "dx + dy + ea * x + eb * y"),
    "add_float": ("Mx + My", "(x + y) * (1 + ea)", "dx + dy + ea * (x + y)"),
    "invert": ("1 / Mx", "1 / x * (1 + ea)", "(ea - dx / Mx) / x {x <> 0, Mx <> 0}"),
}
"""What an operation is, its result with the errors of its bound, and the difference of the two by its causes. An error of
b |x| + b |y| is ea x + eb y for some |ea|, |eb| <= b."""


@dataclass
class Chain:
    """The steps of a function so far."""

    bounds: Mapping[str, Fraction]
    """Of each operation of double_double.py."""
    known: dict[str, Known] = field(default_factory=dict)

    def lemmas(self) -> dict[str, Lemma]:
        """The operations, as the translation takes them."""
        return {name: self._lemma(name) for name in _FORMS}

    def facts(self) -> list[str]:
        """What is known of all names."""
        return [fact for name, known in self.known.items() for fact in known.of(name)]

    def enter(self, name: str, known: Known) -> Real:
        """A name of which no more is known than this."""
        self.known[name] = known
        return Real(name, known.exact_of(name))

    def about(self, program: Program, value: Real) -> Known:
        """What follows for an expression."""
        if value.computed in self.known:
            return self.known[value.computed]
        definitions = [f"value = {value.computed};", f"Mvalue = {value.exact};", "off = value - Mvalue;"]
        question = Question(program, self.facts(), definitions)
        (low, high), (below, above) = question.bounds("Mvalue", "off")
        error = max(-below, above)
        relative = over(error, low, high)
        return Known(low, high, error, self._relative(question) if relative is None else relative)

    @staticmethod
    def _relative(question: Question) -> Fraction | None:
        """The relative error of what may be 0, if Gappa finds one."""
        try:
            return question.sizes("value -/ Mvalue")[0]
        except UnprovedError:
            return None

    def _lemma(self, name: str) -> Lemma:
        def apply(program: Program, arguments: Sequence[Real]) -> Real:
            known = [self.about(program, argument) for argument in arguments]
            return self.enter(f"{name}_{len(self.known)}", step(name, self.bounds[name], *known))

        return apply


def step(name: str, bound: Fraction, *arguments: Known) -> Known:
    """What one operation makes of what is known of its arguments."""
    exact, computed, causes = _FORMS[name]
    program = Program(errors=dict.fromkeys(("ea", "eb"), as_text(bound)))
    domain = []
    for letter, known in zip("xy", arguments, strict=False):
        program.definitions[letter] = f"M{letter} + d{letter}"
        domain += [f"|d{letter}| <= {as_text(known.error)}", f"M{letter} in [{as_text(known.low)}, {as_text(known.high)}]"]
    program.definitions.update({"Mout": exact, "out": computed, "off": "out - Mout"})
    question = Question(program, domain, (), [f"off -> {causes};"])
    (low, high), (below, above) = question.bounds("Mout", "off")
    error = max(-below, above)
    relatives = [known.relative for known in arguments]
    if name in ("multiply", "times", "invert") and None not in relatives:
        grown = [error / (1 - error) if name == "invert" else error for error in relatives if error is not None]
        return Known(low, high, error, chained(*grown, bound))
    if name in ("add", "add_float") and None not in relatives and all(known.low >= 0 for known in arguments):
        # The sum of nonnegative numbers is off by a weighted mean of what they are off by.
        return Known(low, high, error, chained(max(error for error in relatives if error is not None), bound))
    return Known(low, high, error, over(error, low, high))


def over(error: Fraction, low: Fraction, high: Fraction) -> Fraction | None:
    """The relative error, if what lies between low and high cannot be 0."""
    if error == 0:
        return error
    nearest = max(low, -high)
    return rounded_up(error / nearest) if nearest > 0 else None
