"""The journal of a sweep: what it keeps through damage, a full disk, another sweep and another process."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import zlib
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numba")

from suites.sweep.compiled.tally import empty_tally
from suites.sweep.journal import JournalError, encoded, open_journal
from suites.sweep.outcome import Outcome, outcome_from
from tests.command import ROOT

HEADER = {"schema": "x", "job": {"made_with": {"torch": "2.13.0"}}, "chunks": 4}


def outcome(number: int) -> Outcome:
    """Something that is different for every number, and adds up."""
    tally = empty_tally()
    tally.grades[0, 5] = number + 2
    tally.failing[0, 0] = number + 1
    tally.box[0, 0, :, 0], tally.box[0, 0, :, 1] = -number - 0.1, number + 0.1
    tally.worst[0], tally.worst_place[0], tally.worst_logits[0] = (8 + number) / 3, (1, 0), (number, -number / 7)
    tally.map[0, 256 * number : 256 * number + 9] = (np.arange(9) + number) / 3
    tally.seen[0, 256 * number] = 1
    return Outcome(number + 2, number, {"framework": 0.25, "comparison": 0.5, "chunk": 0.75}, tally)


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
    assert (total.tally.grades[0, 5], total.tally.failing[0, 0]) == (14, 10)
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
        assert journal.total.rows == 14
    twice = path.read_bytes() + path.read_bytes().splitlines(keepends=True)[2]
    path.write_bytes(twice)
    with open_journal(path, HEADER) as journal:
        assert journal.total.rows == 14


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


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", full)
        with pytest.raises(JournalError, match="No space left"), open_journal(tmp_path / "a.journal", HEADER):
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


def packed(content: bytes) -> str:
    return b64encode(zlib.compress(content, 9)).decode("ascii")


def forged_outcome(**changed: Any) -> dict[str, Any]:
    return {"chunk": 3, "outcome": outcome(3).as_json() | changed}


def other_grades(entry: dict[str, Any]) -> dict[str, Any]:
    entry["outcome"]["grades"][0][5] += 1
    return entry


HOLE = {"chunk": 3, "outcome": {key: value for key, value in outcome(3).as_json().items() if key != "rows"}}
FORGED: dict[str, tuple[Any, str]] = {
    "a list": ([], "it is []; allowed"),
    "no outcome": ({"chunk": 3}, "'outcome' is missing"),
    "an unknown key": (forged_outcome(row=1), "outcome: unknown keys ['row']; allowed: rows, "),
    "a missing key": (HOLE, "outcome: 'rows' is missing"),
    "chunk -1": (forged_outcome() | {"chunk": -1}, "chunk is -1; allowed: the number of a chunk"),
    "chunk 4": (forged_outcome() | {"chunk": 4}, "chunk is 4; allowed: 0 to 3"),
    "chunk 10^9": (forged_outcome() | {"chunk": 10**9}, "chunk is 1000000000; allowed: 0 to 3"),
    "chunk 2.5": (forged_outcome() | {"chunk": 2.5}, "chunk is 2.5; allowed"),
    "chunk true": (forged_outcome() | {"chunk": True}, "chunk is True; allowed"),
    "another outcome": (forged_outcome() | {"chunk": 1}, "chunk 1 stands in line 3 too, with another outcome"),
    "negative rows": (forged_outcome(rows=-1), "outcome.rows is -1; allowed"),
    "rows 5.5": (forged_outcome(rows=5.5), "outcome.rows is 5.5; allowed"),
    "more rows": (forged_outcome(rows=6), "grades of loss add up to 5; allowed: 6 for 6 rows, or 0"),
    "more grades": (other_grades(forged_outcome()), "grades of loss add up to 6; allowed: 5"),
    "more undecided": (forged_outcome(undecided=6), "6 entries were undecided, and there are 5"),
    "negative failures": (forged_outcome(failing=[[-1] + [0] * 4, [0] * 5, [0] * 5]), "outcome.failing[0][0] is -1; allowed"),
    "no failures": (forged_outcome(failing=[[0] * 5] * 3), "loss: 0 entries are zero, and the map says otherwise"),
    "failures without a grade": (
        forged_outcome(failing=[[4, 0, 0, 1, 0], [0] * 5, [0] * 5]),
        "loss: 1 entries are wrong_class and 0 reach none; allowed: as many",
    ),
    "many failures": (forged_outcome(failing=[[6, 0, 0, 0, 0], [0] * 5, [0] * 5]), "loss: more entries fail (6) than there"),
    "a region of none": (forged_outcome(box=["inf", "-inf"] * 45), "loss: the region of zero has no least and largest"),
    "a short region": (forged_outcome(box=["0x0.0p+0"] * 91), "box has 91 numbers; allowed: 90"),
    "a worst error of NaN": (forged_outcome(worst=["nan"] * 3), "loss: the worst error is nan; allowed"),
    "a better worst error": (forged_outcome(worst=[(1.0).hex(), (-1.0).hex(), (-1.0).hex()]), "and that of"),
    "an error of nowhere": (forged_outcome(worst_place=[[-1, -1]] * 3), "loss: the worst error has no place"),
    "another target": (forged_outcome(worst_place=[[2, 0], [-1, -1], [-1, -1]]), "loss: the worst error has no place"),
    "a place of no error": (forged_outcome(worst_place=[[1, 0], [0, 0], [-1, -1]]), "gradient: there is no worst error, and"),
    "three logits": (forged_outcome(worst_logits=["0x0.0p+0"] * 9), "worst_logits has 9 numbers; allowed: 6"),
    "a number beyond float64": (forged_outcome(worst=["0x1.8p+9999"] * 3), "worst has '0x1.8p+9999'; allowed: float64 numbers"),
    "a number between": (forged_outcome(worst=["0x1.8p-1074"] * 3), "worst has '0x1.8p-1074'; allowed: float64 numbers"),
    "a decimal number": (forged_outcome(worst=["1.5"] * 3), "worst has '1.5'; allowed: float64 numbers"),
    "no seconds": (forged_outcome(seconds={}), "outcome.seconds: 'framework' is missing"),
    "seconds of text": (
        forged_outcome(seconds={"framework": "1", "comparison": 0, "chunk": 0}),
        "outcome.seconds.framework is '1'; allowed: processor seconds from 0 on",
    ),
    "a bomb": (forged_outcome(map=packed(bytes(10**8))), "map: it is longer than 786432 bytes when it is decompressed"),
    "a map that is cut off": (forged_outcome(map=outcome(3).as_json()["map"][:40]), "map: what is compressed is cut off"),
    "a map of part bins": (forged_outcome(map=packed(bytes(7))), "map has 7 bytes; allowed: a multiple of 12"),
    "a shorter map": (forged_outcome(seen=packed(bytes(3))), "the map begins at 768 with 9 and 1 bins; allowed: as many"),
    "a map beyond its end": (forged_outcome(start=65530), "the map begins at 65530 with 9 and 9 bins; allowed"),
    "a failure that there is not": (forged_outcome(seen=packed(bytes([255] * 27))), "loss: a bin has a kind of failure that"),
}  # fmt: skip


def refusal(path: Path, content: bytes) -> str:
    """What is said of a journal, which is left as it is."""
    path.write_bytes(content)
    with pytest.raises(JournalError) as error, open_journal(path, HEADER):
        pass
    assert path.read_bytes() == content
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_entry_is_refused_although_its_checksum_is_right(kind: str, tmp_path: Path) -> None:
    entry, says = FORGED[kind]
    honest = filled(tmp_path / "a.journal")
    said = refusal(tmp_path / "b.journal", honest + encoded(entry))
    assert "b.journal: line 5 is no chunk of this sweep: " in said
    assert says in said


def test_the_honest_entry_that_is_forged_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    path.write_bytes(filled(path) + encoded(forged_outcome()))
    with open_journal(path, HEADER) as journal:
        assert journal.finished == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"[" * 3000, "line 5: it is nested too deeply"),
        (b'{"chunk":3,"outcome":' + b"[" * 900 + b"]" * 900 + b"}", "line 5: it is nested too deeply"),
        (b'{"chunk":3,"chunk":3}', "line 5: key 'chunk' stands twice"),
        (b'{"chunk":NaN}', "line 5: NaN is not JSON"),
        (b'{"chunk":' + b"9" * 5000 + b"}", "line 5: a whole number has 5000 digits"),
        ("{'é'}".encode(), "line 5: 'ascii' codec"),
        (b"", "line 5: not JSON"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_json_that_python_would_take_or_choke_on_is_refused(text: bytes, says: str, tmp_path: Path) -> None:
    line = f"{zlib.crc32(text):08x} ".encode("ascii") + text + b"\n"
    assert says in refusal(tmp_path / "b.journal", filled(tmp_path / "a.journal") + line)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ([], "line 1 is []; allowed: the header of a sweep"),
        ("x", "line 1 is 'x'; allowed: the header of a sweep"),
        (HEADER | {"chunks": 4.0}, "is of another sweep: chunks was 4.0 and is 4"),
        (HEADER | {"claims": None}, "is of another sweep: claims was None and is not there"),
    ],
    ids=str,
)
def test_another_header_is_refused(header: Any, says: str, tmp_path: Path) -> None:
    lines = filled(tmp_path / "a.journal").splitlines(keepends=True)
    assert says in refusal(tmp_path / "b.journal", b"".join([encoded(header), *lines[1:]]))


def link(path: Path) -> None:
    (path.parent / "elsewhere").write_text("mine")
    path.symlink_to("elsewhere")


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (os.mkfifo, "it is a pipe or a device, or larger"),
        (link, "it is a link; allowed: a regular file"),
        (dangling, "it is a link; allowed: a regular file"),
        (Path.mkdir, "Is a directory"),
    ],
    ids=["pipe", "link", "dangling link", "directory"],
)
def test_what_is_no_regular_file_is_refused_and_does_not_hang(make: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    make(path)
    with pytest.raises(JournalError, match=says), open_journal(path, HEADER):
        pass
    assert not (tmp_path / "nowhere").exists()
    assert not (tmp_path / "elsewhere").exists() or (tmp_path / "elsewhere").read_text() == "mine"


def test_a_journal_that_is_larger_than_any_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    with path.open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(JournalError, match="or larger than 1073741824 bytes"), open_journal(path, HEADER):
        pass
