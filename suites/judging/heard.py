"""What a kernel answered before its tests began: at its first call, and at those of the probe. Tests judge each of them.

A kernel may be wrong at its first calls alone, as where it reads a buffer that is filled later. Calls of which no number is
judged would hide that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from adapters.adapter import Observed
from adapters.question import Question


@dataclass(frozen=True, eq=False)
class Heard:
    """What a kernel answered, and to what; or why it refused."""

    question: Question
    observed: Observed
    refused: str | None = None

    def answers(self, question: Question) -> bool:
        """True if it was asked all that the question asks; that it raised counts where nothing less was asked."""
        same = question.problem is self.question.problem and question.operation.label == self.question.operation.label
        asked, wanted = set(self.question.quantities), set(question.quantities)
        return same and question.manner == self.question.manner and (wanted == asked or wanted <= set(self.observed.values))


def answer_to(question: Question, every: Iterable[Heard]) -> Heard | None:
    """What was answered to a question; None if it was not asked."""
    return next((heard for heard in every if heard.answers(question)), None)
