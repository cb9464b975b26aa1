"""Problems with a linear layer that picks given logits, exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from reference.formats import Format
from reference.linear import identity_layer
from reference.problem import Problem


def picking(logits: ArrayLike, target: ArrayLike, fmt: Format, feature: ArrayLike, **options: Any) -> Problem:
    """The problem of these logits as the output of an identity layer with one more feature (N,)."""
    layer = identity_layer(np.asarray(logits, dtype=np.float64), np.asarray(feature, dtype=np.float64))
    return Problem.of_layer(layer, target, fmt, **options)
