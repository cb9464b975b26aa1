"""The operations of libraries of NumPy arrays as statements of a script; tests/test_reproducers.py holds them to their bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from adapters.numpy_script import array_inputs
from adapters.operation import options_used
from adapters.script import Asked, Script, function, literal, wrapped
from reference.quantity import Quantity


class _Named(Protocol):
    name: str


@dataclass(frozen=True)
class _Words:
    """What a script of a library imports, the body of its observe() for what is asked, and its environment."""

    imports: tuple[str, ...]
    body: Callable[[Asked], str]
    environment: str
    functions: tuple[str, ...] = ()


def array_script(adapter: _Named, asked: Asked) -> Script:
    """The script of a quantity; as `Adapter.script`, the method of an adapter of `_LIBRARIES`."""
    words = _LIBRARIES[adapter.name]
    observe = function("observe()", words.body(asked))
    return Script(
        ["import numpy as np", *words.imports], array_inputs(asked), [*words.functions, observe], f'f"{words.environment}"'
    )


def _constants(asked: Asked) -> dict[str, Any]:
    """Options as keyword arguments, those that are used and the reduction."""
    used, problem = options_used(asked.problem), asked.problem
    given = {"label_smoothing": problem.label_smoothing, "ignore_index": problem.ignored_class}
    return {"reduction": problem.reduction} | {name: value for name, value in given.items() if name in used}


_SKLEARN: Mapping[tuple[str, Quantity], str] = {
    ("half_multinomial_loss", Quantity.LOSS): "return HalfMultinomialLoss(n_classes=x.shape[1]).loss(t.astype(x.dtype), x)",
    ("half_multinomial_loss", Quantity.GRADIENT): """
        return HalfMultinomialLoss(n_classes=x.shape[1]).gradient(t.astype(x.dtype), x, sample_weight=upstream)
    """,
    ("half_multinomial_loss", Quantity.HESSIAN_DIAGONAL): """
        return HalfMultinomialLoss(n_classes=x.shape[1]).gradient_hessian(t.astype(x.dtype), x, sample_weight=upstream)[1]
    """,
    ("linear_model_loss", Quantity.HESSIAN): """
        loss, one = LinearModelLoss(HalfMultinomialLoss(n_classes=x.shape[1]), fit_intercept=False), np.ones((1, 1), x.dtype)
        rows = zip(x, t.astype(x.dtype), upstream)
        return np.stack([u * loss.gradient_hessian(row[:, None], one, y[None])[1] for row, y, u in rows])
    """,
    ("linear_model_loss", Quantity.HVP): """
        loss, one = LinearModelLoss(HalfMultinomialLoss(n_classes=x.shape[1]), fit_intercept=False), np.ones((1, 1), x.dtype)
        rows = zip(x, t.astype(x.dtype), upstream, v)
        return np.stack([u * loss.gradient_hessian_product(row[:, None], one, y[None])[1](d)[:, 0] for row, y, u, d in rows])
    """,
    ("softmax", Quantity.SOFTMAX): "return softmax(x)",
}

_LOG_LOSS = """
p = softmax(x)
classes = np.arange(x.shape[1])
"""
_EACH_LOG_LOSS = """
rows = [log_loss(t[i : i + 1], p[i : i + 1], labels=classes) for i in range(len(t))]
return np.array(rows, dtype=p.dtype)
"""


def _sklearn(asked: Asked) -> str:
    if asked.operation.name != "log_loss":
        return _SKLEARN[asked.operation.name, asked.quantity]
    if asked.problem.reduction == "none":
        return _LOG_LOSS + _EACH_LOG_LOSS
    mean = asked.problem.reduction == "mean"
    return _LOG_LOSS + f"return np.array(log_loss(t, p, labels=classes, normalize={mean}), dtype=p.dtype)"


_XGBOOST = """
parameters = {"objective": "multi:softprob", "num_class": len(row), "eta": 1.0, "lambda": 0.0, "min_child_weight": 0.0,
              "max_depth": 1, "tree_method": "exact", "base_score": 0.0, "nthread": 1, "verbosity": 0}
