"""numpy and SciPy on the CPU: the losses that users compose of SciPy's functions, and the absorption-free operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.special

from adapters.adapter import CPU_CAPABILITY, Call, check_callable
from adapters.arrays import Array, ArrayAdapter, Inputs, building, result_of
from adapters.layout import LABEL_DTYPES, OF_TENSORS, Layout
from adapters.linear_layer import is_linear_cross_entropy, quantities_of_layer
from adapters.numpy.absorption_free import absorption_free
from adapters.numpy.componentwise import componentwise
from adapters.numpy.losses import (
    from_softmax,
    log_expit_loss,
    log_of_softmax,
    naive,
    relative_entropy,
    scipy_log_softmax,
    scipy_logsumexp,
    squared_error,
    unfused_chain,
)
from adapters.numpy.script import numpy_script
from adapters.numpy.usages import PLAYERS, Results, made_by
from adapters.operation import LOSS_QUANTITIES, OF_PROBABILITIES, Operation, building_block
from adapters.processor import numpy_level
from adapters.question import Question, shape_of
from adapters.returned import called, check_shape, name_of_kernel, refused
from adapters.script import Script
from adapters.usage import PLAIN_ONLY, Usage
from reference.arithmetic import BLOCKED, Arithmetic
from reference.floating_state import in_default_state
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, FORMATS
from reference.loss import Loss
from reference.problem import Problem
from reference.quantity import LAYER_GRADIENTS, OF_LOGITS, Quantity

IN_STORAGE = {f.name: Arithmetic(f, f, exp_ulps=4.0, log_ulps=4.0, summation=BLOCKED) for f in (FLOAT64, FLOAT32, FLOAT16)}
"""SciPy computes in the dtype that it is given; numpy's SIMD exp and log are within 4 ulps (SVML's documented class)."""

WITHOUT_FLOAT16 = {name: IN_STORAGE[name] for name in (FLOAT64.name, FLOAT32.name)}
"""The arithmetic of SciPy's ufuncs that return float32 for float16: they have no float16 loop."""

ONCE_ROUNDED = {f.name: Arithmetic(f, f) for f in FORMATS.values()}
"""The absorption-free operation: better than the format's own arithmetic in every respect."""

PLAIN = {
    f.name: replace(IN_STORAGE["float32"], storage=f, working=FLOAT64 if f == FLOAT64 else FLOAT32) for f in FORMATS.values()
}
"""The componentwise operation: NumPy's own sums, exp and log, in float32 or float64."""

_BY_PROBLEM = (absorption_free, componentwise)
"""Functions of a whole problem; any other is an `ArrayFunction`."""


_FIRST_ORDER = (Quantity.LOSS, Quantity.GRADIENT)
_OF_KERNEL = IN_STORAGE | {BFLOAT16.name: Arithmetic(BFLOAT16, FLOAT32)}


@dataclass(frozen=True)
class FromGradient:
    """A user's callable (logits, labels) -> (loss, gradient) per row, as an `ArrayFunction`."""

    function: Callable[[Array, Array], tuple[Array, Array]]

    def __call__(self, inputs: Inputs, quantity: Quantity) -> Array:
        """One call, and what is asked of it."""
        return self._taken(self._returned(inputs), inputs, quantity)

    def made(self, inputs: Inputs) -> Callable[[], Results]:
        """One call, of which both results are read later; see `adapters.numpy.usages`."""
        returned = self._returned(inputs)
        return lambda: {quantity: self._taken(returned, inputs, quantity) for quantity in _FIRST_ORDER}

    def _returned(self, inputs: Inputs) -> tuple[Array, Array]:
        function = self.function
        returned = called(function, inputs.logits, inputs.labels)
        if not (isinstance(returned, tuple | list) and len(returned) == 2 and all(hasattr(each, "dtype") for each in returned)):
            raise refused(function, returned, "(loss, gradient), two arrays in the dtype of the logits")
        loss, gradient = map(np.asarray, returned)
        check_shape(function, "losses", loss.shape, inputs.logits.shape[:1])
        check_shape(function, "a gradient", gradient.shape, inputs.logits.shape)
        return loss, gradient

    def _taken(self, returned: tuple[Array, Array], inputs: Inputs, quantity: Quantity) -> Array:
        loss, gradient = returned
        return loss if quantity is Quantity.LOSS else _scaled(gradient, inputs.cotangent)


@in_default_state
def _scaled(gradient: Array, cotangent: Array) -> Array:
    """The gradient of each row times its cotangent, in the dtype of the gradient: another would hide what was returned."""
    return cotangent.astype(gradient.dtype)[:, None] * gradient


