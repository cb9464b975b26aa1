"""Every mutant of our own code is still one change of one place, and its tests are there; running them is a script's."""

from __future__ import annotations

from collections import Counter

from tests.planted.mutants import ROOT, mutants

MUTATED = {
    "adapters/adapter.py",
    "reference/bounds/entrywise.py",
    "reference/enclosure.py",
    "reference/evaluation.py",
    "reference/exact/softmax.py",
    "reference/fast/elementary.py",
    "reference/fast/wide_sums.py",
    "reference/formats.py",
    "suites/judging/claims.py",
    "suites/judging/claims_file.py",
    "suites/judging/judge.py",
    "suites/judging/measurement.py",
    "suites/judging/profile.py",
    "suites/judging/recorder.py",
    "suites/report/build.py",
    "suites/report/compare.py",
    "suites/report/ended.py",
    "suites/report/pair.py",
    "suites/report/regressions.py",
    "suites/report/row.py",
}


def test_each_place_is_there_once_and_changes() -> None:
    wrong = [m for m in mutants() if (ROOT / m.file).read_text().count(m.was) != 1 or m.was == m.becomes]
    assert not wrong


def test_the_tests_that_must_fail_exist() -> None:
    missing = {test for m in mutants() for test in m.killed_by if not (ROOT / test).is_file()}
    assert not missing


def test_oracle_comparator_rounding_bounds_claims_and_report_have_mutants() -> None:
    counted = Counter(m.file for m in mutants())
    assert set(counted) >= MUTATED
    assert min(counted[file] for file in MUTATED) >= 3
