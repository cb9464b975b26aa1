"""Which pictures a report shows: for each operation its errors over the gap and over K, and a heat map for each dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reference.formats import FORMATS, Format
from reference.grades import grade_named
from suites.inputs.hazards import HAZARDS
from suites.report.plots import Axis, Panel, class_axis, gap_axis, panel
from suites.report.schema import Report, Result
from suites.report.wording import LOSS_COLUMNS, short_ulps


@dataclass(frozen=True)
class Figure:
    """The pictures of one operation's quantities that share their colours; one panel for each dtype and axis."""

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
    """What an operation showed where a hazard holds: the lowest grade and the worst error over its quantities."""

    grade: str
    ulps: str


@dataclass(frozen=True)
class HeatMap:
    """Operations by hazard in one dtype; None where nothing was measured."""

    dtype: str
    hazards: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Heat | None, ...]], ...]


def figures(report: Report) -> tuple[Figure, ...]:
    """One figure for each operation, two where it has losses and building blocks."""
    groups: dict[tuple[str, bool], list[Result]] = {}
    for result in report["results"]:
        groups.setdefault((result["operation"], result["quantity"] in LOSS_COLUMNS), []).append(result)
    return tuple(_figure(number, results) for number, results in enumerate(groups.values()))


def opened(shown: Sequence[Figure]) -> Figure | None:
    """The figure that a page opens with: the first that loses values, else the first."""
    return next((figure for figure in shown if figure.loses_values), shown[0] if shown else None)


def _figure(number: int, results: list[Result]) -> Figure:
    return Figure(
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
    return tuple(_heat_map(dtype, report["results"]) for dtype in FORMATS if dtype in dtypes)


def _heat_map(dtype: str, results: list[Result]) -> HeatMap:
    rows: dict[str, list[Result]] = {}
    for result in results:
        if result["dtype"] == dtype:
            rows.setdefault(result["operation"], []).append(result)
    found = {entry["hazard"] for group in rows.values() for result in group for entry in result["by_hazard"]}
    hazards = tuple(hazard for hazard in HAZARDS if hazard in found)
    return HeatMap(
        dtype, hazards, tuple((name, tuple(_heat(group, hazard) for hazard in hazards)) for name, group in rows.items())
    )


def _heat(results: list[Result], hazard: str) -> Heat | None:
    entries = [(r, entry) for r in results for entry in r["by_hazard"] if entry["hazard"] == hazard]
    if not entries:
        return None
    grade = min((entry["reached"] for _, entry in entries), key=grade_named)
    result, worst = max(entries, key=lambda pair: float(pair[1]["worst_ulps"]))
    return Heat(grade, short_ulps(worst["worst_ulps"], result["returned_dtype"]))