@dataclass(frozen=True)
class OfLayer:
    """A user's callable (features, weight, labels, cotangent) -> (losses, gradients), as an `ArrayFunction`.

    The gradients are those of sum(cotangent * losses) by the features, the weight, and the bias if it has a parameter for one.
    """

    function: Callable[..., tuple[Array, ...]]
    quantities: tuple[Quantity, ...]

    def __call__(self, inputs: Inputs, quantity: Quantity) -> Array:
        """One call, and what is asked of it."""
        features, weight, bias = inputs.parts
        offset = {"bias": bias} if Quantity.BIAS_GRADIENT in self.quantities else {}
        returned = called(self.function, features, weight, inputs.labels, inputs.cotangent, **offset)
        wanted = len(self.quantities)
        if not (isinstance(returned, tuple | list) and len(returned) == wanted and all(hasattr(r, "dtype") for r in returned)):
            names = ", ".join(map(str, self.quantities))
            raise refused(self.function, returned, f"({names}), {wanted} arrays in the dtype of the features")
        found = dict(zip(self.quantities, map(np.asarray, returned), strict=True))
        for name, array in found.items():
            check_shape(self.function, f"a {name}", array.shape, shape_of(name, inputs.problem))
        return found[quantity]


def _layer_kernel(function: Callable[..., Any]) -> Operation:
    """The operation of a user's callable that computes a linear layer too."""
    name, quantities = name_of_kernel(function), quantities_of_layer(function, "bias")
    return Operation(
        name,
        f"{name}(h, W, labels, cotangent)",
        OfLayer(function, quantities),
        _OF_KERNEL,
        quantities=quantities,
        layouts=_LAYOUTS,
        label_dtypes=LABEL_DTYPES,
    )


_OF_PROBABILITIES = frozenset(
    {"class_weights", "row_weights", "normaliser", "label_smoothing", "reduction", "temperature", "logit_scale"}
)


def _control(
    name: str, formula: str, function: Callable[..., Any], arithmetic: dict[str, Arithmetic], *more: Quantity
) -> tuple[Operation, Operation]:
    """Cross-entropy of this project's own: of class indices, with the building blocks and more, and of probabilities."""
    quantities, options = (*LOSS_QUANTITIES, *more, *OF_LOGITS), _OF_PROBABILITIES | {"ignore_index"}
    indices = Operation(name, formula, function, arithmetic, quantities=quantities, options=options)
    of_probabilities = Operation(
        f"{name}_probabilities",
        "the same for probabilities",
        function,
        arithmetic,
        quantities=OF_PROBABILITIES,
        probabilities=True,
        options=_OF_PROBABILITIES,
    )
    return indices, of_probabilities


_OPERATIONS = (
    *_control("absorption_free", "sum a g + A log1p(R), double-double", absorption_free, ONCE_ROUNDED, *LAYER_GRADIENTS),
    *_control("componentwise", "sum a g + A log1p(R), in float32 or float64", componentwise, PLAIN),
    Operation(
        "absorption_free_sigmoid",
        "the same for the row [x, 0]",
        absorption_free,
        ONCE_ROUNDED,
        probabilities=True,
        loss=Loss.SIGMOID,
        options=frozenset({"reduction", "positive_weight"}),
    ),
    Operation("scipy_log_softmax", "-scipy.special.log_softmax(x)[t]", from_softmax(scipy_log_softmax), IN_STORAGE),
    Operation("scipy_logsumexp", "scipy.special.logsumexp(x) - x[t]", from_softmax(scipy_logsumexp), IN_STORAGE),
    Operation("naive", "log(sum(exp(x))) - x[t]", from_softmax(naive), IN_STORAGE),
    Operation("log_of_softmax", "-log(scipy.special.softmax(x)[t])", from_softmax(log_of_softmax), IN_STORAGE),
    Operation(
        "unfused_chain",
        "-log(softmax(x)[t]); dL/dp through the Jacobian of softmax",
        unfused_chain,
        IN_STORAGE,
        quantities=_FIRST_ORDER,
    ),
    Operation(
        "relative_entropy",
        "sum(scipy.special.rel_entr(q, softmax(x)))",
        relative_entropy,
        WITHOUT_FLOAT16,
        quantities=_FIRST_ORDER,
        probabilities=True,
        loss=Loss.KL_DIVERGENCE,
    ),
    Operation(
        "squared_error",
        "sum((scipy.special.softmax(x) - q)^2)",
        squared_error,
        IN_STORAGE,
        quantities=_FIRST_ORDER,
        probabilities=True,
        loss=Loss.SQUARED_ERROR,
    ),
    Operation(
        "log_expit",
        "-y log_expit(x) - (1 - y) log_expit(-x)",
        log_expit_loss,
        WITHOUT_FLOAT16,
        probabilities=True,
        loss=Loss.SIGMOID,
    ),
    building_block(
        Quantity.LOG_SOFTMAX,
        "scipy.special.log_softmax(x)",
        building(lambda x: scipy.special.log_softmax(x, axis=1)),
        IN_STORAGE,
    ),
    building_block(
        Quantity.SOFTMAX, "scipy.special.softmax(x)", building(lambda x: scipy.special.softmax(x, axis=1)), IN_STORAGE
    ),
    building_block(
        Quantity.LOGSUMEXP,
        "scipy.special.logsumexp(x)",
        building(lambda x: scipy.special.logsumexp(x, axis=1)),
        IN_STORAGE,
    ),
    building_block(
        Quantity.ENTROPY,
        "sum of scipy.special.entr(scipy.special.softmax(x))",
        building(lambda x: scipy.special.entr(scipy.special.softmax(x, axis=1)).sum(axis=1)),
        WITHOUT_FLOAT16,
    ),
)


