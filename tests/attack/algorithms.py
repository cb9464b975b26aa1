"""The algorithms that the bounds of `stable` are of: the max-shifted softmax and its losses, in any arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reference.problem import Problem, layer_of
from reference.quantity import Quantity
from reference.reduction import Reduction
from reference.weights import class_weights, tangent_of, upstream_of, weights_of
from tests.attack.computers import Computer
from tests.attack.rescaled import sum_of_powers

Algorithm = Callable[[Computer[Any], Problem], Any]


def row_of(c: Computer[Any], problem: Problem) -> Any:
    """What is shifted: x, [x, 0] for a sigmoid loss, or c tanh(s x/c) over T."""
    x = given(c, problem)
    if problem.is_binary:
        x = c.joined([x, c.exact(np.zeros_like(problem.logits))])
    if problem.logit_softcap is None:
        return x
    capped = c.scaled(problem.logit_softcap, saturation(c, problem))
    return capped if problem.temperature == 1.0 else c.divide(capped, number(c, problem.temperature))


def given(c: Computer[Any], problem: Problem) -> Any:
    """(N, K): the logits; of a layer h W^T + b, stored, unless it only picks them."""
    layer = problem.layer
    if layer is None or layer.sums_exactly(c.arithmetic.working).all():
        return c.exact(problem.logits)
    products = c.multiply(c.exact(layer.features[:, None, :]), c.exact(layer.weight[None]))
    return c.store(c.add(c.total(products)[..., 0], c.exact(layer.offset[None])), layer=True)


def saturation(c: Computer[Any], problem: Problem) -> Any:
    """tanh(s x/c)."""
    assert problem.logit_softcap is not None
    return c.tanh(c.divide(scaled(c, problem, given(c, problem)), number(c, problem.logit_softcap)))


def scaled(c: Computer[Any], problem: Problem, values: Any) -> Any:
    """Values times the scale of the logits, where they have one."""
    return values if problem.logit_scale == 1.0 else c.multiply(values, number(c, problem.logit_scale))


def over_unit(c: Computer[Any], problem: Problem, values: Any) -> Any:
    """Values scaled and divided by the temperature, unless those in front of the softcap were."""
    if problem.logit_softcap is not None:
        return values
    values = scaled(c, problem, values)
    return values if problem.temperature == 1.0 else c.divide(values, number(c, problem.temperature))


def number(c: Computer[Any], value: float) -> Any:
    """One exact number, for all rows."""
    return c.exact(np.full((1, 1), value))


def gap_of(c: Computer[Any], problem: Problem, values: Any, top: Any) -> Any:
    """values - top, over the unit T/s."""
    return over_unit(c, problem, c.subtract(values, top))


def gaps_of(c: Computer[Any], problem: Problem) -> Any:
    """d, which is at most 0."""
    row = row_of(c, problem)
    return gap_of(c, problem, row, c.largest(row))


def total_of(c: Computer[Any], problem: Problem) -> Any:
    """(N, 1): S."""
    row = row_of(c, problem)
    return sum_of_powers(c, row, lambda values, top: gap_of(c, problem, values, top))


def log_softmax(c: Computer[Any], problem: Problem) -> Any:
    """d - log S, stored."""
    return c.store(c.subtract(gaps_of(c, problem), c.log(total_of(c, problem))))


def by_exp(c: Computer[Any], problem: Problem) -> Any:
    """The probabilities as exp of the stored log_softmax."""
    return c.exp(log_softmax(c, problem))


def by_quotient(c: Computer[Any], problem: Problem) -> Any:
    """The probabilities as E / S."""
    return c.divide(c.exp(gaps_of(c, problem)), total_of(c, problem))


def logsumexp(c: Computer[Any], problem: Problem) -> Any:
    """m + log S, stored."""
    top = over_unit(c, problem, c.largest(row_of(c, problem)))
    return c.store(c.add(top, c.log(total_of(c, problem))))[..., 0]


def weights(c: Computer[Any], problem: Problem) -> Any:
    """(N, K): w ((1 - s) q + s/K), of what is there of it."""
    s, mass = problem.label_smoothing, c.exact(weights_of(problem.replace(class_weights=None, label_smoothing=0.0)))
    if s:
        smoothed = c.divide(number(c, s), number(c, problem.num_classes))
        mass = c.add(c.multiply(c.subtract(number(c, 1.0), number(c, s)), mass), smoothed)
    if problem.class_weights is None:
        return mass
    return c.multiply(c.exact(class_weights(problem)[None]), mass)


def at_target(c: Computer[Any], problem: Problem, values: Any) -> Any:
    """(N, 1): the entry of each row at its target."""
    place = weights_of(problem).argmax(axis=1)
    return values[np.arange(problem.num_rows)[:, None], place[:, None]]


def loss(c: Computer[Any], problem: Problem) -> Any:
    """The log_softmax of the target; of weights, sum a_c L_c."""
    logs = -log_softmax(c, problem)
    if problem.is_plain:
        return reduced(c, problem, at_target(c, problem, logs))
    return reduced(c, problem, c.total(c.store(c.multiply(weights(c, problem), logs))))


def reduced(c: Computer[Any], problem: Problem, losses: Any) -> Any:
    """(N,) losses times their weights, their sum, or their mean; all over the normaliser."""
    if problem.row_weights is not None:
        losses = c.store(c.multiply(losses, c.exact(problem.row_weights[:, None])))
    alone = problem.reduction is Reduction.NONE
    if alone and not problem.is_divided:
        return losses[..., 0]
    total = losses if alone else c.total(c.transposed(losses))
    if problem.is_divided:
        total = c.divide(total, denominator(c, problem))
    return c.store(total)[..., 0] if alone else c.store(total)[0, 0]


def denominator(c: Computer[Any], problem: Problem) -> Any:
    """(1, 1): the normaliser, N, or the sum of the targets' class weights."""
    if problem.normaliser is not None:
        return number(c, problem.normaliser)
    if problem.class_weights is None or problem.has_probabilities:
        return number(c, problem.num_rows)
    return c.total(c.exact(problem.class_weights[problem.target][None]))


