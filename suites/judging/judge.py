"""Runs operations on problems, compares them with the reference, records what it saw and fails what misses its claim."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from adapters.adapter import Adapter, GivenUpError, Observed
from adapters.operation import EAGER, Operation, modes_of
from adapters.question import Question
from adapters.usage import Usage
from reference.evaluation import MAX_HESSIAN_CLASSES
from reference.expected import Expected
from reference.formats import Format
from reference.problem import Problem
from reference.quantity import Quantity
from suites.inputs.cases import Case
from suites.inputs.given import OF_CASES, Given
from suites.inputs.hazards import LARGE_CLASSES, MANY_CLASSES, NONFINITE
from suites.inputs.pairs import Made
from suites.inputs.problems import Ask
from suites.judging.claims import Claims
from suites.judging.effort import Effort
from suites.judging.expected import ExpectedCache
from suites.judging.failure import Finding, JudgeFailed, finding_of, kind_of_error, values_of
from suites.judging.heard import Heard, answer_to
from suites.judging.measurement import Measurement
from suites.judging.recorder import CaseOutcome, Recorder, unspecified_outcomes
from suites.judging.refusals import Refusals
from suites.judging.relation import Relation
from suites.judging.repro import Repro
from suites.judging.reproducer import Miss, Reproducible, miss_of_deviation, miss_of_label
from suites.judging.screening import enclosed, screened, worst_row
from suites.judging.search import Searches
from suites.judging.sharing import Sharing
from suites.judging.subject import Subject
from suites.judging.unanswerable import Unanswerable, outcome_of

FEW_ROWS = 2
"""Rows of generated problems where every shape is compiled: enough for rows that touch each other."""


OTHERS = 6
"""One in so many of the problems that are made for the main operations of a framework is asked of its others."""

OTHERS_DRAWN = 3
"""One in so many of the problems that are drawn, and are smaller, is asked of them."""

SLOWER = 10
"""One in so many of the rows in bulk is asked where calls are compiled or cast."""

OTHERS_IN_BULK = 50
"""One in so many of them is asked of a framework's other operations."""

Evaluate = Callable[[Problem, tuple[Quantity, ...], Format], dict[Quantity, Expected]]
"""What is expected of the quantities of a problem, to be rounded into a format."""

A_SELECTION = "a selection of tests"
"""Why a run is REDUCED that an option of pytest narrowed."""


