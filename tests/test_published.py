"""The published reports are those of the pinned versions, follow from their JSON, and say what the documents say."""

from __future__ import annotations

import html
import json
import re
import runpy
import tomllib
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from adapters.adapter import CPU_CAPABILITY
from reference.formats import FORMATS
from reference.grades import Grade, grade_named
from suites.report.load import load_report
from suites.report.overview import MAIN, Picture, Sweeps, overview
from suites.report.schema import Report, Result
from suites.report.wording import LAYER_COLUMNS, LOSS_COLUMNS, is_measured, worst_ulps
from suites.report.write import as_one_line
from tests.command import ROOT
from tests.documents import CI, README
from tests.reports import report as small_report
from tests.reports import result as small_result

PUBLISHED = ROOT / "ci" / "reports"
NAMES = sorted(path.stem for path in PUBLISHED.glob("*.json"))
PUBLISH: dict[str, Any] = runpy.run_path(str(ROOT / "ci" / "publish.py"))
"""The functions of ci/publish.py."""


@cache
def report_named(name: str) -> Report:
    return load_report(PUBLISHED / f"{name}.json")


def reports() -> dict[str, Report]:
    return {name: report_named(name) for name in NAMES}


def overview_text() -> str:
    return (PUBLISHED / "README.md").read_text(encoding="utf-8")


def pinned() -> dict[str, str]:
    """Versions of ci/constraints.txt."""
    lines = (ROOT / "ci" / "constraints.txt").read_text().splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))


def test_every_backend_and_mode_is_published() -> None:
    script = (ROOT / "ci" / "run.sh").read_text()
    steps = script.split("<<'RUNS'\n", 1)[1].split("\nRUNS", 1)[0].splitlines()
    assert sorted("-".join(step.split()[1:3]) for step in steps if step.startswith("suites ")) == NAMES


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


@pytest.mark.parametrize("name", NAMES)
def test_a_published_report_names_a_processor_on_which_its_claims_were_seen(name: str) -> None:
    report = report_named(name)
    claims = tomllib.loads((ROOT / "ci" / "claims" / f"{report['environment']['backend']}.toml").read_text())
    here = report["environment"]["versions"][CPU_CAPABILITY]
    assert any(fnmatchcase(here, pattern) for pattern in claims["processors"])
    elsewhere = {entry["id"] for entry in claims["deviation"] if "processors" in entry}
    assert {entry["deviation"] for entry in report.get("not_seen_on_this_processor", [])} <= elsewhere


def test_the_pages_follow_from_the_reports() -> None:
    """The README and the picture are what the script makes of the reports, and nothing else is tracked."""
    made: dict[str, str] = PUBLISH["tracked"](reports())
    stale = [name for name, text in made.items() if (PUBLISHED / name).read_text(encoding="utf-8") != text.rstrip("\n") + "\n"]
    assert not stale
    files = {path.name for path in PUBLISHED.iterdir() if path.is_file()}  # sweeps/ has its own
    files -= {"kernelbench.md"}  # which python -m tests.kernelbench makes
    assert files == set(made) == {f"{name}.json" for name in NAMES} | {"README.md", "torch-eager-cross_entropy-float32.svg"}


@pytest.mark.parametrize("name", NAMES)
def test_a_published_report_is_one_line(name: str) -> None:
    stored = (PUBLISHED / f"{name}.json").read_bytes()
    assert stored == as_one_line(json.loads(stored)).encode("ascii") + b"\n"
    assert stored.count(b"\n") == 1


def test_the_pages_are_built_on_demand(tmp_path: Path) -> None:
    PUBLISH["main"](["--pages", str(tmp_path / "new" / "pages")])
    built = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "new" / "pages").iterdir()}
    assert set(built) == {f"{name}{ending}" for name in NAMES for ending in (".html", ".json")} | {"index.html"}
    for name, report in reports().items():
        assert f"<code>{report['identifier']}</code>" in built[f"{name}.html"]
        assert f"<code>{report['identifier']}</code>" in built["index.html"]
        assert json.loads(built[f"{name}.json"]) == report
    linked = {link for text in built.values() for link in re.findall(r'href="([^"#:]+)"', text)}
    assert linked == set(built) - {"index.html"}


