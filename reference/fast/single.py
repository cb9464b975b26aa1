"""Losses, gradients and Hessian diagonals of rows of at most float32's precision, in float64 with a bound for each entry.

For class indices and cotangent 1. Values are those of `reference.fast.comparison`, whose head derives their errors: relative
to an entry, u (a + |log p_j|) with u = 2^-53 and one number a for the row. A diagonal entry p_j (1 - p_j) is the product of
two of them, of which one has no log p_j: 2 a + 2 instead of a. Sibling: `reference.fast.wide_rows`, for float64, at ten times
the price.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reference.fast.compiled import compiled
from reference.fast.double_double import two_sum
from reference.fast.elementary import LOG1P_ERROR, UNIT, exp_minus, log1p_unit
from reference.fast.sums import LN2_ABOVE, SMALLEST_REST, Rounded, error_of, frame_of
from reference.fast.threads import in_threads
from reference.formats import Bools, Floats, Integers

UNDERFLOW = 2.0**-937
"""Larger than a probability that counts as 0: exp(-LARGEST_GAP)."""

_PAIRS = 512
"""Rows of two classes that are worked on at a time."""


@dataclass(frozen=True, eq=False)
class Certified:
    """Float64 values of N rows, and bounds of their errors; a row that was not taken is NaN (see `certify`).

    `numbers` has a line a row: loss, what its rounding lost, the radius of their sum, and a.
    """

    numbers: Floats
    gradient: Floats
    diagonal: Floats

    @classmethod
    def room_for(cls, count: int, classes: int, diagonal: bool = False) -> Certified:
        """Arrays to be filled, and filled again: memory that is touched for the first time costs more than the values."""
        return cls(np.empty((count, 4)), np.empty((count, classes)), np.empty((count, classes) if diagonal else (0, 0)))

    def rows(self, start: int, stop: int) -> Certified:
        """The part of some rows, in the same memory."""
        return Certified(self.numbers[start:stop], self.gradient[start:stop], self.diagonal[start:stop])

    @property
    def loss(self) -> Floats:
        """(N,): the losses, rounded to float64."""
        return self.numbers[:, 0]

    @property
    def loss_low(self) -> Floats:
        """(N,): what the rounding lost."""
        return self.numbers[:, 1]

    @property
    def loss_radius(self) -> Floats:
        """(N,): absolute error of loss + loss_low at most."""
        return self.numbers[:, 2]

    @property
    def taken(self) -> Bools:
        """Which rows were taken."""
        return ~np.isnan(self.loss)

    def gradient_radius(self) -> Floats:
        """(N, K): absolute error of each gradient entry at most."""
        return _radius(self.gradient, self.numbers[:, 3:])

    def diagonal_radius(self) -> Floats:
        """(N, K): absolute error of each entry of the Hessian's diagonal at most.

        Raises:
          ValueError: it was not asked for.
        """
        if self.diagonal.shape != self.gradient.shape:
            raise ValueError("the diagonal was not computed; ask certify for it with diagonal=True")
        return _radius(self.diagonal, 2 * self.numbers[:, 3:] + 2)


def _radius(values: Floats, roundings: Floats) -> Floats:
    """U (a + |log v|) |v|, |log v| from above by the binade of v."""
    size = np.abs(values)
    _, exponent = np.frexp(size)
    logarithm = LN2_ABOVE * np.maximum(1 - exponent, 0)
    return np.where(size > 0, UNIT * (roundings + logarithm) * size, UNDERFLOW)


@compiled
def _numbers_of(gap: float, lost: float, tail: float, rho: float) -> tuple[float, float, float, float]:
    """A line of `Certified.numbers`, for the loss gap + lost + tail: the gap is exact, the tail known within rho and log1p."""
    loss, low = two_sum(gap, tail)
    radius = UNIT * ((rho + LOG1P_ERROR / UNIT) * tail + 2.0 * (abs(low) + abs(lost)))
    return loss, low + lost, radius, 2.0 * rho + 9.0


@compiled
def _certify(x: Rounded, top: int, target: int, gradient: Floats, diagonal: Floats) -> tuple[float, float, float, float]:
    """Loss in two parts, its radius and the row's a; the gradient, and the diagonal if there is room for it."""
    frame = frame_of(x, top, target, gradient)
    if frame.rest == 0.0:
        gradient[:] = np.nan
        diagonal[:] = np.nan
        return np.nan, np.nan, np.nan, np.nan
    inverse = 1.0 / (1.0 + frame.rest)
    e_target = gradient[target]
    for j in range(diagonal.size):
        diagonal[j] = (gradient[j] * inverse) * ((1.0 + (frame.rest - gradient[j])) * inverse)
    for j in range(gradient.size):
        gradient[j] *= inverse
    if diagonal.size > 0:
        diagonal[top] = inverse * (frame.rest * inverse)
    gradient[top] = inverse
    gradient[target] = -(frame.rest * inverse) if top == target else -((1.0 + (frame.rest - e_target)) * inverse)
    gap, lost = two_sum(np.float64(x[top]), -np.float64(x[target]))
    return _numbers_of(gap, lost, log1p_unit(frame.rest), frame.rho)


