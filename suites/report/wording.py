"""How grades, errors and environments are written, the same in every form of a report."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from adapters.adapter import CPU_CAPABILITY, ROLES
from reference.formats import FORMATS
from reference.grades import NOT_MEASURED, Grade, grade_named
from reference.quantity import LAYER_GRADIENTS, Quantity
from suites.report.schema import Report, Result

LOSS_COLUMNS = (Quantity.LOSS, Quantity.GRADIENT, Quantity.HESSIAN, Quantity.HVP)
"""Quantities of a loss, which stand beside each other in a table; so do those of a layer, the others are one a row."""

LAYER_COLUMNS = (Quantity.LOSS, *LAYER_GRADIENTS)
"""Quantities of a linear layer and its loss."""


LONGEST_INPUT = 1500
"""Characters of the longest input that a page shows."""


def short_ulps(ulps: float, dtype: str) -> str:
    """An error in ulps of a format; beyond 2^p nothing of the value is left, and how far beyond says no more.

    >>> short_ulps(0.5, "float32"), short_ulps(16777216.0, "float32"), short_ulps(1e9, "float32")
    ('0.50', '1.7e7', '>2^24')
    """
    precision = FORMATS[dtype].precision
    if ulps > 2.0**precision:
        return f">2^{precision}"
    return f"{ulps:.2f}" if ulps < 1000 else f"{ulps:.1e}".replace("e+0", "e").replace("e+", "e")


def short_number(value: float) -> str:
    """A gap or a number of classes in three digits, or whole from 100 on.

    >>> short_number(16.635532), short_number(65536)
    ('16.6', '65536')
    """
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def counted(number: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "test"), counted(2, "cause")
    ('1 test', '2 causes')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


MOST_NAMES = 3
"""Names that are told in a line."""


def first_of(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """The first of some names, and how many more there are.

    >>> first_of("abc"), first_of("abcde")
    ('a, b, c', 'a, b, c and 2 more')
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def function_in(test: str) -> str:
    """The function of a test.

    >>> function_in("test_loss[cross_entropy-float32]")
    'test_loss'
    """
    return test.partition("[")[0]


def worst_ulps(result: Result) -> str:
    """The worst error of a result, in ulps of the format that it is returned in; - if no number was returned for a number."""
    if result.get("worst", result) is None:
        return "-"
    return short_ulps(result["worst_ulps"], result["returned_dtype"])


def is_measured(result: Result | None) -> bool:
    """True if a result rests on anything: on a problem or a stored case that no deviation leaves out."""
    return result is not None and result["reached"] != NOT_MEASURED


def reached(result: Result) -> Grade:
    """The grade that a result reaches; none, if nothing was measured."""
    return grade_named(result["reached"]) if is_measured(result) else Grade.NONE


def is_below_claim(result: Result) -> bool:
    """True if a result reaches less than is claimed; of one that was not measured nothing is known."""
    return is_measured(result) and reached(result) < grade_named(result["claimed"])


def cell(result: Result | None) -> str:
    """Grade reached, worst error, and a mark if that is below the claim."""
    if result is None:
        return "-"
    if not is_measured(result):
        return NOT_MEASURED
    return f"{result['reached']} {worst_ulps(result)}{' !' if is_below_claim(result) else ''}"


def rests_on(results: Iterable[Result | None]) -> str:
    """How many entries each of some results rests on: the fewest and the most.

    >>> rests_on([{"entries": 40}, None, {"entries": 12}]), rests_on([{"entries": 40}])
    ('12..40', '40')
    """
    entries = sorted({result["entries"] for result in results if result is not None})
    return "-" if not entries else str(entries[0]) if len(entries) == 1 else f"{entries[0]}..{entries[-1]}"


def left_out(results: Iterable[Result | None]) -> str:
    """The lowest grade of what known deviations leave out of some results, and in how many problems; nothing: -.

    >>> left_out([{"left_out": {"reached": "none", "problems": 3}}, {"left_out": {"reached": "stable", "problems": 4}}])
    'none in 7'
    """
    found = [result for result in results if result is not None]
    lowest = lowest_left_out(found)
    return "-" if lowest is None else f"{lowest.label} in {sum(result['left_out']['problems'] for result in found)}"


