"""Tests of what a kernel shares with the framework: counted apart, and only what the framework is known to miss."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.numpy.backend import NumpyAdapter
from adapters.operation import Operation
from reference.arithmetic import Arithmetic
from reference.evaluation import evaluate
from reference.formats import FLOAT32
from reference.grades import Grade
from reference.problem import Problem
from reference.quantity import Quantity
from suites.inputs.cases import stored_cases
from suites.judging.claims import Claims, Deviation, Region, Scope
from suites.judging.measurement import Measurement
from suites.judging.outcomes import SHARED
from suites.judging.reproducer import Miss
from suites.judging.sharing import SharedFailure, Sharing, is_no_worse, own_operation
from suites.report.markdown import markdown, summary_markdown
from suites.report.page import page
from suites.report.terminal import summary_lines
from tests.command import ROOT, run_here

NAN, INF = float("nan"), float("inf")

# The unit: what is no worse.

PROBLEM = Problem([[0.0, -INF], [1.0, 2.0]], [[1.0, 0.0], [0.5, 0.5]], FLOAT32)
EXPECTED = evaluate(PROBLEM, (Quantity.LOSS,))[Quantity.LOSS]
RIGHT = FLOAT32.round(EXPECTED.values.approximate())
KNOWN = Deviation("known", Scope(("own",), ("float32",)), (Quantity.LOSS,), (), Grade.FINITE, Grade.NONE, "why", "")
FARTHER = replace(KNOWN, misses=Grade.COMPONENTWISE, reaches=Grade.STABLE)


def measured(losses: Any, error: str | None = None) -> Measurement:
    return Measurement(PROBLEM, Quantity.LOSS, Arithmetic(FLOAT32, FLOAT32), EXPECTED, FLOAT32.round(np.array(losses)), error)


def miss(losses: Any, error: str | None = None) -> Miss:
    operation = next(op for op in NumpyAdapter().operations() if op.probabilities and Quantity.LOSS in op.quantities)
    return Miss("", replace(operation, implementation="kernel.py:own"), measured(losses, error), Grade.STABLE, ())


NAN_FIRST, FAR = (NAN, RIGHT[1]), (RIGHT[0], RIGHT[1] * 1.5)


@pytest.mark.parametrize(
    ("kernel", "framework", "known", "shared"),
    [
        (NAN_FIRST, NAN_FIRST, KNOWN, True),
        ((NAN, NAN), NAN_FIRST, KNOWN, False),
        ((NAN, RIGHT[1] * 1.5), NAN_FIRST, KNOWN, False),
        ((INF, RIGHT[1]), NAN_FIRST, KNOWN, False),
        ((5.0, RIGHT[1]), NAN_FIRST, KNOWN, False),
        ((NAN, RIGHT[1]), (RIGHT[0], NAN), KNOWN, False),
        (NAN_FIRST, (5.0, RIGHT[1]), KNOWN, False),
        (NAN_FIRST, RIGHT, KNOWN, False),
        (FAR, FAR, FARTHER, True),
        ((RIGHT[0], RIGHT[1] * 1.4), FAR, FARTHER, True),
        ((RIGHT[0], RIGHT[1] * 1.6), FAR, FARTHER, False),
        (FAR, FAR, KNOWN, False),
        (FAR, RIGHT, FARTHER, False),
        (FAR, (NAN, NAN), FARTHER, False),
    ],
)
def test_what_is_no_worse_than_the_framework(kernel: Any, framework: Any, known: Deviation, shared: bool) -> None:
    assert measured(kernel).grade < Grade.STABLE
    assert is_no_worse(miss(kernel), measured(framework), (known,)) is shared


def test_an_exception_is_not_shared_and_neither_is_what_nothing_is_known_of() -> None:
    raised = [NAN, NAN]
    assert not is_no_worse(miss(raised, "ValueError: no"), measured(raised), (KNOWN,))
    assert not is_no_worse(miss(raised), measured(raised, "ValueError: no"), (KNOWN,))
    assert not is_no_worse(miss(NAN_FIRST), measured(NAN_FIRST), ())


def sharing(own: Any, *deviations: Deviation) -> Sharing:
    """Of a framework whose main operation returns these losses."""
    return Sharing(NumpyAdapter(), Claims(deviations=deviations), lambda _: [measured(own)], lambda _: pytest.fail("unasked"))


def known_everywhere(**changes: Any) -> Deviation:
    anything = replace(KNOWN, scope=Scope(("*",), ("float32",)), region=Region())
    return replace(anything, **changes)


@pytest.mark.parametrize(
    ("known", "shared"),
    [
        (known_everywhere(), True),
        (known_everywhere(region=Region(hazards=("masked",))), True),
        (known_everywhere(region=Region(hazards=("ties",))), False),
        (known_everywhere(region=None), False),
        (known_everywhere(quantities=(Quantity.GRADIENT,)), False),
        (known_everywhere(scope=Scope(("*",), ("float16",))), False),
        (known_everywhere(scope=Scope(("*",), ("float32",), ("compiled",))), False),
        (known_everywhere(scope=Scope(("other",), ("float32",))), False),
    ],
)
def test_only_what_is_known_at_the_problem_is_shared(known: Deviation, shared: bool) -> None:
    asked = sharing(NAN_FIRST, known)
    assert asked.takes(miss(NAN_FIRST)) is shared
    assert list(asked.found) == ["known"] * shared


def test_a_stored_case_is_known_by_its_name() -> None:
    case = next(case for case in stored_cases() if case.name == "masked/probability-zero")
    asked = sharing(NAN_FIRST, known_everywhere(region=None, cases=("masked/probability-zero",)))
    assert not asked.takes(miss(NAN_FIRST))
    assert asked.takes(miss(NAN_FIRST), case)


def test_a_backends_own_operations_share_nothing() -> None:
    own = miss(NAN_FIRST)
    assert not sharing(NAN_FIRST, known_everywhere()).takes(replace(own, operation=replace(own.operation, implementation=None)))


def test_the_framework_is_asked_in_the_mode_of_the_kernel() -> None:
    found = miss(NAN_FIRST)
    assert own_operation(NumpyAdapter(), found) is not None
    compiled = replace(found, operation=replace(found.operation, mode="compiled"))
    assert own_operation(NumpyAdapter(), compiled) is None
    assert not sharing(NAN_FIRST, known_everywhere()).takes(compiled)


def test_a_test_ends_with_what_was_shared_in_it_and_with_nothing_of_the_test_before() -> None:
    asked = sharing(NAN_FIRST, known_everywhere())
    assert asked.takes(miss(NAN_FIRST))
    with pytest.raises(SharedFailure, match="^numpy's own .* misses this too, known: why$"):
        asked.end_test()
    asked.begin_test()
    asked.end_test()


# Who took the mean.


def test_a_failure_says_that_the_adapter_took_the_mean() -> None:
    kernel = Operation("mine", "mine(x, t)", None, {}, per_row=True)
    said = "the adapter takes the mean of what mine returns for each row"
    problem = Problem([[0.0, 1.0]], [0], FLOAT32, reduction="mean")  # type: ignore[arg-type]
    assert kernel.reduced_by_adapter(problem) == said
    assert kernel.reduced_by_adapter(problem.replace(reduction="none")) == ""
    assert replace(kernel, per_row=False).reduced_by_adapter(problem) == ""


PER_ROW = """
import jax.numpy as jnp
import optax

