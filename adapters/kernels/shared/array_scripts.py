"""The operations of libraries of NumPy arrays as statements of a script; tests/test_reproducers.py holds them to their bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from adapters.numpy.script import array_inputs
from adapters.operation import options_used
from adapters.script import Asked, Script, function, literal, wrapped
from reference.quantity import Quantity
from reference.reduction import Reduction


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
    return {"reduction": problem.reduction.value} | {name: value for name, value in given.items() if name in used}


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
    if asked.problem.reduction is Reduction.NONE:
        return _LOG_LOSS + _EACH_LOG_LOSS
    mean = asked.problem.reduction is Reduction.MEAN
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


_LIGHTGBM_LEAVES = """
parameters = {"objective": "multiclass", "num_class": len(row), "learning_rate": 1.0, "lambda_l2": 0.0, "min_data_in_leaf": 1,
              "min_sum_hessian_in_leaf": 0.0, "num_leaves": 2, "num_threads": 1, "verbosity": -1}
kept = {"min_data_in_bin": 1, "feature_pre_filter": False, "verbosity": -1}
data = lightgbm.Dataset(np.arange(len(row), dtype=float)[:, None], label=np.arange(len(row)), params=kept)
model = lightgbm.train(parameters, data, num_boost_round=1).model_to_string()
model = model.replace("[lambda_l2: 0]", f"[lambda_l2: {penalty:g}]")
one, given = np.zeros((1, 1)), {"label": [label], "weight": [2.0**64], "init_score": row.astype(float)[None]}
refitted = lightgbm.Booster(model_str=model).refit(one, decay_rate=0.0, dataset_params=kept, **given)
return refitted.predict(one, raw_score=True)[0]
"""

_LIGHTGBM_EQUATIONS = """
# A leaf is -g w / (h w + kEpsilon + lambda_l2) of a row of weight w alone: at two lambdas, two equations for g and h.
weight, epsilon, classes = 2.0**64, float(np.float32(1e-15)), len(row)
plain, near, small = (leaves(row, label, penalty) for penalty in (0.0, 1e19, 1e6))
tiny = np.abs(near) < 1e-20  # leaves below 1e-35 become 0
penalty, penalised = np.where(tiny, 1e6, 1e19), np.where(tiny, small, near)
with np.errstate(all="ignore"):
    h = np.where(penalised == 0, epsilon, penalty * penalised / (plain - penalised))
