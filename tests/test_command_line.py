"""Tests of the command line: usage errors in one line, selection, REDUCED, repeatability, and what is not imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.command import ROOT, run_here, run_suites

USAGE_ERROR = 4


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--backend=tensorflaw"], "backend 'tensorflaw' is not known; there is: cce, fla, jax, "),
        (["--backend=nowhere.py:Adapter"], "there is no file 'nowhere.py'"),
        (["--device=cuda"], "device 'cuda' is not there for backend 'numpy'; there is: cpu"),
        (["--mode=compiled"], "--mode: 'compiled' is not known; allowed: eager"),
        (["--dtype=float8"], "--dtype: 'float8' is not known; allowed: float64, float32, float16, bfloat16"),
        (["--dtype=bfloat16", "--operation=naive"], "no chosen operation takes bfloat16; they take: float16, float32, float64"),
        (["--operation=nothing*"], "nothing of backend 'numpy' matches 'nothing*'; there is: absorption_free"),
        (["--hazard=wet"], "--hazard: 'wet' is not known; allowed: moderate"),
        (["--case=absorption/nowhere"], "case 'absorption/nowhere' is not known; there is: absorption/"),
        (["--case={"], "--case: not a case as failures print it"),
        (["--case=z:AAAA"], "given: z:AAAA; allowed: an id, a name, a name with *, {JSON}, z:COMPRESSED or a file.json"),
        (["--case=nowhere.json"], "(No such file or directory); given: nowhere.json; allowed: an id, a name"),
        (['--case={"tset":"test_loss"}'], "unknown keys ['tset']; allowed: dtype, logits, target, "),
        (
            ['--case={"test":"test_losses","dtype":"float32","logits":[[0.0]],"target":[0]}'],
            "--case: test 'test_losses' is not known; allowed: test_a_mean_of_many_rows, test_absorption, ",
        ),
        (
            ["--claim=good"],
            "grade 'good' is not known; allowed: none, finite, stable, componentwise, accurate, faithful, correct",
        ),
        (["--claims=nowhere.toml"], "claims file nowhere.toml: No such file or directory"),
        (["--report=README.md"], "--report: 'README.md': File exists; allowed: a directory, which is made if it is not there"),
        (["--effort=heroic"], "--effort: 'heroic' is not known; allowed: quick, standard, thorough"),
        (["--implementation=nowhere.py:f"], "--implementation: there is no file 'nowhere.py'"),
        (["--implementation=adapters.layout:nothing"], "adapters.layout has no 'nothing'"),
        (["--implementation=kernel"], "allowed: path/to/file.py:name or package.module:name"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_options_are_one_line(options: list[str], says: str) -> None:
    status, output = run_here(*options)
    assert status == USAGE_ERROR
    lines = [line for line in output.splitlines() if line.strip()]
    assert lines[0].startswith("ERROR: ")
    assert says in lines[0]
    assert len(lines) == 1


def test_plugins_that_spread_a_run_over_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest-forked once wrote a report without results: they were in the processes that are gone."""
    (tmp_path / "spreads.py").write_text(
        'def pytest_addoption(parser):\n    parser.addoption("--forked", action="store_true")\n'
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = run_suites("-p", "spreads", "--forked")
    assert result.returncode == USAGE_ERROR
    assert "--forked: what is measured there is lost" in result.stdout
    assert "--isolate makes the calls in another process" in result.stdout


def test_a_missing_framework_says_how_to_get_it() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import pytest; sys.exit(pytest.main(['suites/', '--backend=torch', '-q', '-p', 'no:cacheprovider']))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=False)
    assert result.returncode == USAGE_ERROR
    assert "backend 'torch' needs the package 'torch'" in result.stderr
    assert "pip install -e '.[torch]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_collecting_the_default_backend_imports_no_framework() -> None:
    code = (
        "import sys, pytest\n"
        "status = pytest.main(['suites/', '--collect-only', '-q', '-p', 'no:cacheprovider'])\n"
        "loaded = {'torch', 'jax', 'tensorflow', 'mpmath'} & set(sys.modules)\n"
        "sys.exit(f'imported {loaded}' if loaded else status)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_narrowed_run_is_reduced_and_repeatable(tmp_path: Path) -> None:
    narrow = ["--operation=scipy_log_softmax", "--dtype=float16", "--effort=quick", "--hazard=absorption,moderate"]
    written = []
    for folder in ("first", "second"):
        result = run_suites(*narrow, f"--report={tmp_path / folder}")
        assert result.returncode == 0, result.stdout
        assert "\nREDUCED: " in result.stdout
        assert "narrowed by --dtype=float16, " in result.stdout.splitlines()[-1]
        assert "CONFORMS" not in result.stdout
        written.append({path.name: path.read_bytes() for path in (tmp_path / folder).glob("report*")})
    assert written[0] == written[1]
    assert set(written[0]) == {"report.json", "report.md", "report.html"}
    assert json.loads(written[0]["report.json"])["verdict"] == "REDUCED"


def test_every_option_that_narrows_a_run_reduces_it(tmp_path: Path) -> None:
    narrow = [
        "--dtype=float32",
        "--operation=scipy_log_softmax",
        "--hazard=absorption",
        "--case=absorption/gap-20",
        "--claim=stable",
        "--effort=quick",
    ]
    status, _ = run_here(*narrow, "-k", "test_case", f"--report={tmp_path}")
    assert status == 0
    assert json.loads((tmp_path / "report.json").read_text())["run"]["reduced_by"] == [*narrow, "a selection of tests"]


def test_junit_xml_carries_grade_and_worst_error(tmp_path: Path) -> None:
    options = [
        "--operation=scipy_log_softmax",
        "--dtype=float32",
        "--case=absorption/gap-20",
        f"--junitxml={tmp_path / 'j.xml'}",
    ]
    assert run_suites(*options).returncode == 0
    cases = ElementTree.parse(tmp_path / "j.xml").iter("testcase")
    (loss,) = [case for case in cases if str(case.get("name")).endswith("scipy_log_softmax-loss]")]
    found = {entry.get("name"): entry.get("value") for entry in loss.iter("property")}
    assert found["grade"] == "stable"
    assert float(str(found["worst_ulps"])) > 2**20


def test_another_seed_generates_other_problems(tmp_path: Path) -> None:
    narrow = ["--operation=scipy_log_softmax", "--dtype=float64,float32,float16", "-k", "test_loss"]
    worst = []
    for seed in ("0", "1"):
        run_suites(*narrow, f"--hypothesis-seed={seed}", f"--report={tmp_path / seed}")
        worst.append(json.loads((tmp_path / seed / "report.json").read_text())["results"])
    assert worst[0] != worst[1]


def test_a_case_runs_alone() -> None:
    result = run_suites("--case=absorption/gap-20[float32]", "--operation=absorption_free")
    assert result.returncode == 0, result.stdout
    assert "12 passed" in result.stdout


def test_a_deviation_is_named_and_a_stale_one_fails(tmp_path: Path) -> None:
    claims = tmp_path / "claims.toml"
    claims.write_text(
        '[[claim]]\noperations = ["*"]\ndtypes = ["float32"]\ngrades = { loss = "accurate" }\n'
        '[[deviation]]\nid = "tail"\noperations = ["*"]\ndtypes = ["float32"]\nquantities = ["loss"]\n'
        'cases = ["absorption/gap-20-two-classes"]\nmisses = "accurate"\nreason = "the tail is lost"\n'
    )
    options = ["--case=absorption/gap-20-two-classes", f"--claims={claims}", "-k", "loss-loss or free-loss or softmax-loss"]
    deviating = run_suites(*options, "--operation=scipy_log_softmax")
    assert deviating.returncode == 0, deviating.stdout
    assert "tail (1 case): the tail is lost" in deviating.stdout
    stale = run_suites(*options, "--operation=absorption_free")
    assert stale.returncode == 1
    assert "stale deviation 'tail': absorption_free reaches 'correct'" in stale.stdout
