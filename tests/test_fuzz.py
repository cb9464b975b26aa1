"""Fuzzing: mutated reports, cases, claims files and journals are refused in a line, or taken for exactly what they say.

`FUZZ_MUTATIONS` in the environment is how many of each kind: 2000 unless it says otherwise.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

pytest.importorskip("numba")

from reference.validation import check
from suites.inputs.cases import CaseError
from suites.judging.claims import Scope
from suites.judging.claims_file import ClaimsError
from suites.report.load import ReportError
from suites.sweep.journal import JournalError
from tests.command import ROOT
from tests.fuzzing.checks import (
    REFUSED,
    TAKEN,
    Document,
    check_case,
    check_claims,
    check_journal,
    check_report,
    to_bytes,
    with_checksums,
    with_identifier,
)
from tests.fuzzing.damage import damaged
from tests.fuzzing.documents import CASES, CLAIMS, ENTRIES, JOURNAL, PACKED, REPORT, ROUNDED
from tests.fuzzing.trees import as_json, as_toml_document, mutated

MUTATIONS = int(os.environ.get("FUZZ_MUTATIONS", "2000"))

Check = Callable[[Document, Path], str]
"""Reads a document in a folder and says whether it was refused or taken; fails if it was neither rightly."""


@dataclass(frozen=True)
class Fuzzer:
    """A kind of document: mutations of good ones, and what must be true of each."""

    documents: st.SearchStrategy[Document]
    check: Check


FUZZERS = {
    "report": Fuzzer(
        st.one_of(
            *[mutated(REPORT).map(as_json).map(with_identifier).map(to_bytes)] * 3,
            damaged(json.dumps(REPORT).encode()),
        ),
        check_report,
    ),
    "case": Fuzzer(
        st.one_of(
            *(mutated(case, ROUNDED).map(as_json).map(to_bytes) for case in CASES), damaged(json.dumps(CASES[0]).encode())
        ),
        check_case,
    ),
    "claims": Fuzzer(
        st.one_of(*[mutated(CLAIMS).map(as_toml_document).map(to_bytes)] * 3, damaged(as_toml_document(CLAIMS).encode())),
        check_claims,
    ),
    "journal": Fuzzer(st.one_of(*[mutated(ENTRIES, PACKED).map(with_checksums)] * 3, damaged(JOURNAL)), check_journal),
}


def fuzzed(
    fuzzer: Fuzzer, folder: Path, mutations: int, phases: tuple[Phase, ...] = (Phase.generate, Phase.shrink)
) -> Counter[str]:
    """How many of so many mutations were refused, and how many rightly taken."""
    counted: Counter[str] = Counter()

    @settings(
        max_examples=mutations,
        derandomize=True,
        database=None,
        deadline=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    @given(fuzzer.documents)
    def run(document: Document) -> None:
        counted[fuzzer.check(document, folder)] += 1

    # As searches do: numbers in the source of whatever is imported would make other documents.
    with patch.object(providers, "_get_local_constants", Constants, create=True):
        run()
    return counted


@pytest.mark.parametrize("kind", FUZZERS)
def test_a_mutation_is_refused_in_a_line_or_taken_for_what_it_says(kind: str, tmp_path: Path) -> None:
    counted = fuzzed(FUZZERS[kind], tmp_path, MUTATIONS)
    assert counted.total() >= MUTATIONS
    assert min(counted[REFUSED], counted[TAKEN]) > MUTATIONS / 50, f"one-sided: {counted}"


# Readers with a defect each, which the fuzzing must find


def last_of_two(text: str) -> Any:
    """JSON as Python reads it: of a key that stands twice the last one counts."""
    return json.loads(text)


def without_unknown(strict: Any, given: Any) -> None:
    """A check that first leaves out what the schema does not know."""
    prune(strict.schema, given)
    check(strict, given)


def prune(schema: Any, given: Any) -> None:
    known = schema.get("properties", {})
    if isinstance(given, dict) and schema.get("additionalProperties") is False:
        for key in set(given) - set(known):
            del given[key]
    for key in set(given) & set(known) if isinstance(given, dict) else ():
        prune(known[key], given[key])


def truncated(target: list[Any]) -> Any:
    """Class indices by a cast, which takes 1.5 for 1."""
    return np.array(target, dtype=np.int64)


def of_all_modes(entry: dict[str, Any], where: str) -> Scope:
    """What an entry speaks of, without its modes."""
    return Scope(tuple(entry["operations"]), tuple(entry["dtypes"]), entry=where)


def unchecked(*_: Any) -> str:
    return ""


PLANTED: dict[str, tuple[str, str, Any]] = {
    "a report of which the last of two keys counts": ("report", "suites.report.load.json_of", last_of_two),
    "a report that is not validated": ("report", "suites.report.load.check", unchecked),
    "a case of which the last of two keys counts": ("case", "suites.inputs.given.json_of", last_of_two),
    "a case whose unknown keys are left out": ("case", "suites.inputs.given.check", without_unknown),
    "a case that is not validated": ("case", "suites.inputs.given.check", unchecked),
    "a target that is truncated": ("case", "suites.inputs.given.parse_indices", truncated),
    "a number that is rounded": ("case", "suites.inputs.exact_text._of_hexadecimal", lambda text, *_: float.fromhex(text)),
    "a journal that is not validated": ("journal", "suites.sweep.journal.check", unchecked),
    "a journal whose unknown keys are left out": ("journal", "suites.sweep.journal.check", without_unknown),
    "a journal whose counts need not add up": ("journal", "suites.sweep.outcome.fault_of", unchecked),
    "a journal of which the last of two keys counts": ("journal", "suites.sweep.journal.json_of", last_of_two),
    "a claims file that is not validated": ("claims", "suites.judging.claims_file.first_error", lambda *_: None),
    "a claim whose modes are forgotten": ("claims", "suites.judging.claims_file._scope", of_all_modes),
}  # fmt: skip


@pytest.mark.parametrize("defect", PLANTED)
def test_a_reader_with_a_defect_is_found(defect: str, tmp_path: Path) -> None:
    kind, name, planted = PLANTED[defect]
    with patch(name, planted), pytest.raises(Exception) as found:  # noqa: PT011
        fuzzed(FUZZERS[kind], tmp_path, 4000, (Phase.generate,))
    assert not isinstance(found.value, (ReportError, CaseError, JournalError, ClaimsError))


def test_the_readme_counts_them() -> None:
    text = " ".join((ROOT / "tests" / "README.md").read_text().split())
    assert f"It has {len(PLANTED)} readers with a defect" in text
    assert text.count("2000 mutations") == len(FUZZERS)
