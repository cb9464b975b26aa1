"""Searches for problems that fail a check, by Hypothesis; what one operation has passed is given to the next as it was.

Every operation that is asked the same gets the same problems, since the seed of a search depends on its name alone. They are
generated once; a check that fails on one of them is searched anew, to be shrunk.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from reference.problem import Problem
from suites.problems import Ask, problems

MOST_KEPT = 2**20
"""Logits of the problems that are kept of one search: 8 MiB, with a tangent and what they are owed five times as much."""

Check = Callable[[Problem], None]


@dataclass(repr=False)
class Searches:
    """All searches of a run with a seed."""

    seed: int
    _passed: dict[tuple[str, Ask, int], list[Problem]] = field(default_factory=dict)

    def run(self, name: str, ask: Ask, check: Check, examples: int) -> None:
        """Look for a problem that fails the check; `name` is that of the property."""
        key = (name, ask, examples)
        if key in self._passed and all(_passes(check, problem) for problem in self._passed[key]):
            return
        drawn = self._generate(name, ask, check, examples)
        if sum(problem.logits.size for problem in drawn) <= MOST_KEPT:
            self._passed[key] = drawn

    def _generate(self, name: str, ask: Ask, check: Check, examples: int) -> list[Problem]:
        profile = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        )
        drawn: list[Problem] = []

        @seeded(zlib.crc32(f"{name} {self.seed}".encode()))
        @profile
        @given(problems(ask))
        def holds(problem: Problem) -> None:
            drawn.append(problem)
            check(problem)

        holds()
        return drawn


def _passes(check: Check, problem: Problem) -> bool:
    """False if the check fails, in whatever way; a skip passes through."""
    try:
        check(problem)
    except (Exception, pytest.fail.Exception):
        return False
    return True
