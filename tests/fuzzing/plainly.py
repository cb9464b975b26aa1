"""What a document says, read a second time without the readers under test: simple, slow, and refusing all that is unclear."""

from __future__ import annotations

import json
import re
import zlib
from base64 import b64decode
from fractions import Fraction
from typing import Any, NoReturn

import numpy as np

from reference.options import ARGUMENTS, Array
from suites.judging.claims import Claims

Exact = tuple[bool, Fraction] | str
"""Sign and size of a number, or the name of what is none."""


def json_plainly(text: str) -> Any:
    """JSON in which no key stands twice and every number is one."""
    return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number, parse_float=_float)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({key for key, _ in pairs}) == len(pairs), "a key stands twice"
    return dict(pairs)


def _no_number(name: str) -> NoReturn:
    raise AssertionError(f"{name} is no number")


def _float(digits: str) -> float:
    exact, value = Fraction(digits), float(digits)
    assert (exact == 0) == (value == 0), f"{digits} became {value}"
    assert abs(value) < float("inf"), f"{digits} became {value}"
    return value


def same_json(one: Any, other: Any) -> bool:
    """True if two values are written alike: 1, 1.0 and true are three."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


# A case


def case_meant(entry: Any) -> dict[str, Any]:
    """What a problem of --case means, with all that it leaves out."""
    options = {argument.name: _option(argument.kind, entry.get(argument.name, argument.default)) for argument in ARGUMENTS}
    known = {
        "dtype",
        "logits",
        "target",
        "rows",
        "classes",
        "test",
        "layout",
        "label_dtype",
        "usage",
        "label",
        "after",
        *options,
    }
    assert set(entry) <= known, "an unknown key was taken"
    assert "classes" not in entry or entry["logits"] == [], "classes beside rows were ignored"
    times = entry.get("rows", 1)
    assert type(times) is int, "rows is no whole number"
    return options | {
        "dtype": entry["dtype"],
        "logits": [_row(row) for row in entry["logits"]] * times,
        "target": [_row(row) if isinstance(row, list) else _index(row) for row in entry["target"]] * times,
        "classes": entry.get("classes", 1) if entry["logits"] == [] else None,
        "test": entry.get("test", "test_case"),
        "layout": entry.get("layout"),
        "label_dtype": entry.get("label_dtype"),
        "usage": entry.get("usage"),
        "label": _label(entry.get("label")),
        "after": case_meant(entry["after"]) if "after" in entry else None,
    }


def _label(value: Any) -> Exact | None:
    return value if value is None or isinstance(value, str) else _number(value)


def _index(value: Any) -> int:
    assert type(value) is int, f"{value} is no class index"
    return value


def _option(kind: Any, value: Any) -> Any:
    if value is None or not isinstance(kind, Array):
        assert type(value) is not bool, f"{value} is no option"
        return Fraction(value) if isinstance(value, int | float) else value
    if not isinstance(value, list):
        return _number(value)
    return [_row(row) for row in value] if value and isinstance(value[0], list) else _row(value)


def _row(entries: Any) -> list[Exact]:
    assert isinstance(entries, list), f"{entries} is no row"
    row: list[Exact] = []
    for entry in entries:
        pattern, star, times = entry.partition("*") if isinstance(entry, str) else ([entry], "", "")
        numbers = [_number(number) for number in (pattern.split() if isinstance(pattern, str) else pattern)]
        count = int(times) if star else 1
        assert 0 < count < 10**5, "more numbers than any mutation asks for"
        row += numbers * count
    return row


def _number(value: Any) -> Exact:
    if type(value) in (int, float):
        return (str(value).startswith("-"), abs(Fraction(value)))
    assert isinstance(value, str), f"{value!r} is no number"
    if value.lstrip("+-") in ("inf", "nan"):
        return value.lstrip("+")
    found = re.fullmatch(r"([+-]?)0[xX]([0-9a-fA-F]+)\.?([0-9a-fA-F]*)(?:[pP]([+-]?[0-9]+))?", value)
    assert found, f"{value!r} is no number"
    sign, whole, fraction, exponent = found.groups("")
    assert abs(int(exponent or 0)) < 2000, f"{value!r} is beyond float64"
    return (sign == "-", Fraction(int(whole + fraction, 16)) * Fraction(2) ** (int(exponent or 0) - 4 * len(fraction)))


# A journal


def journal_counted(content: bytes, header: dict[str, Any]) -> dict[str, Any]:
    """What the chunks of a journal add up to; empty if its header was not written whole."""
    *lines, torn = content.split(b"\n")
    texts = [line[9:] if line[:9] == f"{zlib.crc32(line[9:]):08x} ".encode("ascii") else None for line in lines]
    if texts and texts[-1] is None and not torn:
        texts.pop()
    assert None not in texts, "damage was taken"
    if not texts:
        return _added([])
    assert same_json(json_plainly(str(texts[0], "ascii")), header), "another header was taken"
    chunks: dict[int, bytes] = {}
    for text in texts[1:]:
        chunk = json_plainly(str(text, "ascii"))["chunk"]
        assert type(chunk) is int
        assert 0 <= chunk < header["chunks"], f"chunk {chunk} was taken"
        assert chunks.setdefault(chunk, text) == text, "a chunk has two outcomes"
    entries = [json_plainly(str(text, "ascii")) for text in chunks.values()]
    return _added([entry["outcome"] for entry in entries]) | {"finished": set(chunks)}


def _added(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    for outcome in outcomes:
        _check_outcome(outcome)
    worst = [max([-1.0, *(float.fromhex(o["worst"][q]) for o in outcomes)]) for q in range(3)]
    return {
        "finished": set(),
        "rows": sum(o["rows"] for o in outcomes),
        "undecided": sum(o["undecided"] for o in outcomes),
        "grades": [[sum(o["grades"][q][g] for o in outcomes) for g in range(7)] for q in range(3)],
        "failing": [[sum(o["failing"][q][f] for o in outcomes) for f in range(5)] for q in range(3)],
        "seconds": sum(o["seconds"]["chunk"] for o in outcomes),
        "worst": worst,
        "lowest": [min([float("inf"), *(float.fromhex(o["box"][n]) for o in outcomes)]) for n in range(0, 90, 2)],
        "highest": [max([float("-inf"), *(float.fromhex(o["box"][n]) for o in outcomes)]) for n in range(1, 90, 2)],
        "bins": {cell for o in outcomes for cell in _filled(o)},
    }


def _check_outcome(outcome: dict[str, Any]) -> None:
    """Counts are whole numbers that agree with one another."""
    rows, grades, failing = outcome["rows"], outcome["grades"], outcome["failing"]
    counts = [rows, outcome["undecided"], *(count for row in (*grades, *failing) for count in row)]
    assert all(type(count) is int and count >= 0 for count in counts), f"{counts} are no counts"
    assert len(outcome) == 12, "a key is ignored"
    for q in range(3):
        entries = sum(grades[q])
        assert entries in (0, rows * 2**q), "grades do not add up"
        assert failing[q][3:] == grades[q][:2], "failures have no grade"
        assert max(failing[q]) <= entries, "more fail than there are"


def _filled(outcome: dict[str, Any]) -> list[int]:
    """Bins of the map in which something was measured."""
    table = np.frombuffer(zlib.decompress(b64decode(outcome["map"])), np.float32).reshape(3, -1)
    return [outcome["start"] + int(cell) for cell in np.flatnonzero((table >= 0).any(axis=0))]


# A claims file


def claims_said(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What each entry of a claims file says, by the kind of entry, with all that it leaves out."""
    assert set(document) <= {"processors", *CLAIM_DEFAULTS}, "an unknown table was taken"
    said: dict[str, list[dict[str, Any]]] = {kind: [] for kind in CLAIM_DEFAULTS}
    for kind, defaults in CLAIM_DEFAULTS.items():
        for entry in document.get(kind, []):
            assert set(entry) <= CLAIM_NEEDED[kind] | set(defaults), "an unknown key was taken"
            filled = defaults | entry
            if kind in ("deviation", "out_of_range"):
                filled["processors"] = filled["processors"] or document.get("processors", [])
            if filled.get("region") is not None:
                assert set(filled["region"]) <= set(REGION), "an unknown key was taken"
                filled["region"] = REGION | filled["region"]
            said[kind].append(filled)
    return said


