"""How much of a wrong sum passes as `stable`: the published figures, and that the default for own kernels lets little pass."""

from __future__ import annotations

import re

import numpy as np
import pytest

from reference.arithmetic import Arithmetic
from reference.evaluation import evaluate
from reference.formats import BFLOAT16, FLOAT32
from reference.grades import Grade
from suites.judging.measurement import Measurement
from tests.attack.tightness import CLASSES, GAPS, PAGE, QUANTITIES, Line, Wrong, best, lines, of_torch, text_of

SMALL = list(lines(most=1000))
ROWS = re.findall(r"^\| (\w+) \| (\d+) \| ([\w ]+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", PAGE.read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", SMALL, ids=lambda line: "-".join(line.cells[:3]))
def test_the_page_says_what_is_measured(line: Line) -> None:
    assert text_of(line) in PAGE.read_text().splitlines()


def test_the_default_lets_no_more_pass_than_twice_what_the_best_kernel_errs() -> None:
    assert len(ROWS) == 4 * len(CLASSES) * len(GAPS)
    for *place, torch, own, bound, m0 in ROWS:
        assert int(own) <= int(m0), place
        assert int(bound) <= int(own) <= int(torch), place


@pytest.mark.parametrize("gap", GAPS.values())
def test_the_largest_is_one_that_the_judge_calls_stable_and_the_next_is_not(gap: float) -> None:
    """The same by a measurement, whose grade is what a run goes by."""
    wrong, arithmetic = Wrong(BFLOAT16, 1000, gap), of_torch(BFLOAT16)
    expected = evaluate(wrong.problem, QUANTITIES)
    largest = wrong.largest(wrong.graded(arithmetic))
    for missing, passes in ((largest, True), (largest + 1, False)):
        grades = []
        for quantity, found in expected.items():
            sign = -1.0 if quantity == "loss" else 1.0
            seen = found.values.approximate() + sign * wrong.errors(missing)[quantity].reshape(found.values.shape)
            grades.append(Measurement(wrong.problem, quantity, arithmetic, found, seen).grade)
        assert (min(grades) >= Grade.STABLE) is passes


def test_a_class_left_out_moves_each_entry_as_it_says() -> None:
    wrong = Wrong(FLOAT32, 64, 3.0)
    powers = np.exp(np.append(0.0, np.full(63, -3.0)))
    loss, p = -np.log(powers[-1] / powers.sum()), powers / powers.sum()
    less = powers.sum() - 5 * powers[-1]
    errors = wrong.errors(5)
    np.testing.assert_allclose(errors[QUANTITIES[0]], [loss + np.log(powers[-1] / less)], rtol=1e-12)
    np.testing.assert_allclose(errors[QUANTITIES[1]][0], powers / less - p, rtol=1e-12)


def test_the_best_kernel_stores_once() -> None:
    assert best(BFLOAT16) == Arithmetic(BFLOAT16, FLOAT32, exp_ulps=0.5, log_ulps=0.5).storing_once()
