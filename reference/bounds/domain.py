"""The inputs for which a tolerance holds, and what every supremum over them starts from.

Symbols as in row_errors.py. tolerances.py and relative.py are of the two suprema, of `stable` and of `componentwise`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from reference.arithmetic import Arithmetic
from reference.bounds.running import growth, inverse_error
from reference.options import OPTIONS
from reference.reduction import Reduction


@dataclass(frozen=True)
class Domain:
    """The inputs for which a tolerance holds; each limit is a promise of whoever uses it.

    Arguments:
      classes: largest K.
      gap: largest G >= 0 between the maximum and a finite logit of its row. The common offset of a row is free.
      rows: N, the rows that count; they matter where a reduction adds them up.
      reduction: 'none', 'sum' or 'mean', of the loss.
      plain: True for class indices alone, False for probabilities, label smoothing or class weights.
      tangent: largest |v_i| of the direction of a Hessian-vector product.

    Raises:
      ValueError: a limit is not allowed.
    """

    classes: int
    gap: float
    rows: int = 1
    reduction: Reduction = Reduction.NONE
    plain: bool = True
    tangent: float = 1.0

    def __post_init__(self) -> None:
        if self.classes < 1 or self.rows < 1:
            raise ValueError(f"classes is {self.classes} and rows is {self.rows}; allowed: numbers >= 1")
        if not (0.0 <= self.gap < math.inf and 0.0 <= self.tangent < math.inf):
            raise ValueError(f"gap is {self.gap} and tangent is {self.tangent}; allowed: finite numbers >= 0")
        object.__setattr__(self, "reduction", OPTIONS["reduction"].checked(self.reduction))


@dataclass(frozen=True)
class OverDomain:
    """A declared arithmetic on a domain."""

    declared: Arithmetic
    domain: Domain

    @cached_property
    def arithmetic(self) -> Arithmetic:
        """What is computed in before a result is stored, where that is the only store."""
        return self.declared.inside

    @cached_property
    def _depth(self) -> int:
        return self.arithmetic.summation.depth(self.domain.classes)

    @cached_property
    def _u(self) -> float:
        return self.arithmetic.working.unit_roundoff

    @cached_property
    def _alpha(self) -> float:
        return 2 * self.arithmetic.exp_ulps * self._u

    @cached_property
    def _scaled(self) -> float:
        """(1 + u)^2 - 1: what the constant and the product of base 2 add to an exponent, relative to it."""
        return growth(self._u, 2) if self.arithmetic.base_2 else 0.0

    @cached_property
    def _rescalings(self) -> int:
        return self.arithmetic.summation.rescalings(self.domain.classes)

    @cached_property
    def _exponent_unit(self) -> float:
        """Relative error of the exponent of a power: that of its gap, and of its product in base 2."""
        return self._u + self._scaled * (1 + self._u)

    def _lost_exponent(self, parts: int) -> float:
        """What products of base 2 lose to underflow, as a factor less 1."""
        return math.expm1(parts * self.arithmetic.rounding_underflow) if self.arithmetic.base_2 else 0.0

    @cached_property
    def _sum_growth(self) -> float:
        """What adding up the powers costs, relative to them."""
        return growth(self._u, self.arithmetic.summation.depth_of_powers(self.domain.classes))

    def _stretched(self, rescaled: int) -> float:
        """What exps and products may add to a power beside its gap, relative to it."""
        exps = (1 + rescaled) * math.log1p(self._alpha) + rescaled * math.log1p(self._u)
        return math.expm1(exps) + math.exp(exps) * self._lost_exponent(1 + rescaled)

    @property
    def _mean_inverse(self) -> float:
        """Relative error of a rounded 1/N, by which a mean may be multiplied."""
        mean = self.domain.reduction is Reduction.MEAN
        return inverse_error(self.arithmetic, self.domain.rows) if mean else 0.0
