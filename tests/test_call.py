"""The calls of the installed package: kernels that are at hand in Python, in the shapes in which people have them."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from softmax_ce_conformance import NotJudgedError, Verdict, assert_conforms, judge, limits
from softmax_ce_conformance.__main__ import main
from softmax_ce_conformance.carry import Load, NotCarriedError, declarations
from softmax_ce_conformance.declare import declared_of
from softmax_ce_conformance.run import ANSWERED_NOTHING, ENDED, INTERRUPTED, TIME_UP, USAGE
from softmax_ce_conformance.verdict import _GRADES, SCHEMA

from reference.grades import NOT_MEASURED, Grade
from suites.report.load import load_report
from suites.report.verdict import VERDICTS
from tests.command import ROOT

Losses = tuple[np.ndarray, np.ndarray]
NARROW: dict[str, Any] = {"like": "numpy", "dtypes": "float32", "claim": "stable", "case": "absorption/gap-20"}


def right(logits: np.ndarray, labels: np.ndarray) -> Losses:
    """A max-shifted cross-entropy and its gradient."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    sums, rows = powers.sum(axis=1, keepdims=True), np.arange(len(labels))
    gradient = powers / sums
    gradient[rows, labels] -= 1
    return np.log(sums[:, 0]) - shifted[rows, labels], gradient


def off_by(error: float) -> Callable[..., Losses]:
    """A closure, whose losses are off."""

    def kernel(logits: np.ndarray, labels: np.ndarray) -> Losses:
        losses, gradient = right(logits, labels)
        return losses + np.float32(error), gradient

    return kernel


def off(error: float, logits: np.ndarray, labels: np.ndarray) -> Losses:
    """Takes its error first, for `partial`."""
    return off_by(error)(logits, labels)


@dataclass
class Kernels:
    """Has a method, and is called itself."""

    error: float = 0.0

    def method(self, logits: np.ndarray, labels: np.ndarray) -> Losses:
        return off_by(self.error)(logits, labels)

    __call__ = method


