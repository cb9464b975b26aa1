"""A shift that is missing, wrong, or left in the result."""

from __future__ import annotations

import torch

from tests.planted.kernel import Kernel, Rows, Tensor, planted


@planted(
    "offset",
    "lse - x_t with the offset in both, rounded to float32",
    "test_loss",
    link="https://github.com/ml-explore/mlx/pull/4188",
)
class OffsetInside(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        lse = torch.logsumexp(rows.x, dim=1, keepdim=True).float().double()
        return torch.where(a == 0, 0.0, a * (lse - rows.x)).sum(dim=1)


class Shifted(Kernel):
    """Powers of x - shift, whatever the shift, in float32."""

    def powers(self, gaps: Tensor) -> Tensor:
        return torch.exp((-gaps).float()).double()

    def others(self, powers: Tensor, at_top: Tensor) -> Tensor:
        return powers.sum(dim=1, keepdim=True) - 1

    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        return torch.where(a == 0, 0.0, a * (rows.gaps + torch.log(rows.total))).sum(dim=1)

    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        return a.sum(dim=1, keepdim=True) * rows.p - a


@planted("offset", "no shift: exp overflows at 88.7", "test_loss")
class NoShift(Shifted):
    def top(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :1])


@planted("offset", "shifted by the mean: the largest power overflows", "test_loss")
class ShiftedByMean(Shifted):
    def top(self, x: Tensor) -> Tensor:
        return x.mean(dim=1, keepdim=True)


@planted("offset", "shifted by the first logit", "test_loss")
class ShiftedByFirst(Shifted):
    def top(self, x: Tensor) -> Tensor:
        return x[:, :1]


@planted("offset", "the maximum starts at 0: rows far below lose every power", "test_loss")
class MaximumStartsAtZero(Shifted):
    def top(self, x: Tensor) -> Tensor:
        return super().top(x).clamp(min=0.0)


@planted("offset", "the maximum of the absolute values", "test_loss")
class MaximumOfAbsolute(Shifted):
    def top(self, x: Tensor) -> Tensor:
        return x.abs().max(dim=1, keepdim=True).values


@planted("offset", "one maximum for the batch", "test_loss or test_rows_do_not_depend_on_each_other")
class MaximumOfBatch(Shifted):
    def top(self, x: Tensor) -> Tensor:
        return x.max().expand(len(x), 1)


@planted("offset", "the maximum of all classes but the last", "test_absorption or test_masked")
class MaximumWithoutLast(Shifted):
    def top(self, x: Tensor) -> Tensor:
        return x[:, : max(1, x.shape[1] - 1)].max(dim=1, keepdim=True).values


@planted("offset", "the shift is the maximum rounded to bfloat16, and the gap is not corrected", "test_loss")
class RoundedMaximum(Shifted):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        top = rows.x.max(dim=1, keepdim=True).values
        return super().loss(rows, a) + a.sum(dim=1) * (top.bfloat16().double() - top)[:, 0]


@planted("offset", "log(softmax): log 0 once a probability underflows", "test_loss or test_absorption")
class LogOfSoftmax(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        return torch.where(a == 0, 0.0, -a * torch.log(rows.p.float())).sum(dim=1)
