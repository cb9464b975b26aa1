"""Spaces, searches, plans, pictures and cases of sweeps."""

from __future__ import annotations

import json
import struct
import tomllib
import zlib
from base64 import b64decode
from itertools import count
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numba")

from adapters.numpy.backend import NumpyAdapter
from adapters.question import Question
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, FORMATS, Format
from suites.inputs.cases import problem_from
from suites.sweep.__main__ import main, parser
from suites.sweep.chunk import Job, made_with, run_chunk
from suites.sweep.code import JUDGING
from suites.sweep.compiled.errors import guessed_ulps
from suites.sweep.compiled.tally import QUANTITIES, empty_tally
from suites.sweep.outcome import Outcome
from suites.sweep.picture import picture_of
from suites.sweep.plan import Probe, plan_lines
from suites.sweep.settle import measured
from suites.sweep.space import Gaps, Pairs, Sample, Space, Triples, count_of, members, of_places, of_ranks, places_of
from suites.sweep.worst_case import Hunt, errors_of, search
from tests.command import ROOT
from tests.documents import SUITES
from tests.sweep_backends import Rounded


@pytest.mark.parametrize("fmt", [FLOAT16, BFLOAT16], ids=lambda f: f.name)
def test_members_are_all_finite_numbers_in_order(fmt: Format) -> None:
    values = members(fmt).astype(np.float64)
    assert len(set(fmt.to_bits(values).tolist())) == len(values) == 2**16 - 2 * 2 ** (fmt.precision - 1)
    assert np.isfinite(values).all()
    assert (np.diff(values) >= 0).all()
    assert (np.flatnonzero(np.diff(values) == 0) == len(values) // 2 - 1).all()


@given(st.sampled_from(list(FORMATS.values())), st.data())
def test_places_and_numbers_are_each_others_inverse(fmt: Format, data: st.DataObject) -> None:
    half = count_of(fmt) // 2
    places = np.array(data.draw(st.lists(st.integers(-half, half - 1), min_size=1)), dtype=np.int64)
    values = of_places(fmt, places).astype(np.float64)
    assert np.isfinite(values).all()
    assert np.array_equal(places_of(fmt, values), places)
    assert np.array_equal(fmt.to_bits(values), fmt.to_bits(of_places(fmt, places).astype(np.float64)))


@pytest.mark.parametrize(
    "space",
    [Pairs("float16", 257), Pairs("bfloat16", 997), Gaps("float16", 3), Gaps("float32", 2**15 + 1), Sample("float32", 3000, 7)],
    ids=lambda s: s.story,
)
def test_chunks_have_every_row_of_a_space_once(space: Space) -> None:
    """Rows are the expected set, bins cover each batch, and every chunk is the same when it is built again."""
    seen = []
    for chunk in range(space.chunks):
        for rows, again in zip(space.batches(chunk), space.batches(chunk), strict=True):
            assert np.array_equal(rows.logits.view(np.uint8), again.logits.view(np.uint8))
            assert rows.starts[0] == 0
            assert rows.starts[-1] == len(rows.logits)
            assert (np.diff(rows.starts) >= 0).all()
            assert len(rows.cells) == len(rows.starts) - 1
            seen.append(rows.logits)
    table = np.concatenate(seen).view(f"uint{space.format.bits}")
    assert len(table) == space.rows
    expected = expected_rows(space)
    if expected is not None:
        assert np.array_equal(np.unique(table, axis=0), np.unique(expected.view(table.dtype), axis=0))
    assert len(np.unique(table, axis=0)) >= 0.99 * space.rows


def expected_rows(space: Space) -> np.ndarray | None:
    if isinstance(space, Pairs):
        values = members(space.format)[:: space.stride]
        return np.stack(np.meshgrid(values, values), axis=-1).reshape(-1, 2)
    if isinstance(space, Gaps):
        values = of_ranks(space.format, np.arange(0, count_of(space.format), space.stride))
        zeros = np.zeros_like(values)
        return np.concatenate([np.stack([zeros, values], axis=1), np.stack([values, zeros], axis=1)])
    return None


def test_only_whole_spaces_are_exhaustive() -> None:
    assert Triples("float16").extent != Pairs("float16").extent == "exhaustive"
    assert [s.left_out for s in (Pairs("float16"), Pairs("bfloat16"), Gaps("float32"))] == [None] * 3
    assert all(s.left_out for s in (Pairs("float16", 2), Gaps("float32", 2), Sample("float16", 2**40)))
    assert Pairs("float16").rows == 63488**2
    assert Gaps("float32").rows == 2 * (2**32 - 2**24)
    assert Sample("float32", 10**12).chunks <= 2**14


def hunt(fmt: Format, quantity: int, classes: int) -> Hunt:
    adapter = Rounded()
    return Hunt(adapter, adapter.operations()[0], fmt, quantity, classes)


@pytest.mark.parametrize(("fmt", "classes"), [(FLOAT16, 2), (FLOAT64, 2), (FLOAT32, 3)], ids=["float16", "float64", "three"])
def test_a_search_finds_a_planted_worst_error(fmt: Format, classes: int) -> None:
    """`Rounded` is right but for 100 ulps where the first logit is in one binade, 300 at one number of it."""
    ticks = count()
    found, pack = search(hunt(fmt, 0, classes), 8.0, clock=lambda: next(ticks))
    assert float(found.scaled_ulps.max()) >= 290
    assert pack.asked > 16384
    assert [ulps for _, ulps in pack.history] == sorted(ulps for _, ulps in pack.history)


@pytest.mark.parametrize("quantity", range(3), ids=[str(q) for q in QUANTITIES])
@pytest.mark.parametrize("classes", [2, 4])
def test_guesses_rank_as_measurements_do(quantity: int, classes: int) -> None:
    random = np.random.default_rng(classes)
    fmt = FLOAT32
    rows = fmt.round(random.normal(0, 9, (60, classes)))
    operation = NumpyAdapter().operations()[0]
    shape = (60,) + (classes,) * quantity
    values = measured(operation, fmt, rows, 1, quantity, np.zeros(shape)).rounded
    seen = fmt.round(values * (1 + 2.0**-20 * random.normal(0, 1, shape)))
    truth = measured(operation, fmt, rows, 1, quantity, seen).ulps.reshape(60, -1).max(axis=1)
    np.testing.assert_allclose(guessed_ulps(rows, seen, quantity, 1, fmt), truth, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_errors_of_rows_are_those_of_the_exact_tier(classes: int) -> None:
    rows = FLOAT16.cast(FLOAT16.round(np.random.default_rng(0).normal(0, 3, (50, classes))))
    for quantity in range(3):
        one = hunt(FLOAT16, quantity, classes)
        ulps = errors_of(one, rows, np.ones(50, dtype=np.int64))
        seen = one.adapter.observe(Question(one.operation, measured_problem(one, rows), (QUANTITIES[quantity],)))
        truth = measured(one.operation, FLOAT16, rows, 1, quantity, seen.values[QUANTITIES[quantity]])
        np.testing.assert_allclose(ulps, truth.ulps.reshape(50, -1).max(axis=1), rtol=1e-6, atol=1e-9)


def measured_problem(one: Hunt, rows: np.ndarray):
    from adapters.bulk import Bulk

    return Bulk(rows, 1, one.format).problem()


def sweep_job(stride: int = 4096) -> Job:
    adapter = NumpyAdapter()
    return Job("numpy", "cpu", adapter.operations()[0].label, (0, 1), Pairs("float16", stride), made_with(adapter))


def test_the_picture_is_an_svg_around_pngs() -> None:
    job = sweep_job()
    total = run_chunk(job, 9)
    total.tally.seen[0, 0] = 1
    root = ElementTree.fromstring(picture_of(job, total, "a < b"))
    images = [node.attrib["href"] for node in root.iter("{http://www.w3.org/2000/svg}image")]
    assert len(images) == 2
    data = b64decode(images[0].partition(",")[2])
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (256, 256)
    start = data.index(b"IDAT") + 4
    size = int.from_bytes(data[start - 8 : start - 4], "big")
    pixels = (
        np.frombuffer(zlib.decompress(data[start : start + size]), dtype=np.uint8).reshape(256, 769)[:, 1:].reshape(256, 256, 3)
    )
    assert tuple(pixels[255, 0]) == (0, 119, 187)
    assert tuple(pixels[0, 0]) == (128, 128, 128)


def test_a_plan_is_told_from_a_measured_chunk() -> None:
    seconds = {"framework": 1.0, "comparison": 0.5, "chunk": 1.5}
    job = Job("torch", "cpu", "cross_entropy", (0, 1), Sample("float32", 10**12))
    text = "\n".join(plan_lines(job, Probe(0, Outcome(10**7, 0, seconds, empty_tally())), 1000))
    assert "16384 chunks, 1000000000000 rows, 2000000000000 questions" in text
    assert "150.0 ns each, of these 100.0 ns" in text
    assert "83.3 core hours; on 1000 cores 5 min" in text


def test_a_search_writes_cases_that_can_be_stored(tmp_path: Path) -> None:
    options = ["--backend=numpy", "--dtype=float32", "--search", "--seconds=0.1", "--cases", f"--report={tmp_path}"]
    assert main(options) == 0
    (path,) = tmp_path.glob("*.toml")
    cases = tomllib.loads(path.read_text())["case"]
    assert [case["id"] for case in cases] == ["sweep-float32-loss", "sweep-float32-gradient"]
    assert all(problem_from(case, FLOAT32).num_rows == 1 for case in cases)


def test_the_commands_of_the_readme_and_the_help_are_options_that_there_are() -> None:
    texts = [SUITES.text, parser().format_help()]
    commands = [
        line.partition("suites.sweep ")[2].split() for text in texts for line in text.splitlines() if "suites.sweep --" in line
    ]
    assert len(commands) >= 5
    for given_options in commands:
        parser().parse_args(given_options)


def test_the_code_that_judges_is_all_in_the_name_of_the_cache() -> None:
    """A module of the sweep that one of them imports is one of them, or one of compiled/, which is in the name whole."""
    sweep = ROOT / "suites" / "sweep"
    for path in [*(sweep / f"{name}.py" for name in JUDGING), *(sweep / "compiled").glob("*.py")]:
        lines = [line for line in path.read_text().splitlines() if line.startswith("from suites.sweep.")]
        imported = {line.split()[1].removeprefix("suites.sweep.") for line in lines}
        others = {name for name in imported if not name.startswith("compiled.")}
        assert others <= set(JUDGING), (path.name, others - set(JUDGING))


@pytest.mark.parametrize(
    ("name", "space", "decimals"),
    [
        ("float16-pairs-loss-gradient-hessian", Pairs("float16"), 5),
        ("bfloat16-pairs-loss-gradient-hessian", Pairs("bfloat16"), 5),
        ("float32-gaps-loss-gradient", Gaps("float32"), 2),
        ("float16-triples-loss-gradient-hessian", Triples("float16", 141), 5),
    ],
    ids=["float16", "bfloat16", "float32", "triples"],
)
def test_the_published_sweep_is_what_the_readme_says(name: str, space: Space, decimals: int) -> None:
    report = published(name)
    readme = " ".join(SUITES.section("Exhaustive sweeps").split())
    assert report["coverage"] == space.extent
    assert report["chunks"]["finished"] == report["chunks"]["planned"] == space.chunks
    assert report["space"] == space.story
    assert report["questions"] == space.questions
    assert f"all {report['questions']} questions" in readme
    assert f"{report['ratio']} times" in readme
    for result in report["results"]:
        region = result["failing"]["zero"]
        low, high = (float.fromhex(end) for end in region["gap"])
        assert sum(result["grades"].values()) == result["entries"]
        assert list(result["failing"]) == ["zero"]
        assert result["worst"]["repeated"]
        for shown in (
            f"{result['worst_ulps']:.{decimals}f}",
            str(region["entries"]),
            f"{low:.8g}",
            f"{high:.8g}",
            f"`{result['reached']}`",
        ):
            assert shown in readme, shown


def test_the_lost_float32_gaps_are_an_interval_without_holes() -> None:
    """Two orders and two signs of d: each gap is asked four times with its target at the larger logit, and loses an entry."""
    for result in published("float32-gaps-loss-gradient")["results"]:
        region = result["failing"]["zero"]
        first, last = places_of(FLOAT32, np.array([float.fromhex(end) for end in region["gap"]])).tolist()
        assert region["entries"] == 4 * (last - first + 1)


def published(name: str) -> dict[str, Any]:
    """The report of a sweep of torch's cross_entropy."""
    report: dict[str, Any] = json.loads((ROOT / f"ci/reports/sweeps/torch-cross_entropy-{name}.json").read_text())
    return report
