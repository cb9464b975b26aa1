"""Right kernels in the working precision itself, whose sums are written in the five usual ways: none may be rejected.

They are as stable as the max-shifted algorithm is, and no better: 1 absorbs, p - 1 cancels, and a gap beyond the largest
number is infinite although half of it is not.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from adapters.arithmetic import arithmetic
from adapters.limits import limits
from adapters.loading import as_declared
from adapters.operation import Operation
from adapters.torch.backend import TorchAdapter
from tests.planted.kernel import Kernel, Rows, Tensor

_TILE = 128

_MOST_TILES = 2048


class _Honest(Kernel):
    """log S - (x - m), p = E / S, everything in float32 (float64 for float64)."""

    def total(self, x: Tensor) -> Tensor:
        """(N, 1): sum of exp(x - max x)."""
        raise NotImplementedError

    def widened(self, logits: Tensor) -> Tensor:
        return logits if logits.dtype == torch.float64 else logits.float()

    def rows(self, logits: Tensor) -> Rows:
        x = self.widened(logits)
        if not x.numel():
            return super().rows(logits)
        gaps = self.top(x) - x
        total = self.total(x)
        return Rows(x, gaps, self.powers(gaps), gaps == 0, total, total)

    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        each = torch.where(a == 0, 0.0, a.to(rows.x.dtype) * (rows.gaps + torch.log(rows.total)))
        return each.sum(dim=1)

    def by_weight(self, rows: Rows) -> Tensor:
        return rows.gaps + torch.log(rows.total)

    def slope(self, rows: Rows, a: Tensor) -> Tensor:
        a = a.to(rows.x.dtype)
        return a.sum(dim=1, keepdim=True) * rows.p - a

    def product(self, rows: Rows, a: Tensor, v: Tensor) -> Tensor:
        mass, v = a.sum(dim=1, keepdim=True).to(rows.x.dtype), v.to(rows.x.dtype)
        return mass * rows.p * (v - (rows.p * v).sum(dim=1, keepdim=True))


class _TwoPass(_Honest):
    def total(self, x: Tensor) -> Tensor:
        return torch.exp(x - self.top(x)).sum(dim=1, keepdim=True)


@arithmetic(summation="recursive")
@limits("one running sum, whose bound of stable grows with the classes", max_classes=128)
class _Online(_Honest):
    """One pass: the sum is rescaled whenever the maximum moves (Milakov and Gimelshein, arXiv 1805.02867)."""

    def total(self, x: Tensor) -> Tensor:
        top, total = x[:, :1], torch.ones_like(x[:, :1])
        for column in x.split(1, dim=1)[1:]:
            moved = torch.maximum(top, column)
            total = total * _power(top - moved) + _power(column - moved)
            top = moved
        return total


class _Tiled(_Honest):
    """Tiles with maxima of their own, merged."""

    def total(self, x: Tensor) -> Tensor:
        top = self.top(x)
        tiles = x.split(_TILE, dim=1)
        sums = [_power(tile - self.top(tile)).sum(dim=1, keepdim=True) * _power(self.top(tile) - top) for tile in tiles]
        return torch.cat(sums, dim=1).sum(dim=1, keepdim=True)


class _Pairwise(_Honest):
    """A tree of additions."""

    def total(self, x: Tensor) -> Tensor:
        terms = torch.exp(x - self.top(x))
        while terms.shape[1] > 1:
            half = (terms.shape[1] + 1) // 2
            tail = torch.zeros_like(terms[:, :half])
            tail[:, : terms.shape[1] - half] = terms[:, half:]
            terms = terms[:, :half] + tail
        return terms


class _Compensated(_Honest):
    """Neumaier's sum of the sums of tiles."""

    def total(self, x: Tensor) -> Tensor:
        powers = torch.exp(x - self.top(x))
        tiles = powers.split(max(1, -(-powers.shape[1] // _MOST_TILES)), dim=1)
        total = lost = torch.zeros_like(powers[:, :1])
        for tile in tiles:
            term = tile.sum(dim=1, keepdim=True)
            added = total + term
            lost = lost + torch.where(total >= term, (total - added) + term, (term - added) + total)
            total = added
        return total + lost


def _power(exponent: Tensor) -> Tensor:
    """exp; of nothing but masked classes, where -inf is subtracted from -inf, 0."""
    return torch.where(exponent.isnan(), 0.0, torch.exp(exponent))


two_pass, online, tiled, pairwise, compensated = _TwoPass(), _Online(), _Tiled(), _Pairwise(), _Compensated()


class Honest(TorchAdapter):
    """All five in one run: what is generated and owed for one serves the others."""

    name = "honest"

    def operations(self) -> tuple[Operation, ...]:
        kernels = (two_pass, online, tiled, pairwise, compensated)
        return tuple(replace(as_declared(op, kernel), composed={}) for kernel in kernels for op in self.implementation(kernel))
