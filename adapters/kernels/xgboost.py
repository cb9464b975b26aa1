"""The backend of XGBoost's multi:softprob, on the CPU: gradient and diagonal of the Hessian, read from trees of one leaf.

A row alone, with its logits as base margin, makes one tree for each class. Its only leaf is -g/h, and its cover is the Hessian
h of the objective, max(2 p (1 - p), 1e-16): both float32, without regularisation. So g = -leaf cover, to within two roundings,
and half the cover, exactly, is the diagonal of the Hessian without the objective's factor 2.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xgboost

from adapters.array_script import ArrayWords
from adapters.arrays import Array, ArrayAdapter
from adapters.kernels.shared.tree_boosting import objective
from adapters.question import Question
from adapters.script import function
from reference.arithmetic import RECURSIVE, Arithmetic
from reference.formats import FLOAT32
from reference.quantity import Quantity

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


def _of_row(logits: Array, label: int, quantity: Quantity) -> Array:
    one = np.zeros((1, 1), dtype=np.float32)
    data = xgboost.DMatrix(one, label=[label], base_margin=logits[None])
    booster = xgboost.train(_PLAIN | {"num_class": len(logits)}, data, num_boost_round=1)
    trees = [json.loads(tree) for tree in booster.get_dump(with_stats=True, dump_format="json")]
    leaf, cover = (np.array([tree[name] for tree in trees], dtype=np.float32) for name in ("leaf", "cover"))
    return -leaf * cover if quantity is Quantity.GRADIENT else cover / np.float32(2)


_LEAF_AND_COVER = """
parameters = {"objective": "multi:softprob", "num_class": len(row), "eta": 1.0, "lambda": 0.0, "min_child_weight": 0.0,
              "max_depth": 1, "tree_method": "exact", "base_score": 0.0, "nthread": 1, "verbosity": 0}
data = xgboost.DMatrix(np.zeros((1, 1), dtype=np.float32), label=[label], base_margin=row[None])
booster = xgboost.train(parameters, data, num_boost_round=1)
trees = [json.loads(tree) for tree in booster.get_dump(with_stats=True, dump_format="json")]
return [np.array([tree[name] for tree in trees], dtype=np.float32) for name in ("leaf", "cover")]
"""


def _body(asked: Question) -> str:
    wanted = "-leaf * cover" if asked.quantity is Quantity.GRADIENT else "cover / np.float32(2)"
    read = "read = (leaf_and_cover(row, label) for row, label in zip(x, t))\n"
    return read + f"return upstream[:, None] * np.array([{wanted} for leaf, cover in read])"


_WORDS = ArrayWords(
    imports=("import json", "import xgboost"),
    body=_body,
    environment="xgboost {xgboost.__version__}",
    functions=(function("leaf_and_cover(row, label)", _LEAF_AND_COVER),),
)


class XgboostAdapter(ArrayAdapter):
    """XGBoost: its multiclass objective multi:softprob, in float32."""

    name = "xgboost"
    packages = ("xgboost",)
    listed = (
        objective(
            "multi_softprob",
            "objective multi:softprob, -leaf cover and cover / 2 of a row alone",
            _of_row,
            Arithmetic(FLOAT32, FLOAT32, summation=RECURSIVE),
        ),
    )
    words = _WORDS


ADAPTER = XgboostAdapter
