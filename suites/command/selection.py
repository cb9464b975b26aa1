"""Which tests a plan asks: the parameters of each test function, and the one test that --case names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from adapters.layout import LABEL_DTYPE, Layout
from adapters.operation import EAGER, Operation
from adapters.usage import Usage
from reference.formats import Format
from reference.quantity import Quantity
from suites.inputs.given import OF_CASES, Given
from suites.judging.judge import Plan, askable


@dataclass(frozen=True)
class Asked:
    """What a test asks: these quantities, of problems with a linear `layer` or without one."""

    quantities: tuple[Quantity, ...] = tuple(Quantity)
    layer: bool = False

    @classmethod
    def by(cls, marker: pytest.Mark | None) -> Asked:
        """What a test function's marker `asks` says; a function without one asks for every quantity."""
        return cls() if marker is None else cls(marker.args, **marker.kwargs)

    def of(self, operation: Operation) -> bool:
        """True if an operation has one of them."""
        fits = operation.takes_layer if self.layer else not operation.is_layer
        return fits and bool(set(operation.quantities) & set(self.quantities))


def format_combinations(plan: Plan, asked: Asked) -> list[Any]:
    """An operation and a format, for each that would be asked one of the quantities were it not for its limits."""
    return [_asked_or_skipped((op, fmt), f"{op.label}-{fmt.name}", away) for op, fmt, away in _pairs(plan, asked)]


def layout_combinations(plan: Plan, asked: Asked) -> list[Any]:
    """The same with each memory layout that an operation is asked in beside the contiguous one."""
    return [
        _asked_or_skipped((op, fmt, layout), f"{op.label}-{fmt.name}-{layout}", away or op.given_declared_away(layout=layout))
        for op, fmt, away in _pairs(plan, asked)
        for layout in op.layouts
        if layout is not Layout.CONTIGUOUS and layout.has(fmt.name)
    ]


def label_combinations(plan: Plan, asked: Asked) -> list[Any]:
    """The same with each dtype of class indices beside the usual one; in one format where any is compiled anew."""
    return [
        _asked_or_skipped((op, fmt, dtype), f"{op.label}-{fmt.name}-{dtype}", away or op.given_declared_away(label_dtype=dtype))
        for op, fmt, away in _pairs(plan, asked)
        for dtype in op.label_dtypes
        if dtype != LABEL_DTYPE and fmt in _formats_of_labels(plan, op)
    ]


def _formats_of_labels(plan: Plan, op: Operation) -> list[Format]:
    """The formats in which dtypes of class indices are asked: one that it takes, where each may be compiled anew."""
    formats = _formats(plan, op)
    return formats if op.mode == EAGER and not op.few_shapes else [f for f in formats if f.name in op.arithmetic][:1]


def _formats(plan: Plan, op: Operation) -> list[Format]:
    """The formats on trial that an operation has, were it not for its limits."""
    return [fmt for fmt in plan.formats if fmt.name in op.whole.arithmetic]


def _pairs(plan: Plan, asked: Asked) -> Iterator[tuple[Operation, Format, str | None]]:
    """An operation and a format, and by which limit nothing is asked of them."""
    for op in plan.operations:
        if asked.of(op.whole):
            for fmt in _formats(plan, op):
                yield op, fmt, op.declared_away(asked.quantities, fmt.name, plan.adapter.device)


def usage_combinations(plan: Plan, asked: Asked) -> list[Any]:
    """An operation, a format and a usage that the backend plays, for each that would be asked were it not for its limits."""
    device = plan.adapter.device
    return [
        _asked_or_skipped((op, fmt, usage), f"{op.label}-{fmt.name}-{usage}", op.usage_declared_away(usage, fmt.name, device))
        for op in plan.operations
        if asked.of(op.whole)
        for fmt in _formats(plan, op)
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
