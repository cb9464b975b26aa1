"""Tests of what is kept of a run: the lowest grade and the worst error, and what of it the region of a deviation leaves out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reference.formats import FLOAT32
from reference.grades import Grade
from reference.problem import Problem
from reference.quantity import Quantity
from reference.special_values import Requirement
from suites.judging.measurement import Measurement
from suites.judging.profile import tally
from suites.judging.recorder import CaseOutcome, Record, Recorder
from tests.test_measurement import PLAIN, measure, steps_from


def off_by(steps: float) -> Measurement:
    """Of the correctly rounded loss, moved by a number of ulps; NaN of NaN."""
    return measure(PLAIN, steps_from(PLAIN, steps))


def record_of(*added: tuple[Measurement, bool]) -> Record:
    """The record of measurements; False for one in the region of a deviation."""
    recorder = Recorder()
    for measurement, counts in added:
        recorder.add("loss", "float32", measurement, counts)
    (record,) = recorder.records.values()
    return record


def test_the_lowest_grade_and_the_worst_error_are_kept_wherever_they_come() -> None:
    worst = off_by(1000)
    record = record_of((off_by(2), True), (worst, True), (off_by(0), True))
    assert (record.counts.problems, record.counts.entries, record.wrong_class) == (3, 3, 0)
    assert record.counts.reached is Grade.FINITE
    assert 999 <= record.worst_ulps <= 1001
    assert record.worst is worst
    assert record.worst_ratio == float(np.max(worst.least_error / worst.stable_bound)) > 100


def test_in_the_region_of_a_deviation_what_went_wrong_is_counted_alone() -> None:
    near = off_by(0)
    record = record_of((near, True), (off_by(1000), False), (off_by(np.nan), False))
    assert (record.counts.problems, record.left_out.problems, record.wrong_class) == (1, 2, 1)
    assert record.counts.reached is Grade.CORRECT
    assert record.left_out.reached is Grade.NONE
    assert record.worst is near
    assert record.worst_ulps <= 0.5


def test_an_exception_reaches_no_grade_and_is_of_a_wrong_class() -> None:
    raised = replace(off_by(np.nan), error="RuntimeError: out of memory")
    assert raised.grade is Grade.NONE
    quiet = replace(off_by(0), error="RuntimeError: out of memory")
    assert quiet.grade is tally(quiet).reached is Grade.NONE
    record = record_of((quiet, True))
    assert (record.counts.reached, record.counts.entries, record.wrong_class) == (Grade.NONE, 0, 1)


def test_of_nothing_nothing_is_reached() -> None:
    assert Record().counts.label == "not measured"
    assert not Record().counts.reaches(Grade.NONE)
    assert record_of((off_by(0), False)).counts.label == "not measured"


def test_entries_of_which_nothing_is_expected_are_not_compared() -> None:
    """A row of NaN is owed a loss, and no particular gradient at a masked class."""
    masked = Problem([[0.0, -np.inf]], [1], FLOAT32)
    measurement = measure(masked, np.full((1, 2), np.nan), Quantity.GRADIENT)
    expected = int(np.count_nonzero(measurement.expected.requirement != Requirement.UNSPECIFIED))
    assert record_of((measurement, True)).counts.entries == expected


def test_a_stored_case_counts_and_lowers_the_grade() -> None:
    recorder = Recorder()
    recorder.add("loss", "float32", off_by(0))
    outcome = CaseOutcome("a/case", "loss", "float32", Quantity.LOSS, Grade.ACCURATE, Grade.FINITE, ())
    recorder.add_case(outcome, off_by(1000), counts=True)
    record = recorder.records["loss", "float32", Quantity.LOSS]
    assert (record.counts.reached, record.counts.problems) == (Grade.FINITE, 2)
    assert record.worst_ulps > 900


def test_a_hazard_has_the_grade_and_the_worst_error_of_what_counts_as_the_row_has() -> None:
    """1 ulp counts, 1000 and NaN are in the region of a deviation, 3 are those of a stored case."""
    recorder = Recorder()
    for steps, counts in ((1, True), (1000, False), (np.nan, False)):
        recorder.add("loss", "float32", off_by(steps), counts)
    outcome = CaseOutcome("a/case", "loss", "float32", Quantity.LOSS, Grade.STABLE, Grade.ACCURATE, ())
    recorder.add_case(outcome, off_by(3), counts=True)
    (record,) = recorder.records.values()
    (hazard,) = record.profile.by_hazard.values()
    assert (hazard.counts, hazard.left_out) == (record.counts, record.left_out)
    assert (hazard.counts.reached, hazard.left_out.reached) == (Grade.ACCURATE, Grade.NONE)
    assert 2.5 < hazard.worst_ulps == record.worst_ulps < 3.5
    assert (hazard.wrong_class, record.wrong_class) == (1, 1)
    (bin_,) = record.profile.by_gap.values()
    assert 999 <= bin_.worst_ulps <= 1001, "bins count what is left out too"
    assert bin_.reached is Grade.NONE
    assert record_of((off_by(0), False)).profile.by_hazard["moderate"].as_json() == {
        "reached": "not measured",
        "problems": 0,
        "entries": 0,
        "worst_ulps": 0.0,
        "returned_zero": 0,
        "wrong_class": 0,
        "left_out": {"reached": "correct", "problems": 1, "entries": 1},
    }


def test_what_is_shrunk_is_not_taken_in() -> None:
    recorder = Recorder()
    with recorder.paused():
        recorder.add("loss", "float32", off_by(1000))
    assert recorder.records == {}
    recorder.add("loss", "float32", off_by(0))
    assert recorder.records["loss", "float32", Quantity.LOSS].counts.problems == 1


def test_a_test_says_in_junit_what_it_rests_on() -> None:
    recorder = Recorder()
    recorder.begin_test()
    assert recorder.test.as_properties() == []
    recorder.add("loss", "float32", off_by(0))
    recorder.add("loss", "float32", off_by(1000), counts=False)
    told = dict(recorder.test.as_properties())
    assert (told["grade"], told["problems"], told["entries"]) == ("correct", 1, 1)
    assert (told["left_out"], told["left_out_problems"]) == ("finite", 1)
