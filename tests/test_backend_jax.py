"""Tests of the JAX adapter: its modes, formats and derivatives, and what XLA does with indices out of range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax")

import jax
import optax

from adapters.adapter import Adapter, AdapterError
from adapters.jax.backend import ADAPTER
from adapters.jax.programs import Programs, mappings
from adapters.operation import Operation, modes_of
from adapters.question import Question
from reference import FLOAT32, FORMATS, Format, Problem, Quantity
from tests.layers import picking

TABLE = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]])
MODES = ("eager", "compiled")


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    return ADAPTER()


def problem_for(operation: Operation, fmt: Format = FLOAT32, **options: Any) -> Problem:
    target: Any = np.array([0, 2])
    logits = TABLE
    if operation.probabilities:
        target = np.array([[0.5, 0.25, 0.25]] * 2)
    if operation.loss.spec.binary:
        logits, target = TABLE[:, :1], np.array([[1.0], [0.0]])
    options = {"loss": operation.loss, "tangent": np.ones_like(logits)} | options
    if operation.is_layer:
        return picking(logits, target, fmt, [1.0, -2.0], **options)
    return Problem(logits, target, fmt, **options)


def test_modes_are_listed_eager_first(adapter: Adapter) -> None:
    assert modes_of(adapter.operations()) == MODES
    assert next(iter(adapter.versions())) == "jax"


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=str)
def test_every_operation_answers_in_the_format_of_the_logits(adapter: Adapter, fmt: Format) -> None:
    """float64 too: without jax_enable_x64 it would come back as float32. First order only: every quantity is compiled."""
    for operation in adapter.operations():
        problem = problem_for(operation, fmt)
        observed = adapter.observe(Question(operation, problem, operation.asked(problem)[:2]))
        assert observed.error is None, operation.label
        assert observed.violations == ()
        assert all(np.isfinite(values).all() for values in observed.values.values())


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_modes_agree(adapter: Adapter, reduction: str) -> None:
    eager, compiled = adapter.implementation(optax.softmax_cross_entropy_with_integer_labels)
    cotangent = np.array([2.0, -0.5]) if reduction == "none" else np.array(2.0)
    problem = problem_for(eager, reduction=reduction, cotangent=cotangent)
    quantities = eager.asked(problem)
    first, second = (adapter.observe(Question(operation, problem, quantities)) for operation in (eager, compiled))
    for quantity in quantities:
        np.testing.assert_allclose(first.values[quantity], second.values[quantity], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_the_hessian_is_that_of_jax(adapter: Adapter, mode: str) -> None:
    """One direction serves all rows: the blocks of jax.hessian that belong to one row, the others being 0."""
    (operation,) = (o for o in adapter.implementation(optax.softmax_cross_entropy_with_integer_labels) if o.mode == mode)
    problem = problem_for(operation)
    logits, labels = jax.numpy.asarray(TABLE, dtype="float32"), jax.numpy.asarray([0, 2])
    whole = jax.hessian(lambda x: optax.softmax_cross_entropy_with_integer_labels(x, labels).sum())(logits)
    found = adapter.observe(Question(operation, problem, (Quantity.HESSIAN,))).values[Quantity.HESSIAN]
    np.testing.assert_allclose(found, np.stack([whole[0, :, 0], whole[1, :, 1]]), rtol=1e-6, atol=1e-7)
    assert not np.asarray(whole[0, :, 1]).any()


def test_a_basis_that_does_not_fit_is_refused(adapter: Adapter) -> None:
    forward = next(operation for operation in adapter.operations() if operation.name.endswith("_forward"))
    wide = Problem(np.zeros((1, 5000)), np.array([0]), FLOAT32)
    with pytest.raises(NotImplementedError, match="basis of 5000 directions"):
        adapter.observe(Question(forward, wide, (Quantity.GRADIENT,)))


@pytest.mark.parametrize("mode", MODES)
def test_indices_out_of_range_wrap_or_give_nan(adapter: Adapter, mode: str) -> None:
    """-1 is the last class, the next beyond either end is NaN."""
    (operation,) = (o for o in adapter.implementation(optax.softmax_cross_entropy_with_integer_labels) if o.mode == mode)
    assert not operation.can_raise

    def loss(labels: list[int]) -> Any:
        problem = Problem(TABLE, [0, 2], FLOAT32).with_unchecked_target(labels)
        return adapter.observe(Question(operation, problem, (Quantity.LOSS,))).values[Quantity.LOSS]

    np.testing.assert_array_equal(loss([-1, 2]), loss([2, 2]))
    assert np.isnan(loss([3, -4])).all()


def test_what_is_not_callable_is_refused(adapter: Adapter) -> None:
    with pytest.raises(AdapterError, match="is not callable"):
        adapter.implementation(3)  # type: ignore[arg-type]


@pytest.mark.skipif(mappings() == 0, reason="the system does not say how many memory mappings a process has")
def test_compiled_programs_are_forgotten_before_no_mapping_is_left() -> None:
    """Each has some 25; 65530 are the end of the process."""
    adapter = ADAPTER()
    operation = next(op for op in adapter.operations() if op.mode == "compiled" and op.name.endswith("integer_labels"))
    start = mappings()

    def grown(room: Programs, calls: range) -> int:
        adapter._programs = room
        for classes in calls:
            adapter.call(Question(operation, Problem([[0.0] * classes], [0], FLOAT32), (Quantity.LOSS,)))
        return mappings() - start

    assert grown(Programs(), range(2, 12)) > 150
    assert grown(Programs(most=start + 100, interval=2), range(12, 22)) < 150
