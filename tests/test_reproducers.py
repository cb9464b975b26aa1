"""Reproducers: every one runs, needs nothing of this project, observes the adapter's bits, and ends when the defect does.

REPRODUCERS=every in the environment runs each case, operation, dtype and quantity of each deviation instead of one script
for each deviation and operation (minutes for each framework instead of seconds).
"""

from __future__ import annotations

import ast
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.adapter import Adapter, Observed
from adapters.arrays import ArrayAdapter
from adapters.layout import Layout
from adapters.loading import backend_names, load_attribute
from adapters.numpy.backend import NumpyAdapter
from adapters.operation import building_block
from adapters.question import Question
from adapters.script import literal
from reference import FLOAT32, Problem, Quantity
from reference.evaluation import evaluate
from reference.grades import Grade
from suites.inputs.cases import cases_matching
from suites.judging.measurement import Measurement
from suites.judging.relation import Relation
from suites.judging.reproducer import Miss, file_name_of, miss_of_label, reproducer, write_reproducers
from suites.report.escape import printable
from tests.backends import adapter_or_skip
from tests.command import ROOT, run_here, run_suites
from tests.reproducing import judge_of, miss_of, one_of_each, published

STANDS = 1
PUBLISHED = os.environ.get("REPRODUCERS", "one")
"""The kind of the scripts of deviations; see `tests.reproducing`."""
PRINTED = re.compile(r"^    observed (\S+) .*: (right|WRONG)$", flags=re.MULTILINE)
MENTIONED = re.compile(r"^\s*(?:from|import) (?:adapters|reference|suites|tests|pytest)\b", flags=re.MULTILINE)


KEPT_VARIABLES = (
    *("ATEN_CPU_CAPABILITY", "NPY_DISABLE_CPU_FEATURES", "TF_ENABLE_ONEDNN_OPTS", "XLA_FLAGS"),
    *("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"),
)
"""What makes a process another processor, and where JAX keeps what it has compiled."""


def run_alone(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A Python process somewhere else, without the variables of this one but a few."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd)} | kept
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, text=True, capture_output=True, timeout=600, check=False
    )


@dataclass(frozen=True)
class Reproduced:
    """The scripts of a backend, the names of each kind, and exit status and output of each, run elsewhere in one process."""

    folder: Path
    names: dict[str, list[str]]
    results: dict[str, tuple[int, str]]

    def of(self, kind: str) -> dict[str, tuple[int, str]]:
        """Exit status and output of the scripts of a kind."""
        return {name: self.results[name] for name in self.names[kind]}


def has_words(adapter: Adapter) -> bool:
    """True if the adapter answers `script` itself, or gives its base class words."""
    return "script" in vars(type(adapter)) or getattr(adapter, "words", None) is not None


