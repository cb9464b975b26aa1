"""The floating-point state in which a backend's or a kernel's own code runs: what it has set itself, told once a change.

A library may set flush-to-zero when it is imported, and a kernel when it is called. Its calls go on in that state, as they
would for its users; ours is the default one (`reference.floating_state`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from reference.floating_state import changes, set_default_state, set_state, state


@dataclass
class ForeignState:
    """The state that was left, empty where it is the default one; and what is `told` of it, a sentence a change."""

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
                self.told.append(f"{what} set {', '.join(found) or 'the default floating-point state'}")
                self._differs, self._left = found, state() if found else b""
            if found:
                set_default_state()

    def hear(self, told: tuple[str, ...]) -> None:
        """Take over what was told of code that ran in another process."""
        self.told += [sentence for sentence in told if sentence not in self.told]