SHAPES: dict[str, Callable[[float], Callable[..., Losses]]] = {
    "closure": off_by,
    "lambda": lambda error: lambda logits, labels: off_by(error)(logits, labels),
    "method": lambda error: Kernels(error).method,
    "object": Kernels,
    "partial": lambda error: partial(partial(off, error)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_at_hand_is_judged(shape: str) -> None:
    """What came there is what was sent: a thousandth too much."""
    with pytest.raises(AssertionError, match=r"loss\[0\] is .* 0\.001 absolute"):
        assert_conforms(SHAPES[shape](1e-3), **NARROW)


def test_what_is_right_passes() -> None:
    assert assert_conforms(Kernels(), **NARROW).holds


def test_a_function_of_a_file_is_judged_there_and_its_failure_runs_again(tmp_path: Path) -> None:
    file = tmp_path / "of_a_user.py"
    file.write_text("def kernel(logits, labels):\n    return logits[:, 0] * 0 - 1, logits * 0\n")
    verdict = judge(f"{file}:kernel", report=tmp_path / "told", **NARROW)
    assert (verdict.name, verdict.subject, verdict.grade("float32")) == ("FAILS", "kernel", "finite")
    assert not verdict.holds
    (first, *_) = verdict.failures
    assert list(first.lines)[:4] == ["what", "values", "input", "repro"]
    assert first.reproducer is not None
    assert str(file) in first.reproducer
    _, *again = shlex.split(first.lines["repro"])
    assert subprocess.run([sys.executable, "-m", "softmax_ce_conformance", *again], cwd=tmp_path, check=False).returncode == 1
    report = load_report(tmp_path / "told")
    assert report["identifier"] == verdict.identifier
    assert verdict.folder == tmp_path / "told"
    assert f"--implementation={file}:kernel" in first.lines["repro"]


def test_the_module_of_a_function_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_kernels.py").write_text("import their_helper\nkernel = their_helper.made()\n")
    (tmp_path / "their_helper.py").write_text("def made():\n    return lambda logits, labels: (logits[:, 0], logits)\n")
    monkeypatch.syspath_prepend(tmp_path)
    import their_kernels  # type: ignore[import-not-found]

    assert Load(their_kernels.kernel).place(tmp_path) == f"{tmp_path / 'sent' / 'kernel.py'}:kernel"  # it was made elsewhere
    their_kernels.kernel.__module__ = "their_kernels"
    assert Load(their_kernels.kernel).place(tmp_path) == f"{tmp_path / 'their_kernels.py'}:kernel"


def test_a_module_of_torch_and_one_that_is_compiled_are_judged() -> None:
    torch = pytest.importorskip("torch")
    asked = NARROW | {
        "like": "torch",
        "limits": {"reason": "a module", "derivatives": 0, "reduces": "mean", "targets": ["indices"]},
    }
    for module in (torch.nn.CrossEntropyLoss(), torch.compile(torch.nn.CrossEntropyLoss(), backend="eager")):

        class Module(torch.nn.Module):  # type: ignore[misc]
            def __init__(self, inner: Any) -> None:
                super().__init__()
                self.inner = inner

            def forward(self, logits: Any, target: Any, *, reduction: str) -> Any:
                return self.inner(logits, target)

        verdict = judge(Module(module), **asked)
        assert verdict.holds, verdict


def test_a_verdict_says_what_it_rests_on() -> None:
    verdict = judge(off_by(0.0), **NARROW)
    told = json.loads(verdict.to_json())
    assert bool(verdict) is True
    assert (told["vacuous"], verdict.vacuous) == (sum(row["vacuous"] for row in told["rows"]),) * 2
    assert (told["schema"], told["verdict"], told["holds"], told["folder"]) == (SCHEMA, "REDUCED", True, None)
    assert told["entries"] == verdict.entries == sum(row["entries"] for row in told["rows"]) > 0
    assert {row["quantity"] for row in told["rows"]} == {"loss", "gradient"}
    assert verdict.name in VERDICTS
    assert (NOT_MEASURED, *(grade.label for grade in Grade)) == _GRADES
    with pytest.raises(KeyError, match=r"float64 loss was not asked; there is: float32 loss, float32 gradient"):
        verdict.grade("float64")


def test_a_notebook_shows_the_grades_and_the_failures_escaped() -> None:
    html = judge(off_by(1e-3), **NARROW)._repr_html_()
    assert "<b>kernel: FAILS</b>" in html
    assert "<td>float32</td><td>loss</td><td>stable</td><td>finite</td>" in html
    assert "what   : loss[0]" in html
    made = Verdict("FAILS", "<b>", "", "<i>", "numpy", 0, "quick", (), (), ())
    assert bool(made) is False
    assert "<i>" not in made._repr_html_().replace("<p><b>&lt;i&gt;", "")


def test_limits_of_a_call_and_of_a_decorator_are_those_of_the_run() -> None:
    verdict = judge(off_by(0.0), limits={"reason": "rows of whole tiles", "classes_multiple_of": 2}, **NARROW)
    assert verdict.limits == ("K a multiple of 2: rows of whole tiles",)

    @limits("labels are not bytes", label_dtypes=["int64"])
    def kernel(logits: np.ndarray, labels: np.ndarray) -> Losses:
        return right(logits, labels)

    assert judge(kernel, **NARROW).limits == ("class indices of int64 only: labels are not bytes",)


def test_a_decorator_declares_in_a_process_that_judges_and_notes_in_any_other() -> None:
    """Here `adapters` is imported, as it is where a kernel is judged."""

    def kernel() -> None: ...

    from adapters.limits import limits_of

    limits("no second derivative", derivatives=1)(kernel)
    assert [limit.text for limit in limits_of(kernel)] == ["derivatives up to order 1: no second derivative"]
    code = (
        "from softmax_ce_conformance import limits, arithmetic\n"
        "from softmax_ce_conformance.declare import declared_of\n"
        "import sys\n"
        "f = arithmetic(exp_ulps=2.0)(limits('why', derivatives=1)(lambda: None))\n"
        "print(declared_of(f), 'adapters' in sys.modules)"
    )
    noted = subprocess.run([sys.executable, "-c", code], cwd="/", text=True, capture_output=True, check=True).stdout
    assert noted == "(('limits', ('why',), {'derivatives': 1}), ('arithmetic', (), {'exp_ulps': 2.0})) False\n"
    assert declared_of(kernel) == ()


def hangs(logits: np.ndarray, labels: np.ndarray) -> Losses:
    """Never returns."""
    while True:
        pass


def ends(logits: np.ndarray, labels: np.ndarray) -> Losses:
    """Ends its process."""
    import os

    os._exit(3)


def takes_nothing() -> None:
    """Has the signature of no framework."""


@pytest.mark.parametrize(
    ("kernel", "options", "status", "says"),
    [
        (right, {"dtypes": "float3"}, USAGE, "--dtype: 'float3' is not known; allowed: float64"),
        (right, {"like": "nunpy"}, USAGE, "the nearest is 'numpy'"),
        (right, {"colour": "red"}, USAGE, "unrecognized arguments: --colour=red"),
        ("no_file.py:f", {}, USAGE, "there is no file 'no_file.py'"),
        ("numpy:no_such", {}, USAGE, "numpy has no 'no_such'"),
        (hangs, {"timeout": 4}, TIME_UP, "time was up: 4 seconds; give more, or judge with isolate"),
        (ends, {}, ENDED, "ended, perhaps by the kernel (exit status 3); judge with isolate to be told by which call"),
    ],
)
def test_without_a_verdict_it_says_why(kernel: Any, options: dict[str, Any], status: int, says: str) -> None:
    with pytest.raises(NotJudgedError) as raised:
        judge(kernel, **(NARROW | options))
    assert says in str(raised.value)
    assert raised.value.status == status


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: judge(right), TypeError, "like is missing; allowed: the name of a backend"),
        (lambda: judge(right, "numpy", form="triton"), ValueError, "form: 'triton' is not known; allowed: kernelbench"),
        (lambda: judge(right, "numpy", limits={"derivatives": 1}), TypeError, "allowed: tables with a reason"),
        (lambda: judge(Kernels(threading.Lock()), "numpy"), NotCarriedError, "cannot be sent to another process"),  # type: ignore[arg-type]
        (lambda: judge(right, "numpy", dtype="float32", dtypes="float64"), TypeError, "are given, which are one option"),
        *(
            (
                lambda given=given: judge(right, "numpy", timeout=given),
                ValueError,
                f"timeout: {given!r} was given; allowed: seconds",
            )
            for given in ("5", 0, -1, float("nan"), float("inf"))
        ),
    ],
)
def test_a_wrong_call_says_what_is_allowed(call: Callable[[], object], error: type[Exception], says: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert says in str(raised.value)


def test_a_file_that_judges_itself_does_not_do_so_for_ever(tmp_path: Path) -> None:
    file = tmp_path / "itself.py"
    file.write_text(f"from softmax_ce_conformance import judge\ndef f(x, y): ...\njudge({f'{file}:f'!r}, 'numpy')\n")
    with pytest.raises(NotJudgedError, match="called by a file that is loaded to be judged; call it below a main guard"):
        judge(f"{file}:f", **NARROW)


JSON = ("judge", "--like=numpy", "--dtype=float32", "--claim=stable", "--case=absorption/gap-20", "--json")


@pytest.mark.parametrize(
    ("kernel", "more", "status", "verdict"),
    [
        ("right", (), 0, "REDUCED"),
        ("right", ("-k", "no_such_test"), 5, "NOTHING RAN"),
        ("takes_nothing", (), ANSWERED_NOTHING, "FAILS"),
        ("hangs", ("--timeout=4",), TIME_UP, None),
        ("hangs", ("--isolate", "--call-timeout=0.2"), ANSWERED_NOTHING, "FAILS"),
        ("hangs", ("--isolate", "--timeout=6"), TIME_UP, None),
        ("ends", (), ENDED, None),
        ("nothing", (), USAGE, None),
        ("right", ("--collect-only",), USAGE, None),
        ("right", ("--fixtures",), 5, "NOTHING RAN"),
    ],
)
def test_the_command_prints_one_line_of_json_and_ends_with_a_status(
    kernel: str, more: tuple[str, ...], status: int, verdict: str | None
) -> None:
    command = [sys.executable, "-m", "softmax_ce_conformance", *JSON, f"{__file__}:{kernel}", *more]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False, timeout=120)
    told = json.loads(done.stdout)
    assert (done.returncode, told["verdict"], told["schema"]) == (status, verdict, SCHEMA), done.stderr
    assert told["reason"]
    assert not ("--isolate" in more and "judge with isolate" in told["reason"])


