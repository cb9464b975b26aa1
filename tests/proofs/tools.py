"""Runs Gappa and Sollya on a script and reads the enclosures that they prove, as exact fractions."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from tests.proofs.amounts import rounded_up
from tests.proofs.program import Program, Real

TOOLS = ("gappa", "sollya")
NOT_INSTALLED = "not installed: {}; the proofs of the compiled tier are not checked (apt-get install gappa sollya)"
SECONDS = 120
"""Of one question."""
_DYADIC = r"(-?\d+)(?:b(-?\d+))?"
_FOUND = re.compile(rf"^\s+(.+) in \[{_DYADIC}(?: {{[^}}]*}})?, {_DYADIC}(?: {{[^}}]*}})?\]$", re.MULTILINE)


_HARMLESS = re.compile(r"^Warning: (renaming identifier|.* is a variable without definition).*\n", re.MULTILINE)


class UnprovedError(Exception):
    """A tool could not prove what was asked."""


def missing() -> list[str]:
    """The tools that are not installed here."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def _run(tool: str, script: str) -> str:
    try:
        done = subprocess.run([tool], input=script, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise UnprovedError(f"{tool} did not end within {SECONDS} s:\n{script}") from None
    said = _HARMLESS.sub("", done.stdout + done.stderr)
    if done.returncode != 0 or "Error" in said or "Warning" in said:
        raise UnprovedError(f"{tool} ended with status {done.returncode}:\n{said}\n{script}")
    return said


@dataclass(frozen=True)
class Question:
    """What Gappa is asked of a program: where its inputs lie, what to bound, and how to see it."""

    program: Program
    domain: Sequence[str]
    definitions: Sequence[str] = ()
    hints: Sequence[str] = ()

    def script(self, goals: Sequence[str]) -> str:
        """The whole script."""
        assumed = " /\\ ".join([*self.domain, *self.program.hypotheses])
        asked = " /\\ ".join(goals)
        return "\n".join(
            [self.program.gappa(), *self.definitions, f"{{ {assumed} -> {asked} }}", *self.program.hints, *self.hints, ""]
        )

    def bounds(self, *goals: str) -> list[tuple[Fraction, Fraction]]:
        """An enclosure of each expression."""
        script = self.script([f"{goal} in ?" for goal in goals])
        said = _run("gappa", script)
        found = {name: (_fraction(a, b), _fraction(c, d)) for name, a, b, c, d in _FOUND.findall(said)}
        if set(found) != set(goals):
            raise UnprovedError(f"gappa bounded {sorted(found)} of {sorted(goals)}:\n{said}\n{script}")
        return [found[goal] for goal in goals]

    def holds(self, goal: str) -> None:
        """Proves one goal as it stands."""
        _run("gappa", self.script([goal]))

    def sizes(self, *goals: str) -> list[Fraction]:
        """The largest magnitude of each expression."""
        return [max(-low, high) for low, high in self.bounds(*goals)]


def _fraction(mantissa: str, exponent: str) -> Fraction:
    return int(mantissa) * Fraction(2) ** int(exponent or 0)


def _sollya_number(text: str) -> Fraction:
    mantissa, _, exponent = text.partition("b")
    try:
        return _fraction(mantissa, exponent)
    except ValueError:
        raise UnprovedError(f"sollya found {text!r}; expected: a dyadic number") from None


def sollya(script: str) -> list[Fraction]:
    """The dyadic numbers that a script prints, one a line."""
    said = _run("sollya", f"display = dyadic!; verbosity = 0!; prec = 300!; roundingwarnings = off!;\n{script}\nquit;\n")
    return [_sollya_number(line) for line in said.split()]


def ln2_error(*parts: float) -> Fraction:
    """How far the sum of the parts is off from log 2."""
    total = sum((Fraction(part) for part in parts), Fraction(0))
    script = (
        f"found = evaluate(log(2) - {total.numerator} / {total.denominator}, [0; 0]);\nprint(inf(found));\nprint(sup(found));"
    )
    return max(abs(end) for end in sollya(script))


def logarithms(low: Fraction, *above: Fraction) -> list[Fraction]:
    """The logarithms of these numbers, in ascending order: the last rounded up, the others rounded down."""
    asked = [low, *above]
    ends = ["inf"] * (len(asked) - 1) + ["sup"]
    script = (
        f"print({end}(evaluate(log({x.numerator} / {x.denominator}), [0; 0])));" for end, x in zip(ends, asked, strict=True)
    )
    return sollya("\n".join(script))


def supremum(program: Program, value: Real, variable: str, function: str, low: Fraction, high: Fraction) -> Fraction:
    """The largest relative error of the exact value, a polynomial of the variable, as an approximation of the function of x."""
    ends = f"[{low.numerator} / {low.denominator}; {high.numerator} / {high.denominator}]"
    norm = f"print(sup(supnorm({value.exact}, {function}, {ends}, relative, 2^(-20))));"
    (found,) = sollya("\n".join([f"{variable} = x;", program.sollya(), norm]))
    return rounded_up(found)
