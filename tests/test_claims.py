"""Tests of claims and deviations: what they say, what is refused, and that the shipped ones are justified."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adapters.adapter import Adapter
from adapters.loading import backend_names
from adapters.operation import Operation
from reference import FLOAT16, FLOAT32, Problem, Quantity
from reference.grades import Grade
from suites.inputs.cases import stored_cases
from suites.judging.claims import CLAIMS_FOLDER, NO_CLASSES, Claims, ClaimsError, Setting, claims_path, load_claims, setting_of
from tests.backends import adapter_or_skip
from tests.command import run_here

GOOD = """
[[claim]]
operations = ["cross_entropy*"]
dtypes = ["float32", "float16"]
grades = { loss = "stable" }

[[claim]]
operations = ["cross_entropy_func"]
dtypes = ["float16"]
grades = { loss = "finite" }

[[deviation]]
id = "lost"
operations = ["cross_entropy"]
dtypes = ["float16"]
quantities = ["loss"]
cases = ["absorption/*"]
misses = "stable"
reaches = "finite"
reason = "because"
versions = ">=2.0,<3"
devices = ["cpu"]
region = { hazards = ["masked"], reductions = ["mean"] }
"""


OF_A_DEVIATION = ("quantities", "cases", "misses", "reaches", "region")


def named(name: str, mode: str = "eager") -> Operation:
    return Operation(name, "f(x)", None, {}, mode=mode)


def claims_of(tmp_path: Path, text: str, version: str = "2.13.0+cpu", device: str = "cpu", processor: str = "") -> Claims:
    path = tmp_path / "claims.toml"
    path.write_text(text)
    return load_claims(path, Setting(version, device, processor))


def test_the_last_claim_counts_and_nothing_said_is_accurate(tmp_path: Path) -> None:
    claims = claims_of(tmp_path, GOOD)
    assert claims.claimed(named("cross_entropy"), "float16", Quantity.LOSS) is Grade.STABLE
    assert claims.claimed(named("cross_entropy_func"), "float16", Quantity.LOSS) is Grade.FINITE
    assert claims.claimed(named("cross_entropy"), "bfloat16", Quantity.LOSS) is Grade.ACCURATE
    assert claims.claimed(named("cross_entropy"), "float16", Quantity.HESSIAN) is Grade.ACCURATE


def test_an_entry_may_speak_of_some_modes_only(tmp_path: Path) -> None:
    text = (
        GOOD
        + """
[[claim]]
operations = ["cross_entropy"]
modes = ["compiled"]
dtypes = ["float16"]
grades = { loss = "correct" }
"""
    )
    claims = claims_of(tmp_path, text)
    assert claims.claimed(named("cross_entropy"), "float16", Quantity.LOSS) is Grade.STABLE
    assert claims.claimed(named("cross_entropy", "compiled"), "float16", Quantity.LOSS) is Grade.CORRECT


def test_an_index_out_of_range_that_is_taken_has_an_entry_of_its_own(tmp_path: Path) -> None:
    text = (
        GOOD
        + """