MISTAKES = {
    ("--dtype=float32",): "Missing option '--like'",
    ("--like=numpy", "--timeout=soon"): "'soon' is not a valid float",
    ("--like=numpy", "--timeout=nan"): "timeout: nan was given; allowed: seconds above 0",
    ("--like=numpy", "--form=none"): "form: 'none' is not known; allowed: kernelbench",
    ("--like=numpy", "--backend=torch"): "--backend is given; the framework of a kernel is --like",
    ("--like=numpy", "--implementation", "of.py:f"): "--implementation is given; the kernel is the argument of judge",
    ("--form=kernelbench", "--report=/dev/null/told"): "report: '/dev/null/told': Not a directory; allowed: a folder",
    ("other.py:f", "--like=numpy"): "'other.py:f' is given beside '",
}


@pytest.mark.parametrize("given", MISTAKES)
def test_a_mistake_is_told_as_json_and_in_words_with_one_status(given: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, ["judge", f"{__file__}:right", "--json", *given])
    told = json.loads(done.stdout)
    assert (done.exit_code, told["verdict"], told["holds"]) == (USAGE, None, False)
    assert MISTAKES[given] in told["reason"]
    assert CliRunner().invoke(main, ["judge", f"{__file__}:right", *given]).exit_code == USAGE


