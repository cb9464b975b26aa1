"""The documents, checked against the code: their commands, code blocks, options, tables and links."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import _hypothesis_pytestplugin
import pytest
import xdist.plugin
from _pytest.config import get_config
from softmax_ce_conformance.forms import FORMS as KERNEL_FORMS
from softmax_ce_conformance.run import ANSWERED_NOTHING, ENDED, TIME_UP, USAGE

from adapters.isolation import HANG, MOST_SPENT
from adapters.limits import LEAST_MAX_CLASSES, Limit
from adapters.loading import ENTRY_POINTS, backend_names, load_adapter
from adapters.operation import modes_of
from reference.bounds.blindness import ASSERT_CLOSE, blind_from
from reference.bounds.tolerances import tolerance
from reference.evaluation import evaluate
from reference.formats import FLOAT32, FORMATS, format_named
from reference.grades import ACCURATE_ULPS, Grade, grade_named
from reference.problem import Problem
from reference.quantity import Quantity
from suites import conftest
from suites.inputs.cases import cases_matching, problem_from
from suites.inputs.hazards import HAZARDS
from suites.judging.claims import Setting
from suites.judging.claims_file import CLAIMS_FOLDER, load_claims
from suites.judging.effort import EFFORTS
from suites.report import __main__ as report_command
from suites.report.write import FORMS
from suites.sweep import __main__ as sweep_command
from tests.command import ROOT, run_here
from tests.documents import ADAPTERS, CI, DOCUMENTS, README, RECIPES, REFERENCE, SUITES, Block

# Those of findings that are ready to file are checked in tests/test_to_file.py, the examples in tests/test_examples.py.
ELSEWHERE = ("/to-file/", "adapters/EXAMPLES.md")
BLOCKS = [block for document in DOCUMENTS if not any(n in document.name for n in ELSEWHERE) for block in document.blocks]
COMMANDS = [(document.name, command) for document in DOCUMENTS for command in document.commands]

OPENING = README.block("console", "$ python -c ")
KERNEL = README.block("python", "# my_kernel.py")
BROKEN_LINE = README.block("diff", "log_sum")
FAILURE = README.block("text", "what   : ")
REPRODUCER = SUITES.block("text", "$ python reports/")
PROBED = ADAPTERS.block("text", "softmax-ce: probe: ")
PLUGIN = SUITES.block("python", "# test_my_kernel.py")
COMPILED = REFERENCE.block("python", "compare_batch(")

EXAMPLES = {
    "my_kernel.py": "torch",
    "my_numpy_kernel.py": "numpy",
    "my_jax_kernel.py": "jax",
    "my_tensorflow_kernel.py": "tensorflow",
    "my_fused_kernel.py": "torch",
    "my_layer_kernel.py": "torch",
    "my_backend.py": "numpy",
}
"""Kernels and backends of the documents, and what each needs; a test runs them all by their commands."""


# Every block and command is checked.


def check_python(block: Block, _: Path) -> None:
    """A file of its own is one that is run; anything else runs, and prints what its comments say."""
    if name := re.match(r"# (\w+\.py)\n", block.text):
        assert name[1] in EXAMPLES or block == PLUGIN
        return
    if block == COMPILED:
        pytest.importorskip("numba")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(block.text, {})
    assert printed.getvalue().splitlines() == re.findall(r"^print\(.*\)  # (.*)$", block.text, flags=re.MULTILINE)


def check_shell(block: Block, _: Path) -> None:
    """Each command is one that there is."""
    for line in block.text.splitlines():
        for command in line.split(" && "):
            check_command(command)


def check_toml(block: Block, folder: Path) -> None:
    """Stored cases, entry points of backends, or a claims file."""
    table = tomllib.loads(block.text)
    if "case" in table:
        assert [problem_from(case, format_named(name, FORMATS)) for case in table.pop("case") for name in case["dtypes"]]
        assert not table
    elif "project" in table:
        assert list(table["project"]["entry-points"]) == [ENTRY_POINTS]
    else:
        (folder / "claims.toml").write_text(block.text)
        load_claims(folder / "claims.toml", Setting("2.13.0"))


def check_is_one_of(*known: Block) -> Callable[[Block, Path], None]:
    """Blocks that a test of their own checks."""

    def check(block: Block, _: Path) -> None:
        assert block in known, f"{block.place}: no test knows this block"

    return check


CHECKS: dict[str, Callable[[Block, Path], None]] = {
    "console": check_is_one_of(OPENING),
    "diff": check_is_one_of(BROKEN_LINE),
    "python": check_python,
    "sh": check_shell,
    "text": check_is_one_of(FAILURE, REPRODUCER, PROBED),  # tests/test_probe.py
    "toml": check_toml,
    "yaml": check_is_one_of(*(CI.block("yaml", mark) for mark in RECIPES)),  # tests/test_ci_recipe.py
}
"""How the blocks of each language are checked; a block of any other language fails."""


def check_block(block: Block, folder: Path) -> None:
    """Fails unless the block is of a kind that is known, and true."""
    assert block.language in CHECKS, f"{block.place}: no check for this kind of block"
    CHECKS[block.language](block, folder)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_every_block_is_checked(block: Block, tmp_path: Path) -> None:
    check_block(block, tmp_path)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("", "pytest suites/"),
        ("ruby", "puts 1"),
        ("console", "$ python -c 'print(1)'\n2"),
        ("text", "what   : nothing"),
        ("yaml", "uses: nothing"),
        ("python", "# my_other_kernel.py\n"),
        ("python", "print(1)  # 2\n"),
        ("python", "print(1)\n"),
        ("python", "assert False\n"),
        ("toml", '[[limit]]\noperations = ["f"]\nreason = "it"\nno_key = 1\n'),
        ("toml", '[[case]]\ndtypes = ["float32"]\nlogits = [["0x0p+0"]]\ntarget = [1]\n'),
        ("sh", "make all"),
        ("sh", "pytest suites/ --no-option"),
        ("sh", "pytest suites/ --dtype=float8"),
        ("sh", "pytest suites/ --claim=good"),
        ("sh", "pytest suites/ --backend=my_other_backend.py:Other"),
        ("sh", "pytest no_folder/"),
        ("sh", "python -m no.module"),
        ("sh", "python -m suites.report no-command"),
        ("sh", "python -m suites.sweep --no-option"),
        ("sh", "python -m tests.planted.mutants --no-option"),
        ("sh", "python ci/no_script.py"),
        ("sh", "bash no_script.sh"),
        ("sh", "pip install -e '.[no_extra]'"),
        ("sh", "pip install -e . -c no_constraints.txt"),
        ("sh", "pip install something"),
        ("sh", "softmax-ce weigh my_kernel.py:my_cross_entropy"),
        ("sh", "softmax-ce judge my_other_kernel.py:f --like=torch"),
        ("sh", "softmax-ce report no-command"),
    ],
)
def test_a_block_that_is_wrong_or_of_another_kind_fails(language: str, text: str, tmp_path: Path) -> None:
    with pytest.raises((Exception, SystemExit)):
        check_block(Block("a document", 1, language, text), tmp_path)


def check_command(command: str) -> None:
    """Fails unless the program, its options and the files that it names are there."""
    program, *arguments = shlex.split(command.replace(".venv/bin/", ""))
    if command == "python3 -m venv .venv":
        return
    if program in ("python", "python3"):
        if arguments[0] == "-m":
            check_module(arguments[1], arguments[2:])
        else:
            check_script(ROOT / arguments[0], arguments[1:])
    elif program == "pip":
        check_pip(arguments)
    elif program == "pytest":
        check_pytest(arguments)
    elif program == "softmax-ce":
        check_installed(arguments)
    elif program == "bash":
        (script,) = arguments
        assert (ROOT / script).is_file()
    else:
        assert program in ("ruff", "mypy"), f"{command}: no check for this program"


def check_module(name: str, arguments: list[str]) -> None:
    """A module that is run: by its parser where it offers one."""
    parsers = {"suites.report": report_command.parser, "suites.sweep": sweep_command.parser}
    if name in parsers:
        parsers[name]().parse_args(arguments)
        return
    found = importlib.util.find_spec(name)
    assert found
    path = Path(str(found.origin))
    check_script(path.with_name("__main__.py") if path.name == "__init__.py" else path, arguments)


def check_script(path: Path, arguments: list[str]) -> None:
    """A file of ours that names each option, and files of ours that are there."""
    if path.name == "profile_suite.py":  # which hands them to the suite
        check_pytest(["suites/", *arguments])
        return
    text = path.read_text()
    assert path.is_relative_to(ROOT)
    assert [word for word in arguments if word.startswith("-") and f'"{word}"' not in text] == []
    assert [word for word in arguments if word.startswith(("reference/", "suites/")) and not (ROOT / word).is_file()] == []


def check_pip(arguments: list[str]) -> None:
    """The checkout, with extras and constraints that there are."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    install, *words = (word for word in arguments if word != "-q")
    assert install == "install"
    place, *rest = words[1:] if words[0] == "-e" else words
    (given,) = re.findall(r"^\.(?:\[(.*)\])?$", place)
    assert set(filter(None, given.split(","))) <= set(extras)
    assert rest in ([], ["-c", "ci/constraints.txt"])


