"""Which tests reject which planted kernel: runs the whole suite on each, and writes ci/planted.json and ci/planted.md.

python -m tests.planted.matrix FOLDER [--seconds N]    (five minutes on a core; what is done is kept in FOLDER, call again)
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import TypedDict

from tests.command import ROOT
from tests.planted.corpus import table
from tests.planted.parts import results, work_through
from tests.planted.shared import shared
from tests.planted.trial import Planted, judge, planted_kernels

DATA = ROOT / "ci" / "planted.json"
PAGE = ROOT / "ci" / "planted.md"

_HEAD = """# Planted defects

{count} deliberately wrong kernels and backends (`tests/planted/`). Each is judged as a user's own at `--effort=quick`, in the
dtype that its story is about. The test that is about its mistake must reject it, and {rejected} are rejected. Seconds are
those that a core spends on that test, from the start of pytest to its first failure. A row is of the suite as it was when
the kernel was judged: tests that are younger are not in it.

Made by `python -m tests.planted.matrix`; do not edit.
"""


class Row(TypedDict):
    """What the suite says of a kernel: seconds of the test that must reject it, and the names of all tests that fail."""

    seconds: float
    fails: list[str]


def judged(place: str) -> Row:
    """The row of one kernel; the time is taken last, when all that is imported late is there."""
    kernel = planted_kernels()[place]
    with shared():
        failed = judge(place, kernel, whole=True)["failed"]
    began = time.process_time()
    judge(place, kernel)
    return {"seconds": round(time.process_time() - began, 1), "fails": sorted(failed)}


def is_rejected(kernel: Planted, row: Row) -> bool:
    """True if a test that must reject it does."""
    return any(test in row["fails"] for test in kernel.defect.test.split(" or "))


def page(rows: dict[str, Row]) -> str:
    """The page: rejected by category, kernels by test, tests by kernel."""
    kernels = planted_kernels()
    rejected = {place for place, row in rows.items() if is_rejected(kernels[place], row)}
    parts = [_HEAD.format(count=len(rows), rejected=f"all {len(rows)}" if len(rejected) == len(rows) else len(rejected))]
    parts += [
        "## By category\n",
        table(("category", "planted", "rejected", "slowest (s)"), _by_category(rows, kernels, rejected)),
    ]
    parts += ["## By test\n", "Kernels that fail it, and those that fail nothing else.\n"]
    parts += [table(("test", "kernels", "alone"), _by_test(rows)), "## By kernel\n"]
    told = [
        (
            f"`{place}`",
            kernels[place].defect.category,
            kernels[place].defect.story,
            " ".join(f"`{name}`" for name in row["fails"]),
        )
        for place, row in rows.items()
    ]
    return "\n".join([*parts, table(("kernel", "category", "mistake", "fails"), told)])


def _by_category(rows: dict[str, Row], kernels: dict[str, Planted], rejected: set[str]) -> list[tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for place in rows:
        found.setdefault(kernels[place].defect.category, []).append(place)
    return [
        (category, str(len(places)), str(len(rejected & set(places))), f"{max(rows[place]['seconds'] for place in places):.1f}")
        for category, places in [*sorted(found.items()), ("all", list(rows))]
    ]


def _by_test(rows: dict[str, Row]) -> list[tuple[str, ...]]:
    failing = Counter(name for row in rows.values() for name in row["fails"])
    alone = Counter(row["fails"][0] for row in rows.values() if len(row["fails"]) == 1)
    return [
        (f"`{name}`", str(count), str(alone[name])) for name, count in sorted(failing.items(), key=lambda it: (-it[1], it[0]))
    ]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no kernel after so long")
    given = parser.parse_args()
    names = list(planted_kernels())
    work_through(given.folder, names, judged, given.seconds)
    rows = results(given.folder)
    print(f"{len(rows)} of {len(names)} kernels are judged")
    if set(rows) == set(names):
        DATA.write_text(json.dumps({name: rows[name] for name in names}, indent=1) + "\n")
        PAGE.write_text(page({name: rows[name] for name in names}))


if __name__ == "__main__":
    main()
