"""JAX's and optax's operations as statements of a script; tests/test_reproducers.py holds them to the adapter's bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from adapters.jax.derivatives import forward_gradient
from adapters.jax.layers import CHUNK
from adapters.operation import Operation
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
from adapters.usage import Usage
from reference.evaluation import MAX_HESSIAN_CLASSES
from reference.formats import Floats
from reference.options import PARTS
from reference.problem import Problem, layer_of
from reference.quantity import BLOCK_PRODUCTS, Quantity
from reference.reduction import Reduction

_INTEGER_LABELS = "optax.softmax_cross_entropy_with_integer_labels"

_REDUCED = {Reduction.NONE: "{}", Reduction.SUM: "jnp.sum({})", Reduction.MEAN: "jnp.mean({})"}


def _losses(losses: str, before: str = "") -> Code:
    """Losses of the rows, reduced as a user would; labels are smoothed before."""

    def code(problem: Problem) -> str:
        smoothed = f"t = optax.smooth_labels(t, {problem.label_smoothing!r})\n" if problem.label_smoothing else ""
        return smoothed + before + "return " + _REDUCED[problem.reduction].format(losses)

    return code


def _softcap_z_loss(problem: Problem) -> str:
    z = problem.z_loss
    penalty = f" + {z!r} * jax.nn.logsumexp(x, axis=1) ** 2" if z else ""
    return _losses(f"{_INTEGER_LABELS}(x, t){penalty}", softcapped(problem, "jnp.tanh"))(problem)


_IN_CHUNKS = """
rows, wide = features.shape[0], jnp.promote_types(features.dtype, jnp.float32)
missing = -rows % {chunk}
h = jnp.pad(features, ((0, missing), (0, 0))).reshape(-1, {chunk}, features.shape[1])
labels = jnp.pad(t, (0, missing)).reshape(-1, {chunk})
counts = (jnp.arange(rows + missing) < rows).reshape(-1, {chunk})

@jax.checkpoint
def step(total, chunk):
    h, labels, counts = chunk
    logits = jnp.matmul(h, weight.T, preferred_element_type=wide) + bias
    losses = jnp.where(counts, optax.softmax_cross_entropy_with_integer_labels(logits, labels), 0)
    return total + losses.sum(), losses

