"""Formats and declared arithmetic as plain numbers: what compiled code can take."""

from __future__ import annotations

from math import exp, expm1, log1p
from typing import NamedTuple

from reference.arithmetic import Arithmetic
from reference.bounds.entrywise import PLAIN_ROUNDINGS, SECOND_ORDER_ROUNDINGS, stores_last
from reference.bounds.family import EXTRA_ROUNDINGS
from reference.bounds.running import growth, growth_of
from reference.formats import Format
from reference.grades import ACCURATE_ULPS, FAITHFUL_ULPS
from reference.quantity import Quantity

_LEAST_BINADE = -900


class FormatConstants(NamedTuple):
    """The format of a result: precision, smallest binade, the number after the largest, and half an ulp before that."""

    precision: int
    emin: int
    beyond: float
    overflow: float
    half_subnormal: float
    lost: float
    """What underflow alone costs an entry (`reference.bounds.entrywise.accurate_bound`)."""
    accurate: float
    """What `accurate` allows in ulps of the result; and in ulps of the working format, of its precision and smallest binade."""
    accurate_working: float
    working_precision: int
    working_emin: int


class Declared(NamedTuple):
    """The constants of the error analysis of `reference.bounds.row_errors`, in its symbols."""

    unit: float
    alpha: float
    rescalings: int
    rescaled_once: float
    """What exp and one rescaling add to a power, relative to it; alpha where no sum is rescaled."""
    rescaled_twice: float
    lambda_: float
    scaled: float
    """What base 2 adds to an exponent, relative to it; 0 elsewhere."""
    lost_exponent: float
    inverse: float
    """Relative error of a rounded reciprocal, and what it adds for each unit of the divisor; 0 where it is a quotient."""
    lost_inverse: float
    stored: float
    sum_stored: float
    grown: float
    omega: float
    omega_rescaled: float
    omega_sum: float
    storage_underflow: float
    log_stored: float
    """The store of a log-probability of which the exp is taken, and what underflow costs there."""
    log_underflow: float
    first_order: float
    second_order: float
    working_underflow: float
    """Of a store in the working format."""
    extra: int
    finished: float
    """EXTRA_ROUNDINGS of a derivative, and what they make of an error."""
    lost: float
    """Below it an entry may be lost to underflow (`reference.bounds.entrywise.whole_bound`)."""
    stores_once: bool
    last_store: float
    """The store of a result, the only one where it `stores_once`, and what underflow costs there."""
    last_underflow: float


def format_constants(fmt: Format, arithmetic: Arithmetic, classes: int, quantity: Quantity) -> FormatConstants:
    """Of a quantity that is returned in a format."""
    last = stores_last(quantity, arithmetic)
    beyond = 2.0 ** (fmt.emax + 1)
    return FormatConstants(
        precision=fmt.precision,
        emin=fmt.emin,
        beyond=beyond,
        overflow=beyond - 2.0 ** (fmt.emax - fmt.precision),
        half_subnormal=fmt.min_subnormal / 2,
        lost=_lost(fmt, arithmetic, classes, arithmetic.rounding_underflow),
        accurate=FAITHFUL_ULPS if last else ACCURATE_ULPS,
        accurate_working=ACCURATE_ULPS if last else 0.0,
        working_precision=arithmetic.working.precision,
        # So small a binade has an ulp that float64 has; no format that is narrower than the working format comes near it.
        working_emin=max(arithmetic.working.emin, _LEAST_BINADE),
    )


def _lost(fmt: Format, arithmetic: Arithmetic, classes: int, each: float) -> float:
    """What underflow alone costs an entry (`reference.bounds.entrywise.lost_to_underflow`)."""
    return classes * each + (fmt.min_normal if arithmetic.flush_to_zero else 0.0)


def declared_of(arithmetic: Arithmetic, classes: int) -> Declared:
    """The constants for rows of so many classes."""
    declared, arithmetic = arithmetic, arithmetic.inside
    unit, stores, summation = arithmetic.working.unit_roundoff, arithmetic.stores_log_probability, arithmetic.summation
    alpha, lambda_ = 2 * arithmetic.exp_ulps * unit, 2 * arithmetic.log_ulps * unit
    scaled = growth(unit, 2) if arithmetic.base_2 else 0.0
    most, grown = summation.rescalings(classes), growth(unit, summation.depth_of_powers(classes))
    once, twice = (expm1((1 + r) * log1p(alpha) + r * log1p(unit)) if r else alpha for r in (min(1, most), min(2, most)))
    lost = classes * arithmetic.underflow * (1 + grown)
    return Declared(
        unit=unit,
        alpha=alpha,
        rescalings=most,
        rescaled_once=once,
        rescaled_twice=twice,
        lambda_=lambda_ + (1 + lambda_) * scaled,
        scaled=scaled,
        lost_exponent=arithmetic.rounding_underflow if arithmetic.base_2 else 0.0,
        inverse=unit if arithmetic.reciprocals else 0.0,
        lost_inverse=arithmetic.rounding_underflow if arithmetic.reciprocals else 0.0,
        stored=arithmetic.storage_roundoff,
        sum_stored=arithmetic.storage_roundoff if arithmetic.stores_sum else 0.0,
        grown=grown,
        omega=arithmetic.underflow,
        omega_rescaled=2 * arithmetic.underflow if most else 0.0,
        omega_sum=3 * lost * exp(most * (alpha + unit)) if most else lost,
        storage_underflow=arithmetic.storage_underflow,
        log_stored=arithmetic.storage_roundoff if stores else 0.0,
        log_underflow=arithmetic.storage_underflow if stores else 0.0,
        first_order=growth_of(arithmetic, PLAIN_ROUNDINGS, PLAIN_ROUNDINGS),
        second_order=growth_of(arithmetic, SECOND_ORDER_ROUNDINGS, SECOND_ORDER_ROUNDINGS),
        working_underflow=declared.storing_once().inside.storage_underflow,
        extra=EXTRA_ROUNDINGS,
        finished=growth(unit, EXTRA_ROUNDINGS),
        lost=_lost(declared.storage, declared, classes, max(declared.rounding_underflow, declared.working.min_subnormal))
        + declared.storage.min_subnormal,
        stores_once=declared.stores_once,
        last_store=declared.storage_roundoff,
        last_underflow=declared.storage_underflow,
    )
