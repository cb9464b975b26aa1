"""Compares the certified reference with the mpmath oracle on generated rows: `python -m tests.oracles.agreement`.

A row agrees when every entry's enclosure contains mpmath's number, up to mpmath's own error: the number minus the midpoint
lies within the radius and has the sign `side`. The error is that of 300 working bits beyond all cancellation.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from math import nan
from typing import Any

import numpy as np

from reference.enclosure import Enclosure
from reference.evaluation import evaluate
from reference.formats import FORMATS, Floats, Format
from reference.linear import identity_layer
from reference.loss import Loss, Target
from reference.options import ARGUMENTS, arguments_of
from reference.problem import Problem
from reference.quantity import BLOCK_PRODUCTS, LAYER_GRADIENTS, OF_LOGITS, ROW_BLOCKS, Quantity
from reference.reduction import Reduction
from reference.thresholds import thresholds
from tests.oracles.mpmath_oracle import (
    MP,
    ROW_RESULTS,
    Real,
    Results,
    divisor_of,
    layer_gradient,
    oracle_row,
    reduced_loss,
    working_bits,
)

BATCH_ROWS = 32
MAX_CLASSES = 8
MAX_GAP = 2000.0
"""Largest gap generated; the cost of mpmath grows with it."""

ALWAYS = (Quantity.LOSS, Quantity.GRADIENT, Quantity.LOG_SOFTMAX)
SOMETIMES = (
    *(Quantity.HESSIAN, Quantity.HVP, Quantity.HESSIAN_DIAGONAL),
    *(Quantity.SOFTMAX, *ROW_BLOCKS, *BLOCK_PRODUCTS),
)
"""Compared on every fourth batch."""

Generator = np.random.Generator
Shape = tuple[int, int]


def _below(gaps: Floats, fmt: Format, rng: Generator) -> Floats:
    """Logits with these gaps below a maximum near 0, or a little away from it."""
    gaps[np.arange(len(gaps)), rng.integers(gaps.shape[1], size=len(gaps))] = 0.0
    tops = rng.choice([0.0, 1.0, 5.0], size=(len(gaps), 1)) * rng.standard_normal((len(gaps), 1))
    return fmt.round(fmt.round(tops) - gaps)


def _moderate(rng: Generator, fmt: Format, shape: Shape, temperature: float) -> Floats:
    return _below(rng.uniform(0, 10, shape) * temperature, fmt, rng)


def _near_points(points: Sequence[float], width: float) -> Callable[[Generator, Shape], Floats]:
    def gaps(rng: Generator, shape: Shape) -> Floats:
        near = rng.choice(points, size=shape)
        return np.where(near == 0, 0.0, np.abs(near + width * rng.uniform(-1, 1, shape)))

    return gaps


def _absorption(rng: Generator, fmt: Format, shape: Shape, temperature: float) -> Floats:
    gap = thresholds(fmt).absorption_gap
    return _below(_near_points([gap, gap, 2 * gap, 0.0], 2.0)(rng, shape) * temperature, fmt, rng)


def _underflow(rng: Generator, fmt: Format, shape: Shape, temperature: float) -> Floats:
    t = thresholds(fmt)
    points = [t.underflow_gap, t.subnormal_gap, t.vanishing_gap, t.underflow_gap / 2, 0.0]
    return _below(_near_points(points, 1.5)(rng, shape) * temperature, fmt, rng)


def _extreme(rng: Generator, fmt: Format, shape: Shape, temperature: float) -> Floats:
    return _below(10.0 ** rng.uniform(-2, np.log10(MAX_GAP), shape) * temperature, fmt, rng)


def _offset(rng: Generator, fmt: Format, shape: Shape, temperature: float) -> Floats:
    """Logits close to each other and far from 0, up to where their spacing is about 1."""
    sizes = 2.0 ** rng.uniform(0, fmt.precision, (shape[0], 1)) * rng.choice([-1.0, 1.0], (shape[0], 1))
    return fmt.round(fmt.round(sizes) - rng.uniform(0, 8, shape) * temperature)


def _ties(rng: Generator, fmt: Format, shape: Shape, temperature: float) -> Floats:
    gap = thresholds(fmt).absorption_gap
    return _below(rng.choice([0.0, 0.0, 0.0, 1.0, 0.5, gap], size=shape) * temperature, fmt, rng)


def _masked(rng: Generator, fmt: Format, shape: Shape, temperature: float) -> Floats:
    """Some classes at -inf; one class of each row stays finite."""
    logits = _moderate(rng, fmt, shape, temperature)
    hidden = rng.random(shape) < 0.4
    hidden[np.arange(shape[0]), rng.integers(shape[1], size=shape[0])] = False
    return np.where(hidden, -np.inf, logits)


def _bit_patterns(rng: Generator, fmt: Format, shape: Shape, temperature: float) -> Floats:
    """Uniform encodings where those are small enough, and random significands with exponents around 0."""
    with np.errstate(invalid="ignore"):  # signalling NaN
        anything = fmt.from_bits(rng.integers(0, 2**fmt.bits, size=shape, dtype=np.uint64))
    limit = 400.0 * min(temperature, 1.0)
    kept = np.where(np.abs(anything) <= limit, anything, 1.0)
    fraction, _ = np.frexp(kept)
    ordinary = np.ldexp(fraction, rng.integers(max(fmt.emin, -20), 7, size=shape))
    return fmt.round(np.where(rng.random(shape) < 0.3, kept, ordinary * min(temperature, 1.0)))


FAMILIES: dict[str, Callable[[Generator, Format, Shape, float], Floats]] = {
    "moderate": _moderate,
    "absorption": _absorption,
    "underflow": _underflow,
    "extreme": _extreme,
    "offset": _offset,
    "ties": _ties,
    "masked": _masked,
    "bit patterns": _bit_patterns,
}
"""Regions of logits, one a batch in turn."""


def _indices(rng: Generator, logits: Floats, ignore_index: int | None) -> np.ndarray[Any, Any]:
    """Class indices, at the maximum half of the time; some of them ignored."""
    rows, classes = logits.shape
    target = np.where(rng.random(rows) < 0.5, np.argmax(logits, axis=1), rng.integers(classes, size=rows))
    if ignore_index is not None:
        target = np.where(rng.random(rows) < 0.2, ignore_index, target)
    return target.astype(np.int64)


def _probabilities(rng: Generator, fmt: Format, shape: Shape) -> Floats:
    """General, sparse and one-hot rows; rounded, so their sums are near 1 only."""
    mass = rng.choice([0.0, 1.0, 2.0, 3.0], size=shape) * rng.choice([1.0, rng.random()], size=shape)
    mass[:, 0] += mass.sum(axis=1) == 0
    return fmt.round(mass / mass.sum(axis=1, keepdims=True))


def _options(rng: Generator, fmt: Format, shape: Shape) -> dict[str, Any]:
    rows, classes = shape
    reduction = str(rng.choice([Reduction.NONE, *Reduction]))
    numbers = fmt.round(rng.choice([-1.0, 0.5, 3.0, -7.0, 0.0], size=rows) * rng.choice([1.0, rng.random()], size=rows))
    weights = fmt.round(rng.choice([0.0, 0.5, 1.0, 2.0, rng.random()], size=classes))
    row_weights = fmt.round(rng.choice([0.0, 1.0, 3.0, rng.random()], size=rows))
    return {
        "reduction": reduction,
        "label_smoothing": float(rng.choice([0.0, 0.0, 0.1, 0.5, 1.0])),
        "class_weights": weights if rng.random() < 0.3 else None,
        "row_weights": row_weights if rng.random() < 0.2 else None,
        "normaliser": float(rng.choice([4.0, 3.0, 0.3, 1e6])) if rng.random() < 0.2 else None,
        "cotangent": None if rng.random() < 0.4 else numbers if reduction == "none" else numbers[0],
        "tangent": fmt.round(rng.choice([1.0, -1.0, 0.0, 0.1, rng.standard_normal()], size=shape)),
    }


def random_problem(rng: Generator, rows: int, family: str) -> Problem:
    """A batch of rows of one family; format, number of classes, target and options are drawn."""
    fmt = FORMATS[str(rng.choice(list(FORMATS)))]
    shape = (rows, int(rng.integers(1, MAX_CLASSES + 1)))
    temperature = float(rng.choice([1.0, 1.0, 2.0, 0.75, 0.3]))
    scale = _scale(rng)
    logits = FAMILIES[family](rng, fmt, shape, temperature / scale)
    options = _options(rng, fmt, shape)
    if rng.random() < 0.35:
        target = _probabilities(rng, fmt, shape)
    else:
        ignore_index = [None, -100, 0][int(rng.integers(3))]
        target = _indices(rng, logits, ignore_index)
        options["ignore_index"] = -100 if ignore_index is None else ignore_index
    return Problem(logits, target, fmt, temperature=temperature, logit_scale=scale, **options)


def _scale(rng: Generator) -> float:
    """A scale of the logits, most often none."""
    return float(rng.choice([1.0, 1.0, 0.0625, 0.3, 3.0]))


def _extended_options(rng: Generator, fmt: Format, shape: Shape, loss: Loss) -> dict[str, Any]:
    """Reduction, cotangent and tangent, and those options that the loss takes."""
    drawn = _options(rng, fmt, shape) | {
        "temperature": float(rng.choice([1.0, 2.0, 0.75])),
        "logit_scale": _scale(rng),
        "logit_softcap": float(rng.choice([0.5, 5.0, 30.0, 50.0])) if rng.random() < 0.6 else None,
        "z_loss": float(rng.choice([1e-4, 0.5, 2.0])),
        "focusing": float(rng.choice([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0])),
        "positive_weight": float(rng.choice([0.0, 1.0, 0.3, 5.0])),
    }
    common = ("reduction", "cotangent", "tangent", "row_weights", "normaliser")
    return {name: value for name, value in drawn.items() if name in (*common, *arguments_of(loss))}


def _binary_problem(rng: Generator, rows: int, family: str, loss: Loss, fmt: Format) -> Problem:
    """Differences of the first two classes of a family, some of them at -inf."""
    pairs = FAMILIES["moderate" if family == "masked" else family](rng, fmt, (rows, 2), 1.0)
    logits = fmt.round(pairs[:, :1] - pairs[:, 1:])
    logits = np.where(rng.random(logits.shape) < 0.1, -np.inf, logits)
    target = fmt.round(rng.choice([0.0, 1.0, 0.5, rng.random()], size=(rows, 1)))
    if loss.spec.target is Target.BINARY_CLASSES:
        target = np.round(target)
    return Problem(logits, target, fmt, loss=loss, **_extended_options(rng, fmt, (rows, 1), loss))


def random_loss_problem(rng: Generator, rows: int, family: str) -> Problem:
    """A batch of rows of any loss but plain cross-entropy; that one has a softcap, a z-loss or a linear layer."""
    fmt, loss = FORMATS[str(rng.choice(list(FORMATS)))], list(Loss)[int(rng.integers(len(Loss)))]
    if loss.spec.binary:
        return _binary_problem(rng, rows, family, loss, fmt)
    shape = (rows, int(rng.integers(1, MAX_CLASSES + 1)))
    options = _extended_options(rng, fmt, shape, loss)
    logits = FAMILIES[family](rng, fmt, shape, options.get("temperature", 1.0) / options.get("logit_scale", 1.0))
    if options.get("logit_softcap") is not None:
        # mpmath pays 3 bits for every |x|/c
        largest = float(np.abs(logits[np.isfinite(logits)]).max()) * options["logit_scale"]
        options["logit_softcap"] = max(options["logit_softcap"], largest / 50.0)
    if loss is Loss.CROSS_ENTROPY and np.isfinite(logits).all():
        return _layer_problem(rng, fmt, logits, options)
    if loss.spec.takes_indices and (not loss.spec.takes_probabilities or rng.random() < 0.6):
        return Problem(logits, _indices(rng, logits, -100), fmt, loss=loss, **options)
    return Problem(logits, _probabilities(rng, fmt, shape), fmt, loss=loss, **options)


def _layer_problem(rng: Generator, fmt: Format, logits: Floats, options: dict[str, Any]) -> Problem:
    """A linear layer: one that picks logits, or one whose products are no numbers of the format, with classes that tie."""
    (rows, classes), width = logits.shape, int(rng.integers(1, 5))
    layer = identity_layer(logits, fmt.round(rng.choice([1.0, -1.0, 0.0, 0.375, -20.0], size=rows)))
    if rng.random() < 0.7:
        features = rng.normal(size=(rows, width)) * rng.choice([1e-3, 1.0, 8.0])
        weight = rng.normal(size=(classes, width)) * rng.choice([0.1, 1.0, 4.0])
        weight[rng.integers(classes)] = weight[rng.integers(classes)] * rng.choice([1.0, -1.0])
        bias = np.where(rng.random(classes) < 0.1, -np.inf, rng.normal(size=classes))
        bias[0] = 0.0
        layer = {"features": fmt.round(features), "weight": fmt.round(weight), "bias": fmt.round(bias)}
    problem = Problem.of_layer(layer, np.zeros(rows, dtype=np.int64), fmt, **options)
    if problem.logit_softcap is not None:
        # mpmath pays 3 bits for every |x|/c, here as for logits that are given
        largest = float(np.abs(problem.logits[np.isfinite(problem.logits)]).max()) * problem.logit_scale
        problem = problem.replace(logit_softcap=max(problem.logit_softcap, largest / 50.0))
    return problem.replace(target=_indices(rng, problem.logits, -100))


def _contains(entry: tuple[float, float, float, int, int], value: Real, error: Real) -> bool:
    """True if the enclosure of one entry contains mpmath's value, give or take its error."""
    hi, lo, radius, exponent, side = entry
    if isinstance(value, float) or not np.isfinite(hi):
        return hi == value or (hi != hi and value != value)
    beyond = value - MP.ldexp(MP.mpf(hi) + MP.mpf(lo), exponent)
    allowed = MP.ldexp(MP.mpf(radius), exponent) + error
    if side == 0:
        return bool(abs(beyond) <= allowed)
    return bool(-error <= side * beyond <= allowed)


