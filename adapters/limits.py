"""What a kernel declares that it does not do: limits, by a decorator here or as [[limit]] entries of a claims file.

What is declared away is not asked, and the report lists it; whatever is not declared is held to the claim. A limit that is
stricter than need be costs nothing: that a kernel can do more is not checked. Two keys take nothing away, and are checked:
`returns` says in which format a result comes, `mean_of_nothing` what a mean is where no row counts. This file imports no
framework.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import numpy as np

from adapters.attached import attach, attached_to
from adapters.layout import LABEL_DTYPE, LABEL_DTYPES, Layout
from adapters.usage import USAGES, Usage
from reference.formats import FORMATS, Format
from reference.options import OPTIONS, PARTS
from reference.problem import Problem
from reference.quantity import BLOCK_PRODUCTS, OF_SOME_PROBLEMS, SECOND_ORDER, Quantity
from reference.reduction import Reduction
from reference.validation import check, names, table, text, validator, whole

T = TypeVar("T")

DEVICES = ("cpu", "cuda")
TARGETS = ("indices", "probabilities")
INPUTS = ("logits", "target", *PARTS)
WIDE = ("float32", "float64")
"""Formats in which results of narrower logits may be returned."""
LEAST_MAX_CLASSES = 64
"""The hazard of a long tail has as many classes; a kernel of fewer is not for softmax layers."""

DERIVATIVE_ORDERS = dict.fromkeys((Quantity.GRADIENT, *OF_SOME_PROBLEMS, *BLOCK_PRODUCTS), 1) | dict.fromkeys(SECOND_ORDER, 2)
"""Order of the derivative that a quantity is; the loss and its building blocks are of order 0."""

SCHEMA = table(
    {
        "reason": text(10_000, "a sentence that says why, in one line"),
        "dtypes": names(FORMATS, least=1),
        "devices": names(DEVICES, least=1),
        "derivatives": whole(0, 2),
        "targets": names(TARGETS, least=1),
        "fixed_target": {"type": "boolean"},
        "options": names(OPTIONS),
        "reduces": {"enum": [Reduction.MEAN.value, Reduction.SUM.value]},
        "classes_multiple_of": whole(1, 2**20),
        "max_classes": whole(LEAST_MAX_CLASSES),
        "finite_logits": {"type": "boolean"},
        "overwrites": names(INPUTS),
        "layouts": names(Layout, least=1),
        "label_dtypes": names(LABEL_DTYPES, least=1),
        "usages": names(USAGES),
        "returns": {
            "type": "object",
            "propertyNames": {"enum": list(Quantity)},
            "additionalProperties": {"enum": list(WIDE)},
            "allowed": 'a table of formats by quantity, such as {"loss": "float32"}',
        },
        "mean_of_nothing": {"type": "number", "const": 0, "allowed": "0, in the place of NaN"},
    },
    required=["reason"],
)
"""The keys of a limit; the one rule for decorators and for claims files."""

_LIMIT = validator(SCHEMA)
_ATTRIBUTE = "__softmax_ce_limits__"


@dataclass(frozen=True)
class Limit:
    """One declared limit; None does not restrict. A [[limit]] of a claims file has these keys, `operations` and `modes`.

    Arguments:
      reason: why, in a sentence; skipped tests and the report say it.
      dtypes: formats of logits that it takes.
      devices: kinds of device that it runs on: cpu, cuda.
      derivatives: highest order of derivative that it has: 0, 1 (the gradient) or 2.
      targets: kinds of target that it takes: indices, probabilities.
      fixed_target: True if it has no gradient by its target: probabilities that are labels, and not another model's.
      options: options that it takes at values other than their defaults (`reference.options.OPTIONS`).
      reduces: `mean` or `sum` if it returns that of the losses and nothing else: every problem is asked so.
      classes_multiple_of: K must be a multiple of it; generated problems are.
      max_classes: largest K, at least 64.
      finite_logits: True if it takes neither masked classes (-inf), +inf nor NaN.
      overwrites: inputs that it changes by design, logits, target or parts of a layer; that they are left untouched is then
        not checked.
      layouts: memory layouts in which it takes its inputs; `contiguous` is asked always.
      label_dtypes: dtypes of class indices that it takes; `int64` is asked always.
      usages: sequences of calls that it bears beside the plain one (`adapters.usage`).
      returns: by quantity, the format in which it is returned for logits of a narrower format, float32 or float64. For other
        logits it is returned in theirs: a kernel that returns less than it was given has no limit, but a defect.
      mean_of_nothing: 0 if a mean that divides by 0 is 0, with its derivatives: all rows are ignored, there are none, or those
        that count have class weights of 0. Without it 0/0 is owed, NaN, as PyTorch returns it. A kernel that returns the loss
        of each row takes no mean: to it this says nothing.

    Raises:
      ValueError: a key has a value that is not allowed; the message says what is.

    >>> Limit("tiles of 8 classes", classes_multiple_of=8).text
    'K a multiple of 8: tiles of 8 classes'
    >>> Limit("the loss is kept as it is computed", returns={"loss": "float32"}).text
    'loss returned in float32, and judged so: the loss is kept as it is computed'
    """

    reason: str
    dtypes: tuple[str, ...] | None = None
    devices: tuple[str, ...] | None = None
    derivatives: int | None = None
    targets: tuple[str, ...] | None = None
    fixed_target: bool = False
    options: tuple[str, ...] | None = None
    reduces: str | None = None
    classes_multiple_of: int = 1
    max_classes: int | None = None
    finite_logits: bool = False
    overwrites: tuple[str, ...] = ()
    layouts: tuple[str, ...] | None = None
    label_dtypes: tuple[str, ...] | None = None
    usages: tuple[str, ...] | None = None
    returns: Mapping[str, str] = field(default_factory=dict, hash=False)
    mean_of_nothing: int | None = None

    def __post_init__(self) -> None:
        _check(self._given())
        for name, value in self._given().items():
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        if set(self.as_json()) == {"reason"}:
            raise ValueError(f"nothing is limited; allowed: {', '.join(f.name for f in fields(self) if f.name != 'reason')}")

    @property
    def text(self) -> str:
        """The limit and its reason, in words."""
        parts = [
            _only("", self.dtypes),
            _only("on ", self.devices),
            None if self.derivatives is None else f"derivatives up to order {self.derivatives}",
            _only("target ", self.targets),
            "no gradient by the target" if self.fixed_target else None,
            _only("options ", self.options),
            None if self.reduces is None else f"the {self.reduces} of the losses only",
            None if self.classes_multiple_of == 1 else f"K a multiple of {self.classes_multiple_of}",
            None if self.max_classes is None else f"K at most {self.max_classes}",
            "finite logits" if self.finite_logits else None,
            f"overwrites {', '.join(self.overwrites)}, not checked" if self.overwrites else None,
            _only("layouts ", self.layouts),
            _only("class indices of ", self.label_dtypes),
            _only("usages ", self.usages),
            *(f"{quantity} returned in {name}, and judged so" for quantity, name in self.returns.items()),
            None if self.mean_of_nothing is None else "a mean that divides by 0 is 0, and judged so",
        ]
        return f"{'; '.join(part for part in parts if part)}: {self.reason}"

    def as_json(self) -> dict[str, Any]:
        """The keys that are not at their default, as a claims file has them."""
        defaults = {f.name: f.default for f in fields(self)} | {"returns": {}}
        kept = {name: value for name, value in self._given().items() if value != defaults[name]}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}

    def _given(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def takes(self, dtype: str, device: str, target: str) -> bool:
        """True if it leaves this dtype of logits, on this device, with this kind of target."""
        kind = device.partition(":")[0]
        pairs = ((self.dtypes, dtype), (self.devices, kind), (self.targets, target))
        return all(allowed is None or given in allowed for allowed, given in pairs)

    def has(self, quantity: Quantity) -> bool:
        """True if it leaves the quantity.

        >>> Limit("no double backward", derivatives=1).has(Quantity.HESSIAN)
        False
        """
        if self.fixed_target and quantity is Quantity.TARGET_GRADIENT:
            return False
        return self.derivatives is None or DERIVATIVE_ORDERS.get(quantity, 0) <= self.derivatives

    def bears(self, usage: Usage) -> bool:
        """True if it leaves a usage; a kernel that overwrites what it differentiates leaves none in which others read it.

        >>> Limit("one graph at a time", usages=["no_grad"]).bears(Usage.INTERLEAVED)
        False
        """
        overwritten = not set(self.overwrites) <= {"target"} and usage.reads_inputs_again
        return not overwritten and (self.usages is None or usage in self.usages)

    def fits(self, problem: Problem) -> bool:
        """True if it leaves the number of classes of a problem, and its logits."""
        most = self.max_classes or problem.num_classes
        if self.finite_logits and not np.isfinite(problem.logits).all():
            return False
        return problem.num_classes % self.classes_multiple_of == 0 and problem.num_classes <= most

    def takes_given(self, layout: str, label_dtype: str) -> bool:
        """True if it leaves a layout of the inputs and a dtype of class indices; none overwrites a row that stands for N."""
        if layout == Layout.EXPANDED and self.overwrites:
            return False
        lies = self.layouts is None or layout in (Layout.CONTIGUOUS, *self.layouts)
        return lies and (self.label_dtypes is None or label_dtype in (LABEL_DTYPE, *self.label_dtypes))

    def returned(self, quantity: Quantity, fmt: Format) -> Format | None:
        """The format in which a quantity of logits in a format is declared to be returned; None for that of the logits.

        >>> wide = Limit("the loss is kept as it is computed", returns={"loss": "float32"})
        >>> [wide.returned(Quantity.LOSS, fmt) is not None for fmt in FORMATS.values()]
        [False, False, True, True]
        """
        declared = FORMATS.get(self.returns.get(quantity, ""))
        return declared if declared is not None and fmt.bits < declared.bits else None


def limits(reason: str, **keys: Any) -> Callable[[T], T]:
    """Decorator: declare a limit of a kernel, with the keys of `Limit`; several decorators, each with its reason, add up.

    Raises:
      ValueError: a key is not known, or its value is not allowed.
      TypeError: the object takes no attributes, such as a function written in C.

    >>> @limits("its backward is not differentiable", derivatives=1)
    ... def kernel(input, target): ...
    >>> [limit.text for limit in limits_of(kernel)]
    ['derivatives up to order 1: its backward is not differentiable']
    """
    limit = limit_of({"reason": reason, **keys})
    return lambda kernel: attach(kernel, _ATTRIBUTE, limit, "declare its limits as [[limit]] in a claims file")


def limits_of(kernel: object) -> tuple[Limit, ...]:
    """The limits that a kernel was declared with, the outermost first; none where nothing is declared."""
    return attached_to(kernel, _ATTRIBUTE)


def limit_of(entry: dict[str, Any]) -> Limit:
    """The limit of a table of keys.

    Raises:
      ValueError: a key is not known, `reason` is missing, or a value is not allowed.
    """
    given = {"reason": None, **entry}
    _check(given)
    return Limit(**given)


def _check(given: Mapping[str, Any]) -> None:
    unrestricted = {f.name for f in fields(Limit) if f.default is None}
    check(_LIMIT, {name: value for name, value in given.items() if value is not None or name not in unrestricted})


def _only(what: str, names: tuple[str, ...] | None) -> str | None:
    return None if names is None else f"{what}{', '.join(names) or 'none'} only"
