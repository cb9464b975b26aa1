"""The rules of `compare --fail-on-regression`: what is worse, below a claim too, is told, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.foreign_state import DEFAULT_STATE
from suites.report.__main__ import GOOD, USAGE, WORSE, main
from suites.report.compare import Change, compare
from suites.report.pair import UNLIKE
from suites.report.schema import Report
from suites.report.terminal import MOST_REGRESSIONS
from tests.reports import report, result, stored

Capture = pytest.CaptureFixture[str]

BELOW = {"claimed": "accurate", "reached": "finite", "worst_ulps": 100.0, "returned_zero": 0, "wrong_class": 0}
"""A row below its claim, of which nothing is lost."""


def row(**changes: Any) -> Report:
    """A report that fails, of one row that is below its claim."""
    return report(result(**(BELOW | changes)), verdict="FAILS")


def ended(function: str = "test_loss", **names: list[str]) -> Report:
    """A report that fails, whose tests of a function ended so."""
    return report(verdict="FAILS", outcomes={function: names})


def case(reached: str, claimed: str = "stable") -> Report:
    """A report of one stored case that reaches so much."""
    return report(cases=[report()["cases"][0] | {"reached": reached, "claimed": claimed}])


def made_with(**environment: Any) -> Report:
    """A report with other keys of its environment."""
    return report(environment=report()["environment"] | environment)


def kernel(name: str, sha256: str) -> Report:
    """A report of a kernel of one's own."""
    return made_with(implementation={"name": name, "place": "kernels.py", "sha256": sha256 * 64, "package": None})


def run(**keys: Any) -> Report:
    """A report of a run that was asked for in another way."""
    return report(run=report()["run"] | keys)


def told(first: Report, later: Report) -> list[str]:
    """What is worse in the later report; nothing of either is worse than itself."""
    assert not compare([first, first]).regressions
    assert not compare([later, later]).regressions
    return [regression.text for regression in compare([first, later]).regressions]


def left_out(reached: str, left: str) -> list[dict[str, Any]]:
    """A hazard that has the grade of what counts, and that of what known deviations leave out."""
    nothing = {"problems": 0, "entries": 0} if reached == "not measured" else {}
    return [hazard | nothing | {"left_out": {"reached": left, "problems": 1, "entries": 1}} for hazard in bins(ties=reached)]


def bins(**reached: str) -> list[dict[str, Any]]:
    """Hazards, each with the grade reached in it."""
    tally = result()["by_hazard"][0]
    return [tally | {"hazard": hazard, "reached": grade} for hazard, grade in reached.items()]


