"""Runs operations on problems, compares them with the reference, records what it saw and fails what misses its claim."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import NoReturn

import numpy as np
import pytest

from adapters.adapter import Adapter, GivenUpError, Observed
from adapters.layout import Layout
from adapters.operation import Operation, modes_of
from reference.evaluation import MAX_HESSIAN_CLASSES
from reference.formats import Format
from reference.problem import Problem
from reference.quantity import Quantity
from suites.inputs.cases import Case
from suites.inputs.hazards import LARGE_CLASSES, MANY_CLASSES, NONFINITE
from suites.inputs.problems import Ask
from suites.judging.claims import Claims
from suites.judging.effort import Effort
from suites.judging.expected import ExpectedCache
from suites.judging.failure import failure_text
from suites.judging.measurement import Measurement
from suites.judging.recorder import CaseOutcome, Recorder, unspecified_outcomes
from suites.judging.refusals import Attempt, Refusals
from suites.judging.reproducer import Miss, miss_of_deviation
from suites.judging.search import Searches

FEW_ROWS = 2
"""Rows of generated problems where every shape is compiled: enough for rows that touch each other."""


@dataclass(frozen=True)
class Plan:
    """What the command line asked for; see suites/conftest.py for the options."""

    adapter: Adapter
    operations: tuple[Operation, ...]
    formats: tuple[Format, ...]
    hazards: tuple[str, ...]
    cases: tuple[Case, ...]
    claims: Claims
    effort: Effort
    seed: int
    command: str
    reduced_by: tuple[str, ...] = ()
    """Reasons why this run is REDUCED; empty if it is whole."""

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes on trial."""
        return modes_of(self.operations)


