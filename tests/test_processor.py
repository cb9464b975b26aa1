"""The processor as reports name it: by the framework's own words where it has any, and lowered by what lowers the framework."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters import processor
from adapters.adapter import CPU_CAPABILITY
from adapters.processor import numpy_level, widest_extension, xla_extension
from reference.arithmetic import Order
from tests.backends import adapter_or_skip
from tests.command import ROOT


def with_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    listed = tmp_path / "cpuinfo"
    listed.write_text(f"processor : 0\nflags : fpu {flags} sse2\n")
    monkeypatch.setattr(processor, "_CPU_FLAGS", listed)


@pytest.mark.parametrize(
    ("flags", "given", "extension"),
    [
        ("avx avx2 avx512f", "", "avx512f"),
        ("avx avx2", "", "avx2"),
        ("avx avx2 avx512f", "--xla_cpu_max_isa=AVX2", "avx2"),
        ("avx avx2 avx512f", "--xla_cpu_max_isa=AVX512", "avx512f"),
        ("avx avx2 avx512f", "--xla_cpu_max_isa=AVX2 --xla_cpu_max_isa=SSE4_2", "sse4_2"),
        ("avx avx2 avx512f", "--xla_cpu_max_isa=NEON", "avx512f"),
        ("avx avx2", "--xla_cpu_max_isa=AVX512", "avx2"),
    ],
)
def test_xla_compiles_for_the_processor_or_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, given: str, extension: str
) -> None:
    with_flags(tmp_path, monkeypatch, flags)
    monkeypatch.setenv("XLA_FLAGS", given)
    assert xla_extension() == extension


def test_a_processor_without_these_extensions_is_named_by_its_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_flags(tmp_path, monkeypatch, "sse4_2")
    monkeypatch.setattr(processor.platform, "machine", lambda: "aarch64")
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX2")
    assert widest_extension() == xla_extension() == "aarch64"


def test_numpy_says_for_what_it_dispatches_and_what_is_disabled_lowers_it() -> None:
    here = numpy_level()
    if here in ("", "X86_V2"):
        pytest.skip(f"this NumPy dispatches for {here!r}: nothing is there to disable")
    told = subprocess.run(
        [sys.executable, "-c", "from adapters.processor import numpy_level; print(numpy_level())"],
        env=os.environ | {"NPY_DISABLE_CPU_FEATURES": "X86_V4 X86_V3", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "X86_V2"


def test_each_framework_has_a_processor_in_its_versions() -> None:
    adapter = adapter_or_skip("numpy")
    assert adapter.processor == adapter.versions().get(CPU_CAPABILITY, "") == numpy_level()


def test_torch_reports_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = adapter_or_skip("torch")
    import torch

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "ZVECTOR")
    assert adapter.processor == "ZVECTOR"


@pytest.mark.parametrize(
    ("enabled", "flags", "said"),
    [
        (True, "avx2 avx512f avx512_fp16", "avx512f, oneDNN on with avx512_fp16"),
        (True, "avx2 avx512f avx512_bf16", "avx512f, oneDNN on"),
        (True, "avx2", "avx2, oneDNN on"),
        (False, "avx2 avx512f avx512_fp16", "avx512f, oneDNN off"),
    ],
)
def test_tensorflow_says_what_onednn_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, enabled: bool, flags: str, said: str
) -> None:
    adapter = adapter_or_skip("tensorflow")
    from adapters.tensorflow import backend

    with_flags(tmp_path, monkeypatch, flags)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(backend, "IsMklEnabled", lambda: enabled)
    assert adapter.processor == said


def test_jax_is_what_xla_compiles_for() -> None:
    assert adapter_or_skip("jax").processor == xla_extension()


@pytest.mark.parametrize(("capability", "order"), [("AVX512", "lanes"), ("AVX2", "lanes"), ("DEFAULT", "recursive")])
def test_what_torch_compiles_without_vector_extensions_is_one_running_sum(
    monkeypatch: pytest.MonkeyPatch, capability: str, order: str
) -> None:
    """With ATEN_CPU_CAPABILITY=default a row of 1000 logits whose maximum comes first loses all others: 12 false failures."""
    pytest.importorskip("torch")
    backend = importlib.import_module("adapters.torch.backend")
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    eager = backend.arithmetic_of("cpu")["float32"]
    compiled = backend.compiled_arithmetic({"float32": eager}, "cpu")["float32"]
    assert (eager.summation.order, compiled.summation.order) == (Order.LANES, Order[order.upper()])
