"""What the reference expects of a quantity: certified values, the sizes of the terms they are differences of, requirements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reference.enclosure import Enclosure
from reference.formats import Floats


@dataclass(frozen=True)
class Expected:
    """Certified values of a quantity, with the scale of each entry's condition and what is required of it.

    All three have the quantity's shape; `requirement` holds numbers of `Requirement`. `scale` >= |value| is the size of the
    terms whose difference the entry is; where nothing cancels it is |value|. Relative errors are judged against it, because
    no algorithm that rounds its terms can do better.
    """

    values: Enclosure
    scale: Floats
    requirement: NDArray[np.int8]

    def column(self, index: int) -> Expected:
        """A column of a matrix of them."""
        return Expected(self.values[:, index], self.scale[:, index], self.requirement[:, index])
