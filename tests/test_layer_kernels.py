"""Kernels of the user's that compute a linear layer and its loss in one: what they are given, and what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adapters.limits import Limit
from adapters.linear_layer import linear_cross_entropy
from adapters.loading import load_adapter, operations_on_trial
from adapters.operation import OF_LAYER, Operation
from adapters.question import Question
from adapters.usage import USAGES, Usage
from reference import Arithmetic
from reference.problem import Problem
from reference.quantity import LAYER_GRADIENTS, Quantity
from tests.command import run_here
from tests.documents import ADAPTERS

KERNELS = {
    "torch": """
import torch
import torch.nn.functional as F

from adapters.arithmetic import arithmetic
from adapters.linear_layer import linear_cross_entropy


@linear_cross_entropy
@arithmetic(composed=True)
def honest(features, linear_weight, target, *, linear_bias, **options):
    return F.cross_entropy(F.linear(features, linear_weight, linear_bias), target, **options)


@linear_cross_entropy
@arithmetic(composed=True)
def without_bias(features, linear_weight, target, **options):
    return F.cross_entropy(features @ linear_weight.T, target, **options)


@linear_cross_entropy
class Module(torch.nn.Module):
    def forward(self, features, linear_weight, target, *, linear_bias=None, reduction="mean"):
        return F.cross_entropy(F.linear(features, linear_weight, linear_bias), target, reduction=reduction)


module = Module()


@linear_cross_entropy
def frozen_weight(features, linear_weight, target, **options):
    return F.cross_entropy(features @ linear_weight.detach().T, target, **options)


@linear_cross_entropy
def takes_logits(logits, target, *, reduction):
    return F.cross_entropy(logits, target, reduction=reduction)


@linear_cross_entropy
def overwrites(features, linear_weight, target, **options):
    losses = F.cross_entropy(features @ linear_weight.T, target, **options)
    with torch.no_grad():
        features.mul_(2.0)
    return losses


def undecorated(features, linear_weight, target, *, reduction="mean"):
    return F.cross_entropy(features @ linear_weight.T, target, reduction=reduction)
""",
    "jax": """
import optax

from adapters.arithmetic import arithmetic
from adapters.linear_layer import linear_cross_entropy


@linear_cross_entropy
@arithmetic(composed=True)
def honest(features, weight, labels, bias):
    return optax.softmax_cross_entropy_with_integer_labels(features @ weight.T + bias, labels)


@linear_cross_entropy
def without_bias(features, weight, labels):
    return optax.softmax_cross_entropy_with_integer_labels(features @ weight.T, labels)
""",
    "tensorflow": """
import tensorflow as tf

from adapters.arithmetic import arithmetic
from adapters.linear_layer import linear_cross_entropy


@linear_cross_entropy
@arithmetic(composed=True)
def honest(labels, features, weight, bias):
    logits = tf.matmul(features, weight, transpose_b=True) + bias
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


@linear_cross_entropy
def without_bias(labels, features, weight):
    logits = tf.matmul(features, weight, transpose_b=True)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
""",
    "numpy": """
import numpy as np
from scipy.special import log_softmax

from adapters.linear_layer import linear_cross_entropy


@linear_cross_entropy
def honest(features, weight, labels, cotangent, bias):
    h, w, rows = features.astype(np.float64), weight.astype(np.float64), np.arange(len(labels))
    y = log_softmax(h @ w.T + bias, axis=1)
    slope = np.exp(y) - (np.arange(len(w)) == labels[:, None])
    slope *= cotangent.astype(np.float64)[:, None]
    found = (-y[rows, labels], slope @ w, slope.T @ h, slope.sum(axis=0))
    return tuple(each.astype(features.dtype) for each in found)


@linear_cross_entropy
def without_bias(features, weight, labels, cotangent):
    return honest(features, weight, labels, cotangent, np.zeros(len(weight)))[:3]


@linear_cross_entropy
def returns_one(features, weight, labels, cotangent):
    return np.zeros(len(labels))
