"""The protocol of a backend, and the proof that its answers are in the dtype and on the device that was asked for."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from adapters.blame import file_of, own_files, place_of
from adapters.bulk import Bulk
from adapters.foreign_state import ForeignState
from adapters.layout import LABEL_DTYPE, Layout
from adapters.limits import DERIVATIVE_ORDERS, INPUTS, WIDE
from adapters.operation import Operation
from adapters.question import Question
from adapters.returned import AnswerError, LackError, described
from adapters.script import Script
from adapters.usage import PLAIN_ONLY, Usage
from reference.formats import FORMATS, Floats, Format
from reference.quantity import Quantity

CPU_CAPABILITY = "cpu capability"
"""The key of `Adapter.versions` for the processor: the widest vector extension that the framework uses, in its own words."""


ROLES = ("main", "other", "control")
"""What an operation is in a report, in their order there: a main one, one of the others, or a negative control."""


class AdapterError(Exception):
    """A backend, device or implementation that was asked for is not there; one line that says what is."""


class GivenUpError(Exception):
    """An operation is not called any more, because too many of its calls ended their process."""


@dataclass(frozen=True)
class Result:
    """One returned array: its values in the float64 carrier, and the dtype and device that it was returned with."""

    values: Floats
    dtype: str
    device: str


ADVICE = "; a kernel that has no "
"""What follows an exception where a derivative, a layout or a dtype was asked: how a kernel declares that it has none."""


@dataclass(frozen=True)
class Observed:
    """What an operation did with a problem.

    `values` holds what it returned; `violations` says what it did against the protocol (wrong dtype, device or shape, a
    changed input); `error` is the exception it raised, if it raised one, or how it ended the process that it ran in, and
    `ended` then is True. Where a backend spares its process what is known to end one, it is `ended` with values in its place.
    """

    values: Mapping[Quantity, Floats]
    violations: tuple[str, ...] = ()
    error: str | None = None
    ended: bool = False
    seconds: float | None = None
    """Processor time of the framework's own calls, where the adapter measures it (`observe_bulk`)."""
    dtypes: Mapping[Quantity, str] = field(default_factory=dict)
    """In which each quantity was returned."""
    changed: tuple[str, ...] = ()
    """Names of inputs that were changed, by design too."""
    malformed: bool = False
    """True if the error is what was returned: something of another kind or shape, which no limit declares."""
    states: tuple[str, ...] = ()
    """What is told of the floating-point state that it has set; see `adapters.foreign_state`."""


