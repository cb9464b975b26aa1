"""A user's own kernel is judged by a default arithmetic, or by what its decorator or its claims file declares."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from adapters.adapter import AdapterError
from adapters.arithmetic import SCHEMA, arithmetic, arithmetic_of_kernel, declaration_of, own_arithmetic
from adapters.loading import load_adapter, operations_on_trial
from adapters.operation import Operation
from reference.arithmetic import BLOCKED, RECURSIVE, Arithmetic, Order, Summation
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64
from suites.judging.claims import Setting
from suites.judging.claims_file import ClaimsError, load_claims
from suites.judging.dead_entries import live_claims
from tests.command import first_failures, run_here
from tests.documents import ADAPTERS

SOURCE = '''
import numpy as np
from adapters.arithmetic import arithmetic

{decorator}
def kernel(logits, labels):
    """In float32, stored once; of the sum, {missing} of the classes are left out."""
    x = logits.astype(np.float32 if logits.dtype.itemsize < 4 else logits.dtype)
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    total = powers[:, : powers.shape[1] - {missing} * powers.shape[1] // 1000].sum(axis=1)
    at = (np.arange(len(labels)), labels)
    gradient = powers / total[:, None]
    loss = np.log(total) - (x - x.max(axis=1, keepdims=True))[at]
    gradient[at] -= 1
    return loss.astype(logits.dtype), gradient.astype(logits.dtype)
'''


def kernel(folder: Path, decorator: str = "", missing: int = 0) -> str:
    path = folder / "own.py"
    path.write_text(SOURCE.format(decorator=decorator, missing=missing))
    return f"{path}:kernel"


def judged_in(folder: Path, decorator: str = "") -> Operation:
    (operation,) = operations_on_trial(load_adapter("numpy", "cpu"), kernel(folder, decorator))
    return operation


def test_a_kernel_that_declares_nothing_is_not_judged_as_its_backend(tmp_path: Path) -> None:
    operation = judged_in(tmp_path)
    once = {fmt.name: Arithmetic(fmt, wide, summation=BLOCKED).storing_once() for fmt, wide in WORKING.items()}
    assert operation.arithmetic == once
    assert all(operation.has_default_arithmetic(fmt) for fmt in WORKING)
    assert operation.composed["float32"].exp_ulps == 4.0


WORKING = {FLOAT64: FLOAT64, FLOAT32: FLOAT32, FLOAT16: FLOAT32, BFLOAT16: FLOAT32}


def test_what_is_composed_is_judged_as_its_backend(tmp_path: Path) -> None:
    operation = judged_in(tmp_path, "@arithmetic(composed=True)")
    assert operation.arithmetic == operation.composed
    assert not any(operation.has_default_arithmetic(fmt) for fmt in WORKING)


def test_an_outer_declaration_goes_before_an_inner_one(tmp_path: Path) -> None:
    decorators = '@arithmetic(exp_ulps=3.0, dtypes=["float16"])\n@arithmetic(exp_ulps=2.0, summation="recursive")'
    found = judged_in(tmp_path, decorators).arithmetic
    assert [found[name].exp_ulps for name in ("float16", "float32")] == [3.0, 2.0]
    assert {kind.summation for kind in found.values()} == {RECURSIVE}


def test_what_stores_more_does_not_store_once_and_the_other_way_round() -> None:
    backend = {"bfloat16": Arithmetic("bfloat16", "bfloat16", stores_sum=True)}
    own = {"bfloat16": own_arithmetic(BFLOAT16, backend["bfloat16"])}

    def declared(**keys: Any) -> Arithmetic:
        return declaration_of(keys).within(own, backend)["bfloat16"]

    assert not declared(stores_sum=True).stores_once
    assert not declared(stores_log_probability=True).stores_once
    once = declared(composed=True, stores_once=True)
    assert (once.stores_once, once.stores_sum, once.working.name) == (True, False, "bfloat16")
    assert declared(summation={"order": "lanes", "lanes": 32, "leaf": 64}).summation == Summation(Order.LANES, 32, 64)
    assert declaration_of({"working": "float32"}).within({"float64": Arithmetic("float64", "float64")}, {}) == {
        "float64": Arithmetic("float64", "float64")
    }


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({}, "nothing is declared; allowed: composed, working, exp_ulps"),
        ({"dtypes": ["float16"]}, "nothing is declared; allowed: composed, working"),
        ({"composed": False}, "nothing is declared; allowed: composed, working"),
        ({"storage": "float16"}, "unknown keys ['storage']; allowed: dtypes, composed, working"),
        ({"exp_ulp": 2.0}, "unknown keys ['exp_ulp']; allowed: dtypes, composed"),
        ({"exp_ulp": 2.0}, "the nearest is 'exp_ulps'"),
        ({"exp_ulps": -1}, "exp_ulps is -1; allowed: a number from 0 to"),
        ({"exp_ulps": float("nan")}, "exp_ulps is nan; allowed: a number from 0 to"),
        ({"exp_ulps": "2"}, "exp_ulps is '2'; allowed: a number from 0 to"),
        ({"working": "float8"}, "working 'float8' is not known; allowed: float64, float32"),
        ({"dtypes": ["half"], "composed": True}, "dtypes 'half' is not known; allowed: float64, float32"),
        ({"stores_sum": 1}, "stores_sum is 1; allowed: true, false"),
        (
            {"summation": "serial"},
            "summation is 'serial'; allowed: pairwise, blocked, lanes, tree, recursive, or a table of order",
        ),
        ({"summation": {"lanes": 8}}, "summation is {'lanes': 8}; allowed: pairwise"),
        ({"stores_once": True, "stores_sum": True}, "stores_once and stores_sum are both true; allowed: one of them"),
    ],
)
def test_a_declaration_that_is_none_says_what_is_allowed(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        arithmetic(**keys)


def test_every_field_of_the_arithmetic_but_its_storage_is_a_key() -> None:
    assert set(SCHEMA["properties"]) == {"dtypes", "composed"} | {f.name for f in fields(Arithmetic)} - {"storage"}
    of_sums = SCHEMA["properties"]["summation"]["anyOf"][1]["properties"]
    assert list(of_sums) == [f.name for f in fields(Summation)]


def test_what_takes_no_attributes_declares_in_its_claims_file() -> None:
    assert arithmetic_of_kernel(len) == ()
    with pytest.raises(TypeError, match="declare its arithmetic as .*arithmetic.* in a claims file"):
        arithmetic(composed=True)(len)


def test_a_mistake_in_a_decorator_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"unknown keys \['exp'\].*own.py, line 5"):
        judged_in(tmp_path, "@arithmetic(exp=2.0)")


def claims(folder: Path, text: str) -> Path:
    path = folder / "claims.toml"
    path.write_text(text)
    return path


def test_a_claims_file_declares_the_same(tmp_path: Path) -> None:
    operation, adapter = judged_in(tmp_path, "@arithmetic(exp_ulps=2.0)"), load_adapter("numpy", "cpu")
    entry = '[[arithmetic]]\noperations = ["ker*"]\ndtypes = ["float16"]\nsummation = { order = "lanes", lanes = 4 }\n'
    found = live_claims(adapter, claims(tmp_path, entry), (operation,)).as_declared(operation, "cpu").arithmetic
    assert [str(found[name].summation) for name in ("float16", "float32")] == ["lanes of 4", "blocked"]
    assert {kind.exp_ulps for kind in found.values()} == {2.0}
    path = claims(tmp_path, '[[arithmetic]]\noperations = ["ker*"]\ncomposed = true\n')
    composed = live_claims(adapter, path, (operation,)).as_declared(operation, "cpu")
    assert composed.arithmetic == operation.composed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('operations = ["*"]\nworkings = "float32"', r"\[\[arithmetic\]\] 1: unknown keys \['workings'\]; allowed: dtypes"),
        ('operations = ["*"]\nworking = "half"', r"\[\[arithmetic\]\] 1: working 'half' is not known; allowed: float64"),
        ('operations = ["*"]', r"\[\[arithmetic\]\] 1: nothing is declared; allowed: composed"),
        ("composed = true", r"\[\[arithmetic\]\] 1: 'operations' is missing"),
    ],
)
def test_a_mistake_in_a_claims_file_is_told_with_its_entry(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ClaimsError, match=says):
        load_claims(claims(tmp_path, f"[[arithmetic]]\n{text}\n"), Setting("1.0"))


def test_the_operations_of_a_backend_are_not_redeclared(tmp_path: Path) -> None:
    adapter = load_adapter("numpy", "cpu")
    path = claims(tmp_path, '[[arithmetic]]\noperations = ["naive"]\nexp_ulps = 9.0\n')
    with pytest.raises(ClaimsError, match=r"operation 'naive' is one of a backend, .*; allowed: kernels of --implementation"):
        live_claims(adapter, path, adapter.operations())


def options(place: str, *more: str) -> tuple[str, ...]:
    return (
        f"--implementation={place}",
        "--claim=stable",
        "--effort=quick",
        "--dtype=bfloat16",
        "--case=vocabulary/*-equal",
        *more,
    )


def test_a_kernel_that_stores_once_passes_by_default_and_one_that_leaves_out_classes_does_not(tmp_path: Path) -> None:
    """5 % of the classes are within what PyTorch's stores cost in bfloat16, beyond one store, and beyond 4 ulp."""
    stored = "@arithmetic(stores_sum=True, stores_log_probability=True)"
    assert first_failures(*options(kernel(tmp_path))) == (0, {})
    assert first_failures(*options(kernel(tmp_path, stored, missing=50))) == (0, {})
    status, failed = first_failures(*options(kernel(tmp_path, missing=50)))
    assert status == 1
    assert "float32 arithmetic, blocked sum, exp 1 ulp, stored once (the default for a kernel that declares none)" in str(
        failed
    )


def test_a_kernel_that_is_composed_is_told_what_to_declare(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "own.py"
    source = "import torch\n\n\ndef kernel(input, target, **options):\n    loss = torch.nn.functional.cross_entropy\n"
    path.write_text(f"{source}    return loss(input, target, **options)\n")
    asked = ("--backend=torch", f"--implementation={path}:kernel", "--claim=stable", "--dtype=bfloat16", "--case=vocabulary/*")
    _, output = run_here(*asked)
    assert "it would be 'stable' by the arithmetic of the backend's own functions (float32 arithmetic, lanes of" in output
    assert "declare composed = true if it is made of them" in output
    path.write_text(f"from adapters.arithmetic import arithmetic\n{source}    return loss(input, target, **options)\n\n\n")
    path.write_text(path.read_text() + "kernel = arithmetic(composed=True)(kernel)\n")
    status, output = run_here(*asked)
    assert status == 0, output


def test_the_page_has_a_line_for_each_key() -> None:
    told = {name for row in ADAPTERS.table("Arithmetic") for name in re.findall(r"\w+", row[0])}
    assert told == set(SCHEMA["properties"])
