"""The adapter of a kernel that people use in PyTorch's place: a backend of its own, differentiated and asked as PyTorch is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any, ClassVar

from adapters.adapter import Adapter
from adapters.operation import OF_LAYER, Operation
from adapters.question import Question
from adapters.script import Code, Script
from adapters.torch.backend import Differentiated, TorchAdapter, arithmetic_of
from adapters.torch.derivatives import by_layer
from adapters.torch.layers import LayerLoss
from adapters.torch.script import ENVIRONMENT, Words, torch_script
from adapters.usage import PLAIN_ONLY, Usage
from reference.arithmetic import Arithmetic
from reference.formats import BFLOAT16, FLOAT16, FLOAT32
from reference.quantity import Quantity

FIRST_ORDER = (Quantity.LOSS, Quantity.GRADIENT)

UPCAST = {f.name: replace(arithmetic_of("cpu")[f.name], stores_sum=False) for f in (FLOAT32, FLOAT16, BFLOAT16)}
"""PyTorch's arithmetic of a kernel that casts its logits to float32 and keeps its sums there."""

BEHIND_LAYER = {name: replace(kind, layer_logits=kind.storage) for name, kind in UPCAST.items()}
"""That of such a kernel behind a layer, which stores the logits that are cast."""


class TorchKernels(TorchAdapter):
    """A package on top of PyTorch; its version counts first, then PyTorch's.

    A subclass names itself, its package and its operations, each a `Differentiated` loss.
    """

    package: ClassVar[str]
    listed: ClassVar[tuple[Operation, ...]]
    words: ClassVar[Words | None] = None
    """Its words for reproducers, made by `package_words`; None if it has none."""

    def versions(self) -> dict[str, str]:
        """Versions of what is on trial."""
        return {self.package: version(self.package)} | super().versions()

    def operations(self) -> tuple[Operation, ...]:
        """Its operations, in the order of reports."""
        return self.listed

    def implementation(self, function: Callable[..., Any]) -> tuple[Operation, ...]:
        """None: a callable is judged by --backend=torch."""
        return Adapter.implementation(self, function)

    def usages(self, operation: Operation) -> tuple[Usage, ...]:  # noqa: ARG002
        """Plain calls alone: what their claims rest on."""
        return PLAIN_ONLY

    def script(self, asked: Question) -> Script | None:
        """The operation in the words of its package and PyTorch's; see `Adapter.script`."""
        return None if self.words is None else torch_script(asked, self.device, self.words)


def package_words(package: str, losses: Mapping[str, Code], imports: Sequence[str], functions: Sequence[str] = ()) -> Words:
    """The words of a package: its losses by operation, its imports below that of `version`, and what it defines first."""
    environment = f"{package} {{version('{package}')}}, {ENVIRONMENT}"
    return Words(losses, ("from importlib.metadata import version", *imports), functions, environment)


def ignored_or_default(index: int | None) -> int:
    """The class that is ignored; where none is, PyTorch's default, which is no class.

    >>> ignored_or_default(2), ignored_or_default(None)
    (2, -100)
    """
    return -100 if index is None else index


def kernel(name: str, formula: str, loss: Any, arithmetic: Mapping[str, Arithmetic], **more: Any) -> Operation:
    """An operation whose backward pass is not differentiable: loss and gradient."""
    return Operation(name, formula, Differentiated(loss), arithmetic, **({"quantities": FIRST_ORDER} | more))


def layer_kernel(name: str, formula: str, loss: LayerLoss, arithmetic: Mapping[str, Arithmetic], **more: Any) -> Operation:
    """An operation that computes a linear layer too: its loss, and the gradients by features, weight and bias."""
    return Operation(name, formula, Differentiated(loss, by_layer), arithmetic, **({"quantities": OF_LAYER} | more))
