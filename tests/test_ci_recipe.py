"""The CI recipes for other repositories: valid, the options and inputs they pass exist, and their steps run for real."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from suites.report.schema import identifier
from suites.report.write import as_json
from tests.command import ROOT
from tests.documents import ADAPTERS, CI, SUITES

pytest.importorskip("ruamel.yaml")
from ruamel.yaml import YAML

WORKFLOW = ROOT / ".github" / "workflows" / "conformance.yml"
GITLAB = ROOT / "ci" / "gitlab.yml"
SCRIPTS = [ROOT / "ci" / name for name in ("install.sh", "conformance.sh")]
KERNEL = ADAPTERS.block("python", "# my_numpy_kernel.py").text
KERNEL_NAME = "my_loss_and_gradient"
SOURCE = {"SUITE", "SUITE_REF"}
"""Variables that say what is installed."""


def parsed(text: str) -> Any:
    return YAML(typ="safe").load(text)


def pasted(mark: str) -> Any:
    """The YAML of ci/README.md that has a mark in it."""
    return parsed(CI.block("yaml", mark).text)


CALLED = parsed(WORKFLOW.read_text())
INPUTS = CALLED["on"]["workflow_call"]["inputs"]
JOB = CALLED["jobs"]["conformance"]
TEMPLATE = parsed(GITLAB.read_text())[".softmax-ce-conformance"]


def variables() -> set[str]:
    """The variables that the scripts read."""
    return set(re.findall(r"\$\{?([A-Z]{2,}(?:_[A-Z]+)*)", "".join(script.read_text() for script in SCRIPTS)))


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.github-workflows", WORKFLOW),
        ("vendor.github-workflows", WORKFLOW.with_name("ci.yml")),
        ("vendor.gitlab-ci", GITLAB),
    ],
    ids=["conformance.yml", "ci.yml", "gitlab.yml"],
)
def test_the_recipes_are_valid_by_their_schemas(schema: str, path: Path) -> None:
    assert is_valid(schema, path)


def is_valid(schema: str, path: Path) -> bool:
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    result = subprocess.run(command, text=True, capture_output=True, check=False)
    print(result.stdout)
    return result.returncode == 0


def test_the_options_and_commands_of_the_scripts_exist() -> None:
    script = SCRIPTS[1].read_text()
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "suites/", "--help", "-p", "no:cacheprovider"],
        cwd=ROOT, text=True, capture_output=True, check=True,
    ).stdout  # fmt: skip
    passed = re.findall(r"--[\w-]+", script.split("options=(", 1)[1].split("status=0")[0])
    assert {"--backend", "--implementation", "--claims", "--report", "--isolate"} <= set(passed)
    assert [option for option in passed if not re.search(rf"^  {option}\b", said, flags=re.MULTILINE)] == []
    for command in ("show --markdown", "compare --markdown --fail-on-regression"):
        assert f"reports {command} " in script
        assert f"python -m suites.report {command.split()[0]} " in SUITES.text


def test_every_input_reaches_a_script() -> None:
    """By a variable of the environment, so that no input is pasted into a shell line."""
    read = {name: re.findall(r"inputs\.([\w-]+)", str(JOB)).count(name) for name in INPUTS}
    assert set(read.values()) == {1}, read
    assert set(JOB["env"]) <= variables() | SOURCE
    assert not [step for step in JOB["steps"] if "${{" in str(step.get("run", ""))]
    assert set(TEMPLATE["variables"]) <= variables() | SOURCE
    heads = "".join(script.read_text().split("set -euo", 1)[0] for script in SCRIPTS)
    assert [name for name in variables() if name not in heads and name not in ("GITHUB_STEP_SUMMARY", "BASH_SOURCE")] == []


def test_the_lines_to_paste_are_those_that_are_taken() -> None:
    job = pasted("uses: OWNER")["jobs"]["conformance"]
    assert job["uses"].partition("@")[0].endswith("/" + str(WORKFLOW.relative_to(ROOT)))
    assert set(job["with"]) <= set(INPUTS)
    assert {name for name, given in INPUTS.items() if given.get("required")} <= set(job["with"])
    assert all(json.loads(job["with"][name]) for name in ("backends", "dtypes"))
    project = pasted("extends:")
    assert project["include"][0]["file"] == str(GITLAB.relative_to(ROOT))
    assert project["conformance"]["extends"] in parsed(GITLAB.read_text())
    (matrix,) = project["conformance"]["parallel"]["matrix"]
    assert {*project["conformance"]["variables"], *matrix} <= variables() | SOURCE


def test_the_recipe_without_a_clone_runs(tmp_path: Path) -> None:
    """Its lines, for a kernel of numpy, whose own report is the baseline."""
    text = CI.block("yaml", "runs-on:").text
    workflow = tmp_path / ".github" / "workflows" / "recipe.yml"
    workflow.parent.mkdir(parents=True)
    workflow.write_text(f"on: push\n{text}")
    assert is_valid("vendor.github-workflows", workflow)
    install, *lines = [step["run"] for step in parsed(text)["jobs"]["conformance"]["steps"] if "run" in step]
    assert re.fullmatch(r'pip install "softmax-ce-conformance\[torch\] @ git\+https://github\.com/OWNER/NAME"', install)
    (tmp_path / "my_kernel.py").write_text(KERNEL)
    for line in lines:
        here = line.replace("my_cross_entropy", KERNEL_NAME).replace("--like=torch", "--like=numpy --case=ties/*")
        command = here.replace("BASELINE", "reports").replace("softmax-ce ", f"{sys.executable} -m softmax_ce_conformance ", 1)
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "badge.json").read_text())["message"] == "faithful, reduced"


def test_the_hook_runs(tmp_path: Path) -> None:
    file = tmp_path / ".pre-commit-config.yaml"
    file.write_text(CI.block("yaml", "repo: local").text)
    (hook,) = parsed(file.read_text())["repos"][0]["hooks"]
    assert (hook["language"], hook["pass_filenames"]) == ("system", False)
    assert re.match(hook["files"], "my_kernel.py")
    (tmp_path / "my_kernel.py").write_text(KERNEL)
    program, *words = hook["entry"].replace("my_cross_entropy", KERNEL_NAME).replace("=torch", "=numpy").split()
    assert program == "softmax-ce"
    command = [sys.executable, "-m", "softmax_ce_conformance", *words, "--hazard=ties"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0


def test_both_recipes_run_the_same_scripts() -> None:
    runs = [step["run"] for step in JOB["steps"] if "run" in step]
    address, install, judge = TEMPLATE["before_script"][0], *runs[0].splitlines()[1:], runs[1]
    assert [*TEMPLATE["before_script"], *TEMPLATE["script"]] == [address, install, judge]
    assert (install, judge) == tuple(f"softmax-ce ci {script.stem}" for script in SCRIPTS)
    assert address == runs[0].splitlines()[0].replace("$GITHUB_SERVER_URL/", "")


def evaluated(value: str, given: dict[str, str], matrix: dict[str, str]) -> str:
    """An expression of the workflow, for a job of its matrix."""
    known = {name: str(entry.get("default", "")) for name, entry in INPUTS.items()} | given
    places = {**{f"inputs.{n}": v for n, v in known.items()}, **{f"matrix.{n}": v for n, v in matrix.items()}}
    return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: places[found[1]], value)


def judged(folder: Path, tests: str = "test_loss.py", summarised: bool = True, **given: str) -> tuple[int, str, str]:
    """Runs the step that judges, as a job of the workflow would: exit status, output and job summary."""
    matrix = {"backend": "numpy", "dtypes": "float32"}
    asked = {"implementation": "my_numpy_kernel.py:my_loss_and_gradient", "effort": "quick", "claim": "stable"} | given
    job = {name: evaluated(value, asked, matrix) for name, value in JOB["env"].items()}
    summary = folder / "summary.md"
    summary.unlink(missing_ok=True)
    outside = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder)}
    own = {"GITHUB_STEP_SUMMARY": str(summary) if summarised else "", "PYTEST_ADDOPTS": f"-p no:cacheprovider -k {tests}"}
    (step,) = [step["run"] for step in JOB["steps"] if step.get("name") == "Judge"]
    result = subprocess.run(
        ["bash", "-e", "-c", step], cwd=folder, env=outside | own | job, text=True, capture_output=True, check=False
    )
    return result.returncode, result.stdout + result.stderr, summary.read_text() if summary.exists() else ""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with a kernel."""
    (tmp_path / "my_numpy_kernel.py").write_text(KERNEL)
    return tmp_path


