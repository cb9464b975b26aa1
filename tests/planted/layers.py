"""Kernels that compute a linear layer and its cross-entropy in one, in chunks of rows, and get the layer wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from tests.planted.kernel import Call, Rows, Tensor, planted
from tests.planted.layer_kernel import Layer, LayerKernel, Part

REDUCED, MANY_ROWS = "test_layer_reduced_over_many_rows", "test_layer_of_many_rows"
USAGE = "test_layer_usage"
VOCABULARY = "test_linear_layer_of_a_large_vocabulary"


def in_format(values: Tensor, call: Call) -> Tensor:
    """The values rounded to the format of the call."""
    return values.to(call.input.dtype).double()


@planted("layer", "the running total of the loss is kept in bfloat16", REDUCED, "loss", dtype="bfloat16")
class TotalInHalf(LayerKernel):
    def total(self, chunks: Sequence[Tensor], call: Call) -> Tensor:
        if call.reduction == "none" or not chunks:
            return super().total(chunks, call)
        total = torch.zeros((), dtype=torch.float64)
        for losses in chunks:
            total = in_format(total + losses.sum(), call)
        return total / (self.denominator(call) if call.reduction == "mean" else 1.0)


@planted(
    "layer",
    "the gradient by the bias adds up in bfloat16",
    REDUCED,
    "bias_gradient",
    dtype="bfloat16",
)
class BiasTotalInHalf(LayerKernel):
    def by_bias(self, total: Tensor, g: Tensor, part: Part) -> Tensor:
        return super().by_bias(total, g, part).bfloat16().double()


@planted(
    "layer",
    "the gradient by the weight adds up in bfloat16",
    REDUCED,
    "weight_gradient",
    dtype="bfloat16",
)
class WeightTotalInHalf(LayerKernel):
    def by_matrix(self, total: Tensor, g: Tensor, layer: Layer, part: Part) -> Tensor:
        return super().by_matrix(total, g, layer, part).bfloat16().double()


@planted(
    "layer",
    "a mean is that of the means of the chunks, of which the last is shorter",
    REDUCED,
    "loss",
)
class MeanOfMeans(LayerKernel):
    def total(self, chunks: Sequence[Tensor], call: Call) -> Tensor:
        if call.reduction != "mean" or len(chunks) < 2:
            return super().total(chunks, call)
        return torch.stack([losses.mean() for losses in chunks]).mean()


@planted("layer", "rows behind the last whole chunk are left out of the sum", REDUCED, "loss")
class LastChunkLost(LayerKernel):
    def total(self, chunks: Sequence[Tensor], call: Call) -> Tensor:
        whole = [losses if len(losses) == self.chunk or len(chunks) == 1 else 0.0 * losses for losses in chunks]
        return super().total(whole if call.reduction != "none" else chunks, call)


@planted("layer", "the last chunk has no gradient by its features", MANY_ROWS, "feature_gradient")
class LastFeaturesLost(LayerKernel):
    def by_features(self, g: Tensor, layer: Layer, part: Part) -> Tensor:
        lost = part.at.start > 0 and part.at.stop == len(layer.h)
        return super().by_features(g, layer, part) * (0.0 if lost else 1.0)


@planted("layer", "the last short chunk is not in the gradient by the weight", MANY_ROWS, "weight_gradient")
class LastChunkNotInWeight(LayerKernel):
    def by_matrix(self, total: Tensor, g: Tensor, layer: Layer, part: Part) -> Tensor:
        short = part.at.start > 0 and len(g) < self.chunk
        return total if short else super().by_matrix(total, g, layer, part)


@planted("layer", "the gradient by the weight is that of the last chunk alone", MANY_ROWS, "weight_gradient")
class WeightOfLastChunk(LayerKernel):
    def by_matrix(self, total: Tensor, g: Tensor, layer: Layer, part: Part) -> Tensor:
        return super().by_matrix(torch.zeros_like(total), g, layer, part)


@planted("layer", "the first of several chunks is added to the weight's gradient twice", MANY_ROWS, "weight")
class FirstChunkTwice(LayerKernel):
    def by_matrix(self, total: Tensor, g: Tensor, layer: Layer, part: Part) -> Tensor:
        twice = part.at.start == 0 and len(layer.h) > self.chunk
        return super().by_matrix(total, (2 if twice else 1) * g, layer, part)


@planted("layer", "the gradient by the bias is that of the first chunk alone", MANY_ROWS, "bias_gradient")
class BiasOfFirstChunk(LayerKernel):
    def by_bias(self, total: Tensor, g: Tensor, part: Part) -> Tensor:
        return total if part.at.start else super().by_bias(total, g, part)


@planted("layer", "the logits of the last short chunk have no bias", MANY_ROWS, "loss")
class BiasForgotten(LayerKernel):
    def logits(self, layer: Layer, at: slice) -> Tensor:
        short = at.start > 0 and at.stop - at.start < self.chunk
        return super().logits(replace(layer, b=0.0 * layer.b) if short else layer, at)


@planted("layer", "every chunk but the first is shifted by the maxima of the one before", MANY_ROWS, "loss")
class MaximaOfChunkBefore(LayerKernel):
    def parts(self, layer: Layer, call: Call) -> list[Part]:
        parts = super().parts(layer, call)
        before = [parts[0], *parts[:-1]] if parts else []
        return [replace(part, rows=self.stale(part.rows, other.rows)) for part, other in zip(parts, before, strict=True)]

    def stale(self, rows: Rows, other: Rows) -> Rows:
        top = (other.x + other.gaps)[: len(rows.x), :1]
        gaps = top - rows.x
        powers = torch.exp(-gaps)
        others = torch.where(rows.at_top, 0.0, powers).sum(dim=1, keepdim=True)
        return replace(rows, gaps=gaps, powers=powers, others=others, total=1 + others)


@planted("layer", "one maximum shifts all rows of a chunk: those far below it vanish", "test_kinds_of_layers", "loss")
class MaximumOfChunk(LayerKernel):
    def rows(self, logits: Tensor) -> Rows:
        x = logits.float()
        if not x.numel():
            return super().rows(logits)
        gaps = x.amax() - x
        total = torch.exp(-gaps).sum(dim=1, keepdim=True)
        return Rows(x, gaps, torch.exp(-gaps), torch.zeros_like(x, dtype=torch.bool), total - 1, total)


@planted("layer", "the gradient by the features leaves the cotangents out", "test_linear_layer", "feature_gradient")
class FeaturesWithoutCotangent(LayerKernel):
    def by_features(self, g: Tensor, layer: Layer, part: Part) -> Tensor:
        ones = torch.ones(len(part.a), dtype=torch.float64)
        return super().by_features(self.gradient(part.rows, part.a, ones, part.call), layer, part)


@planted("layer", "the gradient by the features is not divided by what a mean divides by", "test_linear_layer", "feature_gr")
class FeaturesWithoutMean(LayerKernel):
    def by_features(self, g: Tensor, layer: Layer, part: Part) -> Tensor:
        counted = self.denominator(part.call) if part.call.reduction == "mean" else 1.0
        return super().by_features(g * counted, layer, part)


@planted("layer", "the gradient by the weight takes the cotangent of the first row of a chunk", MANY_ROWS, "weight")
class WeightOfFirstCotangent(LayerKernel):
    def gradients(self, layer: Layer, upstream: Tensor, call: Call, asked: Sequence[bool]) -> tuple[Tensor, Tensor, Tensor]:
        dh, _, db = super().gradients(layer, upstream, call, asked)
        rows = torch.arange(len(call.input))
        first = upstream.expand(len(rows))[rows - rows % self.chunk]
        return dh, super().gradients(layer, first, call, asked)[1], db


@planted("layer", "gradients are divided by the number of all rows, of which some are ignored", "test_linear_layer", "gradient")
class GradientsOverAllRows(LayerKernel):
    def upstreams(self, upstream: Tensor, call: Call) -> Tensor:
        found = super().upstreams(upstream, call)
        every = call.reduction == "mean" and call.ignored.any() and not call.ignored.all()
        return found * (~call.ignored).sum() / len(call.input) if every else found


class _ReadsIgnored(LayerKernel):
    """What an ignored row has as features counts."""

    def read(self, input: Tensor, weight: Tensor, bias: Tensor, call: Call) -> Layer:  # noqa: A002
        return Layer(input.double(), weight.double(), bias.double())


class _IgnoredCount(LayerKernel):
    """Rows that are ignored have a gradient by their logits."""

    def with_ignored(self, g: Tensor, part: Part) -> Tensor:
        return torch.where(part.call.ignored[:, None], part.rows.p, g)


@planted("layer", "ignored rows are in the gradient by the weight", "test_linear_layer or test_case", "weight_gradient")
class IgnoredInWeight(_ReadsIgnored, _IgnoredCount):
    def by_matrix(self, total: Tensor, g: Tensor, layer: Layer, part: Part) -> Tensor:
        return super().by_matrix(total, self.with_ignored(g, part), layer, part)


@planted("layer", "ignored rows are in the gradient by the bias", "test_linear_layer", "bias_gradient")
class IgnoredInBias(_IgnoredCount):
    def by_bias(self, total: Tensor, g: Tensor, part: Part) -> Tensor:
        return super().by_bias(total, self.with_ignored(g, part), part)


@planted("layer", "an ignored row is multiplied by 0, not left out: its NaN is in all sums", "test_case", "gradient")
class NanOfIgnored(_ReadsIgnored):
    def gradient(self, rows: Rows, a: Tensor, upstream: Tensor, call: Call) -> Tensor:
        return self.slope(rows, a) * (upstream * ~call.ignored)[:, None]


@planted("layer", "a chunk whose rows are all ignored divides by 0", "test_linear_layer", "special-value")
class ChunkOfNothing(LayerKernel):
    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        counted = (~call.ignored).sum()
        return super().losses(rows, a, call) / counted * counted


@planted("layer", "the product is rounded to bfloat16 before the bias is added", "test_dense_layer", dtype="bfloat16")
class RoundedBeforeBias(LayerKernel):
    def logits(self, layer: Layer, at: slice) -> Tensor:
        return (layer.h[at] @ layer.w.T).bfloat16().double() + layer.b


@planted("layer", "the gradient by the logits is rounded to bfloat16 before the products", "test_dense_layer", "gradient")
class RoundedSlope(LayerKernel):
    def by_logits(self, part: Part, upstreams: Tensor) -> Tensor:
        return super().by_logits(part, upstreams).bfloat16().double()


@planted("layer", "features and weight have 11 bits in the product, as in TF32", "test_dense_layer", "loss")
class ProductOfTf32(LayerKernel):
    def logits(self, layer: Layer, at: slice) -> Tensor:
        return super().logits(replace(layer, h=self.cut(layer.h), w=self.cut(layer.w)), at)

    def cut(self, values: Tensor) -> Tensor:
        return (values.float().view(torch.int32) & ~0x1FFF).view(torch.float32).double()


@planted("layer", "the gradient by the weight leaves small probabilities out", "test_linear_layer", "weight_gradient")
class FiltersInWeight(LayerKernel):
    def by_matrix(self, total: Tensor, g: Tensor, layer: Layer, part: Part) -> Tensor:
        return super().by_matrix(total, torch.where(part.rows.p < 2.0**-12, 0.0, g), layer, part)


@planted("layer", "the gradient by the features leaves small probabilities out", "test_kinds_of_layers", "feature_gradient")
class FiltersInFeatures(LayerKernel):
    def by_features(self, g: Tensor, layer: Layer, part: Part) -> Tensor:
        small = (part.rows.p < 2.0**-12) & (part.a == 0)
        return super().by_features(torch.where(small, 0.0, g), layer, part)


@planted("layer", "label smoothing spreads over the first four classes", "test_dense_layer or test_linear_layer", "loss")
class SmoothsFirstClasses(LayerKernel):
    def smoothed(self, label: Tensor, call: Call) -> Tensor:
        near = (torch.arange(label.shape[1]) < 4).double()
        return (1 - call.label_smoothing) * label + call.label_smoothing * near / near.sum()


@planted("layer", "the weight is read as if its columns lay one after another", "test_layer_layout")
class WeightByPointer(LayerKernel):
    def matrix(self, given: Tensor) -> Tensor:
        rows, width = given.shape
        enough = given.untyped_storage().nbytes() // given.element_size() >= given.storage_offset() + rows * width
        return given.as_strided((rows, width), (width, 1)) if enough else given


@planted("layer", "the features are read from the start of their storage", "test_layer_layout")
class FeaturesByPointer(LayerKernel):
    def features(self, given: Tensor) -> Tensor:
        return given.as_strided(given.shape, given.stride(), 0)


@planted(
    "layer",
    "classes behind the last whole tile of 64 have no weight gradient",
    VOCABULARY,
    "weight_gradient",
)
class RestWithoutWeight(LayerKernel):
    def by_matrix(self, total: Tensor, g: Tensor, layer: Layer, part: Part) -> Tensor:
        classes = g.shape[1]
        rest = torch.arange(classes) >= (classes - classes % 64 if classes > 64 else classes)
        return super().by_matrix(total, torch.where(rest, 0.0, g), layer, part)


@planted("layer", "features behind the sixteenth are in no product", MANY_ROWS, "loss")
class SixteenFeatures(LayerKernel):
    def logits(self, layer: Layer, at: slice) -> Tensor:
        return super().logits(replace(layer, h=layer.h[:, :16], w=layer.w[:, :16]), at)


@planted("layer", "of more than 128 rows, the others take the targets of the first", MANY_ROWS, "loss")
class TargetsWrapRound(LayerKernel):
    def part(self, logits: Tensor, at: slice, call: Call) -> Part:
        target = call.target[torch.arange(len(call.target)) % 128]
        return super().part(logits, at, replace(call, target=target))


@planted("layer", "where features are frozen, the weight's gradient is 0", "test_frozen_parts", "weight_gradient")
class FrozenFeatures(LayerKernel):
    def gradients(self, layer: Layer, upstream: Tensor, call: Call, asked: Sequence[bool]) -> tuple[Tensor, Tensor, Tensor]:
        dh, dw, db = super().gradients(layer, upstream, call, asked)
        return dh, dw * (1.0 if asked[0] else 0.0), db


@planted("layer", "where no gradient is needed, the loss is computed in bfloat16", "test_frozen_parts", "loss")
class InferenceInHalf(LayerKernel):
    def read(self, input: Tensor, weight: Tensor, bias: Tensor, call: Call) -> Layer:  # noqa: A002
        needed = input.requires_grad or weight.requires_grad or bias.requires_grad
        layer = super().read(input, weight, bias, call)
        return layer if needed else replace(layer, h=layer.h.bfloat16().double())


@planted("layer", "the gradient by the bias leaves class weights out", "test_linear_layer", "bias_gradient")
class BiasWithoutWeights(LayerKernel):
    def by_bias(self, total: Tensor, g: Tensor, part: Part) -> Tensor:
        given = part.call.class_weights[part.call.target.clamp(min=0)][:, None]
        return super().by_bias(total, torch.where(given > 0, g / given, g), part)


@planted("layer", "the gradients are kept, and scaled once more by the cotangent of the next backward", USAGE, "twice")
class ScaledInPlace(LayerKernel):
    """As of a loss that computes its gradients in its forward, and scales them where they lie."""

    def kept(self, ctx: Any, found: Sequence[Tensor], upstream: Tensor) -> Sequence[Tensor]:
        scale = getattr(ctx, "scale", 1.0)
        ctx.scale = scale * float(upstream.reshape(-1)[0])
        return [scale * each for each in found]


@planted("layer", "the chunks of all calls share a buffer for their targets", USAGE, "interleaved")
class SharedTargets(LayerKernel):
    def check_target(self, call: Call) -> None:
        super().check_target(call)
        self.targets = call.target

    def part(self, logits: Tensor, at: slice, call: Call) -> Part:
        same = len(self.targets) == len(call.target)
        return super().part(logits, at, replace(call, target=self.targets) if same else call)


@planted("layer", "the weight is read once, and again where another has come", USAGE, "in usage 'reused'")
class RemembersWeight(LayerKernel):
    """By the address of the weight, which an optimizer changes where it lies; kept, so that no other comes to lie there."""

    def matrix(self, given: Tensor) -> Tensor:
        if not hasattr(self, "seen") or self.seen.data_ptr() != given.data_ptr():
            self.seen, self.copy = given.detach(), given.detach().clone()
        return self.copy


@planted("layer", "in inference mode the loss leaves the bias out", USAGE, "in usage 'inference_mode'")
class InferenceWithoutBias(LayerKernel):
    def logits(self, layer: Layer, at: slice) -> Tensor:
        return super().logits(replace(layer, b=0.0 * layer.b) if torch.is_inference_mode_enabled() else layer, at)
