"""Kernels that people use in PyTorch's place, as backends of their own: their operations, PyTorch's way to ask them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any, ClassVar

from adapters.adapter import Adapter
from adapters.operation import Operation
from adapters.script import Asked, Script
from adapters.torch.backend import Differentiated, TorchAdapter, arithmetic_of
from adapters.torch.kernel_scripts import kernel_script
from reference.arithmetic import Arithmetic
from reference.formats import BFLOAT16, FLOAT16, FLOAT32
from reference.quantity import Quantity

FIRST_ORDER = (Quantity.LOSS, Quantity.GRADIENT)

UPCAST = {f.name: replace(arithmetic_of("cpu")[f.name], stores_sum=False) for f in (FLOAT32, FLOAT16, BFLOAT16)}
"""PyTorch's arithmetic of a kernel that casts its logits to float32 and keeps its sums there."""

FLOAT32_LOSS = {fmt.name: {Quantity.LOSS: FLOAT32} for fmt in (FLOAT16, BFLOAT16)}
"""What such a kernel returns of half-precision logits."""


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
        """The operation in the words of its package and PyTorch's; see `Adapter.script`."""
        return kernel_script(self.name, asked, self.device)


def kernel(name: str, formula: str, loss: Any, arithmetic: Mapping[str, Arithmetic], **more: Any) -> Operation:
    """An operation whose backward pass is not differentiable: loss and gradient."""
    return Operation(name, formula, Differentiated(loss), arithmetic, **({"quantities": FIRST_ORDER} | more))
