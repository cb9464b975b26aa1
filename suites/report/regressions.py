"""What is worse in a report than in the first: a line for each thing, with the names of all that it is about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from adapters.foreign_state import DEFAULT_STATE
from suites.judging.effort import EFFORTS
from suites.report.ended import worse_cases, worse_endings
from suites.report.pair import Pair
from suites.report.schema import Report
from suites.report.verdict import CONFORMS, FAILS, INTERRUPTED, NOTHING_RAN, REDUCED
from suites.report.wording import first_of, limits, seen_deviations

_RANKS = {CONFORMS: 2, REDUCED: 1, FAILS: 0, NOTHING_RAN: 0, INTERRUPTED: 0}
"""Verdicts, the worst first; of what fails none is worse than another."""


@dataclass(frozen=True)
class Regression:
    """Something that is worse in a later report than in the first; `report` counts from 0.

    `names` are all tests or cases that it is about, of which `text` names the first.
    """

    report: int
    text: str
    names: tuple[str, ...] = ()


def regressions_of(pair: Pair, number: int) -> Iterator[Regression]:
    """All that is worse in a report as a whole; what is worse in rows is `suites.report.row`."""
    for text in (*_verdict(pair), *_narrowed(pair), *_limits(pair), *_deviations(pair), *_states(pair)):
        yield Regression(number, text)
    for said, names in (*worse_endings(pair), *worse_cases(pair)):
        yield Regression(number, f"{said}: {first_of(names)}", tuple(names))


def _verdict(pair: Pair) -> Iterator[str]:
    before, after = pair.first["verdict"], pair.later["verdict"]
    if _RANKS[after] < _RANKS[before]:
        yield f"verdict: {after}, was {before}"


def _narrowed(pair: Pair) -> Iterator[str]:
    """Options that narrow what is asked and were not given; what fewer dtypes, operations or cases leave out is gone itself."""
    before, after = pair.first["run"], pair.later["run"]
    # In their order, the lower first; of an effort that is none of ours nothing can be said.
    efforts = [name for name in EFFORTS if name in (before["effort"], after["effort"])]
    if efforts == [after["effort"], before["effort"]]:
        yield f"effort: {after['effort']}, was {before['effort']}"
    known = set(map(_kind_of_narrowing, before["reduced_by"])) | {"--effort"}
    if new := [reason for reason in after["reduced_by"] if _kind_of_narrowing(reason) not in known]:
        yield f"newly narrowed by {', '.join(new)}"
    left = _hazards(pair.later)
    if left and (gone := sorted(_hazards(pair.first) - left)):
        yield f"hazards not asked any more: {', '.join(gone)}"


def _kind_of_narrowing(reason: str) -> str:
    """The option, or what is said without its count: tests that are gone are told by their names.

    >>> _kind_of_narrowing("--dtype=float32"), _kind_of_narrowing("12 tests left out")
    ('--dtype', 'tests left out')
    """
    return reason.partition("=")[0].lstrip("0123456789 ")


def _hazards(report: Report) -> set[str]:
    """The hazards that --hazard leaves, where it is given."""
    given = [reason.removeprefix("--hazard=") for reason in report["run"]["reduced_by"] if reason.startswith("--hazard=")]
    return {name.strip() for names in given for name in names.split(",")}


def _limits(pair: Pair) -> Iterator[str]:
    for limit, operations in limits(pair.later).items():
        if new := sorted(set(operations) - set(limits(pair.first).get(limit, []))):
            yield f"declared limit of {', '.join(new)} is new: {limit}"


def _deviations(pair: Pair) -> Iterator[str]:
    known = {deviation["id"] for deviation in seen_deviations(pair.first)}
    for deviation in seen_deviations(pair.later):
        if deviation["id"] not in known:
            yield f"deviation {deviation['id']} is new: {deviation['reason']}"


def _states(pair: Pair) -> Iterator[str]:
    """Floating-point states that what is on trial leaves to its callers, by what differs, whatever set it."""
    if new := sorted(_left_states(pair.later) - _left_states(pair.first)):
        yield f"newly leaves its callers a floating-point state: {', '.join(new)}"


def _left_states(report: Report) -> set[str]:
    told = [said.rpartition(" set ")[2] for said in report["environment"].get("floating_point_states", ())]
    return {name for names in told for name in names.split(", ")} - {DEFAULT_STATE}
