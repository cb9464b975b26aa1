"""What the start-up probe was answered: a kernel may be wrong at the first calls of a process alone, which are the probe's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adapters.operation import Operation
from reference.formats import Format
from suites.judging.judge import Judge


@pytest.mark.heard
def test_probed(judge: Judge, operation: Operation, fmt: Format) -> None:
    for heard in judge.plan.heard:
        problem, same = heard.question.problem, heard.question.operation.label == operation.label
        if same and problem.format == fmt and heard.refused is None and operation.refusal(problem) is None:
            judge.check(replace(heard.question, operation=operation))
