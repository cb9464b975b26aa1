"""The maximum is subtracted in place: the caller's logits are changed."""

import torch
import torch.nn.functional as F
from torch import nn


class ModelNew(nn.Module):
    """The candidate."""

    def forward(self, predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            predictions.sub_(predictions.max(dim=1, keepdim=True).values)
        return F.cross_entropy(predictions, targets)