[[out_of_range]]
id = "wraps"
operations = ["cross_entropy"]
dtypes = ["float16"]
labels = [-1]
reason = "wraps round"
"""
    )
    claims = claims_of(tmp_path, text)
    entry = claims.out_of_range_at(named("cross_entropy"), "float16", -1)
    assert entry is not None
    assert entry.id == "wraps"
    assert claims.out_of_range_at(named("cross_entropy"), "float16", 3) is None
    assert claims.out_of_range_at(named("cross_entropy"), "float32", -1) is None


def test_a_lower_claim_stays_where_a_higher_one_is_asked_for(tmp_path: Path) -> None:
    claims = replace(claims_of(tmp_path, GOOD), lowered_to=Grade.ACCURATE)
    assert claims.claimed(named("cross_entropy"), "float16", Quantity.LOSS) is Grade.STABLE
    assert replace(claims, lowered_to=Grade.NONE).claimed(named("x"), "float16", Quantity.LOSS) is Grade.NONE


def test_a_region_may_be_of_options(tmp_path: Path) -> None:
    text = GOOD.replace('reductions = ["mean"]', 'options = ["temperature", "class_weights"]')
    claims, masked = claims_of(tmp_path, text), Problem([[-float("inf"), 0.0]], [1], FLOAT16)
    assert claims.required(named("cross_entropy"), Quantity.LOSS, masked) is Grade.STABLE
    assert claims.required(named("cross_entropy"), Quantity.LOSS, masked.replace(temperature=2.0)) is Grade.FINITE


def test_a_deviation_holds_for_its_versions_and_devices(tmp_path: Path) -> None:
    assert len(claims_of(tmp_path, GOOD).deviations) == 1
    assert not claims_of(tmp_path, GOOD, version="3.0").deviations
    assert not claims_of(tmp_path, GOOD, device="cuda:0").deviations


@pytest.mark.parametrize(
    ("head", "entry", "processor", "strict"),
    [
        ("", "", "", True),
        ("", "", "AVX512", True),
        ("", 'processors = ["AVX512"]', "AVX512", True),
        ("", 'processors = ["AVX*"]', "AVX2", True),
        ("", 'processors = ["AVX512"]', "AVX2", False),
        ("", 'processors = ["AVX512"]', "", False),
        ('processors = ["AVX2"]\n', "", "AVX2", True),
        ('processors = ["AVX2"]\n', "", "NEON", False),
        ('processors = ["AVX2"]\n', 'processors = ["NEON"]', "NEON", True),
        ('processors = ["AVX2"]\n', 'processors = ["NEON"]', "AVX2", False),
    ],
)
def test_a_deviation_is_strict_on_the_processors_on_which_it_was_seen(
    tmp_path: Path, head: str, entry: str, processor: str, strict: bool
) -> None:
    """Its own list counts, then that at the head of the file; with neither it is strict everywhere."""
    text = head + GOOD.replace('devices = ["cpu"]', f'devices = ["cpu"]\n{entry}')
    (deviation,) = claims_of(tmp_path, text, processor=processor).deviations
    assert deviation.strict is strict
    label = text.replace("[[deviation]]", "[[out_of_range]]\nlabels = [-1]").partition("[[out_of_range]]")
    keys = [line for line in label[2].splitlines() if line.split(" ")[0] not in OF_A_DEVIATION]
    (taken,) = claims_of(tmp_path, head + label[1] + "\n".join(keys), processor=processor).out_of_range
    assert taken.strict is strict


@pytest.mark.parametrize("kind", ["head", "deviation", "claim"])
def test_a_processor_in_the_wrong_case_is_an_error(tmp_path: Path, kind: str) -> None:
    """It was taken for another processor, on which nothing is strict."""
    line = 'processors = ["avx512", "NEON"]\n'
    places = {
        "head": line + GOOD,
        "deviation": GOOD.replace('devices = ["cpu"]', line),
        "claim": GOOD.replace('grades = { loss = "finite" }', 'grades = { loss = "finite" }\n' + line),
    }
    with pytest.raises(ClaimsError, match=r"claims.toml: processors names 'avx512'; allowed: 'AVX512', as the framework"):
        claims_of(tmp_path, places[kind], processor="AVX512")
    assert claims_of(tmp_path, places[kind], processor="AVX2")


def test_a_claim_speaks_of_its_processors_alone(tmp_path: Path) -> None:
    text = GOOD.replace('grades = { loss = "finite" }', 'grades = { loss = "finite" }\nprocessors = ["AVX512"]')
    for processor, grade in (("AVX512", Grade.FINITE), ("AVX2", Grade.STABLE), ("", Grade.STABLE)):
        claims = claims_of(tmp_path, text, processor=processor)
        assert claims.claimed(named("cross_entropy_func"), "float16", Quantity.LOSS) is grade


@pytest.mark.parametrize("given", ['"AVX2"', "[2]", '[""]', '[" AVX2 "]'])
def test_processors_are_a_list_of_names(tmp_path: Path, given: str) -> None:
    for text in (f"processors = {given}\n{GOOD}", GOOD.replace('devices = ["cpu"]', f"processors = {given}")):
        with pytest.raises(ClaimsError, match=r"processors = .*; allowed: a list of names or globs"):
            claims_of(tmp_path, text)


def test_a_region_lowers_what_generated_problems_are_held_to(tmp_path: Path) -> None:
    claims = claims_of(tmp_path, GOOD)
    operation = named("cross_entropy")
    masked = Problem([[-float("inf"), 0.0]], [1], FLOAT16, reduction="mean")
    assert claims.required(operation, Quantity.LOSS, masked) is Grade.FINITE
    assert claims.required(operation, Quantity.LOSS, masked.replace(reduction="none")) is Grade.STABLE
    assert claims.required(operation, Quantity.LOSS, masked.replace(logits=[[0.0, 0.0]])) is Grade.STABLE
    assert claims.required(operation, Quantity.LOSS, masked.replace(format=FLOAT32)) is Grade.STABLE


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('"stable" }', '"good" }'), "grade 'good' is not known; allowed: none, finite, stable"),
        (('"float32", "float16"', '"float8"'), "dtype 'float8' is not known; allowed: float64, float32"),
        (("loss =", "lost ="), "quantity 'lost' is not known; allowed: loss, gradient"),
        (('misses = "stable"\n', ""), "'misses' is missing"),
        (('"masked"', '"wet"'), "hazard 'wet' is not known; allowed: moderate"),
        (('["mean"]', '["median"]'), "reduction 'median' is not known; allowed: none, sum, mean"),
        ((">=2.0,<3", "two"), "two"),
        (("[[claim]]", "[[claims]]"), "unknown tables"),
        (("reason =", "excuse ="), "unknown keys \\['excuse'\\]"),
        (("[[claim]]", "[[claim"), "is not TOML"),
    ],
)
def test_a_malformed_file_says_what_is_allowed(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    with pytest.raises(ClaimsError, match=says) as error:
        claims_of(tmp_path, GOOD.replace(*change))
    assert "claims.toml" in str(error.value)


@pytest.mark.parametrize(
    ("labels", "says"), [('[-1, 1.5, "no classes"]', None), ('["none"]', "label 'none'; allowed: numbers, or")]
)
def test_labels_are_numbers_or_no_classes(tmp_path: Path, labels: str, says: str | None) -> None:
    text = f'[[out_of_range]]\nid = "x"\noperations = ["*"]\ndtypes = ["float16"]\nlabels = {labels}\nreason = "y"\n'
    if says is None:
        assert claims_of(tmp_path, text).out_of_range[0].labels == (-1, 1.5, NO_CLASSES)
    else:
        with pytest.raises(ClaimsError, match=says):
            claims_of(tmp_path, text)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ClaimsError, match="nowhere.toml: No such file"):
        load_claims(tmp_path / "nowhere.toml", Setting("1"))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (("torch", None, None), CLAIMS_FOLDER / "torch.toml"),
        (("torch", None, "mine.toml"), Path("mine.toml")),
        (("torch", "kernel.py:f", None), None),
        (("torch", "kernel.py:f", "mine.toml"), Path("mine.toml")),
        (("mine.py:Mine", None, None), None),
        (("mine.py:Mine", None, "mine.toml"), Path("mine.toml")),
        (("installed", None, None), None),
        (("../claims/torch", None, None), None),
    ],
    ids=str,
)
def test_only_a_backend_of_this_project_by_its_name_has_shipped_claims(
    asked: tuple[str, str | None, str | None], found: Path | None
) -> None:
    assert claims_path(*asked) == found


def test_a_backend_of_ones_own_that_takes_a_shipped_name_claims_nothing(tmp_path: Path) -> None:
    """It was judged by the shipped claims, and its misses excused by the shipped deviations."""
    (tmp_path / "mine.py").write_text(
        "from adapters.numpy.backend import NumpyAdapter\n\n\nclass Mine(NumpyAdapter):\n    name = 'numpy'\n"
    )
    told = [
        run_here(f"--backend={backend}", "--collect-only", "-v")[1] for backend in ("numpy", f"{tmp_path / 'mine.py'}:Mine")
    ]
    assert ["; 0 claims, 0 deviations;" in text for text in told] == [False, True]


def shipped(backend: str) -> tuple[Claims, Adapter]:
    adapter = adapter_or_skip(backend)
    return load_claims(CLAIMS_FOLDER / f"{backend}.toml", setting_of(adapter)), adapter


@pytest.mark.parametrize("backend", backend_names())
def test_every_claim_below_accurate_shows_why_it_is_not_more(backend: str) -> None:
    """For every operation, dtype and quantity there is a deviation that misses the next grade, with a case that runs."""
    claims, adapter = shipped(backend)
    unjustified = []
    for operation in adapter.operations():
        for dtype in operation.arithmetic:
            for quantity in operation.quantities:
                claimed = claims.claimed(operation, dtype, quantity)
                cases = [c for c in stored_cases() if c.problem.format.name == dtype and not operation.refusal(c.problem)]
                shown = any(
                    deviation.misses <= claimed + 1
                    for case in cases
                    for deviation in claims.deviations_at(operation, quantity, case)
                )
                if claimed < Grade.ACCURATE and not shown:
                    unjustified.append((operation.label, dtype, str(quantity), claimed.label))
    assert not unjustified


@pytest.mark.parametrize("backend", backend_names())
def test_every_name_in_the_shipped_claims_exists(backend: str) -> None:
    claims, adapter = shipped(backend)
    names = {operation.name for operation in adapter.operations()}
    for claim in claims.claims:
        assert set(claim.scope.operations) <= names
    for deviation in claims.deviations:
        assert set(deviation.scope.operations) <= names
        for pattern in deviation.cases:
            alone = [case for case in stored_cases() if deviation.names(case) and pattern.split("*")[0] in case.name]
            assert alone, f"{deviation.id}: no case is named {pattern}"
        assert deviation.reason


def test_deviation_ids_are_unique() -> None:
    for path in CLAIMS_FOLDER.glob("*.toml"):
        ids = [line for line in path.read_text().splitlines() if line.startswith("id = ")]
        assert len(ids) == len(set(ids))