class Adapter(ABC):
    """A backend on a device.

    A subclass names itself, lists its operations, and answers `call`. It is the class that `ADAPTER` names in
    adapters/NAME/backend.py or adapters/kernels/NAME.py, or it lives in any file or module of the user's.
    """

    name: str
    main: tuple[str, ...] = ()
    """Names of the operations that most people mean by cross-entropy: first in reports, and what a kernel is told beside."""
    controls: tuple[str, ...] = ()
    """Names of negative controls: operations that are wrong and here to be caught, last in reports."""

    def __init__(self, device: str = "cpu") -> None:
        """Raises AdapterError if the device is not there, or `devices` is no tuple of names."""
        devices, name = self.devices(), getattr(self, "name", type(self).__name__)
        if not (isinstance(devices, tuple | list) and devices and all(isinstance(each, str) for each in devices)):
            raise AdapterError(f"backend {name!r}: devices() is {devices!r}; allowed: a tuple of names, such as ('cpu',)")
        if device not in devices:
            raise AdapterError(f"device {device!r} is not there for backend {name!r}; there is: {', '.join(devices)}")
        self.device = device

    @abstractmethod
    def devices(self) -> tuple[str, ...]:
        """Devices on which this backend runs here, the default first."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of the packages whose numerics are on trial, the framework first."""

    @abstractmethod
    def operations(self) -> tuple[Operation, ...]:
        """The operations in all their modes, in the order in which reports list them."""

    def own_operations(self) -> tuple[Operation, ...]:
        """Those of the framework itself, beside which a kernel of the user's is judged."""
        return self.operations()

    @abstractmethod
    def call(self, question: Question) -> Call:
        """Run the operation; exceptions of the framework pass through.

        Arguments:
          question: one of this backend's operations, and rows that it does not refuse.

        Returns:
          A result for each quantity, as the framework returned it, and the names of the inputs that the run changed.
        """

    def implementation(self, function: Callable[..., Any]) -> tuple[Operation, ...]:
        """The operations by which a user's own callable is judged.

        Arguments:
          function: the callable; each backend says which signature it has.

        Returns:
          One operation, or one for each kind of target that the callable takes.

        Raises:
          AdapterError: this backend takes no implementations.
        """
        raise AdapterError(f"backend {self.name!r} takes no --implementation (given {function!r})")

    def usages(self, operation: Operation) -> tuple[Usage, ...]:  # noqa: ARG002
        """The usages in which an operation can be asked for its loss, and for its gradient where a usage has one."""
        return PLAIN_ONLY

    def role(self, operation: Operation) -> str:
        """What an operation is in a report, one of `ROLES`."""
        return "main" if operation.name in self.main else "control" if operation.name in self.controls else "other"

    @cached_property
    def foreign(self) -> ForeignState:
        """The floating-point state of the backend's own code."""
        return ForeignState()

    @property
    def processor(self) -> str:
        """The processor as the framework reports it; empty if it does not."""
        return self.versions().get(CPU_CAPABILITY, "")

    @property
    def spent(self) -> int:
        """What calls that ended their process have cost so far; see `adapters.isolation`."""
        return 0

    def take_written(self) -> str:
        """What its other processes have written since this was last asked; what this process writes, pytest captures."""
        return ""

    def close(self) -> None:  # noqa: B027
        """End what it has started; nothing, unless it runs other processes."""

    def script(self, asked: Question) -> Script | None:  # noqa: ARG002
        """The operation at a problem in the framework's own words, as a reproducer runs it; None if there are none."""
        return None

    def observe(self, question: Question) -> Observed:
        """Run the operation and check what the protocol asks of it; the arguments are those of `call`.

        NotImplementedError is how an operation says that it does not offer something, and passes through.

        Returns:
          The values of each quantity in the float64 carrier, or the exception in a line; and what broke the protocol.

        Raises:
          GivenUpError: the operation is not called any more; in isolation only.
        """
        before = len(self.foreign.told)
        observed = self._observed(question)
        return replace(observed, states=tuple(self.foreign.told[before:])) if self.foreign.told[before:] else observed

    def _observed(self, question: Question) -> Observed:
        try:
            with self.foreign.running(f"a call of {question.operation.label}"):
                call = self.call(question)
            _check_call(call, question)
        except BaseException as error:  # an operation on trial may raise anything; that is a finding, not a crash
            refuses = isinstance(error, NotImplementedError) and question.operation.may_refuse
            if refuses or isinstance(error, KeyboardInterrupt) or _ends_the_test(error):
                raise
            malformed = isinstance(error, AnswerError) and not isinstance(error, LackError)
            said, ended = self._told(error, question), isinstance(error, SystemExit)
            return Observed({}, error=said, ended=ended, malformed=malformed)
        return self._proved(call, question.operation, question.problem.format)

    def _told(self, error: BaseException, question: Question) -> str:
        """What an operation raised, with the line of the user's own file; or how a kernel says that it has no derivative."""
        said = f"called sys.exit({error.code!r})" if isinstance(error, SystemExit) else told(error)
        given = question.operation.implementation
        if place := place_of(error, file_of(given) if given else own_files(type(self))):
            return said + place + _advice_of_manner(question)
        orders = [DERIVATIVE_ORDERS.get(quantity, 0) for quantity in question.quantities]
        if given is None or isinstance(error, AnswerError) or not min(orders, default=0):
            return said + _advice_of_manner(question)
        lacking = "gradient" if min(orders) == 1 else "second derivative"
        return f'{said}{ADVICE}{lacking} declares @limits("why", derivatives={min(orders) - 1})'

    def observe_bulk(self, operation: Operation, bulk: Bulk, quantities: tuple[Quantity, ...]) -> Observed:
        """`observe` of many rows; a backend for which a Problem is too slow a carrier answers itself, with the same bits.

        Values may come in any memory layout, and in float32 where that holds the format.
        """
        return self.observe(Question(operation, bulk.problem(), quantities))

    def be_single_threaded(self) -> None:  # noqa: B027
        """Keep the framework to one thread in this process: a sweep runs a process a core."""

    def _proved(self, call: Call, operation: Operation, fmt: Format) -> Observed:
        """What a call returned, and where it broke the protocol."""
        violations = [f"changed its input {name}" for name in call.changed_inputs if name not in operation.overwrites]
        for quantity, result in call.results.items():
            declared = operation.returned(quantity, fmt)
            if result.dtype != declared.name:
                advice = _advice(quantity, result.dtype, declared)
                violations.append(f"returned {quantity} as {result.dtype}, asked for {declared.name}{advice}")
            if result.device != self.device:
                violations.append(f"returned {quantity} on {result.device}, asked for {self.device}")
        values, dtypes = ({q: getattr(r, name) for q, r in call.results.items()} for name in ("values", "dtype"))
        return Observed(values, tuple(violations), None, False, call.seconds, dtypes, call.changed_inputs)


