"""The floating-point state in which a backend's or a kernel's own code runs: what it has set itself, each change told once.

A library may set flush-to-zero when it is imported, and a kernel when it is called. Its calls go on in that state, as they
would for its users; ours is the default one (`reference.floating_state`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from reference.floating_state import changes, set_default_state, set_state, state

DEFAULT_STATE = "the default floating-point state"
"""What is told to be set by code that takes back what it has set before."""


@dataclass
class ForeignState:
    """The state that was left, empty where it is the default one; and what is `told` of it, each change once."""

    told: list[str] = field(default_factory=list)
    _left: bytes = b""
    _differs: tuple[str, ...] = ()

    @contextmanager
    def running(self, what: str) -> Iterator[None]:
        """Run code of others: in the state that it has left, which ours does not become.

        Raises:
          StateError: it has left one that cannot be changed back.
        """
        set_state(self._left)
        try:
            yield
        finally:
            if (found := changes()) != self._differs:
                self.hear((f"{what} set {', '.join(found) or DEFAULT_STATE}",))
                self._differs, self._left = found, state() if found else b""
            if found:
                set_default_state()

    def hear(self, told: tuple[str, ...]) -> None:
        """Tell what is not told yet; of code that ran in another process too."""
        self.told += [sentence for sentence in told if sentence not in self.told]
