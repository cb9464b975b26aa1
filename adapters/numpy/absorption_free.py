"""The positive control: softmax cross-entropy without absorption, which shows that the grade 'accurate' can be met.

One maximum c is left out of the sum, R = sum_{i != c} exp(-g_i) with gaps g = (m - x)/T >= 0, and 1 is never added to it
where its size matters:

    loss       = sum_i a_i g_i + A log1p(R)                      two sums of nonnegative terms
    gradient_i = A p_i - a_i;  at c: sum_{i != c} a_i - A R/S    S = 1 + R
                 where all gaps are small, (sum_j (a_j - a_i) + A M_i - a_i sum_j M_j)/S,  M = expm1(-g): equal weights leave
                 nothing but the M, which 1 + M would round away
    Hessian_ii = A p_i (1 - p_i),  1 - p_i = (S - E_i)/S, R/S at c;   Hessian_ij = -A p_i p_j
    (Hv)_i     = A p_i (w_i - sum_j p_j w_j),  w = v - v_c

(Blanchard, Higham and Higham, IMA J. Numer. Anal. 41(4), 2021, Algorithm 4.1, for the sum.) Computed in double-double,
rounded once to the format. Rows with NaN, +inf or nothing but -inf give NaN. A sigmoid loss is that of the row [x, 0].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapters.numpy import double_double as dd
from adapters.numpy.double_double import DoubleDouble
from reference.formats import Bools, Floats
from reference.linear import Layer
from reference.problem import Problem, layer_of
from reference.quantity import Quantity
from reference.reduction import Reduction
from reference.weights import row_weights_of, upstream_of


def _dd(values: object) -> DoubleDouble:
    return DoubleDouble.of(np.asarray(values, dtype=np.float64))


@dataclass(frozen=True)
class _Rows:
    """Everything that the quantities share; arrays are (N, K), `others` and `total` (N, 1)."""

    problem: Problem
    regular: Bools
    left_out: Bools
    top: DoubleDouble
    gaps: DoubleDouble
    powers: DoubleDouble
    others: DoubleDouble
    total: DoubleDouble

    @classmethod
    def of(cls, problem: Problem) -> _Rows:
        x = problem.logits
        finite = np.isfinite(x)
        regular = finite.any(axis=1) & ~(np.isnan(x) | (x == np.inf)).any(axis=1)
        usable = finite & regular[:, None]
        place = np.argmax(np.where(usable, x, -np.inf), axis=1)[:, None]
        # Of classes that a layer ties to within float64 any may be left out: a gap is then less than 0 by as little.
        z = dd.select(usable, _dd(np.where(usable, x, 0.0)) if problem.layer is None else _output(problem.layer), _dd(0.0))
        top, unit = z[np.arange(len(x))[:, None], place], _dd(problem.temperature) / _dd(problem.logit_scale)
        gaps = dd.select(usable, (top - z) / unit, _dd(0.0))
        powers = dd.select(usable, _exp_of_distinct(-gaps), _dd(0.0))
        left_out = np.arange(x.shape[1]) == place
        others = dd.select(left_out, _dd(0.0), powers).sum(axis=1)
        return cls(problem, regular, left_out, top / unit, gaps, powers, others, _dd(1.0) + others)

    @property
    def masked(self) -> Bools:
        """Classes without probability: -inf logits of regular rows."""
        return np.asarray(self.problem.logits == -np.inf)

    def probabilities(self) -> DoubleDouble:
        return self.powers / self.total

    def complements(self) -> DoubleDouble:
        """(N, K): 1 - p = (S - E) / S; at the maximum that is left out, the sum of the others over S."""
        return dd.select(self.left_out, self.others, self.total - self.powers) / self.total

    def weights(self) -> DoubleDouble:
        """Effective weights a: class weight times ((1 - s) label + s/K); 0 in ignored rows."""
        p = self.problem
        classes = np.arange(p.num_classes)
        label = p.target if p.has_probabilities else (classes == p.target[:, None]).astype(np.float64)
        s = _dd(p.label_smoothing)
        smoothed = (_dd(1.0) - s) * _dd(label) + s / _dd(float(p.num_classes))
        weight = _dd(1.0 if p.class_weights is None else p.class_weights)
        return dd.select(p.ignored[:, None], _dd(0.0), weight * smoothed)

    def denominator(self) -> DoubleDouble:
        """What the losses are divided by."""
        p = self.problem
        if p.normaliser is not None:
            return _dd(p.normaliser)
        if p.reduction is not Reduction.MEAN:
            return _dd(1.0)
        if p.has_probabilities or p.class_weights is None:
            return _dd(float(np.count_nonzero(~p.ignored)))
        return _dd(p.class_weights[p.target[~p.ignored]]).sum(axis=0)[0] if (~p.ignored).any() else _dd(0.0)

    def factors(self, order: int) -> DoubleDouble:
        """(N, 1): total weight A, times cotangent and row weight, over the denominator and (T/s)^order."""
        factor = self._upstream(order)
        return self.weights().sum(axis=1) * factor

    def _upstream(self, order: int) -> DoubleDouble:
        p = self.problem
        scale = self.denominator() * _dd(p.temperature**order) / _dd(p.logit_scale**order)
        return _dd(upstream_of(p)) * _dd(row_weights_of(p)) / scale

    def loss(self) -> Floats:
        weights = self.weights()
        terms = dd.select(self.masked, _dd(0.0), weights * self.gaps).sum(axis=1)
        losses = (terms + weights.sum(axis=1) * dd.log1p(self.others))[:, 0]
        infinite = ((weights.hi > 0) & self.masked).any(axis=1)
        silent = self.problem.silent
        extreme = np.where(silent, 0.0, np.where(self.regular, np.where(infinite, np.inf, 0.0), np.nan))
        losses = dd.select(silent | (extreme != 0), _dd(0.0), losses * _dd(row_weights_of(self.problem)[:, 0]))
        if self.problem.reduction is Reduction.NONE:
            return (losses / self.denominator()).value() + extreme
        reduced = losses.sum(axis=0) / self.denominator()
        return np.asarray(reduced.value().sum() + extreme.sum())

    def _slopes(self) -> DoubleDouble:
        """The gradient, before it is rounded."""
        weights, factor = self.weights(), self._upstream(1)
        total = weights.sum(axis=1)
        apart = dd.select(self.left_out, _dd(0.0), weights).sum(axis=1) - total * self.others / self.total
        usual = dd.select(self.left_out, apart, total * self.probabilities() - weights)
        return dd.select(self._nearly_tied(), self._slopes_of_ties(weights), usual) * factor

    def _nearly_tied(self) -> Bools:
        """(N, 1): rows of finite logits in which no gap is larger than 1/4."""
        return np.asarray((np.isfinite(self.problem.logits) & (self.gaps.value() <= 0.25)).all(axis=1, keepdims=True))

    def _slopes_of_ties(self, weights: DoubleDouble) -> DoubleDouble:
        """A p - a of the rows that are nearly tied; arbitrary elsewhere."""
        small = dd.expm1_small(-dd.select(self._nearly_tied(), self.gaps, _dd(0.0)))
        unequal = weights - weights[:, :1]
        apart = unequal.sum(axis=1) - _dd(float(self.problem.num_classes)) * unequal
        return (apart + weights.sum(axis=1) * small - weights * small.sum(axis=1)) / self.total

    def gradient(self) -> Floats:
        return self._owed(self._slopes().value())

    def target_gradient(self) -> Floats:
        """w (1 - s) L, L infinite where a class is masked: there nothing is left of a weight of 0."""
        weight = 1.0 if self.problem.class_weights is None else self.problem.class_weights
        by = _dd(weight) * (_dd(1.0) - _dd(self.problem.label_smoothing)) * self._upstream(0)
        values = (by * dd.select(self.masked, _dd(0.0), self.gaps + dd.log1p(self.others))).value()
        infinite = self.masked & (by.hi != 0)
        return self._regular_or_nan(np.where(infinite, np.copysign(np.inf, by.hi), values))

    def feature_gradient(self) -> Floats:
        """g W, a column at a time; less the weight of the largest class, which adds nothing, for a row's slopes add up to 0."""
        weight, top = layer_of(self.problem).weight, np.argmax(self.left_out, axis=1)
        slopes = self._slopes()
        columns = [(slopes * (_dd(column) - _dd(column[top][:, None]))).sum(axis=1) for column in weight.T]
        return self._owed(np.hstack([column.value() for column in columns]))

    def weight_gradient(self) -> Floats:
        """g^T h, a column at a time."""
        slopes = self._slopes()
        columns = [self._over_rows(slopes * _dd(column[:, None])) for column in layer_of(self.problem).features.T]
        return np.stack(columns, axis=1)

    def bias_gradient(self) -> Floats:
        return self._over_rows(self._slopes())

    def hessian(self) -> Floats:
        p, factor = self.probabilities(), self.factors(2)
        pairs = -(_along(p, 2) * _along(p, 1)) * _along(factor, 2)
        diagonal = _along(p * self.complements() * factor, 2)
        return self._owed(dd.select(np.eye(self.problem.num_classes, dtype=bool), diagonal, pairs).value())

    def hvp(self) -> Floats:
        assert self.problem.tangent is not None
        v = self.problem.tangent
        w = _dd(v) - _dd(v[self.left_out][:, None])
        p = self.probabilities()
        return self._owed((self.factors(2) * p * (w - (p * w).sum(axis=1))).value())

    def log_softmax(self) -> Floats:
        values = -(self.gaps + dd.log1p(self.others)).value()
        return self._regular_or_nan(np.where(self.masked, -np.inf, values))

    def softmax(self) -> Floats:
        near_one = (_dd(1.0) - self.others / self.total).value()
        return self._regular_or_nan(np.where(self.left_out, near_one, self.probabilities().value()))

    def log_softmax_vjp(self) -> Floats:
        """u - p sum(u); at the maximum that is left out, the sum of the others with its sign turned, and (1 - p) sum(u)."""
        assert self.problem.tangent is not None
        u = _dd(self.problem.tangent)
        others, total = dd.select(self.left_out, _dd(0.0), u).sum(axis=1), u.sum(axis=1)
        at_top = self.complements() * total - others
        return self._pulled(dd.select(self.left_out, at_top, u - self.probabilities() * total))

    def softmax_vjp(self) -> Floats:
        """p (w - <p, w>), w = u - u_c."""
        assert self.problem.tangent is not None
        u, p = self.problem.tangent, self.probabilities()
        w = _dd(u) - _dd(u[self.left_out][:, None])
        return self._pulled(p * (w - (p * w).sum(axis=1)))

    def logsumexp_vjp(self) -> Floats:
        """u p."""
        return self._pulled(_dd(upstream_of(self.problem)) * self.probabilities())

    def entropy_vjp(self) -> Floats:
        """u p (g - <p, g>), g the gaps."""
        p = self.probabilities()
        return self._pulled(_dd(upstream_of(self.problem)) * (p * (self.gaps - (p * self.gaps).sum(axis=1))))

    def _pulled(self, values: DoubleDouble) -> Floats:
        return self._regular_or_nan((values * _dd(self.problem.logit_scale) / _dd(self.problem.temperature)).value())

    def logsumexp(self) -> Floats:
        return self._regular_or_nan((self.top + dd.log1p(self.others)).value())[:, 0]

    def entropy(self) -> Floats:
        """log1p(R) + <p, g>."""
        spread = (self.probabilities() * self.gaps).sum(axis=1)
        return self._regular_or_nan((dd.log1p(self.others) + spread).value())[:, 0]

    def _over_rows(self, terms: DoubleDouble) -> Floats:
        """Sums over the rows that count; NaN if one of them is not regular."""
        counted = self.regular & ~self.problem.silent
        total = dd.select(counted[:, None], terms, _dd(0.0)).sum(axis=0).value()[0]
        undefined = not (self.regular | self.problem.silent).all() or self.denominator().value() == 0
        return np.where(undefined, np.nan, total)

    def _regular_or_nan(self, values: Floats) -> Floats:
        return np.where(self.regular.reshape((-1,) + (1,) * (values.ndim - 1)), values, np.nan)

    def _owed(self, values: Floats) -> Floats:
        """Derivatives: 0 in rows that add nothing, NaN in others that are not regular."""
        silent = self.problem.silent.reshape((-1,) + (1,) * (values.ndim - 1))
        return np.where(silent, 0.0, self._regular_or_nan(values))


