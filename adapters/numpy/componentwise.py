"""The second positive control: what plain float arithmetic can do, which shows that the grade 'componentwise' can be met.

The formulas are those of reference/bounds/componentwise.py: one maximum c is left out of the sum, and nothing is subtracted
from 1. Everything is computed in the dtype of the logits, float16 and bfloat16 in float32, and rounded once to the format.
A kernel author can take it as it is: it costs one mask more than the textbook's softmax. Sums are NumPy's. Rows with NaN,
+inf or nothing but -inf give NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from adapters.arrays import Array
from reference.formats import FLOAT64, Bools, Floats
from reference.problem import Problem
from reference.quantity import Quantity
from reference.reduction import Reduction
from reference.weights import row_weights_of, upstream_of


def _sum(terms: Array) -> Array:
    """(N, 1): the sum over the classes."""
    return terms.sum(axis=1, keepdims=True)


def _sums_of_others(values: Array) -> Array:
    """(N, K): the sum over all classes but one, of values >= 0; nothing is lost to the largest."""
    largest = np.arange(values.shape[1]) == np.argmax(values, axis=1)[:, None]
    rest, most = _sum(np.where(largest, 0, values)), _sum(np.where(largest, values, 0))
    return np.where(largest, rest, most + (rest - values))


@dataclass(frozen=True)
class _Rows:
    """Everything that the quantities share, in the working dtype; arrays are (N, K) or (N, 1)."""

    problem: Problem

    def _working(self, values: object) -> Array:
        return np.asarray(values, dtype=np.float64 if self.problem.format == FLOAT64 else np.float32)

    @cached_property
    def masked(self) -> Bools:
        """Classes without probability."""
        return np.asarray(self.problem.logits == -np.inf)

    @cached_property
    def regular(self) -> Bools:
        """(N, 1): rows of finite logits and -inf, with a finite one."""
        x = self.problem.logits
        return np.asarray(np.isfinite(x).any(axis=1) & ~(np.isnan(x) | (x == np.inf)).any(axis=1))[:, None]

    @cached_property
    def logits(self) -> Array:
        """The logits, 0 in the place of a row that is not regular."""
        return self._working(np.where(self.regular, self.problem.logits, 0.0))

    @cached_property
    def top(self) -> Array:
        """m, (N, 1)."""
        return self.logits.max(axis=1, keepdims=True, initial=-np.inf)

    @cached_property
    def left_out(self) -> Bools:
        """(N, K): True at c, the first maximum."""
        return np.asarray(np.arange(self.logits.shape[1]) == np.argmax(self.logits, axis=1)[:, None])

    @cached_property
    def halves(self) -> Array:
        """|d|/2 times the unit T/s: the gap itself may overflow where its weight is small, or by T/s. 0 at masked classes."""
        return self.top / 2 - np.where(self.masked, self.top, self.logits) / 2

    def _of_unit(self, values: Array) -> Array:
        """Values times the scale s and over the temperature T."""
        return values * self._working(self.problem.logit_scale) / self._working(self.problem.temperature)

    @cached_property
    def gaps(self) -> Array:
        """|d|; infinite where it overflows."""
        return 2 * self._of_unit(self.halves)

    @cached_property
    def near_gaps(self) -> Array:
        """|d|, and 0 in the place of one that overflows: its class has a probability of 0."""
        return np.where(np.isinf(self.gaps), 0, self.gaps)

    @cached_property
    def powers(self) -> Array:
        """E = exp(d)."""
        return np.where(self.masked, 0, np.exp(-self.gaps))

    @cached_property
    def others(self) -> Array:
        """R, (N, 1)."""
        return _sum(np.where(self.left_out, 0, self.powers))

    @cached_property
    def p(self) -> Array:
        """The probabilities."""
        return self.powers / (1 + self.others)

    @cached_property
    def complements(self) -> Array:
        """1 - p, by the sum of the others."""
        sums = np.where(self.left_out, self.others, (1 + self.others) - self.powers)
        return sums / (1 + self.others)

    @cached_property
    def weights(self) -> Array:
        """Effective weights a: class weight times ((1 - s) label + s/K); 0 in ignored rows."""
        problem, s = self.problem, self._working(self.problem.label_smoothing)
        hot = np.arange(problem.num_classes) == problem.target[:, None]
        labels = self._working(problem.target if problem.has_probabilities else hot)
        smoothed = (1 - s) * labels + s / self._working(problem.num_classes)
        weight = self._working(1.0 if problem.class_weights is None else problem.class_weights)
        return np.where(problem.ignored[:, None], 0, weight * smoothed)

    @cached_property
    def denominator(self) -> Array:
        """What the losses are divided by."""
        problem, counted = self.problem, ~self.problem.ignored
        if problem.normaliser is not None:
            return self._working(problem.normaliser)
        if problem.reduction is not Reduction.MEAN:
            return self._working(1.0)
        if problem.has_probabilities or problem.class_weights is None:
            return self._working(np.count_nonzero(counted))
        return self._working(self._working(problem.class_weights)[problem.target[counted]].sum())

    def _times(self, values: Array, order: int) -> Array:
        """A derivative of each row times its cotangent and its weight, over the denominator and (T/s)^order."""
        shape = (-1,) + (1,) * (values.ndim - 1)
        upstream = self._working(np.broadcast_to(self.problem.upstream, len(values))) / self.denominator
        scaled = values * (self.row_weights * upstream).reshape(shape)
        for _ in range(order):
            scaled = self._of_unit(scaled)
        undefined = np.where(self.regular.reshape(shape), scaled, np.nan)
        return np.where(self.problem.silent.reshape(shape), 0, undefined)

    @cached_property
    def row_weights(self) -> Array:
        """(N,): what multiplies the loss of each row."""
        return self._working(row_weights_of(self.problem)[:, 0])

    def loss(self) -> Array:
        """Sum of a g, and A log1p(R)."""
        far = self._of_unit(_sum(self.weights * self.halves))[:, 0]
        infinite = ((self.weights > 0) & self.masked).any(axis=1)
        far = np.where(infinite, np.inf, far) * self.row_weights
        losses = 2 * far + self.row_weights * (_sum(self.weights) * np.log1p(self.others))[:, 0]
        losses = np.where(self.problem.silent, 0, np.where(self.regular[:, 0], losses, np.nan))
        if not (self.problem.is_divided or self.problem.reduction is Reduction.SUM):
            return losses
        if self.denominator == 0:
            return np.asarray(losses.sum() / self.denominator)
        # Divided before it is added, and before it is doubled: a mean of losses that overflow may not.
        shares = np.where(np.isinf(losses), 2 * (far / self.denominator), losses / self.denominator)
        return shares if self.problem.reduction is Reduction.NONE else np.asarray(shares.sum())

    def gradient(self) -> Array:
        """p times the other classes' weights, less the class's own weight times 1 - p."""
        return self._times(self.p * _sums_of_others(self.weights) - self.weights * self.complements, 1)

    def target_gradient(self) -> Array:
        """w (1 - s) L, L infinite where a class is masked: there nothing is left of a weight of 0."""
        problem = self.problem
        weight = self._working(1.0 if problem.class_weights is None else problem.class_weights)
        by = weight * (1 - self._working(problem.label_smoothing)) * self._times(np.ones_like(self.gaps), 0)
        far = np.where(self.masked, np.inf, self._of_unit(self.halves))
        values = np.where(by == 0, 0, 2 * (by * far) + by * np.log1p(self.others))
        return np.where(self.regular, values, np.nan)

    def hessian(self) -> Array:
        """A p (1 - p) on the diagonal, -A p_i p_j beside it."""
        p, own = self.p, np.eye(self.problem.num_classes, dtype=bool)
        pairs = np.where(own, (p * self.complements)[:, :, None], -(p[:, :, None] * p[:, None, :]))
        return self._times(_sum(self.weights)[:, :, None] * pairs, 2)

    def hvp(self) -> Array:
        """A p (w - <p, w>), w = v - v_c."""
        v = self._working(self.problem.tangent)
        w = v - v[self.left_out][:, None]
        return self._times(_sum(self.weights) * (self.p * (w - _sum(self.p * w))), 2)

    def log_softmax(self) -> Array:
        """-(|d| + log1p(R))."""
        return np.where(self.regular, np.where(self.masked, -np.inf, -(self.gaps + np.log1p(self.others))), np.nan)

    def softmax(self) -> Array:
        """p."""
        return np.where(self.regular, self.p, np.nan)

    def log_softmax_vjp(self) -> Array:
        """u_c (1 - p_c) less p_c times the others' u at the maximum c, u - p sum(u) elsewhere."""
        u = self._working(self.problem.tangent)
        others = _sum(np.where(self.left_out, 0, u))
        elsewhere = u - self.p * (u[self.left_out][:, None] + others)
        return self._pulled(np.where(self.left_out, u * self.complements - self.p * others, elsewhere))

    def softmax_vjp(self) -> Array:
        """p (w - <p, w>), w = u - u_c."""
        u = self._working(self.problem.tangent)
        w = u - u[self.left_out][:, None]
        return self._pulled(self.p * (w - _sum(self.p * w)))

    def logsumexp_vjp(self) -> Array:
        """u p."""
        return self._pulled(self._working(upstream_of(self.problem)) * self.p)

    def entropy_vjp(self) -> Array:
        """u p (g - <p, g>), g the gaps."""
        moved = self.p * (self.near_gaps - _sum(self.p * self.near_gaps))
        return self._pulled(self._working(upstream_of(self.problem)) * moved)

    def _pulled(self, values: Array) -> Array:
        return np.where(self.regular, self._of_unit(values), np.nan)

    def logsumexp(self) -> Array:
        """m + log1p(R)."""
        lse = self._of_unit(self.top) + np.log1p(self.others)
        return np.where(self.regular, lse, np.nan)[:, 0]

    def entropy(self) -> Array:
        """log1p(R) + <p, g>."""
        return np.where(self.regular, np.log1p(self.others) + _sum(self.p * self.near_gaps), np.nan)[:, 0]


def componentwise(problem: Problem, quantities: tuple[Quantity, ...]) -> dict[Quantity, Floats]:
    """The quantities of a problem, rounded to its format; shapes and options as in `Quantity` and `Problem`."""
    with np.errstate(all="ignore"):
        rows = _Rows(problem)
        return {q: problem.format.round(np.asarray(getattr(rows, str(q))(), dtype=np.float64)) for q in quantities}
