"""PyTorch's softmax cross-entropy and the ways people compose one, as functions of logits, target and options."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.distributions import Categorical

from adapters.adapter import ADVICE
from adapters.loss_options import LossOptions, numbers_of
from adapters.returned import AnswerError, called, check_shape, name_of_kernel, parameters_of, refused
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, Floats, Format
from reference.problem import Problem
from reference.reduction import Reduction

DTYPES = {FLOAT64: torch.float64, FLOAT32: torch.float32, FLOAT16: torch.float16, BFLOAT16: torch.bfloat16}

COMPILED, AUTOCAST = "compiled", "autocast"
"""Modes besides the eager one."""

_MOST_GRAPHS = 4096

Tensor = torch.Tensor


@dataclass(frozen=True)
class Options(LossOptions):
    """The options of a problem as PyTorch takes them."""

    reduction: str
    weight: Tensor | None
    ignore_index: int | None
    """None where no row is ignored: then it is not passed."""
    temperature: Tensor | None = None
    """None where it is 1; a tensor, so that one graph serves all."""
    row_weights: Tensor | None = None


_TENSORS = ("weight", "temperature", "row_weights")
"""Fields of `Options` that are tensors, or None."""

NAMED = ("row_weights", "normaliser", "logit_scale", "logit_softcap", "z_loss")
"""Options that a kernel may take beside those of torch.nn.functional.cross_entropy: each by its name in a problem."""

Loss = Callable[[Tensor, Tensor, Options], Tensor]
"""(logits (N, K), target, options) -> losses (N,), or () where the options reduce."""


def to_tensor(values: Floats, fmt: Format, device: str) -> Tensor:
    """Members of a format as a tensor of its dtype, to the bit.

    PyTorch would convert many of them in threads of its own, whose floating-point state nobody else sees.
    """
    bits = fmt.cast(values).view(f"int{fmt.bits}")
    return torch.from_numpy(np.array(bits, order="C")).view(DTYPES[fmt]).to(device)


@dataclass(frozen=True)
class Weights:
    """The weights of a problem on its device, by class and by row; None where it has none."""

    of_classes: Tensor | None = None
    of_rows: Tensor | None = None


def options_of(problem: Problem, device: str, weights: Weights) -> Options:
    """The options of a problem, tensors on the device; the weights are given."""
    return Options(
        reduction=problem.reduction.value,
        weight=weights.of_classes,
        row_weights=weights.of_rows,
        ignore_index=problem.ignored_class,
        temperature=None if problem.temperature == 1.0 else to_tensor(np.array(problem.temperature), problem.format, device),
        **numbers_of(problem),
    )


def implementation_loss(function: Callable[..., Tensor], named: Collection[str] = ()) -> Loss:
    """A callable with the signature of torch.nn.functional.cross_entropy; of its options only those that are set are passed.

    `named` are options that it takes beside those of that signature, by their names in a problem. They are passed always: what
    a kernel leaves out by default is its own affair.
    """

    def loss(logits: Tensor, target: Tensor, options: Options) -> Tensor:
        given: dict[str, Any] = {"reduction": options.reduction}
        if options.weight is not None:
            given["weight"] = options.weight
        if options.label_smoothing:
            given["label_smoothing"] = options.label_smoothing
        if options.ignore_index is not None:
            given["ignore_index"] = options.ignore_index
        given |= {name: getattr(options, name) for name in named}
        return function(logits, target, **given)

    return loss


def options_named(function: Callable[..., Any]) -> frozenset[str]:
    """Those of `NAMED` that a callable has parameters for, which can be passed by name; of a module, its forward has.

    >>> options_named(lambda input, target, *, reduction="mean", z_loss=0.0: None)
    frozenset({'z_loss'})
    """
    return frozenset(parameters_of(function)) & set(NAMED)


def losses_of_kernel(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A callable of the user's, which is told what it returned where that is no tensor of losses."""

    def losses(*inputs: Tensor, **options: Any) -> Tensor:
        return _checked(function, called(function, *inputs, **options), inputs[0], options["reduction"])

    return losses


def compiled_kernel(function: Callable[..., Tensor], loss_of: Callable[[Callable[..., Tensor]], Any]) -> Any:
    """A callable of the user's under torch.compile, whole; what it returned is checked outside of the graph.

    `loss_of` makes a loss, or that of a layer, of a callable. Before each graph the kernel is called eagerly: what it refuses
    it then refuses in its own words, and not in those of the compiler.
    """
    inside = Compiled(loss_of(function), loss_of(losses_of_kernel(function)))
    return lambda *given: _checked(function, inside(*given), given[0], given[-1].reduction)


