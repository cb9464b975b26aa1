"""A proof of a function's error bound: what the code claims, and what is proved, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from tests.proofs.amounts import UNIT, decimal, power


class By(StrEnum):
    """Who proves a step."""

    GAPPA = "Gappa"
    SOLLYA = "Sollya"
    CASES = "all cases"
    """One by one, in Python."""
    FRACTIONS = "fractions"
    """Exact arithmetic in Python."""


@dataclass(frozen=True)
class Step:
    """A part of a proof: what is bounded, by how much, and by what tool."""

    what: str
    bound: Fraction
    by: By

    @property
    def told(self) -> str:
        """The bound as the page has it: a count, or a power of two."""
        return str(self.bound) if self.by is By.CASES else power(self.bound)


@dataclass(frozen=True)
class Claim:
    """The error bound that the code claims for a function."""

    function: str
    value: Fraction
    scale: Fraction
    """In which it is told: u, u^2 or 1."""
    where: str
    """Where the code has it."""
    room: Fraction = Fraction(0)
    """How much more may be proved, relatively, where the rest is on paper."""

    def told(self, value: Fraction) -> str:
        """A bound as the page has it, rounded up."""
        unit = {UNIT: "u", UNIT**2: "u^2"}.get(self.scale)
        return power(value) if unit is None else f"{decimal(value / self.scale)} {unit}"


@dataclass(frozen=True)
class Proof:
    """What is proved of a function, step by step; what rests on paper is in paper.toml."""

    claim: Claim
    proved: Fraction
    steps: tuple[Step, ...]

    @property
    def holds(self) -> bool:
        """Whether what is proved is no more than what is claimed."""
        return self.proved <= self.claim.value * (1 + self.claim.room)
