"""ONNX's operators as models of one node: the operations of a runtime that executes them, and its words for reproducers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from adapters.array_script import ArrayWords, options_given
from adapters.arrays import Array, ArrayFunction, Inputs
from adapters.operation import Operation, building_block
from adapters.question import Question
from adapters.script import function, literal, wrapped
from reference.arithmetic import Arithmetic
from reference.quantity import Quantity
from reference.reduction import Reduction

Feeds = Mapping[str, Array]
Runtime = Callable[[onnx.ModelProto], Callable[[Feeds], list[Array]]]
"""Prepares a model; what it returns runs it on named inputs."""

_OPSET = 18
_IR_VERSION = 10
"""Versions that every release of either package since 2024 reads."""

_BLOCKS = {"log_softmax": "LogSoftmax", "softmax": "Softmax", "logsumexp": "ReduceLogSumExp"}
"""Operators of the logits alone, by building block."""


def _model(inputs: Mapping[str, int], outputs: tuple[str, ...], node: onnx.NodeProto) -> onnx.ModelProto:
    """A model of one node; inputs by name with their element types, outputs of the type of the first."""
    first = next(iter(inputs.values()))
    graph = helper.make_graph(
        [node],
        node.op_type,
        [helper.make_tensor_value_info(name, kind, None) for name, kind in inputs.items()],
        [helper.make_tensor_value_info(name, first, None) for name in outputs],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)


def _loss_model(kind: int, weighted: bool, attributes: Mapping[str, Any]) -> onnx.ModelProto:
    """SoftmaxCrossEntropyLoss with both of its outputs."""
    inputs = {"scores": kind, "labels": TensorProto.INT64} | ({"weights": kind} if weighted else {})
    outputs = ("output", "log_prob")
    return _model(inputs, outputs, helper.make_node("SoftmaxCrossEntropyLoss", list(inputs), outputs, **attributes))


def _block_model(kind: int, operator: str) -> onnx.ModelProto:
    """An operator of the logits alone, along the classes."""
    inputs = {"x": kind} | ({"axes": TensorProto.INT64} if operator.startswith("Reduce") else {})
    return _model(inputs, ("y",), helper.make_node(operator, list(inputs), ["y"], **_attributes(operator)))


def _attributes(operator: str) -> dict[str, int]:
    """What makes an operator run along the classes."""
    return {"keepdims": 0} if operator.startswith("Reduce") else {"axis": -1}


def operations_of(runtime: Runtime, arithmetic: Mapping[str, Arithmetic]) -> tuple[Operation, ...]:
    """The operations of a runtime."""

    @cache
    def prepared(kind: int, weighted: bool, attributes: tuple[tuple[str, Any], ...]) -> Callable[[Feeds], list[Array]]:
        return runtime(_loss_model(kind, weighted, dict(attributes)))

    @cache
    def block(kind: int, operator: str) -> Callable[[Feeds], list[Array]]:
        return runtime(_block_model(kind, operator))

    def outputs(inputs: Inputs, labels: Array) -> list[Array]:
        problem, weights = inputs.problem, inputs.class_weights
        attributes: dict[str, Any] = {"reduction": problem.reduction.value}
        if problem.ignored_class is not None:
            attributes["ignore_index"] = problem.ignored_class
        feeds = {"scores": inputs.logits, "labels": labels} | ({} if weights is None else {"weights": weights})
        return prepared(_kind(inputs.logits), weights is not None, tuple(attributes.items()))(feeds)

    def loss(inputs: Inputs, _: Quantity) -> Array:
        return outputs(inputs, inputs.labels)[0]

    def log_prob(inputs: Inputs, _: Quantity) -> Array:
        return outputs(inputs, np.zeros(len(inputs.logits), dtype=np.int64))[1]

    def along_classes(operator: str) -> ArrayFunction:
        more = {"axes": np.array([1], dtype=np.int64)} if operator.startswith("Reduce") else {}
        return lambda inputs, _: block(_kind(inputs.logits), operator)({"x": inputs.logits} | more)[0]

    options = frozenset({"class_weights", "ignore_index", "reduction"})
    return (
        Operation(
            "softmax_cross_entropy_loss",
            "SoftmaxCrossEntropyLoss",
            loss,
            arithmetic,
            quantities=(Quantity.LOSS,),
            options=options,
        ),
        building_block(Quantity.LOG_SOFTMAX, "SoftmaxCrossEntropyLoss, log_prob", log_prob, arithmetic, name="log_prob"),
        *(building_block(Quantity(name), operator, along_classes(operator), arithmetic) for name, operator in _BLOCKS.items()),
    )


def _kind(array: Array) -> int:
    return helper.np_dtype_to_tensor_dtype(array.dtype)


_MODEL = f"""
kind = onnx.helper.np_dtype_to_tensor_dtype(x.dtype)
kinds = [kind if array.dtype == x.dtype else onnx.TensorProto.INT64 for array in feeds.values()]
given = [onnx.helper.make_tensor_value_info(name, one, None) for name, one in zip(feeds, kinds)]
returned = [onnx.helper.make_tensor_value_info(name, kind, None) for name in outputs]
node = onnx.helper.make_node(operator, list(feeds), outputs, **attributes)
graph = onnx.helper.make_graph([node], operator, given, returned)
model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", {_OPSET})], ir_version={_IR_VERSION})
"""


def runtime_words(imports: tuple[str, ...], run: str, environment: str) -> ArrayWords:
    """The words of a runtime: the statements that run `model` on `feeds`, and return its outputs, are its own."""
    runs = function("run(operator, feeds, outputs, **attributes)", _MODEL + run.strip())
    return ArrayWords(imports, _body, environment, (runs,))


def _body(asked: Question) -> str:
    name = asked.operation.name
    if name in _BLOCKS:
        return _run_block(_BLOCKS[name])
    if name == "log_prob":
        return _run_loss({"labels": "np.zeros(len(x), dtype=np.int64)"}, {"reduction": Reduction.NONE.value}, 1)
    weights = asked.problem.class_weights
    weighted = {} if weights is None else {"weights": f"np.array({literal(weights)}, dtype=x.dtype)"}
    return _run_loss({"labels": "t"} | weighted, options_given(asked.problem), 0)


def _run_block(operator: str) -> str:
    feeds = {"x": "x"} | ({"axes": "np.array([1], dtype=np.int64)"} if operator.startswith("Reduce") else {})
    return wrapped(f'return run("{operator}", {_dictionary(feeds)}, ["y"], **{_attributes(operator)})[0]')


def _run_loss(feeds: Mapping[str, str], attributes: Mapping[str, Any], place: int) -> str:
    given = _dictionary({"scores": "x", **feeds})
    return wrapped(f'return run("SoftmaxCrossEntropyLoss", {given}, ["output", "log_prob"], **{attributes})[{place}]')


def _dictionary(entries: Mapping[str, str]) -> str:
    """A dictionary of expressions."""
    return "{" + ", ".join(f'"{key}": {value}' for key, value in entries.items()) + "}"
