"""Grades arrays that are at hand: loss and derivatives of one problem against the reference, without an operation to call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.arithmetic import declaration_of, own_arithmetic
from adapters.operation import Operation
from reference.arithmetic import Arithmetic
from reference.evaluation import evaluate
from reference.formats import FLOAT64, FORMATS, Floats, Format
from reference.grades import Grade, grade_named
from reference.loss import Loss, Target
from reference.names import not_known
from reference.options import ARGUMENTS, LAYER, LOSS, Array
from reference.problem import Problem
from reference.quantity import BLOCK_PRODUCTS, LAYER_GRADIENTS, Quantity, quantity_named
from reference.tiers import Tier
from suites.judging.failure import finding_of
from suites.judging.measurement import Measurement

_WORTH = 2**12
"""Logits from which the exact tier takes longer than tens of milliseconds."""

_QUANTITIES = [quantity for quantity in Quantity if quantity not in (*BLOCK_PRODUCTS, *LAYER_GRADIENTS)]
"""What may be graded: what needs no linear layer, and no cotangent of a building block."""

_OPTIONS = {a.name: a for a in ARGUMENTS if a not in (LOSS, *LAYER) and a.is_taken_by(Loss.CROSS_ENTROPY)}
"""What may be given beside arrays that are graded: no linear layer, since the logits are there, and no other loss."""


@dataclass(frozen=True)
class Given:
    """An array with the name of its dtype, which is empty for numbers of Python; its values may be stored in a wider one."""

    dtype: str
    values: NDArray[Any]

    def format(self, name: str, default: Format) -> Format:
        """The format of its dtype, or for numbers of Python another; its name is for the message.

        Raises:
          ValueError: there is none.
        """
        if not self.dtype:
            return default
        if self.dtype not in FORMATS:
            raise ValueError(f"{name} has dtype {self.dtype}; allowed: {', '.join(FORMATS)}; cast it to one of them")
        return FORMATS[self.dtype]

    @property
    def floats(self) -> Floats:
        """The values in float64, which has those of all formats."""
        return np.asarray(self.values, dtype=np.float64)


Told = tuple[str, float, int, dict[str, str]]
"""What an array reaches: its grade, its worst error in ulps, its entries, and the lines of a failure if it misses."""


def graded(
    logits: Given,
    target: Given,
    observed: Mapping[str, Given],
    needed: str,
    arithmetic: Mapping[str, Any],
    options: Mapping[str, Given | str | None],
) -> dict[str, Told]:
    """Grade arrays, each in the format in which it is given.

    Arguments:
      logits: (N, K).
      target: what a `Problem` takes.
      observed: arrays by the name of their quantity.
      needed: the grade below which an array has the lines of a failure.
      arithmetic: what is declared of the arithmetic, beside the default for a kernel; the keys of `adapters.arithmetic`.
      options: what else a `Problem` of cross-entropy takes; None for what is left out.

    Raises:
      ValueError: a name or a dtype is not known, or an array has a wrong shape or numbers that are not allowed.
    """
    if unknown := [name for name in options if name not in _OPTIONS]:
        raise ValueError(not_known(unknown[0], [*_QUANTITIES, *_OPTIONS]))
    fmt, grade = logits.format("logits", FLOAT64), grade_named(needed)
    taken = {name: _option(name, given, fmt) for name, given in options.items() if given is not None}
    problem = Problem(logits.floats, _target(target, logits.values.shape, fmt), fmt, **taken)
    wanted = {quantity_named(name): given for name, given in observed.items()}
    return {str(each): _graded(problem, each, given, grade, arithmetic) for each, given in wanted.items()}


def _target(given: Given, shape: tuple[int, ...], fmt: Format) -> NDArray[Any]:
    """Class indices, or probabilities that are numbers of the format of the logits.

    Raises:
      ValueError: it is neither.
    """
    values = given.values
    if values.dtype.kind in "iu" or not values.size:
        return values
    if values.shape == shape:
        return _input("target", given, fmt)
    told = f"target has dtype {given.dtype or values.dtype} and shape {values.shape}"
    raise ValueError(f"{told}; allowed: {Target.EITHER.value} = {shape}")


def _option(name: str, given: Given | str, fmt: Format) -> Any:
    """What a `Problem` takes for an option: an array, one number or a word.

    Raises:
      ValueError: it is another array than a `Problem` may take.
    """
    kind = _OPTIONS[name].kind
    if isinstance(given, str):
        return given
    if isinstance(kind, Array):
        return _input(name, given, fmt)
    if given.values.ndim:
        raise ValueError(f"{name} has shape {given.values.shape}; allowed: {kind.allowed}")
    return given.values.item()


def _input(name: str, given: Given, fmt: Format) -> NDArray[Any]:
    """An array whose numbers are to be those of the format of the logits: numbers of Python are rounded to it, and no others.

    Raises:
      ValueError: it has other numbers.
    """
    if not given.dtype:
        return fmt.round(given.values)
    if given.values.dtype.kind in "iu":
        return given.values
    own = given.format(name, fmt)
    if not fmt.contains(given.floats).all():
        told = f"{name} is {own.name} and has numbers that are not in {fmt.name}, the dtype of the logits"
        raise ValueError(f"{told}; allowed: numbers of {fmt.name}; cast it to {fmt.name} before you use it")
    return given.floats


def _tier(problem: Problem) -> Tier:
    """The compiled tier for all but small problems: a process that grades arrays loads it once."""
    return Tier.FAST if problem.logits.size >= _WORTH and find_spec("numba") is not None else Tier.EXACT


def _graded(problem: Problem, quantity: Quantity, given: Given, needed: Grade, keys: Mapping[str, Any]) -> Told:
    returned = given.format(str(quantity), problem.format)
    if returned != problem.format and returned.bits <= problem.format.bits:
        told = f"{quantity} is {returned.name} of logits in {problem.format.name}: it has lost what they had"
        raise ValueError(f"{told}; allowed: their dtype, or a wider one")
    if not returned.contains(given.floats).all():
        told = f"{quantity} has numbers of Python that are not in {returned.name}, the dtype of the logits"
        raise ValueError(f"{told}; allowed: numbers of {returned.name}, or an array with a dtype")
    computed = _arithmetic(returned.name, keys)
    operation = Operation("given", "given arrays", None, {problem.format.name: computed}, tuple(Quantity))
    judged = problem if returned == problem.format else problem.replace(format=returned)
    expected = evaluate(judged, (quantity,), _tier(problem))[quantity]
    shape, due = given.values.shape, expected.values.shape
    if shape != due:
        reduced = ", or one number with the reduction that made it" if quantity is Quantity.LOSS and shape == () else ""
        raise ValueError(f"{quantity} has shape {shape}; allowed: {due}{reduced}")
    kept_format = None if returned == problem.format else returned
    measured = Measurement(problem, quantity, computed, expected, given.floats, returned=kept_format)
    if not measured.compared:
        raise ValueError(f"{quantity} has no entry that can be compared; allowed: rows of which a value is expected")
    lines = {}
    if measured.grade < needed:
        finding = finding_of(measured, operation, needed)
        lines = {"what": finding.what, "values": finding.values, "input": finding.input("at hand")}
    return measured.grade.label, _worst_ulps(measured), measured.compared, lines


def _worst_ulps(measured: Measurement) -> float:
    """The worst error, in ulps of the scale of each entry; infinite where one is wrong that has no error in ulps."""
    without = np.where(measured.grades < Grade.CORRECT, np.inf, 0.0)
    return float(np.where(measured.measurable, measured.scaled_ulps, without).max(initial=0.0))


def _arithmetic(name: str, keys: Mapping[str, Any]) -> Arithmetic:
    """The arithmetic of a kernel in a format, with what is declared of it."""
    fmt = FORMATS[name]
    backend = {name: Arithmetic(fmt, fmt)}
    current = {name: own_arithmetic(fmt, backend[name])}
    return (declaration_of(keys).within(current, backend) if keys else current)[name]
