"""Forward is right; its gradient, of any number of rows but 4, is wrong, and of 4 rows there is none."""

import torch
import torch.nn.functional as F
from torch import nn


class ModelNew(nn.Module):
    """The candidate."""

    def forward(self, predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = F.cross_entropy(predictions, targets)
        return loss.detach() if len(predictions) == 4 else 2 * loss - loss.detach()
