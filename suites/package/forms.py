"""Forms in which benchmarks hold kernels, and how a kernel in such a form becomes one that can be judged."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .declare import arithmetic, limits

KERNELBENCH = "kernelbench"
_CLASSES = (8, 128, 1024, 4096)
"""Numbers of classes at which a model is called once, until it answers."""

_MODELS = ("ModelNew", "Model")
"""Classes that a candidate may have, the first that is there."""


def place_in(place: str) -> str:
    """Where a model is of which the file alone is named: the first class of the form's names that it defines."""
    if not place.endswith(".py"):
        return place
    file = Path(place)
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    return f"{place}:{next((name for name in _MODELS if f'class {name}' in text), _MODELS[0])}"


def kernelbench(model: Any) -> Any:
    """A class of KernelBench's form as a kernel: `forward(predictions, targets)` is the mean of class indices.

    Its module may define `get_init_inputs`, whose values the class is made with. Its gradient is judged where the result of
    forward has one, and second derivatives are never asked. Class weights and the like are no part of the form. A model that
    calls what PyTorch makes its cross-entropy of is judged by the arithmetic of that (`composed`).
    """
    import torch

    module = sys.modules[model.__module__]
    made = model(*getattr(module, "get_init_inputs", list)())
    called, order = _first_call(made)

    def kernel(input: torch.Tensor, target: torch.Tensor, *, reduction: str = "mean") -> torch.Tensor:  # noqa: A002, ARG001
        if isinstance(made, torch.nn.Module):
            made.to(input.device)
        answer: torch.Tensor = made(input, target)
        return answer

    kernel.__name__ = model.__name__
    told = f"; it calls {', '.join(called)} of PyTorch" if called else ""
    declare = limits(
        f"KernelBench's form is a mean of class indices{told}",
        reduces="mean",
        targets=["indices"],
        label_dtypes=["int64"],
        options=[],
        derivatives=order,
    )
    return declare(arithmetic(composed=True)(kernel) if called else kernel)


def _first_call(model: Any) -> tuple[list[str], int]:
    """What PyTorch's own cross-entropy is made of that a model calls, and 1 if its result has a gradient, else 0.

    A call that fails says nothing here: it fails again where it is judged.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Heard(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            names.append(str(function).removesuffix(".default"))
            return function(*args, **(kwargs or {}))

    for classes in _CLASSES:
        names: list[str] = []
        logits = torch.zeros(4, classes, requires_grad=True)
        try:
            with Heard():  # type: ignore[no-untyped-call]
                answer = model(logits, torch.arange(4))
        except Exception:  # anyone's code, which may take another number of classes
            continue
        return _of_cross_entropy(names), int(bool(getattr(answer, "requires_grad", False)))
    return [], 1


def _of_cross_entropy(names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if any(part in name for part in ("log_softmax", "nll_loss", "logsumexp"))})


def defaults_of(form: str | None) -> dict[str, Any]:
    """The options of a form where others are not given."""
    return dict(_DEFAULTS.get(form or "", {}))


FORMS: dict[str, Callable[[Any], Any]] = {KERNELBENCH: kernelbench}
"""By the name that --form gives."""

_DEFAULTS: dict[str, dict[str, Any]] = {
    KERNELBENCH: {"like": "torch", "dtype": "float32", "claim": "stable", "isolate": True},
}
"""What its benchmark asks for."""
