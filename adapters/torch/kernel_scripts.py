"""Kernels on PyTorch as statements of a script: their losses, differentiated in PyTorch's words.

tests/test_reproducers.py holds them to the bits of their adapters.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters.script import Asked, Code, Script, function, wrapped
from adapters.torch.script import ENVIRONMENT, Words, torch_script
from reference.problem import Problem
from reference.reduction import Reduction

_NOTHING_IGNORED = -100


def _ignored(problem: Problem) -> int:
    return _NOTHING_IGNORED if problem.ignored_class is None else problem.ignored_class


def _of_items(call: str) -> Code:
    """A call with {x}, {t}, {items} and {ignored} that divides by the number of items, or where it is None takes the mean."""

    def code(problem: Problem) -> str:
        ignored = _ignored(problem)
        if problem.reduction is not Reduction.NONE:
            items = None if problem.reduction is Reduction.MEAN else 1
            return f"return {call.format(x='x', t='t', items=items, ignored=ignored)}"
        row = call.format(x="x[i : i + 1]", t="t[i : i + 1]", items=1, ignored=ignored)
        return wrapped(f"return torch.stack([{row} for i in range(len(t))])")

    return code


_LIGER_FLOATS = '''
"""Triton's interpreter leaves a number Python's, on which `.to` of a kernel fails; compiled, it is a float32."""
if isinstance(argument, float):
    return tl.tensor(interpreter.TensorHandle(np.array([argument], dtype=np.float32), tl.float32), tl.float32)
return convert(argument)
'''

_LIGER = """
x = {x}
# weight, ignore_index, lse_square_scale, label_smoothing, reduction, softcap
options = ({weight}, {ignored}, {z_loss!r}, {smoothing!r}, "{reduction}", {softcap!r})
with mock.patch.object(interpreter, "_implicit_cvt", as_compiled):
    return LigerCrossEntropyFunction.apply(x, t, *options)[0]
"""


def _liger(copy: str) -> Code:
    """The call for a copy of the logits, over which the kernel writes."""
    return lambda problem: _LIGER.format(
        x=copy,
        weight=None if problem.class_weights is None else "w",
        ignored=_ignored(problem),
        z_loss=problem.z_loss,
        smoothing=problem.label_smoothing,
        reduction=problem.reduction,
        softcap=problem.logit_softcap,
    )


def _cce(problem: Problem) -> str:
    ignored = "" if problem.ignored_class is None else f", ignore_index={problem.ignored_class}"
    options = f'reduction="{problem.reduction}", impl="torch_compile"{ignored}'
    before = (
        "torch.compiler.reset()  # the graphs of other scripts count, should they run in one process\n"
        "identity = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)\n"
    )
    return before + f"return linear_cross_entropy(x, identity, t, {options})"


_CONTIGUOUS = "x.clone(memory_format=torch.contiguous_format)"
_LIGER_IMPORTS = """
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined

import numpy as np
import triton.language as tl
from liger_kernel.ops import LigerCrossEntropyFunction
from triton.runtime import interpreter"""


def _words(package: str, losses: Mapping[str, Code], *imports: str, functions: tuple[str, ...] = ()) -> Words:
    version = f"{package} {{version('{package}')}}"
    return Words(losses, ("from importlib.metadata import version", *imports), functions, f"{version}, {ENVIRONMENT}")


_KERNELS: Mapping[str, Words] = {
    "cce": _words(
        "cut_cross_entropy",
        {"linear_cross_entropy": _cce},
        "",
        "import torch",
        "from cut_cross_entropy import linear_cross_entropy",
    ),
    "liger": _words(
        "liger_kernel",
        {
            "cross_entropy": _liger(_CONTIGUOUS),
            "cross_entropy_z_loss": _liger(_CONTIGUOUS),
            "cross_entropy_of_transposed": _liger("x.T.clone(memory_format=torch.contiguous_format).T"),
        },
        "import os",
        "from unittest import mock",
        _LIGER_IMPORTS,
        functions=(function("as_compiled(argument, convert=interpreter._implicit_cvt)", _LIGER_FLOATS),),
    ),
    "transformers": _words(
        "transformers",
        {
            "fixed_cross_entropy": _of_items("fixed_cross_entropy({x}, {t}, {items}, {ignored})"),
            "causal_lm_loss": _of_items("ForCausalLMLoss({x}, None, x.shape[1], {items}, {ignored}, shift_labels={t})"),
        },
        "",
        "import torch",
        "from transformers.loss.loss_utils import ForCausalLMLoss, fixed_cross_entropy",
    ),
}
"""The words of each backend."""


def kernel_script(backend: str, asked: Asked, device: str) -> Script | None:
    """The script of a quantity on a device; None if the backend has no words."""
    return torch_script(asked, device, _KERNELS[backend]) if backend in _KERNELS else None