def _advice_of_manner(question: Question) -> str:
    """How a kernel declares that it does not take what it is given; nothing of one given plainly, or a backend's operation."""
    if not question.told or question.operation.implementation is None:
        return ""
    in_layout = question.layout is not Layout.CONTIGUOUS
    limit = f'layouts=["{Layout.CONTIGUOUS}"]' if in_layout else f'label_dtypes=["{LABEL_DTYPE}"]'
    return f'{ADVICE}{question.told} declares @limits("why", {limit})'


def _advice(quantity: Quantity, given: str, asked: Format) -> str:
    """What to declare of a result that is wider than was asked for; nothing of any other: what is lost is a defect."""
    wider = given in WIDE and FORMATS[given].bits > asked.bits
    return f'; if that is meant so, declare returns={{"{quantity}": "{given}"}}' if wider else ""


def check_callable(given: object, allowed: str) -> None:
    """Refuse what --implementation names if it is no kernel.

    Raises:
      AdapterError: it cannot be called, or is a class, which makes objects and returns no losses.
    """
    if not callable(given) or isinstance(given, type):
        what = f"{given.__name__} is a class" if isinstance(given, type) else f"{given!r} is not callable"
        raise AdapterError(f"--implementation: {what}; allowed: a function, or another callable: {allowed}")


def told(error: BaseException) -> str:
    """An exception in a line, without the traceback that TensorFlow writes into its messages: reports name no paths."""
    message, _, _ = " ".join(str(error).split()).partition(" (most recent call last)")
    if isinstance(error, AnswerError):
        return message
    return f"{type(error).__name__}: {message[:300]}" if message else type(error).__name__


def _ends_the_test(error: BaseException) -> bool:
    """True of what a plugin raises to fail the test that runs, such as the timer of pytest-timeout.

    A kernel's pytest.xfail() raises a subclass of it, by which its tests would not fail.
    """
    outcomes = sys.modules.get("_pytest.outcomes")
    return outcomes is not None and type(error) is outcomes.Failed


@dataclass(frozen=True)
class Call:
    """What `Adapter.call` hands back: the results, and the names of inputs whose bits differ after the run."""

    results: Mapping[Quantity, Result]
    changed_inputs: tuple[str, ...] = ()
    seconds: float | None = None


def _check_call(call: object, question: Question) -> None:
    """Refuse what is no `Call` with a `Result` for each quantity that was asked for.

    Raises:
      AnswerError: it is not; names what is.
    """
    if not isinstance(call, Call) or not isinstance(call.results, Mapping):
        given = described(call.results if isinstance(call, Call) else call)
        raise AnswerError(f"call() returned {given}; allowed: Call({{quantity: Result(values, dtype, device)}})")
    if not (isinstance(call.changed_inputs, tuple) and set(call.changed_inputs) <= set(INPUTS)):
        allowed = f"a tuple of {', '.join(map(repr, INPUTS))}"
        raise AnswerError(f"call() returned changed_inputs = {call.changed_inputs!r}; allowed: {allowed}")
    if missing := [quantity for quantity in question.quantities if quantity not in call.results]:
        raise AnswerError(f"returned no {', '.join(missing)}")
    for quantity, result in call.results.items():
        _check_result(result, quantity)


def _check_result(result: object, quantity: Quantity) -> None:
    if not isinstance(result, Result):
        raise AnswerError(f"call() returned {quantity} as {described(result)}; allowed: Result(values, dtype, device)")
    values = result.values
    if not isinstance(values, np.ndarray | np.generic) or values.dtype.kind != "f":
        kind = f" of {values.dtype}" if isinstance(values, np.ndarray) else ""
        raise AnswerError(
            f"call() returned {quantity} with values that are {described(values)}{kind}; allowed: a numpy.ndarray of "
            "float64, and in `dtype` what the framework returned"
        )
