"""The gradients of a linear layer: sums over the rows or over the classes of the gradient by the logits, times exact numbers.

    dL/dh = g W      dL/dW = g^T h      dL/db = sum_n g_n

Where a row's gradient adds up to 0 (a weighted log-probability, A p - a), the weight of the largest logit's class is
subtracted from W first, which changes no sum: a feature that all classes weigh alike then owes an exact 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from flint import arb, fmpq

from reference.enclosure import Enclosure
from reference.exact.row import Row
from reference.exact.softmax import Term, sum_term
from reference.formats import Floats
from reference.weights import rational

_ZERO = fmpq(0)


@dataclass(frozen=True)
class RowGradient:
    """The gradient of a row by its logits, as terms of its distinct classes."""

    row: Row
    terms: list[Term]


def total_of(terms: Sequence[Term]) -> Term:
    """The sum, its ball of the sign that all balls share; read from the sum where they do not."""
    exact = sum((term.exact for term in terms), _ZERO)
    ball = sum((term.ball for term in terms), arb(0))
    signs = {term.sign for term in terms if not term.ball.is_zero()}
    return Term(exact, ball, signs.pop()) if signs in ({1}, {-1}) else sum_term(exact, ball)


def over_rows(gradients: Sequence[RowGradient], factors: Floats, classes: int) -> Enclosure:
    """(K, D): the sum over the rows of their gradients times the factors (N, D); classes alike in every row are summed once."""
    kinds = np.array([given.row.inverse for given in gradients], dtype=np.intp).reshape(len(gradients), classes)
    kinds, inverse = np.unique(kinds, axis=1, return_inverse=True)
    exact = [[rational(factor) for factor in factors[given.row.index].tolist()] for given in gradients]
    entries = []
    for kind in kinds.T.tolist():
        terms = [given.terms[i] for given, i in zip(gradients, kind, strict=True)]
        for column in range(factors.shape[1]):
            sums = total_of([term.scaled(line[column]) for term, line in zip(terms, exact, strict=True)])
            entries.append(sums.entry())
    each = Enclosure.of(entries, (kinds.shape[1], factors.shape[1]))
    return each[inverse.reshape(-1)]


def over_classes(given: RowGradient, weight: Floats) -> Enclosure:
    """(D,): the sum over the classes of a row's gradient times the weight (K, D)."""
    merged = _merged(given.row, weight)
    sums = [total_of([term.scaled(w) for term, w in zip(given.terms, column, strict=True)]) for column in merged]
    return Enclosure.of([total.entry() for total in sums], (len(sums),))


def _merged(row: Row, weight: Floats) -> list[list[fmpq]]:
    """(D, distinct classes): the weights of the classes that each distinct class stands for, added up."""
    whole = row.problem.is_weighted
    members = np.split(np.argsort(row.inverse, kind="stable"), np.cumsum(row.count)[:-1])
    top = int(np.argmax(row.problem.logits[row.index]))
    columns = []
    for column in weight.T.tolist():
        exact = [rational(w) for w in column]
        less = exact[top] if whole else _ZERO
        columns.append([sum((exact[k] - less for k in places.tolist()), _ZERO) for places in members])
    return columns
