"""The script of a library of NumPy arrays: its own words, and the statements that all such scripts have in common.

tests/test_reproducers.py holds the words of each library to the bits of its adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.operation import options_used
from adapters.question import Question
from adapters.script import Script, function, lines_beside, lines_of_logits, literal, wrapped
from reference.options import PARTS
from reference.problem import Problem, layer_of
from reference.quantity import Quantity


@dataclass(frozen=True)
class ArrayWords:
    """What a library says in a script.

    Arguments:
      imports: import statements.
      body: the statements of observe() for what is asked; they read x, t, upstream and v.
      environment: the versions that decide the result, as the inside of an f-string.
      functions: definitions that the body calls.
    """

    imports: tuple[str, ...]
    body: Callable[[Question], str]
    environment: str
    functions: tuple[str, ...] = ()

    def script(self, asked: Question) -> Script:
        """The script of a quantity."""
        observe = function("observe()", self.body(asked))
        imports = ["import numpy as np", *self.imports]
        return Script(imports, array_inputs(asked), [*self.functions, observe], f'f"{self.environment}"')


@dataclass(frozen=True)
class Steps:
    """Statements that make losses, then their gradient, then its product with a direction; and what is returned of each.

    The three returned expressions are NumPy arrays; {} in the last one is the direction.
    """

    losses: Sequence[str]
    gradient: Sequence[str]
    product: Sequence[str]
    returned: tuple[str, str, str]

    def body(self, quantity: Quantity) -> str:
        """The statements of observe() for the loss or a derivative; the Hessian stacks products with unit vectors."""
        loss, gradient, product = self.returned
        unit = "np.broadcast_to(row, x.shape).copy()"
        columns = [
            "eye = np.eye(x.shape[1], dtype=x.dtype)",
            f"return np.stack([{product.format(unit)} for row in eye], axis=1)",
        ]
        last = {
            Quantity.LOSS: [f"return {loss}"],
            Quantity.GRADIENT: [*self.gradient, f"return {gradient}"],
            Quantity.HVP: [*self.gradient, *self.product, f"return {product.format('v')}"],
            Quantity.HESSIAN: [*self.gradient, *self.product, *columns],
        }
        return "\n".join([*self.losses, *last[quantity]])


def options_given(problem: Problem) -> dict[str, Any]:
    """The reduction, and the label smoothing and ignored class if the problem uses them, by the names that libraries share."""
    used = options_used(problem)
    given = {"label_smoothing": problem.label_smoothing, "ignore_index": problem.ignored_class}
    return {"reduction": problem.reduction.value} | {name: value for name, value in given.items() if name in used}


def keywords(problem: Problem) -> str:
    """`options_given` as keyword arguments of a call."""
    return ", ".join(f"{key}={value!r}" for key, value in options_given(problem).items())


def array_inputs(asked: Question) -> list[str]:
    """Statements that make x or the parts of a layer, and what of t, upstream and v the quantity needs, as NumPy arrays."""
    problem, layout = asked.problem, asked.layout
    lines = ["import ml_dtypes", ""] if problem.format.name == "bfloat16" else []
    named = dict(zip(PARTS, layer_of(problem).arrays, strict=True)) if asked.operation.is_layer else {"x": problem.logits}
    for name, values in named.items():
        lines += [_array(name, values, problem), *lines_of_logits(values, layout, "np", name)]
    if asked.operation.has_loss:
        indices = wrapped(f"t = np.array({literal(problem.target)}, dtype=np.{asked.label_dtype})")
        lines.append(_array("t", problem.target, problem) if problem.has_probabilities else indices)
        lines += lines_beside("t", problem.target, layout, "np")
    if asked.operation.has_loss and (asked.quantity is not Quantity.LOSS or asked.operation.is_layer):
        lines += [_array("upstream", problem.upstream, problem), *lines_beside("upstream", problem.upstream, layout, "np")]
    if asked.quantity is Quantity.HVP and problem.tangent is not None:
        lines += [_array("v", problem.tangent, problem), *lines_beside("v", problem.tangent, layout, "np")]
    return lines


def other_inputs(asked: Question) -> list[str]:
    """Statements that make the logits and class indices of the other batch, as other_x and other_t."""
    other = asked.other
    labels = wrapped(f"other_t = np.array({literal(other.target)}, dtype=np.int64)")
    return [_array("other_x", other.logits, other), labels]


def _array(name: str, values: NDArray[np.float64], problem: Problem) -> str:
    shaped = "" if values.size else f".reshape({values.shape})"
    dtype = f"np.{problem.format.name}" if problem.format.name != "bfloat16" else "ml_dtypes.bfloat16"
    return wrapped(f"{name} = np.array({literal(values)}, dtype={dtype}){shaped}")
