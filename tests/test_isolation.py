"""Kernels that crash, hang, exit or eat memory: with --isolate each costs the tests that call it so, and says what happened."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from adapters.adapter import Adapter, AdapterError, Call, GivenUpError, Observed
from adapters.isolation import HANG, MOST_SPENT, Isolated
from adapters.layout import Layout
from adapters.numpy.backend import NumpyAdapter
from adapters.operation import Operation
from adapters.output import MOST_KEPT
from adapters.process import Allowance, Trial
from adapters.question import Question, shape_of
from adapters.sources import sources
from adapters.supervisor import end_below
from reference import FLOAT32, FORMATS, Problem
from reference.quantity import Quantity
from suites.judging.claims import Claims
from suites.judging.effort import EFFORTS
from suites.judging.judge import Judge, Plan
from tests.command import ROOT, run_suites

KERNELS = ROOT / "tests" / "planted" / "processes.py"
OFFENDING = Problem([[40.0, 0.0]], [0], FLOAT32)
HARMLESS = Problem([[1.0, 0.0]], [0], FLOAT32)
LOSS, BOTH = (Quantity.LOSS,), (Quantity.LOSS, Quantity.GRADIENT)


def tried(name: str, folder: Path, *options: str) -> tuple[set[str], str]:
    """The tests that a planted kernel fails, its name left out, and what the run printed."""
    narrow = ("--dtype=float32", "--effort=quick", "--claim=stable", *options)
    result = run_suites(f"--implementation={KERNELS}:{name}", *narrow, f"--junitxml={folder / 'junit.xml'}")
    assert result.returncode == 1, result.stdout
    cases = ElementTree.parse(folder / "junit.xml").iter("testcase")
    failed = {str(case.get("name")).replace(name, "kernel") for case in cases if case.find("failure") is not None}
    return failed, result.stdout


@pytest.fixture(scope="module")
def guilty(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The tests among the stored cases of absorption that call a kernel on the offending input: those where it raises."""
    failed, _ = tried("raises", tmp_path_factory.mktemp("raises"), "--case=absorption/*")
    assert 0 < len(failed) < 10
    return failed


@pytest.mark.parametrize(
    ("name", "says", "options"),
    [
        ("segfaults", "the process of the call was ended by SIGSEGV (signal 11)", ()),
        ("hangs", "the process of the call did not return within 0.7 s and was killed", ("--call-timeout=0.7",)),
        ("exits", "the process of the call ended itself with exit status 0", ()),
        ("calls_sys_exit", "called sys.exit(3)", ()),
        ("writes_its_input", "changed its input logits", ()),
        ("allocates", "the process of the call grew by more than 0.2 GiB of memory in", ("--call-memory=0.2",)),
    ],
)
def test_a_kernel_costs_the_tests_that_call_it_on_the_offending_input(
    name: str, says: str, options: tuple[str, ...], guilty: set[str], tmp_path: Path
) -> None:
    folder = tmp_path / "report"
    failed, output = tried(name, tmp_path, "--isolate", "--case=absorption/*", f"--report={folder}", *options)
    assert failed == guilty
    assert output.count(f"what   : loss: {says}") == 1
    assert " passed" in output
    assert json.loads((folder / f"report-{name}.json").read_text())["verdict"] == "FAILS"
    assert "**FAILS: " in (folder / f"report-{name}.md").read_text()
    assert not list(folder.glob("reproducers/*")) or name == "writes_its_input"


def test_sys_exit_is_a_finding_without_isolation_too(guilty: set[str], tmp_path: Path) -> None:
    failed, output = tried("calls_sys_exit", tmp_path, "--case=absorption/*")
    assert failed == guilty
    assert "what   : loss: called sys.exit(3)" in output


@pytest.mark.parametrize("options", [(), ("--isolate",)])
def test_a_kernel_that_calls_xfail_fails(options: tuple[str, ...], guilty: set[str], tmp_path: Path) -> None:
    failed, output = tried("calls_xfail", tmp_path, "--case=absorption/*", *options)
    assert failed == guilty
    assert "what   : loss: XFailed: it is known" in output