# LightGBM's h has a factor K / (K - 1).
return -penalised * (h + penalty) / weight, (h - epsilon) / weight * (classes - 1) / classes
"""


def _lightgbm(asked: Asked) -> str:
    place = 0 if asked.quantity is Quantity.GRADIENT else 1
    read = f"found = [gradient_and_diagonal(row, label)[{place}] for row, label in zip(x, t)]\n"
    return read + "return upstream[:, None] * np.array(found, dtype=np.float32)"


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
        attributes = {"reduction": Reduction.NONE.value} if place else _constants(asked)
        given = f'"SoftmaxCrossEntropyLoss", {_dict(feeds)}, ["output", "log_prob"], **{attributes}'
    return wrapped(f"return run({given})[{place}]")


def _dict(entries: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'"{key}": {value}' for key, value in entries.items()) + "}"


@dataclass(frozen=True)
class _Differentiated:
    """Statements that make losses, then their gradient, then its product with a direction; and what is returned of each.

    The three expressions are of NumPy's arrays; {} in the last one is the direction.
    """

    losses: Sequence[str]
    gradient: Sequence[str]
    product: Sequence[str]
    returned: tuple[str, str, str]


def _body(quantity: Quantity, of: _Differentiated) -> str:
    """The body of observe() for a loss or one of its derivatives; of the Hessian it stacks products with unit vectors."""
    loss, gradient, product = of.returned
    unit = "np.broadcast_to(row, x.shape).copy()"
    columns = ["eye = np.eye(x.shape[1], dtype=x.dtype)", f"return np.stack([{product.format(unit)} for row in eye], axis=1)"]
    last = {
        Quantity.LOSS: [f"return {loss}"],
        Quantity.GRADIENT: [*of.gradient, f"return {gradient}"],
        Quantity.HVP: [*of.gradient, *of.product, f"return {product.format('v')}"],
        Quantity.HESSIAN: [*of.gradient, *of.product, *columns],
    }
    return "\n".join([*of.losses, *last[quantity]])


def _keywords(asked: Asked) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in _constants(asked).items())


def _tinygrad(asked: Asked) -> str:
    name = asked.operation.name
    if not asked.operation.has_loss:
        return f"return Tensor(x).{name}({'1' if name == 'logsumexp' else ''}).numpy()"
    losses = f"losses = logits.{name.removesuffix('_probabilities')}(Tensor(t), {_keywords(asked)})"
    gradient = "(gradient,) = losses.gradient(logits, gradient=Tensor(upstream))"
    product = "gradient.gradient(logits, gradient=Tensor({}))[0].numpy()"
    returned = ("losses.numpy()", "gradient.numpy()", product)
    return _body(asked.quantity, _Differentiated(["logits = Tensor(x)", losses], [gradient], [], returned))


def _mlx(asked: Asked) -> str:
    kind = f"dtype=mx.{asked.problem.format.name}"
    half = asked.problem.format.name == "bfloat16"
    shown = "np.array({}.astype(mx.float32)).astype(ml_dtypes.bfloat16)" if half else "np.array({})"
    lines = ["mx.set_default_device(mx.cpu)", f"logits = mx.array(x, {kind})"]
    if not asked.operation.has_loss:
        return "\n".join([*lines, f"return {shown.format(f'mx.{asked.operation.name}(logits, axis=-1)')}"])
    lines.append(f"target = mx.array(t, {kind})" if asked.problem.has_probabilities else "target = mx.array(t)")
    lines.append(f"loss = lambda logits: nn.losses.cross_entropy(logits, target, {_keywords(asked)})")
    weight = f"weight = mx.array(upstream, {kind})"
    gradient = "gradient = mx.grad(lambda logits: (loss(logits) * weight).sum())"
    product = f"mx.jvp(gradient, [logits], [mx.array({{}}, {kind})])[1][0]"
    loss, first, second = (shown.replace("{}", value) for value in ("loss(logits)", "gradient(logits)", product))
    return _body(asked.quantity, _Differentiated(lines, [weight, gradient], [], (loss, first, second)))


_PYTENSOR = {
    "log_softmax_index": "-log_softmax(logits, axis=-1)[pt.arange(labels.shape[0]), labels]",
    "logsumexp_index": "pt.logsumexp(logits, axis=-1) - logits[pt.arange(labels.shape[0]), labels]",
    "log_softmax": "log_softmax(logits, axis=-1)",
    "softmax": "softmax(logits, axis=-1)",
    "logsumexp": "pt.logsumexp(logits, axis=-1)",
}


def _pytensor(asked: Asked) -> str:
    result, kind = _PYTENSOR[asked.operation.name], f'dtype="{asked.problem.format.name}"'
    logits = f'logits = pt.matrix("logits", {kind})'
    if not asked.operation.has_loss:
        return f"{logits}\nreturn pytensor.function([logits], {result})(x)"
    losses = [logits, 'labels = pt.lvector("labels")', f"losses = {result}"]
    gradient = [f'weight = pt.vector("weight", {kind})', "gradient = pt.grad((losses * weight).sum(), logits)"]
    product = [
        f'direction = pt.matrix("direction", {kind})',
        "along = pt.grad((gradient * direction).sum(), logits)",
        "product = pytensor.function([logits, labels, weight, direction], along)",
    ]
    returned = (
        "pytensor.function([logits, labels], losses)(x, t)",
        "pytensor.function([logits, labels, weight], gradient)(x, t, upstream)",
        "product(x, t, upstream, {})",
    )
    return _body(asked.quantity, _Differentiated(losses, gradient, product, returned))


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
    weights = asked.problem.class_weights
    given = "" if weights is None else f", weight=paddle.to_tensor(np.array({literal(weights)}, dtype=x.dtype))"
    called = _PADDLE[asked.operation.name].format(_keywords(asked) + given)
    lines = ['paddle.set_device("cpu")', "logits = paddle.to_tensor(np.ascontiguousarray(x), stop_gradient=False)"]
    if not asked.operation.has_loss:
        return "\n".join([*lines, f"return {called}.numpy()"])
    if asked.operation.probabilities and asked.problem.reduction is Reduction.NONE:
        called += ".squeeze(-1)"
    lines += ["target = paddle.to_tensor(t)", f"losses = {called}"]
    gradient = "paddle.grad((losses * paddle.to_tensor(upstream)).sum(), logits)[0].numpy()"
    return _body(asked.quantity, _Differentiated(lines, [], [], ("losses.numpy()", gradient, "")))


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
    "lightgbm": _Words(
        ("import lightgbm",),
        _lightgbm,
        "lightgbm {lightgbm.__version__}",
        (
            function("leaves(row, label, penalty)", _LIGHTGBM_LEAVES),
            function("gradient_and_diagonal(row, label)", _LIGHTGBM_EQUATIONS),
        ),
    ),
    "mlx": _Words(
        ("import mlx.core as mx", "import mlx.nn as nn"),
        _mlx,
        "mlx {mx.__version__}",
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
    "pytensor": _Words(
        (
            "import numba",
            "import pytensor",
            "import pytensor.tensor as pt",
            "from pytensor.tensor.special import log_softmax, softmax",
        ),
        _pytensor,
        "pytensor {pytensor.__version__}, numba {numba.__version__}",
    ),
    "tinygrad": _Words(
        ("from importlib.metadata import version", "", "from tinygrad import Tensor"),
        _tinygrad,
        "tinygrad {version('tinygrad')}",
    ),
}
"""The libraries that have words, by backend."""
