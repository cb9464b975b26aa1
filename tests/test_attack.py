"""No attack comes above a bound; and one that lacks a term is found out."""

from __future__ import annotations

import re

import numpy as np
import pytest

from reference.arithmetic import RECURSIVE, Arithmetic
from reference.bounds import entrywise
from reference.formats import BFLOAT16, FLOAT32
from reference.quantity import Quantity
from tests.attack.__main__ import CLASSES, LINES, PAGE, Line
from tests.attack.computers import FirstOrder, Rounding
from tests.attack.search import Attack, worst_of

FEW = 30
"""Rows that are tried here: the starts, and a few beside them."""


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.quantity}-{line.way}-{line.summation}".replace(" ", "_"))
def test_no_bound_is_exceeded(line: Line) -> None:
    first, rounded = line.ratio("first_order", FLOAT32, FEW), line.ratio("rounded", FLOAT32, FEW)
    assert rounded <= first <= 1.0
    assert rounded > 0.05, "the attack would find nothing"


def test_half_precision_is_not_exceeded_either() -> None:
    assert 0.1 < max(line.ratio("rounded", BFLOAT16, FEW) for line in LINES[:6]) <= 1.0


def test_a_bound_without_the_sum_over_the_tangent_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    attack = Attack(Quantity.HVP, "quotient, difference", Arithmetic(FLOAT32, FLOAT32, summation=RECURSIVE), CLASSES)
    assert worst_of(attack, "first_order", FEW).ratio <= 1.0
    monkeypatch.setattr(entrywise, "growth", lambda unit, roundings: 0.0)
    assert worst_of(attack, "first_order", FEW).ratio > 1.1


def test_both_arithmetics_compute_the_same_numbers() -> None:
    arithmetic = Arithmetic(FLOAT32, FLOAT32, summation=RECURSIVE)
    rounding, traced = Rounding(arithmetic), FirstOrder(arithmetic, 40)
    row = FLOAT32.round(np.array([[1.0, 0.3, -2.7, 0.25]]))
    sums = traced.total(traced.exp(traced.exact(row)))
    assert abs(float(rounding.total(rounding.exp(rounding.exact(row)))[0, 0]) - float(sums.value[0, 0])) <= float(
        sums.error[0, 0]
    )
    assert float(sums.error[0, 0]) < 1e-5


def test_the_published_page_has_every_bound_and_no_ratio_above_1() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| [a-z_]+ \| [a-z]", line) and "bound" not in line]
    assert [row.split(" | ")[:3] for row in rows] == [
        [f"| {line.quantity}", line.way or "one", str(line.summation)] for line in LINES
    ]
    ratios = [float(cell) for row in rows for cell in row.removesuffix(" |").split(" | ")[3:]]
    assert len(ratios) == 4 * len(LINES)
    assert 0.5 < max(ratios) <= 1.0
