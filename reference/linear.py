"""The last linear layer: logits z = h W^T + b of features h (N, D), weights W (K, D) and a bias b (K,), exactly.

Products and sums of members of a format are dyadic rationals, so each logit is one whole number times a power of two that all
logits of a problem share. Nothing is rounded: neither the size of D nor what cancels in a product enters what is expected.
A feature that is NaN or infinite makes of its row what IEEE arithmetic makes of it, and a bias of -inf masks its class.

With g the (N, K) gradient by the logits, dL/dh = g W, dL/dW = g^T h and dL/db = sum_n g_n (`reference.exact.layer`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from flint import fmpz_mat
from numpy.typing import ArrayLike, NDArray

from reference.formats import Bools, Floats, Format, Integers
from reference.members import members
from reference.options import LAYER, Array

_LARGEST = np.finfo(np.float64).max

_ASTRAY = {option.name: option.kind.astray for option in LAYER if isinstance(option.kind, Array)}

_NO_PLACE = 10_000
"""Beyond the exponents of all products."""


@dataclass(frozen=True, eq=False)
class Logits:
    """The exact logits of a linear layer: `whole` 2^`exponent` where `special` is 0, else the NaN or infinity that it has."""

    whole: NDArray[Any]
    """(N, K) of Python's integers."""
    exponent: int
    special: Floats
    """(N, K)."""

    @cached_property
    def nearest(self) -> Floats:
        """(N, K): the nearest numbers of float64; the largest of them for one beyond its range."""
        flat = [self._nearest(value) for value in self.whole.ravel().tolist()]
        return np.where(self.special == 0, np.array(flat, dtype=np.float64).reshape(self.whole.shape), self.special)

    def _nearest(self, value: int) -> float:
        try:
            return float(self._fraction(value))
        except OverflowError:
            return float(_LARGEST if value > 0 else -_LARGEST)

    @cached_property
    def are_floats(self) -> bool:
        """True if each logit is a number of float64 as it stands."""
        numbers = zip(self.nearest.ravel().tolist(), self.whole.ravel().tolist(), self.special.ravel().tolist(), strict=True)
        return all(special != 0 or self._fraction(value) == nearest for nearest, value, special in numbers)

    def row(self, index: int) -> list[float | Fraction]:
        """The logits of a row: rationals, and floats where they are not finite."""
        pairs = zip(self.whole[index].tolist(), self.special[index].tolist(), strict=True)
        return [self._fraction(value) if special == 0 else special for value, special in pairs]

    @cached_property
    def gaps(self) -> Floats:
        """(N, K): how far each finite logit lies below the largest finite one of its row; 0 where it is not finite."""
        gaps = np.zeros(self.whole.shape)
        for row, whole, special in zip(gaps, self.whole, self.special, strict=True):
            finite = np.flatnonzero(special == 0)
            top = max((whole[k] for k in finite), default=0)
            row[finite] = [self._nearest(top - whole[k]) for k in finite]
        return gaps

    def _fraction(self, value: int) -> Fraction:
        return Fraction(value << self.exponent) if self.exponent >= 0 else Fraction(value, 1 << -self.exponent)


@dataclass(frozen=True, eq=False)
class Layer:
    """A linear layer with its input; of a layer without a bias `bias` is None."""

    features: Floats
    """(N, D)."""
    weight: Floats
    """(K, D)."""
    bias: Floats | None = None
    """(K,)."""

    @classmethod
    def of(cls, given: Mapping[str, ArrayLike | None], fmt: Format) -> Layer | None:
        """The layer of the parts that are given by their names, members of a format; None if none is given.

        Raises:
          ValueError: a part is missing, has another shape, or numbers that are not allowed.
        """
        parts = {name: members(fmt, name, part, _ASTRAY[name]) for name, part in given.items() if part is not None}
        if not parts:
            return None
        if missing := [name for name in ("features", "weight") if name not in parts]:
            raise ValueError(f"{', '.join(parts)} given without {', '.join(missing)}; allowed: features and weight of a layer")
        _check_shapes(parts)
        return cls(**parts)

    @property
    def arrays(self) -> tuple[Floats, Floats, Floats]:
        """Features, weight and bias, which is zeros where it has none."""
        return self.features, self.weight, self.offset

    @cached_property
    def finite(self) -> tuple[Floats, Floats, Floats]:
        """The same, with 0 for what is not finite."""
        h, w, b = (np.where(np.isfinite(part), part, 0.0) for part in self.arrays)
        return h, w, b

    @cached_property
    def logits(self) -> Logits:
        """Its exact output.

        >>> layer = Layer(np.array([[1.0, 2.0**-60]]), np.array([[3.0, 1.0], [3.0, 0.0]]))
        >>> layer.logits.nearest.tolist(), layer.logits.gaps.tolist()
        ([[3.0, 3.0]], [[0.0, 8.673617379884035e-19]])
        """
        (h, h_exponent), (w, w_exponent), (b, b_exponent) = map(_whole, self.finite)
        exponent = min(h_exponent + w_exponent, b_exponent)
        found = _matrix_product(h, w.T) << (h_exponent + w_exponent - exponent)
        return Logits(found + (b << (b_exponent - exponent)), exponent, self._special())

    def sums_exactly(self, fmt: Format) -> Bools:
        """(N, K): True where every sum of some of a logit's terms is a number of a format, so that no order rounds anything.

        The terms are multiples of a power of 2, and the format has the digits for the sum of their sizes.

        >>> from reference.formats import FLOAT16
        >>> Layer(np.array([[3.0, 1.0]]), np.array([[5.0, -7.0], [0.5, 2048.0]])).sums_exactly(FLOAT16).tolist()
        [[True, False]]
        """
        (h, w, b), (of_h, of_w, of_b) = self.finite, map(last_places, self.finite)
        least = np.broadcast_to(of_b, (len(h), len(w)))
        for column in range(w.shape[1]):
            least = np.minimum(least, of_h[:, column, None] + of_w[:, column])
        with np.errstate(over="ignore"):
            size = np.abs(h) @ np.abs(w).T + np.abs(b)
            digits = np.ldexp(size, -np.clip(least, -5000, 5000))
        return (digits < 2.0**fmt.precision) & (least >= fmt.emin - fmt.precision + 1) & (size <= fmt.largest)

    @property
    def offset(self) -> Floats:
        """(K,): the bias, zeros if it has none."""
        return np.zeros(len(self.weight)) if self.bias is None else self.bias

    def _special(self) -> Floats:
        """(N, K): the NaN or infinity of each logit that has one, else 0."""
        special = np.zeros((len(self.features), len(self.weight)))
        with np.errstate(invalid="ignore"):
            for row in np.flatnonzero(~np.isfinite(self.features).all(axis=1)):
                astray = ~np.isfinite(self.features[row])
                special[row] = (self.features[row, astray] * self.weight[:, astray]).sum(axis=1)
            return special + np.where(np.isfinite(self.offset), 0.0, self.offset)


