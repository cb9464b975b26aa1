"""Where the marks of a picture go: errors in ulp over the gap or over K, on logarithmic axes, for `templates/plot.svg.jinja`.

The pictures are small multiples of two marks, steps and blocks. Laid out here they are text in the page: they take its colours,
light or dark, they reflow on a phone, they have a title and a description, and the same report gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any

from reference.formats import FORMATS, Format
from reference.grades import ACCURATE_ULPS
from reference.thresholds import thresholds
from suites.report.schema import Result
from suites.report.wording import short_number, short_ulps

LEFT, RIGHT, WIDTH = 40.0, 332.0, 340.0
HEIGHT = 116.0
"""Of the plot itself, in the units of the picture, which are about one CSS pixel."""
LINE = 12.0
"""Of text, and of a lane of blocks."""

GAP = "gap between the two largest logits"

_NAMES = {
    "loss": "loss",
    "gradient": "grad",
    "hessian": "Hess",
    "hvp": "H·v",
    "hessian_diagonal": "diag H",
    "target_gradient": "∂q",
    "log_softmax": "log p",
    "softmax": "p",
    "logsumexp": "lse",
    "entropy": "entropy",
    "log_softmax_vjp": "uᵀD log p",
    "softmax_vjp": "uᵀD p",
    "logsumexp_vjp": "uᵀD lse",
    "entropy_vjp": "uᵀD entropy",
    "feature_gradient": "dh",
    "weight_gradient": "dW",
    "bias_gradient": "db",
}
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

Bin = dict[str, Any]
"""An entry of `by_gap` or `by_classes` of a report."""


@dataclass(frozen=True)
class Scale:
    """A logarithmic axis from `low` to `high`, drawn from `start` to `end`; what lies outside is drawn at its end."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float | None) -> float:
        """Position of a value; None is infinity.

        >>> Scale(1.0, 16.0, 0.0, 100.0).at(4.0), Scale(1.0, 16.0, 0.0, 100.0).at(0.0)
        (50.0, 0.0)
        """
        inside = self.high if value is None else min(max(value, self.low), self.high)
        share = log2(inside / self.low) / log2(self.high / self.low)
        return round(self.start + share * (self.end - self.start), 1)


@dataclass(frozen=True)
class Tick:
    """A position on an axis and what is written there."""

    at: float
    label: str


@dataclass(frozen=True)
class Threshold:
    """A line at which a hazard begins; its label stands in its own row above the plot, on the side where there is room."""

    at: float
    label: str
    row: int
    anchor: str


@dataclass(frozen=True)
class Series:
    """The errors of one quantity: the path of its steps, and a lane of blocks where values were lost.

    `zeros` are blocks (position, width) where 0 was returned for a number that is not 0, `wrong` where NaN, an infinity or a
    number was returned that does not belong.
    """

    quantity: str
    short: str
    path: str
    zeros: tuple[tuple[float, float], ...]
    wrong: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Panel:
    """One picture: the errors of an operation's quantities in one dtype. `table` has the same in numbers."""

    key: str
    dtype: str
    title: str
    description: str
    axis: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    thresholds: tuple[Threshold, ...]
    series: tuple[Series, ...]
    table: tuple[tuple[str, ...], ...]

    @property
    def band(self) -> tuple[float, float] | None:
        """Position and width of the gaps from the first threshold to the last; K has no such band."""
        if self.axis != GAP:
            return None
        first, last = self.thresholds[0].at, self.thresholds[-1].at
        return first, round(last - first, 1)

    @property
    def top(self) -> float:
        """Upper end of the plot: below the labels of the thresholds."""
        return LINE * (1 + len(self.thresholds))

    @property
    def height(self) -> float:
        """Of the whole picture: labels, plot, lanes, ticks and the name of the axis."""
        return self.top + HEIGHT + LINE * (len(self.series) + 3)


@dataclass(frozen=True)
class Axis:
    """A horizontal axis: which bins of a result it shows, over what, and which thresholds of a format it marks."""

    bins: str
    name: str
    scale: Scale
    ticks: tuple[Tick, ...]
    marks: tuple[tuple[str, float], ...]


def gap_axis(fmt: Format) -> Axis:
    """The gap between the two largest logits of a row, from 0 to beyond where exp(-gap) vanishes."""
    t = thresholds(fmt)
    scale = Scale(2.0**-5, 1.6 * t.vanishing_gap, LEFT, RIGHT)
    labels = [gap for gap in (0.25, 1.0, 4.0, 16.0, 64.0, 256.0, 1024.0) if gap < scale.high]
    ticks = (Tick(scale.start, "0"), *(Tick(scale.at(gap), f"{gap:g}") for gap in labels))
    marks = (
        ("absorption", t.absorption_gap),
        ("underflow", t.underflow_gap),
        ("overflow of an unshifted exp", t.overflow_logit),
        ("exp(-gap) rounds to 0", t.vanishing_gap),
    )
    return Axis("by_gap", GAP, scale, ticks, marks)


def class_axis(fmt: Format) -> Axis:
    """The number of classes K, up to 2^19."""
    t = thresholds(fmt)
    scale = Scale(1.0, 2.0**19, LEFT, RIGHT)
    ticks = tuple(Tick(scale.at(2**power), _power(power)) for power in (0, 4, 8, 12, 16))
    counts = (("sums of ones stagnate", t.stagnation_count), ("sums of ones overflow", t.overflow_count))
    return Axis("by_classes", "number of classes K", scale, ticks, tuple((n, c) for n, c in counts if c and c < scale.high))


