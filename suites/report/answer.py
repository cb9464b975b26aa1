"""Answers whether a loss can be trusted: a few sentences on each main operation of a report, from its results alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from reference.formats import FORMATS
from reference.grades import NOT_MEASURED, Grade
from reference.quantity import PRODUCT_OF, Quantity
from suites.report.schema import Report, Result
from suites.report.verdict import CONFORMS, NOTHING_RAN
from suites.report.wording import (
    by_name,
    counted,
    is_below_claim,
    is_measured,
    limits,
    lowest_left_out,
    reached,
    share,
    shared,
    short_number,
    subject,
    vacuous,
)

LOST_FIRST = (Quantity.LOSS, Quantity.GRADIENT)
"""Quantities of which it is said from which gap on 0 is returned; of the others only that it is."""

_NAMES = {quantity: str(quantity).replace("_", " ") for quantity in Quantity} | {
    Quantity.HESSIAN: "Hessian",
    Quantity.HVP: "Hessian-vector product",
    **{product: f"vector-Jacobian product of {block}" for block, product in PRODUCT_OF.items()},
}


@dataclass(frozen=True)
class Answer:
    """What a report says of one operation: what it is, where it ran, the grade, and sentences on what that means."""

    operation: str
    name: str
    where: str
    grade: str
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it behind the name."""
        return f"{self.where}: {' '.join([self.grade, *self.sentences])}"


def answers(report: Report) -> tuple[Answer, ...]:
    """One for each main operation; where a report has none, for each that has a loss and is no negative control."""
    groups = by_name(report["results"]).values()
    main = [results for results in groups if results[0]["role"] == "main"]
    other = [results for results in groups if results[0]["role"] != "control" and _of(results, Quantity.LOSS)]
    return tuple(_answer(report, results) for results in main or other)


def _of(results: Iterable[Result], quantity: Quantity) -> list[Result]:
    return [result for result in results if result["quantity"] == quantity]


def _answer(report: Report, results: list[Result]) -> Answer:
    missed = _missed(report, results)
    said = (
        missed,
        _unmeasured(results),
        _lost(results),
        _vacuous(results),
        _known(report, results),
        "" if missed else _held(report, results),
    )
    return Answer(
        operation=results[0]["operation"],
        name=_name(report, results[0]),
        where=_where(report, results[0]),
        grade=_grade(results),
        sentences=tuple(filter(None, said)),
    )


def _name(report: Report, result: Result) -> str:
    """The formula if it names the operation, else both; a user's own with its file."""
    name = result["operation"].removesuffix(f"@{result['mode']}")
    own = report["environment"]["implementation"]
    if own is not None and own["name"] == name:
        return subject(report)
    return result["formula"] if name in result["formula"] else f"{name}, {result['formula']}"


def _where(report: Report, result: Result) -> str:
    """Framework with its version, device and mode, such as: torch 2.13.0, CPU, eager."""
    environment = report["environment"]
    framework, version = next(iter(environment["versions"].items()), (environment["backend"], ""))
    device = "CPU" if environment["device"] == "cpu" else environment["device"]
    said = f"{framework} {version.partition('+')[0]}".strip()
    return f"{'judged beside ' if environment['implementation'] else ''}{said}, {device}, {result['mode']}"


def _grade(results: Iterable[Result]) -> str:
    """The lowest grade over the quantities, and the loss's own where that is higher; by dtype where they differ."""
    by_dtype: dict[str, list[Result]] = {}
    for result in filter(is_measured, results):
        by_dtype.setdefault(result["dtype"], []).append(result)
    told: dict[str, list[str]] = {}
    for dtype, found in by_dtype.items():
        told.setdefault(_lowest(found), []).append(dtype)
    if len(told) <= 1:
        return f"{next(iter(told), NOT_MEASURED)}."
    return "; ".join(f"{said} in {_listed(dtypes)}" for said, dtypes in told.items()) + "."


def _lowest(results: Sequence[Result]) -> str:
    lowest, loss = min(map(reached, results)), _of(results, Quantity.LOSS)
    own = f" (loss: {reached(loss[0]).label})" if loss and reached(loss[0]) > lowest else ""
    return f"{graded(lowest)}{own}"


def graded(grade: Grade) -> str:
    """A grade, and the next one, which is missed.

    >>> graded(Grade.STABLE), graded(Grade.CORRECT), graded(Grade.NONE)
    ('stable, not componentwise', 'correct', 'not even finite')
    """
    if grade is Grade.NONE:
        return f"not even {Grade.FINITE.label}"
    return grade.label if grade is Grade.CORRECT else f"{grade.label}, not {Grade(grade + 1).label}"


def _unmeasured(results: Sequence[Result]) -> str:
    """Which quantities were not measured, and in which dtypes."""
    missing = [result for result in results if not is_measured(result)]
    return f"Not measured: {_in_dtypes(missing)}." if 0 < len(missing) < len(results) else ""


def _in_dtypes(results: Iterable[Result]) -> str:
    """Quantities with their dtypes; those with the same dtypes together."""
    dtypes: dict[Quantity, list[str]] = {}
    for result in results:
        dtypes.setdefault(Quantity(result["quantity"]), []).append(result["dtype"])
    alike: dict[str, list[str]] = {}
    for quantity, found in dtypes.items():
        alike.setdefault(_listed(found), []).append(_NAMES[quantity])
    return "; ".join(f"{_listed(names)} in {found}" for found, names in alike.items())


