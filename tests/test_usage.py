"""Sequences of calls: each is played as it is said, shows a kernel with state, and is told in a failure and in its script."""

from __future__ import annotations

import itertools
import shlex
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from adapters.adapter import Adapter, Observed
from adapters.limits import Limit
from adapters.loading import load_adapter, load_attribute
from adapters.numpy.backend import NumpyAdapter
from adapters.operation import OF_LAYER, Operation
from adapters.question import Question
from adapters.usage import PLAIN_ONLY, USAGES, Usage, other_batch
from reference import FLOAT32, FORMATS, Problem, Quantity
from reference.grades import Grade
from reference.problem import layer_of
from suites.judging.judge import NO_SCRIPT
from suites.judging.reproducer import STANDS, Miss, entries_of, write_reproducers
from suites.report.load import load_report
from tests.command import QUICKLY, ROOT, first_failures, run_here
from tests.documents import ADAPTERS
from tests.planted.rounded import CorrectlyRounded
from tests.planted.shared import shared
from tests.reproducing import judge_of
from tests.test_reproducers import KERNEL as NUMPY_KERNEL
from tests.test_reproducers import PRINTED, run_all

SOFT = Problem([[1.0, 2.0, -3.0], [0.5, -1.0, 4.0]], np.full((2, 3), 0.25), FLOAT32, cotangent=[2.0, -0.5])
LAYERED = Problem.of_layer(
    {
        "features": [[1.5, -0.25], [0.375, 2.0], [-1.25, 0.75]],
        "weight": [[0.5, 1.25], [-1.5, 0.25], [0.875, -0.5], [2.0, 0.125]],
        "bias": [0.25, -0.5, 1.0, 0.0],
    },
    [2, 0, 3],
    "float32",
    cotangent=[2.0, -0.5, 3.0],
)
HARD = SOFT.replace(target=[1, 0])
BACKENDS = ("jax", "numpy", "tensorflow", "torch")
TO_THE_BIT = ("numpy", "tensorflow", "torch")
"""Those that compute a loss in one way, whatever it is called in; XLA compiles what it is given as a whole."""
WITH_WORDS = ("numpy", "torch")


def adapter_of(backend: str) -> Adapter:
    pytest.importorskip(backend)
    return load_adapter(backend, "cpu")


def played(adapter: Adapter) -> list[tuple[Operation, Usage]]:
    """What a backend plays beside plain calls."""
    return [(op, usage) for op in adapter.operations() for usage in adapter.usages(op) if usage is not Usage.PLAIN]


def problem_of(operation: Operation, usage: Usage) -> Problem:
    problem = SOFT if operation.probabilities else LAYERED if operation.is_layer else HARD
    if problem.format.name not in operation.arithmetic:
        problem = problem.replace(format=FORMATS["bfloat16"])  # its numbers have few digits
    return problem.replace(cotangent=None) if usage is Usage.SUMMED else problem


@pytest.mark.parametrize("backend", TO_THE_BIT)
def test_a_usage_returns_what_a_plain_call_does(backend: str) -> None:
    """To the bit: the operations of the frameworks have no state."""
    adapter = adapter_of(backend)
    for operation, usage in played(adapter):
        problem, quantities = problem_of(operation, usage), operation.quantities_in(usage)
        there = adapter.observe(Question(operation, problem, quantities, usage=usage))
        plain = adapter.observe(Question(operation, problem, operation.asked(problem)))
        assert (there.error, there.violations) == (None, ()), (operation.label, usage)
        for quantity in quantities:
            assert there.values[quantity].tolist() == plain.values[quantity].tolist(), (operation.label, usage)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_usage_of_a_backend_is_asked_of_its_main_operations(backend: str) -> None:
    adapter = adapter_of(backend)
    main = [operation for operation in adapter.operations() if operation.name in adapter.main]
    every = set(itertools.chain.from_iterable(adapter.usages(operation) for operation in adapter.operations()))
    assert {usage for operation in main for usage in adapter.usages(operation)} == every
    assert every >= {Usage.PLAIN, Usage.KEPT, Usage.THREADED}


