"""No attack comes above a bound; and one that lacks a term, or is not told of a declaration, is found out."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reference.arithmetic import PAIRWISE, RECURSIVE, Arithmetic
from reference.bounds import entrywise, row_errors
from reference.bounds.componentwise import CarefulRows
from reference.bounds.entrywise import stable_bound
from reference.bounds.running import Running
from reference.formats import BFLOAT16, FLOAT16, FLOAT32
from reference.loss import Loss
from reference.problem import Problem
from reference.quantity import Quantity
from tests.attack.__main__ import PAGE
from tests.attack.computers import FirstOrder, Rounding
from tests.attack.lines import CASES, LANES, LINES, Line
from tests.attack.search import Attack, worst_of

FEW = 31
"""Rows that are tried here: the starts."""


@pytest.mark.parametrize("line", LINES, ids=lambda line: "-".join(line.names).replace(" ", "_"))
def test_no_bound_is_exceeded(line: Line) -> None:
    first, rounded = line.ratio("first_order", FLOAT32, FEW), line.ratio("rounded", FLOAT32, FEW)
    assert rounded <= first <= 1.0
    assert rounded > 0.03, "the attack would find nothing"


def test_half_precision_is_not_exceeded_either() -> None:
    assert 0.1 < max(line.ratio("rounded", BFLOAT16, FEW) for line in LINES[:6]) <= 1.0


_HIDDEN: list[tuple[Line, dict[str, Any]]] = [
    (Line(Quantity.LOG_SOFTMAX, "", "online"), {"summation": RECURSIVE}),
    (Line(Quantity.GRADIENT, "quotient", "online"), {"summation": RECURSIVE}),
    (Line(Quantity.LOG_SOFTMAX, "", "online, pairwise merges"), {"summation": PAIRWISE}),
    (Line(Quantity.LOG_SOFTMAX, "", "online, lanes of 8"), {"summation": LANES}),
    (Line(Quantity.SOFTMAX, "exp", "tiles of 8"), {"summation": PAIRWISE}),
    (Line(Quantity.LOSS, "", "base 2"), {"base_2": False}),
    (Line(Quantity.SOFTMAX, "exp", "base 2, online"), {"base_2": False}),
    (Line(Quantity.SOFTMAX, "quotient", "reciprocals"), {"reciprocals": False}),
    (Line(Quantity.GRADIENT, "quotient", "reciprocals", "factors"), {"reciprocals": False}),
    (Line(Quantity.LOSS, "softplus", "softplus", "soft sigmoid"), {"softplus": False}),
]
"""An algorithm, and what its bound is not told of it."""


@pytest.mark.parametrize(
    ("line", "hidden"), _HIDDEN, ids=lambda given: "-".join(given.names) if isinstance(given, Line) else ""
)
def test_what_is_not_declared_is_found_out(line: Line, hidden: dict[str, Any]) -> None:
    assert line.ratio("first_order", FLOAT32, FEW) <= 1.0
    assert replace(line, hidden=hidden).ratio("first_order", FLOAT32, FEW) > 1.03


def test_softplus_of_a_soft_label_exceeds_an_undeclared_bound_in_real_rounding() -> None:
    line = Line(Quantity.LOSS, "softplus", "softplus", "soft sigmoid")
    assert line.ratio("rounded", FLOAT32, FEW) <= 1.0
    assert replace(line, hidden={"softplus": False}).ratio("rounded", FLOAT32, FEW) > 5.0


def test_softplus_of_a_large_number_has_a_bound() -> None:
    """exp(-|x|) is 0 there, whatever its gap is off by."""
    problem = Problem([[2.0**127], [-(2.0**127)]], [[0.0], [0.5]], FLOAT32, loss=Loss.SIGMOID)
    bound = stable_bound(problem, Quantity.LOSS, Arithmetic(FLOAT32, FLOAT32, softplus=True))
    assert (bound < 2.0**127 * 8 * FLOAT32.unit_roundoff).all()


@pytest.mark.parametrize("case", ["factors", "sum", "mean"])
@pytest.mark.parametrize("quantity", [Quantity.LOSS, Quantity.GRADIENT, Quantity.HVP])
def test_every_store_of_a_narrower_format_counts(quantity: Quantity, case: str) -> None:
    """A gradient that is multiplied by a cotangent, then divided by a mean's N and by T, is stored each time."""
    way = {Quantity.LOSS: "", Quantity.GRADIENT: "quotient", Quantity.HVP: "quotient, difference"}[quantity]
    arithmetic = Arithmetic(FLOAT16, FLOAT32, exp_ulps=0.501, log_ulps=0.501, summation=RECURSIVE)
    attacks = [Attack(quantity, way, arithmetic, CASES[case].shape, options) for options in CASES[case].options]
    assert 0.4 < max(worst_of(attack, "first_order", FEW).ratio for attack in attacks) <= 1.0


