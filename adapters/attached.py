"""What decorators declare of a kernel is kept on it, the outermost first."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


def attach(kernel: T, attribute: str, declared: object, instead: str) -> T:
    """The kernel with one more declaration; `instead` says what to do where it cannot be declared on the kernel.

    Raises:
      TypeError: the kernel takes no attributes, such as a function written in C.
    """
    try:
        setattr(kernel, attribute, (declared, *attached_to(kernel, attribute)))
    except (AttributeError, TypeError):
        raise TypeError(f"{kernel!r} takes no attributes; {instead}") from None
    return kernel


def attached_to(kernel: object, attribute: str) -> tuple[Any, ...]:
    """What a kernel was declared with, the outermost first; nothing where nothing is declared."""
    declared: tuple[Any, ...] = getattr(kernel, attribute, ())
    return declared
