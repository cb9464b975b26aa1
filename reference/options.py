"""The options of a loss: one table, from which checks, generated problems, cases, limits and claims take theirs.

A new option is a line of `OPTIONS` and a field of `Problem`, its mathematics, and its words in the backends that have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from numbers import Integral, Real
from typing import Any

from reference.loss import Loss
from reference.reduction import Reduction


@dataclass(frozen=True)
class Number:
    """A real number: `allowed` says in words what `accepts` asks of it."""

    allowed: str
    accepts: Callable[[Any], bool]

    def converted(self, given: Any) -> Any:
        """The number; one of another type, such as NumPy's, as the float64 that it equals.

        Raises:
          ValueError: it is not allowed, or no float64.
        """
        if not (isinstance(given, Real) and self.accepts(given)):
            raise ValueError
        try:
            exact = float(given)
        except OverflowError:
            raise ValueError from None
        if exact != given:
            raise ValueError
        kind: Any = type(given)
        return given if kind in (int, float) else exact


@dataclass(frozen=True)
class Label:
    """A whole number that may stand in the place of a class index: the rows that have it do not count."""

    allowed: str = "a whole number"

    def converted(self, given: Any) -> Any:
        """The label, as an int.

        Raises:
          ValueError: it is no whole number.
        """
        if not isinstance(given, Integral):
            raise ValueError
        return int(given)


@dataclass(frozen=True)
class Choice:
    """A member of an enum, or its value."""

    members: type[StrEnum]

    @property
    def allowed(self) -> str:
        """The values."""
        return ", ".join(repr(member.value) for member in self.members)

    def converted(self, given: Any) -> StrEnum:
        """The member.

        Raises:
          ValueError: there is none.
        """
        return self.members(given)


NOT_FINITE = (math.nan, math.inf, -math.inf)
"""The numbers that are not finite."""


class Axes(StrEnum):
    """The shape of an array in a problem of N rows of K classes, by what it has one number for; D features in a layer."""

    CLASSES = "(K,)"
    ROWS = "(N,)"
    LOGITS = "(N, K)"
    FEATURES = "(N, D)"
    WEIGHT = "(K, D)"
    LOSSES = "(N,) for 'none' and () otherwise"


@dataclass(frozen=True)
class Array:
    """An array of members of the problem's format, >= 0 unless `is_signed`; finite, but for what `astray` names."""

    axes: Axes
    is_signed: bool = True
    astray: tuple[float, ...] = ()


@dataclass(frozen=True)
class Option:
    """An argument of `Problem` that may be left out.

    Arguments:
      name: that of the field of `Problem`, in cases, limits and claims too.
      default: what it is where it is left out; None is allowed where it is the default.
      kind: what it may be.
      losses: the losses that take it; None for all.
      drawn: values of generated problems, the simplest first; arrays are drawn by their kind.
      drawn_few: those where each value costs a compilation; the first two of `drawn` unless they are given.
      turn: options of a lower turn are drawn before; the problems of a seed depend on it.
      is_plain: True if the loss of a row stays one log-probability with it.
      is_essential: True if it is always drawn: without it the losses that take it are other losses.
      changes_logits: True if it changes the logits, so that building blocks, which take them as they are, refuse it.
    """

    name: str
    default: Any
    kind: Number | Label | Choice | Array
    losses: frozenset[Loss] | None = None
    drawn: tuple[Any, ...] = ()
    drawn_few: tuple[Any, ...] | None = None
    turn: int = 0
    is_plain: bool = False
    is_essential: bool = False
    changes_logits: bool = False

    @property
    def words(self) -> str:
        """The name as texts have it.

        >>> OPTIONS["label_smoothing"].words
        'label smoothing'
        """
        return self.name.replace("_", " ")

    def is_taken_by(self, loss: Loss) -> bool:
        """True if a loss takes it."""
        return self.losses is None or loss in self.losses

    def is_given(self, value: Any) -> bool:
        """True if a value is not the default.

        >>> OPTIONS["temperature"].is_given(1), OPTIONS["temperature"].is_given(2)
        (False, True)
        """
        try:
            return value is not self.default and (self.default is None or bool(value != self.default))
        except ValueError:  # an array, which is no value of an option and is refused where it is checked
            return True

    def values(self, few: bool) -> tuple[Any, ...]:
        """What is drawn, where values should be few or not."""
        if not few:
            return self.drawn
        return self.drawn[:2] if self.drawn_few is None else self.drawn_few

    def checked(self, given: Any) -> Any:
        """The value of what is no array; a choice as its member.

        Raises:
          ValueError: it is not allowed; the message says what is.

        >>> OPTIONS["logit_softcap"].checked(0.0)
        Traceback (most recent call last):
        ...
        ValueError: logit_softcap is 0.0; allowed: a finite number > 0, or None
        """
        assert not isinstance(self.kind, Array)
        if given is None and self.default is None:
            return None
        try:
            return self.kind.converted(given)
        except ValueError:
            or_none = ", or None" if self.default is None else ""
            raise ValueError(f"{self.name} is {given!r}; allowed: {self.kind.allowed}{or_none}") from None


