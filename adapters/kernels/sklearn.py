"""The backend of scikit-learn, on the CPU: the loss of its multinomial models, their Hessian, and metrics.log_loss.

Its loss object computes the diagonal of the Hessian, for gradient boosting; the full one is formed in LinearModelLoss, which
the Newton solvers of LogisticRegression run. With one sample, one feature of 1 and no intercept, the coefficients are the
logits of that sample.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sklearn._loss import HalfMultinomialLoss
from sklearn.linear_model._linear_loss import LinearModelLoss
from sklearn.metrics import log_loss
from sklearn.utils.extmath import softmax

from adapters.array_script import ArrayWords
from adapters.arrays import Array, ArrayAdapter, Inputs, building
from adapters.operation import Operation, building_block
from adapters.question import Question
from reference.arithmetic import BLOCKED, PAIRWISE, RECURSIVE, Arithmetic
from reference.formats import FLOAT32, FLOAT64
from reference.quantity import Quantity
from reference.reduction import Reduction

_CYTHON = {
    FLOAT64.name: Arithmetic(FLOAT64, FLOAT64, summation=RECURSIVE),
    FLOAT32.name: Arithmetic(FLOAT32, FLOAT32, summation=PAIRWISE),
}
"""`sum_exp_minus_max` of sklearn/_loss/_loss.pyx.tp adds one by one in double, and stores powers and sum in the dtype of
the logits: in float32 less than the error of a tree."""

_NUMPY = {fmt.name: Arithmetic(fmt, fmt, exp_ulps=4.0, log_ulps=4.0, summation=BLOCKED) for fmt in (FLOAT64, FLOAT32)}


def half_multinomial_loss(inputs: Inputs, quantity: Quantity) -> Array:
    """HalfMultinomialLoss; the cotangent of its derivatives is its sample weight."""
    loss, y = HalfMultinomialLoss(n_classes=inputs.logits.shape[1]), inputs.labels.astype(inputs.logits.dtype)
    if quantity is Quantity.LOSS:
        return loss.loss(y, inputs.logits)
    if quantity is Quantity.HESSIAN_DIAGONAL:
        return loss.gradient_hessian(y, inputs.logits, sample_weight=inputs.cotangent)[1]
    return loss.gradient(y, inputs.logits, sample_weight=inputs.cotangent)


def linear_model_loss(inputs: Inputs, quantity: Quantity) -> Array:
    """Hessian and product of LinearModelLoss, row by row, times the cotangent."""
    loss = LinearModelLoss(HalfMultinomialLoss(n_classes=inputs.logits.shape[1]), fit_intercept=False)
    rows = [_second_order(loss, inputs, quantity, row) for row in range(len(inputs.labels))]
    shape = (0, *([inputs.logits.shape[1]] * (2 if quantity is Quantity.HESSIAN else 1)))
    return np.stack(rows) if rows else np.empty(shape, dtype=inputs.logits.dtype)


def _second_order(loss: LinearModelLoss, inputs: Inputs, quantity: Quantity, row: int) -> Array:
    one = np.ones((1, 1), dtype=inputs.logits.dtype)
    coefficients, y = inputs.logits[row][:, None], inputs.labels[row : row + 1].astype(one.dtype)
    if quantity is Quantity.HESSIAN:
        _, hessian, _ = loss.gradient_hessian(coefficients, one, y)
        return inputs.cotangent[row] * hessian
    _, product = loss.gradient_hessian_product(coefficients, one, y)
    return inputs.cotangent[row] * product(inputs.tangent[row])[:, 0]


def log_loss_of_softmax(inputs: Inputs, _: Quantity) -> Array:
    """metrics.log_loss of predicted probabilities, row by row where nothing is reduced.

    It returns a Python float, which holds a number of the dtype of the probabilities.
    """
    probabilities, labels, classes = softmax(inputs.logits), inputs.labels, np.arange(inputs.logits.shape[1])
    if (reduction := inputs.problem.reduction) is not Reduction.NONE:
        loss = log_loss(labels, probabilities, labels=classes, normalize=reduction is Reduction.MEAN)
        return np.array(loss, dtype=probabilities.dtype)
    rows = [log_loss(labels[i : i + 1], probabilities[i : i + 1], labels=classes) for i in range(len(labels))]
    return np.array(rows, dtype=probabilities.dtype)


_STATEMENTS: Mapping[tuple[str, Quantity], str] = {
    ("half_multinomial_loss", Quantity.LOSS): "return HalfMultinomialLoss(n_classes=x.shape[1]).loss(t.astype(x.dtype), x)",
    ("half_multinomial_loss", Quantity.GRADIENT): """
        return HalfMultinomialLoss(n_classes=x.shape[1]).gradient(t.astype(x.dtype), x, sample_weight=upstream)
    """,
    ("half_multinomial_loss", Quantity.HESSIAN_DIAGONAL): """
        return HalfMultinomialLoss(n_classes=x.shape[1]).gradient_hessian(t.astype(x.dtype), x, sample_weight=upstream)[1]
    """,
    ("linear_model_loss", Quantity.HESSIAN): """
        loss, one = LinearModelLoss(HalfMultinomialLoss(n_classes=x.shape[1]), fit_intercept=False), np.ones((1, 1), x.dtype)
        rows = zip(x, t.astype(x.dtype), upstream)
        return np.stack([u * loss.gradient_hessian(row[:, None], one, y[None])[1] for row, y, u in rows])
    """,
    ("linear_model_loss", Quantity.HVP): """
        loss, one = LinearModelLoss(HalfMultinomialLoss(n_classes=x.shape[1]), fit_intercept=False), np.ones((1, 1), x.dtype)
        rows = zip(x, t.astype(x.dtype), upstream, v)
        return np.stack([u * loss.gradient_hessian_product(row[:, None], one, y[None])[1](d)[:, 0] for row, y, u, d in rows])
    """,
    ("softmax", Quantity.SOFTMAX): "return softmax(x)",
}
_PROBABILITIES = """
p = softmax(x)
classes = np.arange(x.shape[1])
"""
_ROW_BY_ROW = """
rows = [log_loss(t[i : i + 1], p[i : i + 1], labels=classes) for i in range(len(t))]
return np.array(rows, dtype=p.dtype)
"""


def _body(asked: Question) -> str:
    if asked.operation.name != "log_loss":
        return _STATEMENTS[asked.operation.name, asked.quantity]
    if asked.problem.reduction is Reduction.NONE:
        return _PROBABILITIES + _ROW_BY_ROW
    mean = asked.problem.reduction is Reduction.MEAN
    return _PROBABILITIES + f"return np.array(log_loss(t, p, labels=classes, normalize={mean}), dtype=p.dtype)"


_WORDS = ArrayWords(
    imports=(
        "import sklearn",
        "from sklearn._loss import HalfMultinomialLoss",
        "from sklearn.linear_model._linear_loss import LinearModelLoss",
        "from sklearn.metrics import log_loss",
        "from sklearn.utils.extmath import softmax",
    ),
    body=_body,
    environment="scikit-learn {sklearn.__version__}",
)


class SklearnAdapter(ArrayAdapter):
    """scikit-learn: its multinomial loss, its Hessian, its metric and its softmax."""

    name = "sklearn"
    packages = ("scikit-learn",)
    unchecked = True
    listed = (
        Operation(
            "half_multinomial_loss",
            "sklearn._loss.HalfMultinomialLoss",
            half_multinomial_loss,
            _CYTHON,
            quantities=(Quantity.LOSS, Quantity.GRADIENT, Quantity.HESSIAN_DIAGONAL),
        ),
        Operation(
            "linear_model_loss",
            "sklearn.linear_model._linear_loss.LinearModelLoss, one sample and feature",
            linear_model_loss,
            _CYTHON,
            quantities=(Quantity.HESSIAN, Quantity.HVP),
        ),
        Operation(
            "log_loss",
            "sklearn.metrics.log_loss(t, softmax(x))",
            log_loss_of_softmax,
            _NUMPY,
            quantities=(Quantity.LOSS,),
            options=frozenset({"reduction"}),
        ),
        building_block(Quantity.SOFTMAX, "sklearn.utils.extmath.softmax(x)", building(softmax), _NUMPY),
    )
    words = _WORDS


ADAPTER = SklearnAdapter
