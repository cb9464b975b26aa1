"""A failure at many classes is narrowed to the edge where it begins, by few calls, with what matters kept in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import FLOAT32, Problem
from reference.options import OPTIONS
from suites.judging.narrowing import MOST_ASKED, edges, narrowed
from tests.layers import picking

VOCABULARY = 128256
RANDOM = np.random.default_rng(0)


@dataclass
class Failing:
    """A predicate that remembers what it was asked, and what it said."""

    fails: Callable[[Problem], Any]
    asked: list[Problem] = field(default_factory=list)
    failed: list[Problem] = field(default_factory=list)

    def __call__(self, problem: Problem) -> bool:
        self.asked.append(problem)
        if answer := bool(self.fails(problem)):
            self.failed.append(problem)
        return answer


def narrow(problem: Problem, fails: Callable[[Problem], Any], step: int = 1) -> Problem:
    """The narrowed problem, which must have been seen to fail, after few calls, all of them allowed."""
    predicate = Failing(fails)
    found = narrowed(problem, predicate, step)
    assert len(predicate.asked) <= MOST_ASKED <= 90
    assert any(found is failed for failed in [problem, *predicate.failed])
    assert [asked.num_classes for asked in predicate.asked if asked.num_classes % step] == []
    return found


def row_of(classes: int, target: int = 0, **places: float) -> Problem:
    """A row of different numbers around 0, with some logits set: `at5=90.0` sets that of column 5."""
    logits = FLOAT32.round(RANDOM.normal(size=(1, classes)))
    for place, value in places.items():
        logits[0, int(place.removeprefix("at"))] = value
    return Problem(logits, [target], FLOAT32)


def is_plain(problem: Problem) -> bool:
    """True if all logits of its row but four, the target's and three extremes, are alike."""
    return int(np.unique(problem.logits, return_counts=True)[1].max()) >= problem.num_classes - 4


@pytest.mark.parametrize("target", [0, 5, 40000, VOCABULARY - 1])
@pytest.mark.parametrize(
    ("fails", "classes"),
    [
        (lambda p: p.num_classes > 32, 33),
        (lambda p: p.num_classes >= 32, 32),
        (lambda p: p.num_classes % 32 == 31, 31),
        (lambda p: p.num_classes % 32 == 1, 1),
        (lambda p: p.num_classes % 32 == 1 and p.num_classes > 1, 33),
        (lambda p: p.num_classes % 4096 == 0 or p.num_classes == VOCABULARY, 4096),
        (lambda p: p.num_classes > 1000, 1001),
        (lambda p: p.num_classes >= 65520, 65520),
        (lambda p: p.num_classes > 100000, 100001),
        (lambda p: p.num_classes == 7 or p.num_classes > 50, 7),
    ],
)
def test_the_smallest_number_of_classes_is_found(fails: Callable[[Problem], bool], classes: int, target: int) -> None:
    problem = row_of(VOCABULARY, target)
    found = narrow(problem, fails)
    assert found.num_classes == classes
    assert is_plain(found)
    assert found.logits[0, found.target[0]] == problem.logits[0, target]


def test_the_target_is_moved_in_as_far_as_it_fails() -> None:
    found = narrow(row_of(VOCABULARY, target=70000), lambda p: p.target[0] >= 32)
    assert (found.num_classes, found.target.tolist()) == (33, [32])


@pytest.mark.parametrize(
    "values", [{"at5000": 90.0}, {"at3": 99.0, "at5000": 90.0}, {"at3": 90.0, "at7": 90.0, "at5000": 90.0}]
)
def test_a_large_logit_is_moved_in_as_far_as_it_fails(values: dict[str, float]) -> None:
    found = narrow(row_of(VOCABULARY, target=60000, **values), lambda p: (p.logits[0, 1025:] > 80).any())
    assert found.logits[0, 1025:].max() == 90.0
    assert found.num_classes <= 1028
    assert is_plain(found)


def test_a_mask_and_nan_are_kept() -> None:
    masked = narrow(row_of(VOCABULARY, at5000=-np.inf), lambda p: np.isneginf(p.logits[0, 32:]).any())
    assert (masked.num_classes, masked.logits[0, 32]) == (33, -np.inf)
    undefined = narrow(row_of(VOCABULARY, at5000=np.nan), lambda p: np.isnan(p.logits).sum() == 1)
    assert undefined.num_classes <= 2