def lowest_left_out(results: Iterable[Result]) -> Grade | None:
    """The lowest grade of what known deviations leave out of some results; None if that is nothing."""
    bases = (result["left_out"] for result in results if result["left_out"]["problems"])
    return min((grade_named(basis["reached"]) for basis in bases), default=None)


def vacuous(result: Result) -> int:
    """How many entries of a result were judged vacuously; none are known of in a report of before they were counted."""
    return int(result.get("vacuous", {}).get("entries", 0))


def share(part: int, whole: int) -> str:
    """A part of entries as people write it.

    >>> share(1, 3), share(1, 100000), share(5, 5), share(99999, 100000)
    ('33%', 'under 1%', '100%', 'over 99%')
    """
    percent = 100 * part / whole
    if percent < 1:
        return "under 1%"
    return "over 99%" if 99 < percent < 100 else f"{percent:.0f}%"


def vacuous_line(report: Report) -> str:
    """Which part of all entries was judged vacuously, and where that is all of a row; nothing, if none was."""
    found = [result for result in report["results"] if vacuous(result)]
    if not found:
        return ""
    whole = [result for result in found if vacuous(result) == result["entries"]]
    open_ended = [result for result in found if result["vacuous"]["unbounded"]]
    parts = [share(sum(map(vacuous, found)), sum(result["entries"] for result in report["results"]))]
    for said, rows in (("all of", whole), ("without a bound in", open_ended)):
        named = [f"{result['operation']} {result['dtype']} {result['quantity']}" for result in rows]
        parts += [f"{said} {first_of(named)}"] if named else []
    return f"{'; '.join(parts)}"


def pairs_line(report: Report) -> str:
    """How many pairs of values met in main operations, and in others; nothing, if no pairs were asked.

    >>> pairs_line({"pairs": [{"operation": "softmax", "dtype": "float32", "met": 812, "of": 812, "all_must": True}]})
    '812 of 812'
    """
    rows = report.get("pairs", [])
    parts = []
    for must, said in ((True, "{} of {}"), (False, "{} of {} where one problem in six is asked")):
        met, owed = (sum(row[key] for row in rows if row["all_must"] is must) for key in ("met", "of"))
        parts += [said.format(met, owed)] if owed else []
    return ", ".join(parts)


def short_name(report: Report, operation: str) -> str:
    """An operation without its mode where a report has one mode only.

    >>> short_name({"environment": {"modes": ["compiled"]}}, "softmax@compiled")
    'softmax'
    """
    modes = report["environment"]["modes"]
    return operation.removesuffix(f"@{modes[0]}") if len(modes) == 1 else operation


CONTROLS = "Negative controls: wrong on purpose, here to be caught"
"""Title of the group of operations that comes last."""