@pytest.fixture(scope="module", params=backend_names())
def reproduced(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reproduced:
    """The scripts of a backend, which saw what the adapter observed; of all kinds at once: importing a framework costs."""
    backend, folder = request.param, tmp_path_factory.mktemp(request.param)
    if not has_words(adapter_or_skip(backend)):
        pytest.skip(f"{backend} has no words for scripts")
    subprocess.run(
        [sys.executable, "-m", "tests.reproducing", backend, str(folder), PUBLISHED, "options"], cwd=ROOT, check=True
    )
    scripts = sorted((folder / "reproducers").glob("*.py"))
    assert not [path.name for path in scripts if MENTIONED.search(path.read_text())]
    results, by_kind = run_all(folder), json.loads((folder / "observed.json").read_text())
    observed = {name: entries for some in by_kind.values() for name, entries in some.items()}
    assert results.keys() == observed.keys() == {path.stem for path in scripts}
    printed = {name: [[value, verdict == "right"] for value, verdict in PRINTED.findall(results[name][1])] for name in results}
    assert printed == observed
    ended = {name: (status, output) for name, (status, output) in results.items()}
    return Reproduced(folder, {kind: list(some) for kind, some in by_kind.items()}, ended)


def test_the_published_deviations_reproduce_to_the_bit(reproduced: Reproduced) -> None:
    results = reproduced.of(PUBLISHED)
    assert {name: output for name, (status, output) in results.items() if status != STANDS} == {}
    script = reproduced.folder / "reproducers" / f"{min(results)}.py"
    alone = run_alone(str(script), cwd=reproduced.folder)
    assert (alone.returncode, alone.stdout) == results[script.stem]


def test_the_words_of_a_script_are_what_the_adapter_runs_under_all_options(reproduced: Reproduced) -> None:
    assert {name: output for name, (status, output) in reproduced.of("options").items() if "expected;" in output} == {}


def test_every_deviation_of_numpy_has_a_script() -> None:
    judge = judge_of(NumpyAdapter())
    misses = [miss for where in one_of_each(published(judge)) if (miss := miss_of(judge, where))]
    assert {miss.name.split()[0] for miss in misses} == {deviation.id for deviation in judge.plan.claims.deviations}
    unsaid = {miss.operation.name for miss in misses if not reproducer(miss, judge.plan.adapter)}
    own = {f"{name}{target}" for name in ("absorption_free", "componentwise") for target in ("", "_probabilities")}
    assert unsaid == own, "this project's own"


EDGES: dict[str, tuple[Problem, Quantity, list[float]]] = {
    "below the least subnormal": (Problem([[0.0, -103.625]], [0], FLOAT32), Quantity.LOSS, [0.0, 2.0**-149, -(2.0**-149)]),
    "above the least subnormal": (Problem([[0.0, -103.25]], [0], FLOAT32), Quantity.LOSS, [0.0, 2.0**-149, -(2.0**-149)]),
    "a value that rounds to 0": (Problem([[0.0, -110.0]], [0], FLOAT32), Quantity.LOSS, [0.0, -(2.0**-149), 2.0**-140]),
    "terms that cancel": (
        Problem([[float(np.float32(-np.log(2.0)))] * 2], [0], FLOAT32),
        Quantity.LOGSUMEXP,
        [1e-9, -1e-9, 0.0, -1e-6],
    ),
    "exactly 1 ulp": (Problem([[0.0]], [0], FLOAT32), Quantity.SOFTMAX, [1.0, 1.0 + 2.0**-23, 1.0 - 2.0**-24]),
    "a sum with an undefined row": (
        Problem([[1.0, 0.0], [-np.inf, -np.inf]], [1, 0], FLOAT32, reduction="sum"),
        Quantity.LOSS,
        [np.nan, np.inf, -np.inf, 123.0, 1.31326163],
    ),
}


@pytest.mark.parametrize("grade", [Grade.STABLE, Grade.ACCURATE, Grade.FAITHFUL, Grade.CORRECT], ids=lambda g: g.label)
@pytest.mark.parametrize("edge", EDGES)
def test_a_script_judges_the_edges_as_a_measurement_does(edge: str, grade: Grade) -> None:
    problem, quantity, observed = EDGES[edge]
    adapter = NumpyAdapter()
    operation = next(op for op in adapter.operations() if op.name == "naive")
    words = adapter.script(Question(operation, Problem([[1.0, 2.0]], [0], FLOAT32), (Quantity.LOSS,)))
    expected, arithmetic = evaluate(problem, [quantity])[quantity], operation.arithmetic["float32"]
    for value in (float(FLOAT32.round(x)) for x in observed):
        found = Measurement(problem, quantity, arithmetic, expected, np.full(expected.values.shape, value))
        with patch.object(NumpyAdapter, "script", lambda *_: words):
            text = reproducer(Miss("edge", operation, found, grade, ()), adapter)
        assert text is not None
        script: dict[str, Any] = {"__name__": "script"}
        exec(text, script)
        right = script["is_right"](value, *script["EXPECTED"][0][1:])
        assert right == (found.grade >= grade), (value, text)


RIGHT_CROSS_ENTROPY = """
import runpy, sys, torch

def right(x, t, reduction):
    wide = x.double()
    top = torch.nn.functional.one_hot(wide.argmax(1), x.shape[1]).bool()
    gaps = wide[top][:, None] - wide
    others = torch.where(top, 0.0, torch.exp(-gaps)).sum(1)
    return (gaps.gather(1, t[:, None])[:, 0] + torch.log1p(others)).to(x.dtype)

if sys.argv[2] == "right":
    torch.nn.functional.cross_entropy = right
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.mark.parametrize("quantity", [Quantity.LOSS, Quantity.GRADIENT, Quantity.HESSIAN])
def test_a_script_ends_with_0_once_the_operation_is_right(quantity: Quantity, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from adapters.torch.backend import TorchAdapter

    judge = judge_of(TorchAdapter())
    case = cases_matching("absorption/gap-20[float32]")[0]
    operation = judge.plan.operations[0]
    (deviation,) = judge.plan.claims.deviations_at(operation, quantity, case)
    miss = miss_of(judge, (deviation, case, operation, quantity))
    assert miss is not None
    text = reproducer(miss, judge.plan.adapter)
    assert text is not None
    (tmp_path / "script.py").write_text(text)
    wrong, right = (run_alone("-c", RIGHT_CROSS_ENTROPY, "script.py", how, cwd=tmp_path) for how in ("wrong", "right"))
    assert (wrong.returncode, right.returncode) == (STANDS, 0), wrong.stderr + right.stdout + right.stderr
    assert "WRONG" not in right.stdout


KERNEL = """
import numpy as np


def kernel(logits, labels):
    m = logits.max(axis=1, keepdims=True){shift}
    powers = np.exp(logits - m)
    total = powers.sum(axis=1, keepdims=True)
    picked = np.take_along_axis(logits - m, labels[:, None], axis=1)
    one_hot = np.arange(logits.shape[1]) == labels[:, None]
    return (np.log(total) - picked)[:, 0], powers / total - one_hot
"""


def test_a_failure_writes_a_script_that_ends_with_0_once_the_kernel_is_repaired(tmp_path: Path) -> None:
    path = tmp_path / "kernel.py"
    path.write_text(KERNEL.format(shift=" * 0"))
    options = ["--claim=stable", "--dtype=float64", "--case=overflow/all-float64", "--report=out"]
    result = run_suites(f"--implementation={path}:kernel", *options, cwd=tmp_path)
    (script,) = (tmp_path / "out" / "reproducers").glob("*-loss~*.py")
    assert f"python out/reproducers/{script.name}" in result.stdout
    assert run_alone(str(script), cwd=tmp_path).returncode == STANDS
    path.write_text(KERNEL.format(shift=""))
    assert run_alone(str(script), cwd=tmp_path).returncode == 0


BREAKS_INVARIANTS = {
    "numpy": """
import numpy as np

calls = [0]


def kernel(logits, labels):
    calls[0] += 1
    loss = -7 - logits[:, 0] - calls[0] % 3
    gradient = -3 - np.arange(logits.shape[1]) - len(logits) + 0 * logits
    return loss.astype(logits.dtype), gradient.astype(logits.dtype)
""",
    "torch": """
def kernel(input, target, reduction="mean", **_):
    return -(input**2).sum(dim=1)
""",
}
BROKEN = {
    "numpy": {
        "test_loss_is_not_negative",
        "test_loss_is_shift_invariant",
        "test_gradient_follows_a_permutation",
        "test_rows_do_not_depend_on_each_other",
        "test_gradient_sums_to_zero",
        "test_loss_lies_above_its_tangents",
        "test_two_runs_give_the_same_bits",
    },
    "torch": {
        "test_loss_is_not_negative",
        "test_loss_is_shift_invariant",
        "test_gradient_sums_to_zero",
        "test_hessian_is_symmetric_with_zero_row_sums",
        "test_loss_is_convex",
        "test_loss_lies_above_its_tangents",
    },
}
"""The invariants that each kernel breaks."""
KEEPS_INVARIANTS = {
    "numpy": KERNEL.format(shift=""),
    "torch": "from torch.nn.functional import cross_entropy as kernel\n",
}


@pytest.mark.parametrize("backend", BROKEN)
def test_a_broken_invariant_writes_a_script_that_ends_with_0_once_the_kernel_is_repaired(backend: str, tmp_path: Path) -> None:
    pytest.importorskip(backend)
    path, folder = tmp_path / "kernel.py", tmp_path / "out"
    path.write_text(BREAKS_INVARIANTS[backend])
    narrow = ("--operation=kernel", "--dtype=float32", "--effort=quick", "-k", "test_invariants", f"--report={folder}")
    status, printed = run_here(f"--backend={backend}", f"--implementation={path}:kernel", *narrow)
    assert status == 1, printed
    assert "no script" not in printed
    named = {name.partition("-kernel")[0]: status for name, (status, _) in run_all(folder).items()}
    # Two runs differ for one cause, whatever the vocabulary; which input is smaller is chance, with a kernel of chance.
    ended = {name.replace("_of_a_large_vocabulary", ""): status for name, status in named.items()}
    assert ended == dict.fromkeys(BROKEN[backend], STANDS)
    path.write_text(KEEPS_INVARIANTS[backend])
    repaired = run_all(folder)
    assert len(repaired) == len(ended)
    assert {name: output for name, (status, output) in repaired.items() if status != 0} == {}


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_the_script_of_an_invariant_adds_up_what_the_adapter_observes(backend: str, tmp_path: Path) -> None:
    adapter = adapter_or_skip(backend)
    asked = tuple((Problem([[top, top + 1.0, top - 1.5]], [1], FLOAT32), Quantity.GRADIENT) for top in (1.0, 9.0))
    terms = ((1.0, 1, (0, 1)), (-1.0, 0, (0, 1)))
    sums: dict[str, float] = {}
    for operation in adapter.operations():
        if operation.mode == "eager" and operation.refusal(asked[0][0]) is None and Quantity.GRADIENT in operation.quantities:
            seen = (adapter.observe(Question(operation, problem, (quantity,))).values[quantity] for problem, quantity in asked)
            here, there = (float(values[0, 1]) for values in seen)
            relation = Relation("another", operation, asked, terms, there, here, 0.0, name=operation.name)
            sums |= {path.stem: there - here for path in write_reproducers([relation], adapter, tmp_path).values()}
    assert len(sums) >= 5
    ran = run_all(tmp_path)
    assert {name: f"\nsum {total!r}; " in ran[name][1] for name, total in sums.items()} == dict.fromkeys(sums, True)


def run_all(folder: Path) -> dict[str, tuple[int, str]]:
    """Exit status and output of all scripts of a report, run in one process."""
    ran = run_alone(str(ROOT / "ci" / "run_reproducers.py"), "--json", str(folder / "reproducers"), cwd=folder)
    results: dict[str, tuple[int, str]] = json.loads(ran.stdout)
    return results


def returned(loss: float) -> Observed:
    return Observed({Quantity.LOSS: np.array([loss])})


def test_an_index_out_of_range_that_is_taken_is_a_script_that_ends_with_0_once_it_raises(tmp_path: Path) -> None:
    (tmp_path / "kernel.py").write_text(
        "def kernel(logits, labels):\n    return logits[range(len(labels)), labels], 0 * logits\n"
    )
    adapter = NumpyAdapter()
    place = f"{tmp_path}/kernel.py:kernel"
    (operation,) = adapter.implementation(load_attribute(place, "--implementation"))
    operation = replace(operation, implementation=place)
    problem = Problem([[1.0, 2.0, 3.0]], [0], FLOAT32).with_unchecked_target([-1])
    text = reproducer(miss_of_label("wraps", "It wraps.", operation, problem, returned(3.0)), adapter)
    assert text is not None
    (tmp_path / "script.py").write_text(text)
    assert run_alone("script.py", cwd=tmp_path).returncode == STANDS
    (tmp_path / "kernel.py").write_text("def kernel(logits, labels):\n    raise IndexError(labels)\n")
    assert run_alone("script.py", cwd=tmp_path).returncode == 0
    (tmp_path / "kernel.py").unlink()
    gone = run_alone("script.py", cwd=tmp_path)
    assert gone.returncode == 2, "a kernel that is not there has no defect that stands"
    assert gone.stdout.startswith("kernel cannot be loaded: FileNotFoundError: ")


def script_of_label(problem: Problem, observed: Observed) -> str | None:
    adapter = NumpyAdapter("cpu")
    operation = next(o for o in adapter.operations() if o.name == "naive")
    return reproducer(miss_of_label("takes-it", "It takes it.", operation, problem, observed), adapter)


def test_rows_without_classes_have_no_script() -> None:
    """There are no words for logits of shape (1, 0), and no bound to sort entries by."""
    assert script_of_label(Problem([[1.0]], [0], FLOAT32).without_classes(), returned(0.0)) is None


def test_an_index_that_ends_the_process_has_no_script() -> None:
    """It would end the script, and the runner of a folder with it."""
    far = Problem([[1.0, 2.0]], [0], FLOAT32).with_unchecked_target([2**31])
    assert script_of_label(far, returned(3.0)) is not None
    assert script_of_label(far, replace(returned(3.0), ended=True)) is None


def test_a_kernel_on_pytorch_that_is_not_listed_has_no_script() -> None:
    pytest.importorskip("torch")
    from adapters.torch.kernels import TorchKernels, kernel

    class Mine(TorchKernels):
        name = "mine"
        package = "torch"
        listed = (kernel("cross_entropy", "mine(x, t)", None, {}),)

    asked = Question(Mine.listed[0], Problem([[1.0, 2.0]], [0], FLOAT32), (Quantity.LOSS,))
    assert Mine("cpu").script(asked) is None
    assert not has_words(Mine("cpu"))


def test_a_library_of_arrays_without_words_has_no_script() -> None:
    class Mine(ArrayAdapter):
        name = "mine"
        packages = ("numpy",)
        listed = (building_block(Quantity.SOFTMAX, "mine(x)", None, {}),)

    asked = Question(Mine.listed[0], Problem([[1.0, 2.0]], [0], FLOAT32), (Quantity.SOFTMAX,))
    assert Mine("cpu").script(asked) is None
    assert not has_words(Mine("cpu"))
    assert has_words(NumpyAdapter())


def test_the_runner_says_which_scripts_stand(tmp_path: Path) -> None:
    for name, body in {"stands": "print('seen'); sys.exit(1)", "gone": "sys.exit(0)", "breaks": "1 / 0"}.items():
        (tmp_path / f"{name}.py").write_text(f"import sys\n{body}\n")
    ran = run_alone(str(ROOT / "ci" / "run_reproducers.py"), str(tmp_path), cwd=tmp_path)
    assert ran.returncode == 1
    assert "exit status 2: breaks\n" in ran.stdout
    assert "ZeroDivisionError" in ran.stdout
    assert ran.stdout.endswith("exit status 0: gone\n\nstands: stands\n1 of 3 reproducers show their defect\n")
    for name in ("gone", "breaks"):
        (tmp_path / f"{name}.py").unlink()
    assert run_alone(str(ROOT / "ci" / "run_reproducers.py"), str(tmp_path), cwd=tmp_path).returncode == 0


def test_an_exception_that_is_not_the_defect_is_neither_0_nor_1(tmp_path: Path) -> None:
    adapter, miss = a_miss()
    text = reproducer(miss, adapter)
    assert text is not None
    (tmp_path / "script.py").write_text(text.replace("scipy.special.", "scipy.general."))
    assert run_alone("script.py", cwd=tmp_path).returncode == 2


NAMES = st.text(st.characters(exclude_categories=()) | st.sampled_from("abAB .-_/@~\0"), max_size=12)
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}


@settings(derandomize=True, database=None)
@given(NAMES, NAMES)
@example("a b", "a/b")
@example("a-b", "a b")
@example("A", "a")
@example("a.", "a")
@example("-a", "a")
@example("\u00e9", "e\u0301")
@example("K", "\u212a")
@example("x" * 300, "x" * 299)
@example("", ".")
@example("con", "CON.txt")
@example("lpt1.loss", "con.")
def test_no_two_names_share_a_file_and_every_file_system_takes_it(first: str, second: str) -> None:
    files = [file_name_of(name) for name in (first, second)]
    assert len({file.lower() for file in files}) == len({first, second})
    for file in files:
        assert re.fullmatch(r"[a-z0-9_@][a-z0-9_.@~-]{0,150}\.py", file)
        assert not file.endswith("..py")
        assert file.partition(".")[0] not in RESERVED


@pytest.mark.parametrize("name", ["scipy-absorption-loss", "log_softmax@compiled", "a.b-2", "x" * 120])
def test_a_plain_name_is_its_file(name: str) -> None:
    assert file_name_of(name) == f"{name}.py"


def test_every_published_deviation_has_a_plain_name() -> None:
    reports = [json.loads(path.read_text()) for path in (ROOT / "ci" / "reports").glob("*.json")]
    scripts = {d["id"]: d["reproducer"] for report in reports for d in report["deviations"] if d["reproducer"]}
    assert len(scripts) > 200
    assert scripts == {name: f"reproducers/{file_name_of(name)}" for name in scripts}


ANY = st.text(st.characters(exclude_categories=()) | st.sampled_from("\"\\'\n\r\0\u202e\u2028\x1b\ud800{}#"))


@settings(derandomize=True, database=None, deadline=None)
@given(name=ANY, reason=ANY, link=ANY, version=ANY)
@example(name="nul", reason="\0", link='"""', version="\\")
@example(name='"', reason='""""', link='x"""""', version='\\"""')
@example(name="\udcff", reason="\u202e", link="\r\n", version="\\N{BULLET}")
def test_whatever_a_script_is_told_it_says_in_its_docstring(name: str, reason: str, link: str, version: str) -> None:
    adapter, found = a_miss()
    miss = replace(found, name=name, story=(reason, link))
    with patch.object(NumpyAdapter, "versions", lambda _: {"numpy": version}):
        text = reproducer(miss, adapter)
    assert text is not None
    said = ast.get_docstring(ast.parse(text), clean=False)
    assert said is not None
    assert printable(said) == said
    words = "".join(said.split())
    for told in (name, reason, link, version):
        assert "".join(printable(told).split()) in words


@cache
def a_miss() -> tuple[Adapter, Miss]:
    """The first that has a script."""
    judge = judge_of(NumpyAdapter())
    return judge.plan.adapter, next(
        miss for where in published(judge) if (miss := miss_of(judge, where)) and reproducer(miss, judge.plan.adapter)
    )


def test_scripts_are_written_whatever_they_are_called_and_say(tmp_path: Path) -> None:
    adapter, found = a_miss()
    misses = [replace(found, name=name, story=("\0\u00e9\u4e2d\udcff",)) for name in ("a b", "a/b", "")]
    written = write_reproducers(misses, adapter, tmp_path)
    assert [written[miss.name].name for miss in misses] == [miss.file_name for miss in misses]
    assert [status for status, _ in run_all(tmp_path).values()] == [STANDS] * 3


def test_a_hostile_name_stays_in_the_folder_and_in_the_docstring() -> None:
    adapter, found = a_miss()
    hostile = Miss('../../x"""\nraise SystemExit(7)\n\\', found.operation, found.measurement, found.missed, ('"""',))
    assert "/" not in hostile.file_name
    assert not hostile.file_name.startswith(".")
    text = reproducer(hostile, adapter)
    assert text is not None
    assert compile(text, "script", "exec").co_consts[0].startswith("../../x")


NUMBERS = st.sampled_from([0.0, -0.0, 1.0, 0.1, -20.0, 5e-324, 1.5e308, math.inf, -math.inf, math.nan])


@settings(derandomize=True, database=None)
@given(st.lists(NUMBERS, max_size=7), st.integers(1, 40), st.lists(NUMBERS, max_size=3), st.integers(1, 3))
def test_a_literal_is_exact(pattern: list[float], times: int, rest: list[float], rows: int) -> None:
    values = np.array([[*(pattern * times), *rest]] * rows)
    written = literal(values)
    again = np.array(eval(written, {"h": float.fromhex}), dtype=np.float64).reshape(values.shape)
    assert values.tobytes() == again.tobytes() or np.isnan(values).any()
    np.testing.assert_array_equal(values, again)


def test_a_literal_of_a_vocabulary_is_short() -> None:
    values = np.resize([1.0, -1.0, 0.5], (4, 128256))
    assert len(literal(values)) < 100
    assert eval(literal(values), {"h": float.fromhex}) == values.tolist()


def test_a_script_is_in_the_layout_of_the_miss() -> None:
    adapter = NumpyAdapter()
    operation = next(op for op in adapter.operations() if op.name == "naive")
    script = adapter.script(Question(operation, Problem([[1.0, 2.0]], [0], FLOAT32), (Quantity.LOSS,), Layout.STRIDED))
    assert script is not None
    assert "x = wide[:, ::2]" in script.inputs
