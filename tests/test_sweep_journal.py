"""The journal of a sweep: what it keeps through damage, a full disk, another sweep and another process."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numba")

from suites.sweep.compiled.tally import empty_tally
from suites.sweep.journal import JournalError, open_journal
from suites.sweep.outcome import Outcome, outcome_from
from tests.command import ROOT

HEADER = {"schema": "x", "job": {"made_with": {"torch": "2.13.0"}}, "chunks": 4}


def outcome(number: int) -> Outcome:
    """Something that is different for every number."""
    tally = empty_tally()
    tally.grades[0, 5] = number + 1
    tally.failing[0, 0] = number
    tally.box[0, 0, :, 0], tally.box[0, 0, :, 1] = -number - 0.1, number + 0.1
    tally.worst[0], tally.worst_logits[0] = number / 3, (number, -number / 7)
    tally.map[0, 256 * number : 256 * number + 9] = np.arange(9) / 3
    tally.seen[0, 256 * number] = 1
    return Outcome(2 * number, number, {"framework": 0.25, "comparison": 0.5, "chunk": 0.75}, tally)


def same(one: Outcome, other: Outcome) -> bool:
    arrays = zip(one.tally, other.tally, strict=True)
    return one.rows == other.rows and all(np.array_equal(a, b, equal_nan=True) for a, b in arrays)


@given(st.permutations(range(4)))
def test_outcomes_add_up_in_any_order_and_survive_json(order: list[int]) -> None:
    total, expected = Outcome(), Outcome()
    for number in order:
        total = total.plus(outcome_from(json.loads(json.dumps(outcome(number).as_json()))))
    for number in range(4):
        expected = expected.plus(outcome(number))
    assert same(total, expected)
    assert (total.tally.grades[0, 5], total.tally.failing[0, 0]) == (10, 6)
    assert total.tally.box[0, 0].tolist() == [[-3.1, 3.1]] * 3


def filled(path: Path, chunks: range = range(3)) -> bytes:
    with open_journal(path, HEADER) as journal:
        for chunk in chunks:
            journal.add(chunk, outcome(chunk))
    return path.read_bytes()


def test_it_goes_on_where_it_ended_and_counts_a_chunk_once(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    filled(path)
    with open_journal(path, HEADER) as journal:
        assert journal.finished == {0, 1, 2}
        before = path.read_bytes()
        journal.add(1, outcome(1))
        assert path.read_bytes() == before
        journal.add(3, outcome(3))
        total = journal.total
    with open_journal(path, HEADER) as journal:
        assert same(journal.total, total)
        assert journal.total.rows == 12
    twice = path.read_bytes() + path.read_bytes().splitlines(keepends=True)[2]
    path.write_bytes(twice)
    with open_journal(path, HEADER) as journal:
        assert journal.total.rows == 12


def test_every_torn_end_is_cut_off(tmp_path: Path) -> None:
    """Whatever part of the last line a killed process wrote, the lines before are kept and the next one is whole."""
    whole = filled(tmp_path / "a.journal")
    last = whole.rindex(b"\n", 0, -1) + 1
    for end in (*range(last, last + 12), len(whole) - 2, len(whole) - 1):
        path = tmp_path / "b.journal"
        path.write_bytes(whole[:end])
        with open_journal(path, HEADER) as journal:
            assert journal.finished == {0, 1}
            journal.add(2, outcome(2))
        assert path.read_bytes() == whole


def test_a_torn_header_is_written_again(tmp_path: Path) -> None:
    whole = filled(tmp_path / "a.journal", range(0))
    path = tmp_path / "b.journal"
    path.write_bytes(whole[:9])
    filled(path, range(0))
    assert path.read_bytes() == whole


@pytest.mark.parametrize("line", [0, 1, 2])
def test_damage_before_the_end_is_refused(tmp_path: Path, line: int) -> None:
    path = tmp_path / "a.journal"
    lines = filled(path).splitlines(keepends=True)
    lines[line] = lines[line].replace(b"0", b"1", 1)
    path.write_bytes(b"".join(lines))
    with pytest.raises(JournalError, match=f"line {line + 1} is damaged"), open_journal(path, HEADER):
        pass
    assert path.read_bytes() == b"".join(lines)


@pytest.mark.parametrize("content", [b"some text", b"a\nb\n", b"\n", b"x" * 3000])
def test_another_file_is_not_overwritten(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.journal"
    path.write_bytes(content)
    with pytest.raises(JournalError, match="damaged|not the journal"), open_journal(path, HEADER):
        pass
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "changed",
    [{"chunks": 5}, {"job": {"made_with": {"torch": "2.14.0"}}}, {"claims": "c"}],
    ids=["plan", "version", "claims"],
)
def test_another_sweep_is_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    path = tmp_path / "a.journal"
    before = filled(path)
    with (
        pytest.raises(JournalError, match=f"of another sweep: {next(iter(changed))} was"),
        open_journal(path, HEADER | changed),
    ):
        pass
    assert path.read_bytes() == before


def test_one_process_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    with open_journal(path, HEADER):
        opened = f"open_journal(Path({str(path)!r}), {HEADER!r})"
        code = f"from pathlib import Path; from suites.sweep.journal import open_journal\nwith {opened}: pass"
        other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "another sweep is writing it" in other.stderr


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="No space left"), open_journal(Path("/dev/full"), HEADER):
        pass
    with pytest.raises(JournalError, match="cannot be opened"), open_journal(tmp_path / "none" / "a.journal", HEADER):
        pass


def test_what_was_written_before_the_disk_was_full_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    before = filled(path, range(2))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_journal(path, HEADER) as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, hard))
        try:
            with pytest.raises(JournalError, match="the chunks in it are safe"):
                journal.add(2, outcome(2))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.read_bytes()[: len(before)] == before
        assert os.path.getsize(path) > len(before)
        journal.add(3, outcome(3))
    with open_journal(path, HEADER) as journal:
        assert journal.finished == {0, 1, 3}
