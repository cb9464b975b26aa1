"""Tests of `python -m suites.report`: what it prints, its exit status, and what it refuses in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from suites.report.__main__ import GOOD, USAGE, WORSE, main
from suites.report.cite import AUTHORS, YEAR
from suites.report.compare import Change, compare
from suites.report.load import PathError, ReportError, load_report
from suites.report.schema import Report, identifier
from tests.command import ROOT
from tests.reports import report, result, stored

Capture = pytest.CaptureFixture[str]


def changed(**keys: Any) -> Report:
    """The one-result report with keys of its result replaced."""
    return report(result(**keys))


def compared(tmp_path: Path, *reports: Report, options: tuple[str, ...] = ("--fail-on-regression",)) -> int:
    paths = [stored(made, tmp_path / f"{number}.json") for number, made in enumerate(reports)]
    return main(["compare", *options, *map(str, paths)])


def test_a_report_round_trips(tmp_path: Path) -> None:
    assert load_report(stored(report(), tmp_path / "report.json")) == report()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (json.dumps(report())[:-40], "not JSON, or cut off"),
        ("", "not JSON, or cut off"),
        ("[" * 100_000, "not JSON, or cut off"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": 1e400}', "1e400 is above the largest float64"),
        ("\udcff", "not JSON, or cut off"),
        ("[]", "not a report of this suite"),
        ('{"schema": "other/1"}', "not a report of this suite"),
        ('{"schema": ["softmax-ce-report/1"]}', "not a report of this suite"),
        ('{"schema": "softmax-ce-report/1"}', "this version reads softmax-ce-report/3: run the suite again"),
        ('{"schema": "softmax-ce-report/3"}', "not valid by softmax-ce-report/3: 'identifier' is missing; needed: schema, "),
        (json.dumps(report() | {"verdict": "FINE"}), "verdict 'FINE' is not known; allowed: CONFORMS, REDUCED"),
        (
            json.dumps(report() | {"verdict": "FAILS"}, indent=1).replace("{", '{"verdict": "CONFORMS",', 1),
            "'verdict' stands twice",
        ),
        (json.dumps(changed(problems=5.0)), "results[0].problems is 5.0; allowed: a whole number"),
        (json.dumps(changed(problems=True)), "results[0].problems is True; allowed: a whole number"),
        (json.dumps(changed(problem=5)), "results[0]: unknown keys ['problem']; allowed: operation, "),
        (json.dumps(changed(quantity="los")), "results[0].quantity 'los' is not known; allowed: loss, "),
        (json.dumps(report())[:-1] + ', "more": ' + "[" * 980 + "]" * 980 + "}", "it is nested too deeply"),
        (json.dumps(report() | {"verdict": "REDUCED"}), "it was changed after it was written"),
    ],
)
def test_what_is_no_report_is_refused_in_one_line(text: str, says: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ReportError):
        load_report(path)
    assert main(["show", str(path)]) == USAGE
    said = capsys.readouterr()
    assert not said.out
    assert said.err.startswith(f"error: {path}: ")
    assert said.err.count("\n") == 1
    assert says in said.err
    assert main(["validate", str(path)]) == WORSE


def test_paths_that_are_no_files(tmp_path: Path, capsys: Capture) -> None:
    with pytest.raises(PathError, match="there is no such file; give the report.json"):
        load_report(tmp_path / "nowhere.json")
    with pytest.raises(
        PathError, match=r"a directory with no report\*.json in it; give the report.json .* such as .*/report.json"
    ):
        load_report(tmp_path)
    assert main(["validate", str(tmp_path)]) == USAGE
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("command", ["show", "cite", "badge", "validate"])
def test_a_pipe_is_refused_and_not_waited_for(command: str, tmp_path: Path, capsys: Capture) -> None:
    os.mkfifo(tmp_path / "report.json")
    assert main([command, str(tmp_path)]) in (WORSE, USAGE)
    printed = capsys.readouterr()
    assert "it is a pipe or a device; allowed: a regular file" in printed.out + printed.err


def test_a_report_is_read_through_a_link(tmp_path: Path) -> None:
    stored(report(), tmp_path / "elsewhere.json")
    (tmp_path / "report.json").symlink_to("elsewhere.json")
    assert load_report(tmp_path) == report()


def test_what_a_terminal_obeys_is_spelt_out(tmp_path: Path, capsys: Capture) -> None:
    hostile = report(result(operation="\x1b[2J\x1b]0;gone\x07[red]op"))
    assert main(["show", str(stored(hostile, tmp_path / "report.json"))]) == GOOD
    assert compared(tmp_path, hostile, hostile) == GOOD
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\\x1b[2J" in printed


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    path = stored(report(*(result(f"operation_{number}") for number in range(3000))), tmp_path / "report.json")
    show = [sys.executable, "-m", "suites.report", "show", str(path)]
    with subprocess.Popen(show, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == ""
    assert running.returncode == GOOD


def test_a_comparison_is_written_as_a_page(tmp_path: Path, capsys: Capture) -> None:
    odd = report(result("half a pair \ud800"))
    page = tmp_path / "compared.html"
    assert compared(tmp_path, odd, report(), options=(f"--html={page}",)) == GOOD
    assert "half a pair \\ud800" in page.read_text()
    assert f"wrote {page}" in capsys.readouterr().out
    assert compared(tmp_path, odd, report(), options=(f"--html={tmp_path}",)) == USAGE
    assert "Is a directory; give the name of a file" in capsys.readouterr().err


def test_the_identifier_is_of_results_and_not_of_the_machine() -> None:
    elsewhere = report(run=report()["run"] | {"command": "pytest suites/ --claims=/home/someone/claims.toml"})
    assert elsewhere["identifier"] == report()["identifier"] == identifier(report())
    assert changed(reached="correct")["identifier"] != report()["identifier"]
    assert report(run=report()["run"] | {"seed": 1})["identifier"] != report()["identifier"]


def test_equal_reports_have_no_differences(tmp_path: Path, capsys: Capture) -> None:
    assert compared(tmp_path, report(), report(), report()) == GOOD
    printed = capsys.readouterr().out
    assert "no regressions against 1" in printed
    assert "same     cross_entropy  float32  loss" in printed


@pytest.mark.parametrize(
    ("later", "says"),
    [
        (changed(reached="finite", claimed="finite"), "cross_entropy float32 loss: reaches finite, was stable"),
        (changed(claimed="accurate"), "cross_entropy float32 loss: claim accurate fails: reaches stable"),
        (report(verdict="FAILS"), "verdict: FAILS, was CONFORMS"),
        (report(verdict="REDUCED"), "verdict: REDUCED, was CONFORMS"),
        (
            report(deviations=[report()["deviations"][0] | {"id": "torch-new", "reason": "a lost lane"}]),
            "deviation torch-new is new: a lost lane",
        ),
    ],
)
def test_a_regression_fails_if_asked(later: Report, says: str, tmp_path: Path, capsys: Capture) -> None:
    assert compared(tmp_path, report(), later) == WORSE
    assert f"2: {says}" in capsys.readouterr().out
    assert compared(tmp_path, report(), later, options=()) == GOOD
    assert compared(tmp_path, later, report()) == (WORSE if "torch-new" in says else GOOD)


def test_a_larger_worst_error_is_shown_and_does_not_fail(tmp_path: Path, capsys: Capture) -> None:
    assert compared(tmp_path, report(), changed(worst_ulps=2.0**25)) == GOOD
    assert "worst error  cross_entropy  float32  loss      stable/stable 1.7e7  stable/stable >2^24" in capsys.readouterr().out


def test_a_deviation_that_was_not_run_is_not_new() -> None:
    unseen = report()["deviations"][0] | {"id": "torch-other", "seen_at": []}
    assert not compare([report(), report(deviations=[*report()["deviations"], unseen])]).regressions


def test_differences_come_first() -> None:
    first = report(*(result(operation=name) for name in ("d", "c", "b")))
    later = report(
        result(operation="d", reached="finite"),
        result(operation="c", reached="correct"),
        result(operation="b", worst_ulps=1.0),
        result(operation="a"),
    )
    rows = compare([first, later]).rows
    assert [(row.key[0], row.change) for row in rows] == [
        ("d", Change.REGRESSION),
        ("c", Change.GRADE),
        ("b", Change.ERROR),
        ("a", Change.ONLY),
    ]


def test_modes_are_held_beside_each_other_where_a_report_has_one() -> None:
    compiled = result(operation="cross_entropy@compiled", mode="compiled")
    environment = report()["environment"]
    one = report(compiled, environment=environment | {"modes": ["compiled"]})
    both = report(result(), compiled, environment=environment | {"modes": ["eager", "compiled"]})
    assert len(compare([report(), one]).rows) == 1
    assert [row.key[0] for row in compare([report(), both]).rows] == ["cross_entropy@compiled", "cross_entropy"]


def test_reports_of_several_backends(tmp_path: Path, capsys: Capture) -> None:
    other = report(result(operation="optax"), environment=report()["environment"] | {"backend": "jax"}, verdict="FAILS")
    assert not compare([report(), other]).regressions
    assert compared(tmp_path, report(), other, options=()) == GOOD
    assert "1 torch" in capsys.readouterr().out
    assert compared(tmp_path, report(), other) == USAGE
    assert "the reports are of jax, torch; allowed: reports of one backend" in capsys.readouterr().err


def test_other_problems_are_pointed_out(tmp_path: Path, capsys: Capture) -> None:
    compared(tmp_path, report(), report(run=report()["run"] | {"seed": 1}))
    assert "the runs searched other problems" in capsys.readouterr().out


def test_one_report_is_too_few(tmp_path: Path, capsys: Capture) -> None:
    assert compared(tmp_path, report()) == USAGE
    assert "one report was given; give two or more" in capsys.readouterr().err


def test_citations(tmp_path: Path, capsys: Capture) -> None:
    backend = report()["environment"] | {"backend": "my_kernel}"}
    path = str(stored(report(environment=backend), tmp_path / "report.json"))
    main(["cite", path])
    text, bibtex = capsys.readouterr().out.split("\n\n")
    digest = report(environment=backend)["identifier"]
    assert text.startswith(f"{AUTHORS} ({YEAR}). Softmax cross-entropy tolerance report: my_kernel}}")
    assert digest in text
    assert bibtex.startswith(f"@misc{{softmax-ce-my-kernel--{digest.removeprefix('sha256:')[:12]},")
    assert "my\\_kernel\\}" in bibtex
    assert "torch 2.13.0; cpu, eager; seed 0" in bibtex
    main(["cite", path, "--format=text"])
    assert capsys.readouterr().out.strip() == text


@pytest.mark.parametrize(
    ("verdict", "results", "message", "colour"),
    [
        ("CONFORMS", [{"role": "main", "reached": "stable"}], "stable, conforms", "brightgreen"),
        (
            "REDUCED",
            [{"role": "main", "reached": "faithful"}, {"role": "main", "reached": "accurate"}],
            "accurate, reduced",
            "green",
        ),
        (
            "REDUCED",
            [{"role": "main", "reached": "stable"}, {"role": "control", "reached": "none"}],
            "stable, reduced",
            "green",
        ),
        ("FAILS", [{"role": "main", "reached": "stable"}], "fails", "red"),
        ("NOTHING RAN", [], "nothing ran", "lightgrey"),
        ("INTERRUPTED", [{"role": "main", "reached": "correct"}], "interrupted", "lightgrey"),
    ],
)
def test_a_badge_says_the_verdict_and_the_lowest_grade(
    tmp_path: Path, capsys: Capture, verdict: str, results: list[dict[str, Any]], message: str, colour: str
) -> None:
    made = report(*(result(**keys) for keys in results), verdict=verdict)
    stored(made, tmp_path / "report.json")
    assert main(["badge", str(tmp_path)]) == GOOD
    told = {"schemaVersion": 1, "label": "softmax cross-entropy", "message": message, "color": colour}
    assert json.loads(capsys.readouterr().out) == told


def test_the_citation_is_that_of_the_citation_file() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    assert f'name: "{AUTHORS}"' in citation
    assert f"date-released: {YEAR}-" in citation


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["publish"], "invalid choice: 'publish'"),
        (["show"], "the following arguments are required: REPORT"),
        (["cite", "x.json", "--format=ris"], "invalid choice: 'ris'"),
    ],
)
def test_usage_errors(arguments: list[str], says: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == USAGE
    assert says in capsys.readouterr().err


def test_help_says_what_a_regression_is(capsys: Capture) -> None:
    for arguments in (["--help"], ["compare", "--help"]):
        with pytest.raises(SystemExit):
            main(arguments)
    printed = capsys.readouterr().out
    for part in ("show", "compare", "validate", "cite", "exit status", "Differences come first", "A regression is"):
        assert part in printed


def test_it_runs_as_a_module_and_needs_no_framework(tmp_path: Path) -> None:
    path = stored(report(), tmp_path / "report.json")
    code = (
        "import runpy, sys\n"
        "try:\n runpy.run_module('suites.report', run_name='__main__')\n"
        "finally:\n assert not {'torch', 'jax', 'tensorflow', 'pytest'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "validate", str(path)], cwd=ROOT, text=True, capture_output=True, check=False
    )
    assert done.returncode == GOOD, done.stderr
    assert done.stdout == f"{path}: valid, softmax-ce-report/3, {report()['identifier']}\n"


LIMIT = {
    "operation": "cross_entropy",
    "text": "K at most 64: a | b [c]",
    "declared": {"reason": "a | b [c]", "max_classes": 64},
}


def test_a_report_is_shown_in_short_as_markdown(tmp_path: Path, capsys: Capture) -> None:
    below = result(claimed="accurate", operation="a`b|c")
    assert main(["show", "--markdown", str(stored(report(below, result(), limits=[LIMIT]), tmp_path / "report.json"))]) == GOOD
    said = capsys.readouterr().out
    assert said.startswith(
        "# Softmax cross-entropy conformance: torch\n\n"
        "**CONFORMS: 10 tests passed; every claim held; within declared limits**\n\n"
        "- `a'b\\|c, F.cross_entropy(x, index)`, torch 2.13.0, CPU, eager: stable, not componentwise. Below its claim: loss in "
        "float32 (accurate claimed, stable reached). Where "
    )
    assert "\n\ntorch 2.13.0; cpu, eager; seed 0, Python 3.11.7, Linux x86_64. Identifier: `sha256:" in said
    assert "| `a'b\\|c` | float32 | loss | accurate | **stable**, below the claim | 1.7e7 |" in said
    assert "| `cross_entropy` | float32 | loss | stable | stable | 1.7e7 |" in said
    assert "| K at most 64: a \\| b \\[c] | `cross_entropy` |" in said
    assert "[torch-absorption-loss](https://example.org/1)" in said
    assert "0x1.4p+4" not in said


def test_a_comparison_is_shown_in_short_as_markdown(tmp_path: Path, capsys: Capture) -> None:
    both = [report(result(), result(operation="other")), report(result(reached="finite"), result(operation="other"))]
    assert compared(tmp_path, *both, options=("--markdown", "--fail-on-regression")) == WORSE
    said = capsys.readouterr().out
    assert said.startswith("# Compared\n\n- 1 ")
    assert "- 2: cross_entropy float32 loss: reaches finite, was stable; claim stable fails: reaches finite\n" in said
    assert "| worse | cross_entropy | float32 | loss | stable/stable 1.7e7 | finite/stable 1.7e7 |" in said
    assert "| other |" not in said
    assert said.endswith("1 rows are the same.\n")
    both[1] = both[0]
    assert compared(tmp_path, *both, options=("--markdown", "--fail-on-regression")) == GOOD
    assert "no regressions against 1" in capsys.readouterr().out
