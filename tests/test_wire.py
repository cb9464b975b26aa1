"""What a worker may say arrives as it was; whatever else is written into its connection is refused, and runs nothing."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest

from adapters.adapter import Observed
from adapters.limits import Limit
from adapters.loading import load_adapter
from adapters.operation import Operation
from adapters.script import Script
from adapters.wire import Description, ForgedError, Message, UnsendableError, message_of, value_of
from adapters.worker import sendable
from reference import FLOAT16, FLOAT32
from reference.arithmetic import Arithmetic, Order, Summation
from reference.quantity import Quantity

ANSWER = Observed | str
LIMIT = Limit("tiles", classes_multiple_of=8, dtypes=("float32",), returns={"loss": "float64"})
LANES = Arithmetic(FLOAT16, FLOAT32, exp_ulps=2, summation=Summation(Order.LANES, 8, leaf=64))
LAYER = Arithmetic(FLOAT32, FLOAT32, layer_logits=FLOAT16)
OWN = Operation(
    "f", "f(x)", None, {"float16": LANES, "float32": LAYER}, limits=(LIMIT,), returns={"float16": {Quantity.LOSS: FLOAT32}}
)


def same(a: Any, b: Any) -> bool:
    return all(getattr(a, field.name) == getattr(b, field.name) for field in fields(a))


def described(*operations: Operation) -> Description:
    return Description("name", "cpu", ("cpu", "cuda"), {"a": "1"}, operations, main=("f",))


def test_operations_arrive_as_they_were() -> None:
    sent = described(OWN, *map(sendable, load_adapter("numpy", "cpu").operations()))
    arrived = value_of(message_of(sent), Description | str)
    assert same(replace(arrived, operations=()), replace(sent, operations=()))
    assert len(arrived.operations) == len(sent.operations) > 5
    assert all(map(same, arrived.operations, sent.operations))
    assert isinstance(arrived.operations[0].arithmetic["float16"].exp_ulps, int)
    assert arrived.operations[0].arithmetic["float32"].layer_logits is FLOAT16


def test_every_optional_field_of_an_arithmetic_is_sent_with_a_value() -> None:
    """None travels whatever the type beside it; a value did not, where its class is written by its name."""
    optional = {field.name for field in fields(Arithmetic) if field.default is None}
    assert optional
    assert all(getattr(LAYER, name) is not None for name in optional)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_arrive_bit_by_bit(dtype: str, shape: tuple[int, ...], order: Any) -> None:
    values = np.zeros(shape, dtype, order=order)
    values[...] = np.resize([-0.0, np.nan, -np.inf, 0.1], shape)
    sent = Observed({Quantity.LOSS: values, Quantity.HVP: np.ones(3)}, ("a",), dtypes={Quantity.LOSS: "float16"}, seconds=0.1)
    arrived = value_of(message_of(sent), ANSWER)
    assert same(replace(arrived, values={}), replace(sent, values={}))
    got = arrived.values[Quantity.LOSS]
    assert (got.dtype, got.shape, got.strides, got.tobytes()) == (values.dtype, shape, values.strides, values.tobytes())
    assert arrived.values[Quantity.HVP].tolist() == [1, 1, 1]
    got[...] = 1


@pytest.mark.parametrize("sent", ["no\udcff", None, Script(["import a"], [], ["def f(): ..."], "'1'")])
def test_texts_and_scripts_arrive(sent: Any) -> None:
    assert value_of(message_of(sent), Script | str | None) == sent


def forged(arrays: bytes = b"", **changes: Any) -> Message:
    """The answer of a call that raised, with changes."""
    said = json.loads(message_of(Observed({}, error="raised")).text) | changes
    return Message(json.dumps(said).encode(), arrays)


def array(*placed: Any) -> Message:
    """An answer with an array of 8 bytes, and what is said of it."""
    return forged(bytes(8), values={"loss": list(placed)})


@pytest.mark.parametrize(
    "message",
    [
        Message(b"", b""),
        Message(b"\xff", b""),
        Message(b"[" * 100_000, b""),
        Message(b"1" * 10_000, b""),
        Message(b"null", b""),
        Message(b"{}", b""),
        Message(pickle.dumps(OWN), b""),
        forged(more=1),
        forged(error=1),
        forged(ended=0),
        forged(ended=None),
        forged(seconds="1"),
        forged(seconds=10**400),
        forged(violations="abc"),
        forged(violations=[None]),
        forged(values=[]),
        forged(values={"loss": 1.0}),
        forged(bytes(8)),
        array("<f8", [2], "C"),
        array("<f8", [-1], "C"),
        array("<f8", [2**62, 2**62], "C"),
        array("<f8", [float("nan")], "C"),
        array("<f8", "1", "C"),
        array("<f8", [1], "Z"),
        array("|O", [1], "C"),
        array("<U2", [1], "C"),
        array("<f8", [1]),
        array("<f8", [0], "C"),
        forged(bytes(8), values={"losses": ["<f8", [1], "C"]}),
    ],
)
def test_what_no_worker_says_is_refused(message: Message) -> None:
    assert value_of(array("<f8", [1], "C"), ANSWER).values[Quantity.LOSS] == 0
    with pytest.raises(ForgedError):
        value_of(message, ANSWER)


@pytest.mark.parametrize(
    ("name", "value"),
    [("function", "os.system"), ("arithmetic", {"float16": {"storage": "antigravity"}}), ("quantities", ["lose"])],
)
def test_an_operation_that_is_none_is_refused(name: str, value: Any) -> None:
    said = json.loads(message_of(described(OWN)).text)
    assert value_of(Message(json.dumps(said).encode(), b""), Description)
    said["operations"][0][name] = value
    with pytest.raises(ForgedError):
        value_of(Message(json.dumps(said).encode(), b""), Description)


@dataclass(frozen=True)
class Own(Summation):
    """A sum that another process would take for an ordinary one."""


@pytest.mark.parametrize(
    "changes",
    [
        {"arithmetic": {"float16": replace(LANES, summation=Own(Order.LANES))}},
        {"returns": {"float16": {Quantity.LOSS: replace(FLOAT32, precision=25)}}},
        {"name": b"f"},
        {"function": len},
    ],
)
def test_what_would_arrive_as_something_else_is_not_sent(changes: Mapping[str, Any]) -> None:
    with pytest.raises(UnsendableError, match="which does not travel"):
        message_of(described(replace(OWN, **changes)))