def test_a_job_judges_summarises_and_compares(checkout: Path) -> None:
    status, output, summary = judged(checkout)
    assert status == 0, output
    assert "narrowed by --dtype=float32, --claim=stable, --effort=quick" in summary
    assert "| `my_loss_and_gradient` | float32 | loss | stable | stable |" in summary
    report = checkout / "reports" / f"{KERNEL_NAME}-float32" / f"report-{KERNEL_NAME}.json"
    assert {f"report-{KERNEL_NAME}.md", f"report-{KERNEL_NAME}.html", "junit.xml"} <= {
        path.name for path in report.parent.iterdir()
    }

    baselines = checkout / "conformance"
    status, output, summary = judged(checkout, baselines="conformance")
    assert (status, "There is no conformance/my_loss_and_gradient-float32.json to compare with" in summary) == (1, True), output
    baselines.mkdir()
    stored = baselines / "my_loss_and_gradient-float32.json"
    stored.write_text(report.read_text())
    status, output, summary = judged(checkout, baselines="conformance")
    assert (status, "no regressions against 1" in summary) == (0, True), output

    better = json.loads(report.read_text())
    for result in better["results"]:
        result["reached"] = "correct" if result["problems"] else result["reached"]
    stored.write_text(as_json(better | {"identifier": identifier(better)}))
    status, output, summary = judged(checkout, baselines="conformance")
    assert (status, "reaches stable, was correct" in summary) == (1, True), output


