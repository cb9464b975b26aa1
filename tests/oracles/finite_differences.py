"""Derivatives without a derivative formula: central differences of the mpmath loss and gradient.

With 200 digits and a step of 1e-60 the truncation error is about 1e-120 and the rounding error about 1e-140 of the
function, so the formulas of gradient, Hessian and Hessian-vector product are confirmed to some 110 digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from reference.quantity import ROW_BLOCKS, Quantity
from tests.oracles.mpmath_oracle import MP, ROW_RESULTS, OracleRow, Real, row_loss

DIGITS = 200
STEP = "1e-60"
ACCURACY = "1e-110"
"""Largest absolute error of a difference on rows of moderate size, weights and cotangents."""


def _moved(row: OracleRow, direction: list[Real], step: Real) -> OracleRow:
    """The row at logits x + step * direction."""
    logits = [x + step * d if d else x for x, d in zip(row.logits, direction, strict=True)]
    return replace(row, logits=[x if isinstance(x, float) else +x for x in logits])


def _central(function: Callable[[OracleRow], list[Real]], row: OracleRow, direction: list[Real]) -> list[Real]:
    step = MP.mpf(STEP)
    above, below = (function(_moved(row, direction, turn * step)) for turn in (1, -1))
    return [(high - low) / (2 * step) for high, low in zip(above, below, strict=True)]


def _unit(row: OracleRow, place: int) -> list[Real]:
    return [MP.one if i == place else MP.zero for i in range(len(row.logits))]


def _weighted_loss(row: OracleRow) -> list[Real]:
    return [row.factor * row_loss(row)]


def _gradient(row: OracleRow) -> list[Real]:
    return ROW_RESULTS[Quantity.GRADIENT](row).values


def _free(row: OracleRow) -> int:
    """How many logits may move: the 0 of the row [x, 0] may not."""
    return len(_gradient(row))


def gradient_by_differences(row: OracleRow) -> list[Real]:
    """Differences of f times the loss of a row with finite logits, class by class."""
    return [_central(_weighted_loss, row, _unit(row, i))[0] for i in range(_free(row))]


def hessian_by_differences(row: OracleRow) -> list[Real]:
    """The K^2 entries of the Hessian, row-major (it is symmetric)."""
    return [entry for i in range(_free(row)) for entry in _central(_gradient, row, _unit(row, i))]


def hvp_by_differences(row: OracleRow) -> list[Real]:
    """Derivative of the gradient along the row's tangent."""
    assert row.tangent is not None
    return _central(_gradient, row, row.tangent)


def block_product_by_differences(row: OracleRow, block: Quantity) -> list[Real]:
    """Differences of a building block's sum along the row's cotangent for it, class by class."""
    cotangent = [row.upstream] if block in ROW_BLOCKS else (row.tangent or [])[: _free(row)]

    def along(moved: OracleRow) -> list[Real]:
        return [sum((u * v for u, v in zip(cotangent, ROW_RESULTS[block](moved).values, strict=True)), MP.zero)]

    return [_central(along, row, _unit(row, i))[0] for i in range(_free(row))]
