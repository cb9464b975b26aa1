"""Kernels in the form of a benchmark: what its check lets pass and the suites reject, and how they are told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from softmax_ce_conformance.carry import Load
from softmax_ce_conformance.forms import kernelbench, place_in
from softmax_ce_conformance.run import ANSWERED_NOTHING, USAGE

from adapters.limits import Limit, limits_of
from adapters.operation import Operation
from adapters.question import Question
from reference import Arithmetic, Problem, Quantity, Reduction
from tests.command import first_failures
from tests.kernelbench import CANDIDATES, RIGHT, TOLERANCES, allowed, inputs, names, story
from tests.kernelbench.__main__ import PAGE
from tests.planted.shared import shared

ABOUT = {
    "cached_by_address": "test_usage",
    "cached_forever": "test_two_runs_give_the_same_bits",
    "clamped": "test_loss",
    "constant": "test_loss",
    "epsilon": "test_absorption",
    "few_classes": "test_sizes",
    "few_rows": "test_many_rows",
    "fixed_shape": "test_sizes",
    "half": "test_absorption",
    "hides_gradient": "test_gradient",
    "hides_nan": "test_nonfinite",
    "ignores_targets": "test_gradient",
    "log_classes": "test_loss",
    "moments": "test_loss",
    "narrow_labels": "test_large_vocabulary",
    "no_shift": "test_loss",
    "other_rows_gradient": "test_loss",
    "overwrites": "test_loss",
    "polynomial": "test_loss",
    "refuses_gradient": "test_loss",
    "refuses_shapes": "test_sizes",
    "whole_tiles": "test_many_rows",
    "wrong_gradient": "test_usage",
}
"""The test that is about the mistake of each wrong candidate."""


def kernel_of(name: str, folder: Path) -> str:
    """Where a candidate is, as a kernel."""
    return Load(str(CANDIDATES / f"{name}.py"), form="kernelbench").place(folder)


def failed(name: str, folder: Path, *options: str) -> dict[str, str]:
    """The tests that it fails, as a run of its form asks them but for --isolate."""
    place = kernel_of(name, folder)
    asked = ("--backend=torch", f"--implementation={place}", "--dtype=float32", "--claim=stable", "--effort=quick", *options)
    with shared():
        return first_failures(*asked)[1]


@pytest.mark.parametrize("name", ABOUT)
def test_what_the_benchmark_lets_pass_is_rejected(name: str, tmp_path: Path) -> None:
    """Its own check is asked 1024 rows of the same distribution: 32768 take 500 MB, and are on the page."""
    logits, labels = inputs(1024)
    assert TOLERANCES[0] in allowed(name, (logits.clone(), labels)).at
    assert failed(name, tmp_path, "-x", "-k", ABOUT[name])


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_passes_both(name: str, tmp_path: Path) -> None:
    """One is asked everything here, the others the stored cases; on the page all are asked everything."""
    assert allowed(name, inputs(1024)).at == TOLERANCES
    assert not failed(name, tmp_path, *([] if name == "right" else ["--case=*"]))


def test_every_candidate_is_on_the_page_with_what_both_checks_say() -> None:
    assert set(names()) == {*ABOUT, *RIGHT}
    rows = dict(re.findall(r"^\| `(\w+)` +\| (.*) \|$", PAGE.read_text(), flags=re.MULTILINE))
    assert set(rows) == set(names())
    for name, row in rows.items():
        told, loose, tight, said = (cell.strip() for cell in row.split(" | "))
        assert told == story(name)
        assert loose == "passes"
        assert tight in ("passes", "fails")
        assert said.startswith("pass:" if name in RIGHT else "reject, ")
    tight = sum(" | passes | passes | reject" in re.sub(" +", " ", row) for row in rows.values())
    assert f"Of {len(ABOUT)} wrong ones its check lets {len(ABOUT)} pass at 1e-2 and {tight} at" in PAGE.read_text()


def test_the_command_returns_one_verdict(tmp_path: Path) -> None:
    """In isolation, as the form asks for; which parts of PyTorch it calls is said."""
    command = [sys.executable, "-m", "softmax_ce_conformance", "judge", "--form=kernelbench", "--json", "--case=reductions/*"]
    done = subprocess.run(
        [*command, str(CANDIDATES / "framework.py")], cwd=tmp_path, text=True, capture_output=True, check=False, timeout=200
    )
    told = json.loads(done.stdout)
    assert (done.returncode, told["verdict"], told["holds"]) == (0, "REDUCED", True), done.stderr
    assert "shared with torch's own cross_entropy (torch-mean-overflows-before-division" in told["reason"]
    (limit,) = told["limits"]
    assert "the mean of the losses only" in limit
    assert limit.endswith("it calls aten._log_softmax, aten.nll_loss_forward of PyTorch")


MODULE = "import os, sys, time, torch\nfrom torch.nn.functional import cross_entropy\n"


def candidate(folder: Path, text: str) -> Path:
    """A file of a candidate, whose text begins in its third line."""
    file = folder / "candidate.py"
    file.write_text(MODULE + text)
    return file


def forward(*lines: str) -> str:
    """A class whose forward has these lines, the first of which is the fifth of its file."""
    body = "".join(f"        {line}\n" for line in lines)
    return f"class ModelNew(torch.nn.Module):\n    def forward(self, x, t):\n{body}"


def init(*lines: str) -> str:
    """The same of its __init__."""
    return forward(*lines).replace("forward(self, x, t)", "__init__(self)")


def told_of(file: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit status of the command, and the JSON that it prints."""
    command = [sys.executable, "-m", "softmax_ce_conformance", "judge", str(file), "--form=kernelbench", "--json", *options]
    done = subprocess.run(command, cwd=file.parent, text=True, capture_output=True, check=False, timeout=400)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("class Other:\n    pass\n", "has no 'ModelNew'; it has: os, sys, time, torch, cross_entropy, Other; allowed: a class"),
        ("import no_such_package\n", "No module named 'no_such_package' (candidate.py, line 3)"),
        ("def f(:\n", "SyntaxError: invalid syntax (candidate.py, line 3)"),
        ("class ModelNew:\n    def __init__(self, size):\n        pass\n", "missing 1 required positional argument: 'size'"),
        ("ModelNew = 3\n", "3 was given; allowed: a class ModelNew or Model, whose forward takes (predictions, targets)"),
        (init("raise ValueError('no')"), "ModelNew() raised ValueError: no (candidate.py, line 5)"),
        (init("sys.exit(3)"), "ModelNew() raised SystemExit: 3 (candidate.py, line 5)"),
        (init("raise type('Odd', (BaseException,), {})('no')"), "ModelNew() raised Odd: no (candidate.py, line 5)"),
        (init("os._exit(3)"), "a first call of ModelNew() (candidate.py): its process ended itself with exit status 3"),
        (forward("os._exit(3)"), "a first call of ModelNew.forward at 4 x 8 (candidate.py): its process ended itself with"),
        (
            f"{forward('pass')}def get_init_inputs():\n    sys.exit()\n",
            "get_init_inputs() raised SystemExit (candidate.py, line 7)",
        ),
    ],
)
def test_what_is_no_candidate_is_said_of_its_own_file(text: str, says: str, tmp_path: Path) -> None:
    status, told = told_of(candidate(tmp_path, text))
    assert (status, told["verdict"]) == (USAGE, None)
    assert says in told["reason"]
    assert "sent" not in told["reason"]


