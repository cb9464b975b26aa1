"""The losses that are defined: their names, formulas and targets.

x is a row of K logits, y = x/T (or c tanh(x/c)/T with a softcap c), p = softmax(y), lse = log sum exp(y), q the target as
probabilities, t the target as a class index, e_t its unit vector, L = lse - y_t, g the focusing exponent, w = 1 - p_t.

| loss          | value                                      | gradient in y           | Hessian in y                          |
|---------------|--------------------------------------------|-------------------------|---------------------------------------|
| cross_entropy | sum_c a_c (lse - y_c) + z lse^2            | (A + 2 z lse) p - a     | (A + 2 z lse) V + 2 z p p^T           |
| kl_divergence | sum_c q_c (log q_c + lse - y_c)            | Q p - q, Q = sum q      | Q V                                   |
| squared_error | sum_c (p_c - q_c)^2                        | 2 p_i (r_i - s)         | 2 p_i k_i [i = j] - 2 p_i p_j n_ij    |
| focal         | f = w^g L                                  | f' (p - e_t)            | f' V + f'' (p - e_t) (p - e_t)^T      |
| sigmoid       | cross_entropy of the row [x, 0], a = (w q, 1 - q), w the positive weight; entry 0 of each result   |
| sigmoid_focal | focal of the row [x, 0], t = 0 if q = 1 else 1; entry 0 of each result                             |

with V = diag(p) - p p^T; r = p - q, s = sum_c p_c r_c, k = r + p - s, n_ij = k_i + k_j - sum_c p_c^2;
f' = w^g + g w^(g-1) p_t L, f'' = 2 g w^(g-1) p_t + g (g-1) w^(g-2) p_t^2 L - g w^(g-1) p_t L (derivatives by L).

0 log 0 = 0. Sources: z-loss: Chowdhery et al., PaLM, 2022, section 5; softcap: Gemma 2, 2024, section 2; focal loss: Lin et
al., ICCV 2017; the squared error of probabilities is Brier's score (1950), without 1/2 and without 1/K.
"""

from __future__ import annotations

from enum import StrEnum


class Loss(StrEnum):
    """The loss of one row; see the table at the head of this file."""

    CROSS_ENTROPY = "cross_entropy"
    KL_DIVERGENCE = "kl_divergence"
    SQUARED_ERROR = "squared_error"
    FOCAL = "focal"
    SIGMOID = "sigmoid"
    SIGMOID_FOCAL = "sigmoid_focal"


BINARY = (Loss.SIGMOID, Loss.SIGMOID_FOCAL)
"""Losses of one logit x a row, which stands for the two-class row [x, 0]."""


class Target(StrEnum):
    """What a loss takes as its target."""

    EITHER = "integer class indices of shape (N,), or floating-point probabilities of shape (N, K)"
    INDICES = "integer class indices of shape (N,)"
    PROBABILITIES = "floating-point probabilities of shape (N, K)"
    BINARY_PROBABILITIES = "floating-point probabilities in [0, 1] of shape (N, 1)"
    BINARY_CLASSES = "floating-point classes 0 or 1 of shape (N, 1)"


LOSS_TARGETS: dict[Loss, Target] = {
    Loss.CROSS_ENTROPY: Target.EITHER,
    Loss.KL_DIVERGENCE: Target.PROBABILITIES,
    Loss.SQUARED_ERROR: Target.PROBABILITIES,
    Loss.FOCAL: Target.INDICES,
    Loss.SIGMOID: Target.BINARY_PROBABILITIES,
    Loss.SIGMOID_FOCAL: Target.BINARY_CLASSES,
}
