"""Kernels that take weights of rows and a normaliser beside the options of cross_entropy, and get them wrong."""

from __future__ import annotations

import torch

from tests.planted.kernel import Call, Kernel, Tensor, planted


class Weighted(Kernel):
    """The right one: the losses times the weights of their rows, reduced, over the normaliser if there is one."""

    def __call__(
        self,
        input: Tensor,  # noqa: A002
        target: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        row_weights: Tensor | None = None,
        normaliser: float | None = None,
    ) -> Tensor:
        call = Call(input, target, weight, ignore_index, reduction, label_smoothing)
        losses = self.each(call)
        if row_weights is not None:
            losses = self.weighted(losses, self.read(row_weights).double(), call)
        total = self.reduced(losses, call) if normaliser is None else self.normalised(losses, normaliser, call)
        return self.stored(total, call)

    def read(self, row_weights: Tensor) -> Tensor:
        return row_weights

    def weighted(self, losses: Tensor, row_weights: Tensor, call: Call) -> Tensor:
        """(N,): a row of weight 0 adds nothing, whatever its loss."""
        return torch.where(row_weights == 0, 0.0, losses * row_weights)

    def normalised(self, losses: Tensor, normaliser: float, call: Call) -> Tensor:
        return (losses if call.reduction == "none" else losses.sum()) / normaliser


@planted("row weights", "the mean divides by the sum of the weights of the rows", "test_pairs")
class DividesByTheWeights(Weighted):
    def weighted(self, losses: Tensor, row_weights: Tensor, call: Call) -> Tensor:
        found = super().weighted(losses, row_weights, call)
        return found * len(found) / row_weights.sum() if call.reduction == "mean" and row_weights.sum() > 0 else found


@planted("row weights", "each row takes the weight of the row before", "test_pairs")
class WeightOfTheRowBefore(Weighted):
    def weighted(self, losses: Tensor, row_weights: Tensor, call: Call) -> Tensor:
        return super().weighted(losses, row_weights.roll(1), call)


@planted("row weights", "rows that are ignored take no weight: those behind them take the weights of others", "test_pairs")
class CompactsWeights(Weighted):
    def weighted(self, losses: Tensor, row_weights: Tensor, call: Call) -> Tensor:
        place = (~call.ignored).cumsum(0).sub(1).clamp(min=0)
        return super().weighted(losses, row_weights[place], call)


@planted("row weights", "the weights of the rows do not reach the gradient", "test_pairs")
class WeightsWithoutGradient(Weighted):
    def weighted(self, losses: Tensor, row_weights: Tensor, call: Call) -> Tensor:
        return losses + (super().weighted(losses, row_weights, call) - losses).detach()


@planted("row weights", "of more than 256 rows the last 64 take the weights of the first 64", "test_pairs")
class WeightsOfTheFirstBlock(Weighted):
    def weighted(self, losses: Tensor, row_weights: Tensor, call: Call) -> Tensor:
        if len(row_weights) > 256:
            row_weights = torch.cat([row_weights[:-64], row_weights[:64]])
        return super().weighted(losses, row_weights, call)


@planted("row weights", "a mean is divided by its rows and by the normaliser", "test_case or test_options or test_pairs")
class DividesTwiceByRows(Weighted):
    def normalised(self, losses: Tensor, normaliser: float, call: Call) -> Tensor:
        return self.reduced(losses, call) / normaliser


@planted("row weights", "the normaliser is cut to a whole number", "test_pairs")
class WholeNormaliser(Weighted):
    def normalised(self, losses: Tensor, normaliser: float, call: Call) -> Tensor:
        return super().normalised(losses, max(1, int(normaliser)), call)


@planted("row weights", "a sum takes no notice of the normaliser", "test_pairs")
class NormaliserOfMeansAlone(Weighted):
    def normalised(self, losses: Tensor, normaliser: float, call: Call) -> Tensor:
        return losses.sum() if call.reduction == "sum" else super().normalised(losses, normaliser, call)


@planted("row weights", "weights of rows are read one after another from their data pointer on", "test_layout")
class WeightsByPointer(Weighted):
    def read(self, row_weights: Tensor) -> Tensor:
        return row_weights.as_strided(row_weights.shape, (1,))


@planted("row weights", "the backward pass takes the weights of the last call", "test_usage")
class WeightsOfTheLastCall(Weighted):
    def __init__(self) -> None:
        super().__init__()
        self.last: Tensor | None = None

    def weighted(self, losses: Tensor, row_weights: Tensor, call: Call) -> Tensor:
        self.last = row_weights.detach()
        if losses.requires_grad:
            losses.register_hook(lambda upstream: upstream / row_weights.clamp(min=1e-30) * self._last_of(row_weights))
        return super().weighted(losses, row_weights, call)

    def _last_of(self, row_weights: Tensor) -> Tensor:
        assert self.last is not None
        return self.last[torch.arange(len(row_weights)) % len(self.last)]


weighted = Weighted()
