"""Backends for tests: loaded, or the test skipped with the reason."""

from __future__ import annotations

import sys

import pytest

from adapters.adapter import Adapter, AdapterError
from adapters.loading import load_adapter

_INTERPRETED = ("fla", "liger")
_WITH_TRITON = ("cce", *_INTERPRETED)


def adapter_or_skip(backend: str) -> Adapter:
    """The adapter of a backend on the CPU; skips the test if its packages are not installed."""
    if backend in _WITH_TRITON and "tensorflow" in sys.modules:
        pytest.skip(f"{backend} loads Triton, which aborts in one process with TensorFlow; run this file alone")
    chosen = any(f"adapters.kernels.{name}" in sys.modules for name in _INTERPRETED)
    if backend in _INTERPRETED and "triton" in sys.modules and not chosen:
        pytest.skip(f"{backend} chooses Triton's interpreter before Triton is loaded; run with -k {backend}")
    try:
        return load_adapter(backend, "cpu")
    except AdapterError as error:
        pytest.skip(str(error))