def _output(layer: Layer) -> DoubleDouble:
    """(N, K): h W^T + b, each product exact, a feature at a time; numbers that are not finite count as 0."""
    features, weight, bias = layer.finite
    total = _dd(np.broadcast_to(bias, (len(features), len(weight))))
    for column in range(weight.shape[1]):
        total = total + _dd(features[:, column, None]) * _dd(weight[None, :, column])
    return total


def _exp_of_distinct(x: DoubleDouble) -> DoubleDouble:
    """exp, once for each distinct value: extreme rows repeat a few gaps many times."""
    keys = np.stack([x.hi.ravel(), x.lo.ravel(), x.exponent.ravel().astype(np.float64)])
    if x.hi.size < 256:
        return dd.exp(x)
    _, first, inverse = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    distinct = DoubleDouble(x.hi.ravel()[first], x.lo.ravel()[first], x.exponent.ravel()[first])
    return dd.exp(distinct)[inverse.reshape(x.hi.shape)]


def _along(x: DoubleDouble, axis: int) -> DoubleDouble:
    """With a new axis, to form all pairs of classes."""
    return DoubleDouble(np.expand_dims(x.hi, axis), np.expand_dims(x.lo, axis), np.expand_dims(x.exponent, axis))


@dataclass(frozen=True)
class _BinaryRows(_Rows):
    """The rows [x, 0] of a sigmoid loss; the problem of `_Rows` is theirs, `given` is the one asked."""

    given: Problem

    @classmethod
    def asked(cls, problem: Problem) -> _BinaryRows:
        return cls(**vars(_Rows.of(_two_classes(problem))), given=problem)

    def weights(self) -> DoubleDouble:
        """(w y, 1 - y), w the positive weight."""
        label = self.given.target
        positive = _dd(self.given.positive_weight) * _dd(label)
        negative = _dd(1.0) - _dd(label)
        return dd.select(np.array([True, False]), positive, negative)


