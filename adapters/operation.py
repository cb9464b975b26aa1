"""One callable of a backend: what it computes, what it accepts, and the arithmetic it declares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np

from adapters.arithmetic import DeclaredArithmetic, own_arithmetic
from adapters.layout import LABEL_DTYPE, OF_OLD, Layout
from adapters.limits import LEAST_MAX_CLASSES, TARGETS, Limit
from adapters.usage import Usage
from reference.arithmetic import Arithmetic
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, Format
from reference.loss import Loss
from reference.options import OPTIONS
from reference.problem import Problem, layer_of
from reference.quantity import ALONG_A_TANGENT, LAYER_GRADIENTS, OF_LOGITS, PRODUCT_OF, Quantity
from reference.reduction import Reduction
from reference.weights import divisor

LOSS_QUANTITIES = (Quantity.LOSS, Quantity.GRADIENT, Quantity.HESSIAN, Quantity.HVP)
OF_LAYER = (Quantity.LOSS, *LAYER_GRADIENTS)
"""What a linear layer and its cross-entropy in one can be asked for."""

OF_PROBABILITIES = (*LOSS_QUANTITIES, Quantity.TARGET_GRADIENT)
"""What a cross-entropy can be asked for of whose labels its framework takes gradients."""

FLOAT32_LOSS = {fmt.name: {Quantity.LOSS: FLOAT32} for fmt in (FLOAT16, BFLOAT16)}
"""What an operation returns of half-precision logits that it casts to float32."""

EAGER = "eager"
"""The mode of an operation that runs as it is written, one kernel after another."""


@dataclass(frozen=True, eq=False)
class Operation:
    """An operation of a backend, as the suites see it.

    Arguments:
      name: short and stable: claims, reports and --operation use it.
      formula: one line, what it computes in the framework's own words.
      function: what the adapter calls; its signature is the adapter's business.
      arithmetic: declared arithmetic of each format it accepts, by format name.
      quantities: what it can be asked for.
      probabilities: True if its target is probabilities, False if class indices.
      loss: which loss it computes.
      options: the options of `reference.options` that it takes at values other than their defaults.
      layouts: memory layouts that reach it: those which its framework keeps, and may copy.
      label_dtypes: dtypes of class indices that it takes.
      mode: how the framework runs it; `EAGER` unless it is traced, compiled or autocast.
      returns: formats of results that are not those of the logits, by format name and quantity: a loss that is float32
        for bfloat16 logits is judged as float32. A limit may declare more.
      few_shapes: True if every new shape costs a compilation; generated problems then keep to a few shapes.
      can_raise: False if an index out of range cannot raise on the CPU either (compiled by XLA): NaN is then the documented
        alternative, as it is on every accelerator.
      implementation: where the user's own callable is that it judges (path/to/file.py:name or package.module:name); None for
        an operation of the backend.
      composed: by format name, the arithmetic that the backend declares for its own operations, by which a kernel of the
        user's that is made of them is judged; nothing for an operation of the backend. See `of_kernel`.
      per_row: True of a kernel of the user's that returns a loss for each row: a sum or mean of them is the adapter's.
      may_refuse: False if its NotImplementedError is a failure like any other, as of a kernel whose form has no limits.
      limits: what it is declared not to do; see `within`.
      beyond: itself as it was before its limits took something away.
    """

    name: str
    formula: str
    function: Any
    arithmetic: Mapping[str, Arithmetic]
    quantities: tuple[Quantity, ...] = LOSS_QUANTITIES
    probabilities: bool = False
    loss: Loss = Loss.CROSS_ENTROPY
    options: frozenset[str] = field(default_factory=frozenset)
    layouts: tuple[Layout, ...] = OF_OLD
    label_dtypes: tuple[str, ...] = (LABEL_DTYPE,)
    mode: str = EAGER
    returns: Mapping[str, Mapping[Quantity, Format]] = field(default_factory=dict)
    few_shapes: bool = False
    can_raise: bool = True
    implementation: str | None = None
    composed: Mapping[str, Arithmetic] = field(default_factory=dict)
    per_row: bool = False
    may_refuse: bool = True
    limits: tuple[Limit, ...] = ()
    beyond: Operation | None = None

    @property
    def label(self) -> str:
        """Name and mode, as reports and test ids have it: the mode is left out where it is eager."""
        return self.name if self.mode == EAGER else f"{self.name}@{self.mode}"

    def returned(self, quantity: Quantity, fmt: Format) -> Format:
        """The format in which it returns a quantity of logits in a format."""
        declared = (limit.returned(quantity, fmt) for limit in self.limits)
        own = self.returns.get(fmt.name, {}).get(quantity, fmt)
        return next((wide for wide in declared if wide is not None), own)

    def arithmetic_of(self, quantity: Quantity, fmt: Format) -> Arithmetic:
        """The declared arithmetic of a quantity of logits in a format, stored in the format in which it is returned.

        A quantity that is returned in a wider format than the operation is declared to work in is computed in that: the logits
        were cast to it. Otherwise the bound of a half format would hold for a float32 loss.
        """
        returned, declared = self.returned(quantity, fmt), self.arithmetic[fmt.name]
        if declared.working.bits < returned.bits:
            declared = self.whole.arithmetic.get(returned.name, replace(declared, working=returned))
        return replace(declared, storage=returned)

    @property
    def has_loss(self) -> bool:
        """True if it computes a loss or its derivatives, False if only building blocks such as log_softmax."""
        return not set(self.quantities) <= set(OF_LOGITS)

    @property
    def takes_layer(self) -> bool:
        """True if it can be asked a problem of a linear layer: it computes one, or is given what one gives."""
        return not set(LAYER_GRADIENTS).isdisjoint(self.whole.quantities)

    @property
    def is_layer(self) -> bool:
        """True if it computes a linear layer too: it is asked problems of a layer alone.

        >>> Operation("f", "f(h, W, b)", None, {}, OF_LAYER).is_layer, Operation("f", "f(x)", None, {}).is_layer
        (True, False)
        """
        return self.takes_layer and set(self.whole.quantities) <= set(OF_LAYER)

    @property
    def has_bias(self) -> bool:
        """True unless it computes a layer that has no bias."""
        return not self.is_layer or Quantity.BIAS_GRADIENT in self.whole.quantities

    @property
    def is_of_indices(self) -> bool:
        """True if it is a cross-entropy of logits and class indices, of each row: one that can be swept and asked in bulk."""
        of_rows = self.reduces is None and not self.is_layer
        return self.loss.spec.is_log_probability and not self.probabilities and of_rows

    @property
    def whole(self) -> Operation:
        """Itself without its limits."""
        return self.beyond or self

    @property
    def classes_multiple(self) -> int:
        """What K must be a multiple of."""
        return math.lcm(*(limit.classes_multiple_of for limit in self.limits))

    @property
    def max_classes(self) -> int | None:
        """The largest K; None if there is none."""
        return min((limit.max_classes for limit in self.limits if limit.max_classes is not None), default=None)

    def classes_from(self, least: int) -> int:
        """The fewest classes from so many on that it takes; the most that it takes where those are fewer.

        >>> tiles = Limit("tiles of 8 classes", classes_multiple_of=8, max_classes=64)
        >>> [Operation("f", "f(x)", None, {}, limits=(tiles,)).classes_from(least) for least in (5, 129)]
        [8, 64]
        """
        step = self.classes_multiple
        rounded = math.ceil(least / step) * step
        return rounded if self.max_classes is None else min(rounded, self.max_classes // step * step)

    @property
    def reduces(self) -> Reduction | None:
        """The reduction of an operation that returns nothing but a mean, or a sum; None of any other."""
        return next((Reduction(limit.reduces) for limit in self.limits if limit.reduces is not None), None)

    @property
    def _always_used(self) -> set[str]:
        """Options that no problem can do without."""
        return set() if self.reduces is None else {"reduction"}

    def as_put(self, problem: Problem) -> Problem:
        """The problem as it is put to the operation: the mean or the sum of its losses, where that is all it returns.

        >>> mean = Operation("f", "f(x)", None, {}, limits=(Limit("it is a module of a loss", reduces="mean"),))
        >>> str(mean.as_put(Problem([[0.0, 1.0]], [0], "float32", cotangent=[2.0])).reduction)
        'mean'
        """
        if self.reduces is None or problem.reduction is self.reduces:
            return problem
        return _reduced(problem, self.reduces)

    @property
    def finite_logits(self) -> bool:
        """True if it takes finite logits only."""
        return any(limit.finite_logits for limit in self.limits)

    @property
    def overwrites(self) -> frozenset[str]:
        """Inputs that it may change by design."""
        return frozenset(name for limit in self.limits for name in limit.overwrites)

    def as_owed(self, problem: Problem) -> Problem:
        """The problem whose values it owes: its own, or one of 0 where it declares that a mean is 0 that divides by 0.

        Of a kernel that returns the loss of each row the adapter takes the mean, whatever the kernel declares.

        >>> mean = Problem([[0.0, 1.0]], [-100], "float32", reduction="mean")
        >>> declared = Operation("f", "f(x)", None, {}, limits=(Limit("as Keras does", mean_of_nothing=0),))
        >>> declared.as_owed(mean).normaliser
        1.0
        """
        declared = not self.per_row and any(limit.mean_of_nothing is not None for limit in self.limits)
        if not declared or problem.reduction is not Reduction.MEAN or divisor(problem) != 0:
            return problem
        return problem.replace(normaliser=1.0, row_weights=np.zeros(problem.num_rows))

    def of_kernel(self) -> Operation:
        """The operation as that of a kernel of the user's, which declares no arithmetic yet."""
        own = {name: own_arithmetic(kind.storage, kind) for name, kind in self.arithmetic.items()}
        return replace(self, arithmetic=own, composed=self.arithmetic)

    def computing(self, declared: Iterable[DeclaredArithmetic]) -> Operation:
        """The operation of a kernel, with what is declared of its arithmetic; a later declaration goes before an earlier.

        Raises:
          ValueError: two declarations contradict each other.
        """
        arithmetic = self.arithmetic
        for each in declared:
            arithmetic = each.within(arithmetic, self.composed)
        return replace(self, arithmetic=arithmetic)

    def has_default_arithmetic(self, fmt: Format) -> bool:
        """True for a kernel of the user's of whose arithmetic in a format nothing else is declared."""
        declared, backend = self.whole.arithmetic.get(fmt.name), self.composed.get(fmt.name)
        return backend is not None and declared == own_arithmetic(fmt, backend)

    def within(self, limits: tuple[Limit, ...], device: str) -> Operation:
        """The operation without what its own limits and these declare away on a device.

        Raises:
          ValueError: the limits of K leave too few, or a quantity is declared to be returned in two formats.
        """
        if not (every := (*self.limits, *limits)):
            return self
        self._check_returns(every)
        self._check_reduces(every)
        limited = self._narrowed(every, device)
        step, most = limited.classes_multiple, limited.max_classes
        least = math.ceil(LEAST_MAX_CLASSES / step) * step
        if most is not None and most < least:
            raise ValueError(
                f"limits of {self.name}: K at most {most}, and a multiple of {step}; allowed: a largest K of {least} or more"
            )
        return limited

    def _check_returns(self, every: tuple[Limit, ...]) -> None:
        pairs = {pair: None for limit in every for pair in limit.returns.items()}
        for quantity, formats in groupby(sorted(pairs), lambda pair: pair[0]):
            if len(names := [name for _, name in formats]) > 1:
                told = f"limits of {self.name}: {quantity} returned in {' and in '.join(names)}"
                raise ValueError(f"{told}; allowed: one format for a quantity")

    def _check_reduces(self, every: tuple[Limit, ...]) -> None:
        declared = {limit.reduces: None for limit in every if limit.reduces is not None}
        if declared and ("reduction" not in self.whole.options or self.per_row):
            told = f"limits of {self.name}: reduces is {next(iter(declared))!r}"
            raise ValueError(f"{told}; allowed: of a kernel that is given a reduction, as those for PyTorch are")
        if len(declared) > 1:
            raise ValueError(f"limits of {self.name}: reduces is {' and '.join(declared)}; allowed: one of them")

    def _narrowed(self, every: tuple[Limit, ...], device: str) -> Operation:
        return replace(
            self,
            arithmetic={d: a for d, a in self.arithmetic.items() if all(li.takes(d, device, self.target) for li in every)},
            quantities=tuple(q for q in self.quantities if all(li.has(q) for li in every)),
            options=self.options.intersection(*(_varied(limit) for limit in every)),
            limits=every,
            beyond=replace(self.whole, limits=()),
        )

    @property
    def target(self) -> str:
        """The kind of its target, one of `TARGETS`."""
        return TARGETS[self.probabilities]

    def reduced_by_adapter(self, problem: Problem) -> str:
        """Who took the sum or mean that a problem asks for, if that is not the kernel; else nothing."""
        if not self.per_row or problem.reduction is Reduction.NONE:
            return ""
        return f"the adapter takes the {problem.reduction} of what {self.name} returns for each row"

    def declared_away(self, quantities: Iterable[Quantity], dtype: str, device: str) -> str | None:
        """The limit by which none of the quantities that it would have is asked in a dtype; None if one is."""
        wanted = [quantity for quantity in self.whole.quantities if quantity in quantities]
        taken = (li for li in self.limits if not li.takes(dtype, device, self.target))
        without = (li for li in self.limits if wanted and not any(li.has(quantity) for quantity in wanted))
        return next((f"declared limit: {li.text}" for li in (*taken, *without)), None)

    def given_declared_away(self, layout: Layout = Layout.CONTIGUOUS, label_dtype: str = LABEL_DTYPE) -> str | None:
        """The limit by which nothing is asked in a layout, or of class indices of a dtype; None if there is none."""
        return next((f"declared limit: {li.text}" for li in self.limits if not li.takes_given(layout, label_dtype)), None)

    def usage_declared_away(self, usage: Usage, dtype: str, device: str) -> str | None:
        """The limit by which it is not asked in a usage; None if there is none."""
        without = next((f"declared limit: {li.text}" for li in self.limits if not li.bears(usage)), None)
        asked = self.quantities_in(usage)
        return without or self.declared_away(asked[1:] or asked, dtype, device)

    def quantities_in(self, usage: Usage) -> tuple[Quantity, ...]:
        """What is asked of it in a usage: the loss, and the gradient, of a layer by all of its parts, if there is a backward.

        >>> Operation("f", "f(h, W, b)", None, {}, OF_LAYER).quantities_in(Usage.KEPT) == OF_LAYER
        True
        """
        if not self.is_layer:
            return usage.quantities
        return OF_LAYER if Quantity.GRADIENT in usage.quantities else (Quantity.LOSS,)

    def problem_declared_away(self, problem: Problem) -> str | None:
        """The limit by which a problem is not asked, for its logits, their number or its options; None if there is none."""
        used = options_used(problem) - self._always_used
        for limit in self.limits:
            if not limit.fits(problem) or (limit.options is not None and used - set(limit.options)):
                return f"declared limit: {limit.text}"
        return None

    def refusal(self, problem: Problem) -> str | None:
        """Why this operation cannot be asked this problem; None if it can."""
        if declared := self.problem_declared_away(problem):
            return declared
        if problem.format.name not in self.arithmetic:
            return f"{self.name} takes {', '.join(self.arithmetic)}, not {problem.format.name}"
        if problem.layer is not None and not self.takes_layer:
            return f"{self.name} has no linear layer"
        if problem.layer is None and self.is_layer:
            return f"{self.name} asks for a linear layer: the problem has none"
        if not self.has_bias and layer_of(problem).offset.any():
            return f"{self.name} has no bias"
        if not self.has_loss:
            transformed = any(OPTIONS[name].changes_logits for name in options_used(problem))
            other = problem.loss != self.loss
            return f"{self.name} takes the logits of cross-entropy as they are" if transformed or other else None
        if problem.loss != self.loss:
            return f"{self.name} computes {self.loss}, not {problem.loss}"
        if problem.has_probabilities != self.probabilities:
            return f"{self.name} takes {'probabilities' if self.probabilities else 'class indices'}"
        missing = sorted(options_used(problem) - self.options - self._always_used)
        return f"{self.name} has no {', '.join(missing)}" if missing else None

    def asked(self, problem: Problem, wanted: tuple[Quantity, ...] = tuple(Quantity)) -> tuple[Quantity, ...]:
        """The wanted quantities that this operation has and this problem defines, in the order of the operation."""
        undefined: set[Quantity] = set() if problem.tangent is not None else set(ALONG_A_TANGENT)
        if problem.layer is None:
            undefined |= set(LAYER_GRADIENTS)
        if not problem.has_target_gradient:
            undefined.add(Quantity.TARGET_GRADIENT)
        return tuple(q for q in self.quantities if q in wanted and q not in undefined)