_FRACTION = Number("a number in [0, 1]", lambda value: 0.0 <= value <= 1.0)
_POSITIVE = Number("a finite number > 0", lambda value: 0.0 < value < math.inf)
_NOT_NEGATIVE = Number("a finite number >= 0", lambda value: 0.0 <= value < math.inf)

_OF_CROSS_ENTROPY = frozenset({Loss.CROSS_ENTROPY})

_TABLE = (
    Option("class_weights", None, Array(Axes.CLASSES, is_signed=False), _OF_CROSS_ENTROPY),
    Option("row_weights", None, Array(Axes.ROWS, is_signed=False), turn=2),
    Option("normaliser", None, _POSITIVE, drawn=(None, 4.0, 3.0, 0.75, 4096.0), turn=2),
    Option("label_smoothing", 0.0, _FRACTION, _OF_CROSS_ENTROPY, drawn=(0.0, 0.1, 0.5, 1.0), turn=-1),
    Option(
        "ignore_index",
        -100,
        Label(),
        frozenset({Loss.CROSS_ENTROPY, Loss.FOCAL}),
        drawn=(-100, 0, -1),
        drawn_few=(-100, 0, -1),
        turn=1,
        is_plain=True,
    ),
    Option(
        "reduction",
        Reduction.NONE,
        Choice(Reduction),
        drawn=tuple(Reduction),
        drawn_few=(Reduction.NONE, Reduction.MEAN),  # a mean is a sum too
        turn=-2,
        is_plain=True,
    ),
    Option(
        "temperature",
        1.0,
        _POSITIVE,
        frozenset({Loss.CROSS_ENTROPY, Loss.KL_DIVERGENCE}),
        drawn=(1.0, 2.0, 0.75),
        is_plain=True,
        changes_logits=True,
    ),
    Option(
        "logit_scale",
        1.0,
        _POSITIVE,
        _OF_CROSS_ENTROPY,
        drawn=(1.0, 0.0625, 0.5),  # powers of 2, by which a product is exact: a kernel may scale before it shifts
        is_plain=True,
        changes_logits=True,
    ),
    Option("logit_softcap", None, _POSITIVE, _OF_CROSS_ENTROPY, drawn=(None, 30.0, 1.0, 50.0), changes_logits=True),
    Option("z_loss", 0.0, _NOT_NEGATIVE, _OF_CROSS_ENTROPY, drawn=(0.0, 1e-4, 0.5)),
    Option(
        "focusing",
        0.0,
        _NOT_NEGATIVE,
        frozenset({Loss.FOCAL, Loss.SIGMOID_FOCAL}),
        drawn=(2.0, 1.0, 0.5, 0.0, 5.0),
        is_essential=True,
    ),
    Option("positive_weight", 1.0, _NOT_NEGATIVE, frozenset({Loss.SIGMOID}), drawn=(1.0, 2.0, 0.25, 0.0)),
)

OPTIONS = {option.name: option for option in _TABLE}
"""The options that operations take or lack, by name."""

LOSS = Option("loss", Loss.CROSS_ENTROPY, Choice(Loss))
"""The loss itself, an argument like an option: an operation computes one."""

COTANGENT = Option("cotangent", None, Array(Axes.LOSSES), is_plain=True)
"""The upstream gradient."""

VECTORS = (
    COTANGENT,
    Option("tangent", None, Array(Axes.LOGITS), is_plain=True),
)
"""Arrays that enter derivatives alone; they are given where a derivative is asked for that needs them."""

LAYER = (
    Option("features", None, Array(Axes.FEATURES, astray=NOT_FINITE), _OF_CROSS_ENTROPY),
    Option("weight", None, Array(Axes.WEIGHT), _OF_CROSS_ENTROPY),
    Option("bias", None, Array(Axes.CLASSES, astray=(-math.inf,)), _OF_CROSS_ENTROPY),
)
"""The linear layer whose output the logits are; it is given in their place."""

PARTS = tuple(option.name for option in LAYER)
"""Names of the parts of a linear layer: features, weight and bias."""

ARGUMENTS = (LOSS, *_TABLE, *VECTORS, *LAYER)
"""Every argument of `Problem` that may be left out."""


def arguments_of(loss: Loss) -> tuple[str, ...]:
    """Names of the arguments that a loss takes and some other loss does not.

    >>> arguments_of(Loss.KL_DIVERGENCE)
    ('temperature',)
    """
    return tuple(argument.name for argument in ARGUMENTS if argument.losses is not None and loss in argument.losses)
