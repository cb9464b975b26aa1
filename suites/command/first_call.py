"""A kernel's first call in this process: it is made at a stored case before the probe, and judged by the test of that case.

So the command that a failure prints makes the same call first, in a process of its own.
"""

from __future__ import annotations

from adapters.adapter import Observed
from suites.command.selection import case_combinations
from suites.judging.heard import Heard
from suites.judging.judge import Plan, question_of_case


def first_call(plan: Plan) -> Heard | None:
    """The first call that the plan's stored cases ask; None if they ask none."""
    asked = next((param.values for param in case_combinations(plan) if not param.marks), None)
    if asked is None:
        return None
    case, operation, _ = asked
    question = question_of_case(case, operation)
    try:
        return Heard(question, plan.adapter.observe(question))
    except NotImplementedError as error:
        return Heard(question, Observed({}), refused=str(error))