ONE_WAY: dict[str, tuple[Report, Report, str]] = {
    "effort": (run(), run(effort="quick"), "effort: quick, was standard"),
    "narrowed": (run(), run(reduced_by=["a selection of tests"]), "newly narrowed by a selection of tests"),
    "hazards": (
        run(reduced_by=["--hazard=ties, masked"]),
        run(reduced_by=["--hazard=masked"]),
        "hazards not asked any more: ties",
    ),
    "fails": (ended(passed=["a", "b"]), ended(passed=["a"], failed=["b"]), "test_loss: 1 test newly failing: b"),
    "fails beside another": (ended(failed=["a"], passed=["b"]), ended(failed=["a", "b"]), "test_loss: 1 test newly failing: b"),
    "errs": (ended(passed=["a"]), ended(error=["a"]), "test_loss: 1 test newly failing: a"),
    "is gone": (ended(passed=["a"], failed=["b"]), ended(failed=["b"]), "test_loss: 1 test gone: a"),
    "is skipped": (ended(xfailed=["a"]), ended(skipped=["a"]), "test_loss: 1 test skipped now: a"),
    "is excused": (ended(passed=["a"]), ended(xfailed=["a"]), "test_loss: 1 test newly showing what is declared: a"),
    "case": (
        case("accurate"),
        case("stable"),
        "1 stored case reaching less: masked/all[float32]-cross_entropy-loss (stable, was accurate)",
    ),
    "case below its claim": (
        case("faithful", "faithful"),
        case("accurate", "faithful"),
        "1 stored case reaching less: masked/all[float32]-cross_entropy-loss (accurate, was faithful)",
    ),
    "case that fails": (
        report(),
        report(outcomes=report()["outcomes"] | {"test_case": {"failed": ["masked/all[float32]-cross_entropy-loss"]}}),
        "test_case: 1 test newly failing: masked/all[float32]-cross_entropy-loss",
    ),
    "floating-point state": (
        made_with(floating_point_states=["importing old.py set rounding upward", f"a call of old set {DEFAULT_STATE}"]),
        made_with(floating_point_states=["a call of new set rounding upward, flush to zero"]),
        "newly leaves its callers a floating-point state: flush to zero",
    ),
    "case that is gone": (report(), report(cases=[]), "test_case: 1 test gone: masked/all[float32]-cross_entropy-loss"),
    "row gone": (report(result(), result("other")), report(), "other float32 loss: is gone, reached stable"),
    "not measured": (
        row(claimed="finite"),
        row(claimed="finite", reached="not measured", problems=0, entries=0),
        "cross_entropy float32 loss: is not measured any more, reached finite",
    ),
    "problems": (row(), row(problems=4), "cross_entropy float32 loss: rests on 4 problems, were 5"),
    "entries": (row(), row(entries=4), "cross_entropy float32 loss: rests on 4 entries, were 5"),
    "error": (row(), row(worst_ulps=200.5), "cross_entropy float32 loss: worst error 200.50 ulp, was 100.00"),
    "ratio": (
        row(worst_error_over_stable_bound=0.6),
        row(worst_error_over_stable_bound=1.25),
        "cross_entropy float32 loss: worst error 1.25 times the bound of stable, was 0.6",
    ),
    "class": (
        row(wrong_class=3),
        row(wrong_class=4),
        "cross_entropy float32 loss: 4 NaN, infinities or numbers where they do not belong, were 3",
    ),
    "zeros": (row(), row(returned_zero=1), "cross_entropy float32 loss: 1 zeros for numbers that are not 0, were none"),
    "numbers": (row(), row(returned_nonzero=1), "cross_entropy float32 loss: 1 numbers where 0 is exact, were none"),
    "hazard": (
        row(by_hazard=bins(ties="stable", masked="none")),
        row(by_hazard=bins(ties="finite", masked="none")),
        "cross_entropy float32 loss: reaches less than it did, and than is claimed, at hazards ties",
    ),
    "hazard within": (
        row(claimed="finite", by_hazard=bins(ties="stable")),
        row(claimed="finite", by_hazard=bins(ties="none")),
        "cross_entropy float32 loss: reaches less than it did, and than is claimed, at hazards ties",
    ),
    "hazard in what is left out": (
        row(by_hazard=left_out("not measured", "stable")),
        row(by_hazard=left_out("stable", "none")),
        "cross_entropy float32 loss: reaches less than it did, and than is claimed, at hazards ties",
    ),
    "gap": (
        row(),
        row(by_gap=[result()["by_gap"][0] | {"reached": "finite"}]),
        "cross_entropy float32 loss: reaches less than it did, and than is claimed, at gaps 16..22",
    ),
    "classes": (
        row(),
        row(by_classes=[result()["by_classes"][0] | {"reached": "finite", "to": 4}]),
        "cross_entropy float32 loss: reaches less than it did, and than is claimed, at K of 2..4",
    ),
    "left out": (
        row(),
        row(left_out={"reached": "stable", "problems": 2, "entries": 2}),
        "cross_entropy float32 loss: leaves out 2 problems, were 0",
    ),
    "less in what is left out": (
        row(left_out={"reached": "stable", "problems": 2, "entries": 2}),
        row(left_out={"reached": "none", "problems": 2, "entries": 2}),
        "cross_entropy float32 loss: reaches none in what is left out, was stable",
    ),
}
"""By rule: a baseline, a report that is worse, and what is told. Nothing is told the other way round."""


@pytest.mark.parametrize("rule", ONE_WAY)
def test_what_is_worse_is_told_and_the_reverse_is_not(rule: str, tmp_path: Path, capsys: Capture) -> None:
    first, later, says = ONE_WAY[rule]
    assert told(first, later) == [says]
    assert told(later, first) == []
    paths = [str(stored(made, tmp_path / f"{number}.json")) for number, made in enumerate((first, later))]
    assert main(["compare", "--fail-on-regression", *paths]) == WORSE
    assert f"1 regression against 1, the baseline:\n  2: {says}" in capsys.readouterr().out
    assert main(["compare", "--fail-on-regression", *reversed(paths)]) == GOOD