""",
}

BIASED = {"features": [[1.0, -1.0], [0.5, 2.0]], "weight": [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.5]], "bias": [0.0, 1.0, -1.0]}


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The file of the kernels of a backend, which is the test's parameter `backend`."""
    backend = request.getfixturevalue("backend")
    pytest.importorskip(backend)
    path = tmp_path / f"layers_of_{backend}.py"
    path.write_text(KERNELS[backend])
    return str(path)


def run(backend: str, place: str, name: str, *options: str) -> tuple[int, str]:
    """Exit status and output of a quick run of one kernel in one format, the narrowest tests first."""
    options = options or ("-k", "test_kinds_of_layers or test_layer_of_many_rows or test_frozen_parts")
    given = (f"--backend={backend}", f"--implementation={place}:{name}", "--claim=stable", "--effort=quick")
    return run_here(*given, "--dtype=float32", *options)


@pytest.mark.parametrize("name", ["honest", "without_bias"])
@pytest.mark.parametrize("backend", KERNELS)
def test_an_honest_kernel_passes(backend: str, place: str, name: str) -> None:
    status, output = run(backend, place, name)
    assert status == 0, output
    assert re.search(r"REDUCED: \d+ tests passed", output)


@pytest.mark.parametrize("backend", KERNELS)
def test_a_kernel_has_the_gradients_of_its_parameters(backend: str, place: str) -> None:
    """One that has no bias is asked for no gradient by it, and no problem that has one."""
    adapter = load_adapter(backend, "cpu")
    honest, without = (operations_on_trial(adapter, f"{place}:{name}")[0] for name in ("honest", "without_bias"))
    assert honest.quantities == OF_LAYER
    assert without.quantities == OF_LAYER[:-1]
    biased = Problem.of_layer(BIASED, [0, 2], "float32")
    assert honest.refusal(biased) is None
    assert without.refusal(biased) == "without_bias has no bias"
    assert without.refusal(biased.replace(logits=None, bias=None)) is None


@pytest.mark.parametrize("backend", ["torch"])
def test_a_module_is_a_kernel(backend: str, place: str) -> None:
    (operation, *_) = operations_on_trial(load_adapter(backend, "cpu"), f"{place}:module")
    assert operation.quantities == OF_LAYER


@pytest.mark.parametrize(
    ("backend", "name", "says"),
    [
        ("torch", "frozen_weight", "weight_gradient: the losses have no graph"),
        ("torch", "takes_logits", "takes_logits does not take what it is called with (array, array, array, reduction=...)"),
        ("torch", "overwrites", "changed its input features"),
        ("torch", "undecorated", "undecorated does not take what it is called with (array, array, reduction=...)"),
        ("numpy", "returns_one", "allowed: (loss, feature_gradient, weight_gradient), 3 arrays in the dtype of the features"),
    ],
)
def test_a_wrong_kernel_is_told_what_is_wrong(backend: str, place: str, name: str, says: str) -> None:
    options = ("-k", "test_gradient") if name == "undecorated" else ("-k", "test_kinds_of_layers")
    status, output = run(backend, place, name, *options)
    assert status == 1
    assert says in " ".join(output.split())


def test_a_layer_without_gradients_is_asked_in_inference_alone() -> None:
    """A limit of derivatives leaves the usages that go back out, as it does for a kernel of logits."""
    whole = Operation("layer", "layer(h, W)", None, {"float32": Arithmetic("float32", "float32")}, OF_LAYER)
    operation = whole.within((Limit("forward only", derivatives=0),), "cpu")
    away = {usage for usage in USAGES if operation.usage_declared_away(usage, "float32", "cpu")}
    assert set(USAGES) - away == {Usage.NO_GRAD, Usage.INFERENCE_MODE}
    assert not any(whole.usage_declared_away(usage, "float32", "cpu") for usage in USAGES)


