"""A user's kernel for PyTorch under torch.compile: judged in that mode alone, and by what its graph returns."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.loading import load_adapter, operations_on_trial
from adapters.operation import modes_of
from adapters.question import Question
from reference import Problem, Quantity
from tests.command import QUICKLY, run_here
from tests.planted.trial import FOLDER

pytest.importorskip("torch")

KERNEL = """
import torch
import torch.nn.functional as F

from adapters.arithmetic import arithmetic


@arithmetic(composed=True)
def kernel(input, target, **options):
    losses = F.cross_entropy(input, target, **options)
    return {returned}
"""


@pytest.mark.parametrize(
    ("returned", "passes"),
    [
        ("losses", True),
        ("losses * 1.25 if torch.compiler.is_compiling() else losses", False),
        ("losses[None] if torch.compiler.is_compiling() else losses", False),
        ("losses if torch.compiler.is_compiling() else losses * 1.25", True),
    ],
)
def test_the_graph_is_judged(returned: str, passes: bool, tmp_path: Path) -> None:
    path = tmp_path / "compiled.py"
    path.write_text(KERNEL.format(returned=returned))
    options = (f"--implementation={path}:kernel", "--claim=stable", "--dtype=float32", "--mode=compiled")
    status, printed = run_here(*QUICKLY, "--backend=torch", "--case=offset/1e4", *options)
    assert status == (not passes), printed


def test_a_kernel_runs_eagerly_unless_the_other_mode_is_asked_for() -> None:
    operations = operations_on_trial(load_adapter("torch", "cpu"), f"{FOLDER / 'row_weights.py'}:weighted")
    assert modes_of(operations) == ("eager", "compiled")
    assert all(operation.options == {"reduction", "ignore_index"} for operation in operations[2:3])


REFUSES = """
import torch.nn.functional as F

from adapters.arithmetic import arithmetic


@arithmetic(composed=True)
def kernel(input, target, *, reduction="mean"):
    if target.is_floating_point():
        raise NotImplementedError("class indices only")
    return F.cross_entropy(input, target, reduction=reduction)
"""


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_a_refusal_is_one_in_its_own_words(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "refuses.py"
    path.write_text(REFUSES)
    adapter = load_adapter("torch", "cpu")
    operations = operations_on_trial(adapter, f"{path}:kernel")
    (soft,) = [each for each in operations if each.mode == mode and each.probabilities]
    problem = Problem([[0.0, 1.0]], [[0.5, 0.5]], "float32")
    with pytest.raises(NotImplementedError, match="class indices only"):
        adapter.observe(Question(soft, problem, (Quantity.LOSS,)))
    (hard,) = [each for each in operations if each.mode == mode and not each.probabilities]
    ignoring = Problem([[0.0, 1.0], [1.0, 0.0]], [-100, 1], "float32")
    observed = adapter.observe(Question(hard, ignoring, (Quantity.LOSS,)))
    assert "does not take what it is called with" in str(observed.error)
