"""What a declaration says of stores: no bound of what stores every step has moved, and what stores once is held to that."""

from __future__ import annotations

import re

import numpy as np
import pytest

from adapters.loading import load_adapter
from reference.arithmetic import PAIRWISE, RECURSIVE, Arithmetic, Order, Summation
from reference.bounds.domain import Domain
from reference.bounds.entrywise import stable_bound
from reference.bounds.tolerances import tolerance
from reference.evaluation import evaluate
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, Format
from reference.problem import Problem
from reference.quantity import Quantity
from suites.judging.measurement import Measurement
from tests.test_bounds import EXP_ULPS, QUANTITIES, random_problem, textbook

PUBLISHED = {
    "of torch": (
        Arithmetic(BFLOAT16, FLOAT32, summation=Summation(Order.LANES, 8), stores_sum=True),
        ("0x1.48c0c99679e8bp-6", "0x1.399d7d3dde3d0p-7", "0x1.a901e2b17ae29p-6", "0x1.00573fc7a9826p-7"),
        (0.062, 4.8e-40),
    ),
    "fused": (
        Arithmetic(FLOAT16, FLOAT32, exp_ulps=2.0, summation=RECURSIVE),
        ("0x1.ff77c77f7ff1ep-10", "0x1.f0f93ad36178fp-11", "0x1.4ade3fa42cec0p-9", "0x1.fd2e280cefda4p-12"),
        (0.0061, 3e-07),
    ),
    "of jax": (
        Arithmetic(BFLOAT16, BFLOAT16, flush_to_zero=True),
        ("0x1.da9bae20121dap-5", "0x1.82104c5db433fp-6", "0x1.a3a5b0bda90ddp-5", "0x1.1a1c5bf5658dcp-6"),
        (0.14, 6.2e-38),
    ),
    "float32": (
        Arithmetic(FLOAT32, FLOAT32, exp_ulps=2.0, log_ulps=2.0, summation=RECURSIVE),
        ("0x1.0168fddb5af0cp-20", "0x1.de1e5120ef584p-22", "0x1.0eed97badf644p-20", "0x1.d97d6fb99d8c0p-22"),
        (2.4e-06, 9.9e-45),
    ),
}
"""Arithmetic as the frameworks have it; the largest bounds of a row, as they were before a kernel could store once."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_no_bound_of_what_stores_every_step_has_moved(name: str) -> None:
    arithmetic, bounds, allowed = PUBLISHED[name]
    rows = arithmetic.storage.round(np.array([[0.0, -1.5, -7.0, 2.25]] * 2))
    problem = Problem(rows, [1, 3], arithmetic.storage, tangent=np.ones_like(rows), reduction="mean")
    asked = (Quantity.LOSS, Quantity.GRADIENT, Quantity.HESSIAN, Quantity.SOFTMAX)
    found = [float(stable_bound(problem, quantity, arithmetic).max()) for quantity in asked]
    assert found == pytest.approx([float.fromhex(bound) for bound in bounds], rel=1e-12)
    assert tolerance("softmax", "stable", arithmetic, Domain(4, 9.0)) == allowed


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_the_operations_of_a_backend_store_every_step(backend: str) -> None:
    declared = [kind for operation in load_adapter(backend, "cpu").operations() for kind in operation.arithmetic.values()]
    assert all(kind.stores_log_probability and not kind.stores_once for kind in declared)


@pytest.mark.parametrize("fmt", [FLOAT16, BFLOAT16], ids=lambda fmt: fmt.name)
def test_a_textbook_kernel_that_stores_once_stays_within_its_bound_and_uses_it(fmt: Format) -> None:
    once = Arithmetic(fmt, FLOAT32, exp_ulps=EXP_ULPS, log_ulps=EXP_ULPS).storing_once()
    worst = dict.fromkeys(QUANTITIES, 0.0)
    for seed, (classes, scale) in enumerate([(2, 1.0), (2, 8.0), (10, 1.0), (10, 30.0), (60, 2.0)]):
        problem = random_problem(fmt, classes, scale, seed)
        expected = evaluate(problem, QUANTITIES)
        for quantity, values in textbook(problem.replace(format=FLOAT32), PAIRWISE).items():
            found = Measurement(problem, quantity, once, expected[quantity], fmt.round(values))
            ratio = float((found.least_error / stable_bound(problem, quantity, once, expected[quantity])).max())
            assert ratio <= 1.0, (quantity, classes, scale)
            worst[quantity] = max(worst[quantity], ratio)
    assert all(ratio > 0.8 for ratio in worst.values()), worst


def test_a_stored_log_probability_costs_its_rounding() -> None:
    """p of a gap of 20 as exp of a bfloat16 is up to 20 u_o off; of what is not stored, a store of p alone."""
    problem = Problem([[0.0, -20.0]], [0], BFLOAT16)
    value = np.exp(-20.0)
    bounds = [
        float(stable_bound(problem, Quantity.SOFTMAX, arithmetic)[0, 1]) / value / BFLOAT16.unit_roundoff
        for arithmetic in (
            Arithmetic(BFLOAT16, FLOAT32),
            Arithmetic(BFLOAT16, FLOAT32, stores_log_probability=False),
            Arithmetic(BFLOAT16, FLOAT32).storing_once(),
        )
    ]
    assert 20 < bounds[0] < 22
    assert bounds[1:] == pytest.approx([1.0, 1.0], rel=0.01)


def test_what_stores_once_is_bounded_by_what_it_computes_in_and_one_store() -> None:
    """1 - p of an absorbed class is far below a store of 1: the bound is float32's, not bfloat16's."""
    problem = Problem([[8.0, 0.0]], [0], BFLOAT16)
    value = 1 / (1 + np.exp(8.0))
    bound = float(stable_bound(problem, Quantity.GRADIENT, Arithmetic(BFLOAT16, FLOAT32).storing_once())[0, 0])
    assert bound == pytest.approx(BFLOAT16.unit_roundoff * value, rel=0.5)
    wide = Arithmetic(FLOAT32, FLOAT32)
    again = stable_bound(problem.replace(format=FLOAT32), Quantity.GRADIENT, wide.storing_once())
    assert again == pytest.approx(stable_bound(problem.replace(format=FLOAT32), Quantity.GRADIENT, wide), rel=1e-9)


@pytest.mark.parametrize("also", ["stores_sum", "stores_log_probability"])
def test_what_stores_once_stores_nothing_else(also: str) -> None:
    keys = {"stores_log_probability": False} | {also: True}
    with pytest.raises(ValueError, match=re.escape(f"stores_once and {also} are both true; allowed: one of them")):
        Arithmetic(FLOAT16, FLOAT64, stores_once=True, **keys)
