"""What operations refuse by raising NotImplementedError: passed over, unless it depends on the values of what is asked.

A kernel that takes no more than 128 classes has a limit. One that answers logits 0 and 1, and refuses 0 and 500 in the same
shape, dtype and options, has a defect where it is hard to be right, and would be told to conform on the rest.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from _pytest.outcomes import Skipped  # `pytest.skip.Exception`, which is no type

from adapters.operation import options_used
from adapters.question import Question
from reference.problem import Problem


class PassedOver(Skipped):
    """A problem is not taken: a search passes it over, any other test is skipped."""


class PassedOverWarning(UserWarning):
    """Some of the problems of a search were passed over."""


def _kind(question: Question) -> tuple[Any, ...]:
    """All that a limit may depend on: calls of a kind are refused together, or not at all."""
    problem = question.problem
    given = (problem.cotangent is None, problem.tangent is None, problem.reduction, *sorted(options_used(problem)))
    how = (question.quantities, question.manner)
    return (question.operation.label, problem.format.name, problem.logits.shape, how, given)


@dataclass(frozen=True)
class _First:
    """The first call of a kind: why it was refused, None if it was answered; and its problem, which may be a vocabulary's."""

    refused: str | None
    packed: bytes

    @property
    def problem(self) -> Problem:
        problem: Problem = pickle.loads(zlib.decompress(self.packed))
        return problem


@dataclass(frozen=True)
class Refusals:
    """The kinds of calls that were answered, and those that were refused.

    `contradicted` fails the test: it is given the call, what is wrong with it, and the problem of the first of its kind.
    """

    contradicted: Callable[[Question, str, Problem], NoReturn]
    _known: dict[tuple[Any, ...], _First] = field(default_factory=dict)

    def answered(self, question: Question) -> None:
        """Note an answer.

        Raises:
          pytest.fail.Exception: one of the kind was refused.
        """
        first = self._first(question, None)
        refused = first.refused
        if refused is not None:
            self.contradicted(question, f"refused a problem ({refused}) and answers another {_ADVICE}", first.problem)

    def refused(self, question: Question, message: str) -> NoReturn:
        """Note a refusal.

        Raises:
          pytest.fail.Exception: one of the kind was answered.
          PassedOver: otherwise.
        """
        first = self._first(question, message)
        if first.refused is None:
            self.contradicted(question, f"answered a problem and refuses another ({message}) {_ADVICE}", first.problem)
        raise PassedOver(f"{question.operation.name}: not implemented: {message}")

    def _first(self, question: Question, refused: str | None) -> _First:
        kind = _kind(question)
        if kind not in self._known:
            self._known[kind] = _First(refused, zlib.compress(pickle.dumps(question.problem), 1))
        return self._known[kind]


_ADVICE = "of the same shape, dtype and options; NotImplementedError may not depend on values: declare a limit, or answer"
