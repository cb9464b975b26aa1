"""A function as Gappa and Sollya read it: each number as it is computed, and beside it as it would be exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

UNIT = "1b-53"
HIGH = "9007199254740994b-106"
"""What the high part of a pair is off by, relatively to the pair: |lo| <= u |hi|, so u / (1 - u) < u + 2 u^2 at most."""


@dataclass(frozen=True)
class Real:
    """A number as it is computed, and as it would be without roundings: two expressions."""

    computed: str
    exact: str

    def joined(self, operator: str, other: Real) -> Real:
        """Both joined by an operator, not rounded."""
        return Real(f"({self.computed} {operator} {other.computed})", f"({self.exact} {operator} {other.exact})")


def same(name: str) -> Real:
    """A name that stands for a number without an error."""
    return Real(name, name)


@dataclass(frozen=True)
class Part:
    """The high or the low part of a double-double of which only the sum is known."""

    pair: Real
    high: bool


Value = Real | Part
Lemma = Callable[["Program", Sequence[Real]], Real]


def dyadic(value: float) -> tuple[int, int]:
    """m and e with value = m 2^e."""
    numerator, denominator = value.as_integer_ratio()
    return numerator, 1 - denominator.bit_length()


@dataclass
class Program:
    """What was read so far: definitions in order, constants, and the errors that were taken by their bounds."""

    lemmas: Mapping[str, Lemma] = field(default_factory=dict)
    """Functions that are not followed into, and what stands for their result."""
    given: Mapping[str, Value] = field(default_factory=dict)
    """Names that the code assigns, and expressions, that the proof takes otherwise: instead of what the code says there."""
    taken: Mapping[str, bool] = field(default_factory=dict)
    """Conditions of the code, and which way the proof goes."""
    scaled: bool = False
    """Whether a rounding is a factor 1 + e, |e| <= u, which holds at any scale, instead of Gappa's float64."""
    constants: dict[str, float] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    hints: list[str] = field(default_factory=list)
    """Differences split by their causes, for Gappa."""
    seen: set[str] = field(default_factory=set)
    """The names in `given` and the conditions in `taken` that were met."""

    def float64(self, name: str) -> Real:
        """An input of that name, a float64."""
        self.definitions[name] = f"rnd({name}_in)"
        return same(name)

    def rounded(self, value: Real) -> Real:
        """The computed number rounded to float64."""
        if self.scaled:
            return Real(f"({value.computed} * (1 + {self.error(UNIT)}))", value.exact)
        return Real(f"rnd({value.computed})", value.exact)

    def error(self, bound: str) -> str:
        """A new error that is at most `bound` in size."""
        name = f"err{len(self.errors)}"
        self.errors[name] = bound
        return name

    def high(self, pair: Real) -> Real:
        """The high part of a pair, which is off from the pair by u at most."""
        error = self.error(HIGH)
        part = self.define("high", Real(f"({pair.computed} * (1 + {error}))", pair.exact))
        self.hints.append(f"{part.computed} - {part.exact} -> ({pair.computed} - {pair.exact}) + {error} * {pair.computed};")
        return part

    def constant(self, name: str, value: float) -> Real:
        """A constant of the code under its own name."""
        clean = name.strip("_").replace(".", "_").replace("-", "m")
        self.constants[clean] = value
        return Real(clean, clean)

    def define(self, name: str, value: Real) -> Real:
        """The value under a name of its own, and M before it for the exact one."""
        count = sum(known.rstrip("0123456789") == f"{name}_" for known in self.definitions)
        fresh = f"{name}_{count}"
        self.definitions[fresh] = value.computed
        self.definitions[f"M{fresh}"] = value.exact
        return Real(fresh, f"M{fresh}")

    def gappa(self) -> str:
        """The definitions in Gappa's language."""
        constants = [f"{name} = {m}b{e};" for name, (m, e) in ((n, dyadic(v)) for n, v in self.constants.items())]
        return "\n".join(["@rnd = float<ieee_64,ne>;", *constants, *(f"{n} = {e};" for n, e in self.definitions.items())])

    def sollya(self) -> str:
        """The exact definitions in Sollya's language."""
        constants = [f"{name} = {m} * 2^({e});" for name, (m, e) in ((n, dyadic(v)) for n, v in self.constants.items())]
        return "\n".join([*constants, *(f"{n} = {e};" for n, e in self.definitions.items() if n.startswith("M"))])

    @property
    def hypotheses(self) -> list[str]:
        """That each error keeps to its bound."""
        return [f"|{name}| <= {bound}" for name, bound in self.errors.items()]
