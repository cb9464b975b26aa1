"""TensorFlow's and Keras' operations as statements of a script; tests/test_reproducers.py holds them to the adapter's bits."""

from __future__ import annotations

from collections.abc import Callable

from adapters.operation import EAGER, Operation
from adapters.question import Question
from adapters.script import (
    OF_PARTS,
    UPSTREAM,
    Code,
    Script,
    block_cotangent,
    code_of,
    defined,
    function,
    import_of,
    lines_of_logits,
    literal,
    part_of,
    softcapped,
    wrapped,
)
from adapters.tensorflow.derivatives import XLA, HessianByJacobian
from adapters.tensorflow.losses import KERAS_REDUCTIONS
from adapters.usage import Usage
from reference.formats import Floats
from reference.options import PARTS
from reference.problem import Problem, layer_of
from reference.quantity import BLOCK_PRODUCTS, Quantity
from reference.reduction import Reduction

_REDUCED = {Reduction.NONE: "{}", Reduction.SUM: "tf.reduce_sum({})", Reduction.MEAN: "tf.reduce_mean({})"}


def _reduced(losses: str, before: str = "") -> Code:
    """Losses of the rows, reduced as a user would."""

    def code(problem: Problem) -> str:
        return before + "return " + _REDUCED[problem.reduction].format(losses)

    return code


def called(name: str, more: str = "") -> Code:
    """A call with the signature of tf.nn.sparse_softmax_cross_entropy_with_logits."""
    return _reduced(f"{name}(labels=t, logits=x{more})")


def _of_kernel(operation: Operation) -> Callable[[str], Code]:
    """The call of a user's kernel."""
    if not operation.is_layer:
        return called
    bias = ", bias=bias" if operation.has_bias else ""
    return lambda name: _reduced(f"{name}(labels=t, features=features, weight=weight{bias})")


def _softcap_z_loss(problem: Problem) -> str:
    z = problem.z_loss
    losses = "losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=t, logits=x)\n"
    penalty = f"losses += {z!r} * tf.reduce_logsumexp(x, axis=1) ** 2\n" if z else ""
    return _reduced("losses", softcapped(problem, "tf.tanh") + losses + penalty)(problem)


def _keras(name: str, prediction: str = "x", dtype: bool = True, from_logits: bool | None = None) -> Code:
    """A Keras loss object, made and called."""

    def code(problem: Problem) -> str:
        given = [f'reduction="{KERAS_REDUCTIONS[problem.reduction]}"']
        given += ['dtype="' + problem.format.name + '"'] if dtype else []
        given += [] if from_logits is None else [f"from_logits={from_logits}"]
        given += [] if problem.ignored_class is None else [f"ignore_class={problem.ignored_class}"]
        given += [f"label_smoothing={problem.label_smoothing!r}"] if problem.label_smoothing else []
        if name == "BinaryFocalCrossentropy":
            given += ["apply_class_balancing=False", f"gamma={problem.focusing!r}"]
        weights = "" if problem.row_weights is None else ", sample_weight=r"
        return f"return keras.losses.{name}({', '.join(given)})(t, {prediction}{weights})"

    return code


_SPARSE = "tf.nn.sparse_softmax_cross_entropy_with_logits"
_BY_CLASS, _BY_PROBABILITIES = "SparseCategoricalCrossentropy", "CategoricalCrossentropy"


def _linear_then_cross_entropy(problem: Problem) -> str:
    return "x = tf.linalg.matmul(features, weight, transpose_b=True) + bias\n" + called(_SPARSE)(problem)


LAYERS: dict[str, Code] = {"linear_then_cross_entropy": _linear_then_cross_entropy}
"""The statements of loss(features, weight, bias, t), by the name of the operation."""

