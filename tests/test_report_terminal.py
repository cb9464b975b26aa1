"""Tests of reports in a terminal: rich where a person reads, plain elsewhere, and nothing that a terminal obeys."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from rich.console import RenderableType

from suites.report.compare import compare
from suites.report.terminal import comparison_tables, is_interactive, rendered, summary_lines, summary_tables
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
