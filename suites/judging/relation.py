"""What an invariant says at one place: a sum of observed numbers is 0, or not below 0, up to what their bounds allow.

As a script it is the observations in the framework's own code, added up as exact fractions.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from adapters.adapter import Adapter
from adapters.operation import Operation
from adapters.question import Question
from adapters.script import Script, short_hex
from reference.problem import Problem
from reference.quantity import Quantity
from suites.judging.failure import exact
from suites.judging.reproducer import MOST_ENTRIES, STANDS, UNTOLD, Index, docstring_of, file_name_of, small_input, where_seen

Term = tuple[float, int, Index]
"""Coefficient, number of the observation, and index of its entry."""


@dataclass(frozen=True, eq=False)
class Relation:
    """A broken invariant of an operation.

    Arguments:
      said: what is wrong, so that "by 0.5" can follow.
      operation: what was asked.
      asked: the problem and the quantity of each observation; the first is the one that was searched for.
      terms: what is added up. The sum is `observed` - `expected`; None is any number, of a sum that is 0 unless one is NaN.
      allowed: what it may be apart from 0.
      at_least: True if it may be above 0 too.
      name: of the script.
    """

    said: str
    operation: Operation
    asked: tuple[tuple[Problem, Quantity], ...]
    terms: tuple[Term, ...]
    observed: float
    expected: float | None
    allowed: float
    at_least: bool = False
    name: str = ""

    @property
    def what(self) -> str:
        """What is wrong, by how much, and how much is allowed."""
        return f"{self.operation.name}, {self.asked[0][0].format.name}: {self._told}"

    @property
    def _told(self) -> str:
        if self.expected is None or not np.isfinite(self.observed - self.expected):
            return self.said
        return f"{self.said} by {abs(self.observed - self.expected):.3g}; the bounds allow {self.allowed:.3g}"

    @property
    def values(self) -> str:
        """Expected and observed."""
        expected = "a number" if self.expected is None else exact(self.expected)
        return f"expected {'at least ' if self.at_least else ''}{expected}; observed {exact(self.observed)}"

    @property
    def file_name(self) -> str:
        """The script's file name."""
        return file_name_of(self.name)

    def script(self, adapter: Adapter) -> str | None:
        """The script; None if the backend has no words for the operation."""
        scripts = [adapter.script(Question(self.operation, problem, (quantity,))) for problem, quantity in self.asked]
        found = [script for script in scripts if script is not None]
        if len(found) < len(scripts):
            return None
        bodies = list(dict.fromkeys(_body(script) for script in found))
        return _TEMPLATE.format(
            docstring=docstring_of(self._story(adapter)),
            imports="\n".join(dict.fromkeys(line for script in found for line in script.imports)),
            functions="\n\n\n".join(f"def observe_{i}():\n{body}" for i, body in enumerate(bodies)),
            observations=", ".join(f"observe_{bodies.index(_body(script))}()" for script in found),
            terms="\n".join(f'    (h("{short_hex(c)}"), {number}, {index}),' for c, number, index in self.terms),
            allowed=short_hex(self.allowed),
            wrong="total < -ALLOWED" if self.at_least else "abs(total) > ALLOWED",
            rule="at least minus" if self.at_least else "at most",
            environment=found[0].environment,
            shown=MOST_ENTRIES,
            stands=STANDS,
            untold=UNTOLD,
        )

    def _story(self, adapter: Adapter) -> Iterable[str]:
        problem = self.asked[0][0]
        yield f"{self.name}: an invariant of {self.operation.formula} is broken."
        yield ""
        yield f"{self._told}."
        yield from small_input(problem)
        yield f"Run {where_seen(self.operation, problem, adapter)}."
        yield "Exits with 1 while the defect stands, 0 once it is gone, 2 if neither can be told. Numbers are added up exactly."


def _body(script: Script) -> str:
    """The body of a function that observes."""
    return textwrap.indent("\n\n".join(["\n".join(script.inputs), *script.functions, "return observe()"]), "    ")


_TEMPLATE = '''"""{docstring}"""

import math
import sys
from fractions import Fraction

{imports}

h = float.fromhex


{functions}


# What is added up: coefficient, number of the observation, index. An invariant says that the sum is 0,
# and the a priori bounds of its numbers how far from that it may be.
TERMS = [
{terms}
]
ALLOWED = Fraction(h("{allowed}"))


def main():
    print({environment})
    try:
        observed = [{observations}]
    except Exception as error:
        print(f"numbers expected; observed {{type(error).__name__}}: {{error}}")
        return {untold}
    values = [float(observed[number][index]) for _, number, index in TERMS]
    for (coefficient, number, index), value in list(zip(TERMS, values))[:{shown}]:
        print(f"{{coefficient!r}} times entry {{list(index)}} of observation {{number}}: {{value.hex()}} ({{value!r}})")
    if not all(map(math.isfinite, values)):
        print("not all are numbers: WRONG")
        return {stands}
    total = sum(Fraction(coefficient) * Fraction(value) for (coefficient, _, _), value in zip(TERMS, values))
    wrong = {wrong}
    print(f"sum {{float(total)!r}}; expected {rule} {{float(ALLOWED)!r}}: {{'WRONG' if wrong else 'right'}}")
    return {stands} if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
'''