def test_the_readme_lists_them() -> None:
    listed = {row[0]: row[1].split(", ") for row in ADAPTERS.table("Usages")}
    assert set(listed) == set(BACKENDS)
    for backend, usages in listed.items():
        adapter = adapter_of(backend)
        assert usages == [usage for usage in USAGES if any(usage in adapter.usages(op) for op in adapter.operations())]


SHOWN = (
    (Usage.NO_GRAD, "InferenceInBfloat16"),
    (Usage.INFERENCE_MODE, "CountsVersions"),
    (Usage.INTERLEAVED, "LastForwardCounts"),
    (Usage.INTERLEAVED_ALIKE, "WorkspaceOfShape"),
    (Usage.KEPT, "GradientsInOneBuffer"),
    (Usage.TWICE, "ScalesSavedGradient"),
    (Usage.FIRST_OF_TWO, "GradientsInOneBuffer"),
    (Usage.SHARED, "ShiftsAndRestores"),
    (Usage.SHARED, "BorrowsLogits"),
    (Usage.REUSED, "MaximumOnce"),
    (Usage.ACCUMULATED, "GradientOnce"),
    (Usage.NON_LEAF, "LeavesAlone"),
    (Usage.SUMMED, "IgnoresStrideOfCotangent"),
    (Usage.THREADED, "WorkspaceOfThread"),
    (Usage.CHECKPOINTED, "KeepsLossesOfTarget"),
    (Usage.CHECKPOINTED_REENTRANT, "InferenceInBfloat16"),
)


@pytest.mark.parametrize(("usage", "kernel"), SHOWN)
def test_each_usage_of_torch_shows_a_kernel_that_plain_calls_do_not(usage: Usage, kernel: str) -> None:
    adapter = adapter_of("torch")
    planted = import_module("tests.planted.usages")
    operation, *_ = adapter.implementation(getattr(planted, kernel))
    right, *_ = adapter.implementation(import_module("tests.planted.kernel").right)
    problem = problem_of(operation, usage)
    plain, due = (adapter.observe(Question(op, problem, usage.quantities)) for op in (operation, right))
    there, kept = (adapter.observe(Question(op, problem, usage.quantities, usage=usage)) for op in (operation, right))
    assert answer(plain) == answer(due) == answer(kept)
    assert answer(there) != answer(due)


def test_every_usage_of_torch_is_shown() -> None:
    adapter = adapter_of("torch")
    assert {usage for usage, _ in SHOWN} == {usage for _, usage in played(adapter)}


def answer(observed: Observed) -> tuple[object, ...]:
    """All that can be wrong with it."""
    return observed.error, observed.violations, {quantity: values.tolist() for quantity, values in observed.values.items()}


def test_another_batch_differs_and_is_allowed() -> None:
    for problem, fmt in itertools.product((SOFT, HARD), FORMATS.values()):
        given = problem.replace(format=fmt, reduction="mean", cotangent=3.0, class_weights=[1.0, 2.0, 0.5])
        other = other_batch(given, 3, 4)
        assert (other.logits.shape, other.target.ndim, other.upstream.shape) == ((3, 4), problem.target.ndim, ())
        assert other.reduction == "mean"
        assert np.isfinite(other.logits).all()


def test_another_batch_of_a_layer_has_one_too() -> None:
    """As wide as the layer itself, and without a bias where that has none."""
    operation = next(each for each in adapter_of("torch").operations() if each.is_layer)
    for problem in (LAYERED, LAYERED.replace(logits=None, bias=None)):
        other = layer_of(Question(operation, problem, OF_LAYER, usage=Usage.INTERLEAVED).other)
        assert (other.features.shape, other.weight.shape) == ((4, 2), (5, 2))
        assert (other.bias is None) == (layer_of(problem).bias is None)


def test_another_batch_keeps_to_the_limits() -> None:
    (operation,) = NumpyAdapter().implementation(lambda x, t: (x, t))
    operation = operation.within((Limit("tiles", classes_multiple_of=8, max_classes=64),), "cpu")
    for classes, wider in ((8, 16), (64, 64)):
        problem = Problem([[0.0] * classes], [0], FLOAT32)
        shapes = {usage: Question(operation, problem, (Quantity.LOSS,), usage=usage).other.logits.shape for usage in Usage}
        assert shapes.pop(Usage.INTERLEAVED) == (2, wider)
        assert set(shapes.values()) == {(1, classes)}


