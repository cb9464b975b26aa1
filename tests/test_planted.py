"""The suite on trial: every planted kernel is rejected by the test that is about its mistake, and the right one by none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from reference.formats import BFLOAT16, FORMATS
from suites.inputs.pairs import plain_picks
from suites.inputs.problems import Ask
from suites.inputs.tables import FILLERS
from suites.judging.effort import EFFORTS, Effort
from tests.command import ROOT, first_failures
from tests.documents import TESTS
from tests.planted import alarms
from tests.planted.matrix import DATA, PAGE, is_rejected, judged, page
from tests.planted.mutants import mutants
from tests.planted.parts import results, work_through
from tests.planted.rounded import CorrectlyRounded
from tests.planted.shared import shared
from tests.planted.trial import FOLDER, Outcome, judge, planted_kernels

KERNELS = planted_kernels()
FILES = sorted({place.partition(":")[0] for place in KERNELS})
ALONE = ("half:StoredLogProbability", "other_losses:CapsPadding")
"""Kernels that are judged in a process of their own too, and shrunk: one of each way of entry."""


def assert_rejected(place: str, outcome: Outcome) -> None:
    """By a test that is about its mistake, with a message that says so."""
    defect = KERNELS[place].defect
    assert outcome["failed"], f"survived: {defect.story}"
    unsaid = {name: text for name, text in outcome["failed"].items() if not ("what   : " in text and defect.says in text)}
    assert not unsaid


@pytest.mark.parametrize("place", KERNELS)
def test_planted_kernels_are_rejected_by_the_test_that_is_theirs(place: str) -> None:
    """Each in a run of its own, with the options of a user."""
    with shared():
        assert_rejected(place, judge(place, KERNELS[place]))


def test_kernels_are_rejected_as_a_user_runs_them(tmp_path: Path) -> None:
    """In another process, where nothing was drawn or owed before, and failures are shrunk."""
    output = tmp_path / "outcomes.json"
    subprocess.run([sys.executable, "-m", "tests.planted.trial", str(output), *ALONE], cwd=ROOT, check=True, timeout=600)
    outcomes: dict[str, Outcome] = json.loads(output.read_text())
    assert set(outcomes) == set(ALONE)
    for place, outcome in outcomes.items():
        assert_rejected(place, outcome)


def assert_accepted(*options: str) -> None:
    """By every test, in this process too."""
    with shared():
        assert first_failures("--effort=quick", *options) == (0, {})


@pytest.mark.parametrize(
    "options",
    [
        ("--dtype=float32",),
        ("--dtype=float16,bfloat16", "--claim=componentwise"),
        ("--dtype=float64", "--claim=stable", f"--hazard={alarms.NOT_OVERFLOW}"),
    ],
)
def test_the_right_kernel_passes_whatever_it_is_held_to(options: tuple[str, ...]) -> None:
    """Held to `accurate` where float64 is wide enough for that; its mean and its gaps overflow in float64.

    Products cancel beyond float64 in bfloat16, whose range is as wide as that of float32, and its subnormals coarser.
    """
    assert_accepted("--backend=torch", f"--implementation={FOLDER / 'kernel.py'}:right", "-k", "not test_case", *options)


def test_the_right_kernel_of_weighted_rows_passes() -> None:
    place = f"--implementation={FOLDER / 'row_weights.py'}:weighted"
    assert_accepted("--backend=torch", place, "--dtype=float32", "--claim=stable")


@pytest.mark.parametrize(("dtype", "claim"), [("float32", "accurate"), ("bfloat16", "stable")])
def test_the_right_kernel_of_a_layer_passes(dtype: str, claim: str) -> None:
    place = f"--implementation={FOLDER / 'layer_kernel.py'}:right"
    assert_accepted("--backend=torch", place, f"--dtype={dtype}", f"--claim={claim}")


def test_the_right_kernel_of_arrays_passes() -> None:
    """But for what float64 is too narrow for: it is as stable as the max-shifted algorithm is."""
    place = f"--implementation={FOLDER / 'array_kernel.py'}:right"
    assert_accepted("--backend=numpy", place, "--dtype=float32,float16", "--claim=stable")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("two_pass", "bfloat16"),
        ("online", "float32"),
        ("tiled", "bfloat16"),
        ("pairwise", "float32"),
        ("compensated", "float32"),
    ],
)
def test_a_stable_kernel_is_not_rejected_however_it_sums(name: str, dtype: str) -> None:
    """But for `overflow`, where a gap beyond the largest number is infinite: there they are wrong, and are told so.

    One format each, and one each below: `tests.planted.alarms` searches all formats, for hours.
    """
    place = f"--implementation={FOLDER / 'honest.py'}:{name}"
    options = (f"--dtype={dtype}", "--claim=stable", f"--hazard={alarms.NOT_OVERFLOW}")
    assert_accepted("--backend=torch", place, *options)


@pytest.mark.parametrize(
    ("mode", "dtype", "operations"), [("nearest", "float64", "*"), ("neighbour", "bfloat16", "cross_entropy_*")]
)
def test_the_right_values_are_not_rejected(mode: str, dtype: str, operations: str) -> None:
    """Of every operation in one format, and of those that are asked most in another: `tests.planted.alarms` asks all in all."""
    place = f"--backend={FOLDER / 'rounded.py'}:BothWays"
    narrowed = (f"--mode={mode}", f"--dtype={dtype}", f"--operation={operations}")
    assert_accepted(place, f"--claims={FOLDER / 'rounded.toml'}", *narrowed)


def test_there_are_enough_and_each_is_told_apart() -> None:
    assert len(KERNELS) >= 80
    stories = [kernel.defect.story for kernel in KERNELS.values()]
    assert len(set(stories)) == len(stories)
    assert {Path(file).stem for file in FILES} >= {"masks", "half", "absorption", "offsets", "derivatives", "conventions"}


def test_the_readme_counts_them() -> None:
    assert f"{len(KERNELS)} deliberately wrong kernels" in TESTS.flowing
    assert f"{len(mutants())} changes of our own" in TESTS.flowing


def test_the_published_matrix_is_that_of_these_kernels() -> None:
    """Once it is published: `python -m tests.planted.matrix`."""
    if not DATA.exists():
        pytest.skip(f"{DATA.name} is not published")
    rows = json.loads(DATA.read_text())
    assert set(rows) == set(KERNELS), "run python -m tests.planted.matrix"
    assert [place for place, row in rows.items() if not is_rejected(KERNELS[place], row)] == []
    assert PAGE.read_text() == page(rows), "run python -m tests.planted.matrix"


def test_parts_are_done_once_each_and_taken_up_again(tmp_path: Path) -> None:
    done: list[str] = []

    def work(name: str) -> str:
        done.append(name)
        if name == "b" and done.count("b") == 1:
            raise KeyboardInterrupt
        work_through(tmp_path, ["a", name], lambda other: done.append(f"twice {other}"))  # as another process would
        return name.upper()

    with pytest.raises(KeyboardInterrupt):
        work_through(tmp_path, ["a", "b", "c"], work)
    assert results(tmp_path) == {"a": "A"}
    work_through(tmp_path, ["a", "b", "c"], work, seconds=0)
    assert results(tmp_path) == {"a": "A"}
    work_through(tmp_path, ["a", "b", "c"], work)
    assert results(tmp_path) == {"a": "A", "b": "B", "c": "C"}
    assert done == ["a", "b", "b", "c"]


def test_the_matrix_finds_what_the_suite_finds() -> None:
    """What is drawn once for all kernels, and not shrunk, fails where the searches of the suite do."""
    place = "masks:FirstTileMasked"
    row = judged(place)
    assert set(row["fails"]) == set(judge(place, KERNELS[place], whole=True)["failed"])
    assert is_rejected(KERNELS[place], row)


def test_alarms_are_searched_seed_by_seed_and_told_by_kind() -> None:
    names = list(alarms.parts())
    assert len(set(names)) == len(names)
    kinds = [name.rpartition(".")[0] for name in names if name.endswith(".0")]
    assert names == [f"{kind}.{seed}" for seed in range(10) for kind in kinds], "every kind, before another seed of any"
    operations = {operation.name for operation in CorrectlyRounded().operations()}
    assert set(kinds) == {f"rounded.{name}.{dtype}" for name in operations for dtype in FORMATS} | {
        f"stable.sums.{dtype}" for dtype in FORMATS
    }
    rounded = [f"rounded.cross_entropy_indices.float32.{seed}" for seed in range(10)]
    ran: alarms.Ran = {"passed": 25, "skipped": 3, "failed": [], "problems": 1500, "options": 300, "seconds": 2.0}
    other = ran | {"failed": ["suites/test_loss.py::test_loss[x]"], "problems": 1400, "options": None}
    text = alarms.page({rounded[0]: ran, rounded[1]: other})
    assert f"\n2 of {len(names)} runs are done, those of the table and no others. Of 51 tests in 2 runs, 1 failed" in text
    assert "| rounded | cross_entropy_indices | float32 | 0, 1 | 50 | 6 | 1 | 1400 | 300 | 4 |" in text


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alarms are searched with as few examples as will do."""
    monkeypatch.setitem(EFFORTS, "thorough", EFFORTS["quick"])
    monkeypatch.setattr(alarms, "_BROAD", Effort("broad", 2, 1, 0))


@pytest.mark.usefixtures("few")
def test_a_run_of_alarms_counts_what_it_judges() -> None:
    ran = alarms.searched("rounded.softmax.bfloat16.0")
    assert (ran["failed"], ran["options"]) == ([], None)
    assert ran["passed"] > 0
    searched = ran["problems"] - len(plain_picks(Ask(BFLOAT16, tuple(FILLERS))))
    assert 15 <= searched <= 15 + 2 * 19


@pytest.mark.usefixtures("few")
def test_a_run_of_alarms_tells_what_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ulps beside the correctly rounded value are neither correct nor faithful."""
    monkeypatch.setattr(CorrectlyRounded, "returned", lambda _, rounded, true, fmt: fmt.next_up(fmt.next_up(rounded)))
    failed = alarms.searched("rounded.softmax.bfloat16.0")["failed"]
    assert any("test_building_blocks[softmax@nearest" in name for name in failed)


@pytest.mark.usefixtures("few")
def test_a_quantity_that_is_never_judged_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarms._Ends, "count", lambda *_: None)
    assert alarms.searched("rounded.softmax.bfloat16.0")["problems"] == 0
