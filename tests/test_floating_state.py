"""No state of a thread bends the yardstick: the reference answers with the same bits under every one that may be left."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from reference import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    FORMATS,
    Arithmetic,
    Domain,
    Format,
    Problem,
    Tolerance,
    blind_from,
    evaluate,
    tolerance,
)
from reference.batch import Errors, compare_batch
from reference.expected import Expected
from reference.floating_state import changes, default_state, is_default, set_default_state
from reference.quantity import Quantity
from reference.tiers import Tier
from tests.floating_states import bent_states, computing_with

QUANTITIES = (Quantity.LOSS, Quantity.GRADIENT, Quantity.HVP, Quantity.LOG_SOFTMAX, Quantity.SOFTMAX, Quantity.LOGSUMEXP)
DEEP = {FLOAT64: 720.0, FLOAT32: 100.0, BFLOAT16: 90.0, FLOAT16: 15.0}
"""A gap whose exp is subnormal."""


def problem(fmt: Format) -> Problem:
    """Rows whose losses or derivatives are subnormal, and rows next to ties, in numbers of a format."""
    rows = [[0.0, -DEEP[fmt], -DEEP[fmt] - 1], [0.3, 0.1, -2.7], [fmt.min_subnormal, 0.0, -fmt.min_normal], [1.0, 1.0, 1.0]]
    return Problem(fmt.round(rows), [0, 1, 2, 0], fmt, tangent=fmt.round([[1.0, 0.3, -0.7]] * 4))


def bits(expected: dict[Quantity, Expected], fmt: Format) -> list[bytes]:
    """All that is expected, to the last bit."""
    arrays = [getattr(e.values, f.name) for e in expected.values() for f in fields(e.values)]
    rounded = [array for e in expected.values() for array in (*e.values.rounded(fmt), e.scale, e.values.approximate())]
    return [np.ascontiguousarray(array).tobytes() for array in [*arrays, *rounded]]


@bent_states()
def test_a_block_has_the_default_state_and_puts_back_what_was_there(bent: str) -> None:
    with computing_with(bent):
        with default_state():
            assert (changes(), is_default()) == ((), True)
            assert np.float64(2.0**-1074) * 1.0 > 0
        assert bent in changes()
        assert not is_default()
    assert changes() == ()


@bent_states()
@pytest.mark.parametrize("tier", [Tier.EXACT, Tier.FAST])
@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda fmt: fmt.name)
def test_both_tiers_expect_the_same_bits(fmt: Format, tier: Tier, bent: str) -> None:
    wanted = QUANTITIES if tier is Tier.EXACT else QUANTITIES[:2]
    asked = problem(fmt)
    right = bits(evaluate(asked, wanted, tier), fmt)
    with computing_with(bent):
        again = Problem(asked.logits, asked.target, fmt, tangent=asked.tangent)
        assert again.logits.tobytes() == asked.logits.tobytes()
        assert bits(evaluate(again, wanted, tier), fmt) == right


@bent_states()
@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda fmt: fmt.name)
def test_formats_cast_and_round_alike(fmt: Format, bent: str) -> None:
    values = [fmt.min_subnormal, -fmt.min_subnormal, fmt.min_normal, 1.0, fmt.largest]
    between = np.array([0.7, 1.0, 1.5, 1e-30, 1e30]) * 3.0

    def seen() -> list[bytes]:
        least = np.array(fmt.min_subnormal)
        arrays = [
            least,
            fmt.cast(values),
            fmt.from_bits([1, 2, 3]),
            fmt.to_bits(values),
            fmt.next_up(values),
            fmt.next_down(values),
        ]
        return [array.tobytes() for array in [*arrays, fmt.round(between), fmt.ulp(values), fmt.contains(values)]]

    right = seen()
    with computing_with(bent):
        assert [a == b for a, b in zip(seen(), right, strict=True)] == [True] * len(right)


@bent_states()
@pytest.mark.parametrize("fmt", [FLOAT64, FLOAT32, FLOAT16, BFLOAT16], ids=lambda fmt: fmt.name)
def test_a_comparison_is_the_same(fmt: Format, bent: str) -> None:
    asked = problem(fmt)
    expected = {quantity: e.values.rounded(fmt)[0] for quantity, e in evaluate(asked, QUANTITIES[:2]).items()}
    flushed = {quantity: np.where(np.abs(values) < fmt.min_normal, 0.0, values) for quantity, values in expected.items()}
    carrier = np.float64 if fmt is FLOAT64 else np.float32

    given = [
        [array.astype(carrier) for array in (asked.logits, values[Quantity.LOSS], values[Quantity.GRADIENT])]
        for values in (expected, flushed)
    ]

    def seen() -> list[Errors]:
        found = [compare_batch(fmt, logits, asked.target, loss, gradient) for logits, loss, gradient in given]
        return [errors for comparison in found for errors in (comparison.loss, comparison.gradient)]

    right = seen()
    assert not right[1].incorrect.any()
    assert right[2].absorbed.any() or right[3].absorbed.any()
    with computing_with(bent):
        again = seen()
    for ours, theirs in zip(right, again, strict=True):
        assert [getattr(ours, f.name).tobytes() for f in fields(ours)] == [
            getattr(theirs, f.name).tobytes() for f in fields(ours)
        ]


@bent_states()
def test_tolerances_are_the_same(bent: str) -> None:
    def seen() -> list[object]:
        domain = Domain(classes=1000, gap=20.0)
        kernels = [Arithmetic(fmt, fmt) for fmt in FORMATS.values()]
        given = [tolerance(quantity, "stable", kernel, domain) for quantity in ("loss", "gradient") for kernel in kernels]
        return [*given, blind_from(Tolerance(1e-5, 1e-8)), Tolerance(0.0, 2.0**-1074).allows(0.0, 2.0**-1074)]

    right = seen()
    with computing_with(bent):
        assert seen() == right


def test_the_default_state_is_set_where_it_is_already() -> None:
    set_default_state()
    assert changes() == ()
