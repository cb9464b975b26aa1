"""Keeps what was last analysed of small problems: each of their quantities and grades asks for the same analysis."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache, wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from reference.formats import Floats

KEPT = 4
"""Analyses that are kept of a kind: those of one problem in the arithmetics of one operation."""

LARGEST_KEPT = 2**14
"""Logits of the largest problem whose analysis is kept; those of rows in bulk would fill the memory."""


class HasLogits(Hashable, Protocol):
    """A problem, or what is analysed of it."""

    @property
    def logits(self) -> Floats:
        """(N, K)."""


P = ParamSpec("P")
L = TypeVar("L", bound=HasLogits)
T = TypeVar("T")


def recent(make: Callable[Concatenate[L, P], T]) -> Callable[Concatenate[L, P], T]:
    """Decorator: a function of a problem that gives what it gave, if it was asked the same a moment ago."""
    kept = lru_cache(maxsize=KEPT)(make)

    @wraps(make)
    def of(problem: L, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return (kept if problem.logits.size <= LARGEST_KEPT else make)(problem, *args, **kwargs)  # type: ignore[arg-type]

    return of
