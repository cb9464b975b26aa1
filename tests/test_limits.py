"""Declared limits: checked as they are declared, kept by what is generated, skipped with their reason, told by the report."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.limits import SCHEMA, Limit, limit_of, limits, limits_of
from adapters.numpy.backend import NumpyAdapter
from adapters.operation import Operation
from reference import FLOAT32, Problem
from reference.quantity import Quantity
from suites.inputs.hazards import HAZARDS, NONFINITE
from suites.inputs.problems import Ask, problems
from suites.judging.claims import Setting
from suites.judging.claims_file import ClaimsError, load_claims
from suites.report.compare import compare
from suites.report.wording import verdict_line
from tests.command import run_suites
from tests.reports import report

KERNEL = '''
import numpy as np
{imports}

{decorators}
def tiled(logits, labels):
    """Right in tiles of 8 classes, wrong otherwise; its logits become the gradient."""
    rows, classes = logits.shape
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    sums = powers.sum(axis=1)
    at = (np.arange(rows), labels)
    loss = np.log(sums) - shifted[at]
    gradient = powers / sums[:, None]
    gradient[at] -= 1
    logits[:] = gradient + (classes % 8 != 0)
    return loss.astype(logits.dtype), logits
'''
DECORATORS = """@limits("tiles of 8 classes", classes_multiple_of=8)
@limits("the logits become the gradient", overwrites=["logits"])
@limits("written for training in float32", dtypes=["float32"])"""
TOML = """
[[limit]]
operations = ["tiled"]
reason = "tiles of 8 classes"
classes_multiple_of = 8

[[limit]]
operations = ["*"]
modes = ["eager"]
reason = "the logits become the gradient"
overwrites = ["logits"]

