"""Effective weights: index and soft targets, smoothing, class weights, reductions and cotangents reduce to a >= 0 and f.

For every row the loss is  f sum_c a_c (lse(x) - x_c), with exact rational a and f.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from flint import fmpq

from reference.formats import Floats
from reference.problem import Problem


def rational(value: float) -> fmpq:
    """The exact rational value of a finite float64."""
    return fmpq(*float(value).as_integer_ratio())


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


def mean_denominator(problem: Problem) -> fmpq:
    """What reduction='mean' divides by: the class weights of the rows that count (indices), or N (probabilities)."""
    if problem.has_probabilities:
        return fmpq(problem.num_rows)
    weights = class_weights(problem)[problem.target[~problem.ignored]]
    total = sum((Fraction(w) for w in weights.tolist()), Fraction(0))
    return fmpq(total.numerator, total.denominator)


def row_factors(problem: Problem) -> list[fmpq] | None:
    """F of each row in d<cotangent, loss>: cotangent, divided by the mean's denominator; None if that is 0."""
    if problem.cotangent is None:
        cotangent = [fmpq(1)] * problem.num_rows
    else:
        given = np.broadcast_to(problem.cotangent, (problem.num_rows,))
        cotangent = [rational(c) for c in given.tolist()]
    if problem.reduction != "mean":
        return cotangent
    denominator = mean_denominator(problem)
    return None if denominator == 0 else [c / denominator for c in cotangent]
