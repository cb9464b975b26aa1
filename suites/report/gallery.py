"""Which pictures a report shows: for each operation its errors over the gap and over K, and a heat map for each dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from reference.formats import FORMATS, Format
from reference.grades import NOT_MEASURED
from suites.inputs.hazards import HAZARDS
from suites.report.plots import Axis, Panel, class_axis, gap_axis, panel
from suites.report.schema import Report, Result
from suites.report.wording import (
    LOSS_COLUMNS,
    by_name,
    by_role,
    is_measured,
    lowest_left_out,
    of_layer,
    reached,
    short_ulps,
)


@dataclass(frozen=True)
class Figure:
    """The pictures of one operation's quantities that share their colours; one panel for each dtype and axis.

    `group` is the title of the group of operations, if that has one.
    """

    group: str
    operation: str
    formula: str
    quantities: tuple[str, ...]
    gap_panels: tuple[Panel, ...]
    class_panels: tuple[Panel, ...]

    @property
    def loses_values(self) -> bool:
        """True if 0 was returned somewhere for a number that is not 0."""
        return any(series.zeros for panel in (*self.gap_panels, *self.class_panels) for series in panel.series)


@dataclass(frozen=True)
class Heat:
    """What an operation showed where a hazard holds: the lowest grade and the worst error over its quantities.

    Both are of what counts, as in the tables of grades. `left_out` is the lowest grade of what known deviations leave out,
    where that is lower; else it is empty.
    """

    grade: str
    ulps: str
    left_out: str

    @property
    def is_measured(self) -> bool:
        """True if anything counts."""
        return self.grade != NOT_MEASURED


@dataclass(frozen=True)
class HeatMap:
    """Operations by hazard in one dtype, in groups with a title; None where nothing was asked."""

    dtype: str
    hazards: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[str, tuple[Heat | None, ...]], ...]], ...]


def figures(report: Report) -> tuple[Figure, ...]:
    """One figure for each operation, two where it has losses and building blocks."""
    found: dict[tuple[str, str, bool], list[Result]] = {}
    layers = of_layer(report["results"])
    for title, results in by_role(report, report["results"]).items():
        for result in results:
            is_loss = result["quantity"] in LOSS_COLUMNS or result["operation"] in layers
            found.setdefault((title, result["operation"], is_loss), []).append(result)
    return tuple(_figure(number, title, results) for number, ((title, _, _), results) in enumerate(found.items()))


def lead(shown: Sequence[Figure], operation: str, first: str = "float32") -> tuple[Figure, Panel] | None:
    """The picture over the gap that stands for an operation: in float32 if it has one there; with its figure."""
    for figure in shown:
        if figure.operation == operation and figure.gap_panels:
            panel = next((panel for panel in figure.gap_panels if panel.dtype == first), figure.gap_panels[0])
            return figure, replace(panel, key=f"lead-{panel.key}")
    return None


def opened(shown: Sequence[Figure]) -> Figure | None:
    """The figure that a page opens with: the first that loses values, else the first."""
    return next((figure for figure in shown if figure.loses_values), shown[0] if shown else None)


def _figure(number: int, title: str, results: list[Result]) -> Figure:
    return Figure(
        group=title,
        operation=results[0]["operation"],
        formula=results[0]["formula"],
        quantities=tuple(dict.fromkeys(result["quantity"] for result in results)),
        gap_panels=_panels(f"gap-{number}", gap_axis, results),
        class_panels=_panels(f"classes-{number}", class_axis, results),
    )


def _panels(key: str, axis_of: Callable[[Format], Axis], results: list[Result]) -> tuple[Panel, ...]:
    panels = []
    for dtype, fmt in FORMATS.items():
        axis = axis_of(fmt)
        shown = [result for result in results if result["dtype"] == dtype]
        if any(result[axis.bins] for result in shown):
            panels.append(panel(f"{key}-{dtype}", axis, shown))
    return tuple(panels)


def heat_maps(report: Report) -> tuple[HeatMap, ...]:
    """One for each dtype that was measured."""
    dtypes = {result["dtype"] for result in report["results"]}
    return tuple(_heat_map(report, dtype) for dtype in FORMATS if dtype in dtypes)


def _heat_map(report: Report, dtype: str) -> HeatMap:
    results = [result for result in report["results"] if result["dtype"] == dtype]
    found = {entry["hazard"] for result in results for entry in result["by_hazard"]}
    hazards = tuple(hazard for hazard in HAZARDS if hazard in found)
    groups = (
        (title, tuple((name, tuple(_heat(rows, hazard) for hazard in hazards)) for name, rows in by_name(of_role).items()))
        for title, of_role in by_role(report, results).items()
    )
    return HeatMap(dtype, hazards, tuple(groups))


def _heat(results: list[Result], hazard: str) -> Heat | None:
    entries = [(r, entry) for r in results for entry in r["by_hazard"] if entry["hazard"] == hazard]
    if not entries:
        return None
    left = lowest_left_out(entry for _, entry in entries if "left_out" in entry)
    counted = [(r, entry) for r, entry in entries if is_measured(entry)]
    if not counted:
        return Heat(NOT_MEASURED, "", "" if left is None else left.label)
    lowest = min(reached(entry) for _, entry in counted)
    result, worst = max(counted, key=lambda pair: float(pair[1]["worst_ulps"]))
    ulps = short_ulps(worst["worst_ulps"], result["returned_dtype"])
    return Heat(lowest.label, ulps, left.label if left is not None and left < lowest else "")
