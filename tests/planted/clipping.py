"""Probabilities, logits and losses that are clipped."""

from __future__ import annotations

import torch

from tests.planted.kernel import Kernel, Rows, Tensor, planted


@planted("clipping", "log(clip(p, 1e-7)): no loss above 16.1", "test_loss")
class ClipsProbability(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        return torch.where(a == 0, 0.0, -a * torch.log(rows.p.clamp(min=1e-7))).sum(dim=1)


@planted("clipping", "log(p + 1e-12)", "test_loss or test_absorption")
class AddsEpsilon(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        return torch.where(a == 0, 0.0, -a * torch.log(rows.p + 1e-12)).sum(dim=1)


@planted("clipping", "a clipped probability has no gradient: 0 for the worst rows", "test_gradient")
class ClippedHasNoGradient(Kernel):
    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        clipped = (torch.where(a > 0, rows.p, 1.0) < 1e-7).any(dim=1, keepdim=True)
        return torch.where(clipped, 0.0, super().slope(rows, a))


@planted("clipping", "gaps are clamped to 80 lest exp underflow", "test_loss or test_absorption")
class ClampsGaps(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        return (a * rows.gaps.clamp(max=80.0)).sum(dim=1) + a.sum(dim=1) * torch.log1p(rows.others)[:, 0]


@planted("clipping", "log p is clamped to -100", "test_loss")
class ClampsLog(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        return (a * (rows.gaps + torch.log1p(rows.others)).clamp(max=100.0)).sum(dim=1)


@planted(
    "clipping", "the Hessian is at least 1e-16, for the sake of a division", "test_absorption or test_hessian", claim="accurate"
)
class HessianFloor(Kernel):
    def product(self, rows: Rows, a: Tensor, v: Tensor) -> Tensor:
        exact = super().product(rows, a, v)
        return torch.where(exact.abs() < 1e-16, 1e-16 * torch.sign(v), exact)


@planted("clipping", "losses below 1e-6 are 0", "test_absorption", claim="accurate")
class DropsSmallLoss(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        exact = super().loss(rows, a)
        return torch.where(exact < 1e-6, 0.0, exact)