def _checked(function: object, returned: object, rows: Tensor, reduction: str) -> Tensor:
    """What a kernel returned, if it is a tensor of losses: one for each of the rows, or one of them all."""
    if not isinstance(returned, Tensor):
        raise refused(function, returned, "a tensor of N losses, or of one where the reduction is 'sum' or 'mean'")
    if returned.layout != torch.strided or returned.is_meta:
        kind = f"a {returned.layout} tensor on {returned.device}"
        raise AnswerError(f"{name_of_kernel(function)} returned {kind}; allowed: a strided tensor on {rows.device}")
    wanted = () if reduction != Reduction.NONE else tuple(rows.shape[:1])
    if wanted and returned.ndim == 0:
        told = f"{name_of_kernel(function)} returned one loss where the reduction is 'none'"
        raise AnswerError(f'{told}{ADVICE}losses of rows declares @limits("why", reduces="mean")')
    check_shape(function, "losses", tuple(returned.shape), wanted)
    return returned


cross_entropy = implementation_loss(F.cross_entropy)


def _nll_of_log_softmax(logits: Tensor, target: Tensor, **options: Any) -> Tensor:
    return F.nll_loss(F.log_softmax(logits, dim=1), target, **options)


log_softmax_nll_loss = implementation_loss(_nll_of_log_softmax)


def entropy(logits: Tensor) -> Tensor:
    """The entropy (N,) of the softmax, as torch.distributions has it; it would refuse a NaN otherwise."""
    entropy: Tensor = Categorical(logits=logits, validate_args=False).entropy()  # type: ignore[no-untyped-call]
    return entropy


