"""Effective weights: index and soft targets, smoothing, class weights, reductions and cotangents reduce to a >= 0 and f.

For every row the loss is  f sum_c a_c (lse(x/d) - x_c/d), where d is the unit T/s of temperature and scale; f is the row's
weight times its cotangent, over what the losses are divided by. All are here twice: as exact rationals, row by row, for the
oracle, and in float64 for all rows (names that end in `_of`), for the bounds, which multiply errors by them.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from flint import fmpq

from reference.formats import Floats
from reference.problem import Problem
from reference.reduction import Reduction


def rational(value: float | Fraction) -> fmpq:
    """The exact rational value of a finite float64, or of a fraction."""
    return fmpq(*value.as_integer_ratio())


def unit(problem: Problem) -> fmpq:
    """T/s, by which the logits are divided; with a softcap each derivative still is, behind the rate of the softcap."""
    return rational(problem.temperature) / rational(problem.logit_scale)


def class_weights(problem: Problem) -> Floats:
    """(K,): the class weights, ones if there are none."""
    return np.ones(problem.num_classes) if problem.class_weights is None else problem.class_weights


def label_mass(problem: Problem, row: int) -> Floats:
    """(K,): the target of a row as probabilities, before smoothing and weights."""
    if problem.has_probabilities:
        return problem.target[row]
    mass = np.zeros(problem.num_classes)
    mass[problem.target[row]] = 1.0
    return mass


def effective_weight(problem: Problem, mass: float, weight: float) -> fmpq:
    """a_c of a class with label mass q_c and class weight w_c: w_c ((1 - s) q_c + s / K).

    That is PyTorch's label smoothing for probabilities and for class indices alike: the smoothed part of the loss is
    weighted by the weight of each class, the rest by the weight of the target.
    """
    if problem.label_smoothing == 0.0:
        return rational(weight) * rational(mass)
    s = rational(problem.label_smoothing)
    return rational(weight) * ((1 - s) * rational(mass) + s / problem.num_classes)


def _counted_weights(problem: Problem) -> Floats:
    """The class weights of the targets of the rows that count; class indices only."""
    return class_weights(problem)[problem.target[~problem.ignored]]


def row_weight(problem: Problem, row: int) -> fmpq:
    """What multiplies the loss of a row."""
    return fmpq(1) if problem.row_weights is None else rational(float(problem.row_weights[row]))


def divisor(problem: Problem) -> fmpq:
    """What the losses are divided by: the normaliser; without one, of a mean its denominator, and 1 of all else."""
    if problem.normaliser is not None:
        return rational(problem.normaliser)
    return _mean_denominator(problem) if problem.reduction is Reduction.MEAN else fmpq(1)


def _mean_denominator(problem: Problem) -> fmpq:
    """What reduction='mean' divides by: the class weights of the rows that count (indices), or N (probabilities)."""
    if problem.has_probabilities:
        return fmpq(problem.num_rows)
    total = sum((Fraction(w) for w in _counted_weights(problem).tolist()), Fraction(0))
    return fmpq(total.numerator, total.denominator)


def row_factors(problem: Problem) -> list[fmpq] | None:
    """The factor f of each row in d<cotangent, loss>: cotangent times row weight over the divisor; None if that is 0."""
    if (by := divisor(problem)) == 0:
        return None
    upstream = np.broadcast_to(problem.upstream, (problem.num_rows,)).tolist()
    return [rational(cotangent) * row_weight(problem, row) / by for row, cotangent in enumerate(upstream)]


def weights_of(problem: Problem) -> Floats:
    """(N, K): effective weights a_c; zero in ignored rows. (N, 2) for the row [x, 0] of a sigmoid loss."""
    if problem.is_binary:
        return np.hstack([problem.positive_weight * problem.target, 1.0 - problem.target])
    weights, classes = class_weights(problem), problem.num_classes
    if problem.has_probabilities:
        mass = problem.target
    else:
        counted = np.where(problem.ignored, 0, problem.target)
        mass = np.where(np.arange(classes) == counted[:, None], 1.0, 0.0)
    s = problem.label_smoothing
    return np.where(problem.ignored[:, None], 0.0, weights * ((1 - s) * mass + s / classes))


def unit_of(problem: Problem) -> float:
    """T/s, or the nearest number > 0 that float64 has."""
    return min(max(problem.temperature / problem.logit_scale, 5e-324), np.finfo(np.float64).max)


def factors_of(problem: Problem) -> Floats:
    """(N, 1): |cotangent| times row weight over the divisor (over infinity where that is 0: nothing is expected there)."""
    return np.abs(upstream_of(problem)) * (row_weights_of(problem) / divisor_of(problem))


def row_weights_of(problem: Problem) -> Floats:
    """(N, 1): what multiplies the loss of each row; ones if there are no row weights."""
    return np.ones((problem.num_rows, 1)) if problem.row_weights is None else problem.row_weights[:, None]


def divisor_of(problem: Problem) -> float:
    """What the losses are divided by; infinity where that is 0."""
    if problem.normaliser is not None:
        return problem.normaliser
    if problem.reduction is not Reduction.MEAN:
        return 1.0
    if problem.has_probabilities:
        return float(problem.num_rows) or np.inf
    total = float(_counted_weights(problem).sum())
    return total if total > 0 else np.inf


def upstream_of(problem: Problem) -> Floats:
    """(N, 1): the cotangent of each row, the same where the loss is reduced."""
    return np.broadcast_to(problem.upstream, (problem.num_rows,))[:, None]


def tangent_of(problem: Problem) -> Floats:
    """(N, K): the tangent; (N, 2) for the row [x, 0], whose 0 does not move."""
    assert problem.tangent is not None
    return np.hstack([problem.tangent, np.zeros_like(problem.tangent)]) if problem.is_binary else problem.tangent
