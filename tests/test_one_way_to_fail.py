"""Every failing test says what, values, input and repro, in four lines; and its last line, run again, fails with its first."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from suites import test_sweep
from suites.inputs.given import given_from, is_given
from suites.judging import repro
from suites.report.load import load_report
from tests.command import QUICKLY, ROOT, first_failures, run_here
from tests.failing import Failing

BACKEND = f"--backend={ROOT / 'tests' / 'failing.py'}:{Failing.__name__}"
OPTIONS = ("-vv", "--effort=quick", "--dtype=float32")
SWEPT = ("-vv", "--effort=thorough", "--dtype=float16", "-k", "test_pairs")
FAILED_BY = {
    "wrong": [
        "test_absorption",
        "test_case",
        "test_degenerate",
        "test_label_dtype",
        "test_layout",
        "test_gradient",
        "test_hessian",
        "test_loss_is_not_negative",
        "test_loss_is_shift_invariant",
        "test_gradient_follows_a_permutation",
        "test_rows_do_not_depend_on_each_other",
        "test_gradient_sums_to_zero",
        "test_hessian_is_symmetric_with_zero_row_sums",
        "test_loss_is_convex",
        "test_loss_lies_above_its_tangents",
        "test_loss",
        "test_out_of_range_label",
        "test_no_classes",
        "test_masked",
        "test_nonfinite",
        "test_options",
        "test_large_vocabulary",
        "test_bulk",
        "test_many_rows",
        "test_more_rows_than_a_grid_has",
        "test_a_mean_of_many_rows",
        "test_sizes",
        "test_pairs",
        "test_the_loss_alone",
    ],
    "changing": ["test_two_runs_give_the_same_bits", "test_two_runs_of_a_large_vocabulary_give_the_same_bits"],
    "wrong_sigmoid": ["test_out_of_range_binary_label"],
    "wrong_block": ["test_building_blocks", "test_derivatives_of_building_blocks"],
    "forgetful": ["test_usage"],
    "wrong_layer": [
        "test_dense_layer",
        "test_frozen_parts",
        "test_kinds_of_layers",
        "test_layer_layout",
        "test_layer_of_many_rows",
        "test_layer_reduced_over_many_rows",
        "test_layer_usage",
        "test_linear_layer",
        "test_linear_layer_of_a_large_vocabulary",
    ],
}
"""The test functions that an operation fails, each here once."""

PREFIXES = ("what   : ", "values : ", "input  : ", "repro  : ")
ROUNDED = re.compile(r"<\w+ logits|\.\.\. ")
HEXADECIMAL = re.compile(r"-?0x[01]\.[0-9a-f]+p[+-]\d+")


def assert_four_lines(text: str) -> tuple[str, list[str]]:
    """Holds a failure to its form; its first line, and the options that run it again."""
    lines = text.splitlines()
    assert [line[: len(PREFIXES[0])] for line in lines] == list(PREFIXES), text
    what, values, described, command = (line.removeprefix(prefix) for line, prefix in zip(lines, PREFIXES, strict=True))
    assert what
    assert re.match(r"expected .*; observed .", values), text
    assert not ROUNDED.search(what + described), text
    words = shlex.split(command, comments=True)
    assert words[:3] == ["pytest", "suites/", BACKEND], text
    (case,) = [word.removeprefix("--case=") for word in words if word.startswith("--case=")] or [""]
    if is_given(case):
        problem = given_from(case).problem
        assert f"; {problem.format.name}, N={problem.num_rows}, K={problem.num_classes}, " in described, text
    return lines[0], words[2:]


def assert_fails_again(text: str) -> None:
    first, options = assert_four_lines(text)
    status, printed = run_here(*QUICKLY, "-vv", *options)
    assert status == 1, printed
    assert f"{first}\n" in printed, (text, printed)


def failures_of(operation: str, *options: str) -> dict[str, str]:
    """The first message of each test function that an operation fails."""
    status, failed = first_failures(BACKEND, f"--operation={operation}", *options)
    assert status == 1
    return failed


def test_every_test_function_is_listed_once() -> None:
    listed = [name for names in FAILED_BY.values() for name in names] + ["test_pairs", "test_probed"]
    modules = [import_module(f"suites.{path.stem}") for path in sorted((ROOT / "suites").glob("test_*.py"))]
    there = [
        name
        for module in modules
        for name, value in vars(module).items()
        if name.startswith("test_") and inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    assert sorted(listed) == sorted(there)


@pytest.mark.parametrize("operation", FAILED_BY)
def test_every_test_function_fails_in_four_lines_that_run_again(operation: str) -> None:
    failed = failures_of(operation, *OPTIONS)
    assert set(FAILED_BY[operation]) <= set(failed)
    for text in failed.values():
        assert_four_lines(text)
    for name in FAILED_BY[operation]:
        assert_fails_again(failed[name])


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps pass over most pairs."""
    pytest.importorskip("numba")
    monkeypatch.setattr(test_sweep, "STEPS", {"float16": 2048})


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize(("operation", "says"), [("wrong", "what   : loss[0] is "), ("at_once", "what   : sweep of pairs: ")])
def test_a_sweep_fails_at_its_worst_pair_or_as_a_whole(operation: str, says: str) -> None:
    text = failures_of(operation, *SWEPT)["test_pairs"]
    assert text.startswith(says)
    assert_fails_again(text)


