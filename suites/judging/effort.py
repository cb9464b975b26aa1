"""How hard a run searches: the number of generated problems per property, operation and dtype, and of rows in bulk."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """Examples of a property; `large` is for problems of very many classes, `rows` for rows that are judged in bulk."""

    name: str
    examples: int
    large: int
    rows: int

    @property
    def is_reduced(self) -> bool:
        """True if a run at this effort cannot say CONFORMS."""
        return self.name == "quick"


EFFORTS: dict[str, Effort] = {
    effort.name: effort
    for effort in (
        Effort("quick", examples=15, large=4, rows=4_000),
        Effort("standard", examples=40, large=8, rows=200_000),
        Effort("thorough", examples=1000, large=200, rows=4_000_000),
    )
}
"""By name; standard is the default."""
