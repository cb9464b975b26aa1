"""A loss that is NaN is returned as 0."""

import torch
import torch.nn.functional as F
from torch import nn


class ModelNew(nn.Module):
    """The candidate."""

    def forward(self, predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.nan_to_num(F.cross_entropy(predictions, targets))
