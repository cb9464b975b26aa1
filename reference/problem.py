"""One exact question: logits in a format, a target, and the options of softmax cross-entropy.

Every number is taken at its exact binary value. What is not allowed is refused here, so nothing behind this file checks
shapes, ranges or dtypes again.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reference.formats import Bools, Floats, Format

REDUCTIONS = ("none", "sum", "mean")


@dataclass(frozen=True, eq=False)
class Problem:
    """Softmax cross-entropy of N rows of K logits.

    Arguments:
      logits: (N, K) members of `format`, NaN, infinities and K = 1 included; N may be 0, K may not.
      target: class indices (N,), each in [0, K) or equal to `ignore_index`; or probabilities (N, K), finite, >= 0 and
        members of `format`. They need not sum to 1: the loss is sum_c q_c (lse - x_c) as it stands.
      format: the format of logits, probabilities, class weights, cotangent and tangent.
      class_weights: (K,), finite, >= 0, members of `format`; None means 1 for all.
      label_smoothing: s in [0, 1]: the target becomes (1 - s) target + s/K (K counts every class, masked ones too).
      ignore_index: rows whose class index equals it contribute exactly nothing; class indices only.
      reduction: 'none' (one loss a row), 'sum', or 'mean'. As PyTorch defines it, the mean of class indices divides by
        the sum of the class weights of the rows that count, the mean of probabilities by N.
      temperature: T > 0 and finite: the logits are divided by T exactly.
      cotangent: upstream gradient, (N,) for 'none' and () otherwise, finite, members of `format`; None means 1.
      tangent: (N, K), finite members of `format`: the direction of the Hessian-vector product; None means no product.

    Raises:
      ValueError: an argument is not allowed; the message names it, what was given and what is allowed.

    >>> from reference.formats import FLOAT32
    >>> Problem([[20.0, 0.0]], [0], FLOAT32).num_classes
    2
    >>> Problem([[20.0, 0.0]], [2], FLOAT32)
    Traceback (most recent call last):
    ...
    ValueError: target[0] is 2; allowed: a class index in [0, 2) or ignore_index = -100
    """

    logits: Floats
    target: NDArray[Any]
    format: Format
    class_weights: Floats | None = None
    label_smoothing: float = 0.0
    ignore_index: int = -100
    reduction: str = "none"
    temperature: float = 1.0
    cotangent: Floats | None = None
    tangent: Floats | None = None

    def __post_init__(self) -> None:
        self._set("logits", self._members("logits", self.logits, finite=False))
        if self.logits.ndim != 2 or self.logits.shape[1] == 0:
            raise ValueError(f"logits has shape {self.logits.shape}; allowed: (N, K) with K >= 1")
        if self.reduction not in REDUCTIONS:
            raise ValueError(f"reduction is {self.reduction!r}; allowed: {', '.join(map(repr, REDUCTIONS))}")
        self._check_scalars()
        self._set("target", self._checked_target())
        self._check_optional("class_weights", (self.num_classes,), minimum=0.0)
        self._check_optional("cotangent", (self.num_rows,) if self.reduction == "none" else ())
        self._check_optional("tangent", self.logits.shape)

    @property
    def num_rows(self) -> int:
        """N."""
        return int(self.logits.shape[0])

    @property
    def num_classes(self) -> int:
        """K."""
        return int(self.logits.shape[1])

    @property
    def has_probabilities(self) -> bool:
        """True if the target is probabilities, False if it is class indices."""
        return self.target.ndim == 2

    @property
    def is_plain(self) -> bool:
        """True if the loss of a row is one log-probability: class indices, no weights, no smoothing."""
        return not self.has_probabilities and self.class_weights is None and self.label_smoothing == 0.0

    @cached_property
    def ignored(self) -> Bools:
        """(N,): True where the row's class index is `ignore_index`."""
        if self.has_probabilities:
            return np.zeros(self.num_rows, dtype=bool)
        return np.asarray(self.target == self.ignore_index)

    def replace(self, **changes: Any) -> Problem:
        """A copy with some arguments changed, validated anew."""
        return replace(self, **changes)

    def with_unchecked_target(self, target: ArrayLike) -> Problem:
        """A copy with class indices that are not validated: to ask what an operation does with those out of range."""
        copied = copy(self)
        copied.__dict__.pop("ignored", None)
        copied._set("target", np.array(target, dtype=np.int64))
        return copied

    def __repr__(self) -> str:
        """Short for many classes; exact hexadecimal inputs are in what a failure prints."""
        rows = ", ".join(np.array2string(row, threshold=8) for row in self.logits[:4])
        return (
            f"<{self.format.name} logits ({self.num_rows}, {self.num_classes}): {rows}; target "
            f"{np.array2string(self.target, threshold=8)}; reduction {self.reduction}, cotangent {self.cotangent}, "
            f"label smoothing {self.label_smoothing}, class weights {self.class_weights is not None}>"
        )

    def _set(self, name: str, array: NDArray[Any]) -> None:
        array.setflags(write=False)
        object.__setattr__(self, name, array)

    def _members(self, name: str, values: ArrayLike, finite: bool = True) -> Floats:
        try:
            array = np.array(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} is not an array of numbers ({error}); allowed: {self.format.name} values") from None
        bad = ~self.format.contains(array) | (finite & ~np.isfinite(array))
        if bad.any():
            where = ", ".join(str(int(i)) for i in np.argwhere(bad)[0])
            kind = f"finite {self.format.name} numbers" if finite else f"{self.format.name} numbers"
            raise ValueError(f"{name}[{where}] is {float(array[bad].flat[0])!r}; allowed: {kind}")
        return array

    def _check_scalars(self) -> None:
        if not 0.0 <= self.label_smoothing <= 1.0:
            raise ValueError(f"label_smoothing is {self.label_smoothing!r}; allowed: a number in [0, 1]")
        if not (0.0 < self.temperature < np.inf):
            raise ValueError(f"temperature is {self.temperature!r}; allowed: a finite number > 0")

    def _check_optional(self, name: str, shape: tuple[int, ...], minimum: float = -np.inf) -> None:
        given = getattr(self, name)
        if given is None:
            return
        array = self._members(name, given)
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}; allowed: {shape}")
        if (array < minimum).any():
            index = int(np.argmax(array < minimum))
            raise ValueError(f"{name}[{index}] is {float(array.flat[index])!r}; allowed: numbers >= {minimum:g}")
        self._set(name, array)

    def _checked_target(self) -> NDArray[Any]:
        target = np.asarray(self.target)
        if target.shape == self.logits.shape and target.dtype.kind == "f":
            return self._checked_probabilities(target)
        if target.shape == (self.num_rows,) and (target.dtype.kind in "iu" or target.size == 0):
            return self._checked_indices(target)
        raise ValueError(
            f"target has shape {target.shape} and dtype {target.dtype}; allowed: integer class indices of shape "
            f"({self.num_rows},), or floating-point probabilities of shape {self.logits.shape}"
        )

    def _checked_probabilities(self, target: NDArray[Any]) -> Floats:
        probabilities = self._members("target", target)
        if (probabilities < 0).any():
            where = ", ".join(str(int(i)) for i in np.argwhere(probabilities < 0)[0])
            raise ValueError(f"target[{where}] is {float(probabilities[probabilities < 0][0])!r}; allowed: probabilities >= 0")
        return probabilities

    def _checked_indices(self, target: NDArray[Any]) -> NDArray[np.int64]:
        outside = ((target < 0) | (target >= self.num_classes)) & (target != self.ignore_index)
        if outside.any():
            row = int(np.argmax(outside))
            raise ValueError(
                f"target[{row}] is {int(target[row])}; allowed: a class index in [0, {self.num_classes}) "
                f"or ignore_index = {self.ignore_index}"
            )
        return target.astype(np.int64)
