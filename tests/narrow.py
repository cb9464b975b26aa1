"""Kernels that are wrong at one row in fifty thousand, and the right one that they are made of: what bulk is asked for."""

from __future__ import annotations

import torch

from adapters.limits import limits

Tensor = torch.Tensor

WHERE, WIDTH = 3.3, 2.0**-11
"""The band of gaps, and its width relative to itself: a thousandth of a nat and a half."""

ONLY_FIRST_ORDER = limits("class indices, no options, one derivative", targets=["indices"], options=[], derivatives=1)


@ONLY_FIRST_ORDER
def right(x: Tensor, target: Tensor, reduction: str) -> Tensor:
    """In float64, from the gaps below the largest logit, and stored once: nothing is absorbed."""
    wide = x.double()
    top, place = wide.max(dim=1, keepdim=True)
    gaps = top - wide
    others = torch.exp(-gaps).scatter(1, place, 0.0).sum(dim=1)
    loss: Tensor = gaps.gather(1, target[:, None])[:, 0] + torch.log1p(others)
    return loss.to(x.dtype)


@ONLY_FIRST_ORDER
def narrow(x: Tensor, target: Tensor, reduction: str) -> Tensor:
    """Wrong by a thousandth where the gap of two classes lies in one band: a bad entry of a table, say."""
    loss = right(x, target, reduction)
    if x.shape[1] != 2:
        return loss
    gap = (x[:, 0].double() - x[:, 1].double()).abs()
    hit = (gap >= WHERE) & (gap < WHERE * (1 + WIDTH))
    return torch.where(hit, loss * (1 + 2.0**-10), loss)


@ONLY_FIRST_ORDER
def narrow_gradient(x: Tensor, target: Tensor, reduction: str) -> Tensor:
    """The same, of the gradient alone."""
    loss = right(x, target, reduction)
    wrong = narrow(x, target, reduction)
    return loss.detach() + (wrong - wrong.detach())