NO_SCRIPT = "no script: {} has no words for {}"
"""What is told of a failure whose script would need words that the backend has not."""


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
    given: Given | None = None
    """The problem that is asked, instead of all that are generated."""
    folder: Path | None = None
    """Where the report will be."""
    subject: Subject | None = None
    """What of the user's own is on trial; None for a backend of this project."""
    notes: tuple[str, ...] = ()
    """What the start-up probe says."""
    proposed: str = ""
    """The decorator that it proposes; empty if there is none, or if it was accepted."""
    heard: tuple[Heard, ...] = ()
    """What a kernel answered before its tests began."""
    framework: Claims = field(default_factory=Claims)
    """What is known of the framework's own operations, of which a kernel may share what it misses; nothing if it may not."""

    @property
    def selects_tests(self) -> bool:
        """True if an option leaves out tests."""
        return A_SELECTION in self.reduced_by or any(reason.startswith("--case=") for reason in self.reduced_by)

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
    test: str = OF_CASES
    """The name of the test at hand."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Its parameters beside the operation and the dtype."""
    _kept: dict[tuple[str, str], dict[Quantity, Measurement]] = field(default_factory=dict)
    _expected: ExpectedCache = field(default_factory=ExpectedCache)

    def __post_init__(self) -> None:
        plan = self.plan
        self._searches = Searches(plan.seed, lambda: plan.adapter.spent, self.recorder.paused)
        self._refusals = Refusals(self._contradicted)
        self.sharing = Sharing(plan.adapter, plan.framework, self.measure, self.observe)
        self.repro = Repro(
            plan.command,
            f"--effort={plan.effort.name} --hypothesis-seed={plan.seed}",
            plan.folder,
        )

    def begin_test(self, name: str, parameters: Mapping[str, Any]) -> None:
        """From now on, what fails is the next test."""
        self.recorder.begin_test()
        self.sharing.begin_test()
        self.test, self.parameters = name, parameters

    def in_place_of(self, problem: Problem) -> Problem:
        """The problem that --case gives, if it gives one, in the place of a test's own."""
        return problem if self.plan.given is None else self.plan.given.problem

    def search(
        self, name: str, operation: Operation, ask: Ask, check: Callable[[Problem], None], examples: int | None = None
    ) -> None:
        """Look for a problem that fails the check, of an ask that is `narrowed`.

        Among as many as the effort has unless told otherwise, one in OTHERS_DRAWN of an operation that is not foremost.
        """
        if not self._is_given(check):
            part = 1 if self.is_foremost(operation) else OTHERS_DRAWN
            self._searches.run(name, ask, check, examples or self.plan.effort.examples, part)

    def search_claims(
        self, name: str, operation: Operation, ask: Ask, wanted: tuple[Quantity, ...], examples: int | None = None
    ) -> None:
        """Search for a problem at which the operation misses the grade that it is held to for a wanted quantity."""
        check = self._holding(operation, wanted)
        self.search(name, operation, self.narrowed(operation, ask), check, examples)

    def search_all(self, how: Callable[[Ask, int], Made], operation: Operation, ask: Ask, wanted: tuple[Quantity, ...]) -> None:
        """Ask the problems that are made of an ask and the seed, as `search_claims` asks those that are drawn.

        All of them of a user's own kernels and backends, and of a framework's main operations; one in OTHERS of its others.
        """
        check = self._holding(operation, wanted)
        if self._is_given(check):
            return
        ask = self.narrowed(operation, ask)
        made = self._searches.made(how, ask)
        pairs = self.recorder.pairs_of(operation.label, ask.format.name)
        pairs.owed |= made.owed

        def meets(problem: Problem) -> None:
            with pairs.meeting(made.picks.get(problem, {})):  # what a failure is narrowed to was not picked
                check(problem)

        self._searches.run_all(made.problems[:: 1 if self.is_foremost(operation) else OTHERS], ask, meets)

    def search_bulk(
        self, made: Callable[[Ask, int, int], Iterable[Problem]], operation: Operation, ask: Ask, wanted: tuple[Quantity, ...]
    ) -> None:
        """Ask rows by the hundred thousand, made of an ask and the seed, which are screened: see suites/judging/screening.py.

        As many as the effort has; a part of them of a framework's other operations, and where calls are slow.
        """
        check = self._holding(operation, wanted)
        if self._is_given(check):
            return
        narrowed, slow = self.narrowed(operation, ask), operation.few_shapes or operation.mode != EAGER
        part = OTHERS_IN_BULK if not self.is_foremost(operation) else SLOWER if slow else 1
        problems = made(narrowed, self.plan.seed, self.plan.effort.rows // part)
        self._searches.run_screened(problems, narrowed, self._holding(operation, wanted, screening=True), check)

    def _is_given(self, check: Callable[[Problem], None]) -> bool:
        """True if --case gives a problem: it is checked here, in the place of all that a search would ask."""
        if self.plan.given is None:
            return False
        check(self.plan.given.problem)
        return True

    def _holding(
        self, operation: Operation, wanted: tuple[Quantity, ...], screening: bool = False
    ) -> Callable[[Problem], None]:
        """A check of what is wanted of an operation; skips the test if it has none of that."""
        if not set(wanted) & set(operation.quantities):
            pytest.skip(f"{operation.name} has none of {', '.join(wanted)}")
        return lambda problem: self.check(Question(operation, problem, wanted), screening)

    def is_foremost(self, operation: Operation) -> bool:
        """True of a user's own, and of the main operations of a framework: what is asked of all would take minutes."""
        return self.plan.subject is not None or self.plan.adapter.role(operation) == "main"

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
            bias=operation.has_bias,
            options=ask.options & operation.options,
            few_shapes=operation.few_shapes,
            classes_multiple=operation.classes_multiple,
            max_classes=operation.max_classes,
            max_rows=min(ask.max_rows, FEW_ROWS) if operation.few_shapes else ask.max_rows,
        )

    def observe(self, question: Question) -> Observed:
        """What the operation does with a problem; the test fails if that is the end of the process that it runs in."""
        observed = self._ask(question)
        if observed.ended and observed.error is not None:
            values = f"expected {', '.join(question.quantities)}; observed the end of the process"
            what, kind = f"{question.operation.label}: {observed.error}", kind_of_error(observed.error)
            self.fail(Finding(what, values, question.operation, question.problem, kind=kind))
        return observed

    def _ask(self, question: Question) -> Observed:
        """What the operation does with a problem, unless it refuses it: `PassedOver`, or a failure if that is no limit."""
        self._ask_earlier(question)
        refusal = None
        try:
            observed = self._answer(question)
        except NotImplementedError as error:
            refusal = str(error)
        except GivenUpError as error:
            pytest.skip(str(error))
        if refusal is not None:
            self._refusals.refused(question, refusal)
        self._refusals.answered(question)
        return observed

    def _answer(self, question: Question) -> Observed:
        """What the operation does with a problem; what it did before the tests began, where that is what was asked."""
        if (heard := answer_to(question, self.plan.heard)) is None:
            return self.plan.adapter.observe(question)
        if heard.refused is not None:
            raise NotImplementedError(heard.refused)
        return heard.observed

    def _ask_earlier(self, question: Question) -> None:
        """Ask what --case gives to be asked first."""
        earlier = None if self.plan.given is None else self.plan.given.after
        if earlier is not None and question.problem is not earlier:
            with contextlib.suppress(pytest.skip.Exception):
                self._ask(replace(question, problem=earlier))

    def _contradicted(self, question: Question, what: str, first: Problem) -> NoReturn:
        """Fail a test in which one of two calls of a kind was refused."""
        operation, problem = question.operation, question.problem
        values = f"expected two answers or two refusals of {', '.join(question.quantities)}; observed one of each"
        at = Given(problem, self.test, self.parameters, after=first)
        self.fail(Finding(f"{operation.label} {what}", values, operation, problem), at)

    def measure(self, question: Question, evaluate: Evaluate | None = None) -> list[Measurement]:
        """How each quantity compares with the reference, or with what `evaluate` expects in its place.

        An exception costs only the quantities that raise it when they are asked alone; all of them, if none does.
        """
        operation, problem, quantities = question.operation, question.problem, question.quantities
        observed = self._ask(question)
        if observed.error is not None and len(quantities) > 1:
            alone = [m for q in quantities for m in self.measure(question.about(q), evaluate)]
            if any(measurement.error is not None for measurement in alone):
                return alone
        error, owed = observed.error or "; ".join(observed.violations) or None, operation.as_owed(problem)
        measurements = []
        for fmt, group in groupby(quantities, lambda q: operation.returned(q, problem.format)):
            returned = None if fmt == problem.format else fmt
            for quantity, expected in (evaluate or self._expected.evaluate)(owed, tuple(group), fmt).items():
                arithmetic = operation.arithmetic_of(quantity, problem.format)
                wrong = error or _misshapen(observed, quantity, expected.values.shape)
                values = np.full(expected.values.shape, np.nan) if wrong else observed.values[quantity]
                kept = {} if evaluate else self._expected.bounds(owed, quantity, fmt, arithmetic)
                asked = problem, quantity, arithmetic, expected
                measurements.append(Measurement(*asked, values, wrong, returned, observed.ended, kept))
        return measurements

    def check(self, question: Question, screening: bool = False) -> None:
        """Measure what can be asked of it and record all of it; then fail if a quantity misses the grade that it is held to.

        Where rows are many they are screened, and the failure is at one of them.
        """
        operation, problem = question.operation, question.problem
        missed = []
        asked = question.about(*askable(operation, problem, question.quantities))
        for measurement in self.measure(asked, enclosed if screening else None):
            claimed = self.plan.claims.claimed(operation, problem.format.name, measurement.quantity)
            needed = self.plan.claims.required(operation, measurement.quantity, problem)
            if screening:
                measurement = screened(measurement, needed)
            miss = None
            if measurement.grade < needed:
                manner = question.layout, question.usage, question.label_dtype
                miss = Miss("", operation, measurement, needed, ("Input: generated.",), *manner)
            is_shared = miss is not None and self.sharing.takes(miss)
            self.recorder.add(operation.label, problem.format.name, measurement, needed == claimed and not is_shared, claimed)
            if miss is not None and not is_shared:
                missed.append(replace(miss, measurement=worst_row(measurement, needed)) if screening else miss)
        if missed:
            self._fail(missed[0])

    def fail(
        self, finding: Finding, at: Given | Case | None = None, whole: bool = False, shown: Reproducible | None = None
    ) -> NoReturn:
        """Fail the test.

        `at` is what the command asks again, the problem of the finding in this test unless told otherwise; or the `whole` test.
        `shown` is what a script shows of it.
        """
        operation, problem = finding.operation, finding.problem
        if whole:
            repro = self.repro.whole(operation, problem.format.name, self.test)
        else:
            repro = self.repro.at(operation, at or Given(problem, self.test, self.parameters))
        where = f"{self.plan.adapter.name} on {self.plan.adapter.device}, {operation.mode}"
        raise JudgeFailed(finding, finding.lines(where, repro), shown)

    def fail_relation(self, relation: Relation) -> NoReturn:
        """Fail the test of an invariant."""
        operation, adapter = relation.operation, self.plan.adapter
        unsaid = self.plan.folder is not None and relation.script(adapter) is None
        note = NO_SCRIPT.format(adapter.name, operation.name) if unsaid else ""
        finding = Finding(relation.what, relation.values, operation, relation.asked[0][0], note=note, kind=relation.said)
        self.fail(finding, shown=relation)

    def _fail(self, miss: Miss, at: Case | None = None) -> NoReturn:
        """Fail the test for a miss."""
        problem, question = miss.measurement.problem, miss.question
        given = Given(problem) if question.is_plain else Given(problem, self.test, self.parameters)
        finding = replace(finding_of(miss.measurement, miss.operation, miss.missed), given=question.told)
        unsaid = miss.usage is not Usage.PLAIN and self.plan.folder is not None and miss.script(self.plan.adapter) is None
        told = f"{miss.operation.name} in usage {str(miss.usage)!r}"
        finding = finding.in_usage(miss.usage, NO_SCRIPT.format(self.plan.adapter.name, told) if unsaid else "")
        self.fail(finding, at or given, shown=miss)

    def check_unanswerable(self, operation: Operation, question: Unanswerable) -> None:
        """Record what an operation does with a question that has no answer; fail unless it is right, or what the claims say."""
        problem, quantity = question.problem, operation.quantities[0]
        dtype = problem.format.name
        observed = self.observe(Question(operation, problem, (quantity,)))
        outcome = self.recorder.out_of_range[operation.label, dtype, question.label] = outcome_of(observed)
        known = self.plan.claims.out_of_range_at(operation, dtype, question.label)
        told = f"{operation.label} {outcome} for {question.said}"
        if question.is_right(operation, self.plan.adapter.device, observed):
            if known is not None and not known.strict:
                self.recorder.not_seen.append((known.id, f"{question.label!r} in {dtype}, {operation.label}"))
            elif known is not None:
                values = f"expected what entry {known.id!r} says; observed what is right: it {outcome}"
                self.fail(Finding(f"stale entry {known.id!r}: {told}; take it out of the entry", values, operation, problem))
            return
        name, story = (known.id, f"Cause: {known.reason}.") if known else ("", f"Question for {question.said}.")
        miss = miss_of_label(name, story, operation, problem, observed)
        if known is not None:
            self.deviations_seen.setdefault(known.id, miss)
            pytest.xfail(f"out of range, {known.id}: {known.reason}")
        if observed.error is None and self.sharing.takes_label(miss, question.label):
            return
        values = f"expected {'an answer' if observed.error else 'an exception'}; observed that it {outcome}"
        kind = f"an answer to a question without one: {question.rule(observed)}"
        self.fail(Finding(f"{told}; {question.rule(observed)}", values, operation, problem, kind=kind), shown=miss)

    def case_measurements(self, case: Case, operation: Operation) -> dict[Quantity, Measurement]:
        """All quantities of an operation at a stored case; kept until the next case or operation is asked for."""
        key = (case.id, operation.label)
        if key not in self._kept:
            self._kept.clear()
            self._kept[key] = {m.quantity: m for m in self.measure(question_of_case(case, operation))}
        return self._kept[key]

    def check_case(self, case: Case, operation: Operation, quantity: Quantity) -> None:
        """Hold a quantity to its claim at a case, or to its deviations there: strictly, both ways."""
        measurement = self.case_measurements(case, operation)[quantity]
        claimed = self.plan.claims.claimed(operation, case.problem.format.name, quantity)
        deviations = self.plan.claims.deviations_at(operation, quantity, case)
        reached = measurement.grade
        shown = [d for d in deviations if reached < d.misses]
        # Where a deviation was seen on this processor, one that was not excuses nothing more.
        here = [d for d in shown if d.strict] or shown
        needed = min((d.reaches for d in here if d.misses <= claimed), default=claimed)
        miss = Miss("", operation, measurement, needed, (f"Case {case.name}: {case.story}.",))
        is_shared = reached < needed and self.sharing.takes(miss, case)
        self.recorder.add_case(
            CaseOutcome(
                case.name,
                operation.label,
                case.problem.format.name,
                quantity,
                claimed,
                reached,
                tuple(d.id for d in shown),
                unspecified_outcomes(measurement),
            ),
            measurement,
            counts=needed == claimed and not is_shared,
        )
        absent = [d for d in deviations if d not in shown]
        if stale := [d for d in absent if d.strict]:
            told = (
                f"stale deviation {stale[0].id!r}: {operation.label} reaches {reached.label!r} for {quantity} at {case.id}, "
                f"the entry says that it misses {stale[0].misses.label!r}; take the case out of the entry"
            )
            self.fail(Finding(told, values_of(measurement), operation, case.problem, measurement.arithmetic), case)
        for deviation in absent:
            self.recorder.not_seen.append((deviation.id, f"{case.id}, {operation.label}, {quantity}"))
        if reached < needed and not is_shared:
            self._fail(miss, case if deviations else None)
        for deviation in shown:
            self.deviations_seen.setdefault(deviation.id, miss_of_deviation(deviation, case, operation, measurement))
        if shown:
            new = "never seen on this processor before, "
            pytest.xfail("; ".join(f"{'' if d.strict else new}deviation {d.id}: {d.reason}" for d in shown))


def askable(operation: Operation, problem: Problem, wanted: tuple[Quantity, ...] = tuple(Quantity)) -> tuple[Quantity, ...]:
    """The wanted quantities that the operation has, without Hessians that are too large to form."""
    large = problem.num_classes > MAX_HESSIAN_CLASSES
    return tuple(q for q in operation.asked(problem, wanted) if not (large and q is Quantity.HESSIAN))


def question_of_case(case: Case, operation: Operation) -> Question:
    """All that a stored case asks of an operation, in one call."""
    return Question(operation, case.problem, askable(operation, case.problem))


def _misshapen(observed: Observed, quantity: Quantity, shape: tuple[int, ...]) -> str | None:
    """What is wrong with the shape of a returned quantity; None if nothing is."""
    if quantity not in observed.values:
        return f"returned no {quantity}"
    given = observed.values[quantity].shape
    return None if given == shape else f"returned {quantity} of shape {given}, asked for {shape}"