def check_installed(arguments: list[str]) -> None:
    """A command of the package, as what it stands for in the checkout."""
    name, *rest = arguments
    if name in ("report", "sweep"):
        check_module(f"suites.{name}", rest)
    elif name == "judge":
        from softmax_ce_conformance.__main__ import judge

        with judge.make_context("judge", list(rest)) as context:
            given = context.params
        place = "my_kernel.py:my_cross_entropy" if given["form"] in KERNEL_FORMS else given["kernel"]
        own = ("--form=", "--json", "--timeout=", given["kernel"])
        options = [option.replace("--like=", "--backend=") for option in rest if not option.startswith(own)]
        check_pytest(["suites/", f"--implementation={place}", *options])
    elif name == "ci":
        (step,) = rest
        assert (ROOT / "ci" / f"{step}.sh").is_file()
    else:
        assert name == "suite"
        check_pytest(["suites/", *rest])


def check_pytest(arguments: list[str]) -> None:
    """By pytest's own parser, with the options of the suites and Hypothesis; values are names that there are."""
    config = get_config()
    conftest.pytest_addoption(config._parser, config.pluginmanager)
    for plugin in (_hypothesis_pytestplugin, xdist.plugin):
        plugin.pytest_addoption(config._parser)
    option = config._parser.parse(arguments)
    assert option.file_or_dir
    assert [place for place in option.file_or_dir if not (ROOT / place).exists()] == []
    for names, known in ((option.dtype, FORMATS), (option.hazard, HAZARDS), (option.effort, EFFORTS)):
        assert set((names or "").split(",")) <= {*known, ""}
    if option.claim:
        grade_named(option.claim)
    if option.case:
        cases_matching(option.case)
    file = option.backend.partition(":")[0]
    assert file in backend_names() or file in EXAMPLES
    assert (option.implementation or "my_kernel.py").partition(":")[0] in EXAMPLES


