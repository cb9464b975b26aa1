"""Problems in pairs: every two values come together, at sizes that belong to them, with rows that differ."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest

from adapters.loading import load_adapter
from adapters.operation import Operation
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, FORMATS, Format
from reference.loss import Loss
from reference.options import OPTIONS, Axes
from reference.problem import Problem
from suites.inputs.hazards import HAZARDS
from suites.inputs.pairs import (
    ALONE,
    MIXED,
    NOT_GIVEN,
    SIZES,
    WEIGHTS,
    Made,
    Pair,
    axes_of,
    pairs_of,
    pairs_there_are,
    picks,
    plain_picks,
    plain_problems,
    problems_in_pairs,
    weights_along,
)
from suites.inputs.problems import Ask
from suites.inputs.tables import FILLERS, Table
from suites.judging.search import Searches

How = Callable[[Ask, int], Made]
ASKS = {
    "indices": Ask(
        FLOAT32, tuple(FILLERS), options=frozenset({"class_weights", "label_smoothing", "ignore_index", "reduction"})
    ),
    "plain": Ask(BFLOAT16, tuple(FILLERS), directions=True),
    "probabilities": Ask(FLOAT16, tuple(FILLERS), probabilities=True, options=frozenset({"temperature", "reduction"})),
    "probabilities and a label": Ask(FLOAT32, ("moderate",), probabilities=True, options=frozenset({"ignore_index"})),
    "softcap": Ask(FLOAT64, tuple(FILLERS), options=frozenset({"logit_softcap", "z_loss", "reduction"})),
    "focal": Ask(FLOAT32, tuple(FILLERS), loss=Loss.FOCAL, options=frozenset({"reduction"})),
    "sigmoid": Ask(FLOAT32, ("moderate", "offset"), loss=Loss.SIGMOID, probabilities=True, options=frozenset({"reduction"})),
    "few shapes": Ask(FLOAT32, tuple(FILLERS), options=frozenset({"reduction", "ignore_index"}), few_shapes=True),
    "few of one logit": Ask(FLOAT32, ("moderate",), True, Loss.SIGMOID, frozenset({"positive_weight"}), few_shapes=True),
    "tiles of 8": Ask(FLOAT32, ("moderate", "masked"), classes_multiple=8, max_classes=4096),
}


@pytest.mark.parametrize("name", ASKS)
def test_every_pair_of_values_meets(name: str) -> None:
    axes, met = axes_of(ASKS[name]), set[Pair]().union(*map(pairs_of, picks(ASKS[name])))
    for (one, values), (other, others) in combinations(axes.items(), 2):
        for pair in ((value, beside) for value in values for beside in others):
            assert frozenset({(one, pair[0]), (other, pair[1])}) in met & pairs_there_are(ASKS[name])


@pytest.mark.parametrize("name", ASKS)
def test_there_are_few_more_than_the_longest_two_axes_have_pairs(name: str) -> None:
    first, second, *_ = sorted(map(len, axes_of(ASKS[name]).values()), reverse=True)
    assert len(picks(ASKS[name])) <= 1.3 * first * second


def test_every_option_is_an_axis_of_what_takes_it() -> None:
    for loss in Loss:
        taken = {name for name, option in OPTIONS.items() if option.is_taken_by(loss)}
        axes = axes_of(Ask(FLOAT32, ("moderate",), loss=loss, options=frozenset(taken)))
        assert taken <= set(axes)


@pytest.mark.parametrize("name", ASKS)
def test_every_hazard_comes_at_every_size(name: str) -> None:
    """In each of a few rows; of many, the finite ones mixed, those that are not in all rows, and extreme ones in one."""
    ask, met = ASKS[name], {(pick["size"], pick["hazard"], pick["spread"]) for pick in plain_picks(ASKS[name])}
    for size in axes_of(ask)["size"]:
        if SIZES[size].rows[1] <= 4:
            assert {(size, hazard, "every row") for hazard in ask.hazards} <= met
        else:
            assert {(size, MIXED, "every row")} | {
                (size, hazard, "one row") for hazard in ALONE if hazard in ask.hazards
            } <= met


@pytest.mark.parametrize("how", [plain_problems, problems_in_pairs], ids=lambda how: how.__name__)
@pytest.mark.parametrize("name", ASKS)
def test_the_problems_of_a_seed_are_the_same_and_those_of_another_are_not(name: str, how: How) -> None:
    def told(seed: int) -> list[bytes]:
        return [problem.logits.tobytes() for problem in how(ASKS[name], seed).problems]

    assert told(0) == told(0)
    assert len(set(told(0)) & set(told(1))) < len(told(0)) / 4


@pytest.mark.parametrize("how", [plain_problems, problems_in_pairs], ids=lambda how: how.__name__)
@pytest.mark.parametrize("name", ASKS)
def test_sizes_are_those_of_the_axes_and_rows_differ(name: str, how: How) -> None:
    ask = ASKS[name]
    problems = how(ask, 0).problems
    assert len(problems) == len((plain_picks if how is plain_problems else picks)(ask))
    assert [problem.logits.size for problem in problems] == sorted(problem.logits.size for problem in problems)
    least, most = (end(SIZES[size].rows[0] for size in axes_of(ask)["size"]) for end in (min, max))
    shapes = [problem.logits.shape for problem in problems]
    assert {least <= rows for rows, _ in shapes} == {True}
    assert max(rows for rows, _ in shapes) >= min(most, 17)
    if not ask.loss.spec.binary:
        assert all(classes % ask.classes_multiple == 0 for _, classes in shapes)
        assert max(classes for _, classes in shapes) > 1000
    large = [problem for problem in problems if problem.num_rows > 16 and problem.num_classes > 4]
    alike = [1 - len(np.unique(problem.logits, axis=0)) / problem.num_rows for problem in large]
    assert not large or np.mean(alike) < 0.2


def test_no_number_of_classes_is_left_out_for_good() -> None:
    """Of those that were: 7 to 11 and 65 to 999; and beside the powers of 2."""
    seen = {problem.num_classes for seed in range(20) for problem in plain_problems(ASKS["plain"], seed).problems}
    assert seen >= set(range(2, 12))
    assert len(seen & set(range(65, 1000))) > 100
    assert {31, 32, 33, 63, 64, 65, 127, 128, 129, 511, 512, 513, 1025, 2047, 2048, 2049} <= seen


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("name", FILLERS)
@pytest.mark.parametrize("shape", [(1, 13), (3, 40), (40, 13)])
def test_a_table_lies_in_its_hazard(name: str, fmt: Format, shape: tuple[int, int]) -> None:
    for seed in range(5):
        logits = FILLERS[name](Table(fmt, *shape, np.random.default_rng(seed)))
        assert logits.shape == shape
        assert fmt.contains(logits).all()
        assert HAZARDS[name].holds(Problem(logits, [0] * len(logits), fmt))


def test_every_hazard_that_has_many_entries_has_a_table() -> None:
    """The others are about the number of rows or classes alone."""
    assert set(HAZARDS) - set(FILLERS) == {"degenerate", "large_vocabulary"}


def test_a_failure_is_narrowed_and_told_at_the_smallest_that_fails() -> None:
    """Ignored rows with smoothing in a batch behind a tile of rows: what else was drawn is left out."""
    ask, failed = ASKS["indices"], list[Problem]()

    def check(problem: Problem) -> None:
        if problem.num_rows > 32 and problem.label_smoothing > 0:
            failed.append(problem)
            pytest.fail("wrong", pytrace=False)

    with pytest.raises(pytest.fail.Exception, match="wrong"):
        Searches(0).run_all(problems_in_pairs(ask, 0).problems, ask, check)
    last = failed[-1]
    assert (last.num_rows, last.class_weights, last.reduction, last.cotangent) == (33, None, "none", None)


def test_problems_are_made_once_for_all_operations() -> None:
    searches, ask = Searches(0), ASKS["few shapes"]
    assert searches.made(plain_problems, ask) is searches.made(plain_problems, ask)
    assert searches.made(plain_problems, ask) is not searches.made(problems_in_pairs, ask)


@pytest.mark.parametrize("operation", load_adapter("numpy", "cpu").operations(), ids=lambda operation: operation.name)
def test_each_operation_can_be_asked(operation: Operation) -> None:
    if operation.loss.spec.is_log_probability and not operation.loss.spec.binary:
        ask = Ask(FLOAT32, ("moderate",), operation.probabilities, operation.loss, operation.options)
        assert problems_in_pairs(ask, 0).problems


@pytest.mark.parametrize("how", WEIGHTS)
@pytest.mark.parametrize(("axes", "shape"), [(Axes.CLASSES, (5,)), (Axes.ROWS, (3,)), (Axes.LOGITS, (3, 5))])
def test_weights_have_the_axes_of_their_option(how: str, axes: Axes, shape: tuple[int, ...]) -> None:
    weights = weights_along(how, Table(FLOAT32, 3, 5, np.random.default_rng(0)), axes)
    assert weights is None if how == NOT_GIVEN else weights is not None and weights.shape == shape
