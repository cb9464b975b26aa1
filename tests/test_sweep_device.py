"""Bulk rows on a device, as far as can be told without one: where tensors are made, what is waited for, what is named.

PyTorch's `meta` device has shapes and no numbers: an operation that meets a tensor of the CPU there raises. A fake tensor of
`cuda:1` says of itself what a real one does, and no more; that values come back from a GPU unchanged only a GPU can show.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from adapters.adapter import Result
from adapters.bulk import Bulk
from adapters.torch import bulk as torch_bulk
from adapters.torch.backend import TorchAdapter
from adapters.torch.bulk import BulkRun, bulk_call, device_of
from adapters.torch.derivatives import by_autograd
from reference.formats import FORMATS, Format
from reference.quantity import Quantity

ASKED = (Quantity.LOSS, Quantity.GRADIENT, Quantity.HESSIAN)
BY_AUTOGRAD = [op for op in TorchAdapter().operations() if getattr(op.function, "derivatives", None) is by_autograd]


def rows(fmt: Format, classes: int) -> Bulk:
    return Bulk(np.zeros((5, classes), dtype=fmt.numpy_dtype), 1, fmt)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda f: f.name)
def test_all_is_made_and_returned_on_the_device(fmt: Format, classes: int) -> None:
    operation = next(op for op in BY_AUTOGRAD if op.label == "cross_entropy")
    run = BulkRun(rows(fmt, classes), "meta")
    values = by_autograd(operation.function.loss, run, ASKED)
    assert {run.logits.device.type, run.target.device.type} == {"meta"}
    for order, quantity in enumerate(ASKED):
        assert values[quantity].device.type == "meta", quantity
        assert values[quantity].shape == (5,) + (classes,) * order


def test_a_loss_that_leaves_the_device_is_told() -> None:
    """What the test before this one rests on."""
    with pytest.raises((RuntimeError, NotImplementedError)):
        by_autograd(lambda x, target, options: x.cpu()[:, 0] * 2, BulkRun(rows(FORMATS["float32"], 2), "meta"), ASKED[:2])


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Fake tensors on the devices of a machine with two GPUs; what is done, in its order."""
    done: list[str] = []
    clock = torch_bulk.thread_time

    def tell(what: str, value: object = None) -> object:
        done.append(what)
        return value

    def derivatives(loss: object, run: BulkRun, quantities: tuple[Quantity, ...]) -> dict[Quantity, object]:
        done.append(f"derivatives of {run.logits.device} and {run.target.device}")
        return {quantity: run.logits.detach() for quantity in quantities}

    monkeypatch.setattr(torch_bulk, "by_autograd", derivatives)
    monkeypatch.setattr(torch_bulk, "thread_time", lambda: tell("clock", clock()))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: tell(f"synchronised {device}"))
    monkeypatch.setattr(
        torch_bulk, "_carried", lambda t, bulk: tell(f"brought back from {device_of(t)}", Result(np.zeros(1), "", device_of(t)))
    )
    with FakeTensorMode():
        yield done


def test_a_gpu_is_waited_for_before_the_clock_is_read(fake_cuda: list[str]) -> None:
    call = bulk_call(lambda *_: None, rows(FORMATS["float16"], 2), (Quantity.GRADIENT,), "cuda:1")
    assert fake_cuda == [
        "clock",
        "derivatives of cuda:1 and cuda:1",
        "synchronised cuda:1",
        "clock",
        "brought back from cuda:1",
    ]
    assert call.results[Quantity.GRADIENT].device == "cuda:1"
    assert call.seconds is not None


def test_the_cpu_is_not_waited_for(fake_cuda: list[str]) -> None:
    bulk_call(lambda *_: None, rows(FORMATS["float16"], 2), (Quantity.GRADIENT,), "cpu")
    assert not [what for what in fake_cuda if what.startswith("synchronised")]
    assert fake_cuda[-1] == "brought back from cpu"


def test_a_result_of_another_device_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device that a tensor says it was on is what the protocol is held to."""
    adapter = TorchAdapter()
    operation = next(op for op in BY_AUTOGRAD if op.label == "cross_entropy")
    monkeypatch.setattr(torch_bulk, "device_of", lambda tensor: "cuda:0")
    seen = adapter.observe_bulk(operation, rows(FORMATS["float16"], 2), (Quantity.LOSS,))
    assert any("returned loss on cuda:0, asked for cpu" in violation for violation in seen.violations)
