"""The README, checked against the code: its commands, options, defaults, grades and layout."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from adapters.isolation import HANG, MOST_SPENT
from adapters.limits import LEAST_MAX_CLASSES, Limit
from adapters.loading import ENTRY_POINTS, backend_names, load_adapter
from adapters.operation import modes_of
from reference.bounds.blindness import ASSERT_CLOSE, blind_from
from reference.bounds.tolerances import tolerance
from reference.evaluation import evaluate
from reference.formats import FLOAT32, FORMATS
from reference.grades import ACCURATE_ULPS, Grade
from reference.problem import Problem
from reference.quantity import Quantity
from suites.inputs.cases import cases_matching
from suites.judging.claims import CLAIMS_FOLDER, Setting, load_claims
from suites.judging.effort import EFFORTS
from suites.report.__main__ import parser
from suites.report.write import FILES
from tests.command import ROOT, run_suites

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def table_after(heading: str) -> list[list[str]]:
    """Rows of the first table after a heading, cells without backticks."""
    section = README.split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    rows = [line.removeprefix("|").removesuffix("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().replace("`", "") for cell in row] for row in rows[2:]]


def test_ci_installs_by_the_readmes_command() -> None:
    script = (ROOT / "ci" / "run.sh").read_text()
    main_job, tests = blocks("sh")[0].strip(), blocks("sh")[1].strip()
    install, run_tests = tests.rsplit(" && ", 1)
    assert install in script
    assert run_tests in script
    assert main_job.rsplit(" && ", 1)[0].replace("[torch]", "[test,jax,tensorflow,torch]") == install
    assert '.venv/bin/pytest suites/ --backend="$backend" --mode="$mode" --report="reports/$backend-$mode"' in script
    halves = [line.removeprefix("tests ") for line in script.splitlines() if line.startswith("tests ")]
    assert halves == ["not planted", "planted"]


def test_the_compiled_tier_runs_as_shown(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("numba")
    code = next(block for block in blocks("python") if "compare_batch(" in block)
    exec(code, {})
    assert capsys.readouterr().out.strip() == code.rsplit("# ", 1)[1].strip()


def test_the_costs_are_those_of_the_benchmark() -> None:
    written = (ROOT / "ci" / "benchmark.md").read_text().splitlines()
    quoted = README.split("## What certainty costs", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in quoted.splitlines() if line.startswith("|")]
    assert len(rows) > 5
    assert [row for row in rows if row not in written] == []


def test_ci_runs_every_backend_in_every_mode() -> None:
    """A mode that CI does not run has claims that nothing holds."""
    script = (ROOT / "ci" / "run.sh").read_text()
    steps = script.split("<<'RUNS'\n", 1)[1].split("\nRUNS", 1)[0].splitlines()
    listed = [step.split()[1:] for step in steps if step.startswith("suites ")]
    others = {row[1].partition("--backend=")[2] for row in table_after("Other kernels")}
    in_ci = [backend for backend in backend_names() if backend not in others]
    assert sorted({backend for backend, _ in listed}) == in_ci
    for backend in in_ci:
        if backend == "numpy" or importlib.util.find_spec(backend):
            modes = {m for name, mode in listed if name == backend for m in mode.split(",")}
            assert modes == set(modes_of(load_adapter(backend, "cpu").operations()))


def test_the_other_kernels_can_be_installed_pinned_and_judged() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pinned = {line.partition("==")[0] for line in (ROOT / "ci" / "constraints.txt").read_text().splitlines()}
    for _, command, claims, _ in table_after("Other kernels"):
        backend = command.partition("--backend=")[2]
        assert claims == f"ci/claims/{backend}.toml"
        assert (ROOT / claims).exists()
        assert {re.split(r"[\[>]", package)[0] for package in extras[backend]} <= pinned


def test_options_and_defaults_are_those_of_the_help() -> None:
    text = subprocess.run(
        [sys.executable, "-m", "pytest", "suites/", "--help", "-p", "no:cacheprovider"],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    ours = text.split("softmax cross-entropy conformance:", 1)[1].split("\n\n", 1)[0]
    offered = re.findall(r"^  (--[\w-]+)", ours, flags=re.MULTILINE)
    rows = table_after("Options")
    assert [row[0] for row in rows] == offered
    helps = dict(zip(offered, re.split(r"^  --[\w-]+", ours, flags=re.MULTILINE)[1:], strict=True))
    for option, default, _ in rows:
        said = " ".join(helps[option].split())
        assert (f"(default: {default}" in said) if default else ("default" not in said)


def test_formats_efforts_and_grades_are_the_codes() -> None:
    rows = {row[0]: row[2] for row in table_after("Options")}
    assert all(name in rows["--dtype"] for name in FORMATS)
    counts = re.search(r"(\d+), (\d+) or (\d+) generated", rows["--effort"])
    assert counts
    assert [int(n) for n in counts.groups()] == [effort.examples for effort in EFFORTS.values()]
    assert [row[0] for row in table_after("The contract: grades")] == [grade.label for grade in list(Grade)[1:]]
    assert f"at most {ACCURATE_ULPS:g} ulp" in README


def test_the_report_commands_are_those_there_are() -> None:
    (block,) = [block for block in blocks("sh") if "suites.report" in block]
    given = [parser().parse_args(line.removeprefix("python -m suites.report ").split()) for line in block.strip().splitlines()]
    commands = {action.dest: action for action in parser()._actions}["command"].choices
    assert list(dict.fromkeys(options.command for options in given)) == list(commands or ())
    assert [options.command for options in given if getattr(options, "fail_on_regression", False)] == ["compare"]
    (row,) = [row for row in table_after("Options") if row[0] == "--report"]
    assert all(name in row[2] for name in FILES)


def test_the_layout_exists() -> None:
    for folder, _ in table_after("Layout"):
        assert (ROOT / folder).is_dir()
    for path in re.findall(r"`((?:reference|suites|ci|adapters)/[a-z_./]+)`", README):
        assert (ROOT / path).exists(), path


def test_the_opening_figures_are_the_references() -> None:
    problem = Problem([[20.0, 0.0]], [0], FLOAT32)
    values = evaluate(problem, [Quantity.LOSS])[Quantity.LOSS].values.approximate()
    assert f"{float(values[0]):.16e}".replace("e-09", "") in README


def test_the_opening_command_prints_what_it_says() -> None:
    pytest.importorskip("torch")
    command, printed = blocks("console")[0].strip().split("\n", 1)
    code = command.removeprefix('$ python -c "').removesuffix('"')
    result = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert result.stdout.strip() == printed.strip()


def test_the_printed_reproducer_is_of_a_published_deviation_and_its_expected_value_the_references() -> None:
    case = cases_matching("vocabulary/128256-maximum-first[float32]")[0]
    owed = evaluate(case.problem, [Quantity.LOSS])[Quantity.LOSS].values
    assert f"loss[0]: expected {float(owed.rounded(FLOAT32)[0][0]).hex()} ({float(owed.approximate()[0])!r:.17}" in README
    claims = load_claims(CLAIMS_FOLDER / "torch.toml", Setting("2.13.0"))
    (name,) = re.findall(r"reproducers/([\w-]+)\.py\n", README)
    assert any(deviation.id == name and deviation.names(case) for deviation in claims.deviations)


def test_the_tolerances_are_what_the_example_gives() -> None:
    scope: dict[str, Any] = {}
    exec(next(block for block in blocks("python") if "tolerance(" in block), scope)
    rows = table_after("Tolerances for your own tests")
    assert [(scope["rtol"], scope["atol"])] == [tuple(map(float, row[1].split(", "))) for row in rows if row[0] == "loss"]
    for name, stable, blind_stable, accurate, blind_accurate in rows:
        for grade, pair, gap in ((Grade.STABLE, stable, blind_stable), (Grade.ACCURATE, accurate, blind_accurate)):
            found = tolerance(Quantity(name), grade, scope["float32"], scope["domain"])
            assert f"{found.rtol:g}, {found.atol:g}" == pair
            assert f"{blind_from(found, Quantity(name)):.1f}" == gap
    assert f"{blind_from(ASSERT_CLOSE['float32']):.1f} and {blind_from(ASSERT_CLOSE['float64']):.1f} on" in README


def example(folder: Path, name: str) -> str:
    """Writes the example of this file name into a folder; the place of the last thing that it defines."""
    (block,) = [block for block in blocks("python") if block.startswith(f"# {name}\n")]
    (folder / name).write_text(block)
    defined = re.findall(r"^(?:def|class) (\w+)", block, flags=re.MULTILINE)
    return f"{name}:{defined[-1]}"


def test_the_kernel_example_runs(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    place, options = example(tmp_path, "my_kernel.py"), blocks("sh")[2].split()[2:]
    assert f"--implementation={place}" in options
    result = run_suites(*options, "--operation=my_cross_entropy", "--dtype=float32", "-k", "test_loss", cwd=tmp_path)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("my_numpy_kernel.py", "numpy"),
        ("my_jax_kernel.py", "jax"),
        ("my_tensorflow_kernel.py", "tensorflow"),
        ("my_fused_kernel.py", "torch"),
        ("my_backend.py", ""),
    ],
)
def test_the_other_examples_run(name: str, backend: str, tmp_path: Path) -> None:
    if backend not in ("", "numpy"):
        pytest.importorskip(backend)
    place = example(tmp_path, name)
    judged = [f"--backend={backend}", f"--implementation={place}", "--dtype=float32"] if backend else [f"--backend={place}"]
    tests = "test_loss.py" if backend == "jax" else "test_loss or test_gradient or test_large_vocabulary"
    result = run_suites(*judged, "--claim=stable", "--effort=quick", "-k", tests, cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout
    assert ("declared limits, not asked" in result.stdout) == (name == "my_fused_kernel.py")


def test_limits_and_isolation_are_as_the_code_has_them() -> None:
    keys = [field.name for field in fields(Limit) if field.name != "reason"]
    assert [row[0] for row in table_after("Judge your own kernel")] == keys
    assert f"up to it, at least {LEAST_MAX_CLASSES} " in README
    assert f"{MOST_SPENT // HANG} hangs or {MOST_SPENT} crashes" in README
    assert f"of the group `{ENTRY_POINTS}`" in " ".join(README.split())
