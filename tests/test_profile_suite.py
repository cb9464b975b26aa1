"""The profile of a run names stages that there are, and its shares add up."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ci.profile_suite import REST, STAGES, Call, joined, stage_of, table

ROOT = Path(__file__).parent.parent
OWN = [call for stage in STAGES for call in stage.calls if call[0].startswith(("suites/", "adapters/", "reference/"))]


@pytest.mark.parametrize(("place", "function"), OWN)
def test_a_stage_names_what_there_is(place: str, function: str) -> None:
    path = ROOT / place
    assert path.exists()
    if function:
        assert re.search(rf"^ *def {function}\(", path.read_text(), flags=re.MULTILINE)


def test_every_stage_but_those_of_libraries_has_a_function_of_this_project() -> None:
    assert {stage.name for stage in STAGES if not any(call in OWN for call in stage.calls)} == {
        "import",
        "compilation",
        "collection",
    }


@pytest.mark.parametrize(
    ("stack", "name"),
    [
        ([], REST),
        ([("reference/evaluation.py", "evaluate"), ("reference/exact/softmax.py", "entry")], "oracle"),
        ([("reference/bounds/entrywise.py", "stable_bound"), ("reference/evaluation.py", "evaluate")], "bounds"),
        ([("suites/judging/search.py", "_fail"), ("adapters/adapter.py", "observe")], "shrinking"),
        ([("adapters/adapter.py", "observe"), ("jax/_src/interpreters/pxla.py", "compile")], "compilation"),
        ([("adapters/adapter.py", "operations")], REST),
    ],
)
def test_a_moment_belongs_to_the_first_stage_of_the_table(stack: list[Call], name: str) -> None:
    assert stage_of(stack) == name


def test_a_table_takes_the_place_of_that_of_its_command() -> None:
    one, two = (table(f"pytest suites/ --dtype={name}", Counter(oracle=3.0, grades=1.0), "x") for name in ("a", "b"))
    again = table("pytest suites/ --dtype=a", Counter(oracle=1.0), "x")
    page = joined(joined(joined("", two), one), again)
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        "## `pytest suites/ --dtype=a`",
        "## `pytest suites/ --dtype=b`",
    ]
    assert again in page
    assert two in page
    assert one not in page
    assert "| oracle | what is expected | 3.0 | 75% |" in two


def test_a_run_is_profiled(tmp_path: Path) -> None:
    page = tmp_path / "profile.md"
    options = ["--backend=numpy", "--dtype=float32", "--operation=scipy_log_softmax", "--case=ties/*", f"--write={page}"]
    ran = subprocess.run([sys.executable, "ci/profile_suite.py", *options], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = re.findall(r"^\| (?!stage)([\w ]+) \| .* \| ([\d.]+) \| (\d+)% \|$", page.read_text(), flags=re.MULTILINE)
    assert [name for name, _, _ in rows] == [*(stage.name for stage in STAGES), REST]
    total = sum(float(seconds) for _, seconds, _ in rows)
    assert total > 0.5
    assert sum(int(share) for _, _, share in rows) == pytest.approx(100, abs=len(rows) / 2)
    assert f"{total:.0f} seconds" in page.read_text()
