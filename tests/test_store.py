"""What is kept of a problem between runs is what was evaluated, of that problem alone; what is broken costs time alone."""

from __future__ import annotations

import sqlite3
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import suites.judging.expected
from reference.evaluation import evaluate
from reference.expected import Expected
from reference.formats import BFLOAT16, FLOAT32
from reference.problem import Problem
from reference.quantity import Quantity
from suites.inputs.hazards import HAZARDS
from suites.inputs.problems import Ask, problems
from suites.judging.expected import ExpectedCache
from suites.judging.store import FOLDER, Store

ASKED = (Quantity.LOSS, Quantity.GRADIENT)
PROBLEM = Problem([[20.0, 0.0], [-np.inf, 1.0]], [0, 1], FLOAT32)


def arrays(expected: Expected) -> list[Any]:
    values = expected.values
    columns = [getattr(values, part.name) for part in fields(values)]
    return [(part.dtype, part.shape, part.tobytes()) for part in (*columns, expected.scale, expected.requirement)]


SMALL = tuple(name for name in HAZARDS if name != "large_vocabulary")


@given(problems(Ask(FLOAT32, SMALL, options=frozenset({"reduction", "class_weights", "temperature"}))))
@settings(max_examples=50, deadline=None)
def test_what_is_read_is_what_was_written_to_the_bit(problem: Problem) -> None:
    store = Store(None)
    store._opened, store.folder = sqlite3.connect(":memory:"), Path()
    store._opened.execute("create table expected (key blob primary key, value blob)")
    written = evaluate(problem, ASKED)
    store.write(problem, written)
    found = store.read(problem.replace(), ASKED)
    assert {q: arrays(found[q]) for q in ASKED} == {q: arrays(written[q]) for q in ASKED}


OTHERS = {
    "logits": PROBLEM.replace(logits=[[20.0, 0.0], [-np.inf, 1.5]]),
    "sign of zero": PROBLEM.replace(logits=[[20.0, -0.0], [-np.inf, 1.0]]),
    "target": PROBLEM.replace(target=[1, 1]),
    "format": PROBLEM.replace(format=BFLOAT16),
    "reduction": PROBLEM.replace(reduction="mean"),
    "cotangent": PROBLEM.replace(cotangent=[1.0, 2.0]),
    "temperature": PROBLEM.replace(temperature=2.0),
    "weights": PROBLEM.replace(class_weights=[1.0, 1.0]),
    "layer": Problem.of_layer({"features": [[20.0], [1.0]], "weight": [[1.0], [0.0]]}, [0, 1], FLOAT32),
    "rows": PROBLEM.replace(logits=[[20.0, 0.0]], target=[0]),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_another_problem_finds_nothing(other: Problem, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(PROBLEM, evaluate(PROBLEM, ASKED))
    assert set(store.read(PROBLEM, Quantity)) == set(ASKED)
    assert store.read(other, Quantity) == {}


def test_another_state_of_the_reference_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.write(PROBLEM, evaluate(PROBLEM, ASKED))
    monkeypatch.setattr("suites.judging.store._state", lambda: b"changed")
    assert store.read(PROBLEM, ASKED) == {}


def test_a_run_reads_what_another_has_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "new" / "folder"))
    first = ExpectedCache().evaluate(PROBLEM, ASKED, FLOAT32)
    monkeypatch.setattr(suites.judging.expected, "evaluate", None)
    again = ExpectedCache().evaluate(PROBLEM.replace(), ASKED, FLOAT32)
    assert {q: arrays(again[q]) for q in ASKED} == {q: arrays(first[q]) for q in ASKED}


def test_nothing_is_kept_where_no_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    store = Store()
    store.write(PROBLEM, evaluate(PROBLEM, ASKED))
    assert store.read(PROBLEM, ASKED) == {}


def test_a_flipped_bit_is_evaluated_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(PROBLEM, evaluate(PROBLEM, ASKED))
    with sqlite3.connect(tmp_path / "expected.sqlite") as file:
        rows = file.execute("select key, value from expected").fetchall()
        for key, value in rows:
            file.execute("update expected set value = ? where key = ?", (value[:-9] + bytes([value[-9] ^ 1]) + value[-8:], key))
    assert len(rows) == len(ASKED)
    assert Store(tmp_path).read(PROBLEM, ASKED) == {}


@pytest.mark.parametrize("broken", ["a file", "no database"])
def test_a_folder_that_cannot_be_used_is_told_once(tmp_path: Path, broken: str) -> None:
    folder = tmp_path / "cache"
    if broken == "a file":
        folder.write_text("")
    else:
        folder.mkdir()
        (folder / "expected.sqlite").write_bytes(b"this is no database" * 100)
    store = Store(folder)
    with pytest.warns(UserWarning, match="SOFTMAX_CE_CACHE=.* is not used: "):
        assert store.read(PROBLEM, ASKED) == {}
    store.write(PROBLEM, evaluate(PROBLEM, ASKED))
    assert store.read(PROBLEM, ASKED) == {}