def test_a_row_stays_as_it_is_where_it_must() -> None:
    """All logits differ, so no plain row fails; 40 columns are too few, and the first ones are kept."""
    problem = row_of(3000, target=2999)
    found = narrow(problem, lambda p: p.num_classes > 40 and len(np.unique(p.logits)) == p.num_classes)
    assert found.num_classes == 41
    assert set(found.logits[0]) < set(problem.logits[0])
    np.testing.assert_array_equal(found.logits[0, :20], problem.logits[0, :20])


def test_a_sum_that_needs_its_terms_gets_a_row_of_equals() -> None:
    """A plain row of the commonest number does not fail, one of the largest does."""
    logits = np.full((1, 70000), -20.0)
    logits[0, ::3] = 0.0
    found = narrow(Problem(logits, [0], FLOAT32), lambda p: (p.logits == 0).sum() > 2048)
    assert 2049 <= found.num_classes <= 2051
    assert is_plain(found)


@pytest.mark.parametrize(("step", "classes"), [(8, 104), (128, 128), (96, 192)])
def test_the_multiple_is_kept(step: int, classes: int) -> None:
    found = narrow(row_of(96 * 8 * 128, target=500), lambda p: p.num_classes > 100, step)
    assert found.num_classes == classes


@pytest.mark.parametrize("step", [1, 8, 128])
@pytest.mark.parametrize("classes", [1, 2, 9, 10, 33, 1024, VOCABULARY])
def test_edges_are_those_of_tiles(classes: int, step: int) -> None:
    found = edges(classes * step, step)
    assert found == sorted(set(found))
    assert all(0 < number < classes * step and number % step == 0 for number in found)
    tiles = {2**power + more for power in range(20) for more in (0, 1)}
    if step == 1:
        assert {number for number in tiles | set(range(1, 9)) if number < classes} <= set(found)


def test_one_row_is_kept_where_one_is_enough() -> None:
    logits = FLOAT32.round(RANDOM.normal(size=(3, 500)))
    logits[1, 400] = 90.0
    problem = picking(logits, [7, 400, 499], FLOAT32, [4.0, 5.0, 6.0], cotangent=[1.0, 2.0, 3.0])
    found = narrow(problem, lambda p: (p.logits > 80).any() and p.num_classes > 16 and p.cotangent is not None)
    assert (found.logits.shape, found.target.tolist()) == ((1, 17), [found.logits[0].argmax()])
    assert (found.cotangent.tolist(), found.features[:, -1].tolist()) == ([2.0], [5.0])
    together = narrow(problem, lambda p: p.num_rows > 1 and p.num_classes > 16 and p.cotangent is not None)
    assert together.logits.shape == (2, 17)
    assert [row[place] for row, place in zip(together.logits, together.target, strict=True)] == [
        row[place] for row, place in zip(logits[1:], problem.target[1:], strict=True)
    ]
    assert (together.cotangent.tolist(), together.features[:, -1].tolist()) == ([2.0, 3.0], [5.0, 6.0])


def test_a_reduced_loss_keeps_its_scalar() -> None:
    problem = Problem(np.zeros((2, 100)), [50, 99], FLOAT32, reduction="mean", cotangent=3.0)
    found = narrow(problem, lambda p: p.num_classes > 32 and p.reduction == "mean" and p.cotangent is not None)
    assert (found.logits.shape, float(found.cotangent)) == ((1, 33), 3.0)


def test_columns_go_along_with_their_logits() -> None:
    number = np.arange(2000.0)
    problem = Problem([number], [1234], FLOAT32, class_weights=number + 1, tangent=[number + 2])

    def fails(part: Problem) -> bool:
        if part.class_weights is None:
            return False
        assert (part.class_weights == part.logits[0] + 1).all() or len(np.unique(part.logits)) != part.num_classes
        return part.num_classes > 16 and len(np.unique(part.logits)) == part.num_classes

    found = narrow(problem, fails)
    assert found.logits.shape == (1, 17)
    assert found.logits[0, found.target[0]] == 1234.0
    np.testing.assert_array_equal(found.class_weights, found.logits[0] + 1)
    np.testing.assert_array_equal(found.tangent, found.logits + 2)


@pytest.mark.parametrize("ignored", [0, 1, 5, 999, -1])
def test_ignored_rows_stay_ignored_and_others_count(ignored: int) -> None:
    problem = Problem(FLOAT32.round(RANDOM.normal(size=(2, 1000))), [ignored, 700], FLOAT32, ignore_index=ignored)

    def fails(part: Problem) -> bool:
        if not part.gives(OPTIONS["ignore_index"]):
            return False
        assert part.num_rows == 1 or part.ignored.tolist() == [True, False]
        return part.num_rows == 2 and part.num_classes > 32

    assert narrow(problem, fails).num_classes == 33