def _two_classes(problem: Problem) -> Problem:
    """The problem of the rows [x, 0]; its labels stand for those of `_BinaryRows`."""
    zeros = np.zeros_like(problem.logits)
    tangent = None if problem.tangent is None else np.hstack([problem.tangent, zeros])
    return Problem(
        np.hstack([problem.logits, zeros]),
        np.zeros(problem.num_rows, dtype=np.int64),
        problem.format,
        reduction=problem.reduction,
        cotangent=problem.cotangent,
        tangent=tangent,
    )


def _of_first_logit(quantity: Quantity, values: Floats) -> Floats:
    """What belongs to x of the row [x, 0]."""
    if quantity is Quantity.LOSS:
        return values
    return values[:, :1, :1] if quantity is Quantity.HESSIAN else values[:, :1]


def absorption_free(problem: Problem, quantities: tuple[Quantity, ...]) -> dict[Quantity, Floats]:
    """The quantities of a problem, rounded to its format; shapes and options as in `Quantity` and `Problem`."""
    with np.errstate(all="ignore"):
        rows = _BinaryRows.asked(problem) if problem.is_binary else _Rows.of(problem)
        results = {quantity: problem.format.round(getattr(rows, str(quantity))()) for quantity in quantities}
        return {q: _of_first_logit(q, values) if problem.is_binary else values for q, values in results.items()}
