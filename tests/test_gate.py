"""The gate on trial: reports of planted kernels against those of honest ones, from baselines that pass and that fail."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("torch")

from suites.report.__main__ import GOOD, WORSE
from suites.report.compare import compare
from suites.report.schema import Report
from tests.command import ROOT, run_suites
from tests.documents import ADAPTERS
from tests.planted.gating import honest, mixed, report_of
from tests.planted.kernel import Defect, Kernel
from tests.planted.trial import FOLDER, planted_kernels

KERNELS = planted_kernels()


def places(names: dict[str, str]) -> list[str]:
    """FILE:NAME of kernels whose names are given by file."""
    return [f"{file}:{name}" for file, listed in names.items() for name in listed.split()]


<<<<<<< HEAD
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
    return [hazard | {"left_out": {"reached": left, "problems": 1, "entries": 1}} for hazard in bins(ties=reached)]


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
    assert f"1 regression against 1:\n  2: {says}" in capsys.readouterr().out
    assert main(["compare", "--fail-on-regression", *reversed(paths)]) == GOOD


NEITHER: dict[str, tuple[Report, Report]] = {
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
=======
PLANTED = places(
    {
        "absorption": "LogOfSum ProbabilityMinusOne ExpOfStored ProbabilityMinusSquare SkipsSmallPowers",
        "blocks": "LastTileShort OddRow PaddedLanes UnmergedMaxima IgnoresStrides "
        "IgnoresOffset TargetOfOtherShard EmptyBatchRaises SumsGatheredShards",
        "clipping": "ClipsProbability ClippedHasNoGradient ClampsLog HessianFloor",
        "conventions": "ClampsIndex WrapsIndex MeanOverRows WeightOfMaximum EmptyOneHot SmoothsByShard OutOfRangeCostsLogSum",
        "derivatives": "FirstUpstream AbsoluteUpstream DividesTwice OnlyTarget NeighboursRow "
        "ZeroHessian TwiceTheHessian LogaddexpTwice FirstDirection",
        "half": "StoredLogProbability RoundsGaps HessianOverflows",
        "masks": "FillsMasked ZeroTimesInfinity HidesInfiniteLoss GradientTouchesMasked SkipsNan",
        "offsets": "OffsetInside NoShift ShiftedByMean",
        "other_losses": "RefusesNoClasses LogOfSigmoid",
        "refusals": "RefusesLargeGaps",
        "state": "VariesByAnUlp KeepsBuffer InferenceGoesAnotherWay FlushesSubnormals",
>>>>>>> gate
    }
)
"""Of every file and category some that are judged in a second or two."""

BELOW = places(
    {
        "absorption": "LogOfSum ProbabilityMinusOne ExpOfStored ProbabilityMinusSquare SkipsSmallPowers",
        "blocks": "IgnoresStrides IgnoresOffset EmptyBatchRaises",
        "clipping": "ClippedHasNoGradient HessianFloor",
        "conventions": "MeanOverRows WeightOfMaximum SmoothsByShard",
        "derivatives": "FirstUpstream AbsoluteUpstream DividesTwice OnlyTarget NeighboursRow "
        "ZeroHessian TwiceTheHessian LogaddexpTwice FirstDirection",
        "masks": "FillsMasked ZeroTimesInfinity HidesInfiniteLoss GradientTouchesMasked SkipsNan",
    }
)
"""Kernels where the right one misses its claim in float64 in the tests that are about their defect."""

SECOND = {
    "absorption:ProbabilityMinusOne": "absorption:LogOfSum",
    "absorption:ExpOfStored": "absorption:LogOfSum",
    "absorption:ProbabilityMinusSquare": "absorption:ExpOfStored",
    "absorption:SkipsSmallPowers": "absorption:ProbabilityMinusSquare",
    "blocks:ForgetsToRescale": "blocks:PaddedLanes",
    "blocks:IgnoresStrides": "blocks:ForgetsToRescale",
    "blocks:IgnoresOffset": "blocks:ForgetsToRescale",
    "blocks:SumsGatheredShards": "blocks:ScalesPadding",
    "clipping:ClippedHasNoGradient": "clipping:ClipsProbability",
    "conventions:IgnoredGradient": "clipping:ClampsLog",
    "conventions:IgnoresClassZero": "clipping:ClampsLog",
    "conventions:IgnoresOnlyDefault": "conventions:IgnoredGradient",
    "conventions:SmoothsIgnored": "conventions:IgnoresClassZero",
    "conventions:MeanOverRows": "conventions:SmoothsIgnored",
    "conventions:WeightOfMaximum": "conventions:MeanOverClasses",
    "conventions:SmoothsOthers": "conventions:WeightOfMaximum",
    "conventions:SmoothsByShard": "conventions:WeightOfMaximum",
    "derivatives:NeighboursRow": "derivatives:Unnormalised",
    "derivatives:UnscaledProbability": "derivatives:NeighboursRow",
    "derivatives:UnweightedGradient": "derivatives:UnscaledProbability",
    "derivatives:UnsmoothedGradient": "derivatives:UnscaledProbability",
    "derivatives:TangentOfOtherRow": "derivatives:WithoutRankOne",
}
"""Kernels with another that fails as many of the tests that are about the first one's defect as both together."""


