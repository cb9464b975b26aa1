"""What a mean is where no row counts: NaN, or the 0 that a kernel declares; both are held to it, with the gradient."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adapters.limits import Limit, limit_of
from adapters.operation import Operation
from reference import Problem, evaluate
from reference.special_values import Requirement
from tests.command import QUICKLY, run_here

pytest.importorskip("torch")

KERNEL = """
import torch.nn.functional as F

from adapters.arithmetic import arithmetic
from adapters.limits import limits


@arithmetic(composed=True)
@limits("one kind of target", options=["reduction", "ignore_index"], targets=["indices"], label_dtypes=["int64"])
{declared}
def kernel(input, target, *, reduction="mean", ignore_index=-100):
    losses = F.cross_entropy(input, target, reduction="none", ignore_index=ignore_index)
    if reduction == "none":
        return losses
    return losses.sum() / (1 if reduction == "sum" else (target != ignore_index).sum(){clamped})
"""
DECLARED = '@limits("as trainers want it", mean_of_nothing=0)'
CLAMPED = ".clamp(min=1)"
CASES = ("reductions/all-ignored-mean", "degenerate/no-rows-mean", "reductions/ignored-mean")
"""The last of which has rows that count."""


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("declared", "clamped"), [(DECLARED, CLAMPED), (DECLARED, ""), ("", CLAMPED), ("", "")])
def test_a_kernel_is_held_to_what_it_declares(declared: str, clamped: str, case: str, tmp_path: Path) -> None:
    """Nothing of it concerns a mean of which some row counts, which each of them has right."""
    path = tmp_path / "declared.py"
    path.write_text(KERNEL.format(declared=declared, clamped=clamped))
    options = (f"--implementation={path}:kernel", f"--case={case}", "--claim=stable", "--dtype=float32", "--fail-shared")
    status, printed = run_here(*QUICKLY, "--backend=torch", *options)
    right = bool(declared) == bool(clamped) or case == CASES[-1]
    assert status == (0 if right else 1), printed
    assert right or "expected 0x0.0p+0 (0)" in printed or "expected nan" in printed


def test_it_is_told_as_a_limit_is() -> None:
    assert Limit("as Keras does", mean_of_nothing=0).text == "a mean that divides by 0 is 0, and judged so: as Keras does"
    assert limit_of({"reason": "so", "mean_of_nothing": 0}).as_json() == {"reason": "so", "mean_of_nothing": 0}
    with pytest.raises(ValueError, match=r"mean_of_nothing is 1; allowed: 0, in the place of NaN"):
        limit_of({"reason": "so", "mean_of_nothing": 1})


def test_class_weights_of_0_are_nothing_too_and_a_loss_of_each_row_is_no_mean() -> None:
    problem = Problem([[0.0, 1.0]], [0], "float32", class_weights=[0.0, 1.0], reduction="mean")
    declared = Operation("f", "f(x)", None, {}, limits=(Limit("so", mean_of_nothing=0),))
    for expected in evaluate(declared.as_owed(problem), ["loss", "gradient"]).values():
        assert (expected.values.approximate() == 0).all()
        assert (expected.requirement == Requirement.MUST).all()
    assert replace(declared, per_row=True).as_owed(problem) is problem
    assert declared.as_owed(problem.replace(class_weights=None)).normaliser is None
