"""Results that are declared to be returned in a wider format than the logits: judged in it, and never in a narrower one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from adapters.adapter import Call, Result
from adapters.limits import Limit
from adapters.numpy.backend import NumpyAdapter
from adapters.operation import Operation
from adapters.question import Question
from reference import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, Arithmetic, Problem
from reference.formats import Format
from reference.grades import Grade
from reference.problem import layer_of
from reference.quantity import SUMMED_GRADIENTS, Quantity
from suites.judging.claims import Claims
from suites.judging.effort import EFFORTS
from suites.judging.judge import Judge, Plan
from suites.judging.measurement import Measurement
from tests.command import first_failures, run_here
from tests.layers import picking
from tests.planted.trial import FOLDER
from tests.test_reproducers import run_all

KERNELS = FOLDER / "returned.py"
IN_FLOAT32 = Limit("the loss is kept as it is computed", returns={"loss": "float32"})
HALF = ("--dtype=bfloat16", "--claim=stable", "--effort=quick")
CLAIMS = '[[limit]]\noperations = ["*"]\nreason = "as computed"\nreturns = { loss = "float32" }\n'
ROUNDED_FIRST = """
import torch


def kernel(input, target, **options):
    return torch.nn.functional.cross_entropy(input.float(), target, **options).to(input.dtype).float()
"""


def options(name: str, *more: str) -> tuple[str, ...]:
    """A run of a kernel of `tests/planted/returned.py`."""
    pytest.importorskip("torch")
    return ("--backend=torch", f"--implementation={KERNELS}:{name}", *HALF, *more)


def test_an_honest_kernel_that_declares_a_float32_loss_passes(tmp_path: Path) -> None:
    status, output = run_here(*options("declared", f"--report={tmp_path}"))
    assert status == 0, output
    written = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert all("; loss returned in float32, and judged so: the loss is kept" in limit["text"] for limit in written["limits"])
    returned = {(result["quantity"], result["returned_dtype"]) for result in written["results"]}
    assert returned == {("loss", "float32"), *((q, "bfloat16") for q in ("gradient", "hessian", "hvp"))}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rounded_first", "claim 'stable' allows"),
        (
            "undeclared",
            'loss: returned loss as float32, asked for bfloat16; if that is meant so, declare returns={"loss": "float32"}',
        ),
        ("sometimes", "loss: returned loss as bfloat16, asked for float32; claim"),
    ],
)
def test_what_is_less_than_declared_or_not_declared_is_rejected(name: str, says: str) -> None:
    status, failed = first_failures(*options(name, "-k", "test_loss or test_gradient"))
    assert status == 1
    assert says in failed["test_loss"]


@pytest.mark.parametrize("more", [(), ("--isolate",)], ids=["here", "isolated"])
def test_a_claims_file_declares_it_too(more: tuple[str, ...], tmp_path: Path) -> None:
    claims = tmp_path / "claims.toml"
    claims.write_text(CLAIMS)
    status, output = run_here(*options("undeclared", f"--claims={claims}", "--case=absorption/*", *more))
    assert status == 0, output
    assert "within declared limits" not in output, "nothing is taken away"
    assert "undeclared, undeclared_probabilities: loss returned in float32, and judged so: as computed" in output


def test_a_script_asks_for_the_declared_format(tmp_path: Path) -> None:
    """Of a kernel that imports nothing of this project, as a script does."""
    pytest.importorskip("torch")
    (tmp_path / "kernel.py").write_text(ROUNDED_FIRST)
    (tmp_path / "claims.toml").write_text(CLAIMS)
    given = (f"--implementation={tmp_path}/kernel.py:kernel", f"--claims={tmp_path}/claims.toml", f"--report={tmp_path}")
    status, output = run_here("--backend=torch", *given, *HALF, "--case=absorption/*")
    assert status == 1, output
    ran = run_all(tmp_path)
    assert ran
    assert {name: text for name, (exit_status, text) in ran.items() if exit_status != 1} == {}
    assert all("WRONG" in text for _, text in ran.values())


OTHERS = {
    "numpy": """
import numpy as np


def kernel(logits, labels):
    rows, wide = np.arange(len(labels)), logits.astype(np.float32)
    shifted = wide - wide.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    total = powers.sum(axis=1)
    gradient = powers / total[:, None]
    gradient[rows, labels] -= 1
    return np.log(total) - shifted[rows, labels], gradient.astype(logits.dtype)
""",
    "jax": """
import jax
import jax.numpy as jnp
import optax


def kernel(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)
""",
    "tensorflow": """
import tensorflow as tf