def logsumexp_gather(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """Losses (N,), or reduced: logsumexp(x) - x_t, as people write it."""
    return _reduce(torch.logsumexp(logits, dim=1) - logits.gather(1, target[:, None])[:, 0], options)


def log_of_softmax(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """Losses (N,), or reduced: -log(softmax(x)_t), as people write it."""
    return _reduce(-torch.log(torch.softmax(logits, dim=1)).gather(1, target[:, None])[:, 0], options)


def scaled_cross_entropy(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """cross_entropy(x / T), the temperature as people apply it."""
    scaled = logits if options.temperature is None else logits / options.temperature
    return F.cross_entropy(scaled, target, reduction=options.reduction)


def row_weighted_cross_entropy(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """Losses of the rows times their weights, over the number of tokens of all micro-batches, as trainers write it."""
    losses = F.cross_entropy(logits, target, reduction="none")
    if options.row_weights is not None:
        losses = losses * options.row_weights
    if options.normaliser is None:
        return _reduce(losses, options)
    return (losses if options.reduction == Reduction.NONE else losses.sum()) / options.normaliser


def softcap_z_loss(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """cross_entropy(y) + z logsumexp(y)^2 of y = c tanh(s x/c), as language models write it."""
    capped = options.softcapped(logits, torch.tanh)
    losses = F.cross_entropy(capped, target, reduction="none")
    if options.z_loss:
        losses = losses + options.z_loss * torch.logsumexp(capped, dim=1) ** 2
    return _reduce(losses, options)


def kl_div(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """F.kl_div of log_softmax, summed over the classes; its mean is 'batchmean'."""
    reduction = "batchmean" if options.reduction == Reduction.MEAN else options.reduction
    divergence = F.kl_div(F.log_softmax(logits, dim=1), target, reduction=reduction)
    return divergence.sum(dim=1) if reduction == Reduction.NONE else divergence


def squared_error(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """sum_c (softmax(x)_c - q_c)^2."""
    return _reduce(F.mse_loss(F.softmax(logits, dim=1), target, reduction="none").sum(dim=1), options)


def focal(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """(1 - p_t)^g times cross_entropy, p_t = exp(-cross_entropy): the common composition."""
    losses = F.cross_entropy(logits, target, reduction="none")
    return _reduce((1 - torch.exp(-losses)) ** options.focusing * losses, options)


def binary_cross_entropy_with_logits(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """PyTorch's sigmoid and binary cross-entropy in one."""
    weight = None if options.positive_weight == 1.0 else logits.new_tensor(options.positive_weight)
    return F.binary_cross_entropy_with_logits(logits[:, 0], target[:, 0], pos_weight=weight, reduction=options.reduction)


def binary_cross_entropy_of_sigmoid(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """Losses (N,), or reduced: binary_cross_entropy(sigmoid(x), y), of logits (N, 1)."""
    return F.binary_cross_entropy(torch.sigmoid(logits[:, 0]), target[:, 0], reduction=options.reduction)


def sigmoid_focal(logits: Tensor, target: Tensor, options: Options) -> Tensor:
    """(1 - p_t)^g times binary cross-entropy, p_t = p y + (1 - p)(1 - y): torchvision's sigmoid_focal_loss without alpha."""
    x, y = logits[:, 0], target[:, 0]
    p = torch.sigmoid(x)
    p_t = p * y + (1 - p) * (1 - y)
    losses = F.binary_cross_entropy_with_logits(x, y, reduction="none")
    return _reduce((1 - p_t) ** options.focusing * losses, options)


def _reduce(losses: Tensor, options: Options) -> Tensor:
    if options.reduction == Reduction.NONE:
        return losses
    return losses.sum() if options.reduction == Reduction.SUM else losses.mean()


def classes_second(loss: Loss) -> Loss:
    """The loss of the same rows as one sample of shape (1, K, N), PyTorch's (N, C, d1)."""

    def moved(logits: Tensor, target: Tensor, options: Options) -> Tensor:
        losses = loss(logits.movedim(0, -1)[None], target.movedim(0, -1)[None], options)
        return losses[0] if options.reduction == Reduction.NONE else losses

    return moved


def autocast(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The loss inside torch.autocast to bfloat16; its backward runs outside, as PyTorch's documentation asks for."""

    def cast(*given: Any) -> Tensor:
        with torch.autocast(given[0].device.type, dtype=torch.bfloat16):
            return loss(*given)

    return cast


class Compiled:
    """A loss under torch.compile: one graph for each set of options and dtype, for all shapes (dynamic=True).

    Graph breaks raise, and so does a number of graphs beyond all need: nothing falls back to eager unseen. `first` is called
    before a graph is made, and may raise.
    """

    def __init__(self, loss: Callable[..., Tensor], first: Callable[..., Tensor] | None = None) -> None:
        self.loss, self._first = loss, first
        self._graphs: dict[Any, Callable[..., Tensor]] = {}

    def __call__(self, *given: Any) -> Tensor:
        """The loss of tensors, the target the last of them, and `Options`; compiles where these options are new."""
        *tensors, options = given
        weights = {name: getattr(options, name) for name in _TENSORS}
        without: dict[str, Any] = dict.fromkeys(_TENSORS)
        fixed = replace(options, **without)
        key = (fixed, *(value is None for value in weights.values()), tensors[0].dtype)
        if key not in self._graphs:
            if self._first is not None:
                self._first(*(tensor.detach() for tensor in tensors), options)
            self._graphs[key] = compiled(lambda weights, *tensors: self.loss(*tensors, replace(fixed, **weights)))
        return self._graphs[key](weights, *tensors)


def allow_many_graphs() -> None:
    """Let torch.compile make a graph of every kind of problem: a few shapes and dtypes are as many as it makes by default."""
    torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = _MOST_GRAPHS


def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torch.compile of a function, whole and for all shapes.

    Its limits count the graphs of one line of code, which are many here: a graph for each dtype and set of options.
    The compiler takes seconds to import, so it is left alone until something is called.
    """

    @cache
    def program() -> Callable[..., Tensor]:
        allow_many_graphs()
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        return torch.compile(function, dynamic=True, fullgraph=True)

    return lambda *given: program()(*given)


def target_tensor(problem: Problem, device: str, label_dtype: str) -> Tensor:
    """The target as cross_entropy takes it."""
    if problem.has_probabilities:
        return to_tensor(problem.target, problem.format, device)
    return torch.from_numpy(problem.target.astype(label_dtype)).to(device)


def cotangent_tensor(problem: Problem, shape: torch.Size, device: str) -> Tensor:
    """The upstream gradient of a loss of that shape, in the dtype of the logits; ones where the problem has none."""
    given = np.ones(()) if problem.cotangent is None else problem.cotangent
    return to_tensor(np.broadcast_to(given, tuple(shape)), problem.format, device)
