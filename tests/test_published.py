"""The published reports are those of the pinned versions, follow from their JSON, and say what the documents say."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from reference.formats import FORMATS
from suites.report.load import load_report
from suites.report.schema import Report, Result
from suites.report.wording import LOSS_COLUMNS, worst_ulps
from tests.command import ROOT
from tests.documents import CI, README

PUBLISHED = ROOT / "ci" / "reports"
NAMES = sorted(path.stem for path in PUBLISHED.glob("*.json"))


def report_named(name: str) -> Report:
    return load_report(PUBLISHED / f"{name}.json")


def pinned() -> dict[str, str]:
    """Versions of ci/constraints.txt."""
    lines = (ROOT / "ci" / "constraints.txt").read_text().splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))


def test_every_backend_and_mode_is_published() -> None:
    script = (ROOT / "ci" / "run.sh").read_text()
    steps = script.split("<<'RUNS'\n", 1)[1].split("\nRUNS", 1)[0].splitlines()
    assert sorted("-".join(step.split()[1:]) for step in steps if step.startswith("suites ")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_published_report_is_whole_and_of_the_pinned_versions(name: str) -> None:
    report = report_named(name)
    assert report["verdict"] == "CONFORMS"
    versions = report["environment"]["versions"] | report["environment"]["packages"]
    assert {
        package: version
        for package, version in versions.items()
        if package in pinned() and not version.startswith(pinned()[package])
    } == {}


def test_the_pages_follow_from_the_reports() -> None:
    derived: Any = runpy.run_path(str(ROOT / "ci" / "publish.py"))["derived"]
    pages: dict[str, str] = derived(PUBLISHED)
    stale = [name for name, text in pages.items() if (PUBLISHED / name).read_text(encoding="utf-8") != text.rstrip("\n") + "\n"]
    assert not stale
    files = {path.name for path in Path(PUBLISHED).iterdir() if path.is_file()}  # sweeps/ has its own
    assert files == set(pages) | {f"{name}.json" for name in NAMES}


def _results(report: Report) -> dict[tuple[str, str, str], Result]:
    return {(r["operation"], r["dtype"], r["quantity"]): r for r in report["results"]}


def _said(result: Result) -> str:
    return f"{result['reached']}, {worst_ulps(result)}"


def test_the_readmes_tables_are_those_of_the_report() -> None:
    """Rows of losses name a dtype; rows of building blocks have a column for each."""
    results = _results(report_named("torch-eager"))
    (front,) = README.tables("What PyTorch reaches")
    losses, blocks = CI.tables("What PyTorch reaches")
    assert [row[:2] for row in front] == [["cross_entropy", name] for name in FORMATS]
    for name, dtype, *cells in [*front, *losses]:
        assert cells == [_said(results[name, dtype, quantity]) for quantity in LOSS_COLUMNS], (name, dtype)
    for name, *cells in blocks:
        assert cells == [_said(results[name, dtype, name]) for dtype in FORMATS], name
    assert (len(losses), len(blocks)) == (16, 3)
