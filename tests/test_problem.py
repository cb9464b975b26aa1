"""Checks that a problem refuses what is not allowed, saying what was given and what is, and owns what it accepts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reference import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, Problem

BASE: dict[str, Any] = {"logits": [[20.0, 0.0], [1.0, 2.0]], "target": [0, 1], "format": FLOAT32}

REFUSED = [
    ("logits", [["a", "b"]], r"logits is not an array of numbers \(.*\); allowed: float32 values"),
    ("logits", [[1.0], [1.0, 2.0]], r"logits is not an array of numbers \(.*\); allowed: float32 values"),
    ("logits", [[10**400, 0], [0, 0]], r"logits is not an array of numbers \(int too large .*\); allowed: float32 values"),
    ("logits", [[2**60 + 1, 0], [0, 0]], r"logits is not an array of numbers \(a number of it is no float64\)"),
    ("logits", np.full((2, 2), 1, np.longdouble) / 3, r"logits is not an array of numbers \(a number of it is no float64\)"),
    ("logits", np.full((2, 2), 1j), r"logits is not an array of numbers \(its dtype is complex128\)"),
    ("logits", [["1.0", "2.0"]] * 2, r"logits is not an array of numbers \(its dtype is <U3\)"),
    ("logits", np.ma.masked_equal([[1.0, 2.0]] * 2, 1.0), r"logits is not an array of numbers \(some of it is masked\)"),
    ("format", np.float32, r"format <class 'numpy.float32'> is not known; allowed: float64, float32, float16, bfloat16"),
    ("target", [[0.5], [0.1, 0.2]], r"target is not an array of numbers \(.*\); allowed: integer class indices"),
    ("class_weights", [10**400, 1], r"class_weights is not an array of numbers \(int too large .*\); allowed: float32 values"),
    ("label_smoothing", np.array([0.1, 0.2]), r"label_smoothing is array\(\[0\.1, 0\.2\]\); allowed: a number in \[0, 1\]"),
    ("logits", [[1.0, 0.1]], r"logits\[0, 1\] is 0\.1; allowed: float32 numbers"),
    ("logits", [[1.0, 1e39]], r"logits\[0, 1\] is 1e\+39; allowed: float32 numbers"),
    ("logits", [1.0, 2.0], r"logits has shape \(2,\); allowed: \(N, K\) with K >= 1"),
    ("logits", [[[1.0]]], r"logits has shape \(1, 1, 1\); allowed: \(N, K\) with K >= 1"),
    ("logits", [[], []], r"logits has shape \(2, 0\); allowed: \(N, K\) with K >= 1"),
    ("logits", 3.0, r"logits has shape \(\); allowed: \(N, K\) with K >= 1"),
    ("target", [0, 2], r"target\[1\] is 2; allowed: a class index in \[0, 2\) or ignore_index = -100"),
    ("target", [-1, 0], r"target\[0\] is -1; allowed: a class index in \[0, 2\) or ignore_index = -100"),
    ("target", np.array([2**64 - 100, 0], np.uint64), r"target\[0\] is 18446744073709551516; allowed: a class index"),
    ("target", [0, 1, 0], r"target has shape \(3,\) and dtype int64; allowed: integer class indices of shape \(2,\)"),
    ("target", [0.0, 1.0], r"target has shape \(2,\) and dtype float64; .*or floating-point probabilities of shape \(2, 2\)"),
    ("target", [[0, 1], [1, 0]], r"target has shape \(2, 2\) and dtype int64; allowed: integer class indices"),
    ("target", [True, False], r"target has shape \(2,\) and dtype bool; allowed: integer class indices"),
    ("target", [[0.5, 0.5]], r"target has shape \(1, 2\) and dtype float64; allowed: integer class indices"),
    ("target", [[0.5, 0.5], [1.5, -0.5]], r"target\[1, 1\] is -0\.5; allowed: probabilities >= 0"),
    ("target", [[0.5, 0.5], [1.0, 0.1]], r"target\[1, 1\] is 0\.1; allowed: finite float32 numbers"),
    ("target", [[0.5, np.nan], [1.0, 0.0]], r"target\[0, 1\] is nan; allowed: finite float32 numbers"),
    ("target", [[np.inf, 0.0], [1.0, 0.0]], r"target\[0, 0\] is inf; allowed: finite float32 numbers"),
    ("class_weights", [1.0], r"class_weights has shape \(1,\); allowed: \(2,\)"),
    ("class_weights", [1.0, -2.0], r"class_weights\[1\] is -2\.0; allowed: numbers >= 0"),
    ("class_weights", [np.inf, 1.0], r"class_weights\[0\] is inf; allowed: finite float32 numbers"),
    ("class_weights", [0.3, 1.0], r"class_weights\[0\] is 0\.3; allowed: finite float32 numbers"),
    ("label_smoothing", -0.1, r"label_smoothing is -0\.1; allowed: a number in \[0, 1\]"),
    ("label_smoothing", 1.5, r"label_smoothing is 1\.5; allowed: a number in \[0, 1\]"),
    ("label_smoothing", np.nan, r"label_smoothing is nan; allowed: a number in \[0, 1\]"),
    ("temperature", 0.0, r"temperature is 0\.0; allowed: a finite number > 0"),
    ("temperature", -1.0, r"temperature is -1\.0; allowed: a finite number > 0"),
    ("temperature", np.inf, r"temperature is inf; allowed: a finite number > 0"),
    ("temperature", np.nan, r"temperature is nan; allowed: a finite number > 0"),
    ("reduction", "avg", r"reduction is 'avg'; allowed: 'none', 'sum', 'mean'"),
    ("cotangent", 1.0, r"cotangent has shape \(\); allowed: \(2,\)"),
    ("cotangent", [1.0, np.nan], r"cotangent\[1\] is nan; allowed: finite float32 numbers"),
    ("cotangent", [1.0, "x"], r"cotangent is not an array of numbers"),
    ("tangent", [1.0, 2.0], r"tangent has shape \(2,\); allowed: \(2, 2\)"),
    ("tangent", [[1.0, 2.0], [np.inf, 0.0]], r"tangent\[1, 0\] is inf; allowed: finite float32 numbers"),
]


@pytest.mark.parametrize(("argument", "value", "message"), REFUSED)
def test_refused(argument: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        Problem(**BASE | {argument: value})


def test_a_reduced_loss_takes_a_scalar_cotangent() -> None:
    assert Problem(**BASE, reduction="mean", cotangent=2.0).cotangent == 2.0
    with pytest.raises(ValueError, match=r"cotangent has shape \(2,\); allowed: \(\)"):
        Problem(**BASE, reduction="sum", cotangent=[1.0, 2.0])


def test_members_depend_on_the_format() -> None:
    thousandth = 1 + 2.0**-10
    assert Problem([[thousandth]], [0], FLOAT16).logits[0, 0] == thousandth
    with pytest.raises(ValueError, match=r"logits\[0, 0\] is 1\.0009765625; allowed: bfloat16 numbers"):
        Problem([[thousandth]], [0], BFLOAT16)


def test_replace_validates_anew() -> None:
    problem = Problem(**BASE)
    assert problem.replace(target=[1, 1]).target.tolist() == [1, 1]
    with pytest.raises(ValueError, match=r"target\[0\] is 7"):
        problem.replace(target=[7, 0])


ARRAYS: dict[str, np.ndarray] = {
    "logits": np.array([[1.0, 2.0], [3.0, 4.0]]),
    "target": np.array([[0.5, 0.5], [0.25, 0.75]]),
    "class_weights": np.array([1.0, 2.0]),
    "cotangent": np.array([1.0, -2.0]),
    "tangent": np.array([[1.0, 0.0], [0.0, 1.0]]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_copied_and_frozen(name: str) -> None:
    given = {key: value.copy() for key, value in ARRAYS.items()}
    problem = Problem(format=FLOAT64, **given)
    given[name][...] = 0.0
    np.testing.assert_array_equal(getattr(problem, name), ARRAYS[name])
    assert given[name].flags.writeable, "the caller's own array stays writable"
    with pytest.raises(ValueError, match="read-only"):
        getattr(problem, name)[...] = 0.0


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_indices_are_copied_and_frozen(dtype: type) -> None:
    target = np.array([0, 1], dtype)
    problem = Problem(**BASE | {"target": target})
    target[:] = 1
    assert problem.target.tolist() == [0, 1]
    assert problem.target.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        problem.target[0] = 1


def test_fields_cannot_be_assigned() -> None:
    with pytest.raises(AttributeError):
        Problem(**BASE).temperature = 2.0  # type: ignore[misc]


def test_no_rows() -> None:
    empty = Problem(np.zeros((0, 3)), [], FLOAT16, reduction="mean")
    assert (empty.num_rows, empty.num_classes) == (0, 3)
    assert empty.target.shape == (0,)
    assert not empty.has_probabilities
    assert empty.ignored.shape == (0,)
    assert Problem(np.zeros((0, 3)), np.zeros((0, 3)), FLOAT16).has_probabilities


def test_one_class() -> None:
    assert Problem([[3.0]], [0], FLOAT32).num_classes == 1
    assert Problem([[3.0]], [[1.0]], FLOAT32).has_probabilities


def test_one_row_of_one_class_tells_indices_from_probabilities_by_rank() -> None:
    assert not Problem([[3.0]], [0], FLOAT32).has_probabilities
    with pytest.raises(ValueError, match="target has shape"):
        Problem([[3.0]], [1.0], FLOAT32)


def test_ignore_index_may_be_a_class() -> None:
    problem = Problem(**BASE, ignore_index=1)
    assert problem.ignored.tolist() == [False, True]
    assert Problem(**BASE | {"target": [7, 0]}, ignore_index=7).ignored.tolist() == [True, False]
    with pytest.raises(ValueError, match=r"target\[0\] is -100; .* or ignore_index = 1"):
        Problem(**BASE | {"target": [-100, 0]}, ignore_index=1)


def test_probabilities_need_not_sum_to_one_and_none_is_ignored() -> None:
    problem = Problem(**BASE | {"target": [[3.0, 0.0], [0.0, 0.0]]}, ignore_index=0)
    assert problem.target.sum() == 3.0
    assert not problem.ignored.any()


def test_logits_need_not_be_finite() -> None:
    assert np.isnan(Problem([[np.nan, np.inf, -np.inf]], [2], BFLOAT16).logits[0, 0])


def test_limits_of_the_scalars() -> None:
    assert Problem(**BASE, label_smoothing=1.0).label_smoothing == 1.0
    assert Problem(**BASE, temperature=5e-324).temperature == 5e-324


def test_is_plain() -> None:
    assert Problem(**BASE, reduction="mean", cotangent=2.0, temperature=3.0).is_plain
    assert not Problem(**BASE, class_weights=[1.0, 1.0]).is_plain
    assert not Problem(**BASE, label_smoothing=0.5).is_plain
    assert not Problem(**BASE | {"target": [[1.0, 0.0], [0.0, 1.0]]}).is_plain


def test_an_unchecked_target_is_taken_as_it_is() -> None:
    problem = Problem(**BASE | {"target": [0, -100]})
    assert problem.ignored.tolist() == [False, True]
    unchecked = problem.with_unchecked_target([5, -1])
    assert unchecked.target.tolist() == [5, -1]
    assert not unchecked.ignored.any(), "what is ignored is asked of the new target"
    assert problem.target.tolist() == [0, -100]


def test_without_classes_there_is_nothing_but_rows() -> None:
    soft = Problem(**BASE | {"target": [[1.0, 0.0], [0.0, 1.0]]})
    assert (soft.without_classes().logits.shape, soft.without_classes().target.shape) == ((2, 0), (2, 0))
    indexed = Problem(**BASE).without_classes()
    assert (indexed.num_rows, indexed.num_classes, indexed.target.shape) == (2, 0, (2,))
    assert soft.num_classes == 2


def test_repr_names_the_format_and_shortens() -> None:
    text = repr(Problem(np.zeros((9, 1000)), np.zeros(9, dtype=np.int64), FLOAT16, label_smoothing=0.5))
    assert text.startswith("<float16 logits (9, 1000): [0. 0. 0. ... 0. 0. 0.]")
    assert "label smoothing 0.5" in text
    assert len(text) < 400


@pytest.mark.parametrize(("reduction", "shape"), [("none", (2,)), ("sum", ()), ("mean", ())])
def test_upstream_is_the_cotangent_or_ones(reduction: str, shape: tuple[int, ...]) -> None:
    problem = Problem([[0.0, 1.0]] * 2, [0, 1], FLOAT32, reduction=reduction)
    np.testing.assert_array_equal(problem.upstream, np.ones(shape))
    given = np.full(shape, -2.0)
    np.testing.assert_array_equal(problem.replace(cotangent=given).upstream, given)


def test_the_ignored_class_is_there_only_where_a_row_has_it() -> None:
    problem = Problem([[0.0, 1.0]] * 2, [0, 1], FLOAT32, ignore_index=1)
    assert problem.ignored_class == 1
    assert problem.replace(target=[0, 0]).ignored_class is None