def mine(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)

def worse(logits, labels):
    losses = mine(logits, labels)
    return jnp.where(losses > 1e38, jnp.nan, losses)
"""
MEANS = ("--backend=jax", "--claim=stable", "--dtype=float32", "--effort=quick", "--case=reductions/mean-of-large-float32")


def test_the_mean_that_the_adapter_takes_is_told_and_fails_no_kernel_of_single_rows(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    (tmp_path / "rows.py").write_text(PER_ROW)
    taken = "the adapter takes the mean of what {} returns for each row"
    status, printed = run_here(f"--implementation={tmp_path / 'rows.py'}:mine", *MEANS)
    assert status == 0, printed
    assert "jax-mean-overflows-before-division" in printed
    assert taken.format("mine") in printed
    status, printed = run_here(f"--implementation={tmp_path / 'rows.py'}:worse", *MEANS)
    assert status == 1, printed
    (told, *_) = (line for line in printed.splitlines() if line.startswith("input  : "))
    assert f"reduction=mean ({taken.format('worse')})" in told


# A run.

KERNELS = """
import torch
import torch.nn.functional as F
from adapters.arithmetic import arithmetic

def kernel(change):
    @arithmetic(composed=True)
    def mine(input, target, **options):
        return change(F.cross_entropy(input, target, **options), input)
    return mine

def _nan_for_inf(losses, x):
    return torch.where(torch.isinf(losses), losses * 0, losses)

def _all_rows(losses, x):
    return losses + 0 * losses.sum()

def _lower(losses, x):
    return torch.where(losses < 0.02, losses * 0.875, losses)

def _twice_the_gradient(losses, x):
    return 2 * losses - losses.detach()

