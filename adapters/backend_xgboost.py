"""XGBoost's multi:softprob on the CPU: the gradient, read from trees of one leaf.

A row alone, with its logits as base margin, makes one tree a class whose only leaf is -g/h, and whose cover is the Hessian h
of the objective, max(2 p (1 - p), 1e-16): both float32, without regularisation. So g = -leaf cover, to within two roundings.
That h is no entry of the Hessian of the loss, by its documented factor 2, and is not judged.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xgboost

from adapters.arrays import Array, ArrayAdapter, Inputs
from adapters.operation import Operation
from reference.arithmetic import RECURSIVE, Arithmetic
from reference.formats import FLOAT32
from reference.quantity import Quantity

_MOST_CLASSES = 256
"""Trees of a row; those of a vocabulary take minutes."""

_PLAIN: dict[str, Any] = {
    "objective": "multi:softprob",
    "eta": 1.0,
    "lambda": 0.0,
    "min_child_weight": 0.0,
    "max_depth": 1,
    "tree_method": "exact",
    "base_score": 0.0,
    "nthread": 1,
    "verbosity": 0,
}


def _gradient_of_row(logits: Array, label: int) -> Array:
    one = np.zeros((1, 1), dtype=np.float32)
    data = xgboost.DMatrix(one, label=[label], base_margin=logits[None])
    booster = xgboost.train(_PLAIN | {"num_class": len(logits)}, data, num_boost_round=1)
    trees = [json.loads(tree) for tree in booster.get_dump(with_stats=True, dump_format="json")]
    return np.array([-np.float32(tree["leaf"]) * np.float32(tree["cover"]) for tree in trees], dtype=np.float32)


def softprob(inputs: Inputs, _: Quantity) -> Array:
    """The gradient, row by row, times the cotangent.

    Raises:
      NotImplementedError: too many classes for a tree each.
    """
    rows, classes = inputs.logits.shape
    if classes > _MOST_CLASSES:
        raise NotImplementedError(f"{classes} classes are a tree each; at most {_MOST_CLASSES}")
    gradients = [_gradient_of_row(inputs.logits[row], int(inputs.labels[row])) for row in range(rows)]
    stacked = np.array(gradients, dtype=np.float32).reshape(rows, classes)
    return inputs.cotangent[:, None] * stacked


class XgboostAdapter(ArrayAdapter):
    """XGBoost."""

    name = "xgboost"
    packages = ("xgboost",)
    listed = (
        Operation(
            "multi_softprob",
            "objective multi:softprob, -leaf cover of a row alone",
            softprob,
            {FLOAT32.name: Arithmetic(FLOAT32, FLOAT32, summation=RECURSIVE)},
            quantities=(Quantity.GRADIENT,),
        ),
    )


ADAPTER = XgboostAdapter
