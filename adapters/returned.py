"""Says in a sentence what is wrong with what a kernel returned, or with how it takes what it is called with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import Any


class AnswerError(Exception):
    """A kernel returned what cannot be judged; one line that says what it is, what is allowed and what to do."""


class LackError(AnswerError):
    """A kernel lacks what a limit may declare away: an argument, or a gradient."""


def name_of_kernel(function: object) -> str:
    """What a callable of the user's is called by: its own name, if it has one; a lambda has none.

    >>> name_of_kernel(called), name_of_kernel(lambda: None)
    ('called', 'implementation')
    """
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) and name.isidentifier() else "implementation"


def parameters_of(kernel: Callable[..., Any]) -> Mapping[str, Parameter]:
    """The parameters that a callable can be given by name; of a module, those of its forward.

    >>> list(parameters_of(lambda input, target, /, *more, reduction="mean", **options: None))
    ['reduction']
    """
    try:
        parameters = signature(getattr(kernel, "forward", kernel)).parameters
    except (TypeError, ValueError):  # a function written in C may not say
        return {}
    by_name = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return {name: each for name, each in parameters.items() if each.kind in by_name}


_NEEDS_REDUCTION = "; give it a parameter reduction, which is 'none' where a kernel takes no options"


def called(function: Callable[..., Any], *positional: Any, **named: Any) -> Any:
    """What a kernel returns.

    Raises:
      LackError: it does not take these arguments.
    """
    try:
        return function(*positional, **named)
    except TypeError as error:
        # The call itself is the only frame: not a line of the kernel has run.
        if error.__traceback__ is None or error.__traceback__.tb_next is not None:
            raise
        given = ", ".join([*("array" for _ in positional), *(f"{name}=..." for name in named)])
        said = f"{name_of_kernel(function)} does not take what it is called with ({given}): {error}"
        raise LackError(said + (_NEEDS_REDUCTION if "reduction" in named and "'reduction'" in str(error) else "")) from None


def check_shape(function: object, what: str, given: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Refuse a returned array of another shape.

    Raises:
      AnswerError: the shapes differ.
    """
    if given != wanted:
        raise AnswerError(f"{name_of_kernel(function)} returned {what} of shape {given}, asked for {wanted}")


def refused(function: object, returned: object, allowed: str) -> AnswerError:
    """The error of a kernel that returned something of another kind.

    >>> print(refused(called, None, "a tensor of N losses"))
    called returned None; allowed: a tensor of N losses
    """
    return AnswerError(f"{name_of_kernel(function)} returned {described(returned)}; allowed: {allowed}")


def described(value: object) -> str:
    """A value in a few words, whatever its size.

    >>> described(0.5), described((1, 2)), described(None)
    ('a float', 'a tuple of 2', 'None')
    """
    if value is None:
        return "None"
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    article = "an" if name[0] in "aeiou" else "a"
    return f"{article} {name} of {len(value)}" if isinstance(value, tuple | list | dict) else f"{article} {name}"
