"""The adapter of a library that takes and returns NumPy arrays on the CPU: each operation is one function of the inputs."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from adapters.adapter import Adapter, Call, Observed, Result
from adapters.array_script import ArrayWords
from adapters.isolation import observed_apart
from adapters.layout import Layout, beside, laid_out, of_logits
from adapters.operation import Operation
from adapters.process import Trial
from adapters.question import Question
from adapters.script import Script
from reference.floating_state import in_default_state
from reference.options import PARTS
from reference.quantity import Quantity

Array = NDArray[Any]


class Inputs:
    """A problem as arrays of its dtype, in the layout of a question."""

    def __init__(self, question: Question) -> None:
        self.problem = problem = question.problem
        cast, layout = problem.format.cast, question.layout
        logits = cast(problem.stored_logits)
        self.logits = laid_out(logits, of_logits(logits, layout))
        labels = cast(problem.target) if problem.has_probabilities else problem.target.astype(question.label_dtype)
        tangent = np.zeros_like(logits) if problem.tangent is None else cast(problem.tangent)
        self.labels, self.cotangent, self.tangent = (
            laid_out(values, beside(values, layout)) for values in (labels, cast(problem.upstream), tangent)
        )
        weights = None if problem.class_weights is None else cast(problem.class_weights)
        self.class_weights = None if weights is None else laid_out(weights, beside(weights, layout))
        self._watched = {"logits": self.logits, "target": self.labels} | self._layer(layout)
        self._before = {name: array.tobytes() for name, array in self._watched.items()}

    def _layer(self, layout: Layout) -> dict[str, Array]:
        """Features, weight and bias of a linear layer, laid out as logits are; nothing where there is none."""
        if self.problem.layer is None:
            return {}
        parts = (self.problem.format.cast(values) for values in self.problem.layer.arrays)
        return {name: laid_out(part, of_logits(part, layout)) for name, part in zip(PARTS, parts, strict=True)}

    @property
    def parts(self) -> tuple[Array, ...]:
        """Features, weight and bias of the linear layer."""
        return tuple(self._watched[name] for name in PARTS)

    def changed(self) -> tuple[str, ...]:
        """Names of the inputs whose bits are not what they were."""
        return tuple(name for name, array in self._watched.items() if array.tobytes() != self._before[name])


ArrayFunction = Callable[[Inputs, Quantity], Array]
"""What an operation of these adapters has as its function."""


def building(function: Callable[[Array], Array]) -> ArrayFunction:
    """A building block as a function of the inputs."""
    return lambda inputs, _: function(inputs.logits)


class ArrayAdapter(Adapter):
    """A library on the CPU whose operations have an `ArrayFunction` each.

    A subclass names itself, the distributions whose versions count, the framework's first, and its operations.
    """

    packages: ClassVar[tuple[str, ...]]
    unchecked: ClassVar[bool] = False
    """True if it follows a class index out of range through memory: then it is asked in a process of its own."""
    listed: ClassVar[tuple[Operation, ...]]
    words: ClassVar[ArrayWords | None] = None
    """Its words for reproducers; None if it has none."""

    def devices(self) -> tuple[str, ...]:
        """Devices on which it runs here."""
        return ("cpu",)

    def versions(self) -> dict[str, str]:
        """Versions of what is on trial."""
        return {package: version(package) for package in self.packages}

    def operations(self) -> tuple[Operation, ...]:
        """Its operations, in the order of reports."""
        return self.listed

    def script(self, asked: Question) -> Script | None:
        """The operation in the library's own words; see `Adapter.script`."""
        return None if self.words is None else self.words.script(asked)

    def observe(self, question: Question) -> Observed:
        """Run an operation; see `Adapter.observe`. A loss that ended the process that it was asked in is NaN."""
        operation, problem = question.operation, question.problem
        if not (self.unchecked and operation.has_loss and problem.out_of_range.any()):
            return super().observe(question)
        found = observed_apart(Trial(self.name, self.device), operation, problem)
        nothing = Observed({Quantity.LOSS: np.full(problem.num_rows, np.nan)}, ended=True)
        return nothing if found.ended else found

    def call(self, question: Question) -> Call:
        """Run an operation; see `Adapter.call`."""
        # Inputs of its own for each quantity: a kernel may overwrite them, by design or not.
        inputs = {quantity: Inputs(question) for quantity in question.quantities}
        with np.errstate(all="ignore"):
            results = {q: result_of(question.operation.function(given, q)) for q, given in inputs.items()}
        return Call(results, tuple(dict.fromkeys(name for given in inputs.values() for name in given.changed())))


@in_default_state
def result_of(array: Array) -> Result:
    """A returned array, with its own dtype."""
    array = np.asarray(array)
    with np.errstate(invalid="ignore"):
        return Result(array.astype(np.float64), array.dtype.name, "cpu")
