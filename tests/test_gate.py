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
from tests.planted.gating import OF_OWN_SIGNATURE, honest, mixed, report_of
from tests.planted.kernel import Defect, Kernel
from tests.planted.trial import FOLDER, planted_kernels

KERNELS = planted_kernels()


def places(names: dict[str, str]) -> list[str]:
    """FILE:NAME of kernels whose names are given by file."""
    return [f"{file}:{name}" for file, listed in names.items() for name in listed.split()]


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
        "layers": "WeightOfLastChunk FiltersInFeatures",
        "layouts": "WeightsByPointer",
        "masks": "FillsMasked ZeroTimesInfinity HidesInfiniteLoss GradientTouchesMasked SkipsNan",
        "offsets": "OffsetInside NoShift ShiftedByMean",
        "other_losses": "RefusesNoClasses LogOfSigmoid CapsBeforeTheScale ScaleWithoutGradient",
        "refusals": "RefusesLargeGaps",
        "row_weights": "WeightsByPointer",
        "sizes": "SevenToEleven AlikeTakenForOnes",
        "state": "VariesByAnUlp KeepsBuffer InferenceGoesAnotherWay FlushesSubnormals",
        "usages": "ScalesSavedGradient",
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
    plain = isinstance(kernel, Kernel) and not isinstance(kernel, OF_OWN_SIGNATURE)
    right = report_at("", kernel.defect) if plain else report_of(honest(kernel), kernel.defect)
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