@dataclass(repr=False)
class Judge:
    """The one place where observed meets expected.

    It has no repr of its fields: pytest takes one for each expected failure, and they hold every problem of the run.
    """

    plan: Plan
    recorder: Recorder = field(default_factory=Recorder)
    deviations_seen: dict[str, Miss] = field(default_factory=dict)
    """The first miss of each deviation, by id."""
    failure: Miss | None = None
    """The last miss that failed a test: of a search the shrunk one."""
    _kept: dict[tuple[str, str], dict[Quantity, Measurement]] = field(default_factory=dict)
    _expected: ExpectedCache = field(default_factory=ExpectedCache)
    _refusals: Refusals = field(default_factory=Refusals)

    def __post_init__(self) -> None:
        self._searches = Searches(self.plan.seed, lambda: self.plan.adapter.spent)

    def search(self, name: str, ask: Ask, check: Callable[[Problem], None], examples: int | None = None) -> None:
        """Look for a problem that fails the check, among as many as the effort has unless told otherwise."""
        self._searches.run(name, ask, check, examples or self.plan.effort.examples)

    def search_claims(
        self, name: str, operation: Operation, ask: Ask, wanted: tuple[Quantity, ...], examples: int | None = None
    ) -> None:
        """Search for a problem at which the operation misses the grade that it is held to for a wanted quantity."""
        if not set(wanted) & set(operation.quantities):
            pytest.skip(f"{operation.name} has none of {', '.join(wanted)}")
        ask = self.narrowed(operation, ask)
        self.search(name, ask, lambda problem: self.check(operation, problem, wanted), examples)

    def narrowed(self, operation: Operation, ask: Ask) -> Ask:
        """The part of an ask that the operation can answer and --hazard leaves; skips the test if nothing is left."""
        hazards = tuple(h for h in ask.hazards if h in self.plan.hazards)
        if operation.loss.spec.binary:
            hazards = tuple(h for h in hazards if h not in MANY_CLASSES)
        if (operation.max_classes or LARGE_CLASSES[0]) < LARGE_CLASSES[0]:
            hazards = tuple(h for h in hazards if h != "large_vocabulary")
        if operation.finite_logits:
            hazards = tuple(h for h in hazards if h not in NONFINITE)
        if not hazards:
            pytest.skip(f"--hazard, a loss of two classes or a limit leaves none of {', '.join(ask.hazards)}")
        return replace(
            ask,
            hazards=hazards,
            loss=operation.loss,
            probabilities=operation.probabilities,
            options=ask.options & operation.options,
            few_shapes=operation.few_shapes,
            classes_multiple=operation.classes_multiple,
            max_classes=operation.max_classes,
            max_rows=min(ask.max_rows, FEW_ROWS) if operation.few_shapes else ask.max_rows,
        )

    def observe(
        self,
        operation: Operation,
        problem: Problem,
        quantities: tuple[Quantity, ...],
        layout: Layout = Layout.CONTIGUOUS,
    ) -> Observed:
        """What the operation does with a problem; the test fails if that is the end of the process that it runs in."""
        observed = self._ask(operation, problem, quantities, layout)
        if observed.ended and observed.error is not None:
            pytest.fail(f"what   : {operation.label}: {observed.error}\ninput  : {problem!r}", pytrace=False)
        return observed

    def _ask(self, operation: Operation, problem: Problem, quantities: tuple[Quantity, ...], layout: Layout) -> Observed:
        """What the operation does with a problem, unless it refuses it: `PassedOver`, or a failure if that is no limit."""
        attempt = Attempt(operation, problem, quantities, layout)
        refusal = None
        try:
            observed = self.plan.adapter.observe(operation, problem, quantities, layout)
        except NotImplementedError as error:
            refusal = str(error)
        except GivenUpError as error:
            pytest.skip(str(error))
        if refusal is not None:
            self._refusals.refused(attempt, refusal)
        self._refusals.answered(attempt)
        return observed

    def measure(
        self,
        operation: Operation,
        problem: Problem,
        quantities: tuple[Quantity, ...],
        layout: Layout = Layout.CONTIGUOUS,
    ) -> list[Measurement]:
        """How each quantity compares with the reference.

        An exception costs only the quantities that raise it when they are asked alone; all of them, if none does.
        """
        observed = self._ask(operation, problem, quantities, layout)
        if observed.error is not None and len(quantities) > 1:
            alone = [m for q in quantities for m in self.measure(operation, problem, (q,), layout)]
            if any(measurement.error is not None for measurement in alone):
                return alone
        error = observed.error or "; ".join(observed.violations) or None
        measurements = []
        for fmt, group in groupby(quantities, lambda q: operation.returned(q, problem.format)):
            returned = None if fmt == problem.format else fmt
            arithmetic = replace(operation.arithmetic[problem.format.name], storage=fmt)
            for quantity, expected in self._expected.evaluate(problem, tuple(group), fmt).items():
                values = np.full(expected.values.shape, np.nan) if error else observed.values[quantity]
                ended = observed.ended
                measurements.append(Measurement(problem, quantity, arithmetic, expected, values, error, returned, ended))
        return measurements

    def check(
        self,
        operation: Operation,
        problem: Problem,
        wanted: tuple[Quantity, ...],
        layout: Layout = Layout.CONTIGUOUS,
    ) -> None:
        """Measure, record, and fail if a quantity misses the grade that it is held to."""
        for measurement in self.measure(operation, problem, askable(operation, problem, wanted), layout):
            claimed = self.plan.claims.claimed(operation, problem.format.name, measurement.quantity)
            needed = self.plan.claims.required(operation, measurement.quantity, problem)
            self.recorder.add(operation.label, problem.format.name, measurement, counts=needed == claimed)
            if measurement.grade < needed:
                self._fail(Miss("", operation, measurement, needed, ("Input: generated.",), layout))

    def _fail(self, miss: Miss) -> NoReturn:
        """Fail the test, and keep the miss for a reproducer."""
        self.failure = miss
        where = f"{self.plan.adapter.name} on {self.plan.adapter.device}, {miss.operation.mode}"
        pytest.fail(failure_text(miss.measurement, miss.operation, miss.missed, where, self.plan.command), pytrace=False)

    def case_measurements(self, case: Case, operation: Operation) -> dict[Quantity, Measurement]:
        """All quantities of an operation at a stored case; kept until the next case or operation is asked for."""
        key = (case.id, operation.label)
        if key not in self._kept:
            self._kept.clear()
            quantities = askable(operation, case.problem)
            self._kept[key] = {m.quantity: m for m in self.measure(operation, case.problem, quantities)}
        return self._kept[key]

    def check_case(self, case: Case, operation: Operation, quantity: Quantity) -> None:
        """Hold a quantity to its claim at a case, or to its deviations there: strictly, both ways."""
        measurement = self.case_measurements(case, operation)[quantity]
        claimed = self.plan.claims.claimed(operation, case.problem.format.name, quantity)
        deviations = self.plan.claims.deviations_at(operation, quantity, case)
        reached = measurement.grade
        self.recorder.add_case(
            CaseOutcome(
                case.name,
                operation.label,
                case.problem.format.name,
                quantity,
                claimed,
                reached,
                tuple(d.id for d in deviations),
                unspecified_outcomes(measurement),
            ),
            measurement,
        )
        if stale := [d for d in deviations if reached >= d.misses]:
            pytest.fail(
                f"stale deviation {stale[0].id!r}: {operation.label} reaches {reached.label!r} for {quantity} at {case.id}, "
                f"the entry says that it misses {stale[0].misses.label!r}; take the case out of the entry",
                pytrace=False,
            )
        needed = min((d.reaches for d in deviations if d.misses <= claimed), default=claimed)
        if reached < needed:
            self._fail(Miss("", operation, measurement, needed, (f"Case {case.name}: {case.story}.",)))
        for deviation in deviations:
            self.deviations_seen.setdefault(deviation.id, miss_of_deviation(deviation, case, operation, measurement))
        if deviations:
            pytest.xfail("; ".join(f"deviation {d.id}: {d.reason}" for d in deviations))


def askable(operation: Operation, problem: Problem, wanted: tuple[Quantity, ...] = tuple(Quantity)) -> tuple[Quantity, ...]:
    """The wanted quantities that the operation has, without Hessians that are too large to form."""
    large = problem.num_classes > MAX_HESSIAN_CLASSES
    return tuple(q for q in operation.asked(problem, wanted) if not (large and q is Quantity.HESSIAN))
