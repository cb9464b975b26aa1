"""Weights of rows and the normaliser: values by hand, what special rows owe, and how a kernel takes them."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.adapter import Adapter
from adapters.loading import load_adapter, operations_on_trial
from adapters.operation import Operation
from adapters.question import Question
from reference import FLOAT16, FLOAT32, FLOAT64, Problem, Quantity, evaluate
from reference.arithmetic import Arithmetic
from reference.bounds.entrywise import componentwise_bound, stable_bound
from reference.special_values import Requirement
from suites.inputs.problems import Ask, problems
from tests.command import QUICKLY, run_here
from tests.planted.trial import FOLDER

TWO: dict[str, Any] = {"logits": [[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]], "target": [1, 1], "format": FLOAT64}
FIRST, SECOND = math.log(math.exp(2) + 1 + math.exp(-1)), math.log(2 + math.e) - 1
"""The losses of its rows."""


def loss_of(**options: Any) -> Any:
    return evaluate(Problem(**TWO | options), ["loss"])[Quantity.LOSS].values.approximate()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"row_weights": [3.0, 0.5]}, [3 * FIRST, SECOND / 2]),
        ({"row_weights": [3.0, 0.5], "normaliser": 8.0}, [3 * FIRST / 8, SECOND / 16]),
        ({"row_weights": [3.0, 0.5], "reduction": "sum"}, 3 * FIRST + SECOND / 2),
        ({"row_weights": [3.0, 0.5], "reduction": "mean"}, (3 * FIRST + SECOND / 2) / 2),
        ({"row_weights": [0.0, 1.0], "reduction": "mean", "normaliser": 2.0}, 0.275722357),
        ({"normaliser": 8.0, "reduction": "sum"}, (FIRST + SECOND) / 8),
        ({"normaliser": 8.0, "reduction": "mean"}, (FIRST + SECOND) / 8),
        ({"row_weights": [2.0, 2.0], "z_loss": 0.5}, [2 * (FIRST + FIRST**2 / 2), 2 * (SECOND + (SECOND + 1) ** 2 / 2)]),
    ],
)
def test_values_by_hand(options: dict[str, Any], expected: Any) -> None:
    np.testing.assert_allclose(loss_of(**options), expected, rtol=1e-9)


def test_a_mean_divides_by_its_class_weights_whatever_the_weights_of_the_rows() -> None:
    found = loss_of(row_weights=[3.0, 0.5], class_weights=[1.0, 4.0, 1.0], reduction="mean")
    np.testing.assert_allclose(found, (3 * FIRST + SECOND / 2) / 2, rtol=1e-9)


def test_micro_batches_of_one_normaliser_add_up_to_the_mean_of_all() -> None:
    whole = Problem(**TWO | {"reduction": "mean"})
    parts = [Problem(whole.logits[i : i + 1], [1], FLOAT64, reduction="mean", normaliser=2.0) for i in range(2)]
    total = sum(evaluate(part, ["loss"])[Quantity.LOSS].values.approximate() for part in parts)
    np.testing.assert_allclose(total, evaluate(whole, ["loss"])[Quantity.LOSS].values.approximate(), rtol=1e-15)


@pytest.mark.parametrize("row", [[math.nan, 0.0, 1.0], [math.inf, 0.0, 1.0], [0.0, -math.inf, 1.0], [-math.inf] * 3])
def test_a_row_of_weight_0_is_0_but_nobody_owes_that_where_it_is_not_finite(row: list[float]) -> None:
    problem = Problem([row, [0.0, 1.0, 0.0]], [1, 1], FLOAT32, row_weights=[0.0, 1.0])
    for expected in evaluate(problem, ["loss", "gradient"]).values():
        values, owed = expected.values.approximate(), expected.requirement
        assert (values[0] == 0).all()
        assert (owed[0] == Requirement.UNSPECIFIED).all()
        assert (values[1] != 0).all()
        assert (owed[1] == Requirement.MUST).all()


def test_where_no_row_counts_a_normaliser_divides_0() -> None:
    ignored = Problem(**TWO | {"target": [-100, -100], "reduction": "mean", "normaliser": 4.0})
    for expected in evaluate(ignored, ["loss", "gradient"]).values():
        assert (expected.values.approximate() == 0).all()
        assert (expected.requirement == Requirement.MUST).all()
    undefined = evaluate(ignored.replace(normaliser=None), ["loss"])[Quantity.LOSS]
    assert np.isnan(undefined.values.approximate())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"row_weights": [1.0]}, r"row_weights has shape \(1,\); allowed: \(2,\)"),
        ({"row_weights": [1.0, -1.0]}, r"row_weights\[1\] is -1\.0; allowed: numbers >= 0"),
        ({"row_weights": [1.0, math.inf]}, r"row_weights\[1\] is inf; allowed: finite float64 numbers"),
        ({"normaliser": 0.0}, r"normaliser is 0\.0; allowed: a finite number > 0, or None"),
        ({"normaliser": "tokens"}, r"normaliser is 'tokens'; allowed: a finite number > 0, or None"),
    ],
)
def test_what_is_not_allowed_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Problem(**TWO | options)


POWERS = st.sampled_from([0.25, 0.5, 1.0, 2.0, 8.0])


@given(problems(Ask(FLOAT32, ("moderate", "absorption"), options=frozenset({"reduction"}))), POWERS, POWERS)
def test_powers_of_two_scale_values_and_bounds(problem: Problem, weight: float, normaliser: float) -> None:
    """Exactly the values, and the bounds by as much; a weight costs roundings, which these powers do not need."""
    plain = problem.replace(cotangent=None, reduction="sum")
    weighted = plain.replace(row_weights=np.full(problem.num_rows, weight), normaliser=normaliser)
    for quantity in (Quantity.LOSS, Quantity.GRADIENT):
        values, scaled = (evaluate(p, [quantity])[quantity].values.approximate() for p in (plain, weighted))
        np.testing.assert_array_equal(scaled, values * weight / normaliser)
        bound, larger = (stable_bound(p, quantity, Arithmetic("float32", "float32")) for p in (plain, weighted))
        assert (larger >= bound * weight / normaliser * (1 - 2.0**-20)).all()


def half(value: float) -> float:
    return float(FLOAT16.round(np.array(value)))


def single(value: float) -> float:
    return float(np.float32(value))


def test_a_weight_may_be_divided_before_it_meets_the_loss() -> None:
    """(r/n) L in float16: what r/n loses is enlarged by L."""
    weight = half(0.0103)
    problem = Problem([[2000.0, 0.0]], [1], FLOAT16, row_weights=[weight], normaliser=4096.0, reduction="sum")
    error = half(half(weight / 4096) * 2000) - float(exactly(problem, Quantity.LOSS))
    assert abs(error) > 2e-5
    assert abs(error) <= stable_bound(problem, Quantity.LOSS, Arithmetic("float16", "float32"))


def test_a_loss_may_be_divided_before_it_meets_the_weight() -> None:
    """(L/n) r in float32: what L/n loses is enlarged by r."""
    weight, normaliser = single(1.7 * 2.0**127), 3 * 2.0**126
    problem = Problem([[14.0, 0.0]], [0], FLOAT32, row_weights=[weight], normaliser=normaliser)
    error = single(single(single(np.log1p(np.exp(-14.0))) / normaliser) * weight) - exactly(problem, Quantity.LOSS)
    arithmetic = Arithmetic("float32", "float32")
    assert abs(error[0]) > 1e-7
    assert abs(error[0]) <= stable_bound(problem, Quantity.LOSS, arithmetic)[0]
    expected = evaluate(problem, ["loss"])[Quantity.LOSS]
    assert abs(error[0]) <= componentwise_bound(problem, Quantity.LOSS, arithmetic, expected)[0]


@pytest.mark.parametrize("options", [{}, {"z_loss": 0.5}, {"logit_softcap": 1.0}], ids=str)
@pytest.mark.parametrize(("quantity", "order"), [(Quantity.GRADIENT, 1), (Quantity.HVP, 2)])
def test_the_temperature_enlarges_what_a_small_factor_loses(options: dict[str, Any], quantity: Quantity, order: int) -> None:
    """r/n is subnormal in float32, and is divided by T once an order after that."""
    temperature, weight = 2.0**-10, single(1.23456 * 2.0**-140)
    given = {"row_weights": [weight], "normaliser": 3.0, "temperature": temperature, "tangent": [[1.0, -1.0]]}
    problem = Problem([[0.0, temperature / 2]], [1], FLOAT32, **given | options)
    values, factor = exactly(problem, quantity), single(weight / 3)
    for _ in range(order):
        factor = single(factor / temperature)
    error = np.abs(factor * (values * temperature**order / (weight / 3)) - values)
    for bound in (stable_bound(problem, quantity, Arithmetic("float32", "float32")), of_componentwise(problem, quantity)):
        assert (error <= bound).all()
    assert error.max() > 1e-43


def of_componentwise(problem: Problem, quantity: Quantity) -> Any:
    return componentwise_bound(problem, quantity, Arithmetic("float32", "float32"), evaluate(problem, [quantity])[quantity])


def test_factors_that_make_up_for_each_other_leave_a_bound() -> None:
    problem = Problem([[0.0, 1.0]], [0], FLOAT64, row_weights=[2.0**1000], normaliser=2.0**1000, cotangent=[2.0**100])
    bound = stable_bound(problem, Quantity.GRADIENT, Arithmetic("float64", "float64"))
    assert (bound < np.abs(exactly(problem, Quantity.GRADIENT))).all()


def exactly(problem: Problem, quantity: Quantity) -> Any:
    return evaluate(problem, [quantity])[quantity].values.approximate()


WEIGHTED = {"row_weights": [3.0, 0.5], "normaliser": 8.0, "format": FLOAT32}


def assert_near(adapter: Adapter, operation: Operation, problem: Problem) -> None:
    """Loss and gradient of an operation, at plain numbers."""
    observed = adapter.observe(Question(operation, problem, (Quantity.LOSS, Quantity.GRADIENT)))
    for quantity, expected in evaluate(problem, ["loss", "gradient"]).items():
        np.testing.assert_allclose(observed.values[quantity], expected.values.approximate(), rtol=1e-6)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_pytorch_s_composition_has_them(reduction: str) -> None:
    pytest.importorskip("torch")
    adapter = load_adapter("torch", "cpu")
    (operation,) = [each for each in adapter.operations() if each.name == "row_weighted_cross_entropy"]
    problem = Problem(**TWO | WEIGHTED | {"reduction": reduction})
    assert_near(adapter, operation, problem)
    assert_near(adapter, operation, problem.replace(normaliser=None))


def test_a_kernel_for_pytorch_takes_them_by_the_names_of_its_parameters() -> None:
    pytest.importorskip("torch")
    adapter = load_adapter("torch", "cpu")
    taken, usual = (
        operations_on_trial(adapter, f"{FOLDER / place}")[0] for place in ("row_weights.py:weighted", "kernel.py:right")
    )
    assert taken.options == usual.options | {"row_weights", "normaliser"}
    assert_near(adapter, taken, Problem(**TWO | WEIGHTED | {"reduction": "mean"}))


def by_position(input, target, row_weights=None, /, *, reduction="mean"): ...  # noqa: A002


def gathers(input, target, *, reduction="mean", **z_loss): ...  # noqa: A002


def required(input, target, row_weights, reduction="mean"): ...  # noqa: A002


@pytest.mark.parametrize(
    ("kernel", "named"),
    [
        (by_position, set()),
        (gathers, set()),
        (required, {"row_weights"}),
        (partial(required, row_weights=None), {"row_weights"}),
    ],
)
def test_a_parameter_is_an_option_if_it_can_be_given_by_name(kernel: Any, named: set[str]) -> None:
    losses = pytest.importorskip("adapters.torch.losses")
    assert losses.options_named(kernel) == named


def test_what_a_module_or_a_partial_object_has_by_default_is_not_its_answer(tmp_path: Path) -> None:
    """Options are passed at their neutral values too, and those of a module are those of its forward."""
    pytest.importorskip("torch")
    path = tmp_path / "kernels.py"
    path.write_text(MODULE)
    for name in ("module", "capped"):
        options = (f"--implementation={path}:{name}", "--claim=stable", "--dtype=float32", "--case=reductions/micro-batch")
        status, printed = run_here(*QUICKLY, "--backend=torch", *options)
        assert (status, "4 passed" in printed) == (0, True), printed


MODULE = """
from functools import partial

import torch
import torch.nn.functional as F

from adapters.arithmetic import arithmetic


class Losses(torch.nn.Module):
    def forward(self, input, target, *, reduction="mean", normaliser=None, logit_softcap=None, **options):
        x = input if logit_softcap is None else logit_softcap * torch.tanh(input / logit_softcap)
        if normaliser is None:
            return F.cross_entropy(x, target, reduction=reduction, **options)
        losses = F.cross_entropy(x, target, reduction="none", **options)
        return (losses if reduction == "none" else losses.sum()) / normaliser


module = arithmetic(composed=True)(Losses())
capped = arithmetic(composed=True)(partial(Losses().forward, logit_softcap=30.0))
"""
