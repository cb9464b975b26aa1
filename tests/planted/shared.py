"""What is drawn, and what is owed for it, once in a process for whoever asks: kernels in turn, or a backend and its judge."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest.mock import patch
from weakref import WeakKeyDictionary

from reference.evaluation import evaluate
from reference.expected import Expected
from reference.problem import Problem
from reference.quantity import Quantity
from suites.inputs.problems import Ask
from suites.judging.search import Check, Searches, Watched
from suites.judging.store import Store

_DRAWN: dict[tuple[str, Ask, int], list[Problem]] = {}
_STORE, _COMPLETED = Store(), Store.completed
_KNOWN: WeakKeyDictionary[Problem, dict[Quantity, Expected]] = WeakKeyDictionary()


def evaluated(problem: Problem, quantities: tuple[Quantity, ...]) -> dict[Quantity, Expected]:
    """As `reference.evaluation.evaluate`, kept for as long as the problem lives, and between runs as those of the suite are."""
    known = _KNOWN.setdefault(problem, {})
    if missing := tuple(quantity for quantity in quantities if quantity not in known):
        known.update(_COMPLETED(_STORE, problem, missing, evaluate))
    return {quantity: known[quantity] for quantity in quantities}


class _Unshrunk(Searches):
    """The searches of the suite with the same problems, generated once for all kernels; a failure is not shrunk."""

    def run(self, name: str, ask: Ask, check: Check, examples: int, part: int = 1) -> None:
        watched = Watched(check, self.spent)
        for problem in self._all(name, ask, examples)[::part]:
            watched(problem)
        watched.tell_refused()

    def _all(self, name: str, ask: Ask, examples: int) -> list[Problem]:
        key = (name, ask, examples)
        if key not in _DRAWN:
            _DRAWN[key] = self._generate(name, ask, examples, lambda _: None)
        return _DRAWN[key]


class _Whole(_Unshrunk):
    """The same, where all problems are checked, also after one has failed: what a row of a report rests on."""

    def run(self, name: str, ask: Ask, check: Check, examples: int, part: int = 1) -> None:
        watched = Watched(check, self.spent)
        watched.check_all(self._all(name, ask, examples)[::part])
        if watched.smallest is not None:
            raise watched.smallest
        watched.tell_refused()


@contextlib.contextmanager
def shared(whole: bool = False) -> Iterator[None]:
    """Runs of the suite in this process, all with the same seed, share what is drawn and owed and shrink no failure.

    A search ends with its first failure, unless it is to be `whole`.
    """
    searches = _Whole if whole else _Unshrunk
    owed = patch.object(Store, "completed", lambda _, problem, quantities, __: evaluated(problem, quantities))
    with patch("suites.judging.judge.Searches", searches), owed:
        yield
