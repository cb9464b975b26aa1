"""PyTorch's operations as statements of a script: the losses, and the ways to take their derivatives.

They say in a maintainer's words what `losses.py` and `derivatives.py` run; tests/test_reproducers.py holds the
two to the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from adapters.layout import Layout
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
    lines_beside,
    lines_of_logits,
    literal,
    part_of,
    softcapped,
    wrapped,
)
from adapters.torch.derivatives import FORWARD_OVER_REVERSE, ByFunc
from adapters.torch.layers import POLICIES, rows_of_chunk
from adapters.torch.losses import AUTOCAST, COMPILED, NAMED
from adapters.torch.usage_script import has_words, imports_of, observed, of_other
from adapters.usage import Usage
from reference.formats import Floats
from reference.options import PARTS
from reference.problem import Problem, layer_of
from reference.quantity import BLOCK_PRODUCTS, Quantity
from reference.reduction import Reduction


def _options(problem: Problem, named: Collection[str] = ()) -> str:
    """Keyword arguments of F.cross_entropy: those that the problem sets; and those that a kernel has beside them, all."""
    given = [f'reduction="{problem.reduction}"']
    given += ["weight=w"] if problem.class_weights is not None else []
    given += [f"label_smoothing={problem.label_smoothing!r}"] if problem.label_smoothing else []
    given += [f"ignore_index={problem.ignored_class}"] if problem.ignored_class is not None else []
    values = {name: repr(getattr(problem, name)) for name in NAMED if name in named}
    if problem.row_weights is not None:
        values["row_weights"] = "r"
    given += [f"{name}={value}" for name, value in values.items()]
    return ", ".join(given)


def called(name: str, named: Collection[str] = ()) -> Code:
    """A call with the signature of F.cross_entropy; `named` are options that it has beside those of that signature."""
    return lambda problem: f"return {name}(x, t, {_options(problem, named)})"


def _layer_called(name: str, has_bias: bool = True, more: str = "") -> Code:
    """A call with the signature of F.linear_cross_entropy, or of one without a bias."""
    bias = "linear_bias=bias, " if has_bias else ""
    return lambda problem: f"return {name}(features, weight, t, {bias}{_options(problem)}{more})"


def _of_kernel(operation: Operation) -> Callable[[str], Code]:
    """The call of a user's kernel."""
    if operation.is_layer:
        return partial(_layer_called, has_bias=operation.has_bias)
    return partial(called, named=operation.whole.options)


def _reduced(losses: str, before: str = "") -> Code:
    """Losses of the rows, reduced by a method of the tensor."""
    return lambda problem: (
        before + (f"return {losses}" if problem.reduction is Reduction.NONE else f"return ({losses}).{problem.reduction}()")
    )


def _classes_second(problem: Problem) -> str:
    first = "[0]" if problem.reduction is Reduction.NONE else ""
    return f"return F.cross_entropy(x.movedim(0, -1)[None], t[None], {_options(problem)}){first}"


def _scaled(problem: Problem) -> str:
    scale = "" if problem.temperature == 1.0 else f" / torch.tensor({problem.temperature!r}, dtype=x.dtype)"
    return f'return F.cross_entropy(x{scale}, t, reduction="{problem.reduction}")'


def _row_weighted(problem: Problem) -> str:
    losses = 'F.cross_entropy(x, t, reduction="none")' + (" * r" if problem.row_weights is not None else "")
    if problem.normaliser is None:
        return _reduced(losses)(problem)
    total = losses if problem.reduction is Reduction.NONE else f"({losses}).sum()"
    return f"return {total} / {problem.normaliser!r}"


def _softcap_z_loss(problem: Problem) -> str:
    z = problem.z_loss
    penalty = f" + {z!r} * torch.logsumexp(x, dim=1) ** 2" if z else ""
    return _reduced(f'F.cross_entropy(x, t, reduction="none"){penalty}', softcapped(problem, "torch.tanh"))(problem)


def _kl_div(problem: Problem) -> str:
    reduction = "batchmean" if problem.reduction is Reduction.MEAN else problem.reduction
    rows = ".sum(dim=1)" if problem.reduction is Reduction.NONE else ""
    return f'return F.kl_div(F.log_softmax(x, dim=1), t, reduction="{reduction}"){rows}'


def _focal(problem: Problem) -> str:
    losses = 'losses = F.cross_entropy(x, t, reduction="none")\n'
    return _reduced(f"(1 - torch.exp(-losses)) ** {problem.focusing!r} * losses", losses)(problem)


def _binary(problem: Problem) -> str:
    weight = f", pos_weight=x.new_tensor({problem.positive_weight!r})" if problem.positive_weight != 1.0 else ""
    reduction = f'reduction="{problem.reduction}"'
    return f"return F.binary_cross_entropy_with_logits(x[:, 0], t[:, 0]{weight}, {reduction})"


