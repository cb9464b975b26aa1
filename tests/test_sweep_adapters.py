"""Bulk rows through an adapter give the bits that the same problem gives, in the dtype and on the device asked for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from adapters.adapter import Adapter
from adapters.bulk import Bulk
from adapters.numpy.backend import NumpyAdapter
from adapters.question import Question
from reference.formats import FORMATS, Format
from reference.quantity import Quantity

ASKED = (Quantity.LOSS, Quantity.GRADIENT, Quantity.HESSIAN)


def rows(fmt: Format) -> Bulk:
    random = np.random.default_rng(0)
    encodings = random.integers(0, 2**fmt.bits, (2000, 2), dtype=np.uint64).astype(f"uint{fmt.bits}").view(fmt.numpy_dtype)
    logits = np.concatenate([fmt.cast(fmt.round(random.normal(0, 8, (2000, 2)))), encodings])
    return Bulk(logits[np.isfinite(logits.astype(np.float64)).all(axis=1)], 1, fmt)


def compared(adapter: Adapter, fmt: Format, name: str) -> None:
    (operation,) = [op for op in adapter.operations() if op.label == name]
    bulk = rows(fmt)
    asked = tuple(q for q in ASKED if q in operation.quantities)
    fast, slow = adapter.observe_bulk(operation, bulk, asked), adapter.observe(Question(operation, bulk.problem(), asked))
    assert fast.error is None
    assert fast.violations == ()
    for quantity in asked:
        seen = np.asarray(fast.values[quantity], dtype=np.float64)
        assert seen.shape == slow.values[quantity].shape
        assert np.array_equal(seen, slow.values[quantity], equal_nan=True), quantity
        assert np.array_equal(np.signbit(seen), np.signbit(slow.values[quantity])), quantity


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda f: f.name)
def test_numpy(fmt: Format) -> None:
    adapter = NumpyAdapter()
    compared(adapter, fmt, adapter.operations()[0].label)


@pytest.fixture
def torch_adapter() -> Iterator[Adapter]:
    torch = pytest.importorskip("torch")
    from adapters.torch.backend import TorchAdapter

    before = torch.get_num_threads()
    adapter = TorchAdapter()
    adapter.be_single_threaded()
    yield adapter
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["cross_entropy", "logsumexp_gather", "log_softmax_nll_loss@autocast"])
@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda f: f.name)
def test_torch(torch_adapter: Adapter, fmt: Format, name: str) -> None:
    if "autocast" in name and fmt.bits != 16:
        pytest.skip("autocast is of the 16-bit formats")
    compared(torch_adapter, fmt, name)


def test_torch_says_what_it_cannot_take(torch_adapter: Adapter) -> None:
    """An exception of the framework is a finding of bulk rows too."""
    operation = torch_adapter.operations()[0]
    bulk = Bulk(np.zeros((2, 2), dtype=np.float32), 7, FORMATS["float32"])
    assert "IndexError" in (torch_adapter.observe_bulk(operation, bulk, (Quantity.LOSS,)).error or "")
