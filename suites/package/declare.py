"""What a kernel's file or a call declares of it: the decorators `limits`, `arithmetic` and `linear_cross_entropy`.

Their keys are those of the decorators of the same names in `adapters`, which only a process that judges can import. There
they are these decorators. In any other process, where the same file is imported to train or to be tested, they check nothing
and note what was declared, so that `judge` can send it along.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from .place import TREE

T = TypeVar("T")

_ATTRIBUTE = "__softmax_ce_declared__"
Declared = tuple[str, tuple[Any, ...], Mapping[str, Any]]
"""The name of a decorator, and what it is called with."""


def limits(reason: str, **keys: Any) -> Callable[[T], T]:
    """Decorator: what the kernel does not do, and why.

    >>> @limits("its backward is not differentiable", derivatives=1)
    ... def kernel(input, target): ...
    """
    return _declaring("limits", (reason,), keys)


def arithmetic(**keys: Any) -> Callable[[T], T]:
    """Decorator: the arithmetic of the kernel, by which its bounds are derived.

    >>> @arithmetic(exp_ulps=2.0)
    ... def kernel(input, target): ...
    """
    return _declaring("arithmetic", (), keys)


def linear_cross_entropy(kernel: T) -> T:
    """Decorator: the kernel computes a linear layer too; it is given features and weight in the place of logits."""
    return _declare(kernel, ("linear_cross_entropy", (), {}))


def declared_of(kernel: object) -> tuple[Declared, ...]:
    """What was declared of a kernel in a process that does not judge, the innermost first."""
    found: tuple[Declared, ...] = getattr(kernel, _ATTRIBUTE, ())
    return found


def declare_all(kernel: Any, declared: tuple[Declared, ...]) -> Any:
    """The kernel with all that was declared of it in another process; for a process that judges."""
    for each in declared:
        kernel = _declare(kernel, each)
    return kernel


def _declaring(name: str, given: tuple[Any, ...], keys: Mapping[str, Any]) -> Callable[[T], T]:
    return lambda kernel: _declare(kernel, (name, given, keys))


def _declare(kernel: T, declared: Declared) -> T:
    if _judges():
        return _decorated(kernel, declared)
    setattr(kernel, _ATTRIBUTE, (*declared_of(kernel), declared))
    return kernel


def _judges() -> bool:
    """True of a process that judges: `adapters` is ours."""
    file = getattr(sys.modules.get("adapters"), "__file__", None)
    return file is not None and Path(file).resolve().parents[1] == TREE


def _decorated(kernel: T, declared: Declared) -> T:
    from adapters.arithmetic import arithmetic
    from adapters.limits import limits
    from adapters.linear_layer import linear_cross_entropy

    name, given, keys = declared
    if name == "linear_cross_entropy":
        return linear_cross_entropy(kernel)
    decorators: dict[str, Callable[..., Callable[[T], T]]] = {"limits": limits, "arithmetic": arithmetic}
    return decorators[name](*given, **keys)(kernel)