@pytest.mark.parametrize(("document", "command"), COMMANDS, ids=[f"{name}: {command}" for name, command in COMMANDS])
def test_every_command_between_backticks_is_one_that_there_is(document: str, command: str) -> None:
    check_command(command)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_and_anchor_leads_somewhere(document: Any) -> None:
    anchors = {other.name: other.anchors for other in DOCUMENTS}
    for link in document.links:
        if link.startswith(("https://", "http://")):
            continue
        place, _, anchor = link.partition("#")
        path = ((ROOT / document.name).parent / place).resolve() if place else ROOT / document.name
        assert path.exists(), link
        if anchor:
            assert anchor in anchors[path.relative_to(ROOT).as_posix()], link


def test_every_document_is_looked_at() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"} <= {document.name for document in DOCUMENTS}
    assert {f"{folder}/README.md" for folder in ("adapters", "reference", "suites", "tests", "ci")} <= {
        d.name for d in DOCUMENTS
    }
    assert len(BLOCKS) >= 40
    assert len(COMMANDS) >= 20
    assert sum(len(document.links) for document in DOCUMENTS) >= 60


# The front page.


def test_ci_installs_by_the_readmes_command() -> None:
    script = (ROOT / "ci" / "run.sh").read_text()
    main_job, tests = (block.text.strip() for block in README.blocks_in("sh")[:2])
    install, run_tests = tests.rsplit(" && ", 1)
    assert install in script
    assert run_tests in script
    assert main_job.rsplit(" && ", 1)[0].replace("[torch]", "[test,jax,tensorflow,torch]") == install
    assert '.venv/bin/pytest suites/ --backend="$backend" --mode="$mode" --report="reports/$backend-$mode" -q' in script
    halves = [line.removeprefix("tests ") for line in script.splitlines() if line.startswith("tests ")]
    assert halves == ["not planted", "planted"]