def test_a_crash_in_a_search_is_one_failure_without_a_chain(tmp_path: Path) -> None:
    test = "test_loss_is_not_negative"
    failed, output = tried("segfaults", tmp_path, "--isolate", "--hazard=absorption", "-k", test)
    assert failed == {f"{test}[kernel-float32]"}
    assert "was ended by SIGSEGV (signal 11)" in output
    assert "During handling" not in output


def test_repeated_runs_are_not_the_same_if_they_end_the_process(tmp_path: Path) -> None:
    test = "test_two_runs_give_the_same_bits"
    failed, output = tried("hangs_always", tmp_path, "--isolate", "--call-timeout=1", "-k", test)
    assert failed == {f"{test}[kernel-float32]"}
    assert output.count("did not return within 1 s and was killed") == 1


def test_memory_that_is_not_given_back_is_told(tmp_path: Path) -> None:
    _, output = tried("leaks", tmp_path, "--isolate", "--call-memory=0.3", "--case=absorption/*")
    assert re.search(r"gradient: the process of the call grew by more than 0.3 GiB of memory in 1\d calls", output)


def test_a_backend_that_ends_its_process_while_it_loads_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "aborts.py").write_text("import os\nos.abort()\n")
    result = run_suites("--isolate", f"--backend={tmp_path / 'aborts.py'}:Adapter")
    assert result.returncode == 4
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("ERROR")]
    assert "its process was ended by SIGABRT (signal 6)" in line


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--backend=tensorflaw"], "ERROR: backend 'tensorflaw' is not known; there is: "),
        (["--call-timeout=0"], "ERROR: --call-timeout: 0 was given; allowed: a number above 0"),
        (["--call-memory=-1"], "ERROR: --call-memory: -1 was given; allowed: a number above 0"),
    ],
)
def test_mistakes_are_told_from_the_other_process_as_from_this(options: list[str], says: str) -> None:
    result = run_suites("--isolate", *options)
    assert (result.returncode, result.stdout.startswith(says)) == (4, True)


def test_the_report_is_the_same_as_without_isolation(tmp_path: Path) -> None:
    narrow = ("--operation=scipy_log_softmax", "--dtype=float16", "--case=absorption/*")
    for folder, options in (("here", ()), ("there", ("--isolate",))):
        assert run_suites(*narrow, *options, f"--report={tmp_path / folder}").returncode == 0
    here, there = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("here", "there"))
    assert here["identifier"] == there["identifier"]
    assert here["deviations"] == there["deviations"]
    assert there["run"]["command"].endswith(" --isolate")