LOSSES: dict[str, Code] = {
    "sparse_softmax_cross_entropy_with_logits": called(_SPARSE),
    "sparse_softmax_cross_entropy_with_logits_jacobian": called(_SPARSE),
    "softmax_cross_entropy_with_logits": called("tf.nn.softmax_cross_entropy_with_logits"),
    "log_softmax_gather": _reduced("-tf.gather(tf.nn.log_softmax(x), t, axis=1, batch_dims=1)"),
    "logsumexp_gather": _reduced("tf.reduce_logsumexp(x, axis=1) - tf.gather(x, t, axis=1, batch_dims=1)"),
    "softcap_z_loss": _softcap_z_loss,
    "squared_error_of_softmax": _reduced("tf.reduce_sum(tf.math.squared_difference(tf.nn.softmax(x), t), axis=1)"),
    "sigmoid_cross_entropy_with_logits": _reduced("tf.nn.sigmoid_cross_entropy_with_logits(labels=t, logits=x)[:, 0]"),
    "weighted_cross_entropy_with_logits": lambda problem: _reduced(
        f"tf.nn.weighted_cross_entropy_with_logits(labels=t, logits=x, pos_weight={problem.positive_weight!r})[:, 0]"
    )(problem),
    "keras_sparse_categorical_crossentropy": _keras(_BY_CLASS, from_logits=True),
    "keras_sparse_categorical_crossentropy_default_dtype": _keras(_BY_CLASS, dtype=False, from_logits=True),
    "keras_categorical_crossentropy": _keras(_BY_PROBABILITIES, from_logits=True),
    "keras_sparse_categorical_crossentropy_from_probabilities": _keras(_BY_CLASS, "tf.nn.softmax(x)", from_logits=False),
    "keras_categorical_crossentropy_from_probabilities": _keras(_BY_PROBABILITIES, "tf.nn.softmax(x)", from_logits=False),
    "keras_binary_crossentropy": _keras("BinaryCrossentropy", from_logits=True),
    "keras_binary_crossentropy_from_probabilities": _keras("BinaryCrossentropy", "tf.sigmoid(x)"),
    "keras_binary_focal_crossentropy": _keras("BinaryFocalCrossentropy", from_logits=True),
    "keras_kl_divergence": _keras("KLDivergence", "tf.nn.softmax(x)"),
    "log_softmax": lambda _: "return tf.nn.log_softmax(x)",
    "softmax": lambda _: "return tf.nn.softmax(x)",
    "logsumexp": lambda _: "return tf.reduce_logsumexp(x, axis=1)",
    "entropy": lambda _: "return tf.nn.softmax_cross_entropy_with_logits(labels=tf.nn.softmax(x), logits=x)",
}
"""The statements of loss(x, t), or block(x), by the name of the operation."""

_LOSS_AND_GRADIENT = """
with tf.GradientTape() as tape:
    tape.watch(x)
    losses = loss(x, t){checked}
return losses, tape.gradient(losses, x, output_gradients=tf.cast(upstream, losses.dtype))
"""
_SHAPE_CHECKED = """
if losses.shape.rank != upstream.shape.rank:
    raise ValueError(f"a loss of shape {losses.shape}, not {upstream.shape}")"""
"""Of an empty batch, where a loss of the wrong shape has a gradient of the right one."""

_BY_TARGET = """
with tf.GradientTape() as tape:
    tape.watch((x, t))
    losses = loss(x, t)
return tape.gradient(losses, t, output_gradients=tf.cast(upstream, losses.dtype))
"""
_PRODUCT = """
with tf.GradientTape() as tape:
    tape.watch(x)
    gradient = loss_and_gradient(x, t, upstream)[1]
return tape.gradient(gradient, x, output_gradients=v)
"""
_BLOCK_PRODUCT = """
with tf.GradientTape() as tape:
    tape.watch(x)
    values = block(x)
return tape.gradient(values, x, output_gradients=upstream)
"""
_UNITS = "units = [tf.constant(np.tile(unit, (x.shape[0], 1)), x.dtype) for unit in np.eye(x.shape[1])]\n"
_JACOBIAN = """
with tf.GradientTape() as tape:
    tape.watch(x)
    gradient = loss_and_gradient(x, t, upstream)[1]
return tf.einsum("nknj->nkj", tape.jacobian(gradient, x)).numpy()
"""
_LAYER = f"""
with tf.GradientTape() as tape:
    tape.watch([{{part}}])
    losses = {OF_PARTS}
return losses, *tape.gradient(losses, [{{part}}], output_gradients=upstream)
"""


def tensorflow_script(asked: Question, device: str) -> Script | None:
    """The script of a quantity on a device; None if the operation is not one of the backend's, and of a sequence of calls."""
    code = code_of(asked.operation, LOSSES | LAYERS, _of_kernel(asked.operation))
    if code is None or asked.usage is not Usage.PLAIN:
        return None
    statements = code(asked.problem)
    keras = ["import keras"] if "keras." in statements else []
    return Script(
        [*keras, "import numpy as np", "import tensorflow as tf", *import_of(asked.operation)],
        [_device_line(device), *_inputs(asked)],
        [function(defined(asked.operation), statements), *_functions(asked)],
        'f"tensorflow {tf.__version__}, keras {tf.keras.__version__}"',
    )


def _device_line(device: str) -> str:
    """Hides the GPUs but the one that is meant."""
    index = device.partition(":")[2]
    seen = f'[tf.config.list_physical_devices("GPU")[{index}]]' if index else "[]"
    return f'tf.config.set_visible_devices({seen}, "GPU")'


