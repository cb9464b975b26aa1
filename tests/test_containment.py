"""Every enclosure of both tiers against MPFR, radius and side included; the command tries more than these tests."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gmpy2", reason="the MPFR oracle needs gmpy2; get it with: pip install -e '.[mpfr]'")
pytest.importorskip("numba")

from reference import enclosure
from reference.formats import FLOAT32, FLOAT64
from reference.problem import Problem
from reference.quantity import Quantity
from tests.oracles.containment import check, check_problems, main
from tests.oracles.mpfr_oracle import values_of

BESIDE_A_HALF = Problem([[1.0, 0.0], [2.0**-149, 0.0]], [0, 0], FLOAT32)
"""The second row is left to the exact tier: its gradient is -1/2 but for a cube of 2^-149, and its radius 2^-452."""


def test_extreme_problems_are_contained() -> None:
    total = check_problems(120, seed=5)
    assert total.problems == 120
    assert total.tried > total.entries / 2
    assert total.fast > 500


def test_a_radius_of_the_exact_tier_beside_rows_of_the_compiled_one() -> None:
    assert check(BESIDE_A_HALF, [Quantity.GRADIENT]).fast == 4


def _nearest(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return values.astype(dtype)


def test_radii_rounded_to_nearest_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enclosure, "_rounded_up", _nearest)
    with pytest.raises(AssertionError, match="gradient, tier fast, entry 2: "):
        check(BESIDE_A_HALF, [Quantity.GRADIENT])


def test_a_radius_that_is_too_small_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enclosure, "_radius", lambda rest, scale: 0.0)
    with pytest.raises(AssertionError, match="loss, tier exact, entry 0: "):
        check(BESIDE_A_HALF, [Quantity.LOSS])


def test_the_oracle_knows_what_is_known() -> None:
    """The logarithm of 2 and its derivatives, a label on a masked class, and the error that it tells of itself."""
    found = values_of(Problem([[0.0, 0.0, -np.inf]], [2], FLOAT64, tangent=[[1.0, 0.0, 0.0]]), list(Quantity)[:4])
    assert found[Quantity.LOSS][0] == [np.inf]
    assert [float(x) for x in found[Quantity.GRADIENT][0]] == [0.5, 0.5, -1.0]
    assert [float(x) for x in found[Quantity.HVP][0]] == [0.25, -0.25, 0.0]
    values, errors = values_of(Problem([[0.0, 0.0]], [0], FLOAT64), [Quantity.LOSS])[Quantity.LOSS]
    assert float(values[0]) == float(np.log(2.0))
    assert errors[0] < 2.0**-1000


def test_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["--problems", "6", "--seed", "1"]) == 0
    assert "6 problems, " in capsys.readouterr().out
    monkeypatch.setattr(enclosure, "_radius", lambda rest, scale: 0.0)
    assert main(["--problems", "6", "--seed", "1"]) == 1
    assert "not contained: " in capsys.readouterr().err
