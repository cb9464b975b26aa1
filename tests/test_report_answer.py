"""Tests of the sentences that a report begins with: on small reports made by hand, whose answers follow by looking at them."""

from __future__ import annotations

from typing import Any

from suites.report.answer import answers
from suites.report.markdown import markdown, summary_markdown
from suites.report.markup import plain
from suites.report.overview import Picture, Sweeps, overview
from suites.report.page import index_page, page
from suites.report.schema import Report
from tests.reports import GAP_BIN, report, result

SOUND: dict[str, Any] = {"returned_zero": 0, "wrong_class": 0, "by_gap": []}
UNMEASURED = SOUND | {"reached": "not measured", "problems": 0, "entries": 0, "worst_ulps": 0.0, "worst": None}
KERNEL = {"name": "mine", "place": "my_kernel.py", "sha256": None, "package": None}


def lost_from(gap: float, **changes: Any) -> dict[str, Any]:
    """A result in which 0 is returned from a gap on, in two bins, and not in the one below."""
    below = GAP_BIN | {"from": 0.0, "to": 0.0625, "returned_zero": 0}
    lost = [GAP_BIN | {"from": gap, "to": 40.0}, GAP_BIN | {"from": 40.0, "to": None}]
    return result(by_gap=[below, *lost], **changes)


def only(made: Report) -> str:
    """The answer of a report of one main operation, without its name."""
    (answer,) = answers(made)
    return answer.text


def test_an_operation_that_absorbs_is_told_with_its_gaps_and_deviations() -> None:
    left = {"reached": "none", "problems": 2, "entries": 2}
    seen = report()["cases"][0] | {"deviations": ["torch-absorption-loss"]}
    made = report(
        lost_from(16.635532, left_out=left),
        lost_from(16.635532, quantity="gradient"),
        lost_from(0.25, quantity="hessian"),
        lost_from(5.545177, dtype="bfloat16"),
        lost_from(5.545177, dtype="bfloat16", quantity="gradient"),
        cases=[seen],
    )
    assert only(made) == (
        "torch 2.13.0, CPU, eager: stable, not componentwise. Where the two largest logits are at least 16.6 (float32) or 5.55 "
        "(bfloat16) apart, loss and gradient can come back as 0 although not 0. So can entries of the Hessian. 1 known "
        "deviation (1 seen): in what they excuse, the lowest grade is none. Every claim held."
    )


def test_quantities_that_are_lost_from_different_gaps_are_told_apart() -> None:
    text = only(report(lost_from(16.0), lost_from(32.0, quantity="gradient")))
    assert "at least 16 (float32) apart, loss can" in text
    assert "at least 32 (float32) apart, gradient can" in text


def test_ties_and_sums_are_told_apart_from_gaps() -> None:
    near = GAP_BIN | {"from": 0.0, "to": 0.0625}
    tied = report(result(by_gap=[near, GAP_BIN | {"from": 7.625, "to": 8.0}]), result(by_gap=[near], dtype="float16"))
    assert (
        "Where the two largest logits are at least 7.62 (float32) apart, and near ties in float32 and float16, loss can come "
        "back as 0 although not 0."
    ) in only(tied)
    assert "In sums of rows in float32, loss can come back as 0 although not 0." in only(report(result(by_gap=[])))
    assert "componentwise. Entries of the Hessian can come back as 0 although not 0." in only(
        report(result(quantity="hessian"))
    )


def test_an_accurate_operation_loses_nothing() -> None:
    grades = {"claimed": "accurate", "reached": "accurate"}
    made = report(
        result(**SOUND | grades), deviations=[], limits=[{"operation": "cross_entropy", "text": "no options", "declared": {}}]
    )
    assert only(made) == (
        "torch 2.13.0, CPU, eager: accurate, not faithful. No known deviation. Every claim held, within its declared limits."
    )


def test_dtypes_and_the_loss_are_told_apart_where_they_differ() -> None:
    made = report(
        result(**SOUND | {"reached": "faithful"}),
        result(**SOUND | {"reached": "stable", "quantity": "gradient"}),
        result(**SOUND | {"reached": "finite", "claimed": "finite", "dtype": "float16"}),
        result(**SOUND | {"reached": "none", "claimed": "none", "dtype": "bfloat16"}),
    )
    grade = answers(made)[0].grade
    assert (
        grade
        == "stable, not componentwise (loss: faithful) in float32; finite, not stable in float16; not even finite in bfloat16."
    )


