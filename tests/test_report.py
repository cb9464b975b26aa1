"""Tests of the report: valid by its schema, whole in JSON, readable in Markdown, narrow in the terminal."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from adapters.loading import load_adapter
from adapters.question import Question
from reference import FLOAT32, Problem, Quantity
from reference.formats import FORMATS
from reference.grades import Grade, grade_named
from suites.inputs.cases import cases_matching
from suites.inputs.hazards import HAZARDS
from suites.judging.claims import Claims, Deviation, Region, Scope, Setting
from suites.judging.claims_file import CLAIMS_FOLDER, load_claims
from suites.judging.effort import EFFORTS
from suites.judging.judge import Judge, Plan
from suites.judging.recorder import worst_entry
from suites.report.build import build_report
from suites.report.gallery import Heat, heat_maps
from suites.report.markdown import markdown, summary_markdown
from suites.report.page import page
from suites.report.schema import SCHEMA, Report, Result
from suites.report.terminal import rendered, summary_lines, summary_tables
from suites.report.write import write_report
from tests.reports import ending

PASSED = ending(passed=10, xfailed=1)


@pytest.fixture
def judge() -> Judge:
    adapter = load_adapter("numpy", "cpu")
    plan = Plan(
        adapter=adapter,
        operations=adapter.operations(),
        formats=tuple(FORMATS.values()),
        hazards=tuple(HAZARDS),
        cases=cases_matching("absorption/gap-20"),
        claims=load_claims(CLAIMS_FOLDER / "numpy.toml", Setting("2.4")),
        effort=EFFORTS["standard"],
        seed=3,
        command="pytest suites/",
    )
    return Judge(plan)


def measured(judge: Judge) -> Report:
    """A report of one generated problem and one stored case."""
    problem = Problem([[20.0, 0.0, 1.0]], [0], FLOAT32, tangent=np.ones((1, 3)))
    for operation in judge.plan.operations:
        if not operation.refusal(problem):
            judge.check(Question(operation, problem, tuple(Quantity)))
    (case,) = judge.plan.cases
    scipy_loss = next(op for op in judge.plan.operations if op.name == "scipy_log_softmax")
    with pytest.raises(pytest.xfail.Exception):
        judge.check_case(case, scipy_loss, Quantity.LOSS)
    return build_report(judge, PASSED)


def row_of(report: Report) -> Result:
    """What was measured."""
    rows = [r for r in report["results"] if r["operation"] == "scipy_log_softmax" and r["dtype"] == "float32"]
    return next(r for r in rows if r["quantity"] == "loss")


def test_the_report_is_valid_and_round_trips(judge: Judge, tmp_path: Path) -> None:
    report = measured(judge)
    paths = write_report(report, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["report.json", "report.md", "report.html"]
    again = json.loads(paths[0].read_text())
    assert again == report
    jsonschema.validate(again, SCHEMA)


def test_the_worst_error_and_its_input_are_there_although_all_passed(judge: Judge) -> None:
    report = measured(judge)
    loss = row_of(report)
    assert loss["claimed"] == loss["reached"] == "stable"
    assert (loss["problems"], loss["entries"]) == (2, 2), "a generated problem and a stored case"
    assert loss["returned_zero"] == 2
    assert float.fromhex(loss["worst"]["observed"]) == 0
    assert float.fromhex(loss["worst"]["correctly_rounded"]) == pytest.approx(2.1638e-9, rel=1e-4), (
        "exp(-20) + exp(-23), of the case"
    )
    assert loss["worst"]["problem"]["logits"] == [[(20.0).hex(), (0.0).hex(), (-3.0).hex()]]
    assert loss["method"] == "searched"


def test_deviations_say_where_they_were_seen(judge: Judge) -> None:
    (seen,) = [d for d in measured(judge)["deviations"] if d["seen_at"]]
    assert seen["id"] == "scipy-absorption-loss"
    assert seen["seen_at"] == ["absorption/gap-20[float32]"]
    assert seen["link"].startswith("https://github.com/scipy/scipy/")


def test_deviations_not_seen_on_this_processor_are_told_in_every_form(judge: Judge) -> None:
    assert "not_seen_on_this_processor" not in measured(judge)
    judge.recorder.not_seen += [
        ("tf-other", "a/case[float32], softmax, softmax"),
        ("tf-other", "b/case[float32], softmax, softmax"),
    ]
    report = build_report(judge, PASSED)
    assert report["verdict"] == "CONFORMS"
    assert [entry["at"][:6] for entry in report["not_seen_on_this_processor"]] == ["a/case", "b/case"]
    for text in ("\n".join(summary_lines(report)), markdown(report), summary_markdown(report), page(report)):
        assert "not seen on this processor" in text.lower()
        assert "tf-other" in text
    assert f"not seen on this processor ({judge.plan.adapter.processor or 'not reported'}):" in "\n".join(summary_lines(report))
    assert "tf-other (2 cases)" in "\n".join(summary_lines(report))
    assert "tf-other" in rendered(summary_tables(report), 100)


def test_the_verdict_with_its_reason_is_the_last_line(judge: Judge) -> None:
    lines = summary_lines(measured(judge))
    assert any(line.startswith("scipy_log_softmax") for line in lines)
    assert lines[-2].startswith("numpy ")
    said = "CONFORMS: 10 tests passed, 1 test showed what is known; every claim held"
    assert re.fullmatch(rf"{re.escape(said)}; \d% of the entries judged vacuously", lines[-1])


def test_what_was_not_measured_is_told_as_such_and_what_is_left_out_stands_beside(judge: Judge) -> None:
    report = measured(judge)
    missing = [r for r in report["results"] if r["reached"] == "not measured"]
    assert missing
    assert all((r["problems"], r["entries"], r["worst_ulps"]) == (0, 0, 0.0) for r in missing)
    assert f"not measured: {len(missing)} of {len(report['results'])} rows" in "\n".join(summary_lines(report))
    assert "| not measured |" in markdown(report)
    assert re.search(r'<td class="soft">not measured\s*</td>', page(report))
    loss = row_of(report)
    loss["left_out"] = {"reached": "finite", "problems": 3, "entries": 7}
    row = next(line for line in summary_lines(report) if line.startswith("scipy_log_softmax") and "float32" in line)
    assert row.endswith("finite in 3")
    assert "| finite in 3 |" in markdown(report)
    assert "known deviation: grade finite in 3" in page(report)


def test_results_say_what_is_claimed_and_what_was_reached_in_the_order_of_quantities(judge: Judge) -> None:
    results = [r for r in measured(judge)["results"] if (r["operation"], r["dtype"]) == ("absorption_free", "float32")]
    assert [r["quantity"] for r in results] == [str(q) for q in Quantity if q in {r["quantity"] for r in results}]
    assert {(r["quantity"], r["claimed"], r["reached"]) for r in results} >= {
        ("loss", "faithful", "correct"),
        ("gradient", "accurate", "correct"),
    }


def test_a_grade_below_its_claim_is_marked_and_no_other(judge: Judge) -> None:
    report = measured(judge)
    assert not any(" !" in line for line in summary_lines(report)[2:])
    report["results"][0] |= {"claimed": "correct", "reached": "finite"}
    assert any(" !" in line for line in summary_lines(report)[2:])


def test_markdown_has_every_part(judge: Judge) -> None:
    text = markdown(measured(judge))
    for part in ("# Softmax cross-entropy tolerance report: numpy", "## Grades", "## Worst errors", "## Deviations", "seed 3"):
        assert part in text
    assert "[scipy-absorption-loss](https://github.com/scipy/scipy/issues/19521)" in text


def test_the_heat_map_and_the_tables_have_one_grade_where_a_deviation_has_a_region(judge: Judge) -> None:
    """The loss at a gap of 20 is 0, in the region; at 2 it is accurate, and counts. The problem at 2 with a tie is `ties`."""
    scope = Scope(("scipy_log_softmax",), ("float32",))
    grades = (Grade.ACCURATE, Grade.STABLE)
    known = Deviation("known", scope, (Quantity.LOSS,), (), *grades, "it is 0", "", Region(hazards=("absorption",)))
    operations = tuple(op for op in judge.plan.operations if op.name == "scipy_log_softmax")
    judge = Judge(replace(judge.plan, operations=operations, claims=Claims(deviations=(known,))))
    for row in ([20.0, 0.0], [2.0, 0.0], [2.0, 2.0, 0.0]):
        judge.check(Question(operations[0], Problem([row], [0], FLOAT32), (Quantity.LOSS,)))
    report = build_report(judge, PASSED)
    loss = row_of(report)
    assert grade_named(loss["reached"]) >= Grade.ACCURATE
    assert loss["left_out"] == {"reached": "stable", "problems": 1, "entries": 1}
    (map_,) = [shown for shown in heat_maps(report) if shown.dtype == "float32"]
    ((_, ((_, heats),)),) = map_.groups
    heat = dict(zip(map_.hazards, heats, strict=True))
    assert heat["absorption"] == Heat("not measured", "", "stable")
    counted = [heat["moderate"], heat["ties"]]
    assert min(grade_named(h.grade) for h in counted if h) == grade_named(loss["reached"])
    assert all(h is not None and not h.left_out for h in counted)
    assert max(entry["worst_ulps"] for entry in loss["by_hazard"]) == loss["worst_ulps"] < 4


def test_a_report_that_breaks_the_schema_is_refused(judge: Judge) -> None:
    report = measured(judge)
    report["results"][0]["claimed"] = "excellent"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(report, SCHEMA)


def test_what_is_returned_where_nothing_is_owed_is_reported(judge: Judge) -> None:
    (case,) = cases_matching("masked/all[float32]")
    operation = next(op for op in judge.plan.operations if op.name == "scipy_log_softmax")
    judge.check_case(case, operation, Quantity.LOSS)
    (outcome,) = build_report(judge, PASSED)["cases"]
    assert outcome["where_nothing_is_owed"] == ["NaN"]
    assert "| `masked/all` | `scipy_log_softmax` | float32 | loss | NaN |" in markdown(build_report(judge, PASSED))


def test_overflowing_results_are_reported_too(judge: Judge, tmp_path: Path) -> None:
    """A loss that rounds to infinity, and a gap of twice the largest float64, once broke the JSON."""
    largest = float(np.finfo(np.float64).max)
    for target in (0, 1):
        problem = Problem([[largest, -largest]], [target], FORMATS["float64"])
        for operation in judge.plan.operations:
            if not operation.refusal(problem) and operation.name != "naive":
                judge.check(Question(operation, problem, tuple(Quantity)))
    write_report(build_report(judge, PASSED), tmp_path)


def test_an_error_that_overflows_has_no_number(judge: Judge) -> None:
    largest = float(np.finfo(np.float64).max)
    problem = Problem([[largest, 0.0]], [1], FORMATS["float64"])
    operation = judge.plan.operations[0]
    (measurement,) = judge.measure(Question(operation, problem, (Quantity.LOSS,)))
    opposite = replace(measurement, observed=-measurement.observed)
    assert worst_entry(opposite)["absolute_error"] is None
