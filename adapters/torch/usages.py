"""The sequences of calls in which PyTorch's training and inference ask for a loss and its gradient; see `adapters.usage`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.utils.checkpoint import checkpoint

from adapters.torch.derivatives import Results, Run, with_graph
from adapters.torch.losses import Loss, Tensor
from adapters.usage import Usage
from reference.quantity import Quantity

Player = Callable[[Loss, Run, Run], Results]
"""(loss, the call that counts, another batch) -> what the call that counts has returned."""


def _forward(loss: Loss, run: Run, logits: Tensor | None = None) -> Tensor:
    return with_graph(loss)(run.logits if logits is None else logits, run.target, run.options)


def _upstream(losses: Tensor, run: Run) -> Tensor:
    return run.cotangent(losses.shape).to(losses.dtype)


def _backward(losses: Tensor, run: Run, of: Run | None = None, again: bool = False) -> Tensor:
    """The gradient by the logits of a run, with its cotangent or that `of` another; `again` if the graph is used again."""
    (gradient,) = torch.autograd.grad(losses, run.logits, _upstream(losses, of or run), retain_graph=again)
    return gradient


def _results(losses: Tensor, gradient: Tensor) -> Results:
    return {Quantity.LOSS: losses.detach(), Quantity.GRADIENT: gradient}


def _no_grad(loss: Loss, run: Run, _: Run) -> Results:
    with torch.no_grad():
        return {Quantity.LOSS: loss(run.logits, run.target, run.options)}


def _inference_mode(loss: Loss, run: Run, _: Run) -> Results:
    with torch.inference_mode():
        return {Quantity.LOSS: loss(run.watched(run.logits * 1), run.target, run.options)}


def _interleaved(loss: Loss, run: Run, other: Run) -> Results:
    losses = _forward(loss, run)
    _forward(loss, other)
    return _results(losses, _backward(losses, run))


def _kept(loss: Loss, run: Run, other: Run) -> Results:
    losses = _forward(loss, run)
    gradient = _backward(losses, run)
    _backward(_forward(loss, other), other)
    return _results(losses, gradient)


def _twice(loss: Loss, run: Run, other: Run) -> Results:
    losses = _forward(loss, run)
    _backward(losses, run, of=other, again=True)
    return _results(losses, _backward(losses, run))


def _first_of_two(loss: Loss, run: Run, other: Run) -> Results:
    losses = _forward(loss, run)
    gradient = _backward(losses, run, again=True)
    _backward(losses, run, of=other)
    return _results(losses, gradient)


def _shared(loss: Loss, run: Run, _: Run) -> Results:
    """The others are products with weights of 0: they add 0 to the gradient, and that of their weights is what they kept."""
    logits = run.watched(run.logits * 1)
    weights = [torch.zeros_like(logits, requires_grad=True) for _ in range(2)]
    before = logits * weights[0]
    losses = _forward(loss, run, logits)
    after = logits * weights[1]
    ones = torch.ones_like(logits)
    upstream = (_upstream(losses, run), ones, ones)
    gradient, *kept = torch.autograd.grad((losses, before, after), (run.logits, *weights), upstream)
    for logits_again in kept:
        run.watched(logits_again)
    return _results(losses, gradient)


def _reused(loss: Loss, run: Run, other: Run) -> Results:
    memory = (run.logits.detach(), run.target)
    own = [tensor.clone() for tensor in memory]
    for tensor, values in zip(memory, (other.logits.detach(), other.target), strict=True):
        tensor.copy_(values)
    _backward(_forward(loss, run), run)
    for tensor, values in zip(memory, own, strict=True):
        tensor.copy_(values)
    losses = _forward(loss, run)
    return _results(losses, _backward(losses, run))


def _accumulated(loss: Loss, run: Run, _: Run) -> Results:
    first = _forward(loss, run)
    torch.autograd.backward(first, torch.zeros_like(first))
    return _at_leaf(_forward(loss, run), run)


def _at_leaf(losses: Tensor, run: Run) -> Results:
    """What backward adds to the gradient of the leaf."""
    torch.autograd.backward(losses, _upstream(losses, run))
    assert run.logits.grad is not None
    return _results(losses, run.logits.grad)


def _non_leaf(loss: Loss, run: Run, _: Run) -> Results:
    losses = _forward(loss, run, run.watched((run.logits * 1)[None][0]))
    return _results(losses, _backward(losses, run))


def _summed(loss: Loss, run: Run, _: Run) -> Results:
    losses = _forward(loss, run)
    (gradient,) = torch.autograd.grad(losses.sum(), run.logits)
    return _results(losses, gradient)


def _threaded(loss: Loss, run: Run, _: Run) -> Results:
    with ThreadPoolExecutor(1) as forward, ThreadPoolExecutor(1) as backward:
        losses = forward.submit(_forward, loss, run).result()
        return _results(losses, backward.submit(_backward, losses, run).result())


def _checkpointed(reentrant: bool) -> Player:
    def again(loss: Loss) -> Loss:
        return lambda logits, target, options: checkpoint(loss, logits, target, options, use_reentrant=reentrant)

    return lambda loss, run, _: _at_leaf(_forward(again(loss), run), run)


PLAYERS: dict[Usage, Player] = {
    Usage.NO_GRAD: _no_grad,
    Usage.INFERENCE_MODE: _inference_mode,
    Usage.INTERLEAVED: _interleaved,
    Usage.INTERLEAVED_ALIKE: _interleaved,
    Usage.KEPT: _kept,
    Usage.TWICE: _twice,
    Usage.FIRST_OF_TWO: _first_of_two,
    Usage.SHARED: _shared,
    Usage.REUSED: _reused,
    Usage.ACCUMULATED: _accumulated,
    Usage.NON_LEAF: _non_leaf,
    Usage.SUMMED: _summed,
    Usage.THREADED: _threaded,
    Usage.CHECKPOINTED: _checkpointed(reentrant=False),
    Usage.CHECKPOINTED_REENTRANT: _checkpointed(reentrant=True),
}
