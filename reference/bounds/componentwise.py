"""The bound of `componentwise`: what max-shifted arithmetic can promise if it leaves the maximum out of the sum.

c is the class of the maximum. No 1 meets a small number whose size matters, and nothing is subtracted from 1:

    R = sum_{i != c} E_i    L_i = |d_i| + log1p(R)    p_i = E_i / (1 + R)    q_i = 1 - p_i = (sum_{j != i} E_j) / (1 + R)
    gradient      A p_i - a_i = p_i sum_{j != i} a_j - a_i q_i       Hessian  A p_i q_i, -A p_i p_j
    entropy       log1p(R) + sum p_i |d_i|                        its slope  p_i (|d_i| - <p, |d|>)
    product of log_softmax with u   u_c q_c - p_c sum_{j != c} u_j, and u_i - p_i sum(u) elsewhere
    product       A p_i (w_i - <p, w>), w = v - v_c                  softcap  1 - tanh^2 = (2 e^-r / (1 + e^-2r))^2, r = s|x|/c

(Blanchard, Higham and Higham, IMA J. Numer. Anal. 41(4), 2021, Algorithm 4.1, for the sum.) What is left is the rounding of
the gap: x_i - m is off by |d_i| u, which exp carries over to E_i as a relative error. No algorithm that shifts in the working
precision can avoid it, so an entry that is made of the class i has a relative error of about c (1 + |d_i|) u, with a c of
roundings alone; one that sums over classes has their average, each class weighted as in the entry. Symbols are those of
row_errors.py; relative errors are combined as (1 + a)(1 + b) - 1, not to first order:

    eps_i    as there, 0 at c                           dR = sum_{i != c} E_i ((1 + eps_i)(1 + u)^h - 1) + K omega
    eta      (dR + g (S + dR)) / S, S = 1 + R           error of the computed S, relative: g = u where the 1 is added last,
                                                       (1 + u)^h - 1 where it is one of the terms
    tail     -log(1 - dR/S), then lambda u              error of log1p(R), whose slope is 1 / (1 + R): relative to R, not to 1
    dp_i     p_i ((1 + eps_i)(1 + eta/(1 - eta))(1 + u) - 1)
    dq_i     of the quotient of its sum by S; for i != c the sum is S - E_i >= 1 >= E_i, which cancels less than half

The losses are then those of family.py, with these parts in the place of those that subtract. All is computed in the working
format and rounded once to the storage format: what a good kernel does. So a stored log-probability, or a stored sum, is not
allowed for here, whatever an operation declares.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reference.arithmetic import Arithmetic
from reference.bounds.analysis import LABEL_ROUNDINGS, Analysis, Direction
from reference.bounds.block_products import block_product
from reference.bounds.family import family_gradient, family_loss, family_product, finished, reduced, target_gradient_error
from reference.bounds.layer import layer_gradient
from reference.bounds.recent import recent
from reference.bounds.row_errors import RowErrors
from reference.bounds.running import Running, growth, inverse_error, product
from reference.formats import Bools, Floats
from reference.problem import Problem
from reference.quantity import BLOCK_PRODUCTS, LAYER_GRADIENTS, Quantity
from reference.weights import weights_of


def combined(*errors: Floats | float) -> Floats:
    """(1 + a)(1 + b) ... - 1 of relative errors, without the 1 that would round them away."""
    total = np.zeros(())
    for error in errors:
        total = total + error + product(total, np.asarray(error))
    return total


def sums_of_others(values: Floats) -> Floats:
    """(N, K): the sum over all classes but one, of values >= 0; summed without the largest, it loses nothing to it."""
    largest = np.arange(values.shape[1]) == np.argmax(values, axis=1)[:, None]
    rest = np.where(largest, 0.0, values).sum(axis=1, keepdims=True)
    most = np.where(largest, values, 0.0).sum(axis=1, keepdims=True)
    return np.where(largest, rest, most + (rest - values))


@dataclass(frozen=True, eq=False)
class CarefulRows(RowErrors):
    """The error analysis of rows whose maximum is left out of the sum."""

    @cached_property
    def left_out(self) -> Bools:
        """(N, K): True at c, the first maximum."""
        top = np.argmax(np.where(self.finite, self.logits, -np.inf), axis=1)
        return np.asarray(np.arange(self.logits.shape[1]) == top[:, None])

    @cached_property
    def others(self) -> Floats:
        """R, (N, 1)."""
        return np.where(self.left_out, 0.0, self.powers).sum(axis=1, keepdims=True)

    @cached_property
    def total(self) -> Floats:
        """S = 1 + R, (N, 1)."""
        return 1.0 + self.others

    @cached_property
    def tail(self) -> Floats:
        """log1p(R), (N, 1)."""
        return np.log1p(self.others)

    @cached_property
    def gap_error(self) -> Floats:
        """(N, K): absolute error of d_i, 0 at c. Here a wrong maximum of a capped row does not cancel: 1 is exact."""
        return np.where(self.left_out, 0.0, super().gap_error + self.shift_error)

    @cached_property
    def power_error(self) -> Floats:
        """eps_i, (N, K)."""
        return np.where(self.left_out, 0.0, super().power_error)

    @cached_property
    def others_error(self) -> Floats:
        """dR, (N, 1)."""
        terms = np.where(self.powers > 0, self.powers * combined(self.summed_power_error, self.sum_growth), 0.0)
        return np.where(self.left_out, 0.0, terms).sum(axis=1, keepdims=True) + self.lost_sum

    @cached_property
    def sum_error(self) -> Floats:
        """eta, (N, 1)."""
        grown = max(self.sum_growth, self.arithmetic.working.unit_roundoff)
        return (self.others_error + grown * (self.total + self.others_error)) / self.total

    @cached_property
    def log_sum_error(self) -> Floats:
        """(N, 1): absolute error of log1p(R)."""
        moved = np.minimum(self.others_error / self.total, 1.0)
        error = np.where(moved < 1, -np.log1p(-moved), np.inf)
        return error + self.log_rounding * (self.tail + error)

    @cached_property
    def divided(self) -> Floats:
        """(N, 1): the relative error that a quotient by S gets from S, and by its own rounding."""
        eta = self.sum_error
        by_sum = np.where(eta < 1, eta / np.where(eta < 1, 1 - eta, 1.0), np.inf)
        inverted = inverse_error(self.arithmetic, self.total * (1 + eta))
        return combined(by_sum, self.arithmetic.working.unit_roundoff, inverted)

    @cached_property
    def probability_error(self) -> Floats:
        """dp_i, (N, K)."""
        error = np.where(self.probabilities > 0, self.probabilities * combined(self.power_error, self.divided), 0.0)
        return np.where(self.finite, error + self.lost_quotient, 0.0)

    @cached_property
    def complements(self) -> Floats:
        """q_i = 1 - p_i, (N, K)."""
        return sums_of_others(self.powers) / self.total

    @cached_property
    def complement_error(self) -> Floats:
        """dq_i, (N, K)."""
        u, sums = self.arithmetic.working.unit_roundoff, self.complements * self.total
        powers = np.where(self.powers > 0, self.powers * self.power_error, 0.0)
        subtracted = self.sum_error * self.total + powers
        subtracted = subtracted + u * (sums + subtracted)
        # One of several maxima is left out, whichever it is; the others are taken off the sum.
        maxima = ((self.gaps == 0) & self.finite).sum(axis=1, keepdims=True)
        alone = self.left_out & (maxima == 1)
        error = np.where(alone, self.others_error, subtracted)
        return (error + (sums + error) * self.divided) / self.total + self.lost_quotient


@dataclass(frozen=True, eq=False)
class CarefulAnalysis(Analysis):
    """The parts of a loss, none of which is a difference of larger numbers unless the labels make it one."""

    rows: CarefulRows

    @cached_property
    def lse(self) -> Running:
        """As computed in two parts, of which the maximum has an error of its own: 1 is exact in the other."""
        usual = super().lse
        return Running(usual.size, usual.error + self.running(self.rows.shift_error, np.zeros(())).size, usual.arithmetic)

    @cached_property
    def complement(self) -> Running:
        """(N, K): 1 - p."""
        return self.running(self.rows.complements, self.rows.complement_error).rounded()

    @cached_property
    def is_top(self) -> Bools:
        """True at the maximum c of a row."""
        return self.lifted(self.rows.left_out)

    @property
    def _is_plain(self) -> bool:
        return self.rows.problem.is_plain

    @property
    def _label_roundings(self) -> int:
        return 0 if self._is_plain else LABEL_ROUNDINGS

    @cached_property
    def weights(self) -> Running:
        """Effective weights; a class index alone is exact."""
        return self.known(weights_of(self.rows.problem)).rounded(self._label_roundings)

    @cached_property
    def weighted_losses(self) -> Running:
        """(N, 1): sum a_c L_c; of a class index the loss itself."""
        return self.at_target(self.log_losses) if self._is_plain else super().weighted_losses

    @cached_property
    def gaps(self) -> Running:
        """(N, K): |d|, exactly 0 at the maximum."""
        return self.running(self.rows.gaps, self.rows.gap_error)

    @cached_property
    def entropy(self) -> Running:
        """(N, 1): log1p(R) + <p, |d|>, of positive terms."""
        return self.running(self.rows.tail, self.rows.log_sum_error).plus(self.p.times(self.gaps).summed())

    @cached_property
    def entropy_slope(self) -> Running:
        """(N, K): p (|d| - <p, |d|>)."""
        return self.p.times(super().centred(self.gaps))

    @cached_property
    def total_weight(self) -> Running:
        """(N, 1): A; of a class index exactly 1."""
        return self.known(weights_of(self.rows.problem).sum(1, keepdims=True)) if self._is_plain else super().total_weight

    def pulled(self, pull: Running | None) -> Running:
        """(N, K): p_i sum_{j != i} a_j - a_i q_i, and what a z-loss adds."""
        depth = 0 if self._is_plain else self.rows.depth
        others = self.known(sums_of_others(weights_of(self.rows.problem))).rounded(self._label_roundings, depth)
        excess = self.p.times(others).plus(self.weights.times(self.complement))
        return excess if pull is None else excess.plus(pull.times(self.p))

    def _from(self, v: Direction, origin: Bools) -> Running:
        """(N, K): v_j - v_i of the one class i where `origin` is True; exactly 0 there."""
        centre = np.where(origin, v.values, 0.0).sum(-1, keepdims=True)
        error = v.running.error + np.where(origin, v.running.error, 0.0).sum(-1, keepdims=True)
        moved = Running(np.abs(v.values - centre), np.where(origin, 0.0, error), v.running.arithmetic).rounded()
        return Running(moved.size, np.where(origin, 0.0, moved.error), moved.arithmetic)

    def deviation(self, v: Direction) -> Running:
        """(N, K): w_i - <p, w> with w = v - v_c; along one class j, v_j ([i = j] - p_j)."""
        if self.lift:
            return self._along_one_class(v)
        moved = self._from(v, self.rows.left_out)
        return moved.plus(self.p.times(moved).summed())

    def _along_one_class(self, v: Direction) -> Running:
        own = np.eye(self.rows.logits.shape[1], dtype=bool)[None]
        parts = [np.where(own, v_part, 0.0).sum(-1, keepdims=True) for v_part in (v.running.size, v.running.error)]
        # Direction j is a line of its own: the probability of its class is the same along the line.
        turned = [
            np.where(own, near, np.swapaxes(far, 1, 2))
            for near, far in ((self.complement.size, self.p.size), (self.complement.error, self.p.error))
        ]
        arithmetic = self.rows.arithmetic
        return Running(turned[0], turned[1], arithmetic).times(Running(parts[0], parts[1], arithmetic))

    def centred(self, values: Running) -> Running:
        """(N, K): (1 - p_c) v_c less what the others weigh at the maximum c; elsewhere v_i - <p, v>, of p_i <= 1/2."""
        at_top = self.complement.times(values).plus(self._others(self.p.times(values)).summed())
        return self._chosen(self.is_top, at_top, super().centred(values))

    def less_share(self, u: Direction) -> Running:
        """(N, K): u_c (1 - p_c) - p_c sum_{j != c} u_j at the maximum c; elsewhere u_i - p_i sum(u), of p_i <= 1/2."""
        at_top = self.complement.times(u.running).plus(self.p.times(self._others(u.running).summed()))
        return self._chosen(self.is_top, at_top, super().less_share(u))

    def _others(self, values: Running) -> Running:
        """The numbers, and 0 in the place of the maximum."""
        size, error = (np.where(self.is_top, 0.0, part) for part in (values.size, values.error))
        return Running(size, error, values.arithmetic)

    def _chosen(self, where: Bools, first: Running, second: Running) -> Running:
        """The first numbers where it is True, the second elsewhere."""
        pairs = ((first.size, second.size), (first.error, second.error))
        size, error = (np.where(where, *pair) for pair in pairs)
        return Running(size, error, first.arithmetic)

    @cached_property
    def miss(self) -> Running:
        """(N, 1): 1 - p_t."""
        return self.at_target(self.complement)

    @cached_property
    def offset(self) -> Running:
        """(N, K): p_i - [i = t]: 1 - p_t at the target, but for its sign."""
        return self._chosen(self.hot, self.complement, self.p)

    def along(self, v: Direction) -> Running:
        """(N, 1): sum_{j != t} p_j (v_j - v_t)."""
        return self.p.times(self._from(v, self.hot)).summed()

    @cached_property
    def residual(self) -> Running:
        """(N, K): p - q of labels q, as p (1 - q) - q (1 - p)."""
        return self.p.times(self.known(1.0 - weights_of(self.rows.problem)).rounded()).plus(self.one_hot.times(self.complement))

    @cached_property
    def rate(self) -> Running:
        """(N, K): the rate of a softcap, (2 e^-r / (1 + e^-2r))^2.

        r = s|x|/c is off by u r. e^-r and e^-2r are then off by alpha u and r u, 2 r u; e^-2r counts at most half in its sum.
        A scale of the logits, a reciprocal of c, or base 2, adds to u r.
        """
        arithmetic = self.rows.arithmetic
        u = arithmetic.working.unit_roundoff
        off = (
            growth(u, 1 + self.rows.is_scaled)
            + inverse_error(arithmetic, self.rows.cap)
            + (growth(u, 2) if arithmetic.base_2 else 0.0)
        )
        ratio = np.minimum(self.rows.ratio, 700.0)
        size = 1.0 / np.cosh(ratio) ** 2
        given = 2 * self.rows.given.error * self.rows.problem.logit_scale / self.rows.cap
        moved = np.expm1((6 * arithmetic.exp_ulps + 9) * u + 4 * ratio * off + given)
        return self.running(size, size * moved + self.rows.lost_quotient).rounded()


@recent
def careful_analysis(problem: Problem, arithmetic: Arithmetic, lift: bool) -> CarefulAnalysis:
    """The analysis of a problem in the arithmetic in which all is computed before it is stored; see `Analysis` for `lift`."""
    return CarefulAnalysis(CarefulRows(problem, arithmetic), lift)


def componentwise_errors(problem: Problem, quantity: Quantity, arithmetic: Arithmetic) -> Floats:
    """Largest absolute error of each entry before it is stored; (N, 2) in the place of (N, 1) for the row [x, 0]."""
    a = careful_analysis(problem, arithmetic.storing_once().inside, quantity is Quantity.HESSIAN)
    rows = a.rows
    if quantity is Quantity.LOSS:
        return reduced(rows, *family_loss(a))
    if quantity is Quantity.LOG_SOFTMAX:
        return rows.log_error
    if quantity is Quantity.SOFTMAX:
        return a.p.error
    if quantity is Quantity.LOGSUMEXP:
        return a.lse.error[:, 0]
    if quantity is Quantity.ENTROPY:
        return a.entropy.error[:, 0]
    if quantity is Quantity.HESSIAN_DIAGONAL:
        return _diagonal(a)
    if quantity in BLOCK_PRODUCTS:
        return block_product(a, quantity).error
    if quantity in LAYER_GRADIENTS:
        return layer_gradient(problem, family_gradient(a), quantity)
    if quantity is Quantity.TARGET_GRADIENT:
        return target_gradient_error(a)
    return family_gradient(a).error if quantity is Quantity.GRADIENT else family_product(a).error


def _diagonal(a: CarefulAnalysis) -> Floats:
    """(N, K): A p (1 - p); other losses than cross-entropy form all entries."""
    if a.rows.problem.is_weighted:
        return finished(a, a.total_weight.times(a.p).times(a.complement), 2).error
    return np.diagonal(family_product(CarefulAnalysis(a.rows, lift=True)).error, axis1=1, axis2=2)
