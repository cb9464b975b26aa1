"""What the framework's own operation does where a kernel fails: whether it reaches the grade there, in words."""

from __future__ import annotations

from dataclasses import replace

from suites.judging.judge import Judge
from suites.judging.measurement import Measurement
from suites.judging.outcomes import FailedTest
from suites.judging.reproducer import Miss
from suites.judging.sharing import answer_of, own_operation


def told_beside(judge: Judge, failed: FailedTest) -> str | None:
    """Whether the framework's own operation reaches the grade that a kernel misses, at the same problem, in words.

    None of a backend's own operations, and where the failure is none of a grade or nothing of the framework can be asked it.
    """
    miss = failed.shown
    if judge.plan.subject is None or not isinstance(miss, Miss) or miss.should_raise:
        return None
    operation = own_operation(judge.plan.adapter, miss)
    if operation is None or (found := answer_of(judge.measure, replace(miss.question, operation=operation))) is None:
        return None
    framework, version = next(iter(judge.plan.adapter.versions().items()))
    does = f"reaches {found.grade.label!r}" if found.grade >= miss.missed else f"misses {miss.missed.label!r} too"
    in_its_own = f", by its own arithmetic ({found.arithmetic.describe()})" if _is_bounded_otherwise(found, miss) else ""
    return f"{operation.name} of {framework} {version} {does} at this input{in_its_own}"


def _is_bounded_otherwise(found: Measurement, miss: Miss) -> bool:
    """True if by the arithmetic of the kernel the framework would miss the grade that it reaches by its own."""
    alike = replace(found, arithmetic=miss.measurement.arithmetic, kept={})
    return alike.grade < miss.missed <= found.grade
