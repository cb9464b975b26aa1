"""Tests of the adapters of other kernels: every operation answers in its formats, and what is particular to each.

None is installed in CI; `pip install -e '.[NAME]'` brings one, and its tests run.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from adapters.adapter import Adapter, AdapterError
from adapters.arrays import Inputs
from adapters.isolation import observed_apart
from adapters.loading import backend_names
from adapters.numpy.backend import NumpyAdapter
from adapters.operation import Operation
from adapters.process import Trial
from adapters.question import Question
from reference import FLOAT32, FLOAT64, FORMATS, Problem, Quantity
from reference.evaluation import evaluate
from reference.linear import identity_layer
from tests.backends import adapter_or_skip

CI = ("jax", "numpy", "tensorflow", "torch")
OTHERS = [name for name in backend_names() if name not in CI]
TABLE = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]])
CLOSE = {"float64": 1e-5, "float32": 1e-5, "float16": 4e-3, "bfloat16": 4e-2}
"""Far above what any grade allows: these tests ask whether the right thing is computed, the suites how well."""


def problem_for(operation: Operation, dtype: str) -> Problem:
    target: Any = np.array([[0.5, 0.25, 0.25]] * 2) if operation.probabilities else np.array([0, 2])
    tangent, cotangent = np.ones_like(TABLE) * [1, -2, 0.5], np.array([2.0, -0.5])
    problem = Problem(TABLE, target, FORMATS[dtype], tangent=tangent, cotangent=cotangent)
    if not operation.is_layer:
        return problem
    return problem.replace(logits=None, tangent=None, **identity_layer(TABLE, np.array([2.0, -1.0])))


def named(adapter: Adapter, name: str) -> Operation:
    return next(operation for operation in adapter.operations() if operation.name == name)


@pytest.mark.parametrize("backend", OTHERS)
def test_every_operation_computes_what_is_asked_in_the_format_of_the_logits(backend: str) -> None:
    adapter = adapter_or_skip(backend)
    for operation in adapter.operations():
        for dtype in operation.arithmetic:
            problem = problem_for(operation, dtype)
            quantities = operation.asked(problem)
            observed = adapter.observe(Question(operation, problem, quantities))
            assert (observed.error, observed.violations) == (None, ()), (operation.name, dtype)
            for quantity, expected in evaluate(problem, quantities).items():
                if operation.name.endswith("_of_transposed") and quantity is Quantity.GRADIENT:
                    continue
                owed = expected.values.approximate()
                np.testing.assert_allclose(observed.values[quantity], owed, rtol=CLOSE[dtype], atol=CLOSE[dtype])


@pytest.mark.parametrize("backend", OTHERS)
def test_its_own_version_counts_first_and_it_takes_no_implementation(backend: str) -> None:
    adapter = adapter_or_skip(backend)
    assert (
        next(iter(adapter.versions()))
        .replace("scikit-learn", "sklearn")
        .replace("cut_cross_entropy", "cce")
        .startswith(adapter.name)
    )
    with pytest.raises(AdapterError, match="takes no --implementation"):
        adapter.implementation(len)


@pytest.mark.parametrize(("backend", "name"), [("sklearn", "half_multinomial_loss"), ("mlx", "cross_entropy")])
def test_an_index_that_ends_the_process_ends_another_one(backend: str, name: str) -> None:
    adapter = adapter_or_skip(backend)
    far = Problem(TABLE[:1], np.array([0]), FLOAT32)
    observed = adapter.observe(Question(named(adapter, name), far.with_unchecked_target([2**31]), (Quantity.LOSS,)))
    assert observed.ended
    assert np.isnan(observed.values[Quantity.LOSS]).all()


def test_an_index_that_is_refused_apart_is_an_error() -> None:
    problem = Problem([[1.0, 2.0]], [0], FLOAT32).with_unchecked_target([7])
    observed = observed_apart(Trial("numpy", "cpu"), named(NumpyAdapter(), "naive"), problem)
    assert observed.error is not None
    assert observed.error.startswith("IndexError: class indices")
    assert not observed.ended


@pytest.mark.parametrize(("backend", "most"), [("lightgbm", 256), ("xgboost", 256)])
def test_the_most_classes_are_a_declared_limit(backend: str, most: int) -> None:
    (operation,) = adapter_or_skip(backend).operations()
    assert operation.within((), "cpu").max_classes == most


def test_inputs_notice_that_they_were_changed() -> None:
    problem = Problem([[1.0, 2.0]], [0], FLOAT32)
    inputs = Inputs(Question(NumpyAdapter().operations()[0], problem, ()))
    inputs.logits[0, 0] = 5.0
    assert inputs.changed() == ("logits",)


def test_ligers_gradient_of_transposed_logits_is_the_logits() -> None:
    """Once it is not, the operation and its deviation can go."""
    adapter = adapter_or_skip("liger")
    operation = named(adapter, "cross_entropy_of_transposed")
    problem = problem_for(operation, "float32").replace(cotangent=None)
    observed = adapter.observe(Question(operation, problem, (Quantity.GRADIENT,)))
    np.testing.assert_array_equal(observed.values[Quantity.GRADIENT], TABLE)


def test_ligers_layer_has_no_gradient_behind_frozen_features() -> None:
    """Once it has, the adapter may freeze them: of a mean or a sum the gradient of the weight is None, without a word."""
    adapter_or_skip("liger")
    torch, ops = importlib.import_module("torch"), importlib.import_module("liger_kernel.ops")
    features, weight = torch.ones(2, 3), torch.eye(3).requires_grad_()
    loss, *_ = ops.LigerFusedLinearCrossEntropyFunction.apply(features, weight, torch.tensor([0, 2]))
    loss.backward()
    assert weight.grad is None


def test_transformers_and_cce_return_float32_for_float64() -> None:
    """Why float64 is not among what they take."""
    for backend in ("transformers", "cce"):
        adapter = adapter_or_skip(backend)
        operation = adapter.operations()[-1]
        assert FLOAT64.name not in operation.arithmetic
        observed = adapter.observe(Question(operation, problem_for(operation, "float64"), (Quantity.LOSS,)))
        assert observed.violations == ("returned loss as float32, asked for float64",)