def gradient_of(c: Computer[Any], problem: Problem, p: Any) -> Any:
    """(A p - a), chained."""
    given = weights(c, problem)
    if not problem.is_plain:
        p = c.store(c.multiply(c.total(given), p))
    return finished(c, problem, c.subtract(p, given), 1)


def finished(c: Computer[Any], problem: Problem, derivative: Any, order: int) -> Any:
    """Times cotangent and row weight, divided by the denominator and by the unit T/s, each stored."""
    derivative = c.store(derivative)
    if problem.cotangent is not None:
        given = np.broadcast_to(problem.cotangent, (problem.num_rows,))[:, None]
        derivative = c.store(c.multiply(derivative, c.exact(given)))
    if problem.row_weights is not None:
        derivative = c.store(c.multiply(derivative, c.exact(problem.row_weights[:, None])))
    if problem.is_divided:
        derivative = c.store(c.divide(derivative, denominator(c, problem)))
    return _over_units(c, problem, derivative, order)


def _over_units(c: Computer[Any], problem: Problem, derivative: Any, order: int) -> Any:
    """A derivative divided by the unit T/s once an order, and stored each time."""
    for _ in range(order if problem.temperature != 1.0 else 0):
        derivative = c.store(c.divide(derivative, number(c, problem.temperature)))
    for _ in range(order if problem.logit_scale != 1.0 else 0):
        derivative = c.store(scaled(c, problem, derivative))
    return derivative


def pulled(c: Computer[Any], problem: Problem, product: Any) -> Any:
    """A building block's product divided by the unit T/s, each stored."""
    return _over_units(c, problem, c.store(product), 1)


def _weighted(c: Computer[Any], problem: Problem, result: Any) -> Any:
    return finished(c, problem, result if problem.is_plain else c.multiply(c.total(weights(c, problem)), result), 2)


def _deviation(c: Computer[Any], problem: Problem, p: Any) -> Any:
    """p (v - <p, v>)."""
    v = c.exact(tangent_of(problem))
    return c.multiply(p, c.subtract(v, c.total(c.multiply(p, v))))


def _deviation_in_parts(c: Computer[Any], problem: Problem, p: Any) -> Any:
    """p v - p <p, v>."""
    moved = c.multiply(p, c.exact(tangent_of(problem)))
    return c.subtract(moved, c.multiply(p, c.total(moved)))


