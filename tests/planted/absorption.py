"""1 + R rounded before it is needed: losses and derivatives that are lost in 1."""

from __future__ import annotations

import torch

from tests.planted.kernel import Kernel, Rows, Tensor, planted


@planted(
    "absorption",
    "log(1 + R) in float32",
    "test_absorption",
    "returned as 0",
    claim="accurate",
    link="https://github.com/pytorch/pytorch/issues/113708",
)
class LogOfSum(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        log_sum = torch.log(rows.total.float()).double()
        return torch.where(a == 0, 0.0, a * (rows.gaps + log_sum)).sum(dim=1)


@planted("absorption", "p - 1 with p in float32", "test_absorption", "returned as 0", claim="accurate")
class ProbabilityMinusOne(Kernel):
    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        return (a.sum(dim=1, keepdim=True) * rows.p.float() - a.float()).double()


@planted("absorption", "exp(log p) - 1 with log p stored in float32", "test_absorption", claim="accurate")
class ExpOfStored(Kernel):
    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        stored = (-rows.gaps - torch.log1p(rows.others)).float()
        return (a.sum(dim=1, keepdim=True).float() * torch.exp(stored) - a.float()).double()


@planted("absorption", "p - p^2 in float32", "test_absorption", claim="accurate")
class ProbabilityMinusSquare(Kernel):
    def product(self, rows: Rows, a: Tensor, v: Tensor) -> Tensor:
        p, v = rows.p.float(), v.float()
        inner = (p * v).sum(dim=1, keepdim=True)
        return a.sum(dim=1, keepdim=True) * (p * v - p * inner).double()


@planted(
    "absorption", "logaddexp class by class in float32: terms below u of the sum are lost one by one", "test_loss or test_case"
)
class FoldsLogaddexp(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        folded = rows.x[:, 0].float()
        for column in rows.x.float().T[1:]:
            folded = torch.logaddexp(folded, column)
        return torch.where(a == 0, 0.0, a * (folded.double()[:, None] - rows.x)).sum(dim=1)


@planted(
    "absorption", "one running sum in float32 that starts at 1: the tail of a vocabulary is lost", "test_case", claim="accurate"
)
class TailAfterOne(Kernel):
    def others(self, powers: Tensor, at_top: Tensor) -> Tensor:
        tail = torch.where(at_top, 0.0, powers).float()
        return ((1 + torch.cumsum(tail, dim=1)[:, -1:]) - 1).double()


@planted(
    "absorption",
    "a power is dropped where 1 + exp(-gap) is 1, as a kernel that skips small terms does",
    "test_absorption",
    claim="accurate",
)
class SkipsSmallPowers(Kernel):
    def powers(self, gaps: Tensor) -> Tensor:
        return torch.where(gaps > 17, 0.0, torch.exp(-gaps))
