"""Logits are clamped to [-10, 10], so that exp never overflows."""

import torch
import torch.nn.functional as F
from torch import nn


class ModelNew(nn.Module):
    """The candidate."""

    def forward(self, predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(predictions.clamp(-10, 10), targets)
