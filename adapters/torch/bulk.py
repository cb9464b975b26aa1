"""Many rows through PyTorch without a detour through float64: the fast way of a sweep, bit for bit that of `call`."""

from __future__ import annotations

from time import thread_time

import numpy as np
import torch

from adapters.adapter import Call, Result
from adapters.bulk import Bulk
from adapters.torch.derivatives import by_autograd
from adapters.torch.losses import DTYPES, Loss, Options, Tensor
from reference.floating_state import in_default_state
from reference.formats import FLOAT64
from reference.quantity import Quantity
from reference.reduction import Reduction

_PLAIN = Options(reduction=Reduction.NONE, weight=None, ignore_index=None)


class BulkRun:
    """What `by_autograd` asks of a run, for bulk rows."""

    def __init__(self, bulk: Bulk, device: str) -> None:
        # A copy: a kernel may be declared to overwrite its logits, and the rows are asked again with every other target.
        signed = np.array(bulk.logits, order="C").view(f"int{bulk.format.bits}")
        self.logits = torch.from_numpy(signed).view(DTYPES[bulk.format]).to(device).requires_grad_()
        self.target = torch.full((signed.shape[0],), bulk.target, dtype=torch.int64, device=device)
        self.options = _PLAIN

    def cotangent(self, shape: torch.Size) -> Tensor:
        """Ones of the shape of the losses, in their dtype and on their device."""
        return torch.ones(shape, dtype=self.logits.dtype, device=self.logits.device)

    def tangent(self) -> Tensor:
        """Bulk rows have none."""
        raise NotImplementedError("bulk rows have no tangent")


def bulk_call(loss: Loss, bulk: Bulk, quantities: tuple[Quantity, ...], device: str) -> Call:
    """Run a loss and its derivatives by autograd."""
    run = BulkRun(bulk, device)
    started = thread_time()
    values = by_autograd(loss, run, quantities)
    _finish(run.logits.device)
    seconds = thread_time() - started
    return Call({quantity: _carried(values[quantity], bulk) for quantity in quantities}, seconds=seconds)


def _finish(device: torch.device) -> None:
    """Wait for what a device was told to do: a call returns when its kernels are queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_of(tensor: Tensor) -> str:
    """Its name, as `Adapter.device` has it."""
    return "cpu" if tensor.device.type == "cpu" else str(tensor.device)


@in_default_state
def _carried(tensor: Tensor, bulk: Bulk) -> Result:
    """float32 holds the narrower formats; entries lie apart and rows together, as the sweep reads them."""
    carrier = torch.float64 if bulk.format == FLOAT64 else torch.float32
    wide = tensor.detach().movedim(0, -1).to("cpu", carrier).contiguous().movedim(-1, 0)
    return Result(wide.numpy(), str(tensor.dtype).removeprefix("torch."), device_of(tensor))
