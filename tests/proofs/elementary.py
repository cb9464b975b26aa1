"""The functions of elementary.py: exp(-gap) and log(1 + r) in float64."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from reference.fast import elementary
from tests.proofs.amounts import as_text, chained, exponential, rounded_up
from tests.proofs.claims import claims
from tests.proofs.encodings import check_exp_minus, range_of_f
from tests.proofs.program import Program, Real, same
from tests.proofs.proof import By, Proof, Step
from tests.proofs.tools import Question, UnprovedError, ln2_error, logarithms, supremum
from tests.proofs.translate import follow

_LN2 = "LN2 = LN2_HIGH + LN2_LOW + eps;"
_NO_K = Fraction(17, 64)
"""Gaps up to it have k = 0; above 1/4 a gap is a multiple of 2^-54."""


def _eps() -> Fraction:
    return ln2_error(elementary.LN2_HIGH, elementary.LN2_LOW)


def _reduction(domain: str) -> Question:
    """Of s in exp_minus, whose error is `off`."""
    given = {"kept": same("kept"), "q": same("q"), "power": same("c1_0")}
    program = Program(given=given, taken={"gap <= LARGEST_GAP": True})
    program.float64("kept")
    follow(program, elementary.exp_minus, [same("gap")])
    definitions = [_LN2, "first = k_0 * LN2_HIGH + (-kept); lost = rnd(first) - first;"]
    definitions += ["off = s_0 - (k_0 * LN2 - kept); beside = k_0 - kept * LOG2_E;"]
    hints = [
        "first -> beside * LN2_HIGH + kept * (LOG2_E * LN2_HIGH - 1);",
        "beside -> (k_0 - (shifted_0 - ROUNDER)) + (shifted_0 - (kept * LOG2_E + ROUNDER));",
        "off -> (s_0 - (k_0 * LN2_LOW + rnd(first))) + lost - k_0 * eps;",
    ]
    return Question(program, [f"kept in {domain}", f"|eps| <= {as_text(_eps())}"], definitions, hints)


def exp_minus() -> Proof:
    """exp(-gap): the reduction, the polynomial, and the roundings from s on."""
    if _reduction(f"[0, {as_text(_NO_K)}]").sizes("k_0") != [0]:
        raise UnprovedError(f"k may not be 0 for gaps up to {_NO_K} in exp_minus")
    question = _reduction(f"[{as_text(_NO_K)}, {as_text(Fraction(elementary.LARGEST_GAP))}]")
    k, reduction, size = question.sizes("k_0", "off", "s_0")
    check_exp_minus(int(k))
    given = {name: same(name) for name in ("kept", "shifted", "k", "s")}
    program = Program(given=given | {"power": same("c1_0")}, taken={"gap <= LARGEST_GAP": True})
    program.float64("s")
    (value,) = follow(program, elementary.exp_minus, [same("gap")])
    assert isinstance(value, Real)
    truncation = supremum(program, value, "s", "exp(x)", -size, size)
    goal = f"{value.computed} -/ {value.exact}"
    (rounding,) = Question(program, [f"|s| <= {as_text(size)}"], (), ["$ s in 10;"]).sizes(goal)
    return Proof(
        claims()["exp_minus"],
        chained(exponential(reduction), truncation, rounding),
        (
            Step("s, absolutely", reduction, By.GAPPA),
            Step("polynomial for exp(s)", truncation, By.SOLLYA),
            Step("roundings from s on", rounding, By.GAPPA),
            Step("`power` is 2^-k: largest k", k, By.CASES),
        ),
    )


_ATANH_RANGES = (0, 30, 60, 120, 240, 480, 1003)
"""Binary exponents, negated, between which z is looked at: at each end the rest of the series weighs otherwise."""


def _double_atanh(largest: Fraction) -> tuple[Fraction, Fraction]:
    """The relative errors of the polynomial and of the roundings in _double_atanh, for 2^-1003 <= |z| <= largest."""
    program = Program()
    z = program.float64("z")
    (value,) = follow(program, elementary._double_atanh, [z])
    assert isinstance(value, Real)
    definitions = ["tail = rnd(twice_0 * y_0) * a_8; Mtail = Mtwice_0 * My_0 * Ma_8; whole = tail + twice_0;"]
    definitions += [f"Mwhole = Mtail + Mtwice_0; out = {value.computed}; share = My_0 * Ma_8 / (1 + My_0 * Ma_8);"]
    split = "(whole - Mwhole) / Mwhole -> ((tail - Mtail) / Mtail) * share + (twice_0 - Mtwice_0) / Mwhole"
    near = [f"{split} {{Mtail <> 0, Mwhole <> 0, 1 + My_0 * Ma_8 <> 0}};", "$ z in 20;"]
    worst = Fraction(0)
    for above, below in pairwise(_ATANH_RANGES):
        high = min(largest, Fraction(1, 2**above))
        for ends in (f"[1b-{below}, {as_text(high)}]", f"[-{as_text(high)}, -1b-{below}]"):
            question = Question(program, [f"z in {ends}"], definitions, near if above == 0 else ())
            worst = max(worst, *question.sizes("out -/ Mwhole"))
    return supremum(program, value, "z", "2 * atanh(x)", -largest, largest), worst


def _quotient(top: str, ends: Sequence[str]) -> tuple[Fraction, Fraction]:
    """The relative error of z = top / (2 + top), and its size."""
    given = {name: same(top) for name in ("w", "c", "encoding", "k", "e", "large", "small", "f")}
    program = Program(given=given, taken={"small": top == "r"})
    program.float64(top)
    follow(program, elementary.log1p_unit, [same("r")])
    found = [Question(program, [f"{top} in {end}"]).sizes("z_0 -/ Mz_0", "z_0") for end in ends]
    return max(error for error, _ in found), max(size for _, size in found)


def _exact_f(low: Fraction, high: Fraction) -> None:
    """That f = (1 + f) - 1 is exact."""
    program = Program()
    program.float64("m")
    lost = Question(program, [f"m in [{as_text(low)}, {as_text(high)}]"], ["lost = rnd(m - 1) - (m - 1);"]).sizes("lost")
    if lost != [0]:
        raise UnprovedError(f"1 + f, between {float(low)} and {float(high)}, less 1 may be rounded in log1p_unit")


def _large(part: Fraction, e: str, size: str) -> Fraction:
    """The relative error of the branch for large r: k and where log(1 + f) lies are given."""
    names = ("w", "c", "encoding", "e", "part", "small", "k", "f", "top")
    program = Program(given={name: same(name) for name in names}, taken={"small": False})
    program.definitions.update({"w": "1", "part": "A * (1 + rho)"})
    follow(program, elementary.log1p_unit, [same("r")])
    definitions = [
        _LN2,
        "quotient = c / w; rounded = rnd(quotient); low = rnd(e * LN2_LOW + rounded); inner = rnd(part + low);",
    ]
    definitions += [
        "true = e * LN2 + A + quotient + rest; whole = e * LN2_HIGH + inner; off = inner - (e * LN2_LOW + quotient + A);"
    ]
    hints = ["off -> (inner - (part + low)) + (low - (e * LN2_LOW + rounded)) + (rounded - quotient) + A * rho;"]
    hints += ["whole - true -> off - e * eps - rest;", "$ A in 20;"]
    domain = [f"e in {e}", "@FIX(e, 0)", f"A in {size}", "c in [-1b-53, 1b-53]", f"|rho| <= {as_text(part)}"]
    domain += ["|rest| <= 1b-106", f"|eps| <= {as_text(_eps())}"]
    return Question(program, domain, definitions, hints).sizes("large_0 -/ true")[0]


def log1p_unit() -> Proof:
    """log(1 + r): its two branches."""
    low, high = (Fraction(end) for end in range_of_f())
    _exact_f(low, high)
    small = Fraction(elementary._SMALL)
    bottom, top = as_text(low - 1), as_text(high - 1)
    off, size = _quotient("r", [f"[1b-1000, {as_text(small)}]"])
    off_f, size_f = _quotient("f", [f"[1b-53, {top}]", f"[{bottom}, -1b-53]"])
    largest = max(size, size_f)
    truncation, rounding = _double_atanh(largest)
    part = chained(rounded_up(max(off, off_f) / (1 - largest**2)), truncation, rounding)
    # Where k = 0, f is above _SMALL.
    bottom, middle, top = (as_text(end) for end in logarithms(low, 1 + small, high))
    ends = {"[1, 1]": bottom, "[2, 2]": bottom, "[3, 52]": bottom, "[0, 0]": middle}
    branch = max(_large(part, e, f"[{start}, {top}]") for e, start in ends.items())
    return Proof(
        claims()["log1p_unit"],
        max(part, branch),
        (
            Step("z = r / (2 + r)", max(off, off_f), By.GAPPA),
            Step("polynomial for 2 atanh(z)", truncation, By.SOLLYA),
            Step("roundings from z on", rounding, By.GAPPA),
            Step("the whole where r is small", part, By.FRACTIONS),
            Step("the whole where r is large", branch, By.GAPPA),
        ),
    )


def proofs() -> tuple[Proof, ...]:
    """Of both functions."""
    return (exp_minus(), log1p_unit())
