"""The quantities that are defined, measured and claimed."""

from __future__ import annotations

from enum import StrEnum

from reference.names import named


class Quantity(StrEnum):
    """What is asked of an operation; x is a row of K logits, a its effective weights, A = sum a, p = softmax(x).

    | name        | definition                                            | shape                     |
    |-------------|-------------------------------------------------------|---------------------------|
    | loss        | sum_c a_c (lse(x) - x_c), then the reduction           | (N,) for 'none', else ()  |
    | gradient    | d<cotangent, loss>/dx = A p - a, times the cotangent   | (N, K)                    |
    | hessian     | A (diag(p) - p p^T), times the cotangent, row by row   | (N, K, K)                 |
    | hvp         | hessian times the tangent v = A (p*v - p <p, v>)       | (N, K)                    |
    | hessian_diagonal | the Hessian's diagonal alone, A p (1 - p)        | (N, K)                    |
    | target_gradient | d<cotangent, loss>/dq = w_c (1 - s) (lse(x) - x_c), times the cotangent | (N, K) |
    | log_softmax | x_c - lse(x)                                          | (N, K)                    |
    | softmax     | exp(x_c - lse(x))                                     | (N, K)                    |
    | logsumexp   | lse(x) = log sum_c exp(x_c)                           | (N,)                      |
    | entropy     | -sum_c p_c log p_c = lse(x) - <p, x>                  | (N,)                      |

    | log_softmax_vjp | d<u, log_softmax>/dx = u - p sum_c u_c            | (N, K)                    |
    | softmax_vjp     | d<u, softmax>/dx = p (u - sum_c p_c u_c)          | (N, K)                    |
    | logsumexp_vjp   | d<u, lse>/dx = u p                                | (N, K)                    |
    | entropy_vjp     | d<u, entropy>/dx = -u p (log p + entropy)         | (N, K)                    |

    | feature_gradient | d<cotangent, loss>/dh = g W of the linear layer whose output the logits are | (N, D) |
    | weight_gradient  | d<cotangent, loss>/dW = g^T h of that layer, g the gradient by the logits   | (K, D) |
    | bias_gradient    | d<cotangent, loss>/db of that layer: the sum of the gradient's rows         | (K,)   |

    With a temperature T and a scale s the row is s x/T, so the gradient carries s/T and the Hessian (s/T)^2. A vector-Jacobian
    product is what the backward pass of a building block returns. Its cotangent u has the block's shape: it is the problem's
    tangent, and for logsumexp and entropy the problem's cotangent, which is that of every row where the loss is reduced. The
    entropy is in nats, and a class of probability 0 adds 0 to it. The table is that of cross-entropy; `reference.loss` has the
    other losses. The gradient by the target is that of cross-entropy by probabilities, each for itself: they need not add up to
    1; w_c is the class weight, s the smoothing. The diagonal is a quantity of its own because tree boosting and coordinate
    descent compute no more. A sigmoid loss has one logit x a row, for the row [x, 0]: its log_softmax, softmax and logsumexp
    are log sigmoid(x), sigmoid(x) and softplus(x), and its entropy is that of a coin.
    The linear layer is that of `reference.linear`; its three quantities are defined for a problem with a layer only.
    """

    LOSS = "loss"
    GRADIENT = "gradient"
    HESSIAN = "hessian"
    HVP = "hvp"
    HESSIAN_DIAGONAL = "hessian_diagonal"
    TARGET_GRADIENT = "target_gradient"
    LOG_SOFTMAX = "log_softmax"
    SOFTMAX = "softmax"
    LOGSUMEXP = "logsumexp"
    ENTROPY = "entropy"
    LOG_SOFTMAX_VJP = "log_softmax_vjp"
    SOFTMAX_VJP = "softmax_vjp"
    LOGSUMEXP_VJP = "logsumexp_vjp"
    ENTROPY_VJP = "entropy_vjp"
    FEATURE_GRADIENT = "feature_gradient"
    WEIGHT_GRADIENT = "weight_gradient"
    BIAS_GRADIENT = "bias_gradient"


ROW_BLOCKS = (Quantity.LOGSUMEXP, Quantity.ENTROPY)
"""Building blocks that are one number a row."""

BUILDING_BLOCKS = (Quantity.LOG_SOFTMAX, Quantity.SOFTMAX, *ROW_BLOCKS)
"""Quantities of the logits alone."""

PRODUCT_OF = {
    Quantity.LOG_SOFTMAX: Quantity.LOG_SOFTMAX_VJP,
    Quantity.SOFTMAX: Quantity.SOFTMAX_VJP,
    Quantity.LOGSUMEXP: Quantity.LOGSUMEXP_VJP,
    Quantity.ENTROPY: Quantity.ENTROPY_VJP,
}
"""The vector-Jacobian product of each building block."""

BLOCK_PRODUCTS = tuple(PRODUCT_OF.values())
"""Derivatives of the building blocks, by a cotangent of their own."""

ROW_PRODUCTS = tuple(PRODUCT_OF[block] for block in ROW_BLOCKS)
"""Derivatives by a cotangent that is one number a row; that of the other products has the shape of the logits."""

OF_LOGITS = (*BUILDING_BLOCKS, *BLOCK_PRODUCTS)
"""Quantities that no target, weight or reduction enters."""

ALONG_A_TANGENT = (Quantity.HVP, Quantity.LOG_SOFTMAX_VJP, Quantity.SOFTMAX_VJP)
"""Quantities that are defined for a problem with a tangent only."""

SECOND_ORDER = (Quantity.HESSIAN, Quantity.HVP, Quantity.HESSIAN_DIAGONAL)
"""Second derivatives of the loss, whole or in part."""

SUMMED_GRADIENTS = (Quantity.WEIGHT_GRADIENT, Quantity.BIAS_GRADIENT)
"""Gradients of a linear layer that are sums over the rows."""

LAYER_GRADIENTS = (Quantity.FEATURE_GRADIENT, *SUMMED_GRADIENTS)
"""Quantities of the linear layer in front of the logits."""

OF_SOME_PROBLEMS = (*LAYER_GRADIENTS, Quantity.TARGET_GRADIENT)
"""Quantities that are defined only for a problem with a linear layer, or with probabilities that enter linearly."""

WITHOUT_LABELS = (*OF_LOGITS, Quantity.TARGET_GRADIENT)
"""Quantities whose values no label enters: a loss that is linear in the labels has such a gradient by them."""

_NAMES = {quantity.value: quantity for quantity in Quantity}


def quantity_named(given: Quantity | str) -> Quantity:
    """A quantity, or the one of that name.

    Raises:
      ValueError: there is none; the message lists those there are.

    >>> quantity_named("loss") is quantity_named(Quantity.LOSS)
    True
    """
    return named(Quantity, given, _NAMES)