def modes_of(operations: Iterable[Operation]) -> tuple[str, ...]:
    """The modes of operations, each once, in their order."""
    return tuple(dict.fromkeys(operation.mode for operation in operations))


def _varied(limit: Limit) -> frozenset[str]:
    """The options that a limit leaves: a reduction that is always the same is none."""
    left = frozenset(OPTIONS if limit.options is None else limit.options)
    return left if limit.reduces is None else left - {"reduction"}


@lru_cache(maxsize=256)
def _reduced(problem: Problem, reduction: Reduction) -> Problem:
    """Kept, as what is expected of a problem is."""
    return problem.reduced_by(reduction)


def options_used(problem: Problem) -> set[str]:
    """Names of the options that a problem sets to something other than their default."""
    return {name for name, option in OPTIONS.items() if problem.uses(option)}


def building_block(
    quantity: Quantity, formula: str, function: Any, arithmetic: Mapping[str, Arithmetic], name: str | None = None
) -> Operation:
    """An operation that computes one building block of the loss; named for it unless told otherwise."""
    return Operation(name or str(quantity), formula, function, arithmetic, quantities=(quantity,))


def differentiable(block: Operation) -> Operation:
    """A building block that has a backward pass too: it is asked for its vector-Jacobian product beside its value."""
    (quantity,) = block.quantities
    return replace(block, quantities=(quantity, PRODUCT_OF[quantity]))
