"""What became worse in one row: one operation, dtype and quantity in two reports.

A grade says the least that was reached. Below a claim it says no more, so all else that was asked is compared too: how far off
the worst error is, which kinds of errors there are, where the claim is missed, and on how much the row rests.

The worst error has a band, since another order of a sum, which is as right, moves it: it may double, and it may be 1 ulp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from reference.formats import FORMATS
from reference.grades import NOT_MEASURED, Grade, grade_named
from suites.report.schema import Result
from suites.report.wording import first_of, is_below_claim, is_measured, reached, worst_ulps

BAND = 2.0
"""Times by which a worst error may grow."""


def lower(first: Result | None, later: Result | None) -> list[str]:
    """Grades that are lower, and claims that fail and did not, where both reports have the row.

    A grade is of all that was asked: it may be lower where more is asked, as of a kernel that refused much before, if the claim
    holds.
    """
    if first is None or later is None:
        return []
    found = []
    may_be_lower = later["problems"] > first["problems"] and not is_below_claim(later)
    if reached(later) < reached(first) and not may_be_lower:
        found.append(f"reaches {later['reached']}, was {first['reached']}")
    if is_below_claim(later) and not is_below_claim(first):
        found.append(f"claim {later['claimed']} fails: reaches {later['reached']}")
    return found


def worse(first: Result | None, later: Result | None, asked_alike: bool) -> list[str]:
    """All that is worse in a row, in words.

    Numbers of problems and entries, worst errors and bins are compared only where both were asked the same problems.
    """
    if first is None:
        return []
    if later is None:
        return [f"is gone, reached {first['reached']}"]
    if is_measured(first) and not is_measured(later):
        return [f"is not measured any more, reached {first['reached']}"]
    rules = (_fewer, _larger, _kinds, _bins) if asked_alike else ()
    found = [*lower(first, later), *_left_out(first, later, asked_alike)]
    return found + [text for rule in rules for text in rule(first, later)]


def _left_out(first: Result, later: Result, asked_alike: bool) -> Iterator[str]:
    """What known deviations leave out."""
    before, after = first["left_out"], later["left_out"]
    if asked_alike and after["problems"] > before["problems"]:
        yield f"leaves out {after['problems']} problems, were {before['problems']}"
    if before["problems"] and after["problems"] and grade_named(after["reached"]) < grade_named(before["reached"]):
        yield f"reaches {after['reached']} in what is left out, was {before['reached']}"


def _fewer(first: Result, later: Result) -> Iterator[str]:
    """What the row rests on."""
    for what in ("problems", "entries"):
        if later[what] < first[what]:
            yield f"rests on {later[what]} {what}, were {first[what]}"


def _larger(first: Result, later: Result) -> Iterator[str]:
    """The worst error, in ulp and over the bound of `stable`."""
    if _is_mended(first, later):
        return
    before, after = _lost(first), _lost(later)
    if after > max(BAND * before, 1.0):
        yield f"worst error {worst_ulps(later)} ulp, was {worst_ulps(first)}"
    before, after = (result["worst_error_over_stable_bound"] for result in (first, later))
    if after > max(BAND * before, 1.0):
        yield f"worst error {after:.3g} times the bound of stable, was {before:.3g}"


def _kinds(first: Result, later: Result) -> Iterator[str]:
    """Kinds of errors: more of a wrong class, which is never right; and others, which a claim may allow, where none were.

    A 0 is no worse where as much as a value was lost before.
    """
    if later["wrong_class"] > first["wrong_class"]:
        yield f"{later['wrong_class']} NaN, infinities or numbers where they do not belong, were {first['wrong_class']}"
    if _is_mended(first, later):
        return
    if later["returned_nonzero"] and not first["returned_nonzero"]:
        yield f"{later['returned_nonzero']} numbers where 0 is exact, were none"
    if later["returned_zero"] and not first["returned_zero"] and 2 * _lost(first) < _nothing_left(first):
        yield f"{later['returned_zero']} zeros for numbers that are not 0, were none"


def _is_mended(first: Result, later: Result) -> bool:
    """True if the grade rose, fewer values are of a wrong class, or the worst error is less than half of what it was.

    Then other errors may show: what is a number now had no error before, and what absorbs returns 0 where 0 is exact.
    """
    rose = reached(later) > reached(first) or later["wrong_class"] < first["wrong_class"]
    return rose or BAND * _lost(later) < _lost(first)


def _lost(result: Result) -> float:
    """The worst error in ulp, as far as it counts."""
    return min(float(result["worst_ulps"]), _nothing_left(result))


def _nothing_left(result: Result) -> float:
    """The error in ulp from which on nothing of a value is left: 2^p. A 0 for a normal number is half as far off at least."""
    return 2.0 ** FORMATS[result["returned_dtype"]].precision


def _bins(first: Result, later: Result) -> Iterator[str]:
    """Parts of the generated problems that reach less than they did and less than was claimed."""
    parts = []
    for bins, (said, name) in _BINS.items():
        known = {name(part): _lowest(part) for part in first[bins]}
        claimed = grade_named(first["claimed"])
        lost = [name(part) for part in later[bins] if _lowest(part) < min(known.get(name(part), claimed), claimed)]
        parts += [f"{said} {first_of(lost)}"] if lost else []
    if parts:
        yield f"reaches less than it did, and than is claimed, at {'; '.join(parts)}"


def _lowest(part: dict[str, Any]) -> Grade:
    """The lowest grade of a part; hazards have apart what known deviations leave out, bins have not."""
    grades = (part["reached"], part.get("left_out", part)["reached"])
    return min((grade_named(grade) for grade in grades if grade != NOT_MEASURED), default=Grade.CORRECT)


def _span(part: dict[str, Any]) -> str:
    return f"{part['from']:.4g}.." if part["to"] is None else f"{part['from']:.4g}..{part['to']:.4g}"


_BINS: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "by_hazard": ("hazards", lambda part: str(part["hazard"])),
    "by_gap": ("gaps", _span),
    "by_classes": ("K of", _span),
}
"""The bins of a result, what they are called, and how one is named."""
