"""Judges one returned number against a certified one, compiled: its grade and its error in ulps, or that it is undecided.

A true value is y = hi + lo, up to `radius`; where lo is not 0 its sign is that of y - hi, and hi is exact (the sticky bit of
`reference.enclosure`): a loss gap + log1p(e^-gap) with the gap on a midpoint, a probability just below 1 or 1/2. Signs are
taken out before: y >= 0. The rules are those of `suites.judging.measurement.Measurement`; whatever they would make depend on
the sign of a number that is not known is UNDECIDED, and is left to the exact tier.
"""

from __future__ import annotations

from math import isinf, isnan
from typing import NamedTuple

from reference.fast.compiled import compiled
from reference.fast.elementary import UNIT
from reference.fast.machine import FRACTION, bits_of, float_of
from reference.grades import FAITHFUL_ULPS
from suites.sweep.compiled.constants import FormatConstants

NONE, FINITE, STABLE, COMPONENTWISE, ACCURATE, FAITHFUL, CORRECT = range(7)
"""Grades, as `reference.grades.Grade` numbers them."""

UNDECIDED = -1
BELOW_ACCURATE = -2
"""The grade is COMPONENTWISE or less: the bounds decide, which are costly and therefore left to the caller."""

WITHIN, BEYOND, UNKNOWN = 0, 1, 2

MARGIN = 64
"""In units of the last place of float64: more than any radius of `two_logits`, so a value further than this from a
power of two lies in the binade of its computed midpoint."""

_NO_BINADE = -10000


class ExpectedEntry(NamedTuple):
    """One true value: hi + lo, up to radius."""

    hi: float
    lo: float
    radius: float


class JudgedEntry(NamedTuple):
    """Grade or one of the two codes above; error in ulps and its absolute uncertainty; absolute error; what was returned."""

    grade: int
    ulps: float
    error: float
    uncertainty: float
    is_zero: bool
    kind_differs: bool


@compiled
def binade_of(expected: ExpectedEntry, emin: int) -> int:
    """Exponent of the binade of y, emin at least; _NO_BINADE where y may be on either side of a power of two."""
    encoding = bits_of(expected.hi + expected.lo)
    exponent, fraction = (encoding >> 52) - 1023, encoding & FRACTION
    if exponent < emin - 1:
        return emin
    if MARGIN <= fraction <= FRACTION - MARGIN:
        return max(exponent, emin)
    power = exponent + 1 if fraction > MARGIN else exponent
    if power <= emin:
        return emin
    beyond = expected.hi - float_of((power + 1023) << 52)
    if abs(beyond) > abs(expected.lo) * (1 + 2.0**-50) + expected.radius:
        return power if beyond > 0.0 else power - 1
    if beyond == 0.0 and (expected.lo != 0.0 or expected.radius == 0.0):
        return power - 1 if expected.lo < 0.0 else power
    return _NO_BINADE


@compiled
def side_of(ulps: float, slack: float, level: float, step: float, tail: float) -> int:
    """Whether an error of `ulps` is beyond a level; `step` is that of hi, from which the tail takes y away or towards."""
    if ulps + slack < level:
        return WITHIN
    if ulps - slack > level:
        return BEYOND
    if abs(step) == level and tail != 0.0:
        return BEYOND if (step > 0.0) != (tail > 0.0) else WITHIN
    if slack == 0.0:
        return WITHIN if ulps <= level else BEYOND
    return UNKNOWN


@compiled
def _overflows(expected: ExpectedEntry, limits: FormatConstants) -> int:
    """Whether the correctly rounded value is infinite."""
    value = expected.hi + expected.lo
    if value < limits.overflow * (1 - 2.0**-40):
        return WITHIN
    if value > limits.overflow * (1 + 2.0**-40):
        return BEYOND
    if expected.hi == limits.overflow and expected.lo != 0.0:
        return BEYOND if expected.lo > 0.0 else WITHIN
    return UNKNOWN


@compiled
def _grade(ulps: float, slack: float, step: float, tail: float, accurate: float) -> int:
    """The grade by distance alone; `accurate` is what that grade allows, in ulps."""
    if ulps + slack < 0.5:
        return CORRECT
    side = side_of(ulps, slack, 0.5, step, tail)
    if side != BEYOND:
        return CORRECT if side == WITHIN else UNDECIDED
    side = side_of(ulps, slack, FAITHFUL_ULPS, step, tail)
    if side == UNKNOWN:
        return UNDECIDED
    if side == WITHIN and not (ulps == FAITHFUL_ULPS and tail == 0.0):
        return FAITHFUL
    side = side_of(ulps, slack, accurate, step, tail)
    return ACCURATE if side == WITHIN else UNDECIDED if side == UNKNOWN else BELOW_ACCURATE


