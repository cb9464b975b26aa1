"""Kernels that are right in small problems, and wrong at one size, in one pair of options, or where no gradient is asked."""

from __future__ import annotations

import torch

from tests.planted.blocks import Tiled
from tests.planted.kernel import Call, Kernel, Rows, Tensor, planted
from tests.planted.offsets import Shifted


class _SeesSome(Shifted):
    """The shift is the maximum of the first classes alone; `seen` says how many."""

    def seen(self, classes: int) -> int:
        raise NotImplementedError

    def top(self, x: Tensor) -> Tensor:
        top = super().top(x[:, : self.seen(x.shape[1])])
        return torch.where(top == -torch.inf, 0.0, top)


@planted("size", "of more than 1024 classes, the maximum is that of the first 1024 alone", "test_sizes", "K=1025")
class MaximumOfFirstTile(_SeesSome):
    def seen(self, classes: int) -> int:
        return min(classes, 1024)


@planted("size", "a ragged last tile of 256 is in the sum, and not in the maximum", "test_sizes", "K=257")
class RaggedTileUnseen(_SeesSome):
    def seen(self, classes: int) -> int:
        return classes if classes < 256 else classes - classes % 256


@planted("size", "of more than 64 rows, those of a ragged last block take the maxima of the block before", "test_sizes", "N=65")
class StaleMaxima(Shifted):
    def top(self, x: Tensor) -> Tensor:
        top, rest = super().top(x), len(x) % 64
        return top if len(x) < 64 else torch.cat([top[: len(x) - rest], top[len(x) - rest - 64 : len(x) - 64]])


@planted("size", "rows of 7 to 11 classes are unrolled, and their first 6 are added", "test_sizes", "K=7")
class SevenToEleven(Tiled):
    def kept(self, classes: int) -> Tensor:
        return torch.arange(classes) < (6 if 7 <= classes <= 11 else classes)


@planted("size", "of more than 512 classes, sums skip NaN", "test_sizes", "K=513")
class SkipsNanOfMany(Kernel):
    def rows(self, logits: Tensor) -> Rows:
        return super().rows(torch.where(logits.isnan() & (logits.shape[1] > 512), -torch.inf, logits))


