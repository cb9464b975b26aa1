"""What `pip install` gives: the command `softmax-ce`, calls to judge kernels in Python, and below them the whole project.

This folder is installed as the package `softmax_ce_conformance`. The packages `reference`, `adapters` and `suites` are put
inside it, in `tree`. A process that judges finds them there, and no other process sees their names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .call import assert_conforms, judge
    from .compare import Graded, assert_reaches, grades
    from .declare import arithmetic, limits, linear_cross_entropy
    from .run import NotJudgedError
    from .verdict import Failure, Reached, Verdict

_PLACES = {
    "Failure": "verdict",
    "Graded": "compare",
    "NotJudgedError": "run",
    "Reached": "verdict",
    "Verdict": "verdict",
    "arithmetic": "declare",
    "assert_conforms": "call",
    "assert_reaches": "compare",
    "grades": "compare",
    "judge": "call",
    "limits": "declare",
    "linear_cross_entropy": "declare",
}
"""What the package offers, and the file that has it: loaded when it is asked for, since pytest imports the package always."""

__all__ = [
    "Failure",
    "Graded",
    "NotJudgedError",
    "Reached",
    "Verdict",
    "arithmetic",
    "assert_conforms",
    "assert_reaches",
    "grades",
    "judge",
    "limits",
    "linear_cross_entropy",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has: {', '.join(__all__)}")
    return getattr(import_module(f".{_PLACES[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
