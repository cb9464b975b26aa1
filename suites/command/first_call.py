"""A kernel's first call in this process: it is made at a stored case before the probe, and judged by the test of that case.

A kernel may be wrong at its first call alone, as where it reads a buffer that is filled later. A probe that made that call
itself, and judged no number of it, would hide that.
"""

from __future__ import annotations

from adapters.adapter import Observed
from suites.command.selection import case_combinations
from suites.judging.judge import FirstCall, Plan, question_of_case


def first_call(plan: Plan) -> FirstCall | None:
    """The first call that the plan's stored cases ask; None if they ask none."""
    asked = next((param.values for param in case_combinations(plan) if not param.marks), None)
    if asked is None:
        return None
    case, operation, _ = asked
    question = question_of_case(case, operation)
    try:
        return FirstCall(question, plan.adapter.observe(question))
    except NotImplementedError as error:
        return FirstCall(question, Observed({}), refused=str(error))