def _sigmoid_focal(problem: Problem) -> str:
    before = "\n".join(
        (
            "x, y = x[:, 0], t[:, 0]",
            "p = torch.sigmoid(x)",
            "p_t = p * y + (1 - p) * (1 - y)",
            'losses = F.binary_cross_entropy_with_logits(x, y, reduction="none")\n',
        )
    )
    return _reduced(f"(1 - p_t) ** {problem.focusing!r} * losses", before)(problem)


_in_one_call = partial(_layer_called, "F.linear_cross_entropy")


def _in_chunks(policy: str) -> Code:
    def code(problem: Problem) -> str:
        rows = rows_of_chunk(problem.num_rows)
        chunks = f'batch_chunk_size={rows}, chunking_method=None, acc_policy="{policy}"'
        return _in_one_call(more=f", options=torch.nn.LinearCrossEntropyOptions({chunks})")(problem)

    return code


LAYERS: dict[str, Code] = {
    "linear_then_cross_entropy": lambda problem: (
        f"return F.cross_entropy(F.linear(features, weight, bias), t, {_options(problem)})"
    ),
    "linear_cross_entropy": _in_one_call(),
    "linear_cross_entropy_chunked": _in_one_call(more=", options=torch.nn.LinearCrossEntropyOptions()"),
    **{f"linear_cross_entropy_{policy}": _in_chunks(policy) for policy in POLICIES},
}
"""The statements of loss(features, weight, bias, t), by the name of the operation."""

LOSSES: dict[str, Code] = {
    "cross_entropy": called("F.cross_entropy"),
    "cross_entropy_func": called("F.cross_entropy"),
    "cross_entropy_forward": called("F.cross_entropy"),
    "cross_entropy_probabilities": called("F.cross_entropy"),
    "cross_entropy_classes_second": _classes_second,
    "log_softmax_nll_loss": lambda problem: f"return F.nll_loss(F.log_softmax(x, dim=1), t, {_options(problem)})",
    "logsumexp_gather": _reduced("torch.logsumexp(x, dim=1) - x.gather(1, t[:, None])[:, 0]"),
    "log_of_softmax": _reduced("-torch.log(torch.softmax(x, dim=1)).gather(1, t[:, None])[:, 0]"),
    "scaled_cross_entropy": _scaled,
    "row_weighted_cross_entropy": _row_weighted,
    "softcap_z_loss": _softcap_z_loss,
    "kl_div": _kl_div,
    "squared_error_of_softmax": _reduced('F.mse_loss(F.softmax(x, dim=1), t, reduction="none").sum(dim=1)'),
    "focal_loss": _focal,
    "binary_cross_entropy_with_logits": _binary,
    "binary_cross_entropy_of_sigmoid": lambda problem: (
        f'return F.binary_cross_entropy(torch.sigmoid(x[:, 0]), t[:, 0], reduction="{problem.reduction}")'
    ),
    "sigmoid_focal_loss": _sigmoid_focal,
    "log_softmax": lambda _: "return F.log_softmax(x, dim=1)",
    "softmax": lambda _: "return F.softmax(x, dim=1)",
    "logsumexp": lambda _: "return torch.logsumexp(x, dim=1)",
    "entropy": lambda _: "return torch.distributions.Categorical(logits=x, validate_args=False).entropy()",
}
"""The statements of loss(x, t), or block(x), by the name of the operation."""

_BACKWARD = """
losses = {loss}(x, t)
(gradient,) = torch.autograd.grad(losses, x, {upstream}{graph})
"""
_AUTOGRAD = {
    Quantity.LOSS: "return {loss}(x, t)",
    Quantity.GRADIENT: _BACKWARD + "return gradient",
    Quantity.TARGET_GRADIENT: """
target = t.detach().requires_grad_()
losses = {loss}(x, target)
return torch.autograd.grad(losses, (x, target), {upstream})[1]
""",
    Quantity.HVP: _BACKWARD + "return torch.autograd.grad(gradient, x, v)[0]",
    Quantity.HESSIAN: _BACKWARD
    + """
directions = [unit.repeat(x.shape[0], 1) for unit in torch.eye(x.shape[1], dtype=x.dtype)]
rows = [torch.autograd.grad(gradient, x, direction, retain_graph=True)[0] for direction in directions]
return torch.stack(rows, dim=1)
""",
}

