"""Inputs that are changed, dtypes that are not kept, and results that depend on more than the inputs."""

from __future__ import annotations

import torch

from tests.planted.kernel import Call, Kernel, Rows, Tensor, planted


@planted(
    "in place",
    "the logits become the gradient",
    "test_gradient",
    "changed its input",
    link="https://github.com/linkedin/Liger-Kernel/issues/272",
)
class GradientInPlace(Kernel):
    def gradient(self, rows: Rows, a: Tensor, upstream: Tensor, call: Call) -> Tensor:
        exact = super().gradient(rows, a, upstream, call)
        call.input.data.copy_(exact)
        return exact


@planted(
    "in place",
    "the maximum is subtracted from the logits themselves",
    "test_loss",
    "changed its input",
    link="https://github.com/NVIDIA/Megatron-LM/pull/1594",
)
class ShiftsInPlace(Kernel):
    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        call.input.data.sub_(self.stored(self.top(rows.x), call) if len(rows.x) else 0)
        return super().losses(rows, a, call)


@planted("in place", "ignored targets are set to 0 where they lie", "test_options or test_case", "changed its input")
class OverwritesTarget(Kernel):
    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        losses = super().losses(rows, a, call)
        if not call.has_probabilities:
            call.target[call.ignored] = 0 if call.ignore_index else 1
        return losses


@planted(
    "dtype",
    "float64 is computed in float32",
    "test_loss",
    dtype="float64",
    link="https://github.com/keras-team/keras-core/issues/922",
)
class DowncastsDouble(Kernel):
    def widened(self, logits: Tensor) -> Tensor:
        return logits.float().double()


@planted("dtype", "float32 is computed from bfloat16 logits", "test_loss")
class DowncastsFloat(Kernel):
    def widened(self, logits: Tensor) -> Tensor:
        return logits.bfloat16().double()


@planted("dtype", "returns float32 for float64", "test_loss", "float32", dtype="float64")
class ReturnsFloat(Kernel):
    def stored(self, values: Tensor, call: Call) -> Tensor:
        return values.float()


@planted("dtype", "probabilities are rounded to float16", "test_options or test_loss or test_gradient")
class HalfTarget(Kernel):
    def label(self, call: Call) -> Tensor:
        return super().label(call).half().double()


@planted("flush to zero", "subnormal results are 0, and nothing says so", "test_absorption", claim="accurate")
class FlushesSubnormals(Kernel):
    def stored(self, values: Tensor, call: Call) -> Tensor:
        kept = super().stored(values, call)
        return torch.where(kept.abs() < torch.finfo(kept.dtype).tiny, torch.zeros_like(kept), kept)


@planted(
    "not deterministic",
    "losses vary by an ulp from run to run, as with an order of atomic additions",
    "test_two_runs_give_the_same_bits",
    link="https://github.com/pytorch/pytorch/issues/46024",
)
class VariesByAnUlp(Kernel):
    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        return super().losses(rows, a, call) * (1 + 2.0**-23 * torch.randint(0, 2, (len(a),)))


@planted("state", "a buffer that keeps what the last call left in it", "test_two_runs_give_the_same_bits")
class KeepsBuffer(Kernel):
    def __init__(self) -> None:
        super().__init__()
        self.left = 0.0

    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        losses = super().losses(rows, a, call) + self.left
        self.left = 2.0**-10 - self.left
        return losses


@planted("rows", "a row's loss holds a part of its neighbour's", "test_loss")
class LeaksIntoNeighbour(Kernel):
    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        losses = super().losses(rows, a, call)
        return losses + 2.0**-10 * losses.roll(1)


@planted(
    "rows", "batches of more than one row go another way, in bfloat16", "test_rows_do_not_depend_on_each_other or test_loss"
)
class BatchGoesAnotherWay(Kernel):
    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        losses = super().losses(rows, a, call)
        return losses.bfloat16().double() if len(losses) > 1 else losses


@planted("in place", "the backward scales the upstream gradient itself, and the next one finds it scaled", "test_hessian")
class UpstreamInPlace(Kernel):
    def gradient(self, rows: Rows, a: Tensor, upstream: Tensor, call: Call) -> Tensor:
        exact = super().gradient(rows, a, upstream, call)
        upstream.data.mul_(0.5)
        return exact


@planted("rows", "pairs of rows: the last row of an odd batch has the loss of the row before", "test_loss or test_case")
class OddBatch(Kernel):
    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        losses = super().losses(rows, a, call)
        return torch.cat([losses[:-1], losses[-2:-1]]) if len(losses) % 2 and len(losses) > 1 else losses


@planted("state", "a row with the logits of the row before takes its loss, whatever its class", "test_loss or test_case")
class KeepsLossOfEqualRow(Kernel):
    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        losses = super().losses(rows, a, call)
        again = (rows.x[1:] == rows.x[:-1]).all(dim=1)
        return torch.cat([losses[:1], torch.where(again, losses[:-1], losses[1:])])


@planted(
    "not deterministic",
    "losses of vocabularies vary by an ulp from run to run, small ones do not",
    "test_two_runs_of_a_large_vocabulary_give_the_same_bits",
)
class LargeVariesByAnUlp(Kernel):
    sign = 1.0

    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        self.sign = -self.sign
        return super().losses(rows, a, call) * (1 + self.sign * 2.0**-23 * (a.shape[1] >= 4096))


@planted("dtype", "without a gradient the loss is computed in bfloat16", "test_loss", "loss")
class InferenceGoesAnotherWay(Kernel):
    def reduced(self, losses: Tensor, call: Call) -> Tensor:
        reduced = super().reduced(losses, call)
        return reduced if call.input.requires_grad else reduced.bfloat16().double()