def with_words(adapter: Adapter, folder: Path) -> list[tuple[Operation, Usage]]:
    """What a backend plays and says in scripts: of numpy the calls of a kernel alone; little of what a script must compile."""
    if not isinstance(adapter, NumpyAdapter):
        return [(op, usage) for op, usage in played(adapter) if op.mode != "compiled" or usage is Usage.INTERLEAVED]
    (folder / "kernel.py").write_text(NUMPY_KERNEL.format(shift=""))
    place = f"{folder / 'kernel.py'}:kernel"
    (operation,) = adapter.implementation(load_attribute(place, "--implementation"))
    return [(replace(operation, implementation=place), usage) for usage in adapter.usages(operation)[1:]]


def _asked(operation: Operation, usage: Usage) -> Question:
    return Question(operation, problem_of(operation, usage), operation.quantities_in(usage), usage=usage)


@pytest.mark.parametrize("backend", WITH_WORDS)
def test_the_script_of_a_usage_returns_the_bits_of_the_adapter(backend: str, tmp_path: Path) -> None:
    judge = judge_of(adapter_of(backend))
    observed: dict[str, list[str]] = {}
    asked = with_words(judge.plan.adapter, tmp_path)
    for operation, usage in asked:
        for found in judge.measure(_asked(operation, usage)):
            name = f"{operation.label} {usage} {found.quantity}"
            miss = Miss(name, operation, found, Grade.CORRECT, (), usage=usage)
            for path in write_reproducers([miss], judge.plan.adapter, tmp_path).values():
                observed[path.stem] = [float(found.observed[index]).hex() for index in entries_of(miss)]
    ran = run_all(tmp_path)
    printed = {name: [value for value, _ in PRINTED.findall(output)] for name, (_, output) in ran.items()}
    assert printed == observed
    assert len(observed) > len(asked) > 2


def test_a_script_has_no_words_for_class_weights_beside_other_classes() -> None:
    adapter = adapter_of("torch")
    operation = next(operation for operation in adapter.operations() if operation.name == "cross_entropy")
    weighted = HARD.replace(class_weights=[1.0, 2.0, 0.5])
    for usage, there in ((Usage.INTERLEAVED, False), (Usage.INTERLEAVED_ALIKE, True)):
        assert (adapter.script(Question(operation, weighted, (Quantity.LOSS,), usage=usage)) is not None) == there


KERNEL = """
import torch


class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, target):
        ctx.gradient = logits.softmax(1) - torch.nn.functional.one_hot(target, logits.shape[1])
        return torch.nn.functional.cross_entropy(logits, target, reduction="none")

    @staticmethod
    def backward(ctx, upstream):
        return ctx.gradient.{scaled}(upstream[:, None]), None


def kernel(input, target, reduction="mean"):
    losses = Scaled.apply(input, target)
    return losses if reduction == "none" else getattr(losses, reduction)()
"""
NARROW = ("--operation=kernel", "--dtype=float32", "--claim=stable", "--effort=quick", "-k", "test_usage")


