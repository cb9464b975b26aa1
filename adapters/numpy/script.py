"""The NumPy and SciPy operations as statements of a script; tests/test_reproducers.py holds them to the adapter's bits."""

from __future__ import annotations

from adapters.array_script import array_inputs, other_inputs
from adapters.question import Question
from adapters.script import Script, function, import_of
from adapters.usage import Usage
from reference.quantity import Quantity

_SOFTMAX = "scipy.special.softmax(x, axis=1)"
_PICKED = "[np.arange(len(t)), t]"

OF_SOFTMAX = {
    "scipy_log_softmax": (f"-scipy.special.log_softmax(x, axis=1){_PICKED}", _SOFTMAX),
    "scipy_logsumexp": (
        f"scipy.special.logsumexp(x, axis=1) - x{_PICKED}",
        "np.exp(x - scipy.special.logsumexp(x, axis=1)[:, None])",
    ),
    "naive": (
        f"np.log(np.exp(x).sum(axis=1, keepdims=True))[:, 0] - x{_PICKED}",
        "np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)",
    ),
    "log_of_softmax": (f"-np.log({_SOFTMAX}{_PICKED})", _SOFTMAX),
}
"""The loss and the softmax of the operations with textbook derivatives."""

_PROBABILITIES = """
p = {softmax}
y = (np.arange(p.shape[1]) == t[:, None]).astype(p.dtype)
"""
_TEXTBOOK = {
    Quantity.LOSS: "return {loss}",
    Quantity.GRADIENT: _PROBABILITIES + "return upstream[:, None] * (p - y)",
    Quantity.HVP: _PROBABILITIES + "return upstream[:, None] * (p * v - p * (p * v).sum(axis=1, keepdims=True))",
    Quantity.HESSIAN: _PROBABILITIES
    + """
eye = np.eye(p.shape[1], dtype=p.dtype)
return upstream[:, None, None] * (p[:, :, None] * eye - p[:, :, None] * p[:, None, :])
""",
}

_OTHERS: dict[str, dict[Quantity, str]] = {
    "unfused_chain": {
        Quantity.LOSS: f"return -np.log({_SOFTMAX}{_PICKED})",
        Quantity.GRADIENT: f"""
p = {_SOFTMAX}
by_probability = np.where(
    np.arange(p.shape[1]) == t[:, None], -1 / p{_PICKED}[:, None], np.zeros((), dtype=p.dtype)
)
through = (p * by_probability).sum(axis=1, keepdims=True)
return upstream[:, None] * (p * (by_probability - through))
""",
    },
    "relative_entropy": {
        Quantity.LOSS: f"return scipy.special.rel_entr(t, {_SOFTMAX}).sum(axis=1)",
        Quantity.GRADIENT: f"return upstream[:, None] * (t.sum(axis=1, keepdims=True) * {_SOFTMAX} - t)",
    },
    "squared_error": {
        Quantity.LOSS: f"return (({_SOFTMAX} - t) ** 2).sum(axis=1)",
        Quantity.GRADIENT: f"""
p = {_SOFTMAX}
r = p - t
return upstream[:, None] * (2 * p * (r - (p * r).sum(axis=1, keepdims=True)))
""",
    },
    "log_expit": {
        Quantity.LOSS: "return -(t * scipy.special.log_expit(x) + (1 - t) * scipy.special.log_expit(-x))[:, 0]",
        Quantity.GRADIENT: "return upstream[:, None] * (scipy.special.expit(x) - t)",
        Quantity.HVP: "return upstream[:, None] * (scipy.special.expit(x) * scipy.special.expit(-x)) * v",
        Quantity.HESSIAN: "return (upstream[:, None] * (scipy.special.expit(x) * scipy.special.expit(-x)))[:, :, None]",
    },
    "log_softmax": {Quantity.LOG_SOFTMAX: "return scipy.special.log_softmax(x, axis=1)"},
    "softmax": {Quantity.SOFTMAX: f"return {_SOFTMAX}"},
    "logsumexp": {Quantity.LOGSUMEXP: "return scipy.special.logsumexp(x, axis=1)"},
    "entropy": {Quantity.ENTROPY: f"return scipy.special.entr({_SOFTMAX}).sum(axis=1)"},
}


_CALLS = {
    Usage.PLAIN: "loss, gradient = {kernel}(x, t)\n",
    Usage.KEPT: "loss, gradient = {kernel}(x, t)\n{kernel}(other_x, other_t)\n",
    Usage.REUSED: """
own_x, own_t = x.copy(), t.copy()
x[...], t[...] = other_x, other_t
{kernel}(x, t)
x[...], t[...] = own_x, own_t
loss, gradient = {kernel}(x, t)
""",
    Usage.THREADED: """
with ThreadPoolExecutor(1) as thread:
    loss, gradient = thread.submit({kernel}, x, t).result()
""",
}
"""The calls of a user's kernel in each usage."""

_IMPORTS = {Usage.THREADED: ["from concurrent.futures import ThreadPoolExecutor"]}


def numpy_script(asked: Question) -> Script | None:
    """The script of a quantity; None for the operations that are this project's own, and for SciPy's in a sequence of calls."""
    observe = _observe(asked)
    if observe is None:
        return None
    return Script(
        ["import numpy as np", "import scipy", *_IMPORTS.get(asked.usage, []), *import_of(asked.operation)],
        [*array_inputs(asked), *(other_inputs(asked) if "other_" in observe else [])],
        [function("observe()", observe)],
        'f"numpy {np.__version__}, scipy {scipy.__version__}"',
    )


def _observe(asked: Question) -> str | None:
    """The body of observe()."""
    place, name, quantity = asked.operation.implementation, asked.operation.name, asked.quantity
    if asked.operation.is_layer:
        return _layer_called(asked)
    if place is not None:
        loss = _CALLS[asked.usage].format(kernel=place.rpartition(":")[2])
        return loss + ("return loss" if quantity is Quantity.LOSS else "return upstream[:, None] * np.asarray(gradient)")
    if asked.usage is not Usage.PLAIN:
        return None
    if name in OF_SOFTMAX:
        loss, softmax = OF_SOFTMAX[name]
        return _TEXTBOOK[quantity].format(loss=loss, softmax=softmax)
    return _OTHERS.get(name, {}).get(quantity)


def _layer_called(asked: Question) -> str:
    """The call of a user's kernel that computes a linear layer too, and what is asked of it."""
    assert asked.operation.implementation is not None
    name, bias = asked.operation.implementation.rpartition(":")[2], ", bias=bias" if asked.operation.has_bias else ""
    place = asked.operation.whole.quantities.index(asked.quantity)
    return f"return np.asarray({name}(features, weight, t, upstream{bias})[{place}])"