def test_the_framework_is_imported_in_the_other_process_only() -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    code = (
        "import sys, pytest\n"
        "options = ['--isolate', '--backend=torch', '--operation=cross_entropy', '--case=absorption/gap-20[float32]']\n"
        "status = pytest.main(['suites/', *options, '-q', '-p', 'no:cacheprovider'])\n"
        "sys.exit('imported torch' if 'torch' in sys.modules else status)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "torch 2" in result.stdout


@pytest.fixture
def isolated() -> Any:
    """The kernel that segfaults, in another process."""
    adapter = Isolated(Trial("numpy", "cpu", f"{KERNELS}:segfaults"), Allowance(20))
    yield adapter
    adapter.close()


def test_what_ended_a_process_is_not_asked_again(isolated: Isolated) -> None:
    """The gradient of an input is computed with the loss, which was the end already."""
    (operation,) = isolated.operations()
    for layout, cost in ((Layout.CONTIGUOUS, 1), (Layout.STRIDED, 2)):
        for quantities in (LOSS, BOTH, LOSS):
            observed = isolated.observe(Question(operation, OFFENDING, quantities, layout))
            assert observed == Observed({}, (), "the process of the call was ended by SIGSEGV (signal 11)", ended=True)
        assert isolated.spent == cost
    assert isolated.observe(Question(operation, HARMLESS, BOTH)).error is None


LATE = "did not return within 0.7 s and was killed"
SLACK = 4.0
"""Seconds for killing a process and all below it: 0.3 were measured with three busy processes a core."""
WROTE = "wrote into the connection and was killed"


def isolating(name: str, seconds: float = 0.7) -> Isolated:
    """A planted kernel, in another process."""
    return Isolated(Trial("numpy", "cpu", f"{KERNELS}:{name}"), Allowance(seconds))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("closes_the_connection", "closed its connection and was killed"),
        ("writes_into_the_connection", WROTE),
        ("writes_a_part", LATE),
        ("drips", LATE),
        ("floods", WROTE),
        ("stops", LATE),
        ("answers_another_call", WROTE),
        ("answers_too_much", WROTE),
        ("answers_in_another_language", WROTE),
        ("answers_with_nothing", WROTE),
        ("answers_and_writes_on", WROTE),
        ("answers_with_a_pickle", WROTE),
        ("answers_with_a_framed_pickle", WROTE),
    ],
)
def test_a_kernel_that_meddles_with_the_connection_is_ended(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.process.LAST_SECONDS", 0.3)
    monkeypatch.setenv("PLANTED_MARK", str(tmp_path / "made"))
    adapter = isolating(name)
    (operation,) = adapter.operations()
    started = time.monotonic()
    assert adapter.observe(Question(operation, OFFENDING, LOSS)).error == f"the process of the call {says}"
    assert time.monotonic() - started < 0.7 + SLACK
    assert adapter.observe(Question(operation, HARMLESS, LOSS)).error is None
    assert not (tmp_path / "made").exists()
    adapter.close()


def test_a_process_that_takes_no_problem_is_ended() -> None:
    """A large one does not fit into the socket: it waits to be read."""
    adapter = isolating("stops_afterwards")
    (operation,) = adapter.operations()
    assert adapter.observe(Question(operation, OFFENDING, LOSS)).error is None
    time.sleep(0.5)
    started = time.monotonic()
    large = Question(operation, Problem(np.zeros((1, 2**20)), [0], FLOAT32), LOSS)
    assert adapter.observe(large).error == f"the process of the call {LATE}"
    assert time.monotonic() - started < 0.7 + SLACK
    adapter.close()


def test_the_answer_of_a_fork_is_not_taken_for_that_of_the_next_call() -> None:
    adapter = isolating("forks", 20)
    (operation,) = adapter.operations()
    assert adapter.observe(Question(operation, OFFENDING, LOSS)).values[Quantity.LOSS] == 0
    time.sleep(0.5)
    with pytest.warns(UserWarning, match="before forks was called, its process had written into the connection"):
        answer = adapter.observe(Question(operation, HARMLESS, LOSS))
    assert answer.error is None
    assert answer.values[Quantity.LOSS].item() > 0.3
    adapter.close()


class Broadcasting(NumpyAdapter):
    """Returns losses less a column of them, as a lost dimension broadcasts."""

    def call(self, question: Question) -> Call:
        call = super().call(question)
        losses = {quantity: result for quantity, result in call.results.items() if quantity is Quantity.LOSS}
        wide = {q: replace(result, values=result.values - result.values[:, None]) for q, result in losses.items()}
        return replace(call, results={**call.results, **wide})


@pytest.mark.parametrize(("rows", "quantities"), [(2, BOTH), (200, BOTH), (200, LOSS)])
def test_a_result_of_another_shape_is_told_as_it_is_here(rows: int, quantities: tuple[Quantity, ...]) -> None:
    """However large it is: what takes more than was asked for is not sent."""
    isolated = Isolated(Trial("tests.test_isolation:Broadcasting", "cpu"), Allowance(20))
    problem = Problem(np.zeros((rows, 2)), [0] * rows, FLOAT32)
    told = []
    for adapter in (isolated, Broadcasting()):
        judge, operation = judge_of(adapter)
        measured = judge.measure(Question(operation, problem, quantities))
        told.append([(m.quantity, m.error, m.observed.tobytes()) for m in measured])
    assert told[0] == told[1]
    assert told[0][0][1] == f"returned loss of shape ({rows}, {rows}), asked for ({rows},)"
    isolated.close()


def test_an_answer_is_bounded_by_what_is_asked() -> None:
    adapter = NumpyAdapter()
    for operation in adapter.operations():
        for problem in (HARMLESS, Problem([[1.0, 0.0, 2.0]] * 9, [0] * 9, FLOAT32, tangent=[[1.0, 0.0, 2.0]] * 9)):
            if operation.refusal(problem) is not None:
                continue
            quantities = operation.asked(problem, tuple(Quantity))
            values = adapter.observe(Question(operation, problem, quantities)).values
            assert {q: array.shape for q, array in values.items()} == {q: shape_of(q, problem) for q in quantities}
    assert Question(operation, HARMLESS, BOTH).most_bytes < 10**5


def test_a_call_that_is_interrupted_leaves_nothing_behind() -> None:
    adapter = isolating("hangs", 20)
    (operation,) = adapter.operations()
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    with pytest.raises(KeyboardInterrupt):
        adapter.observe(Question(operation, OFFENDING, LOSS))
    signal.signal(signal.SIGALRM, before)
    assert adapter.observe(Question(operation, HARMLESS, LOSS)).error is None
    adapter.close()


def test_a_process_that_runs_other_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = replace(sources(), digest="0" * 64)
    monkeypatch.setattr("adapters.process.sources", lambda: ours)
    with pytest.raises(AdapterError, match=r"--isolate: the process runs .*/adapters and .*/reference \(sha256 "):
        isolating("raises")


def test_a_checkout_may_lie_in_a_folder_with_a_colon(tmp_path: Path) -> None:
    """PYTHONPATH is split there: the code of another checkout was run."""
    copy = tmp_path / "a:b"
    for name in ("adapters", "reference", "suites"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    (copy / "adapters" / "kernels" / "mine.py").write_text(
        "from adapters.numpy.backend import NumpyAdapter\n\n\nclass ADAPTER(NumpyAdapter):\n    name = 'mine'\n"
    )
    options = ("--backend=mine", "--isolate", "--claim=stable", "--case=absorption/gap-20[float32]")
    command = [sys.executable, "-m", "pytest", "suites/", "-q", "-p", "no:cacheprovider", *options]
    result = subprocess.run(command, cwd=copy, text=True, capture_output=True, check=False)
    assert result.returncode == 0, result.stdout


def state_of(process: Path) -> str:
    """Its letter in /proc; gone if it is not there, or goes while it is read."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "gone"


def assert_ends(process: Path) -> None:
    """The signal is sent when close() returns; a process that is not its child ends when the kernel next gets to it."""
    deadline = time.monotonic() + 10
    while (state := state_of(process)) not in ("gone", "Z") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert state in ("gone", "Z")


@pytest.mark.parametrize("session", [False, True])
def test_what_a_kernel_has_started_ends_with_it(session: bool, tmp_path: Path) -> None:
    (tmp_path / "starts.py").write_text(
        "import subprocess, pathlib\nfrom tests.planted.processes import right\n"
        f"started = subprocess.Popen(['sleep', '100'], start_new_session={session})\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(started.pid))\n"
    )
    adapter = Isolated(Trial("numpy", "cpu", f"{tmp_path / 'starts.py'}:right"), Allowance(20))
    child = Path("/proc") / (tmp_path / "pid").read_text()
    assert child.exists()
    adapter.close()
    adapter.close()
    assert_ends(child)


@pytest.mark.parametrize(
    ("name", "says"), [("leaves_a_session", "SIGSEGV (signal 11)"), ("signals_its_group", "SIGKILL (signal 9)")]
)
def test_an_orphan_in_a_session_of_its_own_ends_with_the_process_that_crashed(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED_MARK", str(tmp_path / "pid"))
    adapter = isolating(name, 20)
    (operation,) = adapter.operations()
    error = adapter.observe(Question(operation, OFFENDING, LOSS)).error
    assert error == f"the process of the call was ended by {says}"
    assert_ends(Path("/proc") / (tmp_path / "pid").read_text())
    adapter.close()


def test_a_process_that_one_look_misses_is_found_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Process 2 forks 3 once the processes are listed, and has ended by the time that it is looked at."""
    table = {1: "S 0", 2: "S 1"}

    def listed(_: Path, pattern: str) -> Iterator[Path]:
        there = [tmp_path / pattern.replace("[0-9]*", str(pid)) for pid in table]
        if table.get(2) == "S 1":
            table.update({2: "Z 1", 3: "S 1"})
        for path in there:
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{path.parent.name} (a name) {table[int(path.parent.name)]} 0")
        yield from there

    ended = []
    monkeypatch.setattr(Path, "glob", listed)
    monkeypatch.setattr(os, "kill", lambda pid, _: ended.append(pid) or table.update({pid: "Z 1"}))
    end_below(1)
    assert ended == [3]


def test_what_a_kernel_has_started_ends_with_a_run_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "starts.py").write_text(
        "import subprocess, pathlib\nfrom tests.planted.processes import right\n"
        "started = subprocess.Popen(['sleep', '100'], start_new_session=True)\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(started.pid))\n"
    )
    code = (
        "import os\nfrom adapters.output import Tail\nfrom adapters.process import Allowance, Trial, Worker\n"
        f"worker = Worker(Trial('numpy', 'cpu', {str(tmp_path / 'starts.py:right')!r}), Allowance(), Tail())\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert_ends(Path("/proc") / (tmp_path / "pid").read_text())


@pytest.mark.parametrize("options", [(), ("--isolate",)])
def test_what_a_kernel_writes_is_shown_under_its_test_and_forges_nothing(options: tuple[str, ...], tmp_path: Path) -> None:
    """It went past pytest into the log of the job, where `::error::` at the start of a line is a command."""
    failed, output = tried("says", tmp_path, "--case=absorption/*", "--tb=short", *options)
    assert failed
    for source in ("Python", "stderr", "C code", "a child"):
        assert f"\nkernel: ::error::of {source}" in output
    assert not [line for line in output.splitlines() if line.lstrip().startswith("::")]
    assert "\x1b" not in output
    assert ":\\x3aerror::warned\\n::error::again" in output or options


def test_nothing_of_it_is_shown_of_a_test_that_passes(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "from tests.planted.processes import right\nprint('on import')\n\n\n"
        "def loud(logits, labels):\n    print('called')\n    return right(logits, labels)\n"
    )
    quiet = (f"--implementation={tmp_path / 'loud.py'}:loud", "--dtype=float32", "--case=absorption/gap-20*", "--claim=stable")
    for options in ((), ("--isolate",)):
        result = run_suites(*quiet, *options)
        assert result.returncode == 0, result.stdout
        assert "called" not in result.stdout
        assert "on import" not in result.stdout
    shown = run_suites(*quiet, "--isolate", "-rP", "--tb=short").stdout
    assert "\nkernel: called\n" in shown
    assert "on import" not in shown


@pytest.mark.parametrize("options", [(), ("--isolate",)])
def test_what_a_kernel_wrote_before_it_failed_to_load_is_shown(options: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text("import os\nprint('::error::the last words \\x1b[31m', flush=True)\n")
    end = "os.abort()\n" if options else "raise OSError('no')\n"
    (tmp_path / "loud.py").write_text((tmp_path / "loud.py").read_text() + end)
    result = run_suites(f"--implementation={tmp_path / 'loud.py'}:loud", *options)
    assert result.returncode == 4
    assert "::error::the last words \\x1b[31m" in result.stdout
    assert not [line for line in result.stdout.splitlines() if line.startswith("::")]


def test_a_kernel_that_writes_half_a_gigabyte_costs_neither_memory_nor_the_call() -> None:
    adapter = isolating("pours", 60)
    (operation,) = adapter.operations()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert adapter.observe(Question(operation, OFFENDING, LOSS)).error is None
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    written = adapter.take_written()
    assert re.match(r"\[53\d{7} bytes before this are left out\]\n", written)
    assert written.endswith("\nthe last\n")
    assert len(written) < MOST_KEPT + 100
    assert grown < 2**15, "KiB"
    assert adapter.take_written() == ""
    adapter.close()


@pytest.mark.parametrize(
    ("name", "error"),
    [("pours_without_end", f"the process of the call {LATE}"), ("leaves_a_writer", None), ("closes_its_output", None)],
)
def test_a_kernel_that_meddles_with_its_output_holds_nothing_up(name: str, error: str | None) -> None:
    adapter = isolating(name)
    (operation,) = adapter.operations()
    started = time.monotonic()
    assert adapter.observe(Question(operation, OFFENDING, LOSS)).error == error
    assert adapter.observe(Question(operation, HARMLESS, LOSS)).error is None
    adapter.close()
    assert time.monotonic() - started < 0.7 + SLACK


def test_what_was_written_before_a_crash_is_kept() -> None:
    adapter = isolating("says_and_ends")
    (operation,) = adapter.operations()
    assert adapter.observe(Question(operation, OFFENDING, LOSS)).ended
    assert adapter.take_written() == "::error::just before\n"
    adapter.close()


def test_an_operation_that_hangs_and_hangs_is_given_up(isolated: Isolated) -> None:
    (operation,) = isolated.operations()
    isolated._endings.spent[operation.label] = MOST_SPENT - 1
    assert isolated.observe(Question(operation, OFFENDING, LOSS)).ended
    with pytest.raises(GivenUpError, match="segfaults is not called any more"):
        isolated.observe(Question(operation, HARMLESS, LOSS))
    assert 2 * HANG <= MOST_SPENT


@dataclass
class Fragile(NumpyAdapter):
    """Ends its process when more than one quantity is asked, as memory that an earlier call overwrote would."""

    calls: list[tuple[Quantity, ...]] = field(default_factory=list)
    device: str = "cpu"

    def observe(self, question: Question) -> Observed:
        self.calls.append(question.quantities)
        if len(question.quantities) > 1:
            return Observed({}, error="was ended", ended=True)
        return super().observe(question)

    def call(self, *arguments: Any) -> Call:
        return super().call(*arguments)


def judge_of(adapter: Adapter) -> tuple[Judge, Operation]:
    operations = tuple(op for op in adapter.operations() if op.name == "scipy_log_softmax")
    plan = Plan(adapter, operations, tuple(FORMATS.values()), (), (), Claims(), EFFORTS["quick"], 0, "pytest suites/")
    return Judge(plan), operations[0]


def test_an_end_that_no_quantity_repeats_alone_is_not_forgotten() -> None:
    """An exception that only showed when all quantities were asked at once was once dropped."""
    judge, operation = judge_of(Fragile())
    measurements = judge.measure(Question(operation, HARMLESS, BOTH))
    assert [(m.quantity, m.error, m.ended) for m in measurements] == [(q, "was ended", True) for q in BOTH]


def test_an_end_that_a_backend_spared_its_process_is_judged_by_what_stands_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    spared = Observed({Quantity.LOSS: np.array([np.nan])}, ended=True)
    monkeypatch.setattr(NumpyAdapter, "observe", lambda *_: spared)
    judge, operation = judge_of(NumpyAdapter())
    assert judge.observe(Question(operation, HARMLESS, LOSS)) is spared
    with pytest.raises(pytest.fail.Exception, match="was ended"):
        judge_of(Fragile())[0].observe(Question(operation, HARMLESS, BOTH))
