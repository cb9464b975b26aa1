"""Right: the maximum of each row is subtracted, by hand, and takes no part in the gradient."""

import torch
from torch import nn


class ModelNew(nn.Module):
    """The candidate."""

    def forward(self, predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        shifted = predictions - predictions.detach().max(dim=1, keepdim=True).values
        lost = torch.exp(shifted).sum(dim=1).log() - shifted.gather(1, targets[:, None])[:, 0]
        return lost.mean()