@pytest.mark.parametrize(("text", "what"), [(init, "ModelNew()"), (forward, "ModelNew.forward at 4 x 8")])
def test_a_first_call_that_hangs_ends_after_the_time_of_a_call(text: Any, what: str, tmp_path: Path) -> None:
    began = time.monotonic()
    status, told = told_of(candidate(tmp_path, text("time.sleep(10000)")), "--call-timeout=2")
    assert status == USAGE
    assert told["reason"].startswith(f"--isolate: a first call of {what} (candidate.py) took longer than --call-timeout: ")
    assert "did not return within 2 s" in told["reason"]
    assert time.monotonic() - began < 300  # of which PyTorch takes some to load; it was 600


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("sys.exit(3)", "called sys.exit(#) (candidate.py, line 5)"),
        ("raise type('Odd', (BaseException,), {})('no')", "Odd: no (candidate.py, line 5)"),
        ("return cross_entropy(x, t, reduction='none')", "ModelNew returned losses of shape (#,), asked for ()"),
        ("return cross_entropy(x, t).double()", "returned loss as float64, asked for float32"),
    ],
)
def test_what_a_forward_does_is_said_of_its_own_file(line: str, says: str, tmp_path: Path) -> None:
    status, told = told_of(candidate(tmp_path, forward(line)), "--case=reductions/*", "-x")
    assert (status, told["verdict"]) == (ANSWERED_NOTHING, "FAILS")
    assert told["failures"][0]["cause"].startswith(says)