total, losses = jax.lax.scan(step, jnp.zeros((), wide), (h, labels, counts))
return {reduced}
"""
_OF_CHUNKS = {Reduction.NONE: "losses.reshape(-1)[:rows]", Reduction.SUM: "total", Reduction.MEAN: "total / rows"}


def _two_steps(problem: Problem) -> str:
    logits = "jnp.matmul(features, weight.T, precision=jax.lax.Precision.HIGHEST) + bias"
    return f"x = {logits}\n" + _losses(f"{_INTEGER_LABELS}(x, t)")(problem)


LAYERS: dict[str, Code] = {
    "linear_then_cross_entropy": _two_steps,
    "linear_cross_entropy_scan": lambda problem: _IN_CHUNKS.format(chunk=CHUNK, reduced=_OF_CHUNKS[problem.reduction]),
}
"""The statements of loss(features, weight, bias, t), by the name of the operation."""

LOSSES: dict[str, Code] = {
    "softmax_cross_entropy_with_integer_labels": _losses(f"{_INTEGER_LABELS}(x, t)"),
    "softmax_cross_entropy_with_integer_labels_forward": _losses(f"{_INTEGER_LABELS}(x, t)"),
    "softmax_cross_entropy": _losses("optax.softmax_cross_entropy(x, t)"),
    "safe_softmax_cross_entropy": _losses("optax.safe_softmax_cross_entropy(x, t)"),
    "safe_softmax_cross_entropy_forward": _losses("optax.safe_softmax_cross_entropy(x, t)"),
    "log_softmax_pick": _losses("-jnp.take_along_axis(jax.nn.log_softmax(x, axis=1), t[:, None], axis=1)[:, 0]"),
    "logsumexp_pick": _losses("jax.nn.logsumexp(x, axis=1) - jnp.take_along_axis(x, t[:, None], axis=1)[:, 0]"),
    "softcap_z_loss": _softcap_z_loss,
    "kl_divergence": _losses("optax.kl_divergence(jax.nn.log_softmax(x, axis=1), t)"),
    "squared_error_of_softmax": _losses("jnp.sum((jax.nn.softmax(x, axis=1) - t) ** 2, axis=1)"),
    "sigmoid_binary_cross_entropy": _losses("optax.sigmoid_binary_cross_entropy(x, t)[:, 0]"),
    "sigmoid_focal_loss": lambda problem: _losses(f"optax.sigmoid_focal_loss(x, t, gamma={problem.focusing!r})[:, 0]")(problem),
    "log_softmax": lambda _: "return jax.nn.log_softmax(x, axis=1)",
    "softmax": lambda _: "return jax.nn.softmax(x, axis=1)",
    "logsumexp": lambda _: "return jax.nn.logsumexp(x, axis=1)",
    "entropy": lambda _: "return jnp.sum(jax.scipy.special.entr(jax.nn.softmax(x, axis=1)), axis=1)",
}
"""The statements of loss(x, t), or block(x), by the name of the operation."""

_REVERSE = """
losses, pullback = jax.vjp(lambda x: loss(x, t), x)
return pullback(upstream.astype(losses.dtype))[0]
"""
_BY_TARGET = """
losses, pullback = jax.vjp(lambda labels: loss(x, labels), t)
return pullback(upstream.astype(losses.dtype))[0]
"""
_FORWARD = """
push = jax.linearize(lambda x: loss(x, t), x)[1]
return along_each_class(push, x).T * upstream[:, None]
"""
_BASIS = """
classes = x.shape[1]
basis = jnp.broadcast_to(jnp.eye(classes, dtype=x.dtype)[:, None, :], (classes, *x.shape))
"""
_AT_ONCE = _BASIS + "return jax.vmap(push)(basis)"
_ONE_BY_ONE = _BASIS + "return jnp.stack([push(unit) for unit in basis])"

_PUSH = "push = jax.linearize(lambda x: gradient(x, t, upstream), x)[1]\n"
_HESSIAN = "jnp.moveaxis(along_each_class(push, x), 0, 2)"

_LAYER = f"""
losses, pullback = jax.vjp(lambda {{part}}: {OF_PARTS}, {{part}})
return losses, *pullback(upstream.astype(losses.dtype))
"""


def _of_kernel(operation: Operation) -> Callable[[str], Code]:
    """The call of a user's kernel."""
    given = f"features, weight, t{', bias=bias' if operation.has_bias else ''}" if operation.is_layer else "x, t"
    return lambda name: _losses(f"{name}({given})")


def jax_script(asked: Question, device: str) -> Script | None:
    """The script of a quantity on a device; None if the operation is not one of the backend's, and of a sequence of calls.

    Compiled, what the adapter compiles as one function is one.
    """
    code = code_of(asked.operation, LOSSES | LAYERS, _of_kernel(asked.operation))
    if code is None or asked.usage is not Usage.PLAIN:
        return None
    imports = ["import jax", "import jax.numpy as jnp", "import numpy as np", "import optax"]
    return Script(
        [*imports, *import_of(asked.operation)],
        [*_config_lines(device), *_inputs(asked)],
        [function(defined(asked.operation), code(asked.problem)), *_functions(asked)],
        'f"jax {jax.__version__}, optax {optax.__version__}, {jax.config.jax_default_device}"',
    )


def _config_lines(device: str) -> list[str]:
    kind, _, index = device.partition(":")
    place = f'jax.devices("{"gpu" if index else kind}")[{index or 0}]'
    return ['jax.config.update("jax_enable_x64", True)', f'jax.config.update("jax_default_device", {place})']


def _array(name: str, values: Floats, problem: Problem) -> str:
    shaped = "" if values.size else f".reshape({values.shape})"
    return wrapped(f"{name} = jnp.asarray(np.array({literal(values)}, dtype=jnp.{problem.format.name}){shaped})")