def test_the_front_page_is_short() -> None:
    assert len(README.text.splitlines()) <= 150


def test_the_opening_figures_are_the_references() -> None:
    problem = Problem([[20.0, 0.0]], [0], FLOAT32)
    values = evaluate(problem, [Quantity.LOSS])[Quantity.LOSS].values.approximate()
    assert f"{float(values[0]):.16e}".replace("e-09", "") in README.text


def test_the_opening_command_prints_what_it_says() -> None:
    pytest.importorskip("torch")
    command, printed = OPENING.text.strip().split("\n", 1)
    code = command.removeprefix('$ python -c "').removesuffix('"')
    result = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert result.stdout.strip() == printed.strip()


def test_formats_efforts_and_grades_are_the_codes() -> None:
    rows = {row[0]: row[2] for row in SUITES.table("Options")}
    assert all(name in rows["--dtype"] for name in FORMATS)
    counts = re.search(r"(\d+), (\d+) or (\d+) generated", rows["--effort"])
    assert counts
    assert [int(n) for n in counts.groups()] == [effort.examples for effort in EFFORTS.values()]
    assert [row[0] for row in README.table("Grades")] == [grade.label for grade in list(Grade)[1:]]
    assert f"at most {ACCURATE_ULPS:g} ulp" in README.text


def test_the_layout_exists() -> None:
    rows = [re.findall(r"\[(.*?)\]", row[0])[0] for row in README.table("Where to go")]
    assert rows == ["adapters/", "reference/", "suites/", "tests/", "ci/"]
    assert all((ROOT / folder).is_dir() for folder in rows)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_file_that_is_named_exists(document: Any) -> None:
    named = re.findall(r"`((?:reference|suites|ci|adapters|tests)/[a-zA-Z_./]+)`", "\n".join(document.prose))
    made = ("BACKEND", "NAME", "TOPIC")
    assert [path for path in named if not (ROOT / path).exists() and not any(word in path for word in made)] == []


# Kernels and backends.


def written(folder: Path, name: str) -> str:
    """Writes the example of this file name into a folder; the place of the last thing that it defines."""
    (block,) = [block for block in BLOCKS if block.language == "python" and block.text.startswith(f"# {name}\n")]
    (folder / name).write_text(block.text)
    defined = re.findall(r"^(?:def|class) (\w+)", block.text, flags=re.MULTILINE)
    return f"{name}:{defined[-1]}"


def options_of(place: str) -> list[str]:
    """The options of the command that judges an example: there is one, and it is the page's own, `-x` included."""
    lines = [line for block in BLOCKS if block.language == "sh" for line in block.text.splitlines()]
    (command,) = [line for line in lines if f"={place} " in line]
    return shlex.split(command)[2:]


def judged(name: str, folder: Path, *others: str) -> tuple[int, str]:
    """The example of this file name, judged by its command and further options; exit status and what was printed."""
    if EXAMPLES[name] != "numpy":
        pytest.importorskip(EXAMPLES[name])
    return run_here(*options_of(written(folder, name)), *others, cwd=folder)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_run(name: str, tmp_path: Path) -> None:
    """All of it passes; what one declares away is not asked."""
    status, printed = judged(name, tmp_path)
    assert status == 0, printed
    assert " passed" in printed
    assert bool(re.search(r"\d declared limits?:", printed)) == ("@limits(" in (tmp_path / name).read_text())
    assert name != "my_kernel.py" or re.search(
        r"^my_cross_entropy +float32( +stable [>\d]\S+){4} ", printed, flags=re.MULTILINE
    )


