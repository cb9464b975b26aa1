"""Kernels that people use in PyTorch's place, as backends of their own: their operations, PyTorch's way to ask them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, ClassVar

from adapters.adapter import Adapter
from adapters.backend_torch import Differentiated, TorchAdapter
from adapters.operation import Operation
from adapters.script import Asked, Script
from reference.arithmetic import Arithmetic
from reference.quantity import Quantity

FIRST_ORDER = (Quantity.LOSS, Quantity.GRADIENT)


class TorchKernels(TorchAdapter):
    """A package on top of PyTorch; its version counts first, then PyTorch's.

    A subclass names itself, its package and its operations, each a `Differentiated` loss.
    """

    package: ClassVar[str]
    listed: ClassVar[tuple[Operation, ...]]

    def versions(self) -> dict[str, str]:
        """Versions of what is on trial."""
        return {self.package: version(self.package)} | super().versions()

    def operations(self) -> tuple[Operation, ...]:
        """Its operations, in the order of reports."""
        return self.listed

    def implementation(self, function: Callable[..., Any]) -> tuple[Operation, ...]:
        """None: a callable is judged by --backend=torch."""
        return Adapter.implementation(self, function)

    def script(self, asked: Asked) -> Script | None:
        """None: they have no reproducers yet."""
        return Adapter.script(self, asked)


def kernel(name: str, formula: str, loss: Any, arithmetic: dict[str, Arithmetic], **more: Any) -> Operation:
    """An operation whose backward pass is not differentiable: loss and gradient."""
    return Operation(name, formula, Differentiated(loss), arithmetic, **({"quantities": FIRST_ORDER} | more))
