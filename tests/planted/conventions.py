"""Ignored rows, class weights, label smoothing, and class indices that are out of range."""

from __future__ import annotations

from dataclasses import replace

import torch

from tests.planted.kernel import Call, Kernel, Rows, Tensor, planted


@planted(
    "ignored rows",
    "a mean divides by all rows",
    "test_options or test_case",
    link="https://github.com/pytorch/xla/issues/859",
)
class CountsIgnored(Kernel):
    def denominator(self, call: Call) -> Tensor:
        if call.has_probabilities:
            return super().denominator(call)
        return call.class_weights[call.target.clamp(0, call.input.shape[1] - 1)].sum()


@planted("ignored rows", "an ignored row pulls all its logits down: p without a target", "test_options")
class IgnoredGradient(Kernel):
    def gradient(self, rows: Rows, a: Tensor, upstream: Tensor, call: Call) -> Tensor:
        exact = super().gradient(rows, a, upstream, call)
        return torch.where(call.ignored[:, None], rows.p * upstream[:, None], exact)


@planted("ignored rows", "class 0 is always ignored", "test_loss")
class IgnoresClassZero(Kernel):
    def weights(self, call: Call) -> Tensor:
        a = super().weights(call)
        return a if call.has_probabilities else torch.where((call.target == 0)[:, None], 0.0, a)


@planted(
    "ignored rows",
    "-100 is ignored whatever is asked",
    "test_options",
    link="https://github.com/PaddlePaddle/Paddle/pull/31201",
)
class IgnoresOnlyDefault(Kernel):
    def weights(self, call: Call) -> Tensor:
        fixed = Call(call.input, call.target, call.weight, -100, call.reduction, call.label_smoothing)
        return super().weights(fixed)

    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        return self.loss(rows, a)


@planted(
    "ignored rows",
    "the loss of an ignored row is NaN times 0",
    "test_case",
    link="https://github.com/pytorch/pytorch/issues/75181",
)
class IgnoredTimesZero(Kernel):
    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        return self.loss(rows, a) * (~call.ignored)


@planted(
    "ignored rows",
    "a mean of no rows that count is 0",
    "test_case",
    link="https://github.com/pytorch/pytorch/issues/70348",
)
class AllIgnoredIsZero(Kernel):
    def denominator(self, call: Call) -> Tensor:
        return super().denominator(call).clamp(min=1.0) if call.ignored.all() else super().denominator(call)


@planted("ignored rows", "smoothing goes on in ignored rows", "test_options")
class SmoothsIgnored(Kernel):
    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        uniform = torch.full_like(a, call.label_smoothing / a.shape[1])
        return super().losses(rows, a, call) + torch.where(call.ignored, self.loss(rows, uniform), 0.0)


@planted(
    "weights",
    "a weighted mean divides by the number of rows",
    "test_options",
    link="https://github.com/pytorch/pytorch/issues/61309",
)
class MeanOverRows(Kernel):
    def denominator(self, call: Call) -> Tensor:
        return (~call.ignored).sum().double()


@planted("weights", "a weighted mean divides by the sum of all class weights", "test_options")
class MeanOverClasses(Kernel):
    def denominator(self, call: Call) -> Tensor:
        return super().denominator(call) if call.weight is None else call.class_weights.sum()


@planted("weights", "a mean of targets without weight is their sum: 0, not NaN", "test_options or test_case")
class MeanOverNoWeight(Kernel):
    def denominator(self, call: Call) -> Tensor:
        exact = super().denominator(call)
        return exact if call.ignored.all() else torch.where(exact == 0, 1.0, exact)


@planted("weights", "the weight of the class with the largest logit, not of the target", "test_options")
class WeightOfMaximum(Kernel):
    def weights(self, call: Call) -> Tensor:
        plain = Call(call.input, call.target, None, call.ignore_index, call.reduction, call.label_smoothing)
        at = call.input.detach().double().nan_to_num().argmax(dim=1) if len(call.input) else call.target
        return super().weights(plain) * call.class_weights[at][:, None]


@planted("weights", "the mean of the means of two halves of the batch", "test_options or test_case")
class MeanOfMeans(Kernel):
    def reduced(self, losses: Tensor, call: Call) -> Tensor:
        if call.reduction != "mean" or len(losses) < 2:
            return super().reduced(losses, call)
        parts = zip(losses.split(2), call.target.split(2), call.input.split(2), strict=True)
        means = [
            super(type(self), self).reduced(
                part, Call(x, t, call.weight, call.ignore_index, call.reduction, call.label_smoothing)
            )
            for part, t, x in parts
        ]
        return torch.stack(means).mean()