def test_a_failing_operation_says_what_failed_before_all_else() -> None:
    tests = [
        "test_loss[cross_entropy-float32]",
        "test_case[a/b[float32]-cross_entropy-loss]",
        "test_loss[my_cross_entropy-float32]",
    ]
    cause = {"cause": "loss: beyond", "tests": tests, "smallest": tests[0], "lines": {"what": "wrong"}, "script": None}
    made = report(
        result(claimed="accurate", **SOUND), result("other_one", role="other"), verdict="FAILS", failures=[cause], deviations=[]
    )
    assert only(made) == (
        "torch 2.13.0, CPU, eager: stable, not componentwise. 2 tests of it failed. Below its claim: loss in float32 (accurate "
        "claimed, stable reached). No known deviation."
    )
    for text in (markdown(made), summary_markdown(made), page(made)):
        assert text.index("loss: beyond") < text.index("2 tests of it failed.")


def test_where_others_failed_its_own_claims_that_were_tried_held() -> None:
    assert only(report(verdict="FAILS")).endswith("(0 seen). Every claim that was tried held.")
    assert only(report(verdict="REDUCED")).endswith("(0 seen). Every claim that was tried held.")


def test_what_was_not_measured_is_told_as_such() -> None:
    assert only(report(result(**UNMEASURED), deviations=[])) == (
        "torch 2.13.0, CPU, eager: not measured. No known deviation. Nothing of it was judged."
    )
    part = report(result(**SOUND), result(**UNMEASURED | {"quantity": "hvp"}), result(**UNMEASURED | {"dtype": "float16"}))
    assert "Not measured: Hessian-vector product in float32; loss in float16." in only(part)
    assert only(report(verdict="NOTHING RAN")).endswith("Nothing of it was judged.")


def test_deviations_of_others_are_not_counted() -> None:
    (known,) = report()["deviations"]
    other = [known | {"operations": ["softmax*"]}, known | {"modes": ["compiled"]}, known | {"dtypes": ["float16"]}]
    none = [known | {"quantities": ["hessian"]}]
    assert "1 known deviation (0 seen)." in only(report(deviations=[known, *other, *none]))
    assert "No known deviation." in only(report(deviations=[*other, *none]))


def test_an_operation_is_called_by_its_formula_if_that_names_it() -> None:
    named, unnamed = answers(report(result(), result("lse_form", formula="log(sum(exp(x))) - x[t]")))
    assert named.name == "F.cross_entropy(x, index)"
    assert unnamed.name == "lse_form, log(sum(exp(x))) - x[t]"
    mode = answers(report(result("cross_entropy@compiled", mode="compiled")))[0]
    assert (mode.name, mode.where) == ("F.cross_entropy(x, index)", "torch 2.13.0, CPU, compiled")


def test_a_kernel_of_a_user_is_called_by_its_file_and_judged_beside_the_framework() -> None:
    environment = report()["environment"] | {
        "implementation": KERNEL,
        "device": "cuda:0",
        "versions": {"torch": "2.13.0+cu128"},
    }
    (answer,) = answers(report(result("mine", role="other"), environment=environment))
    assert answer.name == "mine of my_kernel.py"
    assert answer.where == "judged beside torch 2.13.0, cuda:0, eager"


def test_main_operations_are_answered_or_else_all_that_have_a_loss() -> None:
    main, other = result(), result("other_one", role="other")
    block, control = result("softmax", role="other", quantity="softmax"), result("naive", role="control")
    assert [a.operation for a in answers(report(control, other, main, block))] == ["cross_entropy"]
    assert [a.operation for a in answers(report(control, other, block))] == ["other_one"]
    assert not answers(report(block, control))


def test_every_form_begins_with_the_answers_and_the_page_with_their_pictures() -> None:
    made = report(result("a_rare_one", role="other"), result())
    (answer,) = answers(made)
    for text, grades in ((markdown(made), "## Grades"), (summary_markdown(made), "| operation |"), (page(made), 'id="grades"')):
        assert text.index("Where the two largest logits") < text.index(grades)
        assert text.index(answer.where) < text.index("a_rare_one")
    shown = page(made)
    assert shown.index(answer.grade) < shown.index('aria-labelledby="lead-gap-') < shown.index('id="grades"')
    assert answer.text in index_page({"torch-eager": made})


def test_the_overview_counts_what_was_seen_in_a_mode_that_it_does_not_name() -> None:
    """It calls operations by their names without the mode; cases and failures have it."""
    environment = report()["environment"] | {"modes": ["compiled"]}
    seen = report()["cases"][0] | {"operation": "cross_entropy@compiled", "deviations": ["torch-absorption-loss"]}
    made = report(result("cross_entropy@compiled", mode="compiled"), environment=environment, cases=[seen])
    assert "1 known deviation (1 seen)." in only(made)
    assert plain(only(made)) in overview({"torch": made}, Sweeps({}), Picture("a.svg", "told"))