@pytest.mark.parametrize(
    ("name", "dtype", "holds"),
    [
        ("my_numpy_kernel.py", "float16", False),
        ("my_numpy_kernel.py", "bfloat16", False),
        ("my_jax_kernel.py", "float16", False),
        ("my_jax_kernel.py", "bfloat16", True),
        ("my_tensorflow_kernel.py", "float16", False),
        ("my_tensorflow_kernel.py", "bfloat16", True),
    ],
)
def test_the_examples_miss_sums_over_a_vocabulary_where_it_says(name: str, dtype: str, holds: bool, tmp_path: Path) -> None:
    status, printed = judged(name, tmp_path, f"--dtype={dtype}", "--fail-shared", "--case=vocabulary/*")
    assert (status == 0) == holds, printed
    assert " passed" in printed or not holds
    assert ("what   : loss[0] is" in printed) != holds


def test_the_printed_failure_is_that_of_the_broken_line(tmp_path: Path) -> None:
    """The command of the page, on its kernel with one line changed; `...` stands for anything."""
    torch = pytest.importorskip("torch")
    place = written(tmp_path, "my_kernel.py")
    right, wrong = (line[1:] for line in BROKEN_LINE.text.splitlines())
    assert KERNEL.text.count(right) == 1
    assert [line[0] for line in BROKEN_LINE.text.splitlines()] == ["-", "+"]
    (tmp_path / "my_kernel.py").write_text(KERNEL.text.replace(right, wrong))
    options = options_of(place)
    assert options[-1] == "-x"
    status, printed = run_here(*options, cwd=tmp_path)
    assert status == 1, printed
    lines = FAILURE.text.splitlines()
    assert [line.partition(":")[0].strip() for line in lines] == ["what", "values", "input", "repro"]
    pattern = "\n".join(re.escape(line).replace(r"\.\.\.", ".*") for line in lines)
    assert re.search(f"^{pattern}$", printed, flags=re.MULTILINE), printed
    scope: dict[str, Any] = {}
    exec((tmp_path / "my_kernel.py").read_text(), scope)
    logits, target = torch.randn(100, 10), torch.arange(100) % 10
    losses = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(scope["my_cross_entropy"](logits, target, "none"), losses)