def _entries(values: Enclosure, rows: int) -> list[list[tuple[float, float, float, int, int]]]:
    """The entries of each row."""
    columns = (values.hi, values.lo, values.radius, values.exponent, values.side)
    lists = [column.reshape(rows, -1).tolist() for column in columns]
    return [list(zip(*row, strict=True)) for row in zip(*lists, strict=True)]


def _compare(problem: Problem, quantity: Quantity, entries: list[Any], results: Results, where: str) -> None:
    for i, (entry, value, error) in enumerate(zip(entries, results.values, results.errors, strict=True)):
        if not _contains(entry, value, error):
            raise AssertionError(
                f"{quantity}, {where}, entry {i}: reference (hi, lo, radius, exponent, side) = {entry}, mpmath "
                f"{value if isinstance(value, float) else MP.nstr(value, 40)}\n{_description(problem)}"
            )


def _description(problem: Problem) -> str:
    hexadecimal = [[x.hex() for x in row] for row in problem.logits.tolist()]
    given = {argument.name: getattr(problem, argument.name) for argument in ARGUMENTS if problem.gives(argument)}
    return f"{problem!r}\ntarget {problem.target.tolist()}\n{given}\nlogits {hexadecimal}"


def check_values(problem: Problem, given: dict[Quantity, Enclosure]) -> None:
    """Compares the given enclosures of a problem with the mpmath oracle.

    Raises:
      AssertionError: an enclosure does not contain mpmath's value; the message has the problem and its logits in full.
    """
    reduced = {Quantity.LOSS} & set(given) if problem.reduction != "none" else set()
    bits = [working_bits(problem, index) for index in range(problem.num_rows)]
    summed = (*reduced, *LAYER_GRADIENTS)
    tables = {q: _entries(values, problem.num_rows) for q, values in given.items() if q not in summed}
    undefined = not divisor_of(problem)
    for index, precision in enumerate(bits):
        with MP.workprec(precision):
            row = oracle_row(problem, index)
            for quantity, table in tables.items():
                entries = table[index]
                hidden = undefined and quantity not in OF_LOGITS
                results = Results.filled(np.nan, len(entries)) if hidden else ROW_RESULTS[quantity](row)
                _compare(problem, quantity, entries, results, f"row {index}")
    for quantity in set(summed) & set(given):
        with MP.workprec(max(bits)):
            rows = [oracle_row(problem, index) for index in range(problem.num_rows)]
            sums = reduced_loss(problem, rows) if quantity is Quantity.LOSS else layer_gradient(problem, rows, quantity)
            if undefined and quantity is not Quantity.LOSS:
                sums = Results.filled(nan if quantity is Quantity.FEATURE_GRADIENT else 0.0, len(sums.values))
            _compare(problem, quantity, _entries(given[quantity], 1)[0], sums, problem.reduction)


