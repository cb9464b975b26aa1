"""Tests of what is kept of a run: the lowest grade and the worst error, and what of it the region of a deviation leaves out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reference.grades import Grade
from suites.judging.measurement import Measurement
from suites.judging.profile import tally
from suites.judging.recorder import Record, Recorder
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
    assert (record.problems, record.entries, record.wrong_class) == (3, 3, 0)
    assert record.reached is Grade.FINITE
    assert 999 <= record.worst_ulps <= 1001
    assert record.worst is worst
    assert record.worst_ratio == float(np.max(worst.least_error / worst.stable_bound)) > 100


def test_in_the_region_of_a_deviation_what_went_wrong_is_counted_alone() -> None:
    near = off_by(0)
    record = record_of((near, True), (off_by(1000), False), (off_by(np.nan), False))
    assert (record.problems, record.wrong_class) == (3, 1)
    assert record.reached is Grade.CORRECT
    assert record.worst is near
    assert record.worst_ulps <= 0.5


def test_an_exception_reaches_no_grade_and_is_of_a_wrong_class() -> None:
    raised = replace(off_by(np.nan), error="RuntimeError: out of memory")
    assert tally(raised).reached is Grade.NONE
    quiet = replace(off_by(0), error="RuntimeError: out of memory")
    assert tally(quiet).reached is Grade.NONE
    record = record_of((quiet, True))
    assert (record.reached, record.wrong_class) == (Grade.NONE, 1)