def test_a_mistake_in_an_option_of_the_suite_has_its_status() -> None:
    assert CliRunner().invoke(main, ["suite", "--backend"]).exit_code == USAGE


BESIDE = """
import subprocess, sys, threading, time
from helper_of_it import kernel

subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
threading.Thread(target=time.sleep, args=[600]).start()
"""


def test_a_thread_or_a_process_of_a_kernel_that_goes_on_is_not_waited_for(tmp_path: Path) -> None:
    """The file imports what lies beside it, too."""
    (tmp_path / "kept_busy.py").write_text(BESIDE)
    (tmp_path / "helper_of_it.py").write_text("def kernel(logits, labels): ...\n")
    told = judge(f"{tmp_path / 'kept_busy.py'}:kernel", timeout=120, **NARROW)
    assert told.name == "FAILS"


def raises_in_no_encoding(logits: np.ndarray, labels: np.ndarray) -> Losses:
    """Its message is that of a file name which is no text."""
    raise ValueError("\udcff \u00fc")


def test_a_verdict_is_printed_in_any_encoding(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "softmax_ce_conformance", *JSON, f"{__file__}:raises_in_no_encoding"]
    environment = {"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (ANSWERED_NOTHING, "FAILS")


def in_the_background() -> None:
    """As a shell starts a process there: it ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_is_told_to_end_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "softmax_ce_conformance", *JSON, f"{__file__}:hangs", "--isolate"]
    given: dict[str, Any] = {"env": {"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"}, "preexec_fn": in_the_background}
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **given) as run:
        assert run.stderr is not None
        assert any("collected" in line for line in run.stderr)
        time.sleep(1)  # it is asking the kernel
        run.send_signal(number)
        told, _ = run.communicate(timeout=60)
    assert (run.returncode, json.loads(told)["reason"]) == (INTERRUPTED, "the run was interrupted")
    assert not list(tmp_path.glob("softmax-ce-*"))


def test_no_name_of_a_folder_or_file_of_a_user_is_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path of modules in a variable was divided at the colon, and put before the modules of Python."""
    (folder := tmp_path / "a:b").mkdir()
    (folder / "beside.py").write_text("from tests.test_call import takes_nothing as kernel\n")
    for name in ("types", "suites", "conftest"):
        (folder / f"{name}.py").write_text("raise RuntimeError")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    assert judge("beside:kernel", **NARROW).name == "FAILS"


def test_what_the_tests_of_a_user_have_kept_is_left_alone(tmp_path: Path) -> None:
    """--lf of their own pytest must not find ours."""
    command = [sys.executable, "-m", "softmax_ce_conformance", "judge", f"{__file__}:takes_nothing", *JSON[1:-1]]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 1
    assert [path.name for path in (tmp_path / ".pytest_cache").iterdir()] == ["softmax-ce"]


def test_a_report_that_a_kernel_has_written_is_no_verdict(tmp_path: Path) -> None:
    file = tmp_path / "forger.py"
    forge = f"for path in pathlib.Path({str(tmp_path)!r}).glob('*.json'): path.write_text('{{}}')"
    file.write_text(f"import atexit, pathlib\n@atexit.register\ndef forge():\n    {forge}\ndef kernel(logits, labels): ...\n")
    with pytest.raises(NotJudgedError, match=r"report-kernel\.json is not as it was written, perhaps by the kernel"):
        judge(f"{file}:kernel", report=tmp_path, **NARROW)


def test_a_marker_takes_options_by_their_names(tmp_path: Path) -> None:
    file = tmp_path / "test_of_theirs.py"
    marked = "import pytest\npytestmark = pytest.mark.softmax_ce(claim='stable')\ndef test_of_something_else(): ...\n"
    given = "@pytest.mark.softmax_ce('torch')\ndef test_it(assert_conforms): ...\n"
    file.write_text(f"{marked}{given}@pytest.mark.softmax_ce(like='torch')\ndef test_nothing(): ...\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(file)]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "'torch' has no name; allowed: options by their names, such as like='torch'" in told.stdout
    assert "nothing is judged; allowed: a test that takes assert_conforms" in told.stdout
    assert "1 passed, 2 errors" in told.stdout


def refuses(logits: np.ndarray, labels: np.ndarray) -> Losses:
    """Takes no problem at all."""
    raise NotImplementedError("for GPUs alone")


def test_a_kernel_that_takes_nothing_says_so_in_its_own_words() -> None:
    verdict = judge(refuses, **NARROW)
    assert verdict.reason.startswith("all 2 tests were skipped: refuses: not implemented: for GPUs alone; narrowed by")


def test_a_report_of_something_else_is_left_alone_and_an_earlier_one_is_not_taken(tmp_path: Path) -> None:
    first = judge(right, report=tmp_path, **NARROW)
    assert (first.subject, first.folder) == ("right", tmp_path)
    (file,) = tmp_path.glob("report-*.json")
    before = file.read_text()
    with pytest.raises(NotJudgedError, match=r"has report-right\.json, the report of something else"):
        judge(off_by(0.0), report=tmp_path, **NARROW)
    with pytest.raises(NotJudgedError, match="time was up"):
        judge(right, report=tmp_path, timeout=0.5, **NARROW)
    assert file.read_text() == before


def test_no_file_of_a_user_is_overwritten(tmp_path: Path) -> None:
    """A candidate has the name of its class often, and the folder of the report may be its own."""
    file = tmp_path / "ModelNew.py"
    file.write_text("class ModelNew:\n    pass\n")
    place = Load(str(file), form="kernelbench").place(tmp_path)
    assert (place, file.read_text()) == (f"{tmp_path / 'sent' / 'ModelNew.py'}:ModelNew", "class ModelNew:\n    pass\n")
    assert Load(str(file), form="kernelbench").place(tmp_path) == place
    (tmp_path / "sent" / "ModelNew.py").write_text("mine = 1\n")
    with pytest.raises(NotCarriedError, match=r"ModelNew\.py is no file of ours; allowed: another folder"):
        Load(str(file), form="kernelbench").place(tmp_path)


def test_an_option_of_zero_is_given(tmp_path: Path) -> None:
    with pytest.raises(NotJudgedError, match="--call-timeout: 0 was given"):
        judge(right, isolate=True, call_timeout=0, **NARROW)


def test_declarations_are_one_table_or_several() -> None:
    table = {"reason": "why", "derivatives": 1}
    assert declarations(table) == declarations([table]) == (("limits", (), table),)
