"""One exact question: logits in a format, a target, a loss of the softmax family and its options.

Every number is taken at its exact binary value. What is not allowed is refused here, so nothing behind this file checks
shapes, ranges or dtypes again.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reference.floating_state import in_default_state
from reference.formats import Bools, Floats, Format, format_named
from reference.linear import Layer, Logits
from reference.loss import Loss, Target
from reference.members import members
from reference.options import ARGUMENTS, LAYER, LOSS, NOT_FINITE, OPTIONS, Array, Axes, Label, Option, arguments_of
from reference.reduction import Reduction

_SCALARS = tuple(option for option in OPTIONS.values() if not isinstance(option.kind, Array))
_ARRAYS = tuple(argument for argument in ARGUMENTS if isinstance(argument.kind, Array) and argument not in LAYER)

_ALWAYS_TOLD = ("reduction", "cotangent", "label_smoothing", "class_weights")
"""What the repr of every problem tells, given or not."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A loss of N rows of K logits: softmax cross-entropy, unless `loss` names another (formulas: `reference.loss`).

    Arguments:
      logits: (N, K) members of `format`, NaN, infinities and K = 1 included; N may be 0, K may not. None where there is a
        linear layer, whose output they are (`of_layer`); what is read is then the nearest number of float64 to each.
      target: class indices (N,), each in [0, K) or equal to `ignore_index`; or probabilities (N, K), finite, >= 0 and
        members of `format`. They need not sum to 1: the loss is sum_c q_c (lse - x_c) as it stands.
      format: the format of logits, probabilities, class weights, cotangent and tangent, or its name.
      loss: which loss; it decides which target (`reference.loss.SPECS`) and which options (`reference.options`) are allowed.
      class_weights: (K,), finite, >= 0, members of `format`; None means 1 for all.
      row_weights: (N,), finite, >= 0, members of `format`: each multiplies the whole loss of its row, and changes no divisor;
        a row of weight 0 contributes exactly nothing. None means 1 for all.
      normaliser: n > 0 and finite: the losses, reduced or not, are divided by it, and a mean by nothing else. It is what
        micro-batches of one mean need (the number of tokens of them all); None means that a mean divides as follows.
      label_smoothing: s in [0, 1]: the target becomes (1 - s) target + s/K (K counts every class, masked ones too).
      ignore_index: rows whose class index equals it contribute exactly nothing; class indices only.
      reduction: 'none' (one loss a row), 'sum', or 'mean'. As PyTorch defines it, the mean of class indices divides by
        the sum of the class weights of the rows that count, the mean of probabilities by N.
      temperature: T > 0 and finite: the logits are divided by T exactly, behind scale and softcap.
      cotangent: upstream gradient, (N,) for 'none' and () otherwise, finite, members of `format`; None means 1.
      tangent: (N, K), finite members of `format`: the direction of the Hessian-vector product, and the cotangent of a
        log_softmax or softmax; None means no product.
      logit_scale: s > 0 and finite: the logits are multiplied by s exactly, before anything else.
      logit_softcap: c > 0 and finite: the logits, scaled, become c tanh(s x/c), before the temperature; None means they do not.
      z_loss: z >= 0 and finite: adds z lse^2 to each row that counts, whatever its class weights; the mean divides both.
      focusing: g >= 0 and finite: the exponent of a focal loss.
      positive_weight: >= 0 and finite: the weight of the positive class of a sigmoid loss.
      features: (N, D) members of `format`, D >= 1, NaN and infinities included: the input h of a linear layer, whose output
        h W^T + b the logits are exactly (`reference.linear`); given with its weight. None means there is no layer.
      weight: (K, D) finite members of `format`: the layer's W.
      bias: (K,) members of `format`, finite or -inf: the layer's b; None means it has none.

    Raises:
      ValueError: an argument is not allowed; the message names it, what was given and what is allowed.

    >>> Problem([[20.0, 0.0]], [0], "float32").num_classes
    2
    >>> Problem([[20.0, 0.0]], [2], "float32")
    Traceback (most recent call last):
    ...
    ValueError: target[0] is 2; allowed: a class index in [0, 2) or ignore_index = -100
    """

    logits: Floats
    target: NDArray[Any]
    format: Format
    loss: Loss = Loss.CROSS_ENTROPY
    class_weights: Floats | None = None
    row_weights: Floats | None = None
    normaliser: float | None = None
    label_smoothing: float = 0.0
    ignore_index: int = -100
    reduction: Reduction = Reduction.NONE
    temperature: float = 1.0
    cotangent: Floats | None = None
    tangent: Floats | None = None
    logit_scale: float = 1.0
    logit_softcap: float | None = None
    z_loss: float = 0.0
    focusing: float = 0.0
    positive_weight: float = 1.0
    features: Floats | None = None
    weight: Floats | None = None
    bias: Floats | None = None
    layer: Layer | None = field(default=None, init=False)
    """The linear layer; None if there is none."""

    @in_default_state
    def __post_init__(self) -> None:
        object.__setattr__(self, "format", format_named(self.format))
        self._check_loss()
        self._set("logits", self._checked_logits())
        if self.logits.ndim != 2 or self.logits.shape[1] == 0:
            raise ValueError(f"logits has shape {self.logits.shape}; allowed: (N, K) with K >= 1")
        if self.is_binary and self.num_classes != 1:
            raise ValueError(f"logits has shape {self.logits.shape} and loss is {self.loss.value!r}; allowed: (N, 1)")
        for scalar in _SCALARS:
            object.__setattr__(self, scalar.name, scalar.checked(getattr(self, scalar.name)))
        self._set("target", self._checked_target())
        for array in _ARRAYS:
            self._check_array(array)

    @classmethod
    def of_layer(cls, layer: Mapping[str, ArrayLike], target: ArrayLike, fmt: Format | str, **options: Any) -> Problem:
        """The problem of the exact output of a linear layer: `layer` has its features, its weight and its bias, if it has one.

        >>> layer = {"features": [[2.0, 1.0]], "weight": [[3.0, 0.5], [3.0, 0.25]]}
        >>> Problem.of_layer(layer, [0], "float32").logits.tolist()
        [[6.5, 6.25]]
        """
        given: dict[str, Any] = {"logits": None, "target": target, "format": fmt, **layer, **options}
        return cls(**given)

    @property
    def num_rows(self) -> int:
        """N, the number of rows."""
        return int(self.logits.shape[0])

    @property
    def num_classes(self) -> int:
        """K, the number of classes: 1 for a sigmoid loss."""
        return int(self.logits.shape[1])

    @property
    def stored_logits(self) -> Floats:
        """(N, K): the logits as members of the format: those of a layer rounded to it."""
        return self.logits if self.layer is None else self.format.round(self.logits)

    @property
    def layer_logits(self) -> Logits | None:
        """The exact output of the layer; None where `logits` has the logits as they are."""
        return None if self.layer is None or self.layer.logits.are_floats else self.layer.logits

    @property
    def has_probabilities(self) -> bool:
        """True if the target is probabilities, False if it is class indices."""
        return self.target.ndim == 2

    @property
    def has_target_gradient(self) -> bool:
        """True if the gradient by the target is defined: of cross-entropy of probabilities."""
        return self.has_probabilities and self.loss.spec.is_log_probability

    @property
    def is_plain(self) -> bool:
        """True if the loss of a row is one log-probability: class indices, no weights, smoothing or other loss option."""
        return not (self.has_probabilities or any(self.gives(argument) and not argument.is_plain for argument in ARGUMENTS))

    @property
    def changes_logits(self) -> bool:
        """True if an option changes the logits before the softmax is taken of them."""
        return any(option.changes_logits and self.gives(option) for option in OPTIONS.values())

    @property
    def is_binary(self) -> bool:
        """True if each row is one logit x that stands for the two-class row [x, 0]."""
        return self.loss.spec.binary

    @property
    def is_weighted(self) -> bool:
        """True if the derivatives of a row are those of a weighted log-probability: such a loss, no softcap and no z-loss."""
        return self.loss.spec.weighted and self.logit_softcap is None and self.z_loss == 0.0

    @cached_property
    def ignored(self) -> Bools:
        """(N,): True where the row's class index is `ignore_index`."""
        if self.has_probabilities:
            return np.zeros(self.num_rows, dtype=bool)
        return np.asarray(self.target == self.ignore_index)

    @property
    def silent(self) -> Bools:
        """(N,): True where the row adds nothing, whatever its logits: it is ignored, or its weight is 0."""
        return self.ignored if self.row_weights is None else self.ignored | (self.row_weights == 0)

    @property
    def is_divided(self) -> bool:
        """True if the losses are divided: by a normaliser, or by a mean."""
        return self.normaliser is not None or self.reduction is Reduction.MEAN

    @property
    def ignored_class(self) -> int | None:
        """`ignore_index` where a row has it, None where no row is ignored."""
        return self.ignore_index if self.ignored.any() else None

    @property
    def out_of_range(self) -> Bools:
        """(N,): True where a class index that counts is not in [0, K): in problems `with_unchecked_target` alone."""
        if self.has_probabilities:
            return np.zeros(self.num_rows, dtype=np.bool_)
        return ~self.ignored & ((self.target < 0) | (self.target >= self.num_classes))

    @property
    @in_default_state
    def upstream(self) -> Floats:
        """The cotangent, of ones if none is given: (N,) for 'none' and () otherwise."""
        if self.cotangent is not None:
            return self.cotangent
        return np.ones(self._shape(Axes.LOSSES))

    def gives(self, argument: Option) -> bool:
        """True if an argument is not at its default."""
        return argument.is_given(getattr(self, argument.name))

    def uses(self, option: Option) -> bool:
        """True if an option changes something: it is given, or where it is the label of ignored rows, a row has it."""
        return bool(self.ignored.any()) if isinstance(option.kind, Label) else self.gives(option)

    def replace(self, **changes: Any) -> Problem:
        """A copy with some arguments changed, validated anew."""
        given = {} if self.layer is None else {"logits": None}
        return replace(self, **(given | changes))

    @in_default_state
    def reduced_by(self, reduction: Reduction) -> Problem:
        """A copy whose losses are reduced; of the cotangents of its rows the first is that of the result.

        Nothing is validated anew, so that a target out of range stays as it is.

        >>> Problem([[0.0], [1.0]], [0, 0], "float32", cotangent=[2.0, 3.0]).reduced_by(Reduction.MEAN).cotangent
        array(2.)
        """
        copied = copy(self)
        object.__setattr__(copied, "reduction", reduction)
        if self.cotangent is not None and self.cotangent.ndim:
            copied._set("cotangent", np.array(self.cotangent[0] if self.num_rows else 1.0))
        return copied

    @in_default_state
    def with_unchecked_target(self, target: ArrayLike) -> Problem:
        """A copy with class indices or labels that are not validated: to ask what an operation does with those out of range."""
        copied = copy(self)
        copied.__dict__.pop("ignored", None)
        copied._set("target", np.array(target, dtype=self.target.dtype))
        return copied

    def without_classes(self) -> Problem:
        """A copy with rows of no logits, which is not validated: to ask what an operation does with them."""
        copied = self.with_unchecked_target(self.target[:, :0] if self.has_probabilities else self.target)
        copied._set("logits", self.logits[:, :0].copy())
        return copied

    def __repr__(self) -> str:
        """Short for many classes; exact hexadecimal inputs are in what a failure prints."""
        rows = ", ".join(np.array2string(row, threshold=8) for row in self.logits[:4])
        told = [a for a in ARGUMENTS if self.gives(a) and not a.is_plain and a.name not in _ALWAYS_TOLD]
        extended = "".join(f", {a.words} {getattr(self, a.name)}" for a in told)
        return (
            f"<{self.format.name} logits ({self.num_rows}, {self.num_classes}): {rows}; target "
            f"{np.array2string(self.target, threshold=8)}; reduction {self.reduction}, cotangent {self.cotangent}, "
            f"label smoothing {self.label_smoothing}, class weights {self.class_weights is not None}{extended}>"
        )

    def _check_loss(self) -> None:
        loss = LOSS.checked(self.loss)
        object.__setattr__(self, "loss", loss)
        for argument in ARGUMENTS:
            if self.gives(argument) and not argument.is_taken_by(loss):
                given = getattr(self, argument.name)
                allowed = ", ".join(arguments_of(loss)) or "none of the options that depend on the loss"
                raise ValueError(f"{argument.name} is {given!r} and loss is {loss.value!r}; allowed: {allowed}")

    def _shape(self, axes: Axes) -> tuple[int, ...]:
        return {
            Axes.CLASSES: (self.num_classes,),
            Axes.ROWS: (self.num_rows,),
            Axes.LOGITS: (self.num_rows, self.num_classes),
            Axes.LOSSES: (self.num_rows,) if self.reduction is Reduction.NONE else (),
        }[axes]

    def _checked_logits(self) -> Floats:
        """The logits that are given, or those nearest to the output of the layer that is given."""
        layer = Layer.of({option.name: getattr(self, option.name) for option in LAYER}, self.format)
        if layer is None:
            return members(self.format, "logits", self.logits, NOT_FINITE)
        given: Any = self.logits
        if given is not None:
            raise ValueError("logits and features are both given; allowed: one of them: the output of a layer is its logits")
        object.__setattr__(self, "layer", layer)
        for option in LAYER:
            if (part := getattr(layer, option.name)) is not None:
                self._set(option.name, part)
        return layer.logits.nearest

    def _set(self, name: str, array: NDArray[Any]) -> None:
        array.setflags(write=False)
        object.__setattr__(self, name, array)

    def _check_array(self, option: Option) -> None:
        assert isinstance(option.kind, Array)
        given, shape = getattr(self, option.name), self._shape(option.kind.axes)
        if given is None:
            return
        array = members(self.format, option.name, given)
        if array.shape != shape:
            raise ValueError(f"{option.name} has shape {array.shape}; allowed: {shape}")
        if not option.kind.is_signed and (array < 0).any():
            index = int(np.argmax(array < 0))
            raise ValueError(f"{option.name}[{index}] is {float(array.flat[index])!r}; allowed: numbers >= 0")
        self._set(option.name, array)

    def _checked_target(self) -> NDArray[Any]:
        try:
            target, spec = np.asarray(self.target), self.loss.spec
        except ValueError as error:
            raise ValueError(f"target is not an array of numbers ({error}); allowed: {self.loss.spec.target.value}") from None
        if target.shape == self.logits.shape and target.dtype.kind == "f" and spec.takes_probabilities:
            return self._checked_probabilities(target)
        indices = target.shape == (self.num_rows,) and (target.dtype.kind in "iu" or target.size == 0)
        if indices and spec.takes_indices:
            return self._checked_indices(target)
        allowed = spec.target.value.replace("(N,", f"({self.num_rows},").replace("K)", f"{self.num_classes})")
        raise ValueError(f"target has shape {target.shape} and dtype {target.dtype}; allowed: {allowed}")

    def _checked_probabilities(self, target: NDArray[Any]) -> Floats:
        probabilities = members(self.format, "target", target)
        if (probabilities < 0).any():
            where = ", ".join(str(int(i)) for i in np.argwhere(probabilities < 0)[0])
            raise ValueError(f"target[{where}] is {float(probabilities[probabilities < 0][0])!r}; allowed: probabilities >= 0")
        if self.is_binary:
            self._check_binary(probabilities)
        return probabilities

    def _check_binary(self, target: Floats) -> None:
        classes = self.loss.spec.target is Target.BINARY_CLASSES
        bad = (target != 0) & (target != 1) if classes else target > 1
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"target[{row}, 0] is {float(target[row, 0])!r}; allowed: {'0 or 1' if classes else 'numbers in [0, 1]'}"
            )

    def _checked_indices(self, target: NDArray[Any]) -> NDArray[np.int64]:
        outside = ((target < 0) | (target >= self.num_classes)) & (target != self.ignore_index)
        if outside.any():
            row = int(np.argmax(outside))
            raise ValueError(
                f"target[{row}] is {int(target[row])}; allowed: a class index in [0, {self.num_classes}) "
                f"or ignore_index = {self.ignore_index}"
            )
        return target.astype(np.int64)


def layer_of(problem: Problem) -> Layer:
    """The linear layer of a problem that has one.

    Raises:
      ValueError: it has none.
    """
    if problem.layer is None:
        raise ValueError("a gradient of the linear layer without one; give the problem features (N, D) and weight (K, D)")
    return problem.layer