def kernel(labels, logits):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=tf.cast(logits, tf.float32))
""",
}
"""Kernels for the other frameworks that return a float32 loss, and a gradient in the format of the logits."""


@pytest.mark.parametrize("backend", OTHERS)
def test_kernels_for_every_framework_may_declare_it(backend: str, tmp_path: Path) -> None:
    """And their scripts run: a cotangent in the format of the logits is cast to that of the loss."""
    pytest.importorskip(backend)
    (tmp_path / "kernel.py").write_text(OTHERS[backend])
    (tmp_path / "claims.toml").write_text(CLAIMS)
    given = (f"--implementation={tmp_path}/kernel.py:kernel", f"--claims={tmp_path}/claims.toml", f"--report={tmp_path}")
    narrow = ("--dtype=bfloat16", "--effort=quick")
    status, output = run_here(f"--backend={backend}", *given, *narrow, "--case=absorption/*", "--claim=stable")
    assert status == 0, output
    assert "passed" in output
    status, output = run_here(
        f"--backend={backend}", *given, *narrow, f"--case={'*' if backend == 'numpy' else 'underflow/*'}", "--claim=correct"
    )
    assert status == 1, output
    ran = run_all(tmp_path)
    assert any("-gradient" in name for name in ran)
    assert {name: text for name, (exit_status, text) in ran.items() if exit_status != 1} == {}


class Layer(NumpyAdapter):
    """A linear layer whose weights are kept in float32, as autocast keeps them: so is their gradient."""

    coarse = False

    def call(self, question: Question) -> Call:
        problem, asked = question.problem, question.problem.format
        slopes = softmax(problem.logits, axis=1) - np.eye(problem.num_classes)[problem.target]
        features = layer_of(problem).features
        values = {Quantity.WEIGHT_GRADIENT: slopes.T @ features, Quantity.BIAS_GRADIENT: slopes.sum(axis=0)}
        formats = {Quantity.WEIGHT_GRADIENT: FLOAT32, Quantity.BIAS_GRADIENT: asked}
        stored = {q: asked.round(v) if self.coarse else v for q, v in values.items()}
        return Call({q: Result(formats[q].round(v), formats[q].name, "cpu") for q, v in stored.items()})


def measured(adapter: Layer, *declared: Limit) -> dict[Quantity, Measurement]:
    """Both gradients of the layer for bfloat16 logits."""
    (absorbing,) = [op for op in adapter.operations() if op.name == "absorption_free"]
    layer = replace(absorbing, quantities=SUMMED_GRADIENTS).within(declared, "cpu")
    problem = picking([[0.0, 1.0, 3.0], [2.0, 0.5, 0.0]], [1, 2], BFLOAT16, [1.5, 0.75])
    judge = Judge(Plan(adapter, (layer,), (BFLOAT16,), (), (), Claims(), EFFORTS["quick"], 0, "pytest suites/"))
    return {m.quantity: m for m in judge.measure(Question(layer, problem, SUMMED_GRADIENTS))}


def test_the_gradient_of_weights_is_declared_alone() -> None:
    adapter, wide = Layer(), Limit("master weights", returns={"weight_gradient": "float32"})
    right = measured(adapter, wide)
    assert {str(q): m.judged.format for q, m in right.items()} == {"weight_gradient": FLOAT32, "bias_gradient": BFLOAT16}
    assert {m.grade for m in right.values()} == {Grade.CORRECT}
    assert 'if that is meant so, declare returns={"weight_gradient": "float32"}' in str(
        measured(adapter)[Quantity.WEIGHT_GRADIENT].error
    )
    adapter.coarse = True
    coarse = measured(adapter, wide)
    assert coarse[Quantity.WEIGHT_GRADIENT].grade < Grade.ACCURATE <= coarse[Quantity.BIAS_GRADIENT].grade


def test_a_declaration_is_no_limit_of_what_is_asked() -> None:
    operation = Operation("f", "f(x)", None, {fmt.name: Arithmetic(fmt, fmt) for fmt in (FLOAT64, FLOAT32, BFLOAT16)})
    within = operation.within((IN_FLOAT32,), "cpu")
    assert (within.quantities, set(within.arithmetic)) == (operation.quantities, set(operation.arithmetic))
    assert within.declared_away(operation.quantities, "bfloat16", "cpu") is None
    assert within.problem_declared_away(Problem([[0.0, -np.inf]], [0], BFLOAT16)) is None


@pytest.mark.parametrize(
    ("fmt", "returned"), [(FLOAT64, FLOAT64), (FLOAT32, FLOAT32), (FLOAT16, FLOAT32), (BFLOAT16, FLOAT32)], ids=str
)
def test_only_narrower_logits_are_returned_wider(fmt: Format, returned: Format) -> None:
    """A float32 loss of float64 logits is less than was given, and stays a defect."""
    within = Operation("f", "f(x)", None, {}).within((IN_FLOAT32,), "cpu")
    assert within.returned(Quantity.LOSS, fmt) == returned
    assert within.returned(Quantity.GRADIENT, fmt) == fmt


def test_what_is_returned_wide_is_bound_by_wide_arithmetic() -> None:
    """Where a backend declares that half formats compute in themselves, a float32 loss is bound as of float32 logits."""
    arithmetic = {fmt.name: Arithmetic(fmt, fmt, exp_ulps=exp) for fmt, exp in ((FLOAT32, 3.0), (FLOAT16, 1.0))}
    within = Operation("f", "f(x)", None, arithmetic).within((IN_FLOAT32, Limit("halves", dtypes=("float16",))), "cpu")
    assert within.arithmetic_of(Quantity.LOSS, FLOAT16) == arithmetic["float32"]
    assert within.arithmetic_of(Quantity.GRADIENT, FLOAT16) == arithmetic["float16"]
    alone = Operation("f", "f(x)", None, {"float16": arithmetic["float16"]}).within((IN_FLOAT32,), "cpu")
    assert alone.arithmetic_of(Quantity.LOSS, FLOAT16) == Arithmetic(FLOAT32, FLOAT32)


def test_two_formats_for_a_quantity_are_refused() -> None:
    two = (IN_FLOAT32, Limit("again", returns={"loss": "float64", "gradient": "float32"}))
    with pytest.raises(ValueError, match="limits of f: loss returned in float32 and in float64; allowed: one format for a"):
        Operation("f", "f(x)", None, {}).within(two, "cpu")
    assert Operation("f", "f(x)", None, {}).within((IN_FLOAT32, IN_FLOAT32), "cpu").limits == (IN_FLOAT32, IN_FLOAT32)
