"""How to cite a report: a sentence and a BibTeX entry that name suite, software, seed and identifier."""

from __future__ import annotations

import re

from suites.report.escape import one_line
from suites.report.schema import Report
from suites.report.wording import environment_line, subject

AUTHORS = "The softmax-ce-conformance maintainers"
YEAR = "2026"
"""Authors and year of CITATION.cff, the year of the release; a report has no date of its own."""

_SHORT = 12
_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {c: f"\\{c}" for c in "&%$#_{}"}


def title(report: Report) -> str:
    """What the report is."""
    return f"Softmax cross-entropy tolerance report: {subject(report)}"


def cited_as_text(report: Report) -> str:
    """One sentence for a list of references."""
    suite = report["suite"]
    return one_line(
        f"{AUTHORS} ({YEAR}). {title(report)} [{suite['name']} {suite['version']}; {environment_line(report)}; "
        f"{report['verdict']}]. {report['schema']}, {report['identifier']}."
    )


def cited_as_bibtex(report: Report) -> str:
    """A BibTeX entry; its key ends in the beginning of the identifier."""
    suite, digest = report["suite"], report["identifier"].removeprefix("sha256:")
    named = re.sub(r"[^A-Za-z0-9]+", "-", subject(report))
    fields = {
        "author": f"{{{AUTHORS}}}",
        "title": f"{{{_tex(title(report))}}}",
        "year": YEAR,
        "version": _tex(suite["version"]),
        "howpublished": _tex(f"{suite['name']} {suite['version']}"),
        "note": _tex(f"{environment_line(report)}; {report['verdict']}; {report['schema']}, {report['identifier']}"),
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@misc{{softmax-ce-{named}-{digest[:_SHORT]},", *lines, "}"])


def _tex(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in one_line(text))
