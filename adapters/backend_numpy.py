"""numpy and SciPy on the CPU: SciPy's log_softmax, logsumexp and softmax, naive formulas, and the absorption-free operation.

`naive` and `log_of_softmax` are negative controls: they are here to be caught.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
import scipy.special
from numpy.typing import NDArray

from adapters.absorption_free import absorption_free
from adapters.adapter import Adapter, AdapterError, Call, Result
from adapters.layout import Layout, laid_out
from adapters.operation import Operation, building_block
from reference.arithmetic import BLOCKED, Arithmetic
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, FORMATS
from reference.problem import Problem
from reference.quantity import Quantity

Array = NDArray[Any]
LossAndSoftmax = Callable[[Array, Array], tuple[Array, Array]]

IN_STORAGE = {f.name: Arithmetic(f, f, exp_ulps=4.0, log_ulps=4.0, summation=BLOCKED) for f in (FLOAT64, FLOAT32, FLOAT16)}
"""SciPy computes in the dtype that it is given; numpy's SIMD exp and log are within 4 ulps (SVML's documented class)."""

ONCE_ROUNDED = {f.name: Arithmetic(f, f) for f in FORMATS.values()}
"""The absorption-free operation: better than the format's own arithmetic in every respect."""


def _pick(values: Array, labels: Array) -> Array:
    return np.take_along_axis(values, labels[:, None], axis=1)[:, 0]


def scipy_log_softmax(logits: Array, labels: Array) -> tuple[Array, Array]:
    """-log_softmax(x)_t and softmax(x), both SciPy's."""
    return -_pick(scipy.special.log_softmax(logits, axis=1), labels), scipy.special.softmax(logits, axis=1)


def scipy_logsumexp(logits: Array, labels: Array) -> tuple[Array, Array]:
    """logsumexp(x) - x_t and exp(x - logsumexp(x)), SciPy's logsumexp."""
    lse = scipy.special.logsumexp(logits, axis=1)
    return lse - _pick(logits, labels), np.exp(logits - lse[:, None])


def naive(logits: Array, labels: Array) -> tuple[Array, Array]:
    """log(sum(exp(x))) - x_t and exp(x)/sum(exp(x)): no shift by the maximum."""
    powers = np.exp(logits)
    total = powers.sum(axis=1, keepdims=True)
    return np.log(total)[:, 0] - _pick(logits, labels), powers / total


def log_of_softmax(logits: Array, labels: Array) -> tuple[Array, Array]:
    """-log(softmax(x)_t): the softmax underflows before its logarithm is taken."""
    probabilities = scipy.special.softmax(logits, axis=1)
    return -np.log(_pick(probabilities, labels)), probabilities


def _from_softmax(loss_and_softmax: LossAndSoftmax) -> Callable[[_Inputs, Quantity], Array]:
    """A loss of class indices with its textbook derivatives: p - y, diag(p) - p p^T and p*v - p <p, v>."""

    def compute(inputs: _Inputs, quantity: Quantity) -> Array:
        loss, p = loss_and_softmax(inputs.logits, inputs.labels)
        if quantity is Quantity.LOSS:
            return loss
        one_hot = (np.arange(p.shape[1]) == inputs.labels[:, None]).astype(p.dtype)
        upstream = inputs.cotangent[:, None]
        if quantity is Quantity.GRADIENT:
            return upstream * (p - one_hot)
        if quantity is Quantity.HVP:
            return upstream * (p * inputs.tangent - p * (p * inputs.tangent).sum(axis=1, keepdims=True))
        eye = np.eye(p.shape[1], dtype=p.dtype)
        return upstream[:, :, None] * (p[:, :, None] * eye - p[:, :, None] * p[:, None, :])

    return compute


def _from_gradient(function: Callable[[Array, Array], tuple[Array, Array]]) -> Callable[[_Inputs, Quantity], Array]:
    """A user's callable (logits, labels) -> (loss, gradient) per row."""

    def compute(inputs: _Inputs, quantity: Quantity) -> Array:
        loss, gradient = function(inputs.logits, inputs.labels)
        return loss if quantity is Quantity.LOSS else inputs.cotangent[:, None] * np.asarray(gradient)

    return compute


class _Inputs:
    """A problem as arrays of its dtype."""

    def __init__(self, problem: Problem, layout: Layout) -> None:
        cast = problem.format.cast
        self.logits = laid_out(cast(problem.logits), layout)
        self.labels = problem.target.copy()
        ones = np.ones(problem.num_rows) if problem.cotangent is None else problem.cotangent
        self.cotangent = cast(ones)
        self.tangent = cast(np.zeros_like(problem.logits) if problem.tangent is None else problem.tangent)
        self._before = (self.logits.tobytes(), self.labels.tobytes())

    def changed(self) -> tuple[str, ...]:
        """Names of the inputs whose bits are not what they were."""
        now = (self.logits.tobytes(), self.labels.tobytes())
        return tuple(name for name, a, b in zip(("logits", "target"), self._before, now, strict=True) if a != b)


