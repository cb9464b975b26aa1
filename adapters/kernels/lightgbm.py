"""The backend of LightGBM's multiclass objective, on the CPU: gradient and diagonal of the Hessian, read from refitted leaves.

There is one tree for each class. Refitted without decay to one row of weight w, whose logits are its initial score, it has the
leaf value -g w/(h w + e + lambda), e = 1e-15 in float32. Leaves at lambda = 0 and at another one are two equations for g and h:
in double they give both to far less than the rounding to float32 with which the objective stores them. A leaf below 1e-35
becomes 0, so a lambda near w serves large g and h, and a small one the others. The objective's documented factor K/(K - 1) is
taken from h.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import lightgbm
import numpy as np

from adapters.array_script import ArrayWords
from adapters.arrays import Array, ArrayAdapter
from adapters.kernels.shared.tree_boosting import objective
from adapters.question import Question
from adapters.script import function
from reference.arithmetic import RECURSIVE, Arithmetic
from reference.formats import FLOAT32, FLOAT64
from reference.quantity import Quantity

_WEIGHT = 2.0**64
_NEAR, _SMALL = 1e19, 1e6
"""The weight, which makes e small beside h, and the two lambdas; LightGBM hands parameters on with six digits."""

_TINY = 1e-20
"""Leaves at the near lambda below it, about g, are read at the small one."""

_EPSILON = float(np.float32(1e-15))
"""`kEpsilon` of include/LightGBM/meta.h, which is added to h w."""

_PLAIN: dict[str, Any] = {
    "objective": "multiclass",
    "learning_rate": 1.0,
    "lambda_l2": 0.0,
    "min_data_in_leaf": 1,
    "min_sum_hessian_in_leaf": 0.0,
    "num_leaves": 2,
    "num_threads": 1,
    "verbosity": -1,
}
_DATA = {"min_data_in_bin": 1, "feature_pre_filter": False, "verbosity": -1}


@cache
def _model(classes: int) -> str:
    """A model of one tree a class; its first row alone is what the trees are refitted to."""
    feature = np.arange(classes, dtype=float)[:, None]
    data = lightgbm.Dataset(feature, label=np.arange(classes), params=_DATA)
    return str(lightgbm.train(_PLAIN | {"num_class": classes}, data, num_boost_round=1).model_to_string())


def _leaves(logits: Array, label: int, penalty: float) -> Array:
    """Leaf values of the trees at a lambda."""
    model = _model(len(logits)).replace("[lambda_l2: 0]", f"[lambda_l2: {penalty:g}]")
    first = np.zeros((1, 1))
    row = {"label": [label], "weight": [_WEIGHT], "init_score": logits.astype(float)[None]}
    refitted = lightgbm.Booster(model_str=model).refit(first, decay_rate=0.0, dataset_params=_DATA, **row)
    return np.asarray(refitted.predict(first, raw_score=True))[0]


def _of_row(logits: Array, label: int, quantity: Quantity) -> Array:
    plain, near, small = (_leaves(logits, label, penalty) for penalty in (0.0, _NEAR, _SMALL))
    tiny = np.abs(near) < _TINY
    penalty, penalised = np.where(tiny, _SMALL, _NEAR), np.where(tiny, small, near)
    curvature = np.where(penalised == 0, _EPSILON, penalty * penalised / (plain - penalised))
    if quantity is Quantity.GRADIENT:
        return -penalised * (curvature + penalty) / _WEIGHT
    classes = len(logits)
    return (curvature - _EPSILON) / _WEIGHT * (classes - 1) / classes


_LEAVES = """
parameters = {"objective": "multiclass", "num_class": len(row), "learning_rate": 1.0, "lambda_l2": 0.0, "min_data_in_leaf": 1,
              "min_sum_hessian_in_leaf": 0.0, "num_leaves": 2, "num_threads": 1, "verbosity": -1}
kept = {"min_data_in_bin": 1, "feature_pre_filter": False, "verbosity": -1}
data = lightgbm.Dataset(np.arange(len(row), dtype=float)[:, None], label=np.arange(len(row)), params=kept)
model = lightgbm.train(parameters, data, num_boost_round=1).model_to_string()
model = model.replace("[lambda_l2: 0]", f"[lambda_l2: {penalty:g}]")
one, given = np.zeros((1, 1)), {"label": [label], "weight": [2.0**64], "init_score": row.astype(float)[None]}
refitted = lightgbm.Booster(model_str=model).refit(one, decay_rate=0.0, dataset_params=kept, **given)
return refitted.predict(one, raw_score=True)[0]
"""

_EQUATIONS = """
# A leaf is -g w / (h w + kEpsilon + lambda_l2) of a row of weight w alone: at two lambdas, two equations for g and h.
weight, epsilon, classes = 2.0**64, float(np.float32(1e-15)), len(row)
plain, near, small = (leaves(row, label, penalty) for penalty in (0.0, 1e19, 1e6))
tiny = np.abs(near) < 1e-20  # leaves below 1e-35 become 0
penalty, penalised = np.where(tiny, 1e6, 1e19), np.where(tiny, small, near)
with np.errstate(all="ignore"):
    h = np.where(penalised == 0, epsilon, penalty * penalised / (plain - penalised))
# LightGBM's h has a factor K / (K - 1).
return -penalised * (h + penalty) / weight, (h - epsilon) / weight * (classes - 1) / classes
"""


def _body(asked: Question) -> str:
    place = 0 if asked.quantity is Quantity.GRADIENT else 1
    read = f"found = [gradient_and_diagonal(row, label)[{place}] for row, label in zip(x, t)]\n"
    return read + "return upstream[:, None] * np.array(found, dtype=np.float32)"


_WORDS = ArrayWords(
    imports=("import lightgbm",),
    body=_body,
    environment="lightgbm {lightgbm.__version__}",
    functions=(
        function("leaves(row, label, penalty)", _LEAVES),
        function("gradient_and_diagonal(row, label)", _EQUATIONS),
    ),
)


class LightgbmAdapter(ArrayAdapter):
    """LightGBM: its multiclass objective, in float32."""

    name = "lightgbm"
    packages = ("lightgbm",)
    listed = (
        objective(
            "multiclass",
            "objective multiclass, leaf values of a row alone at three lambdas",
            _of_row,
            Arithmetic(FLOAT32, FLOAT64, summation=RECURSIVE),
        ),
    )
    words = _WORDS


ADAPTER = LightgbmAdapter