@cache
def report_at(place: str, defect: Defect, *options: str) -> Report:
    """The report of a planted kernel, or of the right one."""
    return report_of(KERNELS[place] if place else mixed(Kernel()), defect, *options)


def assert_worse(first: Report, later: Report) -> None:
    """The later report is a regression, the first is none against it, and neither is against itself."""
    assert compare([first, later]).regressions
    assert [regression.text for regression in compare([later, first]).regressions] == []
    assert [regression.text for made in (first, later) for regression in compare([made, made]).regressions] == []


@pytest.mark.parametrize("place", PLANTED)
def test_a_defect_is_a_regression_and_its_repair_is_none(place: str) -> None:
    kernel = KERNELS[place]
    right = report_at("", kernel.defect) if isinstance(kernel, Kernel) else report_of(honest(kernel), kernel.defect)
    assert right["tests"]["failed"] == 0
    assert_worse(right, report_at(place, kernel.defect))


@pytest.mark.parametrize("place", BELOW)
def test_it_is_one_too_where_the_honest_kernel_misses_its_claim(place: str) -> None:
    """In float64, where the right kernel is not faithful in the tests that are about the defect."""
    defect = replace(KERNELS[place].defect, dtype="float64", claim="accurate")
    claims = f"--claims={FOLDER / 'gating.toml'}"
    right = report_at("", defect, claims)
    assert right["tests"]["failed"] > 0
    assert_worse(right, report_at(place, defect, claims))


@pytest.mark.parametrize("place", SECOND)
def test_it_is_one_too_beside_another_defect(place: str) -> None:
    both, other = (KERNELS[place], KERNELS[SECOND[place]]), SECOND[place]
    defect = both[0].defect
    first = report_at(other, defect)
    assert first["tests"]["failed"] > 0
    kernels = [kernel for kernel in both if isinstance(kernel, Kernel)]
    assert_worse(first, report_of(mixed(*kernels), defect))


def test_the_same_kernel_again_is_no_regression() -> None:
    kernel = KERNELS["masks:FillsMasked"]
    first, again = (report_of(kernel, kernel.defect) for _ in range(2))
    assert first["tests"]["failed"] > 0
    assert first["identifier"] == again["identifier"]
    assert compare([first, again]).regressions == ()


def test_there_are_enough_and_of_every_kind() -> None:
    files = {place.partition(":")[0] for place in KERNELS}
    assert {place.partition(":")[0] for place in PLANTED} >= files
    assert len(set(PLANTED)) >= 40


WRONG = (
    "return np.log(powers.sum(axis=1)) - shifted[rows, labels], gradient",
    "return np.log(powers.sum(axis=1)) - shifted[rows, labels] + 1, gradient * 2",
)
"""The last line of the kernel of the documents, and one that makes every loss and gradient wrong."""


def test_a_kernel_that_misses_its_claim_cannot_become_all_wrong(tmp_path: Path) -> None:
    """The kernel of adapters/README.md fails in bfloat16. Its report is a baseline, by the commands of a user."""
    kernel, (was, becomes) = tmp_path / "my_numpy_kernel.py", WRONG
    right = ADAPTERS.block("python", "# my_numpy_kernel.py").text
    assert right.count(was) == 1
    judge = (f"--implementation={kernel}:my_loss_and_gradient", "--claim=stable", "--effort=quick", "--dtype=bfloat16")
    for name, text in (("before", right), ("after", right.replace(was, becomes))):
        kernel.write_text(text)
        assert run_suites(*judge, f"--report={tmp_path / name}").returncode == 1
    status, said = compared(tmp_path / "before", tmp_path / "after")
    assert status == WORSE
    assert "tests newly failing" in said
    assert "times the bound of stable" in said
    assert compared(tmp_path / "after", tmp_path / "before")[0] == GOOD
    assert compared(tmp_path / "before", tmp_path / "before")[0] == GOOD


def compared(*folders: Path) -> tuple[int, str]:
    """`python -m suites.report compare --fail-on-regression`: its exit status, and what it printed."""
    command = [sys.executable, "-m", "suites.report", "compare", *map(str, folders), "--fail-on-regression"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    return done.returncode, done.stdout
