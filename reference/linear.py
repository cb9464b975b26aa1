"""The last linear layer, logits = h W^T + b, with features and weights chosen so that the product is exact.

Row n of the features h = [I | feature] is the n-th unit vector followed by feature[n]; W = [logits^T | 0] and b = 0, so each
logit is one product by 1 plus zeros, whatever its size, and no rounding of the product enters what is measured behind it.
The logits of a single row are in the bias instead, W = 0 and b = logits, so that a layer which mishandles its bias shows.
With g the (N, K) gradient by the logits, dL/dW = g^T h has g_n in column n and sum_n feature_n g_n in the last one, and
dL/db = sum_n g_n.
"""

from __future__ import annotations

import numpy as np

from reference.formats import Floats
from reference.problem import Problem


def feature_of(problem: Problem) -> Floats:
    """The (N,) feature of a problem that has one.

    Raises:
      ValueError: it has none.
    """
    if problem.feature is None:
        raise ValueError("a gradient of the linear layer without one; give the problem a feature of shape (N,)")
    return problem.feature


def linear_layer(problem: Problem) -> tuple[Floats, Floats, Floats]:
    """Features h of shape (N, N + 1), weights W (K, N + 1) and bias b (K,), members of the problem's format.

    Raises:
      ValueError: the problem has no feature.

    >>> from reference.formats import FLOAT32
    >>> h, w, b = linear_layer(Problem([[20.0, 0.0], [1.0, 2.0]], [0, 1], FLOAT32, feature=[3.0, -1.0]))
    >>> (h @ w.T + b).tolist()
    [[20.0, 0.0], [1.0, 2.0]]
    """
    feature = feature_of(problem)
    features = np.hstack([np.eye(problem.num_rows), feature[:, None]])
    columns, bias = problem.logits.T, np.zeros(problem.num_classes)
    if problem.num_rows == 1:
        columns, bias = np.zeros_like(columns), problem.logits[0]
    return features, np.hstack([columns, np.zeros((problem.num_classes, 1))]), bias
