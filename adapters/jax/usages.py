"""The sequences of calls, and the transformations around a call, in which JAX's users ask for a loss and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp

from adapters.jax.derivatives import Differentiated, Inputs, Results, derivatives
from adapters.jax.losses import Array, Losses, Options, reduced
from adapters.usage import Usage
from reference.quantity import Quantity

Player = Callable[[Differentiated, Inputs, Inputs], Results]
"""(loss on trial, the call that counts, another batch) -> what the call that counts has returned."""

_BOTH = (Quantity.LOSS, Quantity.GRADIENT)


# What is compiled is kept by the loss: one made anew at each call would be compiled anew.


@cache
def _loss(losses: Losses, options: Options, compiled: bool) -> Callable[[Array, Array], Array]:
    """(target, logits) -> the loss under the options."""

    def loss(target: Array, logits: Array) -> Array:
        return reduced(losses, target, options, logits)

    return jax.jit(loss) if compiled else loss


def _pulled(how: Differentiated, inputs: Inputs) -> tuple[Array, Callable[[Array], Array]]:
    """The losses, and what makes a gradient of a cotangent, as often as it is asked."""
    loss = _loss(how.losses, Options.of(inputs.problem), how.compiled)
    losses, pullback = jax.vjp(partial(loss, inputs.target), inputs.logits)
    return losses, lambda cotangent: pullback(cotangent.astype(losses.dtype))[0]


def _interleaved(how: Differentiated, inputs: Inputs, other: Inputs) -> Results:
    losses, pull = _pulled(how, inputs)
    _pulled(how, other)
    return {Quantity.LOSS: losses, Quantity.GRADIENT: pull(inputs.cotangent)}


def _kept(how: Differentiated, inputs: Inputs, other: Inputs) -> Results:
    results = how(inputs, _BOTH)
    how(other, _BOTH)
    return results


def _twice(how: Differentiated, inputs: Inputs, other: Inputs) -> Results:
    losses, pull = _pulled(how, inputs)
    pull(other.cotangent)
    return {Quantity.LOSS: losses, Quantity.GRADIENT: pull(inputs.cotangent)}


def _first_of_two(how: Differentiated, inputs: Inputs, other: Inputs) -> Results:
    losses, pull = _pulled(how, inputs)
    gradient = pull(inputs.cotangent)
    pull(other.cotangent)
    return {Quantity.LOSS: losses, Quantity.GRADIENT: gradient}


def _threaded(how: Differentiated, inputs: Inputs, _: Inputs) -> Results:
    def forward() -> tuple[Array, Callable[[Array], Array]]:
        with jax.default_device(inputs.device):  # which is that of a thread
            return _pulled(how, inputs)

    def backward(pull: Callable[[Array], Array]) -> Array:
        with jax.default_device(inputs.device):
            return pull(inputs.cotangent)

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as another:
        losses, pull = one.submit(forward).result()
        return {Quantity.LOSS: losses, Quantity.GRADIENT: another.submit(backward, pull).result()}


@cache
def _jitted(losses: Losses) -> Losses:
    return jax.jit(losses, static_argnums=2)


@cache
def _mapped(losses: Losses) -> Losses:
    def of_rows(logits: Array, target: Array, options: Options) -> Array:
        return jax.vmap(lambda row, label: losses(row[None], label[None], options)[0])(logits, target)

    return of_rows


@cache
def _checkpointed(losses: Losses) -> Losses:
    return jax.checkpoint(losses, static_argnums=2)


def _of(transformed: Callable[[Losses], Losses]) -> Player:
    return lambda how, inputs, _: replace(how, losses=transformed(how.losses))(inputs, _BOTH)


def _grad_of_jit(how: Differentiated, inputs: Inputs, _: Inputs) -> Results:
    return replace(how, losses=_jitted(how.losses), compiled=False)(inputs, _BOTH)


@cache
def _giving(how: Differentiated, options: Options) -> Callable[..., Results]:
    return jax.jit(partial(derivatives, how, _BOTH, options), donate_argnums=0)


def _donated(how: Differentiated, inputs: Inputs, _: Inputs) -> Results:
    given = (jnp.copy(inputs.logits), inputs.target, inputs.cotangent, inputs.tangent)
    return _giving(how, Options.of(inputs.problem))(*given)


PLAYERS: dict[Usage, Player] = {
    Usage.INTERLEAVED_ALIKE: _interleaved,
    Usage.KEPT: _kept,
    Usage.TWICE: _twice,
    Usage.FIRST_OF_TWO: _first_of_two,
    Usage.THREADED: _threaded,
    Usage.CHECKPOINTED: _of(_checkpointed),
    Usage.GRAD_OF_JIT: _grad_of_jit,
    Usage.MAPPED: _of(_mapped),
    Usage.DONATED: _donated,
}
