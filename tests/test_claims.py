"""Tests of claims and deviations: what they say, what is refused, and that the shipped ones are justified."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.adapter import Adapter
from adapters.loading import backend_names
from adapters.operation import Operation
from reference import FLOAT16, FLOAT32, Problem, Quantity
from reference.grades import Grade
from suites.inputs.cases import stored_cases
from suites.judging.claims import NO_CLASSES, Claims, Setting, setting_of
from suites.judging.claims_file import CLAIMS_FOLDER, LARGEST_FILE, ClaimsError, claims_path, load_claims
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
    with pytest.raises(
        ClaimsError, match=r"claims.toml: (\[\[.*\]\] .*: )?processors names 'avx512'; allowed: 'AVX512', as the framework"
    ):
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
        with pytest.raises(
            ClaimsError, match=r"processors(\[0\])? is .*; allowed: a (list of names or globs|name or a glob, without)"
        ):
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
        (('"stable" }', '"good" }'), r"\[\[claim\]\] 1: grades.loss 'good' is not known; allowed: none, finite, stable"),
        (('"float32", "float16"', '"float8"'), "dtypes 'float8' is not known; allowed: float64, float32"),
        (("loss =", "lost ="), "grades 'lost' is not known; allowed: loss, gradient"),
        (('misses = "stable"\n', ""), "deviation.. lost: 'misses' is missing; needed: id, operations"),
        (('"masked"', '"wet"'), "region.hazards 'wet' is not known; allowed: moderate"),
        (('["mean"]', '["median"]'), "region.reductions 'median' is not known; allowed: none, sum, mean"),
        ((">=2.0,<3", "two"), "deviation.. lost: versions is 'two'; allowed: specifiers"),
        (("[[claim]]", "[[claims]]"), "unknown keys \\['claims'\\]; allowed: processors, claim, deviation"),
        (("reason =", "excuse ="), "unknown keys \\['excuse'\\]"),
        (("[[claim]]", "[[claim"), "is not TOML"),
    ],
)
def test_a_malformed_file_says_what_is_allowed(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    with pytest.raises(ClaimsError, match=says) as error:
        claims_of(tmp_path, GOOD.replace(*change))
    assert "claims.toml" in str(error.value)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ('[-1, 1.5, "no classes"]', None),
        ('["none"]', r"out_of_range.. x: labels\[0\] is 'none'; allowed: numbers, or 'no classes'"),
    ],
)
def test_labels_are_numbers_or_no_classes(tmp_path: Path, labels: str, says: str | None) -> None:
    text = f'[[out_of_range]]\nid = "x"\noperations = ["*"]\ndtypes = ["float16"]\nlabels = {labels}\nreason = "y"\n'
    if says is None:
        assert claims_of(tmp_path, text).out_of_range[0].labels == (-1, 1.5, NO_CLASSES)
    else:
        with pytest.raises(ClaimsError, match=says):
            claims_of(tmp_path, text)


TAKEN = """
[[out_of_range]]
id = "wraps"
operations = ["cross_entropy"]
dtypes = ["float16"]
labels = [-1]
reason = "wraps round"

