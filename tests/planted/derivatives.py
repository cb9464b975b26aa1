"""Gradients, Hessians and upstream gradients that are wrong while the loss is right."""

from __future__ import annotations

import torch

from tests.planted.kernel import Call, Kernel, Losses, Rows, Tensor, planted


class _Upstream(Kernel):
    """A kernel that makes something else of the upstream gradient; it may as well be a loss that is reduced."""

    def taken(self, upstream: Tensor) -> Tensor:
        raise NotImplementedError

    def gradient(self, rows: Rows, a: Tensor, upstream: Tensor, call: Call) -> Tensor:
        return super().gradient(rows, a, self.taken(upstream) if len(upstream) else upstream, call)


@planted(
    "upstream gradient",
    "the upstream gradient of the first row, for all rows",
    "test_gradient",
    link="https://github.com/NVIDIA/TransformerEngine/pull/2139",
)
class FirstUpstream(_Upstream):
    def taken(self, upstream: Tensor) -> Tensor:
        return upstream[:1].expand_as(upstream)


@planted("upstream gradient", "the mean of the upstream gradients, for all rows", "test_gradient")
class MeanUpstream(_Upstream):
    def taken(self, upstream: Tensor) -> Tensor:
        return upstream.mean().expand_as(upstream)


@planted(
    "upstream gradient",
    "the upstream gradient is left out where it is not 1 / N already: a loss of no reduction",
    "test_gradient",
    link="https://github.com/linkedin/Liger-Kernel/issues/968",
)
class NoUpstream(_Upstream):
    def taken(self, upstream: Tensor) -> Tensor:
        return torch.ones_like(upstream)


@planted("upstream gradient", "the size of the upstream gradient without its sign", "test_gradient")
class AbsoluteUpstream(_Upstream):
    def taken(self, upstream: Tensor) -> Tensor:
        return upstream.abs()


@planted("upstream gradient", "scaled by 1 / N once more: right for one row and for a sum", "test_gradient")
class DividesTwice(_Upstream):
    def taken(self, upstream: Tensor) -> Tensor:
        return upstream / len(upstream)


@planted("upstream gradient", "the Hessian does without the upstream gradient", "test_hessian")
class HessianWithoutUpstream(Kernel):
    def second(self, rows: Rows, a: Tensor, upstream: Tensor, v: Tensor, call: Call) -> Tensor:
        return super().second(rows, a, torch.ones_like(upstream), v, call)


@planted(
    "gradient",
    "no gradient at all without reduction",
    "test_gradient",
    link="https://github.com/microsoft/DirectML/issues/739",
)
class ZeroGradient(Kernel):
    def gradient(self, rows: Rows, a: Tensor, upstream: Tensor, call: Call) -> Tensor:
        return torch.zeros_like(rows.x)


@planted("gradient", "only the target gets one", "test_gradient")
class OnlyTarget(Kernel):
    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        return torch.where(a > 0, super().slope(rows, a), 0.0)


@planted("gradient", "p without the 1 at the target", "test_gradient")
class WithoutTarget(Kernel):
    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        return a.sum(dim=1, keepdim=True) * rows.p


@planted("gradient", "a - p", "test_gradient")
class WrongSign(Kernel):
    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        return -super().slope(rows, a)


@planted("gradient", "exp(x - max) without the division by the sum", "test_gradient")
class Unnormalised(Kernel):
    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        return a.sum(dim=1, keepdim=True) * rows.powers - a


@planted("gradient", "each row gets its neighbour's", "test_gradient")
class NeighboursRow(Kernel):
    def gradient(self, rows: Rows, a: Tensor, upstream: Tensor, call: Call) -> Tensor:
        return super().gradient(rows, a, upstream, call).roll(1, dims=0)


@planted(
    "gradient",
    "p - a for weights that do not sum to 1",
    "test_options",
    link="https://github.com/kvark/meganeura/pull/102",
)
class UnscaledProbability(Kernel):
    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        return rows.p - a


