"""Backends for tests: loaded, or the test skipped with the reason."""

from __future__ import annotations

import sys

import pytest

from adapters.adapter import Adapter, AdapterError
from adapters.loading import load_adapter

_WITH_TRITON = ("cce", "liger")


def adapter_or_skip(backend: str) -> Adapter:
    """The adapter of a backend on the CPU; skips the test if its packages are not installed."""
    if backend in _WITH_TRITON and "tensorflow" in sys.modules:
        pytest.skip(f"{backend} loads Triton, which aborts in one process with TensorFlow; run this file alone")
    if backend == "liger" and "triton" in sys.modules and "adapters.kernels.liger" not in sys.modules:
        pytest.skip("liger chooses Triton's interpreter before Triton is loaded; run with -k liger")
    try:
        return load_adapter(backend, "cpu")
    except AdapterError as error:
        pytest.skip(str(error))