def _tensor(name: str, values: Floats, problem: Problem) -> str:
    shaped = "" if values.size else f".reshape({values.shape})"
    dtype = f"tf.{problem.format.name}.as_numpy_dtype"
    return wrapped(f"{name} = tf.constant(np.array({literal(values)}, dtype={dtype}){shaped})")


def _inputs(asked: Question) -> list[str]:
    problem = asked.problem
    if asked.operation.is_layer:
        named = zip(PARTS, layer_of(problem).arrays, strict=True)
        lines = [_tensor(name, values, problem) for name, values in named]
    else:
        lines = [_tensor("x", problem.logits, problem), *_laid_out(asked)]
    if asked.quantity in BLOCK_PRODUCTS:
        return [*lines, _tensor(UPSTREAM[asked.quantity], block_cotangent(asked.quantity, problem), problem)]
    if not asked.operation.has_loss:
        return lines
    indices = wrapped(f"t = tf.constant(np.array({literal(problem.target)}, dtype=np.{asked.label_dtype}))")
    lines.append(_tensor("t", problem.target, problem) if problem.has_probabilities else indices)
    if problem.row_weights is not None:
        lines.append(_tensor("r", problem.row_weights, problem))
    lines.append(_tensor("upstream", problem.upstream, problem))
    if asked.quantity is Quantity.HVP and problem.tangent is not None:
        lines.append(_tensor("v", problem.tangent, problem))
    return lines


def _laid_out(asked: Question) -> list[str]:
    lines = lines_of_logits(asked.problem.logits, asked.layout, "np")
    return ["x = x.numpy()", *lines, "x = tf.constant(x)"] if lines else []


def _functions(asked: Question) -> list[str]:
    mode, quantity = asked.operation.mode, asked.quantity
    if quantity in BLOCK_PRODUCTS:
        return [function("product(x, upstream)", _BLOCK_PRODUCT), _observe(mode, "product", f"x, {UPSTREAM[quantity]}", "")]
    if not asked.operation.has_loss:
        return [_observe(mode, "block", "x", "")]
    if asked.operation.is_layer:
        arguments = f"{', '.join(PARTS)}, t, upstream"
        results = function(f"results({arguments})", _LAYER.format(part=part_of(quantity)))
        return [results, _observe(mode, "results", arguments, f"[{1 if part_of(quantity) else 0}]")]
    if quantity is Quantity.TARGET_GRADIENT:
        return [function("by_target(x, t, upstream)", _BY_TARGET), _observe(mode, "by_target", "x, t, upstream", "")]
    checked = "" if asked.problem.num_rows else _SHAPE_CHECKED
    first = function("loss_and_gradient(x, t, upstream)", _LOSS_AND_GRADIENT.format(checked=checked))
    if isinstance(asked.operation.function, HessianByJacobian):
        return [first, function("observe()", _JACOBIAN)]
    if quantity is Quantity.GRADIENT or (quantity is Quantity.LOSS and mode == XLA):
        return [first, _observe(mode, "loss_and_gradient", "x, t, upstream", f"[{int(quantity is Quantity.GRADIENT)}]")]
    if quantity is Quantity.LOSS:
        return [_observe(mode, "loss", "x, t", "")]
    product = function("product(x, t, upstream, v)", _PRODUCT)
    return [first, product, _observe(mode, "product", "x, t, upstream, v", "", hessian=quantity is Quantity.HESSIAN)]


def _observe(mode: str, name: str, arguments: str, place: str, hessian: bool = False) -> str:
    """observe(): the function called in its mode, or once a unit vector."""
    units = _UNITS if hessian else ""
    like = arguments.replace(", v", ", units[0]") if hessian else arguments
    run, traced = "run", f"given = ({like}{'' if ',' in like else ','})\n"
    if mode == EAGER:
        run, traced = name, ""
    elif mode == XLA:
        traced = f"run = tf.function({name}, jit_compile=True, autograph=False)\n"
    else:
        traced += "signature = [tf.TensorSpec([None] * len(tensor.shape), tensor.dtype) for tensor in given]\n"
        traced += f"run = tf.function({name}, input_signature=signature, autograph=False)\n"
    if hessian:
        rows = f"rows = [{run}({arguments.replace(', v', ', unit')}) for unit in units]\n"
        return function("observe()", f"{units}{traced}{rows}return tf.stack(rows, axis=1).numpy()")
    return function("observe()", f"{traced}return {run}({arguments}){place}.numpy()")
