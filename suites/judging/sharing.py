"""Failures of a kernel that the framework's own operation shares: a known deviation of it, and the kernel is no worse there.

A kernel that calls PyTorch's cross_entropy has PyTorch's deviations. They are told, in a count of their own, and do not fail a
test unless --fail-shared asks for that. Whatever else the kernel misses fails: another quantity, another problem, an entry at
which the framework is better. The framework is asked at the problem that failed, and at no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from _pytest.outcomes import XFailed  # `pytest.xfail.Exception`, which is no type

from adapters.adapter import Adapter, Observed
from adapters.operation import Operation
from adapters.question import Question
from suites.inputs.cases import Case
from suites.judging.claims import Claims, Deviation, Label, OutOfRange
from suites.judging.measurement import Measurement
from suites.judging.reproducer import Miss

Ask = Callable[[Question], list[Measurement]]


@dataclass(frozen=True)
class Shared:
    """What a kernel misses as an operation of the framework does: the entry of the framework's claims file that says so."""

    framework: str
    operation: str
    entry: Deviation | OutOfRange
    reduced: str = ""
    """What the adapter has done with the losses of the kernel; empty if that is nothing."""

    @property
    def said(self) -> str:
        """In words."""
        by_adapter = f"; {self.reduced}" if self.reduced else ""
        return f"{self.framework}'s own {self.operation} misses this too, {self.entry.id}: {self.entry.reason}{by_adapter}"


class SharedFailure(XFailed):
    """How a test ends in which all that failed is shared."""

    def __init__(self, found: tuple[Shared, ...]) -> None:
        super().__init__("; ".join(shared.said for shared in found), pytrace=False)
        self.found = found


@dataclass(repr=False)
class Sharing:
    """Tells what a kernel shares with the framework.

    Arguments:
      adapter: the backend.
      claims: what is known of its own operations; nothing is shared with those of which nothing is known.
      measure: asks an operation for quantities.
      observe: asks it what it does.
    """

    adapter: Adapter
    claims: Claims
    measure: Ask
    observe: Callable[[Question], Observed]
    found: dict[str, Shared] = field(default_factory=dict)
    """Of the test at hand, by the id of the entry."""

    def begin_test(self) -> None:
        """From now on, what is shared is of the next test."""
        self.found.clear()

    def end_test(self) -> None:
        """End a test in which nothing else failed.

        Raises:
          SharedFailure: something was shared.
        """
        if self.found:
            raise SharedFailure(tuple(self.found.values()))

    def takes(self, miss: Miss, case: Case | None = None) -> bool:
        """True if a miss is shared; it is then told at the end of the test."""
        operation, known = self._known(miss, case)
        if operation is None or not known:
            return False
        there = answer_of(self.measure, replace(miss.question, operation=operation))
        shown = () if there is None else tuple(entry for entry in known if there.grade < entry.misses)
        if there is None or not is_no_worse(miss, there, shown):
            return False
        for entry in shown:
            self._note(operation, entry, miss.operation.reduced_by_adapter(miss.measurement.problem))
        return True

    def takes_label(self, miss: Miss, label: Label) -> bool:
        """True if the framework's own operation is known to take a label out of range, and returns what the kernel returns."""
        operation = own_operation(self.adapter, miss) if miss.operation.implementation is not None else None
        if operation is None:
            return False
        problem, quantity = miss.measurement.problem, miss.measurement.quantity
        entry = self.claims.out_of_range_at(operation, problem.format.name, label)
        if entry is None:
            return False
        with suppress(pytest.skip.Exception, pytest.fail.Exception):
            there = self.observe(Question(operation, problem, (quantity,))).values.get(quantity)
            if there is not None and np.array_equal(there, miss.measurement.observed, equal_nan=True):
                self._note(operation, entry, "")
                return True
        return False

    def _known(self, miss: Miss, case: Case | None) -> tuple[Operation | None, tuple[Deviation, ...]]:
        """The framework's own operation, and what is known of it at the problem of a kernel's miss."""
        if not self.claims.deviations or miss.operation.implementation is None:
            return None, ()
        if (operation := own_operation(self.adapter, miss)) is None:
            return None, ()
        return operation, self.claims.known_at(operation, miss.measurement.quantity, miss.measurement.problem, case)

    def _note(self, operation: Operation, entry: Deviation | OutOfRange, reduced: str) -> None:
        self.found.setdefault(entry.id, Shared(self.adapter.name, operation.name, entry, reduced))


def is_no_worse(miss: Miss, there: Measurement, known: Iterable[Deviation]) -> bool:
    """True if the framework misses what the kernel misses, wherever it does, as is known of it, and is no nearer.

    Both are judged in the arithmetic of the kernel. What is no number must be the same on both sides: a NaN where the
    framework has a number is worse, and so is a wrong number where it has NaN.
    """
    kernel = miss.measurement
    if kernel.error is not None or there.error is not None or kernel.judged.format != there.judged.format:
        return False
    alike = replace(there, arithmetic=kernel.arithmetic, kept={})
    failing = kernel.grades < miss.missed
    explained = there.grades < max((entry.misses for entry in known), default=0)
    same = (kernel.observed == alike.observed) | (np.isnan(kernel.observed) & np.isnan(alike.observed))
    nearer = np.isfinite(kernel.observed) & np.isfinite(alike.observed) & (kernel.least_error <= alike.least_error)
    no_worse = explained & (alike.grades <= kernel.grades) & (same | nearer)
    return bool(no_worse[failing].all())


def own_operation(adapter: Adapter, miss: Miss) -> Operation | None:
    """The first main operation of the backend, in the mode of the kernel, that can be asked what was missed.

    For a kernel that computes a linear layer too, the first that does, in another mode if there is none in its own.
    """
    quantity, problem, mode = miss.measurement.quantity, miss.measurement.problem, miss.operation.mode
    every = [op for op in adapter.own_operations() if op.implementation is None]
    own = {op.name: op for op in every if op.mode == mode}
    listed = [own[name] for name in adapter.main if name in own]
    if miss.operation.is_layer:
        listed = sorted((op for op in every if op.is_layer), key=lambda op: op.mode != mode)
    main = [op for op in listed if miss.layout in op.layouts and miss.label_dtype in op.label_dtypes]
    able = (op for op in main if op.refusal(problem) is None and miss.question.usage in adapter.usages(op))
    return next((op for op in able if quantity in op.asked(problem)), None)


def answer_of(measure: Ask, question: Question) -> Measurement | None:
    """What is measured of one quantity; None if that is refused, or ends the process."""
    with suppress(pytest.skip.Exception, pytest.fail.Exception):
        (found,) = measure(question)
        return found
    return None
