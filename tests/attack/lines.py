"""What is attacked: each bound, by an algorithm, of a case, in a declared arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from reference.arithmetic import PAIRWISE, RECURSIVE, Arithmetic, Order, Summation
from reference.formats import Format
from reference.loss import Loss
from reference.quantity import LAYER_GRADIENTS, OF_LOGITS, OF_SOME_PROBLEMS, Quantity
from tests.attack.algorithms import ALGORITHMS
from tests.attack.careful import CAREFUL
from tests.attack.search import COMPONENTWISE, Attack, Shape, worst_of

_ULPS: dict[str, Any] = {"exp_ulps": 0.501, "log_ulps": 0.501, "tanh_ulps": 0.501}
"""What functions of float64 are off by once they are rounded to a narrower format."""

LANES = Summation(Order.LANES, 8)
DECLARED: dict[str, dict[str, Any]] = {
    "recursive": {"summation": RECURSIVE},
    "pairwise": {"summation": PAIRWISE},
    "lanes of 8": {"summation": LANES},
    "online": {"summation": replace(RECURSIVE, tile=1)},
    "online, pairwise merges": {"summation": replace(PAIRWISE, tile=1)},
    "online, lanes of 8": {"summation": replace(LANES, tile=1)},
    "tiles of 8": {"summation": replace(PAIRWISE, tile=8)},
    "base 2": {"base_2": True},
    "base 2, online": {"base_2": True, "summation": replace(RECURSIVE, tile=1)},
    "reciprocals": {"reciprocals": True},
    "softplus": {"softplus": True},
}
"""Arithmetics by name, as they are declared and as they compute."""


_ONE_ROW = Shape(1, 24)


@dataclass(frozen=True)
class Case:
    """Problems of a kind: each of the options in turn, in rows and classes that are few where a computation is long."""

    options: tuple[dict[str, Any], ...]
    shape: Shape = _ONE_ROW


_SCALED = {"cotangent": 3.0, "temperature": 0.75}
_SCALED_CAP = {"logit_scale": 0.4375, "logit_softcap": 8.0, "temperature": 1.5, "soft": True}
_SMOOTHED = {"weighted": True, "soft": True, "label_smoothing": 0.3}
_REDUCED = ({}, _SCALED, _SMOOTHED | _SCALED, {"weighted": True})
_ONE_HOT = {"loss": Loss.SQUARED_ERROR, "one_hot": True}
_WEIGHTED = {"row_weighted": True, "normaliser": 3.0}
_ROW_WEIGHTED = ({}, {"reduction": "sum"}, {"reduction": "mean"} | _SCALED, {"normaliser": None} | _SMOOTHED | _SCALED)
CASES: dict[str, Case] = {
    "cross_entropy": Case(({}, {"soft": True}, {"temperature": 0.75})),
    "factors": Case((_SCALED, _SMOOTHED | _SCALED, {"label_smoothing": 0.3}, {"weighted": True}), Shape(1, 6)),
    "sum": Case(tuple(options | {"reduction": "sum"} for options in _REDUCED), Shape(4, 3)),
    "mean": Case(tuple(options | {"reduction": "mean"} for options in _REDUCED), Shape(4, 3)),
    "row weight": Case((_WEIGHTED, _WEIGHTED | _SMOOTHED | _SCALED), Shape(1, 6)),
    "row weights": Case(tuple(_WEIGHTED | options for options in _ROW_WEIGHTED), Shape(4, 3)),
    "linear layer": Case(({"layer": True}, {"layer": True, "weighted": True, "reduction": "mean"}), Shape(6, 3)),
    "dense layer": Case(({"width": 3}, {"width": 2, "temperature": 0.75, "reduction": "mean"}), Shape(3, 4)),
    "dense layer, softcap": Case(({"width": 2, "logit_softcap": 5.0, "z_loss": 0.25},), Shape(2, 4)),
    "z_loss": Case(({"z_loss": 0.25}, {"z_loss": 0.5, "temperature": 0.75, "soft": True}), Shape(1, 6)),
    "softcap": Case(({"logit_softcap": 5.0}, {"logit_softcap": 8.0, "temperature": 1.5, "soft": True}), Shape(1, 6)),
    "scale": Case(({"logit_scale": 0.4375}, {"logit_scale": 1.375, "temperature": 0.75, "soft": True}), Shape(1, 6)),
    "scale, softcap": Case(({"logit_scale": 1.375, "logit_softcap": 5.0}, _SCALED_CAP), Shape(1, 6)),
    "kl_divergence": Case(({"loss": Loss.KL_DIVERGENCE, "soft": True},), Shape(1, 6)),
    "squared_error": Case(({"loss": Loss.SQUARED_ERROR, "soft": True},), Shape(1, 6)),
    "squared_error, one-hot": Case(tuple(_ONE_HOT | options for options in ({}, {"at_top": True})), Shape(1, 6)),
    "focal": Case(({"loss": Loss.FOCAL, "focusing": 2.0}, {"loss": Loss.FOCAL, "focusing": 3.5, "at_top": True}), Shape(1, 6)),
    "sigmoid": Case(({"loss": Loss.SIGMOID, "label": 0.3, "positive_weight": 3.0},), Shape(1, 1)),
    "soft sigmoid": Case(tuple({"loss": Loss.SIGMOID, "label": y} for y in (0.9, 0.992, 0.01, 1.0)), Shape(1, 1)),
}
"""What problems are attacked with."""


@dataclass(frozen=True)
class Line:
    """A bound, the case, the algorithm that attacks it, and the arithmetic that both have."""

    quantity: Quantity
    way: str
    declared: str
    case: str = "cross_entropy"
    hidden: dict[str, Any] = field(default_factory=dict, hash=False)
    """Fields of the arithmetic that the bound is not told of."""

    def attacks(self, fmt: Format) -> Iterator[Attack]:
        """Under each option that the quantity has."""
        arithmetic = Arithmetic(fmt, fmt, **_ULPS | DECLARED[self.declared])
        case = CASES[self.case]
        for options in case.options:
            labels = options.get("soft", False)
            if labels if self.quantity is Quantity.TARGET_GRADIENT else not (labels and self.quantity in OF_LOGITS):
                bound = replace(arithmetic, **self.hidden)
                yield Attack(self.quantity, self.way, arithmetic, case.shape, options, bound)

    def ratio(self, kind: str, fmt: Format, tries: int) -> float:
        """The largest ratio of all options."""
        return max(worst_of(attack, kind, tries).ratio for attack in self.attacks(fmt))

    @property
    def names(self) -> tuple[str, str, str, str]:
        """The first cells of its row."""
        return self.quantity, self.case, self.way or "one", self.declared


_DERIVED = (Quantity.LOSS, Quantity.GRADIENT, Quantity.HVP)
_ONE_WAY = {Quantity.LOSS: "", Quantity.GRADIENT: "quotient", Quantity.HVP: "quotient, difference"}
_LOSSES = ("kl_divergence", "squared_error", "squared_error, one-hot", "focal", "sigmoid")
_SHORT = {Quantity.LOG_SOFTMAX: "", Quantity.SOFTMAX: "exp", Quantity.GRADIENT: "quotient"}


def _careful_lines() -> Iterator[Line]:
    for quantity in CAREFUL[Loss.CROSS_ENTROPY]:
        yield from (Line(quantity, COMPONENTWISE, declared) for declared in ("recursive", "pairwise", "base 2"))
    for quantity in (Quantity.LOSS, Quantity.GRADIENT, Quantity.HESSIAN_DIAGONAL, Quantity.HVP):
        for case in ("factors", "row weight"):
            yield from (Line(quantity, COMPONENTWISE, declared, case) for declared in ("recursive", "reciprocals"))
    for quantity in CAREFUL[Loss.SQUARED_ERROR]:
        for case in ("squared_error", "squared_error, one-hot"):
            yield from (Line(quantity, COMPONENTWISE, declared, case) for declared in ("recursive", "base 2"))


def _lines() -> Iterator[Line]:
    for quantity, ways in ALGORITHMS.items():
        if quantity not in OF_SOME_PROBLEMS:
            yield from (Line(quantity, way, declared) for way in ways for declared in list(DECLARED)[:3])
    for declared in list(DECLARED)[3:-1]:
        yield from (Line(quantity, way, declared) for quantity, way in _SHORT.items())
    for declared in ("online", "base 2", "reciprocals"):
        yield Line(Quantity.SOFTMAX, "quotient", declared)
        yield Line(Quantity.LOG_SOFTMAX_VJP, "quotient", declared)
        yield Line(Quantity.LOG_SOFTMAX_VJP, "powers", declared)
        yield Line(Quantity.SOFTMAX_VJP, "quotient, difference", declared)
        yield Line(Quantity.ENTROPY, "exp, log_softmax", declared)
        yield Line(Quantity.ENTROPY_VJP, "quotient, log_softmax", declared)
        yield from (Line(quantity, way, declared) for quantity, way in _ONE_WAY.items() if quantity not in _SHORT)
    for case in ("factors", "sum", "mean", "row weights", "scale"):
        yield from (
            Line(quantity, way, declared, case)
            for declared in ("recursive", "reciprocals")
            for quantity, way in _ONE_WAY.items()
        )
    for case in ("z_loss", "softcap", "scale, softcap", *_LOSSES):
        for quantity in (*_DERIVED, Quantity.HESSIAN):
            yield Line(quantity, "textbook", "recursive", case)
    for case in ("z_loss", "softcap", "focal"):
        yield Line(Quantity.GRADIENT, "textbook", "online", case)
        for declared in ("base 2", "reciprocals"):
            yield from (Line(quantity, "textbook", declared, case) for quantity in _DERIVED)
    yield Line(Quantity.LOSS, "softplus", "softplus", "soft sigmoid")
    yield Line(Quantity.GRADIENT, "softplus", "softplus", "soft sigmoid")


def _label_lines() -> Iterator[Line]:
    for case in ("cross_entropy", "factors", "mean", "row weights"):
        yield from (Line(Quantity.TARGET_GRADIENT, "", declared, case) for declared in ("recursive", "reciprocals"))


def _layer_lines() -> Iterator[Line]:
    for quantity in LAYER_GRADIENTS:
        for case in ("linear layer", "dense layer"):
            yield from (Line(quantity, way, "recursive", case) for way in ALGORITHMS[quantity])
        yield Line(quantity, "textbook", "recursive", "dense layer, softcap")
    for declared in ("pairwise", "reciprocals"):
        yield Line(Quantity.LOSS, "", declared, "dense layer")
        yield Line(Quantity.GRADIENT, "quotient", declared, "dense layer")


LINES = [*_lines(), *_label_lines(), *_layer_lines(), *_careful_lines()]
"""The rows of the page."""
