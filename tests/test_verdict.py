"""Tests of the verdict: each with its reason, and none that says more than was seen."""

from __future__ import annotations

import pytest

from suites.judging.outcomes import Ending
from suites.report.verdict import verdict_of
from tests.reports import ending

ALL = {"passed": 9, "xfailed": 1}


HELD = "9 tests passed, 1 test showed what is known; every claim held"


@pytest.mark.parametrize(
    ("ended", "reduced_by", "verdict", "reason"),
    [
        (ending(**ALL), (), "CONFORMS", HELD),
        (ending(**ALL), ("--a", "--b"), "REDUCED", f"{HELD} that was tried; narrowed by --a, --b"),
        (ending(xfailed=2), (), "REDUCED", "0 tests passed, 2 tests showed what is known; every claim held that was tried"),
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