def test_a_failure_names_its_usage_and_has_a_command_and_a_script_that_show_it(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path, folder = tmp_path / "kernel.py", tmp_path / "out"
    path.write_text(KERNEL.format(scaled="mul_"))
    given = ("--backend=torch", f"--implementation={path}:kernel", f"--report={folder}")
    status, failed = first_failures(*given, *NARROW)
    lines = failed["test_usage"].splitlines()
    assert (status, lines[0].endswith("in usage 'twice'")) == (1, True), failed
    status, printed = run_here(*QUICKLY, "-vv", *shlex.split(lines[-1].partition("pytest suites/ ")[2]))
    assert (status, f"{lines[0]}\n" in printed) == (1, True), printed
    causes = [failure["cause"] for failure in load_report(folder)["failures"]]
    assert causes == ["gradient: beyond what 'stable' allows, in a sequence of calls"]
    assert {status for status, _ in run_all(folder).values()} == {STANDS}
    path.write_text(KERNEL.format(scaled="mul"))
    assert {status for status, _ in run_all(folder).values()} == {0}
    assert run_here(*QUICKLY, *given, *NARROW)[0] == 0


def test_a_backend_without_words_is_told_to_have_none(tmp_path: Path) -> None:
    backend = f"--backend={ROOT / 'tests' / 'failing.py'}:Failing"
    _, failed = first_failures(backend, "--operation=forgetful", "--dtype=float32", f"--report={tmp_path}", "-k", "test_usage")
    told = NO_SCRIPT.format("failing", "forgetful in usage 'kept'")
    assert failed["test_usage"].endswith(f"  # {told}")


STATEFUL = ("jax", "numpy", "tensorflow")


def judged(backend: str, kernel: str, usage: str = "test_usage") -> str:
    """The first message of test_usage about a kernel of tests/stateful/, in a usage or in any; nothing if it passes."""
    place = f"--implementation={ROOT / 'tests' / 'stateful' / backend}_kernels.py:{kernel}"
    narrow = ("--dtype=float32", "--claim=stable", "--effort=quick", "-x", "-k", f"test_usage and {usage}")
    with shared():
        status, failed = first_failures(f"--backend={backend}", place, *narrow)
    assert status == bool(failed)
    return failed.get("test_usage", "")


@pytest.mark.parametrize("backend", STATEFUL)
def test_kernels_with_state_are_rejected_in_the_usage_that_shows_it(backend: str) -> None:
    pytest.importorskip(backend)
    for kernel, usage in import_module(f"tests.stateful.{backend}_kernels").USAGE.items():
        assert f"in usage {usage!r}\n" in judged(backend, kernel.__name__, usage), kernel.__name__


@pytest.mark.parametrize("backend", STATEFUL)
def test_kernels_without_state_are_not(backend: str) -> None:
    pytest.importorskip(backend)
    assert judged(backend, "right") == ""


def test_the_main_operation_of_jax_is_not() -> None:
    pytest.importorskip("jax")
    narrow = ("--operation=softmax_cross_entropy_with_integer_labels", "--dtype=float32", "--effort=quick", "-k", "test_usage")
    assert first_failures("--backend=jax", *narrow) == (0, {})


def test_a_usage_is_played_in_another_process_too() -> None:
    place = f"--implementation={ROOT / 'tests' / 'stateful' / 'numpy_kernels.py'}:buffered"
    narrow = ("--dtype=float32", "--claim=stable", "--effort=quick", "--isolate", "-x", "-k", "test_usage")
    _, failed = first_failures(place, *narrow)
    assert "in usage 'kept'\n" in failed["test_usage"]


REFUSES = """
from torch.nn.functional import cross_entropy


def kernel(input, target, **options):
    if input.shape[1] == 6:
        raise NotImplementedError("not six classes")
    return cross_entropy(input, target, **options)
"""


def test_a_shape_that_is_refused_is_passed_over(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "kernel.py").write_text(REFUSES)
    status, printed = run_here("--backend=torch", f"--implementation={tmp_path / 'kernel.py'}:kernel", *NARROW)
    assert (status, "15 passed" in printed) == (0, True), printed


LIMITED = """
from adapters.limits import limits
from torch.nn.functional import cross_entropy


@limits("one graph at a time", usages=["no_grad", "kept"])
@limits("overwrites", overwrites=["logits"])
def kernel(input, target, **options):
    return cross_entropy(input, target, **options)
"""


def test_a_declared_limit_leaves_usages_and_is_told(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "kernel.py").write_text(LIMITED)
    status, printed = run_here("--backend=torch", f"--implementation={tmp_path / 'kernel.py'}:kernel", *NARROW, "-rs")
    assert status == 0, printed
    assert "2 passed, 13 skipped" in printed
    assert "declared limit: usages no_grad, kept only: one graph at a time" in printed


def test_what_overwrites_its_logits_is_not_asked_where_others_read_them() -> None:
    limit = Limit("in place", overwrites=("logits",))
    left_out = {usage for usage in USAGES if not limit.bears(usage)}
    assert left_out == {Usage.SHARED, Usage.ACCUMULATED, Usage.CHECKPOINTED, Usage.CHECKPOINTED_REENTRANT}


def test_a_backend_that_says_nothing_plays_plain_calls_alone() -> None:
    adapter = CorrectlyRounded()
    assert {adapter.usages(operation) for operation in adapter.operations()} == {PLAIN_ONLY}
