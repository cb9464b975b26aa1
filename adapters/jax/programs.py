"""Forgets what JAX has compiled before a process has no memory mappings left.

XLA keeps some 25 mappings for each program that it compiles on a CPU, and Linux gives a process 65530 (vm.max_map_count).
A run of the suite compiles thousands. Once none is left XLA ends the process with a segmentation fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

_MAPPINGS = Path("/proc/self/maps")


@dataclass
class Programs:
    """Counts calls, and at every `interval` looks whether there are more than `most` mappings; elsewhere than on Linux never.

    Between two looks there is room for 500 mappings a call: that is twenty programs.
    """

    most: int = 40_000
    interval: int = 50
    _calls: int = 0

    def make_room(self) -> None:
        """To be called before each call of an operation."""
        self._calls += 1
        if self._calls % self.interval == 0 and mappings() > self.most:
            untyped: Any = jax
            untyped.clear_caches()


def mappings() -> int:
    """How many memory mappings this process has; 0 where the system does not say."""
    if not _MAPPINGS.exists():
        return 0
    with _MAPPINGS.open("rb") as lines:
        return sum(1 for _ in lines)