@planted(
    "smoothing",
    "the rest goes to the other K - 1 classes",
    "test_options",
    link="https://github.com/pytorch/pytorch/issues/148884",
)
class SmoothsOthers(Kernel):
    def smoothed(self, label: Tensor, call: Call) -> Tensor:
        share = call.label_smoothing / max(label.shape[1] - 1, 1)
        return label * (1 - call.label_smoothing) + (1 - label) * share


@planted(
    "smoothing",
    "divided by the classes of one shard, not by all",
    "test_options",
    link="https://github.com/NVIDIA/Megatron-LM/issues/737",
)
class SmoothsByShard(Kernel):
    def smoothed(self, label: Tensor, call: Call) -> Tensor:
        shard = max(label.shape[1] // 2, 1)
        return (1 - call.label_smoothing) * label + call.label_smoothing / shard


@planted("smoothing", "the uniform part goes without class weights", "test_options")
class SmoothsUnweighted(Kernel):
    def weights(self, call: Call) -> Tensor:
        label = self.label(call)
        a = call.class_weights * (1 - call.label_smoothing) * label + call.label_smoothing / label.shape[1]
        return torch.where(call.ignored[:, None], 0.0, a)


@planted("smoothing", "the mean over finite logits: a masked class is left out of K", "test_case or test_options")
class SmoothsUnmasked(Kernel):
    def smoothed(self, label: Tensor, call: Call) -> Tensor:
        finite = call.input.isfinite()
        share = call.label_smoothing * finite / finite.sum(dim=1, keepdim=True).clamp(min=1)
        return (1 - call.label_smoothing) * label + share.double()


@planted(
    "class index out of range",
    "clamped to the classes that there are",
    "test_out_of_range_label",
    link="https://github.com/pytorch/pytorch/issues/135546",
)
class ClampsIndex(Kernel):
    def check_target(self, call: Call) -> None:
        pass

    def label(self, call: Call) -> Tensor:
        return (torch.arange(call.input.shape[1]) == call.target.clamp(0, call.input.shape[1] - 1)[:, None]).double()


@planted(
    "class index out of range",
    "wrapped round, as an index from the end",
    "test_out_of_range_label",
    link="https://github.com/google-deepmind/optax/issues/1185",
)
class WrapsIndex(Kernel):
    def check_target(self, call: Call) -> None:
        pass

    def label(self, call: Call) -> Tensor:
        return (torch.arange(call.input.shape[1]) == (call.target % call.input.shape[1])[:, None]).double()


@planted("class index out of range", "a one-hot row of nothing but 0: no loss", "test_out_of_range_label")
class EmptyOneHot(Kernel):
    def check_target(self, call: Call) -> None:
        pass


@planted(
    "ignored rows",
    "the ignored class itself leaves the softmax of the other rows",
    "test_options or test_case",
    link="https://github.com/pytorch/pytorch/issues/63004",
)
class IgnoredClassLeaves(Kernel):
    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        ignored = torch.arange(a.shape[1]) == call.ignore_index
        return super().losses(self.rows(torch.where(ignored, -torch.inf, call.input)), a, call)


@planted(
    "ignored rows",
    "the loss of an ignored row is never written: whatever its buffer held counts",
    "test_options or test_case",
    link="https://github.com/linkedin/Liger-Kernel/pull/1338",
)
class IgnoredIsNotWritten(Kernel):
    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        return torch.where(call.ignored, 40.0, self.loss(rows, a))


@planted("class index out of range", "a target without a logit: the loss is log S", "test_out_of_range_label")
class OutOfRangeCostsLogSum(Kernel):
    def check_target(self, call: Call) -> None:
        pass

    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        return super().losses(rows, a, call) + (a == 0).all(dim=1) * ~call.ignored * torch.log(rows.total)[:, 0]


@planted(
    "smoothing",
    "the rest is divided by K - 1 and multiplied by K - 1: NaN where there is one class",
    "test_options or test_case or test_degenerate",
)
class SmoothsOneClass(Kernel):
    def smoothed(self, label: Tensor, call: Call) -> Tensor:
        if not call.label_smoothing:
            return label
        others = label.shape[1] - 1
        rest = torch.tensor(call.label_smoothing, dtype=torch.float64) / others * others
        return (1 - call.label_smoothing) * label + rest / label.shape[1]


@planted("smoothing", "probabilities are not smoothed, class indices are", "test_options or test_case")
class SmoothsIndicesAlone(Kernel):
    def smoothed(self, label: Tensor, call: Call) -> Tensor:
        return label if call.has_probabilities else super().smoothed(label, call)


@planted("weights", "class weights are rounded to bfloat16", "test_options or test_case")
class HalfWeights(Kernel):
    def weights(self, call: Call) -> Tensor:
        weight = None if call.weight is None else call.weight.bfloat16()
        return super().weights(replace(call, weight=weight))
