"""What must be true of a hostile document: it is refused in one line, or taken for exactly what it says."""

from __future__ import annotations

import io
import json
import tomllib
import zlib
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from jsonschema import Draft202012Validator

from suites.inputs import given
from suites.inputs.cases import CaseError
from suites.judging import claims_file
from suites.judging.claims_file import ClaimsError
from suites.report import load
from suites.report.__main__ import main
from suites.report.load import ReportError
from suites.report.page import page
from suites.report.schema import SCHEMA, identifier
from suites.sweep.journal import JournalError, open_journal
from tests.fuzzing.documents import REPORT, SETTING
from tests.fuzzing.plainly import case_meant, claims_read, claims_said, journal_counted, json_plainly, same_json
from tests.fuzzing.trees import as_json
from tests.test_sweep_journal import HEADER

REFUSED, TAKEN = "refused", "taken"

Document = bytes


def to_bytes(text: str) -> Document:
    """UTF-8, whatever is in the text."""
    return text.encode("utf-8", "surrogatepass")


def one_line(error: Exception) -> str:
    """The refusal, which is a line that a terminal shows as it is."""
    assert str(error).isprintable(), f"several lines, or control characters: {error}"
    assert 0 < len(str(error)) < 2000, f"{len(str(error))} characters: {str(error)[:300]}"
    return REFUSED


HONEST = Path("honest.json")
COMMANDS = (
    ["show"],
    ["show", "--markdown"],
    ["cite"],
    ["validate"],
    ["compare", "honest.json"],
    ["compare", "--markdown", "honest.json"],
)


def with_identifier(text: str) -> str:
    """A report that says it was not changed, as a forger writes it, if it has what the identifier is made of."""
    with suppress(Exception):
        made = json.loads(text)
        return text.replace(json.dumps(made["identifier"]), json.dumps(identifier(made)), 1)
    return text


def check_report(document: Document, folder: Path) -> str:
    path = folder / "report.json"
    path.write_bytes(document)
    try:
        taken = load.load_report(path)
    except ReportError as error:
        return one_line(error)
    assert same_json(taken, json_plainly(document.decode())), "not what was given"
    assert Draft202012Validator(SCHEMA).is_valid(taken), "not valid by its schema"
    for command in COMMANDS:
        with (
            patch("suites.report.__main__.load_report", {path: taken, HONEST: REPORT}.get),
            redirect_stdout(io.StringIO()) as printed,
        ):
            status = main([*command, str(path)])
        assert status == 0, printed.getvalue()
        assert all(line.isprintable() for line in printed.getvalue().split("\n")), "control characters"
    assert "<script>alert" not in page(taken), "markup"
    return TAKEN


def check_case(document: Document, folder: Path) -> str:
    path = folder / "case.json"
    path.write_bytes(document)
    try:
        taken = given.given_from(str(path))
    except CaseError as error:
        return one_line(error)
    meant = case_meant(json_plainly(document.decode()))
    assert meant == case_meant(json_plainly(taken.text())), "not what was given"
    assert given.given_from(taken.text()).text() == taken.text(), "not the same when it is read again"
    return TAKEN


def with_checksums(tree: Any) -> Document:
    """Lines whose checksums are right, whatever they say."""
    texts = [as_json(entry).encode() for entry in (tree if isinstance(tree, list) else [tree])]
    return b"".join(f"{zlib.crc32(text):08x} ".encode("ascii") + text + b"\n" for text in texts)


def check_journal(document: Document, folder: Path) -> str:
    path = folder / "a.journal"
    path.write_bytes(document)
    try:
        with open_journal(path, HEADER) as opened:
            total, finished = opened.total, opened.finished
    except JournalError as error:
        assert path.read_bytes() == document, "what was refused was changed"
        return one_line(error)
    tally = total.tally
    counted = {
        "finished": finished,
        "rows": total.rows,
        "undecided": total.undecided,
        "grades": tally.grades.tolist(),
        "failing": tally.failing.tolist(),
        "seconds": total.seconds["chunk"],
        "worst": tally.worst.tolist(),
        "lowest": tally.box[..., 0].ravel().tolist(),
        "highest": tally.box[..., 1].ravel().tolist(),
        "bins": set(np.flatnonzero((tally.map >= 0).any(axis=0)).tolist()),
    }
    assert counted == journal_counted(document, HEADER), "not what an honest count says"
    return TAKEN


def check_claims(document: Document, folder: Path) -> str:
    path = folder / "claims.toml"
    path.write_bytes(document)
    try:
        taken = claims_file.load_claims(path, SETTING)
    except ClaimsError as error:
        return one_line(error)
    said, read = claims_said(tomllib.loads(document.decode())), claims_read(taken)
    for kind, entries in said.items():
        left = iter([*read[kind], None])
        found = next(left)
        for entry in entries:
            if found is not None and same_json(found, entry):
                found = next(left)
            else:
                assert kind != "limit", "a limit was left out"
                assert not surely_applies(entry), f"an entry was left out, or taken for another: {kind}"
        assert found is None, f"more than was given: {kind}"
    return TAKEN


def surely_applies(entry: dict[str, Any]) -> bool:
    """True if an entry says nothing, or what it said before, of where it applies."""
    same = {"versions": ("", ">=2.0"), "devices": ([], ["cpu"]), "processors": ([], ["AVX*"], ["AVX2"])}
    return all(entry.get(key, known[0]) in known for key, known in same.items())