def check_problem(problem: Problem, quantities: Sequence[Quantity]) -> None:
    """Compares the reference with the mpmath oracle on one problem; see `check_values`."""
    check_values(problem, {q: expected.values for q, expected in evaluate(problem, quantities).items()})


def of_its_own(problem: Problem) -> tuple[Quantity, ...]:
    """The quantities that only problems with a layer, or with labels to differentiate by, have."""
    layer = LAYER_GRADIENTS if problem.layer is not None else ()
    return (*layer, Quantity.TARGET_GRADIENT) if problem.has_target_gradient else layer


def agreement_rows(count: int, seed: int) -> int:
    """Compares both oracles on `count` generated rows and returns on how many they agreed, which is all of them.

    Raises:
      AssertionError: the first disagreement.
    """
    rng = np.random.default_rng(seed)
    families = list(FAMILIES)
    agreed = batch = 0
    while agreed < count:
        rows = min(BATCH_ROWS, count - agreed)
        draw = random_loss_problem if rng.random() < 0.4 else random_problem
        problem = draw(rng, rows, families[batch % len(families)])
        thorough = rng.random() < 0.25
        check_problem(problem, (*(ALWAYS + SOMETIMES if thorough else ALWAYS), *of_its_own(problem)))
        agreed += rows
        batch += 1
    return agreed


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 on disagreement."""
    parser = argparse.ArgumentParser(description="Compare the certified reference with the mpmath oracle.")
    parser.add_argument("--rows", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    start = time.perf_counter()
    try:
        agreed = agreement_rows(given.rows, given.seed)
    except AssertionError as error:
        print(f"the oracles disagree: {error}", file=sys.stderr)
        return 1
    print(f"{agreed} rows agreed in {time.perf_counter() - start:.0f} s (seed {given.seed})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