_SCALAR = """
def scalar(x):
    return (loss(x, t) * upstream).sum()

"""
_OF_EACH_ROW = "rows = torch.arange(x.shape[0])\nreturn {}(x)[rows, :, rows, :]"
_FUNC = {
    Quantity.LOSS: "return loss(x, t)",
    Quantity.GRADIENT: _SCALAR + "return torch.func.grad(scalar)(x)",
    Quantity.HVP: _SCALAR + "return torch.func.jvp(torch.func.grad(scalar), (x,), (v,))[1]",
    Quantity.HESSIAN: _SCALAR + _OF_EACH_ROW.format("torch.func.hessian(scalar)"),
}
_FORWARD = {
    Quantity.LOSS: "return loss(x, t)",
    Quantity.GRADIENT: _SCALAR + "return torch.func.jacfwd(scalar)(x)",
    Quantity.HVP: _SCALAR + "return torch.func.jvp(torch.func.jacfwd(scalar), (x,), (v,))[1]",
    Quantity.HESSIAN: _SCALAR + _OF_EACH_ROW.format("torch.func.jacfwd(torch.func.jacfwd(scalar))"),
}
_LAYER = f"""
losses = {OF_PARTS}
return torch.autograd.grad(losses, {{part}}, {{upstream}})[0]
"""


ENVIRONMENT = "torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
"""What decides the result, as the inside of an f-string."""


@dataclass(frozen=True)
class Words:
    """What PyTorch, or a package on it, says in a script: its losses, what it imports, defines first, and where it runs."""

    losses: Mapping[str, Code]
    imports: Sequence[str]
    functions: Sequence[str] = ()
    environment: str = ENVIRONMENT


_PYTORCH = Words(LOSSES | LAYERS, ["import torch", "import torch.nn.functional as F"])


def torch_script(asked: Question, device: str, words: Words = _PYTORCH) -> Script | None:
    """The script of a quantity on a device; None if the operation is not among the words."""
    code = code_of(asked.operation, words.losses, _of_kernel(asked.operation))
    if code is None or not has_words(asked):
        return None
    return Script(
        [*words.imports, *imports_of(asked.usage), *import_of(asked.operation)],
        [*_device_lines(device), *_inputs(asked), *_other_inputs(asked)],
        [*words.functions, *_functions(asked, code(asked.problem))],
        f'f"{words.environment}"',
    )


def _device_lines(device: str) -> list[str]:
    return [] if device == "cpu" else [f'torch.set_default_device("{device}")']


def _tensor(name: str, values: Floats, problem: Problem, more: str = "") -> str:
    shaped = "" if values.size else f".reshape({values.shape})"
    return wrapped(f"{name} = torch.tensor({literal(values)}, dtype=torch.{problem.format.name}{more}){shaped}")


def _inputs(asked: Question) -> list[str]:
    problem, by_func = asked.problem, isinstance(_way(asked), ByFunc)
    if asked.operation.is_layer:
        lines = _layer_inputs(asked) if asked.usage is Usage.PLAIN else _leaf("x", problem)
    else:
        pulled = asked.quantity in BLOCK_PRODUCTS
        leaf = (asked.operation.has_loss or pulled) and _goes_back(asked) and not by_func
        contiguous = asked.layout is Layout.CONTIGUOUS and problem.logits.size
        lines = [_tensor("x", problem.logits, problem, ", requires_grad=True" if leaf and contiguous else "")]
        lines += lines_of_logits(problem.logits, asked.layout, "torch")
        lines += ["x.requires_grad_()"] if leaf and not contiguous else []
    if asked.quantity in BLOCK_PRODUCTS:
        return lines + _beside(UPSTREAM[asked.quantity], block_cotangent(asked.quantity, problem), asked)
    if not asked.operation.has_loss:
        return lines
    lines += [_target(problem, asked.label_dtype), *lines_beside("t", problem.target, asked.layout, "torch")]
    if problem.class_weights is not None:
        lines += _beside("w", problem.class_weights, asked)
    if problem.row_weights is not None:
        lines += _beside("r", problem.row_weights, asked)
    if _goes_back(asked) and (by_func or _has_upstream(asked)):
        lines += _beside("upstream", problem.upstream, asked)
    if asked.quantity is Quantity.HVP and problem.tangent is not None:
        lines += _beside("v", problem.tangent, asked)
    return lines


def _goes_back(asked: Question) -> bool:
    """True unless the loss alone is computed; in a sequence of calls the logits need a gradient all the same."""
    return asked.quantity is not Quantity.LOSS or asked.usage is not Usage.PLAIN


def _other_inputs(asked: Question) -> list[str]:
    """Statements that make what the usage reads of the other batch."""
    names = of_other(asked.usage)
    if not names:
        return []
    other = asked.other
    plain = [_tensor("other_x", other.logits, other, ", requires_grad=True")]
    made = {
        "other_x": _leaf("other_x", other) if asked.operation.is_layer else plain,
        "other_t": [_target(other, asked.label_dtype, "other_t")],
        "other_upstream": [_tensor("other_upstream", other.upstream, other)],
    }
    return [line for name in names for line in made[name]]


