"""The map of a sweep: the worst error in every bin of the plane and where values were lost, as an SVG around PNG images."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from reference.formats import Format
from reference.grades import ACCURATE_ULPS
from suites.report.wording import short_ulps
from suites.sweep.chunk import Job
from suites.sweep.compiled.tally import FAILURES, OVER, QUANTITIES, SIDE, WRONG, ZERO
from suites.sweep.outcome import Outcome
from suites.sweep.space import Gaps, Pairs, count_of, of_ranks

_PIXELS = 300.0
"""Side of a map on the page; one bin of 256 a side is a little more than a pixel."""

_LOST = (
    (OVER, (136, 34, 85), "over the bound"),
    (WRONG, (204, 51, 17), "NaN or infinity"),
    (ZERO, (0, 119, 187), "0 returned"),
)
"""Failing classes with their colours, the later ones drawn over the others."""

_EMPTY = (128, 128, 128)
_CALM, _BAD = np.array([255, 255, 255]), np.array([96, 60, 0])


@dataclass(frozen=True)
class Panel:
    """The map of one quantity."""

    name: str
    worst: str
    png: str
    is_first: bool


def picture_of(job: Job, total: Outcome, title: str) -> str:
    """The maps of all quantities; the order of the axes is that of the numbers, each bin with as many of them.

    Raises:
      ValueError: the space has no map.
    """
    if not isinstance(job.space, Pairs | Gaps):
        raise ValueError(f"{job.space.story}: no map")
    fmt = job.space.format
    panels = [
        Panel(str(QUANTITIES[q]), short_ulps(float(total.tally.worst[q]), fmt.name), _png(_colours(total, q, fmt)), n == 0)
        for n, q in enumerate(job.quantities)
    ]
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    template = Environment(loader=loader, undefined=StrictUndefined, autoescape=True).get_template("map.svg.jinja")
    return template.render(
        title=title,
        description=". ".join(_described(total, q) for q in job.quantities),
        panels=panels,
        ticks=_ticks(fmt) if isinstance(job.space, Pairs) else [],
        across="second logit; first logit upwards" if isinstance(job.space, Pairs) else "d, row by row from the least",
        legend=_legend(fmt),
        left=52.0,
        side=_PIXELS,
        step=_PIXELS + 24,
        width=max(76 + len(panels) * (_PIXELS + 24), 560.0),
        height=_PIXELS + 88,
    )


def _colours(total: Outcome, q: int, fmt: Format) -> NDArray[np.uint8]:
    """(256, 256, 3), the first logit upwards: pale where errors are small, dark where all digits are lost."""
    ulps, seen = (table[q].reshape(SIDE, SIDE)[::-1] for table in (total.tally.map, total.tally.seen))
    share = np.clip(np.log2(np.maximum(ulps, 0.5) / 0.5) / (fmt.precision + 1), 0.0, 1.0)[..., None]
    colours = (_CALM * (1 - share) + _BAD * share).astype(np.uint8)
    colours[ulps < 0] = _EMPTY
    for which, colour, _ in _LOST:
        colours[(seen >> which) & 1 == 1] = colour
    return colours


def _legend(fmt: Format) -> list[tuple[str, str]]:
    accurate = float(np.log2(2 * ACCURATE_ULPS)) / (fmt.precision + 1)
    shown = [(_shade(0.0), "½ ulp"), (_shade(accurate), f"{ACCURATE_ULPS:g} ulp"), (_shade(1.0), "all digits")]
    return shown + [(f"rgb{colour}", name) for _, colour, name in reversed(_LOST)]


def _shade(share: float) -> str:
    return "rgb({}, {}, {})".format(*(_CALM * (1 - share) + _BAD * share).astype(int))


def _ticks(fmt: Format) -> list[tuple[float, str]]:
    """Where some numbers lie along an axis."""
    numbers = of_ranks(fmt, np.arange(count_of(fmt))).astype(np.float64)
    wanted = [-1e4, -16.0, -(2.0**-8), 2.0**-8, 16.0, 1e4] if fmt.emax < 100 else [-1e20, -16.0, -1e-20, 1e-20, 16.0, 1e20]
    return [(round(float(np.searchsorted(numbers, v)) / len(numbers) * _PIXELS, 1), f"{v:.3g}") for v in wanted]


def _described(total: Outcome, q: int) -> str:
    bins = {name: int(np.count_nonzero(total.tally.seen[q] & (1 << which))) for which, name in enumerate(FAILURES)}
    lost = ", ".join(f"{name} in {count} bins" for name, count in bins.items() if count)
    return f"{QUANTITIES[q]}: worst error {total.tally.worst[q]:.6g} ulp; {lost or 'no kind of failure'}"


def _png(pixels: NDArray[np.uint8]) -> str:
    """Pixels (H, W, 3) as a PNG in base64 (RFC 2083: signature, IHDR, IDAT of unfiltered lines, IEND)."""
    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    ]
    chunks = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts]
    return b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode("ascii")
