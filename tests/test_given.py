"""Tests of problems given on the command line: every form is exact, and the form of a failure fits its length."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from adapters.operation import Operation
from reference import FLOAT32, Problem
from reference.loss import Loss
from suites.inputs.cases import CaseError
from suites.inputs.given import LARGEST_TEXT, Given, compressed, given_from
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

    given = Given(PLAIN, "test_layout", {"layout": "strided", "usage": "kept"}, after=PLAIN.replace(logits=[[-0.0, np.nan]]))
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


PROBLEM = {"dtype": "float32", "logits": [[0.0, 1.0]], "target": [0]}
LARGE = ["0x0p+0 * 9999999"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"target": [1.5]}, "target has 1.5; allowed: class indices"),
        ({"target": [True]}, "target has True; allowed: class indices"),
        ({"target": [12345678901234567890123]}, "target has 12345678901234567890123; allowed: class indices"),
        ({"target": [[1.0, 0.0], 5]}, "target has 5 among its rows; allowed: a list of numbers for each"),
        ({"target": [1.5], "label": 7}, "target has 1.5; allowed: class indices"),
        ({"target": [7, 7], "label": 7}, "target has shape"),
        ({"target": [[0.5, 9.0]], "label": 9.0, "loss": "sigmoid", "logits": [[0.5]]}, "target has shape (1, 2) and a label"),
        ({"target": [7], "label": 7, "rows": 3}, "target has shape (1,) and a label; allowed: (3,)"),
        ({"target": [], "loss": "sigmoid", "logits": [[0.5]]}, "target has shape (0,) and dtype int64; allowed: floating"),
        ({"label": True}, "label is True; allowed: a number, or the words that a failure prints"),
        ({"rows": 2.0}, "rows is 2.0; allowed: a whole number from 1 to 16777216"),
        ({"rows": 10**12}, "rows is 1000000000000; allowed: a whole number from 1 to 16777216"),
        ({"rows": 2, "logits": [[0.0], [1.0]], "target": [0, 0]}, "rows is 2 and logits has 2 rows; allowed: with one row"),
        ({"rows": 2, "logits": [], "target": []}, "rows is 2 and logits has 0 rows; allowed: with one row"),
        ({"classes": 2}, "classes is 2 and logits has rows; allowed: with logits of no rows"),
        ({"logits": [[]], "target": [5]}, "target is [5] and the row has no logits; allowed: [0], or [[]]"),
        ({"logits": [[]], "rows": 2}, "rows is given and the row has no logits"),
        ({"logits": [[], []], "target": []}, "logits has shape (2, 0); allowed: (N, K) with K >= 1"),
        ({"logits": [], "target": [], "tangent": [[1.0]]}, "tangent has shape (1, 1); allowed: (0, 1)"),
        ({"logits": [[True, 1.0]]}, "number True; allowed: hexadecimal"),
        ({"logits": [LARGE, LARGE], "target": [0, 0]}, "9999999 numbers are asked for; allowed: 16777216 in a problem"),
        ({"logits": [LARGE], "rows": 2}, "19999998 numbers are asked for; allowed: 16777216"),
        ({"class_weights": ["0x0p+0 * 1000000000"]}, "entry '0x0p+0 * 1000000000'; allowed: a number, or numbers * n"),
        ({"ignore_index": 2**63}, "ignore_index is 9223372036854775808; allowed: a whole number"),
        ({"logit_softcap": None}, "logit_softcap is None; allowed: a finite number > 0"),
        ({"test": 5}, "test is 5; allowed: the name of a test"),
        ({"test": "a\x00b"}, r"test is 'a\x00b'; allowed: the name of a test"),
        ({"after": PROBLEM | {"after": PROBLEM}}, "after: unknown keys ['after']; allowed: dtype"),
        ({"loss": {}}, "loss {} is not known; allowed: cross_entropy"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_nothing_is_ignored_truncated_or_unbounded(changes: dict[str, object], says: str) -> None:
    assert says in refused(json.dumps(PROBLEM | changes))


def refused(text: str) -> str:
    """The one line that is said of a case."""
    with pytest.raises(CaseError) as error:
        given_from(text)
    said = str(error.value)
    assert said.isprintable()
    return said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 3000, "it is nested too deeply"),
        ('{"dtype":' + "[" * 900 + "]" * 900 + "}", "it is nested too deeply; allowed: 32 lists and objects"),
        ('{"dtype":"float32","dtype":"float64"}', "key 'dtype' stands twice in an object; allowed: each key once"),
        ('{"temperature":NaN}', "NaN is not JSON"),
        ('{"temperature":1e-400}', "1e-400 is not 0 and below the least float64"),
        ('{"temperature":' + "9" * 5000 + "}", "a whole number has 5000 digits; allowed: 400"),
        ('{"a":\n\x1b]0;title\x07}', r"""given: '{"a":\n\x1b]0;title\x07}'"""),
        ("/dev/zero.json", "No such file or directory"),
        ("a\x00b.json", "embedded null byte"),
    ],
    ids=lambda value: str(value)[:30].replace("\x00", "NUL"),
)
def test_what_json_would_take_or_choke_on_is_refused(text: str, says: str) -> None:
    assert says in refused(text)


def test_only_a_regular_file_of_a_bounded_size_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "device.json").symlink_to("/dev/zero")
    (tmp_path / "binary.json").write_bytes(b"\xff")
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(LARGEST_TEXT + 1)
    for name, says in {
        "pipe": "it is a pipe or a device; allowed: a regular file",
        "device": "it is a pipe or a device; allowed: a regular file",
        "folder": "it is a directory; allowed: a regular file",
        "binary": "byte 0 is 0xff; allowed: text in UTF-8",
        "large": f"it has more than {LARGEST_TEXT} bytes",
    }.items():
        assert says in refused(str(tmp_path / f"{name}.json"))
