"""Tests of the double-double arithmetic of the positive control, against mpmath."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
import pytest

from adapters.numpy import double_double as dd
from adapters.numpy.double_double import DoubleDouble

BITS = 100
MP = mpmath.MPContext()
MP.prec = 400


def relative_error(result: DoubleDouble, exact: list[mpmath.mpf]) -> float:
    """Largest relative error, as a power of two."""
    parts = zip(result.hi.ravel().tolist(), result.lo.ravel().tolist(), result.exponent.ravel().tolist(), exact, strict=True)
    errors = [abs(MP.ldexp(MP.mpf(hi) + MP.mpf(lo), e) / x - 1) for hi, lo, e, x in parts if x]
    return float(MP.log(max(errors), 2)) if max(errors) else -np.inf


GENERATOR = np.random.default_rng(7)
SIGNED = GENERATOR.normal(size=200) * 10.0 ** GENERATOR.uniform(-200, 200, 200)
GAPS = -np.abs(GENERATOR.normal(size=200)) * 10.0 ** GENERATOR.uniform(-10, 4, 200)
SUMS = 10.0 ** GENERATOR.uniform(-300, 6, 200)


@pytest.mark.parametrize(
    ("function", "exact", "inputs"),
    [
        (dd.exp, MP.exp, GAPS),
        (dd.log1p, MP.log1p, SUMS),
        (lambda x: x * x, lambda x: x * x, SIGNED),
        (lambda x: DoubleDouble.of(1.0) / x, lambda x: 1 / x, SIGNED),
        (lambda x: x + DoubleDouble.of(3.0), lambda x: x + 3, np.abs(SIGNED)),
    ],
    ids=["exp", "log1p", "product", "quotient", "sum"],
)
def test_a_function_has_a_hundred_bits(
    function: Callable[[DoubleDouble], DoubleDouble], exact: Callable[[mpmath.mpf], mpmath.mpf], inputs: np.ndarray
) -> None:
    assert relative_error(function(DoubleDouble.of(inputs)), [exact(MP.mpf(x)) for x in inputs.tolist()]) < -BITS


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 64, 65])
def test_a_sum_by_halving_misses_no_term(size: int) -> None:
    assert DoubleDouble.of(np.arange(float(size))[None]).sum(axis=1).value() == size * (size - 1) / 2


def test_powers_far_below_every_format_do_not_become_nan() -> None:
    assert dd.exp(DoubleDouble.of(np.array([-1e300, -(2.0**21)]))).value().tolist() == [0.0, 0.0]