STALE = """
[[deviation]]
id = "lost"
operations = ["right"]
dtypes = ["float32"]
quantities = ["loss"]
cases = ["absorption/gap-20-two-classes"]
misses = "accurate"
reason = "none"

[[out_of_range]]
id = "taken"
operations = ["right"]
dtypes = ["float32"]
labels = [-1]
reason = "none"
"""


@pytest.mark.parametrize(
    ("operation", "test", "says"),
    [
        ("right", "test_case", r"stale deviation 'lost': right reaches 'correct' .*; take the case out of the entry"),
        (
            "right",
            "test_out_of_range_label",
            r"stale entry 'taken': right raised ValueError for the class index -1 of 3 classes",
        ),
        ("refusing", "test_loss", r"refusing (refused|answered) a problem .*too hard.*declare a limit, or answer"),
        ("refusing", "test_case", r"refusing (refused|answered) a problem .*too hard.*declare a limit, or answer"),
        ("ending", "test_two_runs_give_the_same_bits", r"ending: called sys.exit\(3\)"),
        ("raising", "test_two_runs_give_the_same_bits", r"one of two runs of raising: ValueError: not now"),
        ("raising", "test_loss_is_not_negative", r"raising: ValueError: not now"),
        ("misshapen", "test_loss", r"loss: returned loss of shape \(1, 1\), asked for \(1,\); claim 'accurate'"),
    ],
)
def test_every_other_way_to_fail_is_told_so_too(operation: str, test: str, says: str, tmp_path: Path) -> None:
    claims = tmp_path / "claims.toml"
    claims.write_text(STALE)
    failed = failures_of(operation, *OPTIONS, f"--claims={claims}", "-k", test)
    assert re.match(f"what   : {says}", failed[test]), failed[test]
    assert_fails_again(failed[test])


LOST = """
from tests.planted.processes import right


def kernel(logits, labels):
    loss, gradient = right(logits, labels)
    return loss + 1, gradient
"""


def test_what_the_probe_was_answered_fails_so_too(tmp_path: Path) -> None:
    """Only an implementation is probed."""
    (tmp_path / "kernel.py").write_text(LOST)
    kernel = f"--implementation={tmp_path / 'kernel.py'}:kernel"
    status, failed = first_failures(kernel, "--dtype=float32", "--claim=stable", "-k", "test_probed")
    assert status == 1
    lines = failed["test_probed"].splitlines()
    assert [line[: len(PREFIXES[0])] for line in lines] == list(PREFIXES)
    status, printed = run_here(*QUICKLY, "-vv", *shlex.split(lines[-1].partition("pytest suites/ ")[2]))
    assert (status, f"{lines[0]}\n" in printed) == (1, True)


TWO_LINES = """
import numpy as np

from tests.planted.processes import right


def kernel(logits, labels):
    if np.isnan(logits).any():
        raise ValueError("bad argument 3")
    if np.isinf(logits).any():
        raise ValueError("bad argument 7")
    return right(logits, labels)
"""


def test_what_two_lines_raise_has_two_causes(tmp_path: Path) -> None:
    (tmp_path / "kernel.py").write_text(TWO_LINES)
    kernel = f"--implementation={tmp_path / 'kernel.py'}:kernel"
    status, output = run_here(kernel, "--dtype=float32", "--claim=stable", "-k", "test_case", f"--report={tmp_path}")
    assert status == 1
    causes = {failure["cause"] for failure in load_report(tmp_path)["failures"]}
    assert causes == {f"ValueError: bad argument # (kernel.py, line {line})" for line in (9, 11)}, output


@pytest.mark.parametrize(("longest", "form"), [(8000, "--case=z:"), (10, ".json ")])
def test_a_long_input_is_compressed_or_in_a_file_beside_the_report(
    longest: int, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repro, "LONGEST_LINE", 100)
    monkeypatch.setattr(repro, "LONGEST_COMPRESSED", longest)
    text = failures_of("wrong", *OPTIONS, f"--report={tmp_path}", "-k", "test_loss_is_not_negative")[
        "test_loss_is_not_negative"
    ]
    assert form in text
    assert text.endswith("  # no script: failing has no words for wrong")
    assert_fails_again(text)
    assert len(list(tmp_path.glob("cases/*"))) == (longest == 10)


def test_the_last_line_is_a_command_of_a_shell() -> None:
    text = failures_of("changing", *OPTIONS, "-k", "test_two_runs_give_the_same_bits")["test_two_runs_give_the_same_bits"]
    command = text.splitlines()[-1].removeprefix("repro  : pytest")
    ran = subprocess.run(
        f"{shlex.quote(sys.executable)} -m pytest{command}", shell=True, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert text.splitlines()[0] in ran.stdout
