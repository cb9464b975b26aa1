"""Right: it calls PyTorch's own cross-entropy."""

import torch
import torch.nn.functional as F
from torch import nn


class ModelNew(nn.Module):
    """The candidate."""

    def forward(self, predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(predictions, targets)
