"""Wrong kernels, judged as a user's own: each must be rejected, and a right one must not be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.command import run_here

pytest.importorskip("torch")

KERNELS = '''
import torch
import torch.nn.functional as F


def reduced(losses, reduction):
    return {"none": losses, "sum": losses.sum(), "mean": losses.mean()}[reduction]


def with_backward(rule):
    class Custom(torch.autograd.Function):
        @staticmethod
        def forward(ctx, input, target):
            ctx.save_for_backward(input, target)
            return F.cross_entropy(input, target, reduction="none")

        @staticmethod
        def backward(ctx, upstream):
            input, target = ctx.saved_tensors
            one_hot = F.one_hot(target, input.shape[1]).to(input.dtype)
            return rule(upstream, torch.softmax(input, 1) - one_hot, one_hot), None

    return Custom.apply


def right(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """log_softmax by hand, in float64 for all formats but that one."""
    if weight is not None or label_smoothing or target.is_floating_point() or (target == ignore_index).any():
        raise NotImplementedError("class indices only")
    wide = input.double()
    shifted = wide - wide.max(dim=1, keepdim=True).values
    losses = shifted.exp().sum(dim=1).log() - shifted.gather(1, target[:, None])[:, 0]
    return reduced(losses, reduction).to(input.dtype)


def offset(input, target, reduction="mean", **_):
    """lse - x_t without a shift of the target."""
    return reduced(torch.logsumexp(input, 1) - input.gather(1, target[:, None])[:, 0], reduction)


def clipped(input, target, reduction="mean", **_):
    """log(p + 1e-7)."""
    return reduced(-torch.log(torch.softmax(input, 1).gather(1, target[:, None])[:, 0] + 1e-7), reduction)


first_upstream = with_backward(lambda upstream, gradient, one_hot: upstream[:1, None] * gradient)
target_alone = with_backward(lambda upstream, gradient, one_hot: upstream[:, None] * gradient * one_hot)


def first_cotangent(input, target, reduction="mean", **_):
    """Scales every row by the upstream gradient of the first."""
    return reduced(first_upstream(input, target), reduction)


def only_target(input, target, reduction="mean", **_):
    """Drops the gradient of every class but the target."""
    return reduced(target_alone(input, target), reduction)
'''


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kernels") / "kernels.py"
    path.write_text(KERNELS)
    return path


def judge(kernels: Path, name: str, *options: str) -> tuple[int, str]:
    """Exit status and output of a quick run in float32, class indices only."""
    place = f"--implementation={kernels}:{name}"
    return run_here("--backend=torch", place, f"--operation={name}", "--effort=quick", "--dtype=float32", *options)


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("offset", "test_loss.py::test_loss"),
        ("first_cotangent", "test_gradient.py::test_gradient"),
        ("only_target", "test_gradient.py::test_gradient"),
        ("clipped", "test_loss.py::test_loss"),
    ],
)
def test_a_wrong_kernel_is_rejected(kernels: Path, name: str, test: str) -> None:
    status, output = judge(kernels, name, "--claim=stable", "-rf", "-k", "test_loss or test_gradient")
    assert status == 1
    assert f"FAILED suites/{test}[{name}-float32]" in output
    assert "what   : " in output
    assert f"--implementation={kernels}:{name}" in output
    assert "FAILS" in output


def test_a_right_kernel_is_not(kernels: Path) -> None:
    status, output = judge(kernels, "right", "--claim=stable", "--hazard=moderate,absorption,offset,ties")
    assert status == 0, output
    assert "REDUCED" in output


def test_a_kernel_without_a_claim_is_held_to_accurate(kernels: Path) -> None:
    status, output = judge(kernels, "offset", "-k", "test_absorption")
    assert status == 1
    assert "claim 'accurate'" in output


def test_three_causes_are_told_whole_seven_in_a_line_and_the_others_counted(kernels: Path) -> None:
    status, output = judge(kernels, "offset")
    assert status == 1
    failed, causes = map(int, re.search(r"FAILS: (\d+) tests failed for (\d+) causes", output).groups())
    assert failed > 3 * causes > 15
    assert output.count("\nvalues : ") == output.count("\nrepro  : ") == 3
    assert output.count("\ncause ") == min(causes, 10)
    assert len(output.splitlines()) < 100
