"""Grades arrays that are at hand: loss and derivatives of one problem against the reference, without an operation to call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import Any

import numpy as np

from adapters.arithmetic import declaration_of, own_arithmetic
from adapters.operation import Operation
from reference.arithmetic import Arithmetic
from reference.evaluation import evaluate
from reference.formats import FORMATS, Floats, format_named
from reference.grades import Grade, grade_named
from reference.names import not_known
from reference.problem import Problem
from reference.quantity import Quantity, quantity_named
from reference.tiers import Tier
from suites.judging.failure import finding_of
from suites.judging.measurement import Measurement

_WORTH = 2**12
"""Logits from which the exact tier takes longer than tens of milliseconds."""


@dataclass(frozen=True)
class Given:
    """An array with the name of its format; values of a format are exact in float64."""

    dtype: str
    values: Floats


Told = tuple[str, float, int, dict[str, str]]
"""What an array reaches: its grade, its worst error in ulps, its entries, and the lines of a failure if it misses."""


def graded(
    logits: Given, observed: Mapping[str, Given], needed: str, arithmetic: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Told]:
    """Grade arrays, each in the format in which it is given.

    Arguments:
      logits: (N, K).
      observed: arrays by the name of their quantity.
      needed: the grade below which an array has the lines of a failure.
      arithmetic: what is declared of the arithmetic, beside the default for a kernel; the keys of `adapters.arithmetic`.
      options: `target` and what else a `Problem` takes.

    Raises:
      ValueError: a name is not known, or an array has a wrong shape or values that are none of its format.
    """
    known = [field.name for field in fields(Problem) if field.init and field.name not in ("logits", "format")]
    if unknown := [name for name in options if name not in known]:
        raise ValueError(not_known(unknown[0], known))
    fmt, grade = format_named(logits.dtype, FORMATS), grade_named(needed)
    problem = Problem(logits.values, format=fmt, **options)
    wanted = {quantity_named(name): given for name, given in observed.items()}
    return {str(each): _graded(problem, each, given, grade, arithmetic) for each, given in wanted.items()}


def _tier(problem: Problem) -> Tier:
    """The compiled tier for all but small problems: a process that grades arrays loads it once."""
    return Tier.FAST if problem.logits.size >= _WORTH and find_spec("numba") is not None else Tier.EXACT


def _graded(problem: Problem, quantity: Quantity, given: Given, needed: Grade, keys: Mapping[str, Any]) -> Told:
    returned = format_named(given.dtype, FORMATS)
    if returned.bits < problem.format.bits:
        told = f"{quantity} is {returned.name} of logits in {problem.format.name}: it has lost what they had"
        raise ValueError(f"{told}; allowed: their dtype, or a wider one")
    if not returned.contains(given.values).all():
        raise ValueError(f"{quantity} has values that are not in {returned.name}")
    computed = _arithmetic(returned.name, keys)
    operation = Operation("given", "given arrays", None, {problem.format.name: computed}, tuple(Quantity))
    judged = problem if returned == problem.format else problem.replace(format=returned)
    expected = evaluate(judged, (quantity,), _tier(problem))[quantity]
    kept_format = None if returned == problem.format else returned
    measured = Measurement(problem, quantity, computed, expected, given.values, returned=kept_format)
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


def unpacked(array: tuple[str, tuple[int, ...], bytes]) -> Given:
    """An array that was sent as the name of its format, its shape and its float64 values."""
    dtype, shape, values = array
    return Given(dtype, np.frombuffer(values, dtype=np.float64).reshape(shape))
