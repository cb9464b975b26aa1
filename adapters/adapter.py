"""The protocol of a backend, and the proof that its answers are in the dtype and on the device that was asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from adapters.bulk import Bulk
from adapters.operation import Operation
from adapters.question import Question
from adapters.script import Script
from reference.formats import Floats, Format
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
        """Raises AdapterError if the device is not there."""
        if device not in self.devices():
            raise AdapterError(
                f"device {device!r} is not there for backend {self.name!r}; there is: {', '.join(self.devices())}"
            )
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

    def role(self, operation: Operation) -> str:
        """What an operation is in a report, one of `ROLES`."""
        return "main" if operation.name in self.main else "control" if operation.name in self.controls else "other"

    @property
    def processor(self) -> str:
        """The processor as the framework reports it; empty if it does not."""
        return self.versions().get(CPU_CAPABILITY, "")

    @property
    def spent(self) -> int:
        """What calls that ended their process have cost so far; see `adapters.isolation`."""
        return 0

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
        try:
            call = self.call(question)
        except NotImplementedError:
            raise
        except SystemExit as error:
            return Observed({}, error=f"called sys.exit({error.code!r})", ended=True)
        except Exception as error:  # an operation on trial may raise anything; that is a finding, not a crash
            return Observed({}, error=told(error))
        return self._proved(call, question.operation, question.problem.format)

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
            declared = operation.returned(quantity, fmt).name
            if result.dtype != declared:
                violations.append(f"returned {quantity} as {result.dtype}, asked for {declared}")
            if result.device != self.device:
                violations.append(f"returned {quantity} on {result.device}, asked for {self.device}")
        return Observed({q: r.values for q, r in call.results.items()}, tuple(violations), seconds=call.seconds)


def told(error: BaseException) -> str:
    """An exception in a line, without the traceback that TensorFlow writes into its messages: reports name no paths."""
    message, _, _ = " ".join(str(error).split()).partition(" (most recent call last)")
    return f"{type(error).__name__}: {message[:300]}"


@dataclass(frozen=True)
class Call:
    """What `Adapter.call` hands back: the results, and the names of inputs whose bits differ after the run."""

    results: Mapping[Quantity, Result]
    changed_inputs: tuple[str, ...] = ()
    seconds: float | None = None
