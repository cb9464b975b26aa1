"""The reference takes the names of quantities, grades, formats and tiers, and says what there is where it is given another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from reference import FLOAT16, FLOAT32, Arithmetic, Domain, Grade, Problem, Quantity, Tier, blind_from, evaluate, tolerance
from reference.batch import compare_batch
from reference.bounds.blindness import ASSERT_CLOSE, why_blind
from reference.bounds.entrywise import accurate_bound, stable_bound
from reference.formats import FLOAT8_E5M2, format_named
from reference.grades import grade_named
from reference.quantity import quantity_named
from reference.thresholds import thresholds
from reference.tiers import tier_named

ROWS = Problem([[20.0, 0.0, -1.0]], [0], FLOAT32, tangent=[[1.0, 2.0, 3.0]])
FLOAT, DOMAIN = Arithmetic(FLOAT32, FLOAT32), Domain(classes=1000, gap=20.0)
LOSS = evaluate(ROWS, [Quantity.LOSS])[Quantity.LOSS]
LOGITS, GRADIENT = np.array([[[20.0, 0.0]], [[0.0, 2.0611537e-09]]], dtype=np.float32)


def compared(fmt: Any) -> list[Any]:
    found = compare_batch(fmt, LOGITS, np.array([0]), np.zeros(1, np.float32), GRADIENT)
    return [found.loss.worst.tolist(), found.gradient.worst.tolist()]


def judged(quantities: Any, tier: Any = Tier.AUTO) -> dict[Quantity, list[float]]:
    return {quantity: e.values.rounded(FLOAT32)[0].tolist() for quantity, e in evaluate(ROWS, quantities, tier).items()}


TAKEN: dict[str, tuple[Callable[[Any], Any], Any, str, str, str]] = {
    "Problem": (lambda fmt: Problem([[1.0]], [0], fmt).format, FLOAT16, "float16", "flot16", "float16"),
    "Arithmetic storage": (lambda fmt: Arithmetic(fmt, FLOAT32), FLOAT16, "float16", "half", ""),
    "Arithmetic working": (lambda fmt: Arithmetic(FLOAT16, fmt).underflow, FLOAT32, "float32", "Float32", "float32"),
    "a format that no backend runs": (lambda fmt: Arithmetic(fmt, fmt), FLOAT8_E5M2, "float8_e5m2", "e5m2", ""),
    "tolerance quantity": (
        lambda quantity: tolerance(quantity, Grade.STABLE, FLOAT, DOMAIN),
        Quantity.HVP,
        "hvp",
        "hpv",
        "hvp",
    ),
    "tolerance grade": (
        lambda grade: tolerance(Quantity.LOSS, grade, FLOAT, DOMAIN),
        Grade.FAITHFUL,
        "faithful",
        "faithfull",
        "faithful",
    ),
    "blind_from": (
        lambda quantity: blind_from(ASSERT_CLOSE["float32"], quantity),
        Quantity.HESSIAN,
        "hessian",
        "hesian",
        "hessian",
    ),
    "evaluate quantities": (lambda quantity: judged([quantity]), Quantity.HVP, "hvp", "gradients", "gradient"),
    "evaluate one quantity": (judged, Quantity.SOFTMAX, "softmax", "softmx", "softmax"),
    "evaluate tier": (lambda tier: judged([Quantity.LOSS], tier), Tier.EXACT, "exact", "exakt", "exact"),
    "compare_batch": (compared, FLOAT32, "float32", "float3", "float32"),
    "rounded": (lambda fmt: LOSS.values.rounded(fmt)[0].tolist(), FLOAT16, "float16", "flaot16", "float16"),
    "ulps_from": (lambda fmt: LOSS.values.ulps_from(np.zeros(1), fmt)[0].tolist(), FLOAT16, "float16", "", ""),
    "ulp_exponent": (lambda fmt: LOSS.values.ulp_exponent(fmt).tolist(), FLOAT16, "float16", "fp16", ""),
    "thresholds": (thresholds, FLOAT16, "float16", "float-16", "float16"),
    "why_blind": (why_blind, FLOAT16, "float16", "float_16", "float16"),
    "stable_bound": (lambda quantity: stable_bound(ROWS, quantity, FLOAT).tolist(), Quantity.LOSS, "loss", "los", "loss"),
    "accurate_bound": (
        lambda quantity: accurate_bound(ROWS, quantity, FLOAT, LOSS).tolist(),
        Quantity.LOSS,
        "loss",
        "lose",
        "loss",
    ),
}
"""What takes it, a member, its name, a name that there is not, and the nearest to it, if one is near."""


@pytest.mark.parametrize("place", TAKEN)
def test_a_name_does_what_its_member_does(place: str) -> None:
    asked, member, name, _, _ = TAKEN[place]
    assert asked(name) == asked(member)


@pytest.mark.parametrize("place", TAKEN)
def test_another_name_is_refused_with_what_there_is(place: str) -> None:
    asked, _, name, wrong, near = TAKEN[place]
    with pytest.raises(ValueError, match=rf"^\w+ {wrong!r} is not known; allowed: .*\b{name}\b") as told:
        asked(wrong)
    assert str(told.value).endswith(f"the nearest is {near!r}") == bool(near)
    assert ("nearest" in str(told.value)) == bool(near)


@pytest.mark.parametrize("find", [quantity_named, grade_named, format_named, tier_named])
@pytest.mark.parametrize("given", [None, 3, 2.0, "", ["loss"]])
def test_what_is_no_name_is_refused(find: Callable[[Any], Any], given: object) -> None:
    """3 equals `Grade.ACCURATE`, which an IntEnum is compared by."""
    with pytest.raises(ValueError, match=r"^\w+ .* is not known; allowed: "):
        find(given)
