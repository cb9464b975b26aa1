"""Tests of problems given on the command line: every form is exact, and the form of a failure fits its length."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from adapters.operation import Operation
from reference import FLOAT32, Problem
from reference.loss import Loss
from suites.inputs.given import Given, compressed, given_from
from suites.judging.repro import LONGEST_ARGUMENT, LONGEST_COMPRESSED, LONGEST_LINE, Repro

OPERATION = Operation("mine", "f(x)", None, {})
PLAIN = Problem([[20.0, 0.0]], [0], FLOAT32)
UNANSWERABLE = {
    "index": (PLAIN.with_unchecked_target([2**31]), {"label": 2**31}),
    "label": (Problem([[0.5]], [[0.0]], FLOAT32, loss=Loss.SIGMOID).with_unchecked_target([[-0.5]]), {"label": -0.5}),
    "no classes": (PLAIN.without_classes(), {}),
    "no classes, probabilities": (Problem([[1.0]], [[1.0]], FLOAT32).without_classes(), {}),
}


def as_file(text: str, folder: Path) -> str:
    (folder / "given.json").write_text(text)
    return str(folder / "given.json")


FORMS: dict[str, Callable[[str, Path], str]] = {
    "JSON": lambda text, _: text,
    "compressed": lambda text, _: compressed(text),
    "a file": as_file,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_exact(form: str, tmp_path: Path) -> None:

    given = Given(PLAIN, "test_layout", {"layout": "strided"}, after=PLAIN.replace(logits=[[-0.0, np.nan]]))
    again = given_from(FORMS[form](given.text(), tmp_path))
    assert (again.test, again.parameters) == (given.test, given.parameters)
    assert again.problem.logits.tolist() == [[20.0, 0.0]]
    assert again.after is not None
    assert np.signbit(again.after.logits[0, 0])
    assert again.text() == given.text()


@pytest.mark.parametrize("kind", UNANSWERABLE)
def test_a_question_without_an_answer_is_given_as_it_is(kind: str) -> None:
    problem, parameters = UNANSWERABLE[kind]
    again = given_from(Given(problem, "test_out_of_range_label", parameters).text())
    assert again.problem.logits.shape == problem.logits.shape
    assert again.problem.target.dtype == problem.target.dtype
    np.testing.assert_array_equal(again.problem.target, problem.target)


def test_what_names_no_test_is_a_case_as_before() -> None:
    given = given_from('{"dtype":"float32","logits":[["0x1.4p+4","0x0p+0"]],"target":[0]}')
    assert given.test == "test_case"
    assert "test" not in json.loads(given.text())


def noise(classes: int) -> Given:
    """A problem that is as long as they get: no number repeats."""
    logits = FLOAT32.round(np.random.default_rng(0).normal(size=(1, classes)))
    return Given(PLAIN.replace(logits=logits), "test_loss")


@pytest.mark.parametrize(("classes", "form"), [(2, "--case='{"), (300, "--case=z:"), (3000, "cases/test_loss-")])
def test_the_form_of_a_failure_fits_its_length(classes: int, form: str, tmp_path: Path) -> None:
    repro, given = Repro("pytest suites/", "--effort=quick", tmp_path), noise(classes)
    command = repro.at(OPERATION, given)
    assert form in command
    assert len(command) <= max(LONGEST_LINE, LONGEST_COMPRESSED + 100)
    repro.write(command)
    case = command.partition("--case=")[2].strip("'")
    assert given_from(case).text() == given.text()


def test_only_the_file_that_a_failure_names_is_written(tmp_path: Path) -> None:
    repro = Repro("pytest suites/", "--effort=quick", tmp_path)
    repro.at(OPERATION, noise(4000))
    command = repro.at(OPERATION, noise(3000))
    repro.write(f"repro  : {command}")
    (path,) = tmp_path.glob("cases/*.json")
    assert given_from(str(path)).problem.num_classes == 3000


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    repro, given = Repro("pytest suites/", "--effort=quick", tmp_path / "out"), noise(3000)
    command = repro.at(OPERATION, given)
    ((path, _),) = repro.files.items()
    path.parent.mkdir(parents=True)
    (mine := tmp_path / "mine").write_text("mine")
    path.symlink_to(mine)
    repro.write(command)
    assert given_from(str(path)).text() == given.text()
    assert (mine.read_text(), path.is_symlink()) == ("mine", False)


@pytest.mark.parametrize(("classes", "form"), [(3000, "--case=z:"), (40000, "--dtype=float32 --effort=quick -k test_loss  # ")])
def test_without_a_report_what_is_too_long_for_a_shell_is_searched_again(classes: int, form: str) -> None:
    command = Repro("pytest suites/", "--effort=quick").at(OPERATION, noise(classes))
    assert form in command
    assert len(command) < LONGEST_ARGUMENT + 100
