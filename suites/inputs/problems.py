"""Hypothesis strategies for problems: logits of a hazard, with targets, options, cotangents and tangents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from reference.formats import Floats, Format
from reference.linear import identity_layer
from reference.loss import Loss, Target
from reference.options import OPTIONS, Array, Axes, Label, Option
from reference.problem import Problem
from reference.reduction import Reduction
from suites.inputs.hazards import HAZARDS, Shape
from suites.inputs.layers import WIDTHS, layers

NUMBERS = (1.0, -1.0, 0.5, 2.0, -0.375, 3.0, 0.1, -7.0)
"""Numbers of varied sign and size, none of them 0."""


PICKING, DENSE = "picking", "dense"
"""Kinds of linear layers in front of the logits."""


@dataclass(frozen=True)
class Ask:
    """What to generate: a format, hazards to choose from, the kind of target, and options to vary.

    `options` are names of Operation options; `directions` adds a tangent, `layer` a linear layer: one that picks the
    logits (`PICKING`), or one that gives other logits (`DENSE`), without a bias where `bias` is False. Cotangents are always
    drawn; uniform ones are one draw among many (a kernel that ignores the upstream gradient must not pass).
    `few_shapes`, `classes_multiple` and `max_classes`: see `Shape`.
    """

    format: Format
    hazards: tuple[str, ...]
    probabilities: bool = False
    loss: Loss = Loss.CROSS_ENTROPY
    options: frozenset[str] = frozenset()
    directions: bool = False
    layer: str = ""
    bias: bool = True
    max_rows: int = 3
    few_shapes: bool = False
    classes_multiple: int = 1
    max_classes: int | None = None

    @property
    def owed(self) -> list[Option]:
        """The options without which the loss is another."""
        return [option for option in OPTIONS.values() if option.is_essential and option.is_taken_by(self.loss)]

    @property
    def varied(self) -> list[Option]:
        """The options that problems have different values of: those that are asked, and those that are owed."""
        owed = self.owed
        return [option for option in OPTIONS.values() if option.name in self.options or option in owed]

    @property
    def shape(self) -> Shape:
        """The rows to generate."""
        few, step, most = self.few_shapes, self.classes_multiple, self.max_classes
        return Shape(self.format, self.max_rows, few=few, multiple=step, most_classes=most)


def problems(ask: Ask) -> st.SearchStrategy[Problem]:
    """Problems that answer `ask`; shrinks to one row of few, small logits of class 0."""

    def build(draw: st.DrawFn) -> Problem:
        hazard = HAZARDS[draw(st.sampled_from(ask.hazards))]
        logits = of_loss(draw(hazard.generate(ask.shape)), ask)
        chosen = draw(_options(ask, logits.shape))
        problem = Problem(
            loss=ask.loss,
            logits=logits,
            target=draw(_target(ask, logits, chosen)),
            format=ask.format,
            cotangent=draw(_cotangent(ask.format, logits.shape[0], chosen.get("reduction", Reduction.NONE))),
            tangent=draw(_numbers(ask.format, logits.shape)) if ask.directions else None,
            **chosen,
        )
        return draw(_behind_layer(problem, ask)) if ask.layer else problem

    return st.composite(build)()


def _behind_layer(problem: Problem, ask: Ask) -> st.SearchStrategy[Problem]:
    """The problem with a linear layer in front: one that picks its logits, or one that gives other logits of its shape."""
    rows, classes = problem.logits.shape
    without: dict[str, Any] = {"logits": None} if ask.bias else {"logits": None, "bias": None}
    if ask.layer == PICKING:
        parts = _numbers(ask.format, (rows,)).map(lambda feature: identity_layer(problem.logits, feature, ask.bias))
        return parts.map(lambda given: problem.replace(**given | without))
    parts = layers(rows, classes, ask.format, WIDTHS[-2:-1] if ask.few_shapes else WIDTHS)
    return parts.map(lambda given: _at_top_again(problem, problem.replace(**given | without)))


def _at_top_again(problem: Problem, behind: Problem) -> Problem:
    """The problem behind a layer that gives other logits; a row whose target is at its largest logit has it there again."""
    at_top = problem.target == tops(problem.logits)
    return behind.replace(target=np.where(at_top, tops(behind.stored_logits), problem.target))


def tops(logits: Floats) -> NDArray[np.int64]:
    """(N,): where the largest logit of each row is, NaN being the smallest."""
    return np.where(np.isnan(logits), -np.inf, logits).argmax(axis=1)


def of_loss(logits: Floats, ask: Ask) -> Floats:
    """The logits; of a sigmoid loss the difference of the first two, which has the gap that the hazard asks for."""
    if not ask.loss.spec.binary:
        return logits
    if logits.shape[1] == 1:
        return logits
    with np.errstate(over="ignore", invalid="ignore"):
        difference = logits[:, :1] - logits[:, 1:2]
    finite = np.isfinite(logits[:, :2]).all(axis=1, keepdims=True)
    clipped = np.clip(difference, -ask.format.largest, ask.format.largest)
    return ask.format.round(np.where(finite, clipped, difference))


def _numbers(fmt: Format, shape: tuple[int, ...], zero: bool = True) -> st.SearchStrategy[Floats]:
    """Small numbers of varied sign and size; large arrays repeat a short pattern."""
    values = [*NUMBERS, 0.0] if zero else NUMBERS
    size = int(np.prod(shape))
    pattern = st.lists(st.sampled_from(values), min_size=1, max_size=max(1, min(size, 12)))
    return pattern.map(lambda drawn: fmt.round(np.resize(np.array(drawn), shape)))


def _cotangent(fmt: Format, rows: int, reduction: Reduction) -> st.SearchStrategy[Floats | None]:
    shape = (rows,) if reduction is Reduction.NONE else ()
    return st.none() | _numbers(fmt, shape, zero=False)


def _options(ask: Ask, shape: tuple[int, int]) -> st.SearchStrategy[dict[str, Any]]:
    """Values of the options that vary."""
    able = [o for o in ask.varied if shape[0] or not isinstance(o.kind, Label)]
    return st.fixed_dictionaries({o.name: _values(ask, o, shape) for o in sorted(able, key=lambda o: o.turn)})


def _values(ask: Ask, option: Option, shape: tuple[int, int]) -> st.SearchStrategy[Any]:
    """Values of an option, few where every combination is compiled."""
    if not isinstance(option.kind, Array):
        return st.sampled_from(option.values(ask.few_shapes))
    lengths = {Axes.ROWS: shape[:1], Axes.CLASSES: shape[1:], Axes.LOGITS: shape}
    numbers = _numbers(ask.format, lengths[option.kind.axes])
    return st.none() | (numbers if option.kind.is_signed else numbers.map(np.abs))


def _target(ask: Ask, logits: Floats, chosen: dict[str, Any]) -> st.SearchStrategy[NDArray[Any]]:
    rows, classes = logits.shape
    if ask.loss.spec.target is Target.BINARY_CLASSES:
        return _labels([0.0, 1.0], rows)
    if ask.loss.spec.target is Target.BINARY_PROBABILITIES:
        return _labels([0.0, 1.0, 0.5, 0.125], rows)
    if ask.probabilities:
        return _probabilities(ask.format, logits.shape)
    places = st.sampled_from(sorted({0, classes - 1, classes // 2, min(1, classes - 1)}))
    for name, label in chosen.items():
        if isinstance(OPTIONS[name].kind, Label):
            places = places | st.just(label)

    def place(drawn: list[int | None]) -> NDArray[np.int64]:
        return np.array([top if d is None else d for d, top in zip(drawn, tops(logits), strict=True)], dtype=np.int64)

    return st.lists(st.none() | places, min_size=rows, max_size=rows).map(place)


def _labels(values: list[float], rows: int) -> st.SearchStrategy[NDArray[Any]]:
    """(N, 1) of the values."""
    return st.lists(st.sampled_from(values), min_size=rows, max_size=rows).map(lambda drawn: np.array(drawn).reshape(rows, 1))


def _probabilities(fmt: Format, shape: tuple[int, int]) -> st.SearchStrategy[Floats]:
    """One-hot, uniform, sparse and general rows of nonnegative numbers that sum to about 1."""
    rows, classes = shape

    def normalise(drawn: list[list[int]]) -> Floats:
        counts = np.array([np.resize(row, classes) for row in drawn], dtype=np.float64).reshape(rows, classes)
        counts[:, 0] += counts.sum(axis=1) == 0
        return fmt.round(counts / counts.sum(axis=1, keepdims=True))

    row = st.lists(st.integers(0, 4), min_size=min(classes, 8), max_size=min(classes, 8))
    return st.lists(row, min_size=rows, max_size=rows).map(normalise)
