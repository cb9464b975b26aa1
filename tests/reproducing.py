"""Writes the reproducers of a backend's published deviations, and what the adapter observed there.

    python -m tests.reproducing torch FOLDER KIND...

`one`: a script for each deviation, and for each operation and mode that has one. `every`: for each case, operation, dtype and
quantity that a deviation lists. `options`: for each quantity of each operation, Hessians apart, with all its options set, in
float32, and, of bfloat16, in each mode that returns a wider loss.
`observed.json` holds, by kind and script, the entries that it looks at: the value that the adapter observed, in hexadecimal,
and whether it meets the grade.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.adapter import Adapter
from adapters.loading import load_adapter
from adapters.operation import Operation
from adapters.question import Question
from reference.formats import BFLOAT16, FLOAT32, Format
from reference.grades import Grade
from reference.linear import identity_layer
from reference.problem import Problem
from reference.quantity import Quantity
from suites.inputs.cases import Case, stored_cases
from suites.judging.claims import Deviation, setting_of
from suites.judging.claims_file import CLAIMS_FOLDER, load_claims
from suites.judging.effort import EFFORTS
from suites.judging.judge import Judge, Plan, askable
from suites.judging.reproducer import Miss, entries_of, miss_of_deviation, write_reproducers

Found = tuple[Deviation, Case, Operation, Quantity]


def judge_of(adapter: Adapter) -> Judge:
    """A judge of everything that a backend publishes."""
    claims = load_claims(CLAIMS_FOLDER / f"{adapter.name}.toml", setting_of(adapter))
    return Judge(Plan(adapter, adapter.operations(), (), (), stored_cases(), claims, EFFORTS["quick"], 0, ""))


def published(judge: Judge) -> Iterator[Found]:
    """Where the deviations of a backend show."""
    for operation in judge.plan.operations:
        for case in judge.plan.cases:
            if operation.refusal(case.problem) is None:
                for quantity in askable(operation, case.problem):
                    for deviation in judge.plan.claims.deviations_at(operation, quantity, case):
                        yield deviation, case, operation, quantity


def one_of_each(found: Iterator[Found]) -> Iterator[Found]:
    """The first of each deviation, and of each operation in each mode."""
    seen: set[str] = set()
    for where in found:
        names = {where[0].id, where[2].label}
        if names - seen:
            seen |= names
            yield where


def miss_of(judge: Judge, where: Found, with_others: bool = False) -> Miss | None:
    """The miss, named for everything that it is about; None where the operation does not offer what is asked.

    None too where the deviation does not show on a processor on which it was never seen.

    `with_others`: as the suites ask it, all quantities of the case at once; slower where only one is wanted.
    """
    deviation, case, operation, quantity = where
    try:
        together = judge.case_measurements(case, operation) if with_others else None
        measurement = together[quantity] if together else judge.measure(Question(operation, case.problem, (quantity,)))[0]
    except pytest.skip.Exception:
        return None
    if not deviation.strict and measurement.grade >= deviation.misses:
        return None
    miss = miss_of_deviation(deviation, case, operation, measurement)
    name = f"{deviation.id} {operation.label} {case.id} {quantity}"
    return Miss(name, miss.operation, miss.measurement, miss.missed, miss.story)


def with_options(judge: Judge) -> Iterator[Miss]:
    """Each quantity of each operation with all its options set: in its first mode, and where its loss is wider."""
    names: set[str] = set()
    for operation in judge.plan.operations:
        formats = [] if operation.name in names else [FLOAT32 if FLOAT32.name in operation.arithmetic else BFLOAT16]
        names.add(operation.name)
        if operation.returned(Quantity.LOSS, BFLOAT16) != BFLOAT16 and BFLOAT16 not in formats:
            formats.append(BFLOAT16)
        for fmt in formats:
            yield from _with_options(judge, operation, fmt)


def _with_options(judge: Judge, operation: Operation, fmt: Format) -> Iterator[Miss]:
    problem = _all_options(operation, fmt)
    for quantity in operation.asked(problem, tuple(q for q in Quantity if q is not Quantity.HESSIAN)):
        (measurement,) = judge.measure(Question(operation, problem, (quantity,)))
        yield Miss(f"{operation.label} {fmt.name} {quantity}", operation, measurement, Grade.CORRECT, ())


def _all_options(operation: Operation, fmt: Format) -> Problem:
    binary = operation.loss.spec.binary
    logits = np.array([[1.5], [-0.5]] if binary else [[1.5, -0.5, 0.25], [0.0, 2.0, -1.0]])
    soft = [[1.0], [0.0]] if binary else [[0.5, 0.25, 0.25], [0.0, 0.5, 0.5]]
    values: dict[str, Any] = {
        "class_weights": [0.5, 2.0, 1.0],
        "label_smoothing": 0.25,
        "ignore_index": 2,
        "reduction": "mean",
        "row_weights": [0.5, 3.0],
        "normaliser": 3.0,
        "logit_scale": 0.0625,
        "logit_softcap": 30.0,
        "z_loss": 0.5,
        "focusing": 2.0,
        "positive_weight": 2.0,
    }
    options = {name: value for name, value in values.items() if name in operation.options}
    problem = Problem(
        logits=logits,
        target=soft if operation.probabilities else [1, 2],
        format=fmt,
        loss=operation.loss,
        cotangent=3.0 if "reduction" in operation.options else [3.0, -0.5],
        tangent=np.resize([1.0, -2.0], logits.shape),
        **options,
    )
    return problem.replace(logits=None, **identity_layer(logits, np.array([2.0, -1.0]))) if operation.is_layer else problem


def _entry(miss: Miss, index: tuple[int, ...]) -> tuple[str, bool]:
    return float(miss.measurement.observed[index]).hex(), bool(miss.measurement.grades[index] >= miss.missed)


def _misses(judge: Judge, which: str) -> list[Miss]:
    if which == "options":
        return list(with_options(judge))
    every = which == "every"
    found = published(judge) if every else one_of_each(published(judge))
    return [miss for where in found if (miss := miss_of(judge, where, every))]


def _observed(misses: list[Miss], written: dict[str, Path]) -> dict[str, list[tuple[str, bool]]]:
    return {
        written[miss.name].stem: [] if miss.measurement.error else [_entry(miss, index) for index in entries_of(miss)]
        for miss in misses
        if miss.name in written
    }


def main(backend: str, folder: Path, kinds: list[str]) -> None:
    """Write the scripts and observed.json."""
    judge = judge_of(load_adapter(backend, "cpu"))
    misses = {which: _misses(judge, which) for which in kinds}
    written = write_reproducers([miss for some in misses.values() for miss in some], judge.plan.adapter, folder)
    observed = {which: _observed(some, written) for which, some in misses.items()}
    (folder / "observed.json").write_text(json.dumps(observed))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
