"""Runs every call of an operation in another process: one that crashes, hangs, exits or eats memory costs its own test.

`Isolated` is an adapter whose backend lives in a worker (`adapters.worker`); the framework is not even imported here. A call
that ends the worker, or that has to be ended, is an answer like any other, which says what happened; the next call gets a
new worker.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

from adapters.adapter import Adapter, Call, GivenUpError, Observed
from adapters.layout import Layout
from adapters.operation import Operation
from adapters.output import Tail
from adapters.process import Allowance, Ending, Trial, Worker
from adapters.question import Question
from adapters.script import Script
from adapters.usage import PLAIN_ONLY, Usage
from adapters.worker import sendable
from reference.problem import Problem
from reference.quantity import OF_SOME_PROBLEMS, PRODUCT_OF, SECOND_ORDER, Quantity

MOST_SPENT = 500
"""Endings of an operation, a hang counted as `HANG`, after which it is not called any more: its other tests are skipped."""

HANG = 50
"""What a call that hangs is counted as: it costs its seconds, a crash but a new process."""

_NEEDS = (
    {quantity: {Quantity.LOSS} for quantity in (Quantity.GRADIENT, *OF_SOME_PROBLEMS)}
    | {quantity: {Quantity.LOSS, Quantity.GRADIENT} for quantity in SECOND_ORDER}
    | {product: {block} for block, product in PRODUCT_OF.items()}
)
"""What is computed on the way to a quantity: where the loss ends the process, its derivatives do."""


@dataclass(frozen=True)
class _Remembered:
    """Quantities that were asked together of an operation in a manner, and how that ended."""

    label: str
    manner: tuple[str, ...]
    quantities: frozenset[Quantity]
    observed: Observed

    def answers(self, question: Question) -> bool:
        """True if it would end the same way, since these quantities are computed on the way to those."""
        same = (self.label, self.manner) == (question.operation.label, question.manner)
        asked = question.quantities
        return same and self.quantities <= set(asked).union(*(_NEEDS.get(q, ()) for q in asked))


@dataclass
class _Endings:
    """What is known of the calls that ended their process, so that none is made twice for nothing."""

    spent: Counter[str] = field(default_factory=Counter)
    """By label of the operation."""
    at: WeakKeyDictionary[Problem, list[_Remembered]] = field(default_factory=WeakKeyDictionary)

    def add(self, question: Question, observed: Observed, cost: int) -> None:
        label = question.operation.label
        self.spent[label] += cost
        remembered = _Remembered(label, question.manner, frozenset(question.quantities), observed)
        self.at.setdefault(question.problem, []).append(remembered)

    def find(self, question: Question) -> Observed | None:
        known: Iterable[_Remembered] = self.at.get(question.problem, ())
        return next((remembered.observed for remembered in known if remembered.answers(question)), None)


def _sendable(question: Question) -> Question:
    return replace(question, operation=sendable(question.operation))


def observed_apart(trial: Trial, operation: Operation, problem: Problem) -> Observed:
    """The loss in a process for this call alone, which it may end; the row lies among NaN, where a read beyond it shows.

    Raises:
      AdapterError: processes cannot be had.
    """
    worker = Worker(trial, Allowance(), Tail())
    answer = worker.ask("observe_here", _sendable(Question(operation, problem, (Quantity.LOSS,), Layout.OFFSET)))
    worker.close()
    if isinstance(answer, Ending):
        return _observed_end(answer)
    found: Observed = answer
    return found


def _observed_end(ending: Ending) -> Observed:
    return Observed({}, error=f"the process of the call {ending.text}", ended=True)


class Isolated(Adapter):
    """The backend on trial, in a worker; a process that ends is replaced.

    Beside a kernel of the user's the framework's own operations are asked in a worker of theirs, which no kernel has touched.
    It is started when they are first asked for.
    """

    def __init__(self, trial: Trial, allowance: Allowance) -> None:
        """Raises AdapterError if the backend is not there, or processes cannot be had."""
        self._trial, self.allowance = trial, allowance
        self._endings = _Endings()
        self._written = Tail()
        self._worker: Worker | None = Worker(trial, allowance, self._written)
        self._beside: Isolated | None = None
        self._description = self._worker.description
        self.name, self.device = self._description.name, self._description.device
        self.main, self.controls = self._description.main, self._description.controls
        self.foreign.hear(self._description.states)

    @property
    def spent(self) -> int:
        """What all endings together are counted as."""
        return self._endings.spent.total()

    def take_written(self) -> str:
        """What calls in the worker have written since this was last asked, or the last of it."""
        return self._written.take()

    def devices(self) -> tuple[str, ...]:
        """Devices on which the backend runs here, the default first, as the worker said when it was loaded."""
        return self._description.devices

    def versions(self) -> dict[str, str]:
        """Versions of what is on trial, by package, as the worker said when it was loaded."""
        return dict(self._description.versions)

    def operations(self) -> tuple[Operation, ...]:
        """The operations on trial: the user's own, if an implementation is."""
        return self._description.operations

    def own_operations(self) -> tuple[Operation, ...]:
        """Those of the framework, in another worker if an implementation is on trial in this one."""
        if self._trial.implementation is None:
            return self.operations()
        if self._beside is None:
            self._beside = Isolated(replace(self._trial, implementation=None), self.allowance)
        return self._beside.operations()

    def usages(self, operation: Operation) -> tuple[Usage, ...]:
        """The usages of an operation, as its worker said when it was loaded."""
        if (beside := self._beside_for(operation)) is not None:
            return beside.usages(operation)
        return self._description.usages.get(operation.label, PLAIN_ONLY)

    def _beside_for(self, operation: Operation) -> Isolated | None:
        """Where the framework's own operations are asked beside an implementation; None of what is on trial here."""
        return self._beside if operation.implementation is None else None

    def call(self, *_: Any) -> Call:
        """Not here: `observe` has the worker call."""
        raise AssertionError("calls are made in the worker")

    def script(self, asked: Question) -> Script | None:
        """See `Adapter.script`; None if the worker ended over it."""
        answer = self._ask("script", _sendable(asked))
        return None if isinstance(answer, Ending) else answer

    def observe(self, question: Question) -> Observed:
        """Run the operation in the worker; if that is the end of it, `Observed.ended` says so and `error` how.

        Raises:
          GivenUpError: too many calls of this operation have ended their process.
        """
        if (beside := self._beside_for(question.operation)) is not None:
            return beside.observe(question)
        if (known := self._endings.find(question)) is not None:
            return known
        label = question.operation.label
        if self._endings.spent[label] >= MOST_SPENT:
            raise GivenUpError(f"{label} is not called any more: too many of its calls ended their process")
        answer = self._ask("observe", _sendable(question))
        if isinstance(answer, str):
            raise NotImplementedError(answer)
        if isinstance(answer, Ending):
            observed = _observed_end(answer)
            self._endings.add(question, observed, HANG if answer.hung else 1)
            return observed
        found: Observed = answer
        self.foreign.hear(found.states)
        return found

    def _ask(self, method: str, question: Question) -> Any:
        if self._worker is not None and self._worker.has_unread():
            label = question.operation.label
            warnings.warn(
                f"before {label} was called, its process had written into the connection; it was killed", stacklevel=2
            )
            self.close()
        if self._worker is None:
            self._worker = Worker(self._trial, self.allowance, self._written)
        try:
            answer = self._worker.ask(method, question)
        except BaseException:  # such as that of a timer: the next call must not wait for the answer to this one
            self.close()
            raise
        if isinstance(answer, Ending):
            self._worker = None
        return answer

    def close(self) -> None:
        """End the worker; the next call would start another."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        if self._beside is not None:
            self._beside.close()
