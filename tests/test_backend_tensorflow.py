"""Tests of the TensorFlow adapter: its modes, what its functions are traced for, and what its declared arithmetic rests on."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import tensorflow as tf

from adapters.adapter import Adapter, AdapterError
from adapters.layout import Layout
from adapters.operation import Operation, modes_of
from adapters.question import Question
from adapters.tensorflow.backend import ADAPTER, MODES, stored_arithmetic
from reference import FLOAT32, FORMATS, Format, Problem, Quantity
from reference.arithmetic import Order
from reference.loss import Loss
from reference.quantity import LAYER_GRADIENTS
from tests.layers import picking

TABLE = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]])
INDICES = Problem(TABLE, [0, 2], FLOAT32, tangent=np.ones((2, 3)))


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    return ADAPTER()


def named(adapter: Adapter, name: str, mode: str) -> Operation:
    return next(o for o in adapter.operations() if (o.name, o.mode) == (name, mode))


def problem_for(operation: Operation, fmt: Format = FLOAT32, **options: Any) -> Problem:
    """One that the operation takes, with every option of the family that it has."""
    target: Any = np.array([[0.5, 0.25, 0.25]] * 2) if operation.probabilities else np.array([0, 2])
    values = {"logit_softcap": 30.0, "z_loss": 0.5, "focusing": 2.0, "positive_weight": 3.0}
    options |= {name: value for name, value in values.items() if name in operation.options}
    if set(operation.quantities) & set(LAYER_GRADIENTS):
        return picking(TABLE, target, fmt, [2.0, -1.0], **options)
    if operation.loss.spec.binary:
        logits, target = np.array([[1.5], [-0.5]]), np.array([[1.0], [0.0]])
        return Problem(logits, target, fmt, loss=operation.loss, tangent=np.ones((2, 1)), **options)
    return Problem(TABLE, target, fmt, loss=operation.loss, tangent=np.ones((2, 3)), **options)


def test_modes_are_listed_eager_first(adapter: Adapter) -> None:
    assert modes_of(adapter.operations()) == MODES == ("eager", "compiled", "xla")
    assert next(iter(adapter.versions())) == "tensorflow"


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=str)
def test_every_operation_answers_in_the_format_it_declares(adapter: Adapter, fmt: Format) -> None:
    """But for Keras' default dtype, which is float32 for float64 logits too: a violation of the protocol.

    And with numbers, but for Keras' KL divergence, whose second derivatives overflow float16.
    """
    for operation in adapter.operations():
        problem = problem_for(operation, fmt)
        observed = adapter.observe(Question(operation, problem, operation.asked(problem)))
        assert observed.error is None
        downcast = operation.name.endswith("default_dtype") and fmt.name == "float64"
        assert observed.violations == (("returned loss as float32, asked for float64",) if downcast else ())
        overflows = operation.name == "keras_kl_divergence" and fmt.name == "float16"
        assert overflows or all(np.isfinite(values).all() for values in observed.values.values())


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_modes_agree(adapter: Adapter, reduction: str) -> None:
    for operation in adapter.operations():
        if operation.has_loss and operation.mode != "eager":
            cotangent = np.array([2.0, -0.5]) if reduction == "none" else np.array(2.0)
            problem = problem_for(operation, reduction=reduction, cotangent=cotangent)
            quantities = operation.asked(problem)
            eager = adapter.observe(Question(named(adapter, operation.name, "eager"), problem, quantities))
            other = adapter.observe(Question(operation, problem, quantities))
            for quantity in quantities:
                np.testing.assert_allclose(other.values[quantity], eager.values[quantity], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layout", Layout)
def test_a_layout_reaches_the_operation(adapter: Adapter, layout: Layout, mode: str) -> None:
    operation = named(adapter, "sparse_softmax_cross_entropy_with_logits", mode)
    plain, laid = (
        adapter.observe(Question(operation, INDICES, (Quantity.LOSS,), each)) for each in (Layout.CONTIGUOUS, layout)
    )
    np.testing.assert_array_equal(laid.values[Quantity.LOSS], plain.values[Quantity.LOSS])


def test_compiled_functions_are_traced_once_for_all_shapes(adapter: Adapter) -> None:
    traces = []

    def counted(labels: Any, logits: Any) -> Any:
        traces.append(logits.shape)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)

    compiled, xla = (o for o in adapter.implementation(counted) if o.mode != "eager")
    for classes in (2, 3, 5):
        problem = Problem(np.zeros((2, classes)), np.array([0, 1]), FLOAT32)
        adapter.observe(Question(compiled, problem, (Quantity.LOSS,)))
    assert len(traces) == 1
    assert not compiled.few_shapes
    assert xla.few_shapes
    assert not xla.can_raise


def test_an_implementation_is_judged_in_every_mode(adapter: Adapter) -> None:
    def mine(labels: Any, logits: Any) -> Any:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)

    operations = adapter.implementation(mine)
    assert [operation.label for operation in operations] == ["mine", "mine@compiled", "mine@xla"]
    for operation in operations:
        observed = adapter.observe(Question(operation, INDICES, operation.asked(INDICES)))
        assert not observed.error
        np.testing.assert_allclose(observed.values[Quantity.HVP], 0.0, atol=1e-6)
    with pytest.raises(AdapterError, match="is not callable"):
        adapter.implementation(3)  # type: ignore[arg-type]


def test_a_changed_input_is_noticed(adapter: Adapter) -> None:
    """Tensors are immutable by agreement only."""

    def overwrite(labels: Any, logits: Any) -> Any:
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        ctypes.memset(np.asarray(memoryview(logits)).ctypes.data, 0, 8)
        return loss

    operation = adapter.implementation(overwrite)[0]
    assert adapter.observe(Question(operation, INDICES, (Quantity.LOSS,))).violations == ("changed its input logits",)


def test_a_loss_of_the_wrong_shape_is_an_error(adapter: Adapter) -> None:
    empty = Problem(np.zeros((0, 3)), np.zeros(0, dtype=np.int64), FLOAT32, reduction="sum")
    operation = named(adapter, "keras_sparse_categorical_crossentropy", "eager")
    assert (
        adapter.observe(Question(operation, empty, (Quantity.LOSS,))).error
        == "ValueError: returned a loss of shape (0,), asked for ()"
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fmt", FORMATS.values(), ids=str)
def test_subnormal_results_are_flushed_where_it_is_declared(adapter: Adapter, fmt: Format, mode: str) -> None:
    gap = np.log(fmt.min_normal) - 1.0
    problem = Problem(fmt.round([[0.0, gap]]), [0], fmt)
    observed = adapter.observe(Question(named(adapter, "softmax", mode), problem, (Quantity.SOFTMAX,)))
    flushed = observed.values[Quantity.SOFTMAX][0, 1] == 0
    assert flushed == stored_arithmetic(mode)[fmt.name].flush_to_zero


@pytest.mark.parametrize("fmt", [f for f in FORMATS.values() if f.name in ("float64", "float32")], ids=str)
@pytest.mark.parametrize("classes", [2, 8, 9, 31, 64, 1000, 4096, 9000])
def test_no_running_sum_of_eigen_is_longer_than_declared(fmt: Format, classes: int) -> None:
    """In 2^p + 1 + ... + 1 each one that is added to the large term is lost, and so is not in the result."""
    summation = stored_arithmetic("eager")[fmt.name].summation
    assert summation.order is Order.LANES
    for place in (0, classes // 2, classes - 1):
        terms = np.ones((1, classes), dtype=fmt.numpy_dtype)
        terms[0, place] = 2.0**fmt.precision
        lost = classes - 1 - (float(tf.reduce_sum(tf.constant(terms), axis=1)[0]) - 2.0**fmt.precision)
        assert lost <= summation.depth(classes)


def test_keras_traced_sees_through_the_softmax(adapter: Adapter) -> None:
    """Eager it clips probabilities and the loss is at most 16.1; traced it finds the logits of the softmax."""
    name = "keras_sparse_categorical_crossentropy_from_probabilities"
    problem = Problem([[0.0, 50.0]], [0], FLOAT32)
    eager, traced = (
        adapter.observe(Question(named(adapter, name, mode), problem, (Quantity.LOSS,))).values[Quantity.LOSS][0]
        for mode in ("eager", "compiled")
    )
    assert eager == pytest.approx(16.118, abs=1e-3)
    assert traced == 50.0


def test_keras_traced_sees_through_the_sigmoid(adapter: Adapter) -> None:
    problem = Problem([[-50.0]], [[1.0]], FLOAT32, loss=Loss.SIGMOID)
    eager, traced = (
        adapter.observe(
            Question(named(adapter, "keras_binary_crossentropy_from_probabilities", mode), problem, (Quantity.LOSS,))
        )
        for mode in ("eager", "compiled")
    )
    assert eager.values[Quantity.LOSS][0] == pytest.approx(16.118, abs=1e-3)
    assert traced.values[Quantity.LOSS][0] == 50.0


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("weighted_cross_entropy_with_logits", {"positive_weight": 2.0}),
        ("keras_binary_focal_crossentropy", {"focusing": 1.0}),
        ("softcap_z_loss", {"z_loss": 0.5, "logit_softcap": 2.0}),
    ],
)
def test_options_of_the_family_reach_the_framework(adapter: Adapter, name: str, option: dict[str, float], mode: str) -> None:
    """At equal logits p = 1/K, lse = log K and the cross-entropy is log K, whatever the cap of logits that are 0."""
    operation = named(adapter, name, mode)
    target: Any = [[1.0]] if operation.loss.spec.binary else [0]
    problem = Problem([[0.0]] if operation.loss.spec.binary else [[0.0, 0.0]], target, FLOAT32, loss=operation.loss, **option)
    expected = {"positive_weight": 2 * np.log(2), "focusing": np.log(2) / 2, "z_loss": np.log(2) + np.log(2) ** 2 / 2}
    (loss,) = adapter.observe(Question(operation, problem, (Quantity.LOSS,))).values[Quantity.LOSS]
    assert loss == pytest.approx(expected[next(iter(option))], rel=1e-6)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_weights_of_rows_reach_keras(adapter: Adapter, reduction: str) -> None:
    """As `sample_weight`: the losses log 2 of two rows, of which Keras' mean divides by 2 whatever the weights."""
    problem = Problem([[0.0, 0.0], [1.0, 1.0]], [0, 1], FLOAT32, row_weights=[3.0, 0.5], reduction=reduction)
    operation = named(adapter, "keras_sparse_categorical_crossentropy", "eager")
    loss = adapter.observe(Question(operation, problem, (Quantity.LOSS,))).values[Quantity.LOSS]
    expected = {"none": [3.0, 0.5], "sum": 3.5, "mean": 1.75}[reduction]
    np.testing.assert_allclose(loss, np.log(2) * np.array(expected), rtol=1e-6)


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_a_softcap_reaches_the_framework(adapter: Adapter, mode: str) -> None:
    problem = Problem([[1000.0, 0.0]], [1], FLOAT32, logit_softcap=2.0)
    (loss,) = adapter.observe(Question(named(adapter, "softcap_z_loss", mode), problem, (Quantity.LOSS,))).values[Quantity.LOSS]
    assert loss == pytest.approx(2.0 + np.log1p(np.exp(-2.0)), rel=1e-6)


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_the_linear_layer_receives_its_feature_and_the_cotangent(adapter: Adapter, mode: str) -> None:
    """Two equal logits: the gradient by them is (-1/2, 1/2) times the cotangent, by weights times their features, and so on."""
    layer = {"features": [[1.0, 3.0]], "weight": [[1.0, 2.0], [1.0, 2.5]], "bias": [1.5, 0.0]}
    problem = Problem.of_layer(layer, [0], FLOAT32, cotangent=[2.0])
    observed = adapter.observe(Question(named(adapter, "linear_then_cross_entropy", mode), problem, LAYER_GRADIENTS))
    np.testing.assert_array_equal(observed.values[Quantity.FEATURE_GRADIENT], [[0.0, 0.5]])
    np.testing.assert_array_equal(observed.values[Quantity.WEIGHT_GRADIENT], [[-1.0, -3.0], [1.0, 3.0]])
    np.testing.assert_array_equal(observed.values[Quantity.BIAS_GRADIENT], [-1.0, 1.0])


