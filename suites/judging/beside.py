"""What the framework's own operation does where a kernel fails: a failure that it shares is told to be shared."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from adapters.operation import Operation
from suites.judging.judge import Judge
from suites.judging.outcomes import FailedTest
from suites.judging.reproducer import Miss


def told_beside(judge: Judge, failed: FailedTest) -> str | None:
    """Whether the framework's own operation reaches the grade that a kernel misses, at the same problem, in words.

    None of a backend's own operations, and where the failure is none of a grade or nothing of the framework can be asked it.
    """
    miss = failed.shown
    if judge.plan.subject is None or not isinstance(miss, Miss) or miss.should_raise:
        return None
    operation = own_operation(judge, miss)
    if operation is None:
        return None
    question = replace(miss.question, operation=operation)
    with suppress(pytest.skip.Exception, pytest.fail.Exception):
        (found,) = judge.measure(question)
        framework, version = next(iter(judge.plan.adapter.versions().items()))
        does = f"reaches {found.grade.label!r}" if found.grade >= miss.missed else f"misses {miss.missed.label!r} too"
        return f"{operation.name} of {framework} {version} {does} at this input"
    return None


def own_operation(judge: Judge, miss: Miss) -> Operation | None:
    """The first main operation of the backend that can be asked what was missed; none in isolation, which has it elsewhere."""
    adapter, quantity, problem = judge.plan.adapter, miss.measurement.quantity, miss.measurement.problem
    own = {operation.name: operation for operation in reversed(adapter.operations())}
    listed = [own[name] for name in adapter.main if name in own and own[name].implementation is None]
    main = [op for op in listed if miss.layout in op.layouts and miss.label_dtype in op.label_dtypes]
    able = (op for op in main if op.refusal(problem) is None and miss.question.usage in adapter.usages(op))
    return next((op for op in able if quantity in op.asked(problem)), None)
