"""The errors of a linear layer: of its logits, before the softmax sees them, and of its gradients behind it.

A product x . y of D terms, in any order and with fused multiply-adds or without, is off by at most gamma |x| . |y|, where
gamma = (1 + u)^D - 1 (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.5; u that of the working
format), and by the D products that may underflow. So for the logits, with one rounding more for a bias, a store of the result,
and where there is a bias one of the product before it,

    delta_nk = ((1 + u)^(D+1) - 1) (|h| |W|^T + |b|)_nk + D omega,  then the stores of what that gives,

which is an error of each logit by itself, as that of a softcap is. Where an arithmetic declares `layer_logits`, these stores
are in that format, whatever that of the loss. The error is 0 where no sum of terms, in whatever order, needs more digits
than the format has: so of a layer that only picks numbers, or of small integers. The gradient g by the logits, stored, is off
by dg, so

    dL/dh = g W    dg |W| + gamma_K (|g| + dg) |W|         dL/dW = g^T h    dg^T |h| + gamma_N (|g| + dg)^T |h|

and a store each; dL/db is the second with ones for h. What is not finite counts as 0 in these sums, and nothing is bounded
where a sum may overflow. A total that is kept in a narrow format over chunks of rows or classes is not covered: it grows with
the number of chunks.
"""

from __future__ import annotations

import numpy as np

from reference.arithmetic import Arithmetic
from reference.bounds.running import Running, growth
from reference.formats import Bools, Floats
from reference.linear import Layer
from reference.problem import Problem, layer_of
from reference.quantity import Quantity

_LARGEST = np.finfo(np.float64).max


def layer_logits(problem: Problem, arithmetic: Arithmetic) -> Running:
    """(N, K): the logits as a layer computes them; those that are given have no error, nor has one that is not finite."""
    finite = np.isfinite(problem.logits)
    size = np.where(finite, np.abs(problem.logits), _LARGEST)
    if problem.layer is None:
        return Running.exact(size, arithmetic)
    terms, bias = _terms(problem.layer), np.abs(problem.layer.finite[2])
    width, working = problem.layer.weight.shape[1], arithmetic.working
    kept = arithmetic.of_layer
    error = terms * growth(working.unit_roundoff, width + 1) + width * arithmetic.underflow
    # A product may be stored before its bias is added to it.
    error = np.where(bias > 0, Running(size + bias, error, kept).stored().error, error)
    error = Running(size, error, kept).stored().error
    error = np.where((terms + error > working.largest) | (size + bias + error > kept.storage.largest), np.inf, error)
    return Running(size, np.where(_is_exact(problem, arithmetic) | ~finite, 0.0, error), arithmetic)


def _terms(layer: Layer) -> Floats:
    """(N, K): |h| |W|^T + |b|."""
    h, w, b = map(np.abs, layer.finite)
    with np.errstate(over="ignore"):
        return np.minimum(h @ w.T + b, _LARGEST)


def _is_exact(problem: Problem, arithmetic: Arithmetic) -> Bools:
    """(N, K): True where no order of a logit's sums rounds anything, nor a store of them, with the bias or before it."""
    layer = layer_of(problem)
    product = problem.logits - layer.finite[2]
    kept = arithmetic.layer_logits or problem.format
    stored = kept.contains(problem.logits) & kept.contains(product)
    return layer.sums_exactly(arithmetic.working) & stored


def layer_gradient(problem: Problem, gradient: Running, quantity: Quantity) -> Floats:
    """The bound of a gradient of the layer, from that of the gradient (N, K) by the logits."""
    features, weight, _ = map(np.abs, layer_of(problem).finite)
    stored = gradient.rounded()
    if quantity is Quantity.FEATURE_GRADIENT:
        return _product(stored, weight)
    factors = features if quantity is Quantity.WEIGHT_GRADIENT else np.ones((problem.num_rows, 1))
    turned = Running(stored.size.T, stored.error.T, stored.arithmetic)
    error = _product(turned, np.where(problem.ignored[:, None], 0.0, factors))
    return error if quantity is Quantity.WEIGHT_GRADIENT else error[:, 0]


def _product(left: Running, right: Floats) -> Floats:
    """The error of the rounded matrix product with the sizes of exact numbers, stored.

    A column that picks an entry, or a power of 2 of it, rounds nothing.
    """
    arithmetic, terms = left.arithmetic, np.count_nonzero(right, axis=0)
    size, error = (np.minimum(part, _LARGEST) @ right for part in (left.size, left.error))
    grown = np.array([growth(arithmetic.working.unit_roundoff, int(count)) for count in terms])
    rounded = Running(size, error + (size + error) * grown + terms * arithmetic.underflow, arithmetic).stored().error
    picks = (terms <= 1) & ((right == 0) | (np.frexp(right)[0] == 0.5)).all(axis=0)
    lost = np.where(((right > 0) & (right < 1)).any(axis=0), arithmetic.underflow + arithmetic.storage_underflow, 0.0)
    return np.where(picks, error + lost, rounded)