def _listed(names: Sequence[str], last_joined_by: str = "and") -> str:
    """Names as a sentence lists them.

    >>> _listed(["loss"]), _listed(["loss", "gradient", "Hessian"])
    ('loss', 'loss, gradient and Hessian')
    """
    *first, last = names
    return f"{', '.join(first)} {last_joined_by} {last}" if first else last


def _lost(results: Sequence[Result]) -> str:
    """Where 0 is returned for what is not 0: from which gap on it was seen, by quantities that are alike in that."""
    lost = [result for result in results if result["returned_zero"]]
    alike: dict[str, list[str]] = {}
    for quantity in LOST_FIRST:
        if found := sorted(_of(lost, quantity), key=lambda result: list(FORMATS).index(result["dtype"])):
            alike.setdefault(_from_gaps(found), []).append(_NAMES[quantity])
    said = [f"{where}, {_listed(names)} can come back as 0 although not 0." for where, names in alike.items()]
    if rest := list(dict.fromkeys(_NAMES[Quantity(r["quantity"])] for r in lost if r["quantity"] not in LOST_FIRST)):
        also = "So can entries of the {}." if said else "Entries of the {} can come back as 0 although not 0."
        said.append(also.format(_listed(rest)))
    return " ".join(said)


def _vacuous(results: Sequence[Result]) -> str:
    """Which part of its entries was held to what lets 0 pass."""
    found, entries = sum(map(vacuous, results)), sum(result["entries"] for result in results)
    return f"Of {share(found, entries)} of the entries nothing is shown: a 0 would be stable there." if found else ""


def _from_gaps(results: Sequence[Result]) -> str:
    """Where 0 was returned: from the first bin of the gap on, near ties (the bin at 0), or in sums of rows, without a gap."""
    apart, ties, sums = [], [], []
    for result in results:
        gaps = [entry["from"] for entry in result["by_gap"] if entry["returned_zero"]]
        apart += [f"{short_number(gap)} ({result['dtype']})" for gap in gaps if gap > 0][:1]
        ties += [result["dtype"]] if 0 in gaps else []
        sums += [] if gaps else [result["dtype"]]
    where = [f"where the two largest logits are at least {_listed(apart, 'or')} apart"] if apart else []
    where += [f"near ties in {_listed(ties)}"] if ties else []
    where += [f"in sums of rows in {_listed(sums)}"] if sums else []
    return _sentence(", and ".join(where))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _known(report: Report, results: Sequence[Result]) -> str:
    """How many deviations are known of it, how many of them were seen, and what they excuse."""
    known = [deviation for deviation in report["deviations"] if _concerns(deviation, results)]
    if not known:
        return "No known deviation."
    outcomes = [case for case in report["cases"] if case["operation"] == results[0]["operation"]]
    seen = {name for case in outcomes for name in case["deviations"]}
    excused = lowest_left_out(results)
    worst = f": in what they excuse, the lowest grade is {excused.label}" if excused is not None else ""
    return f"{counted(len(known), 'known deviation')} ({len(seen)} seen){worst}."


def _concerns(deviation: dict[str, Any], results: Sequence[Result]) -> bool:
    """True if a deviation speaks of a result of the operation, in its mode."""
    mode = results[0]["mode"]
    name = results[0]["operation"].removesuffix(f"@{mode}")
    return (
        any(fnmatchcase(name, pattern) for pattern in deviation["operations"])
        and any(fnmatchcase(mode, pattern) for pattern in deviation["modes"])
        and any(r["dtype"] in deviation["dtypes"] and r["quantity"] in deviation["quantities"] for r in results)
    )


def _missed(report: Report, results: Sequence[Result]) -> str:
    """How many tests of it failed, and which results are below their claim; nothing, if it has neither."""
    failed = sum(_is_of(test, results[0]["operation"]) for cause in report["failures"] for test in cause["tests"])
    below: dict[str, list[Result]] = {}
    for result in filter(is_below_claim, results):
        below.setdefault(f"{result['claimed']} claimed, {result['reached']} reached", []).append(result)
    told = "; ".join(f"{_in_dtypes(found)} ({words})" for words, found in below.items())
    parts = [f"{counted(failed, 'test')} of it failed." if failed else "", f"Below its claim: {told}." if told else ""]
    return " ".join(filter(None, parts))


def _held(report: Report, results: Sequence[Result]) -> str:
    """What can be said of its claims where none was missed."""
    if report["verdict"] == NOTHING_RAN or not any(map(is_measured, results)):
        return "Nothing of it was judged."
    limited = any(results[0]["operation"] in found for found in limits(report).values())
    tried = "" if report["verdict"] == CONFORMS else " that was tried"
    common = [s for s in shared(report) if any(_is_of(test, results[0]["operation"]) for test in s["tests"])]
    but = f", but for {counted(len(common), 'deviation')} that it shares with {common[0]['operation']}" if common else ""
    return f"Every claim{tried} held{', within its declared limits' if limited else ''}{but}."


def _is_of(test: str, operation: str) -> bool:
    """True if a test's parameters name the operation.

    >>> _is_of("test_case[ties/all[float32]-softmax-loss]", "softmax"), _is_of("test_loss[log_softmax-float32]", "softmax")
    (True, False)
    """
    return re.search(rf"[\[-]{re.escape(operation)}[\]-]", test) is not None
