"""The proofs of the compiled tier hold, speak of the code as it is, and fail where a claim or the code is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
import pytest

from reference.fast import double_double, elementary, sums, wide, wide_sums
from tests.proofs import encodings, translate
from tests.proofs.all import proofs
from tests.proofs.amounts import UNIT, as_text, chained, decimal, exponential, power
from tests.proofs.claims import claims
from tests.proofs.elementary import exp_minus, log1p_unit
from tests.proofs.page import PAGE, line, on_paper
from tests.proofs.program import Part, Program, dyadic, same
from tests.proofs.proof import Proof
from tests.proofs.tools import NOT_INSTALLED, UnprovedError, missing
from tests.proofs.translate import UnknownCodeError, follow
from tests.proofs.wide import Expm1, exp_scaled, reduce

proving = pytest.mark.skipif(bool(missing()), reason=NOT_INSTALLED.format(", ".join(missing())))


def _exp_scaled() -> Proof:
    reduced = reduce()
    return exp_scaled(reduced, Expm1(reduced.size))


@proving
def test_every_claim_is_proved() -> None:
    found = proofs()
    assert [proof.claim for proof in found] == list(claims().values())
    assert [proof.claim.function for proof in found if not proof.holds] == []
    # A proof of nothing would be one of 0.
    assert all(proof.proved > proof.claim.value / 100 for proof in found)


@proving
@pytest.mark.parametrize(
    ("module", "constant", "below", "proof"),
    [
        (elementary, "EXP_ERROR", 2.0**-53, exp_minus),
        (elementary, "LOG1P_ERROR", 3.5 * 2.0**-53, log1p_unit),
        (wide, "EXP_ERROR", 2.0**-95, _exp_scaled),
    ],
)
def test_a_claim_below_what_is_proved_fails(
    monkeypatch: pytest.MonkeyPatch, module: object, constant: str, below: float, proof: Callable[[], Proof]
) -> None:
    monkeypatch.setattr(module, constant, below)
    assert not proof().holds


def _fails(proof: Callable[[], Proof]) -> bool:
    try:
        return not proof().holds
    except UnprovedError:
        return True


@proving
@pytest.mark.parametrize(
    ("module", "constant", "off", "proof"),
    [
        (elementary, "_E7", 2.0**-20, exp_minus),
        (elementary, "LN2_HIGH", 2.0**-52, exp_minus),
        (elementary, "LN2_LOW", 2.0**-20, exp_minus),
        (elementary, "_A4", 2.0**-20, log1p_unit),
        (elementary, "LN2_LOW", 2.0**-20, log1p_unit),
        (wide, "_C9", 2.0**-20, _exp_scaled),
        (wide, "_C4_LOW", 2.0**-10, _exp_scaled),
        (wide, "LN2_B", 2.0**-52, _exp_scaled),
        (wide, "_HALVINGS", 1.0, _exp_scaled),
    ],
)
def test_a_changed_constant_fails(
    monkeypatch: pytest.MonkeyPatch, module: object, constant: str, off: float, proof: Callable[[], Proof]
) -> None:
    monkeypatch.setattr(module, constant, getattr(module, constant) * (1.0 + off))
    assert _fails(proof)


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch, was: str, becomes: str) -> Iterator[None]:
    """The code as it would read with one line changed."""
    read, met = translate.source_of, []

    def source_of(function: Callable[..., object]) -> str:
        text = read(function)
        met.extend([was] * text.count(was))
        return text.replace(was, becomes)

    monkeypatch.setattr(translate, "source_of", source_of)
    yield
    assert met


@proving
@pytest.mark.parametrize(
    ("was", "becomes", "proof"),
    [
        ("    q = fma(q, s, _E7)\n", "", exp_minus),
        ("fma(k, LN2_LOW, fma(k, LN2_HIGH, -kept))", "fma(k, LN2_HIGH, -kept)", exp_minus),
        ("    a = fma(a, y, _A4)\n", "", log1p_unit),
        ("    q = fma(q, rh, _C9)\n", "", _exp_scaled),
        ("    eh, el = _doubled(eh, el)\n", "", _exp_scaled),
        ("rest + fma(-k, LN2_C, sl)", "rest + sl", _exp_scaled),
    ],
)
@pytest.mark.usefixtures("changed")
def test_a_changed_line_fails(proof: Callable[[], Proof]) -> None:
    assert _fails(proof)


def test_the_page_has_the_claims_of_the_code() -> None:
    table = PAGE.read_text().partition("|---|---|---|---|\n")[2].partition("\n\n")[0].splitlines()
    assert table == [line(claim, row.split(" | ")[2]) for claim, row in zip(claims().values(), table, strict=True)]


def test_the_page_has_what_is_on_paper() -> None:
    assert set(on_paper()) <= set(PAGE.read_text().splitlines())


def test_all_claims_are_those_of_the_constants() -> None:
    found = {name: claim.value for name, claim in claims().items()}
    assert found["exp_minus"] == elementary.EXP_ERROR
    assert found["log1p_unit"] == elementary.LOG1P_ERROR
    assert found["exp_scaled"] == wide.EXP_ERROR
    assert found["log1p_wide"] == wide.LOG1P_ERROR
    assert found["sum_of"] == sums.R_ROUNDINGS * UNIT
    assert found["total_of"] == wide_sums.VALUE_ERROR
    operations = [found[name] / UNIT**2 for name in ("add", "add_float", "multiply", "times", "invert")]
    assert operations == [3, 2, 5, 2, 6]


def test_a_program_has_every_coefficient_and_every_step() -> None:
    program = Program()
    follow(program, elementary._double_atanh, [program.float64("z")])
    script = program.gappa()
    assert all(f"A{n} = {'b'.join(map(str, dyadic(getattr(elementary, f'_A{n}'))))};" in script for n in range(1, 11))
    assert sum(name.startswith("a_") for name in program.definitions) == 9


@pytest.mark.parametrize("operation", ["add", "add_float", "multiply", "times", "invert"])
def test_an_operation_is_read_rounding_by_rounding(operation: str) -> None:
    program = Program()
    function = getattr(double_double, operation)
    names = function.py_func.__code__.co_varnames[: function.py_func.__code__.co_argcount]
    follow(program, function, [program.float64(name) for name in names])
    # The inputs are rounded too.
    assert (
        program.gappa().count("rnd(") - len(names)
        == {"add": 4, "add_float": 3, "multiply": 6, "times": 3, "invert": 5}[operation]
    )


def _loop(x: float) -> float:
    while x > 1.0:
        x = x / 2.0
    return x


def _root(x: float) -> float:
    return abs(x)


def _power(x: float) -> float:
    return x**2


def _branch(x: float) -> float:
    return x if x > 1.0 else 1.0


def _whole(x: float) -> float:
    return x + 1


@pytest.mark.parametrize("function", [_loop, _root, _power, _branch, _whole])
def test_code_that_is_not_known_is_refused(function: Callable[[float], float]) -> None:
    with pytest.raises(UnknownCodeError, match="known here|which way it goes"):
        follow(Program(), function, [same("x")])


def _low_used(_h: float, low: float) -> float:
    return low * 2.0


def test_the_low_part_of_a_pair_alone_is_refused() -> None:
    parts = Part(same("x"), True), Part(same("x"), False)
    with pytest.raises(UnknownCodeError, match="nothing is known of it alone"):
        follow(Program(), _low_used, parts)
    with pytest.raises(UnknownCodeError, match="of a part of a pair is not known here"):
        follow(Program(), double_double.times, [*parts, same("y")])


def test_two_constants_that_overlap_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wide, "_C5_LOW", wide._C5 * 2.0**-52)
    lemma = {name: lambda _, given: given[0] for name in ("multiply", "add", "add_float")}
    with pytest.raises(UnknownCodeError, match="_C5 \\+ _C5_LOW does not round to _C5"):
        follow(Program(lemmas=lemma), wide.expm1_reduced, [Part(same("t"), True), Part(same("t"), False)])


def test_what_a_proof_takes_otherwise_must_be_in_the_code() -> None:
    with pytest.raises(UnknownCodeError, match=r"takes \['w'\] otherwise"):
        follow(Program(given={"w": same("w")}), double_double.times, [same("xh"), same("xl"), same("y")])


def test_the_steps_on_encodings_are_right() -> None:
    encodings.check_exp_minus(938)
    encodings.check_reduce(2048)
    encodings.check_log1p_wide(53)
    low, high = encodings.range_of_f()
    assert low**2 < 0.5 + 2.0**-52
    assert high**2 < 2.0


def test_a_wrong_encoding_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elementary, "ROUNDER_BITS", elementary.ROUNDER_BITS + 1)
    with pytest.raises(UnprovedError, match="not that of ROUNDER"):
        encodings.check_reduce(3)
    with pytest.raises(UnprovedError, match="not 2\\^-0"):
        encodings.check_exp_minus(3)


@cache
def _in_python(function: Any) -> Callable[..., Any]:
    """The code as Python runs it, operation by operation, with an exact fma."""
    plain = function.py_func
    names = dict(plain.__globals__)
    here = {"fma": _fma, "bits_of": encodings.bits_of, "float_of": encodings.float_of}
    called = [name for name in plain.__code__.co_names if hasattr(names.get(name), "py_func")]
    names.update({name: _in_python(names[name]) for name in called})
    return FunctionType(plain.__code__, names | here)


def _fma(a: float, b: float, c: float) -> float:
    return float(Fraction(a) * Fraction(b) + Fraction(c))


LOGS = [2.0**-900, 2.0**-40, 0.25, 0.4142, 0.41421, 0.5, 1.0, 1.5, 3.0, 2.0**20 + 1.0, 2.0**52]
GAPS = [0.0, 2.0**-60, 0.2, 0.3465, 0.34657, 0.3466, 1.0, 17.5, 300.25, 649.9]


SPREAD = [float(x) for x in np.random.default_rng(3).uniform(0.0, 40.0, 30)]


@pytest.mark.parametrize("x", SPREAD)
def test_compiled_code_does_what_the_python_code_says(x: float) -> None:
    for gap in [x, *(gap + x * 2.0**-20 for gap in GAPS)]:
        wide_gap = (-gap, gap * 2.0**-54)
        assert _in_python(elementary.exp_minus)(gap) == elementary.exp_minus(gap)
        assert _in_python(wide.exp_alone)(*wide_gap) == wide.exp_alone(*wide_gap)
    for r in [x, *(r * (1.0 + x / 64.0) for r in LOGS[:-1]), LOGS[-1]]:
        assert _in_python(elementary.log1p_unit)(r) == elementary.log1p_unit(r)
        assert _in_python(wide.log1p_wide)(r, r * 2.0**-55) == wide.log1p_wide(r, r * 2.0**-55)


def test_amounts_are_rounded_up() -> None:
    third = Fraction(1, 3)
    assert third < chained(third) < third + Fraction(1, 2**199)
    assert exponential(Fraction(1, 2)) == Fraction(3, 4)
    assert decimal(third) == "0.3334"
    assert decimal(Fraction(5)) == "5"
    assert decimal(5 + Fraction(1, 2**50)) == "5 (1 + 2^-52.32)"
    assert power(Fraction(1, 2**90)) == "2^-90"
    assert power(Fraction(3, 2**90)) == "2^-88.41"
    with pytest.raises(ValueError, match="1/3 is not a dyadic fraction"):
        as_text(third)