def test_ci_keeps_the_pages() -> None:
    yaml = pytest.importorskip("ruamel.yaml")
    steps = yaml.YAML(typ="safe").load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]["conformance"]["steps"]
    built = next(step["run"].rpartition(" ")[2] for step in steps if "ci/publish.py --pages " in step.get("run", ""))
    kept = {step["with"]["name"]: step["with"]["path"] for step in steps if "upload-artifact" in step.get("uses", "")}
    assert kept["published-pages"].rstrip("/") == built
    assert "`published-pages`" in overview_text()


def test_the_overview_names_what_was_published() -> None:
    """Versions, identifiers and tests of each report, each deviation with its link, and where it was seen."""
    text = overview_text()
    for report in reports().values():
        environment = report["environment"]
        assert f"`{report['identifier']}`" in text
        for name, number in [*environment["versions"].items(), *environment["packages"].items()]:
            assert f"{name} {number}" in text
        for outcome, count in report["tests"].items():
            assert not count or f"{count} {outcome}" in text
        for deviation in report["deviations"]:
            row = next(line for line in text.splitlines() if re.match(rf"\| \[?{deviation['id']}[\] ]", line))
            assert f"]({deviation['link']})" in row or not deviation["link"]
            seen = len(deviation["seen_at"])
            assert (f"{environment['modes'][0]} {seen}" in row) == (seen > 0)


def test_the_overview_shows_every_result() -> None:
    """Below the heading of its report, in the row of its operation."""
    text = overview_text().split("## Every operation", 1)[1].split("## Deviations", 1)[0]
    parts = re.split("<details><summary>([^:]*): ", text)[1:]
    measured = dict(zip(parts[::2], parts[1::2], strict=True))
    for report in reports().values():
        shown = measured[" ".join([report["environment"]["backend"], *report["environment"]["modes"]])]
        rows = [[part.strip().replace("`", "") for part in line.split("|")[1:-1]] for line in shown.splitlines()]
        found = _cells(rows)
        blocks = {row[0]: row[1:] for row in rows if len(row) == 1 + len(FORMATS)}
        for result in report["results"]:
            name, dtype, quantity = result["operation"].partition("@")[0], result["dtype"], result["quantity"]
            if quantity in (*LOSS_COLUMNS, *LAYER_COLUMNS):
                said = found[name, dtype, quantity]
            else:
                said = blocks[name if name == quantity else f"{name}.{quantity}"][list(FORMATS).index(dtype)]
            assert said == f"{result['reached']} {worst_ulps(result)}", (name, dtype, quantity)


def _cells(rows: list[list[str]]) -> dict[tuple[str, str, str], str]:
    """The cells of tables with a row for each operation and dtype, by these and the column; "-" is no cell."""
    found: dict[tuple[str, str, str], str] = {}
    header: list[str] = []
    for row in rows:
        if row[1:2] == ["dtype"] or row[:1] == ["building block"]:
            header = row
        elif header[1:2] == ["dtype"] and len(row) == len(header) and row[1] in FORMATS:
            found |= {(row[0], row[1], column): said for column, said in zip(header[2:], row[2:], strict=True) if said != "-"}
    return found


def test_the_overview_compares_every_backend() -> None:
    """A backend without a main operation would be left out of the tables in silence."""
    for operations in MAIN.values():
        for report in reports().values():
            name = operations[report["environment"]["backend"]]
            assert name in {result["operation"].partition("@")[0] for result in report["results"]}


def test_the_overview_leads_to_files_that_are_there() -> None:
    links = re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", overview_text())
    local = {link or source for link, source in links if not link.startswith("https://")}
    assert {"../../README.md", "torch-eager.json", "torch-eager-cross_entropy-float32.svg"} < local
    assert [link for link in sorted(local) if not (PUBLISHED / link).is_file()] == []
    assert {f"sweeps/{path.name}" for path in (PUBLISHED / "sweeps").glob("*.svg")} < local


