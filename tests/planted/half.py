"""Sums, products and stores in half precision."""

from __future__ import annotations

import numpy as np
import torch

from tests.planted.kernel import Call, Kernel, Rows, Tensor, planted


def _running(values: Tensor) -> Tensor:
    """The sum along the rows, each partial sum rounded to float16."""
    sums = np.add.accumulate(values.numpy().astype(np.float16), axis=1)
    return torch.from_numpy(sums[:, -1:]).double()


@planted("half", "one running sum in float16: ones stagnate at 2048", "test_large_vocabulary", dtype="float16")
class StagnatingSum(Kernel):
    def others(self, powers: Tensor, at_top: Tensor) -> Tensor:
        return _running(torch.where(at_top, 0.0, powers))


@planted("half", "the sum of powers is stored in float16: inf from 65520 on", "test_large_vocabulary", dtype="float16")
class OverflowingSum(Kernel):
    def others(self, powers: Tensor, at_top: Tensor) -> Tensor:
        return super().others(powers, at_top).half().double()


@planted("half", "powers without a shift overflow float16 at 11.1", "test_loss", dtype="float16")
class OverflowingPowers(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        total = torch.exp(rows.x).half().double().sum(dim=1, keepdim=True)
        return torch.where(a == 0, 0.0, a * (torch.log(total) - rows.x)).sum(dim=1)


@planted("half", "p is rounded to the format before 1 is subtracted", "test_absorption", dtype="float16", claim="accurate")
class RoundsProbability(Kernel):
    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        return a.sum(dim=1, keepdim=True) * rows.p.half().double() - a


@planted("half", "the gradient is exp of a stored log-probability", "test_gradient", dtype="bfloat16", claim="accurate")
class StoredLogProbability(Kernel):
    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        stored = torch.log(rows.p).bfloat16().double()
        return a.sum(dim=1, keepdim=True) * torch.exp(stored) - a


@planted("half", "the losses of a mean are added up in bfloat16", "test_case", dtype="bfloat16")
class RunningMean(Kernel):
    def reduced(self, losses: Tensor, call: Call) -> Tensor:
        if call.reduction == "none":
            return losses
        total = torch.zeros((), dtype=torch.bfloat16)
        for loss in losses:
            total = total + loss.bfloat16()
        return total.double() / (self.denominator(call) if call.reduction == "mean" else 1.0)


@planted("half", "the losses are added up in float16 before they are divided", "test_case", dtype="float16")
class OverflowingMean(Kernel):
    def reduced(self, losses: Tensor, call: Call) -> Tensor:
        if call.reduction == "none":
            return losses
        total = losses.sum().half()
        return total.double() / (self.denominator(call) if call.reduction == "mean" else 1.0)


@planted("half", "each gap is rounded to bfloat16 in a float32 kernel", "test_loss")
class RoundsGaps(Kernel):
    def rows(self, logits: Tensor) -> Rows:
        return super().rows(logits.bfloat16())


@planted("half", "smoothing adds up the logits in float16, offset and all", "test_options or test_case", dtype="float16")
class SmoothingSumOverflows(Kernel):
    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        losses = super().losses(rows, a, call)
        overflows = torch.isinf(rows.x.sum(dim=1).half()) & ~torch.isinf(rows.x).any(dim=1)
        return torch.where(overflows & (call.label_smoothing > 0), torch.inf, losses)


@planted(
    "half",
    "the gradient is rounded before it is scaled by the upstream one",
    "test_absorption",
    dtype="float16",
    claim="accurate",
)
class RoundsBeforeUpstream(Kernel):
    def gradient(self, rows: Rows, a: Tensor, upstream: Tensor, call: Call) -> Tensor:
        return torch.where(call.ignored[:, None], 0.0, (self.slope(rows, a) / 64).half().double() * 64 * upstream[:, None])


@planted(
    "half",
    "rows are counted one by one in bfloat16: no mean of more than 256",
    "test_case",
    dtype="bfloat16",
    link="https://github.com/chainer/chainer/pull/6366",
)
class CountsRows(Kernel):
    def denominator(self, call: Call) -> Tensor:
        return super().denominator(call).clamp(max=256.0)


@planted(
    "half",
    "each row's loss is stored in float16, then they are averaged",
    "test_case",
    dtype="float16",
    link="https://github.com/PFCCLab/PaddleAPITest/pull/447",
)
class StoresRows(Kernel):
    def reduced(self, losses: Tensor, call: Call) -> Tensor:
        return super().reduced(losses.half().double(), call)


@planted(
    "half", "each row's share of a mean is stored in float16", "test_options or test_case", dtype="float16", claim="accurate"
)
class StoresShares(Kernel):
    def reduced(self, losses: Tensor, call: Call) -> Tensor:
        if call.reduction != "mean":
            return super().reduced(losses, call)
        return (losses / self.denominator(call)).half().double().sum()


@planted(
    "half",
    "the powers are kept in the buffer of the logits, in float16",
    "test_absorption or test_loss",
    dtype="float16",
    claim="accurate",
    link="https://github.com/NVIDIA/TransformerEngine/pull/3193",
)
class PowersInBuffer(Kernel):
    def powers(self, gaps: Tensor) -> Tensor:
        return super().powers(gaps).half().double()


@planted(
    "half",
    "the second derivative passes through 1/p^2, which overflows float16: inf times 0",
    "test_hessian",
    dtype="float16",
    link="https://github.com/pytorch/pytorch/issues/193012",
)
class HessianOverflows(Kernel):
    def product(self, rows: Rows, a: Tensor, v: Tensor) -> Tensor:
        square = (rows.p * rows.p).half().double()
        return super().product(rows, a, v) * (1 / square).half().double() * square
