"""A kernel that bends the floating-point state, when it is imported or called, bends no verdict, and the report says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.foreign_state import ForeignState
from adapters.loading import operations_on_trial
from adapters.numpy.backend import NumpyAdapter
from adapters.operation import Operation
from reference.floating_state import changes, set_default_state, set_state, state
from suites.report.wording import environment_line
from suites.sweep.chunk import run_chunk
from suites.sweep.journal import open_journal
from suites.sweep.report import lines_of, report_of
from suites.sweep.request import Request, job_of
from suites.sweep.run import header_of
from tests.command import run_here
from tests.floating_states import BENT, bent_states, leave

KERNEL = """
from reference.floating_state import changes
from tests.floating_states import leave
from tests.planted.processes import right

AT_IMPORT

seen = []


def kernel(logits, labels):
    IN_CALL
    seen.append(changes())
    return right(logits, labels)
"""
CASES = ("--claim=stable", "--dtype=float32,float64", "--case=underflow/*", "--accept-limits")


def run(folder: Path, *more: str, at_import: str = "", in_call: str = "") -> tuple[int, dict[str, Any], str]:
    """Exit status, report and output of a run of the kernel, which may leave a state."""
    text = KERNEL.replace("AT_IMPORT", at_import).replace("IN_CALL", in_call or "pass")
    (folder / "kernel.py").write_text(text)
    before = state()
    try:
        status, output = run_here(f"--implementation={folder / 'kernel.py'}:kernel", *CASES, f"--report={folder}", "-v", *more)
        assert changes() == (), "the state of the run was left bent"
    finally:
        set_state(before)
    return status, json.loads(next(folder.glob("report*.json")).read_text()), output


@bent_states()
def test_code_of_others_runs_in_the_state_that_it_has_left(bent: str) -> None:
    foreign = ForeignState()
    with foreign.running("importing it"):
        leave(bent)
    assert changes() == ()
    with foreign.running("a call"):
        assert bent in changes()
    assert changes() == ()
    assert foreign.told == [f"importing it set {bent}"]
    with foreign.running("another call"):
        set_default_state()
    assert foreign.told[1:] == ["another call set the default floating-point state"]


def test_an_honest_kernel_is_told_nothing_of(tmp_path: Path) -> None:
    status, report, output = run(tmp_path)
    assert (status, report["environment"].get("floating_point_states")) == (0, None), output


@pytest.mark.parametrize("more", [(), ("--isolate",)], ids=["here", "isolated"])
@pytest.mark.skipif(not BENT, reason="no states are known of this machine")
@pytest.mark.parametrize(("when", "said"), [("at_import", "importing kernel.py set"), ("in_call", "a call of kernel set")])
def test_a_kernel_that_flushes_to_zero_is_judged_by_what_it_returned(
    when: str, said: str, more: tuple[str, ...], tmp_path: Path
) -> None:
    status, report, output = run(tmp_path, *more, **{when: 'leave("flush to zero")'})
    (told,) = report["environment"]["floating_point_states"]
    assert said in told.replace(f"{tmp_path}/", "")
    assert told.endswith(" set flush to zero")
    assert told in environment_line(report)
    assert status == 1, "its subnormal losses are 0, and were passed before"
    assert "was returned as 0" in output


@pytest.mark.skipif(not BENT, reason="no states are known of this machine")
def test_a_right_kernel_passes_whatever_it_leaves(tmp_path: Path) -> None:
    status, report, output = run(tmp_path, in_call="leave('rounding upward')", at_import=ROUNDS_ITSELF)
    assert report["environment"]["floating_point_states"]
    assert status == 0, output


@pytest.mark.skipif(not BENT, reason="no states are known of this machine")
def test_a_right_kernel_passes_that_leaves_flush_to_zero_when_it_is_done(tmp_path: Path) -> None:
    after = 'result = right(logits, labels); leave("flush to zero"); seen.append(1); return result'
    status, report, output = run(tmp_path, in_call=after, at_import=ROUNDS_ITSELF)
    assert report["environment"]["floating_point_states"]
    assert status == 0, output


@pytest.mark.skipif(not BENT, reason="no states are known of this machine")
def test_what_is_set_and_taken_back_is_told_once(tmp_path: Path) -> None:
    toggling = "set_default_state(); len(seen) % 2 and leave('flush to zero')"
    imported = f"from reference.floating_state import set_default_state\n{ROUNDS_ITSELF}"
    _, report, _ = run(tmp_path, in_call=toggling, at_import=imported)
    told = report["environment"]["floating_point_states"]
    assert told == ["a call of kernel set flush to zero", "a call of kernel set the default floating-point state"]


@bent_states()
def test_listing_operations_leaves_no_state(bent: str) -> None:
    class Bending(NumpyAdapter):
        def operations(self) -> tuple[Operation, ...]:
            leave(bent)
            return super().operations()

    adapter = Bending()
    operations_on_trial(adapter, None)
    assert changes() == ()
    assert adapter.foreign.told == [f"listing the operations of numpy set {bent}"]


ROUNDS_ITSELF = """
from reference.floating_state import in_default_state

right = in_default_state(right)
"""


@pytest.mark.skipif(not BENT, reason="no states are known of this machine")
@pytest.mark.parametrize("where", ["at_import", "in_call"])
def test_a_sweep_says_which_state_its_kernel_left(where: str, tmp_path: Path) -> None:
    """And judges as it does without: what is subnormal is the kernel's own."""
    flush = next(name for name in BENT if "flush" in name)
    given = {"AT_IMPORT": "", "IN_CALL": "pass"} | {where.upper(): f'leave("{flush}")'}
    text = KERNEL
    for name, code in given.items():
        text = text.replace(name, code)
    (tmp_path / "kernel.py").write_text(text)
    before = state()
    try:
        job, adapter, operation = job_of(
            Request(dtype="float32", stride=2**20, backend="numpy", implementation=f"{tmp_path / 'kernel.py'}:kernel")
        )
        with open_journal(tmp_path / "a.journal", header_of(job)) as journal:
            journal.add(0, run_chunk(job, 0))
            report = report_of(job, adapter, operation, journal)
        assert changes() == ()
    finally:
        set_state(before)
    assert any(flush in told for told in report["floating_point_states"])
    assert any(flush in line for line in lines_of(report))
