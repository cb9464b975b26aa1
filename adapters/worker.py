"""What runs the operations of a backend for another process: it loads the backend, then answers questions over a socket.

Started by `adapters.supervisor`, never by hand.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adapters.adapter import Adapter, AdapterError, Observed
from adapters.line import answer
from adapters.loading import load_adapter, operations_on_trial
from adapters.operation import Operation
from adapters.question import Question, shape_of
from adapters.script import Script
from adapters.sources import sources
from adapters.steps import told_by
from adapters.wire import Description, Greeting, Message, Step, UnsendableError, message_of
from reference.formats import Floats
from reference.quantity import Quantity


@dataclass(frozen=True)
class Answers:
    """Answers questions about the operations of an adapter."""

    adapter: Adapter
    functions: dict[str, Any]
    """The callables that were left out of the description, by label."""

    def observe(self, question: Question) -> Observed | str:
        """What the operation does with a problem, or why it does not offer that."""
        try:
            return _sendable_observed(self.adapter.observe(self._with_function(question)), question)
        except NotImplementedError as error:
            return str(error)

    def observe_here(self, question: Question) -> Observed:
        """The same without what a backend does first to spare its process: this one is there to be ended."""
        return _sendable_observed(Adapter.observe(self.adapter, self._with_function(question)), question)

    def script(self, asked: Question) -> Script | None:
        """The operation at a problem in the framework's own words; see `Adapter.script`."""
        return self.adapter.script(self._with_function(asked))

    def _with_function(self, question: Question) -> Question:
        operation = question.operation
        return replace(question, operation=replace(operation, function=self.functions[operation.label]))


def sendable(operation: Operation) -> Operation:
    """An operation that can be sent: its callable, and what it was before its limits, stay where they are."""
    return replace(operation, function=None, beyond=None)


def _sendable_observed(observed: Observed, question: Question) -> Observed:
    """The same in plain strings, numbers and arrays, of what was asked alone, whatever a backend of the user's made it of.

    More bytes than the shapes that were asked for have are not sent: which shape is wrong is told instead.
    """
    asked = [quantity for quantity in question.quantities if quantity in observed.values]
    values = {q: np.asarray(v := observed.values[q], dtype=v.dtype.newbyteorder("=")) for q in asked}
    if sum(array.nbytes for array in values.values()) > question.most_bytes:
        return Observed({}, error=_misshapen(values, question), malformed=True)
    dtypes = {quantity: str(dtype) for quantity, dtype in observed.dtypes.items() if quantity in asked}
    seconds = None if observed.seconds is None else float(observed.seconds)
    return replace(observed, values=values, dtypes=dtypes, seconds=seconds)


def _misshapen(values: Mapping[Quantity, Floats], question: Question) -> str:
    shapes = {quantity: (array.shape, shape_of(quantity, question.problem)) for quantity, array in values.items()}
    wrong = [f"returned {q} of shape {given}, asked for {asked}" for q, (given, asked) in shapes.items() if given != asked]
    return "; ".join(wrong)


def _load(backend: str, device: str, implementation: str | None) -> tuple[Message, Answers | None]:
    """What there is, and what answers for it; or why there is nothing."""
    try:
        adapter = load_adapter(backend, device)
        operations = operations_on_trial(adapter, implementation)
        description = message_of(_description(adapter, operations))
    except AdapterError as error:
        return message_of(str(error)), None
    except UnsendableError as error:
        return message_of(
            f"--isolate: backend {backend!r}: {error}; allowed: the classes of this project, or no --isolate"
        ), None
    return description, Answers(adapter, {operation.label: operation.function for operation in operations})


def _description(adapter: Adapter, operations: tuple[Operation, ...]) -> Description:
    # Plain strings: torch.__version__ is of a class of torch, which the other side does not know.
    versions = {name: str(version) for name, version in adapter.versions().items()}
    described = tuple(map(sendable, operations))
    return Description(
        adapter.name,
        adapter.device,
        tuple(adapter.devices()),
        versions,
        described,
        adapter.main,
        adapter.controls,
        tuple(adapter.foreign.told),
        {operation.label: adapter.usages(operation) for operation in operations},
    )


def serve(fd: int) -> None:
    """Greet, load, say what there is, and answer until the other side is gone."""
    os.set_inheritable(fd, False)
    end = socket.socket(fileno=fd)
    requests, c_library = end.makefile("rb"), ctypes.CDLL(None)
    number = 0
    answer(end, number, message_of(Greeting(os.getpid(), sources())))

    def tell(what: str) -> None:
        """Answer that loading goes on, and wait until that is asked for."""
        nonlocal number
        answer(end, number, message_of(Step(what)))
        number, *_ = pickle.load(requests)

    with suppress(EOFError):
        number, _, trial = pickle.load(requests)
        with told_by(tell):
            description, answers = _load(trial.backend, trial.device, trial.implementation)
        answer(end, number, description)
        while answers is not None:
            number, method, question = pickle.load(requests)
            asked: Callable[[Question], Any] = getattr(answers, method)
            message = message_of(asked(question))
            c_library.fflush(None)  # what C code has written belongs to this call
            answer(end, number, message)
    os._exit(0)  # what a kernel has left behind must not hold up the end