def _product(c: Computer[Any], problem: Problem, p: Any) -> Any:
    return _weighted(c, problem, _deviation(c, problem, p))


def _product_in_parts(c: Computer[Any], problem: Problem, p: Any) -> Any:
    return _weighted(c, problem, _deviation_in_parts(c, problem, p))


def _diagonal(c: Computer[Any], problem: Problem, p: Any) -> Any:
    """p - p p."""
    return _weighted(c, problem, c.subtract(p, c.multiply(p, p)))


def _of(probabilities: Algorithm, last: Callable[[Computer[Any], Problem, Any], Any]) -> Algorithm:
    return lambda c, problem: last(c, problem, probabilities(c, problem))


def _by_bias(c: Computer[Any], _: Problem, gradient: Any) -> Any:
    """(K,): the sum of the gradient over the rows."""
    return c.store(c.total(c.transposed(gradient)))[:, 0]


def _by_features(c: Computer[Any], problem: Problem, gradient: Any) -> Any:
    """(N, D): the gradient's rows times the weight, added up over the classes."""
    columns = [c.exact(column[None]) for column in layer_of(problem).weight.T]
    return c.joined([c.store(c.total(c.multiply(gradient, column))) for column in columns])


def _by_weight(c: Computer[Any], problem: Problem, gradient: Any) -> Any:
    """(K, D): the gradient's rows, each times its feature, added up."""
    columns = [column[:, None] for column in layer_of(problem).features.T]
    return c.joined([c.store(c.total(c.transposed(c.multiply(gradient, c.exact(column))))) for column in columns])


LAYER: dict[Quantity, Callable[[Computer[Any], Problem, Any], Any]] = {
    Quantity.FEATURE_GRADIENT: _by_features,
    Quantity.WEIGHT_GRADIENT: _by_weight,
    Quantity.BIAS_GRADIENT: _by_bias,
}
"""The gradients of a linear layer, from that by the logits."""


def _of_layer(quantity: Quantity) -> Callable[[Computer[Any], Problem, Any], Any]:
    return lambda c, problem, p: LAYER[quantity](c, problem, gradient_of(c, problem, p))


def _less_share(c: Computer[Any], problem: Problem, p: Any) -> Any:
    """u - p sum(u)."""
    u = c.exact(tangent_of(problem))
    return pulled(c, problem, c.subtract(u, c.multiply(p, c.total(u))))


def _block_deviation(c: Computer[Any], problem: Problem, p: Any) -> Any:
    return pulled(c, problem, _deviation(c, problem, p))


def _block_parts(c: Computer[Any], problem: Problem, p: Any) -> Any:
    return pulled(c, problem, _deviation_in_parts(c, problem, p))


def _all_moved(c: Computer[Any], problem: Problem, p: Any) -> Any:
    """u p, u one number a row."""
    return pulled(c, problem, c.multiply(p, c.exact(upstream_of(problem))))


def by_target(c: Computer[Any], problem: Problem) -> Any:
    """w (1 - s) L: what the label of a class is multiplied with."""
    kept = c.subtract(number(c, 1.0), number(c, problem.label_smoothing))
    if problem.class_weights is not None:
        kept = c.multiply(c.exact(class_weights(problem)[None]), kept)
    return finished(c, problem, c.multiply(kept, -log_softmax(c, problem)), 0)


def less_share_of_powers(c: Computer[Any], problem: Problem) -> Any:
    """u - (sum(u) / S) E: as the derivative of the log of a sum has it."""
    u, powers = c.exact(tangent_of(problem)), c.exp(gaps_of(c, problem))
    share = c.multiply(c.divide(c.total(u), total_of(c, problem)), powers)
    return pulled(c, problem, c.subtract(u, share))


def _by_log_softmax(c: Computer[Any], problem: Problem, _: Any) -> Any:
    """L, of log_softmax."""
    return -log_softmax(c, problem)


def _by_probability(c: Computer[Any], _: Problem, p: Any) -> Any:
    """L, as the logarithm of the stored probability."""
    return c.store(-c.log(c.store(p)))


Logs = Callable[[Computer[Any], Problem, Any], Any]
LOGS: dict[str, Logs] = {"log_softmax": _by_log_softmax, "log": _by_probability}
"""The two ways to a logarithm of a probability."""