[[limit]]
operations = ["cross_entropy"]
reason = "tiles"
classes_multiple_of = 8
"""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('id = "lost"', "id = 5"), "deviation.. 1: id is 5; allowed: a text of one line"),
        (('id = "lost"', f'id = "{"a" * 201}"'), "deviation.. 1: id has 201 characters; allowed: at most 200"),
        (('id = "wraps"', 'id = "lost"'), "out_of_range.. lost: id 'lost' is taken by ..deviation.. lost; allowed: an id once"),
        (('reason = "because"', f'reason = "{"a" * 10001}"'), "lost: reason has 10001 characters; allowed: at most 10000"),
        (('reason = "because"', r'reason = "\u001b[31m"'), r"lost: reason is '.x1b.31m'; allowed: a text of one line"),
        (('reason = "because"', 'reason = ["because"]'), r"lost: reason is \['because'\]; allowed: a text of one line"),
        (('reason = "because"', 'reason = ""'), "lost: reason is ''; allowed: a text of one line that is not empty"),
        (('reason = "because"', 'reason = "because"\nlink = 5'), "lost: link is 5; allowed: a text"),
        (('quantities = ["loss"]', 'quantities = "loss"'), "lost: quantities is 'loss'; allowed: a list of loss, gradient"),
        (('quantities = ["loss"]', "quantities = []"), r"lost: quantities is \[\]; allowed: a list of loss, gradient"),
        (('dtypes = ["float16"]\nq', "dtypes = []\nq"), r"lost: dtypes is \[\]; allowed: a list of float64"),
        (('cases = ["absorption/*"]', "cases = [5]"), r"lost: cases\[0\] is 5; allowed: a name or a glob"),
        (('["absorption/*"]', str(["a"] * 1001)), "lost: cases has 1001 entries; allowed: at most 1000"),
        (('misses = "stable"', 'misses = "none"'), "lost: misses 'none' is not known; allowed: finite, stable"),
        (('reaches = "finite"', 'reaches = "stable"'), "lost: reaches is 'stable'; allowed: a grade below 'stable'"),
        (('reaches = "finite"', "reaches = 1"), "lost: reaches 1 is not known; allowed: none, finite"),
        (('hazards = ["masked"]', "hazards = []"), r"lost: region.hazards is \[\]; allowed: a list of moderate"),
        (('hazards = ["masked"]', "min_classes = true"), "lost: region.min_classes is True; allowed: a whole number"),
        (('hazards = ["masked"]', f"max_rows = {2**63}"), "lost: region.max_rows is 9223372036854775808; allowed: a whole"),
        (('hazards = ["masked"]', f"max_rows = {hex(2**20000)}"), "nested too deeply, or has an integer of thousands of"),
        (('hazards = ["masked"]', f"max_rows = {'9' * 5000}"), "it is not TOML: Exceeds the limit"),
        (('hazards = ["masked"]', f"max_rows = {'[' * 5000}"), "it is nested too deeply; allowed: tables as suites/README"),
        (('hazards = ["masked"]', f"max_rows.{'a.' * 5000}a = 1"), "nested too deeply"),
        (('{ hazards = ["masked"], reductions = ["mean"] }', "{ }"), "lost: region is {}; allowed: a table of hazards"),
        (('{ hazards = ["masked"], reductions = ["mean"] }', "5"), "lost: region is 5; allowed: a table of hazards"),
        (('devices = ["cpu"]', 'devices = "cpu"'), "lost: devices is 'cpu'; allowed: a list of names or globs"),
        (
            ('devices = ["cpu"]', 'devices = ["cuda:first"]'),
            "lost: device 'cuda:first' matches none; allowed: cpu, cuda, cuda:INDEX",
        ),
        (('devices = ["cpu"]', r'processors = ["a\u0000"]'), r"lost: processors\[0\] is 'a.x00'; allowed: a name or a glob"),
        (('devices = ["cpu"]', "processors = []"), r"lost: processors is \[\]; allowed: a list of names or globs"),
        (('versions = ">=2.0,<3"', "versions = 2.0"), "lost: versions is 2.0; allowed: specifiers, such as"),
        (('grades = { loss = "finite" }', "grades = {}"), "claim.. 2: grades is {}; allowed: a table, such as"),
        (('grades = { loss = "finite" }', 'grades = { loss = ["finite"] }'), "claim.. 2: grades.loss .'finite'. is not known"),
        (("labels = [-1]", "labels = [nan]"), r"wraps: labels\[0\] is nan; allowed: numbers, or 'no classes'"),
        (("labels = [-1]", "labels = [inf]"), r"wraps: labels\[0\] is inf; allowed: numbers, or 'no classes'"),
        (("labels = [-1]", "labels = [true]"), r"wraps: labels\[0\] is True; allowed: numbers, or 'no classes'"),
        (("labels = [-1]", "labels = []"), r"wraps: labels is \[\]; allowed: a list of numbers"),
        (("classes_multiple_of = 8", "classes_multiple_of = 8.0"), "limit.. 1: classes_multiple_of is 8.0; allowed: a whole"),
        (("classes_multiple_of = 8", "classes_multiple_of = 1"), "limit.. 1: nothing is limited; allowed: dtypes"),
        (("classes_multiple_of = 8", "class_multiple = 8"), "the nearest is 'classes_multiple_of'"),
        (('reason = "tiles"\n', ""), "limit.. 1: 'reason' is missing; needed: operations, reason"),
    ],
    ids=lambda change: " ".join(change)[:60] if isinstance(change, tuple) else "",
)
def test_a_value_of_another_kind_or_size_is_refused(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    assert claims_of(tmp_path, GOOD + TAKEN)
    assert (GOOD + TAKEN).count(change[0]) == 1
    with pytest.raises(ClaimsError, match=says) as error:
        claims_of(tmp_path, (GOOD + TAKEN).replace(*change))
    assert "claims.toml: " in str(error.value)
    assert len(str(error.value)) < 800


def test_what_is_no_file_of_text_is_refused(tmp_path: Path) -> None:
    """A pipe was waited for without end; bytes that are no text were told as no TOML."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "large").write_bytes(b" " * (LARGEST_FILE + 1))
    told = {
        "": "it is a directory",
        "pipe": "it is a pipe or a device",
        "binary": "allowed: text in UTF-8",
        "large": "more than",
    }
    for name, says in told.items():
        with pytest.raises(ClaimsError, match=says):
            load_claims(tmp_path / name, Setting("1"))


def test_a_version_that_cannot_be_compared_is_an_error_where_it_counts(tmp_path: Path) -> None:
    """The deviation held for no version, in silence."""
    says = (
        "deviation.. lost: versions is '>=2.0,<3', with which the backend's version 'main' cannot be compared; allowed: a ver"
    )
    with pytest.raises(ClaimsError, match=says):
        claims_of(tmp_path, GOOD, version="main")
    assert claims_of(tmp_path, GOOD.replace('versions = ">=2.0,<3"', ""), version="main").deviations
    assert claims_of(tmp_path, GOOD, version="2.13.0.dev20260101+git0").deviations


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
    """For every operation, dtype and quantity there is a deviation that misses the next grade, with a case that runs.

    From `stable` on it is one that misses `accurate`.
    """
    claims, adapter = shipped(backend)
    unjustified = []
    for operation in adapter.operations():
        for dtype in operation.arithmetic:
            for quantity in operation.quantities:
                claimed = claims.claimed(operation, dtype, quantity)
                cases = [c for c in stored_cases() if c.problem.format.name == dtype and not operation.refusal(c.problem)]
                shown = any(
                    deviation.misses <= (claimed + 1 if claimed < Grade.STABLE else Grade.ACCURATE)
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


@pytest.mark.parametrize("path", sorted(CLAIMS_FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_the_shipped_claims_are_read(path: Path) -> None:
    """Those of backends that are not installed too."""
    assert load_claims(path, Setting("1.0")).claims
