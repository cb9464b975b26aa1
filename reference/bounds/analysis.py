"""The parts that every loss is made of, with their running errors: probabilities, log-probabilities, differences of them.

`Analysis` is that of the max-shifted softmax as frameworks compute it, from the errors of row_errors.py: what is subtracted
counts at full size. componentwise.py overrides those parts for the algorithm that subtracts nothing from 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.bounds.recent import recent
from reference.bounds.row_errors import RowErrors
from reference.bounds.running import Running, inverse_error, product
from reference.formats import Bools, Floats
from reference.weights import weights_of

LABEL_ROUNDINGS = 4
"""Label times class weight, 1 - s, s/K, and their sum."""


@dataclass(frozen=True, eq=False)
class Direction:
    """The direction v of a product: its numbers with their signs, and the errors of computing them."""

    values: Floats
    running: Running

    def scaled(self, factor: Running) -> Direction:
        """Each entry times a positive number."""
        return Direction(self.values * factor.size, factor.times(self.running))


@dataclass(frozen=True, eq=False)
class Analysis:
    """The running errors of a problem's rows; with `lift` they get an axis before the classes, one line a direction."""

    rows: RowErrors
    lift: bool = False

    def running(self, size: Floats, error: Floats) -> Running:
        """Numbers of each row with their errors."""
        shape = np.broadcast_shapes(size.shape, error.shape)
        size, error = (self.lifted(np.broadcast_to(part, shape)) for part in (size, error))
        return Running(size, error, self.rows.arithmetic)

    def lifted(self, values: NDArray[Any]) -> NDArray[Any]:
        """Numbers of each row, with the axis of the directions where there is one."""
        return values[:, None, :] if self.lift else values

    def known(self, values: Floats) -> Running:
        """Exact numbers of each row."""
        return self.running(np.abs(values), np.zeros(()))

    @cached_property
    def p(self) -> Running:
        """(N, K): the probabilities as they are stored."""
        return self.running(self.rows.probabilities, self.rows.probability_error).rounded()

    @cached_property
    def log_losses(self) -> Running:
        """(N, K): the losses L of every class, as log_softmax gives them."""
        return self.running(self.rows.losses, self.rows.log_error)

    @cached_property
    def weighted_losses(self) -> Running:
        """(N, 1): sum a_c L_c."""
        return self.weights.times(self.log_losses).summed()

    @cached_property
    def weights(self) -> Running:
        """Effective weights, as computed from labels, class weights and smoothing."""
        return self.known(weights_of(self.rows.problem)).rounded(LABEL_ROUNDINGS)

    @cached_property
    def one_hot(self) -> Running:
        """The target's unit vector; all 0 in an ignored row."""
        return self.known(weights_of(self.rows.problem))

    @cached_property
    def counted(self) -> Running:
        """1 in a row that counts, 0 in an ignored one."""
        return self.known(1.0 - self.rows.problem.ignored[:, None].astype(np.float64))

    @property
    def hot(self) -> Bools:
        """True at the target of a row."""
        return np.asarray(self.one_hot.size > 0)

    def at_target(self, values: Running) -> Running:
        """The entry of each row at its target; picking it rounds nothing."""
        picked = [np.where(self.hot, part, 0.0).sum(-1, keepdims=True) for part in (values.size, values.error)]
        return Running(picked[0], picked[1], values.arithmetic)

    @cached_property
    def lse(self) -> Running:
        """Its terms m + log S: the one place where the offset of a row enters.

        A wrong maximum of a capped row shifts both by the same amount, with opposite signs: it leaves no error.
        """
        top, log_sum = self.rows.top, self.rows.tail
        moved = self.known(top)
        if self.rows.units:
            inverted = moved.size * inverse_error(moved.arithmetic, self.rows.problem.temperature)
            moved = Running(moved.size, inverted, moved.arithmetic).rounded(self.rows.units)
        return moved.plus(self.running(log_sum, self.rows.log_sum_error), self.known(top + log_sum).size)

    @cached_property
    def entropy(self) -> Running:
        """(N, 1): -sum p log p, of log_softmax or of the logarithms of the stored probabilities.

        (p + dp) log(p + dp) is off by at most dp (1 - log p) where the logarithm is of the stored p.
        """
        terms = self.p.times(self._surprises)
        return Running(terms.size, terms.error + self.p.error, terms.arithmetic).summed()

    @cached_property
    def entropy_slope(self) -> Running:
        """(N, K): p (L - <p, L>), to which a backward pass adds p (sum(p) - 1), or dp of a logarithm of the stored p."""
        slope = self.p.times(self.centred(self._surprises))
        excess = self.p.times(Running(np.ones(()), self.p.summed().error, self.p.arithmetic)).rounded(2)
        return slope.plus(Running(np.zeros(()), excess.error + self.p.error, slope.arithmetic), slope.size)

    @cached_property
    def _surprises(self) -> Running:
        """(N, K): L, with the rounding of a logarithm of its own."""
        losses, rounded = self.log_losses, self.rows.log_rounding
        return Running(losses.size, losses.error + product(losses.size + losses.error, np.asarray(rounded)), losses.arithmetic)

    @cached_property
    def total_weight(self) -> Running:
        """(N, 1): A, the sum of the weights."""
        return self.weights.summed()

    def pulled(self, pull: Running | None) -> Running:
        """(N, K): (A + pull) p_i - a_i, the sum of the weights plus what a z-loss adds, times p, less the weight."""
        force = self.total_weight if pull is None else self.total_weight.plus(pull)
        return force.times(self.p).plus(self.weights)

    def deviation(self, v: Direction) -> Running:
        """(N, K): v_i - <p, v>, a rounded difference at full size."""
        return v.running.plus(self.p.times(v.running).summed())

    def centred(self, values: Running) -> Running:
        """(N, K): v_i - <p, v> of computed numbers, a rounded difference at full size."""
        return values.plus(self.p.times(values).summed())

    def less_share(self, u: Direction) -> Running:
        """(N, K): u_i - p_i sum(u), a rounded difference; the sum errs by its terms, whatever they cancel to."""
        total, summed = u.values.sum(-1, keepdims=True), u.running.summed()
        share = self.p.times(Running(np.abs(total), summed.error, summed.arithmetic))
        return u.running.plus(share, np.abs(u.values - self.p.size * total))

    @cached_property
    def miss(self) -> Running:
        """(N, 1): 1 - p_t, a rounded difference, whose size is the sum of the other probabilities."""
        others = np.where(self.hot, 0.0, self.p.size).sum(-1, keepdims=True)
        return Running(others, self.at_target(self.p).error, self.p.arithmetic).rounded()

    @cached_property
    def offset(self) -> Running:
        """(N, K): [i = t] - p_i, of the size of both terms: softmax's backward pass subtracts it so."""
        return self.one_hot.plus(self.p)

    def along(self, v: Direction) -> Running:
        """(N, 1): sum_j (p_j - [j = t]) v_j."""
        return self.offset.times(v.running).summed()

    @cached_property
    def residual(self) -> Running:
        """(N, K): p - q, a rounded difference of the size of its result."""
        given = Running(np.abs(self.p.size - self.one_hot.size), self.p.error, self.p.arithmetic)
        return given.rounded()

    @cached_property
    def saturation(self) -> Running:
        """(N, K): |tanh(s x/c)| of a softcap c."""
        t = self.rows.saturation
        return self.running(t.size, t.error)

    @cached_property
    def rate(self) -> Running:
        """(N, K): the rate 1 - tanh^2 of a softcap, by subtraction: an absolute error, whatever it is."""
        square = self.saturation.times(self.saturation)
        return Running(1.0 - self.saturation.size**2, square.error, square.arithmetic).rounded()


@recent
def analysis_of(rows: RowErrors, lift: bool = False) -> Analysis:
    """The analysis of rows; see `Analysis` for `lift`."""
    return Analysis(rows, lift)
