"""The processor in the words of the frameworks: which vector extension their kernels are chosen for or compiled for."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

_EXTENSIONS = ("avx512f", "avx2", "avx", "sse4_2")
"""As Linux spells them, the widest first; `xla_cpu_max_isa` spells them in capitals and says AVX512 for the first."""

_CPU_FLAGS = Path("/proc/cpuinfo")
_MOST = re.compile(r"--xla_cpu_max_isa=(\w+)")


def widest_extension() -> str:
    """The widest vector extension of this CPU; where it is not an x86 of Linux, the name of its architecture."""
    flags = _CPU_FLAGS.read_text().split() if _CPU_FLAGS.exists() else []
    return next((name for name in ("avx512f", "avx2") if name in flags), platform.machine())


def has_avx512_fp16() -> bool:
    """True if this CPU computes float16: there TensorFlow leaves float16 to oneDNN as well, whatever that is allowed to use.

    With ONEDNN_MAX_CPU_ISA below AVX512_CORE_FP16 oneDNN then refuses, and tf.nn.softmax of float16 raises AbortedError.
    """
    return _CPU_FLAGS.exists() and "avx512_fp16" in _CPU_FLAGS.read_text().split()


def xla_extension() -> str:
    """That for which XLA:CPU compiles: the widest of this CPU, or less where XLA_FLAGS says so.

    XLA does not report it. Its flag `--xla_cpu_max_isa` is the only thing that lowers it; an unknown name changes nothing.
    """
    widest = widest_extension()
    found = _MOST.findall(os.environ.get("XLA_FLAGS", ""))
    most = found[-1].lower().replace("avx512", "avx512f") if found else widest
    if widest not in _EXTENSIONS or most not in _EXTENSIONS:
        return widest
    return _EXTENSIONS[max(_EXTENSIONS.index(widest), _EXTENSIONS.index(most))]


def numpy_level() -> str:
    """The level for which NumPy dispatches exp of float32, such as X86_V4; NPY_DISABLE_CPU_FEATURES lowers it.

    Empty where this NumPy does not say: `numpy.lib.introspect` came with 2.1.
    """
    try:
        from numpy.lib.introspect import opt_func_info
    except ImportError:
        return ""
    signatures = opt_func_info(func_name="^exp$", signature="float32").get("exp", {})
    return next((entry["current"].partition("(")[2].rstrip(")") or entry["current"] for entry in signatures.values()), "")
