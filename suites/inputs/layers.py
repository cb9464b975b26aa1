"""Linear layers for generated problems: those that pick given logits, and those whose products round, cancel, tie or mask.

A layer is made of its kind and a seed, in one piece: numbers of a layer are many, and which of them matters is for the
narrowing of a failure to find. Features and weights are members of a format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.random import Generator

from reference.formats import Floats, Format
from reference.options import PARTS

WIDTHS = (1, 2, 7, 16, 65)
"""Numbers of features D, on both sides of the widths of vectors."""

Parts = tuple[Floats, Floats, Floats]
"""Features (N, D), weight (K, D) and bias (K,), before they are rounded to a format."""


@dataclass(frozen=True)
class Size:
    """N rows, K classes and D features of a format."""

    rows: int
    classes: int
    width: int
    format: Format


def _normal(random: Generator, size: Size) -> Parts:
    """Normal numbers, with logits of a few units."""
    features: Floats = random.normal(size=(size.rows, size.width)) * float(random.choice([0.25, 1.0, 4.0]))
    weight: Floats = random.normal(size=(size.classes, size.width)) * size.width**-0.5
    bias: Floats = random.normal(size=size.classes)
    return features, weight, bias


def _whole(random: Generator, size: Size) -> Parts:
    """Small integers, whose products and sums need no rounding in any format."""
    shapes = ((size.rows, size.width), (size.classes, size.width), (size.classes,))
    features, weight, bias = (random.integers(-3, 4, shape).astype(np.float64) for shape in shapes)
    return np.sign(features), weight, bias


def _nothing(random: Generator, size: Size) -> Parts:
    """Features of 0, as a dead layer in front gives: every logit is its bias."""
    _, weight, bias = _normal(random, size)
    return np.zeros((size.rows, size.width)), weight, bias * random.integers(0, 2)


def _cancelling(random: Generator, size: Size) -> Parts:
    """Two large features that cancel in every logit but for what the others add."""
    features, weight, bias = _normal(random, size)
    if size.width > 1:
        features[:, 1], weight[:, 1] = -64.0, (common := random.integers(1, 9, size.classes) * 1.0)
        features[:, 0], weight[:, 0] = 64.0, common
    return features, weight, bias


def _offset(random: Generator, size: Size) -> Parts:
    """One feature that lifts all logits of a row: an offset that no shift sees before the product is rounded."""
    features, weight, bias = _normal(random, size)
    features[:, 0], weight[:, 0] = 32.0, random.choice([2.0, 16.0])
    return features, weight, bias


def _apart(random: Generator, size: Size) -> Parts:
    """Rows far apart: one feature lifts each row by another offset, which is the same for all of its classes."""
    features, weight, bias = _normal(random, size)
    features[:, 0], weight[:, 0] = random.permutation(size.rows) * random.choice([-64.0, 64.0]), 2.0
    return features, weight, bias


def _tied(random: Generator, size: Size) -> Parts:
    """Classes that weigh alike, or with the sign turned."""
    features, weight, _ = _normal(random, size)
    few = weight[random.integers(0, min(size.classes, 3), size.classes)]
    return features, few * random.choice([1.0, 1.0, -1.0], (size.classes, 1)), np.zeros(size.classes)


def _masked(random: Generator, size: Size) -> Parts:
    """Classes that a bias of -inf takes out, but for the first."""
    features, weight, bias = _normal(random, size)
    bias[1:][random.random(size.classes - 1) < 0.4] = -np.inf
    return features, weight, bias


def _peaked(random: Generator, size: Size) -> Parts:
    """One class far above all others, another one in each row: what is left over is absorbed, or underflows."""
    features, weight, bias = _normal(random, size)
    weight[random.integers(size.classes)] = 24.0 * np.sign(features[0]) / max(1.0, np.abs(features[0]).sum())
    return features, weight, bias


KINDS: dict[str, Callable[[Generator, Size], Parts]] = {
    "normal": _normal,
    "whole": _whole,
    "nothing": _nothing,
    "cancelling": _cancelling,
    "offset": _offset,
    "apart": _apart,
    "tied": _tied,
    "masked": _masked,
    "peaked": _peaked,
}
"""The kinds of layers, the simplest first."""


def layers(rows: int, classes: int, fmt: Format, widths: tuple[int, ...] = WIDTHS) -> st.SearchStrategy[dict[str, Floats]]:
    """Layers of all kinds for so many rows and classes, by the names of their parts."""
    drawn = st.tuples(st.sampled_from(list(KINDS)), st.sampled_from(widths), st.integers(0, 2**16))

    return drawn.map(lambda given: layer_of_kind(given[0], Size(rows, classes, given[1], fmt), given[2]))


def layer_of_kind(kind: str, size: Size, seed: int) -> dict[str, Floats]:
    """A layer by the names of its parts."""
    return dict(zip(PARTS, map(size.format.round, KINDS[kind](np.random.default_rng(seed), size)), strict=True))