def _beside(name: str, values: Floats, asked: Question) -> list[str]:
    return [_tensor(name, values, asked.problem), *lines_beside(name, values, asked.layout, "torch")]


def _has_upstream(asked: Question) -> bool:
    """True if the cotangent is more than ones that lie one after another."""
    return asked.problem.cotangent is not None or asked.layout is not Layout.CONTIGUOUS


def _target(problem: Problem, label_dtype: str, name: str = "t") -> str:
    if problem.has_probabilities:
        return _tensor(name, problem.target, problem)
    return wrapped(f"{name} = torch.tensor({literal(problem.target)}, dtype=torch.{label_dtype})")


def _leaf(name: str, problem: Problem) -> list[str]:
    """Statements that make one leaf of the parts of a layer, in which a sequence of calls takes them."""
    named = zip(PARTS, layer_of(problem).arrays, strict=True)
    joined = ", ".join(f"{part}.flatten()" for part in PARTS)
    return [
        *(_tensor(part, values, problem) for part, values in named),
        f"{name} = torch.cat([{joined}]).requires_grad_()",
    ]


def _layer_inputs(asked: Question) -> list[str]:
    lines: list[str] = []
    for name, values in zip(PARTS, layer_of(asked.problem).arrays, strict=True):
        lines += [_tensor(name, values, asked.problem), *lines_of_logits(values, asked.layout, "torch", name)]
        lines += [f"{name}.requires_grad_()"] if name == part_of(asked.quantity) else []
    return lines


def _way(asked: Question) -> object:
    """How the derivatives are taken; None for a building block."""
    return asked.operation.function.derivatives if asked.operation.has_loss else None


def _functions(asked: Question, code: str) -> list[str]:
    mode, quantity, way = asked.operation.mode, asked.quantity, _way(asked)
    head = defined(asked.operation)
    name = head.partition("(")[0]
    if mode == AUTOCAST:
        indented = code.replace("\n", "\n    ")
        first = head.partition("(")[2].partition(",")[0]
        code = f"with torch.autocast({first}.device.type, dtype=torch.bfloat16):\n    {indented}"
    upstream = "upstream" if _has_upstream(asked) else "torch.ones_like(losses)"
    keys = {"loss": "compiled" if mode == COMPILED else "loss", "upstream": upstream}
    if not asked.operation.has_loss:
        call, given = f"{'compiled' if mode == COMPILED else 'block'}(x)", UPSTREAM.get(quantity, "")
        observe = f"return torch.autograd.grad({call}, x, {given})[0]" if given else f"return {call}"
    elif asked.usage is not Usage.PLAIN and asked.operation.is_layer:
        return _played_layer(asked, function(head.replace("loss", "of_parts"), code), observed(asked, upstream))
    elif asked.usage is not Usage.PLAIN:
        observe = observed(asked, upstream)
    elif asked.operation.is_layer:
        part = part_of(quantity)
        observe = _LAYER.format(part=part, **keys) if part else f"return {OF_PARTS}"
    elif isinstance(way, ByFunc):
        observe = (_FUNC if way.transforms is FORWARD_OVER_REVERSE else _FORWARD)[quantity]
    else:
        second = ", create_graph=True" if quantity in (Quantity.HVP, Quantity.HESSIAN) else ""
        observe = _AUTOGRAD[quantity].format(graph=second, **keys)
    replaced = "compiled" if asked.usage is Usage.PLAIN else name
    compiled = [f"{replaced} = torch.compile({name}, dynamic=True, fullgraph=True)"] if mode == COMPILED else []
    return [function(head, code), *compiled, function("observe()", observe)]


_PARTS = """
classes = (x.numel() - rows * {width}) // {more}
features, weight, bias = x.split([rows * {width}, classes * {width}, classes])
return features.view(rows, {width}), weight.view(classes, {width}), bias
"""


def _played_layer(asked: Question, of_parts: str, observe: str) -> list[str]:
    """A layer in a sequence of calls: its parts lie in one leaf x, so that the statements are those of logits."""
    width = layer_of(asked.problem).weight.shape[1]
    part = part_of(asked.quantity)
    place = f"parts(gradient, {asked.problem.num_rows})[{PARTS.index(part)}]" if part else ""
    compiled = "of_parts = torch.compile(of_parts, dynamic=True, fullgraph=True)"
    return [
        of_parts,
        *([compiled] if asked.operation.mode == COMPILED else []),
        function("parts(x, rows)", _PARTS.format(width=width, more=width + 1)),
        function("loss(x, t)", "return of_parts(*parts(x, len(t)), t)"),
        function("observe()", observe.replace("return gradient", f"return {place}") if part else observe),
    ]
