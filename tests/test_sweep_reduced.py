"""The reduced sweep of `--effort=thorough`: what it holds a pair to, and that it fails where a loss is lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from adapters.numpy.backend import NumpyAdapter
from adapters.operation import Operation
from reference.arithmetic import Arithmetic
from reference.formats import FLOAT16, FORMATS, Format
from reference.grades import Grade
from reference.quantity import Quantity
from suites import test_sweep
from suites.judging.claims import Setting
from suites.judging.claims_file import CLAIMS_FOLDER, load_claims
from tests.sweep_backends import Absorbing


def lines(adapter: NumpyAdapter, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the reduced sweep says of the first operation of a backend, every 1021th number."""
    monkeypatch.setattr(test_sweep, "STEPS", {"float16": 1021})
    claims = load_claims(CLAIMS_FOLDER / "numpy.toml", Setting(np.__version__))
    judge: Any = SimpleNamespace(plan=SimpleNamespace(adapter=adapter, claims=claims))
    return [found.line for found in test_sweep._sweep(judge, adapter.operations()[0], FLOAT16)]


def test_it_says_what_it_left_out_and_whether_the_claims_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    told = lines(NumpyAdapter(), monkeypatch)
    assert [line.split(", ")[2].partition(":")[0] for line in told] == ["loss", "gradient"]
    assert all("REDUCED (every 1021th number only)" in line for line in told)
    assert all(line.endswith("holds") for line in told)


def test_it_fails_where_losses_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    loss, gradient = lines(Absorbing(), monkeypatch)
    assert loss.endswith("needs faithful: FAILS")
    assert gradient.endswith("holds")


@pytest.mark.parametrize("fmt", [fmt for fmt in FORMATS.values() if fmt.bits < 64], ids=lambda f: f.name)
def test_deviations_of_means_and_options_do_not_excuse_a_pair(fmt: Format) -> None:
    """PyTorch's mean overflows, label smoothing too: with their regions left open, a lost pair needed no grade at all."""
    operation = Operation("cross_entropy", "", None, {fmt.name: Arithmetic(fmt, FORMATS["float32"])})
    claims = load_claims(CLAIMS_FOLDER / "torch.toml", Setting("2.13.0"))
    assert any(
        d.region and d.reaches == Grade.NONE and d.concerns(operation, fmt.name, Quantity.LOSS) for d in claims.deviations
    )
    needed = min(claims.required(operation, Quantity.LOSS, problem) for problem in test_sweep.probes(fmt))
    assert needed == claims.claimed(operation, fmt.name, Quantity.LOSS) == Grade.STABLE
