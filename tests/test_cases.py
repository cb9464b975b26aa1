"""Tests of the stored cases: exact, unique, in their hazard, and readable from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from reference import FLOAT32, Problem
from reference.loss import Loss
from suites.inputs.cases import (
    Case,
    CaseError,
    _cases_of,
    cases_matching,
    describe_problem,
    problem_from,
    stored_cases,
)
from suites.inputs.exact_text import format_row, parse_row
from suites.inputs.given import given_from, is_given
from suites.inputs.hazards import HAZARDS

CASES = stored_cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_case_lies_in_its_hazard_and_says_where_it_comes_from(case: Case) -> None:
    assert HAZARDS[case.hazard].holds(case.problem)
    assert case.story
    assert case.provenance


def test_case_ids_are_unique() -> None:
    assert len({case.id for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_describing_a_problem_loses_no_bit(case: Case) -> None:
    again = problem_from(json.loads(json.dumps(describe_problem(case.problem))), case.problem.format)
    for name in ("logits", "target", "class_weights", "cotangent", "tangent"):
        before, after = getattr(case.problem, name), getattr(again, name)
        assert (before is None) == (after is None)
        if before is not None:
            np.testing.assert_array_equal(after, before)
            np.testing.assert_array_equal(np.signbit(after), np.signbit(before))
    for name in ("label_smoothing", "ignore_index", "reduction", "temperature"):
        assert getattr(again, name) == getattr(case.problem, name)


def test_plain_numbers_are_decimal_and_strings_hexadecimal() -> None:
    """float.fromhex("20.0") is 32."""
    assert parse_row([20.0, 1, "0x1.4p+4"]) == [20.0, 1.0, 20.0]
    with pytest.raises(ValueError, match="'20.0'; allowed: hexadecimal"):
        parse_row(["20.0"])
    case = given_from('{"dtype":"float32","logits":[[20.0,0.0]],"target":[0]}').case
    assert case.problem.logits.tolist() == [[20.0, 0.0]]


def test_patterns_of_long_rows_are_short_and_exact() -> None:
    row = np.resize([1.0, 0.5, -0.0], 3000)
    row[1700] = np.inf
    entries = format_row(row)
    assert len(entries) < 10
    np.testing.assert_array_equal(parse_row(entries), row)
    assert np.signbit(parse_row(entries)[2])


def test_rows_are_exact_and_runs_are_short() -> None:
    row = [20.0, 0.0, 0.0, -0.0, -np.inf, 1 / 3]
    entries = format_row(np.array(row))
    assert entries[1] == "0x0.0p+0 * 2"
    np.testing.assert_array_equal(parse_row(entries), row)
    assert np.signbit(parse_row(entries)[3])


def test_patterns_find_cases_by_name_id_and_star() -> None:
    assert [case.id for case in cases_matching("absorption/gap-20")] == ["absorption/gap-20[float32]"]
    assert [case.id for case in cases_matching("masked/all[float16]")] == ["masked/all[float16]"]
    assert len(cases_matching("masked/*")) > 10
    assert [case.id for case in cases_matching("*/gap-20[float*]")] == ["absorption/gap-20[float32]"]


def test_a_failure_line_is_a_case() -> None:
    problem = Problem([[20.0, 0.0]], [0], FLOAT32, reduction="mean")
    case = given_from(json.dumps(describe_problem(problem))).case
    assert case.problem.reduction == "mean"
    np.testing.assert_array_equal(case.problem.logits, problem.logits)


@pytest.mark.parametrize("loss", ["sigmoid", "cross_entropy"])
def test_a_failure_line_of_no_rows_is_a_case(loss: str) -> None:
    """It names no probabilities, and no tangent, whose shape it could tell."""
    target = np.zeros((0, 1)) if loss == "sigmoid" else np.zeros(0, dtype=np.int64)
    problem = Problem(np.zeros((0, 1)), target, FLOAT32, loss=Loss(loss), reduction="sum", tangent=np.zeros((0, 1)))
    case = given_from(json.dumps(describe_problem(problem))).case
    assert case.problem.target.shape == target.shape
    assert case.problem.tangent is not None


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("absorption/nowhere", "is not known; there is: absorption/"),
        ('{"dtype": "float32"}', "not a case as failures print it"),
        ('{"dtype": "float8", "logits": [], "target": []}', "float8"),
        ('{"dtype": "float32", "logits": [["0x1p0"]], "target": [3]}', "allowed: a class index"),
        ("{", "not a case as failures print it"),
    ],
)
def test_bad_cases_say_what_is_allowed(pattern: str, says: str) -> None:
    with pytest.raises(CaseError, match=says.replace("[", "\\[")):
        given_from(pattern) if is_given(pattern) else cases_matching(pattern)


def test_a_malformed_file_names_the_case() -> None:
    entry = {"id": "x", "dtypes": ["float32"], "logits": [["0x1p0"]], "target": [0], "colour": "red"}
    with pytest.raises(CaseError, match=r"some\.toml: case 'x': unknown keys \['colour'\]; allowed: id, dtypes, hazard"):
        _cases_of(entry, Path("some.toml"))
    del entry["colour"]
    with pytest.raises(CaseError, match=r"some\.toml: case 'x': 'hazard' is missing"):
        _cases_of(entry, Path("some.toml"))
    stored = entry | {"hazard": "ties", "story": "so", "provenance": "here"}
    assert [case.id for case in _cases_of(stored, Path("some.toml"))] == ["some/x[float32]"]
    for says, change in {
        "hazard 'tie' is not known": {"hazard": "tie"},
        "dtypes is \\[\\]": {"dtypes": []},
        "id is 5": {"id": 5},
        "story is ''": {"story": ""},
        "rows is 1.5": {"rows": 1.5},
        "z_loss is True": {"z_loss": True},
        "number '0x1p-1075' is no float64": {"logits": [["0x2p-1075", "0x1p-1075"]]},
    }.items():
        with pytest.raises(CaseError, match=says):
            _cases_of(stored | change, Path("some.toml"))


EXACT = {"0x1.fffffffffffffp+1023": 2.0**1023 * (2 - 2.0**-52), "0x0.0000000000001p-1022": 5e-324, "0X1P-1074": 5e-324}


@pytest.mark.parametrize("text", EXACT)
def test_a_number_that_float64_has_is_taken(text: str) -> None:
    assert parse_row([text, "-" + text]) == [EXACT[text], -EXACT[text]]


@pytest.mark.parametrize(
    "number",
    [
        "0x1p-1075",
        "0x1p+1024",
        "0x1.00000000000008p+0",
        "0x1p+99999",
        "0x1p-99999",
        2**53 + 1,
        10**400,
        "0x1p+999999",
        "0x",
        "nan(1)",
    ],
    ids=lambda number: str(number)[:24],
)
def test_a_number_that_would_be_rounded_is_refused(number: object) -> None:
    with pytest.raises(ValueError, match="allowed: (what float64 has exactly|hexadecimal)"):
        parse_row([number])


LAYER = {"features": [["0x1p+0", 0.5]], "weight_columns": [["0x1p+1 * 3"], [0, 1, "0x1p+2"]], "target": [2]}
"""A layer of two features and three classes."""


@pytest.mark.parametrize("bias", [{}, {"bias": [0, "-inf", 1]}], ids=["no bias", "bias"])
def test_a_layer_is_read_by_its_columns_and_told_again(bias: dict[str, list[object]]) -> None:
    problem = problem_from(LAYER | bias, FLOAT32)
    assert problem.logits.tolist() == [[2.0, -np.inf if bias else 2.5, 5.0 if bias else 4.0]]
    again = problem_from(json.loads(json.dumps(describe_problem(problem))), FLOAT32)
    assert again.weight.tolist() == problem.weight.tolist() == [[2.0, 0.0], [2.0, 1.0], [2.0, 4.0]]
    assert again.features.tolist() == [[1.0, 0.5]]
    assert (again.bias is None) == (not bias)
    assert problem_from(LAYER | {"rows": 3}, FLOAT32).logits.shape == (3, 3)
    assert problem_from(LAYER | {"features": [], "target": []}, FLOAT32).logits.shape == (0, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (LAYER | {"logits": [[0, 1]]}, "logits and features are both given"),
        ({"features": [[1]], "target": [0]}, "weight_columns is missing; needed with features"),
        ({"target": [0]}, "'logits' is missing; needed: logits, or features and weight_columns"),
        (LAYER | {"features": [[1, 2], [3, 4]], "target": [0, 0], "rows": 2}, "features has 2 rows; allowed: with one row"),
    ],
)
def test_a_layer_that_is_none_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        problem_from(given, FLOAT32)