NEITHER: dict[str, tuple[Report, Report]] = {
    "fewer tests left out": (run(reduced_by=["12 tests left out"]), run(reduced_by=["3 tests left out"])),
    "twice the error": (row(), row(worst_ulps=200.0)),
    "an error within 1 ulp": (row(worst_ulps=0.1), row(worst_ulps=1.0)),
    "an error beyond what a value has": (row(worst_ulps=2.0**24), row(worst_ulps=2.0**40)),
    "an error within the bound": (row(worst_error_over_stable_bound=0.1), row(worst_error_over_stable_bound=1.0)),
    "what was NaN has an error": (row(wrong_class=1), row(worst_ulps=1e5, worst_error_over_stable_bound=9.0)),
    "a higher grade with an error": (row(reached="none"), row(worst_ulps=1e5, worst_error_over_stable_bound=9.0)),
    "a mended error with a number": (row(), row(worst_ulps=49.0, returned_nonzero=1, worst_error_over_stable_bound=9.0)),
    "what was NaN is 0": (row(wrong_class=2), row(returned_zero=2)),
    "what was NaN is not 0": (row(wrong_class=2), row(returned_nonzero=2)),
    "zeros where as much was wrong": (row(worst_ulps=2.0**23), row(worst_ulps=2.0**23, returned_zero=2)),
    "a grade of more problems": (row(reached="correct"), row(reached="accurate", problems=6)),
    "another number of zeros": (row(returned_zero=1), row(returned_zero=9)),
    "a hazard within the claim": (row(by_hazard=bins(ties="correct")), row(by_hazard=bins(ties="accurate"))),
    "a hazard of which nothing counts any more": (
        row(by_hazard=bins(ties="stable")),
        row(by_hazard=left_out("not measured", "stable")),
    ),
    "a hazard that is asked now": (row(), row(by_hazard=[*result()["by_hazard"], *bins(ties="correct")])),
    "a rounding of a case": (case("correct"), case("accurate")),
    "a test that is there now": (ended(passed=["a"]), ended(passed=["a", "b"])),
    "a test that is asked now": (ended(skipped=["a"]), ended(passed=["a"])),
    "a skipped test that is gone": (ended(passed=["a"], skipped=["b"]), ended(passed=["a"])),
    "what does not show any more": (ended(xfailed=["a"]), ended(passed=["a"])),
    "another dtype": (run(reduced_by=["--dtype=float32"]), run(reduced_by=["--dtype=float32,float16"])),
    "a wider run": (run(reduced_by=["--hazard=ties"]), run()),
}
"""Pairs of which neither is worse than the first."""


@pytest.mark.parametrize("what", NEITHER)
def test_what_is_no_worse_is_not_told(what: str) -> None:
    first, later = NEITHER[what]
    assert told(first, later) == []


def test_a_grade_of_more_problems_is_lower_only_where_the_claim_fails() -> None:
    held, later = row(claimed="finite"), row(claimed="finite", reached="none", problems=6)
    (said,) = told(held, later)
    assert said == "cross_entropy float32 loss: reaches none, was finite; claim finite fails: reaches none"


def test_a_test_that_fails_and_is_not_asked_any_more_is_worse_both_ways() -> None:
    """What was not asked, and fails, fails newly; and a failure is not mended by not asking."""
    for unasked, says in ((ended(skipped=["a"]), "skipped now"), (ended(), "gone")):
        assert told(unasked, ended(failed=["a"])) == ["test_loss: 1 test newly failing: a"]
        assert told(ended(failed=["a"]), unasked) == [f"test_loss: 1 test {says}: a"]


@pytest.mark.parametrize(
    "kind", ["problems", "entries", "worst_ulps", "wrong_class", "returned_zero", "returned_nonzero", "by_hazard", "left_out"]
)
def test_numbers_of_other_problems_are_not_held_against_each_other(kind: str) -> None:
    worse: dict[str, Any] = {
        "problems": 1,
        "entries": 1,
        "worst_ulps": 1e6,
        "by_hazard": bins(absorption="none"),
        "left_out": {"reached": "stable", "problems": 2, "entries": 2},
    }
    later = row(**{kind: worse.get(kind, 9)})
    assert told(row(), later)
    others = (
        row() | {"run": row()["run"] | {"seed": 1}},
        row() | {"suite": {"name": "softmax-ce-conformance", "version": "0.0.1"}},
        row() | {"environment": row()["environment"] | {"packages": {"hypothesis": "6.0"}}},
        row() | {"run": row()["run"] | {"reduced_by": ["--hazard=ties"]}},
    )
    for first in others:
        assert told(first, later) == []
        assert UNLIKE in compare([first, later]).notes


def test_what_declares_less_is_asked_other_problems() -> None:
    declared = {"operation": "cross_entropy", "text": "K at most 64: why", "declared": {"reason": "why", "max_classes": 64}}
    limited = row(entries=9) | {"limits": [declared]}
    assert told(limited, row(entries=4)) == []
    of_another = row(entries=9) | {"limits": [declared | {"operation": "other"}]}
    assert told(of_another, row(entries=4)) == ["cross_entropy float32 loss: rests on 4 entries, were 9"]