def _entropy(logs: Logs) -> Callable[[Computer[Any], Problem, Any], Any]:
    """Sum of p L."""
    return lambda c, problem, p: c.store(c.total(c.store(c.multiply(p, logs(c, problem, p)))))[..., 0]


def _entropy_of_gaps(c: Computer[Any], problem: Problem, p: Any) -> Any:
    """log S - <p, d>."""
    return c.store(c.subtract(c.log(total_of(c, problem)), c.total(c.multiply(p, gaps_of(c, problem)))))[..., 0]


def _entropy_slope(c: Computer[Any], problem: Problem, p: Any) -> Any:
    """u p (L - <p, L>)."""
    logs = -log_softmax(c, problem)
    slope = c.multiply(p, c.subtract(logs, c.total(c.multiply(p, logs))))
    return pulled(c, problem, c.multiply(slope, c.exact(upstream_of(problem))))


def _entropy_backward(c: Computer[Any], problem: Problem, p: Any) -> Any:
    """As the chain rule has it of p log p, both of log_softmax: that of softmax with u L, and that of log_softmax with -u p."""
    u = c.exact(upstream_of(problem))
    of_p = c.store(c.multiply(u, -log_softmax(c, problem)))
    first = c.store(c.multiply(p, c.subtract(of_p, c.total(c.multiply(p, of_p)))))
    of_log = c.store(c.multiply(u, p))
    second = c.store(c.subtract(c.multiply(p, c.total(of_log)), of_log))
    return pulled(c, problem, c.add(first, second))


def _entropy_backward_of_log(c: Computer[Any], problem: Problem, p: Any) -> Any:
    """As the chain rule has it of p log p, the logarithm of p itself: u (L - 1) is what softmax is given."""
    given = c.store(c.subtract(_by_probability(c, problem, p), number(c, 1.0)))
    given = c.store(c.multiply(c.exact(upstream_of(problem)), given))
    return pulled(c, problem, c.multiply(p, c.subtract(given, c.total(c.multiply(p, given)))))


WAYS = {"exp": by_exp, "quotient": by_quotient}
"""The two ways to a probability."""

ALGORITHMS: dict[Quantity, dict[str, Algorithm]] = {
    Quantity.LOG_SOFTMAX: {"": log_softmax},
    Quantity.SOFTMAX: {name: _of(way, lambda c, _, p: c.store(p)) for name, way in WAYS.items()},
    Quantity.LOGSUMEXP: {"": logsumexp},
    Quantity.ENTROPY: {
        f"{name}, {form}": _of(way, entropy)
        for name, way in WAYS.items()
        for form, entropy in (*((form, _entropy(logs)) for form, logs in LOGS.items()), ("gaps", _entropy_of_gaps))
    },
    Quantity.LOSS: {"": loss},
    Quantity.TARGET_GRADIENT: {"": by_target},
    Quantity.GRADIENT: {name: _of(way, gradient_of) for name, way in WAYS.items()},
    Quantity.HESSIAN_DIAGONAL: {name: _of(way, _diagonal) for name, way in WAYS.items()},
    Quantity.HVP: {
        f"{name}, {form}": _of(way, product)
        for name, way in WAYS.items()
        for form, product in (("difference", _product), ("parts", _product_in_parts))
    },
    Quantity.LOG_SOFTMAX_VJP: {name: _of(way, _less_share) for name, way in WAYS.items()} | {"powers": less_share_of_powers},
    Quantity.SOFTMAX_VJP: {
        f"{name}, {form}": _of(way, product)
        for name, way in WAYS.items()
        for form, product in (("difference", _block_deviation), ("parts", _block_parts))
    },
    Quantity.LOGSUMEXP_VJP: {name: _of(way, _all_moved) for name, way in WAYS.items()},
    Quantity.ENTROPY_VJP: {
        f"{name}, {form}": _of(way, slope)
        for name, way in WAYS.items()
        for form, slope in (
            ("slope", _entropy_slope),
            ("log_softmax", _entropy_backward),
            ("log", _entropy_backward_of_log),
        )
    },
    **{quantity: {name: _of(way, _of_layer(quantity)) for name, way in WAYS.items()} for quantity in LAYER},
}
"""By quantity, the algorithms that its bound must hold for."""
