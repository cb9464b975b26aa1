"""The compiled exp and log1p keep their proved errors, on hard arguments and on any that Hypothesis finds."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from reference.fast import elementary

PRECISION = 200


def _relative_error(computed: float, true: mpmath.mpf) -> float:
    return float(abs((mpmath.mpf(computed) - true) / true))


def _exp_error(gap: float) -> float:
    with mpmath.workprec(PRECISION):
        return _relative_error(elementary.exp_minus(gap), mpmath.exp(-mpmath.mpf(gap)))


def _log1p_error(r: float) -> float:
    with mpmath.workprec(PRECISION + 1100):
        return _relative_error(elementary.log1p_unit(r), mpmath.log1p(mpmath.mpf(r)))


@given(st.floats(0.0, elementary.LARGEST_GAP))
@settings(max_examples=300, deadline=None, database=None)
def test_exp_of_any_gap(gap):
    assert _exp_error(gap) <= elementary.EXP_ERROR


@given(st.floats(2.0**-1000, 2.0**52))
@settings(max_examples=300, deadline=None, database=None)
def test_log1p_of_any_sum(r):
    assert _log1p_error(r) <= elementary.LOG1P_ERROR


def test_log1p_just_above_its_first_branch():
    """Where its bound is nearest: what is added up there is as large as the result."""
    sums = np.random.default_rng(1).uniform(0.4142, 0.7, 20000)
    assert max(_log1p_error(r) for r in sums.tolist()) <= elementary.LOG1P_ERROR


def test_exp_at_the_edges_of_its_reduction():
    """Around each multiple of ln 2 / 2, where the reduced argument is largest or smallest."""
    edges = np.arange(1, 1875) * np.log(2.0) / 2
    around = [edges, np.nextafter(edges, 0), np.nextafter(edges, 1e3)]
    assert max(_exp_error(gap) for gap in np.concatenate(around).tolist()) <= elementary.EXP_ERROR


def test_log1p_at_the_edges_of_its_branches():
    """Where the series meets the reduction, and where 1 + r changes its binade or its half of one."""
    edges = [0.4142, *(2.0**k - 1 for k in range(1, 53)), *(2.0**k * np.sqrt(2) - 1 for k in range(1, 52))]
    around = [r for edge in edges for r in (np.nextafter(edge, 0), edge, np.nextafter(edge, np.inf))]
    assert max(_log1p_error(float(r)) for r in around if r <= 2.0**52) <= elementary.LOG1P_ERROR


def test_values_that_are_exact():
    assert elementary.exp_minus(0.0) == 1.0
    assert elementary.exp_minus(np.inf) == elementary.exp_minus(np.nextafter(elementary.LARGEST_GAP, np.inf)) == 0.0
    assert elementary.exp_minus(elementary.LARGEST_GAP) > 2.0**-938
    assert elementary.log1p_unit(0.0) == 0.0


def test_log_2_in_two_parts():
    """The reduction relies on a short first part and on what both parts leave over."""
    with mpmath.workprec(PRECISION):
        left = mpmath.log(2) - mpmath.mpf(elementary.LN2_HIGH) - mpmath.mpf(elementary.LN2_LOW)
        assert abs(left) < mpmath.mpf(2) ** -84
    assert (elementary.LN2_HIGH * 2.0**29).is_integer()