def test_a_mode_is_held_beside_another() -> None:
    """Where each report has one mode, tests and cases are the same in both."""
    compiled = report(
        result("cross_entropy@compiled", mode="compiled"),
        environment=report()["environment"] | {"modes": ["compiled"]},
        outcomes={"test_loss": {"passed": ["cross_entropy@compiled-float32"]}},
        cases=[report()["cases"][0] | {"operation": "cross_entropy@compiled"}],
    )
    assert told(report(), compiled) == []


def test_a_kernel_under_repair_is_the_same_and_a_framework_is_another(tmp_path: Path, capsys: Capture) -> None:
    before, after, renamed = kernel("mine", "a"), kernel("mine", "b"), kernel("yours", "b")
    assert told(before, after) == []
    assert compare([before, after]).notes == ()
    assert compare([before, renamed]).notes == (
        "The kernel has another name (yours, was mine): rows and tests are compared by the name of the operation",
    )
    worse = after | {"verdict": "FAILS"}
    assert told(renamed, worse) == ["verdict: FAILS, was CONFORMS"]
    assert told(report(), worse) == []
    paths = [str(stored(made, tmp_path / f"{number}.json")) for number, made in enumerate((report(), after))]
    assert main(["compare", "--fail-on-regression", *paths]) == USAGE
    assert "the reports are of a kernel of one's own (torch), torch; allowed: reports of one backend" in capsys.readouterr().err
    assert main(["compare", *paths]) == GOOD


def test_rows_of_what_is_not_one_thing_are_not_gone() -> None:
    rows = compare([report(result(), result("other", problems=9)), kernel("mine", "a")]).rows
    assert [row.change for row in rows] == [Change.ONLY, Change.SAME]


def test_another_processor_is_told_and_is_no_regression(tmp_path: Path, capsys: Capture) -> None:
    first = made_with(versions={"torch": "2.13.0", "cpu capability": "AVX512"})
    unseen = [{"deviation": "torch-absorption-loss", "at": "absorption/gap-20[float32]"}]
    later = made_with(versions={"torch": "2.13.0", "cpu capability": "AVX2"}) | {"not_seen_on_this_processor": unseen}
    assert told(first, later) == []
    assert compare([first, later]).notes == (
        "Another processor (AVX2, was AVX512): a framework chooses its code by it, so grades and errors may differ",
        "Deviations not seen on this processor (AVX2): torch-absorption-loss",
    )
    page = tmp_path / "compared.html"
    sealed = [report(**made) for made in (first, later)]
    paths = [str(stored(made, tmp_path / f"{number}.json")) for number, made in enumerate(sealed)]
    assert main(["compare", "--fail-on-regression", f"--html={page}", *paths]) == GOOD
    for said in (capsys.readouterr().out, page.read_text()):
        assert "Another processor (AVX2, was AVX512)" in said
        assert "Deviations not seen on this processor (AVX2): torch-absorption-loss." in said


@pytest.fixture
def many(tmp_path: Path) -> list[str]:
    """Paths of two reports: forty more tests fail, and forty rows are gone."""
    names = [f"name{number}" for number in range(40)]
    first = report(result(), *(result(name) for name in names), outcomes={"test_loss": {"passed": names}})
    later = report(outcomes={"test_loss": {"failed": names}})
    return [str(stored(made, tmp_path / f"{number}.json")) for number, made in enumerate((first, later))]


def test_many_regressions_are_told_in_a_few_lines(many: list[str], capsys: Capture) -> None:
    assert main(["compare", "--fail-on-regression", *many]) == WORSE
    said, _, _ = capsys.readouterr().out.partition("grade reached/claimed")
    assert (
        "41 regressions against 1, the baseline:\n  2: test_loss: 40 tests newly failing: name0, name1, name10 and 37 more\n"
        in said
    )
    assert said.count("is gone") == MOST_REGRESSIONS - 1
    assert "\n  and 11 more: --markdown or --html has all of them\n" in said


@pytest.mark.parametrize("form", ["markdown", "html"])
def test_all_of_them_are_folded_in_markdown_and_on_the_page(
    form: str, many: list[str], tmp_path: Path, capsys: Capture
) -> None:
    page = tmp_path / "compared.html"
    assert main(["compare", "--markdown", f"--html={page}", *many]) == GOOD
    said = page.read_text() if form == "html" else capsys.readouterr().out
    for number in range(40):
        assert said.count(f"name{number} float32 loss: is gone") == 1
        assert f"<code>name{number}</code>" in said or f"- `name{number}`" in said
    assert said.count("<details>") == said.count("</details>") == 2
