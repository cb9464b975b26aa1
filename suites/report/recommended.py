"""Recommended rtol and atol of the operations of a run: what their grade promises, and what they were seen to need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from adapters.operation import Operation
from reference.bounds.blindness import LOST_TO_ZERO, blind_from
from reference.bounds.domain import Domain
from reference.bounds.tolerances import Tolerance, tolerance
from reference.formats import FORMATS
from reference.grades import ACCURATE_ULPS, FAITHFUL_ULPS, Grade
from reference.quantity import LAYER_GRADIENTS, Quantity
from suites.judging.judge import Judge
from suites.judging.recorder import Record, Spot, order_of

GAP = 20.0
"""Largest gap of the reported domains: in float32 absorption begins at 16.6."""

CLASSES = (10, 1000, 32000, 128256)
"""Numbers of classes of the reported domains."""

_ULPS = {Grade.ACCURATE: ACCURATE_ULPS, Grade.FAITHFUL: FAITHFUL_ULPS, Grade.CORRECT: 0.5}


@dataclass(frozen=True)
class Recommendation:
    """A tolerance for tests of one quantity of an operation, for logits with at most `domain.classes` classes.

    `promised` follows from the grade and holds for every input of the domain. `measured` is the part of it that the worst
    error found needs: tighter, but only a lower bound of what an operation may need. `blind_from` is the gap from which on a
    test with the promised tolerance passes a 0; None for a quantity that is not absorbed so.
    """

    operation: str
    dtype: str
    quantity: Quantity
    grade: Grade
    domain: Domain
    promised: Tolerance
    measured: Tolerance
    blind_from: float | None


def recommendations(judge: Judge, classes: Iterable[int] = CLASSES) -> Iterator[Recommendation]:
    """The recommendations of a finished run, in the order of reports, one for each number of classes.

    There is none where the claim was not reached, nor for a domain in which a known deviation misses it.
    """
    domains = [Domain(count, GAP) for count in classes]
    operations = {operation.label: operation for operation in judge.plan.operations}
    for key in sorted(judge.recorder.records, key=order_of):
        label, dtype, quantity = key
        record = judge.recorder.records[key]
        grade = judge.plan.claims.claimed(operations[label], dtype, quantity)
        for domain in domains if record.counts.reaches(grade) else ():
            found = recommended(operations[label], (dtype, quantity, grade), record, domain)
            if found is not None:
                yield found


def recommended(operation: Operation, of: tuple[str, Quantity, Grade], record: Record, domain: Domain) -> Recommendation | None:
    """The recommendation for a quantity in a dtype at a grade.

    None if there is no honest one (the grade bounds no error, the declared arithmetic nothing of so many classes, or a known
    deviation misses the grade in the domain), or if the quantity is not that of plain cross-entropy, which is what
    `reference.tolerance` knows.
    """
    dtype, quantity, grade = of
    if grade < Grade.STABLE or quantity in LAYER_GRADIENTS or not operation.loss.spec.is_log_probability:
        return None
    if {"z_loss", "logit_softcap"} & operation.options or any(_spoils(spot, grade, domain) for spot in record.left_out_at):
        return None
    arithmetic = operation.arithmetic_of(quantity, FORMATS[dtype])
    asked = replace(domain, plain=not operation.probabilities)
    # Of the bound of `componentwise` no share is recorded: all of it may be used.
    shares = {Grade.STABLE: record.worst_ratio, Grade.COMPONENTWISE: 1.0}
    used = shares[grade] if grade in shares else record.worst_ulps / _ULPS[grade]
    try:
        promised = tolerance(quantity, grade, arithmetic, asked)
        measured = tolerance(quantity, grade, arithmetic, asked, min(used, 1.0))
    except ValueError:
        return None
    blind = blind_from(promised, quantity) if quantity in LOST_TO_ZERO else None
    return Recommendation(operation.label, dtype, quantity, grade, asked, promised, measured, blind)


def _spoils(spot: Spot, grade: Grade, domain: Domain) -> bool:
    """True of a place in the domain that misses the grade."""
    return spot.reached < grade and spot.classes <= domain.classes and spot.gap <= domain.gap
