"""Tiles, lanes, shards, strides and indices."""

from __future__ import annotations

import math

import torch

from tests.planted.kernel import Call, Kernel, Rows, Tensor, planted


class Tiled(Kernel):
    """The sum over the classes in some of them; `kept` says which."""

    def kept(self, classes: int) -> Tensor:
        raise NotImplementedError

    def others(self, powers: Tensor, at_top: Tensor) -> Tensor:
        return super().others(torch.where(self.kept(powers.shape[1]), powers, 0.0), at_top)


@planted(
    "tiles",
    "whole tiles of 4 only: the last, short one is left out",
    "test_loss",
    link="https://github.com/tenstorrent/tt-metal/issues/53209",
)
class LastTileShort(Tiled):
    def kept(self, classes: int) -> Tensor:
        return torch.arange(classes) < max(4 * (classes // 4), 1)


@planted("tiles", "the first 65536 classes, one block's worth", "test_large_vocabulary", dtype="float32")
class FirstBlock(Tiled):
    def kept(self, classes: int) -> Tensor:
        return torch.arange(classes) < 65536


@planted(
    "tiles",
    "the last class of an odd row, which is not aligned",
    "test_loss",
    link="https://github.com/pytorch/pytorch/issues/143644",
)
class OddRow(Tiled):
    def kept(self, classes: int) -> Tensor:
        return torch.arange(classes) < classes - classes % 2


@planted("tiles", "every 16th class is counted twice where tiles overlap", "test_large_vocabulary or test_loss")
class OverlappingTiles(Kernel):
    def others(self, powers: Tensor, at_top: Tensor) -> Tensor:
        twice = 1 + (torch.arange(powers.shape[1]) % 16 == 15)
        return super().others(powers * twice, at_top)


@planted(
    "tiles",
    "rows are padded to a multiple of 8 with logits of 0, which count",
    "test_loss",
    link="https://github.com/unslothai/unsloth/pull/10616",
)
class PaddedLanes(Kernel):
    def rows(self, logits: Tensor) -> Rows:
        right = super().rows(logits)
        padding = -logits.shape[1] % 8
        others = right.others + padding * torch.exp(-self.top(right.x)) if right.x.numel() else right.others
        return Rows(right.x, right.gaps, right.powers, right.at_top, others, 1 + others)


@planted("tiles", "each tile of 4 has a maximum of its own, and the sums are added as they are", "test_loss")
class UnmergedMaxima(Kernel):
    def others(self, powers: Tensor, at_top: Tensor) -> Tensor:
        tiles = [tile / tile.max(dim=1, keepdim=True).values for tile in powers.split(4, dim=1)]
        return torch.where(at_top, 0.0, torch.cat(tiles, dim=1)).sum(dim=1, keepdim=True)


@planted("tiles", "an online sum that forgets to rescale when the maximum moves", "test_loss")
class ForgetsToRescale(Kernel):
    def others(self, powers: Tensor, at_top: Tensor) -> Tensor:
        running = powers / powers.cummax(dim=1).values
        return torch.where(at_top, 0.0, running).sum(dim=1, keepdim=True)


@planted("tiles", "all classes at the maximum are left out of the sum, not one", "test_loss or test_case")
class LeavesOutTies(Kernel):
    def others(self, powers: Tensor, at_top: Tensor) -> Tensor:
        return torch.where(powers == 1, 0.0, powers).sum(dim=1, keepdim=True)


@planted("tiles", "rows beyond the first 256 of a grid are never written", "test_case")
class RowsBeyondTheGrid(Kernel):
    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        return torch.where(torch.arange(len(a)) < 256, super().losses(rows, a, call), 0.0)


@planted("strides", "the logits are read as if they lay one after another", "test_layout")
class IgnoresStrides(Kernel):
    def widened(self, logits: Tensor) -> Tensor:
        return logits.as_strided(logits.shape, (logits.shape[1], 1)).double() if logits.numel() else logits.double()


@planted("strides", "the logits are read from the start of their storage", "test_layout")
class IgnoresOffset(Kernel):
    def widened(self, logits: Tensor) -> Tensor:
        return logits.as_strided(logits.shape, logits.stride(), 0).double()


@planted("indices", "class indices in 16 bits", "test_case or test_large_vocabulary")
class ShortIndex(Kernel):
    def label(self, call: Call) -> Tensor:
        if call.has_probabilities:
            return super().label(call)
        return (torch.arange(call.input.shape[1]) == (call.target % 65536)[:, None]).double()


@planted(
    "indices",
    "class indices in float16: whole numbers up to 2048 only",
    "test_case or test_large_vocabulary",
    link="https://github.com/keras-team/keras/issues/15012",
)
class HalfIndex(Kernel):
    def label(self, call: Call) -> Tensor:
        if call.has_probabilities:
            return super().label(call)
        return (torch.arange(call.input.shape[1]) == call.target.half().double()[:, None]).double()


@planted("shards", "each half of the vocabulary has its own log-sum-exp, and they are averaged", "test_loss")
class AveragesShards(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        halves = torch.tensor_split(rows.x, 2, dim=1)
        lse = torch.stack([torch.logsumexp(half, dim=1) for half in halves]).mean(dim=0)
        return torch.where(a == 0, 0.0, a * (lse[:, None] - rows.x)).sum(dim=1)


@planted("shards", "the maximum is that of the first half of the vocabulary", "test_loss")
class MaximumOfFirstShard(Kernel):
    def powers(self, gaps: Tensor) -> Tensor:
        first = gaps[:, : (gaps.shape[1] + 1) // 2].min(dim=1, keepdim=True).values
        shifted = torch.exp((first - gaps).float())
        return shifted.double() * torch.exp(-first.float()).double()


@planted("shards", "a target in the second half of the vocabulary is masked, and adds no logit", "test_loss")
class TargetOfOtherShard(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        first = torch.arange(a.shape[1]) < (a.shape[1] + 1) // 2
        return super().loss(rows, torch.where(first, a, 0.0))


@planted("one class", "a row of one class returns its logit", "test_degenerate")
class OneClass(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        return rows.x[:, 0] if rows.x.shape[1] == 1 else super().loss(rows, a)


@planted("no rows", "an empty batch raises", "test_degenerate", link="https://github.com/pytorch/pytorch/issues/50224")
class EmptyBatchRaises(Kernel):
    def widened(self, logits: Tensor) -> Tensor:
        return logits.double() if logits[0].numel() else logits


@planted("no rows", "the mean of no losses is 0", "test_degenerate")
class EmptyMeanIsZero(Kernel):
    def denominator(self, call: Call) -> Tensor:
        return super().denominator(call) + (0 if len(call.input) else 1)


@planted(
    "tiles",
    "the lanes beyond the row hold -inf before a scale of 0 is applied to them: NaN unless K is a multiple of 4",
    "test_loss",
    link="https://github.com/Dao-AILab/flash-attention/issues/1461",
)
class ScalesPadding(Kernel):
    def others(self, powers: Tensor, at_top: Tensor) -> Tensor:
        return super().others(powers, at_top) + (torch.nan if powers.shape[1] % 4 else 0.0)


@planted(
    "strides",
    "the class indices are read as if they lay one after another",
    "test_layout",
    link="https://github.com/pytorch/pytorch/issues/67167",
)
class IgnoresStridesOfTarget(Kernel):
    def label(self, call: Call) -> Tensor:
        if call.has_probabilities:
            return super().label(call)
        read = call.target.as_strided(call.target.shape, (1,))
        return (torch.arange(call.input.shape[1]) == read[:, None]).double()


@planted("strides", "the class indices are read from an aligned address", "test_layout")
class AlignsTarget(Kernel):
    def label(self, call: Call) -> Tensor:
        if call.has_probabilities:
            return super().label(call)
        aligned = call.target.storage_offset() // 2 * 2
        read = call.target.as_strided(call.target.shape, call.target.stride(), aligned)
        return (torch.arange(call.input.shape[1]) == read[:, None]).double()


@planted(
    "shards",
    "the index that stands for a target of the other shard is a padded column of the last tile: inf",
    "test_loss",
    link="https://github.com/apple/ml-cross-entropy/pull/59",
)
class SentinelInPadding(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        second = torch.arange(a.shape[1]) >= (a.shape[1] + 1) // 2
        hits = ((a > 0) & second).any(dim=1) & (a.shape[1] % 4 != 0)
        return torch.where(hits, torch.inf, super().loss(rows, a))


@planted(
    "shards",
    "logits that are whole already are summed over both shards: log 2 too much",
    "test_loss",
    link="https://github.com/NVIDIA/Megatron-LM/issues/7452",
)
class SumsGatheredShards(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        return super().loss(rows, a) + a.sum(dim=1) * math.log(2)


@planted(
    "shards",
    "a reduction over the shards that cuts the gradient: none where the target is not",
    "test_gradient",
    link="https://github.com/modelscope/ms-swift/pull/9947",
)
class GradientOfOwnShard(Kernel):
    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        shards = torch.tensor_split(a, 2, dim=1)
        owned = torch.cat([(shard > 0).any(dim=1, keepdim=True).expand_as(shard) for shard in shards], dim=1)
        return torch.where(owned, super().slope(rows, a), 0.0)


@planted(
    "tiles",
    "a last block that is full is taken for one that is empty: K a multiple of 1024",
    "test_large_vocabulary or test_case",
)
class FullLastBlock(Tiled):
    def kept(self, classes: int) -> Tensor:
        kept = classes - 1024 if classes % 1024 == 0 else classes
        return torch.arange(classes) < kept
