"""Tests that no text of a kernel, a claims file or a report can forge output: a line, a colour, a direction of writing."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from suites.command.overheard import make_harmless
from suites.report.cite import cited_as_bibtex, cited_as_text
from suites.report.compare import compare
from suites.report.markdown import comparison_markdown, markdown, summary_markdown
from suites.report.page import comparison_page, page
from suites.report.schema import Report
from suites.report.terminal import comparison_lines, comparison_tables, rendered, summary_lines, summary_tables
from tests.reports import report

HOSTILE = "x\n::error::forged\r\x1b[31mred\x07\u202eright-to-left\u2028\x00 ##[error]forged ##vso[task.prependpath]/"
FAILURE = {"cause": "c", "tests": ["t"], "smallest": "t", "lines": {"what": "w", "repro": "r"}, "script": None}
LIMIT = {"operation": "cross_entropy", "text": "t", "declared": {"reason": "t"}}


def hostile(before: str = "", behind: str = HOSTILE) -> Report:
    """A report in which every free text is hostile."""
    made = copy.deepcopy(report(failures=[FAILURE], limits=[LIMIT]))
    _poison(made, before, behind)
    return made


def _poison(entry: Any, before: str, behind: str) -> None:
    """Put texts before and behind every string of a report that no code looks up."""
    looked_up = {"schema", "identifier", "verdict", "dtype", "returned_dtype", "quantity", "mode", "role", "reached", "claimed"}
    looked_up |= {"grade", "misses", "method", "hazard", "link", "dtypes", "quantities", "modes", "problem", "expected"}
    looked_up |= {"correctly_rounded", "observed", "outcomes", "effort"}
    pairs = entry.items() if isinstance(entry, dict) else enumerate(entry)
    for key, value in pairs:
        if key in looked_up:
            continue
        if isinstance(value, str):
            entry[key] = before + value + behind
        elif isinstance(value, dict | list):
            _poison(value, before, behind)


def _shown(made: Report) -> dict[str, str]:
    names, both = [HOSTILE, "b"], compare([made, made])
    return {
        "lines": "\n".join(summary_lines(made)),
        "tables": rendered(summary_tables(made), 200),
        "markdown": markdown(made),
        "summary": summary_markdown(made),
        "page": page(made),
        "cited": cited_as_text(made),
        "bibtex": cited_as_bibtex(made),
        "compared lines": "\n".join(comparison_lines(both, names)),
        "compared tables": rendered(comparison_tables(both, names), 200),
        "compared markdown": comparison_markdown(both, names),
        "compared page": comparison_page(both, names),
    }


FORMS = ("lines", "tables", "markdown", "summary", "page", "cited", "bibtex")
FORMS += tuple(f"compared {form}" for form in ("lines", "tables", "markdown", "page"))


@pytest.mark.parametrize("form", FORMS)
def test_no_text_forges_output(form: str) -> None:
    text = _shown(hostile())[form]
    assert "forged" in text
    assert not any(line.lstrip().startswith("::error") for line in text.splitlines())
    assert "##[" not in text
    assert "##vso[" not in text
    own = {"\x1b"} if "tables" in form else set()  # the colours of the table itself
    raw = {c for c in text if not c.isprintable() and c not in "\n\t"} - own
    assert not raw
    assert "\x1b[31mred" not in text


@pytest.mark.parametrize("form", [form for form in FORMS if "tables" not in form])  # those are wrapped, and in no CI job
def test_no_text_that_begins_with_a_command_begins_a_line_with_it(form: str) -> None:
    """The list of deviations has their ids at the starts of lines."""
    text = _shown(hostile("::error::", ""))[form]
    assert "error::" in text
    assert not any(line.lstrip().startswith("::error") for line in text.splitlines())


@pytest.mark.parametrize(
    "address", ["https://e.org/)![x](https://e.org/i.png", "https://e.org/)<script>(", "https://e.org/|a`b"]
)
def test_no_link_is_more_than_a_link(address: str) -> None:
    made = copy.deepcopy(report())
    made["deviations"][0]["link"] = address
    (line,) = [line for line in markdown(made).splitlines() if "https://e.org/" in line]
    assert re.findall(r"\[[^]]*\]\([^()<>|`]*\)", line) == re.findall(r"\[[^]]*\]\(.*?\)", line)
    assert line.count("](") == 1
    assert "<script>" not in line
    assert line.count("|") == 8


def test_what_is_known_of_a_test_is_harmless_too() -> None:
    told = pytest.TestReport("a", ("a", 1, "a"), {}, "skipped", None, "call", wasxfail="deviation ##vso[task.x]y: \x1b[31m")
    make_harmless(told)
    assert told.wasxfail == r"deviation #\x23vso[task.x]y: \x1b[31m"