def by_role(report: Report, entries: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Entries that name an operation, main operations first; negative controls come last, in a group that has a title."""
    roles = {result["operation"]: result["role"] for result in report["results"]}
    ranks = {name: rank for rank, name in enumerate(sorted(roles, key=lambda name: ROLES.index(roles[name])))}
    groups: dict[str, list[dict[str, Any]]] = {"": [], CONTROLS: []}
    for entry in sorted(entries, key=lambda entry: ranks.get(entry["operation"], len(ranks))):
        groups[CONTROLS if roles.get(entry["operation"]) == "control" else ""].append(entry)
    return {title: found for title, found in groups.items() if found}


def by_name(entries: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Entries by the operation that they name."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        groups.setdefault(entry["operation"], []).append(entry)
    return groups


def by_operation(results: Iterable[Result]) -> dict[tuple[str, str], dict[str, Result]]:
    """Results by operation and dtype, then by quantity."""
    table: dict[tuple[str, str], dict[str, Result]] = {}
    for result in results:
        table.setdefault((result["operation"], result["dtype"]), {})[result["quantity"]] = result
    return table


def of_layer(results: Iterable[Result]) -> frozenset[str]:
    """The operations that compute a linear layer too: they have a gradient by a part of it, and none by logits."""
    quantities: dict[str, set[str]] = {}
    for result in results:
        quantities.setdefault(result["operation"], set()).add(result["quantity"])
    return frozenset(
        name for name, found in quantities.items() if found & set(LAYER_GRADIENTS) and Quantity.GRADIENT not in found
    )


def losses(results: Sequence[Result]) -> dict[tuple[str, str], dict[str, Result]]:
    """Results of losses of logits and their derivatives, by operation and dtype, then by quantity."""
    layers = of_layer(results)
    return by_operation(r for r in results if r["quantity"] in LOSS_COLUMNS and r["operation"] not in layers)


def layers(results: Sequence[Result]) -> dict[tuple[str, str], dict[str, Result]]:
    """Results of linear layers and their losses, by operation and dtype, then by quantity."""
    alone = of_layer(results)
    return by_operation(r for r in results if r["quantity"] in LAYER_GRADIENTS or r["operation"] in alone)


Chosen = Callable[[Sequence[Result]], dict[tuple[str, str], dict[str, Result]]]
"""Some of the results, by operation and dtype, then by quantity."""

TABLES: tuple[tuple[str, tuple[Quantity, ...], Chosen], ...] = (
    ("operation", LOSS_COLUMNS, losses),
    ("linear layer", LAYER_COLUMNS, layers),
)
"""The tables that have a row for each operation and dtype: what a row is called, its columns, and its results."""


def blocks(results: Iterable[Result]) -> dict[str, dict[str, Result]]:
    """Results of building blocks, by title, then by dtype."""
    table: dict[str, dict[str, Result]] = {}
    for result in results:
        name, quantity = result["operation"], result["quantity"]
        if quantity not in (*LOSS_COLUMNS, *LAYER_COLUMNS):
            table.setdefault(name if name == quantity else f"{name}.{quantity}", {})[result["dtype"]] = result
    return table


def subject(report: Report) -> str:
    """What is on trial: the backend, or the user's own callable or class with its file or module."""
    own = report["environment"]["implementation"]
    return report["environment"]["backend"] if own is None else f"{own['name']} of {own['place']}"


def subject_in_full(own: Mapping[str, Any]) -> str:
    """The user's own with its package and the beginning of the hash of its source.

    >>> subject_in_full({"name": "fused", "place": "my_kernel.py", "sha256": "0123456789ab", "package": None})
    'fused of my_kernel.py (sha256 01234567)'
    """
    said = [own["package"], own["sha256"] and f"sha256 {own['sha256'][:8]}"]
    return f"{own['name']} of {own['place']} ({', '.join(part for part in said if part) or 'source not found'})"


def environment_line(report: Report) -> str:
    """What is on trial, versions, device, modes and seed; what is the user's own is judged beside the framework."""
    environment = report["environment"]
    versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items())
    own = environment["implementation"]
    tried = versions if own is None else f"{subject_in_full(own)}, judged beside {versions}"
    states = "".join(f"; {told}" for told in environment.get("floating_point_states", ()))
    return f"{tried}; {environment['device']}, {', '.join(environment['modes'])}; seed {report['run']['seed']}{states}"


def platform_line(report: Report) -> str:
    """Python and the platform."""
    return f"Python {report['environment']['python']}, {report['environment']['platform']}"


def verdict_line(report: Report) -> str:
    """The verdict and its reason; whether declared limits take something away, and which part of the entries says nothing."""
    within = any(set(limit["declared"]) - {"reason", "returns"} for limit in report.get("limits", []))
    said = f"{report['verdict']}: {report['reason']}{'; within declared limits' if within else ''}"
    judged = vacuous_line(report).partition(";")[0]
    return f"{said}; {judged} of the entries judged vacuously" if judged else said


def run_again(report: Report) -> str:
    """The command that makes the report again; a selection by pytest's own options is not in it."""
    run = report["run"]
    narrowed = [shlex.quote(option) for option in run["reduced_by"] if re.match(r"--(?!accept-limits)", option)]
    effort = f"--effort={run['effort']}"
    options = [*narrowed, *([] if run["effort"] == "standard" else [effort]), f"--hypothesis-seed={run['seed']}"]
    return " ".join([run["command"], *(o for o in dict.fromkeys(options) if o not in run["command"])])


