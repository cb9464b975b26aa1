"""Effective weights, factors and denominators in float64: what the bounds multiply errors by (weights.py has them exactly)."""

from __future__ import annotations

import numpy as np

from reference.formats import Floats
from reference.problem import Problem
from reference.weights import class_weights


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


def factors_of(problem: Problem) -> Floats:
    """(N, 1): |cotangent| over the mean's denominator (over infinity where that is 0: nothing is owed there)."""
    return np.broadcast_to(np.abs(problem.upstream) / denominator_of(problem), (problem.num_rows,))[:, None]


def denominator_of(problem: Problem) -> float:
    """What the mean divides by; infinity where that is 0."""
    if problem.reduction != "mean":
        return 1.0
    if problem.has_probabilities:
        return float(problem.num_rows) or np.inf
    total = float(class_weights(problem)[problem.target[~problem.ignored]].sum())
    return total if total > 0 else np.inf


def tangent_of(problem: Problem) -> Floats:
    """(N, K): the tangent; (N, 2) for the row [x, 0], whose 0 does not move."""
    assert problem.tangent is not None
    return np.hstack([problem.tangent, np.zeros_like(problem.tangent)]) if problem.is_binary else problem.tangent