def test_a_bound_without_the_sum_over_the_tangent_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(Quantity.HVP, "quotient, difference", "recursive")
    assert line.ratio("first_order", FLOAT32, FEW) <= 1.0
    monkeypatch.setattr(entrywise, "growth", lambda unit, roundings: 0.0)
    assert line.ratio("first_order", FLOAT32, FEW) > 1.1


def test_a_product_whose_sum_over_the_cotangent_costs_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """p = 1/24 of every class, of cotangents that cancel."""
    attack = next(Line(Quantity.LOG_SOFTMAX_VJP, "quotient", "recursive").attacks(FLOAT32))
    problem = attack.problem(np.zeros(24), np.where(np.arange(24) < 12, 1.1, -1.1))
    assert 0.2 < attack.first_order(problem) <= 1.0
    monkeypatch.setattr(
        Running, "summed", lambda given: Running(given.size.sum(-1, keepdims=True), np.zeros((1, 1)), given.arithmetic)
    )
    assert attack.first_order(problem) > 1.03


@pytest.mark.parametrize("quantity", [Quantity.LOSS, Quantity.GRADIENT, Quantity.FEATURE_GRADIENT, Quantity.WEIGHT_GRADIENT])
def test_a_layer_that_is_stored_in_a_half_format_is_declared(quantity: Quantity) -> None:
    """Logits in bfloat16, and all else in float32: as under autocast."""
    way, case = "" if quantity is Quantity.LOSS else "quotient", CASES["dense layer"]
    wide = Arithmetic(FLOAT32, FLOAT32, summation=RECURSIVE)
    narrow = replace(wide, layer_logits=BFLOAT16)
    for kind in ("first_order", "rounded"):
        declared, hidden = (
            max(
                worst_of(Attack(quantity, way, narrow, case.shape, options, bound), kind, FEW).ratio for options in case.options
            )
            for bound in (narrow, wide)
        )
        assert 0.05 < declared <= 1.0 < 100.0 < hidden


@pytest.mark.parametrize("quantity", [Quantity.LOSS, Quantity.GRADIENT, Quantity.FEATURE_GRADIENT, Quantity.WEIGHT_GRADIENT])
def test_a_layer_whose_logits_have_no_error_is_found_out(quantity: Quantity, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(quantity, "" if quantity is Quantity.LOSS else "quotient", "recursive", "dense layer")
    assert line.ratio("first_order", FLOAT32, FEW) <= 1.0
    monkeypatch.setattr(row_errors, "layer_logits", lambda given, of: Running.exact(np.abs(given.logits), of))
    assert line.ratio("first_order", FLOAT32, FEW) > 1.1


def test_both_arithmetics_compute_the_same_numbers() -> None:
    arithmetic = Arithmetic(FLOAT32, FLOAT32, summation=RECURSIVE, base_2=True)
    rounding, traced = Rounding(arithmetic), FirstOrder(arithmetic)
    row = FLOAT32.round(np.array([[1.0, 0.3, -2.7, 0.25]]))
    sums = traced.total(traced.exp(traced.exact(row)))
    assert abs(float(rounding.total(rounding.exp(rounding.exact(row)))[0, 0]) - float(sums.value[0, 0])) <= float(
        sums.error[0, 0]
    )
    assert float(sums.error[0, 0]) < 1e-5


def test_the_published_page_has_every_bound_and_no_ratio_above_1() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| [a-z_]+ \| [a-z]", line) and "bound" not in line]
    assert [tuple(row.removeprefix("| ").split(" | ")[:4]) for row in rows] == [line.names for line in LINES]
    ratios = [float(cell) for row in rows for cell in row.removesuffix(" |").split(" | ")[4:]]
    assert len(ratios) == 4 * len(LINES)
    assert 0.5 < max(ratios) <= 1.0


def test_a_bound_of_componentwise_without_the_gaps_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of what a rounded gap costs a power, where a class lies 40 below."""
    line = Line(Quantity.SOFTMAX, "componentwise", "recursive")
    assert line.ratio("first_order", FLOAT32, FEW) <= 1.0
    whole = CarefulRows.gap_error.func
    monkeypatch.setattr(CarefulRows, "gap_error", property(lambda rows: whole(rows) / 2))
    assert line.ratio("first_order", FLOAT32, FEW) > 1.1
