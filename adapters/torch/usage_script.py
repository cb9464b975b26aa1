"""The sequences of calls of `usages.py` as statements of a script; they make `losses` and `gradient`."""

from __future__ import annotations

from adapters.question import Question
from adapters.usage import Usage
from reference.quantity import Quantity

_FORWARD = "losses = loss(x, t)"
_BACKWARD = "(gradient,) = torch.autograd.grad(losses, x, {upstream})"
_OF_OTHER = "torch.autograd.grad(losses, x, other_upstream{again})"
_AT_LEAF = "losses.backward({upstream})\ngradient = x.grad"

_SHARED = """
logits = x * 1
weights = [torch.zeros_like(logits, requires_grad=True) for _ in range(2)]
before = logits * weights[0]
losses = loss(logits, t)
after = logits * weights[1]
upstreams = ({upstream}, torch.ones_like(before), torch.ones_like(after))
gradient, *_ = torch.autograd.grad((losses, before, after), (x, *weights), upstreams)
"""
_REUSED = """
own_x, own_t = x.detach().clone(), t.clone()
with torch.no_grad():
    x.copy_(other_x)
    t.copy_(other_t)
losses = loss(x, t)
torch.autograd.grad(losses, x, {upstream})
with torch.no_grad():
    x.copy_(own_x)
    t.copy_(own_t)
losses = loss(x, t)
(gradient,) = torch.autograd.grad(losses, x, {upstream})
"""
_THREADED = """
with ThreadPoolExecutor(1) as forward, ThreadPoolExecutor(1) as backward:
    losses = forward.submit(loss, x, t).result()
    (gradient,) = backward.submit(torch.autograd.grad, losses, x, {upstream}).result()
"""

_STATEMENTS = {
    Usage.NO_GRAD: "with torch.no_grad():\n    losses = loss(x, t)",
    Usage.INFERENCE_MODE: "with torch.inference_mode():\n    losses = loss(x * 1, t)",
    Usage.INTERLEAVED: f"{_FORWARD}\nloss(other_x, other_t)\n{_BACKWARD}",
    Usage.INTERLEAVED_ALIKE: f"{_FORWARD}\nloss(other_x, other_t)\n{_BACKWARD}",
    Usage.KEPT: f"{_FORWARD}\n{_BACKWARD}\ntorch.autograd.grad(loss(other_x, other_t), other_x, other_upstream)",
    Usage.TWICE: f"{_FORWARD}\n{_OF_OTHER.format(again=', retain_graph=True')}\n{_BACKWARD}",
    Usage.FIRST_OF_TWO: f"{_FORWARD}\n{_BACKWARD[:-1]}, retain_graph=True)\n{_OF_OTHER.format(again='')}",
    Usage.SHARED: _SHARED,
    Usage.REUSED: _REUSED,
    Usage.ACCUMULATED: f"{_FORWARD}\nlosses.backward(torch.zeros_like(losses))\n{_FORWARD}\n{_AT_LEAF}",
    Usage.NON_LEAF: f"losses = loss((x * 1)[None][0], t)\n{_BACKWARD}",
    Usage.SUMMED: f"{_FORWARD}\n(gradient,) = torch.autograd.grad(losses.sum(), x)",
    Usage.THREADED: _THREADED,
    Usage.CHECKPOINTED: f"losses = checkpoint(loss, x, t, use_reentrant=False)\n{_AT_LEAF}",
    Usage.CHECKPOINTED_REENTRANT: f"losses = checkpoint(loss, x, t, use_reentrant=True)\n{_AT_LEAF}",
}

_CHECKPOINT = "from torch.utils.checkpoint import checkpoint"
_IMPORTS = {
    Usage.THREADED: ["from concurrent.futures import ThreadPoolExecutor"],
    Usage.CHECKPOINTED: [_CHECKPOINT],
    Usage.CHECKPOINTED_REENTRANT: [_CHECKPOINT],
}


def has_words(asked: Question) -> bool:
    """False of weights beside a batch of another shape, which a loss of two arguments cannot be given."""
    weights = (asked.problem.class_weights, asked.problem.row_weights)
    return all(given is None for given in weights) or asked.usage is not Usage.INTERLEAVED


def imports_of(usage: Usage) -> list[str]:
    """Statements that import what the statements of a usage need beside torch."""
    return _IMPORTS.get(usage, [])


def of_other(usage: Usage) -> tuple[str, ...]:
    """Names of what the statements of a usage read of the other batch, among `other_x`, `other_t` and `other_upstream`."""
    return tuple(name for name in ("other_x", "other_t", "other_upstream") if name in _STATEMENTS.get(usage, ""))


def observed(asked: Question, upstream: str) -> str:
    """The body of observe(): the statements of a usage, and what is asked of them."""
    returned = "losses.detach()" if asked.quantity is Quantity.LOSS else "gradient"
    return f"{_STATEMENTS[asked.usage].format(upstream=upstream).strip()}\nreturn {returned}"
