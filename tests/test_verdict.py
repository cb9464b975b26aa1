"""Tests of the verdict: each with its reason, and none that says more than was seen."""

from __future__ import annotations

import pytest

from suites.judging.outcomes import Ending
from suites.report.verdict import verdict_of
from tests.command import run_here
from tests.reports import ending

ALL = {"passed": 9, "xfailed": 1}


HELD = "9 tests passed, 1 test showed what is known; every claim held"


@pytest.mark.parametrize(
    ("ended", "reduced_by", "verdict", "reason"),
    [
        (ending(**ALL), (), "CONFORMS", HELD),
        (ending(**ALL), ("--a", "--b"), "REDUCED", f"{HELD} that was tried; narrowed by --a, --b"),
        (ending(xfailed=2), (), "REDUCED", "0 tests passed, 2 tests showed what is known; no other claim was tried"),
        (ending(1, failed=3, **ALL), (), "FAILS", "3 tests failed for 1 cause"),
        (ending(1, failed=3, **ALL), ("--a",), "FAILS", "3 tests failed for 1 cause; narrowed by --a"),
        (ending(1, 20, failed=1, error=1), (), "FAILS", "2 tests failed for 2 causes; 18 tests were not run any more"),
        (ending(1, **ALL), (), "FAILS", "pytest ended with exit status 1"),
        (ending(2, 20, "Ctrl-C", passed=4), (), "INTERRUPTED", "Ctrl-C after 4 of 20 tests"),
        (
            ending(2, 20, "why", failed=1),
            (),
            "INTERRUPTED",
            "why after 1 of 20 tests; 1 test failed for 1 cause before",
        ),
        (ending(2, 0, "1 error during collection"), (), "INTERRUPTED", "1 error during collection after 0 of 0 tests"),
        (ending(3, passed=1), (), "INTERRUPTED", "the suite itself failed (INTERNALERROR above) after 1 of 1 test"),
        (ending(5), ("-k nothing",), "NOTHING RAN", "no test is left; narrowed by -k nothing"),
        (ending(skipped=2), (), "NOTHING RAN", "all 2 tests were skipped: no hazard is left"),
    ],
)
def test_verdicts(ended: Ending, reduced_by: tuple[str, ...], verdict: str, reason: str) -> None:
    assert verdict_of(ended, reduced_by) == (verdict, reason)


def last_line(*options: str) -> tuple[int, str]:
    """Exit status and last line of a run of the suite on numpy."""
    status, printed = run_here("--operation=scipy_log_softmax", "--dtype=float32", "--effort=quick", *options)
    return status, printed.splitlines()[-1]


class Leaving:
    """A plugin that leaves out tests, as others may."""

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        config.hook.pytest_deselected(items=items[1:])
        del items[1:]


class Interrupting:
    """A plugin that presses Ctrl-C, or whatever is raised, at the third test."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.begun = error, 0

    def pytest_runtest_call(self, item: pytest.Item) -> None:
        self.begun += 1
        if self.begun == 3:
            raise self.error


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["-k", "nothing_of_the_kind"], 5, "NOTHING RAN: no test is left; narrowed by "),
        (["-k", "test_linear"], 5, "NOTHING RAN: all 10 tests were skipped: got empty parameter set"),
        (["-k", "test_out_of_range_label"], 0, "REDUCED: 3 tests passed; every claim held that was tried; narrowed by "),
        (["--deselect=suites/test_cases.py", "-k", "test_shapes"], 5, "NOTHING RAN: "),
    ],
)
def test_a_run_of_nothing_says_so(options: list[str], status: int, said: str) -> None:
    found, line = last_line(*options)
    assert found == status
    assert line.startswith(said)
    assert line.endswith("a selection of tests")


@pytest.mark.parametrize(
    ("error", "said"), [(KeyboardInterrupt(), "stopped by Ctrl-C"), (pytest.exit.Exception("enough"), "enough")]
)
def test_an_interrupted_run_says_so_and_judges_nothing(error: BaseException, said: str) -> None:
    status, printed = run_here("--operation=scipy_log_softmax", "-k", "test_out_of_range", plugins=(Interrupting(error),))
    assert status == 2
    assert printed.splitlines()[-1].startswith(f"INTERRUPTED: {said} after 2 of ")


def test_what_a_plugin_leaves_out_narrows_the_run() -> None:
    status, printed = run_here("--operation=scipy_log_softmax", plugins=(Leaving(),))
    assert status == 0
    assert " tests left out" in printed.splitlines()[-1]
    assert printed.splitlines()[-1].startswith("REDUCED: ")
