"""Loss and gradient of rows by the hundred thousand, in every bin of gap and K: what one row in a hundred thousand shows."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from adapters.operation import Operation
from reference.formats import Format
from reference.installing import extra
from reference.quantity import Quantity
from suites.inputs.bulk import bulk_problems
from suites.inputs.problems import Ask
from suites.judging.judge import Judge


@pytest.mark.asks(Quantity.LOSS)
def test_bulk(judge: Judge, operation: Operation, fmt: Format) -> None:
    """Class indices alone, for which the compiled tier has formulas."""
    if not operation.is_of_indices:
        pytest.skip(f"{operation.name} is no cross-entropy of class indices, row by row")
    if find_spec("numba") is None:
        pytest.skip(f"so many rows need numba: {extra('fast')}")
    judge.search_bulk(bulk_problems, operation, Ask(fmt, ("moderate",)), (Quantity.LOSS, Quantity.GRADIENT))