def test_the_overview_renders_as_it_reads() -> None:
    """A code host shows the words of a reason as they are: nothing in them is markup."""
    markdown = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable(["table", "strikethrough"])
    cells = set(re.findall(r"<td>(.*?)</td>", markdown.render(overview_text())))
    shown = {html.unescape(cell) for cell in cells}
    assert {d["reason"] for report in reports().values() for d in report["deviations"]} <= shown


def test_a_further_fact_of_the_environment_is_shown() -> None:
    """In a column of its own where reports differ in it, else once for all."""
    one, other = small_report(), small_report()
    one["environment"]["processor"], other["environment"]["processor"] = "Xeon", "EPYC"
    both, alone = (overview(made, Sweeps({}), Picture("", "")) for made in ({"one": one, "other": other}, {"one": one}))
    assert "| report | processor |\n| --- | --- |\n| torch eager | Xeon |\n| torch eager | EPYC |" in both
    assert "\n- processor: Xeon\n" in alone


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{folder}/none"], "none has no NAME/report.json; give the folder 'reports' that ci/run.sh wrote"),
        (["{folder}/other"], "the reports are numpy-eager; allowed: with torch-eager, whose picture READMEs show"),
        (["{folder}/broken"], "torch-eager/report.json: not JSON, or cut off"),
        (["{folder}/narrowed"], "torch-eager: no picture of 'cross_entropy' in 'float32'; give an operation and a dtype"),
        (["--pages", "{folder}/file"], "file: File exists; allowed: a folder that may be written"),
    ],
    ids=["no reports", "another report", "a broken report", "a narrowed report", "pages in a file"],
)
def test_what_cannot_be_published_is_refused(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And leaves what is published as it was."""
    stored = {
        "other/numpy-eager": json.dumps(small_report()),
        "broken/torch-eager": "{",
        "narrowed/torch-eager": json.dumps(small_report(small_result("logsumexp"))),
    }
    for name, text in stored.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "report.json").write_text(text)
    (tmp_path / "file").touch()
    before = sorted(path.name for path in PUBLISHED.iterdir())
    with pytest.raises(SystemExit) as ended:
        PUBLISH["main"]([argument.format(folder=tmp_path) for argument in arguments])
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
    assert sorted(path.name for path in PUBLISHED.iterdir()) == before


def test_publishing_replaces_files_and_leaves_folders(tmp_path: Path) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "kept.json").write_text("{}")
    (tmp_path / "index.html").write_text("old")
    PUBLISH["publish"]({"README.md": "new"}, tmp_path)
    assert {path.name for path in tmp_path.rglob("*")} == {"README.md", "sweeps", "kept.json"}
    assert (tmp_path / "README.md").read_text() == "new\n"


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


ABSORBING = ("torch", "jax", "tensorflow")


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(ABSORBING)])
def test_no_softmax_cross_entropy_of_a_framework_absorbs_nothing(name: str) -> None:
    """In float32 and float64 each loses a loss or a gradient: `componentwise` is not reached."""
    losses = {key: low for key, low in lowest(name).items() if not re.search("sigmoid|binary", key[0])}
    assert losses
    assert [key for key, low in losses.items() if low >= Grade.COMPONENTWISE] == []


def test_the_two_controls_of_numpy_absorb_nothing() -> None:
    found = lowest("numpy-eager")
    kept = [found[name, dtype] for name in ("componentwise", "absorption_free") for dtype in ("float32", "float64")]
    assert min(kept) >= Grade.COMPONENTWISE


def lowest(name: str) -> dict[tuple[str, str], Grade]:
    """By operation and dtype of a published report: the lower of what its loss and its gradient reach."""
    rows = [r for r in report_named(name)["results"] if is_measured(r) and r["dtype"] in ("float64", "float32")]
    reached = {(r["operation"], r["dtype"], r["quantity"]): grade_named(r["reached"]) for r in rows}
    both = [key[:2] for key in reached if key[2] == "loss" and (*key[:2], "gradient") in reached]
    return {key: min(reached[*key, quantity] for quantity in ("loss", "gradient")) for key in both}
