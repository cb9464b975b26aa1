"""The stored cases: every operation at its claim, deviations exactly where the claims file lists them."""

from __future__ import annotations

from adapters.operation import Operation
from reference.quantity import Quantity
from suites.inputs.cases import Case
from suites.judging.judge import Judge


def test_case(judge: Judge, case: Case, operation: Operation, quantity: Quantity) -> None:
    judge.check_case(case, operation, quantity)