def test_a_job_fails_with_its_tests_unless_the_stored_report_is_no_better(checkout: Path) -> None:
    status, output, summary = judged(checkout, claim="faithful")
    assert (status, "**FAILS" in summary, "below the claim" in summary) == (1, True, True)
    assert re.search(r"^repro  : softmax-ce suite --backend=numpy ", output, flags=re.MULTILINE)
    (checkout / "stored").mkdir()
    report = checkout / "reports" / f"{KERNEL_NAME}-float32" / f"report-{KERNEL_NAME}.json"
    (checkout / "stored" / "my_loss_and_gradient-float32.json").write_text(report.read_text())
    assert judged(checkout, claim="faithful", baselines="stored")[0] == 0


def test_nothing_of_an_earlier_run_is_told_and_no_link_is_written_through(checkout: Path) -> None:
    (mine := checkout / "mine").write_text("mine")
    (folder := checkout / "reports" / f"{KERNEL_NAME}-float32").mkdir(parents=True)
    (folder / "summary.md").write_text("**CONFORMS")
    (folder / "junit.xml").symlink_to(mine)
    status, output, _ = judged(checkout, summarised=False)
    assert status == 0, output
    assert (folder / "summary.md").read_text().startswith("# Softmax cross-entropy conformance")
    assert mine.read_text() == "mine"


def test_the_first_line_says_what_was_given(checkout: Path) -> None:
    """So that a reader sees a variable whose name is mistyped; control characters are escaped."""
    _, output, _ = judged(checkout, claim="a\n::error::b")
    first = output.splitlines()[0]
    assert first.startswith("conformance.sh: given: BACKEND='numpy' IMPLEMENTATION='my_numpy_kernel.py:my_loss_and_gradient' ")
    assert r"CLAIM=$'a\n::error::b'" in first
    assert "BASELINES" not in first
    script = SCRIPTS[1].read_text()
    (listed,) = re.findall(r"for variable in ([A-Z ]+);", script)
    assert set(listed.split()) == set(re.findall(r"\$\{([A-Z]{2,}):-", script))


def test_a_job_says_how_to_accept_its_report(checkout: Path) -> None:
    status, output, summary = judged(checkout, baselines="conformance")
    (command,) = re.findall(r"store its report there: (.*)", output)
    assert (status, command in summary) == (1, True)
    subprocess.run(["bash", "-c", command], cwd=checkout, check=True)
    status, output, summary = judged(checkout, baselines="conformance")
    passes = "The gate passes: nothing is worse than in conformance/my_loss_and_gradient-float32.json."
    assert (status, output.splitlines()[-1], summary.splitlines()[-1]) == (0, passes, passes)

    (checkout / "conformance" / "my_loss_and_gradient-float32.json").write_text("{")
    status, output, summary = judged(checkout, baselines="conformance")
    assert (status, output.splitlines()[-1][:46]) == (2, "The gate fails: there is nothing to compare wi")
    assert "error: conformance/my_loss_and_gradient-float32.json: not JSON, or cut off" in summary


def test_a_run_leaves_no_files_of_an_earlier_one(checkout: Path) -> None:
    """Its own summary begins anew; that of the job, which others write to, is added to."""
    (report := checkout / "reports" / "again").mkdir(parents=True)
    for name in ("summary.md", "junit.xml", "report.md"):
        (report / name).write_text("of an earlier run")
    outside = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NAME": "again", "CLAIM": "good"}
    assert (
        subprocess.run(["bash", str(SCRIPTS[1])], cwd=checkout, env=outside, capture_output=True, check=False).returncode == 4
    )
    assert list(report.iterdir()) == []


def test_a_mistake_fails_the_job_whatever_is_stored(checkout: Path) -> None:
    status, output, summary = judged(checkout, claim="good", baselines="conformance")
    assert (status, summary) == (4, "")
    assert "grade 'good' is not known" in output


@pytest.mark.parametrize(
    "given",
    [
        *({"NAME": name} for name in ("../esc", "a/b", "/tmp/esc", "..", ".", "-x", "a b", "a\nb", "$(id)", "é", "a" * 101)),
        *({"IMPLEMENTATION": f"kernel.py:{name}"} for name in ("../esc", "..", "-x", "a b")),
        *({"BACKEND": name} for name in ("..", "-x", "a b", "folder/...")),
        *({"DTYPES": dtypes} for dtypes in ("../esc", "float16, float32")),
    ],
    ids=str,
)
def test_a_name_that_is_no_file_name_is_refused_before_anything_is_written(tmp_path: Path, given: dict[str, str]) -> None:
    """Of a backend's path and of an implementation's place the last part is in the name."""
    (folder := tmp_path / "checkout").mkdir()
    result = subprocess.run(
        ["bash", str(SCRIPTS[1])],
        cwd=folder,
        env={"PATH": os.environ["PATH"]} | given,
        text=True,
        capture_output=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (4, "")
    assert "allowed: a file name" in result.stderr
    assert list(tmp_path.rglob("*")) == [folder]


def test_the_name_of_a_kernel_is_a_file_name(checkout: Path) -> None:
    status, output, _ = judged(checkout, effort="good")
    assert (status, "effort" in output) == (4, True), output
