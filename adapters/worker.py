"""A process that runs the operations of a backend for another: it loads the backend, then answers questions over a socket.

Started by `adapters.isolation`, never by hand.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

from adapters.adapter import Adapter, AdapterError, Observed
from adapters.loading import load_adapter, operations_on_trial
from adapters.operation import Operation
from adapters.question import Question
from adapters.script import Script

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Description:
    """What the other side must know of a backend: all of it but the callables."""

    name: str
    device: str
    devices: tuple[str, ...]
    versions: dict[str, str]
    operations: tuple[Operation, ...]
    main: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """The backend is not there; `message` says what is."""

    message: str


@dataclass(frozen=True)
class NotOffered:
    """The operation raised NotImplementedError."""

    message: str


@dataclass(frozen=True)
class Answers:
    """Answers questions about the operations of an adapter."""

    adapter: Adapter
    functions: dict[str, Any]
    """The callables that were left out of the description, by label."""

    def observe(self, question: Question) -> Any:
        """What the operation does with a problem: Observed, or NotOffered."""
        try:
            observed: Observed = self.adapter.observe(self._with_function(question))
        except NotImplementedError as error:
            return NotOffered(str(error))
        return observed

    def observe_here(self, question: Question) -> Observed:
        """The same without what a backend does first to spare its process: this one is there to be ended."""
        return Adapter.observe(self.adapter, self._with_function(question))

    def script(self, asked: Question) -> Script | None:
        """The operation at a problem in the framework's own words; see `Adapter.script`."""
        return self.adapter.script(self._with_function(asked))

    def _with_function(self, question: Question) -> Question:
        operation = question.operation
        return replace(question, operation=replace(operation, function=self.functions[operation.label]))


def sendable(operation: Operation) -> Operation:
    """An operation that can be sent: its callable, and what it was before its limits, stay where they are."""
    return replace(operation, function=None, beyond=None)


def _load(backend: str, device: str, implementation: str | None) -> tuple[Description | Refused, Answers | None]:
    try:
        adapter = load_adapter(backend, device)
        operations = operations_on_trial(adapter, implementation)
    except AdapterError as error:
        return Refused(str(error)), None
    described = tuple(map(sendable, operations))
    # Plain strings: torch.__version__ is of a class of torch, which would be imported on the other side.
    versions = {name: str(version) for name, version in adapter.versions().items()}
    description = Description(
        adapter.name, adapter.device, adapter.devices(), versions, described, adapter.main, adapter.controls
    )
    return description, Answers(adapter, {operation.label: operation.function for operation in operations})


def _die_with_parent() -> None:
    """A call that never returns must not outlive a run that was killed; Linux only, elsewhere it would."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def serve(fd: str, backend: str, device: str, implementation: str | None = None) -> None:
    """Load, say what there is, and answer until the other side is gone."""
    _die_with_parent()
    connection: Connection[Any, Any] = Connection(int(fd))
    description, answers = _load(backend, device, implementation)
    connection.send(description)
    while answers is not None:
        try:
            method, arguments = connection.recv()
        except EOFError:
            break
        answer: Callable[..., Any] = getattr(answers, method)
        connection.send(answer(*arguments))
    os._exit(0)  # what a kernel has left behind must not hold up the end


def run() -> None:
    """The process: its arguments are those of `serve`."""
    serve(*sys.argv[1:])
