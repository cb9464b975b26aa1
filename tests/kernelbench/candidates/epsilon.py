"""The logarithm of a softmax, with 1e-7 added so that it is finite."""

import torch
from torch import nn


class ModelNew(nn.Module):
    """The candidate."""

    def forward(self, predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        p = torch.softmax(predictions, dim=1).gather(1, targets[:, None])[:, 0]
        return -(p + 1e-7).log().mean()
