"""The known-bug corpus: whatever it names exists, 95% of what is within reach is caught, and its page is not stale."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("torch")

from suites.inputs.cases import CASES_FOLDER
from tests.planted.corpus import DATA, OUTCOMES, PAGE, ROOT, counts, known_bugs, page, parsed
from tests.planted.trial import planted_kernels

BUGS = known_bugs()


def _entries(folder: Path, *kinds: str) -> list[tuple[str, str]]:
    """(file, id) of the entries of some kinds in the TOML files of a folder."""
    tables = ((path.stem, tomllib.loads(path.read_text())) for path in sorted(folder.glob("*.toml")))
    return [(stem, entry["id"]) for stem, table in tables for kind in kinds for entry in table.get(kind, [])]


def _tests() -> set[str]:
    paths = [path for folder in ("suites", "tests") for path in (ROOT / folder).glob("test_*.py")]
    nodes = (node for path in paths for node in ast.parse(path.read_text()).body)
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_what_is_named_exists() -> None:
    claims = _entries(ROOT / "ci" / "claims", "deviation", "out_of_range")
    there = {
        *(f"defect:{place}" for place in planted_kernels()),
        *(f"case:{topic}/{name}" for topic, name in _entries(CASES_FOLDER, "case")),
        *(f"deviation:{name}" for _, name in claims),
        *(f"test:{name}" for name in _tests()),
    }
    missing = {bug.id: set(bug.caught_by) - there for bug in BUGS if not there.issuperset(bug.caught_by)}
    assert not missing


def test_each_is_told_once_and_in_order() -> None:
    assert len(BUGS) == 146
    assert len({bug.id for bug in BUGS}) == len(BUGS)
    assert len({bug.mistake for bug in BUGS}) == len(BUGS)
    categories = [bug.category for bug in BUGS]
    assert categories == sorted(categories, key=categories.index)


def test_threads_are_https() -> None:
    for bug in BUGS:
        assert re.fullmatch(r"https://[\w./^-]+/\d+", bug.origin) or "://" not in bug.origin, bug.id


@pytest.mark.parametrize(
    "change", [{"missed": "it is"}, {"source": "somewhere"}, {"caught_by": []}, {"link": None, "url": "https://"}]
)
def test_a_malformed_entry_is_refused(change: dict[str, object]) -> None:
    entry = tomllib.loads(DATA.read_text())["bug"][0] | change
    with pytest.raises(ValueError, match=r"optax-softce-neginf-zero-label"):
        parsed({key: value for key, value in entry.items() if value is not None})


def test_what_is_within_reach_is_caught() -> None:
    total = sum(counts(BUGS).values(), Counter[str]())
    assert set(total) <= set(OUTCOMES)
    assert total["caught"] >= 0.95 * (total["caught"] + total["missed"])
    assert all(count["caught"] for count in counts(BUGS).values())


def test_the_page_is_that_of_the_data() -> None:
    assert PAGE.read_text() == page(BUGS), "run python -m tests.planted.corpus"
