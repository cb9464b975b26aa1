"""The reduction of a loss: whether its rows stay apart, are added up or are averaged."""

from __future__ import annotations

from enum import StrEnum


class Reduction(StrEnum):
    """What becomes of the losses (N,) of a problem's rows, and so the shape of the loss: (N,) for NONE, () otherwise."""

    NONE = "none"
    SUM = "sum"
    MEAN = "mean"