@compiled
def accurate_error(expected: ExpectedEntry, limits: FormatConstants) -> float:
    """Absolute error that `accurate` allows (`accurate_bound`): by the ulp of the float64 nearest to y."""
    binade = (bits_of(expected.hi + expected.lo) >> 52) - 1023
    ulp = float_of((1024 + max(binade, limits.emin) - limits.precision) << 52)
    working = float_of((1024 + max(binade, limits.working_emin) - limits.working_precision) << 52)
    return limits.accurate * ulp + limits.accurate_working * working + limits.lost


@compiled
def judge_entry(observed: float, given: ExpectedEntry, limits: FormatConstants) -> JudgedEntry:
    """How an observed number (its sign that of y taken out) compares with y."""
    if isnan(observed):
        return JudgedEntry(NONE, -1.0, 0.0, 0.0, False, True)
    # Far below an ulp a positive number is a tail: the error of one returned ulp is below 1 by it.
    vanishes = given.lo == 0.0 and given.hi < limits.half_subnormal * 2.0**-40 and given.radius < given.hi
    expected = ExpectedEntry(0.0, given.hi, given.radius) if vanishes else given
    overflows = _overflows(expected, limits)
    binade = binade_of(expected, limits.emin)
    if overflows == UNKNOWN or binade == _NO_BINADE:
        return JudgedEntry(UNDECIDED, -1.0, 0.0, 0.0, False, False)
    if overflows == BEYOND and isinf(observed) and observed > 0.0:
        return JudgedEntry(CORRECT, 0.0, 0.0, 0.0, False, False)
    is_infinite = isinf(observed)
    position = observed if not is_infinite else (limits.beyond if observed > 0.0 else -limits.beyond)
    scale = float_of((1023 - (binade - limits.precision + 1)) << 52)
    step = position - expected.hi
    error = abs(step - expected.lo)
    uncertainty = expected.radius + 2 * UNIT * error if expected.radius > 0.0 or expected.lo != 0.0 else 0.0
    ulps = error * scale
    grade = _grade(ulps, uncertainty * scale, step * scale, expected.lo, accurate_error(expected, limits) * scale)
    is_zero = observed == 0.0 and overflows == WITHIN and grade in (ACCURATE, BELOW_ACCURATE)
    if grade == ACCURATE and observed < 0.0:
        # A negative number is never accurate, unless y rounds to 0.
        beyond_tie = (expected.hi - limits.half_subnormal) + expected.lo
        grade = UNDECIDED if abs(beyond_tie) <= expected.radius != 0.0 else BELOW_ACCURATE if beyond_tie > 0.0 else ACCURATE
    if is_zero:
        grade = BELOW_ACCURATE
    differs = is_infinite != (overflows == BEYOND) or (is_infinite and observed < 0.0)
    return JudgedEntry(grade, -1.0 if is_infinite else ulps, error, uncertainty, is_zero, differs)


@compiled
def absorbs_nothing(judged: JudgedEntry, bound: float, accurate: float, least: float) -> int:
    """COMPONENTWISE or STABLE, or UNDECIDED, of an entry that is STABLE.

    `bound` and `accurate` are those of the two grades, `least` is the size of an entry that is not lost to underflow.
    """
    limit = min(bound, least) if judged.is_zero else max(min(bound, least), accurate)
    if judged.error - judged.uncertainty > limit:
        return STABLE
    return COMPONENTWISE if judged.error + judged.uncertainty <= limit * (1 - 2.0**-40) else UNDECIDED


@compiled
def below_accurate(judged: JudgedEntry, bound: float, accurate: float) -> int:
    """STABLE, FINITE or NONE, or UNDECIDED, of an entry that is BELOW_ACCURATE, by the bounds of `stable` and `accurate`."""
    allowed = max(bound, accurate)
    if judged.error - judged.uncertainty > allowed:
        return NONE if judged.kind_differs else FINITE
    return STABLE if judged.error + judged.uncertainty <= allowed * (1 - 2.0**-40) else UNDECIDED
