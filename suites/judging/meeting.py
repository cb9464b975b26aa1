"""Which pairs of values came together in the problems that an operation was asked, of those that there are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from suites.inputs.pairs import Pair, Pick, pairs_of
from suites.judging.refusals import PassedOver


@dataclass
class Pairs:
    """Those that are owed to an operation in a dtype, and those that it was asked; what it refuses it was not asked."""

    owed: set[Pair] = field(default_factory=set)
    asked: set[Pair] = field(default_factory=set)

    @contextmanager
    def meeting(self, pick: Pick) -> Iterator[None]:
        """Within it a problem is asked for which this was picked."""
        refused = False
        try:
            yield
        except PassedOver:
            refused = True
            raise
        finally:
            if not refused:
                self.asked |= pairs_of(pick)

    @property
    def met(self) -> int:
        """How many of those that are owed were asked."""
        return len(self.owed & self.asked)

    @property
    def missing(self) -> list[str]:
        """The others, in words.

        >>> Pairs({frozenset({("size", "small"), ("reduction", "mean")})}).missing
        ['reduction mean with size small']
        """
        return sorted(" with ".join(f"{axis} {value}" for axis, value in sorted(pair)) for pair in self.owed - self.asked)