def https(link: str) -> str:
    """The link if it is one that may be followed, else nothing: javascript:, file: and plain http stay text.

    >>> https("https://github.com/"), https("javascript:alert(1)")
    ('https://github.com/', '')
    """
    return link if re.fullmatch(r"https://[!-~]+", link) else ""


def input_of(result: Result) -> str:
    """The input of the worst error, as --case takes it; empty if there is none."""
    return "" if result["worst"] is None else json.dumps(result["worst"]["problem"], separators=(",", ":"))


def repeat_worst(report: Report, result: Result) -> str:
    """The command that runs the input of the worst error alone; very long inputs are in the JSON report only."""
    given = input_of(result)
    if len(given) > LONGEST_INPUT:
        return f"{len(given)} characters, in the JSON report"
    name = result["operation"].removesuffix(f"@{result['mode']}")
    return f"{report['run']['command']} --operation={shlex.quote(name)} --case={shlex.quote(given)}"


def limits(report: Report) -> dict[str, list[str]]:
    """Declared limits in words, each with the operations that have it."""
    table: dict[str, list[str]] = {}
    for declared in report.get("limits", []):
        table.setdefault(declared["text"], []).append(declared["operation"])
    return table


def seen_deviations(report: Report) -> list[dict[str, Any]]:
    """Deviations that the run showed."""
    return [deviation for deviation in report["deviations"] if deviation["seen_at"]]


NOT_SEEN = "not seen on this processor"
"""What is told of a deviation that did not show where it was never seen: neither stale nor confirmed."""


def processor(report: Report) -> str:
    """The processor as the framework reports it."""
    return report["environment"]["versions"].get(CPU_CAPABILITY, "not reported")


def not_seen(report: Report) -> dict[str, list[str]]:
    """Deviations that did not show on a processor on which they were never seen, each with where it was asked for."""
    table: dict[str, list[str]] = {}
    for missing in report.get("not_seen_on_this_processor", []):
        table.setdefault(missing["deviation"], []).append(missing["at"])
    return table


def shared(report: Report) -> list[dict[str, Any]]:
    """Known deviations of the framework that a kernel has too."""
    return list(report.get("shared_with_the_framework", []))


def shared_line(report: Report) -> str:
    """How many failures are shared, with whom, and how to make them fail."""
    failures = counted(report["tests"].get("shared", 0), "failure")
    whose = " and ".join(dict.fromkeys(f"{s['framework']}'s own operations" for s in shared(report)))
    return f"{failures} shared with {whose}, no worse than there (--fail-shared fails them)"


def by_adapter(entry: Mapping[str, Any]) -> str:
    """Who took the sum or mean of a shared failure, after its reason; nothing, if that was the kernel.

    >>> by_adapter({"adapter": "the adapter takes the mean"}), by_adapter({"adapter": ""})
    ('; the adapter takes the mean', '')
    """
    return f"; {entry['adapter']}" if entry["adapter"] else ""


TOLERANCES = (
    "The rtol and atol of |observed - expected| <= atol + rtol |expected| that are honest for plain cross-entropy of at most "
    "so many classes, with logits at most 20 below the largest. Promised ones hold for every such input if the operation has "
    "its grade; measured ones are the part of them that the worst error found needs, so a lower bound of what it may need. "
    "`blind from` is the gap from which on a test with the promised tolerance passes a 0: 'stable' allows absorption."
)

SEARCHED = (
    "Worst errors are maxima over generated problems and stored cases (`searched`): lower bounds of the true maxima. A grade "
    "is reached if nothing that was asked missed it, but for what is left out: cases of the deviations below, and generated "
    "problems in their regions. `entries` and `problems` say how much a row rests on, `left out` the lowest grade of what it "
    "leaves out and in how many problems. `lost to 0` counts zeros returned for numbers of at least the least subnormal, "
    "`not 0` numbers returned where the value is exactly 0. `vacuous` is the part of the entries that were held to a bound of "
    "`stable` which would have let 0 or twice the value pass: of these nothing is shown."
)
