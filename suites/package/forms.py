"""Forms in which benchmarks hold kernels, and how a kernel in such a form becomes one that can be judged."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from .declare import arithmetic, limits

KERNELBENCH = "kernelbench"
_MODELS = ("ModelNew", "Model")
"""Classes that a candidate may have, the first that is there."""


def place_in(place: str) -> str:
    """Where a model is of which the file alone is named: the first of the form's names that it binds at its top.

    Which of them a file has that cannot be read or binds none is said where it is loaded.
    """
    if not place.endswith(".py"):
        return place
    bound: set[str] = set()
    with suppress(OSError, SyntaxError, ValueError):
        bound.update(_bound(ast.parse(Path(place).read_bytes()).body))
    return f"{place}:{next((name for name in _MODELS if name in bound), _MODELS[0])}"


def _bound(body: Iterable[ast.AST]) -> Iterator[str]:
    """The names that statements bind, those in an `if` or `try` too, but none inside of a class or a function."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.asname or node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        else:
            yield from _bound(ast.iter_child_nodes(node))


def kernelbench(model: Any, place: str | None) -> Any:
    """A class of KernelBench's form as a kernel: `forward(predictions, targets)` is the mean of class indices.

    Its module may define `get_init_inputs`, whose values the class is made with. Its gradient is judged where the result of
    forward has one, and second derivatives are never asked. Class weights and the like are no part of the form, and
    NotImplementedError is a failure like any other. A model that calls what PyTorch makes its cross-entropy of is judged by the
    arithmetic of that (`composed`).

    Arguments:
      model: the class, or None if it is at a place.
      place: path/to/file.py:name, or package.module:name.

    Raises:
      AdapterError: there is no such class, or it cannot be made.
    """
    from .candidate import Candidate  # only a process that judges has what it imports

    candidate = Candidate.at(place) if place is not None else Candidate.of(model)
    made = candidate.made()
    called, has_gradient = candidate.first_calls(made)
    kernel = candidate.kernel(made, has_gradient)
    lacks = "" if has_gradient else "; its result has no gradient, so no gradient was judged"
    calls = f"; it calls {', '.join(called)} of PyTorch" if called else ""
    declare = limits(
        f"KernelBench's form is a mean of class indices{lacks}{calls}",
        reduces="mean",
        targets=["indices"],
        label_dtypes=["int64"],
        options=[],
        derivatives=int(has_gradient),
    )
    return declare(arithmetic(composed=True)(kernel) if called else kernel)


def defaults_of(form: str | None) -> dict[str, Any]:
    """The options of a form where others are not given."""
    return dict(_DEFAULTS.get(form or "", {}))


FORMS: dict[str, Callable[[Any, str | None], Any]] = {KERNELBENCH: kernelbench}
"""By the name that --form gives: what makes a kernel of what is given, or of what is at a place."""

_DEFAULTS: dict[str, dict[str, Any]] = {
    KERNELBENCH: {"like": "torch", "dtype": "float32", "claim": "stable", "isolate": True},
}
"""What its benchmark asks for."""
