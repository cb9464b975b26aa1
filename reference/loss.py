"""The losses that are defined: their names, formulas, traits and targets.

x is a row of K logits, y = s x/T with their scale s (or c tanh(s x/c)/T with a softcap c), p = softmax(y),
lse = log sum exp(y), q the target as probabilities, t the target as a class index, e_t its unit vector, L = lse - y_t,
g the focusing exponent, w = 1 - p_t.

| loss          | value                                      | gradient in y           | Hessian in y                          |
|---------------|--------------------------------------------|-------------------------|---------------------------------------|
| cross_entropy | sum_c a_c (lse - y_c) + z lse^2            | (A + 2 z lse) p - a     | (A + 2 z lse) V + 2 z p p^T           |
| kl_divergence | sum_c q_c (log q_c + lse - y_c)            | Q p - q, Q = sum q      | Q V                                   |
| squared_error | sum_c (p_c - q_c)^2                        | 2 p_i a_i               | 2 p_i k_i [i = j] - 2 p_i p_j n_ij    |
| focal         | f = w^g L                                  | f' (p - e_t)            | f' V + f'' (p - e_t) (p - e_t)^T      |
| sigmoid       | cross_entropy of the row [x, 0], a = (w q, 1 - q), w the positive weight; entry 0 of each result   |
| sigmoid_focal | focal of the row [x, 0], t = 0 if q = 1 else 1; entry 0 of each result                             |

with V = diag(p) - p p^T; r = p - q, a = r - sum_c p_c r_c, k = a + p, n_ij = k_i + k_j - sum_c p_c^2;
f' = w^g + g w^(g-1) p_t L, f'' = 2 g w^(g-1) p_t + g (g-1) w^(g-2) p_t^2 L - g w^(g-1) p_t L (derivatives by L).

0 log 0 = 0. Sources: z-loss: Chowdhery et al., PaLM, 2022, section 5; softcap: Gemma 2, 2024, section 2; focal loss: Lin et
al., ICCV 2017; the squared error of probabilities is Brier's score (1950), without 1/2 and without 1/K.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Loss(StrEnum):
    """The loss of one row; see the table at the head of this file."""

    CROSS_ENTROPY = "cross_entropy"
    KL_DIVERGENCE = "kl_divergence"
    SQUARED_ERROR = "squared_error"
    FOCAL = "focal"
    SIGMOID = "sigmoid"
    SIGMOID_FOCAL = "sigmoid_focal"

    @property
    def spec(self) -> LossSpec:
        """Its line of `SPECS`."""
        return SPECS[self]


class Target(StrEnum):
    """What a loss takes as its target."""

    EITHER = "integer class indices of shape (N,), or floating-point probabilities of shape (N, K)"
    INDICES = "integer class indices of shape (N,)"
    PROBABILITIES = "floating-point probabilities of shape (N, K)"
    BINARY_PROBABILITIES = "floating-point probabilities in [0, 1] of shape (N, 1)"
    BINARY_CLASSES = "floating-point classes 0 or 1 of shape (N, 1)"


@dataclass(frozen=True)
class LossSpec:
    """What is true of a loss without options; code that is not a loss's own mathematics asks this, never its name.

    Arguments:
      target: what it takes as its target.
      convex: True if it is a convex function of a row's logits for every target: its Hessian is positive semidefinite.
      shift_invariant: True if a common offset of a row's logits leaves it as it is: the gradient, and each row of the
        Hessian, then sums to 0.
      nonnegative: True if it is >= 0 for every target that it takes, labels that do not quite add up to 1 included.
      weighted: True if it is sum_c a_c (lse - y_c) plus a number that the logits do not enter, with the effective weights a
        of `reference.weights`: its derivatives by y are then A p - a and A V, its error that of log-probabilities.
      is_log_probability: True if for a class index it is lse - y_t and nothing else: what the compiled tier, the sweeps and
        the recommended tolerances know.
      adds_label_entropy: True if that number is sum_c q_c log q_c; else it is 0.
      counts_unlabelled: True if a row whose labels q are all 0 has a loss; else it is exactly 0 there, with its derivatives,
        whatever the logits.
      focused: True if its formula has the focusing exponent g, which is drawn for every problem: with g = 0 it is another loss.
    """

    target: Target
    convex: bool
    shift_invariant: bool
    nonnegative: bool
    weighted: bool
    is_log_probability: bool = False
    adds_label_entropy: bool = False
    counts_unlabelled: bool = False
    focused: bool = False

    @property
    def binary(self) -> bool:
        """True if a row is one logit x, which stands for the two-class row [x, 0]."""
        return self.target in (Target.BINARY_PROBABILITIES, Target.BINARY_CLASSES)

    @property
    def takes_indices(self) -> bool:
        """True if its target may be class indices."""
        return self.target in (Target.EITHER, Target.INDICES)

    @property
    def takes_probabilities(self) -> bool:
        """True if its target may be floating-point labels, one for each logit."""
        return self.target is not Target.INDICES


SPECS: dict[Loss, LossSpec] = {
    Loss.CROSS_ENTROPY: LossSpec(
        Target.EITHER, convex=True, shift_invariant=True, nonnegative=True, weighted=True, is_log_probability=True
    ),
    Loss.KL_DIVERGENCE: LossSpec(
        Target.PROBABILITIES, convex=True, shift_invariant=True, nonnegative=False, weighted=True, adds_label_entropy=True
    ),
    Loss.SQUARED_ERROR: LossSpec(
        Target.PROBABILITIES, convex=False, shift_invariant=True, nonnegative=True, weighted=False, counts_unlabelled=True
    ),
    Loss.FOCAL: LossSpec(Target.INDICES, convex=False, shift_invariant=True, nonnegative=True, weighted=False, focused=True),
    Loss.SIGMOID: LossSpec(Target.BINARY_PROBABILITIES, convex=True, shift_invariant=False, nonnegative=True, weighted=True),
    Loss.SIGMOID_FOCAL: LossSpec(
        Target.BINARY_CLASSES, convex=False, shift_invariant=False, nonnegative=True, weighted=False, focused=True
    ),
}
"""The traits of every loss."""