data = xgboost.DMatrix(np.zeros((1, 1), dtype=np.float32), label=[label], base_margin=row[None])
booster = xgboost.train(parameters, data, num_boost_round=1)
trees = [json.loads(tree) for tree in booster.get_dump(with_stats=True, dump_format="json")]
return [np.array([tree[name] for tree in trees], dtype=np.float32) for name in ("leaf", "cover")]
"""


def _xgboost(asked: Asked) -> str:
    wanted = "-leaf * cover" if asked.quantity is Quantity.GRADIENT else "cover / np.float32(2)"
    read = "read = (leaf_and_cover(row, label) for row, label in zip(x, t))\n"
    return read + f"return upstream[:, None] * np.array([{wanted} for leaf, cover in read])"


_BLOCKS = {"log_softmax": "LogSoftmax", "softmax": "Softmax", "logsumexp": "ReduceLogSumExp"}
_ONNX_MODEL = """
kind = onnx.helper.np_dtype_to_tensor_dtype(x.dtype)
kinds = [kind if array.dtype == x.dtype else onnx.TensorProto.INT64 for array in feeds.values()]
given = [onnx.helper.make_tensor_value_info(name, one, None) for name, one in zip(feeds, kinds)]
returned = [onnx.helper.make_tensor_value_info(name, kind, None) for name in outputs]
node = onnx.helper.make_node(operator, list(feeds), outputs, **attributes)
graph = onnx.helper.make_graph([node], operator, given, returned)
model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
"""


def _onnx(asked: Asked) -> str:
    weights = asked.problem.class_weights
    name, place = asked.operation.name, 1 if asked.operation.name == "log_prob" else 0
    if name in _BLOCKS:
        feeds = {"x": "x"} | ({"axes": "np.array([1], dtype=np.int64)"} if name == "logsumexp" else {})
        attributes: dict[str, Any] = {"keepdims": 0} if name == "logsumexp" else {"axis": -1}
        given = f'"{_BLOCKS[name]}", {_dict(feeds)}, ["y"], **{attributes}'
    else:
        feeds = {"scores": "x", "labels": "np.zeros(len(x), dtype=np.int64)" if place else "t"}
        if weights is not None and not place:
            feeds["weights"] = f"np.array({literal(weights)}, dtype=x.dtype)"
        attributes = {"reduction": "none"} if place else _constants(asked)
        given = f'"SoftmaxCrossEntropyLoss", {_dict(feeds)}, ["output", "log_prob"], **{attributes}'
    return wrapped(f"return run({given})[{place}]")


def _dict(entries: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'"{key}": {value}' for key, value in entries.items()) + "}"


def _tinygrad(asked: Asked) -> str:
    name, quantity = asked.operation.name, asked.quantity
    if not asked.operation.has_loss:
        return f"return Tensor(x).{name}({'1' if name == 'logsumexp' else ''}).numpy()"
    keywords = ", ".join(f"{key}={value!r}" for key, value in _constants(asked).items())
    called = name.removesuffix("_probabilities")
    lines = ["logits = Tensor(x)", f"losses = logits.{called}(Tensor(t), {keywords})"]
    if quantity is Quantity.LOSS:
        return "\n".join([*lines, "return losses.numpy()"])
    lines.append("(gradient,) = losses.gradient(logits, gradient=Tensor(upstream))")
    if quantity is Quantity.GRADIENT:
        return "\n".join([*lines, "return gradient.numpy()"])
    along = "gradient.gradient(logits, gradient=Tensor({}))[0].numpy()"
    if quantity is Quantity.HVP:
        return "\n".join([*lines, f"return {along.format('v')}"])
    each = along.format("np.broadcast_to(row, x.shape).copy()")
    return "\n".join([*lines, "eye = np.eye(x.shape[1], dtype=x.dtype)", f"return np.stack([{each} for row in eye], axis=1)"])


_PADDLE = {
    "log_softmax": "F.log_softmax(logits, axis=-1)",
    "softmax": "F.softmax(logits, axis=-1)",
    "logsumexp": "paddle.logsumexp(logits, axis=-1)",
    "cross_entropy": "F.cross_entropy(logits, target, {})",
    "cross_entropy_probabilities": "F.cross_entropy(logits, target, soft_label=True, {})",
    "softmax_with_cross_entropy": "F.softmax_with_cross_entropy(logits, target.unsqueeze(-1)).squeeze(-1)",
    "log_softmax_nll_loss": "F.nll_loss(F.log_softmax(logits, axis=-1), target, {})",
}


def _paddle(asked: Asked) -> str:
    weights, quantity = asked.problem.class_weights, asked.quantity
    keywords = [f"{key}={value!r}" for key, value in _constants(asked).items()]
    if weights is not None:
        keywords.append(f"weight=paddle.to_tensor(np.array({literal(weights)}, dtype=x.dtype))")
    called = _PADDLE[asked.operation.name].format(", ".join(keywords))
    lines = ['paddle.set_device("cpu")', "logits = paddle.to_tensor(np.ascontiguousarray(x), stop_gradient=False)"]
    if not asked.operation.has_loss:
        return "\n".join([*lines, f"return {called}.numpy()"])
    if asked.operation.probabilities and asked.problem.reduction == "none":
        called += ".squeeze(-1)"
    lines += ["target = paddle.to_tensor(t)", f"losses = {called}"]
    if quantity is Quantity.LOSS:
        return "\n".join([*lines, "return losses.numpy()"])
    return "\n".join([*lines, "return paddle.grad((losses * paddle.to_tensor(upstream)).sum(), logits)[0].numpy()"])


def _runtime(run: str) -> tuple[str, ...]:
    return (function("run(operator, feeds, outputs, **attributes)", _ONNX_MODEL + run),)


_LIBRARIES: Mapping[str, _Words] = {
    "sklearn": _Words(
        (
            "import sklearn",
            "from sklearn._loss import HalfMultinomialLoss",
            "from sklearn.linear_model._linear_loss import LinearModelLoss",
            "from sklearn.metrics import log_loss",
            "from sklearn.utils.extmath import softmax",
        ),
        _sklearn,
        "scikit-learn {sklearn.__version__}",
    ),
    "xgboost": _Words(
        ("import json", "import xgboost"),
        _xgboost,
        "xgboost {xgboost.__version__}",
        (function("leaf_and_cover(row, label)", _XGBOOST),),
    ),
    "onnx": _Words(
        ("import onnx", "from onnx.reference import ReferenceEvaluator"),
        _onnx,
        "onnx {onnx.__version__}, numpy {np.__version__}",
        _runtime("return ReferenceEvaluator(model).run(None, feeds)"),
    ),
    "onnxruntime": _Words(
        ("import onnx", "import onnxruntime"),
        _onnx,
        "onnxruntime {onnxruntime.__version__}",
        _runtime(
            'providers = ["CPUExecutionProvider"]\n'
            "session = onnxruntime.InferenceSession(model.SerializeToString(), providers=providers)\n"
            "return session.run(None, feeds)"
        ),
    ),
    "paddle": _Words(
        ("import paddle", "import paddle.nn.functional as F"),
        _paddle,
        "paddle {paddle.__version__}",
    ),
    "tinygrad": _Words(
        ("from importlib.metadata import version", "", "from tinygrad import Tensor"),
        _tinygrad,
        "tinygrad {version('tinygrad')}",
    ),
}
"""The libraries that have words, by backend."""
