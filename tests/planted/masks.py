"""Masked logits, infinities and NaN, handled wrongly."""

from __future__ import annotations

import torch

from tests.planted.kernel import Call, Kernel, Rows, Tensor, planted


@planted("mask", "a masked logit is taken as -1e4, so a masked target costs 1e4 and not inf", "test_masked")
class FillsMasked(Kernel):
    def widened(self, logits: Tensor) -> Tensor:
        return torch.where(logits == -torch.inf, -1e4, logits.double())


@planted(
    "mask",
    "0 times an infinite gap: NaN for a masked class without a label",
    "test_masked",
    link="https://github.com/google-deepmind/optax/issues/896",
)
class ZeroTimesInfinity(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        return (a * rows.gaps).sum(dim=1) + a.sum(dim=1) * torch.log1p(rows.others)[:, 0]


@planted("mask", "a class weight of 0 times the infinite loss of a masked class: NaN beside a right gradient", "test_case")
class WeightZeroTimesInfinity(Kernel):
    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        label = self.smoothed(self.label(call), call)
        lost = (label > 0) & (call.class_weights == 0) & torch.isinf(rows.gaps) & ~call.ignored[:, None]
        return torch.where(lost.any(dim=1), torch.nan, super().losses(rows, a, call))


@planted("mask", "an online softmax whose first tile is masked: exp(-inf - -inf) is NaN", "test_masked")
class FirstTileMasked(Kernel):
    def powers(self, gaps: Tensor) -> Tensor:
        masked_tile = torch.isinf(gaps[:, :2]).all(dim=1, keepdim=True)
        return torch.where(masked_tile, torch.nan, torch.exp(-gaps))


@planted("mask", "an infinite loss is shown as 0", "test_masked")
class HidesInfiniteLoss(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        return torch.nan_to_num(super().loss(rows, a), nan=torch.nan, posinf=0.0)


@planted("mask", "the gradient carries 0 times the logit: NaN at a masked one", "test_masked")
class GradientTouchesMasked(Kernel):
    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        return super().slope(rows, a) + 0 * rows.x


@planted("mask", "a row is taken for empty, and set to zeros, if its first class is masked", "test_masked")
class EmptyByFirst(Kernel):
    def widened(self, logits: Tensor) -> Tensor:
        empty = logits[:, :1] == -torch.inf
        return torch.where(empty, 0.0, logits.double())


@planted("nan", "NaN logits are replaced by 0", "test_nonfinite")
class NanToNumber(Kernel):
    def widened(self, logits: Tensor) -> Tensor:
        return torch.nan_to_num(logits.double(), nan=0.0, posinf=torch.inf, neginf=-torch.inf)


@planted("nan", "a NaN loss is shown as 0", "test_nonfinite")
class HidesNanLoss(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        return torch.nan_to_num(super().loss(rows, a), nan=0.0, posinf=torch.inf)


@planted("nan", "sums that skip NaN: the row goes on without the class", "test_nonfinite")
class SkipsNan(Kernel):
    def rows(self, logits: Tensor) -> Rows:
        return super().rows(torch.where(logits.isnan(), -torch.inf, logits))


@planted("nan", "NaN in one row makes every row NaN", "test_nonfinite or test_rows_do_not_depend_on_each_other")
class NanLeaks(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        return super().loss(rows, a) + 0 * rows.x.isnan().any() / (~rows.x.isnan().any())


@planted("nan", "+inf is clamped to the largest number, and another class's loss is finite", "test_nonfinite or test_case")
class ClampsInfinity(Kernel):
    def widened(self, logits: Tensor) -> Tensor:
        return torch.where(logits == torch.inf, 100.0, logits.double())


@planted(
    "nan",
    "NaN in a row that is ignored, times a weight of 0",
    "test_case",
    link="https://github.com/sooftware/kospeech/issues/37",
)
class IgnoredNan(Kernel):
    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        return self.loss(rows, a)


@planted("mask", "a row of nothing but -inf makes every row NaN", "test_masked or test_case")
class AllMaskedLeaks(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        empty = (rows.x == -torch.inf).all(dim=1).any()
        return torch.where(empty, torch.nan, super().loss(rows, a))


@planted(
    "mask",
    "a masked class is filled with 0, not with -inf, and has a probability",
    "test_masked",
    link="https://github.com/jax-ml/jax/issues/16208",
)
class MaskedHasProbability(Kernel):
    def widened(self, logits: Tensor) -> Tensor:
        return torch.where(logits == -torch.inf, 0.0, logits.double())


@planted(
    "mask",
    "the smoothing term is computed without smoothing too: 0 times its infinity",
    "test_masked",
    link="https://github.com/candle-org/MindAct/pull/1633",
)
class SmoothsByNothing(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        return super().loss(rows, a) + 0 * super().loss(rows, torch.ones_like(a))


@planted(
    "mask",
    "an infinite log-probability is repaired in the loss; the gradient still carries 0 times it",
    "test_loss or test_gradient",
    dtype="float16",
    link="https://github.com/huggingface/trl/issues/7221",
)
class RepairsLossAlone(Kernel):
    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        return super().slope(rows, a) + 0 * rows.gaps.half()
