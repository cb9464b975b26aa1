"""Tests of reports in a terminal: rich where a person reads, plain elsewhere, and nothing that a terminal obeys."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

import pytest
from rich.console import RenderableType

from suites.report.compare import compare
from suites.report.terminal import cause_lines, comparison_tables, is_interactive, rendered, summary_lines, summary_tables
from tests.reports import report, result


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_outside_ci_is_interactive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert is_interactive(Terminal())
    assert not is_interactive(StringIO())
    monkeypatch.setenv("CI", "true")
    assert not is_interactive(Terminal())
    monkeypatch.delenv("CI")
    monkeypatch.setenv("TERM", "dumb")
    assert not is_interactive(Terminal())


def uncoloured(content: RenderableType, width: int) -> str:
    """Rich content without its own colours and weights."""
    return re.sub(r"\x1b\[[\d;]*m", "", rendered(content, width))


@pytest.mark.parametrize("width", [40, 100, 200])
def test_rich_tables_cut_nothing(width: int) -> None:
    made = report(result(), result("log_softmax", quantity="log_softmax"))
    text = uncoloured(summary_tables(made), width)
    assert all(len(line) <= width for line in text.splitlines())
    together = "".join(text.replace("│", "").split())
    wrapped = () if width < 100 else ("log_softmax", "torch-absorption-loss1log(sum)is0")
    for part in (made["identifier"], "CONFORMS", *wrapped):
        assert part in together


def test_markup_and_control_characters_in_names_mean_nothing() -> None:
    hostile = report(result("[red]op[/red]\x1b[2J"))
    for text in (
        uncoloured(summary_tables(hostile), 200),
        uncoloured(comparison_tables(compare([hostile, hostile]), ["a", "b"]), 200),
    ):
        assert "[red]op[/red]\\x1b[2J" in text
    assert not any("\x1b" in line for line in summary_lines(hostile))


def test_a_cause_names_the_functions_of_the_most_tests_and_counts_the_rest() -> None:
    names = [f"test_{name}[{number}]" for name in "abcde" for number in range(ord(name) - 95)]
    (cause,) = failures(1)
    assert cause_lines({"failures": [cause | {"tests": names}]})[1] == (
        "cause 1: number 0; 20 tests (test_e 6, test_d 5, test_c 4, and 2 more functions)"
    )


def failures(count: int) -> list[dict[str, Any]]:
    """So many causes; the first failed most tests."""
    lines = {name: name for name in ("what", "values", "input", "repro")}
    tests = [[f"suites/test_loss.py::test_{i}[{test}]" for test in range(count - i)] for i in range(count)]
    return [{"cause": f"number {i}", "tests": names, "lines": lines, "script": ""} for i, names in enumerate(tests)]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 10, 13])
def test_no_cause_is_left_out_of_what_is_told_and_counted(count: int) -> None:
    lines = cause_lines({"failures": failures(count)})
    assert [line.partition(":")[0] for line in lines if line.startswith("cause")] == [
        f"cause {number}" for number in range(1, min(count, 10) + 1)
    ]
    assert lines.count("repro  : repro") == min(count, 3)
    assert ("3 more causes of 6 tests" in lines) == (count == 13)
    assert ("the report of --report=DIR has every cause whole" in lines) == (count > 3)