@planted("gradient", "class weights in the loss only", "test_options")
class UnweightedGradient(Kernel):
    def gradient(self, rows: Rows, a: Tensor, upstream: Tensor, call: Call) -> Tensor:
        plain = Call(call.input, call.target, None, call.ignore_index, call.reduction, call.label_smoothing)
        return super().gradient(rows, self.weights(plain), upstream, call)


@planted("gradient", "label smoothing in the loss only", "test_options")
class UnsmoothedGradient(Kernel):
    def gradient(self, rows: Rows, a: Tensor, upstream: Tensor, call: Call) -> Tensor:
        plain = Call(call.input, call.target, call.weight, call.ignore_index, call.reduction, 0.0)
        return super().gradient(rows, self.weights(plain), upstream, call)


@planted("gradient", "entries below 1e-5 are skipped, as a sparse backward does", "test_gradient")
class FiltersGradient(Kernel):
    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        exact = super().slope(rows, a)
        return torch.where(exact.abs() < 1e-5, 0.0, exact)


@planted(
    "Hessian",
    "zero: the gradient is taken as a constant",
    "test_hessian",
    link="https://github.com/tensorflow/tensorflow/issues/7403",
)
class ZeroHessian(Kernel):
    def product(self, rows: Rows, a: Tensor, v: Tensor) -> Tensor:
        return torch.zeros_like(v)


@planted("Hessian", "2 p (1 - p), a boosting library's own factor", "test_hessian")
class TwiceTheHessian(Kernel):
    def product(self, rows: Rows, a: Tensor, v: Tensor) -> Tensor:
        return 2 * super().product(rows, a, v)


@planted(
    "Hessian",
    "a factor K / (K - 1)",
    "test_hessian",
    link="https://github.com/lightgbm-org/LightGBM/issues/6043",
)
class FactorOfClasses(Kernel):
    def product(self, rows: Rows, a: Tensor, v: Tensor) -> Tensor:
        classes = v.shape[1]
        return super().product(rows, a, v) * (classes / max(classes - 1, 1))


@planted("Hessian", "the diagonal p alone, without the term p p^T", "test_hessian")
class WithoutRankOne(Kernel):
    def product(self, rows: Rows, a: Tensor, v: Tensor) -> Tensor:
        return a.sum(dim=1, keepdim=True) * rows.p * v


@planted("Hessian", "p - p p^T without the total weight", "test_options")
class UnweightedHessian(Kernel):
    def product(self, rows: Rows, a: Tensor, v: Tensor) -> Tensor:
        return super().product(rows, a / a.sum(dim=1, keepdim=True), v)


@planted("Hessian", "divided and multiplied by 1 - p: NaN where p is 1", "test_hessian or test_absorption")
class HessianOfCertainty(Kernel):
    def product(self, rows: Rows, a: Tensor, v: Tensor) -> Tensor:
        left = 1 - rows.p.float().double()
        return super().product(rows, a, v) * left / left


@planted(
    "Hessian",
    "the tangent of the batch is read in another order of rows",
    "test_hessian",
    link="https://github.com/tensorflow/tensorflow/issues/14641",
)
class TangentOfOtherRow(Kernel):
    def second(self, rows: Rows, a: Tensor, upstream: Tensor, v: Tensor, call: Call) -> Tensor:
        return super().second(rows, a, upstream, v.flip(0), call)


class _OnceDifferentiable(Losses):
    backward = staticmethod(torch.autograd.function.once_differentiable(Losses.backward))


@planted(
    "Hessian",
    "the backward cannot be differentiated, and says so only when it is",
    "test_hessian",
    link="https://github.com/pytorch/pytorch/issues/2210",
)
class NoDoubleBackward(Kernel):
    function = _OnceDifferentiable