def _building(function: Callable[[Array], Array]) -> Callable[[_Inputs, Quantity], Array]:
    return lambda inputs, _: function(inputs.logits)


_OPERATIONS = (
    Operation(
        "absorption_free",
        "sum a g + A log1p(R), double-double",
        absorption_free,
        ONCE_ROUNDED,
        quantities=tuple(Quantity),
        options=frozenset({"class_weights", "label_smoothing", "ignore_index", "reduction", "temperature"}),
    ),
    Operation(
        "absorption_free_probabilities",
        "the same for probabilities",
        absorption_free,
        ONCE_ROUNDED,
        probabilities=True,
        options=frozenset({"class_weights", "label_smoothing", "reduction", "temperature"}),
    ),
    Operation("scipy_log_softmax", "-scipy.special.log_softmax(x)[t]", _from_softmax(scipy_log_softmax), IN_STORAGE),
    Operation("scipy_logsumexp", "scipy.special.logsumexp(x) - x[t]", _from_softmax(scipy_logsumexp), IN_STORAGE),
    Operation("naive", "log(sum(exp(x))) - x[t]", _from_softmax(naive), IN_STORAGE),
    Operation("log_of_softmax", "-log(scipy.special.softmax(x)[t])", _from_softmax(log_of_softmax), IN_STORAGE),
    building_block(
        Quantity.LOG_SOFTMAX,
        "scipy.special.log_softmax(x)",
        _building(lambda x: scipy.special.log_softmax(x, axis=1)),
        IN_STORAGE,
    ),
    building_block(
        Quantity.SOFTMAX, "scipy.special.softmax(x)", _building(lambda x: scipy.special.softmax(x, axis=1)), IN_STORAGE
    ),
    building_block(
        Quantity.LOGSUMEXP,
        "scipy.special.logsumexp(x)",
        _building(lambda x: scipy.special.logsumexp(x, axis=1)),
        IN_STORAGE,
    ),
)


class NumpyAdapter(Adapter):
    """numpy and SciPy."""

    name = "numpy"

    def devices(self) -> tuple[str, ...]:
        """Devices on which it runs here."""
        return ("cpu",)

    def versions(self) -> dict[str, str]:
        """Versions of what is on trial."""
        return {"numpy": np.__version__, "scipy": scipy.__version__}

    def operations(self) -> tuple[Operation, ...]:
        """Its operations, in the order of reports."""
        return _OPERATIONS

    def implementation(self, function: Callable[..., Any]) -> tuple[Operation, ...]:
        """The operations by which a callable is judged; see the README for its signature."""
        if not callable(function):
            raise AdapterError(f"--implementation: {function!r} is not callable; allowed: (logits, labels) -> (loss, gradient)")
        name = getattr(function, "__name__", "implementation")
        declared = IN_STORAGE | {BFLOAT16.name: Arithmetic(BFLOAT16, FLOAT32)}
        return (
            Operation(
                name,
                f"{name}(logits, labels)",
                _from_gradient(function),
                declared,
                quantities=(Quantity.LOSS, Quantity.GRADIENT),
            ),
        )

    def call(self, operation: Operation, problem: Problem, quantities: tuple[Quantity, ...], layout: Layout) -> Call:
        """Run an operation; see `Adapter.call`."""
        _check_labels(problem)
        if operation.function is absorption_free:
            values = absorption_free(problem, quantities)
            return Call({q: _result(problem.format.cast(v)) for q, v in values.items()})
        inputs = _Inputs(problem, layout)
        with np.errstate(all="ignore"):
            results = {q: _result(operation.function(inputs, q)) for q in quantities}
        return Call(results, inputs.changed())


def _check_labels(problem: Problem) -> None:
    """Numpy's indexing would wrap a negative index round; an index out of range must raise."""
    if not problem.has_probabilities:
        counted = problem.target[~problem.ignored]
        if ((counted < 0) | (counted >= problem.num_classes)).any():
            raise IndexError(f"class indices {counted.tolist()}; allowed: [0, {problem.num_classes})")


def _result(array: Array) -> Result:
    array = np.asarray(array)
    with np.errstate(invalid="ignore"):
        return Result(array.astype(np.float64), str(array.dtype), "cpu")


ADAPTER = NumpyAdapter
