"""The suite on trial: every planted kernel is rejected by the test that is about its mistake, and the right one by none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from suites.hazards import HAZARDS
from tests.command import ROOT, run_suites
from tests.planted import alarms
from tests.planted.matrix import DATA, PAGE, is_rejected, judged, page
from tests.planted.mutants import mutants
from tests.planted.parts import results, work_through
from tests.planted.trial import FOLDER, Outcome, judge, planted_kernels

KERNELS = planted_kernels()
FILES = sorted({place.partition(":")[0] for place in KERNELS})


@pytest.fixture(scope="module", params=FILES)
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What the suite said of the planted kernels of one file, in a process of its own."""
    output = tmp_path_factory.mktemp("planted") / "outcomes.json"
    places = [place for place in KERNELS if place.startswith(f"{request.param}:")]
    subprocess.run([sys.executable, "-m", "tests.planted.trial", str(output), *places], cwd=ROOT, check=True, timeout=600)
    found: dict[str, Outcome] = json.loads(output.read_text())
    return found


def test_planted_kernels_are_rejected_by_the_test_that_is_theirs(outcomes: dict[str, Outcome]) -> None:
    survived = [f"{place}: {KERNELS[place].defect.story}" for place, outcome in outcomes.items() if not outcome["failed"]]
    assert not survived
    unsaid = [
        f"{place}: {outcome['failed']}"
        for place, outcome in outcomes.items()
        if not all("what   : " in text and KERNELS[place].defect.says in text for text in outcome["failed"].values())
    ]
    assert not unsaid


@pytest.mark.parametrize(
    "options", [("--dtype=float32",), ("--dtype=float16,bfloat16",), ("--dtype=float64", "--claim=stable")]
)
def test_the_right_kernel_passes_whatever_it_is_held_to(options: tuple[str, ...]) -> None:
    """Held to `accurate` where float64 is wide enough for that; its mean overflows in float64, which the cases leave out."""
    place = f"--implementation={FOLDER / 'kernel.py'}:right"
    result = run_suites("--backend=torch", place, "--effort=quick", "-k", "not test_case", *options)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", ["two_pass", "online", "tiled", "pairwise", "compensated"])
def test_a_stable_kernel_is_not_rejected_however_it_sums(name: str) -> None:
    """But for `overflow`, where a gap beyond the largest number is infinite: there they are wrong, and are told so."""
    hazards = ",".join(hazard for hazard in HAZARDS if hazard != "overflow")
    place = f"--implementation={FOLDER / 'honest.py'}:{name}"
    options = ("--dtype=float32,bfloat16", "--claim=stable", "--effort=quick", f"--hazard={hazards}")
    result = run_suites("--backend=torch", place, *options)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(("mode", "dtype"), [("nearest", "float64,float32"), ("neighbour", "float64,bfloat16")])
def test_the_right_values_are_not_rejected(mode: str, dtype: str) -> None:
    place = f"--backend={FOLDER / 'rounded.py'}:BothWays"
    result = run_suites(place, f"--claims={FOLDER / 'rounded.toml'}", f"--mode={mode}", f"--dtype={dtype}", "--effort=quick")
    assert result.returncode == 0, result.stdout


def test_there_are_enough_and_each_is_told_apart() -> None:
    assert len(KERNELS) >= 80
    stories = [kernel.defect.story for kernel in KERNELS.values()]
    assert len(set(stories)) == len(stories)
    assert {Path(file).stem for file in FILES} >= {"masks", "half", "absorption", "offsets", "derivatives", "conventions"}


def test_the_readme_counts_them() -> None:
    readme = (ROOT / "README.md").read_text()
    assert f"{len(KERNELS)} deliberately wrong kernels" in readme
    assert f"{len(mutants())} changes\nof our own" in readme


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
    assert names[0] == "stable.test_absorption.float32.0"
    names = [f"rounded.cross_entropy_indices.float32.{seed}" for seed in range(10)]
    assert set(names) < set(alarms.parts())
    ran: alarms.Ran = {"passed": 25, "skipped": 3, "failed": [], "seconds": 2.0}
    text = alarms.page({names[0]: ran, names[1]: ran | {"failed": ["suites/test_loss.py::test_loss[x]"]}})
    assert (
        f"\n2 of {len(list(alarms.parts()))} runs are done, those of the table and no others. Of 51 tests in 2 runs, 1 failed"
        in text
    )
    assert "| rounded | cross_entropy_indices | float32 | 0, 1 | 50 | 6 | 1 | 4 |" in text