def panel(key: str, axis: Axis, results: Sequence[Result]) -> Panel:
    """The picture of results of one operation and dtype."""
    fmt = FORMATS[results[0]["dtype"]]
    precision = max(FORMATS[r["returned_dtype"]].precision for r in results)
    marks = sorted(axis.marks, key=lambda mark: mark[1])
    top = LINE * (1 + len(marks))
    heights = Scale(0.25, 2.0 ** (precision + 1), top + HEIGHT, top)
    return Panel(
        key=key,
        dtype=fmt.name,
        title=f"{results[0]['operation']}, {fmt.name}: error in ulp over the {axis.name}",
        description=" ".join(_described(r, axis) for r in results),
        axis=axis.name,
        x_ticks=axis.ticks,
        y_ticks=tuple(Tick(heights.at(ulps), label) for ulps, label in _ulp_labels(precision)),
        thresholds=tuple(_threshold(axis, name, value, row) for row, (name, value) in enumerate(marks)),
        series=tuple(_series(r, axis, heights) for r in results),
        table=_table(axis, results),
    )


def _ulp_labels(precision: int) -> tuple[tuple[float, str], ...]:
    """Correct rounding where there is room for it, `accurate`, half of the digits lost, and all of them."""
    lowest = () if precision > 30 else ((0.5, "½"),)
    lost = ((2.0**power, _power(power)) for power in (precision // 2, precision))
    return *lowest, (ACCURATE_ULPS, f"{ACCURATE_ULPS:g}"), *lost


def _power(exponent: int) -> str:
    return "1" if exponent == 0 else f"2{str(exponent).translate(_SUPERSCRIPT)}"


def _threshold(axis: Axis, name: str, value: float, row: int) -> Threshold:
    at = axis.scale.at(value)
    return Threshold(at, f"{name} {short_number(value)}", row, "end" if at > WIDTH / 2 else "start")


def _series(result: Result, axis: Axis, heights: Scale) -> Series:
    bins = result[axis.bins]
    return Series(
        quantity=result["quantity"],
        short=_NAMES[result["quantity"]],
        path=_steps(bins, axis.scale, heights),
        zeros=_blocks(bins, axis.scale, "returned_zero"),
        wrong=_blocks(bins, axis.scale, "wrong_class"),
    )


def _steps(bins: Sequence[Bin], across: Scale, up: Scale) -> str:
    """SVG path: a level for each bin, joined to the next where the bins touch."""
    parts, end = [], -1.0
    for entry in bins:
        if not entry["values"]:
            continue
        left, right, level = across.at(entry["from"]), across.at(entry["to"]), up.at(entry["worst_ulps"])
        parts.append(f"V{level}H{right}" if left == end else f"M{left} {level}H{right}")
        end = right
    return "".join(parts)


def _blocks(bins: Sequence[Bin], across: Scale, count: str) -> tuple[tuple[float, float], ...]:
    spans = ((across.at(entry["from"]), across.at(entry["to"])) for entry in bins if entry[count])
    return tuple((left, round(max(right - left, 2.0), 1)) for left, right in spans)


def _described(result: Result, axis: Axis) -> str:
    """A sentence for those who do not see the picture."""
    bins = [entry for entry in result[axis.bins] if entry["values"]]
    if not bins:
        return f"{result['quantity']}: nothing measured."
    worst = max(bins, key=lambda entry: float(entry["worst_ulps"]))
    ulps = short_ulps(worst["worst_ulps"], result["returned_dtype"])
    parts = [f"{result['quantity']}: worst {ulps} ulp at {_span(worst)}"]
    lost = [entry for entry in result[axis.bins] if entry["returned_zero"]]
    if lost:
        parts.append(f"0 returned for a number that is not 0 between {_span({'from': lost[0]['from'], 'to': lost[-1]['to']})}")
    return "; ".join(parts) + "."


def _span(entry: Bin) -> str:
    return (
        f"{short_number(entry['from'])} and more"
        if entry["to"] is None
        else f"{short_number(entry['from'])} to {short_number(entry['to'])}"
    )


def _table(axis: Axis, results: Sequence[Result]) -> tuple[tuple[str, ...], ...]:
    """The bins of the picture in numbers, the first row names the columns."""
    starts = sorted({(entry["from"], entry["to"] or float("inf")) for r in results for entry in r[axis.bins]})
    header = ("gap" if axis.bins == "by_gap" else "K", *(r["quantity"] for r in results))
    return (header, *_table_rows(starts, axis, results))


def _table_rows(spans: Sequence[tuple[float, float]], axis: Axis, results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    found = [{entry["from"]: entry for entry in r[axis.bins]} for r in results]
    for start, end in spans:
        cells = (_entry(bins.get(start), r["returned_dtype"]) for bins, r in zip(found, results, strict=True))
        yield (_span({"from": start, "to": None if end == float("inf") else end}), *cells)


def _entry(entry: Bin | None, dtype: str) -> str:
    if entry is None:
        return "-"
    lost = f", {entry['returned_zero']} lost to 0" if entry["returned_zero"] else ""
    wrong = f", {entry['wrong_class']} wrong" if entry["wrong_class"] else ""
    return f"{short_ulps(entry['worst_ulps'], dtype) if entry['values'] else 'none'}{lost}{wrong}"