@planted(
    "gradient",
    "the backward of half precision raises",
    "test_gradient",
    "RuntimeError",
    dtype="float16",
    link="https://github.com/pytorch/pytorch/issues/30572",
)
class HalfBackwardRaises(Kernel):
    def gradient(self, rows: Rows, a: Tensor, upstream: Tensor, call: Call) -> Tensor:
        if call.input.dtype == torch.float16:
            raise RuntimeError("expected scalar type Float but found Half")
        return super().gradient(rows, a, upstream, call)


class _LogaddexpFold(torch.autograd.Function):
    """torch.logaddexp under its own derivatives, in the place of the step-by-step function."""

    @staticmethod
    def apply(logits: Tensor, a: Tensor, call: Call, kernel: Kernel) -> Tensor:
        folded = logits[:, 0].double()
        for column in logits.double().T[1:]:
            folded = torch.logaddexp(folded, column)
        return torch.where(a == 0, 0.0, a * (folded[:, None] - logits.double())).sum(dim=1)


@planted(
    "Hessian",
    "torch.logaddexp class by class, differentiated twice: digits are lost at a large gap, and NaN is left at a huge one",
    "test_hessian",
    dtype="float64",
    link="https://github.com/pytorch/pytorch/issues/196704",
)
class LogaddexpTwice(Kernel):
    function = _LogaddexpFold


@planted("upstream gradient", "the upstream gradient is rounded to bfloat16, right for 1 and for a half", "test_gradient")
class HalfUpstream(_Upstream):
    def taken(self, upstream: Tensor) -> Tensor:
        return upstream.bfloat16().to(upstream.dtype)


@planted(
    "upstream gradient",
    "the upstream gradient is read as if its rows lay one after another",
    "test_layout",
    "gradient",
    dtype="float64",  # of narrower ones a cast in front lays the rows together
)
class IgnoresStridesOfUpstream(_Upstream):
    def taken(self, upstream: Tensor) -> Tensor:
        storage = upstream.untyped_storage().nbytes() // upstream.element_size()
        return upstream.as_strided(upstream.shape, (1,), 0) if storage >= len(upstream) else upstream


@planted("Hessian", "the product takes the direction of the first row for all rows", "test_hessian")
class FirstDirection(Kernel):
    def second(self, rows: Rows, a: Tensor, upstream: Tensor, v: Tensor, call: Call) -> Tensor:
        return super().second(rows, a, upstream, v[:1].expand_as(v), call)


@planted("Hessian", "a product of several rows counts the ignored ones in a mean", "test_options or test_case")
class HessianOfMeanOverRows(Kernel):
    def second(self, rows: Rows, a: Tensor, upstream: Tensor, v: Tensor, call: Call) -> Tensor:
        counted = self.denominator(call) / len(a) if call.reduction == "mean" else 1.0
        return super().second(rows, a, upstream, v, call) * counted


@planted("flush to zero", "subnormal gradients are 0, and losses are not", "test_gradient or test_absorption", claim="accurate")
class FlushesGradient(Kernel):
    def gradient(self, rows: Rows, a: Tensor, upstream: Tensor, call: Call) -> Tensor:
        exact = super().gradient(rows, a, upstream, call)
        return torch.where(exact.abs() < torch.finfo(call.input.dtype).tiny, 0.0, exact)


@planted("gradient", "a row of equal logits is taken for one that has not been trained, and has no gradient", "test_gradient")
class NothingFromTies(Kernel):
    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        return torch.where((rows.gaps == 0).all(dim=1, keepdim=True), 0.0, super().slope(rows, a))


@planted(
    "nan",
    "NaN in a row reaches the gradient of the row below",
    "test_nonfinite or test_case or test_rows_do_not_depend_on_each_other",
)
class NanReachesNextGradient(Kernel):
    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        slope = super().slope(rows, a)
        above = rows.x.isnan().any(dim=1, keepdim=True).roll(1, dims=0)
        return torch.where(above, torch.nan, slope)