def test_the_example_of_a_test_runs(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    written(tmp_path, "my_kernel.py")
    (tmp_path / "test_my_kernel.py").write_text(PLUGIN.text)
    command = [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider", "test_my_kernel.py"]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=False, timeout=200)
    assert "1 passed" in done.stdout, done.stdout


def test_the_statuses_of_a_verdict_are_those_of_the_code() -> None:
    rows = SUITES.table("Kernels that a model writes")
    assert [status for row in rows for status in row[0].split(", ")] == ["0", "1", "2", "3", "4", "5", "6", "7", "8"]
    said = {row[0]: row[1] for row in rows}
    assert said[str(USAGE)].startswith("a mistake in an option")
    assert said[str(ANSWERED_NOTHING)].startswith("no call gave a number to judge")
    assert (said[str(TIME_UP)], said[str(ENDED)][:41]) == ("time was up", "the process that judges was ended, perhap")


def test_limits_and_isolation_are_as_the_code_has_them() -> None:
    keys = [field.name for field in fields(Limit) if field.name != "reason"]
    assert [row[0] for row in ADAPTERS.table("Limits")] == keys
    assert f"up to it, at least {LEAST_MAX_CLASSES} " in ADAPTERS.text
    assert f"{MOST_SPENT // HANG} hangs or {MOST_SPENT} crashes" in ADAPTERS.flowing
    assert f"of the group `{ENTRY_POINTS}`" in ADAPTERS.flowing


def test_ci_runs_every_backend_in_every_mode() -> None:
    """A mode that CI does not run has claims that nothing holds."""
    script = (ROOT / "ci" / "run.sh").read_text()
    steps = script.split("<<'RUNS'\n", 1)[1].split("\nRUNS", 1)[0].splitlines()
    listed = [step.split()[1:3] for step in steps if step.startswith("suites ")]
    others = {row[1].partition("--backend=")[2] for row in ADAPTERS.table("Other kernels")}
    in_ci = [backend for backend in backend_names() if backend not in others]
    assert sorted({backend for backend, _ in listed}) == in_ci
    documented = {row[0]: row[1].split(", ") for row in ADAPTERS.table("Modes")}
    assert sorted(documented) == in_ci
    for backend in in_ci:
        modes = {m for name, mode in listed if name == backend for m in mode.split(",")}
        assert modes == set(documented[backend])
        if backend == "numpy" or importlib.util.find_spec(backend):
            assert modes == set(modes_of(load_adapter(backend, "cpu").operations()))


def test_the_other_kernels_can_be_installed_pinned_and_judged() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pinned = {line.partition("==")[0] for line in (ROOT / "ci" / "constraints.txt").read_text().splitlines()}
    for _, command, claims, _ in ADAPTERS.table("Other kernels"):
        backend = command.partition("--backend=")[2]
        assert claims == f"ci/claims/{backend}.toml"
        assert (ROOT / claims).exists()
        assert {re.split(r"[\[>]", package)[0] for package in extras[backend]} <= pinned


# The reference.


def test_the_compiled_tier_runs_as_shown(tmp_path: Path) -> None:
    check_python(COMPILED, tmp_path)
    assert COMPILED.text.count("print(") == 1


def test_the_costs_are_those_of_the_benchmark() -> None:
    written_there = (ROOT / "ci" / "benchmark.md").read_text().splitlines()
    rows = [line for line in REFERENCE.section("What certainty costs").splitlines() if line.startswith("|")]
    assert len(rows) > 5
    assert [row for row in rows if row not in written_there] == []


def test_the_tolerances_are_what_the_example_gives() -> None:
    scope: dict[str, Any] = {}
    exec(REFERENCE.block("python", "rtol, atol = tolerance(").text, scope)
    rows = REFERENCE.table("Tolerances")
    assert [(scope["rtol"], scope["atol"])] == [tuple(map(float, row[1].split(", "))) for row in rows if row[0] == "loss"]
    grades = (Grade.STABLE, Grade.COMPONENTWISE, Grade.ACCURATE)
    for name, *cells in rows:
        for grade, pair, gap in zip(grades, cells[::2], cells[1::2], strict=True):
            found = tolerance(Quantity(name), grade, scope["float32"], scope["domain"])
            assert f"{found.rtol:g}, {found.atol:g}" == pair
            assert f"{blind_from(found, Quantity(name)):.1f}" == gap
    blind = [f"{blind_from(ASSERT_CLOSE[name]):.1f}" for name in ("float32", "float64")]
    assert f"{blind[0]} and {blind[1]} on" in REFERENCE.flowing


# The suites.


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
    rows = SUITES.table("Options")
    assert [row[0] for row in rows] == offered
    helps = dict(zip(offered, re.split(r"^  --[\w-]+", ours, flags=re.MULTILINE)[1:], strict=True))
    for option, default, _ in rows:
        said = " ".join(helps[option].split())
        assert (f"(default: {default}" in said) if default else ("default" not in said)


def test_the_report_commands_are_those_there_are() -> None:
    block = SUITES.block("sh", "suites.report")
    parser = report_command.parser()
    given = [parser.parse_args(line.removeprefix("python -m suites.report ").split()) for line in block.text.splitlines()]
    commands = {action.dest: action for action in parser._actions}["command"].choices
    assert list(dict.fromkeys(options.command for options in given)) == list(commands or ())
    assert [options.command for options in given if getattr(options, "fail_on_regression", False)] == ["compare"]
    (row,) = [row for row in SUITES.table("Options") if row[0] == "--report"]
    assert all(f"report.{ending}" in row[2] for ending in FORMS)


def test_the_printed_reproducer_is_of_a_published_deviation_and_its_expected_value_the_references() -> None:
    case = cases_matching("vocabulary/128256-maximum-first[float32]")[0]
    expected = evaluate(case.problem, [Quantity.LOSS])[Quantity.LOSS].values
    shown = f"loss[0]: expected {float(expected.rounded(FLOAT32)[0][0]).hex()} ({float(expected.approximate()[0])!r:.17}"
    assert shown in REPRODUCER.text
    claims = load_claims(CLAIMS_FOLDER / "torch.toml", Setting("2.13.0"))
    (name,) = re.findall(r"reproducers/([\w-]+)\.py\n", REPRODUCER.text)
    assert any(deviation.id == name and deviation.names(case) for deviation in claims.deviations)