def test_that_no_gradient_was_judged_is_said(tmp_path: Path) -> None:
    file = candidate(tmp_path, forward("return cross_entropy(x, t).detach()"))
    status, told = told_of(file, "--case=reductions/*")
    assert (status, told["holds"]) == (0, True)
    assert "its result has no gradient, so no gradient was judged" in told["limits"][0]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("class Model:\n    pass\n", "Model"),
        ("class Model:\n    pass\nclass ModelNew:\n    pass\n", "ModelNew"),
        ("class Model:\n    pass\n# class ModelNew\nclass ModelNewer:\n    pass\n", "Model"),
        ("'class ModelNew'\nclass Model:\n    'like class ModelNew'\n", "Model"),
        ("class Model:\n    class ModelNew:\n        pass\n", "Model"),
        ("def made():\n    ModelNew = 1\nclass Model:\n    pass\n", "Model"),
        ("class Model:\n    pass\nif True:\n    try:\n        class ModelNew: ...\n    finally:\n        pass\n", "ModelNew"),
        ("class Model:\n    pass\nModelNew = Model\n", "ModelNew"),
        ("class Model:\n    pass\nfrom x import y as ModelNew\n", "ModelNew"),
        ("class (", "ModelNew"),
    ],
)
def test_a_file_names_the_class_that_it_has(text: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / "problem.py"
    file.write_text(text)
    assert place_in(str(file)) == f"{file}:{name}"
    assert place_in(f"{file}:Other") == f"{file}:Other"


def test_a_candidate_that_takes_tiles_alone_is_looked_at_too(tmp_path: Path) -> None:
    """What it calls says by which arithmetic it is judged, and whether its result has a gradient."""
    file = tmp_path / "tiles.py"
    head = (
        "import torch\n\nclass ModelNew(torch.nn.Module):\n    def forward(self, x, t):\n        assert x.shape[1] % 128 == 0\n"
    )
    file.write_text(f"{head}        return torch.nn.functional.cross_entropy(x.detach(), t)\n")
    (limit,) = limits_of(kernelbench(None, f"{file}:ModelNew"))
    assert limit.derivatives == 0
    assert limit.reason.endswith("it calls aten._log_softmax, aten.nll_loss_forward of PyTorch")


def test_a_function_without_a_backward_has_no_gradient(tmp_path: Path) -> None:
    text = (
        "class Loss(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x, t):\n"
        "        return cross_entropy(x, t)\n"
    )
    file = candidate(tmp_path, text + forward("return Loss.apply(x, t)"))
    (limit,) = limits_of(kernelbench(None, f"{file}:ModelNew"))
    assert limit.derivatives == 0
    assert "its result has no gradient, so no gradient was judged" in limit.reason


# An operation that returns nothing but a mean.

MEAN = Operation(
    "mean", "mean(x)", None, {"float32": Arithmetic("float32", "float32")}, options=frozenset({"reduction", "label_smoothing"})
).within((Limit("a module", reduces="mean"),), "cpu")
ROWS = Problem([[0.0, 1.0], [2.0, 0.0]], [0, 1], "float32", cotangent=[3.0, 5.0])


def test_every_question_of_it_is_of_the_mean() -> None:
    asked = Question(MEAN, ROWS, (Quantity.LOSS,)).problem
    assert (asked.reduction, float(asked.upstream), MEAN.options) == (Reduction.MEAN, 3.0, frozenset({"label_smoothing"}))
    assert Question(MEAN, ROWS, (Quantity.LOSS,)).problem is asked  # so that what is expected is evaluated once
    assert Question(MEAN, asked, (Quantity.GRADIENT,)).problem is asked
    assert MEAN.refusal(asked) is None
    assert not MEAN.is_of_indices  # it is neither swept nor asked in bulk, where each row is judged
    summed = ROWS.replace(reduction="sum", cotangent=None)
    assert Question(MEAN, summed, (Quantity.LOSS,)).problem.reduction is Reduction.MEAN


def test_a_target_out_of_range_and_no_rows_stay_as_they_are() -> None:
    outside = ROWS.with_unchecked_target([7, -1]).reduced_by(Reduction.SUM)
    assert (outside.target.tolist(), str(outside.reduction)) == ([7, -1], "sum")
    none = Problem(np.zeros((0, 2)), np.zeros(0, dtype=int), "float32", cotangent=np.zeros(0)).reduced_by(Reduction.MEAN)
    assert float(none.upstream) == 1.0


@pytest.mark.parametrize(
    ("options", "per_row", "reductions", "says"),
    [
        (frozenset(), False, ["mean"], "reduces is 'mean'; allowed: of a kernel that is given a reduction"),
        (frozenset({"reduction"}), True, ["mean"], "reduces is 'mean'; allowed: of a kernel that is given a reduction"),
        (frozenset({"reduction"}), False, ["mean", "sum"], "reduces is mean and sum; allowed: one of them"),
    ],
)
def test_only_a_kernel_with_a_reduction_has_one_always(
    options: frozenset[str], per_row: bool, reductions: list[str], says: str
) -> None:
    """Another would be given the losses of rows, and the adapter would take their mean."""
    declared = tuple(Limit("why", reduces=reduction) for reduction in reductions)
    with pytest.raises(ValueError, match=re.escape(says)):
        Operation("f", "f(x)", None, {}, options=options, per_row=per_row).within(declared, "cpu")


def test_a_kernel_that_always_reduces_is_told_the_limit(tmp_path: Path) -> None:
    (tmp_path / "of_all.py").write_text(
        "import torch\ndef kernel(input, target, reduction):\n    return torch.nn.functional.cross_entropy(input, target)\n"
    )
    told = first_failures(
        "--backend=torch", f"--implementation={tmp_path / 'of_all.py'}:kernel", "--case=ties/*", "--dtype=float32"
    )
    (message,) = told[1].values()
    assert "returned one loss where the reduction is 'none'" in message
    assert 'a kernel that has no losses of rows declares @limits("why", reduces="mean")' in message
