"""The special-value table: what the answer is where a logit is not finite, a row does not count, or nothing is left.

| row                             | loss                    | gradient  | Hessian, hvp | requirement      |
|---------------------------------|-------------------------|-----------|--------------|--------------|
| ignored (any logits)            | 0                       | 0         | 0            | must         |
| any NaN                         | NaN                     | NaN       | NaN          | must         |
| some -inf, some finite          | +inf if a_c > 0 at -inf | A p - a   | with p = 0   | must         |
| one +inf (at j), no NaN         | +inf if a_c > 0 off j,  | A e_j - a | 0            | limit or NaN |
|                                 | else 0                  |           |              |              |
| all -inf                        | NaN                     | NaN       | NaN          | reported     |
| two or more +inf                | NaN                     | NaN       | NaN          | reported     |
| A = 0 with a logit not finite   | 0                       | 0         | 0            | reported     |
| mean of nothing (0 over 0)      | NaN: must               | NaN       | NaN          | reported     |
| a mean that divides more by 0   | +inf: limit or NaN      | NaN       | NaN          | reported     |

| row                     | log_softmax       | softmax   | logsumexp | entropy | requirement                       |
|-------------------------|-------------------|-----------|-----------|---------|-----------------------------------|
| any NaN                 | NaN               | NaN       | NaN       | NaN     | must                              |
| some -inf, some finite  | -inf at -inf      | 0 at -inf | finite    | finite  | must                              |
| one +inf (at j), no NaN | 0 at j, else -inf | e_j       | +inf      | 0       | limit or NaN                      |
| all -inf                | NaN               | NaN       | -inf      | NaN     | reported; logsumexp: limit or NaN |
| two or more +inf        | NaN               | NaN       | +inf      | NaN     | reported; logsumexp: limit or NaN |

Their vector-Jacobian products are numbers wherever the softmax is one, with its p = 0 at -inf and p = e_j at a single +inf, and
else NaN. What is required of them is what is required of the softmax.

-inf is the limit of a class that is removed: continuous, so a number is expected. A single +inf has a limit too, but every
framework documents or returns NaN, so either passes. So it is with a mean, which divides by the weights of the targets: where
those are 0, and label smoothing leaves a loss at other classes, it grows without bound as they go to 0, but who divides both
parts of the loss gets NaN. Where the limit depends on the path nothing is expected; what an operation does is reported.

A sum or a mean over rows of which some are reported is NaN or an infinity, or what the other rows give: the reported ones count
as 0 there, and in what a mean divides by as ever. No other number is a convention. So it is with the sums of a linear layer's
gradient where a mean divides by 0: every row is reported, and they are NaN, an infinity or 0. But a row of NaN makes NaN of
the whole, whatever the others give, and one that is infinite leaves no number either.

The sign of zero is never judged. 0 log 0 = 0: a label of 0 at a logit of -inf adds nothing, nor does such a class to the
entropy, whose derivative by it is 0.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from reference.formats import Floats


class Requirement(IntEnum):
    """What is expected at an entry, from most to least: the value alone, or NaN too, or infinities too, or nothing.

    Where nothing is expected the outcome is only reported.
    """

    MUST = 0
    LIMIT_OR_NAN = 1
    REST_OR_NOT_FINITE = 2
    """The value, which is that of the rows that are defined, or NaN or an infinity."""
    UNSPECIFIED = 3


class RowKind(IntEnum):
    """The rows of the table above, by their logits alone."""

    REGULAR = 0
    """At least one finite logit, the others finite or -inf."""
    NAN = 1
    ONE_POSITIVE_INFINITY = 2
    ALL_MASKED = 3
    MANY_POSITIVE_INFINITIES = 4


REQUIREMENTS: dict[RowKind, Requirement] = {
    RowKind.REGULAR: Requirement.MUST,
    RowKind.NAN: Requirement.MUST,
    RowKind.ONE_POSITIVE_INFINITY: Requirement.LIMIT_OR_NAN,
    RowKind.ALL_MASKED: Requirement.UNSPECIFIED,
    RowKind.MANY_POSITIVE_INFINITIES: Requirement.UNSPECIFIED,
}


def row_kind(logits: Floats) -> RowKind:
    """The kind of one row of logits (K,)."""
    if np.isnan(logits).any():
        return RowKind.NAN
    positive = int(np.count_nonzero(logits == np.inf))
    if positive:
        return RowKind.ONE_POSITIVE_INFINITY if positive == 1 else RowKind.MANY_POSITIVE_INFINITIES
    return RowKind.REGULAR if np.isfinite(logits).any() else RowKind.ALL_MASKED