_LAYOUTS = (*OF_TENSORS, Layout.REVERSED, Layout.BYTE_SWAPPED)


def _as_given(operation: Operation) -> Operation:
    """The operation with all that arrays may be; those of a whole problem are given no arrays."""
    if operation.function in _BY_PROBLEM:
        return operation
    indices = operation.has_loss and not operation.probabilities
    return replace(operation, layouts=_LAYOUTS, label_dtypes=LABEL_DTYPES if indices else operation.label_dtypes)


class NumpyAdapter(ArrayAdapter):
    """The backend of numpy and SciPy: losses as users compose them, and one that has no absorption."""

    name = "numpy"
    main = ("scipy_log_softmax", "absorption_free", "absorption_free_probabilities")
    controls = ("naive", "log_of_softmax", "unfused_chain")
    packages = ("numpy", "scipy")
    listed = tuple(map(_as_given, _OPERATIONS))

    def versions(self) -> dict[str, str]:
        """Versions of what is on trial, and the level for which NumPy dispatches."""
        level = numpy_level()
        return super().versions() | ({CPU_CAPABILITY: level} if level else {})

    def implementation(self, function: Callable[..., Any]) -> tuple[Operation, ...]:
        """The operations by which a callable is judged; see adapters/README.md for its signature."""
        check_callable(function, "(logits, labels) -> (loss, gradient)")
        if is_linear_cross_entropy(function):
            return (_layer_kernel(function),)
        name = name_of_kernel(function)
        return (
            Operation(
                name,
                f"{name}(logits, labels)",
                FromGradient(function),
                _OF_KERNEL,
                quantities=_FIRST_ORDER,
                layouts=_LAYOUTS,
                label_dtypes=LABEL_DTYPES,
            ),
        )

    def usages(self, operation: Operation) -> tuple[Usage, ...]:
        """All that are played, of a user's kernel and of SciPy's main function; this project's own take whole problems."""
        function = operation.function
        is_main = operation.name in self.main and function not in _BY_PROBLEM
        return (Usage.PLAIN, *PLAYERS) if is_main or isinstance(function, FromGradient) else PLAIN_ONLY

    def script(self, asked: Question) -> Script | None:
        """The operation in NumPy's and SciPy's own words; see `Adapter.script`."""
        return numpy_script(asked)

    def call(self, question: Question) -> Call:
        """Run an operation; see `Adapter.call`."""
        problem = question.problem
        _check_labels(problem)
        function = question.operation.function
        if function in _BY_PROBLEM:
            _check_binary_labels(problem)
            values = function(problem, question.quantities)
            return Call({q: result_of(problem.format.cast(v)) for q, v in values.items()})
        return super().call(question) if question.usage is Usage.PLAIN else _played(question)


def _played(question: Question) -> Call:
    """The call that counts in a sequence of calls, both quantities of one."""
    function, quantities = question.operation.function, question.quantities
    inputs, other = (Inputs(asked) for asked in (question, replace(question, problem=question.other)))
    made = function.made if isinstance(function, FromGradient) else made_by(function, quantities)
    with np.errstate(all="ignore"):
        values = PLAYERS[question.usage](made, inputs, other)
        results = {quantity: result_of(values[quantity]) for quantity in quantities}
    return Call(results, inputs.changed())


def _check_labels(problem: Problem) -> None:
    """numpy's indexing would wrap a negative index round; an index out of range must raise."""
    if problem.out_of_range.any():
        raise IndexError(f"class indices {problem.target[~problem.ignored].tolist()}; allowed: [0, {problem.num_classes})")


def _check_binary_labels(problem: Problem) -> None:
    if problem.is_binary and ((problem.target < 0) | (problem.target > 1)).any():
        raise ValueError(f"labels {problem.target.ravel().tolist()}; allowed: numbers in [0, 1]")


ADAPTER = NumpyAdapter
