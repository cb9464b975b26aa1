"""The bounds of the vector-Jacobian products of log_softmax, softmax, logsumexp and entropy, as running errors.

    log_softmax  u_i - p_i U, U = sum u      softmax  p_i (u_i - <p, u>)      logsumexp  u p_i
    entropy      u p_i (L_i - H), L = -log p, H = <p, L>

u is exact. What a product is made of has its error from `Analysis`. For `componentwise` its sibling has u_c (1 - p_c) less
p_c sum_{j != c} u_j at the maximum c, and takes u_c off u first for softmax; p_i is at most 1/2 at the others, so that
the terms of u_i - p_i U are at most twice u_i (1 - p_i) and p_i sum_{j != i} |u_j|. In both, and to first order,

    log_softmax  |U| dp_i + p_i h u sum|u| + roundings of p_i, U, p_i U and of the result
    softmax      dp_i (|u_i| + <p, |u|>) + p_i (<dp, |u|> + h u <p, |u|>) + roundings of p_i, <p, u>, the difference, the result
    logsumexp    |u| dp_i + roundings of p_i and of the result
    entropy      |u| times that of softmax with L in the place of u, and the error of L; see `Analysis.entropy_slope`

U may cancel to less than its terms, so its own error is that of sum|u|, and the result's rounding is that of the result.
p_i u_i less p_i <p, u> has no larger an error: it rounds two products of the same sizes in the place of one difference.
(U / S) E_i has none either: it rounds a quotient and a product where p_i U rounds them too. A softcap's rate and s/T multiply
last.
"""

from __future__ import annotations

import numpy as np

from reference.bounds.analysis import Analysis, Direction
from reference.bounds.family import inverses_error
from reference.bounds.running import Running
from reference.quantity import Quantity
from reference.weights import tangent_of, unit_of, upstream_of


def block_product(a: Analysis, quantity: Quantity) -> Running:
    """(N, K): the vector-Jacobian product of a building block; (N, 2) for the row [x, 0]."""
    problem = a.rows.problem
    given = _by_softcapped(a, quantity)
    if problem.logit_softcap is not None:
        given = given.times(a.rate).rounded(2)  # the factors c and 1/c of the chain rule
    if unit_of(problem) == 1.0 and problem.logit_softcap is None:
        return given
    inverse = np.asarray(1.0 / unit_of(problem))
    return given.times(Running(inverse, inverse * inverses_error(a.rows, 1), given.arithmetic))


def _by_softcapped(a: Analysis, quantity: Quantity) -> Running:
    """By the logits behind a softcap and a temperature."""
    if quantity is Quantity.LOGSUMEXP_VJP:
        return a.p.times(a.known(upstream_of(a.rows.problem)))
    if quantity is Quantity.ENTROPY_VJP:
        return a.entropy_slope.times(a.known(upstream_of(a.rows.problem)))
    u = tangent_of(a.rows.problem)
    direction = Direction(u, a.known(u))
    if quantity is Quantity.LOG_SOFTMAX_VJP:
        return a.less_share(direction)
    return a.p.times(a.deviation(direction))