def test_the_weighted_loss_has_wrong_derivatives_at_zero(adapter: Adapter) -> None:
    """A subgradient of |x| at a point where the loss is smooth: a defect of the framework, whose sibling is right."""
    problem = Problem([[0.0]], [[0.0]], FLOAT32, loss=Loss.SIGMOID)
    weighted, plain = (
        adapter.observe(Question(named(adapter, name, "eager"), problem, (Quantity.GRADIENT, Quantity.HESSIAN))).values
        for name in ("weighted_cross_entropy_with_logits", "sigmoid_cross_entropy_with_logits")
    )
    assert (weighted[Quantity.GRADIENT].item(), weighted[Quantity.HESSIAN].item()) == (1.0, 0.0)
    assert (plain[Quantity.GRADIENT].item(), plain[Quantity.HESSIAN].item()) == (0.5, 0.25)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_out_of_range_raises_unless_xla_compiles(adapter: Adapter, label: int) -> None:
    for operation in adapter.operations():
        of_logits = Quantity.LOSS in operation.quantities and not operation.is_layer
        if of_logits and not operation.probabilities and operation.can_raise:
            observed = adapter.observe(Question(operation, INDICES.with_unchecked_target([0, label]), (Quantity.LOSS,)))
            assert "InvalidArgumentError" in str(observed.error)