[[limit]]
operations = ["tiled"]
reason = "written for training in float32"
dtypes = ["float32"]
"""
QUICK = ("--effort=quick", "--claim=stable", "-k", "test_loss or test_gradient or test_layout or out_of_range", "-rs")


def kernel(folder: Path, decorators: str = "") -> str:
    """--implementation of the kernel with these decorators."""
    imports = "from adapters.limits import limits" if decorators else ""
    (folder / "kernel.py").write_text(KERNEL.format(imports=imports, decorators=decorators))
    return f"--implementation={folder / 'kernel.py'}:tiled"


def test_limits_add_up_and_are_told_in_words() -> None:
    @limits("tiles", classes_multiple_of=8, max_classes=65536)
    @limits("no double backward", derivatives=1)
    def function() -> None: ...

    assert [limit.text for limit in limits_of(function)] == [
        "K a multiple of 8; K at most 65536: tiles",
        "derivatives up to order 1: no double backward",
    ]
    assert limits_of(len) == ()


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({}, "nothing is limited; allowed: dtypes, devices, derivatives, targets, fixed_target, options"),
        ({"reason": " ", "derivatives": 1}, "reason is ' '; allowed: a sentence that says why, in one line"),
        ({"dtypes": "float32"}, "dtypes is 'float32'; allowed: a list of float64, float32, float16, bfloat16"),
        ({"dtypes": []}, r"dtypes is \[\]; allowed: a list of float64, float32, float16, bfloat16"),
        ({"targets": ()}, r"targets is \(\); allowed: a list of indices, probabilities"),
        ({"dtypes": ["float8"]}, "dtypes 'float8' is not known; allowed: float64, float32"),
        ({"devices": ["tpu"]}, "devices 'tpu' is not known; allowed: cpu, cuda"),
        ({"targets": ["soft"]}, "targets 'soft' is not known; allowed: indices, probabilities"),
        ({"options": ["weights"]}, "options 'weights' is not known; allowed: class_weights"),
        ({"overwrites": ["input"]}, "overwrites 'input' is not known; allowed: logits, target"),
        ({"derivatives": 3}, "derivatives is 3; allowed: a whole number from 0 to 2"),
        ({"classes_multiple_of": 0}, "classes_multiple_of is 0; allowed: a whole number from 1"),
        ({"classes_multiple_of": None}, "classes_multiple_of is None; allowed: a whole number from 1"),
        ({"classes_multiple_of": 8.0}, "classes_multiple_of is 8.0; allowed: a whole number from 1"),
        ({"max_classes": 2**63}, "max_classes is 9223372036854775808; allowed: a whole number from 64"),
        ({"max_classes": 10}, "max_classes is 10; allowed: a whole number from 64"),
        ({"finite_logits": 1}, "finite_logits is 1; allowed: true, false"),
        ({"returns": ["loss"]}, r"returns is \['loss'\]; allowed: a table of formats by quantity, such as"),
        ({"returns": {"losses": "float32"}}, "returns 'losses' is not known; allowed: loss, gradient, hessian"),
        ({"returns": {"loss": "bfloat16"}}, "returns.loss 'bfloat16' is not known; allowed: float32, float64"),
        ({"returns": {"loss": ["float32"]}}, r"returns.loss \['float32'\] is not known; allowed: float32, float64"),
        ({"reason": "a\nb", "derivatives": 1}, r"reason is 'a\\nb'; allowed: a sentence that says why, in one line"),
        ({"returns": {}}, "nothing is limited; allowed: dtypes"),
        ({"k_multiple": 8}, r"unknown keys \['k_multiple'\]; allowed: reason, dtypes"),
    ],
)
def test_a_limit_that_is_none_says_what_is_allowed(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        limit_of({"reason": "why", **keys})


def test_the_keys_of_a_limit_are_those_of_its_schema() -> None:
    assert list(SCHEMA["properties"]) == [field.name for field in fields(Limit)]
    assert limit_of({"reason": "why", "derivatives": 1, "max_classes": None}) == Limit("why", derivatives=1)


def test_a_limit_without_a_reason_or_on_a_builtin_is_refused() -> None:
    with pytest.raises(ValueError, match="reason is None"):
        limit_of({"derivatives": 1})
    with pytest.raises(TypeError, match="declare its limits as .*limit.* in a claims file"):
        limits("why", derivatives=1)(len)


def test_a_limit_of_a_claims_file_names_its_mistake(tmp_path: Path) -> None:
    path = tmp_path / "claims.toml"
    path.write_text('[[limit]]\noperations = ["*"]\nreason = "why"\nclasses = 8\n')
    with pytest.raises(ClaimsError, match=r"\[\[limit\]\] 1: unknown keys \['classes'\]; allowed: reason, dtypes"):
        load_claims(path, Setting("1.0"))


def drawn(ask: Ask) -> list[Problem]:
    """A few problems that answer an ask."""
    seen: list[Problem] = []

    @given(problems(ask))
    @settings(max_examples=10, deadline=None, database=None)
    def see(problem: Problem) -> None:
        seen.append(problem)

    see()
    return seen


@given(st.data(), st.sampled_from([3, 8, 12, 48, 128]), st.sampled_from([None, 2000, 4100]), st.booleans())
@settings(max_examples=60, deadline=None, database=None)
def test_generated_problems_keep_to_the_classes(data: st.DataObject, multiple: int, most: int | None, few: bool) -> None:
    ask = Ask(FLOAT32, tuple(HAZARDS), classes_multiple=multiple, max_classes=most, few_shapes=few)
    problem = data.draw(problems(ask))
    assert problem.num_classes % multiple == 0
    assert most is None or problem.num_classes <= most


def test_logits_that_must_be_finite_are(tmp_path: Path) -> None:
    """By every hazard that is left, and of stored cases; one that is left out says so."""
    for hazard in set(HAZARDS) - set(NONFINITE):
        assert all(np.isfinite(problem.logits).all() for problem in drawn(Ask(FLOAT32, (hazard,)))), hazard
    result = run_suites(
        kernel(tmp_path, '@limits("no masks", finite_logits=True, overwrites=["logits"])'),
        *("--effort=quick", "--claim=none", "--dtype=float32", "-k", "test_masked or test_case", "--hazard=masked", "-rs"),
    )
    assert "finite logits; overwrites logits, not checked: no masks" in result.stdout
    assert "a limit leaves none of masked" in result.stdout
    assert result.returncode == 5, result.stdout
    assert "\nNOTHING RAN: all 13 tests were skipped: declared limit: finite logits" in result.stdout


def test_every_hazard_is_generated_within_a_limit() -> None:
    for hazard in HAZARDS:
        assert any(HAZARDS[hazard].holds(problem) for problem in drawn(Ask(FLOAT32, (hazard,), classes_multiple=8))), hazard


def test_an_operation_within_limits_says_what_is_gone() -> None:
    (scipy,) = [op for op in NumpyAdapter().operations() if op.name == "scipy_log_softmax"]
    first_order = scipy.within((Limit("no double backward", derivatives=1), Limit("halves", dtypes=("float16",))), "cpu")
    assert first_order.quantities == (Quantity.LOSS, Quantity.GRADIENT)
    assert list(first_order.arithmetic) == ["float16"]
    assert first_order.declared_away((Quantity.HESSIAN,), "float16", "cpu") == (
        "declared limit: derivatives up to order 1: no double backward"
    )
    assert str(first_order.declared_away((Quantity.LOSS,), "float32", "cpu")).endswith("float16 only: halves")
    assert first_order.declared_away((Quantity.LOSS, Quantity.HESSIAN), "float16", "cpu") is None
    assert first_order.whole.quantities == scipy.quantities


@pytest.mark.parametrize(
    ("limit", "probabilities"),
    [(Limit("a GPU kernel", devices=("cuda",)), False), (Limit("indices", targets=("indices",)), True)],
    ids=["device", "target"],
)
def test_a_device_or_target_declared_away_leaves_nothing(limit: Limit, probabilities: bool) -> None:
    operation = Operation("f", "f(x)", None, {"float32": None}, probabilities=probabilities)  # type: ignore[dict-item]
    assert not operation.within((limit,), "cpu").arithmetic
    assert operation.within((limit,), "cpu").declared_away((Quantity.LOSS,), "float32", "cpu") is not None
    assert Operation("f", "f(x)", None, operation.arithmetic).within((limit,), "cuda:0").arithmetic


def test_limits_that_leave_no_number_of_classes_are_a_usage_error(tmp_path: Path) -> None:
    decorators = '@limits("tiles", classes_multiple_of=48)\n@limits("one block", max_classes=95)'
    result = run_suites(kernel(tmp_path, decorators))
    assert result.returncode == 4
    assert "limits of tiled: K at most 95, and a multiple of 48; allowed: a largest K of 96 or more" in result.stdout


def test_a_problem_beyond_a_limit_is_not_asked() -> None:
    operation = Operation("f", "f(x)", None, dict.fromkeys(["float32"]), options=frozenset({"reduction"}))  # type: ignore[arg-type]
    limited = operation.within((Limit("tiles", classes_multiple_of=2, max_classes=64, options=()),), "cpu")
    assert limited.refusal(Problem(np.zeros((1, 4)), [0], FLOAT32)) is None
    for beyond in (np.zeros((1, 3)), np.zeros((1, 66))):
        assert str(limited.refusal(Problem(beyond, [0], FLOAT32))).startswith("declared limit: options none only; K a multiple")
    assert limited.refusal(Problem(np.zeros((1, 4)), [0], FLOAT32, reduction="sum")) is not None


@pytest.mark.parametrize("declared_in", ["decorator", "claims file"])
def test_what_is_declared_is_kept_and_told(declared_in: str, tmp_path: Path) -> None:
    by_decorator = declared_in == "decorator"
    (tmp_path / "claims.toml").write_text(TOML)
    place = kernel(tmp_path, DECORATORS if by_decorator else "")
    claims = () if by_decorator else (f"--claims={tmp_path / 'claims.toml'}",)
    result = run_suites(place, *claims, *QUICK, f"--report={tmp_path / 'report'}")
    assert result.returncode == 0, result.stdout
    assert "declared limit: float32 only: written for training in float32" in result.stdout
    assert "declared limit: K a multiple of 8: tiles of 8 classes" in run_suites(place, *claims, "--case=ties/*", "-rs").stdout
    assert "3 declared limits:\n" in result.stdout
    assert "  tiled: overwrites logits, not checked: the logits become the gradient\n" in result.stdout
    written = json.loads((tmp_path / "report" / "report-tiled.json").read_text())
    assert {"reason": "tiles of 8 classes", "classes_multiple_of": 8} in [li["declared"] for li in written["limits"]]
    assert {r["dtype"] for r in written["results"]} == {"float32"}
    assert "; within declared limits" in verdict_line(written)
    for name in ("report-tiled.md", "report-tiled.html"):
        assert "tiles of 8 classes" in (tmp_path / "report" / name).read_text()


@pytest.mark.parametrize(
    ("left_out", "says"),
    [("classes_multiple_of", "what   : gradient[0, 0] is "), ("overwrites", "what   : loss: changed its input logits; claim")],
)
def test_what_is_not_declared_is_held_to_the_claim(left_out: str, says: str, tmp_path: Path) -> None:
    decorators = "\n".join(line for line in DECORATORS.splitlines() if left_out not in line)
    result = run_suites(kernel(tmp_path, decorators), "--effort=quick", "--claim=stable", "-x", "-k", "test_gradient")
    assert result.returncode == 1
    assert says in result.stdout


def test_a_new_limit_is_a_regression() -> None:
    declared = {"operation": "cross_entropy", "text": "K at most 64: why", "declared": {"reason": "why", "max_classes": 64}}
    before, after = report(), report(limits=[declared])
    assert [r.text for r in compare([before, after]).regressions] == [
        "declared limit of cross_entropy is new: K at most 64: why"
    ]
    assert not compare([after, before]).regressions
    assert not compare([after, after]).regressions


def test_the_derivatives_of_a_torch_kernel_are_limited(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "fused.py").write_text(
        "import torch\nfrom adapters.arithmetic import arithmetic\nfrom adapters.limits import limits\n\n\n"
        "@arithmetic(composed=True)\n"
        '@limits("its backward is not differentiable", derivatives=1, targets=["indices"], options=["reduction"])\n'
        "def fused(input, target, **options):\n    return torch.nn.functional.cross_entropy(input, target, **options)\n"
    )
    narrow = ("--dtype=float32", "--effort=quick", "--claim=stable", "-rs", "-k", "test_hessian or test_gradient or absorption")
    result = run_suites("--backend=torch", f"--implementation={tmp_path / 'fused.py'}:fused", *narrow)
    assert result.returncode == 0, result.stdout
    assert "declared limit: derivatives up to order 1; target indices only; options reduction only" in result.stdout
    assert "fused, fused_probabilities: derivatives up to order 1" in result.stdout
