"""The error analysis of log_softmax and softmax that every bound starts from, row by row.

Derivation of `stable` (the max-shifted algorithm, every operation rounded; not first order in u):
  eps_i = (1 + alpha u) exp(|d_i| u) - 1      the subtraction x_i - m moves d_i by |d_i| u, exp by alpha u; 0 at gap 0
  eta   = sum p_i ((1 + eps_i)(1 + u)^h - 1) + K omega/S   relative error of the computed S
                                              (Higham, ASNA, section 4.2: each summand meets at most h roundings)
          where the sum is stored in a narrower format: eta += u_o (1 + eta)
  tau   = -log(1 - eta);  tau += lambda u (log S + tau)    absolute error of log S (monotone log of a relative error)
          where the sum is stored: tau += u_o (log S + tau)
  D_i   = tau + u |d_i|;  D_i += u (L_i + D_i);  D_i += u_o (L_i + D_i)    error of log_softmax_i, subtracted and stored
  (A temperature divides d_i: twice u |d_i|. Divided before the shift it would cost u |x_i|, which is not stable.)
  dp_i  = p_i (exp(D_i)(1 + alpha u) - 1)      error of p_i taken as exp of the stored log_softmax (where it is not stored
                                              before that: of D_i without its last term), or, if larger,
          p_i ((1 + eps_i)(1 + eta/(1-eta))(1 + u) - 1)    taken as E_i / S

A softcap moves each logit over T by at most delta_i (quotient, tanh, product, division, each rounded and stored) before it
is shifted, and the maximum by at most delta_max. A shift of the whole row changes no probability, so what is left of it is
delta_i in d_i, the rounding of the shift, and the factor exp(delta_max) of S against which powers underflow.
A sigmoid loss is that of the row [x, 0]: softplus as max(x, 0) + log1p(exp(-|x|)) is at least as accurate as its
log_softmax, for log1p rounds no sum and nothing else differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reference.arithmetic import Arithmetic
from reference.bounds.running import Running, growth
from reference.formats import Bools, Floats
from reference.problem import Problem


@dataclass(frozen=True, eq=False)
class RowErrors:
    """The error analysis of log_softmax and softmax for all rows of a problem; masked classes have p = 0 and no error."""

    problem: Problem
    arithmetic: Arithmetic

    @cached_property
    def capped(self) -> Running | None:
        """The logits behind the softcap, over T, with the error of computing them; None without a softcap."""
        cap, temperature = self.problem.logit_softcap, self.problem.temperature
        if cap is None:
            return None
        product = self.saturation.scaled(cap)
        return product if temperature == 1.0 else product.scaled(1.0 / temperature)

    @cached_property
    def saturation(self) -> Running:
        """tanh(x/c), from a rounded quotient."""
        assert self.problem.logit_softcap is not None
        ratio = np.abs(self.problem.logits) / self.problem.logit_softcap
        ratio = np.minimum(ratio, np.finfo(np.float64).max)
        quotient = Running.exact(ratio, self.arithmetic).rounded()
        nearest = np.minimum(np.maximum(ratio - quotient.error, 0.0), 700.0)
        moved = np.minimum(quotient.error / np.cosh(nearest) ** 2, 1.0)
        size = np.tanh(ratio)
        faithful = 2 * self.arithmetic.tanh_ulps * self.arithmetic.working.unit_roundoff
        return Running(size, moved + faithful * (size + moved), self.arithmetic).rounded()

    @cached_property
    def logits(self) -> Floats:
        """The rows that the softmax is taken of, before the temperature: [x, 0] for a sigmoid, c tanh(x/c) if capped."""
        given, cap = self.problem.logits, self.problem.logit_softcap
        if self.problem.is_binary:
            return np.hstack([given, np.zeros_like(given)])
        return given if cap is None else cap * np.tanh(given / cap)

    @cached_property
    def logit_error(self) -> Floats:
        """delta_i, (N, K): absolute error of each logit over T before it is shifted."""
        return np.zeros(self.logits.shape) if self.capped is None else self.capped.error

    @property
    def lost(self) -> float:
        """K omega: what S loses where every power underflows."""
        return self.logits.shape[1] * self.arithmetic.underflow

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
        """(N, 1): the maximum over T; 0 in a row without a finite logit."""
        x = np.where(self.finite, self.logits, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
        return np.where(np.isfinite(x), x, 0.0) / self.problem.temperature

    @cached_property
    def gaps(self) -> Floats:
        """|d_i|, (N, K): how far each logit over T lies below the maximum; 0 at masked classes."""
        x = np.where(self.finite, self.logits, -np.inf)
        with np.errstate(invalid="ignore", over="ignore"):
            gap = (x.max(axis=1, keepdims=True) - x) / self.problem.temperature
        return np.where(self.finite, np.minimum(gap, np.finfo(np.float64).max), 0.0)

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
        u = self.arithmetic.working.unit_roundoff * (1 if self.problem.temperature == 1.0 else 2)
        return self.logit_error + u * (self.gaps + self.logit_error + self.shift_error)

    @cached_property
    def power_error(self) -> Floats:
        """eps_i, (N, K): relative error of each E_i."""
        u = self.arithmetic.working.unit_roundoff
        with np.errstate(over="ignore"):
            error = np.expm1(self.gap_error) + 2 * self.arithmetic.exp_ulps * u * np.exp(self.gap_error)
        # exp(0) is exactly 1, but only where the shift is exact: behind a softcap the computed maximum may be another.
        return np.where((self.gaps == 0) & (self.shift_error == 0), 0.0, error)

    @cached_property
    def sum_error(self) -> Floats:
        """eta, (N, 1): relative error of S."""
        grown = growth(self.arithmetic.working.unit_roundoff, self.depth)
        with np.errstate(invalid="ignore"):
            terms = np.where(self.probabilities > 0, self.probabilities * (self.power_error * (1 + grown) + grown), 0.0)
        lost = self.lost / self.total * np.exp(self.shift_error)
        error = terms.sum(axis=1, keepdims=True) + lost
        return error + self._sum_store * (1 + error)

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
        u = self.arithmetic.working.unit_roundoff
        with np.errstate(divide="ignore", invalid="ignore"):
            # Strictly below 1: a sum that may be off by 100% may be 0, and its logarithm -inf.
            tau = np.where(self.sum_error < 1, -np.log1p(-np.minimum(self.sum_error, 1.0)), np.inf)
        # First the logarithm's own error, which is relative to what it computes, then the store of that.
        tau = tau + 2 * self.arithmetic.log_ulps * u * (self.log_sum + tau)
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
        log_error = self.log_error if self.arithmetic.stores_log_probability else self.unstored_log_error
        alpha = 2 * self.arithmetic.exp_ulps * u
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            near = self.probabilities * (np.expm1(log_error) * (1 + alpha) + alpha)
            far = np.exp(log_error - self.losses) * (1 + alpha)
            quotient = self.probabilities * ((1 + self.power_error) * (1 + eta / np.maximum(1 - eta, 0)) * (1 + u) - 1)
        # From D_i = 1 on p_i itself is the smaller part: the bound is then the largest value, not a difference from p_i.
        logarithmic = np.where(log_error < 1.0, near, far)
        error = np.fmax(logarithmic, np.where(self.probabilities > 0, quotient, 0.0))
        return np.where(self.finite, error + 2 * self.arithmetic.underflow + self.arithmetic.storage_underflow, 0.0)
