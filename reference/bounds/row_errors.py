"""The error analysis of log_softmax and softmax that every bound starts from, row by row.

Derivation of `stable` (the max-shifted algorithm, every operation rounded; not first order in u):
  eps_i = (1 + alpha u) exp(|d_i| u) - 1      the subtraction x_i - m moves d_i by |d_i| u, exp by alpha u; 0 at gap 0
  eta   = sum p_i ((1 + eps_i)(1 + u)^h - 1) + K omega/S   relative error of the computed S
                                              (Higham, ASNA, section 4.2: each summand meets at most h roundings)
          where the sum is stored in a narrower format: eta += u_o (1 + eta)
  tau   = -log(1 - eta);  tau += lambda u (log S + tau)    absolute error of log S (monotone log of a relative error)
          where the sum is stored: tau += u_o (log S + tau)
  D_i   = tau + u |d_i|;  D_i += u (L_i + D_i);  D_i += u_o (L_i + D_i)    error of log_softmax_i, subtracted and stored
  (A temperature divides d_i: twice u |d_i|; so a scale multiplies it. Before the shift it would cost u |x_i|, not stable.)
  dp_i  = p_i (exp(D_i)(1 + alpha u) - 1)      error of p_i taken as exp of the stored log_softmax (where it is not stored
                                              before that: of D_i without its last term), or, if larger,
          p_i ((1 + eps_i)(1 + eta/(1-eta))(1 + u) - 1)    taken as E_i / S

Declared otherwise (`Arithmetic`, `Summation.tile`), each off unless it is declared:

  rescaled sums   The first maximum m_0 >= x_i that a term is shifted by grows to m_1 < ... < m_r = m. The term enters S as
                  fl exp(x_i - m_0) prod fl exp(m_(j-1) - m_j), each factor a rounded exp of a rounded gap, each product
                  rounded. All gaps have one sign, so they telescope: |x_i - m_0| + sum |m_(j-1) - m_j| = |d_i|, and their
                  roundings together move the exponent by u |d_i|, as one gap does. What is new is r exps and r products:
                  eps_i = ((1 + alpha u)(1 + u))^r (1 + alpha u) exp(|d_i| u) - 1.
                  A maximum that stays multiplies by exp(0) = 1, exactly; r is then at most the declared number of merges
                  and the number of classes above i, of which m_1 ... m_r are some. At the maximum itself r = 0: it is
                  exact, and no other class is, even one that was 1 when it was added.
                  Underflow: S >= 1 holds for each partial sum under its own maximum, so a product underflows only where
                  its factor does. There a term of at most 1 loses omega by the factor and omega by the product, and what
                  it lost before is multiplied by less than the least normal number: less than 3 omega in all.
                  A power itself is taken of m, or kept from its tile and rescaled once.
  base 2          exp(d) = 2^(d c), c = log2 e rounded, the product rounded and perhaps subnormal: the exponent moves by
                  ((1 + u)^2 - 1) |d| + omega_r on top of the gap's own error, at each of the r + 1 exps; the gaps telescope.
                  log S = log2(S) c', c' = ln 2 rounded: (1 + lambda u)(1 + u)^2 - 1 for lambda u.
                  exp of a log_softmax: D_i + ((1 + u)^2 - 1)(L_i + D_i) + omega_r for D_i.
  reciprocals     y fl(1/S): u + omega_r S more than the quotient's u, for 1/S may be subnormal; so for T, N and a softcap.
  softplus        softplus.py

where omega_r is what rounding to nearest loses to underflow.

A softcap moves each logit over T by at most delta_i (scale, quotient, tanh, product, division, each rounded and stored), as
the linear layer before it does (layer.py), before it is shifted, and the maximum by at most delta_max. A shift of the whole
row changes no probability, so what is left of it is delta_i in d_i, the rounding of the shift, and the factor exp(delta_max)
of S against which powers underflow.
A sigmoid loss is that of the row [x, 0]: softplus as max(x, 0) + log1p(exp(-|x|)) is at least as accurate as its
log_softmax, for log1p rounds no sum and nothing else differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from reference.arithmetic import Arithmetic
from reference.bounds.layer import layer_logits
from reference.bounds.recent import recent
from reference.bounds.running import Running, growth, inverse_error
from reference.formats import Bools, Floats
from reference.problem import Problem
from reference.weights import unit_of

_LARGEST = np.finfo(np.float64).max


@dataclass(frozen=True, eq=False)
class RowErrors:
    """The error analysis of log_softmax and softmax for all rows of a problem; masked classes have p = 0 and no error."""

    problem: Problem
    arithmetic: Arithmetic

    @cached_property
    def given(self) -> Running:
        """The sizes of the logits, and the error of the linear layer that they are the output of."""
        return layer_logits(self.problem, self.arithmetic)

    @cached_property
    def capped(self) -> Running | None:
        """The logits behind the softcap, over T, with the error of computing them; None without a softcap."""
        cap, temperature = self.problem.logit_softcap, self.problem.temperature
        if cap is None:
            return None
        product = self.saturation.scaled(cap)
        return product if temperature == 1.0 else product.divided(temperature)

    @cached_property
    def saturation(self) -> Running:
        """tanh(s x/c), from a rounded quotient, and a rounded product where there is a scale."""
        ratio, given = self.ratio, self.given
        scaled = given.scaled(self.problem.logit_scale).error if self.is_scaled else given.error
        inverted = ratio * inverse_error(self.arithmetic, self.cap)
        quotient = Running(ratio, scaled / self.cap + inverted, self.arithmetic).rounded()
        nearest = np.minimum(np.maximum(ratio - quotient.error, 0.0), 700.0)
        moved = np.minimum(quotient.error / np.cosh(nearest) ** 2, 2.0)  # a layer may be off by more than a logit is large
        size = np.tanh(ratio)
        faithful = 2 * self.arithmetic.tanh_ulps * self.arithmetic.working.unit_roundoff
        return Running(size, moved + faithful * (size + moved), self.arithmetic).rounded()

    @cached_property
    def ratio(self) -> Floats:
        """(N, K): s |x|/c of a softcap c."""
        return np.minimum(np.abs(self.problem.logits) / self.cap * self.problem.logit_scale, _LARGEST)

    @property
    def cap(self) -> float:
        """c of a problem that has a softcap."""
        assert self.problem.logit_softcap is not None
        return self.problem.logit_softcap

    @property
    def is_scaled(self) -> bool:
        """True if the logits are multiplied by a scale, which may round each product on its way."""
        return self.problem.logit_scale != 1.0

    @property
    def unit(self) -> float:
        """What `logits` are still divided by: T/s, or T behind a softcap."""
        return unit_of(self.problem) if self.problem.logit_softcap is None else self.problem.temperature

    @property
    def units(self) -> int:
        """How many rounded products or quotients that takes: one with T, and one with the scale in front of no softcap."""
        return (self.problem.temperature != 1.0) + (self.is_scaled and self.problem.logit_softcap is None)

    @property
    def unit_error(self) -> float:
        """Relative error of these, where there are any."""
        u = growth(self.arithmetic.working.unit_roundoff, self.units)
        if self.problem.temperature != 1.0:
            u = u + (1 + u) * inverse_error(self.arithmetic, self.problem.temperature)
        return u

    @cached_property
    def logits(self) -> Floats:
        """The rows that the softmax is taken of, over `unit`: [x, 0] for a sigmoid, c tanh(s x/c) if capped."""
        given, cap = self.problem.logits, self.problem.logit_softcap
        if self.problem.is_binary:
            return np.hstack([given, np.zeros_like(given)])
        return given if cap is None else np.copysign(cap * np.tanh(self.ratio), given)

    @cached_property
    def logit_error(self) -> Floats:
        """delta_i, (N, K): absolute error of each logit over T before it is shifted."""
        if self.problem.is_binary:
            return np.zeros(self.logits.shape)
        return self.given.error / self.unit if self.capped is None else self.capped.error

    @property
    def lost(self) -> float:
        """K omega_r: what S loses where every power underflows, each rounded to nearest."""
        return self.logits.shape[1] * self.arithmetic.rounding_underflow

    @cached_property
    def shift_error(self) -> Floats:
        """delta_max, (N, 1): how far the computed maximum may be from the true one."""
        return self.logit_error.max(axis=1, keepdims=True, initial=0.0)

    @cached_property
    def finite(self) -> Bools:
        """True where the logit of a class is finite."""
        return np.isfinite(self.logits)

    @cached_property
    def top(self) -> Floats:
        """(N, 1): the maximum over `unit`; 0 in a row without a finite logit."""
        x = np.where(self.finite, self.logits, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
        return np.where(np.isfinite(x), x, 0.0) / self.unit

    @cached_property
    def gaps(self) -> Floats:
        """|d_i|, (N, K): how far each logit over `unit` lies below the maximum; 0 at masked classes."""
        x, exact = np.where(self.finite, self.logits, -np.inf), self.problem.layer_logits
        with np.errstate(invalid="ignore", over="ignore"):
            gap = x.max(axis=1, keepdims=True) - x if exact is None or self.capped is not None else exact.gaps
            gap = gap / self.unit
        return np.where(self.finite, np.minimum(gap, _LARGEST), 0.0)

    @cached_property
    def powers(self) -> Floats:
        """E_i = exp(d_i), (N, K); 0 at masked classes."""
        return np.where(self.finite, np.exp(-self.gaps), 0.0)

    @cached_property
    def total(self) -> Floats:
        """S = sum E, (N, 1); 1 in a row without a finite logit."""
        return np.maximum(self.powers.sum(axis=1, keepdims=True), 1.0)

    @cached_property
    def probabilities(self) -> Floats:
        """p_i = E_i / S, (N, K)."""
        return self.powers / self.total

    @cached_property
    def tail(self) -> Floats:
        """log S, (N, 1)."""
        return np.log(self.total)

    @cached_property
    def losses(self) -> Floats:
        """L_i = log S - d_i >= 0, (N, K): the loss of each class."""
        return self.gaps + self.tail

    @cached_property
    def depth(self) -> int:
        """h: the largest number of roundings that a summand meets in a sum over the classes."""
        return self.arithmetic.summation.depth(self.logits.shape[1])

    @cached_property
    def gap_error(self) -> Floats:
        """(N, K): absolute error of d_i, up to a shift of the whole row that the softmax does not see."""
        u, scaled = self.arithmetic.working.unit_roundoff, self.unit_error
        u = u + (1 + u) * scaled
        return self.logit_error + u * (self.gaps + self.logit_error + self.shift_error)

    @cached_property
    def rescalings(self) -> NDArray[np.int64]:
        """r, (N, K): how often each power is rescaled at most on its way into S."""
        most = self.arithmetic.summation.rescalings(self.logits.shape[1])
        # Computed behind a softcap or a layer, classes may change their order.
        if most == 0 or self.capped is not None or self.are_uncertain:
            return np.full(self.logits.shape, most)
        below = np.where(self.finite, -self.logits, np.inf)
        above = [np.searchsorted(np.sort(row), row) for row in below]
        return np.minimum(np.array(above, dtype=np.int64).reshape(below.shape), most)

    def _power_error(self, rescaled: NDArray[np.int64]) -> Floats:
        """(N, K): relative error of each E_i that was rescaled so often."""
        moved, alpha = self.exponent_error(self.gap_error, self.gaps + self.shift_error, 1 + rescaled), self.alpha
        stretched = alpha
        if rescaled.any():
            stretched = np.expm1((1 + rescaled) * np.log1p(alpha) + rescaled * np.log1p(self.arithmetic.working.unit_roundoff))
        with np.errstate(over="ignore"):
            error = np.expm1(moved) + stretched * np.exp(moved)
        # exp(0) is exactly 1, but only where the shift is exact: behind a softcap the computed maximum may be another.
        return np.where((self.gaps == 0) & (self.shift_error == 0), 0.0, error)

    @property
    def alpha(self) -> float:
        """Alpha u: relative error of exp."""
        return 2 * self.arithmetic.exp_ulps * self.arithmetic.working.unit_roundoff

    @property
    def log_rounding(self) -> float:
        """Lambda u: relative error of log."""
        u = self.arithmetic.working.unit_roundoff
        error = 2 * self.arithmetic.log_ulps * u
        return error + (1 + error) * growth(u, 2) if self.arithmetic.base_2 else error

    def exponent_error(self, error: Floats, size: Floats, parts: int | NDArray[np.int64] = 1) -> Floats:
        """The error that an exponent of a size has where exp sees it: in base 2 it is multiplied by a rounded log2 e."""
        if not self.arithmetic.base_2:
            return error
        scaled = growth(self.arithmetic.working.unit_roundoff, 2)
        return error + scaled * size + scaled * error + parts * self.arithmetic.rounding_underflow

    @cached_property
    def power_error(self) -> Floats:
        """eps_i, (N, K): relative error of each E_i, taken of the maximum or kept from its tile and rescaled once."""
        return self._power_error(np.minimum(self.rescalings, 1))

    @cached_property
    def summed_power_error(self) -> Floats:
        """eps_i, (N, K), as it enters S: rescaled as often as the sum is."""
        return self._power_error(self.rescalings)

    @cached_property
    def sum_growth(self) -> float:
        """(1 + u)^h - 1: what adding up the powers costs, relative to them."""
        depth = self.arithmetic.summation.depth_of_powers(self.logits.shape[1])
        return growth(self.arithmetic.working.unit_roundoff, depth)

    @cached_property
    def lost_sum(self) -> Floats:
        """(N, 1): what S loses to underflow."""
        lost = self.logits.shape[1] * self.arithmetic.underflow * np.exp(self.shift_error) * (1 + self.sum_growth)
        if (most := self.arithmetic.summation.rescalings(self.logits.shape[1])) > 0:
            lost = 3 * lost * np.exp(most * (self.alpha + self.arithmetic.working.unit_roundoff))
        return lost

    @cached_property
    def lost_quotient(self) -> Floats:
        """(N, K): what a quotient of a power by S loses to underflow."""
        lost = (2 + 2 * np.minimum(self.rescalings, 1)) * self.arithmetic.underflow
        return np.asarray(lost + self.arithmetic.storage_underflow)

    @cached_property
    def sum_error(self) -> Floats:
        """eta, (N, 1): relative error of S."""
        grown = self.sum_growth
        with np.errstate(invalid="ignore"):
            terms = self.probabilities * (self.summed_power_error * (1 + grown) + grown)
            terms = np.where(self.probabilities > 0, terms, 0.0)
        lost = self.lost_sum / self.total
        error = terms.sum(axis=1, keepdims=True) + lost
        return error + self._sum_store * (1 + error)

    @property
    def are_uncertain(self) -> bool:
        """True if the logits have an error of a linear layer, which may be large: what shifts them cannot make S vanish."""
        return bool(self.given.error.any())

    @cached_property
    def sum_fall(self) -> Floats:
        """(N, 1): by which part of itself S may be too small; eta, unless the logits are uncertain.

        A power that may be (1 + eps) times as large, e^moved (1 + s), may be (1 - s^2)/(1 + eps) times as large at least.
        """
        if not self.are_uncertain:
            return self.sum_error
        most, u = self.arithmetic.summation.rescalings(self.logits.shape[1]), self.arithmetic.working.unit_roundoff
        stretched = np.expm1((1 + most) * np.log1p(self.alpha) + most * np.log1p(u))
        least = (1 - stretched**2) * (1 - self.sum_growth) / (1 + self.summed_power_error)
        terms = np.where(self.probabilities > 0, self.probabilities * (1 - least), 0.0)
        return terms.sum(axis=1, keepdims=True) + self.lost_sum / self.total + self._sum_store

    @property
    def _sum_store(self) -> float:
        return self.arithmetic.storage_roundoff if self.arithmetic.stores_sum else 0.0

    @cached_property
    def log_sum(self) -> Floats:
        """Largest log S that is computed, (N, 1): a shift of the row moves it."""
        return self.tail + self.shift_error

    @cached_property
    def log_sum_error(self) -> Floats:
        """tau, (N, 1): absolute error of log S."""
        with np.errstate(divide="ignore", invalid="ignore"):
            # Strictly below 1: a sum that may be off by 100% may be 0, and its logarithm -inf.
            tau = np.where(self.sum_fall < 1, -np.log1p(-np.minimum(self.sum_fall, 1.0)), np.inf)
            tau = np.maximum(tau, np.log1p(self.sum_error)) if self.are_uncertain else tau
        # First the logarithm's own error, which is relative to what it computes, then the store of that.
        tau = tau + self.log_rounding * (self.log_sum + tau)
        return tau + self._sum_store * (self.log_sum + tau)

    @cached_property
    def unstored_log_error(self) -> Floats:
        """(N, K): absolute error of log_softmax_i as it is subtracted, in the working format."""
        u = self.arithmetic.working.unit_roundoff
        error = self.log_sum_error + self.gap_error
        # u L + u D, not u (L + D): the loss may be the largest number.
        return error + u * self.losses + u * error

    @cached_property
    def log_error(self) -> Floats:
        """D_i, (N, K): absolute error of log_softmax_i, subtracted and stored."""
        error, stored = self.unstored_log_error, self.arithmetic.storage_roundoff
        return error + stored * self.losses + stored * error + self.arithmetic.storage_underflow

    @cached_property
    def probability_error(self) -> Floats:
        """dp_i, (N, K): absolute error of p_i, the larger of the two ways to a probability."""
        u, eta = self.arithmetic.working.unit_roundoff, self.sum_error
        entering = self.log_error if self.arithmetic.stores_log_probability else self.unstored_log_error
        alpha, exponent = self.alpha, self.exponent_error(entering, self.losses)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            divided = (1 + u) * (1 + inverse_error(self.arithmetic, self.total * (1 + eta)))
            near = self.probabilities * (np.expm1(exponent) * (1 + alpha) + alpha)
            far = np.exp(exponent - self.losses) * (1 + alpha)
            fall = self.sum_fall
            quotient = self.probabilities * ((1 + self.power_error) * (1 + fall / np.maximum(1 - fall, 0)) * divided - 1)
            if self.are_uncertain:  # S may be too large by more than it may be too small: no quotient loses more than itself
                lost = np.minimum((1 + self.power_error) * (1 + eta) * divided - 1, 1.0)
                quotient = np.maximum(quotient, self.probabilities * lost)
        # From D_i = 1 on p_i itself is the smaller part: the bound is then the largest value, not a difference from p_i.
        logarithmic = np.where(exponent < 1.0, near, far)
        error = np.fmax(logarithmic, np.where(self.probabilities > 0, quotient, 0.0))
        return np.where(self.finite, error + self.lost_quotient, 0.0)


@recent
def rows_of(problem: Problem, arithmetic: Arithmetic) -> RowErrors:
    """The error analysis of a problem's rows in a declared arithmetic."""
    return RowErrors(problem, arithmetic)
