"""The operations of double_double.py: bounds that are theorems of others, proved again up to terms of order u^3."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from reference.fast import double_double
from tests.proofs.amounts import UNIT
from tests.proofs.claims import claims
from tests.proofs.program import Program, same
from tests.proofs.proof import By, Proof, Step
from tests.proofs.tools import Question, UnprovedError
from tests.proofs.translate import follow

_MANTISSA = "[1, 9007199254740991b-52]"
_SECOND = "[-1b-53, 1b-53]"


def _program(name: str, inputs: Sequence[str], scaled: bool = False) -> Program:
    program = Program(scaled=scaled)
    arguments = [same(i) if scaled else program.float64(i) for i in inputs]
    follow(program, getattr(double_double, name), arguments)
    return program


def _proof(name: str, proved: Fraction) -> Proof:
    return Proof(claims()[name], proved, (Step("the whole", proved, By.GAPPA),))


def _multiply() -> Proof:
    program = _program("multiply", ["xh", "xl", "yh", "yl"])
    domain = [f"xh in {_MANTISSA}", f"yh in {_MANTISSA}", f"xl in {_SECOND}", f"yl in {_SECOND}"]
    definitions = [
        "z = (xh + xl) * (yh + yl); inner = xl * yh + rnd(xl * yl); outer = xh * yl + rnd(inner);",
        "second = e_0 + crossed_0; ratio = rnd(second) / two_product_head_0;",
    ]
    hints = [
        "fast_two_sum_0 - z -> (rnd(second) - second) + (crossed_0 - outer) + (rnd(inner) - inner) + (rnd(xl * yl) - xl * yl);",
        "$ xh in 16, yh in 16;",
    ]
    error, ratio = Question(program, domain, definitions, hints).sizes("fast_two_sum_0 -/ z", "ratio")
    _check(ratio)
    return _proof("multiply", error)


def _times() -> Proof:
    program = _program("times", ["xh", "xl", "y"])
    domain = [f"xh in {_MANTISSA}", f"y in {_MANTISSA}", f"xl in {_SECOND}"]
    definitions = ["z = (xh + xl) * y; second = xl * y + e_0; ratio = rnd(second) / two_product_head_0;"]
    hints = ["fast_two_sum_0 - z -> rnd(second) - second;", "$ xh in 16, y in 16;"]
    error, ratio = Question(program, domain, definitions, hints).sizes("fast_two_sum_0 -/ z", "ratio")
    _check(ratio)
    return _proof("times", error)


def _invert() -> Proof:
    program = _program("invert", ["xh", "xl"])
    definitions = [
        "z = 1 / (xh + xl); d = 1 - r_0 * (xh + xl); first = 1 - r_0 * xh; ratio = rnd(r_0 * d_0) / r_0;",
        "inner = (-r_0) * xh + c1_0; outer = (-r_0) * xl + rnd(inner);",
    ]
    hints = [
        "first -> (r_0 - c1_0 / xh) * (-xh) {xh <> 0};",
        "inner -> - ((r_0 - c1_0 / xh) * xh) {xh <> 0};",
        "d -> first - r_0 * xl;",
        "d_0 - d -> (d_0 - outer) + (rnd(inner) - inner);",
        "fast_two_sum_0 - z -> (rnd(r_0 * d_0) - r_0 * d_0) + r_0 * (d_0 - d) - d * d / (xh + xl) {xh + xl <> 0};",
        "$ xh in 32;",
    ]
    question = Question(program, [f"xh in {_MANTISSA}", f"xl in {_SECOND}"], definitions, hints)
    error, ratio = question.sizes("fast_two_sum_0 -/ z", "ratio")
    _check(ratio)
    return _proof("invert", error)


def _add() -> Proof:
    program = _program("add", ["xh", "xl", "yh", "yl"], scaled=True)
    definitions = ["z = (xh + xl) + (yh + yl); low = xl + yl; error = fast_two_sum_0 - z;"]
    hints = [
        "e_0 -> - (two_sum_0 * err0);",
        "error -> low * err1 + (e_0 + low * (1 + err1)) * err2;",
    ]
    domain = ["two_sum_0 in [-1, 1]", f"low in {_SECOND}"]
    (error,) = Question(program, domain, definitions, hints).sizes("error")
    return _proof("add", error / (1 - UNIT))


def _add_float() -> Proof:
    program = _program("add_float", ["xh", "xl", "y"], scaled=True)
    definitions = ["z = (xh + xl) + y; error = fast_two_sum_0 - z;", "whole = two_sum_0 + xl;"]
    hints = [
        "e_0 -> - (two_sum_0 * err0);",
        "error -> (xl + e_0) * err1;",
    ]
    (error,) = Question(program, ["two_sum_0 in [1, 1]", f"xl in {_SECOND}"], definitions, hints).sizes("error")
    return _proof("add_float", error / (1 - UNIT))


def _check(ratio: Fraction) -> None:
    if ratio >= 1:
        raise UnprovedError(f"the second summand of FastTwoSum may be {float(ratio)} times the first; allowed: less than 1")


def proofs() -> tuple[Proof, ...]:
    """Of all operations."""
    return (_add(), _add_float(), _multiply(), _times(), _invert())