same = kernel(lambda losses, x: losses)
nan_for_inf, all_rows, lower, twice_the_gradient = map(kernel, (_nan_for_inf, _all_rows, _lower, _twice_the_gradient))
"""
QUICK = ("--backend=torch", "--claim=stable", "--dtype=float32", "--effort=quick")
DEVIATING = ("-k", "mean-of-large or thousand-classes-maximum-first or test_masked or probability-zero")


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    pytest.importorskip("torch")
    path = tmp_path / "kernels.py"
    path.write_text(KERNELS)
    return path


def ran(kernels: Path, name: str, *options: str) -> tuple[int, str, dict[str, Any]]:
    folder = kernels.parent / name
    status, printed = run_here(*QUICK, f"--implementation={kernels}:{name}", f"--report={folder}", *DEVIATING, *options)
    (path,) = folder.glob("report-*.json")
    return status, printed, json.loads(path.read_text())


def test_a_kernel_that_is_the_frameworks_is_accepted_and_told_what_it_shares(kernels: Path) -> None:
    status, printed, made = ran(kernels, "same")
    assert status == 0, printed
    assert made["tests"]["failed"] == 0
    shared = made["tests"][SHARED]
    assert shared > 3
    last = printed.splitlines()[-1]
    assert f", {shared} failures shared with torch's own cross_entropy" in last
    assert "; every other claim held" in last
    named = {entry["deviation"] for entry in made["shared_with_the_framework"]}
    assert {"torch-mean-overflows-before-division", "torch-probability-zero-at-minus-infinity"} < named
    functions = {test.partition("[")[0] for entry in made["shared_with_the_framework"] for test in entry["tests"]}
    assert functions == {"test_case", "test_masked"}
    forms = ("\n".join(summary_lines(made)), markdown(made), summary_markdown(made), page(made))
    assert all(name in form and "--fail-shared" in form for name in named for form in forms)
    assert not any(result["reached"] in ("none", "finite") for result in made["results"] if result["problems"])


def test_what_is_shared_fails_where_that_is_asked_for_and_its_command_fails_too(kernels: Path) -> None:
    accepted, (status, printed, made) = ran(kernels, "same")[2], ran(kernels, "same", "--fail-shared")
    assert status == 1
    assert made["tests"]["failed"] == accepted["tests"][SHARED]
    assert made["tests"][SHARED] == 0
    assert "shared" not in printed.splitlines()[-1]
    assert all(" --fail-shared " in cause["lines"]["repro"] for cause in made["failures"])
    assert all("misses 'stable' too at this input" in cause["lines"]["beside"] for cause in made["failures"])


WORSE = {
    "nan_for_inf": ("stable", "XFAIL", "test_case[reductions/mean-of-large-float32[float32]-mine-loss]"),
    "all_rows": ("stable", "XFAIL", "test_masked[mine_probabilities-float32]"),
    "lower": ("componentwise", "XFAIL", "test_case[absorption/thousand-classes-maximum-first[float32]-mine-loss]"),
    "twice_the_gradient": ("stable", "PASSED", "test_case[reductions/mean-of-large-float32[float32]-mine-gradient]"),
}
"""Planted kernels: the grade claimed, and how the kernel that is the framework's ends the test that they fail."""


@pytest.mark.parametrize("name", WORSE)
def test_a_kernel_that_is_worse_where_the_framework_deviates_fails(kernels: Path, name: str) -> None:
    claim, ends, test = WORSE[name]
    words = " and ".join(word for word in re.split(r"[^\w]", test) if word and word != "case")
    for tried, ending in ((name, "FAILED"), ("same", ends)):
        options = (f"--claim={claim}", f"--implementation={kernels}:{tried}", "-k", words, "-rA")
        status, printed = run_here(*QUICK[:1], *QUICK[2:], *options)
        assert status == (ending == "FAILED"), printed
        ended = [line.partition(" ")[0] for line in printed.splitlines() if f"::{test}" in line]
        assert ended == [ending], printed


def test_a_right_kernel_shares_nothing() -> None:
    pytest.importorskip("torch")
    right = f"--implementation={ROOT / 'tests' / 'planted' / 'kernel.py'}:right"
    status, printed = run_here(*QUICK, right, *DEVIATING)
    assert status == 0, printed
    assert "shared with" not in printed


def test_the_frameworks_own_operations_share_nothing() -> None:
    pytest.importorskip("torch")
    status, printed = run_here(*QUICK[:1], *QUICK[2:], "--operation=cross_entropy", *DEVIATING)
    assert status == 0, printed
    assert " showed what is known" in printed.splitlines()[-1]
    assert "shared with" not in printed


def test_a_grade_that_the_framework_does_not_claim_is_no_deviation(kernels: Path) -> None:
    higher = (*QUICK, "--claim=componentwise", "-k", "test_absorption")
    status, printed = run_here(*higher, f"--implementation={kernels}:same")
    assert status == 1, printed
    assert "misses 'componentwise' too at this input" in printed


LABELS = """
import optax

def mine(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)

def other(logits, labels):
    return mine(logits, labels) + 1.0 * (labels < 0)
"""


@pytest.mark.parametrize(("name", "expected"), [("mine", 0), ("other", 1)])
def test_a_label_out_of_range_is_shared_if_the_same_is_returned(tmp_path: Path, name: str, expected: int) -> None:
    pytest.importorskip("jax")
    (tmp_path / "labels.py").write_text(LABELS)
    options = ("--claim=stable", "--dtype=float32", "-k", "test_out_of_range_label and -1")
    status, printed = run_here("--backend=jax", f"--implementation={tmp_path / 'labels.py'}:{name}", *options)
    assert status == expected, printed
    assert ("jax-negative-index" in printed) is (expected == 0)


def test_the_option_needs_a_kernel() -> None:
    status, printed = run_here("--fail-shared")
    assert status == 4
    assert "--fail-shared: it fails what is shared of an --implementation; give that too, or leave it out" in printed