def claims_read(claims: Claims) -> dict[str, list[dict[str, Any]]]:
    """The same of what was read."""
    return {
        "claim": [
            {"grades": {str(q): grade.label for q, grade in claim.grades.items()}, "processors": list(claim.applies.processors)}
            | _scope(claim)
            for claim in claims.claims
        ],
        "deviation": [
            {
                "quantities": list(map(str, deviation.quantities)),
                "cases": list(deviation.cases),
                "misses": deviation.misses.label,
                "reaches": deviation.reaches.label,
                "region": deviation.region and {key: _plain(value) for key, value in vars(deviation.region).items()},
            }
            | _known(deviation)
            for deviation in claims.deviations
        ],
        "out_of_range": [{"labels": list(entry.labels)} | _known(entry) for entry in claims.out_of_range],
        "limit": [
            {"operations": list(limited.scope.operations), "modes": list(limited.scope.modes)}
            | {key: _plain(value) for key, value in vars(limited.limit).items()}
            for limited in claims.limits
        ],
    }


def _scope(entry: Any) -> dict[str, Any]:
    return {name: list(getattr(entry.scope, name)) for name in ("operations", "dtypes", "modes")}


def _known(entry: Any) -> dict[str, Any]:
    applies = {key: _plain(value) for key, value in vars(entry.applies).items()}
    return _scope(entry) | applies | {"id": entry.id, "reason": entry.reason, "link": entry.link}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


_WHERE = {"modes": ["*"], "processors": []}
_KNOWN = _WHERE | {"link": "", "versions": "", "devices": []}
REGION = {"hazards": [], "min_classes": 0, "options": [], "reductions": [], "min_rows": 0, "max_rows": None}
CLAIM_DEFAULTS: dict[str, dict[str, Any]] = {
    "claim": _WHERE,
    "deviation": _KNOWN | {"reaches": "none", "region": None},
    "out_of_range": _KNOWN,
    "limit": {
        "modes": ["*"],
        "classes_multiple_of": 1,
        "finite_logits": False,
        "fixed_target": False,
        "overwrites": [],
        "returns": {},
    }
    | dict.fromkeys(("dtypes", "devices", "derivatives", "targets", "options", "max_classes", "usages"))
    | dict.fromkeys(("layouts", "label_dtypes", "mean_of_nothing", "reduces")),
}
CLAIM_NEEDED = {
    "claim": {"operations", "dtypes", "grades"},
    "deviation": {"id", "operations", "dtypes", "quantities", "cases", "misses", "reason"},
    "out_of_range": {"id", "operations", "dtypes", "labels", "reason"},
    "limit": {"operations", "reason"},
}