@pytest.mark.parametrize("rows", [1, 2])
def test_probabilities_keep_their_sum_and_their_largest(rows: int) -> None:
    target = np.full((rows, 1000), 2.0**-11)
    target[np.arange(rows), [800, 900][:rows]] += 1 - target[0].sum()
    problem = Problem(FLOAT32.round(RANDOM.normal(size=(rows, 1000))), target, FLOAT32)
    found = narrow(problem, lambda p: p.num_classes > 32 and p.num_rows == rows)
    assert found.target.shape == (rows, 33)
    np.testing.assert_allclose(found.target.sum(axis=1), 1.0, rtol=1e-6)
    places = found.target.argmax(axis=1)
    np.testing.assert_array_equal(found.logits[np.arange(rows), places], problem.logits[np.arange(rows), target.argmax(axis=1)])


def test_what_fails_alone_is_returned_as_it_is() -> None:
    problem = row_of(1000)
    assert narrow(problem, lambda p: False) is problem
    assert narrow(problem, lambda p: p.num_classes == 1000 and not is_plain(p)) is problem


@pytest.mark.parametrize(
    "problem",
    [
        Problem(np.zeros((0, 5)), [], FLOAT32).without_classes(),
        Problem([[1.0, 2.0]], [0], FLOAT32).with_unchecked_target([9]),
    ],
)
def test_what_is_no_valid_problem_is_not_asked(problem: Problem) -> None:
    assert narrowed(problem, Failing(lambda p: pytest.fail("asked"))) is problem


@pytest.mark.parametrize(
    "problem",
    [
        Problem(np.zeros((0, 5)), [], FLOAT32),
        Problem([[3.0], [4.0]], [[1.0], [0.0]], FLOAT32, loss="sigmoid"),
        Problem([[np.nan, np.inf, -np.inf] * 9], [4], FLOAT32),
        Problem(np.zeros((2, 40)), np.zeros((2, 40)), FLOAT32),
    ],
)
def test_odd_problems_are_narrowed_too(problem: Problem) -> None:
    found = narrow(problem, lambda p: True)
    assert (found.num_rows, found.num_classes) == (min(problem.num_rows, 1), 1)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_fails_is_narrowed_within_bounds(data: st.DataObject) -> None:
    """Thresholds of K and of the target's place together, with or without a tail of a tile."""
    classes = data.draw(st.integers(1, 3000))
    target = data.draw(st.integers(0, classes - 1))
    least, place = data.draw(st.integers(0, classes)), data.draw(st.integers(0, target))
    tile = data.draw(st.sampled_from([1, 2, 32, 100]))
    problem = Problem([np.arange(float(classes)) % 7], [target], FLOAT32)

    def fails(part: Problem) -> bool:
        return (part.num_classes >= least and part.target[0] >= place and part.num_classes % tile == 0) or part is problem

    found = narrow(problem, fails)
    assert found.num_classes >= max(least, place + 1) or found is problem
    if tile == 1:
        assert found.num_classes == max(least, place + 1, 1)


def test_options_that_a_failure_does_not_need_are_left_out() -> None:
    logits = FLOAT32.round(RANDOM.normal(size=(40, 5)))
    options = {"label_smoothing": 0.5, "temperature": 2.0, "class_weights": np.ones(5) / 2, "cotangent": 3.0}
    problem = Problem(logits, np.arange(40) % 5, FLOAT32, reduction="mean", **options)
    found = narrow(problem, lambda p: p.label_smoothing > 0 and p.num_rows > 0)
    assert (found.logits.shape, found.label_smoothing) == ((1, 1), 0.5)
    assert (found.temperature, found.class_weights, found.reduction, found.cotangent) == (1.0, None, "none", None)


@pytest.mark.parametrize("rows", [2, 33, 65, 500])
def test_rows_behind_a_tile_are_narrowed_to_its_edge(rows: int) -> None:
    """A kernel that leaves out all rows from some on."""
    problem = Problem(FLOAT32.round(RANDOM.normal(size=(512, 3))), np.arange(512) % 3, FLOAT32)
    assert narrow(problem, lambda p: p.num_rows >= rows).num_rows == rows
