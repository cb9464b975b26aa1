"""The contract: what an operation can claim, from 'finite' to 'correct'; each grade includes those before it."""

from __future__ import annotations

from enum import IntEnum

from reference.names import named

ACCURATE_ULPS = 4.0
"""What `accurate` allows, in ulps of an entry's scale: three rounded factors (two powers and a sum) and a quotient of
faithful functions stay below it, a lost term does not."""

FAITHFUL_ULPS = 1.0
"""A faithful result is one of the two neighbours of the true value: less than one ulp away."""

NOT_MEASURED = "not measured"
"""Said in place of a grade where nothing was asked; it is none of them."""


class Grade(IntEnum):
    """What an operation claims, and reaches, for a quantity in a format.

    none      nothing: the operation is a negative control, or known to return NaN or infinity where a number is expected.
    finite    NaN and infinities exactly where the special-value table says; no exception, inputs untouched.
    stable    error within the a priori bound of the max-shifted log-sum-exp in the declared arithmetic (bounds/):
              independent of a common offset of the logits, absolute in the gradient and the Hessian.
    componentwise  nothing absorbed: error within a bound relative to the entry itself (or its terms, where they cancel) that
              grows with its own gap, about c (1 + |d_i|) u: the best that max-shifted arithmetic can promise in the declared
              working precision (bounds/componentwise.py). Where terms do not cancel an error is less than the entry: no 0 but
              by underflow alone, and no wrong sign.
    accurate  error of at most ACCURATE_ULPS ulps of the entry's scale, plus what underflow alone costs; never 0 for a
              value of at least the least subnormal, and never of the other sign than a value that does not round to 0.
              Where the result alone is stored in a narrower format: of its ulps one, the others are of the working format.
    faithful  less than one ulp from the true value.
    correct   the correctly rounded value.
    """

    NONE = 0
    FINITE = 1
    STABLE = 2
    COMPONENTWISE = 3
    ACCURATE = 4
    FAITHFUL = 5
    CORRECT = 6

    @property
    def label(self) -> str:
        """The name that claims files and reports use."""
        return self.name.lower()


_LABELS = {grade.label: grade for grade in Grade}


def grade_named(given: Grade | str) -> Grade:
    """A grade, or the one of that name.

    Raises:
      ValueError: there is none; the message lists those there are.

    >>> grade_named("stable") is grade_named(Grade.STABLE)
    True
    """
    return named(Grade, given, _LABELS)
