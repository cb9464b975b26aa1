"""Which tests a plan asks: the parameters of each test function, and the one test that --case names."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.usage import Usage
from reference.quantity import Quantity
from suites.inputs.given import OF_CASES, Given
from suites.judging.judge import Plan, askable


def format_combinations(plan: Plan, asked: tuple[Quantity, ...]) -> list[Any]:
    """An operation and a format, for each that would be asked one of the quantities were it not for its limits."""
    return [
        _asked_or_skipped((op, fmt), f"{op.label}-{fmt.name}", op.declared_away(asked, fmt.name, plan.adapter.device))
        for op in plan.operations
        if set(op.whole.quantities) & set(asked)
        for fmt in plan.formats
        if fmt.name in op.whole.arithmetic
    ]


def usage_combinations(plan: Plan) -> list[Any]:
    """An operation, a format and a usage that the backend plays, for each that would be asked were it not for its limits."""
    device = plan.adapter.device
    return [
        _asked_or_skipped((op, fmt, usage), f"{op.label}-{fmt.name}-{usage}", op.usage_declared_away(usage, fmt.name, device))
        for op in plan.operations
        for fmt in plan.formats
        if fmt.name in op.whole.arithmetic
        for usage in plan.adapter.usages(op.whole)
        if usage is not Usage.PLAIN
    ]


def case_combinations(plan: Plan) -> list[Any]:
    """A case, an operation and a quantity, for each that would be asked were it not for the limits of the operation."""
    formats, device = {fmt.name for fmt in plan.formats}, plan.adapter.device
    return [
        _asked_or_skipped(
            (case, op, quantity),
            f"{case.id}-{op.label}-{quantity}",
            op.declared_away((quantity,), case.problem.format.name, device) or op.problem_declared_away(case.problem),
        )
        for case in plan.cases
        for op in plan.operations
        if case.problem.format.name in formats and (case.hazard in plan.hazards or case.hazard == "given")
        if op.whole.refusal(case.problem) is None
        for quantity in askable(op.whole, case.problem)
    ]


def _asked_or_skipped(values: tuple[Any, ...], name: str, declared: str | None) -> Any:
    """A test's parameters; what is declared away is skipped, and says by which limit."""
    return pytest.param(*values, id=name, marks=() if declared is None else pytest.mark.skip(reason=declared))


def function_of(item: pytest.Item) -> str:
    """The name of the function of a test."""
    return str(getattr(item, "originalname", item.name))


def parameters_of(item: pytest.Item) -> dict[str, Any]:
    """The parameters of a test, by name."""
    callspec = getattr(item, "callspec", None)
    return {} if callspec is None else dict(callspec.params)


def is_asked(item: pytest.Item, given: Given) -> bool:
    """True of the test that is given, in the format of the problem, with its parameters, of what can be asked the problem."""
    if function_of(item) != given.test or given.test == OF_CASES:
        return function_of(item) == given.test
    parameters, problem = parameters_of(item), given.problem
    same = all(parameters.get(name, value) == value for name, value in given.parameters.items())
    has_answer = "label" not in given.parameters and problem.num_classes > 0
    fits = not has_answer or parameters["operation"].whole.refusal(problem) is None
    return same and fits and parameters["fmt"] == problem.format
