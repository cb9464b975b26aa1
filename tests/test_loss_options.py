"""Checks that a problem takes the target and the options of its loss, and refuses others, saying what is allowed."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

import numpy as np
import pytest

from reference import FLOAT16, FLOAT32, Loss, Problem
from reference.loss import Target
from reference.options import ARGUMENTS, Array, Option, arguments_of

INDICES: dict[str, Any] = {"logits": [[20.0, 0.0], [1.0, 2.0]], "target": [0, 1], "format": FLOAT32}
SOFT = INDICES | {"target": np.array([[0.5, 0.5], [1.0, 0.0]])}
COLUMN = {"logits": [[20.0], [1.0]], "target": np.array([[1.0], [0.0]]), "format": FLOAT32}

INPUTS = {
    Target.EITHER: INDICES,
    Target.INDICES: INDICES,
    Target.PROBABILITIES: SOFT,
    Target.BINARY_PROBABILITIES: COLUMN,
    Target.BINARY_CLASSES: COLUMN,
}


OUTPUT = INDICES | {"logits": None}
LAYER = {"features": [[1.0], [2.0]], "weight": [[3.0], [0.5]], "bias": [0.0, -np.inf]}


def some_value(option: Option) -> Any:
    """One that is not the default."""
    return [1.0, 2.0] if isinstance(option.kind, Array) else next(filter(option.is_given, option.drawn))


GIVEN = {option.name: some_value(option) for option in ARGUMENTS if option.losses is not None}
"""Every option that depends on the loss, not at its default."""


def taken_with(option: str) -> dict[str, Any]:
    """The option, and what it is not taken without."""
    return LAYER | {"logits": None} if option in LAYER else {option: GIVEN[option]}


def of(loss: Loss, **options: Any) -> Problem:
    return Problem(**INPUTS[loss.spec.target] | options, loss=loss)


@pytest.mark.parametrize("loss", Loss)
@pytest.mark.parametrize("option", GIVEN)
def test_a_loss_takes_its_options_and_no_other(loss: Loss, option: str) -> None:
    if option in arguments_of(loss):
        given = taken_with(option)
        np.testing.assert_array_equal(getattr(of(loss, **given), option), given[option])
    else:
        with pytest.raises(ValueError, match=rf"^{option} is .* and loss is '{loss.value}'; allowed: "):
            of(loss, **{option: GIVEN[option]})


def test_the_table_of_options_is_complete() -> None:
    optional = {field.name: field.default for field in fields(Problem) if field.init and field.default is not MISSING}
    assert optional == {argument.name: argument.default for argument in ARGUMENTS}


@pytest.mark.parametrize("loss", Loss)
def test_every_loss_takes_reduction_cotangent_and_tangent(loss: Loss) -> None:
    logits = INPUTS[loss.spec.target]["logits"]
    problem = of(loss, reduction="mean", cotangent=2.0, tangent=np.ones_like(logits))
    assert problem.loss is loss
    assert problem.is_binary == loss.spec.binary


@pytest.mark.parametrize("option", [*GIVEN, "loss"])
def test_only_cross_entropy_with_its_own_options_may_be_plain(option: str) -> None:
    homes = [loss for loss in Loss if option in arguments_of(loss)] or [Loss.FOCAL]
    given = {} if option == "loss" else taken_with(option)
    expected = option in ("ignore_index", "temperature", "logit_scale")
    assert of(homes[0], **given).is_plain == expected
    assert of(Loss.CROSS_ENTROPY).is_plain


REFUSED = [
    (INDICES, {"loss": "hinge"}, r"loss is 'hinge'; allowed: 'cross_entropy', 'kl_divergence', 'squared_error', 'focal', 'sig"),
    (INDICES, {"z_loss": -0.5}, r"z_loss is -0\.5; allowed: a finite number >= 0"),
    (INDICES, {"z_loss": np.inf}, r"z_loss is inf; allowed: a finite number >= 0"),
    (INDICES, {"z_loss": np.nan}, r"z_loss is nan; allowed: a finite number >= 0"),
    (INDICES, {"logit_softcap": 0.0}, r"logit_softcap is 0\.0; allowed: a finite number > 0, or None"),
    (INDICES, {"logit_softcap": np.inf}, r"logit_softcap is inf; allowed: a finite number > 0, or None"),
    (INDICES, {"loss": "focal", "focusing": -1.0}, r"focusing is -1\.0; allowed: a finite number >= 0"),
    (COLUMN, {"loss": "sigmoid", "positive_weight": -1.0}, r"positive_weight is -1\.0; allowed: a finite number >= 0"),
    (INDICES, LAYER, "logits and features are both given; allowed: one of them"),
    (OUTPUT, {"features": [[1.0], [2.0]]}, "features given without weight; allowed: features and weight of a layer"),
    (OUTPUT, {"bias": [1.0, 2.0]}, "bias given without features, weight; allowed: features and weight of a layer"),
    (
        OUTPUT,
        LAYER | {"weight": [[1.0, 2.0]]},
        r"features has shape .*, weight has shape .*, bias has shape .*; allowed: ",
    ),
    (
        OUTPUT,
        LAYER | {"bias": [1.0]},
        r"features has .*, bias has shape \(1,\); allowed: .*\(K,\), with K >= 1",
    ),
    (OUTPUT, LAYER | {"weight": [[1.0], [np.inf]]}, r"weight\[1, 0\] is inf; allowed: finite float32 numbers"),
    (OUTPUT, LAYER | {"weight": [[1.0], [0.1]]}, r"weight\[1, 0\] is 0\.1; allowed: finite float32 numbers"),
    (OUTPUT, LAYER | {"features": [[0.1], [1.0]]}, r"features\[0, 0\] is 0\.1; allowed: float32 numbers"),
    (OUTPUT, LAYER | {"bias": [np.nan, 0.0]}, r"bias\[0\] is nan; allowed: finite float32 numbers or -inf"),
    (
        INDICES,
        {"loss": "kl_divergence"},
        r"target has shape \(2,\) and dtype int64; allowed: floating-point probabilities of shape \(2, 2\)",
    ),
    (
        INDICES,
        {"loss": "squared_error"},
        r"target has shape \(2,\) and dtype int64; allowed: floating-point probabilities of shape \(2, 2\)",
    ),
    (SOFT, {"loss": "focal"}, r"target has shape \(2, 2\) and dtype float64; allowed: integer class indices of shape \(2,\)$"),
    (SOFT, {"loss": "sigmoid"}, r"logits has shape \(2, 2\) and loss is 'sigmoid'; allowed: \(N, 1\)"),
    (
        COLUMN | {"target": [1, 0]},
        {"loss": "sigmoid"},
        r"target has shape \(2,\) and dtype int64; allowed: .* in \[0, 1\] of shape \(2, 1\)",
    ),
    (
        COLUMN | {"target": np.array([[0.5], [1.5]])},
        {"loss": "sigmoid"},
        r"target\[1, 0\] is 1\.5; allowed: numbers in \[0, 1\]",
    ),
    (
        COLUMN | {"target": np.array([[0.5], [-1.0]])},
        {"loss": "sigmoid"},
        r"target\[1, 0\] is -1\.0; allowed: probabilities >= 0",
    ),
    (COLUMN | {"target": np.array([[0.5], [1.0]])}, {"loss": "sigmoid_focal"}, r"target\[0, 0\] is 0\.5; allowed: 0 or 1"),
]


@pytest.mark.parametrize(("base", "given", "message"), REFUSED)
def test_refused(base: dict[str, Any], given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        Problem(**base, **given)


def test_a_name_is_taken_for_its_loss() -> None:
    assert Problem(**INDICES, loss="focal").loss is Loss.FOCAL  # type: ignore[arg-type]


@pytest.mark.parametrize("part", ["features", "weight", "bias"])
def test_a_layer_is_copied_and_frozen(part: str) -> None:
    given = {name: np.array(numbers) for name, numbers in LAYER.items()}
    problem = Problem(**OUTPUT, **given)
    given[part][...] = 0.0
    kept = getattr(problem, part)
    assert kept.tolist() == LAYER[part]
    with pytest.raises(ValueError, match="read-only"):
        kept[...] = 3.0


def test_a_complement_need_not_be_a_member() -> None:
    """1 - y of a tiny y is no float16 number; the weights are exact all the same."""
    assert Problem([[0.0]], np.array([[2.0**-24]]), FLOAT16, loss=Loss.SIGMOID).target[0, 0] == 2.0**-24


def test_repr_names_what_is_not_plain_cross_entropy() -> None:
    assert ", loss focal, focusing 2.0>" in repr(of(Loss.FOCAL, focusing=2.0))
    assert repr(of(Loss.CROSS_ENTROPY)).endswith("class weights False>")