def _check_shapes(parts: Mapping[str, Floats]) -> None:
    features, weight, bias = parts["features"], parts["weight"], parts.get("bias")
    fits = features.ndim == weight.ndim == 2 and features.shape[1] == weight.shape[1] and weight.size > 0
    if not fits or (bias is not None and bias.shape != weight.shape[:1]):
        shapes = ", ".join(f"{name} has shape {part.shape}" for name, part in parts.items())
        raise ValueError(f"{shapes}; allowed: (N, D), (K, D) and (K,), with K >= 1 and D >= 1")


def _whole(numbers: Floats) -> tuple[NDArray[Any], int]:
    """Finite numbers as Python's integers times a power of two, which is returned as its exponent."""
    least = int(last_places(numbers).min(initial=_NO_PLACE))
    if least == _NO_PLACE:
        return np.zeros(numbers.shape, dtype=object), 0
    digits, place = _digits(numbers)
    pairs = zip(digits.ravel().tolist(), (place - least).ravel().tolist(), strict=True)
    whole = [digit << shift if shift >= 0 else digit >> -shift for digit, shift in pairs]
    return np.array(whole, dtype=object).reshape(numbers.shape), least


def last_places(numbers: Floats) -> Integers:
    """Exponents of the last places, 2^e, that finite numbers have a digit in; a large one for 0, which has none.

    >>> last_places(np.array([6.0, 0.75, 0.0])).tolist()
    [1, -2, 10000]
    """
    digits, place = _digits(numbers)
    lowest = np.frexp((digits & -digits).astype(np.float64))[1] - 1
    return np.where(digits == 0, _NO_PLACE, lowest + place).astype(np.int64)


def _digits(numbers: Floats) -> tuple[Integers, Integers]:
    """Finite numbers as integers of 53 bits, each times a power of two of its own, with the exponents of these."""
    mantissa, exponent = np.frexp(numbers)
    return np.ldexp(mantissa, 53).astype(np.int64), exponent.astype(np.int64) - 53


def _matrix_product(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    rows, columns = left.shape[0], right.shape[1]
    if not rows:
        return np.zeros((0, columns), dtype=object)
    found = fmpz_mat(left.tolist()) * fmpz_mat(right.tolist())
    return np.array([int(value) for value in found.entries()], dtype=object).reshape(rows, columns)


def identity_layer(logits: Floats, feature: Floats, bias: bool = True) -> dict[str, Floats]:
    """A layer whose product is exact and gives the (N, K) logits, with one more feature (N,) that enters the weights' gradient.

    Row n of the features [I | feature] is the n-th unit vector followed by feature[n]; W = [logits^T | 0] and b = 0, so each
    logit is one product by 1 plus zeros, whatever its size, and no rounding of the product enters what is measured behind
    it. The logits of a single row are in the bias instead, unless `bias` is False: W = 0 and b = logits, so that a layer
    which mishandles its bias shows. dL/dW has g_n in column n and sum_n feature_n g_n in the last one.

    >>> layer = identity_layer(np.array([[20.0, 0.0], [1.0, 2.0]]), np.array([3.0, -1.0]))
    >>> (layer["features"] @ layer["weight"].T + layer["bias"]).tolist()
    [[20.0, 0.0], [1.0, 2.0]]
    """
    rows, classes = logits.shape
    columns, offset = logits.T, np.zeros(classes)
    if rows == 1 and bias:
        columns, offset = np.zeros_like(columns), logits[0]
    return {
        "features": np.hstack([np.eye(rows), feature[:, None]]),
        "weight": np.hstack([columns, np.zeros((classes, 1))]),
        "bias": offset,
    }