@compiled
def _powers_of_pairs(x: Rounded, power: Floats) -> None:
    """Exp of minus the gap of rows of two classes; NaN where a row is not taken."""
    for i in range(x.shape[0]):
        first, second = np.float64(x[i, 0]), np.float64(x[i, 1])
        ordered = first >= second
        e = exp_minus((first if ordered else second) - (second if ordered else first))
        power[i] = e if e >= SMALLEST_REST else np.nan


@compiled
def _tails_of(power: Floats, tail: Floats) -> None:
    for i in range(power.size):
        tail[i] = log1p_unit(power[i])


@compiled
def _certify_pair(x: Rounded, target: int, power: float, tail: float) -> tuple[tuple[float, float, float, float], float]:
    """The row's numbers, and the slope: minus the gradient at the target."""
    first, second = np.float64(x[0]), np.float64(x[1])
    ordered = first >= second
    at_top = ordered == (target == 0)
    gap, lost = two_sum(first if ordered else second, -(second if ordered else first))
    inverse = 1.0 / (1.0 + power)
    numbers = _numbers_of(0.0 if at_top else gap, 0.0 if at_top else lost, tail, error_of(power, 2.0))
    return numbers, power * inverse if at_top else inverse


@compiled
def _certify_pairs(logits: Rounded, target: Integers, numbers: Floats, gradient: Floats, diagonal: Floats) -> None:
    """Rows of two classes, the exponentials and logarithms of many at a time: loops over rows that LLVM vectorises."""
    power, tail = np.empty(_PAIRS), np.empty(_PAIRS)
    for start in range(0, target.size, _PAIRS):
        stop = min(start + _PAIRS, target.size)
        _powers_of_pairs(logits[start:stop], power)
        _tails_of(power[: stop - start], tail)
        for i in range(start, stop):
            e = power[i - start]
            line, slope = _certify_pair(logits[i], target[i], e, tail[i - start])
            numbers[i, 0], numbers[i, 1], numbers[i, 2], numbers[i, 3] = line
            gradient[i, target[i]], gradient[i, 1 - target[i]] = -slope, slope
            if diagonal.shape[0] > 0:
                inverse = 1.0 / (1.0 + e)
                diagonal[i, 0] = diagonal[i, 1] = inverse * (e * inverse)


@compiled
def _certify_many(
    logits: Rounded, target: Integers, tops: Integers, numbers: Floats, gradient: Floats, diagonal: Floats
) -> None:
    """Rows of any number of classes."""
    nowhere = np.empty(0)
    for i in range(target.size):
        row = diagonal[i] if diagonal.shape[0] > 0 else nowhere
        numbers[i, 0], numbers[i, 1], numbers[i, 2], numbers[i, 3] = _certify(logits[i], tops[i], target[i], gradient[i], row)


def _certify_rows(logits: Rounded, target: Integers, found: Certified) -> None:
    if logits.shape[1] == 2:
        _certify_pairs(logits, target, found.numbers, found.gradient, found.diagonal)
    elif len(logits):
        # numpy's argmax is faster than a loop of ours.
        _certify_many(logits, target, logits.argmax(axis=1), found.numbers, found.gradient, found.diagonal)


def certify(
    logits: Rounded, target: Integers, diagonal: bool = False, into: Certified | None = None, threads: int | None = None
) -> Certified:
    """Certified losses (N,), gradients and, on demand, Hessian diagonals (N, K) of softmax cross-entropy.

    Logits (N, K) are float32 or float64 that hold members of a format up to float32; targets (N,) class indices. Rows are left
    out (NaN) that have a NaN or +inf, a masked target, one class that counts, or all gaps beyond 555 (`sums.SMALLEST_REST`).
    `into` is room that is overwritten and returned; `threads` is the number of cores unless given.

    Raises:
      ValueError: `into` has other shapes.

    >>> found = certify(np.array([[20.0, 0.0]], dtype=np.float32), np.array([0]))
    >>> float(found.loss[0]), bool(found.loss_radius[0] < 1e-22)
    (2.061153620314381e-09, True)
    """
    count = len(logits)
    found = Certified.room_for(count, logits.shape[1], diagonal) if into is None else into
    if found.gradient.shape != logits.shape or found.numbers.shape != (count, 4):
        raise ValueError(f"into has room for gradients of shape {found.gradient.shape}; allowed: {logits.shape}")
    in_threads(
        count, lambda start, stop: _certify_rows(logits[start:stop], target[start:stop], found.rows(start, stop)), threads
    )
    return found