def _inputs(asked: Question) -> list[str]:
    problem = asked.problem
    if asked.operation.is_layer:
        named = zip(PARTS, layer_of(problem).arrays, strict=True)
        lines = [_array(name, values, problem) for name, values in named]
    else:
        lines = [_array("x", problem.logits, problem), *_laid_out(asked)]
    if asked.quantity in BLOCK_PRODUCTS:
        return [*lines, _array(UPSTREAM[asked.quantity], block_cotangent(asked.quantity, problem), problem)]
    if not asked.operation.has_loss:
        return lines
    lines.append(_array("t", problem.target, problem) if problem.has_probabilities else _indices(asked))
    lines.append(_array("upstream", problem.upstream, problem))
    if _order(asked) == 2:
        tangent = np.zeros_like(problem.logits) if problem.tangent is None else problem.tangent
        lines.append(_array("v", tangent, problem))
    return lines


def _laid_out(asked: Question) -> list[str]:
    lines = lines_of_logits(asked.problem.logits, asked.layout, "np")
    return ["x = np.asarray(x)", *lines, "x = jnp.asarray(x)"] if lines else []


def _indices(asked: Question) -> str:
    return wrapped(f"t = jnp.asarray(np.array({literal(asked.problem.target)}, dtype=np.{asked.label_dtype}))")


def _order(asked: Question) -> int:
    """How often the function that is compiled differentiates: once for a loss too, which comes with its gradient."""
    return 2 if asked.quantity in (Quantity.HVP, Quantity.HESSIAN) else 1


def _functions(asked: Question) -> list[str]:
    how, quantity = asked.operation.function, asked.quantity
    if not asked.operation.has_loss:
        given = UPSTREAM.get(quantity, "")
        name, arguments = ("product", f"x, {given}") if given else ("block", "x")
        product = [function("product(x, upstream)", "return jax.vjp(block, x)[1](upstream)[0]")] if given else []
        run = f"jax.jit({name})({arguments})" if how.compiled else f"{name}({arguments})"
        return [*product, function("observe()", f"return np.asarray({run})")]
    decorator = "@jax.jit\n" if how.compiled else ""
    if asked.operation.is_layer:
        part, arguments = part_of(quantity), f"{', '.join(PARTS)}, t, upstream"
        run = function(f"run({arguments})", _LAYER.format(part=part) if part else f"return {OF_PARTS},")
        return [decorator + run, function("observe()", f"return np.asarray(run({arguments})[{1 if part else 0}])")]
    if quantity is Quantity.TARGET_GRADIENT:
        run = decorator + function("by_target(x, t, upstream)", _BY_TARGET)
        return [run, function("observe()", "return np.asarray(by_target(x, t, upstream))")]
    forward = how.gradient is forward_gradient
    gradient = function("gradient(x, t, upstream)", _FORWARD if forward else _REVERSE)
    along = [function("along_each_class(push, x)", _AT_ONCE if how.compiled else _ONE_BY_ONE)]
    needs_basis = (forward and quantity is not Quantity.LOSS) or _order(asked) == 2
    return [*(along if needs_basis or (forward and how.compiled) else []), gradient, *_observe(asked, decorator)]


def _observe(asked: Question, decorator: str) -> list[str]:
    """observe(), and the function that is compiled with everything that the adapter compiles with it."""
    quantity, places = asked.quantity, (Quantity.LOSS, Quantity.GRADIENT, Quantity.HVP, Quantity.HESSIAN)
    results = ["loss(x, t)", "gradient(x, t, upstream)", "push(v)", _HESSIAN]
    whole = asked.problem.num_classes <= MAX_HESSIAN_CLASSES
    if _order(asked) == 1:
        chosen, push, arguments = results[:2], "", "x, t, upstream"
    else:
        chosen, push, arguments = results[2 : 4 if whole else 3], _PUSH, "x, t, upstream, v"
    if not decorator:
        return [function("observe()", f"{push}return np.asarray({results[places.index(quantity)]})")]
    run = decorator + function(f"run({arguments})", f"{push}return {', '.join(chosen)},")
    return [run, function("observe()", f"return np.asarray(run({arguments})[{places.index(quantity) % 2}])")]
