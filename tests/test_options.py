"""Tests of the table of options: what each kind allows, what is drawn, and that no other module keeps a list by hand."""

from __future__ import annotations

import ast
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reference import FLOAT32, Problem
from reference.options import ARGUMENTS, OPTIONS, Array, Label
from reference.reduction import Reduction
from suites.inputs.cases import describe_problem

ROOT = Path(__file__).parents[1]
CODE = [path for folder in ("reference", "adapters", "suites") for path in sorted((ROOT / folder).rglob("*.py"))]

SPELLED = {
    "adapters/operation.py": {"reduction"},  # a kernel that always takes one has no choice of it
    "suites/inputs/pairs.py": {"reduction"},  # the same
    "suites/judging/narrowing.py": {"reduction"},  # the same
    "suites/inputs/problems.py": {"reduction"},  # the cotangent has the shape of the reduced loss
    "suites/judging/recorder.py": {"reduction"},  # a sum or mean of plain rows is as plain as they are
}
"""Names that a module may spell, and why."""


@pytest.mark.parametrize("path", ["adapters/limits.py", "adapters/operation.py", "suites/inputs", "suites/judging"])
def test_no_list_of_options_is_kept_by_hand(path: str) -> None:
    files = [file for file in CODE if file.is_relative_to(ROOT / path)]
    found = {file.relative_to(ROOT).as_posix(): _strings(ast.parse(file.read_text())) & set(OPTIONS) for file in files}
    assert found
    assert {name: spelled for name, spelled in found.items() if spelled} == {k: v for k, v in SPELLED.items() if k in found}


def _strings(tree: ast.AST) -> set[Any]:
    """The constants in a tree."""
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_reductions_are_compared_as_members() -> None:
    compared = {
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in CODE
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Compare) and _strings(node) & set(Reduction)
    }
    assert not compared


@pytest.mark.parametrize("reduction", Reduction)
def test_a_name_is_taken_for_its_reduction(reduction: Reduction) -> None:
    problem = Problem([[20.0, 0.0]], [0], FLOAT32, reduction=reduction.value)  # type: ignore[arg-type]
    assert problem.reduction is reduction
    assert f"{problem.reduction}" == reduction.value


@pytest.mark.parametrize("name", OPTIONS)
def test_defaults_and_drawn_values_are_allowed(name: str) -> None:
    option = OPTIONS[name]
    assert not option.is_given(option.default)
    if isinstance(option.kind, Array):
        assert option.default is None
        assert not option.drawn
    else:
        assert option.checked(option.default) == option.default
        assert [option.checked(value) for value in option.drawn] == list(option.drawn)
        assert option.default in option.drawn
        assert len(option.drawn) > 1


@pytest.mark.parametrize("name", [argument.name for argument in ARGUMENTS if not isinstance(argument.kind, Array)])
@pytest.mark.parametrize("given", ["elsewhere", [1.0], np.nan, None])
def test_what_is_no_value_of_an_option_is_refused(name: str, given: object) -> None:
    option = next(argument for argument in ARGUMENTS if argument.name == name)
    if given is None and option.default is None:
        assert option.checked(None) is None
        return
    with pytest.raises(ValueError, match=rf"^{name} is .*; allowed: "):
        option.checked(given)


@pytest.mark.parametrize("given", [1.5, "0", None])
def test_an_ignored_index_is_a_whole_number(given: object) -> None:
    with pytest.raises(ValueError, match=r"^ignore_index is .*; allowed: a whole number$"):
        Problem([[20.0, 0.0]], [0], FLOAT32, ignore_index=given)  # type: ignore[arg-type]
    assert Problem([[20.0, 0.0]], [0], FLOAT32, ignore_index=np.int64(7)).ignore_index == 7


def test_few_values_are_the_first_two_unless_they_are_listed() -> None:
    assert OPTIONS["z_loss"].values(few=True) == (0.0, 1e-4)
    assert OPTIONS["z_loss"].values(few=False) == (0.0, 1e-4, 0.5)
    assert OPTIONS["reduction"].values(few=True) == (Reduction.NONE, Reduction.MEAN)


def test_an_option_is_used_where_it_is_given_and_a_label_where_a_row_has_it() -> None:
    problem = Problem([[20.0, 0.0]], [0], FLOAT32, ignore_index=1, label_smoothing=0.5)
    assert {name for name, option in OPTIONS.items() if problem.uses(option)} == {"label_smoothing"}
    assert isinstance(OPTIONS["ignore_index"].kind, Label)
    assert problem.replace(target=[1]).uses(OPTIONS["ignore_index"])


@pytest.mark.parametrize(
    "given", [np.float16(0.5), np.float32(0.5), np.longdouble(0.5), Fraction(1, 2), np.float64(0.5)], ids=repr
)
def test_a_number_of_another_type_is_the_float_that_it_equals(given: Any) -> None:
    """The case of a failure is JSON, which has no other numbers."""
    problem = Problem([[1.0, 2.0]], [0], FLOAT32, label_smoothing=given, ignore_index=np.int64(-1))
    assert json.loads(json.dumps(describe_problem(problem))) == {
        "dtype": "float32",
        "logits": [["0x1.0000000000000p+0", "0x1.0000000000000p+1"]],
        "target": [0],
        "label_smoothing": 0.5,
        "ignore_index": -1,
    }


@pytest.mark.parametrize("given", [10**400, Fraction(1, 3), 2**53 + 1])
def test_a_number_that_is_no_float_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="temperature is .*; allowed: a finite number > 0"):
        Problem([[1.0, 2.0]], [0], FLOAT32, temperature=given)