def test_what_takes_no_attribute_cannot_be_declared() -> None:
    with pytest.raises(TypeError, match="takes no attributes; wrap it in a Python function, and decorate that$"):
        linear_cross_entropy(len)


@pytest.mark.parametrize("backend", ["torch"])
@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_what_is_not_asked_is_not_differentiated(backend: str, place: str, mode: str) -> None:
    """And each gradient alone is what it is beside the others."""
    adapter = load_adapter(backend, "cpu")
    operation = next(each for each in operations_on_trial(adapter, f"{place}:honest") if each.mode == mode)
    problem = Problem.of_layer(BIASED, [0, 2], "float64", cotangent=[2.0, -0.5])
    together = adapter.observe(Question(operation, problem, OF_LAYER))
    assert together.error is None
    assert set(together.values) == set(OF_LAYER)
    for quantity in LAYER_GRADIENTS:
        alone = adapter.observe(Question(operation, problem, (quantity,)))
        assert alone.values[quantity].tolist() == together.values[quantity].tolist()
    assert adapter.observe(Question(operation, problem, (Quantity.LOSS,))).values.keys() == {Quantity.LOSS}


WIDE = """
import torch
import torch.nn.functional as F

from adapters.arithmetic import arithmetic
from adapters.limits import limits
from adapters.linear_layer import linear_cross_entropy


@linear_cross_entropy
@limits("the loss is kept as it is computed", returns={"loss": "float32"})
def undeclared(features, linear_weight, target, **options):
    return F.cross_entropy((features @ linear_weight.T).float(), target, **options)


@linear_cross_entropy
@arithmetic(composed=True)
@limits("the loss is kept as it is computed", returns={"loss": "float32"})
def composed(features, linear_weight, target, **options):
    return F.cross_entropy((features @ linear_weight.T).float(), target, **options)


@linear_cross_entropy
@arithmetic(layer_logits="bfloat16", dtypes=["bfloat16"])
@limits("the loss is kept as it is computed", returns={"loss": "float32"})
def adds_narrowly(features, linear_weight, target, **options):
    total = features.new_zeros((len(features), len(linear_weight)))
    for h, w in zip(features.T, linear_weight.T):
        total = total + h[:, None] * w
    return F.cross_entropy(total.float(), target, **options)
"""


@pytest.mark.parametrize(("name", "status"), [("composed", 0), ("undeclared", 1), ("adds_narrowly", 1)])
def test_stored_logits_behind_a_wider_loss_are_declared(tmp_path: Path, name: str, status: int) -> None:
    """The usual layer of a language model; a sum of its products that is kept in bfloat16 is no store of a sum."""
    pytest.importorskip("torch")
    path = tmp_path / f"wide_{name}.py"
    path.write_text(WIDE)
    given = ("--backend=torch", f"--implementation={path}:{name}", "--claim=stable", "--effort=quick", "--dtype=bfloat16")
    found, output = run_here(*given, "-k", "test_layer_of_many_rows or test_kinds_of_layers")
    assert found == status, output
    assert ("what   : loss" in output) == bool(status)


@pytest.mark.parametrize(("rows", "status"), [("64", 0), ("1", 1)])
def test_the_example_in_chunks_is_what_its_document_says(tmp_path: Path, rows: str, status: int) -> None:
    """A total of 1025 products is no total in bfloat16; one of 17 is."""
    pytest.importorskip("torch")
    example = ADAPTERS.block("python", "# my_layer_kernel.py").text
    assert "ROWS = 64" in example
    path = tmp_path / f"rows_{rows}.py"
    path.write_text(example.replace("ROWS = 64", f"ROWS = {rows}"))
    given = ("--backend=torch", f"--implementation={path}:my_layer_loss", "--claim=stable", "--effort=quick")
    found, output = run_here(*given, "--dtype=bfloat16", "-k", "test_layer_reduced_over_many_rows")
    assert found == status, output
    assert ("what   : weight_gradient" in output) == bool(status)
