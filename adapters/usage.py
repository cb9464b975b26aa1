"""How a call stands among others: alone, or in a sequence of calls as training makes them, which a kernel with state breaks."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np

from reference.formats import Floats
from reference.options import PARTS
from reference.problem import Problem
from reference.quantity import Quantity

_NUMBERS = (1.0, -2.0, 0.5, 3.0, -0.25)
"""Logits and cotangents of another batch: of either sign, and none of them 0."""


class Usage(StrEnum):
    """The sequence of calls in which a question is asked; the values are the same in all. `other` is another batch."""

    PLAIN = "plain"
    """One call, forward and backward, with nothing beside it."""
    NO_GRAD = "no_grad"
    """The loss alone of logits that need a gradient, where none is recorded (torch.no_grad)."""
    INFERENCE_MODE = "inference_mode"
    """The loss alone, of logits that were themselves made under torch.inference_mode."""
    INTERLEAVED = "interleaved"
    """Forward, forward of another batch with one more row and class, then backward of the first."""
    INTERLEAVED_ALIKE = "interleaved_alike"
    """The same with another batch of the same shape."""
    KEPT = "kept"
    """Loss and gradient are read after another batch of the same shape went forward and backward."""
    TWICE = "twice"
    """Backward twice through one graph, pullback or tape; the second gradient counts, the first is of another cotangent."""
    FIRST_OF_TWO = "first_of_two"
    """The same, where the first gradient counts and is read after the second was taken."""
    SHARED = "shared"
    """Two other operations take the logits too and keep them, one before the loss and one after it."""
    REUSED = "reused"
    """A second call on the same memory, whose logits and target were overwritten after the first."""
    ACCUMULATED = "accumulated"
    """A second backward into the gradient of a leaf, to which the first, of a cotangent of 0, has added nothing."""
    NON_LEAF = "non_leaf"
    """The logits are a view of what was computed from a leaf; the gradient is the leaf's."""
    SUMMED = "summed"
    """The losses of the rows are summed: their cotangents are one 1, seen N times with a stride of 0."""
    THREADED = "threaded"
    """Forward in a thread of its own, backward in another."""
    CHECKPOINTED = "checkpointed"
    """Forward is computed again on the way back: torch.utils.checkpoint, jax.checkpoint, tf.recompute_grad."""
    CHECKPOINTED_REENTRANT = "checkpointed_reentrant"
    """The same by torch.utils.checkpoint's first variant, which goes forward without a graph and back within a backward."""

    GRAD_OF_JIT = "grad_of_jit"
    """The gradient is taken of a loss that was compiled, and is not compiled with it."""
    MAPPED = "mapped"
    """Each row is a call of its own, and jax.vmap maps over the rows."""
    NESTED = "nested"
    """The gradient is taken within another tape, which records it."""
    DONATED = "donated"
    """The memory of the logits is given away to the compiled call, which may write its results there."""

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """What is asked in it: of inference the loss alone."""
        return (Quantity.LOSS,) if self in _INFERENCE else (Quantity.LOSS, Quantity.GRADIENT)

    @property
    def reads_inputs_again(self) -> bool:
        """True if the logits are read by others than the one call: a kernel that overwrites them by design cannot do so."""
        return self in _READ_AGAIN


_INFERENCE = (Usage.NO_GRAD, Usage.INFERENCE_MODE)
_READ_AGAIN = (Usage.SHARED, Usage.ACCUMULATED, Usage.CHECKPOINTED, Usage.CHECKPOINTED_REENTRANT)

PLAIN_ONLY = (Usage.PLAIN,)
"""What an adapter plays that knows no sequences of calls."""

USAGES = tuple(usage for usage in Usage if usage is not Usage.PLAIN)
"""All sequences of calls."""


def other_batch(problem: Problem, rows: int, classes: int) -> Problem:
    """Another batch of a shape, with the options of a problem: small numbers, labels 1, 2, ... and cotangents that differ.

    Behind a linear layer as wide as the problem's, if it has one.

    >>> other_batch(Problem([[20.0, 0.0]], [0], "float32"), 1, 3).logits.tolist()
    [[1.0, -2.0, 0.5]]
    """

    def numbers(*shape: int) -> Floats:
        return problem.format.round(np.resize(_NUMBERS, shape))

    labels = np.arange(1, rows + 1) % classes
    given: dict[str, Any] = {"logits": numbers(rows, classes), **dict.fromkeys(PARTS)}
    if problem.layer is not None:
        width = problem.layer.weight.shape[1]
        bias = None if problem.layer.bias is None else numbers(classes)
        given = {"logits": None, "features": numbers(rows, width), "weight": numbers(classes, width), "bias": bias}
    return problem.replace(
        target=np.eye(classes)[labels] if problem.has_probabilities else labels,
        class_weights=None if problem.class_weights is None else np.abs(numbers(classes)),
        row_weights=None if problem.row_weights is None else np.abs(numbers(rows)),
        cotangent=2 * numbers(*((rows,) if problem.upstream.ndim else ())),  # the first is not 1, which scales nothing
        tangent=None,
        **given,
    )