@planted("size", "of more than 64 classes, a tile of 64 that is masked makes its row NaN", "test_case", "special-value")
class MaskedTile(Kernel):
    def powers(self, gaps: Tensor) -> Tensor:
        tiles = gaps.split(64, dim=1)[: gaps.shape[1] // 64]
        masked = [torch.isinf(tile).all(dim=1, keepdim=True).expand_as(tile) for tile in tiles if gaps.shape[1] > 64]
        lost = torch.cat([*masked, torch.zeros_like(gaps, dtype=torch.bool)], dim=1)[:, : gaps.shape[1]]
        return torch.where(lost, torch.nan, super().powers(gaps))


@planted("size", "sums of 16 rows are a product of matrices: 0 times the NaN of another row", "test_sizes", "N=17")
class NanReachesItsBlock(Kernel):
    def others(self, powers: Tensor, at_top: Tensor) -> Tensor:
        blocks = super().others(powers, at_top).split(16)
        return torch.cat([torch.eye(len(block), dtype=block.dtype) @ block if len(powers) > 16 else block for block in blocks])


@planted(
    "size",
    "of more than 64 classes, those behind the last whole tile of 32 have no softmax in the gradient",
    "test_sizes",
    "gradient[0, 64]",
)
class RestWithoutGradient(Kernel):
    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        classes = a.shape[1]
        rest = torch.arange(classes) >= (classes - classes % 32 if classes > 64 else classes)
        return torch.where(rest, -a, super().slope(rows, a))


@planted(
    "size", "of more than 128 rows, those of a ragged last block take the labels of the block before", "test_sizes", "loss[128]"
)
class StaleLabels(Kernel):
    def label(self, call: Call) -> Tensor:
        label, rest = super().label(call), len(call.input) % 128
        if len(label) < 128:
            return label
        return torch.cat([label[: len(label) - rest], label[len(label) - rest - 128 : len(label) - 128]])


@planted("size", "the product takes its inner product over the first 128 classes alone", "test_sizes", "K=129")
class ProductOfFirstBlock(Kernel):
    def product(self, rows: Rows, a: Tensor, v: Tensor) -> Tensor:
        w = v - v[rows.at_top][:, None]
        return a.sum(dim=1, keepdim=True) * rows.p * (w - (rows.p * w)[:, :128].sum(dim=1, keepdim=True))


@planted("size", "of more than 512 classes, the product takes its inner product over all rows", "test_sizes", "K=513")
class ProductOverBatch(Kernel):
    def product(self, rows: Rows, a: Tensor, v: Tensor) -> Tensor:
        if a.shape[1] <= 512:
            return super().product(rows, a, v)
        return a.sum(dim=1, keepdim=True) * rows.p * (v - (rows.p * v).sum())


@planted("size", "upstream gradients of several rows that are all alike are taken for ones", "test_sizes", "N=2")
class AlikeTakenForOnes(Kernel):
    def gradient(self, rows: Rows, a: Tensor, upstream: Tensor, call: Call) -> Tensor:
        alike = call.reduction == "none" and len(upstream) > 1 and bool((upstream == upstream[0]).all())
        return super().gradient(rows, a, torch.ones_like(upstream) if alike else upstream, call)


@planted("size", "upstream gradients of more than 3 rows are kept in float16", "test_sizes", "N=4")
class HalfUpstreamOfMany(Kernel):
    def gradient(self, rows: Rows, a: Tensor, upstream: Tensor, call: Call) -> Tensor:
        halved = call.reduction == "none" and len(upstream) > 3
        return super().gradient(rows, a, upstream.half().double() if halved else upstream, call)


@planted(
    "options in pairs", "a mean of more than 32 rows divides by the class weights of ignored rows too", "test_pairs", "N=33"
)
class WeightsOfIgnoredRows(Kernel):
    def denominator(self, call: Call) -> Tensor:
        if call.weight is None or call.has_probabilities or len(call.input) <= 32:
            return super().denominator(call)
        return call.class_weights[torch.where(call.ignored, 0, call.target)].sum()


@planted(
    "options in pairs", "of more than 1024 classes, smoothing is spread over the width of all tiles", "test_pairs", "K=1025"
)
class SmoothingOverTiles(Kernel):
    def smoothed(self, label: Tensor, call: Call) -> Tensor:
        classes = label.shape[1]
        width = classes if classes <= 1024 else classes + -classes % 1024
        return (1 - call.label_smoothing) * label + call.label_smoothing / width


@planted("options in pairs", "of more than 64 classes, smoothing takes no class weights", "test_pairs", "K=65")
class SmoothingUnweighted(Kernel):
    def weights(self, call: Call) -> Tensor:
        a = super().weights(call)
        if a.shape[1] <= 64 or not call.label_smoothing:
            return a
        even = (1 - call.class_weights) * call.label_smoothing / a.shape[1]
        return torch.where(call.ignored[:, None], 0.0, a + even)


@planted(
    "options in pairs", "of more than 128 classes, one of them is not ignored: a label has to be outside", "test_pairs", "K=129"
)
class IgnoresOutsideAlone(Kernel):
    def __call__(
        self,
        input: Tensor,  # noqa: A002
        target: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> Tensor:
        inside = input.shape[1] > 128 and 0 <= ignore_index < input.shape[1]
        return super().__call__(input, target, weight, -100 if inside else ignore_index, reduction, label_smoothing)


@planted("options in pairs", "of more than 8 classes, weights are held between 2^-10 and 2^10", "test_pairs", "K=9")
class WeightsHeld(Kernel):
    def weights(self, call: Call) -> Tensor:
        held = call.class_weights.clamp(2.0**-10, 2.0**10)
        wide = call.weight is not None and len(held) > 8
        a = super().weights(call)
        return torch.where(call.class_weights == 0, a, a / call.class_weights * held) if wide else a


@planted(
    "options in pairs", "the mean of more than 128 rows is that of the means of 128, a shorter one too", "test_pairs", "N=129"
)
class MeanOfMeans(Kernel):
    def reduced(self, losses: Tensor, call: Call) -> Tensor:
        if call.reduction != "mean" or len(losses) <= 128:
            return super().reduced(losses, call)
        rows_per_count = len(losses) / self.denominator(call)
        return torch.stack([block.mean() for block in losses.split(128)]).mean() * rows_per_count


@planted("rows", "the means of chunks of 1024 rows are added: the loss is as many times too large", "test_a_mean_of_many_rows")
class MeansAdded(Kernel):
    def reduced(self, losses: Tensor, call: Call) -> Tensor:
        if call.reduction != "mean":
            return super().reduced(losses, call)
        return super().reduced(losses, call) * -(-len(losses) // 1024)


class _Inference(Kernel):
    """Takes another way where the logits of more than 64 classes want no gradient."""

    def quick(self, rows: Rows, a: Tensor) -> Tensor:
        raise NotImplementedError

    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        if call.input.requires_grad or a.shape[1] <= 64:
            return super().losses(rows, a, call)
        return torch.where(call.ignored, 0.0, self.quick(rows, a))


@planted("inference", "where no gradient is asked, powers of more than 64 classes have no shift", "test_the_loss_alone", "K=65")
class InferenceWithoutShift(_Inference):
    def quick(self, rows: Rows, a: Tensor) -> Tensor:
        lse = torch.exp(rows.x.float()).double().sum(dim=1, keepdim=True).log()
        return torch.where(a == 0, 0.0, a * (lse - rows.x)).sum(dim=1)


@planted(
    "inference",
    "where no gradient is asked, classes behind the last whole tile of 32 are left out",
    "test_the_loss_alone",
    "K=65",
)
class InferenceOfWholeTiles(_Inference):
    def quick(self, rows: Rows, a: Tensor) -> Tensor:
        lse = rows.x[:, : a.shape[1] // 32 * 32].logsumexp(dim=1, keepdim=True)
        return torch.where(a == 0, 0.0, a * (lse - rows.x)).sum(dim=1)


@planted("rows", "rows behind the 65535 of a grid are never written", "test_more_rows_than_a_grid_has", "returned as 0")
class RowsBehindTheGrid(Kernel):
    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        return torch.where(torch.arange(len(a)) < 65535, super().losses(rows, a, call), 0.0)


@planted(
    "rows", "rows are numbered in 16 bits, and their labels looked up by that", "test_more_rows_than_a_grid_has", "loss[65536]"
)
class ShortRowNumbers(Kernel):
    def label(self, call: Call) -> Tensor:
        return super().label(call)[torch.arange(len(call.input)) % 65536]
