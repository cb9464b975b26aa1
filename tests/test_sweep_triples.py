"""The sweep of triples: its lattice, every entry of a small one against the exact tier, a planted fault, and resumption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from adapters.bulk import Bulk
from reference.formats import BFLOAT16, FLOAT16, Format
from reference.grades import Grade
from suites.sweep.__main__ import main
from suites.sweep.chunk import run_chunk
from suites.sweep.compiled.tally import FAILURES, QUANTITIES
from suites.sweep.outcome import Outcome
from suites.sweep.request import Request, job_of
from suites.sweep.settle import measured
from suites.sweep.space import Triples, lattice, members
from tests.command import ROOT

STEP = 2**14
"""12 numbers of float16: 1728 triples, 5184 questions."""

GAPS = {"float16": 9511, "bfloat16": 16726}
"""16 and 12 numbers, some of them between 8 and 17 apart: the losses that `Absorbing` takes for 0."""

ABSORBING = f"{ROOT / 'tests' / 'sweep_backends.py'}:Absorbing"


@pytest.mark.parametrize("fmt", [FLOAT16, BFLOAT16], ids=lambda f: f.name)
@pytest.mark.parametrize("step", [1, 71, 1000])
def test_a_lattice_has_every_so_many_numbers_and_the_landmarks_with_either_sign(fmt: Format, step: int) -> None:
    values = lattice(fmt, step).astype(np.float64)
    half = len(members(fmt)) // 2
    assert set(members(fmt)[half::step].astype(np.float64)) <= set(values)
    assert {0.0, fmt.min_subnormal, fmt.min_normal, 1.0, fmt.largest} <= set(values)
    assert np.array_equal(values, -values[::-1])
    assert np.signbit(values[: len(values) // 2]).all()
    assert -(-half // step) <= len(values) // 2 <= min(half, -(-half // step) + 4)


def test_the_triples_are_all_of_a_lattice() -> None:
    space = Triples("float16", STEP)
    values = space.batches(0)
    seen = np.concatenate([rows.logits for chunk in range(space.chunks) for rows in space.batches(chunk)]).view(np.uint16)
    assert next(values).logits.shape == (144, 3)
    assert len(np.unique(seen, axis=0)) == len(seen) == space.rows == 12**3
    assert space.left_out is None
    assert space.extent == "exhaustive on the lattice"
    assert Triples("float16").questions == 3 * 904**3


def whole(dtype: str) -> tuple[Any, Outcome]:
    """A job on `Absorbing`, with its adapter and operation, and the sum of its chunks."""
    asked = Request(ABSORBING, space="triples", dtype=dtype, step=GAPS[dtype], quantities="loss,gradient,hessian")
    job, adapter, operation = job_of(asked)
    total = run_chunk(job, 0)
    for chunk in range(1, job.space.chunks):
        total = total.plus(run_chunk(job, chunk))
    return (job, adapter, operation), total


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_triple_of_a_small_lattice_is_judged_as_the_exact_tier_judges_it(dtype: str) -> None:
    """Grades, kinds of failure and the worst error of all questions, those of zeros that were planted among them."""
    (job, adapter, operation), total = whole(dtype)
    rows = np.concatenate([part.logits for chunk in range(job.space.chunks) for part in job.space.batches(chunk)])
    assert total.rows == 3 * len(rows)
    assert total.undecided < 0.01 * total.rows
    for q, quantity in enumerate(QUANTITIES):
        grades, failing, worst = np.zeros(len(Grade), dtype=np.int64), np.zeros(len(FAILURES), dtype=np.int64), -1.0
        for target in range(3):
            seen = adapter.observe_bulk(operation, Bulk(rows, target, job.space.format), (quantity,)).values[quantity]
            truth = measured(operation, job.space.format, rows, target, q, seen)
            grades += np.bincount(truth.grades.ravel(), minlength=len(Grade))
            failing[0] += np.count_nonzero(truth.returned_zero)
            worst = max(worst, float(np.where(truth.measurable, truth.ulps, -1.0).max()))
        assert total.tally.grades[q].tolist() == grades.tolist(), quantity
        assert total.tally.failing[q].tolist() == failing.tolist(), quantity
        assert total.tally.worst[q] == pytest.approx(worst, rel=1e-7)


def test_a_planted_absorbed_loss_is_found_with_its_count_and_region(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counted by hand: the rounded loss is not 0 where the others add up to more than half a subnormal, 2^-25.

    The gaps of this lattice between 7 and 18 are between 11.6 and 13.6: none is near either limit.
    """
    values = lattice(FLOAT16, GAPS["float16"]).astype(np.float64)
    a, b, c = (values[i] for i in np.indices((len(values),) * 3).reshape(3, -1))
    count, gaps = 0, []
    for x, y, z in ((a, b, c), (b, c, a), (c, a, b)):
        with np.errstate(under="ignore"):
            others = np.exp(np.minimum(y - x, 0.0)) + np.exp(np.minimum(z - x, 0.0))
        ahead = x - np.maximum(y, z)
        lost = (ahead > 8.0) & (others > 2.0**-25)
        count += int(lost.sum())
        gaps += ahead[lost].tolist()
    assert 11 < min(gaps) < max(gaps) < 14
    options = ["--space=triples", f"--step={GAPS['float16']}", "--quantities=loss", "--workers=1", f"--report={tmp_path}"]
    assert main([f"--backend={ABSORBING}", "--cases", *options]) == 1
    assert "coverage: exhaustive on the lattice" in capsys.readouterr().out
    (path,) = tmp_path.glob("*.json")
    assert not list(tmp_path.glob("*.svg"))
    report = json.loads(path.read_text())
    assert report["results"][0]["reached"] == "stable", "the grade that allows absorption, and the lowest there"
    region = report["results"][0]["failing"]["zero"]
    assert region["entries"] == count
    assert [float.fromhex(end) for end in region["gap"]] == [min(gaps), max(gaps)]
    assert set(region) == {"entries", "x0", "x1", "x2", "gap"}
    assert "the lattice of step 9511" in report["space"]


def test_a_sweep_of_triples_goes_on_where_it_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--backend=numpy", "--space=triples", f"--step={STEP}", "--workers=1", f"--report={tmp_path}"]
    assert main([*options, "--chunks=0:5"]) == 0
    assert "coverage: REDUCED (7 of 12 chunks have not been run)" in capsys.readouterr().out
    assert main([*options, "--chunks=3:12"]) == 0
    assert "5184 questions, 12 of 12 chunks" in (told := capsys.readouterr().out)
    assert "coverage: exhaustive on the lattice" in told
    assert main([*options[:2], "--step=8192", *options[3:]]) == 2
    assert "of another sweep" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--step=0"], "--step=0: allowed: 1 to 31743"),
        (["--step=31744"], "--step=31744: allowed: 1 to 31743"),
        (["--stride=2"], "--stride=2 is of pairs and gaps; the lattice of triples has a --step"),
        (["--dtype=float32"], "triples of float32 are not swept; allowed: float16, bfloat16, or --search --classes=3"),
    ],
)
def test_mistakes_are_told_in_a_line(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--backend=numpy", "--space=triples", *options]) == 2
    assert message in (told := capsys.readouterr().err)
    assert told.count("\n") == 1
