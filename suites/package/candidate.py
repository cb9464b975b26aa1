"""A candidate of KernelBench's form in a process that judges: how it is made, what its first calls show, and its kernel."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from adapters.adapter import AdapterError, told
from adapters.blame import place_of
from adapters.loading import MAY_REFUSE, lacks, load_module
from adapters.returned import AnswerError
from adapters.steps import step

T = TypeVar("T")

_CLASSES = (8, 128, 1024, 4096)
_ROWS = (4, 1, 64, 130)
_SCALES = (0.1, 30.0)
"""Numbers of classes and of rows, and sizes of logits, at which a model is called until its result has a gradient."""

_FORM = "--form=kernelbench"
_ALLOWED = "a class ModelNew or Model, whose forward takes (predictions, targets)"


@dataclass(frozen=True)
class Candidate:
    """A class of the form, and the module that may have what it is made with."""

    model: Any
    module: ModuleType | None

    @classmethod
    def of(cls, model: Any) -> Candidate:
        """A class that is at hand."""
        return cls(model, sys.modules.get(getattr(model, "__module__", "")))

    @classmethod
    def at(cls, place: str) -> Candidate:
        """That of path/to/file.py:name or package.module:name.

        Raises:
          AdapterError: it is not there; the message says what is.
        """
        where, _, name = place.rpartition(":")
        module = load_module(where, _FORM)
        if not hasattr(module, name):
            raise AdapterError(f"{_FORM}: {lacks(module, where, name)}; allowed: {_ALLOWED}")
        return cls(getattr(module, name), module)

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return str(self.model.__name__)

    def made(self) -> Any:
        """The model, as the benchmark makes it.

        Raises:
          AdapterError: it is no class, or it or its inputs cannot be made; names its own file and line.
        """
        if not isinstance(self.model, type):
            raise AdapterError(f"{_FORM}: {self.model!r} was given; allowed: {_ALLOWED}")
        given = self._own("get_init_inputs()", getattr(self.module, "get_init_inputs", list))
        return self._own(f"{self.name}()", lambda: self.model(*given))

    def first_calls(self, made: Any) -> tuple[list[str], bool]:
        """What PyTorch's own cross-entropy is made of that a model calls, and whether its result has a gradient.

        It has none if it answers, and if no answer has one. A call that fails says nothing here: it fails where it is judged.
        """
        names: list[str] = []
        seen: set[bool | None] = set()
        for classes, rows, scale in product(_CLASSES, _ROWS, _SCALES):
            self._tell(f"{self.name}.forward at {rows} x {classes}")
            logits = (scale * torch.arange(float(rows * classes)).sin()).reshape(rows, classes)
            seen.add(_has_gradient(made, logits, torch.arange(rows) % classes, names))
            if True in seen:
                break
        return _of_cross_entropy(names), False not in seen or True in seen

    def kernel(self, made: Any, has_gradient: bool) -> Callable[..., torch.Tensor]:
        """A model as a kernel. If its result is said to have no gradient, each call sees to it that this is true."""

        def kernel(input: torch.Tensor, target: torch.Tensor, *, reduction: str = "mean") -> torch.Tensor:  # noqa: A002, ARG001
            if isinstance(made, torch.nn.Module):
                made.to(input.device)
            answer: torch.Tensor = made(input, target)
            if not has_gradient and _has_gradient(made, input.detach(), target, []):
                said = f"{self.name} returned a result with a gradient, and in its first calls none"
                raise AnswerError(f"{said}, so that it is not judged; allowed: a gradient always, or never")
            return answer

        kernel.__name__ = self.name
        setattr(kernel, MAY_REFUSE, False)  # the form has no way to say what a candidate does not take
        return kernel

    @property
    def _file(self) -> Path | None:
        file = getattr(self.module, "__file__", None)
        return None if file is None else Path(file)

    def _tell(self, what: str) -> None:
        step(f"a first call of {what}{f' ({self._file.name})' if self._file else ''}")

    def _own(self, what: str, call: Callable[[], T]) -> T:
        """What a part of it returns."""
        self._tell(what)
        try:
            return call()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # anyone's code, which may call sys.exit too
            line = place_of(error, {str(self._file.resolve())} if self._file else set())
            raise AdapterError(f"{_FORM}: {what} raised {told(error)}{line}") from error


class _Heard(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the names of the operators that are called meanwhile."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._names = names

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._names.append(str(function).removesuffix(".default"))
        return function(*args, **(kwargs or {}))


with _Heard([]):  # the first time imports much of PyTorch: here it is no part of the time that a call may take
    torch.zeros(1)


def _has_gradient(model: Any, logits: torch.Tensor, target: torch.Tensor, names: list[str]) -> bool | None:
    """Whether the result of a model has a gradient; None if it raises. The operators of its forward are noted.

    The result of an autograd.Function without a backward needs a gradient, and raises NotImplementedError where it is taken.
    """
    try:
        with torch.enable_grad(), _Heard(names):
            answer = model(logits.requires_grad_(), target)
        if not getattr(answer, "requires_grad", False):
            return False
        try:
            torch.autograd.grad(answer, logits, allow_unused=True)
        except NotImplementedError:
            return False
        return True
    except KeyboardInterrupt:
        raise
    except BaseException:  # anyone's code, which may take another number of classes, or call sys.exit
        return None


def _of_cross_entropy(names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if any(part in name for part in ("log_softmax", "nll_loss", "logsumexp"))})
